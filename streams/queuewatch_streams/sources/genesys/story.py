"""What the records of one Genesys Cloud conversation say together, in whatever order they came.

A visit is an ACD session: the conversation's stay in one queue, by Genesys' own ids.  It is told as a call of its own,
`conversation/session`, not as the n-th stay of the conversation: that number would follow from the order of reading, which a
crash may change, and the lists of who waits name sessions too.

An ACD session ends when an agent takes it, so the time of its end is the answer's, and how long it was connected is the wait.
What is not told outright (who has left unanswered went where; the end of what got lost) waits until nothing that could say
otherwise comes any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.stories import Fact, Record, Said

__all__ = [
    "CONNECTED",
    "CUSTOMER_END",
    "END",
    "IGNORED",
    "START",
    "USER_END",
    "USER_START",
    "VOICEMAIL",
    "WRAP",
    "Storyteller",
]

# Kinds of records, in the order of those of one moment.
IGNORED: Final = "ignored"
"""The caller is left out."""
START: Final = "start"
"""ACD has begun: session, call, queue, media; customer, priority, skills, due."""
USER_START: Final = "user-start"
"""A session of an agent has begun: session, user, queue, media."""
CONNECTED: Final = "connected"
"""It is connected."""
END: Final = "end"
"""ACD has ended: as START, and outcome, user, type, connected (microseconds)."""
VOICEMAIL: Final = "voicemail"
"""A voicemail has begun."""
USER_END: Final = "user-end"
"""A session of an agent has ended: session, user, queue, media, type, talk, held (microseconds)."""
CUSTOMER_END: Final = "customer-end"
"""The customer has left: media."""
WRAP: Final = "wrap"
"""After-call work is over: user, queue, lasted (microseconds)."""

_SECOND: Final = 1_000_000
_SAME: Final = 2 * _SECOND
"""Times of one moment as told of two sessions differ by less: tens of milliseconds were seen."""
_NEXT: Final = 5 * _SECOND
"""What a call that flowed out of a queue went on to begins within that."""
_AT_ONCE: Final = _SECOND // 2
_NOBODY: Final = "unknown"
"""The agent of an answer of which nobody says whose it was."""
_HUNG_UP: Final = frozenset({"PEER", "CLIENT", "ENDPOINT"})
"""The caller's doing, as the ACD session's own end says it."""
_ENDED_BY: Final = {"PEER": "caller", "CLIENT": "agent", "ENDPOINT": "agent"}
_DECLINED: Final = {
    "CLIENT": "rejected",
    "ENDPOINT": "rejected",
    "DND_ENDPOINT": "rejected",
    "DND_TRANSFER": "rejected",
    "NO_ANSWER_TRANSFER": "no_answer",
    "TIMEOUT": "no_answer",
    "NOT_AVAILABLE_TRANSFER": "unavailable",
    "ERROR": "unavailable",
    "TRANSPORT_FAILURE": "unavailable",
    "UNCALLABLE": "unavailable",
}
"""How an agent's session that was never connected ended.  The others (PEER: the caller hung up) are not the agent's doing."""
_FLOWED: Final = {
    "TIMEOUT": "timeout",
    "NO_ANSWER_TRANSFER": "timeout",
    "NOT_AVAILABLE_TRANSFER": "no_agents",
    "CONSULT_TRANSFER": "transfer",
    "CONFERENCE_TRANSFER": "transfer",
    "FORWARD_TRANSFER": "transfer",
}
"""Where nothing is seen to follow."""


class _Stay:
    """An ACD session."""

    __slots__ = ("began", "begun", "call", "end", "entry", "media", "outcome", "queue", "session", "type", "user")

    def __init__(self, session: str) -> None:
        self.session = session
        self.call = self.queue = self.media = ""
        self.entry: dict[str, Any] = {}
        self.begun: int | None = None
        """When it began, as its beginning said."""
        self.began = 0
        """The same, or as its end said, or that end."""
        self.end: int | None = None
        self.outcome = self.type = self.user = ""


class _Answer(NamedTuple):
    at: int
    user: str
    sure: int


class _Session(NamedTuple):
    """An agent's session that is over."""

    ended: int
    connected: int
    user: str
    queue: str
    media: str
    type: str
    talk: int
    held: int


def _is_transfer(how: str) -> bool:
    return how.endswith("TRANSFER")


