"""What TaskRouter's events mean, trap by trap.  Seconds count from a fixed moment."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.source_settings import TwilioTaskRouter
from queuewatch_schemas.times import instant
from queuewatch_streams.core.visit import canonical
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.twilio import workers
from queuewatch_streams.sources.twilio.translator import TaskRouter, records_of
from queuewatch_streams.sources.twilio.webhook import OVERLAP
from sources.made_up_twilio import (
    ACCOUNT,
    CALLER,
    FACTS,
    FIRST_FACTS,
    START,
    WORKSPACE,
    Day,
    as_listed,
    as_streamed,
    as_webhook,
    delivered,
    differences,
    event,
    figures,
    made_up_day,
    of_another_product,
    reserved,
    worker,
    working,
)
from sources.made_up_twilio import settings as simulated
from support.sources import (
    ALL,
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    events,
    mutated,
    said,
)

FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "webhook": as_webhook,
    "streamed": as_streamed,
    "listed": as_listed,
}
TALK = [
    event(0, "task.created", queue=None),
    event(1, "task-queue.entered"),
    reserved(3, "created"),
    reserved(8, "timeout"),
    reserved(9, "created", "bert", "r2"),
    reserved(11, "accepted", "bert", "r2"),
    reserved(31, "wrapup", "bert", "r2"),
    event(31, "task.wrapup"),
    reserved(41, "completed", "bert", "r2"),
    event(41, "task.completed"),
]
DOCUMENTED = [
    *TALK,
    *(
        event(50 + number, f"task.{name}", f"t{number}")
        for number, name in enumerate(
            ("updated", "canceled", "deleted", "system-deleted", "transfer-initiated", "transfer-attempt-failed",
             "transfer-failed", "transfer-canceled", "transfer-completed")
        )
    ),
    event(59, "task-queue.entered", "t9"),
    *(reserved(60, name, number=f"x-{name}", task="t9") for name in ("rejected", "canceled", "rescinded", "failed")),
    event(61, "task-queue.moved"),
    event(62, "task-queue.timeout"),
    event(63, "workflow.entered"),
    event(64, "worker.attributes.update", worker_sid="anna"),
    event(65, "activity.created"),
    worker(66, "Available"),
    worker(67, "Lunch"),
]  # fmt: skip


def settings(**more: Any) -> TwilioTaskRouter:
    return TwilioTaskRouter(
        kind="twilio-taskrouter",
        public_url="https://pbx.example/twilio",
        auth_token_file=Path("token"),
        account_sid=ACCOUNT,
        workspace_sid=WORKSPACE,
        **more,
    )


def make(memory: Any = None, **more: Any) -> TaskRouter:
    return TaskRouter(Composer("tr", settings(**more)), memory, settings(**more))


def told(*records: dict[str, Any], **more: Any) -> list[tuple[str, float, dict[str, Any]]]:
    """What is said of calls: (kind, second, data without the queue), by the time at which it happened."""
    out = said(make(**more), [as_webhook(each) for each in records])
    assert not out.refused
    assert_sound(out.messages)
    found = []
    for each in events(out):
        kind = each["type"].removeprefix("queuewatch.").removesuffix(".v1")
        if kind.startswith("call."):
            second = round((instant(each["time"]) - START * 1_000_000) / 1e6, 3)
            found.append((kind.removeprefix("call."), second, {k: v for k, v in each["data"].items() if k != "queue"}))
    return sorted(found, key=lambda each: each[1])


def at_once(*records: dict[str, Any]) -> list[str]:
    """The kinds of what is said while anything may still come."""
    return [each["type"].split(".")[2] for each in events(said(make(), records, end=False)) if "call." in each["type"]]


def kinds(*records: dict[str, Any], **more: Any) -> list[tuple[str, float]]:
    return [(kind, second) for kind, second, _ in told(*records, **more)]


# --------------------------------------------------------------------------------------------------------------- a call


def test_a_call_from_the_queue_to_the_end_of_after_call_work() -> None:
    assert told(*TALK) == [
        ("queued", 1, {"channel": "voice", "priority": 1}),
        ("ringing", 3, {"agent": "tr/anna"}),
        ("declined", 8, {"agent": "tr/anna", "reason": "no_answer"}),
        ("ringing", 9, {"agent": "tr/bert"}),
        ("answered", 11, {"agent": "tr/bert"}),
        ("ended", 31, {"agent": "tr/bert"}),
        ("wrapped", 41, {"agent": "tr/bert"}),
    ]


def test_all_three_forms_of_an_event_mean_the_same() -> None:
    as_said = [said(make(), [form(each) for each in DOCUMENTED]).messages for form in FORMS.values()]
    assert as_said[0] == as_said[1] == as_said[2]
    assert len(as_said[0]) > 10


def test_the_same_event_in_three_forms_counts_once() -> None:
    thrice = said(make(), [form(each) for each in DOCUMENTED for form in FORMS.values()])
    assert thrice.messages == said(make(), DOCUMENTED).messages
    assert thrice.ignored["repeated"] >= 2 * (len(TALK) - 1)


@given(st.permutations(DOCUMENTED))
def test_in_whatever_order_events_come_the_same_is_known_in_the_end(records: list[dict[str, Any]]) -> None:
    assert known(said(make(), records)) == known(said(make(), DOCUMENTED))


def known(out: Out) -> Any:
    """All that the core and the wallboard know of it: figures, and what agents did."""
    values = [value for _, _, value in out.messages]
    return figures(values), working(values)


def test_every_documented_event_is_read_with_unknown_fields_and_with_fields_gone() -> None:
    for form in FORMS.values():
        records = [form(each) for each in DOCUMENTED]
        out = said(make(), records)
        assert not out.refused
        more = said(make(), [each | {"SomethingNew": "x", "task_new": {"a": 1}} for each in records])
        assert more.messages == out.messages
        for record in records:
            for key in record:
                fewer = said(make(), [{name: value for name, value in record.items() if name != key}])
                assert_sound(fewer.messages)


def test_nothing_of_a_caller_or_a_workers_name_goes_on() -> None:
    for form in FORMS.values():
        translator = make()
        out = said(translator, [form(each) for each in DOCUMENTED], end=False)
        for text in (str(out.messages), str(orjson.dumps(translator.memory())), str([r.detail for r in out.refused])):
            assert CALLER.strip("+") not in text
            assert "Ann" not in text


@pytest.mark.parametrize(
    ("why", "kind", "reason"),
    [
        ("hangup", "abandoned", None),
        ("", "abandoned", None),
        ("Workflow timed out", "diverted", "timeout"),
        ("Task TTL Exceeded", "diverted", "timeout"),
        ("Sent to Voicemail", "diverted", "voicemail"),
        ("callback requested", "diverted", "callback"),
        ("leave", "diverted", "key"),
        ("redirected", "diverted", "transfer"),
        ("duplicate task", "diverted", "withdrawn"),
    ],
)
def test_a_waiting_task_that_is_canceled_left_as_its_reason_says(why: str, kind: str, reason: str | None) -> None:
    found = told(event(0, "task-queue.entered"), event(7, "task.canceled", task_canceled_reason=why))
    assert found[-1] == (kind, 7, {} if reason is None else {"reason": reason})


def test_a_task_that_lived_too_long_is_no_hang_up_where_only_the_description_says_so() -> None:
    """Twilio's reference has the words in the event's description alone."""
    gone = event(7, "task.canceled", event_description="Task TTL Exceeded")
    assert told(event(0, "task-queue.entered"), gone)[-1] == ("diverted", 7, {"reason": "timeout"})


def test_what_a_sink_of_event_streams_gets_of_other_products_means_nothing() -> None:
    others = [of_another_product(), of_another_product("com.twilio.studio.flow.step.ended", event_type="task.canceled")]
    out = said(make(), others)
    assert (out.messages, out.refused, out.ignored) == ([], [], {"no_meaning": 2})


def test_the_type_of_a_streamed_event_tells_what_its_payload_leaves_out() -> None:
    streamed = as_streamed(event(1, "task-queue.entered"))
    del streamed["data"]["payload"]["eventtype"]
    assert said(make(), [streamed]).messages == said(make(), [event(1, "task-queue.entered")]).messages


def test_a_step_that_timed_out_overflows_into_the_next_queue() -> None:
    found = told(
        event(0, "task-queue.entered"), event(30, "task-queue.timeout"), event(30.2, "task-queue.entered", queue="all")
    )
    assert [each[0] for each in found] == ["queued", "diverted", "queued"]
    assert found[1][2] == {"reason": "timeout"}
    assert (found[2][2]["via"], found[2][2]["from_queue"]) == ("overflow", "tr/sales")


def test_a_task_that_is_in_another_queue_has_left_the_one_before() -> None:
    found = told(event(0, "task-queue.entered"), event(30, "task-queue.entered", queue="all"))
    assert sorted((kind, second, data.get("reason")) for kind, second, data in found) == [
        ("diverted", 30, "overflow"), ("queued", 0, None), ("queued", 30, None),
    ]  # fmt: skip


def test_the_queues_own_word_on_why_a_task_left_counts_though_the_next_one_spoke_of_it_first() -> None:
    """Both at one moment, and the task's next queue is told first."""
    entries = [event(0, "task-queue.entered"), event(30, "task-queue.entered", queue="all")]
    for later in (event(30, "task-queue.timeout"), event(29, "task-queue.timeout")):
        row = known(said(make(), [*entries, later]))[0]["tr/sales"]
        assert row["diverted_by"] == {"timeout": 1}


