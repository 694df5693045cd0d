"""Calls and their stays as a translator remembers them that listens live, and how their events are said.

Bounded by number: of one call more than there may be the oldest is forgotten.  Nothing is remembered before its event is
composed, so a record that cannot be said changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.shape import Out

__all__ = ["CLOSED", "TALKING", "WAITING", "AgentsTold", "Stay", "Visits"]

WAITING: Final = 0
TALKING: Final = 1
CLOSED: Final = 2

MOST_OPEN: Final = 20_000
"""Unfinished calls that are remembered."""
MOST_CLOSED: Final = 5_000
"""Finished calls that are remembered, since they may enter a queue again, and late records speak of them."""
MOST_STAYS: Final = 40
"""Stays of one call that are remembered."""
MOST_AGENTS: Final = 20_000


class Stay:
    """One visit: whose, where, which, since when, and how far it is.  Times in microseconds, 0 where unknown."""

    __slots__ = (
        "agent",
        "answered",
        "call",
        "ended",
        "how",
        "mark",
        "more",
        "name",
        "queue",
        "queued",
        "state",
        "visit",
    )

    def __init__(self, call: str, queue: str, name: str, visit: int, queued: int, mark: str = "") -> None:
        self.call = call
        """The vendor's id of the call."""
        self.queue = queue
        """The vendor's id of the queue."""
        self.name = name
        """Its stable name."""
        self.visit = visit
        self.queued = queued
        self.mark = mark
        """What else tells this stay from others of its call, in the vendor's words."""
        self.state = WAITING
        self.answered = 0
        self.agent = ""
        """Who answered, by the stable name."""
        self.ended = 0
        self.how = ""
        """How it ended, in our words."""
        self.more: dict[str, Any] = {}
        """What the translator itself has to know of it, as JSON can hold it."""


_KEPT: Final = ("queue", "name", "visit", "queued", "mark", "state", "answered", "agent", "ended", "how", "more")


