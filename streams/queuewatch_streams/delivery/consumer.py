"""Faust's consumer and its thread, made to fetch whole deliveries: runs, numbers, resets, seeks and commits."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import aiokafka
from aiokafka import errors
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as faust_driver
from faust.types import TP, ConsumerMessage

from queuewatch_streams.delivery.fetches import Delivery, Fetched, Part
from queuewatch_streams.delivery.way_out import LAST_WORDS, within
from queuewatch_streams.kafka import topic_id

if TYPE_CHECKING:
    from queuewatch_streams.delivery.app import FetchApp

log = logging.getLogger(__name__)

MEBIBYTE = 1 << 20
#: Numbers for runs, of which none is given twice.
RUNS = itertools.count(1)


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
        """No run outlives the assignment in which it began."""
        cast(FetchThread, self._thread).forget_runs()
        await super().on_partitions_assigned(assigned)


class FetchThread(faust_driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka lives: fetches, seeks, heartbeats and commits happen here, one after the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        app = cast("FetchApp", self.app)
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
        """From the first fetch and heartbeat on we see what comes and how it is answered."""
        await super().on_start()
        consumer = self._ensure_consumer()
        consumer._fetcher._records = Fetched(self._whole, self._size)
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
        assign = coordinator._perform_assignment

        async def perform_assignment(response: Any) -> Any:
            await self._know_topics(consumer._client)
            return await assign(response)

        coordinator._perform_assignment = perform_assignment

    async def _know_topics(self, client: Any) -> None:
        """Ask for our topics until we know of them, before we as the group's leader assign their partitions.

        Faust assigns none of a topic of which it knows nothing, as when a broker has just come back; and metadata that could
        not be had are asked for again only when they are old.
        """
        patience = cast("FetchApp", self.app).settings.session_timeout / 2
        try:
            async with asyncio.timeout(patience):
                while not all(client.cluster.partitions_for_topic(topic) for topic in self._whole):
                    await client.force_metadata_update()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            log.warning("the brokers tell nothing of %s within %g s", " and ".join(sorted(self._whole)), patience)

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
        """Leave the group, or give up soon."""
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
        return cast("FetchApp", self.app).settings.changelog_topic

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
                self._runs[tp] = run, _ = next(RUNS), 0
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
        client, settings = self._ensure_consumer()._client, cast("FetchApp", self.app).settings
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
        """Everything is written and let go before Faust goes on: the group waits for us meanwhile."""
        try:
            await self.app.let_go()
        except Exception as error:
            await self.app.crash(error)
            raise
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        """The new assignment has a writer before Faust goes on."""
        try:
            await self.app.take_up()
        except Exception as error:
            await self.app.crash(error)
            raise
        await super().on_partitions_assigned(assigned, generation_id)


class FetchProducer(faust_driver.Producer):
    """Faust's producer, idempotent, for everything but the changelog."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": cast("FetchApp", self.app).settings.idempotent}

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
