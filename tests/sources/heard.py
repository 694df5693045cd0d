"""What the tests of translators share that listen live: moments, and what is said of calls and of agents.

Seconds count from START.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from queuewatch_schemas.times import instant
from queuewatch_streams.core.ghosts import evictions
from queuewatch_streams.core.partition import Record
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.shape import Out
from support.events import record
from support.running import PATIENT, configuration, folded, totals
from support.sources import events

START = 1_795_305_000
"""Second 0, long past."""
SECOND = 1_000_000


class Stay(NamedTuple):
    """One visit as the system's maker knows it; seconds of the session."""

    call: str
    queue: str
    joined: float
    kind: str
    """How the wait ended: answered, abandoned, diverted."""
    done: float
    last: float
    """When all of its events have come."""
    picked_up: bool
    """Whether an agent picked up; the caller may still have hung up during an announcement, and then it is no answer."""


class Live(NamedTuple):
    """A system that tells what happens, and at any time its lists."""

    records: list[tuple[float, Any]]
    """What happens, as records, each with the second at which it comes."""
    lists: Callable[[float], list[Any]]
    """What the lists say at a second, as records."""
    connected: Callable[[float], Any]
    """The record of a new connection."""
    stays: list[Stay]


def at(second: float) -> int:
    """A second as a record's time."""
    return START * SECOND + round(second * SECOND)


def second(event: dict[str, Any]) -> float:
    """When an event happened."""
    return round(instant(event["time"]) / 1e6 - START, 6)


def of_calls(out: Out, source: str) -> list[tuple[Any, ...]]:
    """What is said of a source's calls: (second, kind, call, queue, visit, other data of interest)."""
    found = []
    for event in events(out):
        kind = event["type"].removeprefix("queuewatch.").removesuffix(".v1")
        if kind.startswith("call."):
            data = event["data"]
            rest = tuple(data[key] for key in ("agent", "reason", "by", "via") if key in data)
            call, queue = event["subject"].removeprefix(f"{source}-"), data["queue"].removeprefix(f"{source}/")
            found.append((second(event), kind[5:], call, queue, data.get("visit", 1), *rest))
    return found


def of_agents(out: Out, source: str) -> list[tuple[Any, ...]]:
    """What is said of a source's agents: (second, agent, state, queues, reason)."""
    found = []
    for event in events(out):
        if event["type"] == "queuewatch.agent.state.v1":
            data = event["data"]
            queues = " ".join(each["queue"].removeprefix(f"{source}/") for each in data["queues"])
            name = event["subject"].removeprefix(f"{source}/")
            found.append((second(event), name, data["state"], queues, *filter(None, [data.get("reason")])))
    return found


def figures(out: Out, source: str) -> dict[str, Any]:
    """What the core makes of it, by queue, of queues where something happened."""
    replay = Replay(Question())
    for role, _, value in out.messages:
        if role == "events":
            replay.fold(value)
    keys = ("offered", "answered", "abandoned", "refused")
    return {
        queue.removeprefix(f"{source}/"): {key: row[key] for key in keys} | {"diverted_by": row["diverted_by"]}
        for queue, row in replay.report()["queues"].items()
        if any(row[key] for key in keys)
    }


def assert_nothing_counts_twice(records: Sequence[Record], stays: Sequence[Stay]) -> None:
    """By a worker's count of what the source "pbx" has told: no stay is two, none is answered twice, nobody waits for ever.

    What the two newest lists do not show the worker gives up.
    """
    true = Counter((f"pbx-{stay.call}", f"pbx/{stay.queue}") for stay in stays)
    visits: dict[tuple[str, str], set[int]] = defaultdict(set)
    for event in (orjson.loads(each.value or b"") for each in records):
        if event["type"] == "queuewatch.call.queued.v1":
            visits[event["subject"], event["data"]["queue"]].add(event["data"].get("visit", 1))
    assert all(len(numbers) <= true[where] for where, numbers in visits.items())
    worker = folded(records, configuration(timing=PATIENT))
    now = worker.log_time
    ghosts = [each for queue in worker.queues.values() for each in evictions(queue, now, {"urn:source:pbx"})]
    assert all(each.reason == "absent" for each in ghosts)
    given_up = [each.event(worker.configuration.own_source) for each in ghosts]
    worker.fold([record(len(records) + number, event, now) for number, event in enumerate(given_up)])
    counted = totals(worker)
    for name in {f"pbx/{stay.queue}" for stay in stays} & set(worker.queues):
        mine, told = [stay for stay in stays if f"pbx/{stay.queue}" == name], counted[name, "voice"]
        assert worker.queues[name].channels["voice"].waiting == []
        assert told["offered"] <= len(mine)
        assert told.get("answered", 0) <= sum(stay.picked_up for stay in mine)
