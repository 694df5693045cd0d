"""What Asterisk's manager interface means, trap by trap.  Seconds count from a fixed moment."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.source_settings import AsteriskAmi
from queuewatch_schemas.times import instant
from queuewatch_streams.core.replay import Question, Replay, _tell_instant
from queuewatch_streams.sources.asterisk.ami.messages import Message, messages_of
from queuewatch_streams.sources.asterisk.ami.translator import Ami
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.visits import MOST_CLOSED, MOST_OPEN
from sources.heard import SECOND, START, at, figures, of_agents, of_calls, second
from sources.made_up_ami import (
    abandon,
    agent,
    booted,
    called,
    caller,
    complete,
    connect,
    greeting,
    join,
    leave,
    listed,
    made_up_session,
    member,
    message,
    no_answer,
    status,
)
from support.sources import (
    assert_sound,
    events,
    said,
)

AWAY = ("xfer", "720", 1)


def translator(memory: Any = None, **more: Any) -> Ami:
    settings = {"kind": "asterisk-ami", "host": "pbx", "username": "queuewatch", **more}
    return Ami(Composer("pbx1", AsteriskAmi.model_validate(settings)), memory)


def told(*records: Message | list[Message], **more: Any) -> list[tuple[Any, ...]]:
    """What is said of calls; see of_calls."""
    return of_calls(said(translator(**more), flat(records)), "pbx1")


def states(*records: Message | list[Message], **more: Any) -> list[tuple[Any, ...]]:
    """What is said of agents; see of_agents."""
    return of_agents(said(translator(**more), flat(records)), "pbx1")


def flat(records: Sequence[Message | list[Message]]) -> list[Message]:
    return [each for record in records for each in (record if isinstance(record, list) else [record])]


# --------------------------------------------------------------------------------------------------------- properties


@given(st.integers(0, 10_000), st.floats(0, 100), st.floats(0, 60))
def test_a_lost_connection_loses_only_what_nobody_tells_any_more(seed: int, lost: float, length: float) -> None:
    messages, visits = made_up_session(seed, 25)
    back = lost + length
    kept = [each for each in messages if not at(lost) <= each[0] < at(back)]
    # A list may not be cut in two: the one that would have come then is not complete.
    whole = [each for each in kept if each[1].get("ActionID") is None or each[0] in complete_lists(kept)]
    list_then = listed(back, *state_at(back, visits))
    place = sum(each[0] < at(back) for each in whole)
    records = [*whole[:place], greeting(back), *list_then, *whole[place:]]
    out = said(translator(), records)
    assert {refusal.reason for refusal in out.refused} <= {
        "missing_field"
    }  # ends that name no call, of talks unheard of
    assert_sound(out.messages)
    said_of = defaultdict(set)
    for event in events(out):
        if ".call." in event["type"]:
            said_of[event["subject"][5:], event["data"]["queue"][5:]].add((event["type"].split(".")[2], second(event)))
    for visit in visits:
        if visit.how in ("JOINEMPTY", "FULL"):
            continue
        moments = said_of[visit.call, visit.queue]
        outside = [not lost - 1 <= each <= back + 1 for each in (visit.joined, visit.done, visit.ended or visit.done)]
        kind = visit.how if visit.how in ("answered", "abandoned") else "diverted"
        if outside[0]:
            assert ("queued", round(visit.joined, 6)) in moments
        if outside[0] and outside[1]:
            assert any(what == kind and abs(when - visit.done) < 0.01 for what, when in moments), (visit.how, moments)
        if visit.how == "answered" and outside[2] and (visit.named or (outside[0] and outside[1])):
            assert any(what == "answered" and abs(when - visit.done) <= 2 for what, when in moments)
            assert any(what == "ended" and abs(when - visit.ended) < 0.01 for what, when in moments)
        again = [each for each in visits if (each.call, each.queue) == (visit.call, visit.queue)]
        twice = any(
            0 < visit.joined - each.joined < 4 for each in again
        )  # a list in whole seconds cannot tell the two apart
        if visit.joined < back - 3 and visit.done > back and not twice:  # he is on the list
            assert any(what == "queued" and -1 <= visit.joined - when < 2 for what, when in moments)


def complete_lists(messages: list[Message]) -> set[int]:
    return {each[0] for each in messages if each[1].get("Event") == "QueueStatusComplete"}


def state_at(back: float, visits: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Who waits and who talks at a moment."""
    waiting: dict[str, Any] = {"sales": {}, "support": {}, "vip": {}}
    members: dict[str, Any] = {}
    for visit in visits:
        if visit.how not in ("JOINEMPTY", "FULL") and visit.joined <= back < visit.done:
            waiting[visit.queue][visit.call] = visit.joined
        if visit.agent:
            row = members.setdefault(visit.agent, {"LastCall": 0})
            if visit.done <= back < visit.ended:
                row |= {"Status": 2, "InCall": 1}
            elif visit.ended <= back:
                row["LastCall"] = max(row["LastCall"], START + int(visit.ended))
    return waiting, members


