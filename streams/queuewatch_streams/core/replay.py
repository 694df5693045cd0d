"""What a whole file of events comes to: the same core without Kafka, with infinite grace, proposing nothing.

The answer has the keys of the brute-force recount: per queue (other channels than voice under "queue [channel]"), per
interval by arrival, by outcome and by service-level event, and at chosen instants.  Whatever the live figures take from
windows is taken from windows here; what only a file can tell (longest wait, who waited at an instant) is read off the visits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from queuewatch_schemas.config import Attribution, Definition, Preset
from queuewatch_schemas.events import Rejected, parse
from queuewatch_streams.core.calendar import MINUTE, SECOND, interval_start, to_datetime, to_microseconds
from queuewatch_streams.core.figures import WindowFigures, window_figures
from queuewatch_streams.core.policy import FOREVER, Policy
from queuewatch_streams.core.queue import VOICE, Channel, Queue
from queuewatch_streams.core.service_level import ANSWERED, WAITING, Level
from queuewatch_streams.core.visit import UNKNOWN, Outcome, Rules, Visit, outcome_of

_PRESETS: Final = {
    "ignore": Preset.IGNORE,
    "negative": Preset.NEGATIVE,
    "positive": Preset.POSITIVE,
    "answered_only": Preset.ANSWERED_ONLY,
    "ignore_short": Preset.IGNORE_SHORT,
    "all_offered": Preset.ALL_OFFERED,
    "removed": Preset.REMOVED,
}
"""The levels that are told of a whole queue, by their keys."""
_BY_OUTCOME: Final = "negative by outcome"
_BY_EVENT: Final = "negative by event"
_OUTCOMES: Final = ("answered", "abandoned", "diverted", "evicted")


@dataclass(frozen=True, slots=True)
class Question:
    """What to count a file by: threshold and short abandons in seconds, interval in minutes, and the instants to look at.

    `now` None: the newest event's time.
    """

    threshold: float = 20
    short: float = 5
    interval: int = 30
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Jerusalem"))
    now: datetime | None = None
    at: Sequence[datetime] = ()


class Replay:
    """Events of a file, folded in any order; `report` tells the figures."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.queues: dict[str, Queue] = {}
        self.newest: int | None = None
        self._policy = _policy(question)

    def fold(self, line: bytes) -> None:
        """Fold one event.  Raises Rejected with the reason where it is none."""
        event = parse(line)
        if not event.kind.call:
            return
        at, name = event.at, event.queue
        if self.newest is None or at > self.newest:
            self.newest = at
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name, self._policy)
        queue.fold_call(event)

    def fold_all(self, lines: Iterable[bytes]) -> list[tuple[int, Rejected]]:
        """Fold many lines; those that are refused come back with their numbers, from 1.  Blank lines are passed over."""
        refused = []
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                try:
                    self.fold(line)
                except Rejected as rejected:
                    refused.append((number, rejected))
        return refused

    def report(self) -> dict[str, Any]:
        """The figures, in the keys and units (seconds) of the brute-force recount."""
        question = self.question
        now = to_microseconds(question.now) if question.now else self.newest
        report: dict[str, Any] = {"queues": {}, "intervals": {}, "outcomes": {}, "events": {}}
        report["at"] = {at.isoformat(): {} for at in question.at}
        for queue in self.queues.values():
            assert now is not None, "a queue comes from an event"
            for name, channel in queue.channels.items():
                title = queue.name if name == VOICE else f"{queue.name} [{name}]"
                if _is_used(queue, name, channel):
                    self._tell_channel(report, title, queue, name, channel, now)
            for at in question.at:
                _tell_instant(report["at"][at.isoformat()], queue, to_microseconds(at))
        return report

    def _tell_channel(
        self, report: dict[str, Any], title: str, queue: Queue, name: str, channel: Channel, now: int
    ) -> None:
        step, days = channel.windows.days.step, channel.windows.days.cells
        arrivals = [*days, *(at - at % step for at in channel.waiting)]
        first, last = min(arrivals, default=0), max(arrivals, default=0) + step
        # The service-level event of one who waits lies a threshold after his arrival.
        last += -(-round(self.question.threshold * SECOND) // step) * step
        whole = window_figures(channel, self._policy, first, last, now)
        report["queues"][title] = _totals(whole, channel) | _from_visits(queue, name)
        starts: dict[int, list[int]] = {}
        waiting_events = (at + round(self.question.threshold * SECOND) for at in channel.waiting)
        for at in {*arrivals, *(at - at % step for at in waiting_events)}:
            starts.setdefault(interval_start(at, self.question.interval, self.question.zone), []).append(at)
        for start in starts:
            end = max(starts[start]) + step
            self._tell_interval(
                report, title, start, window_figures(channel, self._policy, start - start % step, end, now)
            )

    @staticmethod
    def _tell_interval(report: dict[str, Any], title: str, start: int, figures: WindowFigures) -> None:
        at = to_datetime(start).isoformat()
        levels = {each.level.name: each for each in figures.levels}
        if figures.offered:
            row = {name: figures.of(name) for name in _OUTCOMES}
            row |= {"offered": figures.offered, "waiting": figures.waiting}
            row["answered_within"] = levels["negative"].met
            report["intervals"].setdefault(at, {})[title] = row
        row = {name: figures.of(f"done:{name}") for name in _OUTCOMES}
        if any(row.values()):
            row["answered_within"] = levels[_BY_OUTCOME].met
            report["outcomes"].setdefault(at, {})[title] = row
        if levels[_BY_EVENT].base:
            row = {"counted": levels[_BY_EVENT].base, "answered_within": levels[_BY_EVENT].met}
            report["events"].setdefault(at, {})[title] = row


def _policy(question: Question) -> Policy:
    """Every level that is told, cells as fine as the intervals need, and nothing that ever expires."""

    def level(name: str, preset: Preset, attribution: Attribution = Attribution.ARRIVAL) -> Level:
        short = question.short if preset is Preset.IGNORE_SHORT else None
        return Level.of(
            name,
            Definition(
                preset=preset, threshold_seconds=question.threshold, short_seconds=short, attribution=attribution
            ),
        )

    levels = (
        *(level(name, preset) for name, preset in _PRESETS.items()),
        level(_BY_OUTCOME, Preset.NEGATIVE, Attribution.OUTCOME),
        level(_BY_EVENT, Preset.NEGATIVE, Attribution.EVENT),
    )
    return Policy(
        rules=Rules(levels, round(question.short * SECOND), None),
        zone=question.zone,
        day_starts_at_hour=0,
        interval_minutes=question.interval,
        windows=(),
        grace=FOREVER,
        evicted_grace=FOREVER,
        maximum_wait=FOREVER,
        overtaken_by=0,
        maximum_talk=FOREVER,
        maximum_wrap=FOREVER,
        wait_edges=(),
        longest_rolling=0,
        step=(15 if question.interval % 15 == 0 else 1) * MINUTE,
    )


def _is_used(queue: Queue, name: str, channel: Channel) -> bool:
    """Whether the recount would tell of the channel: somebody is booked there, or it is the queue's voice with strays."""
    if channel.windows.days.cells or channel.waiting:
        return True
    return name == VOICE and any(visit.queued == UNKNOWN for visit in queue.visits.values())


def _totals(whole: WindowFigures, channel: Channel) -> dict[str, Any]:
    levels = {each.level.name: each for each in whole.levels}
    reasons = {key.partition(":")[2]: value for key, value in whole.cell.told().items() if key.startswith("diverted:")}
    return {
        "offered": whole.offered,
        **{name: whole.of(name) for name in _OUTCOMES},
        "waiting": whole.waiting,
        "answered_within": levels["negative"].met,
        "abandoned_within": levels["positive"].met - levels["negative"].met,
        "counted": levels["negative"].base,
        "short_abandoned": whole.of("short"),
        "handled": whole.of("handled"),
        "answer_wait_sum": whole.of("answer_wait") / SECOND,
        "abandon_wait_sum": whole.of("abandon_wait") / SECOND,
        "talk_sum": whole.of("talk") / SECOND,
        "hold_sum": whole.of("hold") / SECOND,
        "wrap_sum": whole.of("wrap") / SECOND,
        "diverted_by": reasons,
        "service_level": {name: levels[name].ratio for name in _PRESETS},
    }


def _from_visits(queue: Queue, name: str) -> dict[str, Any]:
    """What no window holds: strays, declines, negative waits, the longest wait of an answered caller."""
    outcomes = [
        (visit, outcome) for visit in queue.visits.values() if (outcome := _queued(visit)) and outcome.channel == name
    ]
    longest = max((outcome.wait for _, outcome in outcomes if outcome.status == ANSWERED), default=0)
    strays = [visit for visit in queue.visits.values() if visit.queued == UNKNOWN] if name == VOICE else []
    refused = sum("refused" in (visit.more or ()) for visit in strays)
    return {
        "negative_waits": sum(outcome.negative for _, outcome in outcomes),
        "declined": sum(len((visit.more or {}).get("declined", ())) for visit, _ in outcomes),
        "longest_answer_wait": longest / SECOND,
        "refused": refused,
        "orphans": len(strays) - refused,
    }


def _queued(visit: Visit) -> Outcome | None:
    return None if visit.queued == UNKNOWN else outcome_of(visit)


def _tell_instant(told: dict[str, Any], queue: Queue, at: int) -> None:
    """Who waited at that instant, and how long the longest had."""
    for visit in queue.visits.values():
        outcome = _queued(visit)
        if outcome is None or outcome.arrival > at or (outcome.status != WAITING and outcome.done <= at):
            continue
        title = queue.name if outcome.channel == VOICE else f"{queue.name} [{outcome.channel}]"
        seen = told.setdefault(title, {"waiting": 0, "longest_wait": 0.0})
        seen["waiting"] += 1
        seen["longest_wait"] = max(seen["longest_wait"], (at - outcome.arrival) / SECOND)
