"""What agents of Genesys Cloud do: from their routing status, and off the queue from their presence.

The two are told apart from each other, each with its own time, and in any order: of each the newest holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.genesys.fields import text, texts, time
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["Agents"]

_MOST: Final = 20_000
_STATUSES: Final = {
    "IDLE": "available",
    "INTERACTING": "talking",
    "COMMUNICATING": "busy",
    "NOT_RESPONDING": "other",
}
"""What they do who are on the queue; OFF_QUEUE is for the presence to say."""
_PRESENCES: Final = {
    "OFFLINE": "offline",
    "BREAK": "break",
    "MEAL": "meal",
    "MEETING": "meeting",
    "TRAINING": "training",
}
"""The system's own presences that are states of ours; all others are "other", with their name as the reason."""
_OURS: Final = "PURECLOUD"
"""Presences of other systems (Teams, Zoom) are told too, and do not count."""


class Agents:
    """The newest routing status, presence and queues of each agent.

    :param reasons: states by the id of a presence's definition or by the name of the system's own.
    """

    def __init__(self, composer: Composer, reasons: Mapping[str, str]) -> None:
        self._composer = composer
        self._reasons = {each.casefold(): state for each, state in reasons.items()}
        self._known: dict[str, dict[str, list[Any]]] = {}
        """By the vendor's id: status (since, name), presence (since, definition, system's name), queues (since, ids)."""
        self._told: dict[str, list[Any]] = {}

    def take(self, out: Out, topic: str, user: str, body: Mapping[str, Any]) -> int:
        """Take what a topic says of an agent, and the time it tells.  Raises Unreadable."""
        user = text(body, "id") or user
        if not user:
            raise Unreadable("missing_field", "it names no agent")
        news: dict[str, list[Any]] = {}
        if topic in ("routingStatus", "activity"):
            self._status(news, body.get("routingStatus"), needed=topic == "routingStatus")
        if topic == "presence":
            self._presence(news, body, needed=True)
        elif topic == "activity":
            self._presence(news, body.get("presence"), needed=False)
            changed = time(body, "dateActiveQueuesChanged")
            if "activeQueueIds" in body:
                news["queues"] = [changed or 0, sorted(set(texts(body, "activeQueueIds", 1000)))]
        if not news:
            out.ignore("no_meaning")
            return 0
        if self._composer.ignores_agent(user):
            out.ignore("agent")
            return 0
        known = dict(self._known.get(user, {}))
        for part, told in news.items():
            if part not in known or told > known[part]:
                known[part] = told
        at: int = max(told[0] for told in known.values())
        self._say(out, user, at, known)
        self._known.pop(user, None)
        self._known[user] = known
        if len(self._known) > _MOST:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._told.pop(oldest, None)
        return at

    def _status(self, news: dict[str, list[Any]], told: Any, *, needed: bool) -> None:
        if not isinstance(told, Mapping):
            if needed:
                raise Unreadable("missing_field", "it has no routing status")
            return
        since, name = time(told, "startTime"), text(told, "status").upper()
        if since is None or not name:
            raise Unreadable("missing_field", "its routing status has no time or no name")
        news["status"] = [since, name]

    def _presence(self, news: dict[str, list[Any]], told: Any, *, needed: bool) -> None:
        if not isinstance(told, Mapping) or not isinstance(told.get("presenceDefinition"), Mapping):
            if needed:
                raise Unreadable("missing_field", "it has no presence")
            return
        if told.get("primary") is False or text(told, "source").upper() not in ("", _OURS):
            return
        since = time(told, "modifiedDate")
        definition = told["presenceDefinition"]
        name = text(definition, "systemPresence").upper().replace(" ", "_")
        if since is None or not name:
            raise Unreadable("missing_field", "its presence has no time or no name")
        news["presence"] = [since, text(definition, "id"), name]

    def _say(self, out: Out, user: str, at: int, known: Mapping[str, list[Any]]) -> None:
        state, reason = self._state(known)
        queues = sorted({name for each in known.get("queues", [0, []])[1] if (name := self._composer.queue(each))})
        told = [at, state, reason, queues]
        if self._told.get(user) == told:
            return
        more = {"reason": reason[:200]} if reason else {}
        self._composer.agent_state(out, at, self._composer.agent(user), state, queues, **more)
        self._told[user] = told

    def _state(self, known: Mapping[str, list[Any]]) -> tuple[str, str]:
        status = known["status"][1] if "status" in known else ""
        if status in _STATUSES:
            return _STATUSES[status], "not responding" if status == "NOT_RESPONDING" else ""
        if "presence" not in known:
            return "other", "off queue"
        _, definition, name = known["presence"]
        for each in (definition, name):
            if each.casefold() in self._reasons:
                return self._reasons[each.casefold()], name.lower()
        return _PRESENCES.get(name, "other"), name.lower()

    def memory(self) -> Any:
        """All that `recall` needs."""
        return {"known": {user: dict(parts) for user, parts in self._known.items()}, "told": dict(self._told)}

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._known = {user: dict(parts) for user, parts in memory["known"].items()}
        self._told = dict(memory["told"])
