"""How the topics are read: without a group, all partitions, from the start or from a time on, for as long as the service runs.

Nothing that lies in a topic and nothing that brokers do ends the reading: what is no record of ours is counted and logged once
for its kind, what is gone is waited for, what was lost is taken up where it was left, and a topic made anew is read anew.

It also decides what is *live*.  Records up to the end that a partition had when reading began were written before, at a time
that only other clocks know; so were those that lie there after a silence, when a connection, or this process, has been away.
They tell what was.  Only what comes after them tells that its sender lives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from queuewatch_schemas.config import KafkaSettings
from queuewatch_schemas.events import Rejected, parse
from queuewatch_schemas.names import queue_name
from queuewatch_schemas.records import VERSION, PartitionNews, QueueSnapshot, UnreadableRecordError, partition_of_key
from queuewatch_streams.kafka import client_settings, described, topic_id
from queuewatch_wallboard.agents import AgentStates
from queuewatch_wallboard.figures import Figures
from queuewatch_wallboard.known import Instant, Known

__all__ = ["Ignored", "Reading", "take_agent_record", "take_queue_record"]

log = logging.getLogger(__name__)

SILENCE: Final = 4.0
"""Seconds without a record after which what comes next may have lain there: two rounds of a worker's news."""
LOOK_EVERY: Final = 5.0
"""Seconds between two looks at whether the topic is still the same, and whether reading goes on."""
PATIENCE: Final = 3
"""Looks at which there was more to read and nothing came, after which the connection is made anew."""
AGAIN: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before the next attempts to connect."""
_SLICE: Final = 200
"""Records that are taken in before others have their turn."""


class Ignored(Exception):
    """A record that is left out: `reason` is one of the catalogue, `detail` says more, for the log."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class _Changed(Exception):
    """The topic is another one, or has other partitions."""


class _Stuck(Exception):
    """There is more to read, and it does not come."""


# --------------------------------------------------------------------------------------------------------- what is read


def take_queue_record(known: Known, key: bytes | None, value: bytes | None, now: Instant, *, live: bool) -> None:
    """Take one record of the snapshots' topic in.  Raises Ignored."""
    try:
        partition = None if key is None else partition_of_key(key)
        queue = None if key is None or partition is not None else queue_name(key.decode())
    except ValueError:
        raise Ignored("foreign_key", "the key is neither a queue's nor a partition's") from None
    if key is None or (queue is None and value is None):
        raise Ignored("foreign_key", "there is no key" if key is None else "news without a value")
    if queue is not None and value is None:
        known.take_tombstone(queue, now)
        return
    assert value is not None
    kind: type[QueueSnapshot | PartitionNews] = PartitionNews if queue is None else QueueSnapshot
    try:
        record = kind.from_bytes(value)
        orjson.dumps(
            record.model_dump()
        )  # what cannot be written again, such as a number of fifty digits, is no figure
    except orjson.JSONEncodeError as error:
        raise Ignored("unreadable", str(error)) from None
    except UnreadableRecordError as error:
        version = _version(value)
        if version is None or version == VERSION:
            raise Ignored("unreadable", str(error)) from None
        raise Ignored("version", f"of version {version!r:.40}; known is {VERSION}") from None
    if record.key() != key:
        raise Ignored("foreign_key", "the key belongs to another record")
    if isinstance(record, QueueSnapshot):
        kept = known.take_snapshot(record, now, live=live)
    else:
        kept = known.take_news(record, now, live=live)
    if not kept:
        raise Ignored("older")


def _version(value: bytes) -> object:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found.get("version") if isinstance(found, dict) else None


def take_agent_record(agents: AgentStates, value: bytes | None) -> None:
    """Take one record of the agents' topic in.  Raises Ignored."""
    if value is None:
        raise Ignored("unreadable", "there is no value")
    try:
        event = parse(value)
    except Rejected as error:
        raise Ignored("unreadable", f"{error.reason}: {error.detail}") from None
    if event.type != "queuewatch.agent.state.v1":
        raise Ignored("other_event", event.type)
    if not agents.take(event.subject, event.at, event.data):
        raise Ignored("older")


