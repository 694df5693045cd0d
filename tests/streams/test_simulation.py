"""The simulated call centre: same seed, same bytes; true counts; a textbook's figures."""

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.events import EVENT_TYPES, parse
from queuewatch_streams.simulation import (
    SOURCE,
    Dirt,
    Duration,
    Incident,
    Settings,
    Truth,
    erlang,
    eventful,
    events,
    lines,
    messages,
    reports,
)

MORNING = datetime.fromisoformat("2026-11-21T08:00:00+08:00")
RECOUNT = Path(__file__).resolve().parents[2].parent / "shared" / "tools" / "recount.py"
FACTS = (
    "offered", "answered", "abandoned", "diverted", "waiting", "refused", "declined", "handled", "answer_wait_sum",
    "abandon_wait_sum", "longest_answer_wait", "talk_sum", "hold_sum", "wrap_sum",
)  # fmt: skip


def busy(seed: int = 7, hours: float = 1.0, **more: Any) -> Settings:
    """A clean centre in which everything happens."""
    return replace(eventful(Settings(start=MORNING, hours=hours, seed=seed), Dirt()), **more)


def visits(feed: Iterable[bytes]) -> set[tuple[str, str, int]]:
    """The visits of which the feed says anything."""
    told = map(json.loads, feed)
    return {
        (event["data"]["queue"], event["subject"], event["data"].get("visit", 1))
        for event in told
        if event["type"].startswith("queuewatch.call.") and not event["type"].endswith("refused.v1")
    }


def recounted(feed: list[bytes]) -> dict[str, dict[str, Any]]:
    """The queues of shared/tools/recount.py, an independent count by brute force."""
    if not RECOUNT.exists():
        pytest.skip("shared/tools/recount.py is not beside this clone")
    spec = importlib.util.spec_from_file_location("recount", RECOUNT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counted: dict[str, dict[str, Any]] = module.recount(feed, 20, 5, 30, [], ZoneInfo("Asia/Shanghai"))["queues"]
    return counted


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**64), queues=st.integers(1, 12), hours=st.floats(0.01, 0.3))
def test_the_same_settings_give_the_same_bytes(seed: int, queues: int, hours: float) -> None:
    """A simulation is a function of its settings, dirt included."""
    centre = eventful(Settings(start=MORNING, seed=seed, queues=queues, hours=hours))
    assert list(lines(centre)) == list(lines(centre))


def test_another_seed_gives_other_events() -> None:
    """The seed matters."""
    assert list(lines(busy(1, 0.2))) != list(lines(busy(2, 0.2)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), queues=st.integers(1, 8))
def test_every_event_is_one_of_the_contract(seed: int, queues: int) -> None:
    """The contract's parser takes each line, from clean feeds and dirty ones."""
    centre = eventful(Settings(start=MORNING, seed=seed, queues=queues, hours=0.2, agent_states=True))
    for line in lines(centre):
        parse(line)


def test_a_long_busy_day_shows_every_type_and_reason_of_the_contract() -> None:
    """Nothing of the contract is left untried by a file made here."""
    centre = eventful(
        Settings(start=MORNING, hours=24, seed=3, agent_states=True, incidents=(Incident("sales", 60, 40),))
    )
    types, reasons, via, channels = set(), Counter[tuple[str, str]](), set(), set()
    for event in events(centre):
        types.add(event["type"])
        reasons[event["type"].split(".")[2], event["data"].get("reason", event["data"].get("by", ""))] += 1
        via.add(event["data"].get("via", "direct"))
        channels.add(event["data"].get("channel", "voice"))
    assert types == set(EVENT_TYPES)
    seen = {
        kind: {reason for of, reason in reasons if of == kind} for kind in ("refused", "declined", "diverted", "ended")
    }
    assert seen == {
        "refused": {"closed", "full", "no_agents"},
        "declined": {"no_answer", "rejected", "busy", "unavailable"},
        "diverted": {
            "timeout", "overflow", "transfer", "voicemail", "callback", "key", "no_agents", "withdrawn", "elsewhere",
        },
        "ended": {"agent", "caller", "transfer", "system"},
    }  # fmt: skip
    assert via == {"direct", "transfer", "overflow", "callback", "requeue"}
    assert channels == {"voice", "chat", "callback"}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_times_lie_on_the_grid_of_an_eighth_of_a_second_and_never_step_back(seed: int) -> None:
    """So sums of them are exact, and a clean file is in order of time."""
    moments = [datetime.fromisoformat(event["time"]) for event in events(busy(seed, 0.3))]
    assert all(moment.microsecond % 125_000 == 0 for moment in moments)
    assert all(before <= after for before, after in pairwise(moments))
    assert moments[0] >= MORNING
    assert moments[-1].timestamp() < MORNING.timestamp() + 0.3 * 3600


