"""What a queue's figures must be, counted by brute force from its events alone.

Every visit's facts are gathered; once nothing can be added to a visit it is counted, whole, into each window it touches.
Nothing is booked, withdrawn or corrected, and no code is shared with the core that counts live: only the contract
(`queuewatch_schemas`) and the calendar.  All windows are known from the start, since the instant to recount for is; so
memory holds only the visits that can still change.

How long a visit can still change is a rule of the log's own time: one that waits, for ever; one in talk, up to the maximum
talk time, and for the grace after that; one in after-call work, where the queue's sources tell of it, up to the maximum; one
given up as a ghost, for its own grace; any other, for the grace after its last news.  A fact that comes later begins anew,
without what was known before.  Times and durations are integer microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from queuewatch_schemas.config import (
    ROLLING_SECONDS,
    Attribution,
    Calendar,
    Configuration,
    Definition,
    Diverts,
    Hours,
    Preset,
    WaitClock,
)
from queuewatch_schemas.records import CALLBACK, POINT_SECONDS, POINTS, QueueSnapshot, microseconds
from queuewatch_schemas.times import instant
from queuewatch_streams.core.calendar import EPOCH, business_day, interval_start

__all__ = ["ChannelCount", "Keeping", "LevelCount", "Question", "QueueRecount", "Rule", "Window", "WindowCount"]

SECOND: Final = 1_000_000
ALWAYS: Final = -(1 << 62)
"""An instant before all others."""
ROLLING_STEP: Final = 10 * SECOND
POINT: Final = POINT_SECONDS * SECOND
TODAY: Final = "longest wait today"
"""The window of the longest wait; as long as the day, whether or not that is told of."""
BOUNDED: Final = ("interval", "day")
"""The windows for which lower and upper bounds of a level are told."""

_OUTCOMES: Final = ("answered", "abandoned", "diverted", "evicted")
_SEVERAL: Final = frozenset({"held", "resumed", "declined"})
"""Facts that one visit has several of."""
_TOLD_WITH_DATA: Final = frozenset({"queued", "refused", "diverted", "evicted"})
"""Facts of which the data decides between two at the same time."""
_LIKE_ABANDONED: Final = frozenset({"timeout", "key", "no_agents", "withdrawn"})
"""What Asterisk's second service level takes for abandons."""
_COUNTS_WHO_WAITS_TOO_LONG: Final = frozenset({Preset.IGNORE, Preset.NEGATIVE, Preset.POSITIVE, Preset.IGNORE_SHORT})


# ----------------------------------------------------------------------------------------------------- what is asked for


@dataclass(frozen=True, slots=True)
class Rule:
    """A service level's definition, ready for counting."""

    name: str
    preset: Preset
    threshold: int
    short: int | None
    attribution: Attribution
    clock: WaitClock
    diverts: Diverts
    only_open: bool

    @classmethod
    def of(cls, name: str, definition: Definition) -> Rule:
        """From a definition's content, as a snapshot or the configuration has it."""
        full = definition.resolved()
        assert full.diverts is not None, "resolved() writes it out"
        return cls(
            name,
            full.preset,
            _whole(full.threshold_seconds),
            None if full.short_seconds is None else _whole(full.short_seconds),
            full.attribution,
            full.clock,
            full.diverts,
            full.hours is Hours.OPEN,
        )

    def enters(self, status: str, wait: int, reason: str) -> tuple[bool, bool]:
        """Whether a visit with this outcome stands above, and below, the line of the level's fraction."""
        preset, in_time = self.preset, wait <= self.threshold
        if status == "answered":
            return in_time, True
        if status == "abandoned":
            if self.short is not None and wait <= self.short:
                return False, False
            above = in_time and preset in (Preset.POSITIVE, Preset.REMOVED, Preset.ASTERISK_2)
            left_out = preset is Preset.ANSWERED_ONLY or (preset is Preset.IGNORE and in_time)
            return above, not left_out
        if preset is Preset.REMOVED:  # below the line stand all that were queued
            return status == "diverted" and reason == "callback" and in_time, True
        if status == "evicted" or reason == "elsewhere":
            return False, False
        if preset is Preset.ASTERISK_2 and reason in _LIKE_ABANDONED:
            return in_time, True
        return False, self.diverts is Diverts.ALL or (self.diverts is Diverts.AFTER_THRESHOLD and not in_time)

    def counts_waiting(self, *, too_long: bool) -> bool:
        """Whether a visit that waits, past the threshold or not, stands below the line already."""
        if self.attribution is Attribution.OUTCOME:
            return False
        if self.preset is Preset.REMOVED:
            return too_long or self.attribution is Attribution.ARRIVAL
        return too_long and self.preset in _COUNTS_WHO_WAITS_TOO_LONG


