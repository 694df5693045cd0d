"""What Asterisk's queue_log means, trap by trap.  Seconds in these logs count from a fixed moment."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.source_settings import AsteriskQueueLog
from queuewatch_schemas.times import instant
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.asterisk.queue_log.calls import MOST_CLOSED, MOST_OPEN
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out
from sources.made_up import START, log, made_up_day
from support.sources import (
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    events,
    mutated,
    said,
)


def settings(**more: Any) -> AsteriskQueueLog:
    """Settings of a file that is never read."""
    return AsteriskQueueLog.model_validate({"kind": "asterisk-queue-log", "file": "queue_log", **more})


def translator(memory: Any = None, **more: Any) -> QueueLog:
    return QueueLog(Composer("pbx1", settings(**more)), memory)


def told(*lines: str, **more: Any) -> list[tuple[Any, ...]]:
    """What is said of a call's lines: (second, kind, call, queue, visit, other data of interest)."""
    found = []
    for event in events(said(translator(**more), log(*lines))):
        kind = event["type"].removeprefix("queuewatch.").removesuffix(".v1")
        data = event["data"]
        if not kind.startswith("call."):
            continue
        rest = tuple(data[key] for key in ("agent", "reason", "by", "via") if key in data)
        second = (instant(event["time"]) / 1e6) - START
        found.append((second, kind[5:], event["subject"][5:], data["queue"][5:], data.get("visit", 1), *rest))
    return found


def states(*lines: str, **more: Any) -> list[tuple[Any, ...]]:
    """What is said of agents: (second, agent, state, queues, reason)."""
    found = []
    for event in events(said(translator(**more), log(*lines))):
        if event["type"] == "queuewatch.agent.state.v1":
            data = event["data"]
            queues = " ".join(each["queue"].removeprefix("pbx1/") for each in data["queues"])
            second = instant(event["time"]) / 1e6 - START
            found.append(
                (
                    second,
                    event["subject"].removeprefix("pbx1/"),
                    data["state"],
                    queues,
                    *filter(None, [data.get("reason")]),
                )
            )
    return found


def out_of(*lines: str, **more: Any) -> Out:
    return said(translator(**more), log(*lines))


# ------------------------------------------------------------------------------------------------------- plain calls


def test_an_answered_call() -> None:
    """Who hung up is in the event's name."""
    assert told(
        "0|c1|sales|NONE|ENTERQUEUE||555123|1",
        "7|c1|sales|Anna|CONNECT|7|c2|3",
        "60|c1|sales|Anna|COMPLETECALLER|7|53|1",
    ) == [
        (0, "queued", "c1", "sales", 1),
        (7, "answered", "c1", "sales", 1, "pbx1/Anna"),
        (60, "ended", "c1", "sales", 1, "pbx1/Anna", "caller"),
    ]
    assert (
        told("0|c1|s|NONE|ENTERQUEUE||5|1", "1|c1|s|Anna|CONNECT|1|c2|1", "2|c1|s|Anna|COMPLETEAGENT|1|1|1")[2][6]
        == "agent"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("9|c1|sales|NONE|ABANDON|1|1|9", (9, "abandoned", "c1", "sales", 1)),
        ("9|c1|sales|Anna|ABANDON|1|1|9", (9, "abandoned", "c1", "sales", 1)),
        ("9|c1|sales|NONE|EXITWITHTIMEOUT|1|1|9", (9, "diverted", "c1", "sales", 1, "timeout")),
        ("9|c1|sales|NONE|EXITWITHTIMEOUT|1", (9, "diverted", "c1", "sales", 1, "timeout")),
        ("9|c1|sales|NONE|EXITEMPTY|1|1|9", (9, "diverted", "c1", "sales", 1, "no_agents")),
        ("9|c1|sales|NONE|EXITWITHKEY|2|1|1|9", (9, "diverted", "c1", "sales", 1, "key")),
        ("9|c1|sales|NONE|EXITWITHKEY|2|1", (9, "diverted", "c1", "sales", 1, "key")),
        ("9|c1|sales|NONE|WITHDRAW|1|1|9|by hand", (9, "diverted", "c1", "sales", 1, "withdrawn")),
    ],
)
def test_a_call_that_leaves_unanswered(line: str, expected: tuple[Any, ...]) -> None:
    """Only a hang-up is an abandon; older logs lack the durations, which one open stay does not need."""
    assert told("0|c1|sales|NONE|ENTERQUEUE||555123|1", line)[-1] == expected


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("JOINEMPTY", "no_agents"),
        ("FULL", "full"),
        ("CLOSED", "closed"),
        ("DIVERT_CA_RATIO", "other"),
        ("DIVERT_HOLDTIME", "other"),
    ],
)
def test_a_call_that_is_refused_at_the_door(event: str, reason: str) -> None:
    """It was never queued; the next try is a stay of its own."""
    assert told(f"0|c1|sales|NONE|{event}|", "5|c1|sales|NONE|ENTERQUEUE||5|1") == [
        (0, "refused", "c1", "sales", 1, reason),
        (5, "queued", "c1", "sales", 2, "requeue"),
    ]


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("4|c1|sales|Anna|RINGNOANSWER|4000", ("pbx1/Anna", "no_answer")),
        ("4|c1|sales|Anna|RINGNOANSWER|0", ("pbx1/Anna", "busy")),
        ("4|c1|sales|Anna|AGENTDUMP", ("pbx1/Anna", "rejected")),
    ],
)
def test_an_agent_who_does_not_take_a_call_ends_nothing(line: str, rest: tuple[str, str]) -> None:
    """RINGNOANSWER speaks in milliseconds; 0 is mostly a busy agent."""
    assert told("0|c1|sales|NONE|ENTERQUEUE||5|1", line, "9|c1|sales|NONE|ABANDON|1|1|9")[1:] == [
        (4, "declined", "c1", "sales", 1, *rest),
        (9, "abandoned", "c1", "sales", 1),
    ]


