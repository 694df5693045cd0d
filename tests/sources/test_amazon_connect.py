"""What Amazon Connect's records mean: by hand, trap by trap, and whole made-up days.  Seconds count from a fixed moment."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.source_settings import AmazonConnect as Settings
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.amazon_connect.records import TOLD
from queuewatch_streams.sources.amazon_connect.translator import AmazonConnect
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.json_lines import records_of
from queuewatch_streams.sources.shape import Out
from sources.heard import at, of_agents, of_calls
from sources.made_up_connect import (
    INSTANCE,
    NO_TIME,
    Contact,
    Day,
    agent_event,
    exact,
    queue_arn,
    snapshot,
    whole,
)
from support.sources import (
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    events,
    mutated,
    said,
)

CALLS = 40
LATE = 10.0
"""Seconds by which a record may come late in what is made up here, and by which `advance` lags behind."""


def made(memory: Any = None, **more: Any) -> AmazonConnect:
    told = Settings.model_validate({"kind": "amazon-connect", "region": "eu-central-1", "queue_url": "http://q"} | more)
    return AmazonConnect(Composer("c", told), memory, told)


def contact(**more: Any) -> Contact:
    """A contact c1 that is queued for sales at second 5."""
    about: dict[str, Any] = {"name": "c1", "queue": "sales", "queued": 5.0}
    return Contact(**about | more)


def of(*contacts: Contact) -> list[Any]:
    """The events of contacts, in the order in which they happen."""
    dice = random.Random(1)
    told = [each for one in contacts for each in one.events(dice)]
    return [event for _, event in sorted(told, key=lambda each: each[0])]


def told(records: Iterable[Any], **more: Any) -> list[tuple[Any, ...]]:
    return of_calls(said(made(**more), list(records)), "c")


ANSWERED = contact(agent="anna", answered=12.5, ended=60.25, wrapped=70.0)
WAITING = [(5.0, "queued", "c1", "sales", 1)]


# ------------------------------------------------------------------------------------------------- contact events


def test_an_answered_contact_is_told_from_its_events_to_the_millisecond() -> None:
    assert told(of(ANSWERED)) == [
        *WAITING,
        (12.5, "answered", "c1", "sales", 1, "c/anna"),
        (60.25, "ended", "c1", "sales", 1, "c/anna"),
        (70.0, "wrapped", "c1", "sales", 1, "c/anna"),
    ]


def test_who_leaves_before_an_agent_takes_him_is_abandoned_only_when_nobody_can_follow_any_more() -> None:
    translator, out = made(sure_seconds=20), Out()
    for record in of(contact(ended=30.0)):
        translator.translate(record, out)
    translator.advance(at(49.999), out)
    assert of_calls(out, "c") == WAITING
    translator.advance(at(50.0), out)
    assert of_calls(out, "c") == [*WAITING, (30.0, "abandoned", "c1", "sales", 1)]


@pytest.mark.parametrize(
    ("method", "reason", "via"),
    [
        ("CALLBACK", "callback", "callback"),
        ("QUEUE_TRANSFER", "overflow", "overflow"),
        ("TRANSFER", "transfer", "transfer"),
    ],
)
def test_who_goes_on_as_another_contact_is_diverted_in_any_order_of_events(method: str, reason: str, via: str) -> None:
    first = contact(ended=30.0)
    second = Contact("c2", method, first="c1", before="c1", begun=29.5, queue="support", queued=31.0)
    records = of(first, second)
    for seed in range(10):
        random.Random(seed).shuffle(records)
        assert set(told(records)) == {
            *WAITING,
            (30.0, "diverted", "c1", "sales", 1, reason),
            (31.0, "queued", "c2", "support", 1, via),
        }


def test_a_queued_visit_says_where_it_comes_from_and_when_the_call_entered() -> None:
    second = Contact("c2", "QUEUE_TRANSFER", first="c1", before="c1", begun=30, queue="support", queued=30.5)
    queued = next(each for each in events(said(made(), of(contact(ended=30.0), second))) if each["subject"] == "c-c2")
    assert queued["data"] == {
        "queue": "c/support",
        "via": "overflow",
        "from_queue": "c/sales",
        "entered": exact(5).replace(".000", ""),
    }


def test_a_callback_waits_in_a_channel_of_its_own_from_the_end_of_its_delay() -> None:
    second = Contact("c2", "CALLBACK", first="c1", before="c1", begun=30, queue="back", queued=129.0)
    queued = next(each for each in events(said(made(), of(contact(ended=31.0), second))) if each["subject"] == "c-c2")
    assert queued["data"] == {"queue": "c/back", "channel": "callback", "via": "callback", "from_queue": "c/sales"}
    assert queued["time"] == exact(129).replace(".000", "")


def test_a_callback_that_reaches_nobody_is_no_hang_up() -> None:
    back = contact(method="CALLBACK", ended=30.0)
    assert told(of(back))[-1] == (30.0, "diverted", "c1", "sales", 1, "withdrawn")


def test_a_transfer_ends_a_talk_and_queues_a_visit() -> None:
    other = Contact("c2", "TRANSFER", first="c1", before="c1", begun=50, queue="support", queued=50.5)
    said_of = told(of(ANSWERED, other))
    assert (60.25, "ended", "c1", "sales", 1, "c/anna", "transfer") in said_of
    assert (50.5, "queued", "c2", "support", 1, "transfer") in said_of


def test_what_runs_after_a_disconnect_takes_nobody_out_of_a_queue() -> None:
    survey = Contact("c2", "DISCONNECT", first="c1", before="c1", begun=30, ended=40.0)
    assert told(of(contact(ended=30.0), survey))[-1] == (30.0, "abandoned", "c1", "sales", 1)


def test_nobody_goes_on_as_a_task_that_is_made_for_a_call() -> None:
    task = Contact("c2", "API", first="c1", before="c1", begun=20, queue="support", queued=21.0, channel="TASK")
    said_of = told(of(contact(ended=30.0), task))
    assert (30.0, "abandoned", "c1", "sales", 1) in said_of
    assert not any(each[1] == "diverted" for each in said_of)


def test_a_contact_that_is_only_related_follows_nobody() -> None:
    related = of(Contact("c2", "API", begun=20, queue="support", queued=21.0))
    for event in related:
        event["detail"]["relatedContactId"] = "c1"
    assert (30.0, "abandoned", "c1", "sales", 1) in told([*of(contact(ended=30.0)), *related])


def test_a_time_that_is_none_yet_is_no_answer() -> None:
    records = of(contact())
    assert any(NO_TIME in str(each) for each in records)
    assert told(records) == WAITING


@pytest.mark.parametrize("method", ["OUTBOUND", "EXTERNAL_OUTBOUND", "MONITOR", "AGENT_REPLY", "FLOW"])
def test_nobody_waits_in_a_call_that_an_agent_makes(method: str) -> None:
    assert told(of(contact(method=method, agent="anna", answered=12, ended=60))) == []


def test_an_agents_own_queue_counts_only_where_that_is_set() -> None:
    records = of(contact(queue="agent/bert", ended=30.0))
    assert told(records) == []
    assert told(records, agent_queues=True)[0] == (5.0, "queued", "c1", "agent/bert", 1)


def test_who_never_came_to_a_queue_is_no_visit() -> None:
    assert told(of(Contact("c1", ended=12.0))) == []


def test_a_contact_that_changes_its_queue_leaves_the_first_one() -> None:
    records = [contact().event("QUEUED", 5, "1"), contact(queue="support", queued=40.0).event("QUEUED", 40, "2")]
    for order in (records, records[::-1]):
        assert set(told(order)) == {
            *WAITING,
            (40.0, "diverted", "c1", "sales", 1, "overflow"),
            (40.0, "queued", "c1", "support", 1),
        }


def test_no_after_call_work_is_told_as_none_once_that_is_sure() -> None:
    records = of(contact(agent="anna", answered=12.5, ended=60.0))
    assert told(records)[-1] == (60.0, "wrapped", "c1", "sales", 1, "c/anna")


def test_other_channels_are_told_and_other_events_mean_nothing() -> None:
    translator = made()
    out = said(translator, of(contact(channel="Chat")))
    assert events(out)[0]["data"]["channel"] == "chat"
    out = said(translator, [contact().event("CONTACT_DATA_UPDATED", 6, "u"), contact().event("A_NEW_ONE", 6, "n")])
    assert (out.messages, out.refused, out.ignored) == ([], [], {"no_meaning": 2})


def test_old_samples_without_times_of_their_own_have_that_of_the_event() -> None:
    records = of(contact(agent="anna", answered=12.0, ended=60.0))
    for event in records:
        for part in ("queueInfo", "agentInfo"):
            inner = event["detail"].get(part, {})
            event["detail"][part] = {key: value for key, value in inner.items() if not key.endswith("Timestamp")}
        event["detail"].pop("disconnectTimestamp", None)
    assert [each[:2] for each in told(records)][:3] == [(5.999, "queued"), (12.999, "answered"), (60.999, "ended")]


def test_keys_and_words_are_matched_without_case() -> None:
    def other(value: Any, how: str) -> Any:
        if isinstance(value, dict):
            return {getattr(key, how)(): other(each, how) for key, each in value.items()}
        return value

    records = [*of(ANSWERED), ANSWERED.record()[1]]
    for how in ("upper", "lower", "title"):
        assert told([other(each, how) for each in records]) == told(records)


def test_an_answer_by_nobody_knows_whom_is_told_when_nobody_is_named() -> None:
    records = [
        contact(agent="anna", answered=12.0).event(kind, second, kind)
        for kind, second in (("QUEUED", 5), ("CONNECTED_TO_AGENT", 12))
    ]
    del records[1]["detail"]["agentInfo"]["agentArn"]
    assert told(records)[-1] == (12.0, "answered", "c1", "sales", 1, "c/unknown")


# ------------------------------------------------------------------------------------------------- contact records


def test_a_record_alone_tells_the_visit_to_the_second() -> None:
    _, record = contact(agent="anna", answered=12.0, ended=60.0, wrapped=70.0).record()
    assert told([record]) == [
        (5.999, "queued", "c1", "sales", 1),
        (12.999, "answered", "c1", "sales", 1, "c/anna"),
        (60.999, "ended", "c1", "sales", 1, "c/anna", "caller"),
        (70.999, "wrapped", "c1", "sales", 1, "c/anna"),
    ]


def test_a_hold_that_only_the_record_tells_of_is_taken_off_the_talk() -> None:
    held = contact(agent="anna", answered=12.0, ended=60.0, wrapped=70.0, holds=[(20.0, 27.0), (30.0, 32.0)])
    replay = Replay(Question())
    for _, _, value in said(made(), [*of(held), held.record()[1]]).messages:
        replay.fold(value)
    row = replay.report()["queues"]["c/sales"]
    assert (row["talk_sum"], row["hold_sum"]) == (39.0, 9.0)


def test_a_record_repairs_what_was_lost_and_changes_no_exact_time() -> None:
    records = of(ANSWERED)
    whole_story = {each[:5] for each in told(records)}
    for lost in range(len(records)):
        left = [*records[:lost], *records[lost + 1 :], ANSWERED.record()[1]]
        assert {each[1] for each in told(left)} == {each[1] for each in whole_story}
    assert {each[:5] for each in told([*records, ANSWERED.record()[1]])} == whole_story


def test_of_two_records_of_one_second_neither_is_left_out() -> None:
    """LastUpdateTimestamp has whole seconds."""
    talking = contact(agent="anna", answered=12.0, ended=60.0).record()[1]
    wrapped = contact(agent="anna", answered=12.0, ended=60.0, wrapped=60.5).record()[1]
    assert talking["LastUpdateTimestamp"] == wrapped["LastUpdateTimestamp"]
    for order in ([talking, wrapped], [wrapped, talking]):
        assert (60.999, "wrapped", "c1", "sales", 1, "c/anna") in told(order)


def test_the_exact_time_of_an_event_replaces_that_of_a_record_that_came_first() -> None:
    out = said(made(), [ANSWERED.record()[1], *of(ANSWERED)])
    replay = Replay(Question())
    for _, _, value in out.messages:
        replay.fold(value)
    row = replay.report()["queues"]["c/sales"]
    assert (row["answer_wait_sum"], row["talk_sum"], row["wrap_sum"]) == (7.5, 47.75, 9.75)


@pytest.mark.parametrize("reason", ["CONTACT_FLOW_DISCONNECT", "API", "EXPIRED", "SYSTEM_ERROR", "TRANSFERRED"])
def test_whom_a_flow_hangs_up_on_has_not_hung_up(reason: str) -> None:
    gone = contact(ended=30.0, reason=reason)
    assert told([*of(gone), gone.record()[1]])[-1] == (30.0, "diverted", "c1", "sales", 1, "withdrawn")


def test_a_transfer_out_of_amazon_connect_is_a_divert() -> None:
    gone = contact(ended=30.0)
    record = gone.record()[1] | {
        "TransferCompletedTimestamp": whole(30),
        "TransferredToEndpoint": {"Address": "+390612345"},
    }
    assert told([*of(gone), record])[-1] == (30.0, "diverted", "c1", "sales", 1, "transfer")


def test_who_is_connected_with_a_number_outside_has_left_the_queue_by_then() -> None:
    gone = contact(ended=900.0)
    record = gone.record()[1] | {"TransferCompletedTimestamp": whole(30)}
    assert told([record])[-1] == (30.999, "diverted", "c1", "sales", 1, "transfer")
    assert (30.999, "diverted", "c1", "sales", 1, "transfer") in told([*of(gone), record])


def test_a_talk_ends_as_the_agent_leaves_a_contact_that_goes_on_without_him() -> None:
    out = contact(agent="anna", answered=12.0, ended=900.0, left_by_agent=60.0, wrapped=65.0)
    after = [(60.0, "ended", "c1", "sales", 1, "c/anna", "transfer"), (65.0, "wrapped", "c1", "sales", 1, "c/anna")]
    assert told([out.record()[1]])[2:] == [
        (60.999, "ended", "c1", "sales", 1, "c/anna", "transfer"),
        (65.999, "wrapped", "c1", "sales", 1, "c/anna"),
    ]
    assert told(of(out)[::-1])[2:] == after
    replay = Replay(Question())
    for _, _, value in said(made(), [*of(out), out.record()[1]]).messages:
        replay.fold(value)
    row = replay.report()["queues"]["c/sales"]
    assert (row["talk_sum"], row["wrap_sum"]) == (48.0, 5.0)


def test_a_contact_that_the_record_says_is_followed_is_diverted_though_nothing_is_known_of_the_other() -> None:
    gone = contact(ended=30.0, after="c2")
    assert told([*of(gone), gone.record()[1]])[-1] == (30.0, "diverted", "c1", "sales", 1, "elsewhere")


def test_a_record_without_the_time_of_entry_has_it_from_the_wait() -> None:
    record = contact(ended=30.0).record()[1]
    del record["Queue"]["EnqueueTimestamp"]
    assert told([record])[0] == (5.999, "queued", "c1", "sales", 1)


def test_a_record_that_is_sent_again_days_later_says_nothing() -> None:
    translator = made()
    said(translator, of(ANSWERED))
    out = Out()
    translator.translate(ANSWERED.record()[1] | {"LastUpdateTimestamp": whole(400_000)}, out)
    assert (out.messages, out.ignored) == ([], {"repeated": 1})


# --------------------------------------------------------------------------------------------------- agent events


def with_contact(second: float, state: str, since: float, one: Contact = ANSWERED, before: str | None = None) -> Any:
    """An event of Anna's with a contact in a state."""
    earlier = None if before is None else snapshot("Available", [one.told(before, since)])
    return agent_event("anna", "STATE_CHANGE", second, snapshot("Available", [one.told(state, since)]), earlier)


