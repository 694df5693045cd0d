"""What Genesys Cloud tells, as EventBridge or its notification service bring it, in canonical events.

Detail events (`v2.detail.events.conversation.{id}.…`) tell one thing each; conversations of a queue
(`v2.routing.queues.{id}.conversations`) tell all that is known by then.  Both are taken apart into the same few records, which
`story` reads.  Nothing of a customer is kept but the keyed hash of the number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from queuewatch_schemas.source_settings import GenesysCloud, Names, SourceSettings
from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.genesys.agents import Agents
from queuewatch_streams.sources.genesys.fields import duration, number_of, objects, text, texts, time, whole
from queuewatch_streams.sources.genesys.story import (
    CONNECTED,
    CUSTOMER_END,
    END,
    IGNORED,
    START,
    USER_END,
    USER_START,
    VOICEMAIL,
    WRAP,
    Storyteller,
)
from queuewatch_streams.sources.genesys.wire import COMMUNICATIONS, CONVERSATION, OBSERVED, OVER, told_of
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.stories import Record, Stories

__all__ = ["Genesys"]

_LATE_SECONDS: Final = 30.0
_KEEP: Final = 3600 * 1_000_000
_DETAIL: Final = re.compile(r"v2\.detail\.events\.conversation\.[^.]*\.(?P<what>[a-z.]+)")
_USER: Final = re.compile(r"v2\.users\.(?P<user>[^.?]+)\.(?P<what>routingStatus|presence|activity)")
_WITHOUT_MEANING: Final = re.compile(r"channel\.metadata|v2\.[a-z]+\..+")
_MEDIA: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_ORDER: Final = {
    kind: number
    for number, kind in enumerate((IGNORED, START, USER_START, CONNECTED, END, VOICEMAIL, USER_END, CUSTOMER_END, WRAP))
}
_AGENTS: Final = frozenset({"agent", "user"})
_CUSTOMERS: Final = frozenset({"customer", "external"})
_PURPOSES: Final = frozenset({*_AGENTS, *_CUSTOMERS, "acd", "voicemail"})
_AT_WORK: Final = (
    "interactingDurationMs",
    "heldDurationMs",
    "contactingDurationMs",
    "dialingDurationMs",
    "callbackDurationMs",
)
"""What an agent's session may consist of after it was accepted."""


