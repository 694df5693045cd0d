"""Days of 23, 24 and 25 hours, half-hour zones, and intervals that close, are told again, and become final."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Attribution, Business, Definition, Timing
from queuewatch_streams.core.calendar import business_day, interval_start, utc_offset
from queuewatch_streams.core.figures import channel_figures
from queuewatch_streams.core.intervals import Closed
from queuewatch_streams.core.partition import Clock
from support import oracle
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, micros, record
from support.histories import START
from support.running import ALL_WINDOWS, PATIENT, at_once, configuration, figures, folded, partition

SPRING, AUTUMN = micros("2026-03-29T12:00:00+02:00"), micros("2026-10-25T12:00:00+01:00")
ZONES = (
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kathmandu",
    "America/New_York",
)


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Berlin", SPRING, 23),
        ("Europe/Berlin", AUTUMN, 25),
        ("Europe/Berlin", SPRING - 24 * HOUR, 24),
        ("Australia/Lord_Howe", micros("2026-04-05T12:00:00+10:30"), 24.5),
        ("Australia/Lord_Howe", micros("2026-10-04T12:00:00+11:00"), 23.5),
        ("Asia/Kolkata", SPRING, 24),
    ],
)
def test_a_business_day_is_as_long_as_the_clocks_make_it(zone: str, at: int, hours: float) -> None:
    """23 or 25 hours where clocks change, half an hour more or less on Lord Howe Island."""
    start, end = business_day(at, 0, ZoneInfo(zone))
    assert end - start == hours * HOUR
    assert (start, end) == oracle.day_of(at, 0, ZoneInfo(zone))


@given(st.sampled_from(ZONES), st.integers(0, 23), st.integers(0, 400 * 24 * HOUR))
def test_every_instant_lies_in_one_business_day_and_one_interval(zone: str, hour: int, since: int) -> None:
    """Days begin at the local hour, follow each other without gap, and agree with the oracle; so do intervals."""
    there, at = ZoneInfo(zone), START + since
    start, end = business_day(at, hour, there)
    assert start <= at < end
    assert business_day(end, hour, there)[0] == end
    assert business_day(start - 1, hour, there)[1] == start
    assert (start, end) == oracle.day_of(at, hour, there)
    for minutes in (15, 30):
        begin = interval_start(at, minutes, there)
        assert begin <= at < begin + minutes * MINUTE
        assert begin == oracle.interval_of(at, minutes, there)
        assert oracle.local(begin, there).minute % minutes == 0


@given(st.sampled_from(ZONES), st.integers(0, 400 * 24 * HOUR))
def test_the_offset_from_utc_is_what_the_local_clock_is_ahead(zone: str, since: int) -> None:
    """To the microsecond, also right at a change."""
    for at in (START + since, SPRING - 11 * HOUR, SPRING - 11 * HOUR - 1, AUTUMN - 10 * HOUR, AUTUMN - 10 * HOUR - 1):
        local = oracle.local(at, ZoneInfo(zone))
        ahead = local.utcoffset()
        assert ahead is not None
        assert utc_offset(at, ZoneInfo(zone)) == ahead.total_seconds()


@pytest.mark.parametrize("minutes", [15, 30])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_the_repeated_hour_has_intervals_of_its_own_in_both_passes(zone: str, minutes: int) -> None:
    """On the day when clocks go back, intervals tile the whole long day, each as long as the others."""
    day = AUTUMN if zone == "Europe/Berlin" else micros("2026-04-05T12:00:00+10:30")
    start, end = business_day(day, 0, ZoneInfo(zone))
    starts = sorted({interval_start(at, minutes, ZoneInfo(zone)) for at in range(start, end, 5 * MINUTE)})
    assert {later - earlier for earlier, later in pairwise(starts)} == {minutes * MINUTE}
    assert (starts[0], starts[-1] + minutes * MINUTE) == (start, end)


@pytest.mark.parametrize("hour", [0, 2, 3, 4])
@pytest.mark.parametrize("noon", [SPRING, AUTUMN])
def test_a_call_a_quarter_all_day_long_is_a_days_worth(noon: int, hour: int) -> None:
    """A caller every 15 minutes over three days: the day window holds four an hour of exactly its own 23, 24 or 25 hours."""
    zone = ZoneInfo("Europe/Berlin")
    config = configuration(
        timing=PATIENT, business=Business(time_zone="Europe/Berlin", day_starts_at_hour=hour, windows=ALL_WINDOWS)
    )
    events = [call("queued", noon + n * 15 * MINUTE, f"c-{n}") for n in range(-200, 260)]
    made = folded(at_once(events, noon - 60 * HOUR), config)
    for now in range(noon - 24 * HOUR, noon + 24 * HOUR, 3 * HOUR):
        start, end = oracle.day_of(now, hour, zone)
        assert figures(made, now)["sales", "voice"].windows["day"].offered == (end - start) // (15 * MINUTE)


# ------------------------------------------------------------------------------------------------------ closed intervals


def lived(
    begin: int, end: int, zone: str, minutes: Any, hour: int, seed: int
) -> tuple[list[Closed], list[Closed], dict[str, Any]]:
    """A queue through a whole day and an hour or two: what was told as it went, what was told last, and the day's sums."""
    chance = random.Random(seed)
    config = configuration(
        {"default": Definition(), "by outcome": Definition(attribution=Attribution.OUTCOME)},
        timing=Timing(grace_seconds=900),
        business=Business(time_zone=zone, day_starts_at_hour=hour, interval_minutes=minutes, windows=ALL_WINDOWS),
    )
    made = partition(config)
    arriving: list[tuple[int, dict[str, Any]]] = [
        (at, heartbeat(at)) for at in range(begin - HOUR, end + 2 * HOUR, 5 * MINUTE)
    ]
    for n in range(120):
        at = begin + chance.randrange(end - begin - 20 * MINUTE)
        left = at + chance.randrange(5 * MINUTE)
        fate = chance.choice(("answered", "abandoned", "diverted"))
        for each in (call("queued", at, f"c-{n}"), call(fate, left, f"c-{n}")):
            arriving.append((micros(each["time"]) + chance.choice((0, 0, 0, 14 * MINUTE)), each))
        if fate == "answered":
            arriving.append((left + 6 * MINUTE, call("ended", left + 5 * MINUTE, f"c-{n}")))
    told: list[Closed] = []
    day: dict[str, Any] = {}
    for offset, (stamp, each) in enumerate(sorted(arriving, key=lambda pair: pair[0])):
        if stamp >= end + 30 * MINUTE and not day:
            queue = made.queues["sales"]
            day = dict(channel_figures(queue, queue.channels["voice"], end - 1).windows["day"].cell.told())
        folded = made.fold([record(offset, each, stamp)])
        assert folded.refused == []
        told += [*folded.closed, *made.advance()]
    return told, list({each.figures.start: each for each in told}.values()), day


