"""A worker that starts with 10,000 queues and 100,000 waiting calls: until it is ready, and what memory it takes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import feed, kafka
from bench.figures import Figure, median
from bench.processes import PATIENCE, until, worker
from queuewatch_streams.brokers import ApacheKafka

REST = 3.0
"""Seconds that a worker is left alone after it became ready."""


def measure(
    folder: Path, broker: ApacheKafka, *, queues: int, calls: int, backlog: int, starts: int, console: Console
) -> list[Figure]:
    """One worker folds and writes everything; others start from its records; one more starts before a backlog.

    Memory is the highest seen from start to end.  A scrape of all queues is asked for once they have been measured without.
    """
    toml, configuration = kafka.configuration(folder, broker.address, "bench-start", session=30.0)
    kafka.create_topics(configuration)
    topic = configuration.topics.events
    later = feed.centre(backlog, queues=queues, seed=11).sent if backlog else []
    # A live log's timestamps never go back: those who wait came before the backlog does.
    came = datetime.fromtimestamp(min(each.timestamp for each in later) / 1000, UTC) if later else datetime.now(UTC)
    crowd = feed.waiting_crowd(queues, calls, end=came - timedelta(seconds=10))
    kafka.publish(broker.address, topic, crowd.sent)
    with worker(toml, folder) as measured:
        measured.until("the crowd waits", lambda line: line["folded"] >= len(crowd.sent) and line["ready"])
    taken, resting, scraped = [], 0.0, 0.0
    for _ in range(starts):
        with worker(toml, folder) as measured:
            taken.append(measured.until_ready())
            time.sleep(REST)
            lines = measured.lines()
            assert lines[-1]["folded"] == 0, f"records were folded again: {lines[-1]}"
            resting = max(resting, highest(lines))
            assert until("figures", lambda: measured.get("/metrics", timeout=PATIENCE))[0] == 200
            scraped = max(scraped, highest(measured.lines()))
    console.print(f"start: {', '.join(f'{each:.1f} s' for each in taken)}")
    figures = [
        Figure(f"cold start to ready, {queues:,} queues, {calls:,} waiting", median(taken), "s", 15, 6, rounds=taken),
        Figure("resident memory then", resting, "MB", 500, 300),
        Figure("the same after one scrape of all queues", scraped, "MB"),
    ]
    if later:
        kafka.publish(broker.address, topic, later)
        with worker(toml, folder) as measured:
            measured.until("the backlog is folded", lambda line: line["folded"] >= len(later) and line["ready"])
            working = highest(measured.lines())
        name = f"resident memory working off {len(later) / 1e6:.1f} million events"
        figures.append(Figure(name, working, "MB", 700, 450))
    return figures


def highest(lines: list[dict[str, Any]]) -> float:
    """The highest resident memory so far, in MB."""
    return float(max(line["resident"] for line in lines)) / 1e6
