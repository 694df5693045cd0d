"""How a queue stands, in a word, and when that word changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Definition
from queuewatch_schemas.records import AlertLimits, DefinitionContent, WindowFigures
from queuewatch_schemas.wallboard import State, Why
from queuewatch_wallboard.states import Patience, Standing, judge, settle, worst
from support.boards import at, moment, snapshot
from wallboard.support import boards
from wallboard.support.boards import level

PATIENCE = Patience(worse=2, better=10)
LIMITS = AlertLimits(longest_wait_seconds=60, calls_waiting=5, abandon_ratio=0.1, window_minimum_calls=10)
SEVERITY: dict[State, int] = {"idle": 0, "closed": 0, "ok": 0, "warning": 1, "critical": 2}
EIGHTY = {"default": DefinitionContent.model_validate(Definition().resolved())}


def window(offered: int, abandon_ratio: float | None = 0.0) -> WindowFigures:
    """A window with so many visits."""
    return boards.window(offered, abandon_ratio=abandon_ratio)


def judged(**changed: Any) -> tuple[State, list[str]]:
    """The state of a queue that is otherwise well and busy, and the figures that it follows from."""
    plain: dict[str, Any] = {
        "limits": LIMITS,
        "definitions": EIGHTY,
        "waiting": 0,
        "talking": 1,
        "windows": {"15m": window(30), "day": window(300)},
        "levels": {"default": {"15m": level(30, 30), "day": level(290, 300)}},
    }
    longest = changed.pop("longest", 0.0)
    assert longest is None or isinstance(longest, float)
    state, why = judge(snapshot("sales", 1, 0, **{**plain, **changed}), longest)
    return state, [each.figure for each in why]


@pytest.mark.parametrize(
    ("changed", "state", "figures"),
    [
        ({}, "ok", []),
        ({"longest": 60.0, "waiting": 1}, "ok", []),
        ({"longest": 60.5, "waiting": 1}, "warning", ["longest_wait"]),
        ({"longest": 120.5, "waiting": 1}, "critical", ["longest_wait"]),
        ({"waiting": 5}, "ok", []),
        ({"waiting": 6}, "warning", ["calls_waiting"]),
        ({"waiting": 11, "longest": 61.0}, "critical", ["calls_waiting", "longest_wait"]),
        ({"levels": {"default": {"15m": level(8, 10)}}}, "ok", []),
        ({"levels": {"default": {"15m": level(7, 10)}}}, "warning", ["service_level"]),
        ({"levels": {"default": {"15m": level(4, 10)}}}, "critical", ["service_level"]),
        ({"levels": {"default": {"15m": level(0, 9)}}}, "ok", []),
        ({"levels": {"default": {"15m": level(0, 9), "day": level(100, 300)}}}, "critical", ["service_level"]),
        ({"levels": {"default": {"15m": level(10, 10), "day": level(100, 300)}}}, "ok", []),
        ({"levels": {"default": {"15m": level(0, 0)}}}, "ok", []),
        ({"windows": {"15m": window(10, 0.11)}}, "warning", ["abandon_ratio"]),
        ({"windows": {"15m": window(10, 0.21)}}, "critical", ["abandon_ratio"]),
        ({"windows": {"15m": window(9, 1.0)}}, "ok", []),
        ({"windows": {"15m": window(9, None), "day": window(300, 0.11)}}, "warning", ["abandon_ratio"]),
        ({"waiting": None}, "unknown", []),
        ({"talking": 0, "windows": {"15m": window(0, None)}}, "idle", []),
        ({"talking": 1, "windows": {"15m": window(0, None)}}, "ok", []),
        ({"talking": 0, "windows": {"15m": window(1)}}, "ok", []),
        ({"talking": 0, "windows": {}}, "ok", []),
        ({"open": False}, "closed", []),
        ({"open": False, "waiting": 1}, "ok", []),
        ({"open": False, "waiting": 1, "longest": 61.0}, "warning", ["longest_wait"]),
        ({"open": None, "talking": 0, "windows": {"15m": window(0, None)}}, "idle", []),
    ],
)
def test_a_state_follows_from_figures_limits_and_targets(
    changed: dict[str, Any], state: State, figures: list[str]
) -> None:
    """Beyond the limit, not at it; ratios only with calls enough; what is closed and empty is not judged."""
    assert judged(**changed) == (state, figures)


# ----------------------------------------------------------------------------------------------------------- hysteresis

states = st.sampled_from(["ok", "warning", "critical", "idle", "closed", "unknown"])


def settled(called_for: list[tuple[float, State]]) -> list[tuple[float, State, Standing]]:
    """The standings after each of (seconds since the one before, the state that figures call for)."""
    told = []
    standing: Standing | None = None
    seconds = 0.0
    for passed, state in called_for:
        seconds += passed
        why = () if SEVERITY.get(state, 0) == 0 else (_why(state),)
        standing = settle(standing, state, why, at(seconds), PATIENCE)
        told.append((seconds, state, standing))
    return told


def _why(state: State) -> Why:
    severity = "critical" if state == "critical" else "warning"
    return Why.model_validate({"figure": "longest_wait", "value": 61.0, "limit": 60.0, "severity": severity})


histories = st.lists(st.tuples(st.sampled_from([0.25, 0.5, 1.0, 3.0, 11.0]), states), min_size=1, max_size=40)


@given(histories)
def test_unknown_is_told_at_once_and_so_is_what_is_known_again(called_for: list[tuple[float, State]]) -> None:
    """Truth waits for nothing."""
    told = settled(called_for)
    for number, (_, state, standing) in enumerate(told):
        assert (standing.state == "unknown") == (state == "unknown")
        if number and told[number - 1][2].state == "unknown":
            assert standing.state == state


@given(histories)
def test_a_change_is_told_once_it_was_called_for_long_enough_and_not_before(
    called_for: list[tuple[float, State]],
) -> None:
    """For the worse after two seconds in which every look found it worse, for the better after ten."""
    told = settled(called_for)
    for number in range(1, len(told)):
        before, (seconds, state, standing) = told[number - 1][2], told[number]
        if "unknown" in (state, before.state):
            continue
        gap = SEVERITY[state] - SEVERITY[before.state]
        since = seconds
        for earlier, called, held in reversed(told[: number + 1]):
            if called == "unknown" or held.state == "unknown" or (SEVERITY[called] - SEVERITY[before.state]) * gap <= 0:
                break
            if earlier != seconds and held.state != before.state:
                break
            since = earlier
        long_enough = seconds - since >= (PATIENCE.worse if gap > 0 else PATIENCE.better)
        assert standing.state == (state if gap == 0 or long_enough else before.state)


@given(histories)
def test_since_when_is_the_time_at_which_the_state_was_told_first(called_for: list[tuple[float, State]]) -> None:
    """It changes with the state and only with it."""
    before: Standing | None = None
    for seconds, _, standing in settled(called_for):
        if before is not None and before.state == standing.state:
            assert standing.since == before.since
        else:
            assert standing.since == moment(seconds)
        before = standing


def test_a_state_that_is_held_tells_no_value_that_is_no_longer_beyond_its_limit() -> None:
    """The figure stands there, without a number from the past."""
    standing = settle(None, "warning", (_why("warning"),), at(0), PATIENCE)
    held = settle(standing, "ok", (), at(1), PATIENCE)
    assert held.state == "warning"
    assert [(each.figure, each.value) for each in held.why] == [("longest_wait", None)]


@given(st.lists(states, max_size=6), st.booleans())
def test_several_queues_stand_as_the_worst_of_them_where_that_can_be_known(several: list[State], certain: bool) -> None:
    """Nothing is worse than critical; below it, one unknown leaves everything unknown."""
    told = worst(several, certain=certain)
    if "critical" in several:
        assert told == "critical"
    elif "unknown" in several or not certain or not several:
        assert told == "unknown"
    else:
        assert told in several
        assert SEVERITY[told] == max(SEVERITY[each] for each in several)
        assert told != "closed" or set(several) == {"closed"}