def test_agent_events_tell_offers_holds_and_after_call_work() -> None:
    gone = agent_event(
        "anna", "STATE_CHANGE", 70, snapshot("Available", []), snapshot("Available", [ANSWERED.told("ENDED", 60.25)])
    )
    records = [
        with_contact(8, "CONNECTING", 8),
        with_contact(12.5, "CONNECTED", 12.5),
        with_contact(20, "CONNECTED_ONHOLD", 20),
        with_contact(25, "CONNECTED", 25),
        with_contact(60.25, "ENDED", 60.25),
        gone,
    ]
    assert told(records) == [
        *WAITING,
        (8.0, "ringing", "c1", "sales", 1, "c/anna"),
        (12.5, "answered", "c1", "sales", 1, "c/anna"),
        (20.0, "held", "c1", "sales", 1, "c/anna"),
        (25.0, "resumed", "c1", "sales", 1, "c/anna"),
        (60.25, "ended", "c1", "sales", 1, "c/anna"),
        (70.0, "wrapped", "c1", "sales", 1, "c/anna"),
    ]
    assert of_agents(said(made(), records), "c") == [
        (8.0, "anna", "ringing", "q-returns q-sales q-support"),
        (12.5, "anna", "talking", "q-returns q-sales q-support"),
        (20.0, "anna", "held", "q-returns q-sales q-support"),
        (25.0, "anna", "talking", "q-returns q-sales q-support"),
        (60.25, "anna", "wrap_up", "q-returns q-sales q-support"),
        (70.0, "anna", "available", "q-returns q-sales q-support"),
    ]


