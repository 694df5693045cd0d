"""How much was booked when: sparse cells of ten seconds for rolling windows, of a quarter of an hour for days.

Every time zone in use is a whole number of quarters of an hour from UTC, so every interval and every business day is a union
of quarter cells: nothing here knows a time zone.  A cell maps a figure's name to an integer (calls, or microseconds) and
holds no zeros.  A range is closed on the left and open on the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from queuewatch_streams.core.calendar import HOUR, MINUTE, SECOND

TEN_SECONDS = 10 * SECOND
QUARTER = 15 * MINUTE
KEPT = 26 * HOUR
"""Quarter cells are kept so long at least: the longest business day, and an hour."""

Cell = dict[str, int]
Changes = list[tuple[str, int]]


class Windows:
    """The booked figures of one queue and channel.

    `step` is the length of a day cell in microseconds: a quarter of an hour, finer only where a file's intervals need it.
    Below `rolling_from` and `days_from` cells are gone for good: what belongs there is no longer booked or withdrawn.
    `touched` are the starts of the day cells that changed since they were last taken.
    """

    __slots__ = ("days", "days_from", "rolling", "rolling_from", "step", "touched")

    def __init__(self, step: int = QUARTER, *, rolling: bool = True) -> None:
        self.step = step
        self.rolling: dict[int, Cell] = {}
        self.days: dict[int, Cell] = {}
        self.rolling_from = -(1 << 62) if rolling else 1 << 62
        self.days_from = -(1 << 62)
        self.touched: set[int] = set()

    def book(self, at: int, changes: Sequence[tuple[str, int]]) -> None:
        """Add the changes at an instant, to its day cell and its rolling cell."""
        self.book_day(at, changes)
        rolling = at - at % TEN_SECONDS
        if rolling >= self.rolling_from:
            _apply(self.rolling, rolling, changes)

    def book_day(self, at: int, changes: Sequence[tuple[str, int]]) -> None:
        """Add the changes at an instant to its day cell only: figures that no rolling window shows."""
        day = at - at % self.step
        if day >= self.days_from:
            self.touched.add(day)
            _apply(self.days, day, changes)

    def touch(self, at: int) -> None:
        """Something that is not booked here changed at an instant: a caller who waits."""
        day = at - at % self.step
        if day >= self.days_from:
            self.touched.add(day)

    def total(self, start: int, end: int) -> Cell:
        """The sums over [start, end) of day cells; both lie on their bounds."""
        if (end - start) // self.step > len(self.days):
            return _summed(cell for at, cell in self.days.items() if start <= at < end)
        days = self.days
        return _summed(days[at] for at in range(start, end, self.step) if at in days)

    def rolling_total(self, start: int, end: int) -> Cell:
        """The sums over [start, end) of ten-second cells; both lie on their bounds."""
        return _summed(cell for at, cell in self.rolling.items() if start <= at < end)

    def forget_rolling(self, before: int) -> None:
        """Drop the ten-second cells that start before an instant."""
        if before > self.rolling_from:
            self.rolling_from = before
            for at in [at for at in self.rolling if at < before]:
                del self.rolling[at]

    def forget_days(self, before: int) -> None:
        """Drop the day cells that start before an instant."""
        if before > self.days_from:
            self.days_from = before
            for at in [at for at in self.days if at < before]:
                del self.days[at]
            self.touched = {at for at in self.touched if at >= before}


def negated(changes: Sequence[tuple[str, int]]) -> Changes:
    """The changes that take these out again."""
    return [(name, -amount) for name, amount in changes]


def _apply(cells: dict[int, Cell], start: int, changes: Sequence[tuple[str, int]]) -> None:
    cell = cells.get(start)
    if cell is None:
        cell = cells[start] = {}
    for name, amount in changes:
        if left := cell.get(name, 0) + amount:
            cell[name] = left
        else:
            cell.pop(name, None)
    if not cell:
        del cells[start]


def _summed(cells: Iterable[Cell]) -> Cell:
    total: Cell = {}
    for cell in cells:
        for name, amount in cell.items():
            total[name] = total.get(name, 0) + amount
    return total
