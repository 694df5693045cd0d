"""What really happened in a simulated centre, whatever its feed says of it: the answers for tests.

Names and meanings are those of the figures: `queues["sales"]`, other channels than voice as `queues["sales [chat]"]`.
Without dirt a recount of the events gives exactly these numbers.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class QueueTruth:
    """Counts of visits, and sums in seconds, of one queue and channel up to the last event taken."""

    offered: int = 0
    answered: int = 0
    abandoned: int = 0
    diverted: int = 0
    refused: int = 0
    declined: int = 0
    handled: int = 0
    answer_wait_sum: float = 0.0
    abandon_wait_sum: float = 0.0
    longest_answer_wait: float = 0.0
    talk_sum: float = 0.0
    hold_sum: float = 0.0
    wrap_sum: float = 0.0
    diverted_by: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """Visits without an outcome yet, promised callbacks included."""
        return self.offered - self.answered - self.abandoned - self.diverted


@dataclass(slots=True)
class Truth:
    """Filled while the simulation's events are taken; complete when they are exhausted."""

    queues: dict[str, QueueTruth] = field(default_factory=dict)
    dirt: Counter[str] = field(default_factory=Counter)
    """How often each kind of dirt was put in, by the name of its setting (disorder counts delayed events)."""

    def of(self, queue: str, channel: str = "voice") -> QueueTruth:
        """The truth about one queue and channel, made when it is first asked for."""
        name = queue if channel == "voice" else f"{queue} [{channel}]"
        found = self.queues.get(name)
        if found is None:
            found = self.queues[name] = QueueTruth()
        return found