# --------------------------------------------------------------------------------------------------------- how it is read


class Reading:
    """One topic, read for as long as `run` runs.

    `take(record, live)` takes a record in and may raise Ignored; `forget()` is called where the topic turns out to be another
    one.  Both are called on the event loop and must not block.
    """

    def __init__(
        self,
        role: str,
        topic: str,
        kafka: KafkaSettings,
        figures: Figures,
        *,
        take: Callable[[ConsumerRecord, bool], None],
        forget: Callable[[], None],
        only_last_seconds: float | None = None,
    ) -> None:
        self._role = role
        self._topic = topic
        self._kafka = kafka
        self._figures = figures
        self._take = take
        self._forget = forget
        self._only_last_seconds = only_last_seconds
        self._identity: tuple[str | None, int] | None = None
        self._next: dict[TopicPartition, int] = {}
        self._marks: dict[TopicPartition, int] = {}
        self._sized: set[TopicPartition] = set()
        self._last: dict[TopicPartition, float] = {}
        self._told: set[str] = set()
        self.caught_up = False
        """Whether everything was read that lay there when reading began; it stays so through lost connections."""
        self.trouble: str | None = "it is being connected to"
        """Why nothing is read now; None while all is well."""
        self.last_record: float | None = None
        """When the last record came, by the monotonic clock."""

    async def run(self) -> None:
        """Read until cancelled."""
        attempt = 0
        while True:
            before = self.last_record
            try:
                await self._read()
            except _Changed as change:
                self._trouble(str(change))
                self._begin_anew()
            except (KafkaError, OSError, TimeoutError, _Stuck) as error:
                self._trouble(described(error))
            except Exception as error:  # a fault of ours or of the client must not leave screens without news for ever
                log.exception("%s: reading failed; it is tried again", self._topic)
                self._trouble(described(error))
            if self.last_record != before:
                attempt = 0
            self._figures.count("reconnects_total", self._role)
            await asyncio.sleep(AGAIN[min(attempt, len(AGAIN) - 1)])
            attempt += 1

    def _trouble(self, what: str) -> None:
        if self.trouble != what:
            log.warning("%s: %s; it is tried again", self._topic, what)
        self.trouble = what

    def _begin_anew(self) -> None:
        self._identity = None
        self._next.clear()
        self._marks.clear()
        self._last.clear()
        self.caught_up = False
        self._forget()

    async def _read(self) -> None:
        """Connect and read until something is lost."""
        consumer = AIOKafkaConsumer(
            **client_settings(self._kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            request_timeout_ms=15_000,
            metadata_max_age_ms=10_000,
        )
        try:
            await consumer.start()
            places = await self._begin(consumer)
            looking = asyncio.create_task(self._look(consumer, places))
            try:
                while True:
                    if looking.done():
                        looking.result()
                    batch = await consumer.getmany(timeout_ms=250, max_records=_SLICE)
                    await self._mark(batch, consumer)
                    self._take_all(batch)
                    if not self.caught_up:
                        self.caught_up = await self._is_caught_up(consumer, places)
            finally:
                looking.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await looking
        finally:
            # aiokafka may swallow its own cancelling right after an assignment and then wait for ever.
            with suppress(TimeoutError):
                await asyncio.wait_for(consumer.stop(), 5)

    async def _begin(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        """Wait for the topic, and go to where reading begins or was left.  Raises _Changed, KafkaError."""
        while (identity := await self._look_up(consumer)) is None:
            if self._identity is not None:
                raise _Changed("the topic is gone")
            self._trouble("there is no such topic; `queuewatch topics create` creates it")
            await asyncio.sleep(1)
        if self._identity is not None and self._identity != identity:
            raise _Changed("the topic was made anew, or has other partitions")
        self._identity = identity
        places = [TopicPartition(self._topic, number) for number in range(identity[1])]
        consumer.assign(places)
        begins = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        if not self._next:
            self._next = dict(await self._starts(consumer, begins, ends))
        now = time.monotonic()
        self._sized.clear()
        for place in places:
            self._next[place] = max(self._next[place], begins[place])
            consumer.seek(place, self._next[place])
            self._marks[place] = ends[place]
            self._last[place] = now
        if self.trouble is not None and self.last_record is not None:
            log.warning("%s: read again", self._topic)
        self.trouble = None
        return places

    async def _look_up(self, consumer: AIOKafkaConsumer) -> tuple[str | None, int] | None:
        """The topic's id, where brokers tell one, and its partitions; None where there is none."""
        partitions = (await consumer._client.fetch_all_metadata()).partitions_for_topic(self._topic)
        return (await topic_id(consumer._client, self._topic), len(partitions)) if partitions else None

    async def _starts(
        self, consumer: AIOKafkaConsumer, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        if self._only_last_seconds is None:
            return begins
        since = round((time.time() - self._only_last_seconds) * 1000)
        found = await consumer.offsets_for_times(dict.fromkeys(begins, since))
        return {place: ends[place] if at is None else at.offset for place, at in found.items()}

    async def _mark(self, batch: Iterable[TopicPartition], consumer: AIOKafkaConsumer) -> None:
        """Find the ends before which records are not live: of partitions that come for the first time, or after a silence.

        What a fetch calls the end may itself be old, as after a pause of this process, so brokers are asked; and the embedded
        broker, when asked, names the last batch's begin, so what fetches say counts too.
        """
        now = time.monotonic()
        silent = [place for place in batch if now - self._last[place] > SILENCE]
        if silent:
            self._marks |= await consumer.end_offsets(silent)
            self._sized -= set(silent)
        for place in batch:
            self._size(place, consumer)
            self._last[place] = now

    def _size(self, place: TopicPartition, consumer: AIOKafkaConsumer) -> bool:
        """Whether a fetch has told of the partition's end, which is then the mark if it is further on."""
        if place not in self._sized and (told := consumer.highwater(place)) is not None:
            self._marks[place] = max(self._marks[place], told)
            self._sized.add(place)
        return place in self._sized

    def _take_all(self, batch: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        for place, records in batch.items():
            mark = self._marks[place]
            for record in records:
                self._figures.count("records_total", self._role)
                try:
                    self._take(record, record.offset >= mark)
                except Ignored as ignored:
                    self._ignore(record, ignored)
                except Exception as error:  # whatever lies there, reading goes on
                    self._ignore(record, Ignored("unreadable", repr(error)))
            self._next[place] = records[-1].offset + 1
            self.last_record = time.monotonic()

    def _ignore(self, record: ConsumerRecord, ignored: Ignored) -> None:
        self._figures.count("ignored_records_total", self._role, ignored.reason)
        if ignored.reason != "older" and ignored.reason not in self._told:
            self._told.add(ignored.reason)
            where = f"{self._topic}/{record.partition}/{record.offset}"
            log.warning(
                "%s is ignored: %s; further ones of that kind are only counted", where, ignored.detail or ignored.reason
            )

    async def _is_caught_up(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> bool:
        """Whether all that lay there was read."""
        for place in places:
            if not self._size(place, consumer) or await consumer.position(place) < self._marks[place]:
                return False
        return True

    async def _look(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        """See now and then whether the topic is the same and reading goes on.  Raises _Changed, _Stuck."""
        waited: dict[TopicPartition, tuple[int, int]] = {}
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                identity = await self._look_up(consumer)
                ends = await consumer.end_offsets(places)
            except (KafkaError, TimeoutError, OSError) as error:
                self._trouble(described(error))
                continue
            if identity != self._identity:
                raise _Changed("the topic is gone" if identity is None else "the topic was made anew")
            if self.trouble is not None:
                log.warning("%s: Kafka is there again", self._topic)
                self.trouble = None
            for place in places:
                position = await consumer.position(place)
                before, looks = waited.get(place, (position, 0))
                if ends[place] <= position or position != before:
                    waited[place] = position, 0
                elif looks + 1 >= PATIENCE:
                    raise _Stuck(f"nothing comes of partition {place.partition}, though there is more")
                else:
                    waited[place] = position, looks + 1
