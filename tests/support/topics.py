"""Topics of a test's own, and all that lies on them."""

from __future__ import annotations

from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from queuewatch_schemas.config import Configuration, KafkaSettings, TopicNames
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.partition import Record
from queuewatch_streams.topics import ensure

ROLES = ("events", "agents", "dead_letter", "queues", "intervals")


async def site_of(broker: Broker, unique: str, partitions: int = 3) -> Configuration:
    """A configuration with topics of its own, made for the past too."""
    made = Configuration(
        application=unique,
        kafka=KafkaSettings(brokers=broker.address, partitions=partitions),
        topics=TopicNames.model_validate({role: f"{unique}.{role}" for role in ROLES}),
    )
    await ensure(made, history=True)
    return made


async def stored(configuration: Configuration, topic: str) -> list[list[Record]]:
    """Every record of a topic, by partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=configuration.kafka.brokers, enable_auto_commit=False, metadata_max_age_ms=1000
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(configuration.kafka.partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: list[list[Record]] = [[] for _ in places]
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found[place.partition] += [
                    Record(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in records
                ]
        return found
    finally:
        await consumer.stop()


async def written(configuration: Configuration, topic: str) -> list[dict[str, Any]]:
    """Every event of a topic, in the order of each partition."""
    return [
        orjson.loads(each.value) for records in await stored(configuration, topic) for each in records if each.value
    ]
