"""How the audit reads topics: read committed, from the first record that is left to the end they had when it began.

A consumer without a group is given its partitions; nothing is committed, nobody is disturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, OffsetOutOfRangeError

from queuewatch_schemas.config import Configuration, KafkaSettings
from queuewatch_schemas.records import (
    DeadLetter,
    PartitionNews,
    QueueSnapshot,
    UnreadableRecordError,
    partition_of_key,
)
from queuewatch_streams.kafka import KafkaTrouble, administration, client_settings, described, unreachable
from queuewatch_streams.topics import partition_counts

__all__ = ["Letters", "Published", "Reader", "Span", "committed_offsets", "connected"]

_PATIENCE: Final = 60.0
"""Seconds without a record, below the end, after which a topic counts as not readable."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is left of a partition: the first offset, and the one after the last."""

    begin: int
    end: int


class Reader:
    """A consumer that reads whole topics."""

    def __init__(self, consumer: AIOKafkaConsumer, counts: Mapping[str, int]) -> None:
        self._consumer = consumer
        self._counts = counts

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has.  Raises KafkaTrouble where it is not there."""
        if topic not in self._counts:
            raise KafkaTrouble(f"there is no topic {topic}; `queuewatch topics create` creates it")
        return self._counts[topic]

    async def spans(self, topic: str) -> dict[int, Span]:
        """What is left of each partition now; of open transactions nothing."""
        places = [TopicPartition(topic, number) for number in range(self.partitions(topic))]
        self._consumer.assign(places)  # tells the client of the topic
        self._consumer.pause(*places)
        begins, ends = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        return {place.partition: Span(begins[place], ends[place]) for place in places}

    async def records(self, topic: str, spans: dict[int, Span]) -> AsyncIterator[tuple[int, Sequence[ConsumerRecord]]]:
        """The records of each partition's span, in parts, each with its partition's number.

        A span grows to what the first fetch tells of: the embedded broker, asked for an end, names the last batch's begin.
        Raises KafkaTrouble where retention is faster, or nothing comes for a minute.
        """
        left = {TopicPartition(topic, number): span for number, span in spans.items() if span.begin < span.end}
        self._consumer.assign(list(left))
        for place, span in left.items():
            self._consumer.seek(place, span.begin)
        fresh = set(left)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while left:
            try:
                found = await self._consumer.getmany(*left, timeout_ms=500, max_records=20_000)
            except OffsetOutOfRangeError as error:
                raise KafkaTrouble(
                    f"retention deleted records of {topic} while they were read ({described(error)}); run it again"
                ) from error
            for place in fresh & left.keys():
                stable = self._consumer.last_stable_offset(place)
                if stable is not None and stable >= 0:
                    fresh.discard(place)
                    span = Span(left[place].begin, max(left[place].end, stable))
                    left[place] = spans[place.partition] = span
            for place, records in found.items():
                end = left[place].end
                wanted = records
                if records[-1].offset >= end:
                    wanted = [record for record in records if record.offset < end]
                if wanted:
                    yield place.partition, wanted
            done = [place for place, span in left.items() if await self._consumer.position(place) >= span.end]
            if found or done:
                heard = loop.time()
            elif loop.time() - heard > _PATIENCE:
                behind = ", ".join(f"{place.partition} before offset {span.end}" for place, span in left.items())
                raise KafkaTrouble(f"nothing more could be read of {topic} for {_PATIENCE:.0f} s: partition {behind}")
            for place in done:
                del left[place]
            if done and left:
                self._consumer.pause(*done)


@asynccontextmanager
async def connected(kafka: KafkaSettings) -> AsyncIterator[Reader]:
    """A reader.  Raises KafkaTrouble where no broker can be reached, or the connection is lost on the way."""
    counts = await partition_counts(kafka)
    settings = client_settings(kafka)
    consumer = AIOKafkaConsumer(
        **settings,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await consumer.start()
        yield Reader(consumer, counts)
    except KafkaConnectionError as error:
        raise unreachable(settings, error) from error
    except KafkaError as error:
        raise KafkaTrouble(f"Kafka at {kafka.brokers} did not do as asked: {described(error)}") from error
    finally:
        # aiokafka may swallow its own cancelling right after an assignment and then wait for ever; a second one gets through.
        with suppress(TimeoutError):
            await asyncio.wait_for(consumer.stop(), 5)


async def committed_offsets(configuration: Configuration, partitions: int) -> dict[int, int] | None:
    """The offsets that the workers have committed, by partition of the events; None where the brokers do not tell."""
    topic = configuration.topics.events
    async with administration(configuration.kafka) as admin:
        try:
            places = [TopicPartition(topic, number) for number in range(partitions)]
            found = await admin.list_consumer_group_offsets(configuration.application, partitions=places)
        except (KafkaError, NotImplementedError):
            return None
    return {place.partition: told.offset for place, told in found.items() if place.topic == topic and told.offset >= 0}


@dataclass(slots=True)
class Letters:
    """The dead letters of the event topic: by partition, the reason by offset.  `whole` False: some are deleted."""

    reasons: dict[int, dict[int, str]] = field(default_factory=dict)
    whole: bool = True
    unreadable: list[str] = field(default_factory=list)

    def add(self, source: str, record: ConsumerRecord) -> None:
        """Take in a record of the dead-letter topic."""
        try:
            letter = DeadLetter.from_headers(record.headers)
        except UnreadableRecordError as error:
            self.unreadable.append(f"{record.topic}/{record.partition}/{record.offset}: {error}")
            return
        if letter.topic == source:
            self.reasons.setdefault(letter.partition, {})[letter.offset] = letter.reason.value

    @property
    def count(self) -> int:
        """How many events were lettered."""
        return sum(map(len, self.reasons.values()))


@dataclass(slots=True)
class Published:
    """What the workers have published: of each queue and partition what counts, by partition of the events.

    Of one key the greatest offset counts, of those the latest time; a queue that was taken back counts as not told of.
    """

    queues: dict[str, QueueSnapshot] = field(default_factory=dict)
    news: dict[int, PartitionNews] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    """By queue: what is wrong with its last record."""

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Take in a record of the snapshots' topic, in the order of its partition."""
        if key is None:
            return
        name = key.decode("utf-8", "replace")
        self.unreadable.pop(name, None)
        partition = partition_of_key(key)
        try:
            if partition is not None:
                self._add_news(None if value is None else PartitionNews.from_bytes(value))
            elif value is None:
                self.queues.pop(name, None)
            else:
                self._add_queue(name, QueueSnapshot.from_bytes(value))
        except UnreadableRecordError as error:
            self.unreadable[name] = str(error)

    def _add_news(self, news: PartitionNews | None) -> None:
        if news is not None:
            known = self.news.get(news.partition)
            if known is None or (news.offset, news.time) >= (known.offset, known.time):
                self.news[news.partition] = news

    def _add_queue(self, name: str, snapshot: QueueSnapshot) -> None:
        if snapshot.queue != name:
            raise UnreadableRecordError(f"it is of the queue {snapshot.queue!r}")
        known = self.queues.get(name)
        if known is None or (snapshot.offset, snapshot.time) >= (known.offset, known.time):
            self.queues[name] = snapshot


def span_after(span: Span, done: Mapping[int, Span], number: int) -> Span:
    """What of a span lies behind what was read before."""
    before: Any = done.get(number)
    return span if before is None else Span(max(span.begin, before.end), span.end)
