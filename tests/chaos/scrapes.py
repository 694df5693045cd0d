"""Every look at every worker's /metrics, half a second apart, and what may never be seen there.

A look was sent and answered at two known moments; the figures are of some instant between them.  So figures of one look may
be held against another's only where the one was answered before the other was sent; and two workers show a queue at one
instant for sure only where both looks together take less time than any hand-over can.
"""

from __future__ import annotations

import http.client
import math
import re
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from chaos.processes import Worker
from integration.worker_process import COUNTED, Scrape
from queuewatch_schemas.metrics import PREFIX

__all__ = ["Look", "Scraper", "Seen"]

EVERY: Final = 0.5
"""Seconds between two looks at a worker; all workers are looked at in the same moments."""
LONGEST: Final = 5.0
"""Seconds after which an answer is waited for no longer, as Prometheus would not; the next look is asked anew."""
SAME_INSTANT: Final = 0.25
"""Seconds; a hand-over needs a rebalance and a changelog that is read, which takes longer."""
_QUEUE = re.compile(r'queue="((?:[^"\\]|\\.)*)"')
_ABSENT: Final = math.nan


class _Series(NamedTuple):
    """What a series is to us: the index of a counter, the queue that it tells of, a balance, a field of `Standing`."""

    counter: int | None
    queue: str | None
    balance: bool
    field: int | None


class Standing(NamedTuple):
    """How a worker stands, by its own word: sums over its partitions; records that it has told of, and that it lags."""

    ready: float = 0.0
    partitions: float = 0.0
    read: float = 0.0
    lag: float = 0.0


_STANDING: Final = {
    "ready": 0, "partitions": 1, "events_total": 2, "rejected_events_total": 2, "rekeyed_events_total": 2,
    "consumer_lag_records": 3,
}  # fmt: skip
"""By metric (without prefix) the field of `Standing` that it adds to."""


class Look(NamedTuple):
    """One answer: of whom, when it was asked for and given, its counters (by index), the queues that it tells of."""

    worker: str
    incarnation: int
    sent: float
    received: float
    counters: array[float]
    queues: frozenset[str]
    residuals: tuple[str, ...] = ()
    standing: Standing = Standing()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the looks of a run come to."""

    looks: int
    pairs: int
    """Pairs of looks at different workers that were taken in the same instant."""
    compared: int
    """Counters that were held against an earlier look's."""
    residuals: int
    """Balances that were not 0."""
    went_down: int
    """Counters that went down, in all looks together."""
    exposures: int
    """Queues that two workers showed, in all pairs together."""
    faults: tuple[str, ...]


