"""Histories of queues by chance: Hypothesis strategies that know what real feeds and their dirt look like.

A history is a list of events in the order of their times.  Most of its visits are plausible; strays (any fact of any visit
at any time) give conflicting outcomes, negative waits, orphans, odd holds and ties.  Calls, queues, channels and reasons come
from small sets, so that events meet.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from support.events import HOUR, MINUTE, SECOND, SOURCE, call, iso, micros

START: Final = micros("2026-03-02T08:00:00+00:00")
LENGTH: Final = 3 * HOUR
THRESHOLD: Final = 20 * SECOND
SHORT: Final = 5 * SECOND
CHANNELS: Final = ("voice", "voice", "voice", "voice", "chat", "callback")
DIVERTED: Final = (
    "timeout", "overflow", "transfer", "voicemail", "callback", "key", "no_agents", "withdrawn", "elsewhere",
)  # fmt: skip
FATES: Final = (
    ("answered",) * 6 + ("abandoned",) * 3 + ("diverted",) * 3 + ("waiting",) * 3 + ("evicted", "refused", "orphan")
)
KINDS: Final = (
    "queued", "queued", "refused", "ringing", "declined", "answered", "held", "resumed", "abandoned", "diverted", "evicted",
    "ended", "wrapped",
)  # fmt: skip
SOURCES: Final = (SOURCE, "urn:test:2")


@dataclass(frozen=True)
class Scale:
    """What a history may hold: how many queues, the grid of its times in microseconds, and how wild it may be."""

    queues: tuple[str, ...] = ("sales",)
    grid: int = 1
    visits: int = 12
    strays: int = 8
    start: int = START
    length: int = LENGTH


def _instants(scale: Scale) -> st.SearchStrategy[int]:
    """Instants of a history: anywhere, or at and just beside the bounds of cells and intervals."""
    last = scale.length // scale.grid
    anywhere = st.integers(0, last).map(lambda n: scale.start + n * scale.grid)
    edges = st.tuples(st.integers(0, scale.length // (5 * MINUTE)), st.sampled_from((-1, 0, 1)))
    return st.one_of(anywhere, edges.map(lambda each: scale.start + each[0] * 5 * MINUTE + each[1] * scale.grid))


def _spans(scale: Scale, most: int) -> st.SearchStrategy[int]:
    """Durations: short ones, long ones, and those at and just beside the threshold and the short-abandon time."""
    grid = scale.grid
    edges = [
        base + beside * grid for base in (0, SHORT, THRESHOLD) for beside in (-1, 0, 1) if base + beside * grid >= 0
    ]
    return st.one_of(
        st.integers(0, 40 * SECOND // grid).map(lambda n: n * grid),
        st.sampled_from(edges),
        st.integers(0, most // grid).map(lambda n: n * grid),
    )


@st.composite
def visits(draw: st.DrawFn, scale: Scale, number: int) -> list[dict[str, Any]]:
    """The events of one plausible visit."""
    name, queue = f"c-{number}", draw(st.sampled_from(scale.queues))
    at = draw(_instants(scale))
    chance = draw(st.randoms(use_true_random=False))
    fate = draw(st.sampled_from(FATES))
    left = at + draw(_spans(scale, HOUR))
    talk, wrap = draw(_spans(scale, HOUR)), draw(_spans(scale, 20 * MINUTE))
    return _visit(chance, name, queue, at, fate, left, talk, wrap, scale.grid)


def _visit(
    chance: random.Random, name: str, queue: str, at: int, fate: str, left: int, talk: int, wrap: int, grid: int
) -> list[dict[str, Any]]:
    source = chance.choice(SOURCES)
    common: dict[str, Any] = {"queue": queue, "source": source}
    if chance.random() < 0.15:
        common["visit"] = 2
    if chance.random() < 0.1:
        common["note"] = chance.choice(["x", {"deep": [1, None]}, 7])
    entry: dict[str, Any] = {"channel": chance.choice(CHANNELS)}
    if chance.random() < 0.3:
        entry["priority"] = chance.choice((0, 1, 5))
    if chance.random() < 0.2:
        entry["skills"] = chance.choice((["german"], ["german", "claims"], []))
    if chance.random() < 0.3:
        entry["via"] = chance.choice(("direct", "transfer", "overflow", "callback", "requeue", "api"))
    if chance.random() < 0.2:
        entry["entered"] = iso(at - chance.choice((0, grid, 15 * SECOND, THRESHOLD, MINUTE)))
    if entry["channel"] == "callback" or chance.random() < 0.05:
        entry["due"] = iso(at + chance.choice((-MINUTE, 0, grid, 10 * SECOND, 5 * MINUTE)))
    told = [] if fate in ("orphan", "refused") else [call("queued", at, name, **common, **entry)]
    if chance.random() < 0.3:
        told += [call("ringing", at, name, **common)] * chance.choice((1, 2))
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        reason = chance.choice(("no_answer", "rejected", "busy"))
        told.append(call("declined", at + chance.choice((0, grid, 3 * SECOND)), name, reason=reason, **common))
    if fate == "refused":
        told.append(call("refused", at, name, reason=chance.choice(("closed", "full", "other")), **common))
    if fate in ("abandoned", "evicted", "diverted"):
        own = dict(common)
        if fate == "diverted":
            own["reason"] = chance.choice(DIVERTED)
        if fate == "evicted":
            own.pop("source")
            own["reason"] = chance.choice(("too_long", "overtaken", "absent"))
        told.append(call(fate, left, name, **own))
    if fate in ("answered", "orphan"):
        told.append(call("answered", left, name, **common))
        ended = left + talk
        for _ in range(chance.choice((0, 0, 1, 2))):
            held = left + talk * chance.randrange(5) // 4 // grid * grid
            told.append(call("held", held, name, **common))
            if chance.random() < 0.8:
                told.append(call("resumed", held + chance.choice((0, grid, 8 * SECOND)), name, **common))
        if chance.random() < 0.8:
            told.append(call("ended", ended, name, **common))
            if chance.random() < 0.7:
                told.append(call("wrapped", ended + wrap, name, **common))
    return told


@st.composite
def strays(draw: st.DrawFn, scale: Scale) -> dict[str, Any]:
    """Any fact of any visit, at any time or at the very time of a visit's usual facts."""
    kind = draw(st.sampled_from(KINDS))
    at = draw(_instants(scale))
    chance = draw(st.randoms(use_true_random=False))
    return _stray(chance, kind, at, scale)


