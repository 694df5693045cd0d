"""Every definition of a service level, in every window, against the brute-force oracle."""

from __future__ import annotations

import random
from datetime import time
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import (
    ROLLING_SECONDS,
    Attribution,
    Business,
    Calendar,
    Configuration,
    Definition,
    Diverts,
    Hours,
    Preset,
    QueueSettings,
    WaitClock,
)
from queuewatch_streams.core.figures import ChannelFigures, HistoryFigures
from queuewatch_streams.core.partition import Partition
from support import oracle
from support.events import HOUR, MINUTE, SECOND, call
from support.histories import LENGTH, SHORT, START, Scale, histories, seeded
from support.running import ALL_WINDOWS, PATIENT, at_once, boards, figures, folded

TERMS = [
    oracle.Terms(preset.value, threshold, short, attribution.value, clock.value, diverts and diverts.value, hours.value)
    for preset, attribution, clock, diverts, short, hours, threshold in product(
        Preset, Attribution, WaitClock, (None, *Diverts), (None, 3, 30), Hours, (20,)
    )
] + [oracle.Terms(preset.value, threshold) for preset in Preset for threshold in (0, 0.000001, 19.999999, 300)]
OPENING = {day: [(time(9), time(9, 45)), (time(10), time(17))] for day in range(5)}
CALENDAR = Calendar(weekly=dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), ("09:00-09:45", "10:00-17:00")))
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu")
SCALE = Scale(queues=("sales", "claims"), visits=10, strays=6)


def setting(terms: list[oracle.Terms], zone: str = "UTC", minutes: Any = 30, start_hour: int = 0) -> Configuration:
    """A configuration with these definitions, named by their numbers."""
    definitions = {
        str(number): Definition(
            preset=Preset(each.preset),
            threshold_seconds=each.threshold,
            short_seconds=each.short,
            attribution=Attribution(each.attribution),
            clock=WaitClock(each.clock),
            diverts=None if each.diverts is None else Diverts(each.diverts),
            hours=Hours(each.hours),
        )
        for number, each in enumerate(terms)
    }
    return Configuration(
        definitions=definitions,
        timing=PATIENT,
        calendars={"office": CALENDAR},
        business=Business(time_zone=zone, day_starts_at_hour=start_hour, interval_minutes=minutes, windows=ALL_WINDOWS),
        defaults=QueueSettings(definitions=tuple(definitions), calendar="office"),
    )


def ratio_of(pair: tuple[int, int]) -> float | None:
    """Part of whole; None of nothing."""
    return pair[0] / pair[1] if pair[1] else None


def compare(made: Partition, exact: oracle.History, terms: list[oracle.Terms], now: int) -> None:
    """Every window, count and level of every channel agrees with the oracle."""
    config = made.configuration
    zone = ZoneInfo(config.business.time_zone)
    shown = figures(made, now)
    assert set(shown) == exact.channels()
    for (queue, channel), told in shown.items():
        stays = exact.of(queue, channel)
        waiting = [stay.arrival for stay in stays if stay.status == "waiting" and stay.arrival <= now]
        assert (told.waiting, told.oldest) == (len(waiting), min(waiting, default=None))
        assert told.talking == sum(stay.status == "answered" and not stay.handled for stay in stays)
        if told.wrapping is not None:
            assert told.wrapping == sum(stay.handled and not stay.wraps_up for stay in stays)
        compare_windows(told, stays, terms, now, config, zone, exact.refusals(queue, channel))
        history, longest = boards(made, now)[queue, channel]
        compare_history(history, stays, terms, now, zone)
        day = oracle.day_of(now, config.business.day_starts_at_hour, zone)
        assert longest == oracle.longest_wait(stays, *day, now)


def compare_history(
    told: HistoryFigures, stays: list[oracle.Stay], terms: list[oracle.Terms], now: int, zone: ZoneInfo
) -> None:
    """The last hour of one channel agrees with the oracle, point by point."""
    points = oracle.points_of(now)
    assert told.start == points[0][0]
    counted = [oracle.counts(stays, *point, SHORT / SECOND) for point in points]
    for name, shown in (("offered", told.offered), ("answered", told.answered), ("abandoned", told.abandoned)):
        assert shown == [each.get(name, 0) for each in counted], name
    for each, term in zip(told.levels, terms, strict=True):
        exact = [oracle.level(stays, term, *point, now, OPENING, zone) for point in points]
        assert list(zip(each.met, each.base, strict=True)) == exact, term


