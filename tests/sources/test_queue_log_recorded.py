"""Logs of others: a real Asterisk's, with an independent trace of every visit, and the cases of another product's tests.

They lie outside of the repository; where they are not there, logs of our own making stand for them elsewhere in this folder.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from queuewatch_schemas.times import instant
from queuewatch_streams.cli import main
from queuewatch_streams.core.replay import Question, Replay

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ASTERISK = DATA / "asterisk"
CASES = DATA / "queue-log-cases.json"
HERE = pytest.mark.skipif(not DATA.exists(), reason="the shared recordings are not here")


def converted(*arguments: str, text: str | None = None) -> list[bytes]:
    """What `convert` writes; a refusal of known records is a failure."""
    done = CliRunner().invoke(main, ["convert", *arguments], input=text)
    assert done.exit_code == 0, done.stderr
    return done.stdout_bytes.splitlines()


# ------------------------------------------------------------------------------------------------- a recorded Asterisk


@pytest.fixture(scope="module")
def recorded() -> list[bytes]:
    return converted("--from", "asterisk-queue-log", "--name", "pbx1", str(ASTERISK / "queue_log.gz"))


@HERE
def test_every_queue_of_the_recorded_asterisk_comes_to_its_truth(recorded: list[bytes]) -> None:
    """Abandoned differs by those who were redirected while they waited: the log calls them ABANDON too."""
    truth = json.loads((ASTERISK / "truth.json").read_text(encoding="utf-8"))["queues"]
    replay = Replay(Question())
    assert not replay.fold_all(recorded)
    queues = replay.report()["queues"]
    transferred: dict[str, int] = defaultdict(int)
    for line in recorded:
        event = json.loads(line)
        if event["type"].endswith("call.ended.v1"):
            transferred[event["data"]["queue"]] += event["data"]["by"] == "transfer"
    for name, expected in truth.items():
        if not expected["entered"]:
            assert f"pbx1/{name}" not in queues  # refused callers leave no line
            continue
        row = queues[f"pbx1/{name}"]
        reasons = {"timeout": "timed_out", "key": "exited_key", "no_agents": "leave_empty", "withdrawn": "withdrawn"}
        assert row["offered"] == expected["entered"]
        assert row["answered"] == row["handled"] == expected["answered"]
        assert row["abandoned"] == expected["abandoned"] + expected["redirected_while_waiting"]
        assert row["diverted_by"] == {reason: expected[key] for reason, key in reasons.items() if expected[key]}
        assert row["waiting"] == row["orphans"] == row["negative_waits"] == 0
        # 81 blind and 28 of 32 attended ones are in the log; it calls the other four COMPLETEAGENT.
        unseen = expected["transferred_blind"] + expected["transferred_attended"] - transferred[f"pbx1/{name}"]
        assert 0 <= unseen <= 3


@HERE
def test_all_blind_and_the_logged_attended_transfers_of_the_recorded_asterisk_are_told(recorded: list[bytes]) -> None:
    """As many as the log has lines; four attended ones are COMPLETEAGENT there."""
    with gzip.open(ASTERISK / "queue_log.gz", "rt", encoding="utf-8") as lines:
        logged = sum("TRANSFER|" in line for line in lines)
    ended = [event for line in recorded if (event := json.loads(line))["type"].endswith("call.ended.v1")]
    assert sum(event["data"]["by"] == "transfer" for event in ended) == logged


@HERE
def test_each_wait_and_talk_of_the_recorded_asterisk_is_true_to_a_second(recorded: list[bytes]) -> None:
    """Each visit on its own, matched by call, queue and order of entry.

    Talks of those who were redirected while they talked are left out: the log ends them when the caller finally hangs up.
    """
    ours: dict[tuple[str, str], dict[int, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for line in recorded:
        event = json.loads(line)
        kind = event["type"].split(".")[2]
        if event["type"].startswith("queuewatch.call."):
            data = event["data"]
            place = event["subject"].removeprefix("pbx1-"), data["queue"].removeprefix("pbx1/")
            ours[place][data.get("visit", 1)][kind] = instant(event["time"])
    truth: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(ASTERISK / "visits.jsonl.gz", "rt", encoding="utf-8") as visits:
        for each in visits:
            visit = json.loads(each)
            if not visit["out"].startswith("refused"):
                truth[visit["uid"], visit["queue"]].append(visit)
    assert truth.keys() == ours.keys()
    compared = 0
    for place, stays in truth.items():
        stays.sort(key=lambda visit: float(visit["enter"]))
        assert sorted(ours[place]) == list(range(1, len(stays) + 1))
        for number, stay in enumerate(stays, 1):
            facts = ours[place][number]
            if stay["ans"] is not None:
                assert abs((facts["answered"] - facts["queued"]) / 1e6 - (stay["ans"] - stay["enter"])) <= 1.0
                talk = (facts["ended"] - facts["answered"]) / 1e6
                assert stay["out"] == "redirected_talking" or abs(talk - (stay["talk_end"] - stay["ans"])) <= 1.0
                compared += 1
            else:
                left = facts.get("abandoned", facts.get("diverted"))
                assert left is not None
                assert abs((left - facts["queued"]) / 1e6 - (stay["exit"] - stay["enter"])) <= 1.0
    assert compared == 1055


# ---------------------------------------------------------------------------------------- cases of another product's tests

Case = dict[str, Any]


def cases(group: str) -> list[Case]:
    """The cases of a group; none where the file is not there."""
    found: list[Case] = json.loads(CASES.read_text(encoding="utf-8"))[group] if CASES.exists() else []
    return found


def events_of(case: Case) -> list[dict[str, Any]]:
    """A case's rows in the order of their times, through `convert`; their clock is taken for UTC."""
    columns = ("time", "callid", "queuename", "agent", "event", "data1", "data2", "data3", "data4", "data5")
    rows = sorted(case["rows"], key=lambda row: str(row["time"]))
    text = "".join("|".join(row[column] for column in columns) + "\n" for row in rows)
    lines = converted("--from", "asterisk-queue-log-table", "--name", "xivo", "-", text=text)
    return [json.loads(line) for line in lines]


