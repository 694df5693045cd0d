"""Decides how Faust fetches, seeks, commits and writes for us: everything that reaches into its internals is here.

Faust hands an agent one message at a time and keeps the books of offsets by itself; both are too slow and neither is exact
(a commit can overtake the state that it stands for).  So:

- **Whole fetches.**  The consumer's thread turns each fetch of a partition into `Delivery` objects of at most
  ``records_per_delivery`` records.  One delivery is one Faust message.  Its batches are unpacked only when it is folded, record
  by record: thousands that lie unpacked push everything else out of the processor's cache.
- **Runs and numbers.**  Each seek of a partition begins a *run*, and the deliveries of a run are numbered from 1.  Both are
  given in the consumer's thread, in the same step as the seek or the fetch: a delivery that was fetched before a seek can
  never be taken for one that came after it, and one that got lost on the way (Faust clears its queues when a rebalance
  ends) leaves a hole in the numbers.  Holes in the *offsets* mean nothing: markers, aborted transactions and compaction
  make them.
- **Resets.**  Where the broker does not have the offset that was asked for, aiokafka goes to the earliest by itself.  That
  is told by a delivery without records, so that retention and a topic made anew are no mere holes.
- **Where to begin** is asked of the `Reader` once the changelog has been read; Faust's own bookkeeping of read and
  acknowledged offsets is kept out of the way.
- **Commits** are sent once, by the generation that made them, and never retried across a rebalance.
- **The way out** is bounded in time, whether or not the broker answers: a worker that was told to stop ends.
- **The changelog** is read in whole fetches too, always from its beginning, and written through a `ChangelogWriter` that
  belongs to one assignment and dies with it.

`check_faust` compares the installed sources with those that this was written against.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import itertools
import logging
import operator
import sys
import tempfile
import weakref
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import aiokafka
import faust
from aiokafka import AIOKafkaClient, errors
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.producer.sender import Sender
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.app import base as faust_app
from faust.stores import memory as faust_memory
from faust.tables import recovery as faust_recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as faust_driver
from faust.types import TP, ConsumerMessage
from mode.utils import queues as mode_queues
from yarl import URL

from queuewatch_streams.core.partition import Row
from queuewatch_streams.kafka import topic_id
from queuewatch_streams.lease import Lease

__all__ = [
    "ChangelogWriter",
    "Delivery",
    "FaustChanged",
    "FetchApp",
    "Progress",
    "Reader",
    "Row",
    "Settings",
    "Span",
    "TopicIds",
    "WriterEnded",
    "build_app",
    "check_faust",
    "within",
]

log = logging.getLogger(__name__)

MEBIBYTE = 1 << 20
#: 16 MiB: the largest record that the worker writes; topics and brokers must allow as much.
LARGEST_RECORD = 16 * MEBIBYTE


#: Seconds that each step on the way out may take: a broker that is away must not keep a worker that was told to stop.
LAST_WORDS = 3.0


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


class Span(NamedTuple):
    """What the broker says of a partition when it is assigned.

    ``committed``: the group's offset, None if it has none; ``earliest`` and ``end``: first offset there, and the one after
    the last that a committed read can see.
    """

    committed: int | None
    earliest: int
    end: int


class TopicIds(NamedTuple):
    """What tells source and changelog from earlier topics of the same name; None where the broker tells no such ids."""

    source: str | None = None
    changelog: str | None = None


class Progress(NamedTuple):
    """How far a partition has been fetched: run, number of the last delivery handed out, next offset, known end."""

    run: int
    number: int
    position: int
    end: int


class Reader(Protocol):
    """Who is told of assignments and records.  All is called on the application's loop; an exception stops the worker."""

    def loading(self, partitions: frozenset[int]) -> None:
        """The changelog of these partitions is going to be read from its beginning; forget what was loaded before."""

    def loaded(self, partition: int, records: Sequence[Row]) -> None:
        """These records lie in the changelog, in this order."""

    async def assigned(
        self, spans: Mapping[int, Span], runs: Mapping[int, int], topic_ids: TopicIds
    ) -> Mapping[int, int]:
        """The changelog is read: say per partition at which offset to begin.  Its deliveries will carry this run."""

    def deliver(self, delivery: Delivery) -> None:
        """Fold it, or know why not.  Must not block for longer than the folding takes."""

    async def rest(self) -> None:
        """Between two deliveries: give others a turn, and wait here when what the last one caused must go out first."""

    async def revoked(self) -> None:
        """All partitions go, as soon as this returns: write what can be written, then drop everything."""

    async def stopping(self) -> None:
        """The worker ends gracefully, with its partitions still its own."""


