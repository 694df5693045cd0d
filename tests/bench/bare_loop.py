"""The yardstick: aiokafka's `getmany` and `orjson.loads`, nothing else.

    python -m bench.bare_loop BROKER TOPIC PARTITIONS RECORDS

Prints as JSON the records, seconds and processor seconds from the first fetch, which is not counted, to the last.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition


async def read(broker: str, topic: str, partitions: int, records: int) -> dict[str, float]:
    """Read so many records; how long it took."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    seen, before, began, worked = 0, 0, 0.0, 0.0
    while seen < records:
        for fetched in (await consumer.getmany(timeout_ms=1000)).values():
            for record in fetched:
                orjson.loads(record.value)
            seen += len(fetched)
            if not began:
                began, worked, before = time.monotonic(), time.process_time(), seen
    spent = {"records": seen - before, "seconds": time.monotonic() - began, "cpu": time.process_time() - worked}
    await consumer.stop()
    return spent


if __name__ == "__main__":
    print(json.dumps(asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))))
