"""Decides whether this worker may still believe that its partitions are its own.

A group gives a silent member's partitions away when it has not heard from it for the session timeout.  Only an *answered*
heartbeat proves that the group heard; so the lease runs from the moment at which the last answered one was *sent*, for the
session timeout less a margin.  Outside the lease nothing is written and nothing is shown: another worker may be doing both.

The clock counts the time that the machine slept: a suspended laptop has lost its group as surely as a stopped process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Lease", "seconds"]

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def seconds() -> float:
    """Seconds on a clock that never goes back and, where the system has such a one, counts the time asleep."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """The time for which the group is known to leave our partitions to us.

    ``session`` and ``margin`` are seconds; ``clock`` is a function that returns seconds.  The consumer's thread renews and
    ends the lease, everyone reads it: one float, so no lock is needed.
    """

    __slots__ = ("_clock", "_runs_out", "_session")

    def __init__(self, session: float, margin: float, *, clock: Callable[[], float] = seconds) -> None:
        if not 0 <= margin < session:
            raise ValueError(
                f"the margin of the lease ({margin} s) must be shorter than the session timeout ({session} s)"
            )
        self._session = session - margin
        self._clock = clock
        self._runs_out = float("-inf")

    def now(self) -> float:
        """The time on the lease's own clock, in seconds: take it before a heartbeat is sent."""
        return self._clock()

    def renew(self, sent: float) -> None:
        """A heartbeat (or the end of a join) that was sent at ``sent`` has been answered."""
        self._runs_out = max(self._runs_out, sent + self._session)

    def end(self) -> None:
        """The group said that it does not know us, or that our generation is over."""
        self._runs_out = float("-inf")

    def holds(self) -> bool:
        """Whether the partitions are still surely ours."""
        return self._clock() < self._runs_out

    def left(self) -> float:
        """Seconds until the lease runs out; 0 when it has."""
        return max(0.0, self._runs_out - self._clock())
