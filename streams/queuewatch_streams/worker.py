"""The worker: partitions fed by Faust, figures on /metrics, and everything that is published about them.

This is where the parts meet, and where the wall clock is read.  What it publishes goes out only while the lease holds:
dead letters, re-keyed events and closed intervals through the outbox, acknowledged before offsets are committed; snapshots,
news of partitions and proposed evictions whenever they are due, since the next ones replace them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import faust
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from queuewatch_schemas.config import Configuration, KafkaSettings
from queuewatch_schemas.records import DeadLetter, letter_value
from queuewatch_schemas.topics import TABLE, changelog_name, partition_for
from queuewatch_streams import accelerator
from queuewatch_streams.cadence import Cadence
from queuewatch_streams.checkpoints import Checkpoints
from queuewatch_streams.core.checkpoint import record_offset
from queuewatch_streams.core.ghosts import AGAIN
from queuewatch_streams.core.intervals import Closed
from queuewatch_streams.core.partition import REKEYED_HEADER, Clock, Folded, Partition
from queuewatch_streams.deliveries import Deliveries
from queuewatch_streams.delivery import LAST_WORDS, FetchApp, Settings, build_app, within
from queuewatch_streams.exporter import Exporter, Exposition, Health
from queuewatch_streams.kafka import client_settings, gives_producer_ids, password, producer_settings, tls_context
from queuewatch_streams.outbox import Letter, Outbox
from queuewatch_streams.pace import Pace
from queuewatch_streams.publications import interval, news, snapshot
from queuewatch_streams.serve import Server, application
from queuewatch_streams.topics import TopicTrouble, check_limits, wait_for_topic

__all__ = ["Worker", "run"]

log = logging.getLogger(__name__)

SNAPSHOT_EVERY: Final = 0.02
"""Seconds between two looks for changed queues."""
SNAPSHOT_SHARE: Final = 0.4
"""The share of the worker's time that snapshots may take."""
BACKLOG_SHARE: Final = 0.05
"""The same while a backlog is worked off: nobody watches the past go by."""
DUE_PART: Final = 0.25
"""What snapshots that are due by time get at least, as a part of the time that those of changed queues take."""
NEWS_EVERY: Final = 2.0
"""Seconds between two news of a partition; there are some at once when it is taken up, becomes ready, or is let go."""
TIME_EVERY: Final = 1.0
"""Seconds between two looks for what time brings about: expiry, closed intervals, idle queues."""
GHOSTS_EVERY: Final = 5.0
CAUGHT_UP: Final = 5_000_000
"""Microseconds that log time may be behind the clock, where the topic is never at rest, for figures to be of the present:
ghosts are judged, and snapshots go out as they should."""
PORT_SETTING: Final = "--metrics-port"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What has to be known of Kafka before Faust may start."""

    partitions: int
    idempotent: bool


def _now() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


class Worker(Service):
    """One worker process: it owns some partitions of the event topic and tells of their queues."""

    def __init__(self, configuration: Configuration, prepared: Prepared, clock: Clock, folder: Path) -> None:
        self.configuration = configuration
        self.clock = clock
        self.app = _app(configuration, prepared, folder)
        super().__init__(loop=self.app.loop)
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        timing = configuration.timing
        self._prepared = prepared
        self._topics = configuration.topics
        self._exporter = Exporter(configuration)
        self._cadence = Cadence(self._exporter.names)
        self._version = metadata.version("queuewatch")
        self._loaded_at = time.time()
        self._proposed: dict[tuple[str, Any], int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._outbox: Outbox | None = None
        self._news_due = asyncio.Event()
        self.checkpoints: Checkpoints[Partition] = Checkpoints(
            self.app,
            record_offset=record_offset,
            before_commit=self._settled,
            interval=timing.checkpoint_seconds,
            replay_events=timing.replay_events,
        )
        self.deliveries: Deliveries[Partition] = Deliveries(
            self.app,
            self.checkpoints,
            restore=self._restore,
            folded=self._folded,
            lost=lambda partition, up_to: partition.lose(up_to),
            became_ready=lambda partition: self._news_due.set(),
            recovering=lambda numbers: self._news_due.set(),
            letting_go=self._tell_of_leaving,
            room=self._room,
        )
        serve = configuration.serve
        self.server = Server(
            application(self.figures, self.unready, self._standing), serve.host, serve.metrics_port, PORT_SETTING
        )
        self.app.add_dependency(self)

    # ------------------------------------------------------------------------------------------------- starting, ending

    async def on_start(self) -> None:
        """Serve at once, so that not being ready can be told; publish from now on."""
        _collect_rarely()
        try:
            await self.server.start()
            self._producer = AIOKafkaProducer(
                **client_settings(self.configuration.kafka),
                **producer_settings(self.configuration.kafka, idempotent=self._prepared.idempotent),
                linger_ms=5,
            )
            await self._producer.start()
        except Exception as error:
            await self.app.crash(error)
            raise
        self._outbox = Outbox(self._producer, may_send=self.app.lease.holds, generation=lambda: self.app.generation)
        self.add_future(self._guarded(self._outbox.run))
        self.add_future(self._every(TIME_EVERY, self._pass_time))
        self.add_future(self._guarded(self._tell_news))
        self.add_future(self._publish_snapshots())
        if self.clock is Clock.LIVE:
            self.add_future(self._every(GHOSTS_EVERY, self._propose_evictions))

    async def on_stop(self) -> None:
        """Stop publishing and serving."""
        await self.server.stop()
        producer = self._producer
        if producer is not None and not await within(LAST_WORDS, producer.stop(), "the producer does not close"):
            await within(LAST_WORDS, producer.client.close(), "its connections did not close either")

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """A task whose end by an error ends the worker."""
        try:
            await task()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.error("%s", error)
            await self.app.crash(error)
            raise

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        async def repeat() -> None:
            while not self.should_stop:
                await asyncio.sleep(seconds)
                await step()

        await self._guarded(repeat)

    # ------------------------------------------------------------------------------------------------------ folding

    def _restore(self, number: int, own: bytes | None, values: list[bytes]) -> Partition:
        records = values if own is None else [own, *values]
        return Partition.restored(
            number, self.configuration, records, partitions=self._prepared.partitions, clock=self.clock
        )

    def _folded(self, partition: Partition, folded: Folded) -> None:
        """Letters for what was refused; what lies on the wrong partition goes to the right one; intervals that closed."""
        outbox = self._outbox
        assert outbox is not None, "folding begins after on_start"
        source = self._topics.events
        for refused in folded.refused:
            record = refused.record
            letter = DeadLetter.of(
                topic=source,
                partition=partition.number,
                offset=record.offset,
                reason=refused.reason,
                detail=refused.detail,
                payload=record.value,
            )
            outbox.put(Letter(self._topics.dead_letter, letter.key(), letter_value(record.value), letter.headers()))
        for record, queue in folded.misplaced:
            stamp = str(record.timestamp).encode()
            outbox.put(
                Letter(
                    source,
                    queue.encode(),
                    record.value,
                    (*record.headers, (REKEYED_HEADER, stamp)),
                    partition_for(queue.encode(), partition.partitions),
                    record.timestamp,
                )
            )

        self._tell_intervals(partition, folded.closed)

    def _tell_intervals(self, partition: Partition, told: list[Closed]) -> None:
        assert self._outbox is not None, "nothing is told before on_start"
        for closed in told:
            key, value = interval(partition, closed, self._exporter.settings(closed.queue))
            self._outbox.put(Letter(self._topics.intervals, key, value, partition=partition.number))

    async def _settled(self) -> None:
        if self._outbox is not None:
            await self._outbox.settled()

    async def _room(self) -> None:
        if self._outbox is not None:
            await self._outbox.room()

    # --------------------------------------------------------------------------------------------------- publishing

    async def _pass_time(self) -> None:
        """What log time brings about in the partitions that are shown; closed intervals go through the outbox."""
        for partition in self.deliveries.exposed().values():
            self._tell_intervals(partition, partition.advance())
            await asyncio.sleep(0)

    async def _publish_snapshots(self) -> None:
        """Changed queues at once, others when they are due; never more than a share of the time."""

        async def repeat() -> None:
            while not self.should_stop:
                share = BACKLOG_SHARE if self._has_backlog() else SNAPSHOT_SHARE
                pace = Pace()
                for partition in self.deliveries.exposed().values():
                    await self._publish_changed(partition, pace)
                # What is due may wait, but not for ever: where changes take up all the time, it gets a part of theirs.
                await self._publish_due(pace, max(share * SNAPSHOT_EVERY, pace.so_far() * (1 + DUE_PART)))
                pace.end()
                await asyncio.sleep(max(SNAPSHOT_EVERY, pace.spent / share - pace.spent))

        await self._guarded(repeat)

    async def _publish_changed(self, partition: Partition, pace: Pace) -> None:
        now = _now()
        changed = {name for name in partition.changed if not self._cadence.was_just_told(partition, name, now)}
        partition.changed -= changed
        while changed:
            name = changed.pop()
            if not await self._publish(partition, name, pace):
                partition.changed |= {name, *changed}  # it may be shown again
                return

    async def _publish_due(self, pace: Pace, seconds: float) -> None:
        """What is due, the most overdue first, until all of the pace has taken so many seconds."""
        self._cadence.look(self.deliveries.exposed().values(), _now())
        while pace.so_far() < seconds and (due := self._cadence.next_due(_now())) is not None:
            if not await self._publish(*due, pace):
                return

    async def _publish(self, partition: Partition, name: str, pace: Pace) -> bool:
        """A queue's snapshot, or that it has left the state.  False where the partition may not be shown any more."""
        if pace.over():
            await pace.rest()
        if self.deliveries.exposed().get(partition.number) is not partition:
            return False
        now, value = _now(), None
        queue = self._exporter.queue(partition, name)
        if queue is not None:
            value = snapshot(partition, queue, self._exporter.settings(name), now)
        self._cadence.was_told(partition, name, queue, now)
        await self._send(self._topics.queues, name.encode(), value, partition.number)
        return True

    def _has_backlog(self) -> bool:
        """Whether figures of some partition are of the past, and there are events that will bring them on."""
        now = _now()
        return any(self._is_behind(number, partition, now) for number, partition in self.deliveries.exposed().items())

    def _is_behind(self, number: int, partition: Partition, now: int) -> bool:
        return self.deliveries.lag(number) != 0 and now - partition.log_time > CAUGHT_UP

    async def _tell_news(self) -> None:
        """How it stands with every partition that is ours, ready or not: now and then, and at once when that changes."""
        while not self.should_stop:
            self._news_due.clear()
            if self.app.lease.holds():  # else they may be another worker's, whose news these would hide
                exposed = self.deliveries.exposed()
                for partition in self.deliveries.owned().values():
                    await self._send_news(partition, ready=partition.number in exposed)
                for number in self.deliveries.recovering():
                    await self._send_news(self._unread(number), ready=False)
            with suppress(TimeoutError):
                async with asyncio.timeout(NEWS_EVERY):
                    await self._news_due.wait()

    async def _tell_of_leaving(self, partitions: list[Partition]) -> None:
        """Partitions are let go: until their next owner has them ready nobody shows them."""
        if self.app.lease.holds():
            for partition in partitions:
                await self._send_news(partition, ready=False)

    async def _send_news(self, partition: Partition, *, ready: bool) -> None:
        key, value = news(partition, self.name, ready=ready, now=_now())
        await self._send(self._topics.queues, key, value, partition.number)

    def _unread(self, number: int) -> Partition:
        """A partition of which nothing is known yet."""
        return Partition(number, self.configuration, partitions=self._prepared.partitions, clock=self.clock)

    async def _propose_evictions(self) -> None:
        """Ghosts are proposed to the log; they are given up when the event comes back."""
        now = _now()
        self._proposed = {visit: at for visit, at in self._proposed.items() if now - at < AGAIN}
        for number, partition in self.deliveries.exposed().items():
            if self._is_behind(number, partition, now):
                continue
            for eviction in list(partition.evictions(now)):
                visit = eviction.queue, eviction.key
                if visit in self._proposed or not self.app.lease.holds():
                    continue
                self._proposed[visit] = now
                value = orjson.dumps(eviction.event(self.configuration.own_source))
                await self._send(self._topics.events, eviction.queue.encode(), value, number)
            await asyncio.sleep(0)

    async def _send(self, topic: str, key: bytes, value: bytes | None, partition: int) -> None:
        """Send what the next one will replace: a failure is logged, not repeated."""
        assert self._producer is not None
        try:
            await self._producer.send(topic, value, key=key, partition=partition)
        except KafkaError as error:
            log.warning("a record for %s could not be sent: %r", topic, error)
            await asyncio.sleep(1)

    # ------------------------------------------------------------------------------------------------------- telling

    def unready(self) -> str | None:
        """Why this worker is not ready; None when it is: every partition it owns is caught up, and its lease holds."""
        if self.app.generation < 0:
            return "it has not joined its group yet"
        if not self.app.lease.holds():
            return "the group has not been heard from for the session timeout"
        if self.app.rebalancing:
            return "the group shares its partitions out anew"
        owned = self.deliveries.owned()
        behind = [number for number in owned if not self.deliveries.ready(number)]
        if self.app.in_recovery or behind:
            return f"partitions {behind} are not caught up" if behind else "checkpoints are being read"
        return None

    def _standing(self) -> tuple[bool, int, frozenset[int]]:
        """What figures rest upon: whether the lease holds, in which generation, and which partitions may be shown."""
        return self.app.lease.holds(), self.app.generation, frozenset(self.deliveries.exposed())

    async def figures(self, queue: str | None) -> Exposition:
        """What there is to tell now: of one queue, or of everything."""
        exposed = self.deliveries.exposed()
        owned = self.deliveries.owned()
        health = Health(
            ready=self.unready() is None,
            owned=len(owned),
            partition_ready={number: number in exposed for number in owned},
            lag={number: self.deliveries.lag(number) for number in owned},
            checkpoint_age=self.checkpoints.age(),
            config_loaded_at=self._loaded_at,
            version=self._version,
        )
        return await self._exporter.in_slices(exposed.values(), health, _now(), only=queue)


