"""What is known of one visit, and what it contributes to the figures.

A visit is one call's stay in one queue.  It holds facts; merging an event sets a fact or changes nothing, so order and
duplicates do not matter: of one kind the earliest time holds, of equal times the smallest canonical JSON of the data.
What a visit contributes is a pure function of its facts and of the rules in force when it was queued (`outcome_of`,
`handling_of`), so what was put into the figures can be taken out again.  All times are integer microseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from mypy_extensions import i16, mypyc_attr

from queuewatch_schemas.config import Attribution, WaitClock
from queuewatch_schemas.plain import Event
from queuewatch_schemas.times import instant
from queuewatch_streams.core.calendar import OpeningHours
from queuewatch_streams.core.service_level import (
    ABANDONED,
    ANSWERED,
    DIVERTED,
    EVICTED,
    REFUSED,
    WAITING,
    Level,
    settle,
)

HIGHEST: Final = 1 << 31
"""Priorities beyond it, above or below, are all the same: what is written has 64 bits."""

UNKNOWN: Final = -(1 << 61)
"""The time of what has not happened, as far as is known.  A number as others are: millions of times are held, and None would
make each of them an object of its own."""

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


@lru_cache(maxsize=4096)
def _plain(channel: str, priority: int, source: str) -> Entry:
    """The shared entry of a visit that began like most do."""
    return share(Entry(channel, max(-HIGHEST, min(HIGHEST, priority)), (), "", None, None, source))


# What an event did to a visit.
LATER: Final = 0
"""Nothing: an earlier event of its kind is known."""
REPEATED: Final = 1
"""Nothing: it repeats what is known."""
NEW: Final = 2
"""It brought a fact that was not known."""
REVISED: Final = 3
"""It corrected a known fact: an earlier time, or at the same time a smaller canonical JSON."""


@mypyc_attr(acyclic=True)
class Visit:
    """The facts of one stay; a time is UNKNOWN until it is told.  `more` holds what few visits have.

    `known_at` is the log time of the last new fact.  `closings` says how often the visit stands in its queue's `closed`.
    """

    __slots__ = (
        "abandoned",
        "answered",
        "closings",
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
        self.queued = UNKNOWN
        self.answered = UNKNOWN
        self.abandoned = UNKNOWN
        self.ended = UNKNOWN
        self.wrapped = UNKNOWN
        self.known_at = 0
        self.entry: Entry | None = None
        self.tie: bytes = b""
        self.more: dict[str, Any] | None = None
        self.rules: Rules | None = None
        self.counted: i16 = 0
        self.closings: i16 = 0

    def also(self) -> dict[str, Any]:
        """The rare facts, for writing: diverted, evicted, refused: (time, reason, data); held, resumed: times; declined.

        What happens several times is ascending.
        """
        if self.more is None:
            self.more = {}
        return self.more

    @property
    def arrival(self) -> int | None:
        """When it began to wait: queued, but for a callback not before it is due."""
        if self.queued == UNKNOWN or self.entry is None:
            return None
        due = self.entry.due
        return self.queued if due is None or due < self.queued else due


def canonical(data: bytes) -> str:
    """The text by which events of equal time are ordered; its order is that of the brute-force recount."""
    return json.dumps(json.loads(data), sort_keys=True)


def _queued(visit: Visit, event: Event) -> int:
    at, known, tie, result = event.at, visit.queued, event.compact(), NEW
    if known != UNKNOWN:
        if at > known:
            return LATER
        if at == known:
            if tie == visit.tie:
                return REPEATED
            if canonical(tie) > canonical(visit.tie):
                return LATER
        result = REVISED
    visit.queued, visit.tie = at, tie
    data, source = event.data, event.source
    channel, priority = data.get("channel", "voice"), data.get("priority", 0)
    if "skills" in data or "via" in data or "due" in data or "entered" in data:
        visit.entry = share(
            Entry(
                channel,
                max(-HIGHEST, min(HIGHEST, priority)),
                tuple(sorted(data.get("skills", ()))),
                data.get("via", ""),
                instant(data["due"]) if "due" in data else None,
                instant(data["entered"]) if "entered" in data else None,
                source,
            )
        )
    else:
        visit.entry = _plain(channel, priority, source)
    return result


def _earliest(known: int, at: int) -> int:
    """What a time does to a fact of which only the earliest time matters."""
    if known == UNKNOWN:
        return NEW
    if at < known:
        return REVISED
    return REPEATED if at == known else LATER


def _reasoned(visit: Visit, fact: str, event: Event) -> int:
    """Merge a fact that carries a reason: kept as (time, reason, data as bytes)."""
    at, more, tie, result = event.at, visit.also(), event.compact(), NEW
    known = more.get(fact)
    if known is not None:
        if at > known[0]:
            return LATER
        if at == known[0]:
            if tie == known[2]:
                return REPEATED
            if canonical(tie) > canonical(known[2]):
                return LATER
        result = REVISED
    more[fact] = (at, event.data["reason"], tie)
    return result


def _one_more(visit: Visit, fact: str, happened: Any) -> int:
    """Merge a fact that happens several times: kept ascending, as a tuple, which is the smallest of its kind."""
    more = visit.also()
    known: tuple[Any, ...] = more.get(fact, ())
    if happened in known:
        return REPEATED
    more[fact] = tuple(sorted((*known, happened))) if known else (happened,)
    return NEW


def merge(visit: Visit, event: Event) -> int:
    """Merge one event of a call into a visit; LATER, REPEATED, NEW or REVISED."""
    kind, at = event.kind.call, event.at
    if kind == "queued":
        return _queued(visit, event)
    if kind == "answered":
        if (merged := _earliest(visit.answered, at)) >= NEW:
            visit.answered = at
    elif kind == "ended":
        if (merged := _earliest(visit.ended, at)) >= NEW:
            visit.ended = at
    elif kind == "wrapped":
        if (merged := _earliest(visit.wrapped, at)) >= NEW:
            visit.wrapped = at
    elif kind == "abandoned":
        if (merged := _earliest(visit.abandoned, at)) >= NEW:
            visit.abandoned = at
    elif kind == "ringing":
        merged = LATER  # no figure depends on it
    elif kind in ("held", "resumed"):
        merged = _one_more(visit, kind, at)
    elif kind == "declined":
        merged = _one_more(visit, kind, (at, event.data["reason"], event.compact()))
    else:
        assert kind in ("refused", "diverted", "evicted"), kind
        merged = _reasoned(visit, kind, event)
    return merged


@mypyc_attr(acyclic=True)
class Outcome:
    """What a visit contributes by its arrival and outcome; times and waits in microseconds.

    `levels` has two bits for each level of its rules, the first level's lowest: NEITHER, MISSED or MET.  A visit that waits
    has only channel, status and arrival; a refused one only its time and reason.
    """

    __slots__ = ("arrival", "channel", "done", "entered", "levels", "negative", "reason", "short", "status", "wait")

    def __init__(
        self,
        channel: str,
        status: int,
        arrival: int,
        done: int = 0,
        wait: int = 0,
        reason: str = "",
        short: bool = False,
        negative: bool = False,
        levels: int = 0,
        entered: int | None = None,
    ) -> None:
        self.channel = channel
        self.status = status
        self.arrival = arrival
        self.done = done
        self.wait = wait
        self.reason = reason
        self.short = short
        self.negative = negative
        self.levels = levels
        self.entered = entered

    def equals(self, other: Outcome | None) -> bool:
        """Whether both contribute the same."""
        return (
            other is not None
            and self.status == other.status
            and self.arrival == other.arrival
            and self.done == other.done
            and self.wait == other.wait
            and self.channel == other.channel
            and self.reason == other.reason
            and self.short == other.short
            and self.negative == other.negative
            and self.levels == other.levels
            and self.entered == other.entered
        )


@mypyc_attr(acyclic=True)
class Handling:
    """What an answered visit contributes once its talk has ended; `wrap` is None until that is known.  Microseconds."""

    __slots__ = ("channel", "ended", "hold", "talk", "wrap")

    def __init__(self, channel: str, ended: int, talk: int, hold: int, wrap: int | None) -> None:
        self.channel = channel
        self.ended = ended
        self.talk = talk
        self.hold = hold
        self.wrap = wrap

    def equals(self, other: Handling | None) -> bool:
        """Whether both contribute the same."""
        return (
            other is not None
            and self.ended == other.ended
            and self.talk == other.talk
            and self.hold == other.hold
            and self.wrap == other.wrap
            and self.channel == other.channel
        )


def started(level: Level, visit: Visit, arrival: int) -> int:
    """When the wait that this level judges began: at the arrival, or where the call first entered any queue."""
    if level.clock is WaitClock.CALL and visit.entry is not None and visit.entry.entered is not None:
        return min(visit.entry.entered, arrival)
    return arrival


def counts(level: Level, rules: Rules, arrival: int) -> bool:
    """Whether a level counts visits that arrived then at all: always, or only while the queue was open."""
    return not level.only_open or rules.hours is None or rules.hours.is_open(arrival)


def outcome_of(visit: Visit) -> Outcome | None:
    """What the visit contributes by arrival and outcome; None while it was neither queued nor refused.

    Of conflicting outcomes the first of answered, abandoned, diverted, evicted counts.
    """
    queued, entry, rules, more = visit.queued, visit.entry, visit.rules, visit.more
    if queued == UNKNOWN or entry is None or rules is None:
        refused = None if more is None else more.get("refused")
        return None if refused is None else Outcome("voice", REFUSED, refused[0], 0, 0, refused[1])
    arrival, due, reason = queued, entry.due, ""
    if due is not None and due > queued:
        arrival = due
    if visit.answered != UNKNOWN:
        status, done = ANSWERED, visit.answered
    elif visit.abandoned != UNKNOWN:
        status, done = ABANDONED, visit.abandoned
    elif more is None:
        return Outcome(entry.channel, WAITING, arrival)
    elif (diverted := more.get("diverted")) is not None:
        status, done, reason = DIVERTED, diverted[0], diverted[1]
    elif (evicted := more.get("evicted")) is not None:
        status, done, reason = EVICTED, evicted[0], evicted[1]
    else:
        return Outcome(entry.channel, WAITING, arrival)
    wait = done - arrival
    negative = wait < 0
    if negative:
        wait = 0
    levels = bits = 0
    for level in rules.levels:
        if level.plain:
            levels |= settle(level, status, wait, reason) << bits
        elif counts(level, rules, arrival):
            judged = wait if level.clock is WaitClock.QUEUE else max(0, done - started(level, visit, arrival))
            levels |= settle(level, status, judged, reason) << bits
        bits += 2
    short = status == ABANDONED and wait <= rules.short
    return Outcome(entry.channel, status, arrival, done, wait, reason, short, negative, levels, entry.entered)


def booked_at(level: Level, outcome: Outcome) -> int:
    """The instant at which a settled visit is booked in this level: its arrival, outcome, or service-level event.

    A function of the outcome alone, so that what is taken out lies where it was put in, though the visit knows more by now.
    """
    if level.by_arrival:
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
    if visit.ended == UNKNOWN or visit.answered == UNKNOWN or visit.entry is None or visit.rules is None:
        return None
    ended = max(visit.ended, visit.answered)
    hold = hold_time(visit, ended)
    wrap = None if visit.wrapped == UNKNOWN else max(0, visit.wrapped - ended)
    return Handling(visit.entry.channel, ended, ended - visit.answered - hold, hold, wrap)