@dataclass(frozen=True)
class Settings:
    """How the Faust application reaches Kafka.  Times are seconds, sizes bytes.

    ``credentials`` is what Faust takes as ``broker_credentials`` (``faust.SASLCredentials``, an ``ssl.SSLContext``, …).
    ``lease_margin`` of None means a tenth of the session timeout, at least half a second.  ``idempotent`` is False only
    for a broker that gives out no producer ids, as the embedded one does not.
    """

    brokers: str
    group: str
    source: str
    partitions: int
    table: str = "queues"
    changelog: str | None = None
    session_timeout: float = 10.0
    heartbeat_interval: float | None = None
    lease_margin: float | None = None
    group_instance_id: str | None = None
    credentials: Any = None
    records_per_delivery: int = 8_000
    records_per_fetch: int = 8_000
    deliveries_queued: int = 2
    fetch_size: int = MEBIBYTE
    compression: str | None = "lz4"
    idempotent: bool = True
    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further Faust settings, which win over those made here."""

    @property
    def changelog_topic(self) -> str:
        """The changelog's name: as given, or as Faust would call it."""
        return self.changelog or f"{self.group}-{self.table}-changelog"

    @property
    def margin(self) -> float:
        """Seconds by which the lease ends before the session would."""
        return max(0.5, self.session_timeout / 10) if self.lease_margin is None else self.lease_margin


class FaustChanged(RuntimeError):
    """The installed Faust, mode or aiokafka is not the one that this module was written against."""


# ---------------------------------------------------------------------------------------------------------------------
# The consumer


class _ReadOffsets(dict[Any, Any]):
    """Faust drops what lies before its own read offset; runs and numbers know better, so for our topics it has none."""

    def __init__(self, topics: frozenset[str]) -> None:
        super().__init__()
        self._topics = topics

    def __missing__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        if tp.topic not in self._topics:
            super().__setitem__(tp, offset)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for tp, offset in dict(*args, **kwargs).items():
            self[tp] = offset