def compare_windows(
    told: ChannelFigures,
    stays: list[oracle.Stay],
    terms: list[oracle.Terms],
    now: int,
    config: Configuration,
    zone: ZoneInfo,
    refused: list[int],
) -> None:
    """The windows of one channel agree with the oracle."""
    for window, of_window in told.windows.items():
        start, end = oracle.range_of(
            window,
            now,
            zone=zone,
            minutes=config.business.interval_minutes,
            start_hour=config.business.day_starts_at_hour,
        )
        assert (of_window.start, of_window.end) == (start, end), window
        expected = oracle.counts(stays, start, end, SHORT / SECOND, refused)
        if window in ROLLING_SECONDS:  # no rolling window shows what was done in it, whenever it came
            expected = {name: n for name, n in expected.items() if not name.startswith("done:")}
        assert of_window.offered == expected.pop("offered", 0)
        assert of_window.waiting == expected.pop("waiting", 0)
        booked = {
            name: n for name, n in of_window.cell.told().items() if name.split(":")[0] not in ("met", "base", "offered")
        }
        assert booked == expected, window
        for each, term in zip(of_window.levels, terms, strict=True):
            exact = oracle.level(stays, term, start, end, now, OPENING, zone)
            assert (each.met, each.base) == exact, (window, term)
            assert each.ratio == ratio_of(exact)
            if term.attribution == "arrival" and window in ("interval", "day"):
                lower, upper = oracle.limits(stays, term, start, end, now, OPENING, zone)
                assert (each.lower, each.upper) == (ratio_of(lower), ratio_of(upper)), (window, term)
            else:
                assert (each.lower, each.upper) == (None, None)


@settings(max_examples=80)
@given(
    histories(SCALE),
    st.integers(0, LENGTH + HOUR).map(lambda since: START + since),
    st.sampled_from(ZONES),
    st.sampled_from((15, 30)),
    st.integers(0, 23),
    st.integers(0, 1 << 30),
)
def test_every_level_agrees_with_the_oracle(
    events: list[dict[str, Any]], now: int, zone: str, minutes: int, start_hour: int, seed: int
) -> None:
    """Any history, any instant, any zone: levels, bounds and counts of every window are what brute force counts."""
    terms = random.Random(seed).sample(TERMS, 24)
    made = folded(at_once(events, START), setting(terms, zone, minutes, start_hour))
    compare(made, oracle.joined(events), terms, now)


@pytest.mark.parametrize("seed", range(3))
def test_all_definitions_at_once_agree_with_the_oracle(seed: int) -> None:
    """Every preset by attribution, clock, diversions, short abandons and hours, on a longer history."""
    events = seeded(seed, 70, Scale(visits=70))
    made = folded(at_once(events, START), setting(TERMS, "Europe/Berlin", 30, 4))
    chance = random.Random(seed)
    compare(made, oracle.joined(events), TERMS, START + chance.randrange(LENGTH))


@given(st.sampled_from([terms for terms in TERMS if terms.attribution != "outcome"]), st.integers(0, 60 * SECOND))
def test_a_lone_caller_counts_from_the_instant_after_the_threshold(terms: oracle.Terms, waited: int) -> None:
    """Within the threshold there is no level; past it the level is 0 where the formula counts those who wait."""
    begin = START + 90 * MINUTE
    made = folded(at_once([call("queued", begin)], START), setting([terms]))
    now = begin + waited
    (level,) = figures(made, now)["sales", "voice"].windows["day"].levels
    assert (level.met, level.base) == oracle.level(oracle.joined([call("queued", begin)]).stays, terms, 0, now * 2, now)
    counts_waiting = terms.preset in oracle.COUNTED and waited > terms.threshold * SECOND
    whole_queue = terms.preset == "removed" and (terms.attribution == "arrival" or waited > terms.threshold * SECOND)
    assert level.ratio == (0 if counts_waiting or whole_queue else None)


def test_an_empty_window_has_no_level_no_mean_and_no_ratio() -> None:
    """Nothing happened in the last interval: null, never 0 % or 100 %."""
    made = folded(
        at_once([call("queued", START), call("answered", START + SECOND)], START), setting([oracle.Terms("negative")])
    )
    empty = figures(made, START + 5 * HOUR)["sales", "voice"].windows["last_interval"]
    assert (empty.levels[0].ratio, empty.answer_wait_mean, empty.handle_mean, empty.abandon_ratio) == (None,) * 4
    assert empty.offered == 0
