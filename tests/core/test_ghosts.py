"""Which callers are given up as ghosts, and that giving up is an event whose facts alone decide its time and id."""

from __future__ import annotations

from typing import Any

import pytest

from queuewatch_streams.core.ghosts import Eviction
from queuewatch_streams.core.partition import Clock, Partition
from support.events import HOUR, MINUTE, OWN_SOURCE, SECOND, call, heartbeat, line, listing, micros, record
from support.histories import START
from support.running import configuration, partition

Step = dict[str, Any]


def after(*steps: Step, clock: Clock = Clock.LIVE, **defaults: Any) -> Partition:
    """A partition that folded these events when they happened."""
    made = partition(configuration(**defaults), clock)
    ordered = sorted(steps, key=lambda each: micros(each["time"]))
    assert made.fold([record(n, each) for n, each in enumerate(ordered)]).refused == []
    return made


def proposed(made: Partition, now: int) -> list[tuple[str, str, int]]:
    """(call, reason, time since START) of each proposal."""
    return [(str(each.key), each.reason, each.at - START) for each in made.evictions(now)]


def alive(until: int, source: str = "urn:test:1") -> list[Step]:
    """Heartbeats every half minute around an instant."""
    return [heartbeat(at, source=source) for at in (START, until - 30 * SECOND, until)]


def test_a_caller_who_waits_beyond_the_maximum_is_given_up_at_that_very_time() -> None:
    """Four hours after he was queued, whenever it is noticed."""
    now = START + 4 * HOUR + 17 * MINUTE
    made = after(call("queued", START), *alive(now))
    assert proposed(made, START + 4 * HOUR - 1) == []
    assert proposed(made, now) == [("c-1", "too_long", 4 * HOUR)]


def test_a_callback_waits_only_from_its_due_time() -> None:
    """Asked for in the morning, due at noon: given up four hours after noon."""
    made = after(call("queued", START, channel="callback", due="2026-03-02T12:00:00Z"), *alive(START + 8 * HOUR))
    assert proposed(made, START + 7 * HOUR) == []
    assert proposed(made, START + 8 * HOUR) == [("c-1", "too_long", 8 * HOUR)]


@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        ([], False),
        ([heartbeat(START + 5 * HOUR)], True),
        ([heartbeat(START + 5 * HOUR, upstream="down")], False),
        ([heartbeat(START + 5 * HOUR, upstream="unknown")], False),
        ([heartbeat(START + 5 * HOUR - 91 * SECOND)], False),
        ([heartbeat(START + 5 * HOUR, source="urn:test:2")], False),
    ],
    ids=("silent", "alive", "down", "unknown", "three beats missed", "another is alive"),
)
def test_nobody_is_given_up_while_his_source_is_not_alive(beats: list[Step], expected: bool) -> None:
    """A source that is silent or says that its upstream is down may simply not have told of the end."""
    made = after(call("queued", START), *beats)
    assert bool(proposed(made, START + 5 * HOUR)) == expected


def test_absence_from_two_lists_in_a_row_gives_a_caller_up_at_the_second() -> None:
    """Both made after he was queued, both of his own source, and neither shows him."""
    one, two = listing(START + MINUTE, {}), listing(START + 2 * MINUTE, {"c-2": START})
    assert proposed(after(call("queued", START), one), START + MINUTE) == []
    assert proposed(after(call("queued", START), one, two), START + 3 * MINUTE) == [("c-1", "absent", 2 * MINUTE)]


@pytest.mark.parametrize(
    "lists",
    [
        [listing(START + MINUTE, {}), listing(START + 2 * MINUTE, {"c-1": START})],
        [listing(START + MINUTE, {"c-1": START}), listing(START + 2 * MINUTE, {})],
        [listing(START - 2 * MINUTE, {}), listing(START - MINUTE, {})],
        [listing(START - MINUTE, {}), listing(START + MINUTE, {})],
        [listing(START + MINUTE, {}), listing(START + MINUTE, {})],
        [listing(START + n * MINUTE, {}, source="urn:test:2") for n in (1, 2)],
        [listing(START + n * MINUTE, {}, queue="claims") for n in (1, 2)],
    ],
    ids=(
        "shown last",
        "shown first",
        "both before",
        "one before",
        "the same list twice",
        "another source",
        "another queue",
    ),
)
def test_a_caller_is_not_absent_unless_two_lists_of_his_own_say_so(lists: list[Step]) -> None:
    """Anything less is no proof."""
    assert proposed(after(call("queued", START), *lists), START + 3 * MINUTE) == []


