"""Made-up days of a Genesys Cloud centre: what EventBridge, the notification service and the API would say, and the truth.

Times in seconds from START.  Every session has an id of its own, as Genesys gives them; ids are not random, so that days of
one seed are equal.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

START: float = 1_795_305_000
"""Epoch seconds."""
QUEUES = ("q-sales", "q-support", "q-billing")
AGENTS = tuple(f"u-{number}" for number in range(8))
ORGANISATION = "00000000-aaaa-bbbb-cccc-000000000000"
NUMBER = "+3906555"


def ms(second: float) -> int:
    """A time in milliseconds since the epoch."""
    return round((START + second) * 1000)


def iso(second: float) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(ms(second) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def detail(what: str, second: float, conversation: str, session: str, **more: Any) -> dict[str, Any]:
    """A detail event, as it stands in an EventBridge event's `detail`."""
    body = {
        "eventTime": ms(second),
        "conversationId": conversation,
        "participantId": f"p-{session}",
        "sessionId": session,
        "mediaType": "VOICE",
        "provider": "Edge",
        "direction": "INBOUND",
        "ani": f"tel:{NUMBER}0001",
        "dnis": "tel:+390688888",
        "divisionId": "d-home",
    }
    return {
        "topicName": f"v2.detail.events.conversation.{conversation}.{what}",
        "version": "2",
        "timestamp": iso(second),
        "eventBody": {key: value for key, value in (body | more).items() if value is not None},
        "metadata": {"CorrelationId": f"c-{conversation}-{what}-{second}"},
    }


def bridged(told: dict[str, Any]) -> dict[str, Any]:
    """What EventBridge puts around it."""
    topic = told["topicName"].split(".")
    kind = ".".join(["v2", "detail", "events", "conversation", "{id}", *topic[5:]] if topic[1] == "detail" else topic)
    return {
        "version": "0",
        "id": f"e-{told.get('metadata', {}).get('CorrelationId', '')}",
        "detail-type": kind,
        "source": f"aws.partner/genesys.com/cloud/{ORGANISATION}/centre",
        "account": "123456789012",
        "time": told.get("timestamp", "2026-11-22T09:00:00Z"),
        "region": "eu-central-1",
        "resources": [],
        "detail": told,
    }


def acd_start(second: float, conversation: str = "c1", session: str = "a1", **more: Any) -> dict[str, Any]:
    return detail("acd.start", second, conversation, session, **{"queueId": "q-sales", "routingPriority": 3} | more)


def acd_end(
    second: float, outcome: str | None, conversation: str = "c1", session: str = "a1", **more: Any
) -> dict[str, Any]:
    told = {"queueId": "q-sales", "acdOutcome": outcome, "connectedDurationMs": 0, "usedRouting": "STANDARD"} | more
    return detail("acd.end", second, conversation, session, **told)


def user_start(second: float, conversation: str = "c1", session: str = "s1", **more: Any) -> dict[str, Any]:
    told = {"queueId": "q-sales", "userId": "u-0", "ani": f"sip:{NUMBER}0001@10.0.0.1;user=phone"} | more
    return detail("user.start", second, conversation, session, **told)


def user_end(second: float, conversation: str = "c1", session: str = "s1", **more: Any) -> dict[str, Any]:
    told = {"queueId": "q-sales", "userId": "u-0", "disconnectType": "PEER"} | more
    return detail("user.end", second, conversation, session, **told)


def acw(second: float, conversation: str = "c1", session: str = "s1", **more: Any) -> dict[str, Any]:
    told = {"queueId": "q-sales", "userId": "u-0", "wrapupCode": "w-1", "wrapupNotes": "call Ann back", **more}
    return detail("acw", second, conversation, session, **told)


def customer_end(second: float, conversation: str = "c1", session: str = "x1", **more: Any) -> dict[str, Any]:
    return detail("customer.end", second, conversation, session, **{"disconnectType": "CLIENT"} | more)


def voicemail(second: float, conversation: str = "c1", session: str = "v1", **more: Any) -> dict[str, Any]:
    return detail("voicemail.start", second, conversation, session, **more)


def status(second: float, user: str, name: str) -> dict[str, Any]:
    """A routing status."""
    body = {"id": user, "routingStatus": {"userId": user, "status": name, "startTime": iso(second)}}
    return {"topicName": f"v2.users.{user}.routingStatus", "version": "2", "eventBody": body, "metadata": {}}


def presence(second: float, user: str, name: str, definition: str = "pd", **more: Any) -> dict[str, Any]:
    body = {
        "source": "PURECLOUD",
        "presenceDefinition": {"id": definition, "systemPresence": name},
        "primary": True,
        "message": "back at two",
        "modifiedDate": iso(second),
    } | more
    return {"topicName": f"v2.users.{user}.presence", "version": "2", "eventBody": body, "metadata": {}}


