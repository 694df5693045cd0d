"""Where the time of an event and of a scrape goes: samples of the core's fold and of the exporter, by function and by line.

    python -m bench.hot_path [--events 300000] [--queues 1000] [--lines 15]

A signal interrupts the work at every tick of the processor's clock and notes where it is: unlike a tracing profiler that makes
nothing dearer.  Time inside C functions is the line's that called them.
"""

from __future__ import annotations

import argparse
import linecache
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import feed
from queuewatch_schemas.config import Configuration
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.exporter import Exporter, Health


def partitions_of(records: list[list[Record]], configuration: Configuration) -> list[Partition]:
    """Empty partitions, one for each list of records."""
    return [
        Partition(number, configuration, partitions=len(records), clock=Clock.LIVE) for number in range(len(records))
    ]


def fold_all(partitions: list[Partition], records: list[list[Record]], size: int = 2_000) -> None:
    """Fold deliveries of the partitions in turn, as a worker gets them."""
    for first in range(0, max(map(len, records)), size):
        for partition, theirs in zip(partitions, records, strict=True):
            if theirs[first : first + size]:
                partition.fold(theirs[first : first + size])


def profiled(step: Callable[[], Any], title: str, lines: int, console: Console) -> None:
    """Run it, print the functions and lines with the most own time."""
    functions: Counter[str] = Counter()
    places: Counter[tuple[str, int | None]] = Counter()

    def note(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            functions[f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_qualname}"] += 1
            places[code.co_filename, frame.f_lineno] += 1

    before = signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        step()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    table = Table("own", "function", title=title, title_justify="left")
    for name, count in functions.most_common(lines):
        table.add_row(f"{count / functions.total():.1%}", name)
    console.print(table)
    table = Table("own", "line", "", title=f"{title}, by line", title_justify="left")
    for (path, line), count in places.most_common(2 * lines):
        text = linecache.getline(path, line).strip() if line else ""
        table.add_row(f"{count / functions.total():.1%}", f"{Path(path).name}:{line}", Text(text[:90]))
    console.print(table)


def main() -> None:
    """Fold, profile, scrape, profile."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=300_000)
    options.add_argument("--queues", type=int, default=1000)
    options.add_argument("--lines", type=int, default=15)
    given = options.parse_args()
    console = Console(width=140)
    configuration = Configuration()
    records = feed.centre(given.events, queues=given.queues).records()
    count = sum(map(len, records))

    partitions = partitions_of(records, configuration)
    began = time.perf_counter()
    fold_all(partitions, records)
    spent = time.perf_counter() - began
    console.print(f"fold: {count} events in {spent:.2f} s, {spent / count * 1e6:.2f} µs each, without a profiler")
    again = partitions_of(records, configuration)
    profiled(lambda: fold_all(again, records), "Partition.fold by own time", given.lines, console)

    exporter = Exporter(configuration)
    health = Health(ready=True, owned=len(partitions))
    now = time.time_ns() // 1000
    for _ in range(2):
        began = time.perf_counter()
        told = exporter.at_once(partitions, health, now)
        gathered = time.perf_counter()
        text = told.text()
        joined = time.perf_counter()
    console.print(
        f"scrape: {text.count(bytes([10]))} lines; gathered {gathered - began:.3f} s, joined {joined - gathered:.3f} s"
    )

    def scrapes() -> None:
        for _ in range(5):
            exporter.at_once(partitions, health, now)

    profiled(scrapes, "Exporter.at_once", given.lines, console)

    began = time.perf_counter()
    sizes = [len(partition.encode_queue(name) or b"") for partition in partitions for name in list(partition.queues)]
    spent = time.perf_counter() - began
    each, size = spent / len(sizes) * 1e6, sum(sizes) / len(sizes)
    console.print(f"records: {len(sizes)} in {spent:.2f} s, {each:.0f} µs and {size:.0f} bytes each")


if __name__ == "__main__":
    main()