@pytest.mark.parametrize("minutes", [15, 30])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"])
@pytest.mark.parametrize("noon", [SPRING, AUTUMN, micros("2026-04-05T12:00:00+10:30")])
def test_the_sum_of_a_days_closed_intervals_is_its_day_window(zone: str, minutes: int, noon: int) -> None:
    """As they were told last, over days of every length: nothing is missing, nothing is counted twice."""
    begin, end = business_day(noon, 3, ZoneInfo(zone))
    told, last, day = lived(begin, end, zone, minutes, 3, seed=minutes)
    within = [each for each in last if begin <= each.figures.start < end]
    assert len(within) == (end - begin) // (minutes * MINUTE)
    summed: Counter[str] = Counter()
    for each in within:
        assert each.figures.end - each.figures.start == minutes * MINUTE
        summed.update(each.figures.cell.told())
    assert dict(summed) == day
    assert all(each.final for each in within)
    assert len(told) > len(last)


def test_an_interval_is_told_once_on_closing_then_only_when_revised_and_at_last_as_final() -> None:
    """Told at 08:30 with one caller; silent; told again when a late caller comes; told as final when grace has ended."""
    made = partition()
    made.fold([record(0, call("queued", START + MINUTE)), record(1, call("answered", START + 2 * MINUTE))])
    made.fold([record(2, call("ended", START + 3 * MINUTE))])
    assert made.advance() == []
    steps = [
        (record(3, heartbeat(START + 30 * MINUTE)), [(START, 1, False)]),
        (record(4, heartbeat(START + 31 * MINUTE)), []),
        (record(5, call("queued", START + 29 * MINUTE, "c-2"), START + 33 * MINUTE), [(START, 2, False)]),
        (record(6, call("abandoned", START + 34 * MINUTE, "c-2")), [(START, 2, False)]),
        (record(7, heartbeat(START + 46 * MINUTE)), []),
        (record(8, heartbeat(START + 55 * MINUTE)), [(START, 2, True)]),
        (record(9, heartbeat(START + 60 * MINUTE)), [(START + 30 * MINUTE, 0, False)]),
        (record(10, heartbeat(START + 90 * MINUTE)), [(START + 30 * MINUTE, 0, True), (START + 60 * MINUTE, 0, False)]),
    ]
    for each, expected in steps:
        told = [*made.fold([each]).closed, *made.advance()]
        assert [(c.figures.start, c.figures.offered, c.final) for c in told] == expected, each.offset