def activity(second: float, user: str, name: str, present: str, queues: Iterable[str], **more: Any) -> dict[str, Any]:
    body = {
        "id": user,
        "routingStatus": {"status": name, "startTime": iso(second)},
        "presence": {"presenceDefinition": {"id": "pd", "systemPresence": present}, "modifiedDate": iso(second - 1)},
        "activeQueueIds": list(queues),
        "dateActiveQueuesChanged": iso(second - 2),
    } | more
    return {"topicName": f"v2.users.{user}.activity", "version": "2", "eventBody": body, "metadata": {}}


# --------------------------------------------------------------------------------------------------------- conversations


@dataclass
class Session:
    """One participant with one communication."""

    id: str
    purpose: str
    media: str
    begun: float
    queue: str = ""
    user: str = ""
    connected: float | None = None
    ended: float | None = None
    how: str = ""
    wrapped: float | None = None
    due: float | None = None

    def at(self, second: float) -> dict[str, Any] | None:
        """The participant as it is told of then; None: not there yet."""
        if second < self.begun:
            return None
        connected = self.connected is not None and second >= self.connected
        over = self.ended is not None and second >= self.ended
        state = "disconnected" if over else "connected" if connected else "alerting"
        one: dict[str, Any] = {"id": self.id, "state": state, "direction": "inbound", "provider": "Edge", "held": False}
        told: dict[str, Any] = {
            "id": f"p-{self.id}", "purpose": self.purpose, "name": "Ann", "address": f"tel:{NUMBER}0001", "calls": [],
        }  # fmt: skip
        if self.queue:
            told["queueId"] = self.queue
        if self.user:
            told["userId"] = self.user
        if connected and self.connected is not None:
            one["connectedTime"] = told["connectedTime"] = iso(self.connected)
        if over and self.ended is not None:
            one |= {"disconnectedTime": iso(self.ended), "disconnectType": self.how}
            told["endTime"] = iso(self.ended)
            if self.purpose == "agent" and self.connected is not None and self.wrapped is not None:
                done = second >= self.wrapped
                work: dict[str, Any] = {"state": "complete" if done else "pending", "startTime": iso(self.ended)}
                one["afterCallWork"] = work | ({"endTime": iso(self.wrapped)} if done else {})
        if self.due is not None:
            one["callbackScheduledTime"] = iso(self.due)
        told[{"voice": "calls", "callback": "callbacks", "chat": "chats"}[self.media]] = [one]
        return told


