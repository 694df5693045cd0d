"""Calls told anew with each record: whatever the order, the repetition and the moment of a restart, the same comes of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.source_settings import Http
from queuewatch_schemas.times import instant
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.stories import MOST_RECORDS, Fact, Record, Said, Stories
from support.sources import ALL, assert_sound, events

KEEP = 1000
DAY = 24 * 3_600_000_000
SWEEP = 10_000_001
"""After so long it is looked which calls are over."""


def tell(records: Sequence[Record], said: Said) -> Iterator[Fact]:
    """A made-up vendor: `in` a queue, `took` by an agent, `end` of that talk, `out` without one, `no` of an agent."""
    stays: list[tuple[Record, dict[str, Record], list[Record]]] = []
    for record in records:
        if record.kind == "bad":
            raise Unreadable("unreadable", "it is bad")
        if record.kind == "in":
            stays.append((record, {}, []))
        elif stays and record.kind == "no":
            stays[-1][2].append(record)
        elif stays and (record.kind == "end") == ("took" in stays[-1][1]) and "out" not in stays[-1][1]:
            stays[-1][1].setdefault(record.kind, record)  # whoever comes first, he or the agent

    def fact(stay: Record, kind: str, at: int, sure: int = 0, which: str = "", **data: Any) -> Fact:
        return Fact(stay.identity, stay.fields["call"], stay.fields["queue"], kind, at, data, which, sure)

    for stay, about, noes in stays:
        yield fact(stay, "queued", stay.at)
        for no in noes:
            yield fact(stay, "declined", no.at, no.at + 1, no.identity, agent="anna", reason="busy")
        if (took := about.get("took")) is not None:
            yield fact(stay, "answered", took.at, took.at + 1, agent="anna")
            if (end := about.get("end")) is not None:
                yield fact(stay, "ended", end.at, end.at + 1, agent="anna")
        elif (out := about.get("out")) is not None:
            yield fact(stay, "abandoned", out.at, out.at + 1)


def make(memory: Any = None, **more: Any) -> Stories:
    settings = Http.model_validate({"kind": "http", "tokens_file": "t", "ignore": {"queues": ["test"]}})
    stories = Stories(Composer("s", settings), tell, KEEP, **more)
    if memory is not None:
        stories.recall(orjson.loads(orjson.dumps(memory)))
    return stories


def record(at: int, kind: str, identity: str = "", queue: str = "q", call: str = "c") -> Record:
    return Record(at, 0, identity or f"{kind}{at}", kind, {"queue": queue, "call": call} if kind == "in" else {})


def kinds(out: Out) -> list[tuple[str, int]]:
    """What was said, as (kind, time), and nothing of it any more."""
    found = [(each["type"].split(".")[2], instant(each["time"])) for each in events(out)]
    out.messages.clear()
    return found


def visits(out: Out) -> list[tuple[str, str, tuple[tuple[str, int], ...]]]:
    """Each visit as what the core would know of it, whatever its number: of one kind the earliest time."""
    found: dict[tuple[str, str, int], dict[str, int]] = {}
    for each in events(out):
        visit = found.setdefault((each["subject"], each["data"]["queue"], each["data"].get("visit", 1)), {})
        kind, at = each["type"], instant(each["time"])
        visit[kind] = min(at, visit.get(kind, at))
    return sorted((call, queue, tuple(sorted(facts.items()))) for (call, queue, _), facts in found.items())


def told(stories: Stories, steps: Iterable[tuple[str, Record] | int]) -> Out:
    """What is said of records, and of times up to which nothing older comes."""
    out = Out()
    for step in steps:
        if isinstance(step, int):
            stories.advance(step, out)
        else:
            stories.add(*step, out)
    return out


RECORDS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 60), st.sampled_from(("in", "in", "took", "end", "out", "no"))),
    max_size=30,
    unique_by=lambda each: each[:2],
)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[tuple[str, Record]], list[tuple[str, Record] | int]]:
    """Calls' records in order; and as they are delivered: out of order, some twice, with what is promised in between."""
    records = [(call, record(at, kind, queue=f"q{at % 2}", call=call)) for call, at, kind in draw(RECORDS)]
    dice = draw(st.randoms(use_true_random=False))
    order = [*records, *(each for each in records if dice.random() < 0.3)]
    dice.shuffle(order)
    steps: list[tuple[str, Record] | int] = []
    for place, each in enumerate(order):
        steps.append(each)
        if dice.random() < 0.3:
            to_come = [later.at for _, later in order[place + 1 :]]
            steps.append(min(to_come, default=100))
    return sorted(records, key=lambda each: each[1][:3]), [*steps, ALL]


@given(deliveries())
def test_order_and_repetition_change_nothing(
    given: tuple[list[tuple[str, Record]], list[tuple[str, Record] | int]],
) -> None:
    in_order, delivered = given
    out = told(make(), delivered)
    assert not out.refused
    assert_sound(out.messages)
    assert visits(out) == visits(told(make(), [*in_order, ALL]))


