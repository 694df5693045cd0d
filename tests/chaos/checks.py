"""What must be true when a run has settled: three counts that share nothing, each held against what the workers tell.

- *By brute force*: offered and outcomes of every queue against what was published.
- *In one go*: every counter against a core that folds the log from its beginning without an interruption.
- *The audit*: `queuewatch audit`, as an operator would run it, against the published snapshots, intervals and letters.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from integration.worker_process import COUNTED, Labels, Scrape, command, corrected, environment
from queuewatch_schemas.config import Configuration
from queuewatch_streams.core.partition import Partition, Record
from queuewatch_streams.exporter import Exporter, Health

__all__ = ["Audit", "Found", "by_brute_force", "ends_of", "in_one_go", "records_of"]

AUDITING: Final = 120.0
"""Seconds in which the audit has to end."""
FEW: Final = 6
"""Differences of a kind that are told one by one."""


@dataclass
class Found:
    """Differences in words, and how many visits they come to."""

    differences: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0

    def told(self, how: str) -> list[str]:
        """The first of them, and how many there are."""
        few = [f"{how}: {each}" for each in self.differences[:FEW]]
        return few if len(self.differences) <= FEW else [*few, f"{how}: {len(self.differences)} differences in all"]


def by_brute_force(expected: Mapping[str, Counter[str]], scrapes: Sequence[Scrape]) -> Found:
    """Offered and outcomes by queue, as told by all workers together, against what was published."""
    samples: dict[str, list[dict[tuple[str, Labels], float]]] = {}
    for scrape in scrapes:
        of_worker: dict[str, dict[tuple[str, Labels], float]] = {}
        for key, value in scrape.samples.items():
            if (queue := dict(key[1]).get("queue")) is not None:
                of_worker.setdefault(queue, {})[key] = value
        for queue, each in of_worker.items():
            samples.setdefault(queue, []).append(each)
    found = Found()
    for queue in sorted(expected.keys() | samples.keys()):
        wanted, told = expected.get(queue, Counter()), Counter(corrected(map(Scrape, samples.get(queue, ()))))
        for name in sorted(wanted.keys() | told.keys()):
            if wanted[name] != told[name]:
                found.differences.append(f"{queue}: {name} {told[name]:g}, published were {wanted[name]}")
                found.lost += int(max(0, wanted[name] - told[name]))
                found.doubled += int(max(0, told[name] - wanted[name]))
    return found


def in_one_go(
    configuration: Configuration, records: Mapping[int, Sequence[Record]], scrapes: Sequence[Scrape]
) -> Found:
    """Every counter, as told by all workers together, against a core that folds these records without interruption."""
    partitions = []
    for number, of_partition in records.items():
        partition = Partition(number, configuration, partitions=len(records))
        partition.fold(of_partition)
        partitions.append(partition)
    one_go = Exporter(configuration).at_once(partitions, Health(True, len(records)), time.time_ns() // 1000)
    samples = Scrape.parse(one_go.text().decode()).samples
    expected = {key: value for key, value in samples.items() if key[0] in COUNTED}
    told = {key: value for each in scrapes for key, value in each.samples.items() if key[0] in COUNTED}
    return Found(
        sorted(
            f"{name}{dict(labels)} {told.get((name, labels))}, in one go {expected.get((name, labels))}"
            for name, labels in expected.keys() | told.keys()
            if not _same(told.get((name, labels)), expected.get((name, labels)))
        )
    )


def _same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= 1e-6 * max(1.0, abs(one))


class Audit:
    """`queuewatch audit` as a process, so that it and the other counts take a core each.

    An audit that had to leave something out has not looked at everything: it is asked once more, and then that is a fault.
    """

    def __init__(self, toml: Path) -> None:
        """Start it."""
        self._toml = toml
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command("audit", "--config", str(self._toml)),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def found(self) -> Found:
        """What it told, once it has ended."""
        found, whole = self._told()
        if not found.differences and not whole:
            self._process = self._start()
            found, whole = self._told()
            if not whole:
                found.differences.append("it could not compare everything")
        return found

    def _told(self) -> tuple[Found, bool]:
        """Its differences, and whether it compared everything."""
        try:
            said, _ = self._process.communicate(timeout=AUDITING)
        except subprocess.TimeoutExpired:
            return Found([f"it did not end within {AUDITING:g} s"]), False
        finally:
            self.give_up()
        whole = "left out:" not in said and " 0 not yet in a snapshot" in said
        if self._process.returncode == 0:
            return Found(), whole
        lines = said.splitlines()
        rows = [line for line in lines[1:] if "\t" in line]
        last = lines[-1] if lines else "not a word"
        return Found([*rows, f"exit status {self._process.returncode}: {last}"]), whole

    def give_up(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


async def ends_of(configuration: Configuration, partitions: int) -> int:
    """Where the log ends: records that lie in the event topic."""
    async with AIOKafkaConsumer(bootstrap_servers=configuration.kafka.brokers) as consumer:
        places = [TopicPartition(configuration.topics.events, number) for number in range(partitions)]
        return sum((await consumer.end_offsets(places)).values())


async def records_of(configuration: Configuration, partitions: int) -> dict[int, list[Record]]:
    """All records of the event topic, by partition."""
    found: dict[int, list[Record]] = {number: [] for number in range(partitions)}
    async with AIOKafkaConsumer(bootstrap_servers=configuration.kafka.brokers, enable_auto_commit=False) as consumer:
        places = [TopicPartition(configuration.topics.events, number) for number in found]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found[place.partition] += [
                    Record(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in records
                ]
    return found
