"""A quiet afternoon: 2,000 events a second over 1,000 queues, checkpoints running.  How soon is an event to be seen?"""

from __future__ import annotations

import asyncio
import marshal
import random
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer
from rich.console import Console

from bench import feed, kafka
from bench.figures import Figure, percentile
from bench.processes import our_environment, scraping, worker
from queuewatch_streams.brokers import ApacheKafka

RATE = 2_000
QUEUES = 1_000
WARM_UP = 180.0
"""Seconds of the centre's day that lie in the topic before: it has callers in every state."""
PROBED = 10
"""Queues, beside the others, in which events are looked for."""
LOOK_EVERY = 0.005
SETTLE = 5.0
_OFFERED = re.compile(rb"^queuewatch_calls_offered_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


async def probe(broker: str, topic: str, port: int, seconds: float, stem: str) -> list[float]:
    """Append an event, look until it is counted, again and again; the delays in seconds, by the broker's own timestamp."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    await producer.start()
    delays: list[float] = []
    offered = [0] * PROBED
    end = time.monotonic() + seconds
    dice = random.Random(1)
    async with aiohttp.ClientSession() as client:
        for number in range(1_000_000):
            if time.monotonic() >= end:
                break
            at = number % PROBED
            queue = f"{stem}-{at}"
            offered[at] += 1
            call = f"{stem}-{number}"
            event = feed.one(kafka.PARTITIONS, round(time.time() * 1000), "queued", call, {"queue": queue})
            told = await producer.send_and_wait(topic, event.value, key=event.key, partition=event.partition)
            while True:
                async with client.get(f"http://127.0.0.1:{port}/metrics?queue={queue}") as answer:
                    seen = _OFFERED.search(await answer.read())
                if seen is not None and float(seen[1]) >= offered[at]:
                    delays.append(time.time() - told.timestamp / 1000)
                    break
                if time.time() - told.timestamp / 1000 > 60:
                    raise AssertionError(f"{call} was not seen within a minute")
                await asyncio.sleep(LOOK_EVERY)
            await asyncio.sleep(dice.uniform(0.02, 0.12))
    await producer.stop()
    return delays


def measure(folder: Path, broker: ApacheKafka, *, seconds: float, console: Console) -> list[Figure]:
    """Half of the time without scrapes, then as long with one of all queues every five seconds."""
    toml, configuration = kafka.configuration(folder, broker.address, "bench-live", session=30.0)
    kafka.create_topics(configuration, stamps="LogAppendTime")
    lasts = 2 * seconds + SETTLE + 10
    end = datetime.now(UTC) + timedelta(seconds=lasts)
    events = feed.centre(
        round(RATE * (WARM_UP + lasts) * 1.3), queues=QUEUES, hours=(WARM_UP + lasts) / 3600, end=end
    ).sent
    warm = len(events) - round(RATE * lasts)
    topic = configuration.topics.events
    kafka.publish(broker.address, topic, events[:warm])
    path = folder / "paced"
    path.write_bytes(marshal.dumps([(each.partition, each.key, each.value) for each in events[warm:]]))
    size = sum(len(each.key) + len(each.value) for each in events[warm:]) / len(events[warm:])
    with worker(toml, folder) as measured:
        measured.until_ready()
        command = [sys.executable, "-m", "bench.paced", broker.address, topic, str(RATE), str(path)]
        sender = subprocess.Popen(command, env=our_environment())
        try:
            time.sleep(SETTLE)
            first = measured.last()
            quiet = asyncio.run(probe(broker.address, topic, measured.port, seconds, "quiet"))
            with scraping(measured, 5.0) as scrapes:
                busy = asyncio.run(probe(broker.address, topic, measured.port, seconds, "busy"))
            last = measured.last()
            assert sender.poll() is None, "the sender ended too early"
        finally:
            sender.kill()
            sender.wait()
        assert first is not None and last is not None
    folded = last["folded"] - first["folded"]
    share = (last["bytes"] - first["bytes"]) / (folded * size)
    detail = {
        "probes": len(quiet),
        "events_per_second": folded / (last["at"] - first["at"]),
        "worker_cpu_share": (last["cpu"] - first["cpu"]) / (last["at"] - first["at"]),
        "checkpoint_records": last["records"] - first["records"],
        "resident_mb": last["resident"] / 1e6,
        "scrape_seconds": [round(each, 3) for each in scrapes],
    }
    console.print(f"live: {len(quiet)} + {len(busy)} probes")
    return [
        Figure(
            "append to visible at 2,000 events/s, p99", percentile(quiet, 0.99) * 1000, "ms", 250, 100, detail=detail
        ),
        Figure("the same, p50", percentile(quiet, 0.5) * 1000, "ms"),
        Figure("with a scrape of all queues every 5 s, p99", percentile(busy, 0.99) * 1000, "ms"),
        Figure("the same, p50 ", percentile(busy, 0.5) * 1000, "ms"),
        Figure("checkpoint bytes / event bytes at 2,000 events/s", share, "", 2.0, 1.0),
    ]
