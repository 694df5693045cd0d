"""What the events of Asterisk's manager interface (AMI) mean; docs/sources/asterisk-ami.md says it for operators.

A record is one message with the moment at which it was received.  Two things make its events harder than they look:

- QueueCallerAbandon only says "left unanswered".  Whether the caller hung up, was let go or was moved away is told by the
  place in the dialplan at which the caller is then, and by the variable QUEUESTATUS a moment later.  So a caller who left from
  where he stood is held back for a quarter of a second.
- A refused caller is in no queue event at all; only QUEUESTATUS tells, and Newexten which queue it was.

What was missed while nobody listened, `lists` finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.asterisk.ami.lists import ROWS, Lists
from queuewatch_streams.sources.asterisk.ami.members import Members
from queuewatch_streams.sources.asterisk.ami.messages import (
    GREETING,
    Message,
    agent_of,
    caller_of,
    checked,
    needed,
    place_of,
    stamp,
    whole,
)
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.heard import OLD, SECOND, Hearing
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import TALKING, WAITING, Stay

__all__ = ["UNKNOWN_QUEUE", "Ami"]

UNKNOWN_QUEUE: Final = "unknown"
"""The vendor's id, for `map.queues` and `ignore.queues`, of the queue of a refusal where no Newexten told it."""

_SETTLED: Final = SECOND // 4
"""After so long without a word why he left, a caller who left from where he stood has hung up."""
_OTHER_TALK: Final = 5 * SECOND
"""A completion of a talk that began so much earlier or later, on another channel, is not of this talk."""
_RESTARTED: Final = 5 * SECOND
"""Asterisk's uptime is in whole seconds, and it takes a moment to boot."""
_MOST_DIALLED: Final = 5_000

_REFUSED: Final = {"FULL": "full", "JOINEMPTY": "no_agents", "JOINUNAVAIL": "no_agents"}
_LEFT: Final = {"TIMEOUT": "timeout", "LEAVEEMPTY": "no_agents", "LEAVEUNAVAIL": "no_agents", "WITHDRAW": "withdrawn"}
_BY: Final = {"agent": "agent", "caller": "caller", "transfer": "transfer"}
_NO_MEANING: Final = frozenset(
    {
        *("QueueSummary", "QueueSummaryComplete", "AgentDump", "QueueCallerPosition", "Shutdown", "Reload"),
        *("Hangup", "Newchannel", "Newstate", "SuccessfulAuth", "ChallengeSent", "AgentRingCanceled", "FailedACL"),
    }
)