class Storyteller:
    """Tells conversations.

    :param late: microseconds by which a record may come after others that tell of later times.
    """

    def __init__(self, composer: Composer, late: int) -> None:
        self._composer = composer
        self._late = late + _NEXT
        """Also what follows upon something has come by then."""

    def tell(self, records: Sequence[Record], said: Said) -> Iterator[Fact]:
        """All that a conversation's records say.  Raises Unreadable."""
        if any(record.kind == IGNORED for record in records):
            return
        stays = _stays(records)
        if not stays:
            return
        told = _Told(records, stays, self._late)
        for stay in stays:
            yield from self._entry(told, stay)
            yield from self._offers(told, stay)
            answer = told.answers.get(stay.session)
            if answer is None:
                yield from self._unanswered(told, stay)
            else:
                yield from self._talk(told, stay, answer)

    def _fact(self, stay: _Stay, kind: str, at: int, sure: int = 0, which: str = "", **data: Any) -> Fact:
        return Fact(stay.session, stay.call, stay.queue, kind, at, data, which, sure)

    def _entry(self, told: _Told, stay: _Stay) -> Iterator[Fact]:
        """When it began to wait.  Told once more where more is known of how it came: of equal times the fuller one counts."""
        if stay.begun is None and (stay.end is None or stay.began == stay.end):
            return
        data = dict(stay.entry)
        variant = ""
        if stay.media == "callback":
            data["via"] = "callback"
        elif (before := told.before(stay)) is not None:
            first, via = before
            data["entered"] = moment(first)
            if via:
                data["via"] = via
            variant = f"{first}{via}"
        sure = 0 if stay.begun is not None else (stay.end or 0) + self._late
        yield self._fact(stay, "queued", stay.began, sure, variant, **data)

    def _offers(self, told: _Told, stay: _Stay) -> Iterator[Fact]:
        for record in told.of(USER_START):
            if told.is_in(stay, record.at, record.fields["queue"], record.fields["media"]):
                user = record.fields["user"]
                yield self._fact(stay, "ringing", record.at, which=user, agent=self._composer.agent(user))
        for session in told.sessions:
            if not session.talk and told.is_in(stay, session.ended, session.queue, session.media):
                reason = _DECLINED.get(session.type)
                if reason is not None and not self._composer.ignores_agent(session.user):
                    agent = self._composer.agent(session.user)
                    which = f"{session.user}/{session.ended}"
                    # It may turn out to belong to another stay as long as this one's end is not known.
                    within = stay.end is not None and stay.began <= session.ended <= stay.end
                    sure = 0 if within else session.ended + self._late
                    yield self._fact(stay, "declined", session.ended, sure, which, agent=agent, reason=reason)

    def _unanswered(self, told: _Told, stay: _Stay) -> Iterator[Fact]:
        late, end = self._late, stay.end
        if end is not None:
            if stay.outcome == "ABANDON":
                yield self._fact(stay, "abandoned", end)
            elif stay.outcome == "FLOW_OUT":
                yield self._diverted(told, stay, end, maybe_answered=False)
            elif _is_transfer(stay.type):
                yield self._diverted(told, stay, end, maybe_answered=True)
            else:
                yield self._fact(stay, "abandoned", end, 0 if stay.type in _HUNG_UP else end + late)
            return
        # Its end got lost, or is still to come.
        left = told.customer_left(stay)
        following = told.following(stay)
        recorded = next((record.at for record in told.of(VOICEMAIL) if record.at >= stay.began), None)
        if recorded is not None and (following is None or recorded < following.began):
            yield self._fact(stay, "diverted", recorded, recorded + late, reason="voicemail")
        elif following is not None and (left is None or following.began <= left):
            reason = "callback" if following.media == "callback" else "overflow"
            sure = following.began + late
            yield self._fact(stay, "diverted", following.began, sure, reason=reason, **self._to(following))
        elif left is not None:
            yield self._fact(stay, "abandoned", left, left + late)

    def _diverted(self, told: _Told, stay: _Stay, end: int, *, maybe_answered: bool) -> Fact:
        """Where it went is what began next; unless that follows at once, something that began before it may still be told."""
        nexts: list[tuple[int, str, _Stay | None]] = [
            (record.at, "voicemail", None) for record in told.of(VOICEMAIL) if stay.began <= record.at <= end + _NEXT
        ]
        for other in told.stays:
            if other.media == "callback" != stay.media:
                if stay.began <= other.began <= end + _NEXT:
                    nexts.append((other.began, "callback", other))
            elif other.began > stay.began and end - _SAME <= other.began <= end + _NEXT:
                nexts.append((other.began, "overflow", other))
        if not nexts:
            return self._fact(stay, "diverted", end, end + self._late, reason=_FLOWED.get(stay.type, "elsewhere"))
        at, reason, target = min(nexts, key=lambda each: each[:2])
        at_once = target is not None and at <= end + _AT_ONCE and stay.begun is not None and not maybe_answered
        to = {} if target is None else self._to(target)
        return self._fact(stay, "diverted", end, 0 if at_once else end + self._late, reason=reason, **to)

    def _to(self, stay: _Stay) -> dict[str, str]:
        name = self._composer.queue(stay.queue)
        return {} if name is None else {"to_queue": name}

    def _talk(self, told: _Told, stay: _Stay, answer: _Answer) -> Iterator[Fact]:
        late, agent = self._late, self._composer.agent(answer.user)
        yield self._fact(stay, "answered", answer.at, answer.sure, agent=agent)
        until = told.taken_again(answer)
        session = told.session_of(stay, answer, until)
        wrap = told.wrap_of(stay, answer, answer.at if session is None else session.ended, until)
        its_own = session is not None and abs(session.connected - answer.at) <= _SAME
        ended: int | None = None
        if session is not None:
            # A session that began with the answer is surely the one; of others an earlier one may still come.
            ended = max(session.ended, answer.at)
            sure = answer.sure if its_own else max(answer.sure, session.ended + late)
            by = _ENDED_BY.get(session.type, "transfer" if _is_transfer(session.type) else "system")
            yield self._fact(stay, "ended", ended, sure, agent=agent, by=by)
            if session.held:
                yield self._fact(stay, "held", max(answer.at, session.ended - session.held), sure, agent=agent)
        else:
            left = told.customer_left(stay, answer.at)
            if wrap is not None:
                begun = max(wrap.at - wrap.fields["lasted"], answer.at)
                ended = begun if left is None else min(begun, left)
            else:
                ended = left
            if ended is not None:
                known = wrap.at if wrap is not None and left is None else left
                yield self._fact(stay, "ended", ended, max(known or 0, ended) + late, agent=agent)
        if wrap is not None:
            follows = ended is not None and abs(wrap.at - wrap.fields["lasted"] - ended) <= _NEXT
            sure = answer.sure if its_own and follows else max(answer.sure, wrap.at + late)
            yield self._fact(stay, "wrapped", max(wrap.at, ended or 0), sure, agent=agent)


