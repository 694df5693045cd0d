"""What Genesys Cloud's records mean, one by one and by the day.  Seconds count from a fixed moment."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import GenesysCloud
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.genesys.translator import Genesys
from queuewatch_streams.sources.genesys.wire import OBSERVED, is_open, records_of
from queuewatch_streams.sources.shape import Out
from sources.heard import at, of_agents, of_calls
from sources.made_up_genesys import (
    NUMBER,
    Conversation,
    Day,
    Session,
    acd_end,
    acd_start,
    activity,
    acw,
    bridged,
    customer_end,
    day,
    detail,
    iso,
    ms,
    presence,
    status,
    user_end,
    user_start,
    voicemail,
)
from support.sources import (
    ALL,
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    events,
    mutated,
    said,
)

LATE = 30
KEYS = (
    "offered",
    "answered",
    "abandoned",
    "waiting",
    "declined",
    "diverted_by",
    "answer_wait_sum",
    "abandon_wait_sum",
    "talk_sum",
    "hold_sum",
    "wrap_sum",
)
CALL = "c1/a1"


def settings(**more: Any) -> GenesysCloud:
    told = {"kind": "genesys-cloud", "queue_url": "https://sqs.example/1/calls", "region": "eu-central-1"} | more
    return GenesysCloud.model_validate(told)


def translator(memory: Any = None, **more: Any) -> Genesys:
    return Genesys(Composer("gc", settings(**more)), memory, settings(**more))


def told(*records: dict[str, Any], **more: Any) -> list[tuple[Any, ...]]:
    out = said(translator(**more), records)
    assert_sound(out.messages)
    return of_calls(out, "gc")


def told_until(second: float, *records: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is said while nothing is known to have come but what is older than a second."""
    source, out = translator(), said(translator(), [], end=False)
    for record in records:
        source.translate(record, out)
    source.advance(at(second), out)
    return of_calls(out, "gc")


# -------------------------------------------------------------------------------------------------------- one call alone


def test_an_answered_call_from_its_beginning_to_the_end_of_after_call_work() -> None:
    """An ACD session ends when an agent takes it; an agent's hold is known by its length only."""
    records = [
        acd_start(0),
        user_start(1, session="s0", userId="u-1"),
        user_end(9, session="s0", userId="u-1", alertingDurationMs=8000, disconnectType="NO_ANSWER_TRANSFER"),
        user_start(10),
        acd_end(12.5, "ANSWERED", answeredUserId="u-0", connectedDurationMs=12_430, disconnectType="TRANSFER"),
        user_end(72.5, alertingDurationMs=2500, interactingDurationMs=50_000, heldDurationMs=10_000),
        customer_end(72.5),
        acw(90, wrapupDurationMs=17_500),
    ]
    assert sorted(told(*records)) == [
        (0, "queued", CALL, "q-sales", 1),
        (1, "ringing", CALL, "q-sales", 1, "gc/u-1"),
        (9, "declined", CALL, "q-sales", 1, "gc/u-1", "no_answer"),
        (10, "ringing", CALL, "q-sales", 1, "gc/u-0"),
        (12.5, "answered", CALL, "q-sales", 1, "gc/u-0"),
        (62.5, "held", CALL, "q-sales", 1, "gc/u-0"),
        (72.5, "ended", CALL, "q-sales", 1, "gc/u-0", "caller"),
        (90, "wrapped", CALL, "q-sales", 1, "gc/u-0"),
    ]
    assert sorted(told(*records)) == sorted(told(*reversed(records)))
    first = next(each for each in events(said(translator(), records)) if each["type"].endswith("queued.v1"))
    assert first["data"] == {"queue": "gc/q-sales", "channel": "voice", "priority": 3}


def test_in_eventbridges_envelope_it_says_the_same() -> None:
    records = day(3).records
    assert said(translator(), [bridged(each) for each in records]).messages == said(translator(), records).messages


def test_most_is_said_at_once() -> None:
    """Nothing of this waits for what may come later: a wallboard shows it when it is told."""
    assert told_until(-1, acd_start(0), acd_end(9, "ABANDON", disconnectType="PEER")) == [
        (0, "queued", CALL, "q-sales", 1),
        (9, "abandoned", CALL, "q-sales", 1),
    ]
    answered = [acd_start(0), acd_end(9, "ANSWERED", answeredUserId="u-0"), user_end(19, interactingDurationMs=10_000)]
    wrapped = acw(25, wrapupDurationMs=6000)
    assert [each[1] for each in told_until(-1, *answered, wrapped)] == ["queued", "answered", "ended", "wrapped"]
    overflow = [acd_start(0), acd_end(9, "FLOW_OUT"), acd_start(9.1, session="a2", queueId="q-support")]
    assert [each[1] for each in told_until(-1, *overflow)] == ["queued", "diverted", "queued"]


