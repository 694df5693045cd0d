"""A call centre that has been busy for a while and goes on in real time, in a process of its own, with the dirt of real feeds.

    python -m bench.afternoon BROKER TOPIC PARTITIONS QUEUES EVENTS_PER_SECOND PAST_SECONDS SECONDS

What happened in the seconds before is put into the topic at once, with the timestamps that it would have had; then the topic
is told to stamp its records itself (`LogAppendTime`, as live topics do), and every event is sent when its time has come.
Prints as JSON the Unix time at which the present began, and at the end how many records were sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bench.feed import ON_THE_WAY, Sent, slim
from bench.kafka import append, producer_settings
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.simulation import TICKS, Dirt, Settings, messages

DIRT = Dirt(ghosts=0.005, lost_ends=0.005, disorder=0.02, duplicates=0.02, delay_s=1_000.0)
"""Half a percent of ghosts; of a hundred events two come late, by up to 1,000 s: a tenth of these beyond the grace."""
EVENTS_PER_CALL = 5.8
"""About so many once the centre has been busy for a quarter of an hour: stays in further queues and duplicates included."""
_TOGETHER = 50_000


def centre(queues: int, rate: float, past: float, partitions: int) -> Iterator[Sent]:
    """The events of the past seconds and from now on, in the order in which they are sent."""
    settings = Settings(
        start=datetime.now(UTC) - timedelta(seconds=past),
        hours=None,
        queues=queues,
        flat=True,
        calls_per_hour=rate * 3600 / EVENTS_PER_CALL / queues,
        chat=0.0,
        callbacks=0.0,
        dirt=DIRT,
    )
    lies: dict[bytes, int] = {}
    for message in messages(settings):
        partition = lies.get(message.key)
        if partition is None:
            partition = lies[message.key] = partition_for(message.key, partitions)
        yield Sent(partition, message.key, slim(message.value), message.at * 1000 // TICKS + ON_THE_WAY)


async def stamp(broker: str, topic: str) -> None:
    """From now on the broker stamps the topic's records."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        change = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
        for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, change)]):
            faults = [each for each in answer.resources if each[0]]
            assert not faults, faults
    finally:
        await admin.close()


async def send(broker: str, topic: str, events: Iterator[Sent], seconds: float) -> None:
    """Send the past, then so many seconds of the present."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, **producer_settings())
    await producer.start()
    sent, past, first = 0, [], None
    for first in events:
        if first.timestamp > time.time() * 1000:
            break
        past.append(first)
        if len(past) == _TOGETHER:
            await append(producer, topic, past)
            sent, past = sent + len(past), []
    await append(producer, topic, past)
    sent += len(past)
    await stamp(broker, topic)
    assert first is not None
    print(json.dumps({"past": sent, "present": time.time()}), flush=True)
    end = time.time() + seconds
    due = first
    while time.time() < end:
        now = time.time() * 1000
        while due.timestamp <= now:
            await producer.send(topic, due.value, key=due.key, partition=due.partition)
            sent += 1
            due = next(events)
        await asyncio.sleep(0.005)
    await producer.stop()
    print(json.dumps({"sent": sent}), flush=True)


if __name__ == "__main__":
    broker, topic, partitions, queues, rate, past, seconds = sys.argv[1:8]
    feed = centre(int(queues), float(rate), float(past), int(partitions))
    asyncio.run(send(broker, topic, feed, float(seconds)))
