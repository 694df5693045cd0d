"""What the lines of Asterisk's queue_log mean; docs/sources/asterisk-queue-log.md says it for operators.

A visit is a call's n-th ENTERQUEUE in one queue.  Lines of the same call stand in no reliable order, are doubled or missing,
and a call may be in one queue twice at once (a blind transfer's new entry comes before the old visit's last line).  But every
line that ends something says how long it lasted, so a line is taken for that stay whose entry or answer fits best; where no
stay fits, it is rebuilt from the durations.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.shape import Counters, Out, Unreadable

__all__ = ["QueueLog", "Tally", "lines_of"]

SECOND: Final = 1_000_000
NO_CALLS: Final = frozenset({"NONE", "REALTIME", "MANAGER", "CLI", ""})
"""Call ids of lines that are about no call."""
NOBODY: Final = frozenset({"NONE", ""})

MOST_OPEN: Final = 20_000
"""Unfinished calls that are remembered; of one more the oldest is forgotten, and its end rebuilt from the durations."""
MOST_CLOSED: Final = 5_000
"""Finished calls that are remembered, since they may enter a queue again or be told twice."""
MOST_STAYS: Final = 40
"""Stays of one call that are remembered."""
MOST_AGENTS: Final = 20_000
SWEPT_EVERY: Final = 3600 * SECOND
FORGOTTEN_AFTER: Final = 24 * 3600 * SECOND
"""After so long without a line an unfinished call's end is lost."""
LAST_SIGN: Final = 600 * SECOND
"""What was open when Asterisk died is closed at most so long before its restart: earlier events would be too late to count."""
CLOSE: Final = 2 * SECOND
"""Two times that differ by no more are the same moment: stamps and durations are cut to whole seconds, each on its own."""
_LONGEST: Final = 10_000_000
"""Seconds; a duration beyond it (115 days) is none."""

_WAITING, _TALKING, _CLOSED = 0, 1, 2

_REFUSED: Final = {
    "JOINEMPTY": "no_agents",
    "FULL": "full",
    "CLOSED": "closed",
    "DIVERT_CA_RATIO": "other",
    "DIVERT_HOLDTIME": "other",
}
_LEFT: Final = {
    # the event: what becomes of the visit, why, and at which place the wait stands
    "ABANDON": ("abandoned", None, 2),
    "EXITEMPTY": ("diverted", "no_agents", 2),
    "EXITWITHTIMEOUT": ("diverted", "timeout", 2),
    "EXITWITHKEY": ("diverted", "key", 3),
    "WITHDRAW": ("diverted", "withdrawn", 2),
}
_NO_MEANING: Final = ("CONFIGRELOAD", "RINGCANCELED", "PENALTY", "RINGINUSE", "SYSCOMPAT", "DID", "INFO")
_PLAIN_EVENT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")


class _Stay:
    """One visit: where, which, since when, and how far it is."""

    __slots__ = ("agent", "answered", "entered", "how", "mark", "name", "queue", "state", "visit")

    def __init__(self, queue: str, name: str, visit: int, entered: int, mark: str) -> None:
        self.queue = queue
        """The vendor's id."""
        self.name = name
        """The stable name."""
        self.visit = visit
        self.entered = entered
        self.mark = mark
        """What else tells its entry from another one's: the position."""
        self.state = _WAITING
        self.answered = 0
        self.agent = ""
        self.how = ""
        """How it ended: the event, in our words."""


