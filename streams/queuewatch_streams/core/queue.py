"""A queue is a fold over its visits.

To apply an event: take the visit's old contribution out of the windows, merge the fact, put the new one in.  Window figures
are therefore exact and may be corrected in both directions.  Totals count each visit's outcome once, when it first becomes
known, and never go down; corrections are counted in revisions, so total - revisions from + revisions to is exact.

What a queue holds is bounded: visits that wait; visits in talk or in after-call work up to a maximum; closed ones for the
grace period, so that late events find them; evicted ones for a day.  Every such rule runs on log time, which is handed in
with each event; a visit that is due is let go before an event for it is folded, so that a replay decides the same.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final

from queuewatch_schemas.plain import Event
from queuewatch_streams.core.calendar import HOUR, MINUTE, SECOND
from queuewatch_streams.core.policy import FOREVER, Policy
from queuewatch_streams.core.service_level import (
    ABANDONED,
    ANSWERED,
    DIVERTED,
    EVICTED,
    MET,
    REFUSED,
    STATUS,
    WAITING,
    Level,
)
from queuewatch_streams.core.visit import (
    LATER,
    NEW,
    REPEATED,
    REVISED,
    UNKNOWN,
    Handling,
    Outcome,
    Rules,
    Visit,
    VisitKey,
    booked_at,
    handling_of,
    merge,
    outcome_of,
)
from queuewatch_streams.core.windows import KEPT, Cell, DayCell, Point, Windows

VOICE: Final = "voice"
CALLBACK: Final = "callback"
ROLLING_SLACK: Final = 2 * MINUTE
"""How far the worker's clock may run behind the broker's before a rolling window lacks its oldest cells."""

SWEEP: Final = 30 * SECOND
"""Log time between two looks for visits that are due, while events come for others."""

# What a visit has been counted as already (bits of Visit.counted).
HANDLED: Final = 1
WRAPPED: Final = 2
NEGATIVE: Final = 4
LOST_END: Final = 8

_OUTCOME_KINDS: Final = frozenset({"queued", "refused", "answered", "abandoned", "diverted", "evicted"})
"""Kinds of events that an outcome can depend on."""


class Shelf:
    """Visits that are let go at a log time unless something happens first; `earliest` is a lower bound of those times."""

    __slots__ = ("due", "earliest")

    def __init__(self) -> None:
        self.due: dict[VisitKey, int] = {}
        self.earliest = FOREVER

    def put(self, key: VisitKey, due: int) -> None:
        """Keep the visit until then."""
        self.due[key] = due
        if due < self.earliest:
            self.earliest = due

    def take(self, log_time: int) -> list[tuple[VisitKey, int]]:
        """Take off what is due, each with the time it was due; it looks through all: ask once `earliest` has come."""
        due = [(key, at) for key, at in self.due.items() if at <= log_time]
        for key, _ in due:
            del self.due[key]
        self.earliest = min(self.due.values(), default=FOREVER)
        return due


class Channel:
    """What one queue has on one channel: who waits and talks, windows, and totals.

    `waiting` are the arrivals of the visits without outcome, ascending; `open` the same visits by key.  `totals` maps
    "name:label:..." to a count, or to microseconds for sums; names are those of the metrics without `calls_` and `_total`.
    `given_up` are ghosts that were evicted and talks whose end was never heard of.
    """

    __slots__ = ("given_up", "open", "published_to", "talking", "totals", "unfinal", "waiting", "windows", "wrapping")

    def __init__(self, policy: Policy) -> None:
        self.waiting: list[int] = []
        self.open: dict[VisitKey, Visit] = {}
        self.talking = Shelf()
        self.wrapping = Shelf()
        self.given_up = Shelf()
        # What never expires would have points without end, and nobody asks for the last hour of a file.
        self.windows = Windows(policy.step, rolling=policy.longest_rolling > 0, points=policy.grace < FOREVER)
        self.totals: dict[str, int] = {}
        self.published_to: int | None = None
        self.unfinal: set[int] = set()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a total."""
        self.totals[name] = self.totals.get(name, 0) + by

    def observe(self, keys: tuple[str, ...], edges: tuple[int, ...], value: int) -> None:
        """Count a duration under the key of the first edge at or above it, and add it to the sum, the last key."""
        self.count(keys[bisect_left(edges, value)])
        self.count(keys[-1], value)


