"""Which figures of a snapshot are held against the recount, which cannot be, and what differs.

Whole numbers and times have to be equal to the last digit, quotients to the last but few bits.  A window is compared where all
that belongs to it is known; what is left out is told with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from queuewatch_schemas.config import ROLLING_SECONDS, Attribution
from queuewatch_schemas.records import POINT_SECONDS, ChannelFigures, QueueSnapshot, WindowFigures, microseconds, moment
from queuewatch_streams.audit.recount import (
    ALWAYS,
    BOUNDED,
    SECOND,
    ChannelCount,
    LevelCount,
    QueueRecount,
    Rule,
    Window,
    WindowCount,
    is_callback,
    waiting_now,
)

__all__ = ["Compared", "Difference", "LeftOut", "compare"]

NOW: Final = "now"
"""The window of what has no window."""
CLOCK_BEHIND: Final = 120 * SECOND
"""So far a worker's clock may run behind its log's before a rolling window lacks its oldest cells; a day has an hour."""

Value = int | float | str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure that is not what the log says."""

    queue: str
    channel: str
    window: str
    figure: str
    published: Value
    recounted: Value


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not compared of a queue, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison of one queue found."""

    figures: int
    differences: tuple[Difference, ...]
    left_out: tuple[LeftOut, ...]


def compare(snapshot: QueueSnapshot, recount: QueueRecount, log_time: int) -> Compared:
    """Hold a snapshot against the finished recount of its queue; `log_time` is the log's own time at its offset."""
    return _Comparison(snapshot, recount, log_time).run()


def _log_time(snapshot: QueueSnapshot) -> int:
    return 0 if snapshot.log_time is None else microseconds(snapshot.log_time)


