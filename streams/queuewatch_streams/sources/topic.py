"""What the topic of events holds since a moment, read once from there to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from queuewatch_schemas.config import Configuration
from queuewatch_streams.kafka import KafkaTrouble, client_settings, described
from queuewatch_streams.topics import TopicTrouble, partition_counts

__all__ = ["values_since"]

_ENOUGH: Final = 60.0


async def values_since(configuration: Configuration, since: datetime) -> AsyncIterator[bytes]:
    """The values of all records since then, until the end that the topic has now.

    :raises KafkaTrouble: the topic is not there, no broker answers, or nothing comes any more though there is more.
    """
    topic = configuration.topics.events
    partitions = (await partition_counts(configuration.kafka)).get(topic)
    if partitions is None:
        raise TopicTrouble(f"the topic {topic} is not there at {configuration.kafka.brokers}")
    consumer = AIOKafkaConsumer(**client_settings(configuration.kafka), enable_auto_commit=False)
    try:
        await consumer.start()
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        # Records are never older than what they tell of, by more than a clock's difference.
        start = max(0, round(since.timestamp() * 1000) - 60_000)
        begins = await consumer.offsets_for_times(dict.fromkeys(places, start))
        for place in places:
            consumer.seek(place, ends[place] if begins[place] is None else begins[place].offset)
        while True:
            async with asyncio.timeout(_ENOUGH):
                if all([await consumer.position(place) >= ends[place] for place in places]):
                    return
                found = await consumer.getmany(timeout_ms=500)
            for records in found.values():
                for record in records:
                    yield record.value or b""
    except (TimeoutError, KafkaError) as error:
        raise KafkaTrouble(f"Kafka at {configuration.kafka.brokers} stopped answering ({described(error)})") from error
    finally:
        await consumer.stop()
