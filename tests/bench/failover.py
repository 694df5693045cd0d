"""kill -9 of one of two workers in the middle of traffic: until the other shows all queues, exact."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from bench import feed, kafka
from bench.figures import Figure, median
from bench.processes import Measured, until, worker
from integration.worker_process import Scrape, corrected, read_of
from queuewatch_streams.brokers import ApacheKafka

SESSION = 10.0
OUTCOMES = ("offered", "answered", "abandoned", "diverted", "refused")


def scrape(measured: Measured) -> Scrape | None:
    """What it shows now; None where it does not answer."""
    measured.alive()
    answer = measured.get("/metrics")
    return Scrape.parse(answer[1].decode()) if answer is not None and answer[0] == 200 else None


def once(folder: Path, broker: ApacheKafka, name: str, events: int, queues: int) -> float:
    """Seconds from the kill to the survivor's exact figures.  Fails where they are not the simulation's own truth."""
    toml, configuration = kafka.configuration(folder, broker.address, name, session=SESSION)
    kafka.create_topics(configuration)
    topic = configuration.topics.events
    made = feed.centre(events, queues=queues, hours=0.5)
    last = len(made.sent) // 10
    kafka.publish(broker.address, topic, made.sent[:-last])

    def shared() -> bool | None:
        both = [scrape(doomed), scrape(survivor)]
        there = [each for each in both if each is not None and each.ready and each.sum("partitions") == 2]
        return True if len(there) == 2 and sum(map(read_of, there)) == len(made.sent) - last else None

    with worker(toml, folder) as doomed, worker(toml, folder) as survivor:
        until("both have read all, each of two partitions", shared, pause=0.5)
        kafka.publish(broker.address, topic, made.sent[-last:])
        doomed.kill()
        killed = time.monotonic()

        def complete() -> Scrape | None:
            found = scrape(survivor)
            return found if found is not None and found.ready and read_of(found) >= len(made.sent) else None

        found = until("the survivor shows everything", complete, pause=0.05)
        took = time.monotonic() - killed
    assert read_of(found) == len(made.sent), f"{read_of(found)} of {len(made.sent)} events are counted"
    counted = corrected([found])
    for outcome in OUTCOMES:
        truth = sum(getattr(each, outcome) for each in made.truth.queues.values())
        assert counted.get(outcome, 0) == truth, f"{outcome}: {counted.get(outcome, 0)} are shown, {truth} happened"
    assert not any(found.values("balance_residual")), "the balance is not 0"
    return took


def measure(folder: Path, broker: ApacheKafka, *, events: int, times: int, console: Console) -> list[Figure]:
    """So many kills."""
    taken = [once(folder, broker, f"bench-failover-{number}", events, 200) for number in range(times)]
    console.print(f"failover: {', '.join(f'{each:.1f} s' for each in taken)} with a session of {SESSION:g} s")
    name = f"kill -9 to the survivor's exact figures, session {SESSION:g} s"
    return [Figure(name, median(taken), "s", SESSION + 5, SESSION + 2, rounds=taken)]