# ----------------------------------------------------------------------------------------------------- how a wait ends


def test_an_answered_call() -> None:
    assert told(
        join(0), called(1), leave(4), connect(4.001), complete(30.5, "caller")
    ) == [
        (0, "queued", "c1", "sales", 1),
        (1, "ringing", "c1", "sales", 1, "pbx1/Anna"),
        (4.001, "answered", "c1", "sales", 1, "pbx1/Anna"),
        (30.5, "ended", "c1", "sales", 1, "pbx1/Anna", "caller"),
    ]  # fmt: skip


def test_who_left_from_where_he_stood_has_hung_up_once_nothing_else_is_told() -> None:
    one, out = translator(), Out()
    for record in (join(0), abandon(9), leave(9.0001)):
        one.translate(record, out)
    assert len(out.messages) == 1
    one.advance(at(9.1), out)
    assert len(out.messages) == 1
    one.advance(at(9.3), out)
    assert [event["type"] for event in events(out)] == ["queuewatch.call.queued.v1", "queuewatch.call.abandoned.v1"]
    assert second(events(out)[1]) == 9.0001


@pytest.mark.parametrize(
    ("value", "reason"),
    [("TIMEOUT", "timeout"), ("LEAVEEMPTY", "no_agents"), ("LEAVEUNAVAIL", "no_agents"), ("WITHDRAW", "withdrawn")],
)
def test_asterisks_abandon_is_whatever_the_dialplan_says_next(value: str, reason: str) -> None:
    assert told(join(0), abandon(9), leave(9.0001), status(9.0002, value)) == [
        (0, "queued", "c1", "sales", 1),
        (9.0001, "diverted", "c1", "sales", 1, reason),
    ]


def test_who_stands_elsewhere_when_he_leaves_was_redirected() -> None:
    assert told(join(0), abandon(9), leave(9.001, place=AWAY))[1:] == [
        (9.001, "diverted", "c1", "sales", 1, "transfer")
    ]


def test_a_key_exit_has_no_abandon_at_all() -> None:
    assert told(join(0), leave(9, place=("menu", "1", 0)))[1:] == [(9, "diverted", "c1", "sales", 1, "key")]


def test_who_hangs_up_while_the_agent_hears_an_announcement_has_abandoned() -> None:
    assert told(join(0), leave(5), abandon(8))[1:] == [(5, "abandoned", "c1", "sales", 1)]


def test_who_is_answered_while_it_is_being_decided_how_he_left_has_not_hung_up() -> None:
    """His talk lasts until the agent's completion, which may come within that quarter of a second too."""
    left = [join(1), abandon(5), leave(5.01), connect(5.1)]
    answered = [(1, "queued", "c1", "sales", 1), (5.1, "answered", "c1", "sales", 1, "pbx1/Anna")]
    assert told(left, join(7, "c2")) == [*answered, (7, "queued", "c2", "sales", 1)]
    for end in (5.15, 20):
        ended = (end, "ended", "c1", "sales", 1, "pbx1/Anna", "agent")
        assert told(left, complete(end, "agent"), join(30, "c2"))[:3] == [*answered, ended]