def test_a_hold_that_does_not_change_the_time_of_the_state_is_told_by_the_change() -> None:
    records = [
        with_contact(12.5, "CONNECTED", 12.5),
        with_contact(20, "CONNECTED_ONHOLD", 12.5, before="CONNECTED"),
        with_contact(22, "CONNECTED_ONHOLD", 12.5, before="CONNECTED_ONHOLD"),
        with_contact(25, "CONNECTED", 12.5, before="CONNECTED_ONHOLD"),
        with_contact(26, "CONNECTED", 12.5, before="CONNECTED"),
    ]
    assert [each[:2] for each in told(records)][2:] == [(20.0, "held"), (25.0, "resumed")]


@pytest.mark.parametrize(("state", "reason"), [("MISSED", "no_answer"), ("REJECTED", "rejected")])
def test_who_does_not_take_an_offer_declines(state: str, reason: str) -> None:
    record = with_contact(9, state, 9)
    assert told([record])[-1] == (9.0, "declined", "c1", "sales", 1, "c/anna", reason)
    ignoring = made(ignore={"agents": ["anna"]})
    assert [each[1] for each in of_calls(said(ignoring, [record]), "c")] == ["queued"]


def test_who_hangs_up_while_it_rings_was_not_refused_by_the_agent() -> None:
    """Amazon Connect says REJECTED of both."""
    gone = contact(ended=9.25)
    rejected = with_contact(9.5, "REJECTED", 9.5, gone)
    assert told([*of(gone), rejected])[-1] == (9.25, "abandoned", "c1", "sales", 1)
    assert [each[1] for each in told([rejected, *of(gone)])] == ["queued", "abandoned"]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("ENDED", "CONNECTED"), "talking"),
        (("ENDED", "CONNECTED_ONHOLD"), "held"),
        (("CONNECTED_ONHOLD", "CONNECTED"), "talking"),
        (("CONNECTING", "ENDED"), "wrap_up"),
        (("MISSED", "CONNECTED"), "other"),
        (("ERROR", "MISSED"), "other"),
        (("INCOMING",), "ringing"),
        (("PENDING",), "ringing"),
        (("PAUSED",), "held"),
        (("SOMETHING_NEW",), "available"),
        ((), "available"),
    ],
)
def test_of_several_contacts_that_decides_which_amazon_connect_shows(states: tuple[str, ...], expected: str) -> None:
    contacts = [contact(name=f"c{number}").told(state, 9) for number, state in enumerate(states)]
    for order in (contacts, contacts[::-1]):
        record = agent_event("anna", "STATE_CHANGE", 10, snapshot("Available", order))
        assert [each[2] for each in of_agents(said(made(), [record]), "c")] == [expected]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Available", "ROUTABLE", ("available",)),
        ("Bereit", "ROUTABLE", ("available",)),
        ("Lunch", "CUSTOM", ("meal", "Lunch")),
        ("Zahnarzt", "CUSTOM", ("other", "Zahnarzt")),
        ("Offline", "OFFLINE", ("offline",)),
        ("Available", None, ("available",)),
        ("Offline", None, ("offline",)),
        ("Training", None, ("training", "Training")),
    ],
)
def test_an_agent_without_contacts_is_what_he_says(name: str, kind: str | None, expected: tuple[str, ...]) -> None:
    now = snapshot(name, [])
    now["AgentStatus"]["Type"] = kind
    found = of_agents(said(made(), [agent_event("anna", "STATE_CHANGE", 1, now)]), "c")
    assert [(each[2], *each[4:]) for each in found] == [expected]