@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("PEER", "caller"),
        ("CLIENT", "agent"),
        ("ENDPOINT", "agent"),
        ("TRANSFER", "transfer"),
        ("CONSULT_TRANSFER", "transfer"),
        ("SYSTEM", "system"),
        ("ERROR", "system"),
        (None, "system"),
    ],
)
def test_who_ended_a_talk(how: str | None, by: str) -> None:
    end = user_end(19, interactingDurationMs=10_000, disconnectType=how)
    assert told(acd_start(0), acd_end(9, "ANSWERED", answeredUserId="u-0"), end)[-1][-1] == by


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("CLIENT", "rejected"),
        ("DND_TRANSFER", "rejected"),
        ("NO_ANSWER_TRANSFER", "no_answer"),
        ("NOT_AVAILABLE_TRANSFER", "unavailable"),
        ("ERROR", "unavailable"),
    ],
)
def test_an_agent_who_does_not_take_it(how: str, reason: str) -> None:
    assert told(acd_start(0), user_end(5, alertingDurationMs=4000, disconnectType=how))[1][1:] == (
        "declined", CALL, "q-sales", 1, "gc/u-0", reason,
    )  # fmt: skip


def test_a_caller_who_hangs_up_while_it_rings_is_declined_by_nobody() -> None:
    records = [acd_start(0), user_end(5, alertingDurationMs=4000), acd_end(5, "ABANDON", disconnectType="PEER")]
    assert [each[1] for each in told(*records)] == ["queued", "abandoned"]


@pytest.mark.parametrize(
    ("how", "follows", "reason", "to"),
    [
        ("TRANSFER", acd_start(9.2, session="a2", queueId="q-support"), "overflow", "gc/q-support"),
        ("TRANSFER", acd_start(9.2, session="a2"), "overflow", "gc/q-sales"),
        ("PEER", acd_start(8.5, session="a2", mediaType="CALLBACK"), "callback", "gc/q-sales"),
        ("TRANSFER", voicemail(9.3), "voicemail", None),
        ("TIMEOUT", None, "timeout", None),
        ("NO_ANSWER_TRANSFER", None, "timeout", None),
        ("NOT_AVAILABLE_TRANSFER", None, "no_agents", None),
        ("CONSULT_TRANSFER", None, "transfer", None),
        ("TRANSFER", None, "elsewhere", None),
        ("TRANSFER", acd_start(60, session="a2", queueId="q-support"), "elsewhere", None),
        (None, None, "elsewhere", None),
    ],
)
def test_where_a_call_went_that_flowed_out(how: str | None, follows: Any, reason: str, to: str | None) -> None:
    records = [acd_start(0), acd_end(9, "FLOW_OUT", disconnectType=how), *([] if follows is None else [follows])]
    for order in (records, records[::-1]):
        out = said(translator(), order)
        found = [each["data"] for each in events(out) if each["type"].endswith("diverted.v1")]
        assert [(each["reason"], each.get("to_queue")) for each in found] == [(reason, to)]


def test_a_queue_that_it_came_from_a_moment_ago_is_not_where_it_went() -> None:
    records = [
        acd_start(0, queueId="q-support"),
        acd_end(0.5, "FLOW_OUT", queueId="q-support"),
        acd_start(0.6, session="a2"),
        acd_end(1, "FLOW_OUT", session="a2", disconnectType="TIMEOUT"),
    ]
    found = [each[2:] for each in told(*records) if each[1] == "diverted"]
    assert found == [(CALL, "q-support", 1, "overflow"), ("c1/a2", "q-sales", 1, "timeout")]


def test_where_nothing_is_seen_to_follow_it_is_told_once_nothing_can_follow() -> None:
    records = acd_start(0), acd_end(9, "FLOW_OUT", disconnectType="TRANSFER")
    assert [each[1] for each in told_until(9 + LATE, *records)] == ["queued"]
    assert [each[1] for each in told_until(9 + LATE + 5, *records)] == ["queued", "diverted"]


