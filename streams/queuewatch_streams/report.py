"""How a replay reads and looks on a terminal: lines of files with progress, and a table of figures for people."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = ["counting", "event_lines", "print_report"]


@contextmanager
def counting(files: Sequence[str]) -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def event_lines(file: str, progress: Progress) -> Iterator[bytes]:
    """The lines of a file, `.gz` unpacked, `-` for standard input.  Raises OSError where it cannot be read."""
    if file == "-":
        yield from sys.stdin.buffer
        return
    path = Path(file)
    task = progress.add_task(path.name, total=path.stat().st_size)
    with path.open("rb") as raw, gzip.open(raw) if file.endswith(".gz") else nullcontext(raw) as lines:
        try:
            for number, line in enumerate(lines):
                if number % 5000 == 0:
                    progress.update(task, completed=raw.tell())
                yield line
        except (EOFError, zlib.error) as error:  # what gzip raises beside OSError
            raise OSError(str(error)) from None


def print_report(report: Mapping[str, Any], threshold: float) -> None:
    """The queues as a table.  Null levels are shown as a dash; each level stands under its definition."""
    table = Table(title=f"by queue; service levels within {threshold:g} s, by definition")
    for heading in ("queue", "offered", "answered", "abandoned", "diverted", "evicted", "waiting", "ASA", "AHT"):
        table.add_column(heading, justify="left" if heading == "queue" else "right")
    levels = ("ignore", "negative", "positive", "answered_only")
    for name in levels:
        table.add_column(name, justify="right")
    for name, row in sorted(report["queues"].items()):
        counts = (str(row[each]) for each in ("offered", "answered", "abandoned", "diverted", "evicted", "waiting"))
        handle = row["talk_sum"] + row["hold_sum"] + row["wrap_sum"]
        table.add_row(
            Text(name),  # brackets in a name are no markup
            *counts,
            _seconds(row["answer_wait_sum"], row["answered"]),
            _seconds(handle, row["handled"]),
            *(_percent(row["service_level"][level]) for level in levels),
        )
    Console().print(table)
    for at, queues in report["at"].items():
        told = ", ".join(
            f"{name} {row['waiting']} (longest {row['longest_wait']:.0f} s)" for name, row in queues.items()
        )
        Console().print(f"{at}: {told or 'nobody waits'}", highlight=False, markup=False)


def _seconds(total: float, count: int) -> str:
    return f"{total / count:.1f} s" if count else "–"


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1%}"
