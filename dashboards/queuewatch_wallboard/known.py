"""What was read of the snapshots' topic, and what of it is true: pure, with every instant as an argument.

Of one key the record with the greatest offset counts, never the last that came.  Offsets of one log are comparable, those of
two are not: news from which a partition's log is shorter than before, after a silence, are those of a log that was made anew,
and a snapshot from beyond the end that later news tell of is of the log before.

That somebody lives follows from records that came while this service listened, by its own monotonic clock.  What lay in the
topic before (`live` is false) says what was, and proves nothing about now, whatever times stand in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from queuewatch_schemas.records import PartitionNews, QueueSnapshot
from queuewatch_schemas.wallboard import SilentPartition, Stale

__all__ = ["NEWS_SILENCE", "HeldNews", "HeldSnapshot", "Instant", "Known"]

NEWS_SILENCE: Final = 7.0
"""Seconds without news after which a partition is silent: three of the worker's rounds of two seconds, and some room."""
NOT_PUBLISHED: Final = timedelta(seconds=45)
"""A worker publishes every snapshot again each ten seconds; one that its partition's news leaves behind by so much was not."""
_AHEAD: Final = timedelta(seconds=5)
"""A snapshot that is older than its partition's news by more than this tells of no offset beyond theirs."""
_RENEWED: Final = timedelta(seconds=NEWS_SILENCE)


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment by both of this service's clocks."""

    monotonic: float
    """Seconds; durations are measured by it alone."""
    wall: datetime
    """What people are told."""


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """The newest snapshot of a queue, and when it came."""

    record: QueueSnapshot
    came: Instant
    age: float
    """Seconds that it was old when it came: 0 where it came as it was written."""
    down_since: datetime | None
    """Since when its sources have been down in every snapshot; None while they are up or nobody knows."""

    def age_at(self, now: Instant) -> float:
        """Seconds since its figures were so."""
        return self.age + max(0.0, now.monotonic - self.came.monotonic)


@dataclass(frozen=True, slots=True)
class HeldNews:
    """The newest news of a partition."""

    record: PartitionNews
    heard: float | None
    """When it was last heard of, by the monotonic clock; None where that was before this service listened."""
    told_at: datetime
    """When these came, by the wall clock; of what lay in the topic before, the time that stands in it."""
    true_until: datetime | None
    """When it was last heard to be ready; None if never."""


@dataclass(frozen=True, slots=True)
class _Gone:
    """A queue that has left the state."""

    since: datetime
    offset: int
    group: str