class _Told:
    """A conversation's records, as questions are asked of them."""

    def __init__(self, records: Sequence[Record], stays: Sequence[_Stay], late: int) -> None:
        self.stays = stays
        self._late = late
        self._records = records
        self.sessions = [_session(record) for record in records if record.kind == USER_END]
        self.answers: dict[str, _Answer] = {}
        """By session of the stay."""
        for stay in stays:
            answer = self._answer(stay)
            if answer is not None:
                self.answers[stay.session] = answer

    def of(self, kind: str) -> Iterable[Record]:
        """Its records of a kind."""
        return (record for record in self._records if record.kind == kind)

    def is_in(self, stay: _Stay, at: int, queue: str, media: str) -> bool:
        """Whether something that an agent did for a queue then belongs to a stay."""
        for around in (0, _SAME):
            found = None
            for each in self.stays:
                end = at if each.end is None else each.end
                if (each.queue, each.media) == (queue, media) and each.began - around <= at <= end + around:
                    found = each
            if found is not None:
                return found is stay
        return False

    def _answer(self, stay: _Stay) -> _Answer | None:
        if stay.outcome == "ANSWERED" and stay.end is not None:
            return _Answer(stay.end, stay.user or self._who(stay), 0)
        if stay.outcome in ("ABANDON", "FLOW_OUT"):
            return None
        for record in self.of(CONNECTED):
            if self.is_in(stay, record.at, record.fields["queue"], record.fields["media"]):
                return _Answer(max(record.at, stay.began), record.fields["user"], 0)
        for session in self.sessions:
            if session.talk and self.is_in(stay, session.connected, session.queue, session.media):
                return _Answer(max(session.connected, stay.began), session.user, session.ended + self._late)
        return None

    def _who(self, stay: _Stay) -> str:
        for session in self.sessions:
            if session.talk and self.is_in(stay, session.connected, session.queue, session.media):
                return session.user
        return _NOBODY

    def before(self, stay: _Stay) -> tuple[int, str] | None:
        """When the conversation first entered a queue, if that was another stay, and how it came from one to this.

        What more records may tell comes earlier by the alphabet, as it has to be for the fuller telling to count.
        """
        earlier = [each for each in self.stays if each.began < stay.began and each.media != "callback"]
        if not earlier:
            return None
        flowed = [
            each
            for each in earlier
            if self._flowed(each) and each.end is not None and stay.began - _NEXT <= each.end <= stay.began + _SAME
        ]
        if flowed:
            via = "requeue" if all(each.queue == stay.queue for each in flowed) else "overflow"
        else:
            via = "transfer" if any(each.session in self.answers for each in earlier) else ""
        return earlier[0].began, via

    def _flowed(self, stay: _Stay) -> bool:
        if stay.outcome:
            return stay.outcome == "FLOW_OUT"
        return _is_transfer(stay.type) and stay.session not in self.answers

    def following(self, stay: _Stay) -> _Stay | None:
        """The first stay that began after it."""
        return next((each for each in self.stays if each.began > stay.began), None)

    def customer_left(self, stay: _Stay, after: int = 0) -> int | None:
        """When the customer left, at the earliest then."""
        for record in self.of(CUSTOMER_END):
            if record.at >= max(stay.began, after) - _SAME and record.fields["media"] in ("", stay.media):
                return max(record.at, stay.began, after)
        return None

    def taken_again(self, answer: _Answer) -> int | None:
        """When the same agent took the conversation once more."""
        later = [each.at for each in self.answers.values() if each.at > answer.at and each.user == answer.user]
        return min(later, default=None)

    def session_of(self, stay: _Stay, answer: _Answer, until: int | None) -> _Session | None:
        """The agent's session that is the talk: the one that was connected nearest to the answer."""
        found = [
            session
            for session in self.sessions
            if session.talk
            and session.user == answer.user
            and session.queue in ("", stay.queue)
            and session.ended >= answer.at - _SAME
            and (until is None or session.connected < until - _SAME)
        ]
        return min(found, key=lambda session: (abs(session.connected - answer.at), session.ended), default=None)

    def wrap_of(self, stay: _Stay, answer: _Answer, after: int, until: int | None) -> Record | None:
        """The after-call work of the talk: what began next after it was over, or after the answer where that is not known."""
        found = [
            (abs(begun - after), record)
            for record in self.of(WRAP)
            if (begun := record.at - record.fields["lasted"]) >= after - _SAME
            and record.fields["user"] == answer.user
            and record.fields["queue"] in ("", stay.queue)
            and (until is None or begun < until)
        ]
        return min(found, key=lambda each: (each[0], each[1][:3]))[1] if found else None


