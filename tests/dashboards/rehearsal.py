"""A call centre as series for `promtool test rules`: two queues, two definitions, several windows, two workers.

`World` lays out every series of the catalogue that rules read, healthy, and changes what a test names while trouble lasts.
Who shows queues and partitions at which time is a function, so a worker's move and a gap are a few lines.  Times in seconds
from the beginning; samples and evaluations every `STEP`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuewatch_dashboards.alerts import groups
from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.promql import Recording, quoted
from queuewatch_dashboards.rules import Alert, Group, file_of
from queuewatch_schemas.config import Definition
from queuewatch_schemas.metrics import CATALOGUE, PREFIX, definition_labels

STEP = 30
MINUTE = 60
SICK = 'sick|(EU) "\\ 🚑'
"""The queue that trouble befalls: a name with everything in it that may be mistaken for syntax."""
WELL = "well"
WORKERS = ("w1:9464", "w2:9464")
WINDOWS = ("15m", "30m", "interval", "last_interval", "day")
DEFINITIONS = {"default": Definition(), "gold": Definition(target=0.9, threshold_seconds=10)}
SOURCE = "urn:pbx:1"
CALL, HEARTBEAT = "queuewatch.call.queued.v1", "queuewatch.source.heartbeat.v1"

Value = float | Callable[[float], float]
Change = tuple[str, Mapping[str, str], Value]
"""A metric, the labels that tell which of its series, and the value, or of a counter the rise per minute, during trouble."""


@dataclass(frozen=True)
class Row:
    """One series, apart from who shows it; of a counter `value` is the rise per minute."""

    name: str
    labels: Mapping[str, str]
    value: Value
    rises: bool = False
    begins: float = 0
    """Where a rising series begins."""


def _queue_rows(queue: str) -> Iterator[Row]:
    at = {"queue": queue, "channel": "voice"}
    of = {"queue": queue}
    now = {"calls_waiting": 2, "longest_wait_seconds": 10, "calls_talking": 8, "balance_residual": 0}
    yield from (Row(name, at, value) for name, value in now.items())
    limits = {
        "queue_open": 1,
        "longest_wait_limit_seconds": 120,
        "calls_waiting_limit": 20,
        "abandon_limit_ratio": 0.1,
        "window_minimum_calls": 20,
    }
    yield from (Row(name, of, value) for name, value in limits.items())
    yield Row("queue_info", {**of, "name": f"The {queue}", "group": "g", "site": "Rome", "timezone": "UTC"}, 1)
    yield Row("queue_source_up", {**of, "source": SOURCE}, 1)
    yield Row("queue_utc_offset_seconds", of, 0)
    for window in WINDOWS:
        there = {**at, "window": window}
        yield Row("window_offered_calls", there, 60)
        for outcome, calls in {"answered": 55, "abandoned": 2, "waiting": 2, "diverted": 1, "evicted": 0}.items():
            yield Row("window_calls", {**there, "outcome": outcome}, calls)
        yield Row("abandon_ratio", there, 0.03)
        for definition in DEFINITIONS:
            level = {**there, "definition": definition}
            day = window == "day"
            yield Row("service_level_ratio", level, 0.95)
            yield Row("service_level_met_calls", level, 3.8 if day else 57, rises=day, begins=190)
            yield Row("service_level_counted_calls", level, 4 if day else 60, rises=day, begins=200)
    for definition, content in DEFINITIONS.items():
        yield Row("service_level_target_ratio", {**at, "definition": definition}, content.target)
    counters: dict[str, float] = {
        "calls_offered_total": 4,
        "calls_answered_total": 3.8,
        "calls_abandoned_total": 0.1,
        "orphaned_visits_total": 0,
    }
    yield from (Row(name, at, value, rises=True) for name, value in counters.items())
    for name, label in (
        ("calls_refused_total", "reason"),
        ("calls_evicted_total", "reason"),
        ("calls_declined_total", "reason"),
    ):
        for value in CATALOGUE[name].values[label]:
            yield Row(name, {**at, label: value}, 0.1 if name == "calls_declined_total" else 0, rises=True)


def _partition_rows(partition: str) -> Iterator[Row]:
    of = {"partition": partition}
    yield Row("partition_ready", of, 1)
    yield Row("consumer_lag_records", of, 5)
    yield Row("last_event_timestamp_seconds", of, lambda at: at)
    yield Row("events_total", {**of, "type": CALL}, 40, rises=True)
    yield Row("events_total", {**of, "type": HEARTBEAT}, 6, rises=True)
    for reason in CATALOGUE["rejected_events_total"].values["reason"]:
        yield Row("rejected_events_total", {**of, "reason": reason}, 0, rises=True)
    for name in ("rekeyed_events_total", "lost_records_total"):
        yield Row(name, of, 0, rises=True)
    for edge, share in {"0.5": 0.99, "30.0": 1, "60.0": 1, "+Inf": 1}.items():
        yield Row("event_delay_seconds_bucket", {**of, "le": edge}, 40 * share, rises=True)
    yield Row("event_delay_seconds_count", of, 40, rises=True)


def _worker_rows() -> Iterator[Row]:
    for name, value in {"ready": 1.0, "partitions": 1.0, "checkpoint_age_seconds": 20.0}.items():
        yield Row(name, {}, value)
    yield Row("build_info", {"version": "1"}, 1)
    for name, definition in DEFINITIONS.items():
        yield Row("service_level_definition_info", definition_labels(name, definition), 1)


def _never(at: float) -> bool:
    return False


def _first(at: float) -> str | None:
    return WORKERS[0]


@dataclass
class World:
    """What Prometheus sees over so many minutes."""

    minutes: float
    bad: Callable[[float], bool] = _never
    """Whether trouble lasts at that time."""
    trouble: Iterable[Change] = ()
    """What it changes."""
    always: Iterable[Change] = ()
    """What is otherwise from the beginning."""
    shown_by: Callable[[float], str | None] = _first
    """The worker that shows queues and partitions at that time; None: nobody does."""
    answers: Callable[[str, float], bool] = lambda worker, at: True
    """Whether a worker can be scraped."""
    also: Callable[[str, float], bool] = lambda worker, at: False
    """Whether another worker shows them as well."""
    hidden: Callable[[str, Mapping[str, str], float], bool] = lambda name, labels, at: False
    """Whether a series, by the metric's name and all its labels, is left out."""
    only: frozenset[str] = frozenset()
    """The metrics that there are; empty: all."""
    step: int = STEP
    _steps: int = field(init=False)

    def __post_init__(self) -> None:
        self._steps = round(self.minutes * MINUTE / self.step) + 1

    def series(self) -> list[dict[str, str]]:
        """As promtool takes them."""
        moving = [row for queue in (SICK, WELL) for row in _queue_rows(queue)]
        moving += [row for partition in ("0", "1") for row in _partition_rows(partition)]
        moving.append(Row("source_heartbeat_timestamp_seconds", {"source": SOURCE}, lambda at: at))
        moving.append(Row("source_doubled_calls", {"source": SOURCE}, 0))
        found = []
        for worker in WORKERS:
            target = {"job": "queuewatch", "instance": worker}

            def shows(at: float, worker: str = worker) -> bool:
                return self.answers(worker, at) and (self.shown_by(at) == worker or self.also(worker, at))

            def is_up(at: float, worker: str = worker) -> bool:
                return self.answers(worker, at)

            for row in (each for each in moving if not self.only or each.name in self.only):
                found.append(self._told(row, target, shows))
            for row in (each for each in _worker_rows() if not self.only):
                found.append(self._told(row, target, is_up))
            up = [float(is_up(number * self.step)) for number in range(self._steps)]
            found.append({"series": _named("up", target), "values": _written(up)})
        return [each for each in found if each["values"].strip("_ 0x+")]

    def _told(self, row: Row, target: Mapping[str, str], shows: Callable[[float], bool]) -> dict[str, str]:
        labels = {**row.labels, **target}
        values: list[float | None] = []
        total = row.begins
        for number in range(self._steps):
            at = number * self.step
            value = row.value
            changes = [*self.always, *(self.trouble if self.bad(at) else ())]
            for name, matched, changed in changes:
                if name == row.name and matched.items() <= {"queue": SICK, **labels}.items():
                    value = changed
            told = value(at) if callable(value) else value
            if row.rises:
                total += told * self.step / MINUTE
                told = total
            values.append(told if shows(at) and not self.hidden(row.name, labels, at) else None)
        return {"series": _named(PREFIX + row.name, labels), "values": _written(values)}


