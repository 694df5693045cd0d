"""Decides when a queue's record is written, which of several records of a key counts, and what may be committed.

One record per queue, key ``partition/queue``, and one per partition, key ``partition``, in the changelog of a Faust table.

*Loading.*  Of a key the record with the highest source offset counts, never the last one: a worker that had lost its group
may have written behind its successor.  A key whose last record is not its highest is written again, and every key is
written again now and then, well within the changelog's compaction lag, so that a record that comes behind a newer one is
never the last of its key for long enough for compaction to delete the newer one.

*Writing.*  Each changed queue at most once per ``interval``, spread evenly by its name; sooner when more than
``replay_events`` events would have to be replayed, oldest first.  Records go out in slices, each behind a check of lease,
generation and assignment and behind the barrier: everything that the worker has sent (dead letters, intervals) is
acknowledged.  They count as written when the broker has acknowledged them.  Then the barrier again, then the partition's
own record, then the commit of its ``resume_at``.  So neither record nor commit is ever ahead of what it stands for.

*Where to begin.*  At the ``resume_at`` of the partition's own record, whatever is committed; without one, at the earliest.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from aiokafka import errors

from queuewatch_streams.delivery import FetchApp, Row, WriterEnded
from queuewatch_streams.lease import seconds

__all__ = ["CheckpointFailed", "Checkpoints", "Partition"]

log = logging.getLogger(__name__)

#: Seconds of encoding after which others have their turn.
AT_A_TIME = 0.003
#: The header that says up to which source offset a tombstone is true; a record says so itself.
UP_TO = "up-to"


class Partition(Protocol):
    """What is kept of a partition, as far as delivery and checkpoints see it.  `core.partition` is the real one."""

    topic_ids: tuple[str | None, str | None]
    """Of source and changelog, when the partition was taken up; a part of the partition's own record."""

    @property
    def number(self) -> int:
        """The partition's number."""

    @property
    def next_offset(self) -> int:
        """The next offset to fold; everything before it is folded."""

    @property
    def resume_at(self) -> int:
        """The lowest offset that is not yet in a written record of a queue."""

    @property
    def dirty(self) -> Mapping[str, Any]:
        """Queue -> (first unwritten offset, …), in the order of these offsets."""

    def fold(self, records: Iterable[Any], /) -> Any:
        """Fold records in offset order; what comes back goes to the worker."""

    def encode_queue(self, queue: str, /) -> bytes | None:
        """The queue's record, true up to ``next_offset``; None (a tombstone) when it is gone."""

    def encode_self(self) -> bytes:
        """The partition's own record, true up to ``next_offset``; it holds ``resume_at``."""

    def written(self, queue: str | None, up_to: int, /) -> None:
        """The queue's record (None: the partition's own) is acknowledged; it held everything before ``up_to``."""

    def unwritten(self, queue: str, /) -> None:
        """The queue's record that was encoded last is not acknowledged: it is due again."""


P = TypeVar("P", bound=Partition)


class CheckpointFailed(RuntimeError):
    """A record cannot be written, and would not be at the next try: the worker must stop."""


class _Best(NamedTuple):
    """Of one key: the value with the highest source offset, that offset, and whether a lower one was written behind it."""

    offset: int
    value: bytes | None
    behind: bool


class _Books:
    """What is known of one owned partition's records: when each was written, what is to be written again."""

    __slots__ = ("again", "committed", "folded", "own_at", "own_up_to", "slots", "written_at")

    def __init__(self, queues: Iterable[str], again: set[str], now: float, begin: int) -> None:
        self.written_at = dict.fromkeys(queues, now)  # longest ago first
        self.again = again
        self.slots: dict[str, int] = {}
        self.own_at = now
        self.own_up_to = -1
        self.committed = -1
        #: How far was folded when; what a written record holds is left out.
        self.folded = deque([(begin, now)])