def test_ids_differ_from_each_other_and_visits_of_a_call_are_numbered() -> None:
    """An id names one event; (queue, call, visit) names one visit."""
    made = list(events(busy(hours=4)))
    assert len({event["id"] for event in made}) == len(made)
    queued = [event for event in made if event["type"] == "queuewatch.call.queued.v1"]
    numbered = {(event["data"]["queue"], event["subject"], event["data"].get("visit", 1)) for event in queued}
    assert len(numbered) == len(queued)
    assert any(visit == 2 for _, _, visit in numbered)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_recount_of_a_clean_feed_gives_the_truth(seed: int) -> None:
    """What the centre says of itself equals an independent count of what it reported, to an eighth of a second."""
    truth = Truth()
    counted = recounted(list(lines(busy(seed, 3.0, incidents=(Incident("support", 30, 20),)), truth)))
    for name, true in truth.queues.items():
        if name not in counted:
            assert not true.offered and not true.refused
            continue
        row = counted[name]
        assert {fact: row[fact] for fact in FACTS} == {fact: getattr(true, fact) for fact in FACTS}, name
        assert dict(row["diverted_by"]) == dict(true.diverted_by)
        assert not row["orphans"] and not row["evicted"] and not row["negative_waits"]
    assert set(counted) <= set(truth.queues)


def test_a_recount_of_a_dirty_feed_finds_what_was_put_in() -> None:
    """Orphans, negative waits and evictions come out as often as they went in; repetitions and disorder do nothing.

    Only an orphan of which nothing but `queued` was to be told by the end leaves no trace at all.
    """
    dirt = Dirt(orphans=0.03, negative_waits=0.03, ghosts=0.03, evictions=0.5, duplicates=0.1, disorder=0.2)
    truth = Truth()
    feed = list(lines(busy(hours=6, dirt=dirt), truth))
    traceless = len(visits(lines(busy(hours=6))) - visits(feed))
    counted = recounted(feed).values()
    for fact, put_in in (
        ("orphans", truth.dirt["orphans"] - traceless),
        ("negative_waits", truth.dirt["negative_waits"]),
        ("evicted", truth.dirt["evictions"]),
    ):
        assert sum(row[fact] for row in counted) == put_in > 0
    offered = sum(true.offered for true in truth.queues.values())
    assert sum(row["offered"] for row in counted) == offered - truth.dirt["orphans"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), hours=st.floats(0.05, 0.6))
def test_visits_balance_and_end_at_most_once(seed: int, hours: float) -> None:
    """Each visit has one `queued`, at most one outcome, an end only after an answer; what is left over waits."""
    truth = Truth()
    facts: dict[tuple[str, str, int], list[str]] = {}
    for report in reports(busy(seed, hours), truth):
        if report.kind.startswith("call.") and report.kind != "call.refused":
            data = report.data
            facts.setdefault((data["queue"], report.subject, data.get("visit", 1)), []).append(report.kind[5:])
    waiting = 0
    for story in facts.values():
        assert story[0] == "queued" and story.count("queued") == 1
        outcomes = {"answered", "abandoned", "diverted"} & set(story)
        assert len(outcomes) <= 1
        waiting += not outcomes
        assert story.count("ended") <= ("answered" in story)
        assert story.count("wrapped") <= story.count("ended")
        assert 0 <= story.count("held") - story.count("resumed") <= 1
        if outcomes & {"abandoned", "diverted"}:
            assert story[-1] in ("abandoned", "diverted")
    assert waiting == sum(true.waiting for true in truth.queues.values())
    assert len(facts) == sum(true.offered for true in truth.queues.values())