def test_how_a_call_came_from_one_queue_to_another() -> None:
    """By overflow, or by an agent; when it first entered any queue is told with it, though it was told in another order."""
    records = [
        acd_start(0),
        acd_end(9, "FLOW_OUT", disconnectType="TRANSFER"),
        acd_start(9.1, session="a2", queueId="q-support"),
        acd_end(20, "ANSWERED", session="a2", queueId="q-support", answeredUserId="u-1"),
        user_end(50, queueId="q-support", userId="u-1", interactingDurationMs=30_000, disconnectType="TRANSFER"),
        acd_start(50.2, session="a3"),
        acd_end(60, "FLOW_OUT", session="a3"),
        acd_start(60.1, session="a4"),
    ]
    for seed in range(20):
        random.Random(seed).shuffle(records)
        out = said(translator(), records)
        best: dict[str, str] = {}
        for each in events(out):
            if each["type"].endswith("queued.v1"):
                text = orjson.dumps(each["data"], option=orjson.OPT_SORT_KEYS).decode()
                best[each["subject"]] = min(best.get(each["subject"], "~"), text)
        ways = {call: orjson.loads(text).get("via") for call, text in best.items()}
        assert ways == {
            "gc-c1/a1": None, "gc-c1/a2": "overflow", "gc-c1/a3": "transfer", "gc-c1/a4": "requeue",
        }  # fmt: skip
        assert {orjson.loads(text).get("entered") for text in best.values()} == {None, iso(0).replace(".000Z", "Z")}


def test_a_callback_waits_from_when_it_is_due() -> None:
    start = acd_start(0, mediaType="CALLBACK", callbackScheduledTime=ms(600), direction="OUTBOUND")
    out = said(translator(), [start])
    data = events(out)[0]["data"]
    assert (data["channel"], data["due"], data["via"]) == ("callback", iso(600).replace(".000Z", "Z"), "callback")


# ------------------------------------------------------------------------------------------------------ what is not told


def test_a_beginning_that_got_lost_follows_from_the_end() -> None:
    """Not before it is sure that it is lost: it would be another time."""
    end = acd_end(40, "ABANDON", connectedDurationMs=33_000)
    assert [each[1] for each in told_until(40 + LATE, end)] == ["abandoned"]
    assert sorted(told_until(40 + LATE + 5, end)) == [
        (7, "queued", CALL, "q-sales", 1),
        (40, "abandoned", CALL, "q-sales", 1),
    ]
    assert told(end, acd_start(6.9)) == [(40, "abandoned", CALL, "q-sales", 1), (6.9, "queued", CALL, "q-sales", 1)]


def test_an_end_that_got_lost_follows_from_what_comes_after_it() -> None:
    hung_up = [acd_start(0), customer_end(30)]
    assert [each[1] for each in told_until(30 + LATE, *hung_up)] == ["queued"]
    assert told(*hung_up)[1] == (30, "abandoned", CALL, "q-sales", 1)
    talked = [acd_start(0), user_end(70, interactingDurationMs=60_000), customer_end(70)]
    assert told(*talked)[1:] == [
        (10, "answered", CALL, "q-sales", 1, "gc/u-0"),
        (70, "ended", CALL, "q-sales", 1, "gc/u-0", "caller"),
    ]
    elsewhere = [acd_start(0), acd_start(20, session="a2", queueId="q-support")]
    assert (20, "diverted", CALL, "q-sales", 1, "overflow") in told(*elsewhere)
    assert told(acd_start(0), voicemail(20), customer_end(50))[1] == (20, "diverted", CALL, "q-sales", 1, "voicemail")


def test_the_end_of_a_talk_that_got_lost_follows_from_the_after_call_work_or_the_customers_leaving() -> None:
    begun = [acd_start(0), acd_end(10, "ANSWERED", answeredUserId="u-0")]
    assert told(*begun, customer_end(70))[-1] == (70, "ended", CALL, "q-sales", 1, "gc/u-0")
    assert sorted(told(*begun, acw(90, wrapupDurationMs=20_000)))[-2:] == [
        (70, "ended", CALL, "q-sales", 1, "gc/u-0"),
        (90, "wrapped", CALL, "q-sales", 1, "gc/u-0"),
    ]


def test_an_outcome_that_is_not_told_follows_from_the_agents_session_and_from_how_it_ended() -> None:
    start, talk = acd_start(0), user_end(70, interactingDurationMs=60_000)
    assert told(start, acd_end(10, "UNKNOWN", disconnectType="TRANSFER"), talk)[1][:2] == (10, "answered")
    assert told(start, acd_end(10, None, disconnectType="PEER"))[1][:2] == (10, "abandoned")
    assert told(start, acd_end(10, "NEW_WORD", disconnectType="SYSTEM"))[1][:2] == (10, "abandoned")
    assert told(start, acd_end(10, "UNKNOWN", disconnectType="TRANSFER"))[1][:2] == (10, "diverted")


