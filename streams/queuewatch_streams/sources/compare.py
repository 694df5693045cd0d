"""A system's own counts beside those of the events that its source has sent, and why they may differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_schemas.times import instant
from queuewatch_streams.sources.compose import Composer, source_urn
from queuewatch_streams.sources.shape import Reader, Unreadable
from queuewatch_streams.sources.topic import values_since

__all__ = ["COUNTED", "compare", "sent"]

COUNTED: Final = {
    "queuewatch.call.queued.v1": "offered",
    "queuewatch.call.answered.v1": "answered",
    "queuewatch.call.abandoned.v1": "abandoned",
    "queuewatch.call.diverted.v1": "diverted",
    "queuewatch.call.refused.v1": "refused",
}
FIGURES: Final = ("offered", "answered", "abandoned", "diverted", "refused")


async def compare(
    configuration: Configuration, name: str, settings: SourceSettings, reader: Reader[Any], since: datetime
) -> bool:
    """Print both by queue; whether every figure that the system tells is the same here.

    :raises Lost: the system cannot be reached.
    :raises KafkaTrouble: the brokers cannot.
    """
    theirs = await reader.counters(since)
    since = theirs.since or since
    ours = await sent(configuration, source_urn(name), since)
    composer = Composer(name, settings)
    by_name: dict[str, Counter[str]] = defaultdict(Counter)
    for vendor, counts in theirs.queues.items():
        try:
            queue = composer.queue(vendor)
        except Unreadable:
            continue
        if queue is not None:
            by_name[queue].update(counts)
    table = Table(
        title=f"{name} since {since:%Y-%m-%d %H:%M %Z}: its own count / sent", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("queue", overflow="fold")
    for figure in FIGURES:
        table.add_column(figure, justify="right", no_wrap=True)
    told_of = {figure for counts in theirs.queues.values() for figure in counts}
    same = True
    for queue in sorted({*by_name, *ours}):
        cells = []
        for figure in FIGURES:
            told, counted = by_name[queue].get(figure), ours.get(queue, {}).get(figure, 0)
            if told is None and figure not in told_of:
                cells.append(f"– / {counted}")
                continue
            told = told or 0
            same = same and told == counted
            cells.append(str(told) if told == counted else f"{told} / {counted}")
        table.add_row(Text(queue), *cells)
    console = Console()
    console.print(table)
    if not same:
        console.print("Why they may differ:")
        for note in (*theirs.notes, "Events of before the source's first start were not sent."):
            console.print(f"- {note}", markup=False, highlight=False)
    return same


async def sent(configuration: Configuration, urn: str, since: datetime) -> Mapping[str, Mapping[str, int]]:
    """What the topic holds of a source since then, each event once, by queue and figure.

    :raises KafkaTrouble: the topic is not there, or no broker answers.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[str] = set()
    async for value in values_since(configuration, since):
        _count(value, urn, round(since.timestamp() * 1000) * 1000, seen, counts)
    return counts


def _count(value: bytes, urn: str, start: int, seen: set[str], counts: dict[str, Counter[str]]) -> None:
    try:
        event = orjson.loads(value)
        figure = COUNTED.get(event["type"])
        if figure is None or event["source"] != urn or instant(event["time"]) < start or event["id"] in seen:
            return
        seen.add(event["id"])
        counts[event["data"]["queue"]][figure] += 1
    except (ValueError, TypeError, KeyError, AttributeError):  # what is no event is the worker's to tell
        return