def test_durations_in_milliseconds_and_seconds_are_not_mixed() -> None:
    """CONNECT's ringtime is in seconds, RINGNOANSWER's in milliseconds: neither moves the entry or the answer."""
    found = told(
        "0|c1|sales|NONE|ENTERQUEUE||5|1",
        "8|c1|sales|Anna|RINGNOANSWER|8000",
        "12|c1|sales|Bert|CONNECT|12|c2|4",
    )
    assert [each[:2] for each in found] == [(0, "queued"), (8, "declined"), (12, "answered")]


# ----------------------------------------------------------------------------------------------------------- visits


def test_one_call_in_several_queues_and_twice_in_one() -> None:
    """The n-th ENTERQUEUE in a queue is the n-th visit; where it comes from is told."""
    assert told(
        "0|c1|sales|NONE|ENTERQUEUE||5|1",
        "30|c1|sales|NONE|EXITWITHTIMEOUT|1|1|30",
        "31|c1|support|NONE|ENTERQUEUE||5|1",
        "40|c1|support|NONE|EXITEMPTY|1|1|9",
        "41|c1|sales|NONE|ENTERQUEUE||5|1",
        "50|c1|sales|NONE|ABANDON|1|1|9",
    ) == [
        (0, "queued", "c1", "sales", 1),
        (30, "diverted", "c1", "sales", 1, "timeout"),
        (31, "queued", "c1", "support", 1, "overflow"),
        (40, "diverted", "c1", "support", 1, "no_agents"),
        (41, "queued", "c1", "sales", 2, "overflow"),
        (50, "abandoned", "c1", "sales", 2),
    ]


@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_blind_transfers_new_entry_may_come_before_the_old_visits_end(late: int) -> None:
    """Into the same queue: only agent and durations tell the two stays apart."""
    lines = [
        "20|c1|sales|NONE|ENTERQUEUE||5|3",
        "22|c1|sales|Bert|CONNECT|2|c4|1",
    ]
    lines.insert(late, "20|c1|sales|Anna|BLINDTRANSFER|700|xfer|5|15|1")
    found = told(
        "0|c1|sales|NONE|ENTERQUEUE||5|1",
        "5|c1|sales|Anna|CONNECT|5|c2|3",
        *lines,
        "30|c1|sales|Bert|COMPLETEAGENT|2|8|3",
    )
    assert sorted(found) == [
        (0, "queued", "c1", "sales", 1),
        (5, "answered", "c1", "sales", 1, "pbx1/Anna"),
        (20, "ended", "c1", "sales", 1, "pbx1/Anna", "transfer"),
        (20, "queued", "c1", "sales", 2, "transfer"),
        (22, "answered", "c1", "sales", 2, "pbx1/Bert"),
        (30, "ended", "c1", "sales", 2, "pbx1/Bert", "agent"),
    ]


