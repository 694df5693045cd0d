"""Which agents a queue has, from the newest state of each: pure, with every instant as an argument.

Of one agent the newest event by its own time counts; of two at one time the one that came later.  An agent unheard of for
long is neither available nor away but unknown, and counted nowhere.  A queue that no known agent serves has no figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from queuewatch_schemas.wallboard import Agents

__all__ = ["AgentStates"]

_SECOND: Final = 1_000_000

_Place = Literal["available", "busy", "paused", "offline"]
_PLACES: Final[dict[str, _Place]] = {
    "available": "available",
    **dict.fromkeys(("ringing", "talking", "held", "wrap_up", "busy"), "busy"),
    **dict.fromkeys(("break", "meal", "training", "meeting", "other"), "paused"),
    "offline": "offline",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Agent:
    at: int
    place: _Place
    queues: frozenset[str]


class AgentStates:
    """The newest state of each agent."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}

    def take(self, agent: str, at: int, data: dict[str, Any]) -> bool:
        """Keep what an agent.state event of that time (microseconds since 1970) tells, unless what is held is newer; whether
        it was kept."""
        held = self._agents.get(agent)
        if held is not None and at < held.at:
            return False
        queues = frozenset(str(each["queue"]) for each in data["queues"])
        self._agents[agent] = _Agent(at, _PLACES[data["state"]], queues)
        return True

    def forget(self) -> None:
        """The topic is another one now."""
        self._agents.clear()

    def by_queue(self, now: int, unknown_after: float) -> dict[str, Agents]:
        """What the agents of each queue do at `now` (microseconds since 1970); who was unheard of for longer than
        `unknown_after` seconds is left out.  A queue without known agents is not in it."""
        oldest = now - round(unknown_after * _SECOND)
        counts: dict[str, dict[str, int]] = {}
        for agent in self._agents.values():
            if agent.at < oldest:
                continue
            for queue in agent.queues:
                places = counts.setdefault(queue, {"available": 0, "busy": 0, "paused": 0, "offline": 0})
                places[agent.place] += 1
        return {queue: Agents.model_validate(places) for queue, places in counts.items()}

    def drop_older(self, at: int) -> None:
        """Let go of agents last heard of before then (microseconds since 1970): memory stays flat over days."""
        self._agents = {name: agent for name, agent in self._agents.items() if agent.at >= at}
