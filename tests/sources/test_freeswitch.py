"""What FreeSWITCH's mod_callcenter means, trap by trap.  Seconds count from a fixed moment."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.source_settings import Freeswitch
from queuewatch_schemas.times import instant
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.records import (
    AGENTS,
    GONE,
    TIERS,
    Heard,
    heard_of,
    loaded,
    rows_of,
    waiting_sessions,
)
from queuewatch_streams.sources.freeswitch.translator import Callcenter
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.visits import MOST_CLOSED, MOST_OPEN
from sources.heard import START, at, figures, of_agents, of_calls, second
from sources.made_up_freeswitch import (
    Pass,
    agents,
    answer,
    bridge,
    bridge_over,
    cancel,
    change,
    connected,
    event,
    failed,
    lists_at,
    made_up_session,
    members,
    offer,
    picked_up,
    queues,
    resume,
    start,
    terminated,
    tiers,
)
from support.sources import (
    assert_sound,
    events,
    said,
)


def translator(memory: Any = None, **more: Any) -> Callcenter:
    settings = {"kind": "freeswitch", "host": "pbx", **more}
    return Callcenter(Composer("fs1", Freeswitch.model_validate(settings)), memory)


def told(*records: Heard, **more: Any) -> list[tuple[Any, ...]]:
    """What is said of calls; see of_calls."""
    return of_calls(said(translator(**more), records), "fs1")


def states(*records: Heard, **more: Any) -> list[tuple[Any, ...]]:
    """What is said of agents; see of_agents."""
    return of_agents(said(translator(**more), records), "fs1")


def test_a_callers_name_in_another_character_set_does_not_cost_his_call() -> None:
    """The event socket says it as it came; the call is told, its name is not."""
    [(_, heard)] = heard_of([json.dumps(START_LINE, ensure_ascii=False).encode("latin-1")])
    out = said(translator(), [heard])
    assert [each["subject"] for each in events(out)] == ["fs1-s1"]
    assert loaded(b"{") is None


START_LINE = {
    "Event-Name": "CUSTOM",
    "Event-Subclass": "callcenter::info",
    "CC-Action": "member-queue-start",
    "CC-Queue": "support@default",
    "CC-Member-UUID": "m1",
    "CC-Member-Session-UUID": "s1",
    "CC-Member-CID-Number": "5",
    "CC-Member-CID-Name": "J\xfcrgen",
    "Event-Date-Timestamp": "1795305000000000",
}


# --------------------------------------------------------------------------------------------------------- properties


@given(st.integers(0, 10_000), st.floats(0, 60), st.floats(0, 60))
def test_a_lost_connection_loses_only_what_nobody_tells_any_more(seed: int, lost: float, length: float) -> None:
    passes: list[Pass] = []
    records, _ = made_up_session(seed, 25, passes)
    back = lost + length
    kept = [each for each in records if not at(lost) <= each[0] < at(back)]
    place = sum(each[0] < at(back) for each in kept)
    out = said(translator(), [*kept[:place], connected(back), *lists_at(back, passes), *kept[place:]])
    assert not out.refused
    assert_sound(out.messages)
    moments: dict[tuple[str, str], set[tuple[str, float]]] = {}
    for each in events(out):
        if ".call." in each["type"]:
            key = (each["subject"][4:], each["data"]["queue"][4:])
            moments.setdefault(key, set()).add((each["type"].split(".")[2], second(each)))
    for visit in passes:
        told = moments.get((visit["call"], visit["queue"]), set())
        joined, done, ended = visit["joined"], visit["done"], visit.get("ended")
        kind = "answered" if ended else "abandoned" if visit["how"] in ("hang up", "announcement") else "diverted"
        heard = [when is None or not lost - 2.1 <= when <= back + 2.1 for when in (joined, done, ended)]
        if heard[0]:
            assert ("queued", round(joined, 6)) in told
        if heard[0] and heard[1]:
            assert any(what == kind and abs(when - done) < 0.01 for what, when in told), (visit, told)
        if all(heard) and ended:
            assert ("ended", round(ended, 6)) in told
        if joined < back - 3 and done > back:  # he is on the list as waiting
            assert any(what == "queued" and abs(when - joined) <= 1 for what, when in told)
        if heard[0] and joined < lost and lost + 1 < done < back - 3 and not ended:  # and on it as abandoned
            assert any(what == "abandoned" and abs(when - done) <= 1 for what, when in told), (visit, told)
        if ended and joined < back - 3 and done < back - 3 and ended > back + 0.1:  # and on it as answered
            assert any(what == "answered" and abs(when - done) <= 1 for what, when in told), (visit, told)
            assert any(what == "ended" and abs(when - ended) < 0.01 for what, when in told)
        if (
            ended and heard[0] and heard[1] and done < lost and lost < ended < back
        ):  # the agent's last bridge tells, or one after it
            assert any(what == "ended" and when >= ended - 1 for what, when in told), (visit, told)


# -------------------------------------------------------------------------------------------------------------- passes


def test_an_answered_call() -> None:
    assert told(
        start(0), offer(1), picked_up(4), bridge(4.01), bridge_over(30.5), terminated(30.5)
    ) == [
        (0, "queued", "s1", "sales", 1),
        (1, "ringing", "s1", "sales", 1, "fs1/anna"),
        (4, "answered", "s1", "sales", 1, "fs1/anna"),
        (30.5, "ended", "s1", "sales", 1, "fs1/anna"),
    ]  # fmt: skip


def test_an_answer_is_said_when_the_two_are_bridged_at_last_after_ten_seconds() -> None:
    one, out = translator(), Out()
    for record in (start(0), picked_up(4)):
        one.translate(record, out)
    one.advance(at(13), out)
    assert len(out.messages) == 1
    one.advance(at(14.1), out)
    assert [second(each) for each in events(out)] == [0, 4]
    assert told(start(0), bridge(3.99), picked_up(4))[1] == (4, "answered", "s1", "sales", 1, "fs1/anna")


@pytest.mark.parametrize("order", [1, -1])
def test_who_hangs_up_in_the_announcement_was_never_answered(order: int) -> None:
    ends = [bridge_over(7, bridged="false"), cancel(7, "BREAK_OUT")][::order]
    assert told(start(0), picked_up(4), *ends)[1:] == [(7, "abandoned", "s1", "sales", 1)]


def test_a_hang_up_and_a_transfer_are_both_break_out_and_only_the_channel_tells() -> None:
    assert told(start(0), cancel(5, "BREAK_OUT"))[1:] == [(5, "abandoned", "s1", "sales", 1)]
    assert told(start(0), cancel(5, "BREAK_OUT", hung_up=False))[1:] == [(5, "diverted", "s1", "sales", 1, "transfer")]
    bare = event(5, "member-queue-end", CC_Cause="Cancel", CC_Cancel_Reason="BREAK_OUT")
    assert told(start(0), bare)[1:] == [(5, "abandoned", "s1", "sales", 1)]


@pytest.mark.parametrize(
    ("reason", "ours"), [("TIMEOUT", "timeout"), ("NO_AGENT_TIMEOUT", "no_agents"), ("EXIT_WITH_KEY", "key")]
)
def test_other_ends_are_diverts(reason: str, ours: str) -> None:
    assert told(start(0), cancel(5, reason, hung_up=False))[1:] == [(5, "diverted", "s1", "sales", 1, ours)]
    elsewhere = event(5, "member-queue-end", CC_Cause="Cancel", CC_Cause_Reason=reason, Answer_State="answered")
    assert told(start(0), elsewhere)[1:] == [(5, "diverted", "s1", "sales", 1, ours)]


@pytest.mark.parametrize("late", [False, True])
def test_of_two_ends_at_the_time_limit_the_bridge_wins(late: bool) -> None:
    first = [cancel(4.02, "TIMEOUT", hung_up=False), picked_up(4)][:: 1 if late else -1]
    out = said(translator(), [start(0), *first, bridge(4.03), bridge_over(20), terminated(20)])
    assert figures(out, "fs1")["sales"] == {
        "offered": 1,
        "answered": 1,
        "abandoned": 0,
        "refused": 0,
        "diverted_by": {},
    }
    assert (4, "answered") in [(second(each), each["type"].split(".")[2]) for each in events(out)]


@pytest.mark.parametrize("last", [cancel(7, "BREAK_OUT"), terminated(7), connected(7, "core-2")])
def test_who_left_at_the_time_limit_and_was_not_bridged_after_all_has_left_once(last: Heard) -> None:
    """An agent picked up in that moment, and the caller hung up in the announcement, or FreeSWITCH was started anew."""
    limit = [connected(0), start(0), cancel(4, "TIMEOUT", hung_up=False), picked_up(4.02)]
    left = [(0, "queued", "s1", "sales", 1), (4, "diverted", "s1", "sales", 1, "timeout")]
    assert told(*limit, bridge_over(7, bridged="false"), last) == left
    one = translator()
    assert of_calls(said(one, [*limit, bridge_over(7, bridged="false")]), "fs1") == left
    assert one.open_calls == 0
    if "cmd" in last[1]:
        assert told(*limit, last) == left


def test_a_resumed_member_is_another_pass_with_its_own_wait() -> None:
    assert told(start(0), cancel(5, "BREAK_OUT"), resume(60, "m1", "s2"), cancel(70, "BREAK_OUT", "m1", "s2")) == [
        (0, "queued", "s1", "sales", 1),
        (5, "abandoned", "s1", "sales", 1),
        (60, "queued", "s2", "sales", 1),
        (70, "abandoned", "s2", "sales", 1),
    ]
    again = told(start(0), cancel(5, "TIMEOUT", hung_up=False), resume(6), cancel(9, "BREAK_OUT"))
    assert [row[4] for row in again] == [1, 1, 2, 2]


def test_on_a_transfer_between_queues_the_second_pass_begins_before_the_first_ends() -> None:
    assert told(
        start(0), picked_up(4), bridge(4), start(20, "m2", "s1", "support"), bridge_over(20.1), terminated(20.1),
        cancel(25, "BREAK_OUT", "m2", "s1", "support"),
    )[2:] == [
        (20, "queued", "s1", "support", 1, "transfer"),
        (20.1, "ended", "s1", "sales", 1, "fs1/anna"),
        (25, "abandoned", "s1", "support", 1),
    ]  # fmt: skip


def test_a_failed_offer_is_the_agents_only_where_it_is_his_fault() -> None:
    fails = ("LOSE_RACE", "ORIGINATOR_CANCEL", "ALLOTTED_TIMEOUT", "USER_BUSY", "CALL_REJECTED", "USER_NOT_REGISTERED")
    found = told(start(0), *(failed(number + 1, cause) for number, cause in enumerate(fails)))[1:]
    assert [row[-1] for row in found] == ["no_answer", "busy", "rejected", "unavailable"]


def test_an_offer_that_fails_after_the_end_still_belongs_to_its_pass() -> None:
    late = failed(9.1, "ALLOTTED_TIMEOUT")
    assert told(start(0), cancel(5, "TIMEOUT"), resume(6), cancel(9, "BREAK_OUT"), late)[-1][:5] == (
        9.1,
        "declined",
        "s1",
        "sales",
        2,
    )


def test_hold_is_what_the_agents_channel_says() -> None:
    up = event(4, "bridge-agent-start", CC_Agent="anna", CC_Agent_UUID="leg1")
    holds = [
        (at(second), {"Event-Name": f"CHANNEL_{kind}", "Event-Date-Timestamp": str(at(second)), "Unique-ID": leg})
        for second, kind, leg in ((6, "HOLD", "leg1"), (7, "HOLD", "other"), (9, "UNHOLD", "leg1"))
    ]
    assert told(start(0), up, bridge(4), *holds, bridge_over(20))[2:4] == [
        (6, "held", "s1", "sales", 1, "fs1/anna"),
        (9, "resumed", "s1", "sales", 1, "fs1/anna"),
    ]


def test_after_call_work_is_what_the_agent_is_granted() -> None:
    records = [
        agents(0, "anna|Available|Waiting", wrap=5),
        start(1),
        picked_up(4),
        bridge(4),
        bridge_over(20),
        terminated(20),
    ]
    assert told(*records)[-1] == (25, "wrapped", "s1", "sales", 1, "fs1/anna")
    assert [state[:3] for state in states(*records)][-2:] == [(20, "anna", "wrap_up"), (25, "anna", "available")]


# -------------------------------------------------------------------------------------------------- lists and restarts


def test_a_list_is_a_snapshot_of_those_who_wait() -> None:
    talking = {"member": "m2", "call": "s2", "joined": 1, "bridged": 4, "agent": "anna", "state": "Answered"}
    left = {"member": "m3", "call": "", "joined": 2, "left": 5, "state": "Abandoned"}
    ghost = {"member": "m4", "call": "s4", "joined": 2}
    records = [queues(0, "sales"), start(0.5), answer(90, f"{GONE}s4", "false"), members(90, {}, talking, left, ghost)]
    [shot] = [each for each in events(said(translator(), records)) if "snapshot" in each["type"]]
    assert [each["call"] for each in shot["data"]["waiting"]] == ["fs1-s1"]
    assert instant(shot["data"]["waiting"][0]["since"]) == at(0.5)


def test_who_was_never_announced_is_sent_from_the_list_once_his_event_cannot_be_on_its_way() -> None:
    talking = {"member": "m2", "call": "s2", "joined": 1, "bridged": 4, "agent": "anna", "state": "Answered"}
    assert told(members(10, {"joined": 3}, talking)) == [
        (3, "queued", "s1", "sales", 1),
        (1, "queued", "s2", "sales", 1),
        (4, "answered", "s2", "sales", 1, "fs1/anna"),
    ]
    assert told(members(10, {"joined": 9})) == []
    assert told(members(10, {"joined": 3, "again": 7}))[0][0] == 7


def test_a_queue_that_is_not_there_answers_like_an_empty_one_and_is_no_snapshot() -> None:
    out = said(translator(), [queues(0, "sales"), members(9, queue="gone"), members(9)])
    assert [each["subject"] for each in events(out)] == ["fs1/sales"]


def test_who_left_while_nobody_listened_has_abandoned_unless_the_limit_was_reached() -> None:
    left = {"call": "", "joined": 0, "left": 30, "state": "Abandoned"}
    known = [queues(0, "sales", limit=60), start(0.2), connected(90)]
    assert told(*known, members(90, left))[1:] == [(30, "abandoned", "s1", "sales", 1)]
    assert told(*known, members(90, left | {"left": 60}))[1:] == [(60, "diverted", "s1", "sales", 1, "timeout")]
    assert told(*known[:2], members(90, left))[1:] == []  # his event is on its way


def test_a_talk_that_ended_unheard_ended_with_its_agents_last_bridge() -> None:
    known = [queues(0, "sales"), start(0), picked_up(4), bridge(4), connected(90)]
    assert told(*known, agents(90, f"anna|Available|Waiting|{START + 50}"), members(90))[2:] == [
        (50, "ended", "s1", "sales", 1, "fs1/anna")
    ]
    talking = {"bridged": 4, "agent": "anna", "state": "Answered"}
    assert told(*known, agents(90, "anna|Available|In a queue call"), members(90, talking))[2:] == []


def test_whom_a_list_shows_as_waiting_was_not_answered_though_somebody_had_picked_up() -> None:
    """As while an announcement is played: who is told to be answered must not be told to wait."""
    out = said(translator(), [start(0), picked_up(4), connected(5), members(5.01, {})], end=False)
    assert [each[1] for each in of_calls(out, "fs1")] == ["queued"]
    [shot] = [each for each in events(out) if "snapshot" in each["type"]]
    assert [each["call"] for each in shot["data"]["waiting"]] == ["fs1-s1"]


def test_a_restart_of_freeswitch_closes_what_was_open_when_it_was_heard_last() -> None:
    known = [connected(0), start(0), start(1, "m2", "s2"), picked_up(4, "m2", "s2"), bridge(4, "s2")]
    assert told(*known, connected(90, "core-2"))[3:] == [
        (4, "diverted", "s1", "sales", 1, "withdrawn"),
        (4, "ended", "s2", "sales", 1, "fs1/anna", "system"),
    ]
    assert told(*known, connected(90))[3:] == []


def test_bars_in_names_and_contacts_shift_nothing() -> None:
    out = said(translator(), [members(10, {"joined": 3, "name": "A|B|C"})])
    assert next(each["subject"] for each in events(out)) == "fs1-s1"
    [row] = rows_of(agents(0, "anna|Available|Waiting")[1]["out"], "contact")
    assert (row["contact"], row["status"]) == ("user/anna|pstn", "Available")


def test_channels_are_asked_for_of_those_who_are_listed_as_waiting_for_long() -> None:
    rows = ({"joined": 1}, {"joined": 50, "call": "s2"}, {"joined": 1, "call": "", "state": "Abandoned"})
    assert waiting_sessions(members(60, *rows)[1]["out"], START + 10) == ["s1"]


# ------------------------------------------------------------------------------------------------------------- agents


def test_status_and_state_make_an_agents_state() -> None:
    assert states(
        agents(0, "anna|Available|Waiting", "bert|Logged Out|Waiting"), tiers(0, "sales|anna", "support|anna", "sales|bert"),
        change(1, CC_Agent_State="Receiving"), change(2, CC_Agent_State="In a queue call"), change(3, CC_Agent_State="Waiting"),
        change(4, CC_Agent_Status="On Break"), change(5, CC_Agent_Status="Available (On Demand)"),
        change(6, CC_Agent_State="Idle"), agents(9, "bert|Available|Waiting"),
    ) == [
        (0, "anna", "available", ""),
        (0, "bert", "offline", ""),
        (0, "anna", "available", "sales support"),
        (0, "bert", "offline", "sales"),
        (1, "anna", "ringing", "sales support"),
        (2, "anna", "talking", "sales support"),
        (3, "anna", "available", "sales support"),
        (4, "anna", "break", "sales support"),
        (5, "anna", "available", "sales support"),
        (6, "anna", "other", "sales support"),
        (8.99, "bert", "available", "sales"),
        (8.99, "anna", "offline", "sales support"),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------- what is kept to itself


def test_a_callers_number_is_hashed_or_left_out_and_never_sent(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    for file in (None, key):
        out = said(translator(customer_key_file=file), [start(0), members(9, {})])
        assert not any(b"390612345" in value or b"5550001" in value for _, _, value in out.messages)
        assert (events(out)[0]["data"].get("customer") is None) == (file is None)


def test_ignored_queues_and_callers_are_counted_and_not_sent() -> None:
    ignore = {"queues": ["test"], "callers": ["100"]}
    records = [
        start(0, "m1", "s1", "test"),
        start(1, "m2", "s2", CC_Member_CID_Number="100"),
        cancel(2, "BREAK_OUT", "m2", "s2"),
    ]
    out = said(translator(ignore=ignore), records)
    assert not out.messages
    assert out.ignored == {"queue": 1, "caller": 2}


def test_an_ignored_agents_refusals_are_left_out() -> None:
    fails = [failed(5, "USER_BUSY", agent="bert"), failed(9, "NO_ANSWER")]
    assert told(start(0), *fails, ignore={"agents": ["bert"]})[1:] == [
        (9, "declined", "s1", "sales", 1, "fs1/anna", "no_answer")
    ]


def test_a_refusal_never_shows_what_could_be_a_callers() -> None:
    out = said(translator(), [event(0, "+390612345 secret"), (at(0), None), start(0, "", "s1")])
    assert [refusal.reason for refusal in out.refused] == ["unknown_event", "unreadable", "missing_field"]
    assert not any("3906" in refusal.detail for refusal in out.refused)


def test_the_memory_is_bounded() -> None:
    one, out = translator(), Out()
    for number in range(MOST_OPEN + 100):
        one.translate(start(number / 100, f"m{number}", f"s{number}"), out)
    for number in range(MOST_CLOSED + 100):
        about = (f"n{number}", f"t{number}")
        one.translate(start(number / 100, *about), out)
        one.translate(cancel(number / 100, "BREAK_OUT", *about), out)
    kept = one.memory()["visits"]
    assert len(kept["open"]) <= MOST_OPEN
    assert len(kept["closed"]) == MOST_CLOSED


def test_recordings_are_read_bare_wrapped_and_with_answers() -> None:
    fields = start(1)[1]
    lines = [
        orjson.dumps(fields),
        orjson.dumps({"recv": START + 2.5, "event": fields}),
        b"\n",
        orjson.dumps({"t": START + 3, "cmd": TIERS, "out": "+OK\n"}),
        b"{broken",
    ]
    found = list(heard_of(lines))
    assert [number for number, _ in found] == [1, 2, 4, 5]
    assert [received for _, (received, _) in found] == [at(1), at(2.5), at(3), 0]
    assert [record[1] for _, record in found][:2] == [fields, fields]
    assert [refusal.reason for refusal in said(translator(), [record for _, record in found]).refused] == ["unreadable"]


# ----------------------------------------------------------------------------------------------- a recorded FreeSWITCH

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "freeswitch"
recorded = pytest.mark.skipif(not RECORDED.exists(), reason="the recorded FreeSWITCH lies outside this repository")


def recorded_session(*, lists: bool = True) -> list[Heard]:
    """Events and answers in the order in which they were received."""
    records: list[Heard] = []
    for name in ("events", "snapshots") if lists else ("events",):
        with gzip.open(RECORDED / f"{name}.ndjson.gz") as lines:
            records += [record for _, record in heard_of(lines)]
    return sorted(records, key=lambda record: record[0])


@recorded
@pytest.mark.parametrize("lists", [True, False])
def test_a_recorded_freeswitch_gives_the_true_counts_and_waits(lists: bool) -> None:
    """A quarter of an hour of a real FreeSWITCH, against its channels and the ledger of the program that called it."""
    out = said(translator(), recorded_session(lists=lists))
    assert not out.refused
    assert_sound(out.messages)
    truth = json.loads((RECORDED / "truth.json").read_text())
    unsure = Counter(queue for _, queue, *_ in truth["ambiguous_timeout_kind"])
    replay = Replay(Question(threshold=20))
    for role, _, value in out.messages:
        if role == "events":
            replay.fold(value)
    for queue, row in replay.report()["queues"].items():
        true = truth["queues"][queue.removeprefix("fs1/")]
        assert row["offered"] == true["entered"]
        assert row["answered"] == true["answered"]
        assert row["abandoned"] == true["abandoned"]
        assert row["answered_within"] == true["answered_within_20s"]
        assert row["diverted_by"]["key"] == true["exited_by_key"]
        limits = {"timeout": true["timed_out"], "no_agents": true["no_agent_timeout"]}
        for reason, number in limits.items():
            assert abs(row["diverted_by"].get(reason, 0) - number) <= unsure[queue.removeprefix("fs1/")]
        assert sum(row["diverted_by"].get(reason, 0) for reason in limits) == sum(limits.values())
        assert abs(row["answer_wait_sum"] - true["sum_wait_answered"]) < 0.06 * row["answered"]
        assert abs(row["abandon_wait_sum"] - true["sum_wait_abandoned"]) < 0.06 * row["abandoned"]
        assert row["waiting"] == 0


@recorded
def test_at_each_list_of_a_recorded_freeswitch_events_alone_had_told_who_waits() -> None:
    one, out = translator(), Out()
    waiting: dict[str, set[str]] = {}
    state: dict[str, str] = {}
    compared = 0
    for received, fields in recorded_session():
        before = dict(state)
        one.translate((received, fields), out)
        for role, key, value in out.messages:
            found = orjson.loads(value)
            kind = found["type"].split(".")[2]
            if role == "agents":
                state[key] = found["data"]["state"]
            elif kind == "queued":
                waiting.setdefault(key, set()).add(found["subject"])
            elif kind == "snapshot":
                listed = {each["call"] for each in found["data"]["waiting"]}
                assert listed <= waiting.get(key, set())
                # Who is being connected is on the list as Trying still, and some rows go a moment late.
                assert len(waiting.get(key, set()) - listed) <= 2
                compared += 1
            elif kind in ("answered", "abandoned", "diverted"):
                waiting[key].discard(found["subject"])
        out.messages.clear()
        if fields.get("cmd") == AGENTS and before:
            changed = {name for name in state if state[name] != before.get(name)}
            assert all(before.get(name) is None for name in changed), "a list changed what an agent does"
    assert compared == 54