class Known:
    """The newest snapshots and news.  `version` grows with each that was taken."""

    def __init__(self) -> None:
        self.snapshots: dict[str, HeldSnapshot] = {}
        self.news: dict[int, HeldNews] = {}
        self._gone: dict[str, _Gone] = {}
        self.version = 0

    # ------------------------------------------------------------------------------------------------------- taking in

    def take_snapshot(self, record: QueueSnapshot, now: Instant, *, live: bool) -> bool:
        """Keep it, unless what is held is newer; whether it was kept."""
        held = self.snapshots.get(record.queue)
        if held is not None and not self._replaces(record, held.record):
            return False
        gone = self._gone.get(record.queue)
        if gone is not None and record.offset <= gone.offset:
            return False
        self._gone.pop(record.queue, None)
        down_since = None
        if record.source_up is False:
            down_since = held.down_since if held is not None and held.down_since is not None else record.time
        age = 0.0 if live else max(0.0, (now.wall - record.time).total_seconds())
        self.snapshots[record.queue] = HeldSnapshot(record, now, age, down_since)
        self.version += 1
        return True

    def _replaces(self, new: QueueSnapshot, held: QueueSnapshot) -> bool:
        if new.partition != held.partition or self._of_an_earlier_log(held):
            return new.time >= held.time  # their offsets cannot be compared
        return (new.offset, new.time) >= (held.offset, held.time)

    def take_tombstone(self, queue: str, now: Instant) -> bool:
        """The queue has left the state; whether it was there.  Snapshots from before do not bring it back."""
        held = self.snapshots.pop(queue, None)
        if held is None:
            return False
        self._gone[queue] = _Gone(now.wall, held.record.offset, held.record.group)
        self.version += 1
        return True

    def take_news(self, record: PartitionNews, now: Instant, *, live: bool) -> bool:
        """Keep them, unless what is held is newer; whether they were kept."""
        held = self.news.get(record.partition)
        if held is not None and not self._succeed(record, held.record):
            return False
        told_at = now.wall if live else record.time
        true_until = told_at if record.ready else held.true_until if held is not None else None
        self.news[record.partition] = HeldNews(record, now.monotonic if live else None, told_at, true_until)
        self.version += 1
        return True

    @staticmethod
    def _succeed(new: PartitionNews, held: PartitionNews) -> bool:
        if not new.ready:  # of a recovery: it starts behind what was told before
            return new.owner != held.owner or new.offset >= held.offset or new.time >= held.time
        return not held.ready or new.offset >= held.offset or new.time - held.time > _RENEWED

    def forget(self) -> None:
        """The topic is another one now."""
        self.snapshots.clear()
        self.news.clear()
        self._gone.clear()
        self.version += 1

    # --------------------------------------------------------------------------------------------------------- telling

    @property
    def partitions(self) -> int | None:
        """How many partitions the event topic has, by the newest news; None without any."""
        newest = max(self.news.values(), key=lambda each: each.record.time, default=None)
        return None if newest is None else newest.record.partitions

    def group_of(self, queue: str) -> str | None:
        """The group that a known queue is in now, or was in when it left the state; None of an unknown one."""
        if (held := self.snapshots.get(queue)) is not None:
            return held.record.group
        gone = self._gone.get(queue)
        return None if gone is None else gone.group

    def gone_since(self, queue: str) -> datetime | None:
        """When the queue left the state; None where it did not, or not while this service listened."""
        gone = self._gone.get(queue)
        return None if gone is None else gone.since

    def silent(self, now: Instant) -> dict[int, SilentPartition]:
        """The partitions of which nothing certain is known, by number."""
        count = self.partitions
        told = (self._silence(partition, count, now) for partition in range(count or 0))
        return {each.partition: each for each in told if each is not None}

    def _silence(self, partition: int, count: int | None, now: Instant) -> SilentPartition | None:
        held = self.news.get(partition)
        if held is None or held.record.partitions != count:  # what an earlier topic had under that number
            return SilentPartition(partition=partition, since=None, why="never")
        since = held.true_until or held.told_at
        if held.heard is None or now.monotonic - held.heard > NEWS_SILENCE:
            return SilentPartition(partition=partition, since=since, why="no_news")
        return None if held.record.ready else SilentPartition(partition=partition, since=since, why="recovering")

    def stale(self, held: HeldSnapshot, silent: dict[int, SilentPartition]) -> Stale | None:
        """Why and since when a queue's figures are not to be trusted, given the silent partitions; None when they are."""
        record = held.record
        partition = silent.get(record.partition)
        if partition is not None:
            return Stale(why=partition.why, since=partition.since, what="all")
        news = self.news.get(record.partition)
        if news is None or news.record.partitions != self.partitions:  # beyond the topic's partitions of today
            return Stale(why="never", since=held.record.time, what="all")
        if news.record.time - record.time > NOT_PUBLISHED or self._of_an_earlier_log(record):
            return Stale(why="not_published", since=record.time, what="all")
        if record.source_up is False:
            return Stale(why="source_down", since=held.down_since, what="waiting")
        return None

    def _of_an_earlier_log(self, record: QueueSnapshot) -> bool:
        news = self.news.get(record.partition)
        return (
            news is not None
            and news.record.ready
            and record.offset > news.record.offset
            and news.record.time - record.time > _AHEAD
        )
