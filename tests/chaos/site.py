"""One run: a broker, two workers behind proxies, traffic, a script of faults, and then what must be true.

Topics are live ones (`--clock live`, the broker's timestamps): producers that send again and workers that are away must not
make an event late, and they do not, since everything that is published happened within the grace.  A history has no grace
against a duplicate that comes behind its visit's end, so it could not say "sent twice, counted once".
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from chaos.faults import FAULTS, Script
from chaos.processes import Worker
from chaos.proxy import Proxies, Way
from chaos.scrapes import Scraper, scrape
from chaos.traffic import Publisher, Round
from integration.worker_process import COUNTED, ROLES, Scrape, corrected, read_of
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_streams.audit import audit
from queuewatch_streams.brokers import HOST, apache_kafka
from queuewatch_streams.core.partition import Partition, Record
from queuewatch_streams.exporter import Exporter, Health
from queuewatch_streams.topics import ensure

__all__ = ["PARTITIONS", "Outcome", "Site", "run"]

PARTITIONS: Final = 4
SETTLING: Final = 60.0
"""Seconds in which the workers have to be ready, and to have read everything, after the last fault."""
AUDITING: Final = 120.0
"""Seconds in which the audit has to end."""
FEW: Final = 6
"""Faults of a kind that are told one by one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    script: Script
    seconds: float
    events: int
    """Records in the event topic."""
    sent_again: int
    looks: int
    pairs: int
    """Pairs of looks at two workers in the same instant."""
    compared: int
    """Counters held against an earlier look's."""
    lost: int
    doubled: int
    faults: tuple[str, ...]
    """What must not be and was."""
    notes: tuple[str, ...]
    """What is worth knowing: workers that ended by themselves, and the like."""
    logs: str | None
    """The folder with the logs of a run that failed."""

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.faults


