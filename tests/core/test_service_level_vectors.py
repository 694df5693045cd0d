"""The vectors of the field: what each formula must give for cases whose answer is published or plain."""

from __future__ import annotations

from typing import Any

import pytest

from queuewatch_schemas.config import Definition, Diverts, Preset
from queuewatch_streams.core.figures import LevelFigures, WindowFigures
from support.events import MINUTE, SECOND, call, iso
from support.histories import START
from support.running import PATIENT, at_once, configuration, figures, folded

HALF_AN_HOUR = 30 * MINUTE


def day(events: list[dict[str, Any]], now: int, **definition: Any) -> WindowFigures:
    """The day of one queue under one definition."""
    config = configuration({"default": Definition(**definition)}, timing=PATIENT)
    return figures(folded(at_once(events, START), config), now)["sales", "voice"].windows["day"]


def level(events: list[dict[str, Any]], now: int = START + HALF_AN_HOUR, **definition: Any) -> LevelFigures:
    """The level of the day."""
    return day(events, now, **definition).levels[0]


def visits(fate: str, number: int, wait: float, **data: Any) -> list[dict[str, Any]]:
    """So many visits with the same fate after the same wait in seconds."""
    told = []
    for each in range(number):
        name = f"{fate}-{wait}-{each}"
        told += [call("queued", START, name), call(fate, START + round(wait * SECOND), name, **data)]
    return told


HUNDRED = visits("answered", 70, 10) + visits("abandoned", 10, 12) + visits("answered", 20, 45)


@pytest.mark.parametrize(
    ("preset", "met", "base"),
    [(Preset.IGNORE, 70, 90), (Preset.NEGATIVE, 70, 100), (Preset.POSITIVE, 80, 100), (Preset.ANSWERED_ONLY, 70, 90)],
)
def test_70_answered_and_10_abandoned_in_time_of_100(preset: Preset, met: int, base: int) -> None:
    """Three ways with abandoned callers: 77.8 %, 70 %, 80 %; and Asterisk's, which leaves all abandoned out."""
    found = level(HUNDRED, preset=preset)
    assert (found.met, found.base, found.ratio) == (met, base, met / base)


@pytest.mark.parametrize(("preset", "expected"), [(Preset.ANSWERED_ONLY, None), (Preset.NEGATIVE, 0.0)])
def test_when_all_callers_time_out_nothing_is_divided_by_zero(preset: Preset, expected: float | None) -> None:
    """All diverted after the threshold: nobody was answered, so answered-only has no level, and negative has 0."""
    assert level(visits("diverted", 5, 60, reason="timeout"), preset=preset).ratio == expected


@pytest.mark.parametrize(("preset", "met", "base"), [(Preset.NEGATIVE, 2, 11), (Preset.ANSWERED_ONLY, 2, 2)])
def test_nine_timed_out_beside_two_answered_are_not_100_percent(preset: Preset, met: int, base: int) -> None:
    """Nine callers timed out after 300 s: negative says 2 of 11; only answered-only says 100 %."""
    found = level(visits("answered", 2, 5) + visits("diverted", 9, 300, reason="timeout"), preset=preset)
    assert (found.met, found.base) == (met, base)


@pytest.mark.parametrize(
    ("waited", "expected"), [(21, (0.0, 1)), (20.000001, (0.0, 1)), (20, (None, 0)), (19, (None, 0)), (0, (None, 0))]
)
def test_one_caller_who_waits_is_a_miss_once_past_the_threshold(
    waited: float, expected: tuple[float | None, int]
) -> None:
    """Waiting 21 s with T = 20: counted 1, level 0; waiting 19 s: nothing is counted and there is no level."""
    found = level([call("queued", START)], START + round(waited * SECOND))
    assert (found.ratio, found.base) == expected


