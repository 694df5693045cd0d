"""How a queue stands, in a word, and when that word changes: pure, with every instant as an argument.

The words mean what the alerts mean: a warning begins beyond a queue's own limit, what is critical beyond twice the limit or
below three fifths of the target.  Only a level is stricter here than there: what stands beside its target is no more green
below it.  Ratios are judged in the shortest window, from a quarter of an hour on, that holds calls enough, or not at all.

A change for the worse, or for the better, is told once it has lasted.  That nothing is known is told at once, and so is
whatever is known again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from queuewatch_schemas.config import Window
from queuewatch_schemas.records import ChannelFigures, QueueSnapshot
from queuewatch_schemas.wallboard import State, Why
from queuewatch_wallboard.known import Instant

__all__ = ["Patience", "Standing", "judge", "settle", "worst"]

CRITICAL_FACTOR: Final = 2.0
"""So many times its limit is critical."""
CRITICAL_SHARE: Final = 0.6
"""Below so much of its target a level is critical."""
JUDGED_WINDOWS: Final[tuple[Window, ...]] = ("15m", "30m", "1h", "interval", "day")
"""Where ratios are judged: the first of these with calls enough."""

_SEVERITY: Final[dict[State, int]] = {"idle": 0, "closed": 0, "ok": 0, "unknown": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a change must last before it is told."""

    worse: float
    better: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The state that is told of a queue, and the change that may be on its way."""

    state: State
    since: datetime
    why: tuple[Why, ...]
    leaning: Literal[-1, 0, 1] = 0
    """1: for some time it would have been worse, -1: better."""
    leaning_since: float = 0.0
    """Since when, by the monotonic clock."""


def judge(snapshot: QueueSnapshot, longest_wait: float | None) -> tuple[State, tuple[Why, ...]]:
    """The state that figures which are true call for, and why, the worst first.

    `longest_wait`: of those who wait now, in seconds; None where it is unknown.
    """
    voice = snapshot.channels.get("voice")
    if voice is None or voice.waiting is None:
        return "unknown", ()
    if snapshot.open is False and voice.waiting == 0:
        return "closed", ()
    why = tuple(
        sorted(_beyond(snapshot, voice, longest_wait), key=lambda each: each.severity != "critical")
    )  # sorting is stable
    if why:
        return why[0].severity, why
    return ("idle" if _nobody(voice) else "ok"), ()


def _nobody(voice: ChannelFigures) -> bool:
    window = next((voice.windows[each] for each in JUDGED_WINDOWS if each in voice.windows), None)
    return voice.waiting == 0 and voice.talking == 0 and window is not None and window.offered == 0


def _beyond(snapshot: QueueSnapshot, voice: ChannelFigures, longest_wait: float | None) -> Iterator[Why]:
    """Every figure beyond its limit."""
    limits = snapshot.limits
    if longest_wait is not None and longest_wait > (limit := limits.longest_wait_seconds):
        yield Why(figure="longest_wait", value=longest_wait, limit=limit, severity=_times(longest_wait, limit))
    if voice.waiting is not None and voice.waiting > (limit := limits.calls_waiting):
        yield Why(figure="calls_waiting", value=voice.waiting, limit=limit, severity=_times(voice.waiting, limit))
    for name, definition in snapshot.definitions.items():
        levels = voice.levels.get(name, {})
        for window in JUDGED_WINDOWS:
            level = levels.get(window)
            if level is None or level.ratio is None or level.counted < limits.window_minimum_calls:
                continue
            if level.ratio < definition.target:
                yield Why(
                    figure="service_level",
                    value=level.ratio,
                    limit=definition.target,
                    severity="critical" if level.ratio < CRITICAL_SHARE * definition.target else "warning",
                    window=window,
                    definition=name,
                )
            break
    for window in JUDGED_WINDOWS:
        figures = voice.windows.get(window)
        if figures is None or figures.abandon_ratio is None or figures.offered < limits.window_minimum_calls:
            continue
        if figures.abandon_ratio > (limit := limits.abandon_ratio):
            yield Why(
                figure="abandon_ratio",
                value=figures.abandon_ratio,
                limit=limit,
                severity=_times(figures.abandon_ratio, limit),
                window=window,
            )
        break


def _times(value: float, limit: float) -> Literal["warning", "critical"]:
    return "critical" if value > CRITICAL_FACTOR * limit else "warning"


def settle(previous: Standing | None, state: State, why: tuple[Why, ...], now: Instant, patience: Patience) -> Standing:
    """The standing after figures called for a state, `now`; `previous` is what it was before, None at first."""
    if previous is None or "unknown" in (state, previous.state):
        return _told(previous, state, why, now)
    gap = _SEVERITY[state] - _SEVERITY[previous.state]
    if gap == 0:
        return _told(previous, state, why, now)
    leaning: Literal[-1, 1] = 1 if gap > 0 else -1
    since = previous.leaning_since if previous.leaning == leaning else now.monotonic
    if now.monotonic - since >= (patience.worse if leaning > 0 else patience.better):
        return _told(previous, state, why, now)
    return Standing(previous.state, previous.since, _still(previous.why, why), leaning, since)


def _told(previous: Standing | None, state: State, why: tuple[Why, ...], now: Instant) -> Standing:
    since = previous.since if previous is not None and previous.state == state else now.wall
    return Standing(state, since, why)


def _still(told: tuple[Why, ...], current: tuple[Why, ...]) -> tuple[Why, ...]:
    """Why a state is held: the same figures with their values of now, or none where they are no longer beyond the limit."""
    values = {(each.figure, each.definition): each.value for each in current}
    return tuple(each.model_copy(update={"value": values.get((each.figure, each.definition))}) for each in told)


def worst(states: list[State], *, certain: bool) -> State:
    """The state of several queues together; `certain`: whether there are no others, and none that could be worse."""
    if "critical" in states:
        return "critical"
    if not certain or "unknown" in states or not states:
        return "unknown"
    ranked: tuple[State, ...] = ("warning", "ok", "idle", "closed")
    return next(each for each in ranked if each in states)