class _Call:
    __slots__ = ("ignored", "open", "stays", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.stays: list[Stay] = []
        self.open = 0
        self.ignored = False


class Visits:
    """The calls of one source, and what is said of them."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._open: dict[str, _Call] = {}
        self._closed: dict[str, _Call] = {}
        self._wraps: list[tuple[int, str, str, str, int, bool]] = []
        """After-call work under way: (until, subject, queue, agent, visit, ignored), soonest first."""
        self._talks: dict[str, list[Stay]] = {}

    # ---------------------------------------------------------------------------------------------------------- asking

    def of(self, call: str) -> list[Stay]:
        """The stays of a call, oldest first; empty where it is not known."""
        found = self._open.get(call) or self._closed.get(call)
        return [] if found is None else found.stays

    def last(self, call: str, queue: str, *states: int) -> Stay | None:
        """The call's newest stay in a queue (by the vendor's id) that is in one of the states."""
        for stay in reversed(self.of(call)):
            if stay.queue == queue and stay.state in states:
                return stay
        return None

    def unfinished(self, *states: int) -> Iterator[Stay]:
        """All stays in one of the states, which are not CLOSED; may be ended meanwhile."""
        for call in list(self._open.values()):
            for stay in list(call.stays):
                if stay.state in states:
                    yield stay

    @property
    def open_calls(self) -> int:
        """How many calls have not ended."""
        return len(self._open)

    def talks(self, who: str) -> list[Stay]:
        """The stays that an agent, by the stable name, talks in."""
        return self._talks.get(who, [])

    def wrapping(self, who: str) -> bool:
        """Whether an agent does after-call work."""
        return any(each[3] == who for each in self._wraps)

    def subject(self, stay: Stay) -> str:
        """The call's name over all sources."""
        return self._composer.subject(stay.call)

    def ignored(self, stay: Stay) -> bool:
        """Whether nothing is said of the call."""
        call = self._open.get(stay.call) or self._closed.get(stay.call)
        return call is not None and call.ignored

    def ignores(self, call: str, caller: str) -> bool:
        """Whether nothing is to be said of a call, known or not, from a caller's number."""
        known = self._open.get(call) or self._closed.get(call)
        return (known is not None and known.ignored) or self._composer.ignores_caller(caller)

    def following(self, call: str, name: str) -> int:
        """The number of the call's next stay in a queue (by the stable name)."""
        return 1 + max((stay.visit for stay in self.of(call) if stay.name == name), default=0)

    # ---------------------------------------------------------------------------------------------------------- saying

    def enter(
        self, out: Out, at: int, call: str, queue: str, name: str, caller: str = "", mark: str = "", **more: Any
    ) -> Stay:
        """A stay begins.  Raises Unreadable.

        :param caller: the caller's number; empty where it is not known.
        :param more: further fields of `call.queued`.
        """
        found = self._call(call)
        told: dict[str, Any] = {"queue": name, **more}
        if found.stays:
            _tell_origin(found.stays, name, told)
        ignored = found.ignored or self._composer.ignores_caller(caller)
        if caller and (customer := self._composer.customer(caller)) is not None:
            told["customer"] = customer
        visit = self.following(call, name)
        self._say(out, "queued", at, found.subject, told, visit, ignored)
        found.ignored = ignored
        stay = Stay(call, queue, name, visit, at, mark)
        self._keep(found, stay)
        return stay

    def refuse(self, out: Out, at: int, call: str, queue: str, name: str, reason: str, caller: str = "") -> None:
        """A caller was not let in, which is a stay of its own, over at once.  Raises Unreadable."""
        found = self._call(call)
        visit = self.following(call, name)
        ignored = found.ignored or self._composer.ignores_caller(caller)
        self._say(out, "refused", at, found.subject, {"queue": name, "reason": reason}, visit, ignored)
        found.ignored = ignored
        stay = Stay(call, queue, name, visit, at)
        self._keep(found, stay)
        self._close(stay, at, "refused")

    def ring(self, out: Out, at: int, stay: Stay, who: str) -> None:
        """It rings at an agent, by the stable name.  Raises Unreadable."""
        self._about(out, "ringing", at, stay, {"agent": who}, f"{who}/")

    def decline(self, out: Out, at: int, stay: Stay, agent: str, reason: str) -> None:
        """An agent, by the vendor's id, did not take it.  Raises Unreadable."""
        who = self._composer.agent(agent)
        if self._composer.ignores_agent(agent):
            out.ignore("agent")
        else:
            self._about(out, "declined", at, stay, {"agent": who, "reason": reason}, f"{who}/{reason}/")

    def answer(self, out: Out, at: int, stay: Stay, who: str) -> None:
        """An agent took it.  Raises Unreadable."""
        self._about(out, "answered", at, stay, {"agent": who}, f"{who}/")
        stay.state, stay.answered, stay.agent = TALKING, at, who
        self._talks.setdefault(who, []).append(stay)

    def abandon(self, out: Out, at: int, stay: Stay) -> None:
        """The caller hung up while waiting.  Raises Unreadable."""
        if not self._ended_as_said(stay):
            self._about(out, "abandoned", at, stay, {})
            self._close(stay, at, "abandoned")

    def divert(self, out: Out, at: int, stay: Stay, reason: str) -> None:
        """It left unanswered, not by hanging up.  Raises Unreadable."""
        if not self._ended_as_said(stay):
            self._about(out, "diverted", at, stay, {"reason": reason})
            self._close(stay, at, reason)

    def hold(self, out: Out, at: int, stay: Stay, *, held: bool) -> None:
        """An agent puts the caller on hold, or takes him off it.  Raises Unreadable."""
        self._about(out, "held" if held else "resumed", at, stay, {"agent": stay.agent})

    def talk_on(self, leg: str) -> Stay | None:
        """The newest talk whose agent is on that channel, by its vendor's id; the translator keeps it in `more` as "leg"."""
        if not leg:
            return None
        found = (stay for stays in self._talks.values() for stay in stays if stay.more.get("leg") == leg)
        return max(found, key=lambda stay: (stay.answered, stay.call, stay.queue, stay.visit), default=None)

    def end(self, out: Out, at: int, stay: Stay, by: str | None) -> None:
        """The talk is over; `by` None: nobody knows who ended it.  Raises Unreadable."""
        at = max(at, stay.answered)
        self._about(out, "ended", at, stay, {"agent": stay.agent} if by is None else {"agent": stay.agent, "by": by})
        self._close(stay, at, by or "ended")

    def reopen(self, stay: Stay) -> None:
        """A stay that was said to have ended unanswered may be answered after all; if not, its end is not said again."""
        call = self._closed.pop(stay.call, None) or self._open.get(stay.call)
        if call is not None and stay in call.stays and stay.state == CLOSED:
            stay.more["said"] = [stay.ended, stay.how]
            stay.state, stay.ended, stay.how = WAITING, 0, ""
            call.open += 1
            self._open[stay.call] = call

    def forget(self, stay: Stay) -> None:
        """Nothing more will be said of an open stay here: its end was missed."""
        self._close(stay, 0, "lost")

    def wrap(self, stay: Stay, until: int) -> None:
        """After-call work for a stay that has just ended goes on until then."""
        self._wraps.append((until, self.subject(stay), stay.name, stay.agent, stay.visit, self.ignored(stay)))
        self._wraps.sort()
        del self._wraps[:-MOST_AGENTS]

    def end_wraps(self, at: int, out: Out) -> list[tuple[int, str]]:
        """Say which after-call work is over by then; when, and whose."""
        over: list[tuple[int, str]] = []
        while self._wraps and self._wraps[0][0] <= at:
            until, subject, name, who, visit, ignored = self._wraps.pop(0)
            self._say(out, "wrapped", until, subject, {"queue": name, "agent": who}, visit, ignored)
            over.append((until, who))
        return over

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> Any:
        """All that `recall` needs."""
        return {
            "open": {name: _kept(call) for name, call in self._open.items()},
            "closed": {name: _kept(call) for name, call in self._closed.items()},
            "wraps": list(self._wraps),
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._open = {name: _recalled(name, kept) for name, kept in memory["open"].items()}
        self._closed = {name: _recalled(name, kept) for name, kept in memory["closed"].items()}
        self._wraps = [tuple(each) for each in memory["wraps"]]
        self._talks = {}
        for stay in self.unfinished(TALKING):
            self._talks.setdefault(stay.agent, []).append(stay)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _call(self, call: str) -> _Call:
        return self._open.get(call) or self._closed.get(call) or _Call(self._composer.subject(call))

    def _about(self, out: Out, kind: str, at: int, stay: Stay, data: dict[str, Any], which: str = "") -> None:
        told = {"queue": stay.name, **data}
        self._say(out, kind, at, self.subject(stay), told, stay.visit, self.ignored(stay), which)

    def _say(
        self,
        out: Out,
        kind: str,
        at: int,
        subject: str,
        told: dict[str, Any],
        visit: int,
        ignored: bool,
        which: str = "",
    ) -> None:
        if ignored:
            out.ignore("caller")
        else:
            self._composer.call(out, kind, at, subject, told, visit=visit, which=which)

    def _keep(self, call: _Call, stay: Stay) -> None:
        call.stays.append(stay)
        if len(call.stays) > MOST_STAYS:
            gone = next((each for each in call.stays if each.state == CLOSED), call.stays[0])
            call.open -= gone.state != CLOSED
            self._quiet(gone)
            call.stays.remove(gone)
        call.open += 1
        self._closed.pop(stay.call, None)
        self._open[stay.call] = call
        if len(self._open) > MOST_OPEN:
            for forgotten in self._open.pop(next(iter(self._open))).stays:
                self._quiet(forgotten)

    def _ended_as_said(self, stay: Stay) -> bool:
        """Whether it had been reopened, and has ended by what was said before."""
        said = stay.more.pop("said", None)
        if said is not None:
            self._close(stay, *said)
        return said is not None

    def _quiet(self, stay: Stay) -> None:
        """It is no talk any more."""
        talks = self._talks.get(stay.agent)
        if stay.state == TALKING and talks is not None and stay in talks:
            talks.remove(stay)
            if not talks:
                del self._talks[stay.agent]

    def _close(self, stay: Stay, at: int, how: str) -> None:
        if stay.state == CLOSED:
            return
        self._quiet(stay)
        stay.state, stay.ended, stay.how = CLOSED, at, how
        call = self._open.get(stay.call)
        if call is None or stay not in call.stays:
            return
        call.open -= 1
        if not call.open:
            self._closed[stay.call] = self._open.pop(stay.call)
            if len(self._closed) > MOST_CLOSED:
                del self._closed[next(iter(self._closed))]


def _tell_origin(stays: list[Stay], name: str, told: dict[str, Any]) -> None:
    """Where a call that was in a queue before comes from."""
    before = next((stay for stay in stays if stay.state == TALKING), stays[-1])
    if before.state == TALKING or before.how == "transfer":
        told["via"] = "transfer"
    elif before.how in ("timeout", "no_agents", "overflow", "refused"):
        told["via"] = "requeue" if before.name == name else "overflow"
    told["from_queue"] = before.name
    told["entered"] = moment(stays[0].queued)


def _kept(call: _Call) -> list[Any]:
    """A copy: what is being saved must not change when the next records come."""
    stays = [[*(getattr(stay, each) for each in _KEPT[:-1]), dict(stay.more)] for stay in call.stays]
    return [call.subject, call.ignored, stays]


def _recalled(name: str, kept: list[Any]) -> _Call:
    call = _Call(kept[0])
    call.ignored = kept[1]
    for values in kept[2]:
        stay = Stay(name, *values[:5])
        stay.state, stay.answered, stay.agent, stay.ended, stay.how, stay.more = values[5:]
        call.stays.append(stay)
        call.open += stay.state != CLOSED
    return call


class AgentsTold:
    """What was said last of each agent, so that it is said only when it changes."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._told: dict[str, Any] = {}

    def tell(
        self,
        out: Out,
        at: int,
        vendor: str,
        state: str,
        queues: Iterable[str],
        *,
        reason: str = "",
        on: Iterable[str] = (),
    ) -> None:
        """Say what an agent does, where that is news.  Raises Unreadable.

        :param vendor: the agent as the vendor calls him.
        :param on: queues of the calls that he is talking in.
        """
        serves, contacts = sorted(set(queues)), sorted(on)
        who = self._composer.agent(vendor)
        told = [state, reason, serves, contacts]
        if self._told.get(who) == told:
            return
        if self._composer.ignores_agent(vendor):
            out.ignore("agent")
        else:
            more: dict[str, Any] = {}
            if contacts:
                more["contacts"] = [{"channel": "voice", "state": state, "queue": each} for each in contacts]
            if reason:
                more["reason"] = reason[:200]
            self._composer.agent_state(out, at, who, state, serves, **more)
        self._told[who] = told
        if len(self._told) > MOST_AGENTS:
            del self._told[next(iter(self._told))]

    def memory(self) -> Any:
        """All that `recall` needs."""
        return dict(self._told)

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._told = dict(memory)
