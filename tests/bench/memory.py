"""Half an hour at 2,000 events a second, with ghosts and events that come late: does the memory grow?

The worker begins with the twenty-five minutes before in its topic, as it keeps closed visits for fifteen: what it holds is
then in balance.  Means of half a minute are compared after the first third, which is warm-up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from bench import kafka
from bench.figures import Figure
from bench.plot import Line, draw
from bench.processes import our_environment, scraping, until, worker
from integration.worker_process import Scrape
from queuewatch_streams.brokers import ApacheKafka

RATE = 2_000
QUEUES = 1_000
SCRAPE_EVERY = 5.0
MEAN_OVER = 30.0
"""Seconds."""
WARM_UP = 1 / 3
MAXIMUM_WAIT = 600
"""Seconds after which the worker takes a caller for a ghost; callers of the simulation are gone after 480."""


def past_of(minutes: float) -> float:
    """Seconds of the past that the topic begins with."""
    return min(1_500.0, minutes * 60)


def means(points: Sequence[tuple[float, float]], over: float) -> list[tuple[float, float]]:
    """(middle, mean) of each whole stretch of (seconds, value)s; the first begins at 0."""
    stretches: dict[int, list[float]] = {}
    for at, value in points:
        stretches.setdefault(int(at // over), []).append(value)
    whole = int(points[-1][0] // over)
    return [((n + 0.5) * over, fmean(values)) for n, values in sorted(stretches.items()) if n < whole]


def swing(values: Sequence[float]) -> float:
    """How far the highest and the lowest lie from the middle between them, as a share of it."""
    return (max(values) - min(values)) / (max(values) + min(values))


def measure(folder: Path, broker: ApacheKafka, *, minutes: float, plots: Path, console: Console) -> list[Figure]:
    """Run it; the picture goes into `plots`.  Fails where the worker falls behind or its balance is not 0."""
    seconds = minutes * 60
    settings = f"[defaults]\nmaximum_wait_seconds = {MAXIMUM_WAIT}\n"
    toml, configuration = kafka.configuration(folder, broker.address, "bench-memory", session=60.0, settings=settings)
    kafka.create_topics(configuration)
    arguments = (broker.address, configuration.topics.events, kafka.PARTITIONS, QUEUES, RATE, past_of(minutes), seconds)
    command = [sys.executable, "-m", "bench.afternoon", *map(str, arguments)]
    sender = subprocess.Popen(command, env=our_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert sender.stdout is not None
        began = json.loads(sender.stdout.readline() or "{}")
        assert began, "the sender ended before it had sent the past"
        # Not before: what the worker says of ghosts would stand, with the time of now, amid what is of the past.
        with worker(toml, folder) as measured, scraping(measured, SCRAPE_EVERY) as scrapes:
            measured.until_ready()
            present = measured.until("the past is folded", lambda line: line["folded"] >= began["past"])["at"]
            console.print(f"memory: {began['past']:,} events of the past are folded; now {minutes:g} minutes")
            said, _ = sender.communicate(timeout=seconds + 120)
            sent = json.loads(said)["sent"]
            last = measured.until("the rest is folded", lambda line: line["folded"] >= sent, patience=60)
            time.sleep(SCRAPE_EVERY)
            answer = until("figures", lambda: measured.get("/metrics"))
            lines = measured.lines()
    finally:
        sender.kill()
        sender.wait()
    shown = Scrape.parse(answer[1].decode())
    assert not any(shown.values("balance_residual")), "the balance is not 0"
    during = [line for line in lines if present <= line["at"] <= last["at"]]
    resident = [(line["at"] - present, line["resident"] / 1e6) for line in during]
    judged = [mean for at, mean in means(resident, MEAN_OVER) if at >= seconds * WARM_UP] or [resident[-1][1]]
    picture = plots / "memory.svg"
    plots.mkdir(parents=True, exist_ok=True)
    line = [(at / 60, mean) for at, mean in means(resident, max(1.0, seconds / 360))]
    title = f"Resident memory at {RATE:,} events a second over {QUEUES:,} queues"
    draw(picture, title, "minutes", "MB", [Line("worker", line)], logarithmic=False)
    console.print(f"memory: {during[-1]['folded'] - during[0]['folded']:,} events since; picture in {picture}")
    detail: dict[str, Any] = {
        "means_mb": [round(each, 1) for each in judged],
        "events_per_second": (during[-1]["folded"] - during[0]["folded"]) / (during[-1]["at"] - during[0]["at"]),
        "sent": sent,
        "late": shown.sum("late_events_total"),
        "evicted": shown.sum("calls_evicted_total"),
        "duplicates": shown.sum("duplicate_events_total"),
        "waiting": shown.sum("calls_waiting"),
        "worker_cpu_share": (during[-1]["cpu"] - during[0]["cpu"]) / (during[-1]["at"] - during[0]["at"]),
        "slowest_scrape": max(scrapes, default=0.0),
    }
    name = f"resident memory over {minutes:g} minutes at {RATE:,} events/s, ±"
    return [
        Figure(name, swing(judged) * 100, "%", 5.0, detail=detail),
        Figure("the same, mean", fmean(judged), "MB"),
    ]
