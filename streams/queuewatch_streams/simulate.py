"""Where simulated events go: to a stream of bytes as lines, or to Kafka as messages, at once or as their time comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.kafka import KafkaTrouble, client_settings, described, gives_producer_ids, producer_settings
from queuewatch_streams.simulation import Settings, endless, in_real_time, lines, messages
from queuewatch_streams.simulation.feed import Message
from queuewatch_streams.topics import TopicTrouble, partition_counts

__all__ = ["to_kafka", "to_stream"]


async def _as_it_happens(settings: Settings) -> AsyncIterator[Message]:
    """The centre from now on, with what has happened there lately first."""
    now = datetime.now(settings.start.tzinfo)
    running = endless(settings, now)
    async for live in in_real_time(messages(running), time.time, live_from=now.timestamp()):
        yield live.message


async def _at_once(settings: Settings) -> AsyncIterator[Message]:
    for message in messages(settings):
        yield message


async def to_stream(settings: Settings, stream: IO[bytes], *, real_time: bool) -> None:
    """Write each event as a line.  In real time it does not end."""
    if not real_time:
        stream.writelines(lines(settings))
        return
    async for message in _as_it_happens(settings):
        stream.write(message.value + b"\n")
        stream.flush()


async def to_kafka(settings: Settings, configuration: Configuration, *, real_time: bool) -> int:
    """Send each event to its topic; how many there were.  In real time it does not end.

    Raises KafkaTrouble where no broker can be reached or a batch is refused, TopicTrouble where a topic is missing.
    """
    client = client_settings(configuration.kafka)
    partitions = await partition_counts(configuration.kafka)
    calls, agents = configuration.topics.events, configuration.topics.agents
    for topic in (calls, agents):
        if topic not in partitions:
            raise TopicTrouble(f"there is no topic {topic}; create it with `queuewatch topics create`")
    producer = AIOKafkaProducer(
        **client,
        **producer_settings(configuration.kafka, idempotent=await gives_producer_ids(client)),
        linger_ms=5 if real_time else 50,
    )
    sent = 0
    await producer.start()
    try:
        async for message in _as_it_happens(settings) if real_time else _at_once(settings):
            sent += 1
            if message.kind == "source.heartbeat":
                for partition in range(partitions[calls]):
                    await producer.send(calls, message.value, key=message.key, partition=partition)
                continue
            topic = agents if message.kind == "agent.state" else calls
            partition = partition_for(message.key, partitions[topic])
            await producer.send(topic, message.value, key=message.key, partition=partition)
            if sent % 1000 == 0:
                await asyncio.sleep(0)
        await producer.flush()
    except KafkaError as error:
        raise KafkaTrouble(
            f"Kafka at {configuration.kafka.brokers} did not take an event: {described(error)}"
        ) from error
    finally:
        await producer.stop()
    return sent
