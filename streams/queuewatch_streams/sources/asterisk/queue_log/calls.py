"""Which calls and stays of a log are remembered, which stay a line fits, and how its events are said.

Not `visits.Visits`: lines of one call come in no reliable order, so a stay is looked for by when it began, not only by its
state; and this is done for every line of a log, two hundred thousand a second.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from queuewatch_streams.sources.asterisk.queue_log.lines import NO_CALLS, SECOND
from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["CLOSED", "MOST_CLOSED", "MOST_OPEN", "TALKING", "WAITING", "Call", "Calls", "Stay"]

WAITING: Final = 0
TALKING: Final = 1
CLOSED: Final = 2

MOST_OPEN: Final = 20_000
"""Unfinished calls that are remembered; of one more the oldest is forgotten, and its end rebuilt from the durations."""
MOST_CLOSED: Final = 5_000
"""Finished calls that are remembered, since they may enter a queue again or be told twice."""
_MOST_STAYS: Final = 40
"""Stays of one call that are remembered."""
_SWEPT_EVERY: Final = 3600 * SECOND
_FORGOTTEN_AFTER: Final = 24 * 3600 * SECOND
"""After so long without a line an unfinished call's end is lost."""


class Stay:
    """One visit: where, which, since when, and how far it is."""

    __slots__ = ("agent", "answered", "entered", "how", "mark", "name", "queue", "state", "visit")

    def __init__(self, queue: str, name: str, visit: int, entered: int, mark: str) -> None:
        self.queue = queue
        """The vendor's id in small letters: entries have it as the dialplan spells it, answers as queues.conf does."""
        self.name = name
        """The stable name."""
        self.visit = visit
        self.entered = entered
        self.mark = mark
        """What else tells its entry from another one's: the position."""
        self.state = WAITING
        self.answered = 0
        self.agent = ""
        self.how = ""
        """How it ended: the event, in our words."""


class Call:
    """A call and its stays, oldest first."""

    __slots__ = ("callid", "ignored", "open", "seen", "stays", "subject")

    def __init__(self, callid: str, subject: str) -> None:
        self.callid = callid
        """The vendor's id."""
        self.subject = subject
        """The name over all sources."""
        self.stays: list[Stay] = []
        self.open = 0
        """How many stays are not closed."""
        self.seen = 0
        self.ignored = False
        """Nothing is said of it."""

    def only(self, queue: str, state: int) -> Stay | None:
        """The one stay in that queue and state; None where there is none, or more."""
        stays = self.stays
        if len(stays) == 1:
            stay = stays[0]
            return stay if stay.state == state and stay.queue == queue else None
        found = None
        for stay in stays:
            if stay.state == state and stay.queue == queue:
                if found is not None:
                    return None
                found = stay
        return found

    def nearest(self, queue: str, state: int, entered: int) -> Stay | None:
        """The stay in that queue and state that began nearest to a time."""
        fitting = [stay for stay in self.stays if stay.state == state and stay.queue == queue]
        return min(fitting, key=lambda stay: abs(stay.entered - entered), default=None)

    def nearest_talk(self, queue: str, agent: str, answered: int) -> Stay | None:
        """The talking stay in that queue that fits best: first by the agent, then by the time of the answer."""
        fitting = [stay for stay in self.stays if stay.state == TALKING and stay.queue == queue]
        return min(fitting, key=lambda stay: (stay.agent != agent, abs(stay.answered - answered)), default=None)

    def following(self, name: str) -> int:
        """The number of its next stay in a queue (by the stable name)."""
        visit = 1
        for stay in self.stays:
            if stay.name == name and stay.visit >= visit:
                visit = stay.visit + 1
        return visit


