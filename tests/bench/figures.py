"""What a benchmark found: figures with the bounds that they must keep, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from bench.core_kind import core_is

SLACK = 2.0
"""How many times wider the bounds are that a short form is judged by: it runs on noisy machines, a round only."""


@dataclass(frozen=True)
class Figure:
    """One figure.  `bound` is what it must reach, `aim` what it should; `better` says whether more or less is good."""

    name: str
    value: float
    unit: str = ""
    bound: float | None = None
    aim: float | None = None
    better: Literal["more", "less"] = "less"
    rounds: Sequence[float] = ()
    """What the value is the median of."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What else was measured on the way."""

    def reaches(self, limit: float | None) -> bool:
        """Whether the value is at least as good as this limit; True where there is none."""
        return limit is None or (self.value >= limit if self.better == "more" else self.value <= limit)

    @property
    def verdict(self) -> str:
        """How it did, in a word or two."""
        if self.bound is None:
            return ""
        if not self.reaches(self.bound):
            return "MISSED"
        return "aim reached" if self.aim is not None and self.reaches(self.aim) else "kept"

    def unjudged(self) -> Figure:
        """The same without limits."""
        return replace(self, bound=None, aim=None)

    def loosely_judged(self) -> Figure:
        """The same with a bound so much wider that only a mistake misses it on a noisy machine."""
        if self.bound is None:
            return self
        return replace(self, bound=self.bound / SLACK if self.better == "more" else self.bound * SLACK)


def median(values: Sequence[float]) -> float:
    """The median; fails on nothing."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def short(value: float | None, unit: str = "") -> str:
    """A figure with three or so digits that tell."""
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print them as a table."""
    table = Table(
        "what", "measured", "at least", "aim", "", title=f"Benchmarks, core {core_is()}", title_justify="left"
    )
    for figure in figures:
        sign = "≥" if figure.better == "more" else "≤"
        limits = [
            f"{sign} {short(limit, figure.unit)}" if limit is not None else "" for limit in (figure.bound, figure.aim)
        ]
        style = "red" if figure.verdict == "MISSED" else ""
        table.add_row(figure.name, short(figure.value, figure.unit), *limits, figure.verdict, style=style)
    console.print(table)


def machine() -> dict[str, Any]:
    """Where this was measured, as far as figures depend on it; nothing that names the machine."""
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "core": core_is(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def write(figures: Sequence[Figure], failures: Mapping[str, str], options: Mapping[str, Any], folder: Path) -> Path:
    """Write them as JSON; the file's name is the time."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    told = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "options": dict(options),
        "figures": [asdict(figure) | {"verdict": figure.verdict} for figure in figures],
        "failures": dict(failures),
    }
    path.write_text(json.dumps(told, indent=1, default=str) + "\n")
    return path