class Genesys:
    """The translator.

    :param memory: of an earlier one, or None.
    """

    def __init__(self, composer: Composer, memory: Any, settings: SourceSettings | None) -> None:
        late = settings.late_seconds if isinstance(settings, GenesysCloud) else _LATE_SECONDS
        names = Names() if settings is None else settings.map
        named = Counter(names.queues.values())
        self._shared = frozenset(name for name, times in named.items() if times > 1)
        """Names that several queues have: a list of one of them does not tell who waits under that name."""
        self._composer = composer
        self._stories = Stories(composer, Storyteller(composer, round(late * 1e6)).tell, _KEEP, passing=(USER_START,))
        self._agents = Agents(composer, names.reasons)
        self.newest = 0
        if memory is not None:
            self.newest = memory["newest"]
            self._stories.recall(memory["calls"])
            self._agents.recall(memory["agents"])

    @property
    def open_calls(self) -> int:
        """Conversations with a stay that has not ended."""
        return self._stories.open_calls

    def memory(self) -> Any:
        """All that it has to know to carry on."""
        return {"newest": self.newest, "calls": self._stories.memory(), "agents": self._agents.memory()}

    def advance(self, at: int, out: Out) -> None:
        """Say what is sure once nothing older comes."""
        self._stories.advance(at, out)

    def translate(self, record: Any, out: Out) -> None:
        """Say what one record means: an EventBridge event, its `detail` alone, or a notification."""
        try:
            self._translate(record, out)
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _translate(self, record: Any, out: Out) -> None:
        topic, body = told_of(record)
        if topic == OBSERVED:
            self._observed(body, out)
        elif (found := _DETAIL.fullmatch(topic)) is not None:
            self._detail(found["what"], body, out)
        elif (found := _USER.fullmatch(topic)) is not None:
            self.newest = max(self.newest, self._agents.take(out, found["what"], found["user"], body))
        elif CONVERSATION.fullmatch(topic) is not None:
            self._conversation(body, out)
        elif _WITHOUT_MEANING.fullmatch(topic) is not None:
            out.ignore("no_meaning")
        else:
            raise Unreadable("unknown_event", "its topic is none of Genesys Cloud's")

    def _add(self, conversation: str, records: Sequence[Record], out: Out) -> None:
        if self._stories.add_all(conversation, records, out):
            self.newest = max(self.newest, 0, *(record.at for record in records))
        else:
            out.ignore("repeated")

    # ---------------------------------------------------------------------------------------------------- detail events

    def _detail(self, what: str, body: Mapping[str, Any], out: Out) -> None:
        make = {
            "acd.start": self._acd_start,
            "acd.end": self._acd_end,
            "user.start": _user_start,
            "user.end": _user_end,
            "acw": _wrap,
            "customer.end": self._customer_end,
            "voicemail.start": _voicemail,
        }.get(what)
        if make is None:
            out.ignore("no_meaning")
            return
        conversation = _needed(body, "conversationId")
        at = time(body, "eventTime")
        if at is None:
            raise Unreadable("missing_field", "it has no eventTime")
        kind, name, fields = make(conversation, body, at)
        if kind == IGNORED:
            out.ignore("caller")
        if fields is None:
            out.ignore("no_meaning")
        else:
            self._add(conversation, [_record(kind, at, name, fields)], out)

    def _acd(self, conversation: str, body: Mapping[str, Any], at: int) -> _Made:
        session, queue = _needed(body, "sessionId"), _needed(body, "queueId")
        self._composer.queue(queue)  # a name that cannot be one is no queue
        call = f"{conversation}/{session}"
        self._composer.subject(call)
        if self._is_ignored(body):
            return IGNORED, "", {}
        media = _media(text(body, "mediaType"))
        entry: dict[str, Any] = {"channel": media}
        customer = self._composer.customer(_customer(body))
        if customer is not None:
            entry["customer"] = customer
        priority = whole(body, "routingPriority")
        if priority is not None:
            entry["priority"] = priority
        skills = texts(body, "requestedRoutingSkillIds", 20)
        if skills:
            entry["skills"] = sorted(set(skills))
        due = time(body, "callbackScheduledTime")
        if due is not None and media == "callback":
            entry["due"] = moment(due)
        return START, session, {"session": session, "call": call, "queue": queue, "media": media, "entry": entry}

    def _acd_start(self, conversation: str, body: Mapping[str, Any], at: int) -> _Made:
        return self._acd(conversation, body, at)

    def _acd_end(self, conversation: str, body: Mapping[str, Any], at: int) -> _Made:
        kind, session, fields = self._acd(conversation, body, at)
        if kind == IGNORED or fields is None:
            return kind, session, fields
        outcome = text(body, "acdOutcome").upper()
        fields |= {
            "outcome": outcome if outcome in ("ANSWERED", "ABANDON", "FLOW_OUT") else "",
            "user": text(body, "answeredUserId"),
            "type": _disconnect(body),
            "connected": duration(body, "connectedDurationMs"),
        }
        return END, session, fields

    def _customer_end(self, conversation: str, body: Mapping[str, Any], at: int) -> _Made:
        if self._is_ignored(body):
            return IGNORED, "", {}
        return CUSTOMER_END, text(body, "sessionId"), {"media": _media(text(body, "mediaType"), "")}

    def _is_ignored(self, body: Mapping[str, Any]) -> bool:
        if not self._composer.looks_at_callers:
            return False
        number = _address(body)
        return self._composer.ignores_caller(number) or self._composer.ignores_caller(number_of(number))

    # ---------------------------------------------------------------------------------------------------- conversations

    def _conversation(self, body: Mapping[str, Any], out: Out) -> None:
        conversation = _needed(body, "id")
        records: list[Record] = []
        for participant in objects(body, "participants"):
            try:
                records += self._participant(conversation, participant)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
        if any(record.kind == IGNORED for record in records):
            out.ignore("caller")
            records = [record for record in records if record.kind == IGNORED][:1]
        self._add(conversation, records, out)

    def _participant(self, conversation: str, told: Mapping[str, Any]) -> Iterator[Record]:
        purpose = text(told, "purpose").lower()
        if purpose in _CUSTOMERS and self._composer.looks_at_callers:
            number = text(told, "address") or text(told, "ani")
            if self._composer.ignores_caller(number) or self._composer.ignores_caller(number_of(number)):
                yield _record(IGNORED, time(told, "connectedTime") or 0, "", {})
                return
        if purpose not in _PURPOSES:
            return
        for name, media in COMMUNICATIONS.items():
            for one in objects(told, name):
                session, begun = text(one, "id"), time(one, "connectedTime")
                over = text(one, "state").upper() in OVER
                ended = (time(one, "disconnectedTime") or time(told, "endTime")) if over else None
                if not session:
                    continue
                if purpose == "acd":
                    yield from self._acd_session(conversation, told, one, session, media, begun, ended)
                elif purpose == "voicemail":
                    if begun is not None:
                        yield _record(VOICEMAIL, begun, session, {})
                elif purpose in _AGENTS:
                    yield from _agent_session(told, one, session, media, begun, ended)
                elif ended is not None:
                    yield _record(CUSTOMER_END, ended, session, {"media": media})

    def _acd_session(
        self,
        conversation: str,
        told: Mapping[str, Any],
        one: Mapping[str, Any],
        session: str,
        media: str,
        begun: int | None,
        ended: int | None,
    ) -> Iterator[Record]:
        queue = _queue_of(told)
        if not queue:
            raise Unreadable("missing_field", "its ACD participant has no queueId")
        self._composer.queue(queue)
        call = f"{conversation}/{session}"
        self._composer.subject(call)
        begun = time(told, "connectedTime") if begun is None else begun
        entry: dict[str, Any] = {"channel": media}
        due = time(one, "callbackScheduledTime")
        if due is not None and media == "callback":
            entry["due"] = moment(due)
        fields = {"session": session, "call": call, "queue": queue, "media": media, "entry": entry}
        if begun is not None:
            yield _record(START, begun, session, fields)
        if ended is not None:
            more = {"outcome": "", "user": "", "type": _disconnect(one), "connected": 0}
            if begun is not None:
                more["connected"] = max(0, ended - begun)
            yield _record(END, ended, session, fields | more)

    # ------------------------------------------------------------------------------------------------------ observations

    def _observed(self, body: Mapping[str, Any], out: Out) -> None:
        """The system's own list of who waits in a queue.  One that it has cut off tells nothing of who is not on it."""
        queue, at = _needed(body, "queueId"), time(body, "at")
        if at is None:
            raise Unreadable("missing_field", "it has no time")
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        if body.get("truncated") is not False or name in self._shared:
            out.ignore("no_meaning")
            return
        waiting: dict[str, int] = {}
        for one in objects(body, "observations"):
            conversation, since = text(one, "conversationId"), time(one, "observationDate")
            if not conversation or since is None:
                raise Unreadable("missing_field", "somebody who waits has no conversation or no time")
            known = {
                record.fields["call"]: record.at
                for record in self._stories.records(conversation)
                if record.kind == START and record.fields["queue"] == queue
            }
            session = text(one, "sessionId")
            if not known and session and not text(one, "userId"):
                known = {f"{conversation}/{session}": since}
            waiting |= known
        self._composer.snapshot(
            out, at, name, sorted((self._composer.subject(call), 1, since) for call, since in waiting.items())
        )
        self.newest = max(self.newest, at)