class FetchListener(faust_driver.ConsumerRebalanceListener):
    """Ends the writing of the assignment that goes as soon as aiokafka says so, in its thread."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        cast(FetchThread, self._thread).forget_runs()
        await super().on_partitions_assigned(assigned)


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


class _Fetched(dict[Any, Any]):
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


class FetchThread(faust_driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka lives: fetches, seeks, heartbeats and commits happen here, one after the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        app = cast(FetchApp, self.app)
        self._whole = app.whole_topics
        self._size = app.settings.records_per_delivery
        self._lease = app.lease
        self._runs: dict[TopicPartition, tuple[int, int]] = {}  # run, number of the last delivery
        self._resets: dict[TopicPartition, tuple[int, int]] = {}  # run, the offset that aiokafka went to by itself
        self.progress: dict[TopicPartition, Progress] = {}
        #: Fetches begun: the loop asks for one when it has passed on all that the one before brought.
        self.fetches = 0

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust reads committed only under exactly_once; the end offsets follow the isolation level.
        consumer._isolation_level = "read_committed"
        # A broker answers one request of a connection at a time: offsets asked for in recovery wait behind an idle fetch.
        consumer._fetch_max_wait_ms = 200
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._records = _Fetched(self._whole, self._size)
        self._watch_resets(consumer._fetcher)
        coordinator = consumer._coordinator
        send = coordinator._send_req
        lease = self._lease

        async def send_request(request: Any) -> Any:
            sent = lease.now()
            response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest):
                code = errors.for_code(response.error_code)
                if code in (errors.NoError, errors.RebalanceInProgressError):
                    lease.renew(sent)
                elif code in (errors.UnknownMemberIdError, errors.IllegalGenerationError):
                    lease.end()
            return response

        coordinator._send_req = send_request

    def _watch_resets(self, fetcher: Fetcher) -> None:
        """Note where aiokafka goes on after a position that the broker does not have: no hole in the offsets tells it."""
        update = fetcher._update_fetch_positions

        async def update_fetch_positions(assignment: Any, node: int, tps: Iterable[Any]) -> Any:
            tps = list(tps)
            before = {tp: self._runs[tp] for tp in tps if tp in self._runs}
            needs_wakeup = await update(assignment, node, tps)
            # No await since a position was set: what is fetched from there has not been asked for yet.
            for tp, run in before.items():
                state = assignment.state_value(tp)
                if state.has_valid_position and self._runs.get(tp) == run:  # no seek of ours came in between
                    self._resets[tp] = run[0], state.position
            return needs_wakeup

        fetcher._update_fetch_positions = update_fetch_positions

    async def on_thread_stop(self) -> None:
        # A rebalance that begins while Faust stops waits for an answer of a loop that gives none any more: it hangs for ever.
        coordinator = self._consumer._coordinator if self._consumer is not None else None  # None before it has started
        coordination = coordinator._coordination_task if coordinator is not None else None
        if coordination is not None:
            coordination.cancel()
            await asyncio.wait({coordination}, timeout=LAST_WORDS)
        # Leaving the group is a courtesy; a broker that does not answer would keep us for a whole request timeout.
        await within(LAST_WORDS, super().on_thread_stop(), "the group was not told that this worker leaves")

    def forget_runs(self) -> None:
        """A new assignment: what is fetched before its first seek belongs to no run."""
        self._runs.clear()
        self._resets.clear()
        self.progress.clear()

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Any:
        # Faust's set of active partitions is live, and aiokafka takes an empty one for "all": a fetch that waits through a
        # rebalance would bring what nobody has asked for yet, and Faust would throw it away.
        self.fetches += 1
        wanted = set(active_partitions)
        if not wanted:
            return {}
        fetched = await super()._fetch_records(consumer, wanted, timeout=timeout, max_records=max_records)
        # No await between the fetch and the end of this: no seek can come between a record and its number.
        assignment = consumer._subscription.subscription.assignment
        if assignment is None:
            return fetched
        handed: dict[Any, Any] = {}
        for tp in assignment.tps:
            if tp.topic not in self._whole:
                if tp in fetched:
                    handed[tp] = fetched[tp]
                continue
            state = assignment.state_value(tp)
            position = state._position
            run, number = self._runs.get(tp, (0, 0))
            reset, begin = self._resets.get(tp, (0, 0))
            if reset == run != 0 and tp.topic != self._changelog and tp in wanted:
                del self._resets[tp]
                number += 1
                handed[tp] = [Delivery(tp.topic, tp.partition, run, number, (), begin, begin)]
            if tp in fetched:
                deliveries = self._deliveries(tp, fetched[tp], run, number, position)
                number += len(deliveries)
                handed[tp] = [*handed.get(tp, ()), *deliveries]
            elif tp.topic == self._changelog and position is not None:
                # Markers or emptied batches at the very end: without a word of them Faust's recovery would never end.
                before = self.progress.get(tp)
                if before is not None and before.run == run and before.position < position:
                    number += 1
                    handed[tp] = [Delivery(tp.topic, tp.partition, run, number, (), position, before.position)]
            if position is not None:
                self._runs[tp] = run, number
                end = state.lso if state.lso is not None and state.lso >= 0 else state.highwater
                self.progress[tp] = Progress(run, number, position, max(position, end or 0))
        return handed

    @property
    def _changelog(self) -> str:
        return cast(FetchApp, self.app).settings.changelog_topic

    def _deliveries(self, tp: Any, parts: list[Part], run: int, number: int, position: int | None) -> list[Delivery]:
        together: list[list[Part]] = []
        count = self._size
        for part in parts:
            count += part.size
            if count > self._size:
                together.append([])
                count = part.size
            together[-1].append(part)
        deliveries = [
            Delivery(tp.topic, tp.partition, run, number, some, some[-1].end, some[0].begin)
            for number, some in enumerate(together, start=number + 1)
        ]
        if position is not None:
            deliveries[-1].end = position
        return deliveries

    async def _seek_wait(self, consumer: Any, partitions: Mapping[Any, int]) -> None:
        """Faust's seeks of the changelog begin a run as ours do."""
        for tp in partitions:
            if tp.topic in self._whole:
                self._runs[tp] = run, _ = next(_RUNS), 0
                self.progress[tp] = Progress(run, 0, partitions[tp], partitions[tp])
        await super()._seek_wait(consumer, partitions)

    async def put_back(self, deliveries: Iterable[Delivery]) -> None:
        """Fetch these again, under the same numbers: they were fetched too early.  The first of a partition is enough."""
        await self.call_thread(self._put_back, list(deliveries))

    async def _put_back(self, deliveries: list[Delivery]) -> None:
        consumer = self._ensure_consumer()
        for delivery in deliveries:
            tp = TopicPartition(delivery.topic, delivery.partition)
            if self._runs.get(tp, (0, 0))[0] == delivery.run and tp in consumer.assignment():
                consumer.seek(tp, delivery.begin)
                self._runs[tp] = delivery.run, delivery.number - 1
                if not delivery.parts:
                    self._resets[tp] = delivery.run, delivery.begin
                before = self.progress[tp]
                self.progress[tp] = before._replace(number=delivery.number - 1, position=delivery.begin)

    async def begin_runs(self, starts: Mapping[Any, tuple[int, int]]) -> bool:
        """Seek each partition to its offset and begin the run with it: {partition: (offset, run)}."""
        return cast(bool, await self.call_thread(self._begin_runs, starts))

    async def _begin_runs(self, starts: Mapping[Any, tuple[int, int]]) -> bool:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        if not all(tp in assigned for tp in starts):
            return False  # revoked meanwhile
        for tp, (offset, run) in starts.items():
            consumer.seek(tp, offset)
            self._runs[tp] = run, 0
            state = consumer._subscription.subscription.assignment.state_value(tp)
            end = state.lso if state.lso is not None and state.lso >= 0 else state.highwater
            self.progress[tp] = Progress(run, 0, offset, max(offset, end or 0))
        return True

    async def spans(self, partitions: Iterable[Any]) -> dict[Any, Span]:
        """Committed, earliest and end offset of each partition."""
        return cast("dict[Any, Span]", await self.call_thread(self._spans, list(partitions)))

    async def _spans(self, partitions: list[Any]) -> dict[Any, Span]:
        consumer = self._ensure_consumer()
        if not partitions:
            return {}
        earliest, end, committed = await asyncio.gather(
            consumer.beginning_offsets(partitions),
            consumer.end_offsets(partitions),
            consumer._coordinator.fetch_committed_offsets(partitions),
        )
        offsets = {tp: at.offset for tp, at in committed.items() if at.offset >= 0}
        return {tp: Span(offsets.get(tp), earliest[tp], end[tp]) for tp in partitions}

    async def topic_ids(self) -> TopicIds:
        """The ids of source and changelog.  Raises `KafkaError` when no broker answers for a session timeout."""
        return cast(TopicIds, await self.call_thread(self._topic_ids))

    async def _topic_ids(self) -> TopicIds:
        client, settings = self._ensure_consumer()._client, cast(FetchApp, self.app).settings
        until = asyncio.get_running_loop().time() + settings.session_timeout
        while True:
            try:
                return TopicIds(
                    await topic_id(client, settings.source), await topic_id(client, settings.changelog_topic)
                )
            except errors.KafkaError:
                if asyncio.get_running_loop().time() > until:
                    raise
                await asyncio.sleep(0.2)

    async def commit_once(self, generation: int, offsets: Mapping[Any, int], patience: float) -> bool:
        """Commit as that generation, or not at all.  False: it is over, or the coordinator did not answer in time."""
        return cast(bool, await self.call_thread(self._commit_once, generation, offsets, patience))

    async def _commit_once(self, generation: int, offsets: Mapping[Any, int], patience: float) -> bool:
        # AIOKafkaConsumer.commit retries for ever and would send the offsets of one generation under the next.
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        wanted = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}

        async def commit() -> bool:
            await coordinator.ensure_coordinator_known()
            async with coordinator._commit_lock:
                assignment = consumer._subscription.subscription.assignment
                if coordinator.generation != generation or assignment is None:
                    return False
                if not all(tp in assignment.tps for tp in wanted):
                    return False
                await coordinator._do_commit_offsets(assignment, wanted)
                return True

        try:
            async with asyncio.timeout(patience):
                return await commit()
        except TimeoutError:
            return False
        except (errors.UnknownMemberIdError, errors.IllegalGenerationError, errors.RebalanceInProgressError):
            return False
        except errors.KafkaError as error:
            if error.retriable:
                return False
            raise

    @property
    def generation(self) -> int:
        """The generation of the group that we are in; -1 when in none."""
        # The consumer is there before its coordinator: it is asked while it starts.
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        return cast(int, coordinator.generation) if coordinator is not None else -1