class Checkpoints(Generic[P]):
    """The records of the partitions that this worker owns.

    ``record_offset(value)`` tells the source offset up to which a record is true.  ``before_commit()`` returns when all
    that the deliveries folded so far have sent (dead letters, …) is acknowledged.  Times are seconds: ``interval`` between
    two records of a queue, ``commit_interval`` between two of a partition, ``refresh`` after which an unchanged record is
    written again (half the compaction lag or less), ``tick`` between two looks.
    """

    def __init__(
        self,
        app: FetchApp,
        *,
        record_offset: Callable[[bytes], int],
        before_commit: Callable[[], Awaitable[None]] | None = None,
        interval: float = 60.0,
        commit_interval: float = 10.0,
        refresh: float = 300.0,
        replay_events: int = 1_000_000,
        slice_records: int = 100,
        tick: float = 1.0,
        clock: Callable[[], float] = seconds,
    ) -> None:
        self._app = app
        self._record_offset = record_offset
        self._before_commit = before_commit
        self._interval = interval
        self._commit_interval = min(commit_interval, interval)
        self._refresh = refresh
        self._replay_events = replay_events
        self._slice = slice_records
        self._tick = tick
        self._clock = clock
        self._slots = max(1, round(interval / tick))
        self._slot = int(clock() / tick)
        self._loaded: dict[int, dict[bytes, _Best]] = {}
        self._owned: dict[int, tuple[P, _Books]] = {}
        self._generation = -1
        self._busy = asyncio.Lock()
        #: Records and bytes acknowledged since the start, keys and values, for the metrics.
        self.records_written = 0
        self.bytes_written = 0

    # Loading

    def loading(self, partitions: Iterable[int]) -> None:
        """The changelog of these partitions is going to be read from its beginning."""
        self._loaded = {partition: {} for partition in partitions}

    def load(self, partition: int, records: Sequence[Row]) -> None:
        """These records lie in the changelog of the partition, behind those loaded before."""
        best = self._loaded.setdefault(partition, {})
        for _, _, key, value, headers in records:
            if key is None:
                continue
            offset = self._true_up_to(value, headers)
            before = best.get(key)
            if before is None or offset >= before.offset:
                best[key] = _Best(offset, value, False)
            elif not before.behind:
                best[key] = before._replace(behind=True)

    def _true_up_to(self, value: bytes | None, headers: Sequence[Any]) -> int:
        if value is not None:
            return self._record_offset(value)
        for name, told in headers:
            if name == UP_TO:
                return int(told)
        return -1  # a tombstone of someone else: any record of ours is better

    def loaded(self, partition: int) -> tuple[bytes | None, list[bytes]]:
        """The partition's own record, if there is one, and the records of its queues."""
        own = self._loaded.get(partition, {}).get(str(partition).encode())
        prefix = f"{partition}/".encode()
        values = [
            best.value
            for key, best in self._loaded.get(partition, {}).items()
            if best.value is not None and key.startswith(prefix)
        ]
        return (own.value if own is not None else None), values

    def own(self, partition: P, generation: int) -> None:
        """The partition is restored from what was loaded, which is let go; from now on its records are written."""
        loaded = self._loaded.pop(partition.number, {})
        prefix = f"{partition.number}/"
        queues, again = [], set()
        for raw, best in loaded.items():
            key = raw.decode()
            if not key.startswith(prefix):
                continue
            queue = key[len(prefix) :]
            if best.value is not None:
                queues.append(queue)
            if best.behind:
                again.add(queue)
        if again:
            log.warning(
                "partition %d: %d records lay behind newer ones and are written again", partition.number, len(again)
            )
        books = _Books(queues, again, self._clock(), partition.next_offset)
        own = loaded.get(str(partition.number).encode())
        if own is None or own.behind:
            books.own_at = float("-inf")
        self._generation = generation
        self._owned[partition.number] = partition, books

    def forget(self) -> None:
        """All partitions are gone."""
        self._owned.clear()
        self._loaded.clear()
        self._generation = -1

    # Writing

    @property
    def busy(self) -> bool:
        """Whether records are being written at this moment."""
        return self._busy.locked()

    async def run(self) -> None:
        """Write what is due, every ``tick``, for as long as the worker runs.  Raises `CheckpointFailed`."""
        while not self._app.should_stop:
            await asyncio.sleep(self._tick)
            await self.write_due()

    async def write_due(self) -> None:
        """Write what is due now."""
        async with self._busy:
            slot = int(self._clock() / self._tick)
            slots = {s % self._slots for s in range(max(self._slot + 1, slot - self._slots + 1), slot + 1)}
            self._slot = slot
            owned = list(self._owned.values())
            for partition, books in owned:
                self._unwritten_since(partition, books, self._clock())
            replay = self._replay_events // max(1, len(owned))
            await self._checkpoint([(p, books, *self._due(p, books, slots, replay)) for p, books in owned])

    async def write_all(self, within: float) -> bool:
        """Write every changed record, and commit, within these seconds and the lease.  False when that was not possible."""
        owned = list(self._owned.values())
        try:
            async with asyncio.timeout(min(within, self._app.lease.left())):
                async with self._busy:
                    await self._checkpoint(
                        [(p, b, list(p.dirty), p.next_offset != b.own_up_to or bool(p.dirty)) for p, b in owned]
                    )
        except TimeoutError:
            return False
        return all(not partition.dirty and books.own_up_to == partition.next_offset for partition, books in owned)

    def _due(self, partition: P, books: _Books, slots: set[int], replay: int) -> tuple[list[str], bool]:
        """The queues whose record is due, and whether the partition's own is."""
        now = self._clock()
        dirty = partition.dirty
        known = books.slots
        due: dict[str, None] = dict.fromkeys(books.again)
        for queue in dirty:
            slot = known.get(queue)
            if slot is None:
                slot = known[queue] = zlib.crc32(queue.encode()) % self._slots
            if slot in slots:
                due[queue] = None
        urgent = partition.next_offset - partition.resume_at >= replay
        if urgent:
            enough = partition.next_offset - replay // 2
            for queue in itertools.takewhile(lambda q: dirty[q][0] < enough, dirty):
                due[queue] = None
        quota = math.ceil(len(books.written_at) * self._tick / self._refresh)
        oldest = now - self._refresh / 2
        for queue, at in itertools.islice(books.written_at.items(), quota):
            if at < oldest:
                due[queue] = None
        since = now - books.own_at
        changed = partition.next_offset != books.own_up_to or partition.resume_at != books.committed
        return list(due), urgent or (changed and since >= self._commit_interval) or since >= self._interval

    def _may_write(self, partition: P) -> bool:
        """Whether the partition is still surely ours: lease, generation, assignment."""
        owned = self._owned.get(partition.number)
        return (
            owned is not None
            and owned[0] is partition
            and self._app.lease.holds()
            and self._app.generation == self._generation
        )

    async def _checkpoint(self, work: list[tuple[P, _Books, list[str], bool]]) -> None:
        # One slice takes queues of all partitions: each has to wait for two answers, whatever is in it.
        due = [(partition, books, queue) for partition, books, queues, _ in work for queue in queues]
        for first in range(0, len(due), self._slice):
            await self._write_queues(due[first : first + self._slice])
        await self._write_own([(partition, books) for partition, books, _, own in work if own])

    async def _write_queues(self, due: Sequence[tuple[P, _Books, str]]) -> None:
        encoded: list[tuple[P, _Books, str, int, bytes | None]] = []
        began = time.monotonic()
        for partition, books, queue in due:
            if not self._may_write(partition):
                continue
            encoded.append((partition, books, queue, partition.next_offset, partition.encode_queue(queue)))
            if time.monotonic() - began >= AT_A_TIME:
                await asyncio.sleep(0)  # let deliveries and scrapes in
                began = time.monotonic()
        if not encoded:
            return
        if self._before_commit is not None:
            await self._before_commit()  # a record that says "this interval is told" must not be ahead of its telling
        sent: list[tuple[P, _Books, str, int, bytes | None, Awaitable[Any]]] = []
        for partition, books, queue, up_to, value in encoded:
            acknowledged = None
            if self._may_write(partition):
                acknowledged = await self._send(partition.number, f"{partition.number}/{queue}", value, up_to)
            if acknowledged is None:
                partition.unwritten(queue)
                continue
            sent.append((partition, books, queue, up_to, value, acknowledged))
        for partition, books, queue, up_to, value, acknowledged in sent:
            if not await self._acknowledged(partition.number, queue, acknowledged):
                partition.unwritten(queue)
                continue
            if not self._is_owned(partition):
                continue
            self._count(f"{partition.number}/{queue}", value)
            partition.written(queue, up_to)
            books.again.discard(queue)
            books.written_at.pop(queue, None)
            if value is not None:
                books.written_at[queue] = self._clock()
            elif queue not in partition.dirty:
                books.slots.pop(queue, None)

    async def _write_own(self, owned: list[tuple[P, _Books]]) -> None:
        encoded = [(p, books, p.next_offset, p.resume_at, p.encode_self()) for p, books in owned if self._may_write(p)]
        if not encoded:
            return
        if self._before_commit is not None:
            await self._before_commit()
        under_way = []
        for partition, books, up_to, resume_at, value in encoded:
            if self._may_write(partition):
                acknowledged = await self._send(partition.number, str(partition.number), value, up_to)
                if acknowledged is not None:
                    under_way.append((partition, books, up_to, resume_at, value, acknowledged))
        offsets: dict[int, int] = {}
        for partition, books, up_to, resume_at, value, acknowledged in under_way:
            if await self._acknowledged(partition.number, None, acknowledged) and self._is_owned(partition):
                self._count(str(partition.number), value)
                partition.written(None, up_to)
                books.own_up_to, books.own_at = up_to, self._clock()
                offsets[partition.number] = resume_at
        offsets = {p: offset for p, offset in offsets.items() if self._owned[p][1].committed != offset}
        if offsets and self._app.lease.holds() and await self._app.commit_offsets(self._generation, offsets):
            for number, offset in offsets.items():
                if number in self._owned:
                    self._owned[number][1].committed = offset

    def _is_owned(self, partition: P) -> bool:
        owned = self._owned.get(partition.number)
        return owned is not None and owned[0] is partition

    async def _send(self, number: int, key: str, value: bytes | None, up_to: int) -> Awaitable[Any] | None:
        writer = self._app.writer
        if writer is None or writer.ended:
            return None
        headers = () if value is not None else ((UP_TO, str(up_to).encode()),)
        try:
            return await writer.send(number, key.encode(), value, headers)
        except WriterEnded:
            return None
        except errors.KafkaTimeoutError:
            return None  # nothing went out for a whole request timeout: the broker is away, the record stays due
        except errors.KafkaError as error:
            raise self._failed(key, value, error) from error

    async def _acknowledged(self, number: int, queue: str | None, acknowledged: Awaitable[Any]) -> bool:
        try:
            await acknowledged
        except WriterEnded:
            return False
        except errors.KafkaError as error:
            if error.retriable or isinstance(error, errors.KafkaTimeoutError):
                log.warning("a record of partition %d was not acknowledged (%r); it stays due", number, error)
                return False
            key = str(number) if queue is None else f"{number}/{queue}"
            raise self._failed(key, None, error) from error
        return True

    def _failed(self, key: str, value: bytes | None, error: BaseException) -> CheckpointFailed:
        size = "" if value is None else f" of {len(value)} bytes"
        hint = "see the broker's log"
        if isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
            hint = (
                "it is larger than a limit on its way: max.message.bytes of the topic (16 MiB are meant), message.max.bytes"
                " and replica.fetch.max.bytes of the brokers; `queuewatch topics check` names those that are too small"
            )
        elif isinstance(error, errors.TopicAuthorizationFailedError | errors.ClusterAuthorizationFailedError):
            hint = "this user may not write there (Write on the topic, IdempotentWrite on the cluster)"
        return CheckpointFailed(
            f"record {key}{size} cannot be written to {self._app.settings.changelog_topic}: {error!r}; {hint}."
            " No offset is committed beyond it; what it holds is replayed at the next start"
        )

    def _count(self, key: str, value: bytes | None) -> None:
        self.records_written += 1
        self.bytes_written += len(key) + (len(value) if value is not None else 0)

    # Telling

    def age(self) -> float | None:
        """Seconds since the oldest change that no written record holds, 0 when all are written; None without partitions."""
        if not self._owned:
            return None
        now = self._clock()
        return max(now - self._unwritten_since(p, books, now) for p, books in self._owned.values())

    @staticmethod
    def _unwritten_since(partition: P, books: _Books, now: float) -> float:
        folded = books.folded
        held = partition.resume_at if books.own_up_to < 0 else min(partition.resume_at, books.own_up_to)
        if books.own_up_to < 0:
            held = min(held, folded[0][0])
        if partition.next_offset > folded[-1][0]:
            folded.append((partition.next_offset, now))
        while len(folded) > 1 and folded[0][0] <= held:
            folded.popleft()
        return folded[0][1] if folded[0][0] > held else now

    def committed(self, partition: int) -> int | None:
        """The offset that this worker has committed last for the partition in this assignment."""
        owned = self._owned.get(partition)
        return owned[1].committed if owned is not None and owned[1].committed >= 0 else None
