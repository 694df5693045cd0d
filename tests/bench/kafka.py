"""Topics for the benchmarks, and events put into them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.feed import Sent
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.topics import topics

PARTITIONS = 4
_ROLES = ("events", "agents", "dead_letter", "queues", "intervals")
_BATCH = 512 * 1024


def configuration(
    folder: Path, broker: str, application: str, *, events: str | None = None, session: float = 10.0, settings: str = ""
) -> tuple[Path, Configuration]:
    """A configuration file for an application of its own; `events` names a topic that it shares with others."""
    names = {role: f"{application}.{role}" for role in _ROLES}
    if events is not None:
        names["events"] = events
    path = folder / f"{application}.toml"
    path.write_text(
        f'application = "{application}"\n{settings}\n'
        f'[kafka]\nbrokers = "{broker}"\npartitions = {PARTITIONS}\nsession_timeout_seconds = {session}\n'
        f"heartbeat_seconds = {min(3.0, session / 5)}\n"
        "[topics]\n" + "\n".join(f'{role} = "{name}"' for role, name in names.items()) + "\n"
    )
    return path, load(path)


def create_topics(configuration: Configuration, *, stamps: str = "CreateTime") -> None:
    """Create the application's topics that are not there.

    Records keep the producer's timestamps by default: a backlog is published faster than it came about.
    """

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=configuration.kafka.brokers)
        await admin.start()
        try:
            there = set(await admin.list_topics())
            wanted = []
            for topic in topics(configuration).values():
                if topic.name not in there:
                    how = topic.settings()
                    if topic.role == "events":
                        how["message.timestamp.type"] = stamps
                        how.pop("message.timestamp.before.max.ms", None)
                        how.pop("message.timestamp.difference.max.ms", None)
                    wanted.append(NewTopic(topic.name, topic.partitions, 1, topic_configs=how))
            answer = await admin.create_topics(wanted)
            faults = [each for each in answer.topic_errors if each[1]]
            assert not faults, faults
            while not {topic.name for topic in wanted} <= set(await admin.list_topics()):
                await asyncio.sleep(0.05)
        finally:
            await admin.close()

    asyncio.run(create())


def producer_settings() -> dict[str, Any]:
    """How events are sent: lz4, in large batches, acknowledged by all."""
    return {"compression_type": "lz4", "max_batch_size": _BATCH, "linger_ms": 5, "acks": "all"}


async def append(producer: AIOKafkaProducer, topic: str, sent: Iterable[Sent]) -> None:
    """Put events into the topic in their order, with their own timestamps; returns when all are acknowledged."""
    under_way = []
    parts: dict[int, list[Sent]] = {}
    for each in sent:
        parts.setdefault(each.partition, []).append(each)
    for partition, theirs in parts.items():
        left = iter(theirs)
        first = next(left, None)
        while first is not None:
            batch = producer.create_batch()
            for each in itertools.chain([first], left):
                if batch.append(key=each.key, value=each.value, timestamp=each.timestamp) is None:
                    first = each
                    break
            else:
                first = None
            batch.close()
            under_way.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*under_way)


def publish(broker: str, topic: str, sent: Iterable[Sent]) -> None:
    """Put events into the topic in their order, compressed with lz4, with their own timestamps."""

    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker, **producer_settings())
        await producer.start()
        try:
            await append(producer, topic, sent)
        finally:
            await producer.stop()

    asyncio.run(send())


def bytes_on_disk(folder: Path, topic: str) -> int:
    """How many bytes the broker's segments of a topic have."""
    return sum(path.stat().st_size for path in (folder / "data").glob(f"{topic}-*/*.log"))
