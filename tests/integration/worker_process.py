"""A real worker as a process of its own, and everything that a test does around it.

A `Site` is one application with topics of its own on a running broker: it makes the topics, sends records and files, reads
what came out.  A `WorkerProcess` is `queuewatch worker` with a TOML file on a free port: started, scraped, stopped, killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.metrics import METRICS, PREFIX, Kind
from queuewatch_schemas.topics import MAXIMUM_MESSAGE_BYTES, changelog_name, partition_for
from queuewatch_streams.brokers import Broker, free_port
from queuewatch_streams.publish import Published
from queuewatch_streams.publish import publish as publish_file
from queuewatch_streams.topics import ensure

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
ROLES = ("events", "agents", "dead_letter", "queues", "intervals")
PATIENCE = 60.0
"""Seconds after which something that should have come is taken for missing."""
OF_QUEUES = frozenset(metric.full for metric in METRICS if "queue" in metric.labels)
"""Metrics that tell of a queue."""
COUNTED = frozenset(
    series
    for metric in METRICS
    if metric.kind is not Kind.GAUGE
    for series in metric.series
)  # fmt: skip
"""Samples that never go down."""


def environment() -> dict[str, str]:
    """The environment of a command of ours: the sources' own folders, and none of the variables that would override."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUEUEWATCH_")}
    folders = [str(ROOT / name) for name in ("schemas", "streams", "dashboards")]
    return kept | {"PYTHONPATH": os.pathsep.join(folders)}


def command(*arguments: str) -> list[str]:
    """`queuewatch` with these arguments, by this very interpreter."""
    return [sys.executable, "-m", "queuewatch_streams.cli", *arguments]


def until(what: str, find: Callable[[], T | None], *, patience: float = PATIENCE, pause: float = 0.1) -> T:
    """Ask again and again until there is an answer; fails, naming what was waited for."""
    end = time.monotonic() + patience
    while True:
        found = find()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(pause)


