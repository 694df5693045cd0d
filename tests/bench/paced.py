"""Sends events at a steady rate, as a call centre's systems would, in a process of its own.

python -m bench.paced BROKER TOPIC EVENTS_PER_SECOND FILE      # FILE: marshalled (partition, key, value)
"""

from __future__ import annotations

import asyncio
import marshal
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer


async def send(broker: str, topic: str, rate: float, path: Path) -> None:
    """Send all of the file, one event after the other, `rate` a second."""
    events = marshal.loads(path.read_bytes())
    producer = AIOKafkaProducer(bootstrap_servers=broker, compression_type="lz4", linger_ms=2, acks="all")
    await producer.start()
    began, at = time.monotonic(), 0
    while at < len(events):
        due = min(len(events), int((time.monotonic() - began) * rate) + 1)
        for partition, key, value in events[at:due]:
            await producer.send(topic, value, key=key, partition=partition)
        at = due
        await asyncio.sleep(0.005)
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])))