def test_a_join_that_comes_after_the_leave_of_a_caller_known_from_a_list_changes_nothing() -> None:
    seen = listed(10, {"sales": {"c1": 7}})
    assert told(seen, abandon(10.01), leave(10.02), join(7.5), join(20, "c2"))[:2] == [
        (7, "queued", "c1", "sales", 1),
        (10.02, "abandoned", "c1", "sales", 1),
    ]


def test_who_has_left_is_not_forgotten_while_it_is_being_decided_how() -> None:
    """Though Asterisk's clock is set forward meanwhile, so that he seems to have been on no list for long."""
    _, ahead = join(20, "c2")
    left = [join(0), abandon(9), leave(9), greeting(9.05)]
    found = told(left, listed(9.06, {"sales": {}}), (at(9.1), ahead), listed(9.15, {"sales": {"c2": 20}}))
    assert (9, "abandoned", "c1", "sales", 1) in found


def test_who_joins_another_queue_has_not_hung_up_though_nobody_said_why_he_left() -> None:
    assert told(join(0), abandon(9), leave(9), join(9.1, queue="vip"))[1:] == [
        (9, "diverted", "c1", "sales", 1, "overflow"),
        (9.1, "queued", "c1", "vip", 1, "overflow"),
    ]


def test_refusals_have_the_queue_that_the_dialplan_named_else_an_unknown_one() -> None:
    dialled = message(0, "Newexten", **caller("c1"), Application="Queue", AppData="night,tT,,,30")
    assert told(dialled, status(0.1, "JOINEMPTY"), status(1, "FULL", "c2")) == [
        (0.1, "refused", "c1", "night", 1, "no_agents"),
        (1, "refused", "c2", "unknown", 1, "full"),
    ]


def test_no_answer_at_all_is_a_busy_agent_and_ring_times_are_milliseconds() -> None:
    assert told(join(0), no_answer(1, 0), no_answer(14, 12_000))[1:] == [
        (1, "declined", "c1", "sales", 1, "pbx1/Anna", "busy"),
        (14, "declined", "c1", "sales", 1, "pbx1/Anna", "no_answer"),
    ]


# ----------------------------------------------------------------------------------------------------- how a talk ends


@pytest.mark.parametrize("leg", ["leg1", ""])
def test_a_completion_without_its_caller_is_found_by_the_agent(leg: str) -> None:
    others = [join(0, "c2"), connect(1, "Zoë", "c2", leg="leg2"), join(0, "c3", "vip"), connect(1, "Anna", "c3", "vip")]
    assert (20, "ended", "c1", "sales", 1, "pbx1/Anna", "caller") in told(
        join(0), *others, connect(4), complete(20, "caller", call=None, leg=leg, talk=16)
    )


def test_an_attended_transfer_is_one_though_asterisk_tells_of_it_after_the_end() -> None:
    transfer = message(
        20.001, "AttendedTransfer", Result="Success", TransfereeUniqueid="c1", OrigTransfererUniqueid="leg1"
    )
    assert told(join(0), connect(4), complete(20, "agent"), transfer)[-1][-1] == "transfer"
    assert told(join(0), connect(4), complete(20, "agent"))[-1][-1] == "agent"


def test_a_blind_transfer_into_the_same_queue_is_a_second_visit_though_it_begins_first() -> None:
    transfer = message(9.9, "BlindTransfer", Result="Success", TransfereeUniqueid="c1", TransfererUniqueid="leg1")
    assert told(
        join(0), connect(4), transfer, join(10), complete(10.1, "transfer"), leave(12), connect(12, "Zoë", leg="leg2"),
        complete(20, "caller", "Zoë", leg="leg2"),
    )[2:] == [
        (10, "queued", "c1", "sales", 2, "transfer"),
        (10.1, "ended", "c1", "sales", 1, "pbx1/Anna", "transfer"),
        (12, "answered", "c1", "sales", 2, "pbx1/Zoë"),
        (20, "ended", "c1", "sales", 2, "pbx1/Zoë", "caller"),
    ]  # fmt: skip