class _Call:
    """A call and its stays, oldest first."""

    __slots__ = ("ignored", "open", "seen", "stays", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.stays: list[_Stay] = []
        self.open = 0
        """How many stays are not closed."""
        self.seen = 0
        self.ignored = False


class _Agent:
    """What an agent does, as far as the log says."""

    __slots__ = ("everywhere", "last", "offline", "on", "paused", "serves", "texts", "told", "wrapping")

    def __init__(self) -> None:
        self.serves: list[str] = []
        """The queues that he is known to serve, sorted; never changed in place."""
        self.texts: dict[str, bytes] = {}
        """The data of what he was told to do in them."""
        self.paused: dict[str, str] = {}
        """Queues in which he pauses, and why."""
        self.everywhere: str | None = None
        """Why he pauses in all queues; None: he does not."""
        self.offline = False
        self.on: list[str] | None = None
        """The call and the queue that he talks in."""
        self.wrapping = 0
        """Until when he does after-call work."""
        self.last: tuple[str, str, int] | None = None
        """His last finished visit: call, queue, visit."""
        self.told: list[Any] = []
        """What was told last."""

    def serve(self, queue: str) -> None:
        """He serves that queue."""
        if queue not in self.serves:
            self.serves, self.texts = sorted([*self.serves, queue]), {}

    def leave(self, queue: str) -> None:
        """He no longer does."""
        self.serves, self.texts = [each for each in self.serves if each != queue], {}

    def kept(self) -> list[Any]:
        """For the memory."""
        pauses = [self.paused, self.everywhere, self.offline]
        return [self.serves, *pauses, self.on, self.wrapping, self.last, self.told]

    @classmethod
    def recalled(cls, kept: list[Any]) -> _Agent:
        """From the memory."""
        state = cls()
        state.serves, state.paused, state.everywhere, state.offline, state.on, state.wrapping, last, state.told = kept
        state.last = None if last is None else (last[0], last[1], last[2])
        return state


class QueueLog:
    """The translator of lines as Asterisk writes them to the file: `epoch|callid|queue|agent|EVENT|data…`, as bytes."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        self.newest = 0
        self._composer = composer
        self._looks_at_callers = composer.looks_at_callers
        self._open: dict[str, _Call] = {}
        self._closed: dict[str, _Call] = {}
        self._agents: dict[str, _Agent] = {}
        self._wraps: list[tuple[int, str, str, str, int]] = []
        """After-call work under way: (until, agent, call, queue, visit), soonest first."""
        self._last = 0
        """The time of the line before."""
        self._swept = 0
        self._stamp, self._at = "|", 0
        """The first field of the line before, and what it means."""
        self._handlers: dict[str, Callable[[int, list[str], Out], None]] = {
            "ENTERQUEUE": self._enter,
            "CONNECT": self._connect,
            **dict.fromkeys(("COMPLETEAGENT", "COMPLETECALLER"), self._complete),
            **dict.fromkeys(("BLINDTRANSFER", "TRANSFER", "ATTENDEDTRANSFER"), self._complete),
            **dict.fromkeys(_LEFT, self._leave),
            **dict.fromkeys(_REFUSED, self._refuse),
            **dict.fromkeys(("RINGNOANSWER", "AGENTDUMP"), self._decline),
            **dict.fromkeys(("PAUSE", "UNPAUSE", "PAUSEALL", "UNPAUSEALL"), self._pause),
            **dict.fromkeys(("AGENTLOGIN", "AGENTCALLBACKLOGIN", "AGENTLOGOFF", "AGENTCALLBACKLOGOFF"), self._log_in),
            **dict.fromkeys(("ADDMEMBER", "REMOVEMEMBER"), self._member),
            "WRAPUPSTART": self._wrap,
            "QUEUESTART": self._start,
            **dict.fromkeys(_NO_MEANING, self._nothing),
        }
        if memory is not None:
            self._recall(memory)

    @property
    def open_calls(self) -> int:
        """How many calls wait or talk."""
        return len(self._open)

    # ----------------------------------------------------------------------------------------------------- the records

    def translate(self, record: bytes, out: Out) -> None:
        """Say what a line means; a blank one means nothing."""
        fields = record.decode("utf-8", "replace").rstrip("\r\n").split("|")
        try:
            if fields[0] != self._stamp:
                if len(fields) == 1 and not fields[0].strip():
                    return
                self._at = _epoch(fields[0])
                self._stamp = fields[0]
            handler = self._handlers.get(fields[4]) if len(fields) > 4 else None
            if handler is None or self._wraps:
                self._say_of(self._at, fields, out)
                return
            at = self._at
            handler(at, fields, out)
            self._last = at
            if at > self.newest:
                self.newest = at
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _say_of(self, at: int, fields: list[str], out: Out) -> None:
        """Say what a record means whose time is known; its first field is not looked at.  Raises Unreadable."""
        if len(fields) < 5:
            raise Unreadable("unreadable", f"it has {len(fields)} fields of at least 5")
        handler = self._handlers.get(fields[4])
        if handler is None:
            fields = _unshifted(fields, self._handlers)
            handler = self._handlers[fields[4]]
        if self._wraps:
            self._end_wraps(at, out)
        handler(at, fields, out)
        self._last = at
        if at > self.newest:
            self.newest = at

    def advance(self, at: int, out: Out) -> None:
        """After-call work that lasted until then at most is over."""
        self._end_wraps(at, out)

    # ----------------------------------------------------------------------------------------------------------- calls

    def _enter(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue = fields[1], fields[2]
        composer = self._composer
        name = composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        mark = fields[7] if len(fields) > 7 else ""
        call = self._open.get(callid)
        if call is None:
            call = self._call(callid, at)
        told: dict[str, Any] = {"queue": name}
        if call.stays:
            for stay in call.stays:
                if stay.queue == queue and stay.state != _CLOSED and stay.mark == mark:
                    apart = at - stay.entered
                    if apart == 0 or (stay.state == _WAITING and -SECOND <= apart <= SECOND):
                        out.ignore("repeated")
                        return
            self._origin(call, name, told)
        if self._looks_at_callers and len(fields) > 6:
            if composer.ignores_caller(fields[6]):
                call.ignored = True
            if (customer := composer.customer(fields[6])) is not None:
                told["customer"] = customer
        self._begin(call, callid, queue, name, at, mark, told, out)

    def _call(self, callid: str, at: int) -> _Call:
        """A call that has no open stay: known as finished, or new."""
        call = self._closed.get(callid)
        if call is not None:
            return call
        if callid in NO_CALLS:
            raise Unreadable("missing_field", "it is about a call, but names none")
        return _Call(self._composer.subject(callid))

    def _origin(self, call: _Call, name: str, told: dict[str, Any]) -> None:
        """Where a call that was in a queue before comes from."""
        before = call.stays[-1]
        for stay in call.stays:
            if stay.state == _TALKING:
                before = stay
        if before.state == _TALKING or before.how == "transfer":
            told["via"] = "transfer"
        elif before.how in ("timeout", "no_agents", "refused"):
            told["via"] = "requeue" if before.name == name else "overflow"
        told["from_queue"] = before.name
        told["entered"] = moment(call.stays[0].entered)

    def _begin(
        self, call: _Call, callid: str, queue: str, name: str, at: int, mark: str, told: dict[str, Any], out: Out
    ) -> _Stay:
        """A stay begins."""
        visit, stays = 1, call.stays
        for stay in stays:
            if stay.name == name and stay.visit >= visit:
                visit = stay.visit + 1
        self._say(out, "queued", at, call, told, visit)  # first, as it may be refused
        stay = _Stay(queue, name, visit, at, mark)
        if len(stays) >= MOST_STAYS:
            gone = next((each for each in stays if each.state == _CLOSED), stays[0])
            call.open -= gone.state != _CLOSED
            stays.remove(gone)
        stays.append(stay)
        if not call.open:
            self._closed.pop(callid, None)
            self._open[callid] = call
            if len(self._open) > MOST_OPEN:
                _forget_oldest(self._open)
            if at - self._swept > SWEPT_EVERY:
                self._sweep(min(at, self._last))
        call.open += 1
        call.seen = at
        return stay

    def _sweep(self, at: int) -> None:
        """Forget calls whose end must have been lost; `at` is a time that two lines agree on, as one may be bad."""
        self._swept = at
        for callid in [each for each, call in self._open.items() if 0 < call.seen < at - FORGOTTEN_AFTER]:
            del self._open[callid]

    def _end(self, call: _Call, callid: str, stay: _Stay, at: int, how: str) -> None:
        """A stay ends."""
        stay.state, stay.how = _CLOSED, how
        call.open -= 1
        call.seen = at
        if call.open <= 0:
            call.open = 0
            self._open.pop(callid, None)
            closed = self._closed
            closed[callid] = call
            if len(closed) > MOST_CLOSED:
                _forget_oldest(closed)

    def _say(
        self, out: Out, kind: str, at: int, call: _Call, told: dict[str, Any], visit: int, which: str = ""
    ) -> None:
        if call.ignored:
            out.ignore("caller")
            return
        self._composer.call(out, kind, at, call.subject, told, visit, which)

    def _connect(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent = fields[1], fields[2], fields[3]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        who = self._composer.agent(agent)
        call = self._open.get(callid)
        stay = None
        if call is not None:
            stay = _only(call.stays, queue, _WAITING) or _nearest(call.stays, queue, _WAITING, at - _seconds(fields, 0))
        if call is None or stay is None:
            hold = _seconds(fields, 0)
            call = call or self._call(callid, at)
            for each in call.stays:
                if each.queue == queue and each.agent == agent and -SECOND <= at - each.answered <= SECOND:
                    out.ignore("repeated")
                    return
            told: dict[str, Any] = {"queue": name}
            if call.stays:
                self._origin(call, name, told)
            stay = self._begin(call, callid, queue, name, at - hold, "", told, out)
        self._answer(call, callid, stay, at, agent, who, out)

    def _answer(self, call: _Call, callid: str, stay: _Stay, at: int, agent: str, who: str, out: Out) -> None:
        self._say(out, "answered", at, call, {"queue": stay.name, "agent": who}, stay.visit, f"{who}/")
        stay.state, stay.answered, stay.agent = _TALKING, at, agent
        call.seen = at
        state = self._agents.get(who) or self._agent(who)
        if stay.name not in state.serves:
            state.serve(stay.name)
        state.offline, state.on, state.wrapping = False, [callid, stay.name], 0
        self._tell_agent(out, at, agent, who, state, f"CONNECT/{callid}")

    def _complete(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent, event = fields[1], fields[2], fields[3], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        by = _BY[event]
        # What stands before the durations of an attended transfer may hold any number of bars.
        place = max(2, len(fields) - 8) if event == "ATTENDEDTRANSFER" else 2 if by == "transfer" else 0
        call, stay = self._open.get(callid), None
        if call is not None:
            stay = _only(call.stays, queue, _TALKING)
            if stay is None or stay.agent != agent:
                talk = _seconds(fields, place + 1)
                stay = _nearest_talk(call.stays, queue, agent, at - talk) or stay
        if call is None or stay is None:
            found = self._unfinished(call, callid, queue, name, agent, at, fields, place, out)
            if found is None:
                out.ignore("repeated")
                return
            call, callid, stay = found
        who = self._composer.agent(agent)
        told = {"queue": stay.name, "agent": who, "by": by}
        self._say(out, "ended", at, call, told, stay.visit)
        self._end(call, callid, stay, at, by)
        state = self._agent(who)
        state.last = (call.subject, stay.name, stay.visit)
        if state.on == [callid, stay.name]:
            state.on = None
            self._tell_agent(out, at, agent, who, state, f"{event}/{callid}")

    def _unfinished(
        self,
        call: _Call | None,
        callid: str,
        queue: str,
        name: str,
        agent: str,
        at: int,
        fields: list[str],
        place: int,
        out: Out,
    ) -> tuple[_Call, str, _Stay] | None:
        """The stay of an end of talk that no talking stay of the call fits; None where it was told before."""
        hold, talk = _seconds(fields, place), _seconds(fields, place + 1)
        answered = at - talk
        entered = answered - hold
        call = call or self._call(callid, at)
        who = self._composer.agent(agent)
        stay = _nearest(call.stays, queue, _WAITING, entered)
        if stay is not None and abs(stay.entered - entered) <= CLOSE:  # its CONNECT is missing
            self._answer(call, callid, stay, max(answered, stay.entered), agent, who, out)
            return call, callid, stay
        for each in call.stays:
            if each.queue == queue and each.state == _CLOSED and abs(each.entered - entered) <= CLOSE:
                return None
        talks = self._agent(
            who
        ).on  # in an attended transfer the call's id may change; the agent talks with one at a time
        known = None if talks is None else self._open.get(talks[0])
        if talks is not None and known is not None:
            for each in known.stays:
                if (
                    each.state == _TALKING
                    and each.queue == queue
                    and each.agent == agent
                    and abs(each.answered - answered) <= CLOSE
                    and abs(each.entered - entered) <= CLOSE
                ):
                    return known, talks[0], each
        told: dict[str, Any] = {"queue": name}
        if call.stays:
            self._origin(call, name, told)
        stay = self._begin(call, callid, queue, name, entered, "", told, out)
        self._answer(call, callid, stay, answered, agent, who, out)
        return call, callid, stay

    def _leave(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, event = fields[1], fields[2], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        kind, reason, place = _LEFT[event]
        call, stay = self._open.get(callid), None
        if call is not None:
            stay = _only(call.stays, queue, _WAITING)
            if stay is None:
                wait = _seconds(fields, place) if len(fields) > place + 5 else 0
                stay = _nearest(call.stays, queue, _WAITING, at - wait)
        if call is None or stay is None:
            call = call or self._call(callid, at)
            entered = at - _seconds(fields, place)
            for each in call.stays:
                if each.queue == queue and abs(each.entered - entered) <= CLOSE:
                    out.ignore("repeated")
                    return
            told: dict[str, Any] = {"queue": name}
            if call.stays:
                self._origin(call, name, told)
            stay = self._begin(call, callid, queue, name, entered, "", told, out)
        self._say(
            out, kind, at, call, {"queue": name} if reason is None else {"queue": name, "reason": reason}, stay.visit
        )
        self._end(call, callid, stay, at, reason or kind)

    def _refuse(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, event = fields[1], fields[2], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        call = self._open.get(callid) or self._call(callid, at)
        visit = 1
        for stay in call.stays:
            if stay.queue == queue and stay.how == "refused" and stay.entered == at:
                out.ignore("repeated")
                return
            if stay.name == name and stay.visit >= visit:
                visit = stay.visit + 1
        self._say(out, "refused", at, call, {"queue": name, "reason": _REFUSED[event]}, visit)
        stay = _Stay(queue, name, visit, at, "")
        call.stays.append(stay)
        if len(call.stays) > MOST_STAYS:
            gone = next(each for each in call.stays if each.state == _CLOSED or each is stay)
            call.stays.remove(gone)
        if call.open:
            stay.state, stay.how = _CLOSED, "refused"
        else:
            call.open = 1
            self._closed.pop(callid, None)
            self._end(call, callid, stay, at, "refused")

    def _decline(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent, event = fields[1], fields[2], fields[3], fields[4]
        composer = self._composer
        name = composer.queue(queue)
        if name is None or composer.ignores_agent(agent):
            out.ignore("queue" if name is None else "agent")
            return
        call = self._open.get(callid) or self._closed.get(callid)
        stay = None
        if call is not None:
            stay = next((each for each in reversed(call.stays) if each.queue == queue and each.state == _WAITING), None)
            stay = stay or next((each for each in reversed(call.stays) if each.queue == queue), None)
        if call is None or stay is None:
            out.ignore("no_meaning")
            return
        who = composer.agent(agent)
        if event == "AGENTDUMP":
            reason, which = "rejected", f"{who}/dump/"
        else:
            rang = fields[5] if len(fields) > 5 else ""
            reason, which = "busy" if rang == "0" else "no_answer", f"{who}/{rang[:12]}/"
        self._say(out, "declined", at, call, {"queue": name, "agent": who, "reason": reason}, stay.visit, which)

    # ---------------------------------------------------------------------------------------------------------- agents

    def _agent(self, who: str) -> _Agent:
        state = self._agents.get(who)
        if state is None:
            if len(self._agents) >= MOST_AGENTS:
                del self._agents[next(iter(self._agents))]
            state = self._agents[who] = _Agent()
        return state

    def _tell_agent(self, out: Out, at: int, agent: str, who: str, state: _Agent, which: str) -> None:
        """Tell what an agent does where it is something else than before."""
        reason = None
        queues = state.serves
        if state.offline:
            what = "offline"
        elif state.on is not None:
            what = "talking"
        elif state.wrapping > at:
            what = "wrap_up"
        elif state.everywhere is not None:
            reason = state.everywhere
            what = self._composer.pause_state(reason)
        elif not state.paused:
            what = "available"
        elif all(queue in state.paused for queue in queues):
            reason = next(iter(state.paused.values()))
            what = self._composer.pause_state(reason)
        else:
            what = "available"
            queues = [queue for queue in queues if queue not in state.paused]
        told = [what, reason, state.on, queues]
        if told == state.told:
            return
        state.told = told
        if self._composer.ignores_agent(agent):
            out.ignore("agent")
            return
        place = what if state.on is None else f"{what} {state.on[1]}"
        data = state.texts.get(place) if reason is None and queues is state.serves else None
        if data is None:
            more: dict[str, Any] = {}
            if state.on is not None:
                more["contacts"] = [{"channel": "voice", "state": "talking", "queue": state.on[1]}]
            if reason:
                more["reason"] = reason[:200]
            data = self._composer.agent_data(what, queues, **more)
            if reason is None and queues is state.serves:
                state.texts[place] = data
        self._composer.agent_does(out, at, who, data, which)

    def _pause(self, at: int, fields: list[str], out: Out) -> None:
        queue, agent, event = fields[2], fields[3], fields[4]
        who = self._composer.agent(agent)
        name = None
        if queue not in NOBODY:
            name = self._composer.queue(queue)
            if name is None:
                out.ignore("queue")
                return
        state = self._agent(who)
        reason = fields[5] if len(fields) > 5 else ""
        if event == "PAUSEALL" or (event == "PAUSE" and name is None):
            state.everywhere = reason
        elif event == "UNPAUSEALL" or name is None:
            state.everywhere = None
            state.paused.clear()
        elif event == "PAUSE":
            state.serve(name)
            state.paused[name] = reason
        else:
            state.serve(name)
            state.paused.pop(name, None)
            state.everywhere = None
        before = state.told
        self._tell_agent(out, at, agent, who, state, f"{event}/{name or ''}")
        if state.told == before:
            out.ignore("repeated")

    def _log_in(self, at: int, fields: list[str], out: Out) -> None:
        agent, event = fields[3], fields[4]
        who = self._composer.agent(agent)
        state = self._agent(who)
        state.offline = event.endswith("OFF")
        state.on, state.wrapping = None, 0
        if state.offline:
            state.everywhere = None
            state.paused.clear()
        self._tell_agent(out, at, agent, who, state, event)

    def _member(self, at: int, fields: list[str], out: Out) -> None:
        """These two name the interface, where all others name the member: only a map, or equal names, tell who it is."""
        queue, agent, event = fields[2], fields[3], fields[4]
        name, who = self._composer.queue(queue), self._composer.agent(agent)
        if name is None:
            out.ignore("queue")
            return
        if not self._composer.has_agent(agent) and who not in self._agents:
            out.ignore("unnamed_member")
            return
        state = self._agent(who)
        if event == "ADDMEMBER":
            state.serve(name)
            state.offline = False
            if len(fields) > 5 and fields[5] == "PAUSED":
                state.paused[name] = ""
        else:
            state.leave(name)
            state.paused.pop(name, None)
            state.offline = not state.serves
        self._tell_agent(out, at, agent, who, state, f"{event}/{name}")

    def _wrap(self, at: int, fields: list[str], out: Out) -> None:
        agent, event = fields[3], fields[4]
        who = self._composer.agent(agent)
        state = self._agent(who)
        until = at + _seconds(fields, 0)
        state.wrapping = until
        self._tell_agent(out, at, agent, who, state, event)
        call, name, visit = state.last or ("", "", 0)
        state.last = None
        self._wraps.append((until, agent, call, name, visit))
        self._wraps.sort()
        if len(self._wraps) > MOST_AGENTS:
            self._end_wraps(self._wraps[0][0], out)

    def _end_wraps(self, at: int, out: Out) -> None:
        while self._wraps and self._wraps[0][0] <= at:
            until, agent, call, name, visit = self._wraps.pop(0)
            who = self._composer.agent(agent)
            if call:
                self._composer.call(out, "wrapped", until, call, {"queue": name, "agent": who}, visit=visit)
            state = self._agent(who)
            if state.wrapping == until:
                state.wrapping = 0
                self._tell_agent(out, until, agent, who, state, "wrapped")

    # ------------------------------------------------------------------------------------------------------- all of it

    def _start(self, at: int, fields: list[str], out: Out) -> None:
        """Asterisk has started: whatever was open when it ended is over, since some moment after the line before."""
        when = min(at, max(self._last, at - LAST_SIGN))
        for each, call in list(self._open.items()):
            for stay in call.stays:
                if stay.state == _WAITING:
                    self._say(out, "diverted", when, call, {"queue": stay.name, "reason": "withdrawn"}, stay.visit)
                    self._end(call, each, stay, when, "withdrawn")
                elif stay.state == _TALKING:
                    who = self._composer.agent(stay.agent)
                    told = {"queue": stay.name, "agent": who, "by": "system"}
                    self._say(out, "ended", when, call, told, stay.visit)
                    self._end(call, each, stay, when, "system")
                    state = self._agent(who)
                    if state.on == [each, stay.name]:
                        state.on = None
                        self._tell_agent(out, when, stay.agent, who, state, "QUEUESTART")

    def _nothing(self, at: int, fields: list[str], out: Out) -> None:
        out.ignore("no_meaning")

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> Any:
        """All calls that may go on or be told twice, the agents, and the time of the last line."""
        return {
            "newest": self.newest,
            "last": self._last,
            "swept": self._swept,
            "open": {callid: _kept(call) for callid, call in self._open.items()},
            "closed": {callid: _kept(call) for callid, call in self._closed.items()},
            "agents": {who: state.kept() for who, state in self._agents.items()},
            "wraps": self._wraps,
        }  # fmt: skip

    def _recall(self, memory: Any) -> None:
        self.newest, self._last, self._swept = memory["newest"], memory["last"], memory["swept"]
        self._open.update((callid, _recalled(kept)) for callid, kept in memory["open"].items())
        self._closed.update((callid, _recalled(kept)) for callid, kept in memory["closed"].items())
        self._agents = {who: _Agent.recalled(kept) for who, kept in memory["agents"].items()}
        self._wraps = [(until, agent, call, name, visit) for until, agent, call, name, visit in memory["wraps"]]


_BY: Final = {
    "COMPLETEAGENT": "agent",
    "COMPLETECALLER": "caller",
    "BLINDTRANSFER": "transfer",
    "TRANSFER": "transfer",
    "ATTENDEDTRANSFER": "transfer",
}
_KEPT: Final = ("queue", "name", "visit", "entered", "mark", "state", "answered", "agent", "how")


def _forget_oldest(calls: dict[str, _Call]) -> None:
    """Forget a twentieth at once: the first key of a dictionary whose first ones were deleted takes long to find."""
    for callid in list(islice(calls, len(calls) // 20)):
        del calls[callid]


def _kept(call: _Call) -> list[Any]:
    return [call.subject, call.seen, call.ignored, [[getattr(stay, each) for each in _KEPT] for stay in call.stays]]


def _recalled(kept: list[Any]) -> _Call:
    call = _Call(kept[0])
    call.seen, call.ignored = kept[1], kept[2]
    for values in kept[3]:
        stay = _Stay(*values[:5])
        stay.state, stay.answered, stay.agent, stay.how = values[5:]
        call.stays.append(stay)
        call.open += stay.state != _CLOSED
    return call


def _only(stays: list[_Stay], queue: str, state: int) -> _Stay | None:
    """The one stay in that queue and state; None where there is none, or more."""
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


def _nearest(stays: list[_Stay], queue: str, state: int, entered: int) -> _Stay | None:
    """The stay in that queue and state that began nearest to a time."""
    fitting = [stay for stay in stays if stay.state == state and stay.queue == queue]
    return min(fitting, key=lambda stay: abs(stay.entered - entered), default=None)


def _nearest_talk(stays: list[_Stay], queue: str, agent: str, answered: int) -> _Stay | None:
    """The talking stay in that queue that fits best: first by the agent, then by the time of the answer."""
    fitting = [stay for stay in stays if stay.state == _TALKING and stay.queue == queue]
    return min(fitting, key=lambda stay: (stay.agent != agent, abs(stay.answered - answered)), default=None)


def _epoch(text: str) -> int:
    """Seconds, with or without a fraction, or microseconds since 1970, as microseconds.  Raises Unreadable."""
    if text.isdecimal() and text.isascii():
        if len(text) <= 11:
            return int(text) * SECOND
        if 15 <= len(text) <= 17:
            return int(text)
    else:
        whole, dot, fraction = text.partition(".")
        if whole and dot and len(whole) <= 11 and (whole + fraction).isdecimal() and text.isascii():
            return int(whole) * SECOND + int((fraction + "000000")[:6])
    raise Unreadable("bad_time", "its first field is no time in seconds or microseconds since 1970")


def _seconds(fields: list[str], place: int) -> int:
    """A duration in whole seconds among a record's data, counted from 0, as microseconds.  Raises Unreadable."""
    if place + 5 >= len(fields):
        raise Unreadable(
            "missing_field", f"it has {len(fields) - 5} fields of data, a duration in number {place + 1} is missing"
        )
    text = fields[place + 5]
    if not (text.isdecimal() and text.isascii()) or len(text) > 8 or int(text) > _LONGEST:
        raise Unreadable("wrong_field", f"number {place + 1} of its data is no duration in seconds")
    return int(text) * SECOND


def _unshifted(fields: list[str], known: Iterable[str]) -> list[str]:
    """The fields of a record whose member has a name with bars in it, which are not escaped, so that all shifts.

    Raises Unreadable for an event that nobody knows.
    """
    about_call = fields[1] not in NO_CALLS
    for place in range(5, min(len(fields), 9)):
        if fields[place] in known and about_call == (fields[place] in _ABOUT_CALLS):
            return [*fields[:3], "|".join(fields[3:place]), *fields[place:]]
    event = fields[4]
    shown = event if _PLAIN_EVENT.fullmatch(event) else "with a name that is none"
    raise Unreadable("unknown_event", f"the event {shown} is not one of Asterisk's own")


_ABOUT_CALLS: Final = frozenset({"CONNECT", *_BY, "RINGNOANSWER", "RINGCANCELED", "AGENTDUMP"})
"""Events that name a member and a call."""


def lines_of(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """A file's lines as records."""
    return enumerate(lines, 1)


class Tally:
    """The log's own figures: its lines, counted as they stand."""

    def __init__(self) -> None:
        self._queues: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, fields: Sequence[str]) -> None:
        """Count a line."""
        if len(fields) > 4 and (counted := _COUNTED.get(fields[4])) is not None:
            self._queues[fields[2]][counted] += 1

    def told(self) -> Counters:
        """What was counted."""
        return Counters(self._queues, _WHY_OTHERWISE)


_COUNTED: Final = {
    "ENTERQUEUE": "offered",
    "CONNECT": "answered",
    "ABANDON": "abandoned",
    **{event: "diverted" for event in _LEFT if event != "ABANDON"},
    **dict.fromkeys(_REFUSED, "refused"),
}
_WHY_OTHERWISE: Final = (
    "A line that stands twice in the log is counted twice there, once here.",
    "A stay whose ENTERQUEUE or CONNECT is missing is rebuilt here from the durations of its last line.",
    "What was open when Asterisk died is counted here as diverted (withdrawn) at its next start; the log has no line for it.",
    "Calls of ignored callers are in the log's figures, not in ours.",
)