@given(deliveries(), st.integers(0, 60))
def test_a_memory_may_be_saved_anywhere(
    given: tuple[list[tuple[str, Record]], list[tuple[str, Record] | int]], cut: int
) -> None:
    _, delivered = given
    whole = told(make(), delivered)
    first = make()
    before = told(first, delivered[:cut])
    second = make(first.memory())
    assert second.open_calls == first.open_calls
    assert before.messages + told(second, delivered[cut:]).messages == whole.messages


@given(deliveries())
def test_what_was_said_in_time_is_not_taken_back_by_what_comes_later(
    given: tuple[list[tuple[str, Record]], list[tuple[str, Record] | int]],
) -> None:
    """With all that is promised kept, each fact of a visit is said once (but refusals, of which there are many)."""
    _, delivered = given
    out = told(make(), delivered)
    said = [(each["subject"], each["type"], each["data"]) for each in events(out) if "declined" not in each["type"]]
    assert all(said.count(each) == 1 for each in said)


@given(deliveries(), st.randoms(use_true_random=False))
def test_records_that_come_together_come_to_what_they_come_to_one_by_one(
    given: tuple[list[tuple[str, Record]], list[tuple[str, Record] | int]], dice: random.Random
) -> None:
    """However a call's records are split into those that come together, once all is told."""
    in_order, delivered = given
    stories, out, together = make(), Out(), dict[str, list[Record]]()

    def hand_in(call: str) -> None:
        known = {each.identity for each in stories.records(call)}
        records = together.pop(call, [])
        new = {each.identity for each in records} - known
        assert stories.add_all(call, records, out) == bool(new)
        assert {each.identity for each in stories.records(call)} == known | new

    for step in delivered:
        if isinstance(step, int):
            for call in list(together):
                hand_in(call)
            stories.advance(step, out)
        else:
            together.setdefault(step[0], []).append(step[1])
            if dice.random() < 0.4:
                hand_in(step[0])
    assert not out.refused
    assert visits(out) == visits(told(make(), [*in_order, ALL]))


def test_of_records_that_come_together_nothing_is_said_without_the_others() -> None:
    apart, out = make(), Out()
    apart.add("c", record(9, "took"), out)
    apart.add("c", record(7, "in"), out)
    apart.add("c", record(5, "in"), out)
    assert kinds(out) == [("queued", 7), ("queued", 5)]
    together, out = make(), Out()
    together.add_all("c", [record(9, "took"), record(7, "in"), record(5, "in"), record(7, "in")], out)
    assert kinds(out) == [("queued", 5), ("queued", 7)]
    assert len(together.records("c")) == 3


def test_records_that_come_together_are_all_left_out_where_one_spoils_their_story() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    with pytest.raises(Unreadable):
        stories.add_all("c", [record(7, "took"), record(6, "bad")], out)
    assert [each.kind for each in stories.records("c")] == ["in"]
    with pytest.raises(Unreadable):
        stories.add_all("d", [record(7, "in"), record(6, "bad")], out)
    assert not stories.add_all("e", [], out)
    assert list(stories.memory()["calls"]) == ["c"]


def test_what_follows_from_an_absence_waits_until_it_is_sure() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    stories.add("c", record(9, "out"), out)
    assert kinds(out) == [("queued", 5)]
    stories.advance(9, out)
    assert kinds(out) == []
    stories.advance(10, out)
    assert kinds(out) == [("abandoned", 9)]
    stories.advance(11, out)
    assert kinds(out) == []


def test_what_comes_meanwhile_turns_it_around() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    stories.add("c", record(9, "out"), out)
    stories.add("c", record(7, "took"), out)
    stories.advance(20, out)
    assert kinds(out) == [("queued", 5), ("answered", 7)]


def test_a_record_that_is_known_is_told_as_known_and_says_nothing() -> None:
    stories, out = make(), Out()
    assert stories.add("c", record(5, "in"), out)
    assert not stories.add("c", record(5, "in"), out)
    assert kinds(out) == [("queued", 5)]
    assert [each.kind for each in stories.records("c")] == ["in"]
    assert stories.records("nobody") == ()


def test_a_record_that_spoils_its_story_is_left_out_and_what_waited_waits_on() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    stories.add("c", record(9, "out"), out)
    with pytest.raises(Unreadable):
        stories.add("c", record(6, "bad"), out)
    with pytest.raises(Unreadable):
        stories.add("d", record(6, "bad"), out)
    assert stories.records("d") == ()
    stories.advance(20, out)
    assert kinds(out) == [("queued", 5), ("abandoned", 9)]