def test_a_transfer_ends_one_visit_and_queues_another() -> None:
    found = told(
        event(0, "task-queue.entered"),
        reserved(5, "accepted"),
        event(20, "task.transfer-initiated"),
        event(20.5, "task-queue.entered", queue="support"),
        reserved(20.6, "wrapup"),
        reserved(22, "completed"),
        reserved(30, "accepted", "bert", "r2", queue="support"),
        reserved(60, "completed", "bert", "r2", queue="support"),
    )
    assert [each[:2] for each in found] == [
        ("queued", 0), ("answered", 5), ("queued", 20.5), ("ended", 20.6), ("wrapped", 22), ("answered", 30), ("ended", 60),
    ]  # fmt: skip
    assert (found[2][2]["via"], found[2][2]["from_queue"]) == ("transfer", "tr/sales")
    assert found[3][2]["by"] == "transfer"


def test_a_task_twice_in_one_queue_is_two_visits() -> None:
    records = [event(0, "task-queue.entered"), event(9, "task-queue.moved"), event(9, "task-queue.entered")]
    first, left, second = (each["subject"] for each in events(said(make(), [as_webhook(each) for each in records])))
    assert first == left != second


def test_a_worker_who_takes_over_is_a_further_leg_and_the_last_one_ends_the_talk() -> None:
    assert kinds(
        event(0, "task-queue.entered"),
        reserved(5, "accepted"),
        reserved(50, "accepted", "bert", "r2"),
        reserved(51, "completed"),
        reserved(90, "completed", "bert", "r2"),
    ) == [("queued", 0), ("answered", 5), ("answered", 50), ("ended", 90)]