# ------------------------------------------------------------------------------------------------------------- /metrics

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """The samples of one look at /metrics, by full name and labels."""

    samples: Mapping[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Read the exposition format with Prometheus' own client; the same series twice is a fault."""
        samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in samples, f"{key} stands twice"
                samples[key] = sample.value
        return cls(samples)

    @cached_property
    def by_name(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """The samples of each name."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for (name, labels), value in self.samples.items():
            found.setdefault(name, []).append((dict(labels), value))
        return found

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of all samples of that name (without prefix) that have these labels."""
        return [
            value
            for found, value in self.by_name.get(PREFIX + name, ())
            if all(found.get(label) == wanted for label, wanted in labels.items())
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Their sum; 0 where there is none."""
        return sum(self.values(name, **labels))

    def value(self, name: str, **labels: str) -> float:
        """The value of the one such sample."""
        [value] = self.values(name, **labels)
        return value

    def nonzero(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """By one label's values the sums that are not 0."""
        found: dict[str, float] = {}
        for each, value in self.by_name.get(PREFIX + name, ()):
            if value and all(each.get(at) == wanted for at, wanted in labels.items()):
                found[each[label]] = found.get(each[label], 0) + value
        return found

    @cached_property
    def queues(self) -> frozenset[str]:
        """The queues that are told of."""
        return frozenset(
            labels["queue"] for name, found in self.by_name.items() for labels, _ in found if "queue" in labels
        )

    @property
    def ready(self) -> bool:
        """Whether the worker calls itself ready."""
        return self.values("ready") == [1]

    def corrected(self, **labels: str) -> dict[str, float]:
        """Offered and each outcome: totals - revisions from + revisions to."""
        return corrected([self], **labels)


def corrected(scrapes: Iterable[Scrape], **labels: str) -> dict[str, float]:
    """The exact counts behind the counters of one scrape, or of several workers' together, zeros left out."""
    counted: dict[str, float] = {}
    for scrape in scrapes:
        for name in ("offered", "answered", "abandoned", "diverted", "evicted", "refused"):
            counted[name] = counted.get(name, 0) + scrape.sum(f"calls_{name}_total", **labels)
        for revision, amount in scrape.by_name.get(f"{PREFIX}revisions_total", ()):
            if all(revision.get(label) == wanted for label, wanted in labels.items()):
                before, after = revision["from"], revision["to"]
                counted[before] = counted.get(before, 0) - amount
                counted[after] = counted.get(after, 0) + amount
                if after == "none" and before != "refused":
                    counted["offered"] -= amount
    counted.pop("none", None)
    counted.pop("waiting", None)
    return {name: amount for name, amount in counted.items() if amount}


# ----------------------------------------------------------------------------------------------------------- the worker


class Answer(NamedTuple):
    """What the worker said over HTTP."""

    status: int
    text: str


class Running:
    """A long-running command of queuewatch as a process of its own, which serves on a port of its own.

    :param what: the command's name, for its log and for errors.
    :param arguments: its arguments, but for those that name the port.
    """

    def __init__(self, what: str, folder: Path, *arguments: str, port_option: str, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.log = folder / f"{what}-{self.port}.log"
        self._what = what
        self._command = command(what, *arguments, port_option, str(self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; its words go to `log`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment(), cwd=self.log.parent, stdout=log, stderr=log
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, once started."""
        assert self._process is not None, f"the {self._what} was not started"
        return self._process

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """End it as an operator would; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it without a last word."""
        self.process.kill()
        self.process.wait(30)


class WorkerProcess(Running):
    """`queuewatch worker`."""

    def __init__(self, toml: Path, folder: Path, *arguments: str, port: int | None = None) -> None:
        super().__init__("worker", folder, "--config", str(toml), *arguments, port_option="--metrics-port", port=port)

    def ask(self, path: str) -> Answer | None:
        """Its answer over HTTP; None while nobody listens.  Fails where the process has ended."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as response:
                return Answer(response.status, response.read().decode())
        except HTTPError as error:
            return Answer(error.code, error.read().decode())
        except (URLError, ConnectionError, TimeoutError):
            assert self.process.poll() is None, (
                f"the worker ended with {self.process.returncode}:\n{self.said()[-4000:]}"
            )
            return None

    def scrape(self, query: str = "") -> Scrape:
        """What stands on /metrics now."""
        answer = until("an answer on /metrics", lambda: self.ask(f"/metrics{query}"))
        assert answer.status == 200, answer
        return Scrape.parse(answer.text)

    def scrape_queue(self, queue: str) -> Scrape:
        """What stands there of one queue."""
        return self.scrape(f"?queue={quote(queue, safe='')}")

    def until_ready(self) -> WorkerProcess:
        """Wait until it is ready, with partitions of its own."""
        self.until_scrape("the worker to be ready", lambda scrape: scrape.ready and scrape.sum("partitions"))
        return self

    def until_scrape(self, what: str, is_so: Callable[[Scrape], Any]) -> Scrape:
        """Scrape again and again until it is so."""
        last: list[Scrape] = []

        def look() -> Scrape | None:
            last[:] = [self.scrape()]
            return last[0] if is_so(last[0]) else None

        return self.patiently(what, look)

    def until_read(self, records: int) -> Scrape:
        """Wait until it has told of so many records: accepted, refused or sent to another partition."""
        seen: list[float] = []

        def all_read(scrape: Scrape) -> bool:
            seen[:] = [read_of(scrape)]
            return scrape.ready and seen[0] >= records

        scrape = self.until_scrape(f"{records} records read", all_read)
        assert seen[0] == records, f"{seen[0]} records were counted, {records} were sent"
        return scrape

    def patiently(self, what: str, find: Callable[[], T | None]) -> T:
        """`until`, with the end of the worker's log where it fails."""
        try:
            return until(what, find)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-4000:]}") from None


def read_of(scrape: Scrape) -> float:
    """How many records a worker has told of."""
    return sum(scrape.sum(name) for name in ("events_total", "rejected_events_total", "rekeyed_events_total"))


# ------------------------------------------------------------------------------------------------------------- the site


class Message(NamedTuple):
    """A record to send; `partition` None: where its key belongs."""

    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def message(event: Mapping[str, Any], partition: int | None = None) -> Message:
    """An event under its queue's name."""
    queue = event["subject"] if event["type"].startswith("queuewatch.queue.") else event["data"]["queue"]
    return Message(queue.encode(), json.dumps(event).encode(), partition)


@dataclass
class Site:
    """One application on a broker, with topics of its own."""

    broker: Broker
    application: str
    folder: Path
    partitions: int = 2
    history: bool = False
    settings: str = ""
    """TOML beside the tables `kafka` and `topics`."""
    compression: str = "lz4"
    workers: list[WorkerProcess] = field(default_factory=list)

    @cached_property
    def toml(self) -> Path:
        """The configuration file."""
        path = self.folder / f"{self.application}.toml"
        topics = "\n".join(f'{role} = "{self.application}.{role}"' for role in ROLES)
        path.write_text(
            f'application = "{self.application}"\n{self.settings}\n'
            f'[kafka]\nbrokers = "{self.broker.address}"\npartitions = {self.partitions}\n'
            f'compression = "{self.compression}"\nsession_timeout_seconds = 6\nheartbeat_seconds = 1.5\n'
            f"[topics]\n{topics}\n"
        )
        return path

    @cached_property
    def configuration(self) -> Configuration:
        """The configuration in the file."""
        return load(self.toml)

    def create_topics(self) -> Site:
        """Create all topics."""
        asyncio.run(ensure(self.configuration, history=self.history))
        return self

    def worker(self, *arguments: str) -> WorkerProcess:
        """Start a worker; `close` ends it at the latest."""
        clock = ("--clock", "events") if self.history else ()
        worker = WorkerProcess(self.toml, self.folder, *clock, *arguments)
        self.workers.append(worker)
        return worker.start()

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def topic(self, role: str) -> str:
        """A topic's name."""
        if role == "changelog":
            return changelog_name(self.application)
        name: str = getattr(self.configuration.topics, role)
        return name

    def partition(self, queue: str) -> int:
        """Where a queue belongs."""
        return partition_for(queue.encode(), self.partitions)

    def queue_on(self, partition: int, stem: str = "queue") -> str:
        """A queue's name that belongs there."""
        return next(name for n in range(1000) if self.partition(name := f"{stem} {n}") == partition)

    def publish(self, path: Path) -> Published:
        """Publish a file as `queuewatch publish --history` does, or live."""
        done = asyncio.run(publish_file(str(path), self.configuration, history=self.history, progress=False))
        assert not done.skipped, done
        return done

    def send(self, messages: Iterable[Message], *, compression: str | None = None) -> None:
        """Send records and wait until they are acknowledged."""

        async def send() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.broker.address,
                compression_type=compression,
                max_request_size=MAXIMUM_MESSAGE_BYTES,
            )
            await producer.start()
            try:
                sent = []
                for key, value, wanted, headers in messages:
                    right = 0 if key is None else partition_for(key, self.partitions)
                    at = right if wanted is None else wanted
                    sent.append(
                        await producer.send(self.topic("events"), value, key=key, partition=at, headers=list(headers))
                    )
                await asyncio.gather(*sent)
            finally:
                await producer.stop()

        asyncio.run(send())

    def read(self, role: str) -> list[ConsumerRecord]:
        """Everything that lies in a topic now, by partition in order of offsets."""

        async def read() -> list[ConsumerRecord]:
            found: list[ConsumerRecord] = []
            async with (
                asyncio.timeout(PATIENCE),
                AIOKafkaConsumer(bootstrap_servers=self.broker.address, enable_auto_commit=False) as consumer,
            ):
                places = [TopicPartition(self.topic(role), partition) for partition in range(self.partitions)]
                consumer.assign(places)
                await consumer.seek_to_beginning()
                ends = await consumer.end_offsets(places)
                while any([await consumer.position(place) < end for place, end in ends.items()]):
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
            return sorted(found, key=lambda record: (record.partition, record.offset))

        return asyncio.run(read())

    def until_read(
        self, role: str, what: str, are_there: Callable[[list[ConsumerRecord]], Any]
    ) -> list[ConsumerRecord]:
        """Read a topic again and again until what is awaited is there."""

        def look() -> list[ConsumerRecord] | None:
            records = self.read(role)
            return records if are_there(records) else None

        return until(what, look, pause=0.5)


@contextmanager
def site(broker: Broker, unique: str, folder: Path, **settings: Any) -> Iterator[Site]:
    """A site whose workers end with the test."""
    made = Site(broker, unique, folder, **settings)
    try:
        yield made
    finally:
        made.close()
