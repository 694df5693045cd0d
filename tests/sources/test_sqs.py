"""When a queue of SQS is known to be read up to a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.sources.aws.sqs import Horizon

SECOND = 1_000_000


def test_nothing_is_known_until_what_a_predecessor_had_received_has_come_again() -> None:
    horizon = Horizon(0, 60)
    for second in range(0, 60, 5):
        horizon.received(second * SECOND, [])
        assert horizon.at is None
    horizon.received(60 * SECOND, [])
    assert horizon.at == 50 * SECOND


def test_nothing_is_known_while_a_backlog_is_worked_off_and_a_while_after_it() -> None:
    horizon = Horizon(0, 60)
    for second in range(100, 200):
        horizon.received(second * SECOND, [0])
        assert horizon.at is None
    for second in range(200, 259):
        horizon.received(second * SECOND, [second * SECOND])
        assert horizon.at is None
    horizon.received(260 * SECOND, [])
    assert horizon.at == 250 * SECOND


def test_while_nothing_is_received_nothing_more_is_known() -> None:
    horizon = Horizon(0, 10)
    horizon.received(20 * SECOND, [19 * SECOND])
    assert horizon.at == horizon.at == 9 * SECOND


@given(st.lists(st.tuples(st.floats(0.01, 5), st.lists(st.floats(0, 50), max_size=10)), min_size=1, max_size=80))
def test_messages_that_wait_no_longer_than_before_are_newer_than_what_was_known(
    receives: list[tuple[float, list[float]]],
) -> None:
    """Whatever was said to be read up to a time: what comes within the while, having waited no longer, is newer."""
    horizon, now, longest = Horizon(0, 30), 0.0, 0.0
    known: list[tuple[float, int]] = []
    for step, waits in receives:
        now += step
        longest = max([longest, *waits])
        sent = [round((now - wait) * SECOND) for wait in waits]
        horizon.received(round(now * SECOND), sent)
        if (at := horizon.at) is not None:
            assert at <= now * SECOND - 10 * SECOND
            assert all(each >= at for each in sent)
            known.append((now, at))
    assert all(at <= now * SECOND for now, at in known)
