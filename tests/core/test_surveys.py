"""What callers' answers come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.core.surveys import net_promoter_score, satisfaction


def test_of_221_asked_201_very_and_14_fairly_satisfied_make_97_3_percent() -> None:
    """The vector of a published survey."""
    assert satisfaction(201 + 14, 221) == pytest.approx(0.973, abs=0.0005)


def test_50_promoters_and_30_detractors_of_100_make_plus_20() -> None:
    """Those between are in the base only."""
    assert net_promoter_score([9] * 25 + [10] * 25 + [0] * 15 + [6] * 15 + [7] * 10 + [8] * 10) == 20


def test_the_score_can_be_negative_and_is_unknown_without_answers() -> None:
    """Unknown is never 0."""
    assert net_promoter_score([3, 10, 2]) == pytest.approx(-100 / 3)
    assert net_promoter_score([]) is None
    assert satisfaction(0, 0) is None


@given(st.lists(st.integers(0, 10), min_size=1))
def test_the_score_lies_between_its_bounds_and_does_not_depend_on_order(scores: list[int]) -> None:
    """From all detractors to all promoters."""
    score = net_promoter_score(scores)
    assert score is not None
    assert -100 <= score <= 100
    assert score == net_promoter_score(sorted(scores))