def test_a_transfer_back_to_the_same_agent_is_told_apart_by_its_durations() -> None:
    """Both stays talk to the same agent when the first one's end comes."""
    found = told(
        "0|c1|sales|NONE|ENTERQUEUE||5|1",
        "5|c1|sales|Anna|CONNECT|5|c2|3",
        "20|c1|sales|NONE|ENTERQUEUE||5|3",
        "21|c1|sales|Anna|CONNECT|1|c4|1",
        "21|c1|sales|Anna|BLINDTRANSFER|700|xfer|5|16|1",
        "90|c1|sales|Anna|COMPLETECALLER|1|69|3",
    )
    ends = [each for each in found if each[1] == "ended"]
    assert ends == [
        (21, "ended", "c1", "sales", 1, "pbx1/Anna", "transfer"),
        (90, "ended", "c1", "sales", 2, "pbx1/Anna", "caller"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "60|c1|sales|Anna|BLINDTRANSFER|700|xfer|7|53|1",
        "60|c1|sales|Anna|TRANSFER|700|xfer|7|53|1",
        "60|c1|sales|Anna|TRANSFER|700|xfer|7|53",
        "60|c1|sales|Anna|ATTENDEDTRANSFER|BRIDGE|4aea51c5|7|53|1",
        r"60|c1|sales|Anna|ATTENDEDTRANSFER|LINK|SIP/a\|SIP/b|7|53|1",
    ],
)
def test_every_kind_of_transfer_ends_the_talk(line: str) -> None:
    """Bars inside the data of an attended one shift nothing: its durations are counted from the end."""
    found = told("0|c1|sales|NONE|ENTERQUEUE||5|1", "7|c1|sales|Anna|CONNECT|7|c2|3", line)
    assert found[-1] == (60, "ended", "c1", "sales", 1, "pbx1/Anna", "transfer")


@pytest.mark.parametrize("event", ["COMPLETEAGENT|7|53|1", "ATTENDEDTRANSFER|BRIDGE|4aea51c5|7|53|1"])
def test_a_call_id_that_changes_in_an_attended_transfer_is_still_that_visit(event: str) -> None:
    """Its agent, queue and durations fit the talk that is open; nothing is counted twice."""
    found = told("0|c1|sales|NONE|ENTERQUEUE||5|1", "7|c1|sales|Anna|CONNECT|7|c2|3", f"60|c9|sales|Anna|{event}")
    assert [each[:5] for each in found] == [
        (0, "queued", "c1", "sales", 1),
        (7, "answered", "c1", "sales", 1),
        (60, "ended", "c1", "sales", 1),
    ]


# ------------------------------------------------------------------------------------------- doubled and missing lines

WHOLE = (
    "0|c1|sales|NONE|ENTERQUEUE||5|1",
    "4|c1|sales|Bert|RINGNOANSWER|4000",
    "7|c1|sales|Anna|CONNECT|7|c2|3",
    "60|c1|sales|Anna|COMPLETECALLER|7|53|1",
)


@pytest.mark.parametrize("doubled", range(4))
def test_a_doubled_line_changes_nothing(doubled: int) -> None:
    """Wherever it stands: the same facts, merged."""
    lines = list(WHOLE)
    lines.insert(doubled, lines[doubled])
    assert set(told(*lines)) == set(told(*WHOLE))


def test_a_completion_that_is_told_in_two_ways_ends_once() -> None:
    """The first one counts."""
    assert told(*WHOLE, "60|c1|sales|Anna|COMPLETEAGENT|7|53|1", "61|c1|sales|Anna|COMPLETECALLER|7|53|1") == told(
        *WHOLE
    )


@pytest.mark.parametrize("missing", [(0,), (2,), (0, 2), (0, 1, 2)])
def test_what_is_missing_is_rebuilt_from_the_durations(missing: tuple[int, ...]) -> None:
    """Without its ENTERQUEUE, without its CONNECT, without both: start = end − talk − wait."""
    lines = [line for number, line in enumerate(WHOLE) if number not in missing]
    facts = {each[:2] for each in told(*lines)} - {(4, "declined")}
    assert facts == {(0, "queued"), (7, "answered"), (60, "ended")}


