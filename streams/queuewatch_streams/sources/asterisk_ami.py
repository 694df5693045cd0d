"""What the events of Asterisk's manager interface (AMI) mean; docs/sources/asterisk-ami.md says it for operators.

A record is one message with the moment at which it was received.  Three things make AMI harder than it looks:

- QueueCallerAbandon only says "left unanswered".  Whether the caller hung up, was let go or was moved away is told by the
  place in the dialplan at which the caller is then, and by the variable QUEUESTATUS a moment later.  So a caller who left from
  where he stood is held back for a quarter of a second.
- A refused caller is in no queue event at all; only QUEUESTATUS tells, and Newexten which queue it was.
- The answer to QueueStatus is the truth about who waits and what members do, but it comes between the events.  What it alone
  tells is believed only once it is older than any event that may still be on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.heard import NEVER, OLD, SECOND, Hearing
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import TALKING, WAITING, Stay

__all__ = ["GREETING", "UNKNOWN_QUEUE", "Ami", "Message", "fields_of", "messages_of"]

Message = tuple[int, Mapping[str, str]]
"""When it was received (microseconds since the epoch), and its fields; of a field that stands twice the first."""
GREETING: Final = "Greeting"
"""The field that holds the first line of a connection: what was missed before it, nobody knows."""
UNKNOWN_QUEUE: Final = "unknown"
"""The vendor's id, for `map.queues` and `ignore.queues`, of the queue of a refusal where no Newexten told it."""

SETTLED: Final = SECOND // 4
"""After so long without a word why he left, a caller who left from where he stood has hung up."""
LEAVING: Final = 60 * SECOND
"""An announcement to the agent lasts no longer: so long a caller may be on no list, though he is not answered."""
OTHER_TALK: Final = 5 * SECOND
"""A completion of a talk that began so much earlier or later, on another channel, is not of this talk."""
RESTARTED: Final = 5 * SECOND
"""Asterisk's uptime is in whole seconds, and it takes a moment to boot."""
MOST_MEMBERS: Final = 20_000
MOST_ROWS: Final = 200_000
MOST_DIALLED: Final = 5_000

_REFUSED: Final = {"FULL": "full", "JOINEMPTY": "no_agents", "JOINUNAVAIL": "no_agents"}
_LEFT: Final = {"TIMEOUT": "timeout", "LEAVEEMPTY": "no_agents", "LEAVEUNAVAIL": "no_agents", "WITHDRAW": "withdrawn"}
_BY: Final = {"agent": "agent", "caller": "caller", "transfer": "transfer"}
_IN_USE, _HELD, _RINGING, _GONE = ("2", "3", "7"), "8", "6", ("4", "5")
_BUSY: Final = frozenset({*_IN_USE, _HELD, _RINGING})
_LIST_ROWS: Final = frozenset({"QueueParams", "QueueMember", "QueueEntry"})
_NO_MEANING: Final = frozenset(
    {
        *("QueueSummary", "QueueSummaryComplete", "AgentDump", "QueueCallerPosition", "Shutdown", "Reload"),
        *("Hangup", "Newchannel", "Newstate", "SuccessfulAuth", "ChallengeSent", "AgentRingCanceled", "FailedACL"),
    }
)


class _Member:
    """A member of one queue, as Asterisk said last."""

    __slots__ = ("in_call", "last_call", "name", "paused", "reason", "status", "wrap")

    def __init__(self, name: str, status: str, paused: bool, reason: str, in_call: bool, last_call: int, wrap: int):
        self.name = name
        self.status = status
        self.paused = paused
        self.reason = reason
        self.in_call = in_call
        self.last_call = last_call
        self.wrap = wrap


_KEPT: Final = ("name", "status", "paused", "reason", "in_call", "last_call", "wrap")


