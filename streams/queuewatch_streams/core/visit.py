"""What is known of one visit, and what it contributes to the figures.

A visit is one call's stay in one queue.  It holds facts; merging an event sets a fact or changes nothing, so order and
duplicates do not matter: of one kind the earliest time holds, of equal times the smallest canonical JSON of the data.
What a visit contributes is a pure function of its facts and of the rules in force when it was queued (`outcome_of`,
`handling_of`), so what was put into the figures can be taken out again.  All times are integer microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from queuewatch_schemas.config import Attribution, WaitClock
from queuewatch_schemas.events import instant
from queuewatch_streams.core.calendar import OpeningHours
from queuewatch_streams.core.service_level import NEITHER, Level, Status, settle

HIGHEST: Final = 1 << 31
"""Priorities beyond it, above or below, are all the same: what is written has 64 bits."""

VisitKey = str | tuple[str, int]
"""A visit within its queue: the call, or (call, visit) from its second stay on."""


def visit_key(call: str, visit: int) -> VisitKey:
    """The key of a call's n-th stay in a queue."""
    return call if visit == 1 else (call, visit)


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides how a visit of a queue is counted; stored with the visits that were counted by it."""

    levels: tuple[Level, ...]
    short: int
    hours: OpeningHours | None


class Entry(NamedTuple):
    """How a visit began, as far as figures depend on it; equal ones are shared."""

    channel: str
    priority: int
    skills: tuple[str, ...]
    via: str
    due: int | None
    entered: int | None
    source: str


@lru_cache(maxsize=4096)
def share(entry: Entry) -> Entry:
    """The one entry that stands for all that equal it."""
    return entry


class Merged(IntEnum):
    """What an event did to a visit."""

    LATER = 0
    """Nothing: an earlier event of its kind is known."""
    REPEATED = 1
    """Nothing: it repeats what is known."""
    NEW = 2
    """It brought a fact that was not known."""
    REVISED = 3
    """It corrected a known fact: an earlier time, or at the same time a smaller canonical JSON."""


class Visit:
    """The facts of one stay.  `more` holds what few visits have; `known_at` is the log time of the last new fact."""

    __slots__ = (
        "abandoned",
        "answered",
        "counted",
        "ended",
        "entry",
        "known_at",
        "more",
        "queued",
        "rules",
        "tie",
        "wrapped",
    )

    def __init__(self) -> None:
        self.queued: int | None = None
        self.entry: Entry | None = None
        self.tie: bytes = b""
        self.answered: int | None = None
        self.abandoned: int | None = None
        self.ended: int | None = None
        self.wrapped: int | None = None
        self.more: dict[str, Any] | None = None
        self.rules: Rules | None = None
        self.known_at: int = 0
        self.counted: int = 0

    def also(self) -> dict[str, Any]:
        """The rare facts, for writing: diverted, evicted, refused: (time, reason, data); held, resumed: times; declined."""
        if self.more is None:
            self.more = {}
        return self.more

    @property
    def arrival(self) -> int | None:
        """When it began to wait: queued, but for a callback not before it is due."""
        if self.queued is None or self.entry is None:
            return None
        due = self.entry.due
        return self.queued if due is None or due < self.queued else due


def canonical(data: bytes) -> str:
    """The text by which events of equal time are ordered; its order is that of the brute-force recount."""
    return json.dumps(json.loads(data), sort_keys=True)


def _compact(data: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # whole numbers of more than 64 bits
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _queued(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
    known, tie, result = visit.queued, _compact(data), Merged.NEW
    if known is not None:
        if at > known:
            return Merged.LATER
        if at == known:
            if tie == visit.tie:
                return Merged.REPEATED
            if canonical(tie) > canonical(visit.tie):
                return Merged.LATER
        result = Merged.REVISED
    visit.queued, visit.tie = at, tie
    visit.entry = share(
        Entry(
            data.get("channel", "voice"),
            max(-HIGHEST, min(HIGHEST, data.get("priority", 0))),
            tuple(sorted(data.get("skills", ()))),
            data.get("via", ""),
            instant(data["due"]) if "due" in data else None,
            instant(data["entered"]) if "entered" in data else None,
            source,
        )
    )
    return result


def _earliest(fact: str) -> Callable[[Visit, int, dict[str, Any], str], Merged]:
    """A merge of a fact of which only the time matters."""

    def merge(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
        known = getattr(visit, fact)
        if known is None:
            setattr(visit, fact, at)
            return Merged.NEW
        if at < known:
            setattr(visit, fact, at)
            return Merged.REVISED
        return Merged.REPEATED if at == known else Merged.LATER

    return merge


def _reasoned(fact: str) -> Callable[[Visit, int, dict[str, Any], str], Merged]:
    """A merge of a fact that carries a reason: kept as (time, reason, data as bytes)."""

    def merge(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
        more, tie, result = visit.also(), _compact(data), Merged.NEW
        known = more.get(fact)
        if known is not None:
            if at > known[0]:
                return Merged.LATER
            if at == known[0]:
                if tie == known[2]:
                    return Merged.REPEATED
                if canonical(tie) > canonical(known[2]):
                    return Merged.LATER
            result = Merged.REVISED
        more[fact] = (at, data["reason"], tie)
        return result

    return merge


def _moments(fact: str) -> Callable[[Visit, int, dict[str, Any], str], Merged]:
    """A merge of a fact that happens several times: kept as a set of times."""

    def merge(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
        times: set[int] = visit.also().setdefault(fact, set())
        if at in times:
            return Merged.REPEATED
        times.add(at)
        return Merged.NEW

    return merge


def _declined(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
    declines: set[tuple[int, str, bytes]] = visit.also().setdefault("declined", set())
    decline = (at, data["reason"], _compact(data))
    if decline in declines:
        return Merged.REPEATED
    declines.add(decline)
    return Merged.NEW


def _ringing(visit: Visit, at: int, data: dict[str, Any], source: str) -> Merged:
    return Merged.LATER  # no figure depends on it


MERGES: Final[dict[str, Callable[[Visit, int, dict[str, Any], str], Merged]]] = {
    "queued": _queued,
    "refused": _reasoned("refused"),
    "ringing": _ringing,
    "declined": _declined,
    "answered": _earliest("answered"),
    "held": _moments("held"),
    "resumed": _moments("resumed"),
    "abandoned": _earliest("abandoned"),
    "diverted": _reasoned("diverted"),
    "evicted": _reasoned("evicted"),
    "ended": _earliest("ended"),
    "wrapped": _earliest("wrapped"),
}
"""How each kind of `call` event is merged: (visit, its time, its data, its source) -> what it did."""


class Outcome(NamedTuple):
    """What a visit contributes by its arrival and outcome.  `levels` is (met, base) for each level of its rules.

    A visit that waits has only channel, status and arrival; a refused one only its time and reason.
    """

    channel: str
    status: Status
    arrival: int
    done: int = 0
    wait: int = 0
    reason: str = ""
    short: bool = False
    negative: bool = False
    levels: tuple[tuple[int, int], ...] = ()
    entered: int | None = None


class Handling(NamedTuple):
    """What an answered visit contributes once its talk has ended; `wrap` is None until that is known.  Microseconds."""

    channel: str
    ended: int
    talk: int
    hold: int
    wrap: int | None


def _standing(visit: Visit) -> tuple[Status, int, str]:
    """(status, time, reason) of a queued visit: of conflicting outcomes the first of answered, abandoned, diverted, evicted."""
    if visit.answered is not None:
        return Status.ANSWERED, visit.answered, ""
    if visit.abandoned is not None:
        return Status.ABANDONED, visit.abandoned, ""
    if visit.more is not None:
        if (diverted := visit.more.get("diverted")) is not None:
            return Status.DIVERTED, diverted[0], diverted[1]
        if (evicted := visit.more.get("evicted")) is not None:
            return Status.EVICTED, evicted[0], evicted[1]
    return Status.WAITING, 0, ""


def started(level: Level, visit: Visit, arrival: int) -> int:
    """When the wait that this level judges began: at the arrival, or where the call first entered any queue."""
    if level.clock is WaitClock.CALL and visit.entry is not None and visit.entry.entered is not None:
        return min(visit.entry.entered, arrival)
    return arrival


def counts(level: Level, rules: Rules, arrival: int) -> bool:
    """Whether a level counts visits that arrived then at all: always, or only while the queue was open."""
    return not level.only_open or rules.hours is None or rules.hours.is_open(arrival)


def outcome_of(visit: Visit) -> Outcome | None:
    """What the visit contributes by arrival and outcome; None while it was neither queued nor refused."""
    queued, entry, rules = visit.queued, visit.entry, visit.rules
    if queued is None or entry is None or rules is None:
        refused = visit.more and visit.more.get("refused")
        return Outcome("voice", Status.REFUSED, refused[0], reason=refused[1]) if refused else None
    due = entry.due
    arrival = queued if due is None or due < queued else due
    status, done, reason = _standing(visit)
    if status is Status.WAITING:
        return Outcome(entry.channel, status, arrival)
    wait = done - arrival
    negative = wait < 0
    if negative:
        wait = 0
    levels = []
    for level in rules.levels:
        judged = wait if level.clock is WaitClock.QUEUE else max(0, done - started(level, visit, arrival))
        levels.append(
            settle(level, status, judged, reason) if not level.only_open or counts(level, rules, arrival) else NEITHER
        )
    short = status is Status.ABANDONED and wait <= rules.short
    return Outcome(entry.channel, status, arrival, done, wait, reason, short, negative, tuple(levels), entry.entered)


def booked_at(level: Level, outcome: Outcome) -> int:
    """The instant at which a settled visit is booked in this level: its arrival, outcome, or service-level event.

    A function of the outcome alone, so that what is taken out lies where it was put in, though the visit knows more by now.
    """
    if level.attribution is Attribution.ARRIVAL:
        return outcome.arrival
    if level.attribution is Attribution.OUTCOME:
        return outcome.done
    start = outcome.arrival
    if level.clock is WaitClock.CALL and outcome.entered is not None:
        start = min(outcome.entered, start)
    return outcome.done if outcome.done - start <= level.threshold else start + level.threshold


def hold_time(visit: Visit, ended: int) -> int:
    """Microseconds on hold until `ended`: each `held` runs to the next `resumed`, the last one to the end.

    A second `held` in between changes nothing.
    """
    more = visit.more
    if not more or "held" not in more:
        return 0
    steps = sorted([(at, 0) for at in more["held"]] + [(at, 1) for at in more.get("resumed", ())])
    total, since = 0, None
    for at, resumed in [*steps, (ended, 1)]:
        if not resumed:
            if since is None and at < ended:
                since = at
        elif since is not None:
            total, since = total + min(at, ended) - since, None
    return total


def handling_of(visit: Visit) -> Handling | None:
    """What the visit contributes by its handling; None unless it was queued, answered and has ended."""
    if visit.ended is None or visit.answered is None or visit.entry is None or visit.rules is None:
        return None
    ended = max(visit.ended, visit.answered)
    hold = hold_time(visit, ended)
    wrap = None if visit.wrapped is None else max(0, visit.wrapped - ended)
    return Handling(visit.entry.channel, ended, ended - visit.answered - hold, hold, wrap)
