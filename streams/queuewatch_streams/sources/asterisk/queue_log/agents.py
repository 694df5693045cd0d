"""What agents do, as far as the log says: whom they talk with, in which queues they pause and why, their after-call work."""

from __future__ import annotations

from typing import Any, Final

from queuewatch_streams.sources.asterisk.queue_log.lines import NOBODY, seconds
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out

__all__ = ["Agent", "Agents"]

_MOST_AGENTS: Final = 20_000


class Agent:
    """What an agent does."""

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
    def recalled(cls, kept: list[Any]) -> Agent:
        """From the memory."""
        state = cls()
        state.serves, state.paused, state.everywhere, state.offline, state.on, state.wrapping, last, state.told = kept
        state.last = None if last is None else (last[0], last[1], last[2])
        return state


class Agents:
    """The agents of one log.  `agent` is the vendor's id, `who` the stable name; all that says something raises Unreadable."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._agents: dict[str, Agent] = {}
        self.wraps: list[tuple[int, str, str, str, int]] = []
        """After-call work under way: (until, agent, call, queue, visit), soonest first."""

    def of(self, who: str) -> Agent:
        """What is known of an agent."""
        state = self._agents.get(who)
        if state is None:
            if len(self._agents) >= _MOST_AGENTS:
                del self._agents[next(iter(self._agents))]
            state = self._agents[who] = Agent()
        return state

    # --------------------------------------------------------------------------------------------------------- of calls

    def talk(self, out: Out, at: int, agent: str, who: str, callid: str, queue: str) -> None:
        """He talks in a call that came from a queue, by the stable name."""
        state = self._agents.get(who) or self.of(who)
        if queue not in state.serves:
            state.serve(queue)
        state.offline, state.on, state.wrapping = False, [callid, queue], 0
        self._tell(out, at, agent, who, state, f"CONNECT/{callid}")

    def hang_up(
        self,
        out: Out,
        at: int,
        agent: str,
        who: str,
        callid: str,
        queue: str,
        which: str,
        finished: tuple[str, str, int] | None = None,
    ) -> None:
        """He talks in that call no more.

        :param which: what in the log tells it from another event of the same agent and time.
        :param finished: the visit (call, queue, visit) that after-call work may follow, its call empty where nothing is said of
            it; None: that of before.
        """
        state = self.of(who)
        if finished is not None:
            state.last = finished
        if state.on == [callid, queue]:
            state.on = None
            self._tell(out, at, agent, who, state, which)

    # -------------------------------------------------------------------------------------------------------- own lines

    def pause(self, at: int, fields: list[str], out: Out) -> None:
        """PAUSE, UNPAUSE, PAUSEALL, UNPAUSEALL."""
        queue, agent, event = fields[2], fields[3], fields[4]
        who = self._composer.agent(agent)
        name = None
        if queue not in NOBODY:
            name = self._composer.queue(queue)
            if name is None:
                out.ignore("queue")
                return
        state = self.of(who)
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
        self._tell(out, at, agent, who, state, f"{event}/{name or ''}")
        if state.told == before:
            out.ignore("repeated")

    def log_in(self, at: int, fields: list[str], out: Out) -> None:
        """AGENTLOGIN, AGENTLOGOFF, and the same of agents who are called back."""
        agent, event = fields[3], fields[4]
        who = self._composer.agent(agent)
        state = self.of(who)
        state.offline = event.endswith("OFF")
        state.on, state.wrapping = None, 0
        if state.offline:
            state.everywhere = None
            state.paused.clear()
        self._tell(out, at, agent, who, state, event)

    def join(self, at: int, fields: list[str], out: Out) -> None:
        """ADDMEMBER, REMOVEMEMBER.

        These two name the interface, where all others name the member: only a map, or equal names, tell who it is.
        """
        queue, agent, event = fields[2], fields[3], fields[4]
        name, who = self._composer.queue(queue), self._composer.agent(agent)
        if name is None:
            out.ignore("queue")
            return
        if not self._composer.has_agent(agent) and who not in self._agents:
            out.ignore("unnamed_member")
            return
        state = self.of(who)
        if event == "ADDMEMBER":
            state.serve(name)
            state.offline = False
            if len(fields) > 5 and fields[5] == "PAUSED":
                state.paused[name] = ""
        else:
            state.leave(name)
            state.paused.pop(name, None)
            state.offline = not state.serves
        self._tell(out, at, agent, who, state, f"{event}/{name}")

    def wrap(self, at: int, fields: list[str], out: Out) -> None:
        """WRAPUPSTART: after-call work, and how long it will last."""
        agent, event = fields[3], fields[4]
        who = self._composer.agent(agent)
        state = self.of(who)
        until = at + seconds(fields, 0)
        state.wrapping = until
        self._tell(out, at, agent, who, state, event)
        call, name, visit = state.last or ("", "", 0)
        state.last = None
        self.wraps.append((until, agent, call, name, visit))
        self.wraps.sort()
        if len(self.wraps) > _MOST_AGENTS:
            self.end_wraps(self.wraps[0][0], out)

    def end_wraps(self, at: int, out: Out) -> None:
        """After-call work that lasted until then at most is over."""
        while self.wraps and self.wraps[0][0] <= at:
            until, agent, call, name, visit = self.wraps.pop(0)
            who = self._composer.agent(agent)
            if call:
                self._composer.call(out, "wrapped", until, call, {"queue": name, "agent": who}, visit=visit)
            state = self.of(who)
            if state.wrapping == until:
                state.wrapping = 0
                self._tell(out, until, agent, who, state, "wrapped")

    # ------------------------------------------------------------------------------------------------- told, remembered

    def _tell(self, out: Out, at: int, agent: str, who: str, state: Agent, which: str) -> None:
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

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs."""
        return {"agents": {who: state.kept() for who, state in self._agents.items()}, "wraps": self.wraps}

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._agents = {who: Agent.recalled(kept) for who, kept in memory["agents"].items()}
        self.wraps = [(until, agent, call, name, visit) for until, agent, call, name, visit in memory["wraps"]]
