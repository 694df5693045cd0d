"""The events that benchmarks run on: a seeded call centre's, made beforehand, with the record timestamps of a live feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import orjson

from queuewatch_schemas.topics import partition_for
from queuewatch_streams.core.partition import Record
from queuewatch_streams.simulation import TICKS, Dirt, Settings, Truth, messages

EVENTS_PER_CALL = 4.6
"""About so many events tell of one call of the simulated centre, in its steady state."""
ON_THE_WAY = 250
"""Milliseconds from an event to its record."""
SOURCE = "urn:pbx:1"


class Sent(NamedTuple):
    """One event as it lies in Kafka: partition, key, value, and the record's timestamp in milliseconds."""

    partition: int
    key: bytes
    value: bytes
    timestamp: int


@dataclass(frozen=True)
class Feed:
    """Some events in order of time, and how many bytes their keys and values have."""

    sent: Sequence[Sent]
    queues: int
    truth: Truth

    @property
    def size(self) -> int:
        """The bytes of keys and values."""
        return sum(len(each.key) + len(each.value) for each in self.sent)

    def records(self) -> list[list[Record]]:
        """The same as records that a partition folds, by partition."""
        return as_records(self.sent)


def as_records(sent: Iterable[Sent], partitions: int = 4) -> list[list[Record]]:
    """Events as records by partition, with the offsets that they get in an empty topic."""
    found: list[list[Record]] = [[] for _ in range(partitions)]
    for partition, key, value, timestamp in sent:
        found[partition].append(Record(len(found[partition]), timestamp, key, value))
    return found


def centre(
    events: int,
    *,
    queues: int = 1000,
    hours: float = 1.0,
    end: datetime | None = None,
    partitions: int = 4,
    dirt: Dirt | None = None,
    seed: int = 7,
) -> Feed:
    """About so many events of a busy centre over these hours, the last of them at `end` (None: now).

    Every queue is always open and all are alike, so that the cost of an event does not hang on the hour of the day.  They
    have one channel, voice: most centres have a queue for each channel, and the figures of three would be three times as many.
    """
    end = end or datetime.now(UTC)
    settings = Settings(
        start=end - timedelta(hours=hours),
        hours=hours,
        seed=seed,
        queues=queues,
        flat=True,
        calls_per_hour=events / EVENTS_PER_CALL / queues / hours,
        dirt=dirt or Dirt(),
        chat=0.0,
        callbacks=0.0,
    )
    return _feed(settings, events, queues, partitions)


def _feed(settings: Settings, events: int, queues: int, partitions: int) -> Feed:
    truth = Truth()
    lies: dict[bytes, int] = {}
    sent = []
    for at, _, key, value in islice(messages(settings, truth), events * 2):
        partition = lies.get(key)
        if partition is None:
            partition = lies[key] = partition_for(key, partitions)
        sent.append(Sent(partition, key, slim(value), at * 1000 // TICKS + ON_THE_WAY))
    return Feed(sent, queues, truth)


def slim(value: bytes) -> bytes:
    """The same bytes in a piece of memory of their size: orjson gives them in one of four kilobytes."""
    return b"".join((value, b""))


def names(queues: int) -> tuple[str, ...]:
    """The names of so many queues of a centre."""
    return Settings(start=datetime.now(UTC), queues=queues).queue_names


def waiting_crowd(queues: int, calls: int, *, partitions: int = 4, end: datetime | None = None) -> Feed:
    """So many calls that were queued in the ten minutes before `end` and still wait, spread evenly over so many queues."""
    end = end or datetime.now(UTC)
    begin = round((end - timedelta(minutes=10)).timestamp() * 1000)
    sent, called = [], names(queues)
    for number in range(calls):
        at = begin + number * 600_000 // calls
        data = {"queue": called[number % queues], "channel": "voice"}
        sent.append(one(partitions, at, "queued", f"call-{number}", data))
    return Feed(sent, queues, Truth())


def one(partitions: int, at: int, kind: str, call: str, data: dict[str, Any]) -> Sent:
    """One call event at these milliseconds."""
    key = str(data["queue"]).encode()
    event = {
        "specversion": "1.0",
        "id": f"{call}-{kind}-{at}",
        "source": SOURCE,
        "type": f"queuewatch.call.{kind}.v1",
        "time": rfc3339(at),
        "subject": call,
        "data": data,
    }
    return Sent(partition_for(key, partitions), key, slim(orjson.dumps(event)), at + ON_THE_WAY)


def rfc3339(milliseconds: int) -> str:
    """An instant as events write it."""
    at = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}+00:00"


def crowded_queue(waiting: int, steps: int, *, start: int) -> Iterator[Sent]:
    """One queue in which always so many callers wait: `waiting` enter, then in turn one enters, the first is answered, ends.

    `start` in milliseconds; the steps are 50 ms apart.
    """
    at, queue = start, {"queue": "crowded"}
    agent = {"queue": "crowded", "agent": "a-1"}
    for number in range(waiting + steps):
        at += 50
        yield one(1, at, "queued", f"c-{number}", {**queue, "channel": "voice"})
        if number >= waiting:
            yield one(1, at, "answered", f"c-{number - waiting}", agent)
            yield one(1, at, "ended", f"c-{number - waiting}", agent)


def steady_hours(hours: int, *, queues: int, calls_per_hour: int, start: int) -> Iterator[list[Sent]]:
    """Hour by hour the events of a centre in which every hour is like the last; each call waits 10 s and talks for 60 s."""
    number = 0
    apart = 3_600_000 // calls_per_hour
    for hour in range(hours):
        sent = []
        for call in range(calls_per_hour):
            at = start + hour * 3_600_000 + call * apart
            queue = f"queue-{number % queues}"
            agent = {"queue": queue, "agent": f"a-{number % 50}"}
            number += 1
            subject = f"c-{number}"
            sent.append(one(1, at, "queued", subject, {"queue": queue, "channel": "voice"}))
            sent.append(one(1, at + 4_000, "ringing", subject, agent))
            sent.append(one(1, at + 10_000, "answered", subject, agent))
            sent.append(one(1, at + 70_000, "ended", subject, agent))
            sent.append(one(1, at + 90_000, "wrapped", subject, agent))
        sent.sort(key=lambda each: each.timestamp)
        yield sent