class Queue:
    """The live state of one queue; everything but `policy` comes from its events."""

    __slots__ = (
        "active_at",
        "channels",
        "closed",
        "hours",
        "last_event",
        "name",
        "next_due",
        "next_prune",
        "next_sweep",
        "policy",
        "repeated",
        "snapshots",
        "sources",
        "visits",
        "wraps",
    )

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.visits: dict[VisitKey, Visit] = {}
        self.channels: dict[str, Channel] = {VOICE: Channel(policy)}
        self.closed: deque[VisitKey] = deque()
        """Visits that are over, in the order in which that became known; of one that stands there twice the last counts."""
        self.hours: tuple[int, bool] | None = None
        """When its source last opened (True) or closed it (False)."""
        self.snapshots: dict[str, list[tuple[int, frozenset[VisitKey]]]] = {}
        """By source: its two newest lists of who waits, the newest last."""
        self.sources: set[str] = set()
        """Who sends events of this queue."""
        self.wraps = False
        """Whether this queue's sources tell of the end of after-call work at all."""
        self.last_event = 0
        self.repeated = 0
        """Events that repeated what was known; kept here, since only the queue's record knows which of them it holds."""
        self.active_at = 0
        """The log time of its last event; an idle queue leaves the state."""
        self.next_due = FOREVER
        self.next_sweep = -FOREVER
        self.next_prune = -FOREVER

    def channel(self, name: str) -> Channel:
        """The channel of that name; made when first asked for."""
        found = self.channels.get(name)
        if found is None:
            found = self.channels[name] = Channel(self.policy)
        return found

    # ------------------------------------------------------------------------------------------------------- folding

    def fold_call(self, event: Event) -> int:
        """Fold one event of a call.  Returns what it did: LATER, REPEATED, NEW or REVISED."""
        kind, at, log_time = event.kind.call, event.at, event.log_time
        self.active_at = log_time
        if at > self.last_event:
            self.last_event = at
        key: VisitKey = event.subject if event.visit == 1 else (event.subject, event.visit)
        visit = self.visits.get(key)
        # What is due matters to this fold only where it is this very visit; the others are swept now and then.
        if log_time >= self.next_due and (
            log_time >= self.next_sweep or (visit is not None and visit.known_at + self.policy.shortest <= log_time)
        ):
            self.expire(log_time)
            visit = self.visits.get(key)
        settles = kind in _OUTCOME_KINDS
        old: Outcome | None = None
        handled: Handling | None = None
        shelf: Shelf | None = None
        created = visit is None
        if visit is None:
            visit = self.visits[key] = Visit()
            visit.known_at = log_time
        elif kind == "ringing":
            return LATER  # no figure depends on it
        else:
            if settles:
                old = outcome_of(visit)
            if visit.ended != UNKNOWN:
                handled = handling_of(visit)
            if visit.answered != UNKNOWN or visit.more is not None:
                shelf = self._shelf(visit)
        merged = merge(visit, event)
        if merged < NEW:
            if created:
                self._keep_closed(key, visit)
            return merged
        if merged == REVISED:
            entry = visit.entry
            self.channel(VOICE if entry is None else entry.channel).count("time_revisions:" + kind)
        visit.known_at = log_time
        if visit.rules is None and visit.queued != UNKNOWN:
            visit.rules = self.policy.rules
        if kind == "wrapped" and not self.wraps:
            self._expect_wraps()
        elif kind == "declined" and visit.entry is not None:
            self.channel(visit.entry.channel).count("declined:" + event.data["reason"])
        if settles:
            new = outcome_of(visit)
            if new is not None and not new.equals(old):
                self._settle(key, visit, old, new)
        if visit.ended != UNKNOWN:
            handling = handling_of(visit)
            if handling is not None and not handling.equals(handled):
                self._handle(visit, handled, handling)
        self._put_away(key, visit, shelf)
        return merged

    def fold_hours(self, at: int, opened: bool, log_time: int) -> int:
        """The source opened or closed the queue; the newest word holds, of two at once the closing one."""
        self.active_at = log_time
        if log_time >= self.next_due:
            self.expire(log_time)
        if self.hours is not None and (at, not opened) <= (self.hours[0], not self.hours[1]):
            return REPEATED if (at, opened) == self.hours else LATER
        self.hours = (at, opened)
        return NEW

    def fold_snapshot(self, at: int, source: str, waiting: frozenset[VisitKey], log_time: int) -> int:
        """The source's own list of who waits; the two newest are kept, of two at once the one that shows more."""
        self.active_at = log_time
        if log_time >= self.next_due:
            self.expire(log_time)
        lists = self.snapshots.setdefault(source, [])
        for index, (known_at, known) in enumerate(lists):
            if known_at == at:
                if waiting <= known:
                    return REPEATED
                lists[index] = (at, known | waiting)
                return REVISED
        lists.append((at, waiting))
        lists.sort(key=lambda each: each[0])
        dropped = lists.pop(0) if len(lists) > 2 else None
        return LATER if dropped is not None and dropped[0] == at else NEW

    # ------------------------------------------------------------------------------------------- what visits contribute

    def _settle(self, key: VisitKey, visit: Visit, old: Outcome | None, new: Outcome) -> None:
        """The visit's contribution by arrival and outcome changes from `old` to `new`."""
        if old is not None:
            before = self.channel(old.channel)
            if old.status == WAITING:
                del before.waiting[bisect_left(before.waiting, old.arrival)]
                del before.open[key]
                before.windows.touch(old.arrival)
            elif old.status == REFUSED:
                _book_refusal(before.windows, old.arrival, -1)
            else:
                assert visit.rules is not None, "only queued visits are booked"
                _book(before.windows, visit.rules, old, -1)
        after = self.channel(new.channel)
        if new.status == WAITING:
            insort(after.waiting, new.arrival)
            after.open[key] = visit
            after.windows.touch(new.arrival)
        elif new.status == REFUSED:
            _book_refusal(after.windows, new.arrival, 1)
        else:
            assert visit.rules is not None, "only queued visits are booked"
            _book(after.windows, visit.rules, new, 1)
        self._count(after, visit, old, new)

    def _count(self, channel: Channel, visit: Visit, old: Outcome | None, new: Outcome) -> None:
        """Totals and revisions for a change of outcome; a visit that moves to another channel is counted anew there."""
        if new.status == REFUSED:
            if old is None:
                channel.count("refused:" + new.reason)
            return
        status = STATUS[new.status]
        moved = old is not None and (old.status == REFUSED or old.channel != new.channel)
        if old is not None and moved:
            self.channel(old.channel).count(f"revisions:{STATUS[old.status]}:none")
        if old is None or moved:
            entry = visit.entry
            assert entry is not None
            channel.count("offered")
            if entry.via not in ("", "direct"):
                channel.count("transferred_in:" + entry.via)
            if visit.more is not None and (old is None or old.status == REFUSED):
                for _, reason, _ in visit.more.get("declined", ()):
                    channel.count("declined:" + reason)
        elif old.status != WAITING:
            if old.status != new.status:
                channel.count(f"revisions:{STATUS[old.status]}:{status}")
            return
        if new.status == WAITING:
            return
        if new.negative and not visit.counted & NEGATIVE:
            visit.counted |= NEGATIVE
            channel.count("negative_waits")
        policy = self.policy
        if new.status == ANSWERED:
            channel.count(status)
            channel.observe(policy.answer_keys, policy.wait_edges, new.wait)
        elif new.status == ABANDONED:
            channel.count(status)
            channel.observe(policy.abandon_keys, policy.wait_edges, new.wait)
            if new.short:
                channel.count("short_abandoned")
        else:
            channel.count(f"{status}:{new.reason}")

    def _handle(self, visit: Visit, old: Handling | None, new: Handling) -> None:
        """The visit's contribution by its handling changes from `old` to `new`."""
        channel = self.channel(new.channel)
        if old is None:
            _book_handling(channel.windows, new.ended, 1, new.talk, new.hold, new.wrap or 0)
        elif old.ended == new.ended and old.channel == new.channel:
            wrap = (new.wrap or 0) - (old.wrap or 0)
            _book_handling(channel.windows, new.ended, 0, new.talk - old.talk, new.hold - old.hold, wrap)
        else:
            windows = self.channel(old.channel).windows
            _book_handling(windows, old.ended, -1, -old.talk, -old.hold, -(old.wrap or 0))
            _book_handling(channel.windows, new.ended, 1, new.talk, new.hold, new.wrap or 0)
        if not visit.counted & HANDLED:
            visit.counted |= HANDLED
            channel.count("talk:count")
            channel.count("talk:sum", max(0, new.talk))
            channel.count("hold:count")
            channel.count("hold:sum", new.hold)
        if new.wrap is not None and not visit.counted & WRAPPED:
            visit.counted |= WRAPPED
            channel.count("wrap_up:count")
            channel.count("wrap_up:sum", new.wrap)

    def longest_wait(self, name: str, start: int, end: int, now: int) -> int:
        """The greatest wait until `now` of the visits that entered a channel in [start, end), whole day cells; ghosts not.

        Those who wait are in it.  0 without any.
        """
        channel = self.channels[name]
        longest = channel.windows.longest(start, end)
        if longest is None:
            channel.windows.measure(self._held_waits(name))
            longest = channel.windows.longest(start, end)
            assert longest is not None, "every cell was measured"
        first = bisect_left(channel.waiting, start)
        if first < len(channel.waiting) and channel.waiting[first] < end:
            longest = max(longest, now - channel.waiting[first])  # one who is to come has no wait yet
        return longest

    def _held_waits(self, name: str) -> dict[int, int]:
        """By day cell, the greatest wait of the settled visits of a channel that are held."""
        held: dict[int, int] = {}
        step = self.policy.step
        for visit in self.visits.values():
            wait = _wait_of(visit)
            if wait >= 0 and visit.entry is not None and visit.entry.channel == name:
                assert visit.arrival is not None, "it was queued"
                cell = visit.arrival - visit.arrival % step
                held[cell] = max(wait, held.get(cell, 0))
        return held

    # ------------------------------------------------------------------------------------------------- keeping and expiry

    def _shelf(self, visit: Visit) -> Shelf | None:
        """Where a visit is kept that is not simply waiting or closed."""
        if visit.entry is None:
            return None
        if visit.answered != UNKNOWN:
            if visit.ended == UNKNOWN:
                channel = self.channel(visit.entry.channel)
                return channel.given_up if visit.counted & LOST_END else channel.talking
            if visit.wrapped == UNKNOWN and self.wraps:
                return self.channel(visit.entry.channel).wrapping
            return None
        if (
            visit.abandoned == UNKNOWN
            and visit.more is not None
            and "evicted" in visit.more
            and "diverted" not in visit.more
        ):
            return self.channel(visit.entry.channel).given_up
        return None

    def _put_away(self, key: VisitKey, visit: Visit, before: Shelf | None) -> None:
        shelf = self._shelf(visit)
        if before is not None and before is not shelf:
            before.due.pop(key, None)
        if shelf is not None:
            due = visit.known_at + self._kept(visit)
            shelf.put(key, due)
            if due < self.next_due:
                self.next_due = due
        elif not self._waits(visit):
            self._keep_closed(key, visit)

    def keep(self, key: VisitKey, visit: Visit) -> None:
        """Keep a visit that was read back and does not wait, for as long as its facts say; ghosts are put back apart."""
        shelf = self._shelf(visit)
        if shelf is None:
            self._keep_closed(key, visit)
        elif not any(shelf is channel.given_up for channel in self.channels.values()):
            shelf.put(key, visit.known_at + self._kept(visit))

    def _kept(self, visit: Visit) -> int:
        """How long after its last new fact a visit is kept, once it no longer waits."""
        policy = self.policy
        if visit.answered == UNKNOWN:
            return policy.evicted_grace
        if visit.ended == UNKNOWN:
            return policy.kept if visit.counted & LOST_END else policy.maximum_talk
        return max(policy.kept, policy.maximum_wrap)

    def _expect_wraps(self) -> None:
        """The first word of after-call work: from now on those whose talk has ended are in it, also those ended before."""
        self.wraps = True
        for key, visit in self.visits.items():
            if visit.ended != UNKNOWN and (shelf := self._shelf(visit)) is not None and key not in shelf.due:
                shelf.put(key, due := visit.known_at + self._kept(visit))
                self.next_due = min(self.next_due, due)

    @staticmethod
    def _waits(visit: Visit) -> bool:
        return (
            visit.queued != UNKNOWN
            and visit.answered == UNKNOWN
            and visit.abandoned == UNKNOWN
            and (visit.more is None or not ("diverted" in visit.more or "evicted" in visit.more))
        )

    def _keep_closed(self, key: VisitKey, visit: Visit) -> None:
        self.closed.append(key)
        visit.closings += 1
        self.next_due = min(self.next_due, visit.known_at + self.policy.kept)

    def _next_closed(self) -> Visit | None:
        """The visit that was closed longest ago, the first of `closed`; where something has happened since it is taken off."""
        closed = self.closed
        while closed:
            visit = self.visits[closed[0]]
            if visit.closings == 1 and not self._waits(visit) and self._shelf(visit) is None:
                return visit
            closed.popleft()
            visit.closings -= 1
        return None

    def expire(self, log_time: int) -> None:
        """Let go of what is due at this log time; once or often, early or late, the result is the same."""
        grace = self.policy.kept
        while (visit := self._next_closed()) is not None and visit.known_at + grace <= log_time:
            visit.closings = 0
            self._release(self.closed.popleft(), visit)
        for channel in self.channels.values():
            if log_time >= channel.talking.earliest:
                for key, since in channel.talking.take(log_time):
                    self.visits[key].counted |= LOST_END
                    channel.count("lost_ends")
                    channel.given_up.put(key, since + grace)
            if log_time >= channel.wrapping.earliest:
                for key, _ in channel.wrapping.take(log_time):
                    self._release(key, self.visits[key])
            if log_time >= channel.given_up.earliest:
                for key, _ in channel.given_up.take(log_time):
                    self._release(key, self.visits[key])
        self.next_sweep = log_time + SWEEP
        if log_time >= self.next_prune:
            self._prune(log_time)
        due = self.next_prune
        if visit is not None:
            due = min(due, visit.known_at + grace)
        for channel in self.channels.values():
            due = min(due, channel.talking.earliest, channel.wrapping.earliest, channel.given_up.earliest)
        self.next_due = due

    def _release(self, key: VisitKey, visit: Visit) -> None:
        if is_orphan(visit):
            self.channel(VOICE).count("orphaned")
        elif (wait := _wait_of(visit)) >= 0:
            assert visit.entry is not None and visit.arrival is not None, "it was queued"
            arrival = visit.arrival
            cell = self.channel(visit.entry.channel).windows.days.cells.get(arrival - arrival % self.policy.step)
            if isinstance(cell, DayCell) and wait > cell.released:
                cell.released = wait
        for _ in range(visit.closings):
            self.closed.remove(key)
        del self.visits[key]

    def _prune(self, log_time: int) -> None:
        """Drop window cells that no figure needs and no held visit can change."""
        if self.policy.grace >= FOREVER:
            self.next_prune = FOREVER
            return
        self.next_prune = log_time - log_time % (5 * MINUTE) + 5 * MINUTE
        for channel in self.channels.values():
            channel.windows.rolling.forget(log_time - self.policy.longest_rolling - ROLLING_SLACK)
            channel.windows.points.forget(log_time - HOUR - ROLLING_SLACK)
        before = log_time - KEPT
        self.snapshots = {source: lists for source, lists in self.snapshots.items() if lists[-1][0] >= before}
        if any(at < before for channel in self.channels.values() for at in channel.windows.days.cells):
            arrivals = [visit.arrival for visit in self.visits.values() if visit.arrival is not None]
            before = min(before, min(arrivals, default=before))
            for channel in self.channels.values():
                channel.windows.forget_days(before - before % self.policy.step)


