"""What translators share that hear a system over a connection: it tells what happens, and nothing of what was missed.

Times are microseconds since the epoch.  The system's clock may differ from ours, so what is said bears its times, and what was
only received here is moved by the difference.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.visits import TALKING, WAITING, AgentsTold, Visits

__all__ = ["LAST_SIGN", "NEVER", "OLD", "SECOND", "Hearing"]

SECOND: Final = 1_000_000
OLD: Final = 2 * SECOND
"""What a list alone tells is believed when it is so old: its event cannot still be on its way."""
LAST_SIGN: Final = 600 * SECOND
"""What was open when a system died is closed at most so long before it is heard again: earlier would be too late to count."""
NEVER: Final = 32_503_680_000 * SECOND
"""The year 3000: nothing was received then."""


class Hearing(ABC):
    """A translator's calls, agents, and what it knows of connection and clock."""

    def __init__(self, composer: Composer) -> None:
        self.newest = 0
        self._composer = composer
        self._visits = Visits(composer)
        self._told = AgentsTold(composer)
        self._heard = 0
        """When the last record was received."""
        self._lost = 0
        """When the last record of the connection before was received."""
        self._before = 0
        """The same by the system's clock."""
        self._offset = 0
        """The system's clock less ours."""

    def advance(self, at: int, out: Out) -> None:
        """Decide what was held back until then."""
        self._decide(at, out)

    def _connected(self) -> None:
        """There is a new connection; what was heard until now came over the one before."""
        self._lost, self._before = self._heard, self._heard + self._offset

    @abstractmethod
    def _decide(self, until: int, out: Out) -> None:
        """Say what was held back until a moment of our clock."""

    @property
    def open_calls(self) -> int:
        """How many calls it remembers that have not ended."""
        return self._visits.open_calls

    def _died(self, heard: int, at: int, out: Out) -> None:
        """The system has started anew: nothing that was open is still there.

        :param heard: when it was heard last, by our clock.
        :param at: now, by its clock.
        """
        when = max(heard + self._offset, at - LAST_SIGN)
        for stay in self._visits.unfinished(WAITING):
            self._visits.divert(out, max(when, stay.queued), stay, "withdrawn")
        for stay in self._visits.unfinished(TALKING):
            self._visits.end(out, max(when, stay.answered), stay, "system")

    def memory(self) -> dict[str, Any]:
        """All calls that may go on, and what was told of agents."""
        return {
            "newest": self.newest,
            "heard": self._heard,
            "lost": self._lost,
            "before": self._before,
            "offset": self._offset,
            "visits": self._visits.memory(),
            "told": self._told.memory(),
        }

    def _recall(self, memory: Any) -> None:
        self.newest, self._heard, self._lost = memory["newest"], memory["heard"], memory["lost"]
        self._offset, self._before = memory["offset"], memory["before"]
        self._visits.recall(memory["visits"])
        self._told.recall(memory["told"])
