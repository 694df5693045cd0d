"""What an event costs the pure core, for many queues, for many callers in one queue, and after many hours on air."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from bench import feed
from bench.figures import Figure, median
from bench.hot_path import fold_all, partitions_of
from bench.plot import Line, draw
from queuewatch_schemas.config import Configuration
from queuewatch_streams.core.partition import Clock, Partition, Record

QUEUES = (10, 100, 1_000, 10_000)
WAITING = (1, 10, 100, 1_000, 5_000)
BEGIN = 1_790_000_000_000
"""Milliseconds; a moment like any other."""


def by_queues(events: int, queues: int) -> float:
    """Microseconds of processor time an event, a centre's events spread over so many queues for an hour."""
    records = feed.centre(events, queues=queues).records()
    partitions = partitions_of(records, Configuration())
    began = time.process_time()
    fold_all(partitions, records)
    return (time.process_time() - began) / sum(map(len, records)) * 1e6


def by_waiting(waiting: int, steps: int) -> float:
    """Microseconds an event while so many callers wait in one queue."""
    sent = list(feed.crowded_queue(waiting, steps, start=BEGIN))
    [records] = feed.as_records(sent, partitions=1)
    [partition] = partitions_of([records], Configuration())
    partition.fold(records[:waiting])
    began = time.process_time()
    for first in range(waiting, len(records), 2_000):
        partition.fold(records[first : first + 2_000])
    return (time.process_time() - began) / (len(records) - waiting) * 1e6


def by_hours(hours: int, *, queues: int = 20, calls_per_hour: int = 240) -> list[float]:
    """Microseconds an event in each hour on air, one after the other."""
    partition = Partition(0, Configuration(), partitions=1, clock=Clock.LIVE)
    offset, costs = 0, []
    for sent in feed.steady_hours(hours, queues=queues, calls_per_hour=calls_per_hour, start=BEGIN):
        records = [Record(offset + at, each.timestamp, each.key, each.value) for at, each in enumerate(sent)]
        offset += len(records)
        began = time.process_time()
        partition.fold(records)
        partition.advance()
        costs.append((time.process_time() - began) / len(records) * 1e6)
    return costs


def _best(costs: Iterable[float]) -> float:
    """Of several runs the quickest: others on the machine can only slow one down."""
    return min(costs)


def smoothed(costs: Sequence[float], over: int) -> list[tuple[float, float]]:
    """(hour, median of the hours around it)."""
    return [(first + over / 2, median(costs[first : first + over])) for first in range(0, len(costs) - over + 1, over)]


def measure(*, events: int, steps: int, hours: int, runs: int, plots: Path | None, console: Console) -> list[Figure]:
    """All three; `plots` is the folder for the pictures."""
    queues = [(count, _best(by_queues(events, count) for _ in range(runs))) for count in QUEUES]
    waiting = [(count, _best(by_waiting(count, steps) for _ in range(runs))) for count in WAITING]
    on_air = by_hours(hours)
    warm = min(30, hours // 3)
    early = median(on_air[warm : 2 * warm])
    late = median(on_air[-warm:])
    figures = [
        *(Figure(f"core, an event with {count:,} queues", cost, "µs") for count, cost in queues),
        *(Figure(f"core, an event with {count:,} callers waiting in its queue", cost, "µs") for count, cost in waiting),
        Figure(f"core, an event in the first hours on air ({warm} to {2 * warm})", early, "µs"),
        Figure(
            f"core, an event in hours {hours - warm:,} to {hours:,}, as a multiple of that",
            late / early,
            "×",
            1.25,
            1.1,
        ),
    ]
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        lines = [Line("by queues", queues), Line("by callers waiting", waiting)]
        draw(
            plots / "cost-per-event.svg",
            "Cost of an event in the core",
            "queues, or callers waiting in one queue",
            "µs an event",
            lines,
        )
        air = [Line("median of 10 hours", smoothed(on_air, 10))]
        draw(
            plots / "cost-on-air.svg",
            "Cost of an event by hours on air",
            "hours on air",
            "µs an event",
            air,
            logarithmic=False,
        )
        console.print(f"pictures in {plots}")
    return figures
