"""What Amazon Connect's agent events tell of agents: what each does, and which queues he serves.

Of several contacts the one decides that Connect itself shows: a fault before a missed or refused contact, that before a talk,
a talk before after-call work, that before an offer, that before the agent's own status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from queuewatch_streams.sources.amazon_connect.records import (
    agent_of,
    channel_of,
    id_of,
    lowered,
    queue_of,
    time_of,
    word_of,
)
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["Agents", "contacts_of"]

MOST_AGENTS: Final = 20_000
_MOST_QUEUES: Final = 500
_MOST_CONTACTS: Final = 50
_STATES: Final = (
    ("ERROR", "other"),
    ("MISSED", "other"),
    ("REJECTED", "other"),
    ("CONNECTED", "talking"),
    ("CONNECTED_ONHOLD", "held"),
    ("PAUSED", "held"),
    ("ENDED", "wrap_up"),
    ("INCOMING", "ringing"),
    ("CONNECTING", "ringing"),
    ("PENDING", "ringing"),
)
"""A contact's state and what it makes of the agent, the one that decides first."""
_IN_WORDS: Final = dict(_STATES)
_ON_CONTACT: Final = frozenset({"talking", "held"})
_OUTBOUND: Final = frozenset({"OUTBOUND", "EXTERNAL_OUTBOUND", "MONITOR"})


def contacts_of(snapshot: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The contacts of a snapshot, each with its keys in lower case.

    :param snapshot: a snapshot with its keys in lower case.
    """
    contacts = snapshot.get("contacts")
    if isinstance(contacts, list):
        for each in contacts[:_MOST_CONTACTS]:
            yield lowered(each)


class Agents:
    """The agents of one source, and what was said of them last.

    :param agent_queues: whether agents' own queues count as queues.
    """

    def __init__(self, composer: Composer, *, agent_queues: bool) -> None:
        self._composer = composer
        self._agent_queues = agent_queues
        self._told: dict[str, list[Any]] = {}
        """By the vendor's id: when he was heard of last, and what was said last."""

    def translate(self, event: Mapping[str, Any], agent: str, at: int, out: Out) -> None:
        """Say what an agent event says that was not said before.  Raises Unreadable.

        :param event: the event with its keys in lower case.
        :param at: when it happened, microseconds since the epoch.
        """
        before = self._told.get(agent)
        if before is not None and before[0] >= at:
            out.ignore("repeated")
            return
        who = self._composer.agent(agent)
        state, reason, serves, contacts = self._read(event)
        told = [state, reason, serves, [list(each) for each in contacts]]
        if self._composer.ignores_agent(agent):
            out.ignore("agent")
        elif before is None or before[1] != told:
            more: dict[str, Any] = {}
            if contacts:
                more["contacts"] = [
                    {"channel": channel, "state": doing, **({} if queue is None else {"queue": queue})}
                    for channel, doing, queue in contacts
                ]
            if reason:
                more["reason"] = reason
            self._composer.agent_state(out, at, who, state, serves, **more)
        self._told.pop(agent, None)
        self._told[agent] = [at, told]
        if len(self._told) > MOST_AGENTS:
            del self._told[next(iter(self._told))]

    def _read(self, event: Mapping[str, Any]) -> tuple[str, str, list[str], list[tuple[str, str, str | None]]]:
        """The agent's state, its reason, the queues he serves, and his contacts as (channel, state, queue)."""
        snapshot = lowered(event.get("currentagentsnapshot"))
        if word_of(event, "eventtype") == "LOGOUT":
            return "offline", "", [], []
        if not snapshot:
            raise Unreadable("missing_field", "it has no snapshot")
        serves = self._serves(snapshot)
        found = [(word_of(each, "state"), each) for each in contacts_of(snapshot)]
        contacts = [self._contact(state, each) for state, each in found if state in _IN_WORDS]
        present = {state for state, _ in found}
        deciding = next((state for state, _ in _STATES if state in present), None)
        if deciding is None:
            state, reason = self._status(lowered(snapshot.get("agentstatus")))
            return state, reason, [] if state == "offline" else serves, []
        doing = _IN_WORDS[deciding]
        if doing in _ON_CONTACT and not any(each[1] == doing and each[2] is not None for each in contacts):
            doing = "busy"  # on a contact of no queue
        return doing, deciding.lower() if doing == "other" else "", serves, sorted(contacts, key=str)

    def _serves(self, snapshot: Mapping[str, Any]) -> list[str]:
        profile = lowered(lowered(snapshot.get("configuration")).get("routingprofile"))
        queues = profile.get("inboundqueues")
        serves: set[str] = set()
        for each in queues[:_MOST_QUEUES] if isinstance(queues, list) else ():
            name = self._name(lowered(each))
            if name is not None:
                serves.add(name)
        return sorted(serves)

    def _contact(self, state: str | None, contact: Mapping[str, Any]) -> tuple[str, str, str | None]:
        waited = word_of(contact, "initiationmethod") not in _OUTBOUND
        queue = self._name(lowered(contact.get("queue"))) if waited else None
        return channel_of(contact) or "voice", _IN_WORDS[state or ""], queue

    def _name(self, queue: Mapping[str, Any]) -> str | None:
        """A queue's stable name; None where it is ignored, missing, or an agent's own."""
        found = queue_of(queue)
        if found is None or (found.startswith("agent/") and not self._agent_queues):
            return None
        return self._composer.queue(found)

    def _status(self, status: Mapping[str, Any]) -> tuple[str, str]:
        """What the agent's own status makes of him, and its name as the reason where it says more."""
        kind, name = word_of(status, "type"), status.get("name")
        if not isinstance(name, str) or not name.isprintable():
            name = ""
        name = name.strip()[:200]
        if kind is None:  # older events do not tell the type
            kind = {"available": "ROUTABLE", "offline": "OFFLINE"}.get(name.casefold(), "CUSTOM" if name else None)
        if kind is None:
            raise Unreadable("missing_field", "its agent has no status")
        if kind == "ROUTABLE":
            return "available", ""
        if kind == "OFFLINE":
            return "offline", ""
        return self._composer.pause_state(name), name

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> Any:
        """All that `recall` needs; a copy."""
        return {agent: list(told) for agent, told in self._told.items()}

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._told = {agent: list(told) for agent, told in memory.items()}


def read_agent(event: Mapping[str, Any]) -> tuple[str, int]:
    """Whose event it is and when it happened.  Raises Unreadable."""
    agent, at = agent_of(event, "agentarn"), time_of(event, "eventtimestamp")
    if agent is None or at is None:
        raise Unreadable("missing_field", "it names no agent" if agent is None else "it has no time")
    id_of(event, "eventid")
    return agent, at
