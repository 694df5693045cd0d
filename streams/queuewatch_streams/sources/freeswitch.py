"""What FreeSWITCH's mod_callcenter says, and what it means; docs/sources/freeswitch.md says it for operators.

A record is an event of the event socket as JSON (callcenter::info; bridges and holds of channels), or what an api command
answered, each with the moment at which it was received.  A *pass* is one stay of a member in a queue.  The module reuses a
member's id when the same number calls again (resume) and tells times in whole seconds, of the first call then; so a pass begins
with its own start event and is known by its channel and member, and times are the events' own, to the microsecond.

An answer is said when the two are bridged: `bridge-agent-start` alone comes before an announcement, in which a caller may
still hang up.  Where an agent answers at the time limit there are two ends; the bridge wins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.heard import NEVER, OLD, SECOND, Hearing
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import CLOSED, TALKING, WAITING, Stay

__all__ = [
    "AGENTS",
    "CONNECTED",
    "GONE",
    "MEMBERS",
    "QUEUES",
    "TIERS",
    "Callcenter",
    "Heard",
    "heard_of",
    "rows_of",
    "waiting_sessions",
]

Heard = tuple[int, Any]
"""When it was received (microseconds since the epoch), and an event's headers, or `cmd` and `out` of an api command."""
CONNECTED: Final = "connected"
"""The `cmd` of a record that stands for a new connection; `out` is the Core-UUID, which changes when FreeSWITCH restarts."""
QUEUES: Final = "callcenter_config queue list"
AGENTS: Final = "callcenter_config agent list"
TIERS: Final = "callcenter_config tier list"
MEMBERS: Final = "callcenter_config queue list members "
"""With the queue's name behind it."""
GONE: Final = "uuid_exists "
"""With a channel's id behind it; asked of members who are listed as waiting for long."""

BRIDGED_BY: Final = 10 * SECOND
"""If nothing is heard of the bridge for so long, an agent who answered is taken to talk."""
MOST_AGENTS: Final = 20_000
MOST_QUEUES: Final = 10_000
MOST_GONE: Final = 5_000

_LEFT: Final = {"TIMEOUT": "timeout", "NO_AGENT_TIMEOUT": "no_agents", "EXIT_WITH_KEY": "key"}
_DECLINED: Final = {
    **dict.fromkeys(("ALLOTTED_TIMEOUT", "NO_ANSWER", "NO_USER_RESPONSE", "PROGRESS_TIMEOUT"), "no_answer"),
    **dict.fromkeys(("CALL_REJECTED", "BLIND_TRANSFER", "NORMAL_CLEARING"), "rejected"),
    "USER_BUSY": "busy",
}
"""What a failed offer says of the agent; anything else: he could not be reached."""
_NOT_THE_AGENT: Final = frozenset({"LOSE_RACE", "ORIGINATOR_CANCEL", "PICKED_OFF"})
_STATES: Final = {"Waiting": "available", "Receiving": "ringing", "Reserved": "ringing", "Idle": "other"}
_NO_MEANING: Final = frozenset(
    {
        *("members-count", "agent-max-no-answer", "agent-status-get", "agent-state-get", "agent-contact-change"),
        *("agent-add", "agent-del", "agent-uuid-change", "tier-add", "tier-del", "tier-state-change"),
    }
)


class _Agent:
    __slots__ = ("last_end", "state", "status", "wrap")

    def __init__(self, status: str = "", state: str = "Waiting", wrap: int = 0, last_end: int = 0) -> None:
        self.status = status
        self.state = state
        self.wrap = wrap
        """After-call work that the module grants, microseconds."""
        self.last_end = last_end
        """When his last talk ended, to the second."""


