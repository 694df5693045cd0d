"""What Amazon Connect's contacts tell of waiting, as one story of a chain of contacts.

A transfer, an overflow and a queued callback make a new contact each, which names the one before; a visit is a contact in a
queue.  No event says that somebody hung up: who has left a queue, and no agent took him, is abandoned once no following contact
can come any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.stories import Fact, Record, Said

__all__ = ["Contacts"]

_NO_WAIT: Final = frozenset({"OUTBOUND", "EXTERNAL_OUTBOUND", "MONITOR", "AGENT_REPLY", "FLOW"})
"""How contacts begin that nobody waits in, though they name a queue."""
_VIA: Final = {"TRANSFER": "transfer", "QUEUE_TRANSFER": "overflow", "CALLBACK": "callback", "API": "api"}
_LEFT_BY: Final = ("CALLBACK", "callback"), ("QUEUE_TRANSFER", "overflow"), ("TRANSFER", "transfer")
"""Why a contact left its queue, by how the one that follows began; the first that fits."""
_NO_FOLLOWER: Final = frozenset({"DISCONNECT", "MONITOR"})
"""How contacts begin that follow one but take nobody out of a queue."""
_TAKEN_OUT: Final = frozenset({"CONTACT_FLOW_DISCONNECT", "API", "EXPIRED", "SYSTEM_ERROR", "TRANSFERRED"})
"""Reasons of a disconnect that is no hang-up of the caller's."""
_ENDED_BY: Final = {
    "CUSTOMER_DISCONNECT": "caller",
    "AGENT_DISCONNECT": "agent",
    "AGENT_COMPLETED": "agent",
    "THIRD_PARTY_DISCONNECT": "transfer",
    "TRANSFERRED": "transfer",
    "TELECOM_PROBLEM": "system",
    "BARGED": "system",
    "CONTACT_FLOW_DISCONNECT": "system",
    "API": "system",
    "EXPIRED": "system",
    "AGENT_NETWORK_DISCONNECT": "system",
    "IDLE_DISCONNECT": "system",
    "SYSTEM_ERROR": "system",
}
_DECLINED: Final = {"MISSED": "no_answer", "REJECTED": "rejected"}
_RINGING: Final = frozenset({"INCOMING", "CONNECTING"})
_UNKNOWN_AGENT: Final = "unknown"
_NEAR: Final = 2_000_000
"""What one event leads to is told within so many microseconds of it."""


class _Contact:
    """All that is known of a contact."""

    __slots__ = (
        "answers",
        "before",
        "channel",
        "completed",
        "following",
        "held",
        "left",
        "method",
        "moved",
        "out",
        "queues",
        "states",
        "why",
        "wrapped",
        "wrapping",
    )

    def __init__(self) -> None:
        self.queues: dict[str, int] = {}
        """When it came into a queue first."""
        self.answers: dict[str, int] = {}
        """When an agent took it first; "" where nobody says who."""
        self.before = self.method = self.channel = self.why = self.following = ""
        self.left: int | None = None
        self.wrapping: int | None = None
        """When the agent's after-call work began; he may leave a contact that goes on without him."""
        self.wrapped: int | None = None
        self.held = 0
        """Microseconds on hold, as its record has them."""
        self.completed = self.out = False
        self.moved: int | None = None
        """When he was connected with a number outside; the contact ends as that call does."""
        self.states: list[tuple[int, str, str]] = []
        """What it was with an agent: (since, state, agent)."""

    def learn(self, fields: Mapping[str, Any]) -> None:
        """Take in a record."""
        self.before = self.before or fields.get("p", "")
        self.method = self.method or fields.get("m", "")
        self.channel = self.channel or fields.get("ch", "")
        self.why = self.why or fields.get("why", "")
        self.following = self.following or fields.get("n", "")
        self.completed = self.completed or "done" in fields
        self.out = self.out or "x" in fields
        self.moved = _least(self.moved, fields.get("o"))
        self.held = max(self.held, fields.get("h", 0))
        queue, entered, answered = fields.get("q"), fields.get("e"), fields.get("s")
        if queue is not None and entered is not None:
            self.queues[queue] = min(entered, self.queues.get(queue, entered))
        if answered is not None:
            agent = fields.get("a", "")
            self.answers[agent] = min(answered, self.answers.get(agent, answered))
        left = fields.get("d")
        if "st" in fields:
            self.states.append((fields["t"], fields["st"], fields["a"]))
            if fields["st"] == "ENDED" and answered is not None:
                self.wrapping = _least(self.wrapping, fields["t"])
            elif fields["st"] == "GONE":
                self.wrapped = _least(self.wrapped, fields["t"])
        self.left = _least(self.left, left)
        self.wrapping = _least(self.wrapping, fields.get("b"))
        self.wrapped = _least(self.wrapped, fields.get("w"))

    @property
    def entered(self) -> int | None:
        """When it came into its first queue."""
        return min(self.queues.values(), default=None)

    def answer(self) -> tuple[int, str] | None:
        """When it was answered first, and by whom; "" where nobody says."""
        if not self.answers:
            return None
        at, agent = min((at, agent) for agent, at in self.answers.items() if agent or len(self.answers) == 1)
        return min(at, *self.answers.values()), agent


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


