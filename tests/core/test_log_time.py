"""Rules with a duration run on log time: late and ahead, grace, lost ends, ghosts kept for a day, idle queues, bounds."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import Attribution, Configuration, Definition, Preset, Timing, WaitClock
from queuewatch_schemas.events import Reason
from queuewatch_streams.core.figures import balance_residual
from queuewatch_streams.core.partition import Partition, Record
from support import oracle
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, iso, micros, record
from support.histories import START, Scale, histories, seeded
from support.running import configuration, corrected, figures, partition, settle, state, totals

DAY = 24 * HOUR


def lived(*steps: dict[str, Any] | tuple[dict[str, Any], int], config: Configuration | None = None) -> Partition:
    """A partition that folded the events, each when it happened or at the given instant; none was refused."""
    made = partition(config)
    for offset, step in enumerate(steps):
        event, stamp = step if isinstance(step, tuple) else (step, micros(step["time"]))
        assert made.fold([record(offset, event, stamp)]).refused == []
    return settle(made)


def total(made: Partition, *name: str) -> int:
    """A counter of voice."""
    return made.queues["sales"].channels["voice"].totals.get(":".join(name), 0)


def test_an_event_that_is_late_but_within_grace_revises() -> None:
    """Abandoned, then 15 minutes later the news that it was answered: figures are corrected, counters count a revision."""
    answered = (call("answered", START + MINUTE), START + 16 * MINUTE)
    made = lived(call("queued", START), call("abandoned", START + 2 * MINUTE), answered)
    shown = figures(made, START + 16 * MINUTE)["sales", "voice"].windows["day"]
    assert (shown.of("answered"), shown.of("abandoned")) == (1, 0)
    assert total(made, "revisions", "abandoned", "answered") == 1


@pytest.mark.parametrize(("beyond", "reason"), [(0, None), (1, Reason.LATE)])
def test_late_begins_just_beyond_the_grace_period(beyond: int, reason: Reason | None) -> None:
    """Exactly 15 minutes after is in time; a millisecond more is late, refused, and counted."""
    made = partition()
    asked = made.fold([record(0, call("queued", START), START + 15 * MINUTE + beyond * 1000)])
    assert [each.reason for each in asked.refused] == ([] if reason is None else [reason])
    assert made.counts.get(("late",), 0) == (reason is not None)


@pytest.mark.parametrize(("beyond", "reason"), [(0, None), (1, Reason.AHEAD)])
def test_ahead_begins_just_beyond_the_tolerance(beyond: int, reason: Reason | None) -> None:
    """A minute ahead of its record is believed, a millisecond more is not."""
    asked = partition().fold([record(0, call("queued", START + MINUTE + beyond * 1000), START)])
    assert [each.reason for each in asked.refused] == ([] if reason is None else [reason])


def test_a_visit_without_queued_becomes_an_orphan_when_its_grace_ends() -> None:
    """Until then it counts nowhere; then it is one orphan, and leaves."""
    before = lived(call("answered", START), heartbeat(START + 14 * MINUTE))
    assert total(before, "orphaned") == 0
    after = lived(call("answered", START), heartbeat(START + 17 * MINUTE))
    assert total(after, "orphaned") == 1
    assert after.queues["sales"].visits == {}


def test_a_queued_that_comes_within_grace_saves_an_orphan() -> None:
    """The order of facts does not matter while grace lasts."""
    made = lived(
        call("answered", START + SECOND), (call("queued", START), START + 14 * MINUTE), heartbeat(START + HOUR)
    )
    assert (total(made, "orphaned"), total(made, "answered")) == (0, 1)


def test_an_end_that_never_comes_is_given_up_after_the_maximum_talk() -> None:
    """Four hours of talk: counted as a lost end, out of the talking, and in no mean handle time."""
    made = lived(call("queued", START), call("answered", START), heartbeat(START + 4 * HOUR + SECOND))
    shown = figures(made, START + 4 * HOUR)["sales", "voice"]
    assert (total(made, "lost_ends"), shown.talking, shown.windows["day"].handle_mean) == (1, 0, None)


@pytest.mark.parametrize("hours", [1, 23])
def test_an_evicted_visit_is_revised_by_its_true_outcome_within_a_day(hours: int) -> None:
    """The ghost was none: answered after all, though long since given up."""
    at = START + hours * HOUR
    made = lived(call("queued", START), call("evicted", START + MINUTE), call("answered", at))
    assert corrected(made.queues["sales"].channels["voice"]) | {"offered": 1} == {
        "offered": 1, "answered": 1, "abandoned": 0, "diverted": 0, "evicted": 0, "refused": 0,
    }  # fmt: skip
    assert total(made, "orphaned") == 0


def test_an_evicted_visit_is_let_go_after_a_day() -> None:
    """Then nothing is held of it."""
    made = lived(call("queued", START), call("evicted", START + MINUTE), heartbeat(START + 24 * HOUR + 2 * MINUTE))
    assert made.queues["sales"].visits == {}


def test_an_eviction_is_never_late_and_never_an_orphan() -> None:
    """Its time is that of the facts, hours before its record; of a visit that nobody knows it leaves nothing."""
    evicted = (call("evicted", START, "ghost"), START + 10 * HOUR)
    made = lived(call("queued", START + 9 * HOUR, "c-2"), evicted, heartbeat(START + 40 * HOUR))
    assert total(made, "orphaned") == 0
    assert "ghost" not in made.queues["sales"].visits


def test_an_idle_queue_leaves_and_its_counters_start_again() -> None:
    """After 30 idle days a tombstone; with the next event the queue is new."""
    made = lived(call("queued", START), call("abandoned", START + SECOND), heartbeat(START + 29 * DAY))
    made.advance()
    assert "sales" in made.queues
    made.fold([record(9, heartbeat(START + 31 * DAY))])
    made.advance()
    assert "sales" not in made.queues
    assert made.encode_queue("sales") is None
    made.fold([record(10, call("queued", START + 31 * DAY))])
    assert total(made, "offered") == 1


def test_a_visit_that_waits_keeps_its_queue() -> None:
    """Somebody waits: the queue does not leave, however idle."""
    made = lived(call("queued", START), heartbeat(START + 60 * DAY))
    made.advance()
    assert "sales" in made.queues


def test_a_duplicate_of_an_event_that_came_ahead_of_its_time_finds_its_visit() -> None:
    """Told a minute ahead and again when grace ends: the visit is still known, nothing is counted twice."""
    first = (call("queued", START + 59 * SECOND), START)
    left = (call("abandoned", START + MINUTE), START)
    again = (call("queued", START + 59 * SECOND), START + 15 * MINUTE + 59 * SECOND)
    made = lived(first, left, again, heartbeat(START + 2 * HOUR))
    assert (total(made, "offered"), len(made.queues["sales"].channels["voice"].open)) == (1, 0)


def test_talks_that_ended_before_the_first_word_of_after_call_work_are_let_go_too() -> None:
    """A source begins to tell of after-call work: earlier calls count as in it, and leave after the maximum."""
    made = partition()
    steps = [
        call("queued", START), call("answered", START), call("ended", START + SECOND),
        call("queued", START + MINUTE, "c-2"), call("answered", START + MINUTE, "c-2"),
        call("ended", START + 2 * MINUTE, "c-2"), call("wrapped", START + 3 * MINUTE, "c-2"),
    ]  # fmt: skip
    made.fold([record(n, each) for n, each in enumerate(steps)])
    assert figures(made, START + 3 * MINUTE)["sales", "voice"].wrapping == 1
    made.fold([record(20, heartbeat(START + 2 * HOUR))])
    settle(made)
    assert made.queues["sales"].visits == {}
    assert figures(made, START + 2 * HOUR)["sales", "voice"].wrapping == 0


def test_a_first_entry_at_the_beginning_of_the_calendar_stops_no_interval() -> None:
    """A level by event on the call's clock books where a broken `entered` says; telling intervals goes on."""
    config = configuration(
        {"default": Definition(preset=Preset.NEGATIVE, clock=WaitClock.CALL, attribution=Attribution.EVENT)}
    )
    made = partition(config)
    made.fold([record(0, call("queued", START - HOUR, "c-0"), START - HOUR)])
    made.advance()
    made.fold(
        [record(1, call("queued", START, entered="1900-01-01T00:00:00+23:59")), record(2, call("answered", START))]
    )
    assert made.advance()


