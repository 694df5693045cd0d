"""Which callers are ghosts: still on the books, though they must have left.

Giving a caller up is a decision that needs a clock, so it is proposed here as an event, `call.evicted`, written to the log by
whoever runs this, and folded when it comes back.  Its time is a function of facts, its id follows from the visit; so a
replay, a new owner and an audit all see the same decision.  Three rules propose: a wait beyond the maximum, being overtaken
by so many later callers, and absence from the two newest lists of the caller's own source.  A caller whom his source's newest
list shows is never given up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from queuewatch_streams.core.calendar import to_datetime
from queuewatch_streams.core.queue import Queue
from queuewatch_streams.core.visit import UNKNOWN, Entry, VisitKey

Reason = Literal["too_long", "overtaken", "absent"]
AGAIN: Final = 30_000_000
"""A visit is proposed at most once in so many microseconds, until the event has come back."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """A proposal to give a visit up; `at` is the time that the event will carry, in microseconds since the epoch."""

    queue: str
    key: VisitKey
    at: int
    reason: Reason

    def event(self, source: str) -> dict[str, Any]:
        """The `call.evicted` event that says so, from that source."""
        call, number = (self.key, 1) if isinstance(self.key, str) else self.key
        identity = hashlib.sha256("\0".join((self.queue, call, str(number))).encode()).hexdigest()[:32]
        data: dict[str, Any] = {"queue": self.queue, "reason": self.reason}
        if number != 1:
            data["visit"] = number
        return {
            "specversion": "1.0",
            "id": f"evicted-{identity}",
            "source": source,
            "type": "queuewatch.call.evicted.v1",
            "time": to_datetime(self.at).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "subject": call,
            "datacontenttype": "application/json",
            "data": data,
        }


def evictions(queue: Queue, now: int, alive: Collection[str]) -> Iterator[Eviction]:
    """The visits of a queue to give up at `now`, of those sources that are alive; a visit at most once, oldest rule first."""
    policy = queue.policy
    newest = {source: lists[-1][1] for source, lists in queue.snapshots.items() if lists}
    for channel in queue.channels.values():
        for key, visit in channel.open.items():
            entry, arrival = visit.entry, visit.arrival
            assert entry is not None and arrival is not None, "only queued visits wait"
            if entry.source not in alive or key in newest.get(entry.source, ()):
                continue
            if arrival + policy.maximum_wait <= now:
                yield Eviction(queue.name, key, arrival + policy.maximum_wait, "too_long")
            elif (at := _absent_at(queue, key, entry.source, arrival)) is not None:
                yield Eviction(queue.name, key, at, "absent")
            elif policy.overtaken_by and (at := _overtaken_at(queue, entry, arrival, policy.overtaken_by)) is not None:
                yield Eviction(queue.name, key, at, "overtaken")


def _absent_at(queue: Queue, key: VisitKey, source: str, arrival: int) -> int | None:
    """The time of the second of two lists in a row that lack the visit, both made after it began to wait."""
    lists = queue.snapshots.get(source, ())
    if len(lists) < 2:
        return None
    (first_at, first), (second_at, second) = lists
    return second_at if arrival < first_at and key not in first and key not in second else None


def _overtaken_at(queue: Queue, entry: Entry, arrival: int, by: int) -> int | None:
    """When the visit had been overtaken so often: later arrivals of its channel and skills, no higher priority, answered."""
    answered = sorted(
        other.answered
        for other in queue.visits.values()
        if other.answered != UNKNOWN
        and other.entry is not None
        and other.entry.channel == entry.channel
        and other.entry.skills == entry.skills
        and other.entry.priority <= entry.priority
        and other.arrival is not None
        and other.arrival > arrival
    )
    return answered[by - 1] if len(answered) >= by else None
