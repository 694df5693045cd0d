"""Events and records by hand: whole CloudEvents from the few words that a test is about.

Times are integer microseconds since the epoch, or an ISO 8601 text with its offset.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from queuewatch_streams.core.partition import Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SOURCE = "urn:test:1"
OWN_SOURCE = "urn:queuewatch:queuewatch"

_NEEDED: dict[str, dict[str, Any]] = {
    "refused": {"reason": "closed"},
    "ringing": {"agent": "a-1"},
    "declined": {"agent": "a-1", "reason": "no_answer"},
    "answered": {"agent": "a-1"},
    "diverted": {"reason": "timeout"},
    "evicted": {"reason": "too_long"},
}


def micros(at: int | str) -> int:
    """An instant as microseconds since the epoch, exactly."""
    return at if isinstance(at, int) else (datetime.fromisoformat(at) - EPOCH) // timedelta(microseconds=1)


def iso(at: int) -> str:
    """Microseconds since the epoch as RFC 3339 text in UTC."""
    return (EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds")


def cloud_event(kind: str, at: int | str, subject: str, data: dict[str, Any], source: str = SOURCE) -> dict[str, Any]:
    """A CloudEvent of the type `queuewatch.{kind}.v1`."""
    return {
        "specversion": "1.0",
        "id": f"{subject}-{kind}-{micros(at)}",
        "source": source,
        "type": f"queuewatch.{kind}.v1",
        "time": iso(micros(at)),
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }


def call(
    kind: str, at: int | str, call: str = "c-1", queue: str = "sales", *, source: str = SOURCE, **data: Any
) -> dict[str, Any]:
    """A `call.{kind}` event; what its kind needs is filled in, an eviction comes from queuewatch itself."""
    if kind == "evicted" and source == SOURCE:
        source = OWN_SOURCE
    return cloud_event(f"call.{kind}", at, call, {"queue": queue, **_NEEDED.get(kind, {}), **data}, source)


def listing(at: int | str, waiting: dict[str, int], queue: str = "sales", source: str = SOURCE) -> dict[str, Any]:
    """A `queue.snapshot`: the source's own list of who waits, each with the time since when."""
    shown = [{"call": each, "since": iso(since)} for each, since in waiting.items()]
    return cloud_event("queue.snapshot", at, queue, {"complete": True, "waiting": shown}, source)


def heartbeat(at: int | str, interval_s: float = 30, upstream: str = "ok", source: str = SOURCE) -> dict[str, Any]:
    """A `source.heartbeat`."""
    return cloud_event("source.heartbeat", at, source, {"interval_s": interval_s, "upstream": upstream}, source)


def line(event: dict[str, Any]) -> bytes:
    """The event as one line of JSON."""
    return json.dumps(event, separators=(",", ":")).encode()


def record(
    offset: int,
    event: dict[str, Any] | bytes | None,
    stamp: int | str | None = None,
    key: bytes | None = b"sales",
    headers: tuple[tuple[str, bytes], ...] = (),
) -> Record:
    """The event as a Kafka record; its timestamp is the event's own time unless given."""
    if stamp is None:
        stamp = event["time"] if isinstance(event, dict) else 0
    value = line(event) if isinstance(event, dict) else event
    return Record(offset, -(-micros(stamp) // 1000), key, value, headers)