_Made = tuple[str, str, dict[str, Any] | None]
"""A record's kind, what tells it from others of its time, and its fields; None: it means nothing."""


def _record(kind: str, at: int, name: str, fields: dict[str, Any]) -> Record:
    return Record(at, _ORDER[kind], kind if kind == IGNORED else f"{kind}/{name}/{at}", kind, fields)


def _needed(fields: Mapping[str, Any], name: str) -> str:
    found = text(fields, name)
    if not found:
        raise Unreadable("missing_field", f"it has no {name}")
    return found


def _media(told: str, otherwise: str = "voice") -> str:
    media = told.lower()
    return media if _MEDIA.fullmatch(media) is not None and media != "unknown" else otherwise


def _disconnect(fields: Mapping[str, Any]) -> str:
    """How a session ended, in the words of detail events: the conversation's own `transfer.noanswer` is NO_ANSWER_TRANSFER."""
    told = text(fields, "disconnectType")
    return _WORDS.get(told.lower(), told.upper())[:40]


_WORDS: Final = {
    "endpoint.dnd": "DND_ENDPOINT",
    "transfer.conference": "CONFERENCE_TRANSFER",
    "transfer.consult": "CONSULT_TRANSFER",
    "transfer.forward": "FORWARD_TRANSFER",
    "transfer.noanswer": "NO_ANSWER_TRANSFER",
    "transfer.notavailable": "NOT_AVAILABLE_TRANSFER",
    "transfer.dnd": "DND_TRANSFER",
    "transport.failure": "TRANSPORT_FAILURE",
}