@pytest.mark.parametrize(
    "event", ["ABANDON|1|1|9", "EXITWITHTIMEOUT|1|1|9", "EXITEMPTY|1|1|9", "EXITWITHKEY|1|1|1|9", "WITHDRAW|1|1|9|x"]
)
def test_a_departure_without_an_entry_is_rebuilt_too(event: str) -> None:
    """From its wait; told twice it is one."""
    found = told(f"9|c1|sales|NONE|{event}", f"9|c1|sales|NONE|{event}")
    assert [each[:2] for each in found] == [(0, "queued"), (9, found[1][1])]


def test_a_departure_that_says_no_wait_and_has_no_entry_is_refused() -> None:
    """There is nothing to rebuild it from, and the reason says so."""
    out = out_of("9|c1|sales|NONE|EXITWITHKEY|2|1")
    assert not out.messages
    assert [each.reason for each in out.refused] == ["missing_field"]


@given(st.integers(0, 10_000), st.sets(st.integers(0, 400), max_size=60), st.integers(0, 3))
def test_doubled_and_near_swapped_lines_of_a_day_change_no_figure(seed: int, doubled: set[int], swaps: int) -> None:
    """Duplicates anywhere; neighbours of different calls in any order: the core counts the same."""
    day, _ = made_up_day(seed, calls=60)
    dirty: list[bytes] = []
    for number, line in enumerate(day):
        dirty += [line] * (2 if number in doubled else 1)
    dice = random.Random(seed)
    for _ in range(swaps * 20):
        at = dice.randrange(len(dirty) - 1)
        first, second = dirty[at].split(b"|"), dirty[at + 1].split(b"|")
        if first[1] != second[1] and first[0] == second[0]:
            dirty[at], dirty[at + 1] = dirty[at + 1], dirty[at]
    assert counted(dirty) == counted(day)


_AS_CONFIGURED = (
    b"RINGNOANSWER",
    b"CONNECT",
    b"COMPLETEAGENT",
    b"COMPLETECALLER",
    b"BLINDTRANSFER",
    b"ATTENDEDTRANSFER",
)


@given(st.integers(0, 10_000))
def test_a_queue_that_the_dialplan_spells_in_other_letters_is_one_and_the_same(seed: int) -> None:
    """Asterisk finds it whatever the case, and writes entries and exits as the dialplan has it, these as queues.conf does."""
    lines, _ = made_up_day(seed, 60)
    spelt = []
    for line in lines:
        fields = line.split(b"|")
        spelt.append(b"|".join([*fields[:2], fields[2].upper(), *fields[3:]]) if fields[4] in _AS_CONFIGURED else line)
    assert spelt != lines
    assert said(translator(), spelt).messages == said(translator(), lines).messages


def counted(lines: list[bytes]) -> dict[str, Any]:
    """The core's figures of a log."""
    replay = Replay(Question())
    out = said(translator(), lines)
    replay.fold_all(value for _, _, value in out.messages)
    found: dict[str, Any] = replay.report()["queues"]
    return found


@given(st.integers(0, 10_000))
def test_a_made_up_day_comes_to_what_its_maker_knows(seed: int) -> None:
    """Transfers, requeues, time-outs and all: every figure by queue."""
    day, truth = made_up_day(seed, calls=80)
    found = counted(day)
    for queue, expected in truth.items():
        row = found[f"pbx1/{queue}"]
        assert {key: row[key] for key in expected if key != "diverted_by"} == {
            key: value for key, value in expected.items() if key != "diverted_by"
        }
        assert row["diverted_by"] == expected["diverted_by"]


# ---------------------------------------------------------------------------------------------------- names and fields


def test_a_bar_in_a_members_name_shifts_nothing() -> None:
    """Asterisk does not escape it; the event is looked for where it must be."""
    lines = [line.replace("Anna", "An|na") for line in WHOLE]
    assert [each[5] for each in told(*lines) if each[1] == "answered"] == ["pbx1/An|na"]
    assert [each[:2] for each in told(*lines)] == [each[:2] for each in told(*WHOLE)]
    assert states("1|NONE|sales|An|na|PAUSE|lunch")[0][1] == "An|na"