# ------------------------------------------------------------------------------------------------- at once, or when sure

D = {"task_queue_entered_date": START}
"""The task entered its queue in second 0, by an event's own word."""
TO_BE_OVER = {"task_assignment_status": "wrapping"}


def test_what_nothing_missing_could_turn_around_is_said_at_once() -> None:
    entry = event(0.4, "task-queue.entered") | D
    answer = reserved(5, "accepted") | D
    over = reserved(9, "wrapup") | TO_BE_OVER
    assert at_once(entry) == ["queued"]
    assert at_once(entry, reserved(2, "created"), answer) == ["queued", "ringing", "answered"]
    assert at_once(entry, reserved(2, "created") | D, reserved(3, "rejected") | D) == ["queued", "ringing", "declined"]
    assert at_once(entry, answer, over) == ["queued", "answered", "ended"]
    assert at_once(entry, answer, over, reserved(20, "completed")) == ["queued", "answered", "ended", "wrapped"]
    assert at_once(entry, event(5, "task.canceled") | D) == ["queued", "abandoned"]
    for leaving in (
        event(5, "task-queue.moved"), event(5, "task-queue.timeout"), event(5, "task-queue.entered", queue="all"),
        event(5, "task.deleted"), event(5, "task.canceled", task_canceled_reason="leave"),
    ):  # fmt: skip
        assert at_once(entry, leaving)[:2] == ["queued", "diverted"]


