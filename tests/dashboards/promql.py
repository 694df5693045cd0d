"""What Prometheus itself answers to a query: promtool evaluates it over series that a test lays out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from queuewatch_dashboards.promql import Recording, quoted

Answer = tuple[Mapping[str, str], float]


@dataclass
class Series:
    """A metric's samples, one each step; None where there is none."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[float | None]


@dataclass
class Asked:
    """A query at a time (seconds since the first sample), and what it answers: labels and value each."""

    query: str
    at: float
    answers: Iterable[Answer] = field(default=())


def named(name: str, labels: Mapping[str, str]) -> str:
    """A series as PromQL writes it."""
    return name + "{" + ", ".join(f"{label}={quoted(value)}" for label, value in labels.items()) + "}"


def prove(
    promtool: str,
    folder: Path,
    series: Iterable[Series],
    asked: Iterable[Asked],
    *,
    step: int = 60,
    recordings: Iterable[Recording] = (),
) -> None:
    """Fails, with what promtool says, unless each query gives exactly its answers."""
    series = list(series)
    asked = [
        *asked,
        Asked("vector(1)", step * max(len(each.values) for each in series), [({}, 1)]),
    ]  # loads all samples
    rules = [{"record": each.name, "expr": each.expression} for each in recordings]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    test: dict[str, Any] = {
        "interval": f"{step}s",
        "input_series": [
            {
                "series": named(each.name, each.labels),
                "values": " ".join("_" if value is None else f"{value:.17g}" for value in each.values),
            }
            for each in series
        ],
        "promql_expr_test": [
            {
                "expr": each.query,
                "eval_time": f"{each.at:.0f}s",
                "exp_samples": [{"labels": named("", labels), "value": value} for labels, value in each.answers],
            }
            for each in asked
        ],
    }
    document = {"rule_files": ["rules.yml"] if rules else [], "evaluation_interval": f"{step}s", "tests": [test]}
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