def test_an_agent_has_one_caller_at_a_time() -> None:
    """From ringing to the end of after-call work, an agent is on one visit, over all the queues that he serves."""
    on: dict[str, tuple[str, str, int]] = {}
    serves: dict[str, set[str]] = {}
    for report in reports(busy(hours=6, handovers=0.0)):
        agent = report.data.get("agent")
        if report.kind in ("call.abandoned", "call.diverted"):
            gone = report.data["queue"], report.subject, report.data.get("visit", 1)
            on = {name: visit for name, visit in on.items() if visit != gone}
        if agent is None or not report.kind.startswith("call."):
            continue
        visit = report.data["queue"], report.subject, report.data.get("visit", 1)
        serves.setdefault(agent, set()).add(report.data["queue"])
        assert on.setdefault(agent, visit) == visit
        if report.kind in ("call.declined", "call.wrapped"):
            del on[agent]
    assert any(len(queues) > 1 for queues in serves.values())


def test_a_transfer_ends_one_visit_and_begins_another_at_the_same_instant() -> None:
    """The new visit says where it came from and when the call first entered."""
    made = list(events(busy(hours=3)))
    arrived = {
        (event["subject"], event["time"], event["data"]["queue"], event["data"]["from_queue"])
        for event in made
        if event["type"].endswith("queued.v1") and event["data"].get("via") == "transfer" and event["data"]["entered"]
    }
    left = {
        (event["subject"], event["time"], event["data"]["to_queue"], event["data"]["queue"])
        for event in made
        if event["data"].get("by") == "transfer"
        or (event["data"].get("reason") == "transfer" and "to_queue" in event["data"])
    }
    assert left and arrived == left
    assert any(to == of for _, _, to, of in left)


def test_a_callback_is_a_visit_of_its_own_channel_that_waits_from_its_due_time() -> None:
    """It is announced when promised and answered when due or later."""
    due: dict[tuple[str, str, int], str] = {}
    answered = 0
    for event in events(busy(hours=5)):
        data = event["data"]
        visit = data.get("queue"), event["subject"], data.get("visit", 1)
        if "due" in data:
            assert data["channel"] == "callback" and data["via"] == "callback" and data["due"] > event["time"]
            due[visit] = data["due"]
        elif visit in due and event["type"] == "queuewatch.call.answered.v1":
            answered += 1
            assert event["time"] >= due[visit]
    assert answered > 10


def test_the_day_has_two_peaks_a_lunch_and_a_night() -> None:
    """Arrivals follow the curve of a call centre's day, in its own time zone."""
    start = datetime(2026, 11, 20, tzinfo=ZoneInfo("Asia/Shanghai"))
    arrivals = Counter(
        datetime.fromisoformat(event["time"]).hour
        for event in events(Settings(start=start, hours=240, queues=("support", "service"), calls_per_hour=150))
        if event["type"] == "queuewatch.call.queued.v1" and "via" not in event["data"]
    )
    assert arrivals[10] > arrivals[13] < arrivals[15] > arrivals[19] > 5 * arrivals[3]


def test_over_a_change_of_the_clocks_the_offset_changes_and_the_queues_open_at_eight() -> None:
    """The day of 25 hours is right."""
    start = datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin"))
    made = list(events(Settings(start=start, hours=25, queues=3)))
    assert {event["time"][-6:] for event in made} == {"+02:00", "+01:00"}
    moments = [datetime.fromisoformat(event["time"]) for event in made]
    assert all(before <= after for before, after in pairwise(moments))
    assert moments[-1] < datetime(2026, 10, 25, 23, tzinfo=UTC)
    opened = [event["time"] for event in made if event["subject"] == "billing" and "opened" in event["type"]]
    assert opened == ["2026-10-25T08:00:00.000+01:00"]


