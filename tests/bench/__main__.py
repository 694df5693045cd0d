"""Run the benchmarks: `python -m bench --help`."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from bench import core_cost, failover, feed, live, memory, peers, rules, scrape, start, throughput, wallboard
from bench.core_kind import core_is
from bench.environments import NoEnvironment
from bench.figures import SLACK, Figure, show, write
from integration.worker_process import ROOT
from queuewatch_streams.brokers import ApacheKafka, BrokerError, apache_kafka

PARTS = ("worker", "peers", "live", "scrape", "start", "failover", "core", "rules", "wallboard", "memory")
ASKED_FOR = ("soak",)
"""Parts that run only where `--only` names them."""
SHORT_PARTS = tuple(part for part in PARTS if part != "memory")
SIZED = frozenset({"start", "live", "rules", "wallboard"})
"""Parts whose bounds mean nothing for smaller inputs: other numbers of calls, probes too few for a 99th percentile."""
WITH_BROKER = frozenset({"worker", "peers", "live", "start", "failover", "wallboard", "memory", "soak"})
LONG = frozenset({"memory", "soak"})
MINUTES = 30.0
"""How long memory has to stay flat; shorter runs of those parts are not judged."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--only", help=f"Which parts to run, with commas between.  [default: {','.join(PARTS)}; short: no memory]"
)
@click.option(
    "--short",
    is_flag=True,
    help="For CI, in four minutes: smaller inputs, one round.  Only ratios of one run, scrape, failover and core are"
    f" judged, by bounds {SLACK:g} times as wide; peers that cannot be installed are left out, and it says so.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of worker and others.  [default: 3, short: 1]")
@click.option("--events", type=click.IntRange(min=50_000), help="Events a round.  [default: 3000000, short: 200000]")
@click.option("--minutes", type=click.FloatRange(min=1), help=f"Of the part memory.  [default: {MINUTES:g}, short: 2]")
@click.option("--no-textbook", is_flag=True, help="Leave out the textbook Faust agent.")
@click.option("--no-bounds", is_flag=True, help="Exit 0 also where a bound is missed.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="[default: bench-results]")
def main(
    only: str | None,
    short: bool,
    rounds: int | None,
    events: int | None,
    minutes: float | None,
    no_textbook: bool,
    no_bounds: bool,
    results: Path | None,
) -> None:
    """Measure, print a table, write JSON; exit status 1 where a bound is missed or a part failed.

    Parts: worker (beside a bare aiokafka loop and textbook Faust), peers (beside the same core under Quix Streams and
    Bytewax, each in an environment under .cache that is made when first needed), live (delay at 2,000 events a second),
    scrape, start (cold start and memory), failover, core (cost of an event, with pictures), rules (one evaluation
    over a thousand queues), wallboard (300 screens and a browser), memory (half an hour); and where --only names it, soak
    (memory of the wallboard and its page, half an hour).
    """
    parts = [part.strip() for part in only.split(",")] if only else list(SHORT_PARTS if short else PARTS)
    if unknown := [part for part in parts if part not in PARTS + ASKED_FOR]:
        raise click.UsageError(f"--only: there is no {', '.join(unknown)}; known are {', '.join(PARTS + ASKED_FOR)}")
    results = results or ROOT / "bench-results"
    rounds = rounds or (1 if short else 3)
    events = events or (200_000 if short else 3_000_000)
    minutes = minutes or (2.0 if short else MINUTES)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"the core is {core_is()}")
    broker = apache_kafka(heap="1g") if WITH_BROKER & set(parts) else None
    folder = Path(tempfile.mkdtemp(prefix="queuewatch-bench-"))

    def of_part(part: str) -> list[Figure]:
        if part == "scrape":
            return scrape.measure(events=400_000, queues=1_000, times=5 if short else 15, console=console)
        if part == "rules":
            return rules.measure(
                folder, queues=100 if short else 1_000, events=400_000, times=2 if short else 5, console=console
            )
        if part == "core":
            return core_cost.measure(
                events=100_000 if short else 200_000,
                steps=5_000 if short else 20_000,
                hours=120 if short else 1_000,
                runs=1 if short else 3,
                plots=results,
                console=console,
            )
        assert broker is not None
        return _against(broker)[part]()

    def _against(kafka: ApacheKafka) -> dict[str, Callable[[], list[Figure]]]:
        textbook = 0 if no_textbook else 10_000 if short else 40_000
        return {
            "worker": lambda: throughput.measure(
                folder, kafka, feed.centre(events), rounds=rounds, textbook=textbook, console=console
            ),
            "peers": lambda: peers.measure(folder, kafka, feed.centre(events), rounds=rounds, console=console),
            "live": lambda: live.measure(folder, kafka, seconds=12 if short else 40, console=console),
            "start": lambda: start.measure(
                folder,
                kafka,
                queues=1_000 if short else 10_000,
                calls=10_000 if short else 100_000,
                backlog=100_000 if short else 3_000_000,
                starts=1 if short else 3,
                console=console,
            ),
            "failover": lambda: failover.measure(
                folder, kafka, events=30_000 if short else 200_000, times=1 if short else 3, console=console
            ),
            "wallboard": lambda: wallboard.measure(folder, kafka, seconds=12 if short else 40, console=console),
            "soak": lambda: wallboard.soak(folder, kafka, minutes=minutes, console=console),
            "memory": lambda: memory.measure(folder, kafka, minutes=minutes, plots=results, console=console),
        }

    def judged(part: str, figure: Figure) -> Figure:
        if (part in LONG and minutes < MINUTES) or (short and part in SIZED):
            return figure.unjudged()
        return figure.loosely_judged() if short else figure

    signal.signal(signal.SIGTERM, _end)
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    left_out: dict[str, str] = {}
    began = time.monotonic()
    try:
        if broker is not None:
            broker.start()
        for part in parts:
            console.rule(part)
            try:
                figures += [judged(part, figure) for figure in of_part(part)]
            except NoEnvironment as error:
                (left_out if short else failures)[part] = str(error)
                console.print(f"{part} {'is left out' if short else 'failed'}: {error}", markup=False, highlight=False)
            except (AssertionError, OSError, ValueError, BrokerError) as error:
                failures[part] = f"{type(error).__name__}: {error}"
                console.print(f"[red]{part} failed:[/red] {error}", markup=True, highlight=False)
    except BrokerError as error:
        raise click.ClickException(str(error)) from None
    finally:
        if broker is not None:
            broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    show(figures, console)
    options = {"parts": parts, "short": short, "rounds": rounds, "events": events, "minutes": minutes}
    options |= {"left_out": left_out, "seconds": round(time.monotonic() - began)}
    console.print(f"written to {write(figures, failures, options, results)}")
    for part, why in failures.items():
        console.print(f"[red]failed:[/red] {part}", why.splitlines()[0], highlight=False)
    missed = [figure.name for figure in figures if figure.verdict == "MISSED"]
    for name in missed:
        console.print(f"[red]missed:[/red] {name}")
    sys.exit(1 if failures or (missed and not no_bounds) else 0)


def _end(*_: object) -> None:
    """End in order, with all that was started, and once: `timeout` tells us twice."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


if __name__ == "__main__":
    main()