def is_orphan(visit: Visit) -> bool:
    """Whether events told of a visit that was neither queued nor refused; a monitor's own eviction alone is none."""
    if visit.queued != UNKNOWN:
        return False
    facts = set(visit.more or ())
    if "refused" in facts:
        return False
    return facts != {"evicted"} or any(
        fact != UNKNOWN for fact in (visit.answered, visit.abandoned, visit.ended, visit.wrapped)
    )


def _wait_of(visit: Visit) -> int:
    """The wait of a settled visit, as its outcome has it; -1 for one that waits, was given up, or was never queued."""
    arrival, more = visit.arrival, visit.more
    if arrival is None:
        return -1
    if visit.answered != UNKNOWN:
        return max(0, visit.answered - arrival)
    if visit.abandoned != UNKNOWN:
        return max(0, visit.abandoned - arrival)
    if more is not None and "diverted" in more:
        done: int = more["diverted"][0]
        return max(0, done - arrival)
    return -1


# What a visit contributes to the windows; `sign` is 1 to put it in, -1 to take it out.


def _book(windows: Windows, rules: Rules, outcome: Outcome, sign: int) -> None:
    """A settled visit, by its arrival, its outcome, and in each level as the level books."""
    arrival = outcome.arrival
    windows.touch(arrival)
    if (cell := windows.days.cell(arrival)) is not None:
        _book_arrival(cell, rules, outcome, sign)
        if outcome.status != EVICTED and isinstance(cell, DayCell):
            windows.book_wait(cell, outcome.wait, sign)
    if (cell := windows.rolling.cell(arrival)) is not None:
        _book_arrival(cell, rules, outcome, sign)
    if (point := windows.points.point(arrival)) is not None:
        _book_point(point, rules, outcome, sign)
    windows.touch(outcome.done)
    if (cell := windows.days.cell(outcome.done)) is not None:
        _book_done(cell, outcome, sign)
    levels = outcome.levels
    for level in rules.levels:
        if not level.by_arrival and levels & 3:
            _book_level(windows, booked_at(level, outcome), level, levels & 3 == MET, sign)
        levels >>= 2
    if sign < 0:
        for at in (arrival, outcome.done):
            windows.days.tidy(at)
            windows.rolling.tidy(at)
        windows.points.tidy(arrival)