def test_an_interval_before_the_first_one_told_is_not_final_while_grace_runs() -> None:
    """A caller of the interval before comes late but in time: told, and not yet as final."""
    made = partition()
    made.fold([record(0, call("queued", START + MINUTE, "c-1"))])
    made.advance()
    made.fold([record(1, call("queued", START - MINUTE, "c-2"), START + 5 * MINUTE)])
    assert [(c.figures.start, c.figures.offered, c.final) for c in made.advance()] == [(START - 30 * MINUTE, 1, False)]


def test_closed_intervals_survive_a_restart() -> None:
    """What was told is remembered: after a restart nothing is told twice without reason, and finals still come."""
    made = partition()
    made.fold([record(0, call("queued", START)), record(1, call("abandoned", START + SECOND))])
    assert len(made.fold([record(2, heartbeat(START + 30 * MINUTE))]).closed) == 1
    assert made.advance() == []
    value = made.encode_queue("sales")
    assert value is not None
    made.written("sales", made.next_offset)
    again = type(made).restored(0, made.configuration, [value, made.encode_self()], partitions=1)
    assert again.advance() == []
    told = again.fold([record(3, heartbeat(START + 50 * MINUTE))]).closed
    assert [(c.figures.start, c.final) for c in told] == [(START, True)]


def test_intervals_of_a_long_backlog_are_told_before_their_cells_are_forgotten() -> None:
    """Folding three days in one go tells every interval with its callers, though cells are kept for a day only."""
    made = partition(clock=Clock.EVENTS)
    events = [
        each
        for n in range(72)
        for each in (
            call("queued", START + n * HOUR, f"c-{n}"),
            call("abandoned", START + n * HOUR + MINUTE, f"c-{n}"),
        )
    ]
    told = made.fold([record(offset, each) for offset, each in enumerate(events)]).closed
    last = {each.figures.start: each for each in told}
    assert len(last) == 2 * 71
    assert sum(each.figures.offered for each in last.values()) == 71
    assert all(each.final for start, each in last.items() if start < START + 70 * HOUR)


def test_the_clocks_of_this_test_are_real() -> None:
    """The zone data here know the changes that these tests rely on."""
    berlin = ZoneInfo("Europe/Berlin")
    assert oracle.local(SPRING - 24 * HOUR, berlin).utcoffset() == timedelta(hours=1)
    assert oracle.local(SPRING, berlin).utcoffset() == timedelta(hours=2)
