"""How a replay reads and looks on a terminal: lines of files with progress, and a table of figures for people."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
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


COUNTS: Final = ("offered", "answered", "abandoned", "diverted", "evicted", "waiting")
LEVELS: Final = ("ignore", "negative", "positive", "answered_only")


def print_report(report: Mapping[str, Any], threshold: float) -> None:
    """The queues as two tables that fit a terminal of 80 columns.

    Null levels are shown as a dash, and each level stands under its definition.
    """
    counts = _table("callers", COUNTS)
    levels = _table(f"service level within {threshold:g} s, by definition", ("ASA", "AHT", *LEVELS))
    for name, row in sorted(report["queues"].items()):
        title = Text(name)  # brackets in a name are no markup
        counts.add_row(title, *(str(row[each]) for each in COUNTS))
        levels.add_row(
            title,
            _seconds(row["answer_wait_sum"], row["answered"]),
            _seconds(row["talk_sum"] + row["hold_sum"] + row["wrap_sum"], row["handled"]),
            *(_percent(row["service_level"][level]) for level in LEVELS),
        )
    console = Console()
    console.print(counts, levels)
    for at, queues in report["at"].items():
        console.print(f"waiting at {at}:", *([] if queues else ["nobody"]), highlight=False)
        for name, row in sorted(queues.items()):
            console.print(
                f"  {name}: {row['waiting']}, the longest for {row['longest_wait']:.0f} s",
                highlight=False,
                markup=False,
            )


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("queue", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _seconds(total: float, count: int) -> str:
    return f"{total / count:.1f} s" if count else "–"


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1%}"