@dataclass(frozen=True, slots=True)
class Window:
    """A window as it lies at the instant of the question: closed on the left, open on the right."""

    name: str
    start: int
    end: int

    def holds(self, at: int) -> bool:
        """Whether the instant lies in it."""
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long, in the log's own time, a visit can still change.

    `grace` is how long after its last news it may be told of: that may have come ahead of its time, by `ahead`, and what
    comes exactly when the grace ends is not late yet.
    """

    grace: int
    evicted: int
    talk: int
    wrap: int
    idle: int
    ahead: int

    @classmethod
    def of(cls, configuration: Configuration, queue: str) -> Keeping:
        """What the configuration says for a queue."""
        timing, resolved = configuration.timing, configuration.queue(queue)
        ahead = _whole(timing.ahead_tolerance_seconds)
        grace = _whole(timing.grace_seconds) + ahead + 1
        return cls(
            grace=grace,
            evicted=_whole(timing.evicted_grace_seconds),
            talk=_whole(resolved.maximum_talk_seconds),
            wrap=max(grace, _whole(resolved.maximum_wrap_seconds)),
            idle=timing.idle_days * 86_400 * SECOND,
            ahead=ahead,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What to recount of a queue: its windows and the points of its history at the instant `now`, and its service levels.

    `known_from`: visits that were queued before it may be known in part only, or not at all; events of after-call work may
    have been there before, and `wraps` is then what to go by.  `ruled_from`: visits that were queued before it may have been
    counted by other rules.
    """

    now: int
    windows: tuple[Window, ...]
    points: tuple[Window, ...]
    today: Window
    rules: tuple[Rule, ...]
    short: int
    is_open: Callable[[int], bool]
    keeping: Keeping
    known_from: int = ALWAYS
    ruled_from: int = ALWAYS
    wraps: bool = False

    @classmethod
    def about(
        cls,
        snapshot: QueueSnapshot,
        configuration: Configuration,
        *,
        known_from: int = ALWAYS,
        ruled_from: int = ALWAYS,
    ) -> Question:
        """What a snapshot claims to know: its instant, its windows, its definitions; the rest is the configuration's."""
        now, business = microseconds(snapshot.time), configuration.business
        resolved = configuration.queue(snapshot.queue)
        zone = ZoneInfo(snapshot.time_zone)
        names = dict.fromkeys(business.windows)
        for channel in snapshot.channels.values():
            names |= dict.fromkeys(channel.windows)
        wraps = any(channel.wrapping is not None for channel in snapshot.channels.values())
        return cls(
            now=now,
            windows=tuple(
                window_at(name, now, zone, business.interval_minutes, business.day_starts_at_hour) for name in names
            ),
            points=points_at(now),
            today=Window(TODAY, *business_day(now, business.day_starts_at_hour, zone)),
            rules=tuple(Rule.of(name, each) for name, each in snapshot.definitions.items()),
            short=_whole(resolved.short_abandon_seconds),
            is_open=opening(resolved.calendar),
            keeping=Keeping.of(configuration, snapshot.queue),
            known_from=known_from,
            ruled_from=ruled_from,
            wraps=wraps,
        )