def test_who_is_redirected_while_talking_talks_no_longer_than_the_agents_phone_was_in_use() -> None:
    assert told(
        member(0), join(0), connect(4), member(4, status=2, in_call=1), member(20, in_call=1),
        complete(22, "caller", place=AWAY),
    )[-1] == (20, "ended", "c1", "sales", 1, "pbx1/Anna", "system")  # fmt: skip


def test_hold_is_what_the_agents_channel_says() -> None:
    holds = [
        message(second, kind, Uniqueid=leg)
        for second, kind, leg in ((6, "Hold", "leg1"), (7, "Hold", "x"), (9, "Unhold", "leg1"))
    ]
    assert told(join(0), connect(4), *holds, complete(20, "caller"))[2:4] == [
        (6, "held", "c1", "sales", 1, "pbx1/Anna"),
        (9, "resumed", "c1", "sales", 1, "pbx1/Anna"),
    ]


def test_hold_on_a_channel_of_two_talks_is_the_newer_ones_after_a_restart_too() -> None:
    hold = message(6, "Hold", Uniqueid="leg1")
    records = [join(0, "c1", "vip"), connect(1, "Dan", "c3"), connect(2), connect(3, "Dan", "c1", "vip")]
    for cut in range(len(records) + 1):
        one = translator()
        said(one, records[:cut], end=False)
        again = said(translator(orjson.loads(orjson.dumps(one.memory()))), [*records[cut:], hold])
        assert of_calls(again, "pbx1")[-1] == (6, "held", "c1", "vip", 1, "pbx1/Dan")


def test_a_phone_that_was_free_for_a_moment_still_talks() -> None:
    records = [member(0), join(0), connect(4), member(4, status=2), member(9), member(9.1, status=2)]
    assert [state[:3] for state in states(*records)][-2:] == [(9, "Anna", "available"), (9.1, "Anna", "talking")]
    assert told(*records, complete(22, "caller", place=AWAY))[-1][0] == 22


def test_after_call_work_is_as_long_as_the_queue_grants() -> None:
    records = [
        member(0, wrap=10),
        join(1),
        connect(4),
        member(4, status=2, wrap=10),
        member(20, wrap=10),
        complete(20, "caller"),
    ]
    assert told(*records)[-1] == (30, "wrapped", "c1", "sales", 1, "pbx1/Anna")
    assert [state[:3] for state in states(*records)][-2:] == [(20, "Anna", "wrap_up"), (30, "Anna", "available")]


# --------------------------------------------------------------------------------------------------- lists, restarts


def test_a_caller_who_was_never_announced_is_sent_once_his_event_cannot_be_on_its_way() -> None:
    assert told(listed(10.5, {"sales": {"c1": 3}})) == [(3, "queued", "c1", "sales", 1)]
    assert told(listed(10.5, {"sales": {"c1": 10}})) == []
    assert told(listed(10.5, {"sales": {"c1": 10}}), listed(13, {"sales": {"c1": 10}})) == [
        (10, "queued", "c1", "sales", 1)
    ]
    assert told(listed(10.5, {"sales": {"c1": 10.4}}), join(10.4), listed(13, {"sales": {"c1": 10.4}})) == [
        (10.4, "queued", "c1", "sales", 1)
    ]