def expectations(case: Case) -> Iterator[tuple[dict[str, Any], datetime, datetime, dict[str, str]]]:
    """(what for, from, until, figures) of every row that a case expects."""
    for expected in case["expected"]:
        day = datetime.fromisoformat(expected["date"]).replace(tzinfo=UTC)
        hours = [row["interval"].replace("h", "").split("-") for row in expected["rows"] if row["interval"] != "Total"]
        for row in expected["rows"]:
            spans = hours if row["interval"] == "Total" else [row["interval"].replace("h", "").split("-")]
            begin, end = int(spans[0][0]), int(spans[-1][1])
            yield expected, day + timedelta(hours=begin), day + timedelta(hours=end), row


def span(text: str) -> int:
    """`01:13:28` in seconds."""
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


@HERE
@pytest.mark.parametrize("case", cases("queues"), ids=lambda case: case["scenario"])
def test_a_case_of_queues_gives_what_it_expects(case: Case) -> None:
    """Its words: received is queued or refused; the rate is answered / (received − closed); hours are those of arrival.

    AWT is not compared: the case's rows contradict themselves.  They say a wait of 2 to 5 seconds and stand 10 to 60
    minutes apart; that product averages the first, our waits are the differences of the stamps, as with a true log both are.
    """
    found = events_of(case)
    compared = 0
    for expected, begin, end, row in expectations(case):
        queue = f"xivo/{expected['queue']}"
        arrived = {
            (event["subject"], event["data"].get("visit", 1)): event
            for event in found
            if event["type"].endswith(("call.queued.v1", "call.refused.v1"))
            and event["data"]["queue"] == queue
            and begin <= datetime.fromisoformat(event["time"]) < end
        }

        def outcome(kind: str, of: dict[Any, Any] = arrived, queue: str = queue) -> list[dict[str, Any]]:
            return [
                event
                for event in found
                if event["type"] == f"queuewatch.call.{kind}.v1"
                and event["data"]["queue"] == queue
                and (event["subject"], event["data"].get("visit", 1)) in of
            ]

        closed = [event for event in outcome("refused") if event["data"]["reason"] == "closed"]
        blocked = [event for event in outcome("refused") if event["data"]["reason"] == "no_agents"]
        ours = {
            "Received": len(arrived),
            "Answered": len(outcome("answered")),
            "Abandoned": len(outcome("abandoned")),
            "Blocking": len(blocked),
            "Closed": len(closed),
        }
        base = len(arrived) - len(closed)
        rate = f"{100 * ours['Answered'] // base} %" if base else ""
        for key, value in row.items():
            if key in ours:
                assert ours[key] == int(value), (key, row)
                compared += 1
            elif key == "Answered rate":
                assert rate == value, row
            else:
                # QoS is empty in every case: no threshold is set.
                assert key in ("interval", "AWT") or (key, value) == ("QoS", ""), key
    assert compared