class Calls:
    """The calls of one log, bounded by number and by time."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self.open: dict[str, Call] = {}
        """Those that wait or talk, by the vendor's id."""
        self.closed: dict[str, Call] = {}
        """Those that have no open stay."""
        self._swept = 0

    def without_a_stay(self, callid: str) -> Call:
        """A call that has no open stay: known as finished, or new.  Raises Unreadable."""
        call = self.closed.get(callid)
        if call is not None:
            return call
        if callid in NO_CALLS:
            raise Unreadable("missing_field", "it is about a call, but names none")
        return Call(callid, self._composer.subject(callid))

    def say(self, out: Out, kind: str, at: int, call: Call, told: dict[str, Any], visit: int, which: str = "") -> None:
        """An event of a call, unless it is ignored.  Raises Unreadable."""
        if call.ignored:
            out.ignore("caller")
            return
        self._composer.call(out, kind, at, call.subject, told, visit, which)

    def begin(
        self,
        out: Out,
        at: int,
        call: Call,
        queue: str,
        name: str,
        before: int,
        mark: str = "",
        customer: str | None = None,
    ) -> Stay:
        """A stay begins.  Raises Unreadable.

        :param queue: by the vendor's id in small letters; `name` is its stable name.
        :param before: the time of the line before.
        """
        visit, stays = 1, call.stays
        told: dict[str, Any] = {"queue": name}
        if stays:
            visit = call.following(name)
            _tell_origin(stays, name, told)
        if customer is not None:
            told["customer"] = customer
        self.say(out, "queued", at, call, told, visit)  # first, as it may be refused
        stay = Stay(queue, name, visit, at, mark)
        if len(stays) >= _MOST_STAYS:
            gone = next((each for each in stays if each.state == CLOSED), stays[0])
            call.open -= gone.state != CLOSED
            stays.remove(gone)
        stays.append(stay)
        if not call.open:
            self.closed.pop(call.callid, None)
            self.open[call.callid] = call
            if len(self.open) > MOST_OPEN:
                _forget_oldest(self.open)
            if at - self._swept > _SWEPT_EVERY:
                self._sweep(min(at, before))
        call.open += 1
        call.seen = at
        return stay

    def _sweep(self, at: int) -> None:
        """Forget calls whose end must have been lost; `at` is a time that two lines agree on, as one may be bad."""
        self._swept = at
        for callid in [each for each, call in self.open.items() if 0 < call.seen < at - _FORGOTTEN_AFTER]:
            del self.open[callid]

    def refuse(self, out: Out, at: int, call: Call, queue: str, name: str, reason: str) -> None:
        """A caller was not let in, which is a stay of its own, over at once.  Raises Unreadable."""
        visit = call.following(name)
        self.say(out, "refused", at, call, {"queue": name, "reason": reason}, visit)
        stay = Stay(queue, name, visit, at, "")
        call.stays.append(stay)
        if len(call.stays) > _MOST_STAYS:
            gone = next(each for each in call.stays if each.state == CLOSED or each is stay)
            call.stays.remove(gone)
        if call.open:
            stay.state, stay.how = CLOSED, "refused"
        else:
            call.open = 1
            self.closed.pop(call.callid, None)
            self.end(call, stay, at, "refused")

    def end(self, call: Call, stay: Stay, at: int, how: str) -> None:
        """A stay ends; its event is said by who knows which."""
        stay.state, stay.how = CLOSED, how
        call.open -= 1
        call.seen = at
        if call.open <= 0:
            call.open = 0
            self.open.pop(call.callid, None)
            closed = self.closed
            closed[call.callid] = call
            if len(closed) > MOST_CLOSED:
                _forget_oldest(closed)

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs."""
        return {
            "swept": self._swept,
            "open": {callid: _kept(call) for callid, call in self.open.items()},
            "closed": {callid: _kept(call) for callid, call in self.closed.items()},
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._swept = memory["swept"]
        self.open = {callid: _recalled(callid, kept) for callid, kept in memory["open"].items()}
        self.closed = {callid: _recalled(callid, kept) for callid, kept in memory["closed"].items()}


_KEPT: Final = ("queue", "name", "visit", "entered", "mark", "state", "answered", "agent", "how")


def _tell_origin(stays: list[Stay], name: str, told: dict[str, Any]) -> None:
    """Where a call that was in a queue before comes from."""
    before = stays[-1]
    for stay in stays:
        if stay.state == TALKING:
            before = stay
    if before.state == TALKING or before.how == "transfer":
        told["via"] = "transfer"
    elif before.how in ("timeout", "no_agents", "refused"):
        told["via"] = "requeue" if before.name == name else "overflow"
    told["from_queue"] = before.name
    told["entered"] = moment(stays[0].entered)


def _forget_oldest(calls: dict[str, Call]) -> None:
    """Forget a twentieth at once: the first key of a dictionary whose first ones were deleted takes long to find."""
    for callid in list(islice(calls, len(calls) // 20)):
        del calls[callid]


def _kept(call: Call) -> list[Any]:
    return [call.subject, call.seen, call.ignored, [[getattr(stay, each) for each in _KEPT] for stay in call.stays]]


def _recalled(callid: str, kept: list[Any]) -> Call:
    call = Call(callid, kept[0])
    call.seen, call.ignored = kept[1], kept[2]
    for values in kept[3]:
        stay = Stay(values[0].lower(), *values[1:5])
        stay.state, stay.answered, stay.agent, stay.how = values[5:]
        call.stays.append(stay)
        call.open += stay.state != CLOSED
    return call