def window_at(name: str, now: int, zone: ZoneInfo, minutes: int, start_hour: int) -> Window:
    """The window of that name as it lies at an instant; rolling ones end with the ten seconds under way."""
    if name in ROLLING_SECONDS:
        end = (now // ROLLING_STEP + 1) * ROLLING_STEP
        return Window(name, end - ROLLING_SECONDS[name] * SECOND, end)
    if name == "day":
        return Window(name, *business_day(now, start_hour, zone))
    current = interval_start(now, minutes, zone)
    if name == "last_interval":
        return Window(name, interval_start(current - 1, minutes, zone), current)
    return Window(name, current, current + minutes * 60 * SECOND)


def points_at(now: int) -> tuple[Window, ...]:
    """The points of a history at an instant: stretches of five minutes of UTC, the last one holds the instant."""
    newest = now // POINT
    return tuple(
        Window(f"history {number + 1} of {POINTS}", each * POINT, (each + 1) * POINT)
        for number, each in enumerate(range(newest - POINTS + 1, newest + 1))
    )


def opening(calendar: Calendar | None) -> Callable[[int], bool]:
    """Whether a queue with this calendar is open at an instant; without one it always is."""
    if calendar is None:
        return lambda at: True
    assert calendar.time_zone is not None, "a queue's settings fill it in"
    zone = ZoneInfo(calendar.time_zone)

    def is_open(at: int) -> bool:
        local = (EPOCH + timedelta(microseconds=at)).astimezone(zone)
        minute = local.hour * 60 + local.minute
        return any(start <= minute < end for start, end in calendar.hours_on(local.date()))

    return is_open


def _whole(seconds: float) -> int:
    return round(seconds * SECOND)


# ------------------------------------------------------------------------------------------------------- what is counted


@dataclass(slots=True)
class LevelCount:
    """One level in one window: above the line, below it with an outcome, below it without; and all who wait."""

    above: int = 0
    settled: int = 0
    waiting_counted: int = 0
    waiting_in_time: int = 0
    waiting_too_long: int = 0

    @property
    def below(self) -> int:
        """All below the line."""
        return self.settled + self.waiting_counted

    def lower(self) -> float | None:
        """The level if everyone who waits will miss it."""
        return _share(self.above, self.settled + self.waiting_in_time + self.waiting_too_long)

    def upper(self, rule: Rule) -> float | None:
        """The level if everyone who can still be answered in time will be."""
        too_long = self.waiting_too_long if rule.counts_waiting(too_long=True) else 0
        return _share(self.above + self.waiting_in_time, self.settled + self.waiting_in_time + too_long)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(slots=True)
class WindowCount:
    """One window of one channel; sums in microseconds."""

    offered: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_OUTCOMES, 0))
    short: int = 0
    waiting: int = 0
    answer_wait: int = 0
    handled: int = 0
    handle: int = 0
    levels: dict[str, LevelCount] = field(default_factory=dict)

    def level(self, name: str) -> LevelCount:
        """The count of a level."""
        return self.levels.setdefault(name, LevelCount())


@dataclass(slots=True)
class ChannelCount:
    """One channel of a queue.  `talking` and `wrapping`: (at least, at most), since what is due may not be let go yet."""

    waiting: list[int] = field(default_factory=list)
    """Arrivals of those who wait, also of those who come after `now`."""
    talking: tuple[int, int] = (0, 0)
    wrapping: tuple[int, int] = (0, 0)
    longest_today: int = 0
    """The longest wait of those who came today and were no ghosts."""
    windows: dict[str, WindowCount] = field(default_factory=dict)
    """Of windows and points."""

    def window(self, name: str) -> WindowCount:
        """The count of a window."""
        return self.windows.setdefault(name, WindowCount())


class Visit:
    """What is known of one stay: of one kind the earliest fact, or a set of them."""

    __slots__ = ("earliest", "known_at", "lost_end", "several", "until")

    def __init__(self, log_time: int) -> None:
        self.earliest: dict[str, tuple[int, Mapping[str, Any]]] = {}
        self.several: set[tuple[str, int, str]] | None = None
        self.known_at = log_time
        self.lost_end = False
        self.until = 0

    def learn(self, kind: str, at: int, data: Mapping[str, Any]) -> bool:
        """Whether the event says anything new."""
        if kind == "ringing":
            return False
        if kind in _SEVERAL:
            fact = kind, at, _text(data) if kind == "declined" else ""
            if self.several is None:
                self.several = set()
            elif fact in self.several:
                return False
            self.several.add(fact)
            return True
        known = self.earliest.get(kind)
        if known is None or at < known[0]:
            self.earliest[kind] = at, data
            return True
        if at == known[0] and kind in _TOLD_WITH_DATA and _text(data) < _text(known[1]):
            self.earliest[kind] = at, data
            return True
        return False

    def arrival(self) -> int | None:
        """When it began to wait; None while nothing says that it was queued."""
        queued = self.earliest.get("queued")
        if queued is None:
            return None
        at, data = queued
        return max(at, instant(data["due"])) if "due" in data else at

    def standing(self) -> tuple[str, int, str]:
        """(outcome, its time, its reason); of conflicting outcomes the first of the list counts."""
        for status in _OUTCOMES:
            found = self.earliest.get(status)
            if found is not None:
                return status, found[0], found[1].get("reason", "")
        return "waiting", 0, ""


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True)