def _named(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f"{label}={quoted(value)}" for label, value in labels.items()) + "}"


def _written(values: Iterable[float | None]) -> str:
    """Values in promtool's notation; one that ends is marked stale, as by a scrape that no longer finds it."""
    parts: list[str] = []
    last: float | None = None
    seen = False
    for value in values:
        if value is None:
            parts.append("stale" if seen and last is not None else "_")
        else:
            parts.append(f"{value:.12g}")
        last, seen = value, True
    written: list[str] = []
    at = 0
    while at < len(parts):
        end = at
        while end < len(parts) and parts[end] == parts[at]:
            end += 1
        many = end - at
        if parts[at] == "_":
            written.append(f"_x{many}")
        elif parts[at] == "stale" or many < 3:
            written += parts[at:end]
        else:
            written.append(f"{parts[at]}+0x{many - 1}")
        at = end
    return " ".join(written)


# ---------------------------------------------------------------------------------------------------------------- rules


def needed(*wanted: Alert) -> list[Group]:
    """The given alerts alone, with the recordings that they stand on, in one group as they are evaluated."""
    every = [each for group in groups(Configuration()) for each in group.recordings]
    texts = [each.expression for each in wanted]
    names: set[str] = set()
    while True:
        more = {each.name for each in every if any(each.name in text for text in texts)} - names
        if not more:
            break
        names |= more
        texts += [each.expression for each in every if each.name in more]
    kept: list[Recording] = [each for each in every if each.name in names]
    return [Group("rehearsal", tuple(kept), wanted)]


@dataclass
class Expected:
    """That a query answers this at that time: nothing, or one value without labels."""

    query: str
    at: float
    value: float | None
    why: str


def run(
    promtool: str,
    folder: Path,
    tests: Iterable[tuple[World, Iterable[Expected]]],
    *wanted: Alert,
) -> None:
    """Run the worlds through the rules; fails with what promtool says."""
    (folder / "rules.yml").write_text(file_of(needed(*wanted)), encoding="utf-8")
    document: dict[str, Any] = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": []}
    for world, expectations in tests:
        document["evaluation_interval"] = f"{world.step}s"
        document["tests"].append(
            {
                "interval": f"{world.step}s",
                "input_series": world.series(),
                "promql_expr_test": [
                    {
                        "expr": each.query,
                        "eval_time": f"{each.at:.0f}s",
                        "exp_samples": [] if each.value is None else [{"labels": "{}", "value": each.value}],
                    }
                    for each in expectations
                ],
            }
        )
    path = folder / "tests.yml"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")  # which is YAML too
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    whys = "\n".join(f"{each.at:.0f}s {each.query}: {each.why}" for _, expected in tests for each in expected)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nwhat was expected:\n{whys}"
