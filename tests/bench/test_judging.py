"""How benchmarks are judged: what decides over their exit status, without a measurement."""

from __future__ import annotations

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import SLACK, Figure
from bench.memory import means, swing
from bench.plot import ticks

VALUES = st.floats(0.01, 1e6)
Better = Literal["more", "less"]
BETTER: st.SearchStrategy[Better] = st.sampled_from(["more", "less"])


@given(value=VALUES, bound=VALUES, better=BETTER)
def test_a_short_form_misses_only_what_the_full_one_misses_too(value: float, bound: float, better: Better) -> None:
    """The wider bound forgives, it never accuses."""
    figure = Figure("x", value, bound=bound, better=better)
    if figure.loosely_judged().verdict == "MISSED":
        assert figure.verdict == "MISSED"


@given(bound=VALUES, better=BETTER)
def test_a_short_form_still_misses_what_is_worse_than_twice_the_bound(bound: float, better: Better) -> None:
    """So that a mistake is found."""
    worse = bound / SLACK / 1.01 if better == "more" else bound * SLACK * 1.01
    assert Figure("x", worse, bound=bound, better=better).loosely_judged().verdict == "MISSED"


@given(value=VALUES, bound=VALUES, better=BETTER)
def test_what_is_not_judged_is_never_missed(value: float, bound: float, better: Better) -> None:
    """Its limits are not shown either."""
    assert Figure("x", value, bound=bound, better=better).unjudged().verdict == ""


@given(middle=st.floats(1, 1e4), share=st.floats(0, 0.5))
def test_memory_that_stays_within_a_share_of_its_middle_swings_by_that_share(middle: float, share: float) -> None:
    """Five percent up and five percent down are a swing of five percent."""
    assert swing([middle * (1 + share), middle, middle * (1 - share)]) == pytest.approx(share, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(1, 100)), min_size=1))
def test_a_mean_is_told_of_whole_stretches_only(points: list[tuple[float, float]]) -> None:
    """The last stretch, which was cut, says nothing."""
    points.sort()
    told = means(points, 30.0)
    assert all(at + 15.0 <= points[-1][0] + 1e-9 for at, _ in told)
    assert all(min(v for _, v in points) - 1e-9 <= mean <= max(v for _, v in points) + 1e-9 for _, mean in told)


@given(st.floats(1e-3, 1e7))
def test_an_axis_begins_at_0_and_has_room_for_the_highest_value(high: float) -> None:
    """With steps that are round, and not too many of them."""
    marks = ticks(high)
    assert marks[0] == 0
    assert marks[-1] >= high * 0.99
    assert len(marks) <= 7
    step = marks[1] / 10 ** math.floor(math.log10(marks[1]) + 1e-9)
    assert any(step == pytest.approx(each, rel=1e-6) for each in (1, 2, 2.5, 5))