_RUNS = itertools.count(1)


class FetchConsumer(faust_driver.Consumer):
    """Faust's consumer with whole fetches as messages and with our own idea of where a partition begins."""

    RebalanceListener = FetchListener
    app: FetchApp
    _thread: FetchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _ReadOffsets(self.app.whole_topics)

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: Any, record: Any) -> Any:
        if not isinstance(record, Delivery):
            return super()._to_message(tp, record)
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.end - 1,
            record.timestamp / 1000.0,
            0,
            [],
            b"",
            cast(Any, record),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _wait_next_records(self, timeout: float) -> Any:
        records, active = await super()._wait_next_records(timeout)
        if records and not self.flow_active:
            # Fetched while the flow was stopped: getmany drops it, and recovery would wait for it for ever.
            await self._thread.put_back(fetched[0] for fetched in records.values() if isinstance(fetched[0], Delivery))
        return records, active

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        if tp.topic not in self.app.whole_topics:  # its accounting of gaps would hold commits back
            await super()._add_gap(tp, offset_from, offset_to)

    def on_buffer_full(self, tp: Any) -> None:
        """The bounded queue holds the fetching back; pausing the partition too would make Faust sleep a whole second."""
        if tp.topic not in self.app.whole_topics:
            super().on_buffer_full(tp)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust looks for its own commits and acknowledgements here, of which there are none."""

    async def perform_seek(self) -> None:
        """Ask where to begin; called by Faust's recovery when the changelog has been read, before the flow resumes."""
        if not self.flow_active:
            return  # from getmany, in a rebalance: the next recovery seeks
        try:
            await self.app.begin()
        except Exception as error:
            await self.app.crash(error)
            raise

    async def earliest_offsets(self, *partitions: Any) -> Mapping[Any, int]:
        """Recovery asks for these just before it decides where to read from: always from the beginning."""
        earliest = await super().earliest_offsets(*partitions)
        ours = frozenset(tp.partition for tp in partitions if tp.topic == self.app.settings.changelog_topic)
        if ours:
            # What is loaded is handed over and let go when a partition begins, so a part of it is never enough.
            offsets = cast(Any, self.app.tables).recovery.active_offsets
            for tp in partitions:
                offsets[tp] = None
            self.app.begin_loading(ours)
        return cast(Mapping[Any, int], earliest)

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        try:
            await self.app.let_go()
        except Exception as error:
            await self.app.crash(error)
            raise
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        try:
            await self.app.take_up()
        except Exception as error:
            await self.app.crash(error)
            raise
        await super().on_partitions_assigned(assigned, generation_id)