def test_a_list_is_a_snapshot_of_each_queue_with_the_visits_as_they_were_sent() -> None:
    records = [join(0), leave(1, place=("menu", "1", 0)), join(5.25), *listed(10, {"sales": {"c1": 5.25}, "vip": {}})]
    shots = {
        event["subject"]: event["data"] for event in events(said(translator(), records)) if "snapshot" in event["type"]
    }
    assert shots["pbx1/vip"] == {"complete": True, "waiting": []}
    [waiting] = shots["pbx1/sales"]["waiting"]
    assert waiting["call"] == "pbx1-c1"
    assert waiting["visit"] == 2
    assert instant(waiting["since"]) == at(5.25)


def test_queues_of_one_name_have_one_snapshot() -> None:
    names = {"queues": {"sales": "all", "vip": "all"}}
    out = said(translator(map=names), flat([join(0), listed(10, {"sales": {"c1": 0}, "vip": {"c2": 1}})]))
    [shot] = [event for event in events(out) if "snapshot" in event["type"]]
    assert {each["call"] for each in shot["data"]["waiting"]} == {"pbx1-c1", "pbx1-c2"}


def test_a_talk_whose_beginning_was_missed_is_rebuilt_from_its_end() -> None:
    assert told(complete(100, "caller", talk=20, hold=7)) == [
        (73, "queued", "c1", "sales", 1),
        (80, "answered", "c1", "sales", 1, "pbx1/Anna"),
        (100, "ended", "c1", "sales", 1, "pbx1/Anna", "caller"),
    ]
    assert told(join(70), greeting(75), complete(100, "caller", talk=20, hold=7))[1:] == [
        (80, "answered", "c1", "sales", 1, "pbx1/Anna"),
        (100, "ended", "c1", "sales", 1, "pbx1/Anna", "caller"),
    ]


def test_an_end_by_another_agent_is_of_another_talk_whose_beginning_was_missed() -> None:
    away = listed(60, {"sales": {}}, {"Anna": {"InCall": 1}})
    assert told(join(0), connect(4), greeting(60), away, complete(100, "caller", "Zoë", leg="leg2", talk=20, hold=7))[
        2:
    ] == [
        (73, "queued", "c1", "sales", 2),
        (80, "answered", "c1", "sales", 2, "pbx1/Zoë"),
        (100, "ended", "c1", "sales", 2, "pbx1/Zoë", "caller"),
    ]


def test_a_talk_that_ended_unheard_ended_with_its_agents_last_call() -> None:
    away = listed(60, {"sales": {}}, {"Anna": {"LastCall": START + 40}})
    talking = listed(60, {"sales": {}}, {"Anna": {"InCall": 1, "Status": 2}})
    assert told(join(0), connect(4), greeting(60), away)[2:] == [(40, "ended", "c1", "sales", 1, "pbx1/Anna")]
    assert told(join(0), connect(4), greeting(60), talking)[2:] == []


def test_a_restart_of_asterisk_closes_what_was_open_when_it_was_heard_last() -> None:
    assert told(join(0), join(1, "c2"), connect(4, call="c2"), greeting(60), booted(60, 20))[3:] == [
        (4, "diverted", "c1", "sales", 1, "withdrawn"),
        (4, "ended", "c2", "sales", 1, "pbx1/Anna", "system"),
    ]
    assert told(join(0), greeting(60), booted(60, 3600))[1:] == []


def test_without_timestamps_a_record_is_as_old_as_its_receipt() -> None:
    record = message(7, "QueueCallerJoin", stamped=False, **caller("c1"), Queue="sales")
    assert told(record) == [(7.001, "queued", "c1", "sales", 1)]


def test_lists_are_told_by_asterisks_clock_though_ours_is_another() -> None:
    behind = [
        (received - 3600 * SECOND, fields) for received, fields in flat([join(0), *[listed(10, {"sales": {"c1": 0}})]])
    ]
    [shot] = [event for event in events(said(translator(), behind)) if "snapshot" in event["type"]]
    assert 9.9 < second(shot) < 10


# ------------------------------------------------------------------------------------------------------------- agents