def test_a_contact_of_no_queue_makes_an_agent_busy() -> None:
    call = Contact("c9", "OUTBOUND", queue="sales", agent="anna", answered=5)
    record = agent_event("anna", "STATE_CHANGE", 6, snapshot("Available", [call.told("CONNECTED", 5)]))
    assert [each[2] for each in of_agents(said(made(), [record]), "c")] == ["busy"]


def test_who_logs_out_serves_nobody_and_a_heartbeat_says_nothing_new() -> None:
    now = snapshot("Available", [])
    records = [
        agent_event("anna", "LOGIN", 1, now),
        agent_event("anna", "HEART_BEAT", 121, now),
        agent_event("anna", "LOGOUT", 130, None),
        agent_event("anna", "HEART_BEAT", 121, now),
        agent_event("anna", "HEART_BEAT", 250, snapshot("Offline", [])),  # they go on for an hour
    ]
    out = said(made(), records)
    assert of_agents(out, "c") == [
        (1.0, "anna", "available", "q-returns q-sales q-support"),
        (130.0, "anna", "offline", ""),
    ]
    assert out.ignored == {"repeated": 1}


def test_queues_that_are_left_out_are_not_served_and_names_are_mapped() -> None:
    names = {
        "map": {"queues": {"q-sales": "sales"}, "agents": {"anna": "Anna"}},
        "ignore": {"queues": ["q-returns"]},
    }
    out = said(made(**names), [agent_event("anna", "LOGIN", 1, snapshot("Available", []))])
    assert of_agents(out, "c") == [(1.0, "Anna", "available", "q-support sales")]