class Callcenter(Hearing):
    """The translator of what mod_callcenter says."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        super().__init__(composer)
        self._agents: dict[str, _Agent] = {}
        self._tiers: dict[str, list[str]] = {}
        """By agent: the queues that he serves."""
        self._queues: dict[str, int] = {}
        """The queues that there are, and their time limits in microseconds; 0: none."""
        self._held: list[tuple[int, str, str]] = []
        """Whose bridge is waited for: (until when, call, member), soonest first."""
        self._gone: list[str] = []
        """Channels that are not there any more, though the module lists them."""
        self._missed: list[str] = []
        """Queues whose next list tells what was missed."""
        self._cores = ["", ""]
        """The Core-UUID as events tell it, and as the connection did: each is compared with its own kind."""
        self._handlers: dict[str, Callable[[int, int, Mapping[str, Any], Out], None]] = {
            "member-queue-start": self._start,
            "member-queue-resume": self._start,
            "member-queue-end": self._end,
            "agent-offering": self._offer,
            "bridge-agent-start": self._pick_up,
            "bridge-agent-end": self._hang_up,
            "bridge-agent-fail": self._fail,
            "agent-status-change": self._change,
            "agent-state-change": self._change,
        }
        if memory is not None:
            self._recall(memory)

    # ----------------------------------------------------------------------------------------------------- the records

    def translate(self, record: Heard, out: Out) -> None:
        """Say what an event or an answer means."""
        try:
            if len(record) != 2 or not isinstance(record[1], dict) or type(record[0]) is not int:
                raise Unreadable("unreadable", "it is no event in JSON")
            received, fields = record
            if not 0 <= received < NEVER:
                raise Unreadable("bad_time", "it was received at no time")
            if fields.get("cmd") == CONNECTED:  # what was waited for may have come meanwhile
                self._held = [(received + OLD, call, member) for _, call, member in self._held]
            self._decide(received, out)
            if "cmd" in fields:
                self._answer(received, _text(fields, "cmd"), fields.get("out"), out)
            else:
                self._say(received, fields, out)
            self._heard = max(self._heard, received)
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _say(self, received: int, fields: Mapping[str, Any], out: Out) -> None:
        name = _text(fields, "Event-Name")
        if name == "CHANNEL_BRIDGE":
            self._bridge(fields, out)
            return
        if name in ("CHANNEL_HOLD", "CHANNEL_UNHOLD"):
            stay = self._visits.talk_on(_text(fields, "Unique-ID"))
            if stay is None:
                out.ignore("no_meaning")
            else:
                self._visits.hold(out, _stamp(fields), stay, held=name == "CHANNEL_HOLD")
            return
        if name != "CUSTOM" or fields.get("Event-Subclass") != "callcenter::info":
            out.ignore("no_meaning")
            return
        action = _text(fields, "CC-Action")
        handler = self._handlers.get(action)
        if handler is None:
            if action in _NO_MEANING:
                out.ignore("no_meaning")
                return
            known = action if action.replace("-", "").isalnum() and action.isascii() and len(action) <= 40 else "?"
            raise Unreadable("unknown_event", f"the action {known} has no meaning here")
        at = _stamp(fields)
        self._offset = at - received
        core = fields.get("Core-UUID")
        if isinstance(core, str) and core and core != self._cores[0]:
            self._new_core(0, core, at, out)
        handler(at, received, fields, out)
        self.newest = max(self.newest, at)

    # ---------------------------------------------------------------------------------------------------------- passes

    def _pass(self, fields: Mapping[str, Any], out: Out) -> Stay | None:
        """The newest pass of an event's member in its channel; None where there is none, or its queue is ignored."""
        member, call = _text(fields, "CC-Member-UUID"), _text(fields, "CC-Member-Session-UUID")
        if "CC-Queue" in fields and self._composer.queue(_text(fields, "CC-Queue")) is None:
            out.ignore("queue")
            return None
        stay = self._known(call, member)
        if stay is None:
            out.ignore("before_start")
        return stay

    def _known(self, call: str, member: str) -> Stay | None:
        return next((stay for stay in reversed(self._visits.of(call)) if stay.mark == member), None)

    def _start(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        queue, member = _text(fields, "CC-Queue"), _text(fields, "CC-Member-UUID")
        call = _text(fields, "CC-Member-Session-UUID")
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        known = self._known(call, member)
        if known is not None and known.queue == queue:
            if known.queued == at or (known.state == WAITING and known.more.get("listed")):
                known.more.pop("listed", None)
                out.ignore("repeated")
                return
            if known.state != CLOSED:
                self._visits.forget(known)
        self._visits.enter(out, at, call, queue, name, _optional(fields, "CC-Member-CID-Number"), member)

    def _end(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        stay = self._pass(fields, out)
        if stay is None:
            return
        if stay.state == CLOSED:
            out.ignore("repeated")
            return
        if _text(fields, "CC-Cause").lower() == "terminated":
            if stay.state == WAITING and "bridge" in stay.more:
                self._talks(stay, out)
            if stay.state == TALKING:
                self._over(at, stay, out)
            else:  # they were never bridged, or nothing of it was heard
                self._left(at, stay, "BREAK_OUT", fields, out)
        else:
            reason = _optional(fields, "CC-Cancel-Reason") or _optional(fields, "CC-Cause-Reason")
            if stay.state == TALKING:
                out.ignore("repeated")  # an agent answered at the time limit
            elif "bridge" in stay.more:
                stay.more["cancel"] = [at, reason, _hung_up(fields)]
            else:
                self._left(at, stay, reason, fields, out)

    def _left(self, at: int, stay: Stay, reason: str, fields: Mapping[str, Any], out: Out) -> None:
        self._leave(at, stay, reason, _hung_up(fields), out)

    def _leave(self, at: int, stay: Stay, reason: str, hung_up: bool, out: Out) -> None:
        """A caller left unanswered.  BREAK_OUT is a hang-up, or a transfer out of the queue: only the channel tells."""
        if reason in _LEFT:
            self._visits.divert(out, at, stay, _LEFT[reason])
        elif hung_up:
            self._visits.abandon(out, at, stay)
        else:
            self._visits.divert(out, at, stay, "transfer")

    def _offer(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        stay = self._pass(fields, out)
        if stay is not None:
            self._visits.ring(out, at, stay, self._composer.agent(_text(fields, "CC-Agent")))

    def _fail(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        cause = _text(fields, "CC-Hangup-Cause")
        stay = self._pass(fields, out)
        if stay is None:
            return
        if cause in _NOT_THE_AGENT:
            out.ignore("no_meaning")
            return
        who = self._composer.agent(_text(fields, "CC-Agent"))
        self._visits.decline(out, at, stay, who, _DECLINED.get(cause, "unavailable"))

    def _pick_up(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """An agent has picked up; the talk begins when the two are bridged."""
        stay, agent = self._pass(fields, out), _text(fields, "CC-Agent")
        self._composer.agent(agent)
        if stay is None:
            return
        if stay.state == TALKING or "bridge" in stay.more:
            out.ignore("repeated")
            return
        if stay.state == CLOSED:  # he was said to have left in this very moment
            if at - stay.ended > OLD or stay.how == "abandoned" or stay.answered:
                out.ignore("repeated")
                return
            self._visits.reopen(stay)
        stay.more["bridge"], stay.more["agent"] = at, agent
        stay.more["leg"] = _optional(fields, "CC-Agent-UUID")
        if at - stay.more.pop("bridged", 0) < OLD:  # the two events may overtake each other
            self._talks(stay, out)
        else:
            self._held.append((received + BRIDGED_BY, stay.call, stay.mark))
            self._held.sort()

    def _bridge(self, fields: Mapping[str, Any], out: Out) -> None:
        """CHANNEL_BRIDGE tells that two channels talk, all over the switch; few of them are ours."""
        ours = False
        for header in ("Bridge-A-Unique-ID", "Bridge-B-Unique-ID", "Unique-ID", "Other-Leg-Unique-ID"):
            channel = fields.get(header)
            for stay in self._visits.of(channel) if isinstance(channel, str) else ():
                if stay.state == WAITING:
                    ours = True
                    if "bridge" in stay.more:
                        self._talks(stay, out)
                    else:
                        stay.more["bridged"] = _stamp(fields)
        if not ours:
            out.ignore("no_meaning")

    def _talks(self, stay: Stay, out: Out) -> None:
        at, agent = stay.more["bridge"], stay.more["agent"]
        self._visits.answer(out, max(at, stay.queued), stay, self._composer.agent(agent))
        del stay.more["bridge"]
        self._tell(at, agent, out)

    def _hang_up(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        stay = self._pass(fields, out)
        if stay is None:
            return
        bridged = _optional(fields, "CC-Agent-Bridged").lower() != "false"
        if stay.state == WAITING and "bridge" in stay.more:
            if bridged:
                self._talks(stay, out)
            else:
                del stay.more["bridge"]
                if "cancel" in stay.more:
                    self._leave(*_unpacked(stay), out)
        elif stay.state == WAITING and bridged:  # its beginning was missed
            agent = _text(fields, "CC-Agent")
            answered = SECOND * _number(_optional(fields, "CC-Agent-Answered-Time"))
            self._visits.answer(out, max(answered, stay.queued), stay, self._composer.agent(agent))
            stay.more["agent"] = agent
        if stay.state == TALKING:
            self._over(at, stay, out)

    def _over(self, at: int, stay: Stay, out: Out) -> None:
        agent = stay.more.get("agent", "")
        self._visits.end(out, at, stay, None)
        known = self._agents.get(agent)
        if known is not None:
            known.last_end = max(known.last_end, at)
            if known.wrap:
                self._visits.wrap(stay, stay.ended + known.wrap)
            self._tell(at, agent, out)

    def _decide(self, until: int, out: Out) -> None:
        while self._held and self._held[0][0] <= until:
            _, call, member = self._held.pop(0)
            stay = self._known(call, member)
            if stay is None or stay.state != WAITING or "bridge" not in stay.more:
                continue
            if "cancel" in stay.more and stay.more["cancel"][2]:
                self._leave(*_unpacked(stay), out)
            else:
                self._talks(stay, out)
        for at, who in self._visits.end_wraps(until + self._offset, out):
            for agent in [each for each in self._agents if self._composer.agent(each) == who]:
                self._tell(at, agent, out)

    # ----------------------------------------------------------------------------------------------------- the agents

    def _change(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        name = _text(fields, "CC-Agent")
        self._composer.agent(name)
        status, state = _optional(fields, "CC-Agent-Status"), _optional(fields, "CC-Agent-State")
        agent = self._agent(name)
        agent.status, agent.state = status or agent.status, state or agent.state
        self._tell(at, name, out)

    def _agent(self, name: str) -> _Agent:
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = _Agent()
            if len(self._agents) > MOST_AGENTS:
                del self._agents[next(iter(self._agents))]
        return agent

    def _tell(self, at: int, name: str, out: Out) -> None:
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

    # ------------------------------------------------------------------------------------------------------ the answers

    def _answer(self, received: int, command: str, answer: Any, out: Out) -> None:
        if not isinstance(answer, str):
            raise Unreadable("wrong_field", "an api command's answer is no text")
        at = received + self._offset
        self.newest = max(self.newest, at)
        if command == CONNECTED:
            self._connected()
            self._missed = list(dict.fromkeys(stay.queue for stay in self._visits.unfinished(WAITING, TALKING)))
            self._new_core(1, answer.strip(), at, out)
        elif command.startswith(MEMBERS):
            self._list(at, command.removeprefix(MEMBERS).strip(), answer, out)
        elif command == QUEUES:
            self._list_queues(at, answer, out)
        elif command == AGENTS:
            self._list_agents(at, answer, out)
        elif command == TIERS:
            self._list_tiers(at, answer, out)
        elif command.startswith(GONE):
            if answer.strip() == "false":
                self._gone = [*self._gone[-MOST_GONE:], command.removeprefix(GONE).strip()]
        else:
            out.ignore("no_meaning")

    def _new_core(self, which: int, core: str, at: int, out: Out) -> None:
        """FreeSWITCH may have started since it was last heard: then nothing that was open is still there."""
        before, self._cores[which] = self._cores[which], core
        if not before or before == core or not core:
            return
        self._cores[1 - which] = ""  # what the other has told is of the time before
        self._died(self._heard, at, out)
        self._held.clear()

    def _list_queues(self, at: int, answer: str, out: Out) -> None:
        queues: dict[str, int] = {}
        for row in rows_of(answer, "moh_sound", out):
            if len(queues) < MOST_QUEUES and row.get("name"):
                queues[row["name"]] = SECOND * _number(row.get("max_wait_time", ""))
        self._queues = queues
        empty = {stay.name for stay in self._visits.unfinished(WAITING) if stay.queue not in queues}
        for queue in sorted(empty - {self._composer.queue(each) for each in queues}):
            self._composer.snapshot(out, at, queue, [])

    def _list_agents(self, at: int, answer: str, out: Out) -> None:
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
            agent.wrap = SECOND * _number(row.get("wrap_up_time", ""))
            agent.last_end = SECOND * _number(row.get("last_bridge_end", ""))
            self._tell(at, name, out)
        for name in [each for each in self._agents if each not in seen]:
            self._agents[name].status, self._agents[name].state = "Logged Out", "Waiting"
            self._tell(at, name, out)
            del self._agents[name]

    def _list_tiers(self, at: int, answer: str, out: Out) -> None:
        tiers: dict[str, list[str]] = {}
        for row in rows_of(answer, "", out):
            if len(tiers) < MOST_AGENTS:
                tiers.setdefault(row.get("agent", ""), []).append(row.get("queue", ""))
        self._tiers = {agent: [queue for queue in queues if queue] for agent, queues in tiers.items()}
        for name in list(self._agents):
            try:
                self._tell(at, name, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))

    def _list(self, at: int, queue: str, answer: str, out: Out) -> None:
        """Who is in a queue.  Rows of those who left stay for a while, and those of a killed FreeSWITCH too."""
        name = self._composer.queue(queue)
        if name is None or (self._queues and queue not in self._queues):
            out.ignore("queue" if name is None else "no_meaning")  # a queue that is not there answers like an empty one
            return
        missed = queue in self._missed
        waiting: dict[tuple[str, int], int] = {}
        talking: set[tuple[str, str]] = set()
        listed: set[tuple[str, str]] = set()
        for row in rows_of(answer, "cid_name", out):
            if row.get("state") != "Abandoned" and row.get("session_uuid", "") not in self._gone:
                listed.add((row.get("session_uuid", ""), row.get("uuid", "")))
            try:
                self._read_member(at, queue, name, row, missed, waiting, talking, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
        if missed and not self._close_missed(at, queue, talking, out):
            self._missed.remove(queue)
        for stay in self._visits.unfinished(WAITING):
            if stay.queue == queue:
                if (stay.call, stay.mark) in listed:
                    stay.more.pop("absent", None)
                elif at - stay.more.setdefault("absent", at) >= OLD:  # how he left was missed
                    self._visits.forget(stay)
        same = [each for each in self._queues if each != queue and self._composer.queue(each) == name]
        if not same:  # several queues of one name here have no list that is complete
            self._composer.snapshot(out, at, name, [(call, visit, since) for (call, visit), since in waiting.items()])

    def _close_missed(self, at: int, queue: str, talking: Collection[tuple[str, str]], out: Out) -> bool:
        """Talks of before that began or ended while nobody listened.  Whether some have to be seen again."""
        too_young = False
        for stay in self._visits.unfinished(WAITING):
            if stay.queue != queue or (stay.call, stay.mark) in talking or "bridge" not in stay.more:
                continue
            if stay.more["bridge"] <= self._before:
                self._talks(stay, out)
        for stay in self._visits.unfinished(TALKING):
            if stay.queue != queue or (stay.call, stay.mark) in talking or stay.answered > self._before:
                continue
            if at - stay.answered <= OLD:
                too_young = True
                continue
            agent = self._agents.get(stay.more.get("agent", ""))
            when = self._before
            if agent is not None and stay.answered <= agent.last_end <= at:
                when = agent.last_end
            self._visits.end(out, when, stay, None)
        return too_young

    def _read_member(
        self,
        at: int,
        queue: str,
        name: str,
        row: Mapping[str, str],
        missed: bool,
        waiting: dict[tuple[str, int], int],
        talking: set[tuple[str, str]],
        out: Out,
    ) -> None:
        state, member, call = row.get("state", ""), row.get("uuid", ""), row.get("session_uuid", "")
        since = SECOND * (_number(row.get("rejoined_epoch", "")) or _number(row.get("joined_epoch", "")))
        if state == "Abandoned":
            if missed:
                self._missed_leave(at, queue, member, row, out)
            return
        if state not in ("Waiting", "Trying", "Answered") or not member or not call or call in self._gone:
            return
        stay = self._known(call, member)
        if stay is not None and stay.state == CLOSED:
            if stay.ended >= since:
                return
            stay = None
        old = at - since >= OLD
        bridged = SECOND * _number(row.get("bridge_epoch", ""))
        if state == "Answered":
            talking.add((call, member))
            if stay is not None and stay.state == WAITING and "bridge" in stay.more:
                self._list_waiting(stay, waiting)  # picked up, not yet bridged: nothing was said of it
            if not bridged or at - bridged < OLD:
                return
        if stay is None:
            if not old:
                return
            stay = self._visits.enter(out, since, call, queue, name, row.get("cid_number", ""), member)
            stay.more["listed"] = True
        if state == "Answered":
            if stay.state == WAITING and "bridge" not in stay.more:
                agent = row.get("serving_agent", "")
                self._visits.answer(out, max(bridged, stay.queued), stay, self._composer.agent(agent))
                stay.more["agent"] = agent
        elif stay.state == WAITING:
            self._list_waiting(stay, waiting)

    def _list_waiting(self, stay: Stay, waiting: dict[tuple[str, int], int]) -> None:
        if not self._visits.ignored(stay):
            waiting[self._visits.subject(stay), stay.visit] = stay.queued

    def _missed_leave(self, at: int, queue: str, member: str, row: Mapping[str, str], out: Out) -> None:
        """A caller who left while nobody listened: the row says when, not why; only the time limit can be told from it."""
        left = SECOND * _number(row.get("abandoned_epoch", ""))
        for stay in self._visits.unfinished(WAITING):
            if stay.mark == member and stay.queue == queue and stay.queued - SECOND <= left <= at - OLD:
                left = max(left, stay.queued)
                limit = self._queues.get(queue, 0)
                reason = "TIMEOUT" if limit and left - stay.queued >= limit - SECOND else "BREAK_OUT"
                stay.more.pop("bridge", None)
                self._leave(left, stay, reason, True, out)

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> dict[str, Any]:
        """All passes that may go on, all agents, and what is held back."""
        return super().memory() | {
            "cores": list(self._cores),
            "agents": {
                name: [each.status, each.state, each.wrap, each.last_end] for name, each in self._agents.items()
            },
            "tiers": dict(self._tiers),
            "queues": dict(self._queues),
            "held": list(self._held),
            "gone": list(self._gone),
            "missed": list(self._missed),
        }

    def _recall(self, memory: Any) -> None:
        super()._recall(memory)
        self._cores = list(memory["cores"])
        self._agents = {name: _Agent(*kept) for name, kept in memory["agents"].items()}
        self._tiers, self._queues = dict(memory["tiers"]), dict(memory["queues"])
        self._held = [(until, call, member) for until, call, member in memory["held"]]
        self._gone, self._missed = list(memory["gone"]), list(memory["missed"])


# ----------------------------------------------------------------------------------------------------- fields, recordings


def _text(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    if found is None or found == "":
        raise Unreadable("missing_field", f"its {name} is missing")
    if not isinstance(found, str):
        raise Unreadable("wrong_field", f"its {name} is no text")
    return found


def _optional(fields: Mapping[str, Any], name: str) -> str:
    found = fields.get(name)
    return found if isinstance(found, str) else ""


def _stamp(fields: Mapping[str, Any]) -> int:
    """When an event was made: microseconds, where all other times are whole seconds."""
    text = _text(fields, "Event-Date-Timestamp")
    if not (text.isascii() and text.isdecimal()) or len(text) > 17:
        raise Unreadable("bad_time", "its Event-Date-Timestamp is no time in microseconds since 1970")
    return int(text)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 11 else 0


def _hung_up(fields: Mapping[str, Any]) -> bool:
    """Whether the caller's channel is over; where the event does not tell of it, it is taken to be."""
    state = _optional(fields, "Answer-State")
    return not state or state == "hangup" or bool(_optional(fields, "Hangup-Cause"))


def _unpacked(stay: Stay) -> tuple[int, Stay, str, bool]:
    at, reason, hung_up = stay.more["cancel"]
    return at, stay, reason, hung_up


def rows_of(answer: str, free: str, out: Out | None = None) -> Iterator[dict[str, str]]:
    """The rows of an api command's table by its head.

    :param free: the column that may hold bars, which are not escaped.
    :param out: is told of rows that have too few columns.
    """
    lines = answer.split("\n")
    head = lines[0].split("|")
    if len(head) < 2:
        return
    for line in lines[1:]:
        if not line or line.startswith(("+OK", "-ERR")):
            continue
        cells = line.split("|")
        extra = len(cells) - len(head)
        if extra and free in head and extra > 0:
            place = head.index(free)
            cells[place : place + extra + 1] = ["|".join(cells[place : place + extra + 1])]
        if len(cells) != len(head) or not cells[0]:
            if out is not None:
                out.refuse("unreadable", f"a row of an answer has {len(cells)} columns of {len(head)}")
            continue
        yield dict(zip(head, cells, strict=True))


def waiting_sessions(answer: str, before: int) -> list[str]:
    """The channels of those whom a list of members shows as waiting since before a time, in seconds since the epoch."""
    waiting = [row for row in rows_of(answer, "cid_name") if row.get("state") in ("Waiting", "Trying")]
    sessions = [row.get("session_uuid", "") for row in waiting if _number(row.get("joined_epoch", "")) < before]
    return [each for each in sessions if each]


def heard_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Heard]]:
    """A recording's lines as records: events as JSON, bare or as `{"recv": seconds, "event": …}`, and answers of api
    commands as `{"t": seconds, "cmd": …, "out": …}`.  Where nobody wrote down when it was received, the event's time says."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            found: Any = orjson.loads(line)
        except ValueError:
            yield number, (0, None)
            continue
        received: Any = None
        if isinstance(found, dict):
            received = found.get("recv", found.get("t"))
            if isinstance(found.get("event"), dict):
                found = found["event"]
            if received is None:
                stamp = found.get("Event-Date-Timestamp")
                received = (
                    int(stamp) / SECOND if isinstance(stamp, str) and stamp.isdecimal() and len(stamp) < 18 else 0
                )
        if not isinstance(received, int | float) or isinstance(received, bool) or not 0 <= received < 1e11:
            received = 0
        yield number, (round(received * SECOND), found)