class Ami(Hearing):
    """The translator of AMI messages."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        super().__init__(composer)
        self._members: dict[tuple[str, str], _Member] = {}
        """By queue and interface."""
        self._keys: dict[str, dict[tuple[str, str], None]] = {}
        """By name: where a member is one."""
        self._offered: dict[str, tuple[str, str]] = {}
        """By member: call and queue that ring at him."""
        self._held: list[tuple[int, str, str, int, str]] = []
        """What is decided later: (when, call, queue, visit, how); soonest first."""
        self._dialled: dict[str, str] = {}
        """By call: the queue that the dialplan has sent it to."""
        self._rows: dict[str, list[dict[str, str]]] = {}
        """Lists that are not complete yet, by ActionID."""
        self._unannounced: dict[str, list[int]] = {}
        """Callers who stood on the last list, though no event has told of them: how many lists, and since when."""
        self._gap = True
        """Nothing is known of what happened before the next list."""
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
                ("QueueMemberStatus", "QueueMemberPause", "QueueMemberPaused", "QueueMemberAdded"), self._member
            ),
            **dict.fromkeys(("QueueMemberPenalty", "QueueMemberRinginuse"), self._member),
            "QueueMemberRemoved": self._removed,
            "QueueStatusComplete": self._list,
            "FullyBooted": self._booted,
        }
        if memory is not None:
            self._recall(memory)

    # ----------------------------------------------------------------------------------------------------- the records

    def translate(self, record: Message, out: Out) -> None:
        """Say what a message means."""
        try:
            received, fields = _checked(record)
            self._decide(received, out)
            event = fields.get("Event")
            if event in _LIST_ROWS:
                self._row(fields, out)
            elif GREETING in fields:
                self._gap = True
                self._connected()
                self._rows.clear()
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
        if stamp := fields.get("Timestamp"):
            at = _stamp(stamp)
            self._offset = at - received
        handler(at, received, fields, out)
        self.newest = max(self.newest, at)

    # ------------------------------------------------------------------------------------------------ callers who wait

    def _join(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        call, queue = _needed(fields, "Uniqueid"), _needed(fields, "Queue")
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        self._dialled.pop(call, None)
        self._unannounced.pop(f"{call}\0{queue}", None)
        for stay in self._visits.of(call):
            if stay.state != WAITING:
                continue
            if stay.queue == queue and abs(stay.queued - at) < OLD:
                if stay.more.get("listed"):  # only now is it known where he stands
                    stay.more = {"place": _place(fields)}
                out.ignore("repeated")
                return
            if "left" in stay.more:  # he went on to another queue, so he has not hung up
                self._settle(stay, "overflow", out)
            else:
                self._visits.forget(stay)
        stay = self._visits.enter(out, at, call, queue, name, _caller(fields))
        stay.more["place"] = _place(fields)

    def _leave(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay = self._waiting(fields, out)
        if stay is None:
            return
        more = stay.more
        more["left"] = at
        self._stop_ringing(stay, at, out)
        known, place = more.get("place", ""), _place(fields)
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
        call, value = _needed(fields, "Uniqueid"), fields.get("Value", "")
        if value in _REFUSED:
            queue = self._dialled.pop(call, UNKNOWN_QUEUE)
            name = self._composer.queue(queue)
            if name is None:
                out.ignore("queue")
                return
            self._visits.refuse(out, at, call, queue, name, _REFUSED[value], _caller(fields))
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
        call, queue = _needed(fields, "Uniqueid"), fields.get("AppData", "").split(",")[0].strip()
        self._dialled.pop(call, None)
        self._dialled[call] = queue or UNKNOWN_QUEUE
        if len(self._dialled) > MOST_DIALLED:
            del self._dialled[next(iter(self._dialled))]

    def _waiting(self, fields: Mapping[str, str], out: Out) -> Stay | None:
        """The stay that a caller's event is about; None where there is none that could go on."""
        call, queue = _needed(fields, "Uniqueid"), _needed(fields, "Queue")
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return None
        stay = self._visits.last(call, queue, WAITING)
        if stay is None:  # over, or it began while nobody listened: then its length is not told either
            out.ignore("repeated" if self._visits.of(call) else "before_start")
        return stay

    # ---------------------------------------------------------------------------------------------- what is held back

    def _hold(self, received: int, stay: Stay, how: str) -> None:
        self._held.append((received + SETTLED, stay.call, stay.queue, stay.visit, how))
        self._held.sort()

    def _decide(self, until: int, out: Out) -> None:
        while self._held and self._held[0][0] <= until:
            _, call, queue, visit, how = self._held.pop(0)
            for stay in self._visits.of(call):
                if stay.queue == queue and stay.visit == visit and stay.state in (WAITING, TALKING):
                    try:
                        self._settle(stay, how, out)
                    except Unreadable as why:
                        out.refuse(why.reason, str(why))
        for at, who in self._visits.end_wraps(until + self._offset, out):
            self._tell_known(at, who, out)

    def _settle(self, stay: Stay, how: str, out: Out) -> None:
        """Say how a wait or a talk ended that is over already."""
        if stay.state == TALKING:
            self._end_talk(stay, stay.more["done"], how, out)
        elif how == "abandoned":
            self._visits.abandon(out, stay.more["left"], stay)
        else:
            self._visits.divert(out, stay.more["left"], stay, how)

    # ---------------------------------------------------------------------------------------------- agents on the call

    def _called(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay, member = self._waiting(fields, out), _agent(fields)
        if stay is None:
            return
        self._visits.ring(out, at, stay, self._composer.agent(member))
        self._offered[member] = (stay.call, stay.queue)
        if len(self._offered) > MOST_MEMBERS:
            del self._offered[next(iter(self._offered))]
        self._tell(at, member, out)

    def _no_answer(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        stay, member = self._waiting(fields, out), _agent(fields)
        self._offered.pop(member, None)
        if stay is not None:
            busy = _whole(fields, "RingTime", 0) == 0  # it did not ring at all; milliseconds here, seconds elsewhere
            self._visits.decline(out, at, stay, self._composer.agent(member), "busy" if busy else "no_answer")
        self._tell(at, member, out)

    def _connect(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        call, queue, member = _needed(fields, "Uniqueid"), _needed(fields, "Queue"), _agent(fields)
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
            began = at - SECOND * _whole(fields, "HoldTime", 0)  # it was missed
            stay = self._visits.enter(out, began, call, queue, name, _caller(fields))
        self._visits.answer(out, max(at, stay.queued), stay, who)
        stay.more = {
            "place": _place(fields),
            "leg": fields.get("DestUniqueid", ""),
            "interface": fields.get("Interface", ""),
            "member": member,
        }
        self._stop_ringing(stay, at, out)
        self._tell(at, member, out)

    def _complete(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        queue, member = _needed(fields, "Queue"), _agent(fields)
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        talk = SECOND * _whole(fields, "TalkTime", 0)
        stay = self._talking(fields, queue, member, at - talk)
        if stay is None:
            stay = self._rebuilt(at, talk, fields, queue, name, member, out)
            if stay is None:
                return
        more = stay.more
        place = _place(fields)
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
        self._tell_if_idle(at, member, out)

    def _end_talk(self, stay: Stay, at: int, by: str, out: Out) -> None:
        self._visits.end(out, at, stay, "transfer" if stay.more.get("transferred") else by)
        member = self._members.get((stay.queue, stay.more.get("interface", "")))
        if member is not None and member.wrap:
            self._visits.wrap(stay, stay.ended + member.wrap)
            self._tell(stay.ended, member.name, out)

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
        if "TalkTime" in fields and abs(best.answered - answered) > OTHER_TALK:
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
            began = answered - SECOND * _whole(fields, "HoldTime", 0)
            stay_or_none = self._visits.enter(out, began, call, queue, name, _caller(fields))
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
        stay = self._visits.talk_on(_needed(fields, "Uniqueid"))
        if stay is None or "done" in stay.more:
            out.ignore("no_meaning")
        else:
            self._visits.hold(out, at, stay, held=fields["Event"] == "Hold")

    # ----------------------------------------------------------------------------------------------------- the members

    def _member(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        queue, interface, member = self._read_member(fields)
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return
        before = self._without(queue, interface)
        self._add(queue, interface, member)
        if before is not None and (before.status == "1") != (member.status == "1"):
            for stay in self._talks(member.name):
                if member.status == "1":
                    stay.more.setdefault("idle", at)
                else:
                    stay.more.pop("idle", None)
        if before is not None and before.name != member.name:
            self._tell(at, before.name, out)
        self._tell(at, member.name, out)

    def _removed(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        queue, interface, member = self._read_member(fields)
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return
        before = self._without(queue, interface)
        self._tell(at, member.name if before is None else before.name, out)

    def _add(self, queue: str, interface: str, member: _Member) -> None:
        self._members[queue, interface] = member
        self._keys.setdefault(member.name, {})[queue, interface] = None
        if len(self._members) > MOST_MEMBERS:
            self._without(*next(iter(self._members)))

    def _without(self, queue: str, interface: str) -> _Member | None:
        member = self._members.pop((queue, interface), None)
        if member is not None:
            keys = self._keys[member.name]
            del keys[queue, interface]
            if not keys:
                del self._keys[member.name]
        return member

    def _read_member(self, fields: Mapping[str, str]) -> tuple[str, str, _Member]:
        interface = fields.get("Interface") or _needed(fields, "Location")
        name = fields.get("MemberName") or fields.get("Name") or interface
        self._composer.agent(name)
        return (
            _needed(fields, "Queue"),
            interface,
            _Member(
                name,
                fields.get("Status", "0"),
                fields.get("Paused") == "1",
                fields.get("PausedReason", ""),
                fields.get("InCall") == "1",
                SECOND * _whole(fields, "LastCall", 0),
                SECOND * _whole(fields, "Wrapuptime", 0),
            ),
        )

    def _talks(self, member: str) -> list[Stay]:
        who = self._composer.agent(member)
        return [stay for stay in self._visits.talks(who) if "done" not in stay.more]

    def _stop_ringing(self, stay: Stay, at: int, out: Out) -> None:
        over = [member for member, offer in self._offered.items() if offer == (stay.call, stay.queue)]
        for member in over:
            del self._offered[member]
        for member in over:
            self._tell_if_idle(at, member, out)

    def _tell_if_idle(self, at: int, name: str, out: Out) -> None:
        """Tell of a member whose phone is not in use; where it is, its next state comes in a moment, and tells more."""
        busy = {*_IN_USE, _HELD, _RINGING}
        if not any(self._members[key].status in busy for key in self._keys.get(name, ())):
            self._tell(at, name, out)

    def _tell_known(self, at: int, who: str, out: Out) -> None:
        """Tell of an agent who is known by his stable name only."""
        for name in list(self._keys):
            if self._composer.agent(name) == who:
                self._tell(at, name, out)

    def _tell(self, at: int, name: str, out: Out) -> None:
        """What a member does now, over all his queues and phones."""
        composer = self._composer
        mine = {key[0]: self._members[key] for key in self._keys.get(name, ())}
        serves = {queue: found for queue in mine if (found := composer.queue(queue)) is not None}
        talks = self._talks(name)
        statuses = {each.status for each in mine.values()}
        on = [stay.name for stay in talks if "idle" not in stay.more]
        reason = ""
        open_to = {queue: found for queue, found in serves.items() if not mine[queue].paused}
        if on:
            state = "held" if _HELD in statuses else "talking"
        elif not mine or statuses <= set(_GONE):
            state = "offline"
        elif name in self._offered or _RINGING in statuses:
            state = "ringing"
        elif statuses & {*_IN_USE, _HELD}:
            state = "busy"
        elif self._visits.wrapping(composer.agent(name)):
            state = "wrap_up"
        elif serves and not open_to:
            reason = next((each.reason for each in mine.values() if each.reason), "")
            state = composer.pause_state(reason)
        else:
            state = "available"
            serves = open_to
        self._told.tell(out, at, name, state, serves.values(), reason=reason, on=on)

    # -------------------------------------------------------------------------------------------------------- the list

    def _row(self, fields: Mapping[str, str], out: Out) -> None:
        rows = self._rows.setdefault(fields.get("ActionID", ""), [])
        if len(rows) >= MOST_ROWS or len(self._rows) > 10:
            self._rows.clear()
            raise Unreadable("too_long", "the answer to QueueStatus does not end")
        rows.append({key: fields[key] for key in _ROW_FIELDS if key in fields})

    def _list(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """All queues, members and waiting callers, as of now."""
        rows = self._rows.pop(fields.get("ActionID", ""), [])
        at = received + self._offset
        self.newest = max(self.newest, at)
        waiting: dict[str, list[tuple[str, int, int]]] = {}
        unannounced: dict[str, list[int]] = {}
        for stay in self._visits.unfinished(WAITING):
            callers = waiting.setdefault(stay.name, [])  # a queue that is gone has nobody
            if at - LEAVING < stay.more.get("left", 0) and not self._visits.ignored(stay):
                callers.append((self._visits.subject(stay), stay.visit, stay.queued))  # nothing was said of it yet
        members: dict[tuple[str, str], _Member] = {}
        for row in rows:
            try:
                self._read_row(at, row, waiting, unannounced, members, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
        self._unannounced = unannounced
        gone = [each.name for key, each in self._members.items() if key not in members]
        self._members, self._keys = {}, {}
        for (queue, interface), member in members.items():
            self._add(queue, interface, member)
        self._gap = self._gap and self._close_missed(at, out)
        self._forget_gone(at, rows)
        for name in dict.fromkeys([*gone, *(each.name for each in members.values())]):
            self._offered_still(name)
            self._tell(at, name, out)
        for queue, callers in waiting.items():
            self._composer.snapshot(out, at, queue, callers)

    def _read_row(
        self,
        at: int,
        row: Mapping[str, str],
        waiting: dict[str, list[tuple[str, int, int]]],
        unannounced: dict[str, list[int]],
        members: dict[tuple[str, str], _Member],
        out: Out,
    ) -> None:
        event, queue = row["Event"], _needed(row, "Queue")
        name = self._composer.queue(queue)
        if name is None:
            return
        if event == "QueueParams":
            waiting.setdefault(name, [])
        elif event == "QueueMember":
            _, interface, member = self._read_member(row)
            if len(members) < MOST_MEMBERS:
                members[queue, interface] = member
        else:
            call = _needed(row, "Uniqueid")
            subject = self._composer.subject(call)
            # Asterisk counts from whole second to whole second.
            since = (at // SECOND - _whole(row, "Wait", 0)) * SECOND
            stay = self._visits.last(call, queue, WAITING)
            if stay is not None and since - stay.queued > SECOND:  # he left and came back while nobody listened
                self._visits.forget(stay)
                stay = None
            if stay is None:
                times, first = self._unannounced.get(f"{call}\0{queue}", [0, since])
                if at - since >= OLD or times:
                    stay = self._visits.enter(out, first, call, queue, name, row.get("CallerIDNum", ""))
                    stay.more["listed"] = True
                else:
                    unannounced[f"{call}\0{queue}"] = [times + 1, first]
            number, since = (self._visits.following(call, name), first) if stay is None else (stay.visit, stay.queued)
            if stay is None or not self._visits.ignored(stay):
                waiting.setdefault(name, []).append((subject, number, since))

    def _offered_still(self, name: str) -> None:
        """A list may show that an agent's phone has stopped ringing, though no event told."""
        offer = self._offered.get(name)
        if offer is not None and self._visits.last(*offer, WAITING) is None:
            del self._offered[name]

    def _close_missed(self, at: int, out: Out) -> bool:
        """Talks that ended while nobody listened: their agents are on no call any more.  Whether some have to be seen again.

        An agent may be on another call by now, and then nothing tells for a while that this one is over.
        """
        again = False
        for stay in self._visits.unfinished(TALKING):
            member, more = self._members.get((stay.queue, stay.more.get("interface", ""))), stay.more
            if stay.answered > self._before or "done" in more:
                continue
            if at - stay.answered < OLD or (member is not None and member.in_call):
                more.setdefault("seen", at)
                more.pop("absent", None)
                again = True
            elif "seen" in more and at - more.setdefault("absent", at) < OLD:
                again = True
            else:
                when = self._before
                if member is not None and stay.answered <= member.last_call <= more.get("seen", at):
                    when = member.last_call
                try:
                    self._visits.end(out, max(when, stay.answered), stay, None)
                except Unreadable as why:
                    out.refuse(why.reason, str(why))
        return again

    def _forget_gone(self, at: int, rows: Iterable[Mapping[str, str]]) -> None:
        """Callers who are on no list, and whom nobody talks to: how they left was missed, and whoever counts gives them up.

        While an agent of the queue is busy with what is not known, it may be with one of them; its end will tell.
        """
        listed = {(row.get("Uniqueid"), row.get("Queue")) for row in rows if row["Event"] == "QueueEntry"}
        known = {stay.more.get("interface", "") for stay in self._visits.unfinished(TALKING)}
        busy = {
            queue
            for (queue, interface), member in self._members.items()
            if (member.in_call or member.status in _BUSY) and interface not in known
        }
        deciding = {(call, queue, visit) for _, call, queue, visit, _ in self._held}
        for stay in self._visits.unfinished(WAITING):
            left = stay.more.get("left", 0)
            leaves = (left > self._before and left > at - LEAVING) or (stay.call, stay.queue, stay.visit) in deciding
            if (stay.call, stay.queue) in listed or stay.queue in busy or leaves:
                stay.more.pop("absent", None)
            elif at - stay.more.setdefault("absent", at) >= OLD:
                self._visits.forget(stay)

    def _booted(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """Asterisk has started since it was last heard: nothing that was open then is still there."""
        uptime = SECOND * _whole(fields, "Uptime", 0)
        if "Uptime" not in fields or not self._lost or received - uptime < self._lost + RESTARTED:
            out.ignore("no_meaning")
            return
        self._decide(received, out)
        self._died(self._lost, at, out)
        self._offered.clear()
        self._held.clear()

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> dict[str, Any]:
        """All calls that may go on, all members, and what is held back."""
        return super().memory() | {
            "gap": self._gap,
            "members": [[*key, *(getattr(each, kept) for kept in _KEPT)] for key, each in self._members.items()],
            "offered": dict(self._offered),
            "held": list(self._held),
            "dialled": dict(self._dialled),
            "rows": {name: list(rows) for name, rows in self._rows.items()},
            "unannounced": dict(self._unannounced),
        }

    def _recall(self, memory: Any) -> None:
        super()._recall(memory)
        self._gap = memory["gap"]
        for queue, interface, *kept in memory["members"]:
            self._add(queue, interface, _Member(*kept))
        self._offered = {member: (call, queue) for member, (call, queue) in memory["offered"].items()}
        self._held = [(when, call, queue, visit, how) for when, call, queue, visit, how in memory["held"]]
        self._dialled = dict(memory["dialled"])
        self._rows = {name: list(rows) for name, rows in memory["rows"].items()}
        self._unannounced = dict(memory["unannounced"])


_ROW_FIELDS: Final = (
    *("Event", "Queue", "Uniqueid", "Wait", "CallerIDNum", "Name", "Location", "Status", "Paused", "PausedReason"),
    *("InCall", "LastCall", "Wrapuptime"),
)


# ----------------------------------------------------------------------------------------------------- fields, recordings


def _checked(record: Message) -> Message:
    """The record itself.  Raises Unreadable where it is none."""
    if len(record) == 2:
        received, fields = record
        if (
            type(received) is int
            and 0 <= received < NEVER
            and isinstance(fields, dict)
            and all(type(value) is str for value in fields.values())
        ):
            return record
    raise Unreadable("unreadable", "it is no message")


def _needed(fields: Mapping[str, str], name: str) -> str:
    found = fields.get(name)
    if not found:
        raise Unreadable("missing_field", f"its {name} is missing")
    return found


def _agent(fields: Mapping[str, str]) -> str:
    return fields.get("MemberName") or _needed(fields, "Interface")


def _caller(fields: Mapping[str, str]) -> str:
    return fields.get("CallerIDNum", "")


def _place(fields: Mapping[str, str]) -> str:
    """Where in the dialplan the caller is; empty where the event does not say."""
    if "Context" not in fields:
        return ""
    return ",".join((fields["Context"], fields.get("Exten", ""), fields.get("Priority", "")))


def _whole(fields: Mapping[str, str], name: str, otherwise: int) -> int:
    """A whole number that is not negative.  Raises Unreadable."""
    text = fields.get(name)
    if not text:
        return otherwise
    if not (text.isdecimal() and text.isascii()) or len(text) > 11:
        raise Unreadable("wrong_field", f"its {name} is no number of seconds")
    return int(text)


def _stamp(text: str) -> int:
    """`1795305008.642533` as microseconds.  Raises Unreadable."""
    whole, _, fraction = text.partition(".")
    if not (text.isascii() and whole.isdecimal() and len(whole) <= 11 and (not fraction or fraction.isdecimal())):
        raise Unreadable("bad_time", "its Timestamp is no time in seconds since 1970")
    return int(whole) * SECOND + int((fraction + "000000")[:6])


def fields_of(lines: Iterable[str]) -> dict[str, str]:
    """The fields of a message from its lines; a line that is no field stands under GREETING where it is a greeting."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
        elif line.startswith("Asterisk Call Manager"):
            fields[GREETING] = line.strip()
    return fields


def messages_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Message]]:
    """A recorded session's messages, each with the number of its first line.

    Two forms are read: what a connection carried, as it is (then every event needs its Timestamp), and with a line
    `@ 1795305008.643274 <` before each message that says when it was received; those that were sent (`>`) are left out.
    """
    block: list[str] = []
    began, received, stamped, heard = 1, 0, 0, True
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("@ "):
            parts = line.split(" ", 3)
            try:
                received = _stamp(parts[1])
            except Unreadable:
                received = 0
            heard, began = len(parts) > 2 and parts[2] == "<", number
        elif line:
            if not block and not received:
                began = number
            block.append(line)
            if len(block) == 1 and line.startswith("Asterisk Call Manager"):  # a greeting has no blank line behind it
                yield began, (received, {GREETING: line})
                block = []
        elif block:
            if heard:
                message = _recorded(received, stamped, block)
                stamped = message[0]
                yield began, message
            block = []
    if block and heard:
        yield began, _recorded(received, stamped, block)


def _recorded(received: int, before: int, block: list[str]) -> Message:
    """A message; where nobody wrote down when it was received, its Timestamp says so, or that of the one before."""
    fields = fields_of(block)
    if not received:
        try:
            received = _stamp(fields["Timestamp"])
        except (KeyError, Unreadable):
            received = before
    return received, fields