class _Comparison:
    def __init__(self, snapshot: QueueSnapshot, recount: QueueRecount, log_time: int) -> None:
        self.snapshot = snapshot
        self.recount = recount
        self.log_time = log_time
        self.now = recount.question.now
        self.known_from = recount.known_from
        self.figures = 0
        self.differences: list[Difference] = []
        self.left_out: dict[LeftOut, None] = {}
        self.because = (
            "its events are all deleted"
            if self.known_from == -ALWAYS
            else f"not everything is known that began before {_time(self.known_from)}"
        )

    def run(self) -> Compared:
        snapshot, recount = self.snapshot, self.recount
        question = recount.question
        windows = [window for window in question.windows if self._is_known(window)]
        points = [(at, point) for at, point in enumerate(question.points) if self._is_known(point)]
        today = self._is_known(question.today)
        for name in snapshot.channels.keys() | recount.channels.keys():
            if not is_callback(name):
                published = snapshot.channels.get(name)
                counted = recount.channels.get(name, ChannelCount())
                self._compare_now(name, published, counted)
                for window in windows:
                    self._compare_window(name, window, published, counted)
                self._compare_history(name, points, published, counted)
                if today and published is not None:
                    longest = published.longest_wait_today_seconds
                    self._hold(name, NOW, "longest_wait_today_seconds", longest, counted.longest_today / SECOND)
        self._compare_callbacks()
        if self.known_from == ALWAYS:
            self._hold("", NOW, "log_time", _time(_log_time(snapshot)), _time(self.log_time))
        newest = 0 if snapshot.last_event_time is None else microseconds(snapshot.last_event_time)
        if self.known_from == ALWAYS or recount.newest > self.known_from:
            self._hold("", NOW, "last_event_time", _time(newest), _time(recount.newest))
        return Compared(self.figures, tuple(self.differences), tuple(self.left_out))

    # ------------------------------------------------------------------------------------------------ what can be compared

    def _is_known(self, window: Window) -> bool:
        behind = _log_time(self.snapshot) - self.now
        by_day = window.name not in ROLLING_SECONDS and self._title(window) == window.name
        room = 30 * CLOCK_BEHIND if by_day else CLOCK_BEHIND
        what = self._title(window)
        if window.start < self.known_from:
            self._leave_out(what, self.because)
        elif window.start < self.recount.question.ruled_from:
            self._leave_out(what, "it began before the time since which to compare")
        elif behind > room:
            self._leave_out(what, "the worker's clock is that far behind the broker's")
        else:
            return True
        return False

    def _title(self, window: Window) -> str:
        """What it is called where something is left out; points are not told apart."""
        return "history" if window in self.recount.question.points else window.name

    def _leave_out(self, what: str, why: str) -> None:
        self.left_out[LeftOut(what, why)] = None

    # ---------------------------------------------------------------------------------------------------------- the figures

    def _compare_now(self, channel: str, published: ChannelFigures | None, counted: ChannelCount) -> None:
        waiting, oldest = waiting_now(counted, self.known_from, self.now)
        if published is None:
            if waiting:
                self._hold(channel, NOW, "waiting", None, waiting)
            return
        self._hold(channel, NOW, "balance_residual", published.balance_residual, 0)
        since = None if published.oldest_waiting_since is None else microseconds(published.oldest_waiting_since)
        if self.known_from == ALWAYS or (since is not None and since >= self.known_from):
            longest = 0 if oldest is None else self.now - oldest
            self._hold(channel, NOW, "waiting", published.waiting, waiting)
            self._hold(channel, NOW, "longest_wait_seconds", published.longest_wait_seconds, longest / SECOND)
            self._hold(channel, NOW, "oldest_waiting_since", _time(since), _time(oldest))
        else:
            self._leave_out("waiting now", "some may wait since before what is known of the log")
            if published.waiting is not None and published.waiting < waiting:
                self._hold(channel, NOW, "waiting (at least)", published.waiting, waiting)
        if self.known_from == ALWAYS:
            self._hold_between(channel, "talking", published.talking, counted.talking)
            told = self.recount.first_wrapped is not None
            self._hold(channel, NOW, "after-call work is told of", published.wrapping is not None, told)
            if told and published.wrapping is not None:
                self._hold_between(channel, "wrapping", published.wrapping, counted.wrapping)
        else:
            self._leave_out("talking and wrapping up now", self.because)

    def _compare_window(
        self, channel: str, window: Window, published: ChannelFigures | None, counted: ChannelCount
    ) -> None:
        count = counted.windows.get(window.name, WindowCount())
        told = None if published is None else next((v for k, v in published.windows.items() if k == window.name), None)
        handling = window.name not in self.recount.unsure_handling
        if not handling:
            self._leave_out(f"handling in {window.name}", "talks ended in it that may have begun before what is known")
        for name, value in _expected(window, count, handling=handling):
            self._hold_figure(channel, window.name, name, _told(told, name), value, absent=told is None)
        for rule in self.recount.question.rules:
            if self._knows_level(rule, window):
                levels = {} if published is None else published.levels.get(rule.name, {})
                level = next((v for k, v in levels.items() if k == window.name), None)
                recounted = count.levels.get(rule.name, LevelCount())
                for name, value in _expected_level(window, rule, recounted):
                    at = f"level {rule.name}: {name}"
                    self._hold_figure(
                        channel, window.name, at, getattr(level, name, None), value, absent=published is None
                    )

    def _compare_history(
        self,
        channel: str,
        points: list[tuple[int, Window]],
        published: ChannelFigures | None,
        counted: ChannelCount,
    ) -> None:
        """Each point that is known; a channel that is not told of has nothing in any."""
        told = None if published is None else published.history
        if published is not None:
            first = None if told is None else _time(microseconds(told.start))
            self._hold(channel, NOW, "history: start", first, _time(self.recount.question.points[0].start))
            self._hold(
                channel, NOW, "history: step_seconds", None if told is None else told.step_seconds, POINT_SECONDS
            )
        for at, point in points:
            count = counted.windows.get(point.name, WindowCount())
            expected = {"offered": count.offered, **{name: count.outcomes[name] for name in ("answered", "abandoned")}}
            for name, value in expected.items():
                shown = None if told is None else _at(getattr(told, name), at)
                self._hold_figure(channel, point.name, f"history: {name}", shown, value, absent=published is None)
            for rule in self.recount.question.rules:
                if self._knows_level(rule, point):
                    level = None if told is None else told.levels.get(rule.name)
                    recounted = count.levels.get(rule.name, LevelCount())
                    for name, value in (("met", recounted.above), ("counted", recounted.below)):
                        shown = None if level is None else _at(getattr(level, name), at)
                        figure = f"history of level {rule.name}: {name}"
                        self._hold_figure(channel, point.name, figure, shown, value, absent=published is None)

    def _knows_level(self, rule: Rule, window: Window) -> bool:
        known_from = max(self.known_from, self.recount.question.ruled_from)
        if rule.attribution is Attribution.ARRIVAL or known_from == ALWAYS:
            return True
        by_event = rule.attribution is Attribution.EVENT
        if window.name in self.recount.unsure_outcomes or (by_event and window.start < known_from + rule.threshold):
            self._leave_out(
                f"levels by {rule.attribution.value} in {self._title(window)}",
                "outcomes fell in it of visits that may have begun before what is known",
            )
            return False
        return True

    def _compare_callbacks(self) -> None:
        published = self.snapshot.callbacks
        counted = [count for name, count in self.recount.channels.items() if is_callback(name)]
        if self.known_from != ALWAYS:
            self._leave_out("callbacks", "those that were promised before what is known may fall due at any time")
            return
        waiting, oldest = waiting_now(counted[0], ALWAYS, self.now) if counted else (0, None)
        since = None if published.oldest_since is None else microseconds(published.oldest_since)
        longest = 0 if oldest is None else self.now - oldest
        self._hold("callback", NOW, "waiting", published.waiting, waiting)
        self._hold("callback", NOW, "oldest_seconds", published.oldest_seconds, longest / SECOND)
        self._hold("callback", NOW, "oldest_since", _time(since), _time(oldest))

    # ------------------------------------------------------------------------------------------------------------- holding

    def _hold_figure(
        self, channel: str, window: str, figure: str, published: Value, recounted: Value, *, absent: bool
    ) -> None:
        if absent and (not recounted or figure == "start"):
            return  # a channel that is not told of is one on which nothing ever happened
        self._hold(channel, window, figure, published, recounted)

    def _hold(self, channel: str, window: str, figure: str, published: Value, recounted: Value) -> None:
        self.figures += 1
        if not _same(published, recounted):
            self.differences.append(Difference(self.snapshot.queue, channel, window, figure, published, recounted))

    def _hold_between(self, channel: str, figure: str, published: int | None, bounds: tuple[int, int]) -> None:
        least, most = bounds
        self.figures += 1
        if published is None or not least <= published <= most:
            shown = str(least) if least == most else f"{least} to {most}"
            self.differences.append(Difference(self.snapshot.queue, channel, NOW, figure, published, shown))


