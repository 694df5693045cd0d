"""One scrape of about 100,000 series: how long it takes, and how long the event loop has to wait meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from rich.console import Console

from bench import feed
from bench.figures import Figure, median
from bench.hot_path import fold_all, partitions_of
from queuewatch_schemas.config import Configuration
from queuewatch_streams.core.partition import Partition
from queuewatch_streams.exporter import Exporter, Exposition, Health
from queuewatch_streams.serve import Server, application

SERIES = 100_000
_SCRAPER = """
import sys, time, http.client
host = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for _ in range(int(sys.argv[2])):
    time.sleep(0.3)
    began = time.monotonic()
    host.request("GET", "/metrics")
    body = host.getresponse().read()
    print(began, time.monotonic(), sum(not line.startswith(b"#") for line in body.splitlines()), flush=True)
"""


def shown(events: int, queues: int) -> tuple[list[Partition], Exporter, Health]:
    """Partitions that were fed for an hour, with queues so many that they make about 100,000 series."""
    configuration = Configuration()
    records = feed.centre(events, queues=queues).records()
    partitions = partitions_of(records, configuration)
    fold_all(partitions, records)
    exporter = Exporter(configuration)
    health = Health(ready=True, owned=len(partitions))
    text = exporter.at_once(partitions, health, time.time_ns() // 1000).text()
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    for partition in partitions:
        spare = len(partition.queues) - round(len(partition.queues) * SERIES / series)
        for name in list(partition.queues)[: max(0, spare)]:
            del partition.queues[name]
    return partitions, exporter, health


async def scraped(
    partitions: list[Partition], exporter: Exporter, health: Health, times: int
) -> tuple[list[float], list[float], list[float], int]:
    """Seconds of each scrape, the longest stall within each, those of as long without one, and the number of series."""

    async def figures(queue: str | None) -> Exposition:
        return await exporter.in_slices(partitions, health, time.time_ns() // 1000, only=queue)

    gaps: list[tuple[float, float]] = []

    async def look() -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.0005)
            now = time.monotonic()
            gaps.append((before, now))
            before = now

    server = Server(application(figures, lambda: None), "127.0.0.1", 0, "-")
    await server.start()
    looking = asyncio.ensure_future(look())
    try:
        scraper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SCRAPER, str(server.port), str(times), stdout=subprocess.PIPE
        )
        said, _ = await scraper.communicate()
    finally:
        looking.cancel()
        await server.stop()
    told = [tuple(map(float, line.split())) for line in said.decode().splitlines()]
    took, stalls, without = [], [], []
    for began, ended, _ in told:
        took.append(ended - began)
        stalls.append(max(now - before for before, now in gaps if now >= began and before <= ended))
        quiet = [now - before for before, now in gaps if before >= began - 0.25 and now <= began]
        without.append(max(quiet, default=0.0))
    return took, stalls, without, int(told[-1][2])


def measure(*, events: int, queues: int, times: int, console: Console) -> list[Figure]:
    """Scrape so many times; the first is not counted."""
    took, stalls, without, series = asyncio.run(scraped(*shown(events, queues), times + 1))
    console.print(f"scrape: {series:,} series, {times} times")
    took, stalls, without = ([each * 1000 for each in values[1:]] for values in (took, stalls, without))
    scale = SERIES / series
    detail = {"series": series, "worst": max(took), "stall_without_scrape": without}
    return [
        Figure("one scrape of 100,000 series", median(took) * scale, "ms", 150, 60, rounds=took, detail=detail),
        Figure("longest stall of the event loop by it", median(stalls), "ms", 10, 3, rounds=stalls),
    ]