def sane(seed: int, visits: int, most_late: int) -> list[tuple[int, dict[str, Any]]]:
    """Visits as they happen, their events a bit ahead, late and doubled, as a live topic accepts them: (stamp, event)."""
    chance = random.Random(seed)
    arriving: list[tuple[int, dict[str, Any]]] = []
    for number in range(visits):
        at = START + chance.randrange(6 * HOUR // 1000) * 1000
        left = at + chance.randrange(30 * MINUTE // 1000) * 1000
        fate = chance.choice(("answered", "answered", "abandoned", "diverted", "waiting"))
        told = [call("queued", at, f"c-{number}")]
        if fate != "waiting":
            told.append(call(fate, left, f"c-{number}"))
        if fate == "answered":
            ended = left + chance.randrange(2 * HOUR // 1000) * 1000
            told += [call("held", left + SECOND, f"c-{number}"), call("ended", ended, f"c-{number}")]
        for each in told:
            for _ in range(chance.choice((1, 1, 2, 3))):
                late = chance.choice((-MINUTE, -SECOND, 0, 0, SECOND, most_late // 2, most_late))
                arriving.append((micros(each["time"]) + late, each))
    return sorted(arriving, key=lambda pair: pair[0])


@settings(max_examples=25)
@given(st.integers(0, 1 << 30))
def test_a_live_topic_is_exact_though_visits_come_late_ahead_and_doubled(seed: int) -> None:
    """Whatever comes within tolerance and grace: through expiry and pruning, counters and levels are the recount."""
    arriving = sane(seed, 40, 15 * MINUTE)
    made, chance = partition(), random.Random(seed)
    for offset, (stamp, event) in enumerate(arriving):
        assert made.fold([record(offset, event, stamp)]).refused == []
        if chance.random() < 0.1:
            made.advance()
    settle(made)
    exact = oracle.joined(event for _, event in arriving)
    stays = exact.of("sales", "voice")
    channel = made.queues["sales"].channels["voice"]
    counted = corrected(channel)
    assert counted["offered"] == len(stays)
    for outcome in oracle.OUTCOMES:
        assert counted[outcome] == sum(stay.status == outcome for stay in stays)
    assert (channel.totals.get("orphaned", 0), balance_residual(channel)) == (0, 0)
    now = made.log_time
    day = figures(made, now)["sales", "voice"].windows["day"]
    expected = oracle.counts(stays, day.start, day.end, 5)
    assert {name: day.of(name) for name in ("answered", "abandoned", "diverted", "handled", "talk", "hold")} == {
        name: expected.get(name, 0) for name in ("answered", "abandoned", "diverted", "handled", "talk", "hold")
    }
    assert (day.levels[0].met, day.levels[0].base) == oracle.level(
        stays, oracle.Terms("negative"), day.start, day.end, now
    )


@settings(max_examples=40)
@given(histories(Scale(visits=10, strays=8)), st.integers(0, 1 << 30))
def test_expiring_early_late_or_often_gives_the_same(events: list[dict[str, Any]], seed: int) -> None:
    """What is due is let go before each fold anyhow: whether somebody looked in between changes nothing."""
    config = configuration(
        timing=Timing(grace_seconds=300, evicted_grace_seconds=1200), maximum_talk_seconds=900, maximum_wrap_seconds=600
    )
    chance = random.Random(seed)
    beats = [heartbeat(START + n * MINUTE) for n in range(0, 400, 7)]
    records = [
        record(n, each) for n, each in enumerate(sorted([*events, *beats], key=lambda each: micros(each["time"])))
    ]
    lazy, eager = partition(config), partition(config)
    lazy.fold(records)
    for each in records:
        eager.fold([each])
        if chance.random() < 0.5:
            eager.advance()
    settle(lazy)
    settle(eager)
    assert {n: state(q) for n, q in lazy.queues.items()} == {n: state(q) for n, q in eager.queues.items()}
    assert totals(lazy) == totals(eager)
    assert figures(lazy, lazy.log_time) == figures(eager, lazy.log_time)


def test_memory_is_bounded_by_callers_and_windows_not_by_time_on_air() -> None:
    """Three days of steady traffic: from the second day on as many visits, cells and bytes are held as before."""
    made, offset, sizes = partition(), 0, []
    for hour in range(72):
        begin = START + hour * HOUR
        arriving = [(micros(each["time"]), each) for each in seeded(7, 40, Scale(start=begin, length=HOUR, visits=40))]
        renamed = [(at, each | {"subject": f"{hour}-{each['subject']}"}) for at, each in arriving]
        records: list[Record] = []
        for at, each in renamed:
            if each["type"] != "queuewatch.call.queued.v1" or "due" not in each["data"]:
                records.append(record(offset, each, at))
                offset += 1
        # Whoever still waits hangs up, as callers do; the rest is for the rules of time.
        made.fold(records)
        for channel in made.queues["sales"].channels.values():
            for key in list(channel.open):
                name, number = (key, 1) if isinstance(key, str) else key
                made.fold([record(offset, call("abandoned", made.log_time, name, visit=number), made.log_time)])
                offset += 1
        made.advance()
        queue = made.queues["sales"]
        value = made.encode_queue("sales")
        assert value is not None
        cells = sum(
            len(channel.windows.days.cells) + len(channel.windows.rolling.cells) for channel in queue.channels.values()
        )
        sizes.append((len(queue.visits), cells, len(queue.closed), len(value)))
    for first, last in zip(
        map(max, zip(*sizes[34:53], strict=True)), map(max, zip(*sizes[53:], strict=True)), strict=True
    ):
        assert last <= first * 1.15 + 10
    assert iso(made.log_time) > iso(START + 70 * HOUR)