def test_an_event_that_nobody_knows_is_told_and_is_not_fatal() -> None:
    """QueueLog() writes anything; the text names the event, and nothing of what it holds."""
    out = out_of(
        WHOLE[0], "1|c1|sales|NONE|SURVEY|score|5|my number is 555123", "2|c1|sales|NONE|+555123|x", *WHOLE[1:]
    )
    assert [each.reason for each in out.refused] == ["unknown_event", "unknown_event"]
    assert "SURVEY" in out.refused[0].detail
    assert not any("555123" in each.detail for each in out.refused)
    assert len([each for each in events(out) if ".call." in each["type"]]) == 4


@pytest.mark.parametrize("stamp", ["1795305008", "1795305008000000", "1795305008.000000", "1795305008.0"])
def test_a_time_may_be_in_seconds_or_microseconds(stamp: str) -> None:
    """The file has the first, a database's export the others."""
    out = said(translator(), [f"{stamp}|c1|sales|NONE|ENTERQUEUE||5|1".encode()])
    assert events(out)[0]["time"] == "2026-11-21T23:50:08Z"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x|c1|sales|NONE|ENTERQUEUE||5|1", "bad_time"),
        ("-5|c1|sales|NONE|ENTERQUEUE||5|1", "bad_time"),
        ("|c1|sales|NONE|ENTERQUEUE||5|1", "bad_time"),
        ("1795305008|c1|sales", "unreadable"),
        ("1795305008|NONE|sales|NONE|ENTERQUEUE||5|1", "missing_field"),
        ("1795305008|c1||NONE|ENTERQUEUE||5|1", "bad_queue_name"),
        ("1795305008|c1|" + "q" * 300 + "|NONE|ENTERQUEUE||5|1", "bad_queue_name"),
        ("1795305008|" + "c" * 900 + "|sales|NONE|ENTERQUEUE||5|1", "too_long"),
        ("1795305008|c1|sales|Anna|COMPLETEAGENT|x|1|1", "wrong_field"),
        ("1795305008|c1|sales|Anna|COMPLETEAGENT|1|99999999|1", "wrong_field"),
        ("1795305008|c1|sales|Anna|COMPLETEAGENT", "missing_field"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(line: str, reason: str) -> None:
    """And nothing is said of it."""
    out = said(translator(), [line.encode()])
    assert ([each.reason for each in out.refused], out.messages) == ([reason], [])


def test_blank_lines_and_line_ends_of_other_systems_mean_nothing() -> None:
    """Real logs hold both."""
    lines = [b"", b"\n", b"  \r\n", *(line + b"\r\n" for line in log(*WHOLE))]
    out = said(translator(), lines)
    assert not out.refused
    assert out.messages == said(translator(), log(*WHOLE)).messages


def test_queues_and_agents_have_the_names_of_the_map() -> None:
    """Two ids may have one name; without a name it is source/id."""
    named = {"map": {"queues": {"600": "sales", "601": "sales"}, "agents": {"Anna": "anna"}}}
    found = events(
        said(
            translator(**named),
            log(
                "0|c1|600|NONE|ENTERQUEUE||5|1",
                "9|c1|600|NONE|EXITWITHTIMEOUT|1|1|9",
                "10|c1|601|NONE|ENTERQUEUE||5|1",
                "12|c1|601|Anna|CONNECT|2|c2|1",
                "12|c2|7|NONE|ENTERQUEUE||5|1",
            ),
        )
    )
    calls = [each["data"] for each in found if ".call." in each["type"]]
    assert [(each["queue"], each.get("visit", 1)) for each in calls] == [
        ("sales", 1),
        ("sales", 1),
        ("sales", 2),
        ("sales", 2),
        ("pbx1/7", 1),
    ]
    assert calls[3]["agent"] == "anna"


def test_what_is_ignored_is_left_out_and_counted() -> None:
    """Test queues, test callers, and the states and refusals of test agents, but not the calls that they answer."""
    lines = (
        "0|c1|test|NONE|ENTERQUEUE||5|1",
        "1|c1|test|NONE|ABANDON|1|1|1",
        "2|c2|sales|NONE|ENTERQUEUE||0800|1",
        "3|c2|sales|NONE|ABANDON|1|1|1",
        "4|c3|sales|NONE|ENTERQUEUE||5|1",
        "5|c3|sales|Robot|RINGNOANSWER|1000",
        "6|c3|sales|Robot|CONNECT|2|c4|1",
    )
    ignored = {"ignore": {"queues": ["test"], "agents": ["Robot"], "callers": ["0800"]}}
    out = out_of(*lines, **ignored)
    assert [(each["type"], each["subject"]) for each in events(out)] == [
        ("queuewatch.call.queued.v1", "pbx1-c3"),
        ("queuewatch.call.answered.v1", "pbx1-c3"),
    ]
    assert out.ignored == {"queue": 2, "caller": 2, "agent": 2}


def test_after_call_work_for_an_ignored_caller_is_the_agents_alone() -> None:
    """Nor is it taken for that of the visit before."""
    lines = [*WHOLE, *(line.replace("c1", "c9").replace("||5|", "||0800|") for line in WHOLE)]
    lines += ["60|NONE|NONE|Anna|WRAPUPSTART|15"]
    found = events(out_of(*lines, ignore={"callers": ["0800"]}))
    assert {each["subject"] for each in found} == {"pbx1-c1", "pbx1/Anna"}
    assert not any(each["type"].endswith("wrapped.v1") for each in found)
    assert [each["data"]["state"] for each in found if each["subject"] == "pbx1/Anna"][-2:] == ["wrap_up", "available"]


def test_nothing_is_over_before_it_began_whatever_the_order_of_lines() -> None:
    """Times of lines that were written at the same time may be in another order."""
    assert told("5|c1|sales|NONE|ENTERQUEUE||5|1", "4|c1|sales|Anna|CONNECT|1|c2|1")[-1][0] == 5
    answered = "5|c1|sales|Anna|CONNECT|0|c2|1"
    assert told(answered, "4|c1|sales|Anna|COMPLETEAGENT|0|0|1")[-1][:2] == (5, "ended")
    assert told(answered, "4|NONE|NONE|NONE|QUEUESTART|")[-1][:2] == (5, "ended")
    assert told("5|c1|sales|NONE|ENTERQUEUE||5|1", "4|NONE|NONE|NONE|QUEUESTART|")[-1][:2] == (5, "diverted")


def test_a_callers_number_leaves_only_as_a_keyed_hash(tmp_path: Any) -> None:
    """The same number is the same customer, another key another one; withheld numbers are nobody."""
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_bytes(b"0123456789abcdef\n")
    other.write_bytes(b"0123456789abcdeF")
    lines = [
        "0|c1|sales|NONE|ENTERQUEUE||+39 06 555123|1|Mario Rossi",
        "1|c2|sales|NONE|ENTERQUEUE||+3906555123|2|Rossi",
        "2|c3|sales|NONE|ENTERQUEUE||anonymous|3",
        "3|c4|sales|NONE|ENTERQUEUE|||4",
    ]
    without = said(translator(), log(*lines))
    assert not any("customer" in each["data"] for each in events(without))
    hashed = said(translator(customer_key_file=str(key)), log(*lines))
    customers = [each["data"].get("customer") for each in events(hashed)]
    assert customers[0] == customers[1] is not None
    assert customers[2:] == [None, None]
    assert events(said(translator(customer_key_file=str(other)), log(*lines)))[0]["data"]["customer"] != customers[0]
    for out in (without, hashed):
        assert not any(word in value for _, _, value in out.messages for word in (b"555123", b"Rossi"))


# ---------------------------------------------------------------------------------------------------------- a crash


def test_when_asterisk_died_everything_is_over_when_it_starts_again() -> None:
    """At the last line before, where there was one within ten minutes: nobody knows the moment itself."""
    found = told(
        "0|c1|sales|NONE|ENTERQUEUE||5|1",
        "2|c2|sales|NONE|ENTERQUEUE||5|2",
        "5|c1|sales|Anna|CONNECT|5|c3|1",
        "45|NONE|NONE|NONE|QUEUESTART|",
        "50|c9|sales|NONE|ENTERQUEUE||5|1",
    )
    assert found[3:] == [
        (5, "ended", "c1", "sales", 1, "pbx1/Anna", "system"),
        (5, "diverted", "c2", "sales", 1, "withdrawn"),
        (50, "queued", "c9", "sales", 1),
    ]


def test_after_a_long_outage_the_end_is_ten_minutes_before_the_start() -> None:
    """Earlier events would be refused as late, and the callers would stay as ghosts."""
    found = told("0|c1|sales|NONE|ENTERQUEUE||5|1", "7200|NONE|NONE|NONE|QUEUESTART|")
    assert found[-1] == (6600, "diverted", "c1", "sales", 1, "withdrawn")


def test_a_rotated_log_goes_on_with_the_calls_of_the_one_before() -> None:
    """CONFIGRELOAD is housekeeping: nothing ends with it."""
    found = told(WHOLE[0], WHOLE[2], "30|NONE|NONE|NONE|CONFIGRELOAD|", WHOLE[3])
    assert [each[1] for each in found] == ["queued", "answered", "ended"]


# ---------------------------------------------------------------------------------------------------------- agents


def test_an_agent_talks_and_is_available_again() -> None:
    """As far as queue calls go; the queues are those in which he was seen."""
    assert states(*WHOLE) == [(7, "Anna", "talking", "sales"), (60, "Anna", "available", "sales")]


def test_a_pause_in_all_queues_counts_once() -> None:
    """PAUSEALL comes before the PAUSE of every queue; repeated lines and an UNPAUSE without PAUSE change nothing."""
    assert states(
        "0|NONE|NONE|Anna|UNPAUSEALL|",
        "1|NONE|NONE|Anna|PAUSEALL|lunch",
        "1|NONE|sales|Anna|PAUSE|lunch",
        "1|NONE|support|Anna|PAUSE|lunch",
        "5|NONE|NONE|Anna|PAUSEALL|lunch",
        "9|NONE|NONE|Anna|UNPAUSEALL|",
        "9|NONE|sales|Anna|UNPAUSE|",
        "9|NONE|support|Anna|UNPAUSE|",
    ) == [
        (0, "Anna", "available", ""),
        (1, "Anna", "meal", "", "lunch"),
        (1, "Anna", "meal", "sales", "lunch"),
        (1, "Anna", "meal", "sales support", "lunch"),
        (9, "Anna", "available", "sales support"),
    ]


def test_a_pause_in_one_of_several_queues_leaves_the_agent_available_in_the_others() -> None:
    """The queues of the event are those that he serves now."""
    assert states(
        "0|NONE|sales|Anna|UNPAUSE|",
        "1|NONE|support|Anna|UNPAUSE|",
        "2|NONE|sales|Anna|PAUSE|dentist",
        "3|NONE|support|Anna|PAUSE|dentist",
        "4|NONE|sales|Anna|UNPAUSE|",
        map={"reasons": {"Dentist": "meeting"}},
    )[2:] == [
        (2, "Anna", "available", "support"),
        (3, "Anna", "meeting", "sales support", "dentist"),
        (4, "Anna", "available", "sales"),
    ]


def test_agents_log_in_and_off() -> None:
    """Of either kind of login; a call answered afterwards shows that somebody is there after all."""
    assert states(
        "0|c1|NONE|Agent/5|AGENTCALLBACKLOGIN|1003@default",
        "900|c2|NONE|Agent/5|AGENTCALLBACKLOGOFF|1003@default|900|CommandLogoff",
        "1000|c3|NONE|Agent/5|AGENTLOGIN|SIP/a-1",
        "1030|c3|NONE|Agent/5|AGENTLOGOFF|SIP/a-1|30",
    ) == [
        (0, "Agent/5", "available", ""),
        (900, "Agent/5", "offline", ""),
        (1000, "Agent/5", "available", ""),
        (1030, "Agent/5", "offline", ""),
    ]


def test_who_has_logged_off_is_not_back_by_the_end_of_a_pause() -> None:
    """Some systems write an UNPAUSEALL after the logoff."""
    assert states(
        "0|c1|NONE|Agent/5|AGENTCALLBACKLOGIN|1003@default",
        "900|c2|NONE|Agent/5|AGENTCALLBACKLOGOFF|1003@default|900|CommandLogoff",
        "901|c3|NONE|Agent/5|UNPAUSEALL|",
    ) == [(0, "Agent/5", "available", ""), (900, "Agent/5", "offline", "")]


def test_members_are_named_by_their_interface_so_only_a_map_tells_who_they_are() -> None:
    """Without one the line is counted as left out, not taken for an agent that nobody knows."""
    lines = (
        "0|MANAGER|sales|Local/305@agents/n|ADDMEMBER|",
        "5|NONE|sales|Dyn 305|UNPAUSE|",
        "9|MANAGER|sales|Local/305@agents/n|REMOVEMEMBER|",
    )
    assert states(*lines) == [(5, "Dyn 305", "available", "sales")]
    assert out_of(*lines).ignored == {"unnamed_member": 2}
    both = {"agents": {"Local/305@agents/n": "olga", "Dyn 305": "olga"}}
    assert states(*lines, map=both) == [(0, "olga", "available", "sales"), (9, "olga", "offline", "")]


def test_a_member_that_is_added_paused_is_paused() -> None:
    """ADDMEMBER's data say so."""
    lines = ("0|MANAGER|sales|SIP/1|ADDMEMBER|PAUSED", "5|NONE|sales|SIP/1|UNPAUSE|")
    assert states(*lines, map={"agents": {"SIP/1": "olga"}}) == [
        (0, "olga", "break", "sales"),
        (5, "olga", "available", "sales"),
    ]


def test_after_call_work_ends_when_its_seconds_are_over() -> None:
    """It is said once the log has come so far, never ahead of its time."""
    lines = (*WHOLE, "60|NONE|NONE|Anna|WRAPUPSTART|15")
    before = said(translator(), log(*lines), end=False)
    assert not any(each["type"].endswith("wrapped.v1") for each in events(before))
    assert told(*lines)[-1] == (75, "wrapped", "c1", "sales", 1, "pbx1/Anna")
    assert told(*lines, "80|c5|sales|NONE|ENTERQUEUE||5|1")[-2][:2] == (75, "wrapped")
    assert states(*lines)[1:] == [
        (60, "Anna", "available", "sales"),
        (60, "Anna", "wrap_up", "sales"),
        (75, "Anna", "available", "sales"),
    ]


# ------------------------------------------------------------------------------------- what every translator is held to


def make(memory: Any) -> QueueLog:
    return translator(memory)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 300), max_size=5))
