"""What becomes of a pass: one stay of a member in a queue, from its start event over offers and the bridge to its end.

An answer is said when the two are bridged: `bridge-agent-start` alone comes before an announcement, in which a caller may
still hang up.  Where an agent answers at the time limit there are two ends; the bridge wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.agents import Agents
from queuewatch_streams.sources.freeswitch.records import hung_up, number, optional, stamp, text
from queuewatch_streams.sources.heard import OLD, SECOND
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.visits import CLOSED, TALKING, WAITING, Stay, Visits

__all__ = ["Passes"]

_BRIDGED_BY: Final = 10 * SECOND
"""If nothing is heard of the bridge for so long, an agent who answered is taken to talk."""
_LEFT: Final = {"TIMEOUT": "timeout", "NO_AGENT_TIMEOUT": "no_agents", "EXIT_WITH_KEY": "key"}
_DECLINED: Final = {
    **dict.fromkeys(("ALLOTTED_TIMEOUT", "NO_ANSWER", "NO_USER_RESPONSE", "PROGRESS_TIMEOUT"), "no_answer"),
    **dict.fromkeys(("CALL_REJECTED", "BLIND_TRANSFER", "NORMAL_CLEARING"), "rejected"),
    "USER_BUSY": "busy",
}
"""What a failed offer says of the agent; anything else: he could not be reached."""
_NOT_THE_AGENT: Final = frozenset({"LOSE_RACE", "ORIGINATOR_CANCEL", "PICKED_OFF"})


class Passes:
    """All passes.  Whatever is said of one raises Unreadable."""

    def __init__(self, composer: Composer, visits: Visits, agents: Agents) -> None:
        self._composer = composer
        self._visits = visits
        self._agents = agents
        self._held: list[tuple[int, str, str]] = []
        """Whose bridge is waited for: (until when, call, member), soonest first."""

    def known(self, call: str, member: str) -> Stay | None:
        """The newest pass of a member in a channel."""
        return next((stay for stay in reversed(self._visits.of(call)) if stay.mark == member), None)

    def _of(self, fields: Mapping[str, Any], out: Out) -> Stay | None:
        """The newest pass of an event's member in its channel; None where there is none, or its queue is ignored."""
        member, call = text(fields, "CC-Member-UUID"), text(fields, "CC-Member-Session-UUID")
        if "CC-Queue" in fields and self._composer.queue(text(fields, "CC-Queue")) is None:
            out.ignore("queue")
            return None
        stay = self.known(call, member)
        if stay is None:
            out.ignore("before_start")
        return stay

    # ------------------------------------------------------------------------------------------------------- its events

    def start(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`member-queue-start`, `member-queue-resume`."""
        queue, member = text(fields, "CC-Queue"), text(fields, "CC-Member-UUID")
        call = text(fields, "CC-Member-Session-UUID")
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        known = self.known(call, member)
        if known is not None and known.queue == queue:
            if known.queued == at or (known.state == WAITING and known.more.get("listed")):
                known.more.pop("listed", None)
                out.ignore("repeated")
                return
            if known.state != CLOSED:
                self._visits.forget(known)
        self._visits.enter(out, at, call, queue, name, optional(fields, "CC-Member-CID-Number"), member)

    def end(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`member-queue-end`."""
        stay = self._of(fields, out)
        if stay is None:
            return
        if stay.state == CLOSED:
            out.ignore("repeated")
            return
        if text(fields, "CC-Cause").lower() == "terminated":
            if stay.state == WAITING and "bridge" in stay.more:
                self.talk(stay, out)
            if stay.state == TALKING:
                self._over(at, stay, out)
            else:  # they were never bridged, or nothing of it was heard
                self.leave(at, stay, "BREAK_OUT", hung_up(fields), out)
        else:
            reason = optional(fields, "CC-Cancel-Reason") or optional(fields, "CC-Cause-Reason")
            if stay.state == TALKING:
                out.ignore("repeated")  # an agent answered at the time limit
            elif "bridge" in stay.more:
                stay.more["cancel"] = [at, reason, hung_up(fields)]
            else:
                self.leave(at, stay, reason, hung_up(fields), out)

    def offer(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`agent-offering`."""
        stay = self._of(fields, out)
        if stay is not None:
            self._visits.ring(out, at, stay, self._composer.agent(text(fields, "CC-Agent")))

    def fail(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`bridge-agent-fail`."""
        cause = text(fields, "CC-Hangup-Cause")
        stay = self._of(fields, out)
        if stay is None:
            return
        if cause in _NOT_THE_AGENT:
            out.ignore("no_meaning")
            return
        self._visits.decline(out, at, stay, text(fields, "CC-Agent"), _DECLINED.get(cause, "unavailable"))

    def pick_up(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`bridge-agent-start`: an agent has picked up; the talk begins when the two are bridged."""
        stay, agent = self._of(fields, out), text(fields, "CC-Agent")
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
            stay.more["cancel"] = [stay.ended, "", False]
            self._visits.reopen(stay)
        stay.more["bridge"], stay.more["agent"] = at, agent
        stay.more["leg"] = optional(fields, "CC-Agent-UUID")
        if at - stay.more.pop("bridged", 0) < OLD:  # the two events may overtake each other
            self.talk(stay, out)
        else:
            self._held.append((received + _BRIDGED_BY, stay.call, stay.mark))
            self._held.sort()

    def bridge(self, fields: Mapping[str, Any], out: Out) -> None:
        """CHANNEL_BRIDGE tells that two channels talk, all over the switch; few of them are ours."""
        ours = False
        for header in ("Bridge-A-Unique-ID", "Bridge-B-Unique-ID", "Unique-ID", "Other-Leg-Unique-ID"):
            channel = fields.get(header)
            for stay in self._visits.of(channel) if isinstance(channel, str) else ():
                if stay.state == WAITING:
                    ours = True
                    if "bridge" in stay.more:
                        self.talk(stay, out)
                    else:
                        stay.more["bridged"] = stamp(fields)
        if not ours:
            out.ignore("no_meaning")

    def hold(self, fields: Mapping[str, Any], out: Out) -> None:
        """CHANNEL_HOLD, CHANNEL_UNHOLD: some channel puts its other end on hold, or takes it off."""
        stay = self._visits.talk_on(text(fields, "Unique-ID"))
        if stay is None:
            out.ignore("no_meaning")
        else:
            self._visits.hold(out, stamp(fields), stay, held=fields["Event-Name"] == "CHANNEL_HOLD")

    def hang_up(self, at: int, received: int, fields: Mapping[str, Any], out: Out) -> None:
        """`bridge-agent-end`."""
        stay = self._of(fields, out)
        if stay is None:
            return
        bridged = optional(fields, "CC-Agent-Bridged").lower() != "false"
        if stay.state == WAITING and "bridge" in stay.more:
            if bridged:
                self.talk(stay, out)
            else:
                del stay.more["bridge"]
                if "cancel" in stay.more:
                    self._leave_as_cancelled(stay, out)
        elif stay.state == WAITING and bridged:  # its beginning was missed
            agent = text(fields, "CC-Agent")
            answered = SECOND * number(optional(fields, "CC-Agent-Answered-Time"))
            self._visits.answer(out, max(answered, stay.queued), stay, self._composer.agent(agent))
            stay.more["agent"] = agent
        if stay.state == TALKING:
            self._over(at, stay, out)

    # -------------------------------------------------------------------------------------------------- what it becomes

    def talk(self, stay: Stay, out: Out) -> None:
        """Who picked up talks, since he did."""
        at, agent = stay.more["bridge"], stay.more["agent"]
        self._visits.answer(out, max(at, stay.queued), stay, self._composer.agent(agent))
        del stay.more["bridge"]
        self._agents.tell(at, agent, out)

    def leave(self, at: int, stay: Stay, reason: str, hangup: bool, out: Out) -> None:
        """A caller left unanswered.  BREAK_OUT is a hang-up, or a transfer out of the queue: only the channel tells."""
        if reason in _LEFT:
            self._visits.divert(out, at, stay, _LEFT[reason])
        elif hangup:
            self._visits.abandon(out, at, stay)
        else:
            self._visits.divert(out, at, stay, "transfer")

    def _leave_as_cancelled(self, stay: Stay, out: Out) -> None:
        at, reason, hangup = stay.more["cancel"]
        self.leave(at, stay, reason, hangup, out)

    def _over(self, at: int, stay: Stay, out: Out) -> None:
        agent = stay.more.get("agent", "")
        self._visits.end(out, at, stay, None)
        known = self._agents.known(agent)
        if known is not None:
            known.last_end = max(known.last_end, at)
            if known.wrap:
                self._visits.wrap(stay, stay.ended + known.wrap)
            self._agents.tell(at, agent, out)

    # ----------------------------------------------------------------------------------------------- what is waited for

    def decide(self, until: int, out: Out) -> None:
        """Of whose bridge nothing was heard until then: they talk, or have left."""
        while self._held and self._held[0][0] <= until:
            _, call, member = self._held.pop(0)
            stay = self.known(call, member)
            if stay is None or stay.state != WAITING or "bridge" not in stay.more:
                continue
            if "cancel" in stay.more and stay.more["cancel"][2]:
                self._leave_as_cancelled(stay, out)
            else:
                self.talk(stay, out)

    def wait_until(self, when: int) -> None:
        """There is a new connection: what was waited for may have come meanwhile."""
        self._held = [(when, call, member) for _, call, member in self._held]

    def forget_bridges(self) -> None:
        """No bridge is waited for: FreeSWITCH has started anew."""
        self._held.clear()

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs; the passes themselves are among the visits."""
        return {"held": list(self._held)}

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._held = [(until, call, member) for until, call, member in memory["held"]]
