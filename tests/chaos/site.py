"""One run: two workers behind proxies, traffic, a script of faults, and then what must be true.

Topics are live ones (`--clock live`, the broker's timestamps): producers that send again and workers that are away must not
make an event late, and they do not, since everything that is published happened within the grace.

After a fault the next one comes when all have recovered, or, as the seed has it, in the midst of the recovery.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.checks import Audit, by_brute_force, ends_of, in_one_go, records_of
from chaos.faults import FAULTS, SESSION, Script
from chaos.ground import Ground
from chaos.processes import Worker
from chaos.proxy import Way
from chaos.scrapes import Scraper, Seen, Standing, scrape
from chaos.traffic import Publisher, Round
from integration.worker_process import ROLES, Scrape
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.topics import topics as topics_of
from queuewatch_streams.brokers import HOST
from queuewatch_streams.topics import ensure

__all__ = ["PARTITIONS", "Outcome", "Recovery", "Site", "run"]

PARTITIONS: Final = 4
SETTLING: Final = 60.0
"""Seconds in which the workers have to be ready, and to have read everything, after a fault."""
UNEQUAL: Final = 3.0
"""Seconds for which workers that lag behind nothing may have read another number of records than there are."""
BURSTS: Final = (200, 3_000, 8_000)
"""How many events are published at full speed before a pause; a run draws one of them."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took from the end of a fault until every queue was shown again."""

    fault: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    script: Script
    seconds: float
    events: int
    """Records in the event topic."""
    sent_again: int
    seen: Seen
    lost: int
    """Records or visits."""
    doubled: int
    recoveries: tuple[Recovery, ...]
    ended: int
    """Workers that ended by themselves and were started again."""
    faults: tuple[str, ...]
    """What must not be and was."""
    broken: bool
    """The run broke off, which proves nothing of what was planted."""
    notes: tuple[str, ...]
    """What is worth knowing."""
    logs: str | None
    """The folder with the logs of a run that failed."""

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.faults

    @property
    def caught(self) -> bool:
        """Whether something false was seen or counted; a worker that cannot even start is no such thing."""
        return bool(self.faults) and not self.broken


class Detected(Exception):
    """Something that must not be was seen, and that is all that was asked for."""


