"""How many events a second: the worker, a bare loop, and a textbook Faust agent, in turn, over the same topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import kafka
from bench.feed import Feed
from bench.figures import Figure, median
from bench.processes import run, scraping, worker
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.topics import changelog_name
from queuewatch_streams.brokers import ApacheKafka

SCRAPE_EVERY = 5.0
AHEAD = 20_000
"""Events that are folded before, so that the worker has queues and is ready."""


@dataclass
class Round:
    """Events a second, and processor time of an event in µs, of one run; what else was seen."""

    rate: float
    cpu: float
    more: dict[str, Any]


def rated(spent: dict[str, float], **more: Any) -> Round:
    """From records, seconds and processor seconds."""
    return Round(spent["records"] / spent["seconds"], spent["cpu"] / spent["records"] * 1e6, more)


def one_worker(folder: Path, broker: Path, feed: Feed, name: str, configured: tuple[Path, Configuration]) -> Round:
    """One worker that is ready, and then has all of the feed before it, scraped meanwhile.

    It stands still while the events are published.  It has to be ready before: what it does not show is not scraped.
    """
    toml, configuration = configured
    topic, address = configuration.topics.events, configuration.kafka.brokers
    kafka.publish(address, topic, feed.sent[:AHEAD])
    with worker(toml, folder) as measured:
        measured.until("the first events are folded", lambda line: line["ready"] and line["folded"] == AHEAD)
        with measured.paused():
            kafka.publish(address, topic, feed.sent[AHEAD:])
        with scraping(measured, SCRAPE_EVERY) as scrapes:
            measured.until("all is folded", lambda line: line["folded"] >= len(feed.sent))
        lines = measured.lines()
    last = next(line for line in lines if line["folded"] >= len(feed.sent))
    first = next(line for line in lines if line["folded"] > AHEAD)
    during = [line for line in lines if first["at"] < line["at"] <= last["at"]]
    spent = {name: last[name] - first[name] for name in ("at", "cpu", "bytes", "records", "folded")}
    return rated(
        {"records": spent["folded"], "seconds": spent["at"], "cpu": spent["cpu"]},
        seconds=round(spent["at"], 2),
        checkpoint_records=spent["records"],
        checkpoint_share=spent["bytes"] / (feed.size * spent["folded"] / len(feed.sent)),
        bytes_on_disk={
            "changelog": kafka.bytes_on_disk(broker, changelog_name(name)),
            "events": kafka.bytes_on_disk(broker, topic),
        },
        longest_stall=max(line["stalled"] for line in during),
        highest_resident_mb=max(line["resident"] for line in during) / 1e6,
        scrape_seconds=[round(each, 3) for each in scrapes],
    )


def measure(
    folder: Path, broker: ApacheKafka, feed: Feed, *, rounds: int, textbook: int, console: Console
) -> list[Figure]:
    """The rounds, one after the other: worker, bare loop, textbook, bare loop again, each over the same topic."""
    bare: list[Round] = []
    ours: list[Round] = []
    books: list[Round] = []
    for number in range(rounds):
        name = f"bench-throughput-{number}"
        configured = kafka.configuration(folder, broker.address, name, session=60.0)
        kafka.create_topics(configured[1])
        ours.append(one_worker(folder, broker.folder, feed, name, configured))
        arguments = (broker.address, configured[1].topics.events, kafka.PARTITIONS)
        loops = [rated(run("bare_loop", *arguments, len(feed.sent)))]
        said = f"round {number + 1}: worker {ours[-1].rate:,.0f}/s, bare loop {loops[0].rate:,.0f}/s"
        if textbook:
            books.append(rated(run("textbook_faust", *arguments, min(textbook, len(feed.sent)), f"{name}-textbook")))
            said += f", textbook Faust {books[-1].rate:,.0f}/s"
        loops.append(rated(run("bare_loop", *arguments, len(feed.sent))))
        bare.append(Round(sum(each.rate for each in loops) / 2, sum(each.cpu for each in loops) / 2, {}))
        console.print(f"{said}, bare loop {loops[1].rate:,.0f}/s")
    return summed(bare, ours, books)


def summed(bare: Sequence[Round], ours: Sequence[Round], books: Sequence[Round]) -> list[Figure]:
    """The figures of all rounds."""
    ratios = [w.rate / b.rate for w, b in zip(ours, bare, strict=True)]
    work = [b.cpu / w.cpu for w, b in zip(ours, bare, strict=True)]
    shares = [each.more["checkpoint_share"] for each in ours]
    told = {"worker": [vars(each) for each in ours], "bare": [vars(each) for each in bare]}
    figures = [
        Figure("worker / bare aiokafka loop, events a second", median(ratios), "", 0.35, 0.5, "more", ratios, told),
        Figure("the same by processor time an event", median(work), "", better="more", rounds=work),
        Figure("worker, events a second", median([each.rate for each in ours]), "/s", better="more"),
        Figure("bare loop, events a second", median([each.rate for each in bare]), "/s", better="more"),
        Figure("checkpoint bytes / event bytes at full speed", median(shares), "", 1.0, 0.3, rounds=shares),
    ]
    if books:
        times = [w.rate / b.rate for w, b in zip(ours, books, strict=True)]
        told = {"textbook": [vars(each) for each in books]}
        figures.insert(1, Figure("worker / textbook Faust agent", median(times), "", 20, 30, "more", times, told))
    return figures