def test_a_closed_queue_refuses() -> None:
    """Between closing and opening nobody is let in."""
    open_now: dict[str, bool] = {}
    refused = 0
    for event in events(Settings(start=MORNING, hours=48, transfers=0.0, callbacks=0.0)):
        kind, queue = event["type"], event["data"].get("queue")
        if kind.startswith("queuewatch.queue."):
            open_now[event["subject"]] = "opened" in kind
        elif kind == "queuewatch.call.queued.v1":
            assert open_now.get(queue, True)
        elif event["data"].get("reason") == "closed":
            refused += 1
            assert not open_now[queue]
    assert refused > 10


def test_an_incident_leaves_its_queue_alone_and_does_not_change_who_calls() -> None:
    """While it lasts nobody new is rung there; calls come as they would have come."""
    calm = Settings(
        start=MORNING, hours=2, flat=True, everywhere=0.0, moved=0.0, overflow=0.0, transfers=0.0, requeues=0.0
    )
    struck = replace(calm, incidents=(Incident("sales", 30, 20),))
    begins = MORNING.timestamp() + 1800
    rung = [
        report.at / 8 - begins
        for report in reports(struck)
        if report.kind == "call.ringing" and report.data["queue"] == "sales"
    ]
    assert not any(0 <= since < 1200 for since in rung)
    assert any(since < 0 for since in rung) and any(since >= 1200 for since in rung)

    def callers(centre: Settings) -> list[tuple[int, str]]:
        fresh = ("call.queued", "call.refused")
        return [(r.at, r.subject) for r in reports(centre) if r.kind in fresh and "via" not in r.data]

    assert callers(calm) == callers(struck)


def test_snapshots_list_exactly_the_callers_waiting_and_come_every_minute() -> None:
    """The list is complete and true, promised callbacks included."""
    waiting: dict[str, dict[tuple[str, int], str]] = {}
    at: dict[str, list[float]] = {}
    for event in events(busy(hours=1)):
        data, kind = event["data"], event["type"].removeprefix("queuewatch.").removesuffix(".v1")
        visit = event["subject"], data.get("visit", 1)
        if kind == "call.queued":
            waiting.setdefault(data["queue"], {})[visit] = event["time"]
        elif kind in ("call.answered", "call.abandoned", "call.diverted"):
            waiting[data["queue"]].pop(visit, None)
        elif kind == "queue.snapshot":
            at.setdefault(event["subject"], []).append(datetime.fromisoformat(event["time"]).timestamp())
            listed = {(caller["call"], caller.get("visit", 1)): caller["since"] for caller in data["waiting"]}
            assert listed == waiting.get(event["subject"], {})
    assert set(at) == {"sales", "support", "billing", "claims", "service"}
    assert all({after - before for before, after in pairwise(times)} == {60.0} for times in at.values())


def test_heartbeats_come_every_ten_seconds_about_the_source() -> None:
    """They say that the source was looked at."""
    beats = [event for event in events(busy(hours=0.1)) if event["type"] == "queuewatch.source.heartbeat.v1"]
    assert len(beats) == 36
    assert all(beat["subject"] == SOURCE and beat["data"] == {"interval_s": 10, "upstream": "ok"} for beat in beats)


def test_what_is_only_observed_does_not_change_the_calls() -> None:
    """Snapshots, heartbeats, agents' states and surveys on request leave every call event as it was."""
    plain = Settings(start=MORNING, hours=1)
    full = replace(plain, snapshots=True, heartbeats=True, agent_states=True, surveys=0.5)

    def calls(centre: Settings) -> list[Any]:
        return [(r.at, r.kind, r.subject, r.data) for r in reports(centre) if r.kind.startswith("call.")]

    assert calls(plain) == calls(full)


def test_littles_law_holds() -> None:
    """Mean length of the queue, as the snapshots see it, is the rate of arrivals times the mean wait."""
    start = replace(erlang(MORNING, calls_per_hour=190, handle_s=180, agents=10, hours=80), snapshots=True)
    truth = Truth()
    lengths = [len(report.data["waiting"]) for report in reports(start, truth) if report.kind == "queue.snapshot"]
    (true,) = truth.queues.values()
    assert sum(lengths) / len(lengths) == pytest.approx(true.answer_wait_sum / (80 * 3600), rel=0.05)