@pytest.mark.parametrize("entered", [{}, {"task_queue_entered_date": START + 4}])
def test_what_might_belong_to_an_entry_that_is_missing_is_said_when_that_is_sure(entered: dict[str, int]) -> None:
    """It says nothing of when the task entered, or it says another time than that of the entry that is known."""
    entry = event(0, "task-queue.entered")
    for later in (reserved(5, "accepted"), reserved(5, "rejected"), event(5, "task.canceled")):
        assert at_once(entry, later | entered) == ["queued"]
        assert len(told(entry, later | entered)) == 2


def test_the_end_of_a_talk_is_said_when_it_is_sure_that_nobody_took_over() -> None:
    talk = [event(0, "task-queue.entered") | D, reserved(5, "accepted") | D, reserved(9, "completed")]
    assert at_once(*talk) == ["queued", "answered"]
    assert kinds(*talk)[-1] == ("ended", 9)
    taken_over = [*talk, reserved(8.9, "accepted", "bert", "r2") | D, reserved(30, "completed", "bert", "r2")]
    assert kinds(*taken_over)[-1] == ("ended", 30)


@given(st.permutations(range(7)))
def test_a_task_twice_in_one_queue_is_two_visits_whatever_is_missing_at_first(order: list[int]) -> None:
    records = [
        event(0, "task-queue.entered") | D, reserved(5, "accepted") | D, reserved(9, "wrapup"),
        event(9, "task-queue.entered"), reserved(20, "accepted", "bert", "r2"), reserved(30, "wrapup", "bert", "r2"),
        event(30, "task.completed"),
    ]  # fmt: skip
    row = known(said(make(), [records[place] for place in order]))[0]["tr/sales"]
    assert (row["offered"], row["answered"], row["handled"], row["answer_wait_sum"], row["talk_sum"]) == (
        2,
        2,
        2,
        16,
        14,
    )


@pytest.mark.parametrize(
    ("start", "second"),
    [
        ({"task_age_in_queue": 12}, 8),
        ({"task_age": 12}, 8),
        ({"task_queue_entered_date": (START + 8) * 1000 + 500}, 8.5),
        ({"task_queue_entered_date": START + 8}, 8.999),
    ],
)
def test_an_answer_whose_entry_nobody_tells_has_a_stay_of_its_own(start: dict[str, int], second: float) -> None:
    """From the end of the second that is told: should its entry be told after all, an earlier time holds."""
    answer = reserved(20, "accepted") | start
    assert at_once(answer) == []
    assert kinds(answer, reserved(30, "completed")) == [("queued", second), ("answered", 20), ("ended", 30)]


def test_an_answer_that_tells_nothing_of_its_entry_says_nothing_and_an_entry_that_was_left_is_not_taken_for_it() -> (
    None
):
    assert told(reserved(20, "accepted")) == []
    left = [event(0, "task-queue.entered"), event(5, "task-queue.moved")]
    answer = reserved(40, "accepted") | {"task_queue_entered_date": START + 30}
    assert kinds(*left, answer) == [("queued", 0), ("diverted", 5), ("queued", 30.999), ("answered", 40)]


