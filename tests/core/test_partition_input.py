"""What a partition refuses, why, and that it goes on; where a record belongs that lies on the wrong partition."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import pytest

from queuewatch_schemas.config import Timing
from queuewatch_schemas.events import Reason
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.core.partition import REKEYED_HEADER, Clock, Partition, Record
from support.events import HOUR, MINUTE, SECOND, call, cloud_event, heartbeat, iso, line, listing, micros, record
from support.histories import START, Scale, seeded
from support.running import configuration, partition

GOOD = call("queued", START)


def changed(**fields: Any) -> dict[str, Any]:
    """A good event with other top-level fields; None takes one away."""
    return {key: value for key, value in (GOOD | fields).items() if value is not None}


def with_data(**fields: Any) -> dict[str, Any]:
    """A good event with other data; None takes a field away."""
    return GOOD | {"data": {key: value for key, value in (GOOD["data"] | fields).items() if value is not None}}


BAD: list[tuple[str, Reason, bytes | dict[str, Any] | None]] = [
    ("a null value", Reason.NO_VALUE, None),
    ("an empty value", Reason.UNREADABLE_JSON, b""),
    ("truncated JSON", Reason.UNREADABLE_JSON, line(GOOD)[:-20]),
    ("text after the JSON", Reason.UNREADABLE_JSON, line(GOOD) + b"}"),
    ("deep nesting", Reason.UNREADABLE_JSON, b"[" * 100_000),
    ("a lone surrogate", Reason.UNREADABLE_JSON, line(GOOD).replace(b'"sales"', b'"\\ud800"')),
    ("Latin-1 instead of UTF-8", Reason.NOT_UTF8, line(GOOD).replace(b"sales", b"caf\xe9")),
    ("10 MB", Reason.TOO_LARGE, line(with_data(note="x" * 10_000_000))),
    ("a JSON array", Reason.WRONG_FIELD, b"[]"),
    ("a JSON number", Reason.WRONG_FIELD, b"7"),
    ("JSON null", Reason.WRONG_FIELD, b"null"),
    ("no type", Reason.MISSING_FIELD, changed(type=None)),
    ("an unknown type", Reason.UNKNOWN_TYPE, changed(type="queuewatch.call.teleported.v1")),
    ("a newer version of a type", Reason.UNKNOWN_TYPE, changed(type="queuewatch.call.queued.v2")),
    ("a type that is a number", Reason.UNKNOWN_TYPE, changed(type=5)),
    ("no id", Reason.MISSING_FIELD, changed(id=None)),
    ("no subject", Reason.MISSING_FIELD, changed(subject=None)),
    ("no data", Reason.MISSING_FIELD, changed(data=None)),
    ("no queue", Reason.MISSING_FIELD, with_data(queue=None)),
    ("data that is text", Reason.WRONG_FIELD, changed(data="sales")),
    ("a queue that is a number", Reason.WRONG_FIELD, with_data(queue=5)),
    ("a priority that is text", Reason.WRONG_FIELD, with_data(priority="high")),
    ("visit 0", Reason.WRONG_FIELD, with_data(visit=0)),
    ("a time without offset", Reason.WRONG_FIELD, changed(time="2026-03-02T08:00:00")),
    ("a time that is none", Reason.WRONG_FIELD, changed(time="2026-02-30T08:00:00Z")),
    ("a time that is a number", Reason.WRONG_FIELD, changed(time=1772438400)),
    ("the year 0", Reason.WRONG_FIELD, changed(time="0000-01-01T00:00:00Z")),
    ("an unknown reason", Reason.WRONG_FIELD, call("diverted", START, reason="magic")),
    (
        "an incomplete list",
        Reason.WRONG_FIELD,
        cloud_event("queue.snapshot", START, "sales", {"complete": False, "waiting": []}),
    ),
    ("an empty queue name", Reason.BAD_QUEUE_NAME, with_data(queue="")),
    ("a queue name with blanks", Reason.BAD_QUEUE_NAME, with_data(queue=" sales")),
    ("a queue name with a line break", Reason.BAD_QUEUE_NAME, with_data(queue="sa\nles")),
    ("a queue name of 201 bytes", Reason.BAD_QUEUE_NAME, with_data(queue="é" * 100 + "x")),
    ("a queue name that is not composed", Reason.BAD_QUEUE_NAME, with_data(queue="cafe\u0301")),
    ("an hour ahead", Reason.AHEAD, changed(time=iso(START + HOUR))),
    ("an hour late", Reason.LATE, changed(time=iso(START - HOUR))),
    ("the year 2999", Reason.AHEAD, changed(time="2999-12-31T23:59:59-23:59")),
    ("the year 1900", Reason.LATE, changed(time="1900-01-01T00:00:00+23:59")),
    ("the year 9999", Reason.WRONG_FIELD, changed(time="9999-12-31T23:59:59-23:59")),
    ("the year 1", Reason.WRONG_FIELD, changed(time="0001-01-01T00:00:00+23:59")),
    ("another's eviction", Reason.FOREIGN_EVICTION, call("evicted", START, source="urn:pbx:1")),
    (
        "an agent's state",
        Reason.WRONG_TOPIC,
        cloud_event("agent.state", START, "a-1", {"state": "available", "queues": []}),
    ),
]


@pytest.mark.parametrize(("reason", "value"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_bad_input_is_refused_with_its_reason_and_the_fold_goes_on(
    reason: Reason, value: bytes | dict[str, Any] | None
) -> None:
    """The record comes back with a reason and a sentence, is counted, and what follows is folded."""
    made = partition()
    asked = made.fold([record(0, value, START), record(1, GOOD, START)])
    assert [(each.record.offset, each.reason) for each in asked.refused] == [(0, reason)]
    assert asked.refused[0].detail
    assert len(asked.refused[0].detail) < 1000
    assert made.counts["rejected", reason.value] == 1
    assert made.counts["events", GOOD["type"]] == 1
    assert len(made.queues["sales"].channels["voice"].open) == 1
    assert made.next_offset == 2


def test_a_record_without_key_is_refused() -> None:
    """The key is the queue; a record without one lies anywhere."""
    asked = partition().fold([record(0, GOOD, START, key=None)])
    assert [each.reason for each in asked.refused] == [Reason.NO_KEY]


@pytest.mark.parametrize("name", ["продажи", "a" * 200, 'quo"te', "back\\slash", "sales/emea", "0", "☎ support", "a b"])
def test_odd_but_proper_queue_names_are_counted(name: str) -> None:
    """Any composed, trimmed text of up to 200 bytes names a queue, and survives a checkpoint."""
    made = partition()
    assert made.fold([record(0, call("queued", START, queue=name))]).refused == []
    value = made.encode_queue(name)
    assert value is not None
    again = Partition.restored(0, made.configuration, [value, made.encode_self()], partitions=1)
    assert list(again.queues) == [name]


@pytest.mark.parametrize(
    "event",
    [
        with_data(priority=10**30),
        with_data(note=10**40, deep={"more": [-(10**25), 1.5]}),
        call("diverted", START, reason="timeout", note=10**30),
        call("declined", START, reason="busy", note=10**30),
        heartbeat(START, interval_s=1e308),
        heartbeat(START, interval_s=10**40),
        with_data(entered="1900-01-01T00:00:00+23:59"),
        with_data(due="2999-12-31T23:59:59-23:59"),
        with_data(note=[[[[]]]] * 50),
    ],
    ids=("priority", "note", "diverted", "declined", "interval of inf", "interval", "entered", "due", "nested"),
)
def test_extreme_but_proper_values_are_counted_or_refused_and_can_be_written(event: dict[str, Any]) -> None:
    """Numbers beyond 64 bits and times at the ends of the calendar break neither fold, figures, intervals nor records."""
    made = partition()
    asked = made.fold(
        [record(0, event, START), record(1, call("answered", START), START), record(2, heartbeat(START + HOUR))]
    )
    assert sum(made.counts.get(("events", name), 0) for name in {event["type"]}) + len(asked.refused) >= 1
    made.advance()
    values = [value for name in list(made.queues) if (value := made.encode_queue(name)) is not None]
    again = Partition.restored(0, made.configuration, [*values, made.encode_self()], partitions=1)
    assert set(again.queues) == set(made.queues)


@pytest.mark.parametrize(
    "value", [b"", b"x", b"9" * 5000, b"-1", b"\xff", None], ids=("empty", "x", "5000 digits", "-1", "no text", "null")
)
def test_a_broken_header_of_a_copy_is_passed_over(value: Any) -> None:
    """The original timestamp in a copy's header may be rubbish: the record's own timestamp counts then."""
    made = partition()
    assert made.fold([record(0, GOOD, START, headers=((REKEYED_HEADER, value),))]).refused == []


def test_queues_beyond_the_maximum_are_refused_in_log_order() -> None:
    """The first two come in; events of the third are refused, those of the first two are not."""
    made = partition(configuration(timing=Timing(maximum_queues_per_partition=2)))
    names = ("one", "two", "three", "one", "three")
    asked = made.fold([record(n, call("queued", START, f"c-{n}", queue=name)) for n, name in enumerate(names)])
    assert [each.record.offset for each in asked.refused] == [2, 4]
    assert {each.reason for each in asked.refused} == {Reason.TOO_MANY_QUEUES}
    assert list(made.queues) == ["one", "two"]


def test_a_history_judges_no_times() -> None:
    """In a history nothing is late or ahead, and foreign evictions are believed."""
    made = partition(clock=Clock.EVENTS)
    events = [
        call("queued", START),
        call("queued", START - 30 * HOUR, "c-2"),
        call("evicted", START, source="urn:old:1"),
    ]
    assert made.fold([record(n, each, START + 90 * HOUR) for n, each in enumerate(events)]).refused == []


def test_folding_again_what_was_folded_is_passed_over() -> None:
    """Offsets before the next one are known: nothing is counted twice."""
    made = partition()
    made.fold([record(0, GOOD), record(1, b"{", START)])
    assert made.fold([record(0, GOOD), record(1, b"{", START)]).refused == []
    assert made.counts["events", GOOD["type"]] == 1


# ------------------------------------------------------------------------------------------------------------ re-keying


def wrong_queue(number: int, partitions: int) -> str:
    """A queue that does not lie on this partition."""
    return next(
        name for name in map("queue-{}".format, range(100)) if partition_for(name.encode(), partitions) != number
    )


@pytest.mark.parametrize(
    "event",
    [
        call("queued", START, queue=wrong_queue(0, 4)),
        cloud_event("queue.opened", START, wrong_queue(0, 4), {}),
        listing(START, {}, wrong_queue(0, 4)),
        cloud_event("survey.answered", START, "c-1", {"queue": wrong_queue(0, 4), "question": "nps", "score": 9}),
    ],
    ids=lambda event: event["type"],
)
def test_an_event_on_the_wrong_partition_is_handed_back_once(event: dict[str, Any]) -> None:
    """It is not counted as an event here, only as re-keyed; a copy that still lies wrong is refused."""
    made = Partition(0, configuration(), partitions=4)
    stray = record(0, event)
    asked = made.fold([stray])
    assert (asked.misplaced, asked.refused, made.queues) == ([(stray, wrong_queue(0, 4))], [], {})
    assert made.counts == {("rekeyed",): 1}
    copy = stray._replace(offset=1, headers=((REKEYED_HEADER, str(stray.timestamp).encode()),))
    asked = made.fold([copy])
    assert asked.misplaced == []
    assert [each.reason for each in asked.refused] == [Reason.MISPLACED]
    assert made.counts["rekeyed",] == 1


def test_heartbeats_are_never_rekeyed() -> None:
    """They go to every partition on purpose."""
    made = Partition(0, configuration(), partitions=4)
    asked = made.fold([record(0, heartbeat(START), key=wrong_queue(0, 4).encode())])
    assert (asked.misplaced, asked.refused) == ([], [])


def test_a_copy_is_judged_by_its_first_records_timestamp() -> None:
    """Published again two hours later, it is neither late for that, nor saved by it."""
    headers = ((REKEYED_HEADER, str(START // 1000).encode()),)
    punctual = record(0, call("queued", START), START + 2 * HOUR, headers=headers)
    late = record(1, call("queued", START - HOUR, "c-2"), START - HOUR, headers=headers)
    asked = partition().fold([punctual, late])
    assert [(each.record.offset, each.reason) for each in asked.refused] == [(1, Reason.LATE)]


# ----------------------------------------------------------------------------------------------------------------- fuzz


def mutated(value: bytes, chance: random.Random) -> bytes | None:
    """The bytes of an event with some of them changed, lost, doubled or moved, or its structure changed."""
    if chance.random() < 0.7:
        return line(twisted(json.loads(value), chance))
    raw = bytearray(value)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(raw) + 1)
        how = chance.randrange(5)
        if how == 0 and raw:
            raw[min(at, len(raw) - 1)] = chance.randrange(256)
        elif how == 1:
            del raw[at : at + chance.randrange(1, 40)]
        elif how == 2:
            raw[at:at] = chance.choice(
                (b"\x00", b"\xff", b"{", b"]", b'"', b"\\u0000", b"9" * 30, b"e999", b"null", b"-")
            )
        elif how == 3:
            raw[at:at] = raw[at : at + chance.randrange(60)]
        else:
            del raw[at:]
    return bytes(raw) if chance.random() < 0.999 else None


STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, -(10**20), "", " ", "x" * 300, "\u0000", "é", [], {}, [None], {"a": {}}, "voice", "9" * 400,
    "2026-03-02T08:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-03-02T24:00:00Z", float("nan"),
    float("inf"), "٢٠٢٦-03-02T08:00:00Z", 1 << 63, (1 << 63) - 1, "queuewatch.call.queued.v1", "urn:queuewatch:queuewatch",
)  # fmt: skip


def twisted(event: Any, chance: random.Random) -> Any:
    """The event with a field lost, renamed, or of another value, here or deeper."""
    where = event
    while isinstance(where, dict) and where:
        key = chance.choice(list(where))
        if isinstance(where[key], dict | list) and where[key] and chance.random() < 0.6:
            where = where[key]
            if isinstance(where, list):
                where[chance.randrange(len(where))] = deepcopy(chance.choice(STRANGE))
                break
            continue
        how = chance.randrange(10)
        if how == 0:
            del where[key]
        elif how == 1:
            where[key + "x"] = where.pop(key)
        elif how < 4:
            where[key] = deepcopy(chance.choice(STRANGE))
        else:
            extra = ("note", "priority", "entered", "due", "via", "visit", "skills", "channel", "customer")
            data = event.get("data")
            (data if isinstance(data, dict) else where)[chance.choice(extra)] = deepcopy(chance.choice(STRANGE))
        if chance.random() < 0.7:
            break
        where = event
    return event


@pytest.mark.parametrize("clock", list(Clock))
def test_a_hundred_thousand_mutated_events_raise_nothing(clock: Clock) -> None:
    """Every record is counted, refused with a reason, or handed back; state can still be told, written and read."""
    chance = random.Random(20260302)
    made = Partition(0, configuration(timing=Timing(maximum_queues_per_partition=50)), partitions=2, clock=clock)
    name = next(name for name in map("q{}".format, range(9)) if partition_for(name.encode(), 2) == 0)
    events = seeded(1, 150, Scale(queues=(name,) * 7 + (wrong_queue(0, 2),), visits=150))
    events += [heartbeat(START), listing(START + MINUTE, {"c-1": START, "c-2": START}, name)]
    events.append(cloud_event("queue.opened", START, name, {"reason": "morning"}))
    events.append(cloud_event("survey.answered", START, "c-1", {"queue": name, "question": "nps", "score": 9}))
    told_at = [(micros(each["time"]), line(each)) for each in events]
    total, refused, misplaced, told = 55_000, 0, 0, set()
    for begin in range(0, total, 1000):
        batch = []
        for offset in range(begin, begin + 1000):
            at, value = chance.choice(told_at)
            stamp = at + chance.choice((0, 0, SECOND, MINUTE, HOUR))
            headers = () if chance.random() < 0.98 else ((REKEYED_HEADER, chance.choice((b"1", b"x", b"", b"9" * 30))),)
            key = None if chance.random() < 0.001 else b"k"
            batch.append(Record(offset, stamp // 1000, key, mutated(value, chance), headers))
        asked = made.fold(batch)
        refused += len(asked.refused)
        misplaced += len(asked.misplaced)
        told |= {each.reason for each in asked.refused}
        if clock is Clock.LIVE and begin % 5000 == 0:
            made.advance()
    counted = sum(amount for key, amount in made.counts.items() if key[0] == "events")
    assert counted + refused + misplaced == total
    assert sum(amount for key, amount in made.counts.items() if key[0] == "rejected") == refused
    assert len(told) >= 7
    assert counted >= total // 10
    written = [encoded for each in list(made.queues) if (encoded := made.encode_queue(each)) is not None]
    again = Partition.restored(0, made.configuration, [*written, made.encode_self()], partitions=2, clock=clock)
    assert set(again.queues) == set(made.queues)