def test_an_answer_by_nobody_knows_whom() -> None:
    assert told(acd_start(0), acd_end(10, "ANSWERED"))[1] == (10, "answered", CALL, "q-sales", 1, "gc/unknown")
    talk = user_end(70, interactingDurationMs=60_000)
    assert (10, "answered", CALL, "q-sales", 1, "gc/u-0") in told(acd_start(0), talk, acd_end(10, "ANSWERED"))


def test_the_same_agent_twice_in_one_conversation_has_two_talks() -> None:
    records = [
        acd_start(0),
        acd_end(10, "ANSWERED", answeredUserId="u-0"),
        user_end(50, interactingDurationMs=40_000, disconnectType="TRANSFER"),
        acd_start(50.2, session="a2"),
        acd_end(60, "ANSWERED", session="a2", answeredUserId="u-0"),
        user_end(100, session="s2", interactingDurationMs=40_000),
        acw(110, session="s2", wrapupDurationMs=10_000),
    ]
    ends = [each[:3] for each in told(*records) if each[1] in ("ended", "wrapped")]
    assert ends == [(50, "ended", CALL), (100, "ended", "c1/a2"), (110, "wrapped", "c1/a2")]


def test_an_agent_who_takes_it_again_a_moment_after_the_first_talk_has_the_second_one_too() -> None:
    records = [
        acd_start(0),
        acd_end(10, "ANSWERED", answeredUserId="u-0"),
        user_end(50, interactingDurationMs=40_000, disconnectType="TRANSFER"),
        acd_start(50.2, session="a2"),
        acd_end(51, "ANSWERED", session="a2", answeredUserId="u-0"),
        user_end(100, session="s2", interactingDurationMs=49_000),
    ]
    for order in (records, records[::-1]):
        assert sorted(each[:3] for each in told(*order) if each[1] == "ended") == [
            (50, "ended", CALL), (100, "ended", "c1/a2"),
        ]  # fmt: skip


# ----------------------------------------------------------------------------------------------- what cannot be read, or
# ----------------------------------------------------------------------------------------------- is left out


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "unreadable"),
        ([], "unreadable"),
        ({}, "missing_field"),
        ({"detail": {"topicName": "v2.detail.events.conversation.c.acd.start"}}, "missing_field"),
        ({"topicName": "somebody.else", "eventBody": {}}, "unknown_event"),
        (acd_start(0, conversationId=None), "missing_field"),
        (acd_start(0, sessionId=None), "missing_field"),
        (acd_start(0, queueId=None), "missing_field"),
        (acd_start(0, eventTime=None), "missing_field"),
        (acd_start(0, eventTime="yesterday"), "bad_time"),
        (acd_start(0, eventTime=10**30), "bad_time"),
        (acd_start(0, eventTime=True), "bad_time"),
        (acd_start(0, queueId=7), "wrong_field"),
        (acd_start(0, queueId="q\ud800"), "wrong_field"),
        (acd_start(0, queueId="q\n"), None),
        (acd_start(0, queueId="a\nb"), "bad_queue_name"),
        (acd_start(0, sessionId="s" * 301), "too_long"),
        (acd_start(0, sessionId="s" * 299), "too_long"),
        (acd_end(0, "ABANDON", connectedDurationMs=-1), "wrong_field"),
        (acd_end(0, "ABANDON", connectedDurationMs=1.5), "wrong_field"),
        (user_end(0, sessionId=None), "missing_field"),
        ({"topicName": "v2.users.u.routingStatus", "eventBody": {}}, "missing_field"),
        ({"topicName": "v2.users.u.presence", "eventBody": {"source": "PURECLOUD"}}, "missing_field"),
        ({"topicName": "v2.routing.queues.q.conversations", "eventBody": {}}, "missing_field"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_the_reason(record: Any, reason: str | None) -> None:
    out = said(translator(), [record])
    assert [each.reason for each in out.refused] == ([] if reason is None else [reason])
    assert reason is None or not out.messages


def test_fields_that_are_unknown_or_not_there_change_nothing_that_matters() -> None:
    records = [
        acd_start(0, mediaType=None, ani=None, routingPriority=None, provider=None, newField={"a": [1]}),
        acd_end(9, "ANSWERED", answeredUserId="u-0", connectedDurationMs=None, usedRouting=None, mediaType=None),
        user_end(19, queueId=None, interactingDurationMs=10_000, disconnectType="A_NEW_ONE"),
        acw(29, queueId=None, sessionId=None, wrapupDurationMs=10_000),
    ]
    assert [each[:2] for each in told(*records)] == [(0, "queued"), (9, "answered"), (19, "ended"), (29, "wrapped")]
    late_times = acd_start(0, eventTime=iso(0))
    assert told(late_times)[0][:2] == (0, "queued")


def test_what_means_nothing_is_counted_as_that() -> None:
    records = [
        detail("flow.start", 0, "c1", "f1"),
        detail("attributes", 0, "c1", "f1"),
        {"topicName": "channel.metadata", "eventBody": {"message": "WebSocket Heartbeat"}},
        {"topicName": "v2.conversations.c1.transcription", "eventBody": {"id": None}},
        user_end(5, userId=None),
    ]
    out = said(translator(), records)
    assert not out.messages
    assert not out.refused
    assert out.ignored == {"no_meaning": 5}


def test_what_comes_twice_is_counted_as_repeated_and_says_nothing() -> None:
    records = day(5).records
    source = translator()
    once = said(source, records, end=False)
    again = said(source, records, end=False)
    assert not again.messages
    assert again.ignored == {"repeated": len(records)}
    assert "repeated" not in once.ignored


def test_callers_and_queues_that_are_ignored_say_nothing_and_customers_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32, encoding="utf-8")
    whole = day(7)
    for number in (f"{NUMBER}0003", f"tel:{NUMBER}0003"):
        out = said(translator(ignore={"callers": [number]}), whole.records)
        assert out.ignored["caller"] >= 2
        assert not any(each["subject"].startswith("gc-c3/") for each in events(out))
    ignored = said(translator(ignore={"queues": ["q-sales"]}), whole.records)
    assert not any(each["data"]["queue"] == "gc/q-sales" for each in events(ignored))
    assert ignored.ignored["queue"] > 0
    numbers = [f"tel:{NUMBER}0001", f"sip:{NUMBER}0001@10.0.0.1;user=phone", f"{NUMBER}0001"]
    starts = [acd_start(0, f"c{place}", f"a{place}", ani=number) for place, number in enumerate(numbers)]
    starts.append(acd_start(0, "c9", "a9", direction="OUTBOUND", ani="tel:+3901", dnis=numbers[0]))
    hashed = {each["data"]["customer"] for each in events(said(translator(customer_key_file=tmp_path / "key"), starts))}
    assert len(hashed) == 1
    assert "customer" not in events(said(translator(), starts))[0]["data"]