def _stray(chance: random.Random, kind: str, at: int, scale: Scale) -> dict[str, Any]:
    data: dict[str, Any] = {"queue": chance.choice(scale.queues), "source": chance.choice(SOURCES)}
    if kind == "queued":
        data["channel"] = chance.choice(CHANNELS)
        data["priority"] = chance.choice((0, 1, 10, 9))
        if chance.random() < 0.4:
            data["entered"] = iso(at - chance.choice((0, 10 * SECOND, 20 * MINUTE)))
        if chance.random() < 0.2:
            data["due"] = iso(at + chance.choice((0, MINUTE)))
    if kind == "diverted":
        data["reason"] = chance.choice(DIVERTED)
    if kind == "evicted":
        del data["source"]
        data["reason"] = chance.choice(("too_long", "overtaken", "absent"))
    if kind in ("refused", "declined"):
        data["reason"] = chance.choice(("closed", "full") if kind == "refused" else ("busy", "no_answer"))
    if chance.random() < 0.15:
        data["visit"] = chance.choice((1, 2))
    return call(kind, at, f"c-{chance.randrange(max(1, scale.visits))}", **data)


@st.composite
def histories(draw: st.DrawFn, scale: Scale = Scale()) -> list[dict[str, Any]]:
    """The events of some queues, ordered by time."""
    events: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, scale.visits))):
        events += draw(visits(scale, number))
    events += draw(st.lists(strays(scale), max_size=scale.strays))
    for tied in draw(st.lists(st.sampled_from(events), max_size=3)) if events else []:
        events.append(_tied(tied, draw(st.integers(0, 3))))
    return sorted(events, key=lambda event: micros(event["time"]))


def _tied(event: dict[str, Any], variant: int) -> dict[str, Any]:
    """Another event of the same kind and time with other data; canonical JSON decides which of the two holds."""
    data = dict(event["data"])
    kind = event["type"].split(".")[2]
    if kind == "queued":
        data |= ({"priority": 9}, {"priority": 10}, {"channel": "chat"}, {"entered": event["time"], "note": "é"})[
            variant
        ]
    elif kind == "diverted":
        data["reason"] = DIVERTED[variant]
    else:
        data["note"] = variant
    return event | {"data": data, "id": f"{event['id']}-{variant}"}


def shuffled(events: Sequence[dict[str, Any]], seed: int, repeats: float = 0.3) -> list[dict[str, Any]]:
    """The same events in another order, some of them more than once."""
    chance = random.Random(seed)
    again = [event for event in events if chance.random() < repeats]
    mixed = [*events, *again]
    chance.shuffle(mixed)
    return mixed


def seeded(seed: int, visits: int, scale: Scale) -> list[dict[str, Any]]:
    """A long history from a seed, for tests that want many visits rather than small examples."""
    chance = random.Random(seed)
    grid = scale.grid
    events: list[dict[str, Any]] = []
    for number in range(visits):
        at = scale.start + chance.randrange(scale.length // grid) * grid

        def span(most: int) -> int:
            return (
                chance.choice(
                    (chance.randrange(40 * SECOND // grid), THRESHOLD // grid, chance.randrange(most // grid))
                )
                * grid
            )

        events += _visit(
            chance, f"c-{number}", chance.choice(scale.queues), at, chance.choice(FATES), at + span(HOUR), span(HOUR),
            span(20 * MINUTE), grid,
        )  # fmt: skip
    for _ in range(visits // 5):
        at = scale.start + chance.randrange(scale.length // grid) * grid
        events.append(_stray(chance, chance.choice(KINDS), at, Scale(scale.queues, grid, visits)))
    return sorted(events, key=lambda event: micros(event["time"]))
