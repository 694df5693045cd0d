"""Three hundred screens on one wallboard: 200 queues, 500 events a second, through a real broker and a real worker.

How long does it take from an event in the log to the message at a screen, and to the document in a browser; what does the
service need for it?  `soak` runs the same with few screens for long: does anything grow?
"""

from __future__ import annotations

import asyncio
import json
import marshal
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console

from bench import feed, kafka
from bench.environments import NoEnvironment
from bench.figures import Figure, percentile
from bench.memory import means, swing
from bench.processes import Measured, our_environment, until, worker
from bench.screens import PROBE
from integration.worker_process import command, environment
from queuewatch_schemas.config import Configuration
from queuewatch_streams.brokers import ApacheKafka, free_port

RATE: Final = 500
QUEUES: Final = 200
STREAMS: Final = 300
PROBED: Final = 10
"""Of the queues, those in which events are looked for; nobody else calls there."""
WARM_UP: Final = 180.0
SETTLE: Final = 10.0
STARTS_WITHIN: Final = 180.0
"""Seconds that everything has to start and to end while events come."""
SOAK_STREAMS: Final = 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Service:
    """`queuewatch wallboard` as a process of its own."""

    def __init__(self, toml: Path, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / f"{toml.stem}-wallboard.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command("wallboard", "--config", str(toml), "--wallboard-port", str(self.port)),
                env=environment(),
                stdout=log,
                stderr=log,
            )

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def until_ready(self) -> None:
        """Wait until it has read what there is."""

        def look() -> bool | None:
            assert self.process.poll() is None, f"the wallboard ended:\n{self.log.read_text()[-3000:]}"
            try:
                with urlopen(self.address + "/readyz", timeout=10) as answer:
                    return True if answer.status == 200 else None
            except (URLError, ConnectionError, TimeoutError):
                return None

        until("the wallboard", look, patience=120)

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(30)


@contextmanager
def centre(
    folder: Path, broker: ApacheKafka, application: str, lasts: float
) -> Iterator[tuple[Configuration, Measured, Service]]:
    """A centre with its past, a worker, a wallboard; events come at `RATE` for so many seconds."""
    settings = f"[wallboard]\nstreams_per_address = {2 * STREAMS}\nstreams = {2 * STREAMS}\n"
    toml, configuration = kafka.configuration(folder, broker.address, application, session=30.0, settings=settings)
    kafka.create_topics(configuration, stamps="LogAppendTime")
    end = datetime.now(UTC) + timedelta(seconds=lasts)
    events = feed.centre(
        round(RATE * (WARM_UP + lasts) * 1.3), queues=QUEUES - PROBED, hours=(WARM_UP + lasts) / 3600, end=end
    ).sent
    warm = len(events) - round(RATE * lasts)
    topic = configuration.topics.events
    now = round(time.time() * 1000)
    past = [feed.one(kafka.PARTITIONS, now, "queued", "p", {"queue": f"{PROBE}{at}"}) for at in range(PROBED)]
    past += [feed.one(kafka.PARTITIONS, now, "abandoned", "p", {"queue": f"{PROBE}{at}"}) for at in range(PROBED)]
    kafka.publish(broker.address, topic, [*events[:warm], *past])
    path = folder / f"{application}.paced"
    path.write_bytes(marshal.dumps([(each.partition, each.key, each.value) for each in events[warm:]]))
    with worker(toml, folder) as measured:
        measured.until_ready()
        paced = [sys.executable, "-m", "bench.paced", broker.address, topic, str(RATE), str(path)]
        sender = subprocess.Popen(paced, env=our_environment())
        service = Service(toml, folder)
        try:
            service.until_ready()
            yield configuration, measured, service
            assert sender.poll() is None, "the sender ended too early"
        finally:
            service.stop()
            sender.kill()
            sender.wait()


def names() -> list[str]:
    """All queues."""
    return [*feed.names(QUEUES - PROBED), *(f"{PROBE}{at}" for at in range(PROBED))]


Seen = list[tuple[float, str, int]]
"""Looks: when (seconds since the epoch), at which probed queue, how many wait."""