class QueueRecount:
    """One queue's visits as its events tell of them, and once `finish` was called its figures."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.visits: dict[tuple[str, int], Visit] = {}
        self.channels: dict[str, ChannelCount] = {"voice": ChannelCount()}
        self.known_from = question.known_from
        self.newest = 0
        """The newest call event's time."""
        self.active_at: int | None = None
        self.first_wrapped: int | None = None
        """The log time of the first word of after-call work."""
        self.wraps_known = question.known_from == ALWAYS
        self.unsure_outcomes: set[str] = set()
        """Windows with outcomes of visits that may not be known whole: levels booked by outcome are open there."""
        self.unsure_handling: set[str] = set()
        """Windows with talks that may not be known whole."""
        self._windows = (*question.windows, *question.points)
        self._since = min(window.start for window in (*self._windows, question.today))
        self._longest = max((rule.threshold for rule in question.rules), default=0)

    # ----------------------------------------------------------------------------------------------------------- facts

    def touch(self, log_time: int) -> None:
        """Something was said of the queue at this log time."""
        idle = self.active_at is not None and log_time - self.active_at > self.question.keeping.idle
        if idle and self.active_at is not None:
            # It may have left the state and begun anew; so what lies before is not known any more.
            self.known_from = max(self.known_from, self.active_at + self.question.keeping.ahead + 1)
            self.first_wrapped, self.wraps_known = None, False
        self.active_at = log_time

    def take(self, kind: str, at: int, call: str, data: Mapping[str, Any], log_time: int) -> None:
        """One event of a call, in the order of the log; `log_time` is the log's own time with this record."""
        self.touch(log_time)
        self.newest = max(self.newest, at)
        key = call, data.get("visit", 1)
        visit = self.visits.get(key)
        if visit is not None and self._over(visit, log_time, met=True):
            self._count(visit)
            visit = None
        if visit is None:
            visit = self.visits[key] = Visit(log_time)
        if visit.learn(kind, at, data):
            visit.known_at = log_time
            visit.until = log_time + self.question.keeping.grace
            if kind == "wrapped" and self.first_wrapped is None:
                self.first_wrapped = log_time

    def sweep(self) -> None:
        """Count and forget the visits that nothing can change any more; early or late makes no difference."""
        if self.active_at is None:
            return
        over = [key for key, visit in self.visits.items() if self._over(visit, self.active_at or 0)]
        for key in over:
            self._count(self.visits.pop(key))

    def _over(self, visit: Visit, log_time: int, *, met: bool = False) -> bool:
        """Whether the visit is let go at this log time; `met`: a fact has come for it."""
        facts, keeping = visit.earliest, self.question.keeping
        graced = visit.known_at + keeping.grace <= log_time
        if "queued" not in facts:
            return graced
        if "answered" in facts:
            if "ended" not in facts:
                return self._talk_over(visit, log_time)
            return graced and ("wrapped" in facts or self._wrap_over(visit, log_time, met))
        if "abandoned" in facts or "diverted" in facts:
            return graced
        return "evicted" in facts and visit.known_at + keeping.evicted <= log_time

    def _talk_over(self, visit: Visit, log_time: int) -> bool:
        keeping = self.question.keeping
        if not visit.lost_end and visit.known_at + keeping.talk <= log_time:
            visit.lost_end = True
            visit.until = visit.known_at + keeping.talk + keeping.grace
        return visit.lost_end and visit.until <= log_time

    def _wrap_over(self, visit: Visit, log_time: int, met: bool) -> bool:
        """After the grace: whether after-call work is still waited for, as it is where the queue has heard of any by then."""
        keeping = self.question.keeping
        told = self.first_wrapped is not None and self.first_wrapped < visit.known_at + keeping.grace
        if not told and not self.wraps_known and self.question.wraps:
            told = True
            if met and visit.known_at + keeping.wrap > log_time:
                self.unsure_handling.update(window.name for window in self.question.windows)
        return not told or visit.known_at + keeping.wrap <= log_time

    # -------------------------------------------------------------------------------------------------------- counting

    def finish(self, log_time: int) -> None:
        """Count what is left, as it stands at this log time."""
        for visit in self.visits.values():
            self._show_at_work(visit, log_time)
            self._count(visit)
        self.visits.clear()

    def _show_at_work(self, visit: Visit, log_time: int) -> None:
        """Who talks or wraps up.  The worker lets go at each event of the queue, and of what is due since then some time."""
        facts = visit.earliest
        if "queued" not in facts or "answered" not in facts or {"ended", "wrapped"} <= facts.keys():
            return
        channel = self._channel(facts["queued"][1].get("channel", "voice"))
        then = self.active_at if self.active_at is not None else log_time
        if "ended" not in facts:
            if self._over(visit, then) or visit.lost_end:
                return
            least, most = channel.talking
            channel.talking = least + (visit.known_at + self.question.keeping.talk > log_time), most + 1
        elif self.first_wrapped is not None and not self._over(visit, then):
            least, most = channel.wrapping
            channel.wrapping = least + (not self._over(visit, log_time)), most + 1

    def _channel(self, name: str) -> ChannelCount:
        return self.channels.setdefault(name, ChannelCount())

    def _count(self, visit: Visit) -> None:
        """Add the whole visit to every window it touches."""
        facts, question = visit.earliest, self.question
        arrival = visit.arrival()
        status, done, reason = visit.standing()
        ended = facts["ended"][0] if "ended" in facts else None
        doubted_before = max(self.known_from, question.ruled_from)
        if doubted_before != ALWAYS and (arrival is None or arrival < doubted_before):
            self._doubt([facts[each][0] for each in _OUTCOMES if each in facts], ended)
        if arrival is None:
            return
        queued = facts["queued"][1]
        channel = self._channel(queued.get("channel", "voice"))
        if status == "waiting":
            channel.waiting.append(arrival)
        elif max(arrival + self._longest, done + self._longest, ended or 0) < self._since:
            return
        if status == "answered" and ended is not None:
            ended = max(ended, done)
            wrapped = facts["wrapped"][0] if "wrapped" in facts else ended
            handle = ended - done + max(0, wrapped - ended)  # talk and hold together fill the connection
            for window in question.windows:
                if window.holds(ended):
                    count = channel.window(window.name)
                    count.handled += 1
                    count.handle += handle
        if question.today.holds(arrival) and status != "evicted":
            until = question.now if status == "waiting" else done
            channel.longest_today = max(channel.longest_today, until - arrival)
        for window in self._windows:
            if window.holds(arrival):
                self._count_arrival(channel.window(window.name), status, max(0, done - arrival))
        entered = min(arrival, instant(queued["entered"])) if "entered" in queued else arrival
        for rule in question.rules:
            if not rule.only_open or question.is_open(arrival):
                began = entered if rule.clock is WaitClock.CALL else arrival
                self._count_level(channel, rule, arrival, began, status, done, reason)

    def _count_arrival(self, count: WindowCount, status: str, wait: int) -> None:
        count.offered += 1
        if status == "waiting":
            count.waiting += 1
            return
        count.outcomes[status] += 1
        if status == "answered":
            count.answer_wait += wait
        elif status == "abandoned" and wait <= self.question.short:
            count.short += 1

    def _count_level(
        self, channel: ChannelCount, rule: Rule, arrival: int, began: int, status: str, done: int, reason: str
    ) -> None:
        windows = self._windows
        if status == "waiting":
            if rule.attribution is Attribution.OUTCOME:
                return
            too_long = self.question.now - began > rule.threshold
            booked = arrival if rule.attribution is Attribution.ARRIVAL else began + rule.threshold
            for window in windows:
                if window.holds(booked):
                    level = channel.window(window.name).level(rule.name)
                    level.waiting_too_long += too_long
                    level.waiting_in_time += not too_long
                    level.waiting_counted += rule.counts_waiting(too_long=too_long)
            return
        above, below = rule.enters(status, max(0, done - began), reason)
        if not above and not below:
            return
        booked = arrival
        if rule.attribution is Attribution.OUTCOME:
            booked = done
        elif rule.attribution is Attribution.EVENT:
            booked = min(done, began + rule.threshold)
        for window in windows:
            if window.holds(booked):
                level = channel.window(window.name).level(rule.name)
                level.above += above
                level.settled += below

    def _doubt(self, outcomes: Iterable[int], ended: int | None) -> None:
        """A visit that may not be known whole: what it does to windows by outcome and by the end of talk is open."""
        for window in self._windows:
            if any(window.holds(at) for at in outcomes):
                self.unsure_outcomes.add(window.name)
            if ended is not None and window.holds(ended):
                self.unsure_handling.add(window.name)


def waiting_now(channel: ChannelCount, since: int, now: int) -> tuple[int, int | None]:
    """How many wait at the instant that came in [since, now], and when the first of them came."""
    there = [arrival for arrival in channel.waiting if since <= arrival <= now]
    return len(there), min(there, default=None)


def is_callback(channel: str) -> bool:
    """Whether a channel is published apart, as promised calls."""
    return channel == CALLBACK
