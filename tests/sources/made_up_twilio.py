"""TaskRouter's events by hand, and the simulator's days as TaskRouter would tell them.

Of what the simulator knows TaskRouter has no hold, no refusal at the door, no callback and no call in two queues at once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from queuewatch_schemas.times import instant
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.simulation import Settings, Truth, eventful, reports
from queuewatch_streams.simulation.settings import Dirt

ACCOUNT = "AC" + "0" * 32
WORKSPACE = "WS" + "1" * 32
START = 1_795_305_000
CALLER = "+390612345"


def sid(prefix: str, name: str) -> str:
    return prefix + hashlib.md5(name.encode()).hexdigest()


def event(second: float, kind: str, task: str = "t1", queue: str | None = "sales", **more: Any) -> dict[str, Any]:
    """An event in the snake case of Event Streams' payload, with the time in milliseconds beside it."""
    at = START * 1000 + round(second * 1000)
    told: dict[str, Any] = {
        "sid": sid("EV", f"{kind}/{at}/{task}/{queue}/{sorted(more.items())}"),
        "eventtype": kind,
        "timestamp_ms": at,
        "account_sid": ACCOUNT,
        "workspace_sid": WORKSPACE,
        "workspace_name": "a workspace",
    }
    if not kind.startswith("worker."):
        told |= {
            "task_sid": task,
            "task_attributes": orjson.dumps({"from": CALLER, "name": "Ann"}).decode(),
            "task_priority": 1,
            "task_channel_unique_name": "voice",
        }
        if queue is not None:
            told |= {"task_queue_sid": queue, "task_queue_name": f"the queue {queue}"}
    return told | more


def reserved(second: float, what: str, worker: str = "anna", number: str = "r1", **more: Any) -> dict[str, Any]:
    return event(second, f"reservation.{what}", reservation_sid=number, worker_sid=worker, worker_name="Anna", **more)


def worker(second: float, activity: str, who: str = "anna") -> dict[str, Any]:
    return event(second, "worker.activity.update", worker_sid=who, worker_name="Anna", worker_activity_name=activity)


# ----------------------------------------------------------------------------------------------------------- three forms