class Contacts:
    """Tells stories of contacts.

    :param sure: microseconds after a contact has left its queue in which a following one may become known.
    :param agent_queues: whether agents' own queues count as queues.
    """

    def __init__(self, composer: Composer, sure: int, *, agent_queues: bool) -> None:
        self._composer = composer
        self._sure = sure
        self._agent_queues = agent_queues

    def tell(self, records: Sequence[Record], said: Said) -> Iterator[Fact]:
        """What the records of a chain of contacts say, all together.  Raises Unreadable."""
        contacts: dict[str, _Contact] = {}
        for record in records:
            contacts.setdefault(record.fields["c"], _Contact()).learn(record.fields)
        for name, contact in contacts.items():
            if contact.method not in _NO_WAIT:
                yield from self._tell(name, contact, contacts)

    def _tell(self, name: str, contact: _Contact, contacts: Mapping[str, _Contact]) -> Iterator[Fact]:
        stays = sorted((at, queue) for queue, at in contact.queues.items() if self._counts(queue))
        for number, (entered, queue) in enumerate(stays):
            stay = f"{name}/{queue}"
            if number + 1 < len(stays):
                yield self._queued(name, contact, stay, queue, entered, contacts)
                following, to = stays[number + 1]
                yield Fact(stay, name, queue, "diverted", following, self._left_for("overflow", to))
                continue
            answer = contact.answer()
            begun = entered if answer is None else min(entered, answer[0])
            yield self._queued(name, contact, stay, queue, begun, contacts)
            yield from self._offered(name, contact, stay, queue, begun)
            if answer is not None:
                yield from self._talked(name, contact, stay, queue, answer, contacts)
            elif contact.left is not None:
                yield self._gone(name, contact, stay, queue, max(contact.left, begun), contacts)

    def _counts(self, queue: str) -> bool:
        return self._agent_queues or not queue.startswith("agent/")

    def _queued(
        self, name: str, contact: _Contact, stay: str, queue: str, at: int, contacts: Mapping[str, _Contact]
    ) -> Fact:
        callback = contact.method == "CALLBACK"
        data: dict[str, Any] = {}
        channel = "callback" if callback else contact.channel or "voice"
        if channel != "voice":
            data["channel"] = channel
        if contact.method in _VIA:
            data["via"] = _VIA[contact.method]
        before = contacts.get(contact.before)
        if before is not None and (entered := before.entered) is not None and entered < at:
            from_queue = self._composer.queue(max(before.queues, key=lambda each: (before.queues[each], each)))
            if from_queue is not None:
                data["from_queue"] = from_queue
            if not callback:  # whoever is called back does not wait meanwhile
                first = min(each.entered for each in contacts.values() if each.entered is not None)
                data["entered"] = moment(first)
        return Fact(stay, name, queue, "queued", at, data)

    def _offered(self, name: str, contact: _Contact, stay: str, queue: str, entered: int) -> Iterator[Fact]:
        for since, state, agent in contact.states:
            data = {"agent": self._composer.agent(agent)}
            at, which = max(since, entered), f"{agent}/{since}"
            if state in _RINGING:
                yield Fact(stay, name, queue, "ringing", at, data, which)
            elif state in _DECLINED and not self._composer.ignores_agent(agent):
                sure = 0
                if state == "REJECTED":  # Amazon says so too where the caller hangs up while it rings
                    if contact.left is not None and abs(contact.left - since) <= _NEAR:
                        continue
                    sure = since + self._sure
                yield Fact(stay, name, queue, "declined", at, data | {"reason": _DECLINED[state]}, which, sure)

    def _talked(
        self,
        name: str,
        contact: _Contact,
        stay: str,
        queue: str,
        answer: tuple[int, str],
        contacts: Mapping[str, _Contact],
    ) -> Iterator[Fact]:
        at, agent = answer
        data = {"agent": self._composer.agent(agent or _UNKNOWN_AGENT)}
        yield Fact(stay, name, queue, "answered", at, data, agent, sure=0 if agent else at + self._sure)
        for since, state, who in contact.states:
            if since > at and state in ("CONNECTED", "CONNECTED_ONHOLD"):
                kind = "held" if state == "CONNECTED_ONHOLD" else "resumed"
                yield Fact(stay, name, queue, kind, since, {"agent": self._composer.agent(who)}, f"{who}/{since}")
        over = _least(contact.left, contact.wrapping)
        if over is None:
            return
        ended = max(over, at)
        if contact.held and not contact.states:  # how long is known and not when: it is told as the end of the talk
            since = max(at, ended - contact.held)
            yield Fact(stay, name, queue, "held", since, data, "record", sure=ended + self._sure)
        by, to = _ENDED_BY.get(contact.why), ""
        if contact.left is not None and ended + _NEAR < contact.left:
            by = "transfer"  # the contact goes on without him, and how it ends at last says nothing of his talk
        if by in (None, "transfer"):
            to = next(
                (follower for follower, each in _followers(name, contact, contacts) if each.method == "TRANSFER"), ""
            )
            by = "transfer" if to else by
        told = data if by is None else data | {"by": by}
        yield Fact(stay, name, queue, "ended", ended, told | self._to(contacts.get(to)))
        if contact.wrapped is not None:
            yield Fact(stay, name, queue, "wrapped", max(contact.wrapped, ended), data)
        elif contact.completed:  # it names no after-call work, so there was none
            yield Fact(stay, name, queue, "wrapped", ended, data, sure=ended + self._sure)

    def _gone(
        self, name: str, contact: _Contact, stay: str, queue: str, at: int, contacts: Mapping[str, _Contact]
    ) -> Fact:
        sure = at + self._sure
        followers = list(_followers(name, contact, contacts))
        for method, reason in _LEFT_BY:
            found = next((each for _, each in followers if each.method == method), None)
            if found is not None:
                return Fact(stay, name, queue, "diverted", at, {"reason": reason} | self._to(found))
        if contact.out:
            moved = at if contact.moved is None else min(at, max(contact.moved, contact.entered or 0))
            return Fact(stay, name, queue, "diverted", moved, {"reason": "transfer"})
        if followers or (contact.following and contact.following not in contacts):
            return Fact(stay, name, queue, "diverted", at, {"reason": "elsewhere"}, sure=sure)
        if contact.method == "CALLBACK" or contact.why in _TAKEN_OUT:
            return Fact(stay, name, queue, "diverted", at, {"reason": "withdrawn"}, sure=sure)
        return Fact(stay, name, queue, "abandoned", at, {}, sure=sure)

    def _to(self, contact: _Contact | None) -> dict[str, Any]:
        """Where a contact goes that is followed by this one, where that is known."""
        if contact is None or not contact.queues:
            return {}
        queue = self._composer.queue(min(contact.queues, key=lambda each: (contact.queues[each], each)))
        return {} if queue is None else {"to_queue": queue}

    def _left_for(self, reason: str, queue: str) -> dict[str, Any]:
        to = self._composer.queue(queue)
        return {"reason": reason} if to is None else {"reason": reason, "to_queue": to}


def _followers(name: str, contact: _Contact, contacts: Mapping[str, _Contact]) -> Iterator[tuple[str, _Contact]]:
    """The contacts that take a contact's caller on; nobody goes on as a task that a flow or an agent makes meanwhile."""
    for other, each in contacts.items():
        if each.channel == "task" and contact.channel != "task":
            continue
        if (each.before == name or contact.following == other) and other != name and each.method not in _NO_FOLLOWER:
            yield other, each