def test_whom_the_newest_list_shows_is_never_given_up() -> None:
    """He has waited for five hours and been overtaken, but his source still sees him."""
    now = START + 5 * HOUR
    passed = [call(kind, now - MINUTE + at, "c-2") for at, kind in enumerate(("queued", "answered"))]
    made = after(call("queued", START), *passed, listing(now, {"c-1": START}), *alive(now), overtaken_by=1)
    assert proposed(made, now) == []


def overtakers(number: int, **entry: Any) -> list[Step]:
    """So many later callers who were answered a minute apart."""
    told = []
    for n in range(1, number + 1):
        told += [call("queued", START + n * SECOND, f"o-{n}", **entry), call("answered", START + n * MINUTE, f"o-{n}")]
    return told


def test_overtaking_is_off_unless_it_is_asked_for() -> None:
    """Not every queue is first come, first served."""
    assert proposed(after(call("queued", START), *overtakers(9)), START + 10 * MINUTE) == []


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        ({}, {}, [("c-1", "overtaken", 3 * MINUTE)]),
        ({}, {"channel": "chat"}, []),
        ({}, {"skills": ["german"]}, []),
        ({"skills": ["german", "claims"]}, {"skills": ["claims", "german"]}, [("c-1", "overtaken", 3 * MINUTE)]),
        ({}, {"priority": 1}, []),
        ({"priority": 5}, {"priority": 5}, [("c-1", "overtaken", 3 * MINUTE)]),
        ({"priority": 5}, {"priority": 1}, [("c-1", "overtaken", 3 * MINUTE)]),
    ],
)
def test_only_later_callers_of_the_same_kind_overtake(
    own: dict[str, Any], others: dict[str, Any], expected: list[tuple[str, str, int]]
) -> None:
    """Same channel, same skills, no higher priority; given up when the third of them was answered."""
    made = after(call("queued", START, **own), *overtakers(4, **others), overtaken_by=3)
    assert proposed(made, START + 5 * MINUTE) == expected


def test_earlier_callers_overtake_nobody() -> None:
    """They were there first."""
    made = after(call("queued", START + 30 * SECOND), *overtakers(9), overtaken_by=1)
    assert proposed(made, START + 10 * MINUTE) == []


def test_the_event_is_a_function_of_the_visit_and_its_facts() -> None:
    """Whoever proposes it, whenever: the same id and time; another stay has another id."""
    one = Eviction("sales", "c-1", START + 4 * HOUR, "too_long")
    assert one.event(OWN_SOURCE) == Eviction("sales", "c-1", START + 4 * HOUR, "too_long").event(OWN_SOURCE)
    assert one.event(OWN_SOURCE)["time"] == "2026-03-02T12:00:00.000000Z"
    others = [
        Eviction("sales", ("c-1", 2), 0, "absent"),
        Eviction("claims", "c-1", 0, "absent"),
        Eviction("sales", "c-2", 0, "absent"),
    ]
    assert len({each.event(OWN_SOURCE)["id"] for each in (one, *others)}) == 4


@pytest.mark.parametrize("visit", [1, 2])
def test_the_proposed_event_folded_back_gives_the_visit_up(visit: int) -> None:
    """Written to the log and read again, hours later or not, it evicts; then nothing more is proposed."""
    now = START + 5 * HOUR
    made = after(call("queued", START, visit=visit), *alive(now))
    (eviction,) = made.evictions(now)
    event = eviction.event(made.configuration.own_source)
    assert made.fold([record(99, line(event), now + MINUTE)]).refused == []
    channel = made.queues["sales"].channels["voice"]
    assert channel.open == {}
    assert channel.totals["evicted:too_long"] == 1
    assert list(made.evictions(now + 2 * MINUTE)) == []


def test_a_history_proposes_by_its_own_time() -> None:
    """In a history now is the newest event's time; the rules are the same."""
    made = after(call("queued", START), call("queued", START + 5 * HOUR, "c-2"), clock=Clock.EVENTS)
    assert proposed(made, made.log_time) == [("c-1", "too_long", 4 * HOUR)]