class Scraper:
    """Looks at workers until it is stopped, each in a thread of its own."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.looks: list[Look] = []
        self.last: dict[str, Look] = {}
        """By worker the newest look."""
        self._workers = workers
        self._indexes: dict[str, int] = {}
        self._known: dict[str, _Series] = {}
        self._names: list[str] = []
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"scraper-{worker.name}", daemon=True)
            for worker in workers
        ]

    def start(self) -> Scraper:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Look no more."""
        self._ending.set()
        for thread in self._threads:
            thread.join(40)

    def _run(self, worker: Worker) -> None:
        while not self._ending.is_set():
            pause = EVERY - time.monotonic() % EVERY
            if self._ending.wait(pause):
                return
            if worker.running:
                incarnation, sent = worker.incarnation, time.monotonic()
                text = ask(worker.port, LONGEST)
                received = time.monotonic()
                if text is not None:
                    look = self._look(worker.name, incarnation, sent, received, text)
                    self.looks.append(look)
                    self.last[worker.name] = look

    def _look(self, worker: str, incarnation: int, sent: float, received: float, text: str) -> Look:
        counters = array("d", [_ABSENT]) * len(self._names)
        queues: set[str] = set()
        residuals = []
        standing = [0.0] * len(Standing._fields)
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            series, _, value = line.rpartition(" ")
            index, queue, balance, field = self._known.get(series) or self._learn(series)
            if queue is not None:
                queues.add(queue)
            if index is not None:
                if index >= len(counters):
                    counters.extend([_ABSENT] * (index + 1 - len(counters)))
                counters[index] = float(value)
            elif balance and float(value) != 0:
                residuals.append(line)
            if field is not None:
                standing[field] += float(value)
        return Look(
            worker, incarnation, sent, received, counters, frozenset(queues), tuple(residuals), Standing(*standing)
        )

    def _learn(self, series: str) -> _Series:
        name = series.partition("{")[0]
        found = _QUEUE.search(series)
        with self._lock:
            index = None
            if name in COUNTED and (found or 'partition="' in series):
                index = self._indexes.setdefault(series, len(self._names))
                if index == len(self._names):
                    self._names.append(series)
            known = self._known[series] = _Series(
                index,
                found[1] if found else None,
                name == f"{PREFIX}balance_residual",
                _STANDING.get(name.removeprefix(PREFIX)),
            )
        return known

    def judge(self) -> Seen:
        """What was seen so far that may not be."""
        looks = sorted(self.looks, key=lambda look: look.sent)
        unbalanced = [f"{look.worker}: {residual}" for look in looks for residual in look.residuals]
        compared, went_down, lower = self._lower(looks)
        pairs, exposures, twice = _shown_twice(looks)
        faults = (*unbalanced, *lower, *twice)
        return Seen(len(looks), pairs, compared, len(unbalanced), went_down, exposures, faults)

    def _lower(self, looks: Sequence[Look]) -> tuple[int, int, list[str]]:
        """Counters that went down from a look that was answered to one that was sent after that."""
        answered = sorted(looks, key=lambda look: look.received)
        floor = array("d", [-math.inf]) * len(self._names)
        at: list[Look | None] = [None] * len(self._names)
        passed = compared = went_down = 0
        faults = []
        for look in looks:
            while answered[passed].received < look.sent:
                earlier = answered[passed]
                passed += 1
                for index, value in enumerate(earlier.counters):
                    if value > floor[index]:
                        floor[index], at[index] = value, earlier
            lower = []
            for index, value in enumerate(look.counters):
                if value == value:
                    compared += 1
                    before = at[index]
                    if value < floor[index] and before is not None:
                        lower.append(
                            f"{self._names[index]} {floor[index]:g} ({before.worker}.{before.incarnation}, answered"
                            f" {look.sent - before.received:.2f} s before this was asked) -> {value:g}"
                        )
            if lower:
                went_down += len(lower)
                faults.append(
                    f"went down: {len(lower)} counters in one look at {look.worker}.{look.incarnation}, answered after"
                    f" {look.received - look.sent:.2f} s: {lower[0]}"
                )
        return compared, went_down, faults


def _shown_twice(looks: Sequence[Look]) -> tuple[int, int, list[str]]:
    pairs, exposures, faults = 0, 0, []
    for number, one in enumerate(looks):
        for other in islice(looks, number + 1, None):
            if other.sent > one.sent + SAME_INSTANT:
                break
            same = (one.worker, one.incarnation) == (other.worker, other.incarnation)
            if same or max(one.received, other.received) - one.sent > SAME_INSTANT:
                continue
            pairs += 1
            if both := one.queues & other.queues:
                exposures += len(both)
                faults.append(
                    f"shown twice: {len(both)} queues ({min(both)}, ...) by {one.worker}.{one.incarnation} and"
                    f" {other.worker}.{other.incarnation} within {max(one.received, other.received) - one.sent:.3f} s"
                )
    return pairs, exposures, faults


def ask(port: int, patience: float) -> str | None:
    """The text of /metrics; None where there is no whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.read().decode() if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def scrape(port: int, patience: float = 10.0) -> Scrape | None:
    """One look, in full."""
    text = ask(port, patience)
    return None if text is None else Scrape.parse(text)