def test_an_entry_that_is_told_after_its_answer_was_given_a_stay_of_its_own_is_that_stay() -> None:
    translator, out = make(), Out()
    translator.translate(reserved(20, "accepted") | {"task_queue_entered_date": START + 8}, out)
    translator.advance((START + 25) * 1_000_000, out)
    again = make(orjson.loads(orjson.dumps(translator.memory())))
    again.translate(event(7.5, "task-queue.entered"), out)
    again.translate(reserved(10, "rejected", "anna", "r0"), out)
    again.translate(reserved(30, "completed"), out)
    again.advance(ALL, out)
    row = known(out)[0]["tr/sales"]
    assert (row["offered"], row["answered"], row["answer_wait_sum"], row["talk_sum"], row["declined"]) == (
        1, 1, 12.5, 10, 1,
    )  # fmt: skip


def test_where_a_visit_comes_from_is_said_again_when_an_earlier_one_becomes_known_and_then_holds() -> None:
    out = said(make(), [event(30, "task-queue.entered", queue="all"), event(0, "task-queue.entered")])
    beginnings = [each["data"] for each in events(out) if each["data"]["queue"] == "tr/all"]
    assert [each.get("via") for each in beginnings] == [None, "overflow"]
    texts = [canonical(orjson.dumps(each)) for each in beginnings]
    assert texts[1] < texts[0], "of equal times the smaller text holds"


def test_a_task_that_is_offered_very_often_is_answered_all_the_same() -> None:
    translator, out = make(), Out()
    translator.translate(event(0, "task-queue.entered") | D, out)
    for number in range(1000):
        translator.translate(reserved(30 * number, "created", number=f"r{number}"), out)
        translator.translate(reserved(30 * number + 20, "timeout", number=f"r{number}") | D, out)
        translator.advance((START + 30 * number - 100) * 1_000_000, out)
    translator.translate(reserved(30_000, "accepted", "bert", "r") | D, out)
    assert not out.refused
    row = known(out)[0]["tr/sales"]
    assert (row["declined"], row["answered"]) == (1000, 1)


def test_a_task_that_has_ended_is_forgotten_but_not_before_its_events_are_too_late_anyway() -> None:
    translator, out = make(), Out()
    for each in TALK:
        translator.translate(each, out)
    translator.advance((START + 1000) * 1_000_000, out)
    assert len(translator.memory()["tasks"]["calls"]) == 1
    translator.advance((START + 3000) * 1_000_000, out)
    assert translator.memory()["tasks"]["calls"] == {}
    out.messages.clear()
    for each in TALK:
        translator.translate(as_webhook(each), out)
    assert out.messages == [], "a webhook that comes so late was told by the list"
    translator.translate(as_listed(event(0, "task-queue.entered", "t9")), out)
    assert len(out.messages) == 1, "the list itself may have been away"


def test_a_canceled_talk_has_ended_and_a_deleted_task_was_withdrawn() -> None:
    talk = [event(0, "task-queue.entered"), reserved(5, "accepted")]
    assert kinds(*talk, event(9, "task.canceled"))[-1] == ("ended", 9)
    assert told(*talk, event(9, "task.deleted"))[-1] == ("ended", 9, {"agent": "tr/anna", "by": "system"})
    assert told(event(0, "task-queue.entered"), event(9, "task.deleted"))[-1][2] == {"reason": "withdrawn"}
    assert told(event(0, "task-queue.entered"), event(9, "task.system-deleted"))[-1][2] == {"reason": "timeout"}


def test_channels_keep_their_names_and_the_default_one_is_voice() -> None:
    names = {"voice": "voice", "default": "voice", "Chat": "chat", "9 lives": "other"}
    for name, ours in names.items():
        assert told(event(0, "task-queue.entered", task_channel_unique_name=name))[0][2]["channel"] == ours


def test_other_workspaces_ignored_queues_callers_and_agents_are_left_out(tmp_path: Path) -> None:
    assert not told(*(each | {"workspace_sid": "WS" + "2" * 32} for each in TALK))
    assert not told(*TALK, ignore={"queues": ["sales"]})
    assert not told(*TALK, ignore={"callers": [CALLER]})
    assert [each[0] for each in told(*TALK[:6], ignore={"agents": ["anna"]})] == [
        "queued", "ringing", "ringing", "answered",
    ]  # fmt: skip
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    assert len(told(*TALK, customer_key_file=tmp_path / "key")[0][2]["customer"]) == 32
    named = told(*TALK, map={"agents": {"bert": "Bert"}})
    assert named[-1][2] == {"agent": "Bert"}


