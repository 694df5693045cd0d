"""What a queue's figures are at an instant: now, in each window, and for each service level.

Settled visits are summed from the windows; visits that wait are added from the list of their arrivals, so a caller past the
threshold counts before anyone answers him.  `now` is an argument: the wall clock for live topics, the newest event for
histories.  Times and durations are integer microseconds; whoever shows them converts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

from queuewatch_schemas.config import ROLLING_SECONDS, Attribution
from queuewatch_schemas.metrics import BOUNDED_WINDOWS
from queuewatch_streams.core.calendar import MINUTE, SECOND, business_day, interval_start
from queuewatch_streams.core.policy import Policy
from queuewatch_streams.core.queue import Channel, Queue
from queuewatch_streams.core.service_level import Level, Pending, bounds, ratio
from queuewatch_streams.core.visit import counts, started
from queuewatch_streams.core.windows import FIVE_MINUTES, TEN_SECONDS, Cell

POINTS: Final = 12
"""Points of a history: five minutes each, an hour in all."""


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """One service level over one window; `lower` and `upper` only where bounds are told."""

    level: Level
    met: int
    base: int
    ratio: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """One channel of a queue over [start, end), booked by arrival but for handling, which is booked when talk ended.

    `cell` holds the sums; `offered` and `waiting` include those without outcome.
    """

    start: int
    end: int
    cell: Cell
    offered: int
    waiting: int
    levels: tuple[LevelFigures, ...]

    def of(self, name: str) -> int:
        """A booked figure, 0 where nothing was booked."""
        return self.cell.of(name)

    @property
    def handle(self) -> int:
        """Talk, hold and after-call work of the handled visits."""
        return self.cell.talk + self.cell.hold + self.cell.wrap

    @property
    def answer_wait_mean(self) -> float | None:
        """ASA in microseconds: the mean wait of answered visits; None without any."""
        return ratio(self.cell.answer_wait, self.cell.answered)

    @property
    def handle_mean(self) -> float | None:
        """AHT in microseconds; None where nothing was handled."""
        return ratio(self.handle, self.cell.handled)

    @property
    def abandon_ratio(self) -> float | None:
        """(abandoned - short) / (answered + abandoned - short); None where that base is empty."""
        lost = self.cell.abandoned - self.cell.short
        return ratio(lost, self.cell.answered + lost)


@dataclass(frozen=True, slots=True)
class LevelHistory:
    """One service level by points of five minutes."""

    level: Level
    met: list[int]
    base: list[int]


@dataclass(frozen=True, slots=True)
class HistoryFigures:
    """The last hour of one channel by points of five minutes, the first of which begins at `start`; the last one runs.

    As in windows, those without outcome are in `offered`, and in the base of a level as its definition says.
    """

    start: int
    offered: list[int]
    answered: list[int]
    abandoned: list[int]
    levels: tuple[LevelHistory, ...]


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """One channel of a queue at an instant.  `wrapping` is None while its sources never told of after-call work."""

    waiting: int
    oldest: int | None
    talking: int
    wrapping: int | None
    windows: dict[str, WindowFigures]

    def longest_wait(self, now: int) -> int:
        """How long the longest of those who wait has waited; 0 where nobody waits."""
        return 0 if self.oldest is None else max(0, now - self.oldest)


def window_bounds(window: str, now: int, policy: Policy) -> tuple[int, int]:
    """Start and end of a window at an instant; rolling ones end with the ten seconds that hold `now`."""
    if window in ROLLING_SECONDS:
        end = now - now % TEN_SECONDS + TEN_SECONDS
        return end - ROLLING_SECONDS[window] * SECOND, end
    if window == "day":
        return business_day(now, policy.day_starts_at_hour, policy.zone)
    start = interval_start(now, policy.interval_minutes, policy.zone)
    if window == "interval":
        return start, start + policy.interval_minutes * MINUTE
    assert window == "last_interval", window
    return interval_start(start - 1, policy.interval_minutes, policy.zone), start


def window_figures(
    channel: Channel,
    policy: Policy,
    start: int,
    end: int,
    now: int,
    *,
    rolling: bool = False,
    followed: bool = False,
    bounded: bool = False,
) -> WindowFigures:
    """One channel's figures over [start, end), with those who wait as they stand at `now`.

    `followed`: a long window that is asked for again and again.
    """
    windows = channel.windows
    cell = (windows.rolling if rolling else windows.days).total(start, end, followed=followed)
    waiting = _between(channel.waiting, start, end)
    levels = tuple(
        _level_figures(channel, policy, level, cell, start, end, now, bounded) for level in policy.rules.levels
    )
    return WindowFigures(start, end, cell, cell.offered + waiting, waiting, levels)


def channel_figures(queue: Queue, channel: Channel, now: int) -> ChannelFigures:
    """Everything that is shown of one channel of a queue at an instant."""
    policy = queue.policy
    windows = {}
    for window in policy.windows:
        start, end = window_bounds(window, now, policy)
        rolling = window in ROLLING_SECONDS
        windows[window] = window_figures(
            channel,
            policy,
            start,
            end,
            now,
            rolling=rolling,
            followed=rolling or window == "day",
            bounded=window in BOUNDED_WINDOWS,
        )
    waiting = bisect_right(channel.waiting, now)
    return ChannelFigures(
        waiting=waiting,
        oldest=channel.waiting[0] if waiting else None,
        talking=len(channel.talking.due),
        wrapping=len(channel.wrapping.due) if queue.wraps else None,
        windows=windows,
    )


def longest_wait_today(queue: Queue, channel: str, now: int) -> int:
    """The greatest wait until `now` of the visits that entered a channel in the business day, those who wait included.

    Ghosts are not; 0 where nobody entered.
    """
    policy = queue.policy
    start, end = business_day(now, policy.day_starts_at_hour, policy.zone)
    return queue.longest_wait(channel, start, end, now)


def channel_history(channel: Channel, policy: Policy, now: int) -> HistoryFigures:
    """The last hour of a channel, aligned to five minutes of UTC; the last point is the one that runs at `now`."""
    first = now - now % FIVE_MINUTES - (POINTS - 1) * FIVE_MINUTES
    offered, answered, abandoned = [0] * POINTS, [0] * POINTS, [0] * POINTS
    levels = tuple(LevelHistory(level, [0] * POINTS, [0] * POINTS) for level in policy.rules.levels)
    for start, point in channel.windows.points.points.items():
        at = (start - first) // FIVE_MINUTES
        if 0 <= at < POINTS:
            offered[at] = point.offered
            answered[at] = point.answered
            abandoned[at] = point.abandoned
            for told in levels:
                told.met[at], told.base[at] = point.tally(told.level.name)
    waiting = channel.waiting
    if waiting:
        for at in _points_between(first, waiting[0], waiting[-1]):
            start = first + at * FIVE_MINUTES
            offered[at] += _between(waiting, start, start + FIVE_MINUTES)
        for told in levels:
            _add_waiting(told, channel, first, now)
    return HistoryFigures(first, offered, answered, abandoned, levels)


def _points_between(first: int, begin: int, end: int) -> range:
    """The points of a history that begins at `first` which hold [begin, end]."""
    return range(max(0, (begin - first) // FIVE_MINUTES), min(POINTS, (end - first) // FIVE_MINUTES + 1))


def _add_waiting(told: LevelHistory, channel: Channel, first: int, now: int) -> None:
    """Add those who wait to the base of a level, each at its point, as windows do."""
    level, pending = told.level, told.level.pending
    if pending is Pending.NEVER:
        return
    late = now - level.threshold  # who began to wait before that has passed it
    shift = level.threshold if level.attribution is Attribution.EVENT else 0
    if level.plain:
        waiting = channel.waiting
        for at in _points_between(first - shift, waiting[0], waiting[-1]):
            start = first + at * FIVE_MINUTES - shift
            end = start + FIVE_MINUTES
            told.base[at] += _between(waiting, start, end if pending is Pending.ALWAYS else min(end, late))
        return
    for visit in channel.open.values():
        arrival = visit.arrival
        assert arrival is not None and visit.rules is not None, "only queued visits wait"
        began = started(level, visit, arrival)
        booked = arrival if level.attribution is Attribution.ARRIVAL else began + shift
        at = (booked - first) // FIVE_MINUTES
        if 0 <= at < POINTS and (pending is Pending.ALWAYS or began < late) and counts(level, visit.rules, arrival):
            told.base[at] += 1


def is_open(queue: Queue, now: int) -> bool | None:
    """Whether the queue is open: as its source last said, else by its calendar; None where neither is known."""
    if queue.hours is not None and queue.hours[0] <= now:
        return queue.hours[1]
    hours = queue.policy.rules.hours
    return None if hours is None else hours.is_open(now)


def moves_at(queue: Queue, now: int) -> int:
    """The next instant at which what is told of a queue at `now` may change though no event comes; a wait grows by the second.

    All bounds of windows lie on full ten seconds: while something is booked that can leave a rolling window or the history,
    that is the next of them; else the end of the interval.  When a source falls silent or a calendar opens is not in it.
    """
    next_step = now - now % TEN_SECONDS + TEN_SECONDS
    moves = window_bounds("interval", now, queue.policy)[1]
    for channel in queue.channels.values():
        if channel.waiting:
            moves = min(moves, max(now + SECOND, channel.waiting[0]))
        if moves > next_step and _slides(channel, queue.policy, now):
            moves = next_step
    return moves


def _slides(channel: Channel, policy: Policy, now: int) -> bool:
    """Whether something is booked that time alone takes out of a rolling window or the history."""
    shown_from = now - now % FIVE_MINUTES - (POINTS - 1) * FIVE_MINUTES
    if any(at >= shown_from for at in channel.windows.points.points):
        return True
    rolls_from = now - policy.longest_rolling
    return any(at >= rolls_from for at in channel.windows.rolling.cells)


_SETTLED: Final = frozenset({"answered", "abandoned", "revisions:waiting:none"})


def balance_residual(channel: Channel) -> int:
    """Offered less every outcome less those who wait: 0, or a visit was lost or counted twice.

    Two independent paths meet here: counts kept by increments and revisions, and the visits without outcome that are held.
    """
    totals = channel.totals
    residual = -len(channel.open)
    for name, amount in totals.items():
        if name == "offered":
            residual += amount
        elif name in _SETTLED or name.startswith(("diverted:", "evicted:")):
            residual -= amount
    return residual


def _level_figures(
    channel: Channel, policy: Policy, level: Level, cell: Cell, start: int, end: int, now: int, bounded: bool
) -> LevelFigures:
    met, base = cell.of(level.met_key), cell.of(level.base_key)
    pending = level.pending
    bounded = bounded and level.attribution is Attribution.ARRIVAL
    if pending is Pending.NEVER and not bounded:
        return LevelFigures(level, met, base, ratio(met, base))
    within, past = _waiting_for(channel, policy, level, start, end, now)
    if pending is not Pending.NEVER:
        base += past
    if pending is Pending.ALWAYS:
        base += within
    if not bounded:
        return LevelFigures(level, met, base, ratio(met, base))
    return LevelFigures(level, met, base, ratio(met, base), *bounds(level, met, base, within, past))


def _waiting_for(channel: Channel, policy: Policy, level: Level, start: int, end: int, now: int) -> tuple[int, int]:
    """How many who wait belong to the range in this level's attribution: (not yet past, past) its threshold."""
    late = now - level.threshold  # who began to wait before that has passed it
    shift = level.threshold if level.attribution is Attribution.EVENT else 0
    if level.plain:
        waiting = channel.waiting
        every = _between(waiting, start - shift, end - shift)
        past = _between(waiting, start - shift, min(end - shift, late))
        return every - past, past
    every = past = 0
    for visit in channel.open.values():
        arrival = visit.arrival
        assert arrival is not None and visit.rules is not None, "only queued visits wait"
        began = started(level, visit, arrival)
        booked = arrival if level.attribution is Attribution.ARRIVAL else began + shift
        if start <= booked < end and counts(level, visit.rules, arrival):
            every += 1
            past += began < late
    return every - past, past


def _between(ordered: list[int], start: int, end: int) -> int:
    """How many of the ascending values lie in [start, end)."""
    return max(0, bisect_left(ordered, end) - bisect_left(ordered, start))
