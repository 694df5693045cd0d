"""How much was booked when: sparse cells of ten seconds for rolling windows, of a quarter of an hour for days, and points of
five minutes for the history of the last hour.

Every time zone in use is a whole number of quarters of an hour from UTC, so every interval and every business day is a union
of quarter cells: nothing here knows a time zone.  A cell holds integers by name (calls, or microseconds), 0 where nothing
was booked.  A range is closed on the left and open on the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mypy_extensions import i32, mypyc_attr

from queuewatch_streams.core.calendar import HOUR, MINUTE, SECOND

TEN_SECONDS: Final = 10 * SECOND
FIVE_MINUTES: Final = 5 * MINUTE
QUARTER: Final = 15 * MINUTE
KEPT: Final = 26 * HOUR
"""Quarter cells are kept so long at least: the longest business day, and an hour."""
_NEVER: Final = 1 << 62

_SHOWN: Final = ("offered", "answered", "abandoned")
"""What a history shows."""
_OTHERS: Final = (
    "diverted",
    "evicted",
    "refused",
    "answer_wait",
    "abandon_wait",
    "short",
    "handled",
    "talk",
    "hold",
    "wrap",
    "done_answered",
    "done_abandoned",
    "done_diverted",
    "done_evicted",
    "done_answer_wait",
    "done_abandon_wait",
    "done_short",
)
_NAMES: Final = {field.replace("done_", "done:"): field for field in (*_SHOWN, *_OTHERS)}


@mypyc_attr(acyclic=True)
class Point:
    """What was booked in one stretch of time, as far as a history shows it.

    By arrival: calls, and of them those answered and abandoned.  `base` and `met` are those of the service level named
    `level`, the first that was booked here: most queues have one.  `more` has what not every queue has: "base:" and "met:"
    with a further level's name.
    """

    __slots__ = (*_SHOWN, "base", "level", "met", "more")

    def __init__(self) -> None:
        # Counts of calls have 32 bits once they are compiled: there are a hundred cells to a queue.
        self.offered: i32 = 0
        self.answered: i32 = 0
        self.abandoned: i32 = 0
        self.base: i32 = 0
        self.met: i32 = 0
        self.level = ""
        self.more: dict[str, int] | None = None

    def add(self, name: str, amount: int) -> None:
        """Add to one of `more`; a zero is not kept."""
        more = self.more
        if more is None:
            more = self.more = {}
        if left := more.get(name, 0) + amount:
            more[name] = left
        else:
            more.pop(name, None)

    def add_level(self, level: str, base: int, met: int) -> None:
        """Add to what a service level counts here."""
        if not self.level:
            self.level = level
        if self.level == level:
            self.base += base
            self.met += met
        else:
            self.add("base:" + level, base)
            if met:
                self.add("met:" + level, met)

    def tally(self, level: str) -> tuple[int, int]:
        """(met, base) of a service level."""
        if self.level == level:
            return self.met, self.base
        if self.more is None:
            return 0, 0
        return self.more.get("met:" + level, 0), self.more.get("base:" + level, 0)

    def levels(self) -> list[str]:
        """The service levels that count anything here."""
        counted = [self.level] if self.base else []
        return counted + [name[5:] for name in self.more or () if name.startswith("base:")]

    def is_empty(self) -> bool:
        """Whether nothing is booked any more."""
        return not (self.offered or self.base or self.more)


@mypyc_attr(acyclic=True)
class Cell(Point):
    """What was booked in one stretch of time.

    By arrival: calls by outcome and their waits; by the end of talk: handled, talk, hold, wrap; by outcome: `done_...`.
    `more` has also "diverted:" and "done:diverted:" with a reason.
    """

    __slots__ = _OTHERS

    def __init__(self) -> None:
        super().__init__()
        self.diverted: i32 = 0
        self.evicted: i32 = 0
        self.refused: i32 = 0
        self.short: i32 = 0
        self.handled: i32 = 0
        self.done_answered: i32 = 0
        self.done_abandoned: i32 = 0
        self.done_diverted: i32 = 0
        self.done_evicted: i32 = 0
        self.done_short: i32 = 0
        self.answer_wait = 0
        self.abandon_wait = 0
        self.talk = 0
        self.hold = 0
        self.wrap = 0
        self.done_answer_wait = 0
        self.done_abandon_wait = 0

    def merge(self, other: Cell, sign: int) -> None:
        """Add another cell (1), or take it out (-1)."""
        self.offered += sign * other.offered
        self.answered += sign * other.answered
        self.abandoned += sign * other.abandoned
        self.diverted += sign * other.diverted
        self.evicted += sign * other.evicted
        self.refused += sign * other.refused
        self.answer_wait += sign * other.answer_wait
        self.abandon_wait += sign * other.abandon_wait
        self.short += sign * other.short
        self.handled += sign * other.handled
        self.talk += sign * other.talk
        self.hold += sign * other.hold
        self.wrap += sign * other.wrap
        self.done_answered += sign * other.done_answered
        self.done_abandoned += sign * other.done_abandoned
        self.done_diverted += sign * other.done_diverted
        self.done_evicted += sign * other.done_evicted
        self.done_answer_wait += sign * other.done_answer_wait
        self.done_abandon_wait += sign * other.done_abandon_wait
        self.done_short += sign * other.done_short
        if other.level:
            self.add_level(other.level, sign * other.base, sign * other.met)
        if other.more:
            for name, amount in other.more.items():
                if name.startswith("base:"):
                    self.add_level(name[5:], sign * amount, 0)
                elif name.startswith("met:"):
                    self.add_level(name[4:], 0, sign * amount)
                else:
                    self.add(name, sign * amount)

    def is_empty(self) -> bool:
        """Whether nothing is booked any more: no call, then no time either."""
        done = self.done_answered or self.done_abandoned or self.done_diverted or self.done_evicted
        return not (self.offered or self.handled or self.refused or done or self.base or self.more)

    def of(self, name: str) -> int:
        """A figure by its name, with colons; 0 where nothing was booked."""
        if (field := _NAMES.get(name)) is not None:
            amount: int = getattr(self, field)
            return amount
        if self.level and name == "base:" + self.level:
            return self.base
        if self.level and name == "met:" + self.level:
            return self.met
        return 0 if self.more is None else self.more.get(name, 0)

    def told(self) -> dict[str, int]:
        """All figures by name that are not 0, in an order that depends on them alone."""
        told: dict[str, int] = {}  # spelled out as in `merge`: a checkpoint tells hundreds of cells
        if self.offered:
            told["offered"] = self.offered
        if self.answered:
            told["answered"] = self.answered
        if self.abandoned:
            told["abandoned"] = self.abandoned
        if self.diverted:
            told["diverted"] = self.diverted
        if self.evicted:
            told["evicted"] = self.evicted
        if self.refused:
            told["refused"] = self.refused
        if self.answer_wait:
            told["answer_wait"] = self.answer_wait
        if self.abandon_wait:
            told["abandon_wait"] = self.abandon_wait
        if self.short:
            told["short"] = self.short
        if self.handled:
            told["handled"] = self.handled
        if self.talk:
            told["talk"] = self.talk
        if self.hold:
            told["hold"] = self.hold
        if self.wrap:
            told["wrap"] = self.wrap
        if self.done_answered:
            told["done:answered"] = self.done_answered
        if self.done_abandoned:
            told["done:abandoned"] = self.done_abandoned
        if self.done_diverted:
            told["done:diverted"] = self.done_diverted
        if self.done_evicted:
            told["done:evicted"] = self.done_evicted
        if self.done_answer_wait:
            told["done:answer_wait"] = self.done_answer_wait
        if self.done_abandon_wait:
            told["done:abandon_wait"] = self.done_abandon_wait
        if self.done_short:
            told["done:short"] = self.done_short
        if self.base:
            told["base:" + self.level] = self.base
        if self.met:
            told["met:" + self.level] = self.met
        return dict(sorted((told | self.more).items())) if self.more else told

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.told() == other.told()

    __hash__ = None  # type: ignore[assignment]  # it changes

    @classmethod
    def of_told(cls, told: Mapping[str, int]) -> Cell:
        """The cell that told so."""
        cell = cls()
        for name, amount in told.items():
            if (field := _NAMES.get(name)) is not None:
                setattr(cell, field, amount)
            elif name.startswith("base:"):
                cell.add_level(name[5:], amount, 0)
            elif name.startswith("met:"):
                cell.add_level(name[4:], 0, amount)
            else:
                cell.add(name, amount)
        return cell


@mypyc_attr(acyclic=True)
class DayCell(Cell):
    """A cell of days.

    `longest` is the greatest wait by arrival, ghosts left out; where that was withdrawn, and `is_longest` is false, none is
    greater.  `released` is the greatest of visits that were let go, which nothing can withdraw.  Both are no sums: they are in
    no total.
    """

    __slots__ = ("is_longest", "longest", "released")

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0
        self.is_longest = True
        self.released = 0


class _Running:
    """A sum over [start, end) that follows its cells.

    `summed` are those that are in `total` as they stand, `fresh` those that are not though they may have to be.
    """

    __slots__ = ("fresh", "start", "summed", "total")

    def __init__(self, start: int, cells: Iterable[int]) -> None:
        self.start = start
        self.total = Cell()
        self.summed: set[int] = set()
        self.fresh = set(cells)


class Cells:
    """Cells of one length (`step`, microseconds) by their start.

    Below `since` cells are gone for good: what belongs there is no longer booked or withdrawn.
    """

    __slots__ = ("_last", "_last_start", "_running", "cells", "of_days", "since", "step")

    def __init__(self, step: int, *, used: bool = True, of_days: bool = False) -> None:
        self.step = step
        self.of_days = of_days
        self.since = -_NEVER if used else _NEVER
        self.cells: dict[int, Cell] = {}
        self._running: dict[int, _Running] = {}
        # The cell that was booked into last, which is in no sum as it stands: most that comes next belongs there too.
        self._last: Cell | None = None
        self._last_start = 0

    def cell(self, at: int) -> Cell | None:
        """The cell of an instant, to book into; None where cells are gone."""
        start = at - at % self.step
        if start == self._last_start and self._last is not None:
            return self._last
        if start < self.since:
            return None
        found = self.cells.get(start)
        if found is None:
            found = self.cells[start] = DayCell() if self.of_days else Cell()
        if self._running:
            self._take_out(start, found)
        self._last, self._last_start = found, start
        return found

    def tidy(self, at: int) -> None:
        """Drop the cell of an instant if it is empty, after something was withdrawn from it."""
        start = at - at % self.step
        cell = self.cells.get(start)
        if cell is not None and cell.is_empty():
            del self.cells[start]
            self._last = None

    def total(self, start: int, end: int, *, followed: bool = False) -> Cell:
        """The sums over [start, end); both lie on bounds of cells.

        `followed`: the same length is going to be asked for again and again, so its sum is kept up to date.
        """
        cells = self.cells
        if followed:
            return self._follow(start, end)
        total = Cell()
        if (end - start) // self.step > len(cells):
            for at, cell in cells.items():
                if start <= at < end:
                    total.merge(cell, 1)
        else:
            for at in range(start, end, self.step):
                if at in cells:
                    total.merge(cells[at], 1)
        return total

    def forget(self, before: int) -> None:
        """Drop the cells that start before an instant; one that came late, behind a newer one, goes with that."""
        if before > self.since:
            self.since = before
            self._last = None
            gone = []
            for at in self.cells:
                if at >= before:
                    break
                gone.append(at)
            for at in gone:
                self._take_out(at, self.cells.pop(at))
            for running in self._running.values():
                running.fresh = {at for at in running.fresh if at >= before}

    def _take_out(self, at: int, cell: Cell) -> None:
        """The cell is about to change: it leaves the sums that hold it as it stands."""
        for running in self._running.values():
            if at not in running.fresh:
                running.fresh.add(at)
                if at in running.summed:
                    running.summed.remove(at)
                    running.total.merge(cell, -1)

    def _follow(self, start: int, end: int) -> Cell:
        self._last = None  # it may be in a sum from now on
        running = self._running.get(end - start)
        if running is None or start < running.start:
            running = self._running[end - start] = _Running(start, self.cells)
        summed, fresh, total = running.summed, running.fresh, running.total
        if start > running.start:
            for at in [at for at in summed if at < start]:
                summed.remove(at)
                total.merge(self.cells[at], -1)
            running.start = start
        for at in [at for at in fresh if at < end]:
            fresh.remove(at)
            if at >= start and (cell := self.cells.get(at)) is not None:
                summed.add(at)
                total.merge(cell, 1)
        told = Cell()
        told.merge(total, 1)
        return told


class Points:
    """Points of five minutes by their start, for the last hour; below `since` they are gone for good."""

    __slots__ = ("points", "since")

    def __init__(self, *, used: bool = True) -> None:
        self.since = -_NEVER if used else _NEVER
        self.points: dict[int, Point] = {}

    def point(self, at: int) -> Point | None:
        """The point of an instant, to book into; None where points are gone."""
        start = at - at % FIVE_MINUTES
        if start < self.since:
            return None
        found = self.points.get(start)
        if found is None:
            found = self.points[start] = Point()
        return found

    def tidy(self, at: int) -> None:
        """Drop the point of an instant if it is empty, after something was withdrawn from it."""
        start = at - at % FIVE_MINUTES
        point = self.points.get(start)
        if point is not None and point.is_empty():
            del self.points[start]

    def forget(self, before: int) -> None:
        """Drop the points that start before an instant."""
        before -= before % FIVE_MINUTES
        if before > self.since:
            self.since = before
            self.points = {at: point for at, point in self.points.items() if at >= before}


class Windows:
    """The booked figures of one queue and channel: by quarters of an hour (`days`), by ten seconds (`rolling`), and by five
    minutes for the history (`points`).

    `step` is the length of a day cell in microseconds: a quarter of an hour, finer only where a file's intervals need it.
    `touched` are the starts of the day cells that changed since they were last taken.
    """

    __slots__ = ("_longest", "days", "points", "rolling", "touched")

    def __init__(self, step: int = QUARTER, *, rolling: bool = True, points: bool = True) -> None:
        self.days = Cells(step, of_days=True)
        self.rolling = Cells(TEN_SECONDS, used=rolling)
        self.points = Points(used=points)
        self.touched: set[int] = set()
        self._longest: tuple[int, int, int] | None = None
        """(start, end, greatest wait there), while no cell's longest changes."""

    def touch(self, at: int) -> None:
        """Something changes at an instant: in its day cell, or (a caller who waits) beside it."""
        day = at - at % self.days.step
        if day >= self.days.since:
            self.touched.add(day)

    def book_wait(self, cell: DayCell, wait: int, sign: int) -> None:
        """A visit's wait is booked into a day cell (1), or withdrawn (-1)."""
        if sign < 0:
            if wait == cell.longest:
                cell.is_longest = False
                self._longest = None
        elif wait > cell.longest or (wait == cell.longest and not cell.is_longest):
            cell.longest = wait  # nothing there is longer: a withdrawn one is a bound still
            cell.is_longest = True
            self._longest = None

    def longest(self, start: int, end: int) -> int | None:
        """The greatest wait booked in day cells from `start` to `end`; None where some cell has to be measured first."""
        known = self._longest
        if known is not None and known[0] == start and known[1] == end:
            return known[2]
        longest = 0
        for at, cell in self.days.cells.items():
            if start <= at < end:
                assert isinstance(cell, DayCell)
                if not cell.is_longest:
                    return None
                longest = max(longest, cell.longest)
        self._longest = start, end, longest
        return longest

    def measure(self, held: dict[int, int]) -> None:
        """Find each day cell's greatest wait anew; `held` has, by the start of the cell, that of visits that are held."""
        self._longest = None
        for at, cell in self.days.cells.items():
            assert isinstance(cell, DayCell)
            if not cell.is_longest:
                cell.longest = max(cell.released, held.get(at, 0))
                cell.is_longest = True

    def forget_days(self, before: int) -> None:
        """Drop the day cells that start before an instant."""
        if before > self.days.since:
            self.days.forget(before)
            self.touched = {at for at in self.touched if at >= before}