def test_an_ignored_agents_refusals_are_left_out() -> None:
    refused = user_end(5, alertingDurationMs=4000, disconnectType="NO_ANSWER_TRANSFER")
    assert [each[1] for each in told(acd_start(0), refused)] == ["queued", "declined"]
    assert [each[1] for each in told(acd_start(0), refused, ignore={"agents": ["u-0"]})] == ["queued"]


def test_nothing_personal_is_said_kept_or_written_down(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32, encoding="utf-8")
    whole = day(7)
    source = translator(customer_key_file=tmp_path / "key")
    records = [*whole.records, *(record for _, record in whole.notified()), presence(0, "u-1", "MEAL")]
    records += [
        acd_start(0, sessionId=None),
        acd_start(0, eventTime=f"{NUMBER}0001"),
        {"topicName": f"{NUMBER}", "eventBody": {}},
    ]
    out = said(source, records)
    told = b"".join(value for _, _, value in out.messages) + orjson.dumps(source.memory())
    told += repr(out.refused).encode()
    for word in ("06555", "call Ann back", "back at two", "Ann", "10.0.0.1"):
        assert word.encode() not in told


# --------------------------------------------------------------------------------------------------------------- agents


def states(*records: dict[str, Any], **more: Any) -> list[tuple[Any, ...]]:
    out = said(translator(**more), records)
    assert_sound(out.messages)
    return of_agents(out, "gc")


def test_what_agents_do_by_their_routing_status_and_off_the_queue_by_their_presence() -> None:
    for name, state in (("IDLE", "available"), ("INTERACTING", "talking"), ("COMMUNICATING", "busy")):
        assert states(status(1, "u-1", name)) == [(1, "u-1", state, "")]
    assert states(status(1, "u-1", "NOT_RESPONDING")) == [(1, "u-1", "other", "", "not responding")]
    off = status(1, "u-1", "OFF_QUEUE")
    for name, state in (("Break", "break"), ("MEAL", "meal"), ("Meeting", "meeting"), ("TRAINING", "training")):
        assert states(off, presence(2, "u-1", name))[-1][:3] == (2, "u-1", state)
    assert states(off, presence(2, "u-1", "OFFLINE"))[-1][2] == "offline"
    assert states(off, presence(2, "u-1", "AWAY"))[-1] == (2, "u-1", "other", "", "away")