def _app(configuration: Configuration, prepared: Prepared, folder: Path) -> FetchApp:
    kafka, names = configuration.kafka, configuration.topics
    return build_app(
        Settings(
            brokers=kafka.brokers,
            group=configuration.application,
            source=names.events,
            partitions=prepared.partitions,
            table=TABLE,
            changelog=changelog_name(configuration.application),
            session_timeout=kafka.session_timeout_seconds,
            heartbeat_interval=kafka.heartbeat_seconds,
            group_instance_id=kafka.group_instance_id,
            credentials=_credentials(kafka),
            compression=None if kafka.compression == "none" else kafka.compression,
            idempotent=prepared.idempotent,
            folder=folder,
        )
    )


def _credentials(kafka: KafkaSettings) -> Any:
    """Security as Faust takes it; None for plain connections."""
    context = tls_context(kafka)
    if kafka.sasl_mechanism is not None:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=password(kafka),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context=context) if context is not None else None


async def prepare(configuration: Configuration) -> Prepared:
    """Wait for the topics and learn what the brokers can do.  Faust must not start before.

    Raises KafkaTrouble where no broker can be reached, and TopicTrouble where topics differ in their partitions or do not
    take what the worker writes.
    """
    kafka, names = configuration.kafka, configuration.topics
    idempotent = await gives_producer_ids(client_settings(kafka))
    partitions = await wait_for_topic(kafka, names.events)  # Faust would be assigned nothing, and stay deaf
    for name in (changelog_name(configuration.application), names.dead_letter, names.queues, names.intervals):
        found = await wait_for_topic(kafka, name)  # without them nothing could ever be committed
        if found != partitions and name != names.dead_letter:
            raise TopicTrouble(
                f"topic {names.events} has {partitions} partitions, {name} has {found}: they must be equal;"
                " `queuewatch topics check` says more"
            )
    await check_limits(configuration)
    return Prepared(partitions, idempotent)