def test_50_answered_of_130_are_38_percent() -> None:
    """50 of (50 + 80)."""
    found = level(visits("answered", 50, 10) + visits("abandoned", 80, 60), preset=Preset.GENESYS)
    assert (found.met, found.base) == (50, 130)
    assert round(100 * (found.ratio or 0)) == 38


def test_a_refused_caller_is_not_in_the_answered_rate() -> None:
    """Received 9: 4 answered, 4 abandoned, 1 refused because the queue was closed: 50 % answered, not 44 %."""
    events = [*visits("answered", 4, 10), *visits("abandoned", 4, 10), call("refused", START, "late", reason="closed")]
    shown = day(events, START + HALF_AN_HOUR)
    assert (shown.offered, shown.of("answered"), shown.of("abandoned")) == (8, 4, 4)
    assert shown.of("answered") / shown.offered == 0.5


def test_only_refused_callers_give_no_rate_and_no_level() -> None:
    """Nobody was let in: nothing is offered, so there is nothing to be a share of."""
    config = configuration({"default": Definition()}, timing=PATIENT)
    made = folded(at_once([call("refused", START, f"c-{n}") for n in range(3)], START), config)
    shown = figures(made, START)["sales", "voice"].windows["day"]
    assert (shown.offered, shown.of("refused")) == (0, 3)
    assert (shown.levels[0].ratio, shown.abandon_ratio) == (None, None)
    assert made.queues["sales"].channels["voice"].totals == {"refused:closed": 3}


def test_the_threshold_is_inclusive() -> None:
    """Waits of 5, 10 and 15 s with a threshold of 15: all three are met, as Prometheus' `le` has it."""
    events = [event for wait in (5, 10, 15) for event in visits("answered", 1, wait)]
    found = level(events, threshold_seconds=15)
    assert (found.met, found.base) == (3, 3)


def test_a_microsecond_past_the_threshold_is_a_miss() -> None:
    """Answered after 15.000001 s with a threshold of 15 s: too late."""
    assert level(visits("answered", 1, 15.000001), threshold_seconds=15).ratio == 0.0


@pytest.mark.parametrize("reason", ["timeout", "overflow", "transfer", "voicemail", "callback", "key", "no_agents"])
def test_who_overflows_after_the_threshold_stays_a_miss(reason: str) -> None:
    """Past the threshold first, diverted then: still counted; diverted within it: never counted."""
    assert level(visits("diverted", 1, 21, reason=reason)).ratio == 0.0
    assert level(visits("diverted", 1, 20, reason=reason)).ratio is None


@pytest.mark.parametrize("fate", ["elsewhere", "evicted"])
@pytest.mark.parametrize("preset", [preset for preset in Preset if preset is not Preset.REMOVED])
def test_answered_elsewhere_and_ghosts_never_enter_a_level(preset: Preset, fate: str) -> None:
    """They enter no base, however long they waited."""
    events = visits("evicted", 1, 600) if fate == "evicted" else visits("diverted", 1, 600, reason="elsewhere")
    assert level(events, preset=preset, diverts=Diverts.ALL).ratio is None


def test_amazon_connect_counts_callbacks_in_time_as_removed() -> None:
    """2 answered, 1 abandoned, 1 to a callback in time, of 6 queued: 4 of 6."""
    events = [
        *visits("answered", 2, 5),
        *visits("abandoned", 1, 5),
        *visits("diverted", 1, 5, reason="callback"),
        *visits("diverted", 1, 6, reason="key"),
        *visits("answered", 1, 50),
    ]
    found = level(events, preset=Preset.REMOVED)
    assert (found.met, found.base) == (4, 6)


def test_asterisks_second_level_holds_time_outs_among_the_abandoned() -> None:
    """1 answered in time, 1 hung up in time, 1 left by a key in time, 2 timed out late: 3 of 5."""
    events = [
        *visits("answered", 1, 5),
        *visits("abandoned", 1, 5),
        *visits("diverted", 1, 5, reason="key"),
        *visits("diverted", 2, 300, reason="timeout"),
    ]
    found = level(events, preset=Preset.ASTERISK_2)
    assert (found.met, found.base) == (3, 5)


