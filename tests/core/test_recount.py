"""Replay of a file against a brute-force recount: the oracle here, and the project's reference script where it is present."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_streams.core.replay import Question, Replay
from support import oracle
from support.events import HOUR, SECOND, iso, line
from support.histories import LENGTH, SHORT, START, Scale, histories, seeded, shuffled

SHARED = Path(__file__).resolve().parents[3] / "shared"
BANK = SHARED / "data" / "bank-1999-02-01-to-14.tsv.gz"
SCALE = Scale(queues=("sales", "claims"), grid=SECOND // 8)
ZONE = ZoneInfo("Asia/Kathmandu")
INSTANTS = [datetime.fromisoformat(iso(START + hours * HOUR // 2)) for hours in range(8)]
PRESETS = ("ignore", "negative", "positive", "answered_only", "ignore_short", "all_offered", "removed")


@lru_cache
def reference() -> ModuleType:
    """The reference recount, loaded from beside the project; the test is skipped where it is not."""
    path = SHARED / "tools" / "recount.py"
    if not path.exists():
        pytest.skip(f"the reference recount is not beside the project: {path.name}")
    spec = importlib.util.spec_from_file_location("recount", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replayed(lines: Sequence[bytes], question: Question) -> dict[str, Any]:
    """The report of a replay, as it reads after a trip through JSON."""
    replay = Replay(question)
    assert replay.fold_all(lines) == []
    report: dict[str, Any] = json.loads(json.dumps(replay.report()))
    return report


def recounted(lines: Sequence[bytes], question: Question) -> dict[str, Any]:
    """The reference's answer to the same question."""
    answer = reference().recount(
        (each.decode() for each in lines), question.threshold, question.short, question.interval, question.at,
        question.zone, question.now,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(json.dumps(answer))
    return report


questions = st.builds(
    Question,
    threshold=st.sampled_from((20, 0, 10.5, 600)),
    short=st.sampled_from((5, 0, 30)),
    interval=st.sampled_from((30, 15, 60)),
    zone=st.sampled_from((ZoneInfo("Asia/Jerusalem"), ZONE, ZoneInfo("America/St_Johns"))),
    now=st.one_of(
        st.none(), st.integers(0, LENGTH // SECOND).map(lambda s: datetime.fromisoformat(iso(START + s * SECOND)))
    ),
    at=st.just(INSTANTS),
)


@settings(max_examples=80)
@given(histories(SCALE), questions, st.integers(0, 1 << 30))
def test_replay_of_any_history_is_the_reference_recount(
    events: list[dict[str, Any]], question: Question, seed: int
) -> None:
    """Shuffled and doubled, the events come to exactly the reference's answer: queues, intervals, instants."""
    if not events:
        return  # the reference knows no `now` without events
    expected = recounted([line(each) for each in events], question)
    assert replayed([line(each) for each in shuffled(events, seed)], question) == expected


@pytest.mark.parametrize("seed", range(3))
def test_replay_of_a_long_history_is_the_reference_recount(seed: int) -> None:
    """A history of 400 visits with everything in it."""
    lines = [line(each) for each in seeded(seed, 400, SCALE)]
    question = Question(at=INSTANTS, zone=ZONE, interval=15)
    assert replayed(lines, question) == recounted(lines, question)


@settings(max_examples=80)
@given(histories(Scale(queues=("sales", "claims"))), questions, st.integers(0, 1 << 30))
def test_replay_of_any_history_is_what_the_oracle_counts(
    events: list[dict[str, Any]], question: Question, seed: int
) -> None:
    """The same without the reference, at microsecond resolution: every key of the report by brute force."""
    report = replayed([line(each) for each in shuffled(events, seed)], question)
    now = (
        oracle.at_of(question.now.isoformat())
        if question.now
        else max([oracle.at_of(e["time"]) for e in events], default=0)
    )
    assert report == json.loads(json.dumps(expected_report(oracle.joined(events), question, now)))


def expected_report(exact: oracle.History, question: Question, now: int) -> dict[str, Any]:
    """The report by brute force."""
    report: dict[str, Any] = {"queues": {}, "intervals": {}, "outcomes": {}, "events": {}}
    report["at"] = {at.isoformat(): {} for at in question.at}
    strays = {(queue, "voice") for queue in exact.orphans}
    for queue, channel in exact.channels() | strays:
        title = queue if channel == "voice" else f"{queue} [{channel}]"
        stays = exact.of(queue, channel)
        report["queues"][title] = _whole(stays, exact, queue, channel, question, now)
        _by_interval(report, title, stays, question, now)
        for at in question.at:
            there = oracle.at_of(at.isoformat())
            waits = [there - s.arrival for s in stays if s.arrival <= there and (s.done is None or s.done > there)]
            if waits:
                report["at"][at.isoformat()][title] = {"waiting": len(waits), "longest_wait": max(waits) / SECOND}
    return report


def _terms(preset: str, question: Question, attribution: str = "arrival") -> oracle.Terms:
    short = question.short if preset == "ignore_short" else None
    return oracle.Terms(preset.replace("_", "-"), question.threshold, short, attribution)


def _whole(
    stays: list[oracle.Stay], exact: oracle.History, queue: str, channel: str, question: Question, now: int
) -> dict[str, Any]:
    always = (-(1 << 60), 1 << 60)
    found = oracle.counts(stays, *always, question.short)
    levels = {preset: oracle.level(stays, _terms(preset, question), *always, now) for preset in PRESETS}
    seconds = {
        f"{name}_sum": found.get(name, 0) / SECOND for name in ("answer_wait", "abandon_wait", "talk", "hold", "wrap")
    }
    return {
        **{name: found.get(name, 0) for name in ("offered", *oracle.OUTCOMES, "waiting", "handled")},
        **seconds,
        "answered_within": levels["negative"][0],
        "abandoned_within": levels["positive"][0] - levels["negative"][0],
        "counted": levels["negative"][1],
        "short_abandoned": found.get("short", 0),
        "negative_waits": sum(stay.done is not None and stay.done < stay.arrival for stay in stays),
        "declined": sum(stay.declined for stay in stays),
        "longest_answer_wait": max((s.wait for s in stays if s.status == "answered"), default=0) / SECOND,
        "refused": len(exact.refusals(queue, channel)),
        "orphans": exact.orphans[queue] if channel == "voice" else 0,
        "diverted_by": {name.split(":")[1]: n for name, n in found.items() if name.startswith("diverted:")},
        "service_level": {name: met / base if base else None for name, (met, base) in levels.items()},
    }


def _by_interval(report: dict[str, Any], title: str, stays: list[oracle.Stay], question: Question, now: int) -> None:
    step = timedelta(minutes=question.interval) // timedelta(microseconds=1)
    threshold = round(question.threshold * SECOND)
    instants = [at for s in stays for at in (s.arrival, s.arrival + threshold, s.done) if at is not None]
    for start in {oracle.interval_of(at, question.interval, question.zone) for at in instants}:
        found = oracle.counts(stays, start, start + step, question.short)
        key = datetime.fromisoformat(iso(start)).astimezone(UTC).isoformat()
        within = {
            booked: oracle.level(stays, _terms("negative", question, booked), start, start + step, now)
            for booked in ("arrival", "outcome", "event")
        }
        if found.get("offered"):
            row = {name: found.get(name, 0) for name in ("offered", *oracle.OUTCOMES, "waiting")}
            report["intervals"].setdefault(key, {})[title] = row | {"answered_within": within["arrival"][0]}
        row = {name: found.get(f"done:{name}", 0) for name in oracle.OUTCOMES}
        if any(row.values()):
            report["outcomes"].setdefault(key, {})[title] = row | {"answered_within": within["outcome"][0]}
        if within["event"][1]:
            met, base = within["event"]
            report["events"].setdefault(key, {})[title] = {"counted": base, "answered_within": met}


# ---------------------------------------------------------------------------------------------------- the bank's real log


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The bank's fourteen days as events; skipped where the data is not beside the project."""
    if not BANK.exists():
        pytest.skip(f"the bank's log is not beside the project: {BANK.name}")
    table = tmp_path_factory.mktemp("bank") / "table.tsv"
    table.write_bytes(gzip.decompress(BANK.read_bytes()))
    made = subprocess.run(
        [sys.executable, SHARED / "tools" / "bank_events.py", table], capture_output=True, check=True, timeout=120
    )
    return made.stdout.splitlines()


@pytest.fixture(scope="module")
def bank_question() -> Question:
    """Intervals of a quarter of an hour, and some instants of the busiest hours."""
    days = [datetime.fromisoformat(f"1999-02-{day:02}T10:30:15+02:00") for day in (1, 4, 9, 14)]
    return Question(at=days, interval=15)


@pytest.fixture(scope="module")
def bank_recount(bank: list[bytes], bank_question: Question) -> dict[str, Any]:
    """The reference's answer for the bank."""
    return recounted(bank, bank_question)


@pytest.mark.parametrize("how", ["as it is", "shuffled", "every line twice", "split in two"])
def test_replay_of_the_banks_fourteen_days_is_exactly_the_recount(
    how: str, bank: list[bytes], bank_question: Question, bank_recount: dict[str, Any]
) -> None:
    """A real call-by-call log: every queue, interval and instant, whatever was done to its lines."""
    lines = list(bank)
    if how == "shuffled":
        random.Random(3).shuffle(lines)
    if how == "every line twice":
        lines += bank
    if how == "split in two":
        lines = [*bank[1::2], *bank[::2]]
    assert replayed(lines, bank_question) == bank_recount


def test_short_abandons_and_the_threshold_are_taken_from_the_question(bank: list[bytes]) -> None:
    """Another threshold, short time and interval on the first days of the bank."""
    question = Question(threshold=60, short=SHORT / SECOND * 2, interval=30, zone=ZoneInfo("UTC"))
    assert replayed(bank[:8000], question) == recounted(bank[:8000], question)