def test_pausing_in_all_queues_is_a_pause_and_in_one_of_them_is_one_queue_less() -> None:
    pause = "QueueMemberPause"
    assert states(
        member(0), member(0, queue="vip"), member(5, pause, paused=1, reason="lunch"),
        member(6, pause, queue="vip", paused=1, reason="lunch"), member(9, pause), member(9, pause, queue="vip"),
    ) == [
        (0, "Anna", "available", "sales"),
        (0, "Anna", "available", "sales vip"),
        (5, "Anna", "available", "vip"),
        (6, "Anna", "meal", "sales vip", "lunch"),
        (9, "Anna", "available", "sales"),
        (9, "Anna", "available", "sales vip"),
    ]  # fmt: skip


def test_an_agents_phone_and_calls_make_his_state() -> None:
    assert [state[:3] for state in states(
        member(0), join(1), called(1), member(1, status=6), leave(4), connect(4), member(4, status=2, in_call=1),
        member(20), complete(20), member(30, status=2), member(40, status=5), member(41),
        message(50, "QueueMemberRemoved", **agent("Anna", "sales")),
    )] == [
        (0, "Anna", "available"),
        (1, "Anna", "ringing"),
        (4, "Anna", "talking"),
        (20, "Anna", "available"),
        (30, "Anna", "busy"),
        (40, "Anna", "offline"),
        (41, "Anna", "available"),
        (50, "Anna", "offline"),
    ]  # fmt: skip


def test_who_is_on_no_list_any_more_is_offline() -> None:
    assert states(listed(1, {"sales": {}}, {"Anna": {}}), listed(31, {"sales": {}}))[-1][1:3] == ("Anna", "offline")


# --------------------------------------------------------------------------------------------- what is kept to itself