@dataclass
class Conversation:
    """All its sessions."""

    id: str
    sessions: list[Session] = field(default_factory=list)
    number: str = ""

    @property
    def moments(self) -> list[float]:
        """When anything changes."""
        told = {s for each in self.sessions for s in (each.begun, each.connected, each.ended, each.wrapped)}
        return sorted(second for second in told if second is not None)

    def at(self, second: float) -> dict[str, Any]:
        """As the API tells it then."""
        participants = [told for each in self.sessions if (told := each.at(second)) is not None]
        return {"id": self.id, "participants": participants, "recordingState": "none"}

    def notifications(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """Whenever anything changes: for each queue that it is in, everything."""
        for second in self.moments:
            told = self.at(second)
            for queue in sorted({each["queueId"] for each in told["participants"] if "queueId" in each}):
                topic = f"v2.routing.queues.{queue}.conversations"
                yield second, {"topicName": topic, "version": "2", "eventBody": told, "metadata": {}}

    def waiting(self, second: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Who waits then, as the queue observations tell it: queue and observation."""
        for each in self.sessions:
            if each.purpose == "acd" and each.begun <= second and (each.ended is None or second < each.ended):
                yield each.queue, {
                    "observationDate": iso(each.begun), "conversationId": self.id, "sessionId": each.id,
                    "participantName": "Ann", "ani": f"tel:{NUMBER}0001", "direction": "inbound",
                }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------- days


@dataclass
class Figures:
    """What happened in one queue and channel; sums in seconds."""

    offered: int = 0
    answered: int = 0
    abandoned: int = 0
    waiting: int = 0
    declined: int = 0
    diverted_by: Counter[str] = field(default_factory=Counter)
    answer_wait_sum: float = 0.0
    abandon_wait_sum: float = 0.0
    talk_sum: float = 0.0
    hold_sum: float = 0.0
    wrap_sum: float = 0.0


@dataclass
class Day:
    """What Genesys would tell of a day: (when it is told, the record), in that order; and the truth by queue and channel."""

    details: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    truth: dict[str, Figures] = field(default_factory=lambda: defaultdict(Figures))
    via: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By queue and how it came, of those who did not come from outside."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The detail events in order."""
        return [record for _, record in self.details]

    def notified(self) -> list[tuple[float, dict[str, Any]]]:
        """The notifications in order."""
        return sorted(
            (each for conversation in self.conversations for each in conversation.notifications()),
            key=lambda each: each[0],
        )


class _Maker:
    def __init__(self, seed: int, seconds: float, *, hold: bool, lengths: float) -> None:
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.hold = hold
        self.lengths = lengths
        self.day = Day()
        self.sessions = 0
        self.conversation = Conversation("c0")

    def say(self, second: float, record: dict[str, Any]) -> None:
        self.day.details.append((second, record))

    def session(self, purpose: str) -> str:
        self.sessions += 1
        return f"{purpose}-{self.sessions}"

    def span(self, low: float, high: float) -> float:
        """Whole milliseconds."""
        return round(self.dice.uniform(low, high) * self.lengths, 3)

    def figures(self, queue: str, media: str) -> Figures:
        return self.day.truth[queue if media == "voice" else f"{queue} [{media}]"]

    def make(self, number: int) -> None:
        """One conversation."""
        dice, begun = self.dice, round(self.dice.uniform(0, self.seconds), 3)
        self.conversation = Conversation(f"c{number}", number=f"tel:{NUMBER}{number % 50:04d}")
        self.day.conversations.append(self.conversation)
        media = dice.choices(("voice", "chat"), (5, 1))[0]
        self.number = self.conversation.number
        self.customer = Session(self.session("x"), "customer", media, begun - 3, connected=begun - 3)
        self.conversation.sessions.append(self.customer)
        over = self.stay(begun, dice.choice(QUEUES), media, "", depth=0)
        if over is not None:
            self.customer.ended, self.customer.how = over, "peer"
            told = {"mediaType": media.upper(), "ani": self.number}
            self.say(over, customer_end(over, self.conversation.id, self.customer.id, **told))

    def stay(self, begun: float, queue: str, media: str, via: str, depth: int) -> float | None:
        """One stay in a queue, and what follows; when the customer is gone, None: he still waits or talks."""
        dice, conversation = self.dice, self.conversation
        figures, session = self.figures(queue, media), self.session("a")
        acd = Session(session, "acd", media, begun, queue, connected=begun)
        conversation.sessions.append(acd)
        figures.offered += 1
        if via:
            self.day.via[queue if media == "voice" else f"{queue} [{media}]", via] += 1
        told: dict[str, Any] = {"mediaType": media.upper(), "queueId": queue, "ani": self.number}
        due = None
        if media == "callback":
            due = round(begun + self.span(1, 20), 3) if dice.random() < 0.5 else None
            told |= {
                "direction": "OUTBOUND",
                "dnis": self.number,
                "callbackScheduledTime": None if due is None else ms(due),
            }
            acd.due = due
        self.say(begun, acd_start(begun, conversation.id, session, **told))
        arrival = begun if due is None else due
        end = round(arrival + self.span(1, 90), 3)
        kinds = ["answered"] * 8 + ["abandoned"] * 3 + ["waiting"]
        if media != "callback":
            kinds += (
                ["overflow", "requeue", "voicemail", "callback", "timeout", "elsewhere"] if depth < 3 else ["elsewhere"]
            )
        kind = dice.choice(kinds)
        if media != "callback":
            self.offers(begun, end, queue, media)
        if kind == "waiting":
            figures.waiting += 1
            return None
        acd.ended, acd.how = end, "transfer"
        told |= {"connectedDurationMs": ms(end) - ms(begun)}
        if kind == "answered":
            return self.answered(acd, told, arrival, via, depth)
        if kind == "abandoned":
            acd.how = "peer"
            figures.abandoned += 1
            figures.abandon_wait_sum += end - arrival
            self.say(end, acd_end(end, "ABANDON", conversation.id, session, disconnectType="PEER", **told))
            return end
        how = "TIMEOUT" if kind == "timeout" else "TRANSFER"
        self.say(end, acd_end(end, "FLOW_OUT", conversation.id, session, disconnectType=how, **told))
        figures.diverted_by["overflow" if kind == "requeue" else kind] += 1
        after = round(end + 0.1, 3)
        if kind == "overflow":
            other = dice.choice([each for each in QUEUES if each != queue])
            return self.stay(after, other, media, "overflow", depth + 1)
        if kind == "requeue":
            return self.stay(after, queue, media, "requeue", depth + 1)
        if kind == "voicemail":
            over, recorder = round(after + self.span(5, 40), 3), self.session("v")
            self.say(after, voicemail(after, conversation.id, recorder, mediaType=media.upper()))
            conversation.sessions.append(
                Session(recorder, "voicemail", media, after, connected=after, ended=over, how="peer")
            )
            return over
        if kind == "callback":
            left = round(end + 1, 3)
            self.customer.ended, self.customer.how = left, "peer"
            self.say(
                left, customer_end(left, conversation.id, self.customer.id, mediaType=media.upper(), ani=self.number)
            )
            self.customer = Session(self.session("x"), "customer", "callback", after, connected=after)
            conversation.sessions.append(self.customer)
            done = self.stay(after, queue, "callback", "callback", depth + 1)
            if done is not None:
                self.customer.ended, self.customer.how = done, "peer"
            return None
        return round(end + 20 * self.lengths, 3)

    def offers(self, begun: float, end: float, queue: str, media: str) -> None:
        """Agents who did not take it."""
        for _ in range(self.dice.choice((0, 0, 0, 1, 2))):
            at = round(self.dice.uniform(begun + 0.1, max(begun + 0.2, end - 0.2)), 3)
            if not begun < at < end - 0.1:
                continue
            user, session, how = (
                self.dice.choice(AGENTS),
                self.session("s"),
                self.dice.choice(("CLIENT", "NO_ANSWER_TRANSFER")),
            )
            rang = round(max(begun, at - 5), 3)
            self.figures(queue, media).declined += 1
            words = {"CLIENT": "client", "NO_ANSWER_TRANSFER": "transfer.noanswer"}
            self.conversation.sessions.append(
                Session(session, "agent", media, rang, queue, user, ended=at, how=words[how])
            )
            told = {"queueId": queue, "userId": user, "mediaType": media.upper()}
            self.say(rang, user_start(rang, self.conversation.id, session, **told))
            more = {"alertingDurationMs": ms(at) - ms(rang), "disconnectType": how}
            self.say(at, user_end(at, self.conversation.id, session, **told, **more))

    def answered(self, acd: Session, told: dict[str, Any], arrival: float, via: str, depth: int) -> float | None:
        """The talk, and what follows."""
        dice, conversation, end = self.dice, self.conversation, acd.ended
        assert end is not None
        queue, media = acd.queue, acd.media
        figures, user, session = self.figures(queue, media), dice.choice(AGENTS), self.session("s")
        figures.answered += 1
        figures.answer_wait_sum += end - arrival
        more = {"answeredUserId": user, "disconnectType": "TRANSFER"}
        self.say(end, acd_end(end, "ANSWERED", conversation.id, acd.id, **told, **more))
        agent = Session(session, "agent", media, round(end - 2, 3), queue, user, connected=end)
        conversation.sessions.append(agent)
        about = {"queueId": queue, "userId": user, "mediaType": media.upper()}
        self.say(agent.begun, user_start(agent.begun, conversation.id, session, **about))
        over = round(end + self.span(3, 200), 3)
        held = round((over - end) * 0.25, 3) if self.hold and dice.random() < 0.3 else 0.0
        onward = dice.random() < 0.2 and depth < 3 and media == "voice"
        agent.ended, agent.how = over, "transfer" if onward else "peer"
        spent = {
            "alertingDurationMs": ms(end) - ms(agent.begun),
            "interactingDurationMs": ms(over) - ms(end) - round(held * 1000),
            "heldDurationMs": round(held * 1000) or None,
            "disconnectType": "TRANSFER" if onward else "PEER",
        }
        self.say(over, user_end(over, conversation.id, session, **about, **spent))
        figures.talk_sum += over - end - held
        figures.hold_sum += held
        if dice.random() < 0.8:
            wrapped = round(over + self.span(1, 60), 3)
            agent.wrapped = wrapped
            figures.wrap_sum += wrapped - over
            lasted = ms(wrapped) - ms(over)
            self.say(wrapped, acw(wrapped, conversation.id, session, **about, wrapupDurationMs=lasted))
        if onward:
            return self.stay(round(over + 0.2, 3), dice.choice(QUEUES), media, "transfer", depth + 1)
        return over


def day(seed: int, conversations: int = 30, seconds: float = 3600, *, hold: bool = True, lengths: float = 1.0) -> Day:
    """A day.

    :param hold: whether agents put callers on hold, which notifications do not tell.
    :param lengths: what all lengths of time are multiplied with.
    """
    maker = _Maker(seed, seconds, hold=hold, lengths=lengths)
    for number in range(conversations):
        maker.make(number)
    maker.day.details.sort(key=lambda each: each[0])
    return maker.day
