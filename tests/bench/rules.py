"""All rules over a thousand queues in a live Prometheus with an hour and a week behind it: how long does an evaluation take?

    python -m bench.rules [TIMES]

What is scraped is a worker's own `/metrics`, of queues that were fed for an hour.  Rules that look back find what they look
for: the recorded counters of the last hour and of the same hour a week ago are put into Prometheus' storage before it starts.
Judged is processor time, which other programs on the machine change little; what the clock said is beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import yaml
from rich.console import Console

from bench import feed
from bench.figures import Figure, median
from bench.hot_path import fold_all, partitions_of
from dashboards.live import Program
from integration.worker_process import ROOT
from queuewatch_dashboards.alerts import alerts, groups, rule_files
from queuewatch_dashboards.alerts.queues import LAST_WEEK
from queuewatch_dashboards.configuration import Configuration
from queuewatch_schemas.config import Configuration as Settings
from queuewatch_streams.brokers import free_port
from queuewatch_streams.core.partition import Partition
from queuewatch_streams.exporter import Exporter, Exposition, Health
from queuewatch_streams.serve import Server, application

QUEUES = 1_000
EVERY = 15
"""Seconds between evaluations, as they are deployed."""
HOUR, WEEK = 3_600, 604_800
PAST = ((WEEK + HOUR + 2_100, WEEK - HOUR - 60), (HOUR + 300, 0))
"""From how many seconds ago to how many there is a past: where the clocks were changed a week ago is an hour off."""
_RANGE = re.compile(r"(queue:\w+:max)(?:\{[^}]*\})?(?:\[| offset)")
_LINE = re.compile(r"^(queuewatch_\w+)(\{[^}]*(?:\"[^\"]*\"[^}]*)*\})? (\S+)$")


@contextmanager
def served(partitions: list[Partition], exporter: Exporter, health: Health) -> Iterator[int]:
    """A worker's HTTP server in a thread of its own, and its port."""

    async def figures(queue: str | None) -> Exposition:
        return await exporter.in_slices(partitions, health, time.time_ns() // 1000, only=queue)

    port, end, ready = free_port(), threading.Event(), threading.Event()

    async def run() -> None:
        server = Server(application(figures, lambda: None), "127.0.0.1", port, "-")
        await server.start()
        ready.set()
        while not end.is_set():
            await asyncio.sleep(0.2)
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(30), "the worker's server did not start"
    try:
        yield port
    finally:
        end.set()
        thread.join(30)


def past(text: str, now: float) -> Iterator[str]:
    """OpenMetrics lines of what rules look back at: recorded counters that rise steadily, and raw gauges that stay."""
    recorded_by = [each.expression for group in groups(Configuration()) for each in group.recordings]
    asked = "\n".join([*recorded_by, *(each.expression for each in alerts(Configuration()))])
    recorded = {found.split(":")[1] for found in _RANGE.findall(asked)}
    raw = {"queuewatch_queue_utc_offset_seconds", "queuewatch_queue_info"}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found[1] not in recorded | raw:
            continue
        name, labels, value = found[1], found[2] or "", float(found[3])
        for begin, end in PAST:
            for back in range(begin, end, -EVERY):
                if name in raw:
                    yield f'{name}{labels[:-1]},instance="w",job="queuewatch"}} {value!r} {now - back:.3f}\n'
                else:
                    yield f"queue:{name}:max{labels} {value * (1 - back / (2 * WEEK)):.3f} {now - back:.3f}\n"


def backfill(promtool: str, folder: Path, text: str) -> None:
    """Write the past into blocks of the storage below `folder`."""
    source = folder / "past.om"
    with source.open("w", encoding="utf-8") as out:
        out.writelines(past(text, time.time()))
        out.write("# EOF\n")
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", str(source), str(folder / "tsdb")],
        check=True, capture_output=True,
    )  # fmt: skip
    source.unlink()


def slowest(prometheus: Program) -> list[tuple[float, str]]:
    """Seconds of the last evaluation of each rule, the slowest first."""
    groups = prometheus.ask("/api/v1/rules")["data"]["groups"]
    return sorted(((rule["evaluationTime"], rule["name"]) for each in groups for rule in each["rules"]), reverse=True)


def processor(program: Program) -> float:
    """Seconds of processor time that a program has used."""
    fields = Path(f"/proc/{program.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def evaluations(prometheus: Program, times: int) -> list[dict[str, float]]:
    """Seconds of each group in so many evaluations, by group; how many alerts waited or fired; processor seconds so far."""
    found: list[dict[str, float]] = []
    seen: tuple[str, ...] = ()
    while len(found) < times:
        time.sleep(1)
        told = prometheus.ask("/api/v1/rules")["data"]["groups"]
        rules = [rule for each in told for rule in each["rules"]]
        at = tuple(each["lastEvaluation"] for each in told)
        if any(rule["health"] == "unknown" for rule in rules) or any(map(str.__eq__, at, seen)):
            continue
        wrong = [rule["name"] for rule in rules if rule["health"] != "ok"]
        assert not wrong, f"rules fail: {wrong}"
        found.append(
            {each["name"]: each["evaluationTime"] for each in told}
            | {"active alerts": sum(len(rule.get("alerts", ())) for rule in rules), "processor": processor(prometheus)}
        )
        seen = at
    return found


def measure(folder: Path, *, queues: int, events: int, times: int, console: Console) -> list[Figure]:
    """Evaluate the deployed rules so many times, every 15 seconds; the first two are not counted."""
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    assert prometheus and promtool, "Prometheus is not installed; on Debian: apt-get install prometheus"
    folder = folder / "rules"
    folder.mkdir()
    configuration = Settings()
    records = feed.centre(events, queues=queues).records()
    partitions = partitions_of(records, configuration)
    fold_all(partitions, records)
    exporter, health = Exporter(configuration), Health(ready=True, owned=len(partitions))
    text = exporter.at_once(partitions, health, time.time_ns() // 1000).text().decode()
    series = sum(not line.startswith("#") for line in text.splitlines())
    backfill(promtool, folder, text)
    document = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    del document["alerting"]
    document["rule_files"] = ["*.rules"]
    for name, rules in rule_files(Configuration()).items():
        (folder / f"{name}.rules").write_text(rules)
    port = free_port()
    with served(partitions, exporter, health) as worker:
        for job in document["scrape_configs"]:
            at = worker if job["job_name"] == Configuration().selectors.job else port
            job["static_configs"] = [{"targets": [f"127.0.0.1:{at}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
        server = Program(
            "Prometheus", port, folder / "prometheus.log", prometheus, f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        )  # fmt: skip
        try:
            found = evaluations(server, times + 2)[1:]
            assert server.ask("/api/v1/query", query=LAST_WEEK)["data"]["result"], "the past is not found"
            rules_by_time = slowest(server)
        finally:
            server.stop()
    used = [after["processor"] - before["processor"] for before, after in pairwise(found)]
    console.print(f"rules: {series:,} series of {queues:,} queues, {times} times")
    detail = {"series": series, "wall": found, "slowest": rules_by_time[:10]}
    name = f"Prometheus, one scrape and one evaluation of all rules over {queues:,} queues"
    return [Figure(name, median(used), "s of a core", EVERY / 2, EVERY / 4, rounds=used, detail=detail)]


def main() -> None:
    """Measure once and print."""
    with tempfile.TemporaryDirectory() as folder:
        times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
        for figure in measure(Path(folder), queues=QUEUES, events=400_000, times=times, console=Console()):
            print(json.dumps(asdict(figure), indent=2))


if __name__ == "__main__":
    main()
