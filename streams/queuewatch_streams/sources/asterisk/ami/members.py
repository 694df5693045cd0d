"""What members of queues do, over all their queues and phones: a name may be a member of many queues, by several interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from queuewatch_streams.sources.asterisk.ami.messages import needed, whole
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.heard import SECOND
from queuewatch_streams.sources.shape import Out
from queuewatch_streams.sources.visits import WAITING, AgentsTold, Stay, Visits

__all__ = ["MOST_MEMBERS", "Member", "Members"]

MOST_MEMBERS: Final = 20_000

_IDLE: Final = "1"
_IN_USE, _HELD, _RINGING, _GONE = ("2", "3", "7"), "8", "6", ("4", "5")
_BUSY: Final = frozenset({*_IN_USE, _HELD, _RINGING})


class Member:
    """A member of one queue, as Asterisk said last."""

    __slots__ = ("in_call", "last_call", "name", "paused", "reason", "status", "wrap")

    def __init__(self, name: str, status: str, paused: bool, reason: str, in_call: bool, last_call: int, wrap: int):
        self.name = name
        self.status = status
        """Of his phone, as Asterisk numbers it."""
        self.paused = paused
        self.reason = reason
        self.in_call = in_call
        self.last_call = last_call
        """When his last talk ended, to the second."""
        self.wrap = wrap
        """After-call work that the queue grants, microseconds."""

    @property
    def busy(self) -> bool:
        """Whether his phone is in use or rings."""
        return self.status in _BUSY


_KEPT: Final = ("name", "status", "paused", "reason", "in_call", "last_call", "wrap")


class Members:
    """The members of all queues.  A name is the vendor's; all that says something raises Unreadable."""

    def __init__(self, composer: Composer, visits: Visits, told: AgentsTold) -> None:
        self._composer = composer
        self._visits = visits
        self._told = told
        self._members: dict[tuple[str, str], Member] = {}
        """By queue and interface."""
        self._keys: dict[str, dict[tuple[str, str], None]] = {}
        """By name: where a member is one."""
        self._offered: dict[str, tuple[str, str]] = {}
        """By name: call and queue that ring at him."""

    # ----------------------------------------------------------------------------------------------------- their events

    def change(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """QueueMemberStatus and its like: one is added, pauses, or his phone does something."""
        queue, interface, member = self.read(fields)
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return
        before = self._without(queue, interface)
        self._add(queue, interface, member)
        if before is not None and (before.status == _IDLE) != (member.status == _IDLE):
            for stay in self._talks(member.name):
                if member.status == _IDLE:
                    stay.more.setdefault("idle", at)
                else:
                    stay.more.pop("idle", None)
        if before is not None and before.name != member.name:
            self.tell(at, before.name, out)
        self.tell(at, member.name, out)

    def remove(self, at: int, received: int, fields: Mapping[str, str], out: Out) -> None:
        """QueueMemberRemoved."""
        queue, interface, member = self.read(fields)
        if self._composer.queue(queue) is None:
            out.ignore("queue")
            return
        before = self._without(queue, interface)
        self.tell(at, member.name if before is None else before.name, out)

    def read(self, fields: Mapping[str, str]) -> tuple[str, str, Member]:
        """Queue, interface and member of an event or a row.  Raises Unreadable."""
        interface = fields.get("Interface") or needed(fields, "Location")
        name = fields.get("MemberName") or fields.get("Name") or interface
        self._composer.agent(name)
        return (
            needed(fields, "Queue"),
            interface,
            Member(
                name,
                fields.get("Status", "0"),
                fields.get("Paused") == "1",
                fields.get("PausedReason", ""),
                fields.get("InCall") == "1",
                SECOND * whole(fields, "LastCall", 0),
                SECOND * whole(fields, "Wrapuptime", 0),
            ),
        )

    def _add(self, queue: str, interface: str, member: Member) -> None:
        self._members[queue, interface] = member
        self._keys.setdefault(member.name, {})[queue, interface] = None
        if len(self._members) > MOST_MEMBERS:
            self._without(*next(iter(self._members)))

    def _without(self, queue: str, interface: str) -> Member | None:
        member = self._members.pop((queue, interface), None)
        if member is not None:
            keys = self._keys[member.name]
            del keys[queue, interface]
            if not keys:
                del self._keys[member.name]
        return member

    # ------------------------------------------------------------------------------------------------------ their calls

    def in_talk(self, stay: Stay) -> Member | None:
        """The member who talks in a stay; None where he is none any more."""
        return self._members.get((stay.queue, stay.more.get("interface", "")))

    def queues_of_busy(self, interfaces: set[str]) -> set[str]:
        """The queues, by the vendor's ids, whose members are on some call, but for those of these interfaces."""
        return {
            queue
            for (queue, interface), member in self._members.items()
            if (member.in_call or member.busy) and interface not in interfaces
        }

    def ring(self, at: int, name: str, stay: Stay, out: Out) -> None:
        """A caller is offered to him."""
        self._offered[name] = (stay.call, stay.queue)
        if len(self._offered) > MOST_MEMBERS:
            del self._offered[next(iter(self._offered))]
        self.tell(at, name, out)

    def ring_no_more(self, name: str) -> None:
        """The offer to him is over; what he does now is told next."""
        self._offered.pop(name, None)

    def stop_ringing(self, stay: Stay, at: int, out: Out) -> None:
        """A caller is offered to nobody any more."""
        over = [member for member, offer in self._offered.items() if offer == (stay.call, stay.queue)]
        for member in over:
            del self._offered[member]
        for member in over:
            self.tell_if_idle(at, member, out)

    def forget_offers(self) -> None:
        """It rings nowhere: Asterisk has started anew."""
        self._offered.clear()

    # ------------------------------------------------------------------------------------------------------------- told

    def tell_if_idle(self, at: int, name: str, out: Out) -> None:
        """Tell of a member whose phone is not in use; where it is, its next state comes in a moment, and tells more."""
        if not any(self._members[key].busy for key in self._keys.get(name, ())):
            self.tell(at, name, out)

    def tell_known(self, at: int, who: str, out: Out) -> None:
        """Tell of an agent who is known by his stable name only."""
        for name in list(self._keys):
            if self._composer.agent(name) == who:
                self.tell(at, name, out)

    def tell(self, at: int, name: str, out: Out) -> None:
        """What a member does now, where that is news."""
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

    def _talks(self, name: str) -> list[Stay]:
        who = self._composer.agent(name)
        return [stay for stay in self._visits.talks(who) if "done" not in stay.more]

    # -------------------------------------------------------------------------------------------------- as a list has it

    def replace(self, listed: Mapping[tuple[str, str], Member]) -> Iterable[str]:
        """These are all members there are, by queue and interface.  The names of whom `tell_listed` has to tell now."""
        gone = [each.name for key, each in self._members.items() if key not in listed]
        self._members, self._keys = {}, {}
        for (queue, interface), member in listed.items():
            self._add(queue, interface, member)
        return dict.fromkeys([*gone, *(each.name for each in listed.values())])

    def tell_listed(self, at: int, name: str, out: Out) -> None:
        """Tell of a member; a list may show that his phone has stopped ringing, though no event told."""
        offer = self._offered.get(name)
        if offer is not None and self._visits.last(*offer, WAITING) is None:
            del self._offered[name]
        self.tell(at, name, out)

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs."""
        return {
            "members": [[*key, *(getattr(each, kept) for kept in _KEPT)] for key, each in self._members.items()],
            "offered": dict(self._offered),
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        for queue, interface, *kept in memory["members"]:
            self._add(queue, interface, Member(*kept))
        self._offered = {member: (call, queue) for member, (call, queue) in memory["offered"].items()}