@HERE
@pytest.mark.parametrize("case", cases("queues"), ids=lambda case: case["scenario"])
def test_the_core_counts_a_case_as_its_events_say(case: Case) -> None:
    """Offered, answered, abandoned and refused of the whole case, by the core itself."""
    found = events_of(case)
    replay = Replay(Question(interval=60))
    assert not replay.fold_all(json.dumps(event).encode() for event in found)
    for name, row in replay.report()["queues"].items():
        of = [event["type"].split(".")[2] for event in found if event.get("data", {}).get("queue") == name]
        assert (row["offered"], row["answered"], row["abandoned"], row["refused"]) == tuple(
            of.count(kind) for kind in ("queued", "answered", "abandoned", "refused")
        )


@HERE
@pytest.mark.parametrize(
    "case", [each for each in cases("agents") if each["expected"]], ids=lambda case: case["scenario"]
)
def test_a_case_of_agents_gives_what_it_expects(case: Case) -> None:
    """Login and pause are the times between our states; wrap-up is that of the visits; answered by the hour of the entry."""
    found = events_of(case)
    for expected, begin, end, row in expectations(case):
        agent = f"xivo/Agent/{expected['agent']}"
        states = [
            (datetime.fromisoformat(event["time"]), event["data"]["state"])
            for event in found
            if event["type"] == "queuewatch.agent.state.v1" and event["subject"] == agent
        ]
        states.append((end, "end"))

        def time_in(is_in: Any, states: Any = states, begin: datetime = begin, end: datetime = end) -> int:
            total = timedelta()
            for (since, state), (until, _) in pairwise(states):
                if is_in(state):
                    total += max(timedelta(), min(until, end) - max(since, begin))
            return int(total.total_seconds())

        for key, value in row.items():
            if key == "Login":
                assert time_in(lambda state: state != "offline") == span(value), row
            elif key == "Pause":
                assert time_in(lambda state: state == "break") == span(value), row
            elif key == "Wrapup":
                assert time_in(lambda state: state == "wrap_up") == span(value), row
            elif key == "Answered":
                queued = {
                    event["subject"]
                    for event in found
                    if event["type"].endswith("queued.v1") and begin <= datetime.fromisoformat(event["time"]) < end
                }
                answered = [
                    event
                    for event in found
                    if event["type"].endswith("answered.v1")
                    and event["data"]["agent"] == agent
                    and event["subject"] in queued
                ]
                assert len(answered) == int(value), row
            else:
                assert key == "interval"


@HERE
def test_cases_without_expectations_are_read_as_far_as_they_can_be() -> None:
    """One has no rows; the other has times without a day, which are refused with the reason."""
    for case in cases("agents"):
        if not case["expected"]:
            text = "".join(
                f"{row['time']}|{row['callid']}|NONE|{row['agent']}|{row['event']}\n" for row in case["rows"]
            )
            done = CliRunner().invoke(main, ["convert", "--from", "asterisk-queue-log-table", "-"], input=text)
            assert done.stdout_bytes == b""
            assert done.stderr.count("bad_time") == len(case["rows"])
