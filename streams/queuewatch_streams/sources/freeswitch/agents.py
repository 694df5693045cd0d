"""What mod_callcenter's agents do, by their status, their state and the queues that they serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.records import number, optional, rows_of, text
from queuewatch_streams.sources.heard import SECOND
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import AgentsTold, Visits

__all__ = ["Agent", "Agents"]

_MOST_AGENTS: Final = 20_000
_STATES: Final = {"Waiting": "available", "Receiving": "ringing", "Reserved": "ringing", "Idle": "other"}


class Agent:
    """An agent, as FreeSWITCH said last."""

    __slots__ = ("last_end", "state", "status", "wrap")

    def __init__(self, status: str = "", state: str = "Waiting", wrap: int = 0, last_end: int = 0) -> None:
        self.status = status
        self.state = state
        self.wrap = wrap
        """After-call work that the module grants, microseconds."""
        self.last_end = last_end
        """When his last talk ended, to the second."""


class Agents:
    """All agents, by the vendor's ids."""

    def __init__(self, composer: Composer, visits: Visits, told: AgentsTold) -> None:
        self._composer = composer
        self._visits = visits
        self._told = told
        self._agents: dict[str, Agent] = {}
        self._tiers: dict[str, list[str]] = {}
        """By agent: the queues that he serves."""

    def known(self, name: str) -> Agent | None:
        """An agent of whom something was told."""
        return self._agents.get(name)

    def _agent(self, name: str) -> Agent:
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = Agent()
            if len(self._agents) > _MOST_AGENTS:
                del self._agents[next(iter(self._agents))]
        return agent

    def change(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`agent-status-change`, `agent-state-change`.  Raises Unreadable."""
        name = text(fields, "CC-Agent")
        self._composer.agent(name)
        status, state = optional(fields, "CC-Agent-Status"), optional(fields, "CC-Agent-State")
        agent = self._agent(name)
        agent.status, agent.state = status or agent.status, state or agent.state
        self.tell(at, name, out)

    def tell(self, at: int, name: str, out: Out) -> None:
        """What an agent does now, where that is news.  Raises Unreadable."""
        agent = self._agents.get(name)
        if agent is None or not agent.status:
            return
        who = self._composer.agent(name)
        serves = [found for queue in self._tiers.get(name, ()) if (found := self._composer.queue(queue)) is not None]
        on = [stay.name for stay in self._visits.talks(who)] if agent.state == "In a queue call" else []
        if agent.state == "In a queue call":
            state = "talking"
        elif agent.state in ("Receiving", "Reserved"):
            state = "ringing"
        elif agent.status == "Logged Out":
            state = "offline"
        elif agent.status == "On Break":
            state = "break"
        elif self._visits.wrapping(who):
            state = "wrap_up"
        else:
            state = _STATES.get(agent.state, "other")
        self._told.tell(out, at, name, state, serves, on=on)

    def tell_known(self, at: int, who: str, out: Out) -> None:
        """Tell of an agent who is known by his stable name only.  Raises Unreadable."""
        for agent in [each for each in self._agents if self._composer.agent(each) == who]:
            self.tell(at, agent, out)

    # ------------------------------------------------------------------------------------------------------ their lists

    def list_all(self, at: int, answer: str, out: Out) -> None:
        """The answer to AGENTS: whoever is not in it is none any more.  Raises Unreadable."""
        seen = set()
        for row in rows_of(answer, "contact", out):
            name = row.get("name", "")
            try:
                self._composer.agent(name)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
                continue
            seen.add(name)
            agent = self._agent(name)
            agent.status, agent.state = row.get("status", ""), row.get("state", "")
            agent.wrap = SECOND * number(row.get("wrap_up_time", ""))
            agent.last_end = SECOND * number(row.get("last_bridge_end", ""))
            self.tell(at, name, out)
        for name in [each for each in self._agents if each not in seen]:
            self._agents[name].status, self._agents[name].state = "Logged Out", "Waiting"
            self.tell(at, name, out)
            del self._agents[name]

    def list_tiers(self, at: int, answer: str, out: Out) -> None:
        """The answer to TIERS: who serves which queues."""
        tiers: dict[str, list[str]] = {}
        for row in rows_of(answer, "", out):
            if len(tiers) < _MOST_AGENTS:
                tiers.setdefault(row.get("agent", ""), []).append(row.get("queue", ""))
        self._tiers = {agent: [queue for queue in queues if queue] for agent, queues in tiers.items()}
        for name in list(self._agents):
            try:
                self.tell(at, name, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs."""
        return {
            "agents": {
                name: [each.status, each.state, each.wrap, each.last_end] for name, each in self._agents.items()
            },
            "tiers": dict(self._tiers),
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._agents = {name: Agent(*kept) for name, kept in memory["agents"].items()}
        self._tiers = dict(memory["tiers"])
