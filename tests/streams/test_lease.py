"""A lease says that the group heard of us lately enough, and never says so too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.lease import Lease, seconds


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_a_lease_does_not_hold_before_the_first_answer() -> None:
    """A worker that never heard from its group owns nothing."""
    assert not Lease(10, 1).holds()


@given(sent=st.lists(st.floats(0, 1000), min_size=1), later=st.floats(0, 2000))
def test_a_lease_runs_from_the_last_answered_heartbeat_was_sent(sent: list[float], later: float) -> None:
    """In whatever order the answers come, it holds exactly until session less margin after the latest was sent."""
    clock = Clock()
    lease = Lease(10, 1, clock=clock)
    for at in sent:
        lease.renew(at)
    clock.time = later
    assert lease.holds() == (later < max(sent) + 9)
    assert lease.left() == max(0.0, max(sent) + 9 - later)


def test_a_lease_ends_when_the_group_does_not_know_us() -> None:
    """Unknown member, illegal generation: at once; the next join renews it."""
    lease = Lease(10, 1)
    lease.renew(lease.now())
    assert lease.holds()
    lease.end()
    assert not lease.holds()
    lease.renew(lease.now())
    assert lease.holds()


def test_a_margin_as_long_as_the_session_is_refused() -> None:
    """Such a lease would never hold."""
    with pytest.raises(ValueError, match="shorter than the session timeout"):
        Lease(10, 10)


def test_the_clock_never_goes_back() -> None:
    """It is the machine's own, counted from its start."""
    assert seconds() <= seconds()