def _address(body: Mapping[str, Any]) -> str:
    """Who the customer is, as Genesys writes it."""
    outbound = text(body, "direction").upper() == "OUTBOUND"
    for name in ("dnis", "addressTo") if outbound else ("ani", "addressFrom"):
        found = text(body, name)
        if found:
            return found
    return next(iter(texts(body, "callbackNumbers", 1)), "")


def _customer(body: Mapping[str, Any]) -> str:
    return number_of(_address(body))


def _user_start(conversation: str, body: Mapping[str, Any], at: int) -> _Made:
    session, user, queue = _needed(body, "sessionId"), text(body, "userId"), text(body, "queueId")
    fields = {"session": session, "user": user, "queue": queue, "media": _media(text(body, "mediaType"))}
    return USER_START, session, fields if user and queue else None


def _user_end(conversation: str, body: Mapping[str, Any], at: int) -> _Made:
    session, user = _needed(body, "sessionId"), text(body, "userId")
    fields = {
        "session": session,
        "user": user,
        "queue": text(body, "queueId"),
        "media": _media(text(body, "mediaType")),
        "type": _disconnect(body),
        "talk": duration(body, *_AT_WORK),
        "held": duration(body, "heldDurationMs"),
    }
    return USER_END, session, fields if user else None


def _wrap(conversation: str, body: Mapping[str, Any], at: int) -> _Made:
    user = text(body, "userId")
    fields = {"user": user, "queue": text(body, "queueId"), "lasted": duration(body, "wrapupDurationMs")}
    return WRAP, user, fields if user else None


def _voicemail(conversation: str, body: Mapping[str, Any], at: int) -> _Made:
    return VOICEMAIL, text(body, "sessionId"), {}


def _queue_of(participant: Mapping[str, Any]) -> str:
    found = text(participant, "queueId")
    if found:
        return found
    routing = participant.get("conversationRoutingData")
    for told in (participant.get("queue"), routing.get("queue") if isinstance(routing, Mapping) else None):
        if isinstance(told, Mapping) and text(told, "id"):
            return text(told, "id")
    return ""


def _agent_session(
    told: Mapping[str, Any], one: Mapping[str, Any], session: str, media: str, begun: int | None, ended: int | None
) -> Iterator[Record]:
    """An agent's part: it is connected when the agent takes it; one that never was has been declined."""
    named = told.get("user")
    user = text(told, "userId") or (text(named, "id") if isinstance(named, Mapping) else "")
    if not user:
        return
    queue = _queue_of(told)
    fields = {"session": session, "user": user, "queue": queue, "media": media}
    if begun is not None:
        yield _record(CONNECTED, begun, session, fields)
    if ended is None:
        return
    talk = 0 if begun is None else max(0, ended - begun)
    yield _record(USER_END, ended, session, fields | {"type": _disconnect(one), "talk": talk, "held": 0})
    work = one.get("afterCallWork")
    done = time(work, "endTime") if isinstance(work, Mapping) else None
    began = time(work, "startTime") if isinstance(work, Mapping) else None
    if done is None:
        done, began = time(told, "endAcwTime"), time(told, "startAcwTime")
    if done is not None and talk:
        lasted = done - (ended if began is None else began)
        yield _record(WRAP, done, user, {"user": user, "queue": queue, "lasted": max(0, lasted)})
