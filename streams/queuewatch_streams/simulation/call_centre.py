"""The model of a call centre: who calls, who waits where, who serves whom, and what the telephone system reports of it.

A discrete-event simulation: a heap of things to come, a clock that jumps from one to the next, and seeded random
numbers.  It is pure: no wall clock, no I/O, and the same settings give the same reports.  What it reports is true
and in order of time; `dirt` makes a real feed of it.

Arrivals, callers and agents draw from random numbers of their own, so that an incident does not change who calls when.

- An agent's skills are queues of one team, the own one first.  A free agent takes the caller of the highest priority,
  then the longest waiting one, over all these queues; a caller takes the agent who has been free longest.
- Time limits are soft, as in real systems: a caller at whose agent a telephone rings is not diverted before it stops.
- Whoever is still waiting at closing time is served, as long as agents are there.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import ceil, log
from random import Random
from typing import Any, Final, NamedTuple

from queuewatch_streams.simulation.day import ALIKE, PROFILES, busyness, is_open, local_clock
from queuewatch_streams.simulation.grid import TICKS, tick_of, ticks, writer
from queuewatch_streams.simulation.settings import SOURCE, Duration, Settings
from queuewatch_streams.simulation.truth import QueueTruth, Truth


class Report(NamedTuple):
    """One thing that the centre reports: an event before it is put into the envelope of CloudEvents."""

    at: int
    """When it happened, in ticks (see `grid`)."""
    kind: str
    """The event type without prefix and version, e.g. `call.queued`."""
    subject: str
    data: dict[str, Any]
    id: str


def reports(settings: Settings, truth: Truth | None = None) -> Iterator[Report]:
    """Everything the centre reports, in order of time; endless if `settings.hours` is None.

    `truth` is filled in step with what is taken from the iterator (the last tick may be ahead of it).
    """
    return _Centre(settings, Truth() if truth is None else truth).run()


# States of a visit.  Those below _TALKING still wait.
_PROMISED, _WAITING, _RINGING, _TALKING, _GONE = range(5)

_CLOSED_SHARE: Final = 0.15  # who calls a closed queue, as a share of those who would call an open one
_SLOT_S: Final = 1800  # staff and opening hours change on the half hour of local time
_HEARTBEAT_S: Final = 10
_SNAPSHOT_S: Final = 60
_CUSTOMERS: Final = 20_000


@dataclass(slots=True, eq=False)
class _Call:
    subject: str
    customer: str | None
    entered: int
    visits: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Visit:
    call: _Call
    queue: "_Queue"
    number: int
    channel: str
    priority: int
    queued: int  # a callback's: when it is due
    announced: int
    truth: QueueTruth
    overflowed: bool
    state: int = _WAITING
    agent: "_Agent | None" = None
    rings: int = 0
    overdue: bool = False
    answered: int = 0
    ended: int = 0
    held_since: int = 0
    held: int = 0
    twin: "_Visit | None" = None

    def data(self) -> dict[str, Any]:
        """What every event about the visit says."""
        if self.number > 1:
            return {"queue": self.queue.name, "visit": self.number}
        return {"queue": self.queue.name}

    def data_by(self, agent: "_Agent") -> dict[str, Any]:
        """The same with the agent."""
        if self.number > 1:
            return {"queue": self.queue.name, "visit": self.number, "agent": agent.name}
        return {"queue": self.queue.name, "agent": agent.name}


@dataclass(slots=True, eq=False)
class _Queue:
    number: int
    name: str
    hours: tuple[float, float] | None
    peak: float  # arrivals per tick at the day's peak
    truth: QueueTruth
    team: list["_Queue"] = field(default_factory=list)
    agents: list["_Agent"] = field(default_factory=list)
    urgent: deque[_Visit] = field(default_factory=deque)
    normal: deque[_Visit] = field(default_factory=deque)
    idle: deque[tuple["_Agent", int]] = field(default_factory=deque)
    idle_room: int = 32
    present: dict[_Visit, None] = field(default_factory=dict)
    open: bool | None = None
    staffed: int = 0
    deserted: bool = False

    def first(self) -> _Visit | None:
        """Who is next; those who left meanwhile are dropped from the line only here."""
        line = self.urgent
        while line:
            if line[0].state == _WAITING:
                return line[0]
            line.popleft()
        line = self.normal
        while line:
            if line[0].state == _WAITING:
                return line[0]
            line.popleft()
        return None

    def line_of(self, visit: _Visit) -> deque[_Visit]:
        """The line in which the visit stands."""
        return self.urgent if visit.priority else self.normal

    def longest_idle(self) -> "_Agent | None":
        """The agent free longest, taken out; entries of those who got work meanwhile are dropped here."""
        idle = self.idle
        while idle:
            agent, stamp = idle.popleft()
            if agent.idle_stamp == stamp:
                agent.idle_stamp = 0
                return agent
        return None


@dataclass(slots=True, eq=False)
class _Agent:
    name: str
    skills: tuple[_Queue, ...]
    at_work: bool = False
    leaving: bool = False
    idle_stamp: int = 0  # 0: not idle


def _sampler(duration: Duration, random: Random) -> Callable[[], int]:
    """Draws of the duration in ticks, at least one."""
    mean = duration.mean_s * TICKS
    if duration.shape == "fixed":
        return lambda: max(1, round(mean))
    if duration.shape == "exponential":
        rate, exponential = 1 / mean, random.expovariate
        return lambda: max(1, round(exponential(rate)))
    sigma, draw = duration.sigma, random.lognormvariate
    mu = log(mean) - sigma * sigma / 2
    return lambda: max(1, round(draw(mu, sigma)))


class _Centre:
    def __init__(self, settings: Settings, truth: Truth) -> None:
        self.settings = settings
        self.truth = truth
        self.now = tick_of(settings.start)
        self.end = None if settings.hours is None else self.now + ticks(settings.hours * 3600)
        self.out: list[Report] = []
        self.heap: list[tuple[int, int, Callable[[Any, Any], None], Any, Any]] = []
        self.turn = count()
        self.stamps = count(1)
        self.calls = count(1)
        self.ids = count(1)
        self.prefix = f"{settings.seed}-{self.now // TICKS}-"
        self.text = writer(settings.start.tzinfo)  # type: ignore[arg-type]  # Settings refuse a start without one
        self.local = local_clock(settings.start.tzinfo)  # type: ignore[arg-type]

        self.arrivals = Random(f"{settings.seed}/arrivals")
        self.callers = Random(f"{settings.seed}/callers")
        self.staff = Random(f"{settings.seed}/agents")
        self.answers = Random(f"{settings.seed}/surveys")
        self.talk = _sampler(settings.talk, self.staff)
        self.hold = _sampler(Duration(40.0, "log-normal", 0.8), self.staff)
        self.wrap = _sampler(settings.wrap, self.staff) if settings.wrap else None
        self.ring = _sampler(settings.ring, self.staff) if settings.ring else None
        self.patience = _sampler(settings.patience, self.callers) if settings.patience else None
        self.limit = None if settings.max_wait_s is None else ticks(settings.max_wait_s)
        shares = ("callbacks", "voicemail", "keys", "moved", "withdrawn")
        reasons = ("callback", "voicemail", "key", "transfer", "withdrawn")
        total, self.wishes = 0.0, []
        for share, reason in zip(shares, reasons, strict=True):
            total += getattr(settings, share)
            self.wishes.append((total, reason))
        self.wishing = total
        handle_s = settings.talk.mean_s + (settings.wrap.mean_s if settings.wrap else 0.0)
        self.handle = (handle_s + (settings.ring.mean_s if settings.ring else 0.0)) * TICKS

        self.queues = []
        for number, name in enumerate(settings.queue_names, 1):
            profile = ALIKE if settings.flat else PROFILES[(number - 1) % len(PROFILES)]
            peak = settings.calls_per_hour * profile.size / (3600 * TICKS)
            self.queues.append(_Queue(number, name, profile.hours, peak, truth.of(name)))
        for first in range(0, len(self.queues), settings.team):
            team = self.queues[first : first + settings.team]
            for queue in team:
                queue.team = team
        self.by_name = {queue.name: queue for queue in self.queues}
        self._begin()

    def run(self) -> Iterator[Report]:
        heap, out, end = self.heap, self.out, self.end
        while heap:
            at, _, act, what, how = heappop(heap)
            if end is not None and at >= end:
                return
            self.now = at
            act(what, how)
            if out:
                yield from out
                out.clear()

    def _in(self, delay: int, act: Callable[[Any, Any], None], what: Any, how: Any = None) -> None:
        heappush(self.heap, (self.now + delay, next(self.turn), act, what, how))

    def _report(self, kind: str, subject: str, data: dict[str, Any]) -> None:
        self.out.append(Report(self.now, kind, subject, data, f"{self.prefix}{next(self.ids)}"))

    def _begin(self) -> None:
        settings = self.settings
        for queue in self.queues:
            self._in(0, self._slot, queue)
            if settings.snapshots:
                self._in(_SNAPSHOT_S * TICKS * queue.number // len(self.queues), self._snapshot, queue)
        for queue in self.queues:
            self._in(0, self._arrive, queue, None)
        if settings.heartbeats:
            self._in(0, self._heartbeat, None)
        for incident in settings.incidents:
            queue = self.by_name[incident.queue]
            self._in(ticks(incident.minute * 60), self._desert, queue, True)
            self._in(ticks((incident.minute + incident.minutes) * 60), self._desert, queue, False)

    # Callers

    def _arrive(self, queue: _Queue, moment: float | None) -> None:
        """A candidate of the Poisson process at the peak's rate calls with the hour's probability (thinning)."""
        following = (self.now if moment is None else moment) + self.arrivals.expovariate(queue.peak)
        heappush(self.heap, (int(following), next(self.turn), self._arrive, queue, following))
        if moment is None:
            return
        if not self.settings.flat:
            share = busyness(self.local(self.now))
            if self.arrivals.random() >= (share if queue.open else share * _CLOSED_SHARE):
                return
        self._call(queue)

    def _call(self, queue: _Queue) -> None:
        settings, callers, now = self.settings, self.callers, self.now
        random = callers.random
        subject = f"sim{settings.seed}-{now // TICKS}.{next(self.calls)}"
        if not queue.open:
            return self._refuse(queue, subject, "closed")
        if settings.capacity is not None and len(queue.present) >= settings.capacity:
            return self._refuse(queue, subject, "full")
        if (queue.deserted or not queue.staffed) and random() < settings.refused_unstaffed:
            return self._refuse(queue, subject, "no_agents")
        call = _Call(subject, f"c-{int(random() * _CUSTOMERS)}" if random() < 0.95 else None, now)
        channel = "chat" if random() < settings.chat else "voice"
        priority = 1 if random() < settings.priority else 0
        if settings.everywhere and random() < settings.everywhere:
            self._call_everywhere(call, queue, channel, priority)
        else:
            self._enter(call, queue, channel, priority, self._exit())
        return None

    def _refuse(self, queue: _Queue, subject: str, reason: str) -> None:
        queue.truth.refused += 1
        self._report("call.refused", subject, {"queue": queue.name, "reason": reason})

    def _call_everywhere(self, call: _Call, queue: _Queue, channel: str, priority: int) -> None:
        leaves = self._exit(wishes=False)
        first = self._enter(call, queue, channel, priority, leaves)
        other = self._other_queue(queue)
        if other is not None and first.state < _TALKING:
            # They know of each other before the second one can be answered.
            self._enter(call, other, channel, priority, leaves, twin=first)

    def _exit(self, wishes: bool = True) -> tuple[int, str] | None:
        """After how many ticks, and how, a caller will leave who is not answered before; None: never."""
        delay, how = (self.patience(), "abandoned") if self.patience else (None, "")
        if wishes and self.wishing:
            draw = self.callers.random()
            if draw < self.wishing:
                asked = ticks(10 + 50 * self.callers.random())
                if delay is None or asked < delay:
                    delay, how = asked, next(reason for total, reason in self.wishes if draw < total)
        if self.limit is not None and (delay is None or self.limit < delay):
            delay, how = self.limit, "limit"
        return None if delay is None else (delay, how)

    def _enter(
        self,
        call: _Call,
        queue: _Queue,
        channel: str,
        priority: int,
        leaves: tuple[int, str] | None,
        via: str | None = None,
        from_queue: _Queue | None = None,
        due: int | None = None,
        twin: _Visit | None = None,
    ) -> _Visit:
        """A new visit of the call in the queue, announced now; a callback begins to wait when it is `due`."""
        now, name = self.now, queue.name
        number = call.visits[name] = call.visits.get(name, 0) + 1
        truth = queue.truth if channel == "voice" else self.truth.of(name, channel)
        visit = _Visit(call, queue, number, channel, priority, due or now, now, truth, via == "overflow")
        truth.offered += 1
        queue.present[visit] = None
        data = visit.data()
        data["channel"], data["priority"] = channel, priority
        if call.customer is not None:
            data["customer"] = call.customer
        if via is not None:
            data["via"], data["entered"] = via, self.text(call.entered)
            if from_queue is not None:
                data["from_queue"] = from_queue.name
        if due is not None:
            data["due"] = self.text(due)
        self._report("call.queued", call.subject, data)
        if twin is not None:
            visit.twin, twin.twin = twin, visit
        if leaves is not None:
            self._in(leaves[0] + (0 if due is None else due - now), self._leave, visit, leaves[1])
        if due is not None:
            visit.state = _PROMISED
            self._in(due - now, self._due, visit)
        else:
            self._seek(visit)
        return visit

    def _due(self, visit: _Visit, _: None) -> None:
        visit.state = _WAITING
        self._seek(visit)

    def _seek(self, visit: _Visit, in_front: bool = False) -> None:
        """Ring at an agent who is free, or stand in line."""
        queue = visit.queue
        agent = None if queue.deserted else queue.longest_idle()
        if agent is not None:
            self._ring(visit, agent)
        elif in_front:
            queue.line_of(visit).appendleft(visit)
        else:
            queue.first()  # drop those who left, also where nobody ever serves
            queue.line_of(visit).append(visit)

    def _leave(self, visit: _Visit, how: str) -> None:
        """The time has come at which the caller leaves, if still there."""
        if visit.state >= _TALKING:
            return
        if how == "abandoned":
            self._abandon(visit)
            if visit.twin is not None and visit.twin.state < _TALKING:
                self._abandon(visit.twin)
        elif how != "limit":
            self._divert(visit, how)
        elif visit.state == _RINGING:
            visit.overdue = True
        else:
            self._divert(visit, self._limit_reason(visit))

    def _limit_reason(self, visit: _Visit) -> str:
        if visit.channel == "callback":
            return "withdrawn"
        if visit.queue.deserted or not visit.queue.staffed:
            return "no_agents"
        if visit.twin is None and not visit.overflowed and self.callers.random() < self.settings.overflow:
            return "overflow"
        return "timeout"

    def _go(self, visit: _Visit) -> None:
        """The visit leaves the queue unanswered; an agent at whom it rings is free again."""
        agent, ringing = visit.agent, visit.state == _RINGING
        visit.state = _GONE
        del visit.queue.present[visit]
        if ringing and agent is not None:
            visit.agent = None
            self._free(agent)

    def _abandon(self, visit: _Visit) -> None:
        visit.truth.abandoned += 1
        visit.truth.abandon_wait_sum += (self.now - visit.queued) / TICKS
        self._report("call.abandoned", visit.call.subject, visit.data())
        self._go(visit)

    def _divert(self, visit: _Visit, reason: str) -> None:
        call, queue = visit.call, visit.queue
        target = self._other_queue(queue) if reason in ("overflow", "transfer") else None
        if reason == "overflow" and target is None:
            reason = "timeout"
        visit.truth.diverted += 1
        visit.truth.diverted_by[reason] += 1
        data = visit.data()
        data["reason"] = reason
        if target is not None:
            data["to_queue"] = target.name
        self._report("call.diverted", call.subject, data)
        self._go(visit)
        if reason == "callback":
            due = self.now + ticks(300 + 2400 * self.callers.random())
            gives_up = ticks(1800 + 1800 * self.callers.random()), "limit"
            self._enter(call, queue, "callback", visit.priority, gives_up, "callback", due=due)
        elif target is not None:
            self._enter(call, target, visit.channel, visit.priority, self._exit(), reason, queue)

    def _other_queue(self, queue: _Queue) -> _Queue | None:
        """An open queue of the team, not this one, by chance."""
        others = [other for other in queue.team if other is not queue and other.open]
        return others[int(self.callers.random() * len(others))] if others else None

    # Talks

    def _ring(self, visit: _Visit, agent: _Agent) -> None:
        visit.agent = agent
        visit.state = _RINGING
        visit.rings += 1
        if self.ring is None:
            return self._answer(visit, visit.rings)
        self._report("call.ringing", visit.call.subject, visit.data_by(agent))
        if self.settings.agent_states:
            self._state(agent, "ringing", visit)
        declines = self.settings.declines
        if declines and self.staff.random() < declines:
            draw = self.staff.random()
            if draw < 0.7:
                return self._in(ticks(15 + 5 * self.staff.random()), self._decline, visit, (visit.rings, "no_answer"))
            reason = "rejected" if draw < 0.9 else "busy" if draw < 0.95 else "unavailable"
            return self._in(ticks(0.25 + 3 * self.staff.random()), self._decline, visit, (visit.rings, reason))
        return self._in(self.ring(), self._answer, visit, visit.rings)

    def _decline(self, visit: _Visit, ring: tuple[int, str]) -> None:
        agent = visit.agent
        if visit.state != _RINGING or visit.rings != ring[0] or agent is None:
            return
        data = visit.data_by(agent)
        data["reason"] = ring[1]
        visit.truth.declined += 1
        self._report("call.declined", visit.call.subject, data)
        visit.agent, visit.state = None, _WAITING
        if self.settings.agent_states:
            self._state(agent, "other")
        self._in(ticks((30 if ring[1] == "no_answer" else 5) * (1 + self.staff.random())), self._back, agent)
        if visit.overdue:
            self._divert(visit, self._limit_reason(visit))
        else:
            self._seek(visit, in_front=True)

    def _answer(self, visit: _Visit, ring: int) -> None:
        agent = visit.agent
        if visit.state != _RINGING or visit.rings != ring or agent is None:
            return
        settings, staff, now, truth = self.settings, self.staff, self.now, visit.truth
        visit.state, visit.answered = _TALKING, now
        del visit.queue.present[visit]
        wait = (now - visit.queued) / TICKS
        truth.answered += 1
        truth.answer_wait_sum += wait
        truth.longest_answer_wait = max(truth.longest_answer_wait, wait)
        self._report("call.answered", visit.call.subject, visit.data_by(agent))
        if settings.agent_states:
            self._state(agent, "talking", visit)
        if visit.twin is not None and visit.twin.state < _TALKING:
            self._divert(visit.twin, "elsewhere")
        talk = self.talk()
        draw = staff.random()
        held = settings.holds and staff.random() < settings.holds
        if draw < settings.transfers:
            by = "transfer"
        elif draw < settings.transfers + settings.requeues:
            by = "system"
        else:
            by = "caller" if staff.random() < 0.6 else "agent"
            if not held and draw > 1 - settings.handovers:
                self._in(int(talk * (0.3 + 0.4 * staff.random())) or 1, self._hand_over, visit)
        self._in(self._plan_holds(visit, talk) if held else talk, self._ended, visit, by)

    def _plan_holds(self, visit: _Visit, talk: int) -> int:
        """Put one hold or two into the talk; the ticks after which it will end, perhaps on hold."""
        staff = self.staff
        begins = int(talk * (0.2 + 0.5 * staff.random())) or 1
        self._in(begins, self._hold, visit)
        resumes = begins + self.hold()
        if staff.random() < 0.1:
            return resumes
        self._in(resumes, self._resume, visit)
        rest = max(1, talk - begins)
        if staff.random() < 0.15:
            again = resumes + max(1, rest // 2)
            back = again + self.hold()
            self._in(again, self._hold, visit)
            self._in(back, self._resume, visit)
            return back + max(1, rest - rest // 2)
        return resumes + rest

    def _hold(self, visit: _Visit, _: None) -> None:
        if visit.agent is not None:
            visit.held_since = self.now
            self._report("call.held", visit.call.subject, visit.data_by(visit.agent))
            if self.settings.agent_states:
                self._state(visit.agent, "held", visit)

    def _resume(self, visit: _Visit, _: None) -> None:
        if visit.agent is not None:
            visit.held += self.now - visit.held_since
            visit.held_since = 0
            self._report("call.resumed", visit.call.subject, visit.data_by(visit.agent))
            if self.settings.agent_states:
                self._state(visit.agent, "talking", visit)

    def _hand_over(self, visit: _Visit, _: None) -> None:
        """Another agent takes the talk over, if one is free: a further leg of the same visit."""
        before, after = visit.agent, visit.queue.longest_idle()
        if before is None or after is None:
            return
        visit.agent = after
        self._report("call.answered", visit.call.subject, visit.data_by(after))
        if self.settings.agent_states:
            self._state(after, "talking", visit)
        self._free(before)

    def _ended(self, visit: _Visit, by: str) -> None:
        agent, call, truth, now = visit.agent, visit.call, visit.truth, self.now
        if agent is None:
            return
        if visit.held_since:
            visit.held += now - visit.held_since
        visit.state, visit.ended = _GONE, now
        truth.handled += 1
        truth.hold_sum += visit.held / TICKS
        truth.talk_sum += (now - visit.answered - visit.held) / TICKS
        target = None
        if by == "transfer":
            target = (None if self.callers.random() < 0.15 else self._other_queue(visit.queue)) or visit.queue
        elif by == "system":
            target = visit.queue
        data = visit.data_by(agent)
        data["by"] = by
        if target is not None:
            data["to_queue"] = target.name
        self._report("call.ended", call.subject, data)
        if self.wrap is None:
            self._free(agent)
        else:
            if self.settings.agent_states:
                self._state(agent, "wrap_up", visit)
            self._in(self.wrap(), self._wrapped, visit)
        if target is not None:
            channel = "voice" if visit.channel == "callback" else visit.channel
            via = "transfer" if by == "transfer" else "requeue"
            self._enter(call, target, channel, visit.priority, self._exit(), via, visit.queue)
        elif self.settings.surveys and self.answers.random() < self.settings.surveys:
            self._in(ticks(20 + 100 * self.answers.random()), self._survey, visit)

    def _wrapped(self, visit: _Visit, _: None) -> None:
        agent = visit.agent
        if agent is not None:
            visit.truth.wrap_sum += (self.now - visit.ended) / TICKS
            self._report("call.wrapped", visit.call.subject, visit.data_by(agent))
            self._free(agent)

    def _survey(self, visit: _Visit, _: None) -> None:
        question = ("nps", "csat", "ces", "resolved")[int(self.answers.random() * 4)]
        best = {"nps": 10, "csat": 5, "ces": 7, "resolved": 1}[question]
        lowest = 0 if question in ("nps", "resolved") else 1
        score = max(lowest, best - int(self.answers.expovariate(3 / best) if best > 1 else self.answers.random() * 1.3))
        data = {"queue": visit.queue.name, "question": question, "score": score}
        if visit.agent is not None:
            data["agent"] = visit.agent.name
        if visit.call.customer is not None:
            data["customer"] = visit.call.customer
        self._report("survey.answered", visit.call.subject, data)

    # Agents

    def _free(self, agent: _Agent) -> None:
        """The agent has finished a contact, or its ringing."""
        breaks = self.settings.breaks
        if agent.leaving:
            self._log_out(agent)
        elif breaks and self.staff.random() < breaks:
            if self.settings.agent_states:
                self._state(agent, "break")
            self._in(ticks(300 + 600 * self.staff.random()), self._back, agent)
        else:
            self._take_next(agent)

    def _back(self, agent: _Agent, _: None) -> None:
        """Back from a break."""
        if agent.leaving:
            self._log_out(agent)
        else:
            self._take_next(agent)

    def _take_next(self, agent: _Agent) -> None:
        best: _Visit | None = None
        for queue in agent.skills:
            if queue.deserted:
                continue
            visit = queue.first()
            if visit is not None and (best is None or (-visit.priority, visit.queued) < (-best.priority, best.queued)):
                best = visit
        if best is not None:
            best.queue.line_of(best).popleft()
            return self._ring(best, agent)
        agent.idle_stamp = stamp = next(self.stamps)
        for queue in agent.skills:
            if len(queue.idle) > queue.idle_room:
                queue.idle = deque(entry for entry in queue.idle if entry[0].idle_stamp == entry[1])
            queue.idle.append((agent, stamp))
        if self.settings.agent_states:
            self._state(agent, "available")
        return None

    def _state(self, agent: _Agent, state: str, visit: _Visit | None = None) -> None:
        serves = [{"queue": queue.name, "level": 1 if number else 2} for number, queue in enumerate(agent.skills)]
        data: dict[str, Any] = {"state": state, "queues": serves}
        if visit is not None:
            channel = "voice" if visit.channel == "callback" else visit.channel
            data["contacts"] = [{"channel": channel, "state": state, "queue": visit.queue.name}]
        self._report("agent.state", agent.name, data)

    def _hire(self, queue: _Queue) -> _Agent:
        skills = [queue]
        others = [other for other in queue.team if other is not queue]
        if others and self.staff.random() < self.settings.shared:
            skills += self.staff.sample(others, min(len(others), 1 + int(self.staff.random() * 2)))
        agent = _Agent(f"a{queue.number}-{len(queue.agents) + 1:02d}", tuple(skills))
        queue.agents.append(agent)
        for skill in skills:
            skill.idle_room += 4
        return agent

    def _log_in(self, agent: _Agent) -> None:
        agent.at_work = True
        for queue in agent.skills:
            queue.staffed += 1
        self._take_next(agent)

    def _log_out(self, agent: _Agent) -> None:
        agent.at_work = agent.leaving = False
        agent.idle_stamp = 0
        for queue in agent.skills:
            queue.staffed -= 1
        if self.settings.agent_states:
            self._state(agent, "offline")

    def _slot(self, queue: _Queue, _: None) -> None:
        """A half hour begins: open or close, and change the staff."""
        second = self.local(self.now)
        opened = self.settings.flat or is_open(queue.hours, second)
        if queue.hours is not None and opened != queue.open:
            self._report("queue.opened" if opened else "queue.closed", queue.name, {"reason": "hours"})
        queue.open = opened
        self._staff(queue)
        if not self.settings.flat:
            self._in((_SLOT_S - second % _SLOT_S) * TICKS - self.now % TICKS, self._slot, queue)

    def _needed(self, queue: _Queue) -> int:
        """How many agents of its own the queue should have at work now."""
        settings = self.settings
        if queue.deserted or not queue.open:
            return 0
        if settings.agents is not None:
            return settings.agents
        share = 1.0 if settings.flat else busyness(self.local(self.now + _SLOT_S * TICKS // 2))
        return max(1, ceil(queue.peak * share * self.handle / settings.load))

    def _staff(self, queue: _Queue) -> None:
        needed = self._needed(queue)
        staying = [agent for agent in queue.agents if agent.at_work and not agent.leaving]
        if len(staying) > needed:
            # The free ones go first; a talking one goes after the talk.
            staying.sort(key=lambda agent: agent.idle_stamp == 0)
            for agent in staying[: len(staying) - needed]:
                if agent.idle_stamp:
                    self._log_out(agent)
                else:
                    agent.leaving = True
            return
        missing = needed - len(staying)
        for agent in queue.agents:
            if missing and agent.leaving:
                agent.leaving = False
                missing -= 1
        for agent in queue.agents:
            if missing and not agent.at_work:
                self._log_in(agent)
                missing -= 1
        for _ in range(missing):
            self._log_in(self._hire(queue))

    def _desert(self, queue: _Queue, begins: bool) -> None:
        """An incident begins or ends; shared agents of other queues skip this one, or come back to it."""
        queue.deserted = begins
        self._staff(queue)
        if not begins:
            while (visit := queue.first()) is not None and (agent := queue.longest_idle()) is not None:
                queue.line_of(visit).popleft()
                self._ring(visit, agent)

    # The system's own reports

    def _heartbeat(self, _: None, __: None) -> None:
        self._report("source.heartbeat", SOURCE, {"interval_s": _HEARTBEAT_S, "upstream": "ok"})
        self._in(_HEARTBEAT_S * TICKS, self._heartbeat, None)

    def _snapshot(self, queue: _Queue, _: None) -> None:
        waiting = []
        for visit in queue.present:
            caller = {"call": visit.call.subject, "since": self.text(visit.announced)}
            waiting.append(caller | {"visit": visit.number} if visit.number > 1 else caller)
        self._report("queue.snapshot", queue.name, {"complete": True, "waiting": waiting})
        self._in(_SNAPSHOT_S * TICKS, self._snapshot, queue)