class FetchProducer(faust_driver.Producer):
    """Faust's producer, idempotent, for everything but the changelog."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": cast(FetchApp, self.app).settings.idempotent}

    def changelog_producer(self) -> aiokafka.AIOKafkaProducer:
        """A producer of its own for one assignment's records, whose values are compressed already."""
        return aiokafka.AIOKafkaProducer(
            **{
                **self._settings_default(),
                **self._settings_auth(),
                **self._settings_extra(),
                "compression_type": None,
                "max_batch_size": MEBIBYTE,
                "linger_ms": 0,
            }
        )


class FetchTransport(faust_driver.Transport):
    """aiokafka through the three classes above."""

    Consumer = FetchConsumer
    Producer = FetchProducer


# ---------------------------------------------------------------------------------------------------------------------
# The changelog's writer


class WriterEnded(RuntimeError):
    """The assignment that these records belong to is over; they were not written."""


async def within(seconds: float, step: Awaitable[Any], otherwise: str) -> bool:
    """Take a step on the way out for so long at most; where it fails or does not end, say so and go on.

    The step is left to itself then, for some of aiokafka's never end by being cancelled.
    """
    task = asyncio.ensure_future(step)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        log.warning("%s within %g s", otherwise, seconds)
        return False
    if task.cancelled() or (error := task.exception()) is None:
        return not task.cancelled()
    if not isinstance(error, WriterEnded | errors.KafkaError):
        log.warning("%s: %r", otherwise, error)
    return False