def test_avayas_level_has_outflow_in_its_base() -> None:
    """1 answered in time, 1 abandoned, 2 diverted, of which 1 within the threshold: 1 of 4."""
    events = [
        *visits("answered", 1, 5),
        *visits("abandoned", 1, 5),
        *visits("diverted", 1, 5, reason="overflow"),
        *visits("diverted", 1, 50, reason="voicemail"),
    ]
    found = level(events, preset=Preset.ALL_OFFERED)
    assert (found.met, found.base) == (1, 4)


def test_genesys_subtracts_short_abandons_once() -> None:
    """2 answered in time, 1 abandoned after 3 s, 1 after 30 s, S = 5: 2 of 3."""
    events = [*visits("answered", 2, 5), *visits("abandoned", 1, 3), *visits("abandoned", 1, 30)]
    found = level(events, preset=Preset.GENESYS, short_seconds=5)
    assert (found.met, found.base) == (2, 3)


def test_cxengage_ignores_abandons_within_its_short_time() -> None:
    """S = T = 20: abandons within the threshold are dropped, later ones stay."""
    events = [*visits("answered", 3, 5), *visits("abandoned", 2, 20), *visits("abandoned", 1, 21)]
    found = level(events, preset=Preset.IGNORE_SHORT, short_seconds=20)
    assert (found.met, found.base) == (3, 4)


def test_the_abandon_ratio_leaves_short_abandons_out_above_and_below() -> None:
    """(3 abandoned - 1 short) / (2 answered + 3 abandoned - 1 short)."""
    shown = day(
        [*visits("answered", 2, 5), *visits("abandoned", 1, 5), *visits("abandoned", 2, 6)], START + HALF_AN_HOUR
    )
    assert shown.abandon_ratio == 2 / 4


def test_the_mean_wait_of_answered_callers_knows_no_abandoned_ones() -> None:
    """ASA of waits 10 and 20 s beside one who left after 600 s: 15 s."""
    events = [*visits("answered", 1, 10), *visits("answered", 1, 20), *visits("abandoned", 1, 600)]
    assert day(events, START + HALF_AN_HOUR).answer_wait_mean == 15 * SECOND


def test_handle_time_is_talk_hold_and_wrap() -> None:
    """Connected for 100 s, of which 30 s on hold, then 20 s of after-call work: talk 70, hold 30, wrap 20, AHT 120."""
    events = [
        call("queued", START), call("answered", START + 5 * SECOND), call("held", START + 15 * SECOND),
        call("resumed", START + 45 * SECOND), call("ended", START + 105 * SECOND), call("wrapped", START + 125 * SECOND),
    ]  # fmt: skip
    shown = day(events, START + HALF_AN_HOUR)
    assert (shown.of("talk"), shown.of("hold"), shown.of("wrap")) == (70 * SECOND, 30 * SECOND, 20 * SECOND)
    assert shown.handle_mean == 120 * SECOND


def test_a_callback_never_touches_a_figure_of_voice() -> None:
    """A callback waits on its own channel, and only from its due time."""
    config = configuration({"default": Definition()}, timing=PATIENT)
    asked = call("queued", START, "back", channel="callback", due=iso(START + 10 * MINUTE))
    made = folded(at_once([asked, *visits("answered", 1, 5)], START), config)
    before, after = figures(made, START + 9 * MINUTE), figures(made, START + 11 * MINUTE)
    assert before["sales", "callback"].waiting == 0
    assert after["sales", "callback"].longest_wait(START + 11 * MINUTE) == MINUTE
    assert after["sales", "voice"].waiting == 0
    assert after["sales", "voice"].windows["day"].offered == 1
    assert after["sales", "voice"].windows["day"].levels[0].ratio == 1.0