def test_workers_are_told_by_their_activity_and_reservations() -> None:
    out = said(
        make(map={"reasons": {"Zahnarzt": "other"}}),
        [
            worker(0, "Available"), event(1, "task-queue.entered"), reserved(2, "created"), reserved(3, "accepted"),
            reserved(10, "wrapup"), reserved(20, "completed"), worker(30, "Lunch"), worker(40, "Zahnarzt"),
            worker(50, "Offline"),
        ],
    )  # fmt: skip
    states = [each["data"] for each in events(out) if each["type"] == "queuewatch.agent.state.v1"]
    assert [each["state"] for each in states] == [
        "available", "ringing", "talking", "wrap_up", "available", "meal", "other", "offline",
    ]  # fmt: skip
    assert states[2]["contacts"] == [{"channel": "voice", "state": "talking", "queue": "tr/sales"}]
    assert states[6]["reason"] == "Zahnarzt"


# ------------------------------------------------------------------------------------------------------------ workers


def test_what_comes_late_of_a_worker_is_said_for_its_time_and_what_it_changes_after_it() -> None:
    records = [worker(0, "Available"), reserved(2, "created"), reserved(9, "wrapup"), reserved(20, "completed")]
    translator, out = make(), Out()
    for each in records:
        translator.translate(each, out)
    assert known(out)[1]["anna"] == [(0, "available"), (2, "ringing"), (9, "wrap_up"), (20, "available")]
    translator.translate(reserved(5, "accepted"), out)
    translator.translate(worker(15, "Lunch"), out)
    assert known(out)[1]["anna"] == [(0, "available"), (2, "ringing"), (5, "talking"), (9, "wrap_up"), (20, "meal")]
    translator.translate(worker(15, "Lunch"), out)
    assert out.ignored == {"repeated": 1}


def test_what_is_told_of_a_worker_after_its_time_ends_a_reservation_and_begins_none() -> None:
    translator, out = make(), Out()
    for each in (
        worker(0, "Available"),
        event(1, "task-queue.entered"),
        reserved(2, "created"),
        reserved(5, "accepted"),
    ):
        translator.translate(each, out)
    translator.translate(reserved(40, "created", number="r2"), out)
    translator.advance((START + 1000) * 1_000_000, out)
    for each in (reserved(30, "completed"), reserved(29, "wrapup"), worker(20, "Lunch")):
        translator.translate(each, out)
    assert known(out)[1]["anna"][-2:] == [(5, "talking"), (40, "ringing")]


# ----------------------------------------------------------------------------------------------------- properties, days


def wrong(out: Out, day: Day, facts: Sequence[str]) -> list[Any]:
    assert not out.refused
    assert_sound(out.messages)
    return differences([value for _, _, value in out.messages], day, facts)


@pytest.mark.parametrize(("seed", "form"), list(enumerate(FORMS)))
def test_a_whole_day_comes_to_what_the_simulator_knows(seed: int, form: str) -> None:
    """All but the ends of talks that were handed on are said at once; every tenth event comes twice."""
    day = made_up_day(simulated(seed, 2))
    translator, out, dice = make(), Out(), random.Random(seed)
    for record in day.events:
        for _ in range(2 if dice.random() < 0.1 else 1):
            translator.translate(FORMS[form](record), out)
    assert wrong(out, day, FIRST_FACTS) == []
    translator.advance(ALL, out)
    assert wrong(out, day, FACTS) == []


@given(st.integers(0, 10_000))
@hypothesis(max_examples=10)
def test_a_day_in_any_order_at_all_comes_to_what_the_simulator_knows(seed: int) -> None:
    day = made_up_day(simulated(seed, 0.5))
    random.Random(seed).shuffle(shuffled := list(day.events))
    assert wrong(said(make(), [as_streamed(each) for each in shuffled]), day, FACTS) == []