def test_a_callers_number_is_hashed_or_left_out_and_never_sent(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    records = [join(0, number="+390612345"), join(1, "c2"), *listed(9, {"sales": {"c1": 0, "c2": 1}})]
    plain, hashed = (said(translator(customer_key_file=each), records) for each in (None, key))
    assert all(b"390612345" not in value for out in (plain, hashed) for _, _, value in out.messages)
    assert [event["data"].get("customer") for event in events(plain)[:2]] == [None, None]
    first, second = (event["data"].get("customer") for event in events(hashed)[:2])
    assert len(first) == 32
    assert second is None


def test_ignored_queues_callers_and_agents_are_counted_and_not_sent() -> None:
    ignore = {"queues": ["test"], "callers": ["100"], "agents": ["Zoë"]}
    records = [
        join(0, queue="test"),
        join(1, "c2", number="100"),
        connect(2, call="c2"),
        join(3, "c3"),
        connect(4, "Zoë", "c3"),
    ]
    out = said(translator(ignore=ignore), [*records, member(5, name="Zoë")])
    assert [event["subject"] for event in events(out)] == ["pbx1/Anna", "pbx1-c3", "pbx1-c3"]
    assert out.ignored == {"queue": 1, "caller": 2, "agent": 2}


def test_an_ignored_caller_is_on_no_snapshot_though_only_a_list_has_told_of_him() -> None:
    rows = [
        (received, {**fields, **({"CallerIDNum": "100"} if fields.get("Uniqueid") == "c1" else {})})
        for received, fields in listed(10, {"sales": {"c1": 9.5, "c2": 9.5}})
    ]
    [shot] = events(said(translator(ignore={"callers": ["100"]}), rows))
    assert [each["call"] for each in shot["data"]["waiting"]] == ["pbx1-c2"]


def test_an_ignored_agents_refusals_are_left_out() -> None:
    out = said(translator(ignore={"agents": ["Zoë"]}), [join(0), no_answer(5, 5000, "Zoë"), no_answer(9, 4000)])
    assert [each[1:] for each in of_calls(out, "pbx1")][1:] == [
        ("declined", "c1", "sales", 1, "pbx1/Anna", "no_answer")
    ]


def test_a_refusal_never_shows_what_could_be_a_callers() -> None:
    out = said(translator(), [message(0, "+390612345 secret"), (at(0), {"Event": "QueueCallerJoin", "Queue": "sales"})])
    assert [refusal.reason for refusal in out.refused] == ["unknown_event", "missing_field"]
    assert not any("3906" in refusal.detail for refusal in out.refused)


def test_the_memory_is_bounded() -> None:
    one, out = translator(), Out()
    for number in range(MOST_OPEN + 100):
        one.translate(join(number / 100, f"open{number}"), out)
    for number in range(MOST_CLOSED + 100):
        one.translate(join(number / 100, f"done{number}"), out)
        one.translate(leave(number / 100 + 1, f"done{number}", place=AWAY), out)
    kept = one.memory()["visits"]
    assert len(kept["open"]) <= MOST_OPEN
    assert len(kept["closed"]) == MOST_CLOSED
    assert one.open_calls == len(kept["open"])


# ---------------------------------------------------------------------------------------------------------- recordings

PLAIN = b"""Asterisk Call Manager/11.0.0\r
Response: Success\r
Message: Authentication accepted\r
\r
Event: QueueCallerJoin\r
Timestamp: 1795305001.500000\r
Uniqueid: c1\r
Queue: caff\xc3\xa8\r
\r
"""


def test_a_session_as_the_connection_carried_it_is_read() -> None:
    found = list(messages_of(PLAIN.splitlines(keepends=True)))
    assert [number for number, _ in found] == [1, 2, 5]
    out = said(translator(), [record for _, record in found])
    assert not out.refused
    assert [(second(event), event["data"]["queue"]) for event in events(out)] == [(1.5, "pbx1/caffè")]


def test_a_session_with_the_times_of_receipt_is_read_without_what_was_sent() -> None:
    received = b"@ 1795305000.5 <\nAsterisk Call Manager/11.0.0\n\n"
    lines = received + b"@ 1795305000.6 >\nAction: Login\nSecret: x\n\n@ 1795305001.7 <\nEvent: FullyBooted\n\n"
    assert list(messages_of(lines.splitlines(keepends=True))) == [
        (1, (1_795_305_000_500_000, {"Greeting": "Asterisk Call Manager/11.0.0"})),
        (8, (1_795_305_001_700_000, {"Event": "FullyBooted"})),
    ]


# ------------------------------------------------------------------------------------------------ a recorded Asterisk

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "asterisk"
recorded = pytest.mark.skipif(not RECORDED.exists(), reason="the recorded Asterisk lies outside this repository")


def recorded_messages() -> list[Message]:
    with gzip.open(RECORDED / "ami.txt.gz") as lines:
        return [record for _, record in messages_of(lines)]


@recorded
def test_a_recorded_asterisk_gives_the_true_counts_and_waits() -> None:
    """Twenty minutes of a real Asterisk, against what an independent trace of its channels says."""
    out = said(translator(), recorded_messages())
    assert not out.refused
    assert_sound(out.messages)
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    refused: Counter[str] = Counter()
    moments: dict[tuple[str, str], dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for event in events(out):
        kind, data = event["type"].split(".")[2], event["data"]
        if kind == "ended":
            ends[data["queue"]][data["by"]] += 1
        elif kind == "refused":
            refused[data["reason"]] += 1
        if ".call." in event["type"]:
            moments[event["subject"], data["queue"]][data.get("visit", 1)][kind] = instant(event["time"])
    truth = json.loads((RECORDED / "truth.json").read_text())
    assert refused == {"no_agents": truth["total"]["refused_joinempty"], "full": truth["total"]["refused_full"]}
    counted = figures(out, "pbx1")
    for queue, row in truth["queues"].items():
        if not row["entered"]:
            assert queue not in counted
            continue
        diverted = {
            "timeout": row["timed_out"],
            "key": row["exited_key"],
            "no_agents": row["leave_empty"],
            "withdrawn": row["withdrawn"],
            "transfer": row["redirected_while_waiting"],
        }
        assert counted[queue] == {
            "offered": row["entered"],
            "answered": row["answered"],
            "abandoned": row["abandoned"],
            "refused": 0,
            "diverted_by": {reason: number for reason, number in diverted.items() if number},
        }
        assert ends[f"pbx1/{queue}"] == {
            by: number
            for by, number in {
                "transfer": row["transferred_blind"] + row["transferred_attended"],
                "system": row["redirected_while_talking"],
                "caller": row["completed_by_caller"],
                "agent": row["completed_by_agent"],
            }.items()
            if number
        }
    with gzip.open(RECORDED / "visits.jsonl.gz") as lines:
        visits = [orjson.loads(line) for line in lines]
    worst = 0.0
    for visit in visits:
        if visit["out"].startswith("refused"):
            continue
        stays = moments[f"pbx1-{visit['uid']}", f"pbx1/{visit['queue']}"].values()
        stay = min(stays, key=lambda each: abs(each.get("queued", 0) / 1e6 - visit["enter"]))
        left = next(stay[kind] for kind in ("answered", "abandoned", "diverted") if kind in stay)
        wait = (visit["ans"] or visit["exit"]) - visit["enter"]
        worst = max(worst, abs((left - stay["queued"]) / 1e6 - wait))
        if visit["ans"] and visit["out"] != "redirected_talking":
            assert abs((stay["ended"] - stay["answered"]) / 1e6 - (visit["talk_end"] - visit["ans"])) < 0.02
    assert worst < 0.02


@recorded
def test_at_each_list_of_a_recorded_asterisk_events_alone_had_told_what_it_says() -> None:
    """Who waits, for how long, and what agents do; each list is looked at before it is translated."""
    one, out, replay = translator(), Out(), Replay(Question())
    state: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    lists = compared = 0
    for received, fields in recorded_messages():
        if fields.get("Event") in ("QueueParams", "QueueMember", "QueueEntry"):
            rows.append(dict(fields))
        before = dict(state)
        one.translate((received, fields), out)
        for role, key, value in out.messages:
            if role == "agents":
                state[key.removeprefix("pbx1/")] = orjson.loads(value)["data"]["state"]
            else:
                replay.fold(value)
        out.messages.clear()
        if fields.get("Event") != "QueueStatusComplete":
            continue
        lists += 1
        for row in rows:
            if row["Event"] == "QueueParams":
                compared += 1
                seen: dict[str, Any] = {}
                queue = replay.queues.get(f"pbx1/{row['Queue']}")
                if queue is not None:
                    _tell_instant(seen, queue, received)
                waiting = seen.get(f"pbx1/{row['Queue']}", {"waiting": 0, "longest_wait": 0.0})
                assert waiting["waiting"] == int(row["Calls"])
                waits = [
                    int(each["Wait"])
                    for each in rows
                    if each["Event"] == "QueueEntry" and each["Queue"] == row["Queue"]
                ]
                # Asterisk subtracts one whole second from another.
                assert received // SECOND - int(received / SECOND - waiting["longest_wait"]) == max(waits, default=0)
        if lists > 1:
            assert state == before, "a list changed what an agent does"
        members: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in rows:
            if row["Event"] == "QueueMember":
                members[row["Name"]].append(row)
        for name, mine in members.items():
            assert state[name] in expected(mine), (name, state[name], mine)
        assert set(members) <= set(state)
        rows.clear()
    assert (lists, compared) == (22, 110)


def expected(rows: list[dict[str, str]]) -> set[str]:
    """What an agent may do whose rows are these."""
    statuses = {row["Status"] for row in rows}
    if any(row["InCall"] == "1" for row in rows):
        return {"talking"}
    if statuses == {"2"}:
        return {"ringing", "busy"}  # a Local channel does not tell the two apart
    if statuses <= {"4", "5"}:
        return {"offline"}
    if all(row["Paused"] == "1" for row in rows):
        return {"break", "meal", "training", "meeting", "other"}
    return {"available"}
