"""What the lines of Asterisk's queue_log mean; docs/sources/asterisk-queue-log.md says it for operators.

A visit is a call's n-th ENTERQUEUE in one queue.  Lines of the same call stand in no reliable order, are doubled or missing,
and a call may be in one queue twice at once (a blind transfer's new entry comes before the old visit's last line).  But every
line that ends something says how long it lasted, so a line is taken for that stay whose entry or answer fits best; where no
stay fits, it is rebuilt from the durations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.sources.asterisk.queue_log.agents import Agents
from queuewatch_streams.sources.asterisk.queue_log.calls import CLOSED, TALKING, WAITING, Call, Calls, Stay
from queuewatch_streams.sources.asterisk.queue_log.lines import (
    ENDED_BY,
    LEFT,
    NO_MEANING,
    REFUSED,
    SECOND,
    seconds,
    time_of,
    unshifted,
)
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["QueueLog"]

_LAST_SIGN: Final = 600 * SECOND
"""What was open when Asterisk died is closed at most so long before its restart: earlier events would be too late to count."""
_CLOSE: Final = 2 * SECOND
"""Two times that differ by no more are the same moment: stamps and durations are cut to whole seconds, each on its own."""


class QueueLog:
    """The translator of lines as Asterisk writes them to the file: `epoch|callid|queue|agent|EVENT|data…`, as bytes."""

    def __init__(self, composer: Composer, memory: Any = None, settings: SourceSettings | None = None) -> None:
        self.newest = 0
        self._composer = composer
        self._looks_at_callers = composer.looks_at_callers
        self._calls = Calls(composer)
        self._agents = agents = Agents(composer)
        self._last = 0
        """The time of the line before."""
        self._stamp, self._at = "|", 0
        """The first field of the line before, and what it means."""
        self._handlers: dict[str, Callable[[int, list[str], Out], None]] = {
            "ENTERQUEUE": self._enter,
            "CONNECT": self._connect,
            **dict.fromkeys(ENDED_BY, self._complete),
            **dict.fromkeys(LEFT, self._leave),
            **dict.fromkeys(REFUSED, self._refuse),
            **dict.fromkeys(("RINGNOANSWER", "AGENTDUMP"), self._decline),
            **dict.fromkeys(("PAUSE", "UNPAUSE", "PAUSEALL", "UNPAUSEALL"), agents.pause),
            **dict.fromkeys(("AGENTLOGIN", "AGENTCALLBACKLOGIN", "AGENTLOGOFF", "AGENTCALLBACKLOGOFF"), agents.log_in),
            **dict.fromkeys(("ADDMEMBER", "REMOVEMEMBER"), agents.join),
            "WRAPUPSTART": agents.wrap,
            "QUEUESTART": self._start,
            **dict.fromkeys(NO_MEANING, self._nothing),
        }
        if memory is not None:
            self._recall(memory)

    @property
    def open_calls(self) -> int:
        """How many calls wait or talk."""
        return len(self._calls.open)

    # ----------------------------------------------------------------------------------------------------- the records

    def translate(self, record: bytes, out: Out) -> None:
        """Say what a line means; a blank one means nothing."""
        fields = record.decode("utf-8", "replace").rstrip("\r\n").split("|")
        try:
            if fields[0] != self._stamp:
                if len(fields) == 1 and not fields[0].strip():
                    return
                self._at = time_of(fields[0])
                self._stamp = fields[0]
            handler = self._handlers.get(fields[4]) if len(fields) > 4 else None
            if handler is None or self._agents.wraps:
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
            fields = unshifted(fields, self._handlers)
            handler = self._handlers[fields[4]]
        if self._agents.wraps:
            self._agents.end_wraps(at, out)
        handler(at, fields, out)
        self._last = at
        if at > self.newest:
            self.newest = at

    def advance(self, at: int, out: Out) -> None:
        """After-call work that lasted until then at most is over."""
        self._agents.end_wraps(at, out)

    # ------------------------------------------------------------------------------------------------------- the callers

    def _enter(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue = fields[1], fields[2]
        composer = self._composer
        name = composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        queue = queue.lower()
        mark = fields[7] if len(fields) > 7 else ""
        calls = self._calls
        call = calls.open.get(callid)
        if call is None:
            call = calls.without_a_stay(callid)
        for stay in call.stays:
            if stay.queue == queue and stay.state != CLOSED and stay.mark == mark:
                apart = at - stay.entered
                if apart == 0 or (stay.state == WAITING and -SECOND <= apart <= SECOND):
                    out.ignore("repeated")
                    return
        customer = None
        if self._looks_at_callers and len(fields) > 6:
            if composer.ignores_caller(fields[6]):
                call.ignored = True
            customer = composer.customer(fields[6])
        calls.begin(out, at, call, queue, name, self._last, mark, customer)

    def _leave(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, event = fields[1], fields[2], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        queue = queue.lower()
        kind, reason, place = LEFT[event]
        calls = self._calls
        call, stay = calls.open.get(callid), None
        if call is not None:
            stay = call.only(queue, WAITING)
            if stay is None:
                wait = seconds(fields, place) if len(fields) > place + 5 else 0
                stay = call.nearest(queue, WAITING, at - wait)
        if call is None or stay is None:
            call = call or calls.without_a_stay(callid)
            entered = at - seconds(fields, place)
            for each in call.stays:
                if each.queue == queue and abs(each.entered - entered) <= _CLOSE:
                    out.ignore("repeated")
                    return
            stay = calls.begin(out, entered, call, queue, name, self._last)
        told = {"queue": stay.name} if reason is None else {"queue": stay.name, "reason": reason}
        calls.say(out, kind, at, call, told, stay.visit)
        calls.end(call, stay, at, reason or kind)

    def _refuse(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, event = fields[1], fields[2], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        queue = queue.lower()
        call = self._calls.open.get(callid) or self._calls.without_a_stay(callid)
        if any(stay.queue == queue and stay.how == "refused" and stay.entered == at for stay in call.stays):
            out.ignore("repeated")
            return
        self._calls.refuse(out, at, call, queue, name, REFUSED[event])

    # -------------------------------------------------------------------------------------------- agents on their calls

    def _connect(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent = fields[1], fields[2], fields[3]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        queue = queue.lower()
        who = self._composer.agent(agent)
        calls = self._calls
        call = calls.open.get(callid)
        stay = None
        if call is not None:
            stay = call.only(queue, WAITING) or call.nearest(queue, WAITING, at - seconds(fields, 0))
        if call is None or stay is None:
            hold = seconds(fields, 0)
            call = call or calls.without_a_stay(callid)
            for each in call.stays:
                if each.queue == queue and each.agent == agent and -SECOND <= at - each.answered <= SECOND:
                    out.ignore("repeated")
                    return
            stay = calls.begin(out, at - hold, call, queue, name, self._last)
        self._answer(call, stay, max(at, stay.entered), agent, who, out)

    def _answer(self, call: Call, stay: Stay, at: int, agent: str, who: str, out: Out) -> None:
        self._calls.say(out, "answered", at, call, {"queue": stay.name, "agent": who}, stay.visit, f"{who}/")
        stay.state, stay.answered, stay.agent = TALKING, at, agent
        call.seen = at
        self._agents.talk(out, at, agent, who, call.callid, stay.name)

    def _complete(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent, event = fields[1], fields[2], fields[3], fields[4]
        name = self._composer.queue(queue)
        if name is None:
            out.ignore("queue")
            return
        queue = queue.lower()
        by = ENDED_BY[event]
        # What stands before the durations of an attended transfer may hold any number of bars.
        place = max(2, len(fields) - 8) if event == "ATTENDEDTRANSFER" else 2 if by == "transfer" else 0
        calls = self._calls
        call, stay = calls.open.get(callid), None
        if call is not None:
            stay = call.only(queue, TALKING)
            if stay is None or stay.agent != agent:
                talk = seconds(fields, place + 1)
                stay = call.nearest_talk(queue, agent, at - talk) or stay
        if call is None or stay is None:
            found = self._unfinished(call, callid, queue, name, agent, at, fields, place, out)
            if found is None:
                out.ignore("repeated")
                return
            call, stay = found
        who = self._composer.agent(agent)
        at = max(at, stay.answered)
        calls.say(out, "ended", at, call, {"queue": stay.name, "agent": who, "by": by}, stay.visit)
        calls.end(call, stay, at, by)
        finished = ("", "", 0) if call.ignored else (call.subject, stay.name, stay.visit)
        self._agents.hang_up(out, at, agent, who, call.callid, stay.name, f"{event}/{call.callid}", finished)

    def _unfinished(
        self,
        call: Call | None,
        callid: str,
        queue: str,
        name: str,
        agent: str,
        at: int,
        fields: list[str],
        place: int,
        out: Out,
    ) -> tuple[Call, Stay] | None:
        """The stay of an end of talk that no talking stay of the call fits; None where it was told before."""
        hold, talk = seconds(fields, place), seconds(fields, place + 1)
        answered = at - talk
        entered = answered - hold
        call = call or self._calls.without_a_stay(callid)
        who = self._composer.agent(agent)
        stay = call.nearest(queue, WAITING, entered)
        if stay is not None and abs(stay.entered - entered) <= _CLOSE:  # its CONNECT is missing
            self._answer(call, stay, max(answered, stay.entered), agent, who, out)
            return call, stay
        for each in call.stays:
            if each.queue == queue and each.state == CLOSED and abs(each.entered - entered) <= _CLOSE:
                return None
        # In an attended transfer the call's id may change; the agent talks with one at a time.
        talks = self._agents.of(who).on
        known = None if talks is None else self._calls.open.get(talks[0])
        if known is not None:
            for each in known.stays:
                if (
                    each.state == TALKING
                    and each.queue == queue
                    and each.agent == agent
                    and abs(each.answered - answered) <= _CLOSE
                    and abs(each.entered - entered) <= _CLOSE
                ):
                    return known, each
        stay = self._calls.begin(out, entered, call, queue, name, self._last)
        self._answer(call, stay, answered, agent, who, out)
        return call, stay

    def _decline(self, at: int, fields: list[str], out: Out) -> None:
        callid, queue, agent, event = fields[1], fields[2], fields[3], fields[4]
        composer = self._composer
        name = composer.queue(queue)
        if name is None or composer.ignores_agent(agent):
            out.ignore("queue" if name is None else "agent")
            return
        queue = queue.lower()
        call = self._calls.open.get(callid) or self._calls.closed.get(callid)
        stay = None
        if call is not None:
            stay = next((each for each in reversed(call.stays) if each.queue == queue and each.state == WAITING), None)
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
        told = {"queue": stay.name, "agent": who, "reason": reason}
        self._calls.say(out, "declined", at, call, told, stay.visit, which)

    # ------------------------------------------------------------------------------------------------------- all of it

    def _start(self, at: int, fields: list[str], out: Out) -> None:
        """Asterisk has started: whatever was open when it ended is over, since some moment after the line before."""
        calls = self._calls
        when = min(at, max(self._last, at - _LAST_SIGN))
        for call in list(calls.open.values()):
            for stay in call.stays:
                if stay.state == WAITING:
                    over = max(when, stay.entered)
                    calls.say(out, "diverted", over, call, {"queue": stay.name, "reason": "withdrawn"}, stay.visit)
                    calls.end(call, stay, over, "withdrawn")
                elif stay.state == TALKING:
                    over, who = max(when, stay.answered), self._composer.agent(stay.agent)
                    calls.say(out, "ended", over, call, {"queue": stay.name, "agent": who, "by": "system"}, stay.visit)
                    calls.end(call, stay, over, "system")
                    self._agents.hang_up(out, over, stay.agent, who, call.callid, stay.name, "QUEUESTART")

    def _nothing(self, at: int, fields: list[str], out: Out) -> None:
        out.ignore("no_meaning")

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> Any:
        """All calls that may go on or be told twice, the agents, and the time of the last line."""
        return {"newest": self.newest, "last": self._last, **self._calls.memory(), **self._agents.memory()}

    def _recall(self, memory: Any) -> None:
        self.newest, self._last = memory["newest"], memory["last"]
        self._calls.recall(memory)
        self._agents.recall(memory)
