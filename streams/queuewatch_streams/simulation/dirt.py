"""The dirt of real feeds: what a true report becomes on its way, and when it is delivered.

Which visits are ghosts, orphans, lose their end or wait negatively is decided by a hash of seed and visit, so the same
visits suffer whatever else is switched on, and nothing is remembered of visits that are over.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final

from queuewatch_streams.simulation.call_centre import Report
from queuewatch_streams.simulation.grid import TICKS, tick_of, ticks
from queuewatch_streams.simulation.settings import Dirt
from queuewatch_streams.simulation.truth import Truth

_OUTCOMES: Final = ("call.answered", "call.abandoned", "call.diverted")
_VISIT_KINDS: Final = frozenset((
    *_OUTCOMES, "call.queued", "call.ringing", "call.declined", "call.held", "call.resumed", "call.ended",
    "call.wrapped",
))  # fmt: skip
_AFTER_END: Final = ("call.ended", "call.wrapped")
_OTHER_REASON: Final = {"timeout": "key", "overflow": "timeout", "key": "voicemail", "voicemail": "withdrawn"}

Visit = tuple[str, str, int]
"""A visit's queue, call and number."""


def soiled(true: Iterable[Report], dirt: Dirt, seed: int, truth: Truth | None = None) -> Iterator[tuple[int, Report]]:
    """The true reports, taken in order of time, with the dirt put in: (tick of delivery, report) as delivered.

    What is still under way when the true reports end is delivered behind them, save evictions that would come later.
    """
    feed = _Feed(dirt, seed, Truth() if truth is None else truth)
    late = feed.late
    last = 0
    for report in true:
        last = report.at
        while late and late[0][0] <= last:
            at, _, delivered = heappop(late)
            yield at, delivered
        for delivered in feed.take(report):
            yield last, delivered
    while late:
        at, _, delivered = heappop(late)
        if feed.proposed(delivered) and delivered.at > last:
            feed.count["evictions"] -= 1
            continue
        yield at, delivered


