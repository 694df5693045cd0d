"""How the simulated centre's reports look to others: CloudEvents as dicts, lines for files, messages for Kafka."""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

import orjson

from queuewatch_streams.simulation.call_centre import Report, reports
from queuewatch_streams.simulation.dirt import bad_line, soiled
from queuewatch_streams.simulation.grid import writer
from queuewatch_streams.simulation.settings import MONITOR, SOURCE, Settings
from queuewatch_streams.simulation.truth import Truth

MALFORMED: Final = "malformed"
"""The `kind` of a message that is no event."""


class Message(NamedTuple):
    """One event as it is sent."""

    at: int
    """When it is delivered, in ticks of 1/8 s since the epoch; not before the event's own time."""
    kind: str
    """The event type without prefix and version, e.g. `call.queued`; it decides the topic.  Or MALFORMED."""
    key: bytes
    """The Kafka key: the queue, the agent, or the source (a heartbeat goes to every partition)."""
    value: bytes
    """The event as JSON, without a line break."""


def events(settings: Settings, truth: Truth | None = None) -> Iterator[dict[str, Any]]:
    """CloudEvents in order of delivery; without dirt that is the order of time.  `truth` is filled in step."""
    envelope = _envelope(settings)
    for _, report in _delivered(settings, truth):
        yield envelope(report)


def lines(settings: Settings, truth: Truth | None = None) -> Iterator[bytes]:
    """The same as JSON lines with their line breaks, with bad lines between them if asked for."""
    if settings.dirt.malformed:
        for message in messages(settings, truth):
            yield message.value + b"\n"
        return
    envelope, dumps, option = _envelope(settings), orjson.dumps, orjson.OPT_APPEND_NEWLINE
    for _, report in _delivered(settings, truth):
        yield dumps(envelope(report), option=option)


def messages(settings: Settings, truth: Truth | None = None) -> Iterator[Message]:
    """The same as messages for Kafka, with their keys and times of delivery."""
    envelope, dumps = _envelope(settings), orjson.dumps
    malformed, random, count = settings.dirt.malformed, Random(f"{settings.seed}/malformed"), _count(truth)
    for at, report in _delivered(settings, truth):
        key = str(report.data.get("queue", report.subject)).encode()
        value = dumps(envelope(report))
        yield Message(at, report.kind, key, value)
        if malformed and random.random() < malformed:
            count()
            yield Message(at, MALFORMED, key, bad_line(random, value))


def _count(truth: Truth | None) -> Callable[[], None]:
    def count() -> None:
        if truth is not None:
            truth.dirt["malformed"] += 1

    return count


def _delivered(settings: Settings, truth: Truth | None) -> Iterable[tuple[int, Report]]:
    truth = Truth() if truth is None else truth
    true = reports(settings, truth)
    if settings.dirt.clean:
        return ((report.at, report) for report in true)
    return soiled(true, settings.dirt, settings.seed, truth)


def _envelope(settings: Settings) -> Callable[[Report], dict[str, Any]]:
    zone = settings.start.tzinfo
    assert zone is not None  # Settings refuse a start without one
    text, types = writer(zone), _Types()

    def envelope(report: Report) -> dict[str, Any]:
        at, kind, subject, data, identity = report
        return {
            "specversion": "1.0",
            "id": identity,
            "source": MONITOR if kind == "call.evicted" else SOURCE,
            "type": types[kind],
            "time": text(at),
            "subject": subject,
            "datacontenttype": "application/json",
            "data": data,
        }

    return envelope


class _Types(dict[str, str]):
    def __missing__(self, kind: str) -> str:
        self[kind] = full = f"queuewatch.{kind}.v1"
        return full
