"""A worker that starts with 10,000 queues and 100,000 waiting calls: until it is ready, and what memory it takes."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from bench import feed, kafka
from bench.figures import Figure, median
from bench.processes import worker
from queuewatch_streams.brokers import ApacheKafka


def measure(
    folder: Path, broker: ApacheKafka, *, queues: int, calls: int, backlog: int, starts: int, console: Console
) -> list[Figure]:
    """One worker folds and writes everything; others start from its records; the last then works off a backlog."""
    toml, configuration = kafka.configuration(folder, broker.address, "bench-start", session=30.0)
    kafka.create_topics(configuration)
    topic = configuration.topics.events
    crowd = feed.waiting_crowd(queues, calls)
    kafka.publish(broker.address, topic, crowd.sent)
    with worker(toml, folder) as measured:
        measured.until("the crowd waits", lambda line: line["folded"] >= len(crowd.sent) and line["ready"])
    taken = []
    later = feed.centre(backlog, queues=queues, seed=11).sent if backlog else []
    for number in range(starts):
        with worker(toml, folder) as measured:
            taken.append(measured.until_ready())
            time.sleep(3.0)
            line = measured.last()
            assert line is not None and line["folded"] == 0, f"records were folded again: {line}"
            resting = line["resident"] / 1e6
            if number == starts - 1 and later:
                kafka.publish(broker.address, topic, later)
                measured.until("the backlog is folded", lambda line: line["folded"] >= len(later))
                working = max(line["resident"] for line in measured.lines()) / 1e6
    console.print(f"start: {', '.join(f'{each:.1f} s' for each in taken)}")
    figures = [
        Figure(f"cold start to ready, {queues:,} queues, {calls:,} waiting", median(taken), "s", 15, 6, rounds=taken),
        Figure("resident memory then", resting, "MB", 500, 300),
    ]
    if later:
        name = f"the same, working off {len(later) / 1e6:.1f} million events"
        figures.append(Figure(name, working, "MB", 700, 450))
    return figures