def test_a_secondary_presence_has_the_state_that_the_map_gives_it() -> None:
    told = [status(1, "u-1", "OFF_QUEUE"), presence(2, "u-1", "AWAY", definition="pd-doctor")]
    assert states(*told, map={"reasons": {"PD-doctor": "break"}})[-1][2:] == ("break", "", "away")
    assert states(*told, map={"reasons": {"away": "training"}})[-1][2] == "training"


def test_an_agents_newest_state_is_said_last_in_any_order() -> None:
    """Of one moment the one that is said later counts."""
    records = [
        status(1, "u-1", "OFF_QUEUE"),
        presence(2, "u-1", "MEAL"),
        status(30, "u-1", "IDLE"),
        status(40, "u-1", "INTERACTING"),
        status(50, "u-1", "OFF_QUEUE"),
        presence(50, "u-1", "BREAK"),
    ]
    for seed in range(30):
        random.Random(seed).shuffle(records)
        found = states(*records, *records[:3])
        newest = max(each[0] for each in found)
        assert [each for each in found if each[0] == newest][-1] == (50, "u-1", "break", "", "break")


def test_activity_tells_the_queues_that_an_agent_serves() -> None:
    found = states(
        activity(10, "u-1", "IDLE", "On Queue", ["q-support", "q-sales", "q-test"]),
        status(20, "u-1", "INTERACTING"),
        ignore={"queues": ["q-test"]},
    )
    assert found == [(10, "u-1", "available", "q-sales q-support"), (20, "u-1", "talking", "q-sales q-support")]


def test_presences_of_other_systems_and_agents_who_are_ignored_say_nothing() -> None:
    other = presence(2, "u-1", "MEAL", source="MICROSOFTTEAMS"), presence(2, "u-1", "MEAL", primary=False)
    assert said(translator(), other).ignored == {"no_meaning": 2}
    assert said(translator(ignore={"agents": ["u-1"]}), [status(1, "u-1", "IDLE")]).ignored == {"agent": 1}


# ---------------------------------------------------------------------------------------------------------------- lists


def observed(second: float, *waiting: tuple[str, float], queue: str = "q-sales", **more: Any) -> dict[str, Any]:
    """A list of who waits: conversations and since when."""
    found = [
        {"conversationId": conversation, "sessionId": f"{conversation}-session", "observationDate": iso(since)}
        for conversation, since in waiting
    ]
    body = {"queueId": queue, "at": ms(second), "observations": found, "truncated": False} | more
    return {"topicName": OBSERVED, "eventBody": body}


def listed(*records: dict[str, Any], **more: Any) -> list[Any]:
    out = said(translator(**more), records)
    assert_sound(out.messages)
    return [
        [(each["call"], each["since"]) for each in event["data"]["waiting"]]
        for event in events(out)
        if event["type"].endswith("snapshot.v1")
    ]


def test_a_list_of_who_waits_names_calls_as_they_were_told() -> None:
    known = acd_start(5, "c1", "a1")
    assert listed(known, observed(10, ("c1", 5), ("c2", 7))) == [
        [("gc-c1/a1", iso(5).replace(".000", "")), ("gc-c2/c2-session", iso(7).replace(".000", ""))]
    ]
    assert listed(observed(10)) == [[]]


def test_a_list_that_may_lack_somebody_is_none() -> None:
    """Who is on no list is given up as a ghost."""
    assert not listed(observed(10, ("c1", 5), truncated=True))
    assert not listed(observed(10, ("c1", 5)), map={"queues": {"q-sales": "all", "q-support": "all"}})
    assert not listed(observed(10, ("c1", 5)), ignore={"queues": ["q-sales"]})


def test_who_rings_at_an_agent_still_waits() -> None:
    ringing = {"conversationId": "c1", "sessionId": "s1", "userId": "u-1", "observationDate": iso(9)}
    assert listed(acd_start(5, "c1", "a1"), observed(10, observations=[ringing])) == [
        [("gc-c1/a1", iso(5).replace(".000", ""))]
    ]
    assert listed(observed(10, observations=[ringing])) == [[]]


# --------------------------------------------------------------------------------------------------------- conversations