def _stays(records: Sequence[Record]) -> list[_Stay]:
    """The ACD sessions in the order of their beginnings."""
    stays: dict[str, _Stay] = {}
    for record in records:  # of several that tell the same the earliest counts
        if record.kind not in (START, END):
            continue
        fields = record.fields
        stay = stays.setdefault(fields["session"], _Stay(fields["session"]))
        if not stay.call:
            stay.call, stay.queue, stay.media, stay.entry = (
                fields["call"], fields["queue"], fields["media"], fields["entry"],
            )  # fmt: skip
        if record.kind == START:
            if stay.begun is None:
                stay.begun = record.at
        elif stay.end is None or (fields["outcome"] and not stay.outcome):
            stay.end, stay.outcome = record.at, fields["outcome"]
            stay.type, stay.user = fields["type"], fields["user"]
            stay.began = record.at - fields["connected"]
    for stay in stays.values():
        if stay.begun is not None:
            stay.began = stay.begun
    return sorted(stays.values(), key=lambda stay: (stay.began, stay.session))


def _session(record: Record) -> _Session:
    fields = record.fields
    return _Session(
        record.at,
        record.at - fields["talk"],
        fields["user"],
        fields["queue"],
        fields["media"],
        fields["type"],
        fields["talk"],
        min(fields["held"], fields["talk"]),
    )