def _book_point(point: Point, rules: Rules, outcome: Outcome, sign: int) -> None:
    point.offered += sign
    if outcome.status == ANSWERED:
        point.answered += sign
    elif outcome.status == ABANDONED:
        point.abandoned += sign
    levels = outcome.levels
    for level in rules.levels:
        if level.by_arrival and levels & 3:
            point.add_level(level.name, sign, sign if levels & 3 == MET else 0)
        levels >>= 2


def _book_arrival(cell: Cell, rules: Rules, outcome: Outcome, sign: int) -> None:
    status = outcome.status
    cell.offered += sign
    if status == ANSWERED:
        cell.answered += sign
        cell.answer_wait += sign * outcome.wait
    elif status == ABANDONED:
        cell.abandoned += sign
        cell.abandon_wait += sign * outcome.wait
        if outcome.short:
            cell.short += sign
    elif status == DIVERTED:
        cell.diverted += sign
        cell.add("diverted:" + outcome.reason, sign)
    else:
        cell.evicted += sign
    levels = outcome.levels
    for level in rules.levels:
        if level.by_arrival and levels & 3:
            cell.add_level(level.name, sign, sign if levels & 3 == MET else 0)
        levels >>= 2


def _book_done(cell: Cell, outcome: Outcome, sign: int) -> None:
    status = outcome.status
    if status == ANSWERED:
        cell.done_answered += sign
        cell.done_answer_wait += sign * outcome.wait
    elif status == ABANDONED:
        cell.done_abandoned += sign
        cell.done_abandon_wait += sign * outcome.wait
        if outcome.short:
            cell.done_short += sign
    elif status == DIVERTED:
        cell.done_diverted += sign
        cell.add("done:diverted:" + outcome.reason, sign)
    else:
        cell.done_evicted += sign


