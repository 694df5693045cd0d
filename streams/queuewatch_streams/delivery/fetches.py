"""A delivery: the records of one partition as one fetch brought them, unpacked as late as can be.

aiokafka makes two objects of every record, and all of a fetch at once.  Here a batch is handed on as it is (`Part`), and its
records are made, one after the other, when the delivery that it belongs to is folded.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

from queuewatch_streams.core.partition import Row


class Part(NamedTuple):
    """Records of one batch that lie from ``begin`` to before ``end``, unpacked as ``rows`` is iterated, which can be done once.

    ``size`` is their number, those that compaction has removed included; ``timestamp`` the greatest, in milliseconds.
    """

    begin: int
    end: int
    size: int
    timestamp: int
    rows: Iterator[Row]


class Delivery:
    """Some records of one partition, in offset order, as one fetch brought them.

    ``run`` tells which seek they follow, ``number`` their place in it (from 1), ``begin`` the offset at which they begin,
    ``end`` the one that is fetched next.  One of the source without parts says that the broker had nothing at the offset
    that was to be fetched, and that the log is read on at ``begin``, its first.
    Whoever has folded it calls `release`: Faust may hold on to the message around it for a while.
    """

    __slots__ = ("begin", "count", "end", "number", "partition", "parts", "run", "timestamp", "topic")

    def __init__(
        self, topic: str, partition: int, run: int, number: int, parts: Sequence[Part], end: int, begin: int
    ) -> None:
        self.begin = begin
        self.topic = topic
        self.partition = partition
        self.run = run
        self.number = number
        self.parts = parts
        self.end = end
        self.count = sum(part.size for part in parts)
        self.timestamp = parts[-1].timestamp if parts else 0

    def taken(self) -> Iterator[Row]:
        """The records, one after the other, each let go as soon as the next is asked for: its memory is the next event's."""
        waiting = [part.rows for part in reversed(self.parts)]
        self.parts = ()
        return itertools.chain.from_iterable(map(waiting.pop, itertools.repeat(-1, len(waiting))))

    def release(self) -> None:
        """Let the payload go."""
        self.parts = ()

    def __repr__(self) -> str:
        return f"<Delivery {self.topic}/{self.partition} run {self.run} number {self.number} to {self.end}>"


_unpacked = operator.attrgetter("offset", "timestamp", "key", "value", "headers")
_timestamp = operator.itemgetter(1)


class _Batch:
    """A batch of aiokafka's, iterated as one thing: its records from an offset on, in parts of at most ``size``."""

    __slots__ = ("_batch", "_begin", "_size", "offset", "parts")

    def __init__(self, batch: Any, begin: int, size: int) -> None:
        self._batch = batch
        self._begin = begin
        self._size = size
        self.offset = -1
        self.parts: list[Part] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[_Batch]:
        batch = iter(self._batch)  # which decompresses it
        rows = map(_unpacked, batch)
        first = getattr(batch, "base_offset", -1)  # formats before 2 don't know theirs
        if first >= self._begin and batch.next_offset - first <= self._size:
            self.parts = [Part(first, batch.next_offset, batch.next_offset - first, batch.max_timestamp, rows)]
        else:  # the fetch began in its middle, or it is more than a delivery may hold
            wanted = [row for row in rows if row[0] >= self._begin]
            for at in range(0, len(wanted), self._size):
                some = wanted[at : at + self._size]
                self.parts.append(Part(some[0][0], some[-1][0] + 1, len(some), max(map(_timestamp, some)), iter(some)))
        if self.parts:
            self.offset = self.parts[-1].end - 1
            yield self

    def __next__(self) -> Any:  # of a control batch its one record is asked for
        return next(self._batch)


class _Batches:
    """aiokafka's reader of what one partition's fetch brought, batch by batch.

    What holds it is known only weakly here, as in `_Fetched`: a fetch is to be gone with its last record, not minutes later.
    """

    __slots__ = ("_of", "_records", "_size")

    def __init__(self, records: Any, of: PartitionRecords, size: int) -> None:
        self._records = records
        self._of = weakref.proxy(of)
        self._size = size

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> _Batch:
        return _Batch(self._records.next_batch(), self._of.next_fetch_offset, self._size)


def _of_batch(_: Any, batch: _Batch) -> list[Part]:
    return batch.parts


class Fetched(dict[Any, Any]):
    """aiokafka's fetches that wait to be handed out: those of our topics as parts of at most ``size`` records.

    aiokafka makes two records of each and goes through three calls of Python for it; that would be a fifth of all the time.
    What a batch is (checked, aborted, of control) it still judges itself.
    """

    def __init__(self, topics: frozenset[str], size: int) -> None:
        super().__init__()
        self._topics = topics
        self._size = size

    def __setitem__(self, tp: Any, result: Any) -> None:
        if tp.topic in self._topics and type(result) is FetchResult:
            unpacking = result._partition_records
            unpacking._records = _Batches(unpacking._records, unpacking, self._size)
            unpacking._consumer_record = _of_batch
            result.getall = functools.partial(_get_all, weakref.proxy(result), [])
        super().__setitem__(tp, result)


def _get_all(result: FetchResult, left: list[Part], max_records: int | None = None) -> list[Part]:
    """`FetchResult.getall` in parts, which have so many records or a few more; `left` is what the call before had over."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    unpacking = result._partition_records
    most = sys.maxsize if max_records is None else max_records
    found, left[:] = left[:], []
    count = sum(part.size for part in found)
    more, asked = True, False
    while count < most and more:
        try:
            parts = next(unpacking, None)
        except errors.KafkaError:
            if found:
                break  # these first: the batch that is damaged is fetched again, and tells so then
            raise
        more, asked = parts is not None, True
        found += parts or ()
        count += sum(part.size for part in parts or ())
    left[:] = found[most:]
    del found[most:]
    if found and (left or not asked):
        unpacking.next_fetch_offset = found[-1].end
    result._update_position()
    if not left and not more:
        result._partition_records = None
    return found
