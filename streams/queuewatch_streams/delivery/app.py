"""The Faust application around the consumer: what it asks of a `Reader`, when partitions come and go, and its settings."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import faust
from aiokafka.structs import TopicPartition
from yarl import URL

from queuewatch_streams.core.partition import Row
from queuewatch_streams.delivery.changelog import ChangelogWriter
from queuewatch_streams.delivery.consumer import (
    MEBIBYTE,
    RUNS,
    FetchConsumer,
    FetchProducer,
    FetchThread,
    FetchTransport,
    Progress,
    Span,
    TopicIds,
)
from queuewatch_streams.delivery.fetches import Delivery
from queuewatch_streams.delivery.pins import check_faust
from queuewatch_streams.delivery.way_out import LAST_WORDS, within
from queuewatch_streams.lease import Lease

log = logging.getLogger(__name__)

#: 16 MiB: the largest record that the worker writes; topics and brokers must allow as much.
LARGEST_RECORD = 16 * MEBIBYTE
#: Seconds after which brokers are asked anew which partitions there are, and where.
METADATA_AGE = 30


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
        return next(RUNS)

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
        runs = {tp.partition: next(RUNS) for tp in ours}
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
        "consumer_metadata_max_age_ms": METADATA_AGE * 1000,
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
