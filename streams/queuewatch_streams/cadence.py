"""Decides when a queue's snapshot is due.

A queue that an event changed is told of at once, and then at most ten times a second.  While callers wait it is told of once
a second, since their waits grow.  Where nobody waits figures change by time alone at full ten seconds only, when something
leaves a rolling window or the history, or an interval ends: it is told of within a second of that.  Every queue is told of
once in ten seconds, changed or not, and at once when one of its sources falls silent or is heard again.  Time is handed in:
the wall clock, in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush, heapreplace
from typing import Final

from queuewatch_streams.core.calendar import SECOND
from queuewatch_streams.core.figures import moves_at
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.core.queue import Queue

__all__ = ["Cadence"]

EVERYTHING_EVERY: Final = 10 * SECOND
"""A queue is told of so often at least."""
CHANGES_EVERY: Final = SECOND // 10
"""And so often at most."""


class _Told:
    """One partition: by queue when it was told of, when it is due again, and the time of its entry in the heap; and which
    sources were alive.
    """

    __slots__ = ("alive", "at", "due", "entered", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.at: dict[str, int] = {}
        self.due: dict[str, int] = {}
        self.entered: dict[str, int] = {}
        self.alive: dict[str, bool | None] = {}


class Cadence:
    """When the queues of the partitions that are shown have to be told of again.

    A heap with one entry for each queue; one that was told of meanwhile is put off when its entry comes up, so telling of
    changed queues costs nothing here.
    """

    def __init__(self, names: Callable[[Partition], Iterable[str]]) -> None:
        """`names`: of the queues of a partition that are told of, those of the configuration to which nothing happened too."""
        self._names = names
        self._told: dict[int, _Told] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._looked_at = 0

    def look(self, partitions: Iterable[Partition], now: int) -> None:
        """These are shown now; one that was not shown before is due whole.  A clock that went back makes everything due."""
        if now < self._looked_at:
            self._told, self._heap = {}, []
        self._looked_at = now
        told: dict[int, _Told] = {}
        for partition in partitions:
            known = self._told.get(partition.number)
            if known is None or known.partition is not partition:
                known = _Told(partition)
                for name in self._names(partition):
                    self._enter(known, name, now)
            told[partition.number] = known
            self._hear(known, now)
        self._told = told

    def next_due(self, now: int) -> tuple[Partition, str] | None:
        """The most overdue queue, again and again until `was_told` is told of it; None where none is due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, number, name = heap[0]
            known = self._told.get(number)
            if known is None or known.entered.get(name) != at:
                heappop(heap)
                continue
            due = known.due[name]
            if due <= at:
                return known.partition, name
            known.entered[name] = due
            heapreplace(heap, (due, number, name))
        return None

    def was_just_told(self, partition: Partition, name: str, now: int) -> bool:
        """Whether the queue was told of so lately that a change of it has to wait."""
        known = self._told.get(partition.number)
        at = None if known is None or known.partition is not partition else known.at.get(name)
        return at is not None and 0 <= now - at < CHANGES_EVERY

    def was_told(self, partition: Partition, name: str, queue: Queue | None, now: int) -> None:
        """The queue's figures of `now` went out; or (None), that it is gone."""
        known = self._told.get(partition.number)
        if known is None or known.partition is not partition:
            return
        if queue is None:
            for kept in (known.at, known.due, known.entered):
                kept.pop(name, None)
            return
        known.at[name] = now
        if partition.clock is Clock.EVENTS:  # its time stands still but for events
            self._enter(known, name, now + EVERYTHING_EVERY)
        else:
            self._enter(known, name, min(now + EVERYTHING_EVERY, moves_at(queue, now)))

    def _enter(self, known: _Told, name: str, due: int) -> None:
        known.due[name] = due
        entered = known.entered.get(name)
        if entered is None or due < entered:
            known.entered[name] = due
            heappush(self._heap, (due, known.partition.number, name))

    def _hear(self, known: _Told, now: int) -> None:
        """Make the queues due of whose sources one fell silent since the last look, or is heard again."""
        alive = {name: source.is_alive(now) for name, source in known.partition.sources.items()}
        if alive == known.alive:
            return
        other = {name for name, up in alive.items() if known.alive.get(name) is not up}
        known.alive = alive
        for name, queue in known.partition.queues.items():
            if not other.isdisjoint(queue.sources):
                self._enter(known, name, now)