def test_it_may_end_and_begin_anywhere(seed: int, cuts: list[int]) -> None:
    """With its memory through JSON it says the same, byte for byte."""
    day, _ = made_up_day(seed, calls=50)
    assert_a_memory_can_be_saved_anywhere(make, day, [cut % len(day) for cut in cuts])


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(0, 60))
def test_what_is_read_twice_says_the_same(seed: int, cut: int, back: int) -> None:
    """As after a crash, from the memory that was saved before."""
    day, _ = made_up_day(seed, calls=50)
    cut = min(cut, len(day))
    assert_a_repeat_adds_nothing(make, day, cut, min(back, cut))


@given(st.integers(0, 10_000))
def test_everything_that_is_said_is_an_event_of_the_contract(seed: int) -> None:
    """Read by the contract's own parser, addressed as `publish` addresses it."""
    day, _ = made_up_day(seed, calls=50)
    assert_sound(said(translator(), day).messages)


def test_a_hundred_thousand_spoilt_lines_raise_nothing() -> None:
    """What comes out is sound, and what does not is counted."""
    day, _ = made_up_day(1, calls=400)
    spoilt = list(mutated(day, 100_000))
    out = said(translator(), spoilt)
    assert_sound(out.messages, ids=False)
    assert len(out.refused) > 10_000
    assert len(out.messages) > 10_000


def test_the_memory_is_bounded() -> None:
    """However many calls never end, and however many do; one bad time does not wipe it."""
    one, out = translator(), Out()
    for number in range(MOST_OPEN + 500):
        one.translate(f"{START + number // 100}|o{number}|sales|NONE|ENTERQUEUE||5|1".encode(), out)
    for number in range(MOST_CLOSED + 500):
        one.translate(f"{START + 300}|d{number}|sales|NONE|ABANDON|1|1|5".encode(), out)
    for number in range(200):
        one.translate(f"{START + 400 + number}|same|sales|NONE|ENTERQUEUE||5|{number}".encode(), out)
    one.translate(b"9999999999|o600|sales|NONE|RINGNOANSWER|5", out)
    memory = one.memory()
    assert len(memory["open"]) <= MOST_OPEN
    assert len(memory["closed"]) <= MOST_CLOSED
    assert len(orjson.dumps(memory)) < 5_000_000
    assert one.open_calls == len(memory["open"]) > MOST_OPEN // 2