def test_what_cannot_be_said_is_refused_once_and_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    stories.add("c", record(1 << 60, "out"), out)
    stories.add("c", record(6, "no"), out)
    stories.advance(ALL, out)
    assert kinds(out) == [("queued", 5), ("declined", 6)]
    assert [each.reason for each in out.refused] == ["bad_time"]
    stories.add("c", record(7, "no"), out)
    assert len(out.refused) == 1

    def broken(records: Sequence[Record], said: Said) -> Iterator[Fact]:
        raise Unreadable("unreadable", "it cannot be told any more")

    stories.add("d", record(5, "in"), out)
    later = make(stories.memory())
    later.add("e", record(ALL + 5, "in"), out)
    later.add("e", record(ALL + 9, "out"), out)
    monkeypatch.setattr(later, "_tell", broken)
    later.advance(ALL + 20, out)
    assert [each.reason for each in out.refused][-1] == "unreadable"


def test_a_call_twice_in_one_queue_has_two_visits_and_in_another_its_first() -> None:
    out = told(make(), [("c", record(at, "in", queue=queue)) for at, queue in ((5, "q"), (6, "r"), (7, "q"))])
    assert [(each["data"]["queue"], each["data"].get("visit", 1)) for each in events(out)] == [
        ("s/q", 1), ("s/r", 1), ("s/q", 2),
    ]  # fmt: skip


def test_of_an_ignored_queue_nothing_is_said_and_it_is_counted_once() -> None:
    stories = make()
    out = told(stories, [("c", record(5, "in", queue="test")), ("c", record(6, "took")), ALL])
    assert (out.messages, out.ignored, stories.open_calls) == ([], {"queue": 1}, 0)


def test_a_call_is_open_until_its_stays_have_ended_by_what_counts() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    assert stories.open_calls == 1
    stories.add("c", record(9, "out"), out)
    stories.advance(20, out)
    assert stories.open_calls == 0
    stories.add("c", record(7, "took"), out)
    assert stories.open_calls == 1, "who was answered after all talks"
    stories.add("c", record(30, "end"), out)
    stories.advance(40, out)
    assert stories.open_calls == 0


def test_a_call_that_has_ended_is_forgotten_after_a_while_and_an_open_one_after_a_day() -> None:
    stories, out = make(), Out()
    told(stories, [("c", record(5, "in")), ("c", record(9, "out")), ("o", record(5, "in")), KEEP])
    assert len(stories.records("c")) == 2
    stories.advance(SWEEP, out)
    assert stories.records("c") == ()
    assert stories.open_calls == 1
    stories.advance(DAY, out)
    assert len(stories.records("o")) == 1
    stories.advance(DAY + SWEEP, out)
    assert stories.records("o") == ()
    assert stories.open_calls == 0


def test_of_more_calls_than_may_be_the_longest_unheard_of_says_its_last_and_is_forgotten() -> None:
    stories, out = make(most=50), Out()
    for number in range(200):
        stories.add(f"c{number}", record(number, "in"), out)
        stories.add(f"c{number}", record(number, "out"), out)
    assert len(stories.memory()["calls"]) == 50
    assert stories.open_calls == 50
    assert len([kind for kind, _ in kinds(out) if kind == "abandoned"]) == 150
    assert len(stories.records("c150")) == 2
    assert stories.records("c149") == ()


def test_what_waits_to_be_sure_is_bounded_though_nothing_ever_is() -> None:
    stories, out = make(most=50), Out()
    for number in range(5000):
        stories.add(f"c{number % 60}", record(number, "in" if number < 60 else "out", f"r{number}"), out)
    assert len(stories._due) <= 1100


def test_a_call_with_very_many_records_forgets_those_that_pass_and_else_refuses_more() -> None:
    stories, out = make(passing=("no",)), Out()
    stories.add("c", record(0, "in"), out)
    for number in range(1, 5 * MOST_RECORDS):
        stories.advance(number, out)
        stories.add("c", record(number, "no"), out)
    assert len([kind for kind, _ in kinds(out) if kind == "declined"]) >= 5 * MOST_RECORDS - 5
    stories.add("c", record(10_000, "took"), out)
    [[records, told_of, *_]] = stories.memory()["calls"].values()
    assert len(records) <= MOST_RECORDS
    assert len(told_of) <= 3 * MOST_RECORDS
    stories.advance(10_001, out)
    assert kinds(out)[-1] == ("answered", 10_000)
    assert not out.refused

    strict = make()
    for number in range(MOST_RECORDS):
        strict.add("c", record(number, "no"), out)
    with pytest.raises(Unreadable, match="more than"):
        strict.add("c", record(MOST_RECORDS, "no"), out)


def test_a_memory_is_a_copy() -> None:
    stories, out = make(), Out()
    stories.add("c", record(5, "in"), out)
    saved = orjson.dumps(memory := stories.memory())
    told(stories, [("c", record(9, "out")), ("d", record(9, "in")), 100])
    assert orjson.dumps(memory) == saved