@dataclass
class Site:
    """A run under way, as faults see it.

    `hasty`: the run ends with the first thing seen that must not be; for planted bugs.
    """

    ground: Ground
    folder: Path
    rate: float
    burst: int
    rounds: Round
    planted: str | None = None
    checkpoint_seconds: float = 2.0
    hasty: bool = False
    say: Callable[[str], None] = lambda _: None
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    after_traffic: list[Callable[[], None]] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    restart_all: bool = False
    broken: bool = False
    lost: int = 0
    doubled: int = 0
    ended: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        """Choose the ports and write the configurations; nothing is started."""
        self.proxies = self.ground.proxies
        self.broker = self.ground.broker
        self._application = self.ground.application()
        self._direct = self.folder / "direct.toml"
        self.configuration = self._configured(self._direct, self.broker.port)
        workers = []
        for name, proxy in self.proxies.by_name.items():
            toml = self.folder / f"{name}.toml"
            self._configured(toml, proxy.port)
            workers.append(Worker(name, toml, self.folder, self.planted))
        self.pair: Sequence[Worker] = workers[:2]
        self.third = workers[2]
        self.workers: Sequence[Worker] = workers
        self.publisher = Publisher(self.configuration, PARTITIONS, self.rounds, self.rate, self.burst)
        self.scraper = Scraper(self.workers)
        self.seen = self.scraper.judge()
        self._judged = 0
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._guard = threading.Thread(target=self._keep_running, name="supervisor", daemon=True)

    def _configured(self, path: Path, port: int) -> Configuration:
        topics = "\n".join(f'{role} = "{self._application}.{role}"' for role in ROLES)
        path.write_text(
            f'application = "{self._application}"\n[timing]\ncheckpoint_seconds = {self.checkpoint_seconds:g}\n'
            f'[kafka]\nbrokers = "{HOST}:{port}"\npartitions = {PARTITIONS}\n'
            f"session_timeout_seconds = {SESSION:g}\nheartbeat_seconds = {SESSION / 4:g}\n"
            f"[topics]\n{topics}\n"
        )
        return load(path)

    # ------------------------------------------------------------------------------------------------- what faults use

    def note(self, text: str) -> None:
        """Something worth knowing that is no failure."""
        self.notes.append(f"{time.monotonic() - self._began:.0f} s: {text}")

    def fail(self, text: str) -> None:
        """Something that must not be."""
        self.faults.append(text)

    def rest(self, seconds: float) -> None:
        """Let time pass.  Raises `Detected` in a hasty run."""
        end = time.monotonic() + seconds
        while True:
            self._stop_if_detected()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.5))

    def _stop_if_detected(self) -> None:
        if self.hasty and len(self.scraper.looks) != self._judged:
            self._judged = len(self.scraper.looks)
            if self.faults or self.scraper.judge().faults:
                raise Detected

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

    def await_shown(self) -> None:
        """Wait until the workers that run and are not frozen show everything."""
        self._await(
            "the workers that are not frozen to show everything",
            _all_ready,
            [each for each in self.workers if not each.frozen],
        )

    # --------------------------------------------------------------------------------------------------------- the run

    def perform(self, script: Script) -> None:
        """The whole run; what is wrong is in `faults`."""
        chance = random.Random(f"{script.seed} {script.faults}")
        try:
            asyncio.run(ensure(self.configuration))
            for worker in self.pair:
                worker.start()
            self._guard.start()
            self.scraper.start()
            self.publisher.start()
            self._recovered("start")
            for place, name in enumerate(script.faults, start=1):
                self.say(name)
                self.rest(chance.uniform(0.2, 2.0))
                self.note(f"fault {name}")
                FAULTS[name](self, chance)
                if place < len(script.faults) and chance.random() < 0.5:
                    self._recovered(name)
            self.rest(chance.uniform(0.0, 2.0))
            self.say("settling")
            self.note("traffic ends")
            self.publisher.stop()
            for end in self.after_traffic:
                end()
            self._heal()
            self.events = asyncio.run(ends_of(self.configuration, PARTITIONS))
            self._await_all_read(script.faults[-1])
            if not self.faults and (self.restart_all or chance.random() < 0.25):
                self.say("restart of all")
                self.note("all restart")
                self._restart_all(chance)
                self._await_all_read("restart of all")
            self.say("checking")
            self.note("checks")
            self._check()
        except Detected:
            self.note("detected")
        except Exception as error:
            self.broken = True
            self.fail(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            self.scraper.stop()
            self.publisher.give_up()
            self._end()
            self.seen = self.scraper.judge()
            self.faults += self.seen.faults
            spoilt = bool(self.faults) and not self.planted
            self.ground.clear([topic.name for topic in topics_of(self.configuration).values()], spoilt)

    def _keep_running(self) -> None:
        """What an operator's supervisor does: a worker that ends by itself is started again."""
        while not self._ended.wait(0.5):
            for worker in self.workers:
                if worker.wanted and not worker.running:
                    self.ended += 1
                    self.note(f"{worker.name}.{worker.incarnation} ended by itself with status {worker.status}")
                    self._ended.wait(1)
                    if worker.wanted and not self._ended.is_set():
                        worker.start()

    def _end(self) -> None:
        for proxy in self.proxies.by_name.values():
            proxy.untrap()
            proxy.set(Way.OPEN)
        for worker in self.workers:
            if worker.frozen:
                worker.thaw()
        with ThreadPoolExecutor() as pool:
            end = Worker.kill if self.hasty else self.stopped
            list(pool.map(end, [worker for worker in self.workers if worker.running]))
        if self.faults:
            (self.folder / "broker.log").write_text(self.broker.log_tail(2000))

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

    # --------------------------------------------------------------------------------------------------------- waiting

    def _await(
        self, what: str, is_so: Callable[[Sequence[Standing]], bool], workers: Sequence[Worker] | None = None
    ) -> float:
        """Wait until it is so of looks at all that run; the seconds until the last of these looks was answered."""
        began = time.monotonic()
        while True:
            running = [each for each in workers or self.workers if each.running]
            looks = [look for each in running if (look := self.scraper.last.get(each.name)) and look.sent >= began]
            standings = [look.standing for look in looks]
            if len(looks) == len(running) and is_so(standings):
                return max((look.received for look in looks), default=began) - began
            if time.monotonic() > began + SETTLING:
                raise TimeoutError(f"not within {SETTLING:g} s: {what}; {standings}")
            self.rest(0.1)

    def _recovered(self, fault: str) -> None:
        self.recoveries.append(Recovery(fault, self._await(f"all to be shown after {fault}", _all_ready)))

    def _await_all_read(self, fault: str) -> None:
        """Wait until all are shown and what was read is what lies in the log, no more and no less."""
        self._recovered(fault)
        unequal_since: float | None = None
        read = 0.0

        def all_read(standings: Sequence[Standing]) -> bool:
            nonlocal unequal_since, read
            if not _all_ready(standings):
                return False
            read = sum(each.read for each in standings)
            if read == self.events:
                return True
            if any(each.lag for each in standings):
                unequal_since = None
                return False
            unequal_since = unequal_since or time.monotonic()
            return time.monotonic() - unequal_since > UNEQUAL

        self._await(f"{self.events} records to be read after {fault}", all_read)
        if read != self.events:
            self.lost += max(0, int(self.events - read))
            self.doubled += max(0, int(read - self.events))
            self.fail(f"after {fault}: {int(read)} records were counted, {self.events} lie in the log")

    # ------------------------------------------------------------------------------------------------------ what is true

    def _check(self) -> None:
        if self.faults:
            return  # the counts differ already
        audit = Audit(self._direct)
        try:
            scrapes = self._scrapes()
            forced = by_brute_force(self.publisher.counted(), scrapes)
            self.lost += forced.lost
            self.doubled += forced.doubled
            self.faults += forced.told("by brute force")
            records = asyncio.run(records_of(self.configuration, PARTITIONS))
            self.faults += in_one_go(self.configuration, records, scrapes).told("against one go")
            self.faults += audit.found().told("audit")
        finally:
            audit.give_up()

    def _scrapes(self) -> list[Scrape]:
        """All that the workers show, each with all its partitions."""
        end = time.monotonic() + SETTLING
        while True:
            found = [each for worker in self.pair if (each := scrape(worker.port)) is not None]
            if all(each.ready for each in found) and sum(each.sum("partitions") for each in found) == PARTITIONS:
                return found
            if time.monotonic() > end:
                raise TimeoutError(f"not within {SETTLING:g} s: all workers ready when all is over")
            time.sleep(0.5)


def _all_ready(standings: Sequence[Standing]) -> bool:
    return all(each.ready for each in standings) and sum(each.partitions for each in standings) == PARTITIONS


def run(
    ground: Ground,
    script: Script,
    rounds: Round,
    *,
    rate: float = 2000.0,
    planted: str | None = None,
    checkpoint_seconds: float = 2.0,
    keep: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """One run.  The logs of one that failed are kept in a folder of `keep` (None: the system's temporary folder).

    With a planted bug it ends with the first thing seen that must not be.
    """
    began = time.monotonic()
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{script.seed}-", dir=keep))
    burst = BURSTS[script.seed % len(BURSTS)]
    hasty = planted is not None
    site = Site(ground, folder, rate, burst, rounds, planted, checkpoint_seconds, hasty, say)
    site.perform(script)
    outcome = Outcome(
        script=script,
        seconds=time.monotonic() - began,
        events=site.events,
        sent_again=site.publisher.repeated,
        seen=site.seen,
        lost=site.lost,
        doubled=site.doubled,
        recoveries=tuple(site.recoveries),
        ended=site.ended,
        faults=tuple(site.faults),
        broken=site.broken,
        notes=tuple(site.notes),
        logs=None if not site.faults else str(folder),
    )
    if outcome.passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        (folder / "outcome.txt").write_text("\n".join([str(script), *outcome.faults, "", *outcome.notes, ""]))
    return outcome