def _book_handling(windows: Windows, ended: int, calls: int, talk: int, hold: int, wrap: int) -> None:
    """Handled calls and their times, at the end of their talk."""
    windows.touch(ended)
    for cells in (windows.days, windows.rolling):
        if (cell := cells.cell(ended)) is not None:
            cell.handled += calls
            cell.talk += talk
            cell.hold += hold
            cell.wrap += wrap
            if calls < 0:
                cells.tidy(ended)


def _book_level(windows: Windows, at: int, level: Level, met: bool, sign: int) -> None:
    """A visit in a level's base, where that is not booked with its arrival."""
    windows.touch(at)
    for cells in (windows.days, windows.rolling):
        if (cell := cells.cell(at)) is not None:
            cell.add_level(level.name, sign, sign if met else 0)
            if sign < 0:
                cells.tidy(at)
    if (point := windows.points.point(at)) is not None:
        point.add_level(level.name, sign, sign if met else 0)
        if sign < 0:
            windows.points.tidy(at)


def _book_refusal(windows: Windows, at: int, sign: int) -> None:
    """A caller who was never let in."""
    windows.touch(at)
    for cells in (windows.days, windows.rolling):
        if (cell := cells.cell(at)) is not None:
            cell.refused += sign
            if sign < 0:
                cells.tidy(at)
