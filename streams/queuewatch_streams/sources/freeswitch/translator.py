"""What FreeSWITCH's mod_callcenter says, and what it means; docs/sources/freeswitch.md says it for operators.

A record is an event of the event socket as JSON (callcenter::info; bridges and holds of channels), or what an api command
answered, each with the moment at which it was received.  A *pass* is one stay of a member in a queue.  The module reuses a
member's id when the same number calls again (resume) and tells times in whole seconds, of the first call then; so a pass begins
with its own start event and is known by its channel and member, and times are the events' own, to the microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.agents import Agents
from queuewatch_streams.sources.freeswitch.lists import Lists
from queuewatch_streams.sources.freeswitch.passes import Passes
from queuewatch_streams.sources.freeswitch.records import (
    AGENTS,
    CONNECTED,
    GONE,
    MEMBERS,
    QUEUES,
    TIERS,
    Heard,
    stamp,
    text,
)
from queuewatch_streams.sources.heard import NEVER, OLD, Hearing
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["Callcenter"]

_NO_MEANING: Final = frozenset(
    {
        *("members-count", "agent-max-no-answer", "agent-status-get", "agent-state-get", "agent-contact-change"),
        *("agent-add", "agent-del", "agent-uuid-change", "tier-add", "tier-del", "tier-state-change"),
    }
)


class Callcenter(Hearing):
    """The translator of what mod_callcenter says."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        super().__init__(composer)
        self._agents = agents = Agents(composer, self._visits, self._told)
        self._passes = passes = Passes(composer, self._visits, agents)
        self._lists = Lists(composer, self._visits, agents, passes)
        self._cores = ["", ""]
        """The Core-UUID as events tell it, and as the connection did: each is compared with its own kind."""
        self._handlers: dict[str, Callable[[int, int, Mapping[str, Any], Out], None]] = {
            "member-queue-start": passes.start,
            "member-queue-resume": passes.start,
            "member-queue-end": passes.end,
            "agent-offering": passes.offer,
            "bridge-agent-start": passes.pick_up,
            "bridge-agent-end": passes.hang_up,
            "bridge-agent-fail": passes.fail,
            "agent-status-change": agents.change,
            "agent-state-change": agents.change,
        }
        if memory is not None:
            self._recall(memory)

    def translate(self, record: Heard, out: Out) -> None:
        """Say what an event or an answer means."""
        try:
            if len(record) != 2 or not isinstance(record[1], dict) or type(record[0]) is not int:
                raise Unreadable("unreadable", "it is no event in JSON")
            received, fields = record
            if not 0 <= received < NEVER:
                raise Unreadable("bad_time", "it was received at no time")
            if fields.get("cmd") == CONNECTED:
                self._passes.wait_until(received + OLD)
            self._decide(received, out)
            if "cmd" in fields:
                self._answer(received, text(fields, "cmd"), fields.get("out"), out)
            else:
                self._say(received, fields, out)
            self._heard = max(self._heard, received)
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _decide(self, until: int, out: Out) -> None:
        self._passes.decide(until, out)
        for at, who in self._visits.end_wraps(until + self._offset, out):
            self._agents.tell_known(at, who, out)

    def _say(self, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """What an event means."""
        name = text(fields, "Event-Name")
        if name == "CHANNEL_BRIDGE":
            self._passes.bridge(fields, out)
            return
        if name in ("CHANNEL_HOLD", "CHANNEL_UNHOLD"):
            self._passes.hold(fields, out)
            return
        if name != "CUSTOM" or fields.get("Event-Subclass") != "callcenter::info":
            out.ignore("no_meaning")
            return
        action = text(fields, "CC-Action")
        handler = self._handlers.get(action)
        if handler is None:
            if action in _NO_MEANING:
                out.ignore("no_meaning")
                return
            known = action if action.replace("-", "").isalnum() and action.isascii() and len(action) <= 40 else "?"
            raise Unreadable("unknown_event", f"the action {known} has no meaning here")
        at = stamp(fields)
        self._offset = at - received
        core = fields.get("Core-UUID")
        if isinstance(core, str) and core and core != self._cores[0]:
            self._new_core(0, core, at, out)
        handler(at, received, fields, out)
        self.newest = max(self.newest, at)

    def _answer(self, received: int, command: str, answer: Any, out: Out) -> None:
        """What the answer of an api command means."""
        if not isinstance(answer, str):
            raise Unreadable("wrong_field", "an api command's answer is no text")
        at = received + self._offset
        self.newest = max(self.newest, at)
        if command == CONNECTED:
            self._connected()
            self._lists.connected()
            self._new_core(1, answer.strip(), at, out)
        elif command.startswith(MEMBERS):
            self._lists.list_members(at, command.removeprefix(MEMBERS).strip(), answer, self._before, out)
        elif command == QUEUES:
            self._lists.list_queues(at, answer, out)
        elif command == AGENTS:
            self._agents.list_all(at, answer, out)
        elif command == TIERS:
            self._agents.list_tiers(at, answer, out)
        elif command.startswith(GONE):
            if answer.strip() == "false":
                self._lists.is_gone(command.removeprefix(GONE).strip())
        else:
            out.ignore("no_meaning")

    def _new_core(self, which: int, core: str, at: int, out: Out) -> None:
        """FreeSWITCH may have started since it was last heard: then nothing that was open is still there."""
        before, self._cores[which] = self._cores[which], core
        if not before or before == core or not core:
            return
        self._cores[1 - which] = ""  # what the other has told is of the time before
        self._died(self._heard, at, out)
        self._passes.forget_bridges()

    def memory(self) -> dict[str, Any]:
        """All passes that may go on, all agents, and what is held back."""
        return super().memory() | {
            "cores": list(self._cores),
            **self._agents.memory(),
            "queues": dict(self._lists.queues),
            **self._passes.memory(),
            **self._lists.memory(),
        }

    def _recall(self, memory: Any) -> None:
        super()._recall(memory)
        self._cores = list(memory["cores"])
        self._agents.recall(memory)
        self._passes.recall(memory)
        self._lists.recall(memory)