@given(st.integers(0, 10_000), st.sampled_from((0.0, 0.5, 0.5, 0.9, 1.0)), st.booleans())
@hypothesis(max_examples=20)
def test_what_webhooks_lose_the_list_tells_and_every_figure_is_the_simulators(
    seed: int, lost: float, bare: bool
) -> None:
    """Half of all webhooks lost, or all; the others late by up to ten seconds; listed as late as the overlap allows.

    `bare`: no event tells when the task entered its queue, or the task's state.  The source is ended and begun again.
    """
    dice = random.Random(seed)
    day = made_up_day(simulated(seed, 0.5))
    if bare:
        gone = ("task_queue_entered_date", "task_assignment_status")
        day.events = [{key: value for key, value in each.items() if key not in gone} for each in day.events]
    translator, out = make(), Out()
    for records, until in delivered(day.events, dice, lost=lost, overlap=OVERLAP):
        for each in records:
            translator.translate(each, out)
        translator.advance(round(until * 1e6), out)
        if dice.random() < 0.1:
            translator = make(orjson.loads(orjson.dumps(translator.memory())))
    translator.advance(ALL, out)
    assert wrong(out, day, FACTS) == []


def test_a_memory_can_be_saved_anywhere_and_a_repeat_adds_nothing() -> None:
    day = made_up_day(simulated(3, 0.5)).events[:400]
    assert_a_memory_can_be_saved_anywhere(make, DOCUMENTED, range(len(DOCUMENTED)))
    assert_a_memory_can_be_saved_anywhere(make, day, (1, 50, 200, 399))
    assert_a_repeat_adds_nothing(make, day, 300, 100)


def with_sid(record: Any, sid: str) -> Any:
    if not isinstance(record, dict):
        return record
    if isinstance(record.get("data"), dict):
        return record | {"data": with_sid(record["data"], sid)}
    return record | {name: sid for name in ("sid", "Sid") if isinstance(record.get(name), str)}


@pytest.mark.parametrize("form", FORMS)
def test_100_000_mutated_events_raise_nothing(form: str) -> None:
    """Over the three forms; most have a Sid of their own, or they would only be repeats."""
    records = [FORMS[form](each) for each in (*DOCUMENTED, *made_up_day(simulated(2, 0.1)).events[:200])]
    out, dice = Out(), random.Random(form)
    for number, record in enumerate(mutated(records, 100_000 // 3 + 1)):
        if number % 1000 == 0:
            translator = make()
        translator.translate(with_sid(record, f"EV{number}") if dice.random() < 0.9 else record, out)
        if number % 4000 == 999:
            translator.advance(dice.choice((START * 1_000_000, ALL)), out)
            orjson.dumps(translator.memory())
    assert_sound(out.messages, ids=False)
    assert len(out.messages) > 10_000
    assert out.refused


def test_the_memory_is_bounded_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_WORKERS", 500)
    translator, out = make(), Out()
    for number in range(1000):
        translator.translate(worker(number, "Lunch", f"w{number}"), out)
    for number in range(1000):
        translator.translate(reserved(number, "created", number=f"r{number}", task=f"y{number}"), out)
    memory = translator.memory()
    assert len(memory["workers"]["workers"]) == 500
    _, _, on, steps, _, states = memory["workers"]["workers"]["anna"]
    assert max(len(on), len(steps), len(states)) <= 200


def test_convert_reads_lines_with_one_event_or_several() -> None:
    lines = [orjson.dumps(as_listed(TALK[0])), b"\n", orjson.dumps([as_streamed(each) for each in TALK[1:3]]), b"{"]
    found = list(records_of(lines))
    assert [number for number, _ in found] == [1, 3, 3, 4]
    assert found[-1][1] is None
    assert [each.reason for each in said(make(), [record for _, record in found]).refused] == ["unreadable"]


def test_the_example_of_the_page_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/sources/twilio.md").read_text(encoding="utf-8")
    example = tmp_path / "queuewatch.toml"
    example.write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0], encoding="utf-8")
    found = load(example).sources["flex"]
    assert isinstance(found, TwilioTaskRouter)
    assert found.reconcile_seconds == 60
