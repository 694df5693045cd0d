"""The worker beside the same core driven by Quix Streams and by Bytewax, in turn, over the same topic and the same events.

Each of them lives in an environment of its own (`environments`), in one process as the worker does; what was thought fair is
said in `quix_streams` and `bytewax_flow`.  The worker of these rounds does all that it does in `throughput`, scrapes too.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench import kafka
from bench.core_kind import core_is
from bench.environments import interpreter
from bench.feed import Feed
from bench.figures import Figure, median
from bench.processes import run
from bench.throughput import Round, one_worker, rated
from queuewatch_streams.brokers import ApacheKafka

BOUNDS = {"Quix Streams": (1.5, 2.0), "Bytewax": (1.0, 1.5)}


def measure(folder: Path, broker: ApacheKafka, feed: Feed, *, rounds: int, console: Console) -> list[Figure]:
    """The rounds, each contestant first in turn.  Raises NoEnvironment, and fails where one has not counted every call."""
    quix, bytewax = interpreter("quix", console), interpreter("bytewax", console)
    offered = sum(each.offered for each in feed.truth.queues.values())
    rates: dict[str, list[Round]] = {"worker": [], "Quix Streams": [], "Bytewax": []}
    for number in range(rounds):
        name = f"bench-peers-{number}"
        configured = kafka.configuration(folder, broker.address, name, session=60.0)
        kafka.create_topics(configured[1])
        rates["worker"].append(one_worker(folder, broker.folder, feed, name, configured))
        arguments = (broker.address, configured[1].topics.events, kafka.PARTITIONS, len(feed.sent))
        contestants = [
            ("Quix Streams", quix, "quix_streams", (f"{name}-quix", folder / f"{name}-quix")),
            ("Bytewax", bytewax, "bytewax_flow", (folder / f"{name}-bytewax",)),
        ]
        for peer, python, module, more in contestants[:: -1 if number % 2 else 1]:
            told = run(module, *arguments, *more, python=python)
            assert told.pop("offered") == offered, f"{peer} counted other calls than the {offered} that were offered"
            core = "compiled" if told.pop("compiled") else "pure"
            assert core == core_is(), f"{peer} ran the {core} core, the worker the {core_is()} one"
            rates[peer].append(rated(told, **told))
        said = ", ".join(f"{peer} {each[-1].rate:,.0f}/s" for peer, each in rates.items())
        console.print(f"peers, round {number + 1}: {said}")
    figures = []
    for peer, (bound, aim) in BOUNDS.items():
        ratios = [ours.rate / theirs.rate for ours, theirs in zip(rates["worker"], rates[peer], strict=True)]
        detail = {each: [vars(one) for one in rates[each]] for each in ("worker", peer)}
        title = f"worker / the same core driven by {peer}"
        figures.append(Figure(title, median(ratios), "", bound, aim, "more", ratios, detail))
        figures.append(Figure(f"{peer}, events a second", median([each.rate for each in rates[peer]]), "/s"))
    return figures
