"""Days of Amazon Connect by hand and by chance, with what their maker knows of them.

Seconds count from START.  A day gives what EventBridge, the stream of contact records and the stream of agent events would say.
"""

from __future__ import annotations

import random
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sources.heard import START

INSTANCE = "arn:aws:connect:eu-central-1:111122223333:instance/0a1b2c3d"
QUEUES = ("q-sales", "q-support", "q-returns")
CALLBACKS = "q-callbacks"
AGENTS = ("anna", "bert", "carla", "dan", "eva")


def exact(second: float) -> str:
    """A time as events have it."""
    return datetime.fromtimestamp(START + second // 1, UTC).strftime(
        f"%Y-%m-%dT%H:%M:%S.{round(second * 1000) % 1000:03d}Z"
    )


def whole(second: float) -> str:
    """A time as contact records have it: its fraction is cut off."""
    return datetime.fromtimestamp(START + second // 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


NO_TIME = "1970-01-01T00:00:00.001Z"
"""What Amazon Connect writes where there is no time yet."""


def queue_arn(queue: str) -> str:
    return f"{INSTANCE}/queue/{queue}"


def agent_arn(agent: str) -> str:
    return f"{INSTANCE}/agent/{agent}"


@dataclass
class Contact:
    """A contact and all that happens to it, in seconds; None: it does not."""

    name: str
    method: str = "INBOUND"
    channel: str = "VOICE"
    begun: float = 0
    first: str | None = None
    before: str | None = None
    after: str | None = None
    queue: str | None = None
    queued: float | None = None
    offered: list[tuple[float, str, str]] = field(default_factory=list)
    """Offers that nobody took: when, to whom, and how the contact is called afterwards."""
    agent: str | None = None
    answered: float | None = None
    holds: list[tuple[float, float]] = field(default_factory=list)
    ended: float | None = None
    wrapped: float | None = None
    reason: str | None = "CUSTOMER_DISCONNECT"

    left_by_agent: float | None = None
    """When the agent left it, where it went on without him."""

    def event(self, kind: str, second: float, identity: str) -> dict[str, Any]:
        """An event as EventBridge passes it on: what is known of the contact by then."""
        detail: dict[str, Any] = {
            "eventType": kind,
            "contactId": self.name,
            "channel": self.channel,
            "instanceArn": INSTANCE,
            "initiationMethod": self.method,
            "initiationTimestamp": exact(self.begun),
        }
        if self.first is not None:
            detail |= {"initialContactId": self.first, "previousContactId": self.before}
        if self.queued is not None and second >= self.queued:
            assert self.queue is not None
            kind_of = "AGENT" if self.queue.startswith("agent/") else "STANDARD"
            detail["queueInfo"] = {
                "queueArn": queue_arn(self.queue),
                "queueType": kind_of,
                "enqueueTimestamp": exact(self.queued),
            }
        if self.answered is not None and second >= self.answered:
            assert self.agent is not None
            detail["agentInfo"] = {"agentArn": agent_arn(self.agent), "connectedToAgentTimestamp": exact(self.answered)}
        elif self.queued is not None:
            detail["agentInfo"] = {"connectedToAgentTimestamp": NO_TIME}
        if self.ended is not None and second >= self.ended:
            detail["disconnectTimestamp"] = exact(self.ended)
        if kind == "COMPLETED" and self.has_wrapped():
            detail["agentInfo"] |= {
                "afterContactWorkStartTimestamp": exact(self.left_by_agent or self.ended or 0),
                "afterContactWorkEndTimestamp": exact(self.wrapped or 0),
            }
        return {
            "version": "0",
            "id": identity,
            "detail-type": "Amazon Connect Contact Event",
            "source": "aws.connect",
            "account": "111122223333",
            "time": whole(second),
            "region": "eu-central-1",
            "resources": [f"{INSTANCE}/contact/{self.name}", INSTANCE],
            "detail": detail,
        }

    def events(self, dice: random.Random) -> list[tuple[float, Any]]:
        """Its events, each with when it happened."""
        moments = [("INITIATED", self.begun)]
        if self.method in ("OUTBOUND", "CALLBACK"):
            moments.append(("CONNECTED_TO_SYSTEM", self.begun + 1))
        if self.queued is not None and self.method != "OUTBOUND":
            moments.append(("QUEUED", self.queued))
        if self.answered is not None:
            moments.append(("CONNECTED_TO_AGENT", self.answered))
        if self.ended is not None:
            moments.append(("DISCONNECTED", self.ended))
            moments.append(("COMPLETED", max(self.wrapped or 0, self.ended)))
        return [
            (second, self.event(kind, second, str(uuid.UUID(int=dice.getrandbits(128), version=4))))
            for kind, second in moments
        ]

    def has_wrapped(self) -> bool:
        """Whether the agent had after-call work."""
        over = self.left_by_agent or self.ended
        return self.wrapped is not None and over is not None and self.wrapped > over

    def record(self) -> tuple[float, Any]:
        """Its contact record, with when it is sent."""
        assert self.ended is not None
        done = max(self.ended, self.wrapped or 0)
        told: dict[str, Any] = {
            "AWSAccountId": "111122223333",
            "AWSContactTraceRecordFormatVersion": "2017-03-10",
            "Agent": None,
            "AgentConnectionAttempts": len(self.offered) + (self.agent is not None),
            "Attributes": {"greeting": "Guten Tag, Frau Geheim"},
            "Channel": self.channel,
            "ContactId": self.name,
            "CustomerEndpoint": {"Address": "+390612345", "Type": "TELEPHONE_NUMBER"},
            "DisconnectReason": self.reason,
            "DisconnectTimestamp": whole(self.ended),
            "InitialContactId": self.first,
            "InitiationMethod": self.method,
            "InitiationTimestamp": whole(self.begun),
            "InstanceARN": INSTANCE,
            "LastUpdateTimestamp": whole(done + 5),
            "NextContactId": self.after,
            "PreviousContactId": self.before,
            "Queue": None,
            "TransferCompletedTimestamp": None,
            "TransferredToEndpoint": None,
        }
        if self.queued is not None:
            assert self.queue is not None
            left = self.answered if self.answered is not None else self.ended
            told["Queue"] = {
                "ARN": queue_arn(self.queue),
                "DequeueTimestamp": whole(left),
                "Duration": int(left // 1 - self.queued // 1),
                "EnqueueTimestamp": whole(self.queued),
                "Name": "a name",
            }
        if self.answered is not None:
            assert self.agent is not None
            told["Agent"] = {
                "ARN": agent_arn(self.agent),
                "ConnectedToAgentTimestamp": whole(self.answered),
                "AgentInteractionDuration": int(self.ended - self.answered),
                "CustomerHoldDuration": int(sum(end - begin for begin, end in self.holds)),  # whole seconds
                "NumberOfHolds": len(self.holds),
                "Username": "anna.geheim",
            }
            if self.wrapped is not None and self.has_wrapped():
                told["Agent"] |= {
                    "AfterContactWorkStartTimestamp": whole(self.left_by_agent or self.ended),
                    "AfterContactWorkEndTimestamp": whole(self.wrapped),
                }
        return done + 5, told

    def state(self, second: float) -> tuple[str, float] | None:
        """What it is with its agent at a time, and since when."""
        if self.answered is None or self.ended is None or second < self.answered:
            return None
        if second >= max(self.ended, self.wrapped or 0):
            return None
        if second >= self.ended:
            return "ENDED", self.ended
        since, name = self.answered, "CONNECTED"
        for begin, end in self.holds:
            if begin <= second:
                since, name = begin, "CONNECTED_ONHOLD"
            if end <= second:
                since, name = end, "CONNECTED"
        return name, since

    def told(self, state: str, since: float) -> dict[str, Any]:
        """It as an agent event has it."""
        assert self.queue is not None or self.method == "OUTBOUND"
        return {
            "Channel": self.channel,
            "ConnectedToAgentTimestamp": None
            if self.answered is None or state in ("CONNECTING", "MISSED", "REJECTED")
            else exact(self.answered),
            "ContactId": self.name,
            "InitialContactId": self.first,
            "InitiationMethod": self.method,
            "Queue": None if self.queue is None else {"ARN": queue_arn(self.queue), "Name": "a name"},
            "QueueTimestamp": None if self.queued is None else exact(self.queued),
            "State": state,
            "StateStartTimestamp": exact(since),
        }

    def figures(self, *, records: bool, holds: bool) -> tuple[str, dict[str, float]] | None:
        """The queue (and channel) that it is a visit of, and its figures in what the sources tell; None: it is none."""
        if self.queued is None or self.method == "OUTBOUND" or self.queue is None or self.queue.startswith("agent/"):
            return None
        channel = "callback" if self.method == "CALLBACK" else self.channel.lower()
        title = self.queue if channel == "voice" else f"{self.queue} [{channel}]"
        assert self.ended is not None
        told: dict[str, float] = {"offered": 1}
        why = self.why_left(records=records)
        if self.answered is not None:
            told["answered"] = 1
            told["answer_wait_sum"] = self.answered - self.queued
            held = sum(end - begin for begin, end in self.holds)
            told["hold_sum"] = held if holds else int(held) if records else 0
            told["talk_sum"] = self.ended - self.answered - told["hold_sum"]
            told["wrap_sum"] = (self.wrapped or self.ended) - self.ended
        elif why is None:
            told |= {"abandoned": 1, "abandon_wait_sum": self.ended - self.queued}
        else:
            told[f"diverted {why}"] = 1
        return title, told

    divert: str | None = None
    """Why it left its queue unanswered, where it did not just hang up."""

    def why_left(self, *, records: bool) -> str | None:
        """The same as far as it is told: that a flow hung up stands in the record only."""
        return None if self.divert == "withdrawn" and self.method != "CALLBACK" and not records else self.divert


class Day:
    """A made-up day.

    :param calls: how many callers there are.
    :param span: seconds in which they come.
    """

    def __init__(self, seed: int, calls: int, span: float = 3000) -> None:
        self.dice = random.Random(seed)
        self._span = span
        self.contacts: list[Contact] = []
        for number in range(calls):
            self._call(number)
        self.busy: dict[str, list[Contact]] = defaultdict(list)
        for contact in self.contacts:
            if contact.agent is not None:
                self.busy[contact.agent].append(contact)

    def _name(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def _wait(self, low: float, high: float) -> float:
        return round(self.dice.uniform(low, high), 3)

    def _new(self, begun: float, **more: Any) -> Contact:
        contact = Contact(self._name(), begun=round(begun, 3), **more)
        self.contacts.append(contact)
        return contact

    def _call(self, number: int) -> None:
        dice, begun = self.dice, self._wait(0, self._span)
        what = dice.random()
        if what < 0.06:
            outbound = self._new(begun, method="OUTBOUND", queue=dice.choice(QUEUES), queued=begun)
            self._talk(outbound, begun + self._wait(2, 10))
            return
        contact = self._new(begun, channel=dice.choice(("VOICE", "VOICE", "VOICE", "CHAT", "TASK")))
        if what < 0.12:  # he never came to a queue
            contact.ended, contact.reason = round(begun + self._wait(1, 20), 3), "CUSTOMER_DISCONNECT"
            return
        self._queue(contact, begun + self._wait(1, 30), dice.choice(QUEUES), 0)

    def _queue(self, contact: Contact, when: float, queue: str, depth: int) -> None:
        dice = self.dice
        contact.queue, contact.queued = queue, round(when, 3)
        left = contact.queued + self._wait(0.5, 90)
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            offered = round(self.dice.uniform(contact.queued, left), 3)
            contact.offered.append((offered, dice.choice(AGENTS), dice.choice(("MISSED", "REJECTED"))))
        what = dice.random()
        if what < 0.6:
            self._talk(contact, left)
            if dice.random() < 0.25 and depth < 3:
                self._transfer(contact, depth)
        elif what < 0.75:
            contact.ended = round(left, 3)
            if contact.method == "CALLBACK":
                contact.divert = "withdrawn"
        elif what < 0.8:
            contact.ended, contact.reason, contact.divert = round(left, 3), "CONTACT_FLOW_DISCONNECT", "withdrawn"
        elif what < 0.9 and depth < 3:
            self._follow(contact, left, left, "QUEUE_TRANSFER", "overflow", dice.choice(QUEUES), depth)
        elif depth < 3:
            self._follow(contact, left, left + self._wait(0, 3), "CALLBACK", "callback", CALLBACKS, depth)
        else:
            contact.ended = round(left, 3)
            if contact.method == "CALLBACK":
                contact.divert = "withdrawn"

    def _follow(
        self, contact: Contact, begun: float, ended: float, method: str, why: str, queue: str, depth: int
    ) -> None:
        """The contact leaves its queue, and another one takes the caller on."""
        contact.ended, contact.divert, contact.reason = round(ended, 3), why, None
        other = self._new(
            begun, method=method, channel=contact.channel, first=contact.first or contact.name, before=contact.name
        )
        contact.after = other.name
        delay = 99 if method == "CALLBACK" else self._wait(0, 0.5)
        self._queue(other, begun + delay, queue, depth + 1)

    def _transfer(self, contact: Contact, depth: int) -> None:
        """An agent transfers his talk: to a queue, or to another agent's own queue."""
        assert contact.ended is not None
        assert contact.answered is not None
        begun = self.dice.uniform(contact.answered, contact.ended)
        other = self._new(
            begun, method="TRANSFER", channel=contact.channel, first=contact.first or contact.name, before=contact.name
        )
        contact.after, contact.reason = other.name, None
        if self.dice.random() < 0.2:
            other.queue, other.queued = f"agent/{self.dice.choice(AGENTS)}", other.begun
            self._talk(other, begun + 3)
        else:
            self._queue(other, begun, self.dice.choice(QUEUES), depth + 1)

    def _talk(self, contact: Contact, when: float) -> None:
        contact.agent, contact.answered = self.dice.choice(AGENTS), round(when, 3)
        talk = self._wait(10, 300)
        contact.ended = round(contact.answered + talk, 3)
        edges = sorted(self._wait(0.1, talk - 0.1) for _ in range(2 * self.dice.choice((0, 0, 1, 2))))
        steps = [round(contact.answered + each, 3) for each in edges]
        if len(set(steps)) == len(steps):
            contact.holds = list(zip(steps[::2], steps[1::2], strict=True))
        contact.wrapped = round(contact.ended + self.dice.choice((0, self._wait(1, 60))), 3)
        if contact.wrapped == contact.ended:
            contact.wrapped = None

    # -------------------------------------------------------------------------------------------------- what is heard

    def events(self) -> list[tuple[float, Any]]:
        """What EventBridge passes on, in the order in which it happens."""
        return _sorted([each for contact in self.contacts for each in contact.events(self.dice)])

    def records(self) -> list[tuple[float, Any]]:
        """Contact records, in the order in which they are sent."""
        return _sorted([contact.record() for contact in self.contacts])

    def agent_events(self) -> list[tuple[float, Any]]:
        """Agent events, in the order in which they happen: made as if each agent could do several things at once."""
        return _sorted([each for agent in AGENTS for each in self._of(agent)])

    def _of(self, agent: str) -> list[tuple[float, Any]]:
        moments: dict[float, str] = {-60.0: "LOGIN", -50.0: "STATE_CHANGE"}
        offers = [
            (when, how, contact) for contact in self.contacts for when, who, how in contact.offered if who == agent
        ]
        for contact in self.busy[agent]:
            assert contact.answered is not None
            assert contact.ended is not None
            edges = [each for hold in contact.holds for each in hold]
            for each in (contact.answered, *edges, contact.ended, contact.wrapped):
                if each is not None:
                    moments[each] = "STATE_CHANGE"
        for when, _, _ in offers:
            moments |= dict.fromkeys((when, round(when + 5, 3), round(when + 6, 3)), "STATE_CHANGE")
        last = max(moments)
        moments |= {
            round(120.0 * beat, 3): "HEART_BEAT" for beat in range(int(last // 120) + 1) if 120.0 * beat not in moments
        }
        moments[round(last + 60, 3)] = "STATE_CHANGE"
        moments[round(last + 90, 3)] = "LOGOUT"
        told: list[tuple[float, Any]] = []
        before: dict[str, Any] | None = None
        for second in sorted(moments):
            contacts = []
            for contact in self.busy[agent]:
                found = contact.state(second)
                if found is not None:
                    contacts.append(contact.told(*found))
            for when, how, contact in offers:
                if when <= second < round(when + 5, 3):
                    contacts.append(contact.told("CONNECTING", when))
                elif round(when + 5, 3) <= second < round(when + 6, 3):
                    contacts.append(contact.told(how, round(when + 5, 3)))
            status = (
                "Offline"
                if second < -50 or second >= round(last + 90, 3)
                else "Lunch"
                if second > last
                else "Available"
            )
            now = snapshot(status, contacts)
            event = agent_event(agent, moments[second], second, now, before)
            told.append((second, event))
            before = now
        return told

    # ------------------------------------------------------------------------------------------------ what is known

    def truth(self, *, records: bool, holds: bool) -> dict[str, dict[str, float]]:
        """Its figures by queue (and channel), times in seconds."""
        found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for contact in self.contacts:
            told = contact.figures(records=records, holds=holds)
            if told is not None:
                for figure, number in told[1].items():
                    found[told[0]][figure] += number
        return found


def snapshot(status: str, contacts: list[dict[str, Any]], queues: tuple[str, ...] = QUEUES) -> dict[str, Any]:
    """An agent's snapshot."""
    kinds = {"Available": "ROUTABLE", "Offline": "OFFLINE"}
    return {
        "AgentStatus": {
            "ARN": f"{INSTANCE}/agent-state/{status}",
            "Name": status,
            "StartTimestamp": exact(-60),
            "Type": kinds.get(status, "CUSTOM"),
        },
        "Configuration": {
            "FirstName": "Anna",
            "LastName": "Geheim",
            "Username": "anna.geheim",
            "RoutingProfile": {
                "ARN": f"{INSTANCE}/routing-profile/p",
                "InboundQueues": [
                    *({"ARN": queue_arn(each), "Name": "a name", "Channels": ["VOICE"]} for each in queues),
                    {"ARN": queue_arn("agent/anna"), "Name": None},
                ],
            },
        },
        "Contacts": contacts,
    }


def agent_event(
    agent: str, kind: str, second: float, now: dict[str, Any] | None, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An agent event."""
    return {
        "AWSAccountId": "111122223333",
        "AgentARN": agent_arn(agent),
        "CurrentAgentSnapshot": now,
        "EventId": f"{agent}-{second}-{kind}",
        "EventTimestamp": exact(second),
        "EventType": kind,
        "InstanceARN": INSTANCE,
        "PreviousAgentSnapshot": before,
        "Version": "2017-10-01",
    }


def _sorted(told: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
    return sorted(told, key=lambda each: each[0])


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT(?:\d\d:?){3}(?:\.\d+)?Z")


def moved(record: Any, seconds: int) -> Any:
    """A record as if all of it had happened so many whole seconds later."""
    if isinstance(record, dict):
        return {key: moved(each, seconds) for key, each in record.items()}
    if isinstance(record, list):
        return [moved(each, seconds) for each in record]
    if isinstance(record, str) and _MOMENT.fullmatch(record):
        later = datetime.fromisoformat(record[:19] + "+00:00") + timedelta(seconds=seconds)
        return later.strftime("%Y-%m-%dT%H:%M:%S") + record[19:]
    return record