def test_a_conversation_of_a_queue_says_what_detail_events_say() -> None:
    told_by = Conversation(
        "c1",
        [
            Session("x1", "customer", "voice", -3, connected=-3, ended=72.5, how="peer"),
            Session("a1", "acd", "voice", 0, "q-sales", connected=0.07, ended=12.55, how="transfer"),
            Session("s0", "agent", "voice", 1, "q-sales", "u-1", ended=9, how="transfer.noanswer"),
            Session("s1", "agent", "voice", 10, "q-sales", "u-0", connected=12.5, ended=72.5, how="peer", wrapped=90),
        ],
    )
    expected = [
        (0.07, "queued", CALL, "q-sales", 1),
        (9, "declined", CALL, "q-sales", 1, "gc/u-1", "no_answer"),
        (12.5, "answered", CALL, "q-sales", 1, "gc/u-0"),
        (72.5, "ended", CALL, "q-sales", 1, "gc/u-0", "caller"),
        (90, "wrapped", CALL, "q-sales", 1, "gc/u-0"),
    ]
    assert sorted(told(*(record for _, record in told_by.notifications()))) == expected
    last = {"topicName": "v2.conversations.c1", "eventBody": told_by.at(100)}
    assert sorted(told(last)) == expected
    open_at = {
        second: is_open({"topicName": "v2.conversations.c1", "eventBody": told_by.at(second)})
        for second in (5.0, 50.0, 80.0, 95.0)
    }
    assert open_at == {5.0: True, 50.0: True, 80.0: True, 95.0: False}


def test_of_a_conversation_that_is_heard_of_late_nothing_is_taken_for_lost_that_stands_in_it() -> None:
    """Nothing older is to come by then; but it came together."""
    flowed = Conversation(
        "c1",
        [
            Session("a1", "acd", "voice", 0, "q-sales", connected=0, ended=9, how="transfer"),
            Session("a2", "acd", "voice", 9.1, "q-support", connected=9.1, ended=20, how="transfer"),
            Session("s1", "agent", "voice", 15, "q-support", "u-0", connected=20.05, ended=60, how="peer"),
            Session("x1", "customer", "voice", -3, connected=-3, ended=60, how="peer"),
        ],
    )
    source, out = translator(), Out()
    source.advance(at(1000), out)
    source.translate({"topicName": "v2.conversations.c1", "eventBody": flowed.at(100)}, out)
    assert sorted(of_calls(out, "gc")) == [
        (0, "queued", CALL, "q-sales", 1),
        (9, "diverted", CALL, "q-sales", 1, "overflow"),
        (9.1, "queued", "c1/a2", "q-support", 1, "overflow"),
        (20.05, "answered", "c1/a2", "q-support", 1, "gc/u-0"),
        (60, "ended", "c1/a2", "q-support", 1, "gc/u-0", "caller"),
    ]


# ----------------------------------------------------------------------------------------------------------------- days


def fold(out: Out) -> dict[str, Any]:
    """The core's figures, by the vendor's queue and channel."""
    assert not out.refused
    assert_sound(out.messages, ids=False)
    replay = Replay(Question())
    assert not replay.fold_all(value for role, _, value in out.messages if role == "events")
    return {name.removeprefix("gc/"): row for name, row in replay.report()["queues"].items()}


def assert_true(whole: Day, found: dict[str, Any]) -> None:
    assert set(found) == set(whole.truth)
    for queue, figures in whole.truth.items():
        for key in KEYS:
            expected = getattr(figures, key)
            if isinstance(expected, float):
                assert found[queue][key] == pytest.approx(expected, abs=0.002), (queue, key)
            else:
                assert found[queue][key] == expected, (queue, key)


def came(records: Iterable[tuple[float | None, Any]]) -> Out:
    """What is said of records that come then, up to when everything is known to have come; None: nothing is known."""
    source, out = translator(), Out()
    for second, record in records:
        if second is not None:
            source.advance(at(second), out)
        source.translate(record, out)
    source.advance(ALL, out)
    return out


@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False))
def test_a_day_comes_to_what_the_simulator_knows_doubled_and_late_in_any_order(seed: int, order: random.Random) -> None:
    """Each record comes up to `late_seconds` after it happened, some twice, while time is told to pass."""
    whole = day(seed)
    late = sorted(
        (
            (second + order.uniform(0, LATE) * order.choice((0.01, 1)), number, record)
            for number, (second, record) in enumerate(whole.details)
            for _ in range(order.choice((1, 1, 2)))
        ),
        key=lambda each: each[:2],
    )
    assert_true(whole, fold(came((second, record) for second, _, record in late)))


@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False))
def test_any_order_at_all_comes_to_the_same_while_nothing_is_told_to_be_over(seed: int, order: random.Random) -> None:
    whole = day(seed, conversations=12)
    records = whole.records + whole.records
    order.shuffle(records)
    assert fold(said(translator(), records)) == fold(said(translator(), whole.records))