def waits(centre: Settings) -> tuple[int, list[float], float]:
    """Callers, waits of the answered in seconds, seconds waited by all."""
    queued: dict[str, int] = {}
    answered, all_waited = [], 0.0
    count = 0
    for report in reports(centre):
        if report.kind == "call.queued":
            queued[report.subject] = report.at
            count += 1
        elif report.kind in ("call.answered", "call.abandoned"):
            wait = (report.at - queued.pop(report.subject)) / 8
            all_waited += wait
            if report.kind == "call.answered":
                answered.append(wait)
    return count, answered, all_waited


def test_with_endless_patience_a_flat_queue_is_erlang_c() -> None:
    """10 Erlangs on 14 agents: P(wait) .17413, 88.835 % within 20 s, mean wait 7.836 s (the textbook's formula).

    Waits come in clumps, so even 240,000 calls leave standard deviations of 2.5 %, 0.4 % and 5.2 % (scaled from 16
    shorter runs, whose means agree with the formula within one standard error); the tolerances are three of them.
    """
    _, answered, _ = waits(erlang(MORNING, calls_per_hour=200, handle_s=180, agents=14, hours=1200))
    assert sum(wait > 0 for wait in answered) / len(answered) == pytest.approx(0.17413, rel=0.075)
    assert sum(wait <= 20 for wait in answered) / len(answered) == pytest.approx(0.88835, rel=0.013)
    assert sum(answered) / len(answered) == pytest.approx(7.836, rel=0.16)


def test_with_exponential_patience_a_flat_queue_is_erlang_a() -> None:
    """48 calls a minute, one minute each, patience two minutes, 50 agents: 3.09 % abandon, mean wait 3.71 s."""
    centre = erlang(MORNING, calls_per_hour=2880, handle_s=60, agents=50, hours=25)
    count, answered, waited = waits(replace(centre, patience=Duration(120, "exponential")))
    assert 1 - len(answered) / count == pytest.approx(0.0309, rel=0.05)
    assert waited / count == pytest.approx(3.71, rel=0.05)


def test_thousands_of_queues_have_names_and_keys_of_their_own() -> None:
    """Each message's key is its queue, so that a queue lies on one partition."""
    centre = Settings(start=MORNING, hours=0.1, queues=3000, calls_per_hour=60, flat=True)
    keys = set()
    for message in messages(centre):
        event = json.loads(message.value)
        assert message.key.decode() == event["data"].get("queue", event["subject"])
        assert event["type"] == f"queuewatch.{message.kind}.v1"
        keys.add(message.key)
    assert keys <= {name.encode() for name in centre.queue_names} and len(keys) > 2900


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Settings(start=datetime(2026, 11, 21)), "no UTC offset"),
        (lambda: Settings(start=MORNING, hours=0), "hours"),
        (lambda: Settings(start=MORNING, queues=0), "at least one queue"),
        (lambda: Settings(start=MORNING, queues=("a", "a")), "differ"),
        (lambda: Settings(start=MORNING, chat=1.5), "chat is a share"),
        (lambda: Settings(start=MORNING, chat=float("nan")), "chat is a share"),
        (lambda: Settings(start=MORNING, callbacks=0.6, keys=0.6), "together"),
        (lambda: Settings(start=MORNING, calls_per_hour=0), "calls_per_hour"),
        (lambda: Settings(start=MORNING, incidents=(Incident("nowhere", 1, 1),)), "'nowhere'"),
        (lambda: Incident("sales", 5, 0), "lasts more than 0"),
        (lambda: Duration(0), "positive number of seconds"),
        (lambda: Dirt(ghosts=2), "ghosts is a share"),
        (lambda: Dirt(ghosts=0.6, orphans=0.6), "together"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_plain_words(wrong: Callable[[], object], says: str) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=says):
        wrong()