class Ami(Hearing):
    """The translator of AMI messages."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        super().__init__(composer)
        self._members = members = Members(composer, self._visits, self._told)
        self._lists = Lists(composer, self._visits, members)
        self._held: list[tuple[int, str, str, int, str]] = []
        """What is decided later: (when, call, queue, visit, how); soonest first."""
        self._dialled: dict[str, str] = {}
        """By call: the queue that the dialplan has sent it to."""
        self._handlers: dict[str, Callable[[int, int, Mapping[str, str], Out], None]] = {
            "QueueCallerJoin": self._join,
            "QueueCallerLeave": self._leave,
            "QueueCallerAbandon": self._abandon,
            "AgentCalled": self._called,
            "AgentRingNoAnswer": self._no_answer,
            "AgentConnect": self._connect,
            "AgentComplete": self._complete,
            "BlindTransfer": self._transfer,
            "AttendedTransfer": self._transfer,
            "Hold": self._hold_on,
            "Unhold": self._hold_on,
            "VarSet": self._status,
            "Newexten": self._dial,
            **dict.fromkeys(
                ("QueueMemberStatus", "QueueMemberPause", "QueueMemberPaused", "QueueMemberAdded"), members.change
            ),
            **dict.fromkeys(("QueueMemberPenalty", "QueueMemberRinginuse"), members.change),
            "QueueMemberRemoved": members.remove,
            "QueueStatusComplete": self._list,
            "FullyBooted": self._booted,
        }
        if memory is not None:
            self._recall(memory)

    # ------------------------------------------------------------------------------------------------------ the records

    def translate(self, record: Message, out: Out) -> None:
        """Say what a message means."""
        try:
            received, fields = checked(record)
            self._decide(received, out)
            event = fields.get("Event")
            if event in ROWS:
                self._lists.row(fields)
            elif GREETING in fields:
                self._connected()
                self._lists.connected()
            elif event is not None:
                self._say(event, received, fields, out)
                self._heard = max(self._heard, received)
            elif "Response" not in fields:
                raise Unreadable("unreadable", "it is neither an event nor an answer")
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _say(self, event: str, received: int, fields: Mapping[str, str], out: Out) -> None:
        handler = self._handlers.get(event)
        if handler is None:
            if event in _NO_MEANING:
                out.ignore("no_meaning")
                return
            known = event if event.isalnum() and event.isascii() and len(event) <= 40 else "with a name that is none"
            raise Unreadable("unknown_event", f"the event {known} has no meaning here")
        at = received
        if told := fields.get("Timestamp"):
            at = stamp(told)
            self._offset = at - received
        handler(at, received, fields, out)
        self.newest = max(self.newest, at)

    # ------------------------------------------------------------------------------------------------- callers who wait

    def _join(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        call, queue = needed(fields, "Uniqueid"), needed(fields, "Queue")
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        self._dialled.pop(call, None)
        self._lists.announced(call, queue)
        for stay in self._visits.of(call):
            if stay.state != WAITING:
                continue
            if stay.queue == queue and abs(stay.queued - at) < OLD:
                if stay.more.pop("listed", False):  # only now is it known where he stands
                    stay.more["place"] = place_of(fields)
                out.ignore("repeated")
                return
            if "left" in stay.more:  # he went on to another queue, so he has not hung up
                self._settle(stay, "overflow", out)
            else:
                self._visits.forget(stay)
        stay = self._visits.enter(out, at, call, queue, name, caller_of(fields))
        stay.more["place"] = place_of(fields)

    def _leave(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay = self._waiting(fields, out)
        if stay is None:
            return
        more = stay.more
        more["left"] = at
        self._members.stop_ringing(stay, at, out)
        known, place = more.get("place", ""), place_of(fields)
        moved = place.endswith(",0") or (
            known != "" and known != place
        )  # priority 0 is where a key leads, and nothing else
        if "verdict" in more:
            self._settle(stay, more["verdict"], out)
        elif moved:
            self._settle(stay, "transfer" if "abandon" in more else "key", out)
        elif "abandon" in more:
            self._hold(received, stay, "abandoned")

    def _abandon(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """Left unanswered; QueueCallerLeave comes next, or came before where an agent had picked up already."""
        stay = self._waiting(fields, out)
        if stay is None:
            return
        stay.more["abandon"] = at
        if "left" in stay.more:
            self._hold(received, stay, "abandoned")

    def _status(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """QUEUESTATUS: why the application Queue let go of a caller, or did not let him in."""
        if fields.get("Variable") != "QUEUESTATUS":
            out.ignore("no_meaning")
            return
        call, value = needed(fields, "Uniqueid"), fields.get("Value", "")
        if value in _REFUSED:
            queue = self._dialled.pop(call, UNKNOWN_QUEUE)
            name = self._composer.queue(queue)
            if name is None:
                out.ignore("queue")
                return
            self._visits.refuse(out, at, call, queue, name, _REFUSED[value], caller_of(fields))
        elif value in _LEFT:
            for stay in self._visits.of(call):
                if stay.state == WAITING:
                    if "left" in stay.more:
                        self._settle(stay, _LEFT[value], out)
                    else:
                        stay.more["verdict"] = _LEFT[value]
                    return
            out.ignore("repeated")
        else:  # CONTINUE: an agent hung up first, and the caller goes on
            out.ignore("no_meaning")

    def _dial(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        if fields.get("Application") != "Queue":
            out.ignore("no_meaning")
            return
        call, queue = needed(fields, "Uniqueid"), fields.get("AppData", "").split(",")[0].strip()
        self._dialled.pop(call, None)
        self._dialled[call] = queue or UNKNOWN_QUEUE
        if len(self._dialled) > _MOST_DIALLED:
            del self._dialled[next(iter(self._dialled))]

    def _waiting(self, fields: Mapping[str, str], out: Out) -> Stay | None:
        """The stay that a caller's event is about; None where there is none that could go on."""
        call, queue = needed(fields, "Uniqueid"), needed(fields, "Queue")
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return None
        stay = self._visits.last(call, queue, WAITING)
        if stay is None:  # over, or it began while nobody listened: then its length is not told either
            out.ignore("repeated" if self._visits.of(call) else "before_start")
        return stay

    # ------------------------------------------------------------------------------------------------ what is held back

    def _hold(self, received: int, stay: Stay, how: str) -> None:
        self._held.append((received + _SETTLED, stay.call, stay.queue, stay.visit, how))
        self._held.sort()

    def _decide(self, until: int, out: Out) -> None:
        while self._held and self._held[0][0] <= until:
            _, call, queue, visit, how = self._held.pop(0)
            for stay in self._visits.of(call):
                # Who was answered meanwhile has not hung up.
                if (stay.queue, stay.visit, stay.state) == (queue, visit, WAITING if how == "abandoned" else TALKING):
                    try:
                        self._settle(stay, how, out)
                    except Unreadable as why:
                        out.refuse(why.reason, str(why))
        for at, who in self._visits.end_wraps(until + self._offset, out):
            self._members.tell_known(at, who, out)

    def _settle(self, stay: Stay, how: str, out: Out) -> None:
        """Say how a wait or a talk ended that is over already."""
        if stay.state == TALKING:
            self._end_talk(stay, stay.more["done"], how, out)
        elif how == "abandoned":
            self._visits.abandon(out, stay.more["left"], stay)
        else:
            self._visits.divert(out, stay.more["left"], stay, how)

    # ----------------------------------------------------------------------------------------------- agents on the call

    def _called(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay, member = self._waiting(fields, out), agent_of(fields)
        if stay is None:
            return
        self._visits.ring(out, at, stay, self._composer.agent(member))
        self._members.ring(at, member, stay, out)

    def _no_answer(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay, member = self._waiting(fields, out), agent_of(fields)
        self._members.ring_no_more(member)
        if stay is not None:
            busy = whole(fields, "RingTime", 0) == 0  # it did not ring at all; milliseconds here, seconds elsewhere
            self._visits.decline(out, at, stay, member, "busy" if busy else "no_answer")
        self._members.tell(at, member, out)

    def _connect(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        call, queue, member = needed(fields, "Uniqueid"), needed(fields, "Queue"), agent_of(fields)
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        who = self._composer.agent(member)
        stay = self._visits.last(call, queue, WAITING)
        if stay is None:
            known = self._visits.last(call, queue, TALKING)
            if known is not None and known.more.get("leg") == fields.get("DestUniqueid", ""):
                out.ignore("repeated")
                return
            began = at - SECOND * whole(fields, "HoldTime", 0)  # it was missed
            stay = self._visits.enter(out, began, call, queue, name, caller_of(fields))
        self._visits.answer(out, max(at, stay.queued), stay, who)
        stay.more = {
            "place": place_of(fields),
            "leg": fields.get("DestUniqueid", ""),
            "interface": fields.get("Interface", ""),
            "member": member,
        }
        self._members.stop_ringing(stay, at, out)
        self._members.tell(at, member, out)

    def _complete(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        queue, member = needed(fields, "Queue"), agent_of(fields)
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        talk = SECOND * whole(fields, "TalkTime", 0)
        stay = self._talking(fields, queue, member, at - talk)
        if stay is None:
            stay = self._rebuilt(at, talk, fields, queue, name, member, out)
            if stay is None:
                return
        more = stay.more
        place = place_of(fields)
        idle = more.get("idle", at)
        moved = place != more["place"] if place and more.get("place") else at - idle > SECOND
        by = _BY.get(fields.get("Reason", "").lower(), "system")
        more["done"] = at
        if more.get("transferred"):
            by = "transfer"
        elif by == "caller" and moved:
            # He was taken away in the middle (Redirect) and has hung up only now; the agent's phone was free before.
            by, more["done"] = "system", idle
        if by == "agent":  # AttendedTransfer may come a moment later
            self._hold(received, stay, by)
        else:
            self._end_talk(stay, more["done"], by, out)
        self._members.tell_if_idle(at, member, out)

    def _end_talk(self, stay: Stay, at: int, by: str, out: Out) -> None:
        self._visits.end(out, at, stay, "transfer" if stay.more.get("transferred") else by)
        member = self._members.in_talk(stay)
        if member is not None and member.wrap:
            self._visits.wrap(stay, stay.ended + member.wrap)
            self._members.tell(stay.ended, member.name, out)

    def _talking(self, fields: Mapping[str, str], queue: str, member: str, answered: int) -> Stay | None:
        """The talk that a completion is about: by the caller, else by the agent's channel, else by queue and agent."""
        call, leg = fields.get("Uniqueid", ""), fields.get("DestUniqueid", "")
        if call:
            found = [stay for stay in self._visits.of(call) if stay.queue == queue and stay.state == TALKING]
        else:
            found = [stay for stay in self._visits.unfinished(TALKING) if stay.queue == queue]
            interface = fields.get("Interface", "")
            found = [each for each in found if leg and each.more.get("leg") == leg] or [
                each for each in found if interface and each.more.get("interface") == interface
            ]
        found = [stay for stay in found if "done" not in stay.more]
        best = min(
            found,
            key=lambda stay: (
                bool(leg) and stay.more.get("leg") != leg,
                stay.more.get("member") != member,
                abs(stay.answered - answered),
            ),
            default=None,
        )
        if best is None or (leg and best.more.get("leg") == leg):
            return best
        if "TalkTime" in fields and abs(best.answered - answered) > _OTHER_TALK:
            self._visits.forget(best)  # its end was missed, and so was the beginning of this one
            return None
        return best

    def _rebuilt(
        self, at: int, talk: int, fields: Mapping[str, str], queue: str, name: str, member: str, out: Out
    ) -> Stay | None:
        """A talk whose beginning was missed, from the durations of its completion; None where it cannot be."""
        call = fields.get("Uniqueid", "")
        if not call:
            raise Unreadable("missing_field", "it ends a call that it does not name, and none fits")
        for stay in self._visits.of(call):
            if stay.queue == queue and (stay.more.get("done") == at or stay.ended == at):
                out.ignore("repeated")
                return None
        answered = at - talk
        stay_or_none = self._visits.last(call, queue, WAITING)
        if stay_or_none is None:
            began = answered - SECOND * whole(fields, "HoldTime", 0)
            stay_or_none = self._visits.enter(out, began, call, queue, name, caller_of(fields))
        stay = stay_or_none
        self._visits.answer(out, max(answered, stay.queued), stay, self._composer.agent(member))
        stay.more = {"interface": fields.get("Interface", ""), "member": member, "leg": fields.get("DestUniqueid", "")}
        return stay

    def _transfer(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """The agent's or the caller's side of a transfer is one of ours; AgentComplete tells when the talk ends."""
        if fields.get("Result", "Success") != "Success":
            out.ignore("no_meaning")
            return
        legs = {
            fields.get(each, "")
            for each in ("TransfererUniqueid", "OrigTransfererUniqueid", "SecondTransfererUniqueid")
        } - {""}
        callers = {fields.get(each, "") for each in ("TransfereeUniqueid", "TransferTargetUniqueid")} - {""}
        found = [stay for call in callers for stay in self._visits.of(call) if stay.state == TALKING]
        exact = [stay for stay in found if stay.more.get("leg") in legs]
        if not found:
            exact = [stay for stay in self._visits.unfinished(TALKING) if stay.more.get("leg") in legs]
        for stay in exact or found:
            stay.more["transferred"] = True
        if not (exact or found):
            out.ignore("no_meaning")

    def _hold_on(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """Some channel puts its other end on hold, or takes it off; few of them are agents on our calls."""
        stay = self._visits.talk_on(needed(fields, "Uniqueid"))
        if stay is None or "done" in stay.more:
            out.ignore("no_meaning")
        else:
            self._visits.hold(out, at, stay, held=fields["Event"] == "Hold")

    # -------------------------------------------------------------------------------------------------------- all of it

    def _list(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """The end of the answer to QueueStatus, which is as of now."""
        at = received + self._offset
        self.newest = max(self.newest, at)
        held = {(call, queue, visit) for _, call, queue, visit, _ in self._held}
        self._lists.complete(at, fields, self._before, held, out)

    def _booted(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """Asterisk has started since it was last heard: nothing that was open then is still there."""
        uptime = SECOND * whole(fields, "Uptime", 0)
        if "Uptime" not in fields or not self._lost or received - uptime < self._lost + _RESTARTED:
            out.ignore("no_meaning")
            return
        self._decide(received, out)
        self._died(self._lost, at, out)
        self._members.forget_offers()
        self._held.clear()

    # ----------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> dict[str, Any]:
        """All calls that may go on, all members, and what is held back."""
        return super().memory() | {
            "gap": self._lists.gap,
            **self._members.memory(),
            "held": list(self._held),
            "dialled": dict(self._dialled),
            **self._lists.memory(),
        }

    def _recall(self, memory: Any) -> None:
        super()._recall(memory)
        self._members.recall(memory)
        self._held = [(when, call, queue, visit, how) for when, call, queue, visit, how in memory["held"]]
        self._dialled = dict(memory["dialled"])
        self._lists.recall(memory)