@given(seed=st.integers(0, 10**6))
def test_a_day_of_notifications_comes_to_the_same(seed: int) -> None:
    """But for time-outs, which conversations do not tell from other flows, and holds, whose lengths they do not tell."""
    whole = day(seed, hold=False)
    for figures in whole.truth.values():
        flowed = figures.diverted_by
        flowed["elsewhere"] += flowed.pop("timeout", 0)
        figures.diverted_by = +flowed
    assert_true(whole, fold(came(whole.notified())))


@given(seed=st.integers(0, 10**6), gap=st.floats(0, 3600), lasts=st.floats(0, 2000))
def test_after_a_gap_asking_for_each_conversation_makes_it_whole(seed: int, gap: float, lasts: float) -> None:
    """Until it is asked for nothing is told to be over."""
    whole = day(seed, conversations=15, hold=False)
    before = [each for each in whole.notified() if each[0] <= gap]
    after = [each for each in whole.notified() if each[0] > gap + lasts]
    asked = [
        (None, {"topicName": f"v2.conversations.{each.id}", "eventBody": each.at(gap + lasts)})
        for each in whole.conversations
        if each.moments[0] <= gap + lasts
    ]
    assert fold(came([*before, *asked, *after])) == fold(came(whole.notified()))


@given(seed=st.integers(0, 10**6), lost=st.sampled_from(["user.start", "customer.end"]))
def test_records_that_others_make_up_for_may_be_lost(seed: int, lost: str) -> None:
    whole = day(seed)
    assert_true(whole, fold(came(each for each in whole.details if not each[1]["topicName"].endswith(lost))))


@given(seed=st.integers(0, 10**6), dice=st.randoms(use_true_random=False))
def test_where_every_other_beginning_is_lost_only_those_who_still_wait_are_not_known(
    seed: int, dice: random.Random
) -> None:
    whole = day(seed)
    kept = [each for each in whole.details if not each[1]["topicName"].endswith("acd.start") or dice.random() < 0.5]
    found = fold(came(kept))
    for queue, figures in whole.truth.items():
        row = found.get(queue, dict.fromkeys(KEYS, 0) | {"diverted_by": {}})
        assert row["offered"] - row["waiting"] == figures.offered - figures.waiting
        for key in ("answered", "abandoned", "talk_sum", "wrap_sum"):
            assert row[key] == pytest.approx(getattr(figures, key), abs=0.002)


# ------------------------------------------------------------------------------------------- what every source is held to


def everything() -> list[Any]:
    whole = day(11, conversations=20)
    agents = [
        status(1, "u-1", "OFF_QUEUE"),
        presence(2, "u-1", "MEAL"),
        activity(3, "u-2", "IDLE", "ON_QUEUE", ["q-sales"]),
    ]
    lists = [observed(100, ("c1", 5)), observed(200)]
    told_whole = [record for _, record in whole.notified()][:60]
    return [*map(bridged, whole.records[:200]), *whole.records[200:], *agents, *lists, *told_whole]


def test_a_memory_can_be_saved_anywhere() -> None:
    records = everything()
    assert_a_memory_can_be_saved_anywhere(translator, records, range(0, len(records), 17))


def test_a_repeat_adds_nothing() -> None:
    records = everything()
    for cut in range(40, len(records), 41):
        assert_a_repeat_adds_nothing(translator, records, cut, 25)


def test_a_hundred_thousand_spoilt_records_raise_nothing() -> None:
    source, out = translator(), Out()
    for record in mutated(everything(), 100_000):
        source.translate(record, out)
    source.advance(ALL, out)
    orjson.dumps(source.memory())
    assert_sound(out.messages, ids=False)
    assert out.refused
    assert out.ignored


def test_lines_that_are_no_json_are_refused_with_their_numbers() -> None:
    lines = [orjson.dumps(bridged(acd_start(0))), b"\n", b"{", orjson.dumps(acd_end(9, "ABANDON"))]
    records = list(records_of(lines))
    assert [number for number, _ in records] == [1, 3, 4]
    out = said(translator(), [record for _, record in records])
    assert [each.reason for each in out.refused] == ["unreadable"]
    assert [each[1] for each in of_calls(out, "gc")] == ["queued", "abandoned"]


# ------------------------------------------------------------------------------------------------------------- settings


def test_the_page_has_examples_that_can_be_used_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/sources/genesys-cloud.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        told = Configuration.model_validate(tomllib.loads(example)).sources
        assert all(isinstance(each, GenesysCloud) for each in told.values())


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"queue_url": None}, "needs queue_url"),
        ({"transport": "notifications"}, "needs domain and client_id"),
        ({"queue_url": "sqs"}, "queue_url"),
        ({"queue_url": "https://who:secret@sqs/1/calls"}, "queue_url"),
    ],
)
def test_settings_that_are_not_whole_are_told(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        settings(**more)
