"""What callers' answers come to: satisfaction, and the net promoter score.

Both say nothing without answers, and both are figures of those who answered, never of all who called.
"""

from __future__ import annotations

from queuewatch_streams.core.service_level import ratio

PROMOTER_FROM = 9
DETRACTOR_TO = 6


def satisfaction(satisfied: int, asked: int) -> float | None:
    """The share of those asked who were very or fairly satisfied; None where nobody was asked."""
    return ratio(satisfied, asked)


def net_promoter_score(scores: list[int]) -> float | None:
    """100 x (share of scores 9 and 10 - share of scores 0 to 6), from -100 to 100; None without scores (0 to 10)."""
    if not scores:
        return None
    promoters = sum(score >= PROMOTER_FROM for score in scores)
    detractors = sum(score <= DETRACTOR_TO for score in scores)
    return 100 * (promoters - detractors) / len(scores)