def as_webhook(told: dict[str, Any]) -> dict[str, str]:
    """The same as form fields."""
    names = {"eventtype": "EventType", "timestamp_ms": "TimestampMs"}
    fields = {
        names.get(key) or "".join(part.title() for part in key.split("_")): str(value) for key, value in told.items()
    }
    return {"EventDescription": "about Ann"} | fields | {"Timestamp": str(told["timestamp_ms"] // 1000)}


def as_streamed(told: dict[str, Any]) -> dict[str, Any]:
    """The same as a CloudEvent of Event Streams."""
    at = datetime.fromtimestamp(told["timestamp_ms"] / 1000, UTC).isoformat(timespec="milliseconds")
    payload = {key: value for key, value in told.items() if key != "timestamp_ms"} | {"timestamp": at}
    if "task_queue_entered_date" in payload:
        entered = datetime.fromtimestamp(payload["task_queue_entered_date"], UTC)
        payload["task_queue_entered_date"] = entered.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "specversion": "1.0",
        "type": f"com.twilio.taskrouter.{told['eventtype']}",
        "source": "AB1",
        "id": f"NO{told['sid'][2:]}",
        "data": {"sid": told["sid"], "timestamp": at, "payload_type": "application/json", "payload": payload},
    }


def of_another_product(kind: str = "com.twilio.eventstreams.test-event", **data: Any) -> dict[str, Any]:
    """What else comes to a sink of Event Streams: its own test, and events of other products."""
    return {
        "specversion": "1.0",
        "type": kind,
        "source": "Sink",
        "id": "EZ00000000000000000000000000000001",
        "datacontenttype": "application/json",
        "time": "2026-03-02T09:00:00.250Z",
        "data": {"test_id": "7a1d"} | data,
    }


def as_listed(told: dict[str, Any]) -> dict[str, Any]:
    """The same as the REST interface lists it."""
    inner = {key: value for key, value in told.items() if key not in ("sid", "eventtype", "timestamp_ms")}
    return {
        "sid": told["sid"],
        "event_type": told["eventtype"],
        "event_date": datetime.fromtimestamp(told["timestamp_ms"] // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "event_date_ms": told["timestamp_ms"],
        "account_sid": ACCOUNT,
        "workspace_sid": WORKSPACE,
        "description": "about Ann",
        "event_data": inner,
    }


# ---------------------------------------------------------------------------------------------------------- whole days


def settings(seed: int, hours: float, start: datetime | None = None) -> Settings:
    """An eventful centre without what TaskRouter does not have."""
    begin = start or datetime.fromtimestamp(START, UTC)
    made = eventful(Settings(start=begin, hours=hours, seed=seed, queues=4, flat=True), Dirt())
    return replace(
        made, everywhere=0.0, capacity=None, refused_unstaffed=0.0, callbacks=0.0, holds=0.0, snapshots=False,
        heartbeats=False, surveys=0.0, agent_states=True,
    )  # fmt: skip


@dataclass
class Day:
    """The events of a simulated centre in TaskRouter's words, in order of time, and what the simulator knows besides."""

    events: list[dict[str, Any]]
    truth: Truth
    agents: dict[str, list[tuple[float, str]]]
    """What each agent did from which second on; of one moment the last."""


def made_up_day(made: Settings) -> Day:
    truth, teller, agents = Truth(), _Teller(), dict[str, dict[float, str]]()
    events: list[dict[str, Any]] = []
    for report in reports(made, truth):
        second = report.at / 8 - START
        if report.kind.startswith("call."):
            events += teller.tell(second, report.kind[5:], report.subject, report.data)
        elif report.kind == "agent.state":
            state = report.data["state"]
            agents.setdefault(report.subject, {})[second] = state
            events += teller.works(second, report.subject, state)
    return Day(events, truth, {agent: only_changes(states) for agent, states in agents.items()})


def only_changes(states: Mapping[float, str]) -> list[tuple[float, str]]:
    """A state by second, in order of time, without what only repeats the one before."""
    found: list[tuple[float, str]] = []
    for second in sorted(states):
        if not found or found[-1][1] != states[second]:
            found.append((second, states[second]))
    return found


class _Teller:
    def __init__(self) -> None:
        self.reservations: dict[tuple[str, str], str] = {}
        """The open reservation of a task and worker."""
        self.live: dict[tuple[str, str, int], tuple[str, str]] = {}
        """Who talks in a visit: (worker, reservation)."""
        self.wrapping: dict[tuple[str, str, int], tuple[str, str]] = {}
        self.number = 0
        self.entered: dict[str, float] = {}
        """When a task entered the queue that it is in."""
        self.activities: dict[str, str] = {}

    def works(self, second: float, who: str, state: str) -> Iterator[dict[str, Any]]:
        """A worker's activity; that he is offered a task or talks is told by reservations."""
        name = {"available": "Available", "offline": "Offline", "break": "Coffee break", "other": "Unclear"}.get(state)
        if name is not None and self.activities.get(who) != name:
            self.activities[who] = name
            yield worker(second, name, who)

    def tell(self, second: float, kind: str, task: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of what happened to a call, each with the task's status after it and the entry to its queue."""
        status = {"queued": "pending", "ringing": "reserved", "declined": "pending", "answered": "assigned"}.get(
            kind, ""
        )
        if kind == "ended":
            status = "pending" if "to_queue" in data else "wrapping"
        elif kind == "wrapped":
            status = "completed" if task not in {each[0] for each in self.live} else "assigned"
        elif kind in ("abandoned", "diverted"):
            status = "canceled"
        if kind == "queued":
            if task not in self.entered:
                yield event(second, "task.created", task, None)
            self.entered[task] = second
        more = {"task_assignment_status": status, "task_queue_entered_date": int(START + self.entered[task])}
        if "channel" in data:
            more["task_channel_unique_name"] = data["channel"]
        for each in self._say(second, kind, task, data):
            yield each | more

    def _reservation(self, second: float, what: str, task: str, queue: str, who: str, number: str) -> dict[str, Any]:
        return event(second, f"reservation.{what}", task, queue, worker_sid=who, reservation_sid=number)

    def _reserve(self, second: float, task: str, queue: str, who: str) -> dict[str, Any]:
        self.number += 1
        number = self.reservations[task, who] = f"WR{self.number}"
        return self._reservation(second, "created", task, queue, who, number)

    def _say(self, second: float, kind: str, task: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        queue, who = data["queue"], data.get("agent", "")
        visit = (task, queue, data.get("visit", 1))
        if kind == "queued":
            yield event(second, "task-queue.entered", task, queue)
        elif kind == "ringing":
            yield self._reserve(second, task, queue, who)
        elif kind == "declined":
            what = {"no_answer": "timeout", "rejected": "rejected"}.get(data["reason"], "failed")
            yield self._reservation(second, what, task, queue, who, self.reservations.pop((task, who)))
        elif kind == "answered":
            if (task, who) not in self.reservations:  # a handover
                yield event(second, "task.transfer-initiated", task, queue)
                yield self._reserve(second, task, queue, who)
            number = self.reservations.pop((task, who))
            yield self._reservation(second, "accepted", task, queue, who, number)
            if visit in self.live:
                yield event(second, "task.transfer-completed", task, queue)
                yield self._reservation(second, "completed", task, queue, *self.live[visit])
            self.live[visit] = (who, number)
        elif kind in ("abandoned", "diverted"):
            for each in [each for each in self.reservations if each[0] == task]:
                yield self._reservation(second, "canceled", task, queue, each[1], self.reservations.pop(each))
            if kind == "abandoned":
                yield event(second, "task.canceled", task, queue, task_canceled_reason="hangup")
            else:
                yield from self._diverted(second, task, queue, data)
        elif kind == "ended":
            self.wrapping[visit] = self.live.pop(visit)
            if data["by"] == "transfer":
                yield event(second, "task.transfer-initiated", task, queue)
            yield self._reservation(second, "wrapup", task, queue, *self.wrapping[visit])
            if "to_queue" not in data:
                yield event(second, "task.wrapup", task, queue)
        elif kind == "wrapped":
            yield self._reservation(second, "completed", task, queue, *self.wrapping.pop(visit))

    def _diverted(self, second: float, task: str, queue: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        reason = data["reason"]
        if reason in ("timeout", "no_agents"):
            yield event(second, "task-queue.timeout", task, queue)
            if "to_queue" not in data:
                yield event(second, "workflow.timeout", task, queue)
                yield event(second, "task.canceled", task, queue, task_canceled_reason="Workflow timed out")
        elif reason in ("overflow", "transfer"):
            yield event(second, "task-queue.moved", task, queue)
            if "to_queue" not in data:
                yield event(second, "task.canceled", task, queue, task_canceled_reason="redirected")
        elif reason == "key":
            yield event(second, "task.canceled", task, queue, task_canceled_reason="leave")
        elif reason == "voicemail":
            yield event(second, "task.canceled", task, queue, task_canceled_reason="Voicemail")
        else:
            yield event(second, "task.deleted", task, queue)


def delivered(
    events: Sequence[dict[str, Any]], dice: random.Random, *, lost: float, overlap: float, every: float = 60
) -> Iterator[tuple[list[dict[str, Any]], float]]:
    """A day's events as a source gets them that reads the list so often: webhooks since, what is listed; and up to which
    second nothing older comes.

    :param lost: the share of webhooks that never come; the others are up to ten seconds late.
    :param overlap: seconds that the list is read again; an event is listed later than it happened by less.
    """
    calls = sorted(
        (_second(each) + 10 * dice.random(), number) for number, each in enumerate(events) if dice.random() >= lost
    )
    listed = [(_second(each) + (overlap - 1) * dice.random(), each) for each in events]
    read = _second(events[0])
    while calls or read < max(at for at, _ in listed):
        before, read = read, read + every
        came = [number for at, number in calls if at <= read]
        calls = calls[len(came) :]
        told = [each for at, each in listed if at <= read and before - overlap <= _second(each)]
        yield [*(as_webhook(events[number]) for number in came), *map(as_listed, told)], read - overlap


def _second(told: dict[str, Any]) -> float:
    at: int = told["timestamp_ms"]
    return at / 1000


# ------------------------------------------------------------------------------------------------- what comes of them

FIRST_FACTS = (
    "offered", "answered", "abandoned", "diverted", "waiting", "declined", "answer_wait_sum", "abandon_wait_sum",
    "longest_answer_wait",
)  # fmt: skip
FACTS = (*FIRST_FACTS, "handled", "talk_sum", "wrap_sum")


def figures(values: Iterable[bytes]) -> Mapping[str, Any]:
    """The figures of each queue by the core."""
    replay = Replay(Question(threshold=20))
    assert not replay.fold_all(value for value in values if b"queuewatch.agent.state." not in value)
    found: Mapping[str, Any] = replay.report()["queues"]
    return found


def working(values: Iterable[bytes]) -> dict[str, list[tuple[float, str]]]:
    """What each agent did from which second on, without what only repeats the one before."""
    found: dict[str, dict[float, str]] = {}
    for each in map(orjson.loads, values):
        if each["type"] == "queuewatch.agent.state.v1":
            second = (instant(each["time"]) - START * 1_000_000) / 1e6
            found.setdefault(each["subject"].removeprefix("tr/"), {})[second] = each["data"]["state"]
    return {agent: only_changes(states) for agent, states in found.items()}


def differences(values: Sequence[bytes], day: Day, facts: Sequence[str] = FACTS) -> list[Any]:
    """What of the figures, and of what agents did, is not as the simulator knows it."""
    found, states = figures(values), working(values)
    truth = {f"tr/{name}": true for name, true in day.truth.queues.items() if true.offered}
    faults: list[Any] = [] if set(found) == set(truth) else [(set(found), set(truth))]
    for name, true in truth.items():
        row = found.get(name, {})
        faults += [
            (name, fact, row.get(fact), told) for fact in facts if row.get(fact) != (told := getattr(true, fact))
        ]
        if dict(row.get("diverted_by", {})) != told_otherwise(true.diverted_by):
            faults.append((name, row.get("diverted_by"), true.diverted_by))
    return faults + [(agent, known) for agent, known in day.agents.items() if states.get(agent) != known]


def told_otherwise(reasons: dict[str, int]) -> dict[str, int]:
    """The simulator's reasons for diverts in the words that TaskRouter has for them."""
    found: dict[str, int] = {}
    for reason, number in reasons.items():
        name = {"no_agents": "timeout", "transfer": "overflow"}.get(reason, reason)
        found[name] = found.get(name, 0) + number
    return found