class ChangelogWriter:
    """Writes the records of one assignment, and sends nothing once that assignment is over or the lease has run out.

    An idempotent producer of aiokafka retries for ever, whatever its timeout: records of a worker that had lost its group
    would go out, minutes late, behind its successor's.  So requests wait at the last step while the lease is out, and an
    ended writer sends no more.  (A process that is stopped between that step and the socket is why, of a key, the record
    with the highest source offset counts.)
    """

    def __init__(self, producer: aiokafka.AIOKafkaProducer, topic: str, lease: Lease) -> None:
        self._producer = producer
        self._topic = topic
        self._lease = lease
        self._ended = False
        self._ending: asyncio.Task[None] | None = None
        sender = producer._sender
        send = sender._send_produce_req

        async def send_produce_request(node: int, batches: Mapping[Any, Any]) -> None:
            while not self._ended and not lease.holds():
                await asyncio.sleep(0.05)
            if not self._ended:
                await send(node, batches)
                return
            for tp, batch in batches.items():
                batch.failure(exception=WriterEnded("the assignment of these records is over"))
                sender._muted_partitions.discard(tp)
            sender._in_flight.discard(node)

        sender._send_produce_req = send_produce_request

    @property
    def ended(self) -> bool:
        """Whether this writer will write no more."""
        return self._ended

    async def start(self) -> None:
        """Connect and get a producer id."""
        await self._producer.start()

    async def send(
        self, partition: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[Any]:
        """Hand a record over; the result resolves when the broker has acknowledged it, or raises."""
        if self._ended:
            raise WriterEnded("the assignment of this record is over")
        acknowledged = await self._producer.send(
            self._topic, value, key=key, partition=partition, headers=list(headers)
        )
        # Who waits for it may be gone by then: the end of a worker is bounded in time.
        acknowledged.add_done_callback(lambda done: done.cancelled() or done.exception())
        return cast(Awaitable[Any], acknowledged)

    def end(self) -> asyncio.Task[None]:
        """Send nothing from now on; what is under way fails with `WriterEnded`.  The task closes the connection."""
        if self._ending is None:
            self._ended = True
            self._ending = asyncio.ensure_future(self._end())
        return self._ending

    async def _end(self) -> None:
        producer = self._producer
        producer._message_accumulator.fail_all(WriterEnded("the assignment of these records is over"))
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()
        if not await within(LAST_WORDS, producer.stop(), "the changelog's producer did not close in order"):
            await within(LAST_WORDS, producer.client.close(), "its connections did not close either")


# ---------------------------------------------------------------------------------------------------------------------
# The application


class FetchApp(faust.App):
    """A Faust application that reads one source topic in whole fetches for a `Reader`.  `build_app` makes it."""

    settings: Settings
    lease: Lease
    whole_topics: frozenset[str]
    reader: Reader | None = None
    writer: ChangelogWriter | None = None
    _folding = False
    _loads: dict[int, tuple[int, int]]
    _looked: tuple[dict[int, Any], int] = ({}, 0)

    def _new_transport(self) -> FetchTransport:
        return FetchTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> FetchTransport:
        return FetchTransport(self.conf.broker_producer, self)

    @property
    def _fetching(self) -> FetchThread | None:
        consumer = self._consumer
        return cast(FetchConsumer, consumer)._thread if consumer is not None else None

    def _source(self, partition: int) -> TopicPartition:
        return TopicPartition(self.settings.source, partition)

    @property
    def generation(self) -> int:
        """The generation of the group that we are in; -1 when in none."""
        thread = self._fetching
        return thread.generation if thread is not None else -1

    def progress(self, partition: int) -> Progress | None:
        """How far the source partition has been fetched; None while it is not begun."""
        thread = self._fetching
        return thread.progress.get(self._source(partition)) if thread is not None else None

    @property
    def deliveries_waiting(self) -> bool:
        """Whether deliveries wait for the agent, or are being folded."""
        stream = self._stream
        return self._folding or stream is None or not stream.channel.queue.empty()

    _stream: Any = None

    @property
    def fetches(self) -> int:
        """Fetches begun since the start; one begins when all that the one before brought has been passed on."""
        thread = self._fetching
        return thread.fetches if thread is not None else 0

    async def topic_ids(self) -> TopicIds:
        """The ids of source and changelog.  Raises `KafkaError` when no broker answers for a session timeout."""
        thread = self._fetching
        return await thread.topic_ids() if thread is not None else TopicIds()

    def new_run(self) -> int:
        """A number for a run that is going to begin."""
        return next(_RUNS)

    async def fetch_from(self, partition: int, offset: int, run: int) -> bool:
        """Fetch this source partition from that offset on, as that run.  False when it is not ours (any more)."""
        thread = self._fetching
        return thread is not None and await thread.begin_runs({self._source(partition): (offset, run)})

    async def commit_offsets(self, generation: int, offsets: Mapping[int, int]) -> bool:
        """Commit the source offsets as that generation.  False when it is over or the coordinator does not answer."""
        thread = self._fetching
        if thread is None:
            return False
        wanted = {self._source(p): offset for p, offset in offsets.items()}
        return await thread.commit_once(generation, wanted, self.settings.session_timeout)

    # What the consumer tells

    def check_recovery(self) -> None:
        """Called now and then: raises when a part of the changelog got lost so that recovery would never end."""
        thread = self._fetching
        if not self.in_recovery or thread is None:
            self._looked = {}, 0
            return
        fetched = {
            tp.partition: p for tp, p in dict(thread.progress).items() if tp.topic == self.settings.changelog_topic
        }
        missing = {
            n: (p.run, p.number, self._loads.get(n, (0, 0)))
            for n, p in fetched.items()
            if p.number and self._loads.get(n) != (p.run, p.number)
        }
        before, times = self._looked
        self._looked = missing, times + 1 if missing and missing == before else 0
        if self._looked[1] >= 10:
            raise RuntimeError(
                f"parts of the changelog of partitions {sorted(missing)} got lost in recovery, which would never end; nothing"
                " was written: start the worker again"
            )

    def begin_loading(self, partitions: frozenset[int]) -> None:
        """Recovery reads the changelog of these partitions from its beginning."""
        self._loads.clear()
        if self.reader is not None:
            self.reader.loading(partitions)

    async def load(self, event: Any) -> None:
        """Faust's recovery brings a whole fetch of the changelog."""
        delivery = event.message.value
        event.message.value = event.value = None  # Faust takes it for a deletion: the table itself stays empty
        run, number = self._loads.get(delivery.partition, (delivery.run, 0))
        if run != delivery.run:
            if run > delivery.run:
                return
            number = 0
        if delivery.number != number + 1:
            error = RuntimeError(
                f"a part of the changelog of partition {delivery.partition} got lost in recovery (part {number + 1}, then"
                f" {delivery.number}); nothing was written: start the worker again"
            )
            await self.crash(error)
            raise error
        self._loads[delivery.partition] = delivery.run, delivery.number
        if self.reader is not None and delivery.parts:
            try:
                self.reader.loaded(delivery.partition, list(delivery.taken()))
            except Exception as error:  # Faust would only log it
                await self.crash(error)
                raise

    async def begin(self) -> None:
        """The changelog is read: seek each source partition to where its records end."""
        thread = self._fetching
        if thread is None or self.reader is None:
            return
        generation = self.generation
        ours = [tp for tp in self.consumer.assignment() if tp.topic == self.settings.source]
        spans = await thread.spans([self._source(tp.partition) for tp in ours])
        topic_ids = await thread.topic_ids()
        runs = {tp.partition: next(_RUNS) for tp in ours}
        if generation != self.generation:
            return  # the next recovery does it
        offsets = await self.reader.assigned({tp.partition: span for tp, span in spans.items()}, runs, topic_ids)
        if generation == self.generation:
            await thread.begin_runs({self._source(p): (offset, runs[p]) for p, offset in offsets.items()})

    async def let_go(self) -> None:
        """The partitions are being revoked; the group waits for us."""
        if self.reader is not None:
            await self.reader.revoked()
        if self.writer is not None:
            self.writer.end()
            self.writer = None

    async def take_up(self) -> None:
        """A new assignment, which gets a writer of its own."""
        await self.let_go()
        if self.should_stop:
            return
        producer = cast(FetchProducer, self.producer).changelog_producer()
        writer = ChangelogWriter(producer, self.settings.changelog_topic, self.lease)
        # It asks for a producer id until it gets one; the group does not wait that long.
        async with asyncio.timeout(self.settings.session_timeout):
            await writer.start()
        self.writer = writer

    async def run_deliveries(self, stream: Any) -> None:
        """The agent: hand each delivery to the reader, one at a time."""
        self._stream = stream
        async for event in stream.noack().events():
            delivery = event.message.value
            self._folding = True
            try:
                if self.reader is not None:
                    self.reader.deliver(delivery)
                    delivery.release()
                    await self.reader.rest()
            except Exception as error:  # Faust would acknowledge it and go on
                await self.crash(error)
                raise
            finally:
                self._folding = False

    async def on_stop(self) -> None:
        """Write and commit while the partitions are still ours, then stop as Faust does."""
        # Whatever happens here: the services below must be told to stop too, or the consumer's thread lives on for ever.
        try:
            if self.reader is not None and not self.crashed:
                try:
                    await self.reader.stopping()
                except Exception:
                    log.exception(
                        "the last checkpoint could not be written; what it lacks is replayed at the next start"
                    )
            if self.writer is not None:
                await self.writer.end()
        finally:
            await within(2 * LAST_WORDS, super().on_stop(), "Faust's fetcher and producer did not stop in order")


def build_app(settings: Settings) -> FetchApp:
    """The Faust application for these settings, with source topic, agent and table; give it a `reader` before it starts.

    Raises `FaustChanged` when the installed Faust is not the one that this was written against.
    """
    check_faust()
    session = settings.session_timeout
    options: dict[str, Any] = {
        "broker": [URL(f"kafka://{address.strip()}") for address in settings.brokers.split(",")],
        "broker_credentials": settings.credentials,
        "broker_session_timeout": session,
        "broker_heartbeat_interval": settings.heartbeat_interval or max(0.3, min(3.0, session / 5)),
        "broker_request_timeout": max(90.0, session),
        "broker_max_poll_records": settings.records_per_fetch,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": settings.group_instance_id,
        "consumer_max_fetch_size": settings.fetch_size,
        "datadir": str(settings.folder / f"{settings.group}-faust"),
        "producer_acks": -1,
        "producer_compression_type": settings.compression,
        "producer_linger": 0.005,
        "producer_max_batch_size": MEBIBYTE // 4,
        "producer_max_request_size": LARGEST_RECORD,
        "producer_request_timeout": session,
        "store": "memory://",
        "stream_buffer_maxsize": settings.deliveries_queued,
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.partitions,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
    options.update(settings.options)
    app = FetchApp(settings.group, **options)
    app.settings = settings
    app.lease = Lease(session, settings.margin)
    app.whole_topics = frozenset({settings.source, settings.changelog_topic})
    app._loads = {}
    source = app.topic(
        settings.source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        partitions=settings.partitions,
    )  # fmt: skip
    changelog = app.topic(
        settings.changelog_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        partitions=settings.partitions, acks=False, internal=True, allow_empty=True, compacting=True,
    )  # fmt: skip
    app.Table(
        settings.table, partitions=settings.partitions, key_type=bytes, value_type=bytes,
        changelog_topic=changelog, on_changelog_event=app.load,
    )  # fmt: skip
    app.agent(source, name="fold", concurrency=1)(app.run_deliveries)
    return app


# ---------------------------------------------------------------------------------------------------------------------
# What all this was written against

#: Distributions and their versions.
VERSIONS: Mapping[str, str] = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}

#: What is overridden, wrapped or leaned on, with the first digits of the SHA-256 of its source.
SOURCES: Mapping[str, tuple[Any, str]] = {
    "faust.transport.consumer.Consumer.getmany": (faust_consumer.Consumer.getmany, "4b168d84882a"),
    "faust.transport.consumer.Consumer._wait_next_records": (
        faust_consumer.Consumer._wait_next_records,
        "6218e1969a63",
    ),
    "faust.transport.consumer.Consumer._drain_messages": (faust_consumer.Consumer._drain_messages, "44a2500309e8"),
    "faust.transport.consumer.Consumer._add_gap": (faust_consumer.Consumer._add_gap, "4df2573ded7c"),
    "faust.transport.consumer.Consumer.perform_seek": (faust_consumer.Consumer.perform_seek, "0e8c130ff4b0"),
    "faust.transport.consumer.Consumer.on_buffer_full": (faust_consumer.Consumer.on_buffer_full, "c8961679e0bc"),
    "faust.transport.consumer.Consumer.on_partitions_revoked": (
        faust_consumer.Consumer.on_partitions_revoked,
        "d04b7ae72c6f",
    ),
    "faust.transport.consumer.Consumer.on_partitions_assigned": (
        faust_consumer.Consumer.on_partitions_assigned,
        "29ce96596f05",
    ),
    "faust.transport.consumer.ThreadDelegateConsumer": (faust_consumer.ThreadDelegateConsumer, "a1b934b198fa"),
    "faust.transport.drivers.aiokafka.ConsumerRebalanceListener": (
        faust_driver.ConsumerRebalanceListener,
        "f3d04f29dfb3",
    ),
    "faust.transport.drivers.aiokafka.Consumer": (faust_driver.Consumer, "959f899e8ebf"),
    "faust.transport.drivers.aiokafka.AIOKafkaConsumerThread": (faust_driver.AIOKafkaConsumerThread, "8ca70be32815"),
    "faust.transport.drivers.aiokafka.Producer": (faust_driver.Producer, "d160f20ab8ec"),
    "faust.tables.recovery.Recovery": (faust_recovery.Recovery, "a652ef029484"),
    "faust.stores.memory.Store": (faust_memory.Store, "83ceb1145af0"),
    "faust.app.base.App.on_stop": (faust_app.App.on_stop, "bfe5a933defb"),
    "faust.app.base.App._on_partitions_revoked": (faust_app.App._on_partitions_revoked, "d5c895bbe57d"),
    "faust.app.base.App._on_partitions_assigned": (faust_app.App._on_partitions_assigned, "de932b7927db"),
    "faust.app.base.App._new_transport": (faust_app.App._new_transport, "42db531312dd"),
    "mode.utils.queues.FlowControlEvent": (mode_queues.FlowControlEvent, "1da8f905ab65"),
    "aiokafka.client.AIOKafkaClient.send": (AIOKafkaClient.send, "246b277687d7"),
    "aiokafka.protocol.api.Request": (Request, "1dc66f0574be"),
    "aiokafka.protocol.api.RequestStruct": (RequestStruct, "0c94b7d19018"),
    "aiokafka.consumer.fetcher.Fetcher.fetched_records": (Fetcher.fetched_records, "be4348896b9b"),
    "aiokafka.consumer.fetcher.Fetcher._update_fetch_positions": (Fetcher._update_fetch_positions, "d7774d8241dc"),
    "aiokafka.consumer.fetcher.Fetcher._proc_fetch_request": (Fetcher._proc_fetch_request, "59bf948fff47"),
    "aiokafka.consumer.subscription_state.TopicPartitionState": (TopicPartitionState, "2b83334afadf"),
    "aiokafka.consumer.fetcher.FetchResult": (FetchResult, "d7db13f06de8"),
    "aiokafka.consumer.fetcher.PartitionRecords": (PartitionRecords, "94aa0da0dbec"),
    "aiokafka.consumer.group_coordinator.GroupCoordinator": (GroupCoordinator, "3cc75f875a23"),
    "aiokafka.producer.sender.Sender": (Sender, "46ef144176b7"),
}


@functools.cache
def source_digest(thing: Any) -> str:
    """The first twelve digits of the SHA-256 of an object's source text; empty where there is no source."""
    try:
        return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12]
    except OSError:
        return ""


def check_faust(
    versions: Mapping[str, str] | None = None, sources: Mapping[str, tuple[Any, str]] | None = None
) -> None:
    """Raise `FaustChanged` unless the installed versions and sources are those that this module was written against."""
    for name, version in (VERSIONS if versions is None else versions).items():
        installed = metadata.version(name)
        if installed != version:
            raise FaustChanged(
                f"{name} {installed} is installed; delivery.py was written against {version}; install that one, or look at"
                " what changed in the parts that delivery.py lists under SOURCES, run tests/streams/test_delivery_contract.py"
                " and tests/integration/test_delivery.py, and write down the new version there"
            )
    for name, (thing, digest) in (SOURCES if sources is None else sources).items():
        found = source_digest(thing)
        if found and found != digest:
            raise FaustChanged(
                f"{name} is not the code that delivery.py was written against (its source has the digest {found}, not"
                f" {digest}); install the versions {', '.join(f'{n} {v}' for n, v in VERSIONS.items())} unpatched, or look at"
                " what changed there"
            )