class _Feed:
    def __init__(self, dirt: Dirt, seed: int, truth: Truth) -> None:
        self.dirt = dirt
        self.count = truth.dirt
        self.random = Random(f"{seed}/dirt")
        self.key = f"{seed}/visits".encode()[:64]
        self.late: list[tuple[int, int, Report]] = []
        self.turn = count()
        self.delay = ticks(dirt.delay_s)
        self.skewed: dict[Visit, int] = {}  # when the visits with a negative wait were queued, until their outcome
        self.lost = dirt.ghosts + dirt.orphans + dirt.lost_ends + dirt.negative_waits
        self.conflicts = dirt.time_conflicts + dirt.data_conflicts + dirt.outcome_conflicts

    def take(self, report: Report) -> list[Report]:
        """What is delivered at once; the rest goes into `late`."""
        dirt, random = self.dirt, self.random.random
        if report.kind in _VISIT_KINDS:
            if self.lost:
                kept = self._after_losses(report)
                if kept is None:
                    return []
                report = kept
            if self.conflicts:
                self._contradict(report)
        delivered = [report]
        if dirt.duplicates and random() < dirt.duplicates:
            self.count["duplicates"] += 1
            self._later(report.at + int(random() * (self.delay + 1)), report)
        if dirt.disorder and random() < dirt.disorder and self.delay:
            self.count["disorder"] += 1
            self._later(report.at + 1 + int(random() * self.delay), report)
            delivered.pop()
        return delivered

    def _later(self, at: int, report: Report) -> None:
        heappush(self.late, (at, next(self.turn), report))

    def _after_losses(self, report: Report) -> Report | None:
        """The report as this visit's fate leaves it, or None."""
        dirt, kind, data = self.dirt, report.kind, report.data
        visit = data["queue"], report.subject, data.get("visit", 1)
        fate = self._fate(visit)
        if fate >= self.lost:
            return report
        if fate < dirt.ghosts:
            if kind != "call.queued":
                return None
            self.count["ghosts"] += 1
            if self.random.random() < dirt.evictions:
                self._give_up(report)
            return report
        if fate < dirt.ghosts + dirt.orphans:
            if kind != "call.queued":
                return report
            self.count["orphans"] += 1
            return None
        if fate < dirt.ghosts + dirt.orphans + dirt.lost_ends:
            self.count["lost_ends"] += kind == "call.ended"
            return None if kind in _AFTER_END else report
        if kind == "call.queued" and "due" not in data:
            self.skewed[visit] = report.at
        elif kind in _OUTCOMES:
            queued = self.skewed.pop(visit, None)
            if queued is not None:
                self.count["negative_waits"] += 1
                return report._replace(at=queued - 1 - int(self.random.random() * 2 * TICKS))
        return report

    def _fate(self, visit: Visit) -> float:
        """A number from 0 to 1 that only the seed and the visit decide."""
        name = f"{visit[0]}\0{visit[1]}\0{visit[2]}".encode()
        return int.from_bytes(blake2b(name, digest_size=6, key=self.key).digest(), "big") / 2**48

    def _give_up(self, report: Report) -> None:
        """The monitor's eviction of a ghost: its time and id follow from the visit."""
        self.count["evictions"] += 1
        due = report.data.get("due")
        since = report.at if due is None else tick_of(datetime.fromisoformat(due))
        evicted = self._beside(report, "call.evicted", since + ticks(self.dirt.evict_after_s), {"reason": "too_long"})
        self._later(evicted.at, evicted)

    @staticmethod
    def proposed(report: Report) -> bool:
        """Whether it is the eviction of a ghost."""
        return report.kind == "call.evicted" and report.data["reason"] == "too_long"

    def _beside(self, report: Report, kind: str, at: int, more: dict[str, Any]) -> Report:
        """Another report about the same visit."""
        data = {key: value for key, value in report.data.items() if key in ("queue", "visit")}
        return Report(at, kind, report.subject, data | more, f"{report.id}-{kind.removeprefix('call.')}")

    def _contradict(self, report: Report) -> None:
        """Put reports beside this one that contradict it."""
        dirt, random = self.dirt, self.random.random
        if dirt.time_conflicts and random() < dirt.time_conflicts:
            self.count["time_conflicts"] += 1
            shift = 1 + int(random() * TICKS) if random() < 0.3 else -1 - int(random() * 5 * TICKS)
            self._soon(report.at, report._replace(at=report.at + shift, id=f"{report.id}-again"))
        if dirt.data_conflicts and random() < dirt.data_conflicts:
            other = self._other_data(report)
            if other is not None:
                self.count["data_conflicts"] += 1
                self._soon(report.at, report._replace(data=other, id=f"{report.id}-other"))
        if dirt.outcome_conflicts and report.kind in _OUTCOMES and random() < dirt.outcome_conflicts:
            self.count["outcome_conflicts"] += 1
            kinds = [kind for kind in (*_OUTCOMES, *["call.evicted"] * (dirt.evictions > 0)) if kind != report.kind]
            kind = kinds[int(random() * len(kinds))]
            more: dict[str, dict[str, Any]] = {
                "call.answered": {"agent": "a1-01"},
                "call.diverted": {"reason": "timeout"},
                "call.evicted": {"reason": "overtaken"},
            }
            at = report.at + int((random() * 2 - 1) * 3 * TICKS)
            self._soon(report.at, self._beside(report, kind, at, more.get(kind, {})))

    def _soon(self, now: int, report: Report) -> None:
        """Deliver within a few seconds, not before it happened."""
        self._later(max(now, report.at) + int(self.random.random() * 3 * TICKS), report)

    def _other_data(self, report: Report) -> dict[str, Any] | None:
        data = report.data
        if report.kind == "call.answered":
            return data | {"agent": "a1-99"}
        if report.kind == "call.diverted":
            return data | {"reason": _OTHER_REASON.get(data["reason"], "withdrawn")}
        if report.kind == "call.queued":
            if "due" not in data and self.random.random() < 0.5:
                return data | {"channel": "chat" if data["channel"] == "voice" else "voice"}
            return data | {"priority": data["priority"] + 1}
        return None


def bad_line(random: Random, good: bytes) -> bytes:
    """A line that no reader may count, made from a good one; it holds no line break."""
    start = good.index(b'"id":"') + 6
    fresh = good[:start] + b"bad-" + good[start:]
    at = good.index(b'"time":"') + 8
    kind = good.index(b'"type":"queuewatch.') + 19
    queue = b'"data":{'
    faults = (
        lambda: good[: 1 + int(random.random() * (len(good) - 1))],
        lambda: b"CONFIGRELOAD|1795305007|NONE",
        lambda: b"\xff\xfe\x00" + good[:40],
        lambda: b"[" + fresh + b"]",
        lambda: b"{}",
        lambda: fresh[: kind + 4] + b"un" + fresh[kind + 4 :],
        lambda: fresh[: at + 4] + b"yesterday" + fresh[at + 14 :],
        lambda: fresh.replace(b'"specversion":"1.0"', b'"specversion":"0.3"'),
        lambda: fresh.replace(b'"subject":', b'"object":'),
        lambda: fresh.replace(queue, b'"data":[],"was":{'),
    )
    return faults[int(random.random() * len(faults))]()