# ---------------------------------------------------------------------------------------------------------- days


def figures(out: Out, *, exactly: bool = True) -> dict[str, dict[str, float]]:
    """What the core makes of it by queue and channel, in the words of the day's truth."""
    replay = Replay(Question())
    for role, _, value in out.messages:
        if role == "events":
            replay.fold(value)
    sums = ("answer_wait_sum", "abandon_wait_sum", "talk_sum", "hold_sum", "wrap_sum") if exactly else ()
    found = {}
    for queue, row in replay.report()["queues"].items():
        told = {key: row[key] for key in ("offered", "answered", "abandoned", "waiting", "orphans", *sums)}
        told |= {f"diverted {reason}": number for reason, number in row["diverted_by"].items()}
        found[queue.removeprefix("c/")] = told
    return rounded(found)


def rounded(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Without what is 0, and without what adding milliseconds leaves behind."""
    kept = {
        queue: {key: round(value, 3) for key, value in row.items() if round(value, 3)} for queue, row in found.items()
    }
    return {queue: row for queue, row in kept.items() if row}


def late(told: Iterable[tuple[float, Any]], dice: random.Random) -> list[tuple[float, Any]]:
    """As it is heard: each record up to LATE seconds after it happened, some twice, in the order of arrival."""
    heard = []
    for when, record in told:
        for _ in range(dice.choice((1, 1, 1, 2))):
            heard.append((when + dice.uniform(0, LATE), record))
    return sorted(heard, key=lambda each: each[0])


SEEDS = st.integers(0, 1 << 30)


@settings(max_examples=40)
@given(SEEDS, st.booleans(), st.booleans())
def test_a_made_up_day_is_told_as_it_was_late_doubled_and_out_of_order(seed: int, records: bool, agents: bool) -> None:
    day, dice = Day(seed, CALLS), random.Random(seed)
    also = (day.records() if records else []) + (day.agent_events() if agents else [])
    heard = late(day.events() + also, dice)
    translator, out = made(), Out()
    for when, record in heard:
        translator.translate(record, out)
        translator.advance(at(when - LATE), out)
    translator.advance(at(heard[-1][0] + 1000), out)
    assert out.refused == []
    assert figures(out) == rounded(day.truth(records=records, holds=agents))


@settings(max_examples=20)
@given(SEEDS)
def test_a_day_in_any_order_at_all_is_the_same(seed: int) -> None:
    day, dice = Day(seed, CALLS), random.Random(seed)
    records = [each for _, each in day.events() + day.records() + day.agent_events()]
    whole_day = figures(said(made(), records))
    dice.shuffle(records)
    records += dice.sample(records, len(records) // 3)
    assert figures(said(made(), records)) == whole_day == rounded(day.truth(records=True, holds=True))


@given(SEEDS, st.floats(0, 1))
def test_contact_records_repair_whatever_eventbridge_has_lost(seed: int, lost: float) -> None:
    day, dice = Day(seed, CALLS), random.Random(seed)
    kept = [each for _, each in day.events() if dice.random() >= lost] + [each for _, each in day.records()]
    truth = rounded(day.truth(records=True, holds=False))
    counted = {
        queue: {key: number for key, number in row.items() if not key.endswith("_sum")} for queue, row in truth.items()
    }
    assert figures(said(made(), kept), exactly=False) == counted


def test_a_day_through_the_core_is_exact_also_in_its_agents() -> None:
    day = Day(7, 200)
    out = said(made(), [each for _, each in day.agent_events()])
    assert_sound(out.messages)
    last = {}
    for second, agent, state, *_ in of_agents(out, "c"):
        last[agent] = (second, state)
    assert {state for _, state in last.values()} == {"offline"}
    assert {each[2] for each in of_agents(out, "c")} >= {
        "available",
        "talking",
        "held",
        "wrap_up",
        "ringing",
        "meal",
        "offline",
    }


# ---------------------------------------------------------------------------------------- what all translators keep


DAY = Day(3, 60)
RECORDS = [each for _, each in sorted(DAY.events() + DAY.records() + DAY.agent_events(), key=lambda each: each[0])]


def test_a_memory_can_be_saved_anywhere() -> None:
    assert_a_memory_can_be_saved_anywhere(made, RECORDS, range(0, len(RECORDS), 37))


def test_a_repeat_adds_nothing() -> None:
    for cut in range(100, len(RECORDS), 97):
        assert_a_repeat_adds_nothing(made, RECORDS, cut, 60)


def test_unknown_fields_change_nothing() -> None:
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: more(each) for key, each in value.items()} | {"aNewField": {"x": [1]}}
        return [more(each) for each in value] if isinstance(value, list) else value

    assert said(made(), [more(each) for each in RECORDS]).messages == said(made(), RECORDS).messages


def test_any_field_may_be_missing() -> None:
    def without(value: Any, path: tuple[Any, ...]) -> Any:
        if len(path) == 1:
            return {key: each for key, each in value.items() if key != path[0]}
        return value | {path[0]: without(value[path[0]], path[1:])}

    def paths(value: Any) -> Iterable[tuple[Any, ...]]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield (key,)
                yield from ((key, *rest) for rest in paths(each))

    for record in (*of(ANSWERED), ANSWERED.record()[1], with_contact(20, "CONNECTED", 20)):
        for path in paths(record):
            out = said(made(), [without(record, path)])
            assert_sound(out.messages)
            assert all(len(refusal.detail) < 200 for refusal in out.refused)


def test_mutated_records_raise_nothing() -> None:
    translator, out, dice = made(), Out(), random.Random(1)
    for number, record in enumerate(mutated(RECORDS, 100_000)):
        translator.translate(record, out)
        if not number % 1000:
            translator.advance(at(dice.uniform(0, 4000)), out)
            orjson.dumps(translator.memory())
            assert_sound(out.messages, ids=False)
            out.messages.clear()
    assert {"bad_time", "missing_field", "wrong_field", "unknown_event"} <= {each.reason for each in out.refused}


def test_nothing_of_a_caller_or_an_agents_own_name_leaves() -> None:
    translator = made()
    out = said(
        translator,
        [*RECORDS, {"detail": {"contactId": "+390612345", "eventType": "QUEUED"}}, {"x": "+390612345"}, None, 7],
    )
    assert {each.reason for each in out.refused} == {"missing_field", "unknown_event", "unreadable"}
    left = (
        b"".join(value for _, _, value in out.messages) + repr(out.refused).encode() + orjson.dumps(translator.memory())
    )
    for secret in (b"390612345", b"Geheim", b"geheim"):
        assert secret not in left


def test_a_file_has_a_record_in_each_line() -> None:
    lines = [orjson.dumps(RECORDS[0]) + b"\n", b"\n", b"{cut off\n"]
    assert list(records_of(lines)) == [(1, RECORDS[0]), (3, None)]


def test_ids_are_those_at_the_end_of_resource_names() -> None:
    names = {"map": {"queues": {"q-1": "sales"}, "agents": {"a-1": "anna"}}}
    record = contact(queue="q-1", agent="a-1", answered=9, ended=12).record()[1]
    assert record["Queue"]["ARN"] == queue_arn("q-1") == f"{INSTANCE}/queue/q-1"
    assert told([record], **names)[1] == (9.999, "answered", "c1", "sales", 1, "anna")


def test_the_example_and_the_policy_of_the_page_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/sources/amazon-connect.md").read_text(encoding="utf-8")
    example = tmp_path / "queuewatch.toml"
    example.write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0], encoding="utf-8")
    found = load(example).sources["connect"]
    assert isinstance(found, Settings)
    rule, policy = (orjson.loads(each) for each in re.findall(r"```json\n(.*?)```", page, re.S))
    assert set(rule["detail"]["eventType"]) == TOLD
    assert {each["Effect"] for each in policy["Statement"]} == {"Allow"}
    assert set(found.streams) == {each.rpartition("/")[2] for each in policy["Statement"][1]["Resource"]}