async def probe(configuration: Configuration, seconds: float) -> tuple[dict[tuple[str, int], float], Seen]:
    """Callers enter the probed queues, one at a time.

    By queue and how many wait then: when the broker had stored it; and what the worker's snapshots said when.
    """
    brokers, topics = configuration.kafka.brokers, configuration.topics
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)
    sent: dict[tuple[str, int], float] = {}
    published: Seen = []
    dice, end, number = random.Random(1), time.monotonic() + seconds, 0

    async def read() -> None:
        async for record in consumer:
            if record.key.startswith(PROBE.encode()):
                waiting = orjson.loads(record.value)["channels"]["voice"]["waiting"]
                published.append((time.time(), record.key.decode(), waiting))

    async with producer, consumer:
        places = [TopicPartition(topics.queues, partition) for partition in range(kafka.PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        reading = asyncio.create_task(read())
        while time.monotonic() < end:
            queue, waiting = f"{PROBE}{number % PROBED}", number // PROBED + 1
            event = feed.one(kafka.PARTITIONS, round(time.time() * 1000), "queued", f"w-{number}", {"queue": queue})
            told = await producer.send_and_wait(topics.events, event.value, key=event.key, partition=event.partition)
            sent[queue, waiting] = told.timestamp / 1000
            number += 1
            await asyncio.sleep(dice.uniform(0.02, 0.12))
        await asyncio.sleep(SETTLE)
        reading.cancel()
    return sent, published


def delays(who: str, sent: dict[tuple[str, int], float], seen: Seen) -> list[float]:
    """Seconds from each event to the first look at which at least so many wait in its queue.  Fails where one is missing."""
    first: dict[tuple[str, int], float] = {}
    highest: dict[str, int] = {}
    for at, queue, waiting in sorted(seen):
        for number in range(highest.get(queue, 0) + 1, waiting + 1):
            first[queue, number] = at
        highest[queue] = max(highest.get(queue, 0), waiting)
    missing = [each for each in sent if each not in first]
    assert not missing, f"{len(missing)} of {len(sent)} events were never seen {who}, such as {missing[:3]}"
    return [first[each] - at for each, at in sent.items()]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def seen_by_screens(path: Path) -> list[Seen]:
    """What each of the streams that are written down was sent."""
    streams: dict[int, Seen] = {}
    for line in _lines(path):
        seen = streams.setdefault(line["stream"], [])
        seen += [(line["at"], queue, waiting) for queue, waiting in line["waiting"].items() if waiting is not None]
    return list(streams.values())


def seen_by_browser(path: Path) -> Seen:
    """What stood in the document."""
    return [
        (line["at"], line["queue"], int(line["text"]))
        for line in _lines(path)
        if line.get("text", "").isdecimal()
    ]  # fmt: skip


def _browser() -> None:
    if shutil.which("chromium") is None:
        raise NoEnvironment("chromium is missing: apt-get install -y chromium")


@contextmanager
def beside(module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process of ours, once it has said that it is open."""
    started = subprocess.Popen(
        [sys.executable, "-m", f"bench.{module}", *map(str, arguments)],
        env=our_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "open\n", f"{module} did not begin"
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(30)


def _last_word(process: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = process.communicate(timeout=60)  # its input ends here
    assert process.returncode == 0, f"ended with {process.returncode}"
    found: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return found


def measure(folder: Path, broker: ApacheKafka, *, seconds: float, console: Console) -> list[Figure]:
    """300 screens and a browser for so many seconds.  Raises NoEnvironment where there is no browser."""
    _browser()
    screens, document = folder / "screens.jsonl", folder / "document.jsonl"
    with centre(folder, broker, "bench-wallboard", seconds + STARTS_WITHIN) as (configuration, measured, service):
        page = f"{service.address}/?layout=list&rotate=0&lang=en"
        with (
            beside("screens", service.address, STREAMS, screens, *names()) as reading,
            beside("chromium", page, document) as showing,
        ):
            time.sleep(SETTLE)
            began, worked = time.monotonic(), service.cpu()
            first = measured.last()
            sent, published = asyncio.run(probe(configuration, seconds))
            took, cpu = time.monotonic() - began, service.cpu() - worked
            last = measured.last()
            resident = service.resident()
            drawn = _last_word(showing)
            read = _last_word(reading)
    assert first is not None
    assert last is not None
    assert not read["broken"], f"{read['broken']} messages were not whole boards"
    assert not read["disordered"], f"{read['disordered']} messages had an id that was not greater than the one before"
    console.print(f"wallboard: {len(sent)} events looked for, {read['messages']:,} messages read")
    at_screens = [delay for seen in seen_by_screens(screens) for delay in delays("at a screen", sent, seen)]
    at_reader = delays("in a snapshot", sent, published)
    in_document = delays("in the document", sent, seen_by_browser(document))
    p99 = percentile(at_screens, 0.99)
    span = last["at"] - first["at"]
    detail = read | drawn | {
        "probes": len(sent),
        "events_per_second": (last["folded"] - first["folded"]) / span,
        "worker_cpu_share": (last["cpu"] - first["cpu"]) / span,
        "worker_stalled": last["stalled"],
    }  # fmt: skip
    return [
        Figure(f"event to message at {STREAMS} screens, p99", p99 * 1000, "ms", 500, 250, detail=detail),
        Figure("the same, p50", percentile(at_screens, 0.5) * 1000, "ms"),
        Figure("event to snapshot in the topic, p99", percentile(at_reader, 0.99) * 1000, "ms"),
        Figure("the same, p50  ", percentile(at_reader, 0.5) * 1000, "ms"),
        Figure("event to document in Chromium, p99", percentile(in_document, 0.99) * 1000, "ms", 500, 250),
        Figure("the same, p50 ", percentile(in_document, 0.5) * 1000, "ms"),
        Figure("boards a second and screen, median", read["rate_median"], "", 3.5, 4, "more"),
        Figure("wallboard's processor share", cpu / took * 100, "%"),
        Figure("wallboard's resident memory", resident / 1e6, "MB"),
    ]  # fmt: skip


def soak(folder: Path, broker: ApacheKafka, *, minutes: float, console: Console) -> list[Figure]:
    """Some screens that come and go, and a browser, for long: memory of the service and of the page's scripts.

    Means of a tenth of the time are compared after the first third.  Raises NoEnvironment where there is no browser.
    """
    _browser()
    seconds = minutes * 60
    screens, document = folder / "soak-screens.jsonl", folder / "soak-document.jsonl"
    resident: list[tuple[float, float]] = []
    with centre(folder, broker, "bench-soak", seconds + STARTS_WITHIN) as (_, _measured, service):
        page = f"{service.address}/?rotate=5&lang=en&pin={PROBE}0"
        with (
            beside("chromium", page, document) as showing,
            beside("screens", service.address, SOAK_STREAMS, screens, *names()) as reading,
        ):
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                resident.append((now, service.resident() / 1e6))
                _come_and_go(service.address, random.Random(round(now)))
                time.sleep(min(2.0, seconds - now))
            drawn = _last_word(showing)
            read = _last_word(reading)
    memory = [(line["at"], line["memory"]) for line in _lines(document) if "memory" in line]
    start = memory[0][0]
    heap = [(at - start, each["heap"] / 1e6) for at, each in memory]
    over = seconds / 10
    kept = [mean for at, mean in means(resident, over) if at >= seconds / 3] or [resident[-1][1]]
    held = [mean for at, mean in means(heap, over) if at >= seconds / 3] or [heap[-1][1]]
    nodes = [each["nodes"] for _, each in memory]
    console.print(f"soak: {minutes:g} minutes, {read['messages']:,} messages")
    detail = read | drawn | {
        "service_mb": [round(each, 1) for each in kept],
        "heap_mb": [round(each, 2) for each in held],
        "nodes_first_third_and_last": [max(nodes[: len(nodes) // 3 + 1]), nodes[-1]],
        "listeners": [memory[0][1]["listeners"], memory[-1][1]["listeners"]],
    }  # fmt: skip
    return [
        Figure(f"wallboard's memory over {minutes:g} minutes, ±", swing(kept) * 100, "%", 5.0, detail=detail),
        Figure("the same, mean", fmean(kept), "MB"),
        Figure(f"page's script memory over {minutes:g} minutes, ±", swing(held) * 100, "%", 10.0),
        Figure("the same, mean ", fmean(held), "MB"),
    ]


def _come_and_go(address: str, dice: random.Random) -> None:
    """Screens that are switched on and off: a few streams, each read for a moment and dropped."""
    for _ in range(dice.randint(1, 3)):
        with urlopen(address + "/api/v1/stream", timeout=10) as stream:
            stream.read1(65536)
