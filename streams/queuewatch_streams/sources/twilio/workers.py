"""What TaskRouter's workers do, from their activities and reservations, told in any order, twice and late.

Of each worker the events that others may still come before are kept in order, upon what he did before them.  With each one
that comes all are gone through again, and said is what he did from a time on where that differs from what was said of it.
"""

from __future__ import annotations

from bisect import bisect
from typing import Any, Final, NamedTuple

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out

__all__ = ["MOST_WORKERS", "Workers"]

MOST_WORKERS: Final = 20_000
_MOST_STEPS: Final = 200
_MOST_RESERVATIONS: Final = 50
_AT_WORK: Final = {
    "reservation.created": "ringing",
    "reservation.accepted": "talking",
    "reservation.wrapup": "wrap_up",
}
"""What a worker does in a reservation; nothing any more after all others."""
_STATES: Final = tuple(_AT_WORK.values())
_ACTIVITIES: Final = {"available": "available", "idle": "available", "offline": "offline", "logged out": "offline"}
"""Names of activities that are no pauses, without case."""


class _Step(NamedTuple):
    """One event of a worker."""

    at: int
    order: int
    """Which of those of one moment comes first: a reservation begins, goes on, is over; his activity last."""
    sid: str
    reservation: str
    """Empty: his activity changes."""
    state: str
    """What he does in the reservation, or in the activity; empty: the reservation is over."""
    more: str
    """The reservation's queue by its Sid, or the name of the activity."""


View = list[Any]
"""State, reason, and the names of the queues that he talks for."""


class _Worker:
    __slots__ = ("believed", "on", "said", "settled", "state", "steps")

    def __init__(self) -> None:
        self.state: tuple[int, str, str] = (0, "", "")
        """Since when he is in which activity, as a state, and its name."""
        self.on: dict[str, tuple[str, str]] = {}
        """The reservations under way: what he does in each, and for which queue."""
        self.settled = 0
        """When that was last changed."""
        self.steps: list[_Step] = []
        """What comes after that, oldest first."""
        self.believed: View | None = None
        """What was said of him before these."""
        self.said: dict[int, View] = {}
        """What was said of him since, by the time."""


class Workers:
    """The workers of one source."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._workers: dict[str, _Worker] = {}
        self._until = 0

    def activity(self, worker: str, at: int, sid: str, name: str, out: Out) -> bool:
        """A worker's activity changes; False where the event is known."""
        state = _ACTIVITIES.get(name.strip().casefold()) or self._composer.pause_state(name)
        return self._add(worker, _Step(at, len(_STATES) + 1, sid, "", state, name), out)

    def reservation(self, worker: str, at: int, sid: str, kind: str, reservation: str, queue: str, out: Out) -> bool:
        """A worker's reservation goes on; False where the event is known."""
        state = _AT_WORK.get(kind, "")
        order = _STATES.index(state) if state else len(_STATES)
        return self._add(worker, _Step(at, order, sid, reservation, state, queue), out)

    def advance(self, at: int) -> None:
        """Nothing older than `at` comes any more."""
        if at > self._until:
            self._until = at
            for found in self._workers.values():
                while found.steps and found.steps[0].at < at:
                    _settle(found)

    def _add(self, worker: str, step: _Step, out: Out) -> bool:
        found = self._workers.pop(worker, None) or _Worker()
        self._workers[worker] = found  # the last one that was heard of stands last
        if any(step.sid == each.sid for each in found.steps):
            return False
        if step.reservation and step.at < found.settled:
            if step.state:  # it may be over by now
                return False
            step = step._replace(at=found.settled)  # what was done before is no news any more
        place = bisect(found.steps, step)
        found.steps.insert(place, step)
        self._say(worker, found, place, out)
        if len(found.steps) > _MOST_STEPS:
            _settle(found)
        if len(self._workers) > MOST_WORKERS:
            del self._workers[next(iter(self._workers))]
        return True

    def _say(self, worker: str, found: _Worker, place: int, out: Out) -> None:
        """Say what a worker did from his step at that place on, where that is not what was said."""
        state, on, believed = found.state, dict(found.on), found.believed
        for number, step in enumerate(found.steps):
            state = _go(step, state, on)
            believed = found.said.get(step.at, believed)
            if number < place or (number + 1 < len(found.steps) and found.steps[number + 1].at == step.at):
                continue  # of one moment the last one holds
            view = self._view(state, on)
            if view != believed:
                found.said[step.at] = believed = view
                self._tell(worker, step.at, view, out)

    def _view(self, activity: tuple[int, str, str], on: dict[str, tuple[str, str]]) -> View:
        _, state, reason = activity
        doing = {each for each, _ in on.values()}
        for each in ("talking", "wrap_up", "ringing"):  # he may have several tasks
            if each in doing:
                names = {self._composer.queue(queue) for one, queue in on.values() if one == "talking" and queue}
                return [each, "", sorted(name for name in names if name is not None)]
        if state in ("", "available", "offline"):  # TaskRouter reserves only those who are available
            return [state or "available", "", []]
        return [state, reason, []]

    def _tell(self, worker: str, at: int, view: View, out: Out) -> None:
        if self._composer.ignores_agent(worker):
            out.ignore("agent")
            return
        state, reason, queues = view
        more: dict[str, Any] = {}
        if queues:
            more["contacts"] = [{"channel": "voice", "state": state, "queue": each} for each in queues]
        if reason:
            more["reason"] = reason
        self._composer.agent_state(out, at, self._composer.agent(worker), state, (), **more)

    def memory(self) -> Any:
        """All that `recall` needs; a copy."""
        return {
            "until": self._until,
            "workers": {
                worker: [
                    each.settled,
                    each.state,
                    dict(each.on),
                    [list(step) for step in each.steps],
                    each.believed,
                    list(each.said.items()),
                ]
                for worker, each in self._workers.items()
            },
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._until = memory["until"]
        self._workers = {}
        for worker, (settled, state, on, steps, believed, said) in memory["workers"].items():
            found = self._workers[worker] = _Worker()
            found.settled, found.state = settled, tuple(state)
            found.on = {key: tuple(value) for key, value in on.items()}
            found.steps, found.believed, found.said = [_Step(*each) for each in steps], believed, dict(said)


def _go(step: _Step, activity: tuple[int, str, str], on: dict[str, tuple[str, str]]) -> tuple[int, str, str]:
    """Change what a worker does by one event; the activity is given back."""
    if not step.reservation:
        return (step.at, step.state, step.more) if step.at >= activity[0] else activity
    if step.state:
        on[step.reservation] = step.state, step.more
        if len(on) > _MOST_RESERVATIONS:
            del on[next(iter(on))]
    else:
        on.pop(step.reservation, None)
    return activity


def _settle(found: _Worker) -> None:
    """Nothing comes before a worker's first event any more."""
    step = found.steps.pop(0)
    found.settled = max(found.settled, step.at)
    found.state = _go(step, found.state, found.on)
    if not found.steps or found.steps[0].at != step.at:
        found.believed = found.said.pop(step.at, found.believed)