def _at(points: Sequence[int], at: int) -> int | None:
    """The value of a point; None where the history is too short."""
    return points[at] if at < len(points) else None


def _same(published: Value, recounted: Value) -> bool:
    if isinstance(published, float) and isinstance(recounted, int | float):
        return math.isclose(published, recounted, rel_tol=1e-12, abs_tol=1e-9)
    return published == recounted


def _told(window: WindowFigures | None, name: str) -> Any:
    if window is None:
        return None
    value = getattr(window, name)
    return _time(microseconds(value)) if isinstance(value, datetime) else value


def _expected(window: Window, count: WindowCount, *, handling: bool) -> Iterator[tuple[str, Value]]:
    """The figures of a window by their published names."""
    outcomes = count.outcomes
    answered, lost = outcomes["answered"], outcomes["abandoned"] - count.short
    yield "start", None if window.name in ROLLING_SECONDS else _time(window.start)
    yield "offered", count.offered
    yield from outcomes.items()
    yield "short_abandoned", count.short
    yield "waiting", count.waiting
    yield "answer_wait_seconds_sum", count.answer_wait / SECOND
    yield "answer_wait_mean_seconds", count.answer_wait / answered / SECOND if answered else None
    yield "abandon_ratio", lost / (answered + lost) if answered + lost else None
    if handling:
        yield "handled", count.handled
        yield "handle_seconds_sum", count.handle / SECOND
        yield "handle_time_mean_seconds", count.handle / count.handled / SECOND if count.handled else None


def _expected_level(window: Window, rule: Rule, level: LevelCount) -> Iterator[tuple[str, Value]]:
    """The figures of a level by their published names."""
    yield "met", level.above
    yield "counted", level.below
    yield "ratio", level.above / level.below if level.below else None
    bounded = window.name in BOUNDED and rule.attribution is Attribution.ARRIVAL
    yield "lower", level.lower() if bounded else None
    yield "upper", level.upper(rule) if bounded else None


def _time(at: int | None) -> str | None:
    """An instant as text; times are compared as such, to the microsecond."""
    if at is None:
        return None
    if abs(at) >= -ALWAYS:
        return "for ever"
    return moment(at).astimezone(UTC).isoformat().replace("+00:00", "Z")