@dataclass
class Site:
    """A run under way, as faults see it."""

    folder: Path
    rate: float
    rounds: Round
    planted: str | None = None
    checkpoint_seconds: float = 2.0
    say: Callable[[str], None] = lambda _: None
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    after_traffic: list[Callable[[], None]] = field(default_factory=list)
    restart_all: bool = False
    looks: tuple[int, int, int] = (0, 0, 0)
    lost: int = 0
    doubled: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        """Choose the ports and write the configurations; nothing is started."""
        names = ("one", "two", "three")
        self.proxies = Proxies(names)
        self.broker = apache_kafka(heap="384m")
        self.broker.settings |= self.proxies.broker_settings(self.broker.port, self.broker.controller_port)
        self.configuration = self._configured("direct", self.broker.port)
        workers = []
        for name, proxy in self.proxies.by_name.items():
            self._configured(name, proxy.port)
            workers.append(Worker(name, self.folder / f"{name}.toml", self.folder, self.planted))
        self.pair: Sequence[Worker] = workers[:2]
        self.third = workers[2]
        self.workers: Sequence[Worker] = workers
        self.publisher = Publisher(self.configuration, PARTITIONS, self.rounds, self.rate)
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._guard = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)

    def _configured(self, name: str, port: int) -> Configuration:
        path = self.folder / f"{name}.toml"
        topics = "\n".join(f'{role} = "chaos.{role}"' for role in ROLES)
        path.write_text(
            f'application = "chaos"\n[timing]\ncheckpoint_seconds = {self.checkpoint_seconds:g}\n'
            f'[kafka]\nbrokers = "{HOST}:{port}"\npartitions = {PARTITIONS}\n'
            f"session_timeout_seconds = 6\nheartbeat_seconds = 1.5\n"
            f"[topics]\n{topics}\n"
        )
        return load(path)

    def note(self, text: str) -> None:
        """Something worth knowing that is no failure."""
        self.notes.append(f"{time.monotonic() - self._began:.0f} s: {text}")

    def fail(self, text: str) -> None:
        """Something that must not be."""
        self.faults.append(text)

    def stopped(self, worker: Worker) -> None:
        """Stop a worker in order; that it cannot is a failure."""
        if not worker.running and worker.status not in (None, 0):
            return  # killed before
        status = worker.stop()
        if status not in (0, -9, -15, None):
            self.fail(f"{worker.name}.{worker.incarnation} ended with status {status} when it was told to stop")
        elif status is None:
            self.fail(f"{worker.name}.{worker.incarnation} did not end within 30 s when it was told to stop")
        elif status == -15:
            self.note(f"{worker.name}.{worker.incarnation} was told to stop before it could listen to that")

    def _keep_running(self) -> None:
        """What an operator's supervisor does: a worker that ends by itself is started again."""
        while not self._ended.wait(0.5):
            for worker in self.workers:
                if worker.wanted and not worker.running:
                    self.note(f"{worker.name}.{worker.incarnation} ended by itself with status {worker.status}")
                    self._ended.wait(1)
                    if worker.wanted and not self._ended.is_set():
                        worker.start()

    # --------------------------------------------------------------------------------------------------------- the run

    def perform(self, script: Script) -> None:
        """The whole run; what is wrong is in `faults`."""
        chance = random.Random(f"{script.seed} {script.faults}")
        self.proxies.start()
        scraper = Scraper(self.workers)
        try:
            self.broker.start()
            asyncio.run(ensure(self.configuration))
            for worker in self.pair:
                worker.start()
            self._guard.start()
            scraper.start()
            self.publisher.start()
            self._await(lambda scrapes: self._all_ready(scrapes) or None, "the workers to be ready", 45)
            for name in script.faults:
                self.say(name)
                self.note(f"fault {name}")
                time.sleep(chance.uniform(1.0, 4.0))
                FAULTS[name](self, chance)
            time.sleep(chance.uniform(0.0, 3.0))
            self.say("settling")
            self.note("traffic ends")
            self.publisher.stop()
            for end in self.after_traffic:
                end()
            self._heal()
            self.events = asyncio.run(self._end_of_log())
            self._await_all_read("after the faults")
            if not self.faults and (self.restart_all or chance.random() < 0.5):
                self.say("restart of all")
                self.note("all restart")
                self._restart_all(chance)
                self._await_all_read("after the restart of all workers")
            self.say("checking")
            self._check()
        except Exception as error:
            self.fail(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            scraper.stop()
            self.publisher.give_up()
            self._end()
            seen = scraper.judge()
            self.looks = seen.looks, seen.pairs, seen.compared
            self.faults += seen.faults

    def _end(self) -> None:
        for proxy in self.proxies.by_name.values():
            proxy.set(Way.OPEN)
        for worker in self.workers:
            if worker.frozen:
                worker.thaw()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.stopped, [worker for worker in self.workers if worker.running]))
        if self.faults and self.broker.running():
            (self.folder / "broker.log").write_text(self.broker.log_tail(2000))
        self.broker.stop()
        self.proxies.stop()

    def _heal(self) -> None:
        for worker in self.pair:
            self.proxies.by_name[worker.name].set(Way.OPEN)
            if worker.frozen:
                worker.thaw()
            if not worker.running:
                worker.start()
        if self.third.running:
            self.stopped(self.third)

    def _restart_all(self, chance: random.Random) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.stopped if chance.random() < 0.5 else Worker.kill, self.pair))
        for worker in self.pair:
            worker.start()

    def _scrapes(self) -> list[Scrape]:
        found = [scrape(worker.port) for worker in self.workers if worker.running]
        return [each for each in found if each is not None]

    @staticmethod
    def _all_ready(scrapes: Sequence[Scrape]) -> bool:
        return all(each.ready for each in scrapes) and sum(each.sum("partitions") for each in scrapes) == PARTITIONS

    def _await(self, find: Callable[[list[Scrape]], Any], what: str, patience: float) -> Any:
        end = time.monotonic() + patience
        while True:
            scrapes = self._scrapes()
            if (found := find(scrapes)) is not None:
                return found
            if time.monotonic() > end:
                state = [(each.ready, each.sum("partitions"), read_of(each)) for each in scrapes]
                raise TimeoutError(f"not within {patience:g} s: {what}; (ready, partitions, records read): {state}")
            time.sleep(0.5)

    def _await_all_read(self, when: str) -> None:
        """Wait until all are ready and what they have read is what lies in the log, no more and no less."""
        unequal = 0

        def all_read(scrapes: list[Scrape]) -> float | None:
            nonlocal unequal
            if not self._all_ready(scrapes):
                return None
            read = sum(map(read_of, scrapes))
            lag = sum(each.sum("consumer_lag_records") for each in scrapes)
            if read == self.events:
                return read
            unequal += lag == 0
            return read if unequal >= 6 else None

        read = self._await(all_read, f"all ready, {self.events} records read, {when}", SETTLING)
        if read != self.events:
            self.lost += max(0, int(self.events - read))
            self.doubled += max(0, int(read - self.events))
            self.fail(f"{when}: {int(read)} records were counted, {self.events} lie in the log")

    # ------------------------------------------------------------------------------------------------------ what is true

    async def _end_of_log(self) -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.address)
        await consumer.start()
        try:
            places = [TopicPartition(self.configuration.topics.events, number) for number in range(PARTITIONS)]
            return sum((await consumer.end_offsets(places)).values())
        finally:
            await consumer.stop()

    def _check(self) -> None:
        scrapes = self._await(lambda found: found if self._all_ready(found) else None, "the workers to be ready", 30)
        self._check_published(scrapes)
        self._check_uninterrupted(scrapes)
        try:
            report = asyncio.run(asyncio.wait_for(audit(self.configuration), AUDITING))
        except TimeoutError:
            self.fail(f"the audit did not end within {AUDITING:g} s")
            return
        if report.empty or not report.queues:
            self.fail("the audit had nothing to compare")
        for each in report.differences[:FEW]:
            self.fail(f"audit: {each}")
        if len(report.differences) > FEW:
            self.fail(f"audit: {len(report.differences)} differences in all")

    def _check_published(self, scrapes: Sequence[Scrape]) -> None:
        """Offered and outcomes by queue, as told by all workers together, against what was published."""
        wrong = []
        expected = self.publisher.counted()
        told = {queue: Counter(corrected(scrapes, queue=queue)) for each in scrapes for queue in each.queues}
        for queue in sorted(expected.keys() | told.keys()):
            wanted, found = expected.get(queue, Counter()), told.get(queue, Counter())
            for name in sorted(wanted.keys() | found.keys()):
                if wanted[name] != found[name]:
                    wrong.append(f"{queue}: {name} {found[name]:g}, published were {wanted[name]}")
                    self.lost += int(max(0, wanted[name] - found[name]))
                    self.doubled += int(max(0, found[name] - wanted[name]))
        self._tell("by brute force", wrong)

    def _check_uninterrupted(self, scrapes: Sequence[Scrape]) -> None:
        """Every counter, against a worker's core that folds the log in one go."""
        records = asyncio.run(self._log())
        partitions = []
        for number, found in records.items():
            partition = Partition(number, self.configuration, partitions=PARTITIONS)
            partition.fold(found)
            partitions.append(partition)
        families = Exporter(self.configuration).families(partitions, Health(True, PARTITIONS), time.time_ns() // 1000)
        expected = {
            (sample.name, frozenset(sample.labels.items())): float(sample.value)
            for family in families.collect()
            for sample in family.samples
            if sample.name in COUNTED
        }
        told = {key: value for each in scrapes for key, value in each.samples.items() if key[0] in COUNTED}
        wrong = [
            f"{name}{dict(labels)} {told.get((name, labels))}, in one go {expected.get((name, labels))}"
            for name, labels in expected.keys() | told.keys()
            if not _same(told.get((name, labels)), expected.get((name, labels)))
        ]
        self._tell("against one go", sorted(wrong))

    async def _log(self) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {number: [] for number in range(PARTITIONS)}
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.address, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(self.configuration.topics.events, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    found[place.partition] += [
                        Record(each.offset, each.timestamp, each.key, each.value, tuple(each.headers))
                        for each in records
                    ]
        finally:
            await consumer.stop()
        return found

    def _tell(self, how: str, wrong: Sequence[str]) -> None:
        for each in wrong[:FEW]:
            self.fail(f"{how}: {each}")
        if len(wrong) > FEW:
            self.fail(f"{how}: {len(wrong)} differences in all")


def _same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= 1e-6 * max(1.0, abs(one))


def run(
    script: Script,
    rounds: Round,
    *,
    rate: float = 4000.0,
    planted: str | None = None,
    checkpoint_seconds: float = 2.0,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """One run.  The logs of one that failed are kept in a folder of `keep` (None: the system's temporary folder)."""
    began = time.monotonic()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{script.seed}-", dir=keep))
    site = Site(folder, rate, rounds, planted, checkpoint_seconds, say)
    site.perform(script)
    outcome = Outcome(
        script=script,
        seconds=time.monotonic() - began,
        events=site.events,
        sent_again=site.publisher.repeated,
        looks=site.looks[0],
        pairs=site.looks[1],
        compared=site.looks[2],
        lost=site.lost,
        doubled=site.doubled,
        faults=tuple(site.faults),
        notes=tuple(site.notes),
        logs=None if not site.faults else str(folder),
    )
    if outcome.passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        (folder / "outcome.txt").write_text("\n".join([str(script), *outcome.faults, "", *outcome.notes, ""]))
    return outcome