async def _prepare_in_sight(configuration: Configuration) -> Prepared:
    """Prepare, and meanwhile answer that the worker lives and why it is not ready."""
    exporter = Exporter(configuration)
    health = Health(ready=False, owned=0, config_loaded_at=time.time(), version=metadata.version("queuewatch"))

    async def figures(queue: str | None) -> Exposition:
        return exporter.at_once([], health, _now(), only=queue)

    serve = configuration.serve
    routes = application(figures, lambda: "it waits for its topics")
    server = Server(routes, serve.host, serve.metrics_port, PORT_SETTING)
    await server.start()
    try:
        return await prepare(configuration)
    finally:
        await server.stop()


def _collect_rarely() -> None:
    """Let Python look for cycles of garbage seldom: visits and cells are many and in none, and looking through all of them
    would take a fifth of the time and stall the loop."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 1_000)


def run(configuration: Configuration, clock: Clock, folder: Path, *, loglevel: str = "WARNING") -> int:
    """Run a worker until it is told to stop; the exit status is 0, or 1 where it crashed.

    Raises PortTaken, Stale, and what `prepare` raises, before anything is started.
    """
    log.info("the core is %s", accelerator.state())
    prepared = asyncio.run(_prepare_in_sight(configuration))
    worker = Worker(configuration, prepared, clock, folder)
    process = faust.Worker(worker.app, loglevel=loglevel, redirect_stdouts=False, quiet=True)
    process.spinner = None  # it would write control characters, even where there is no terminal
    try:
        process.execute_from_commandline()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
