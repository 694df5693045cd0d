"""Run the benchmarks: `python -m bench --help`."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bench import core_cost, failover, feed, live, scrape, start, throughput
from bench.figures import Figure, show, write
from integration.worker_process import ROOT
from queuewatch_streams.brokers import ApacheKafka, BrokerError, apache_kafka

PARTS = ("worker", "live", "scrape", "start", "failover", "core")
SIZED = frozenset({"start", "live"})
"""Parts whose bounds mean nothing for smaller inputs: other numbers of calls, probes too few for a 99th percentile."""
WITH_BROKER = frozenset({"worker", "live", "start", "failover"})


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--only", default=",".join(PARTS), show_default=True, help="Which parts to run, with commas between.")
@click.option(
    "--short", is_flag=True, help="Smaller inputs and one round, for CI: bounds that hang on the size are not judged."
)
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of worker and bare loop.  [default: 3, short: 1]")
@click.option("--events", type=click.IntRange(min=50_000), help="Events a round.  [default: 1500000, short: 200000]")
@click.option("--no-textbook", is_flag=True, help="Leave out the textbook Faust agent.")
@click.option("--no-bounds", is_flag=True, help="Exit 0 also where a bound is missed.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="[default: bench-results]")
def main(
    only: str,
    short: bool,
    rounds: int | None,
    events: int | None,
    no_textbook: bool,
    no_bounds: bool,
    results: Path | None,
) -> None:
    """Measure, print a table, write JSON; exit status 1 where a bound is missed or a part failed."""
    parts = [part.strip() for part in only.split(",")]
    if unknown := [part for part in parts if part not in PARTS]:
        raise click.UsageError(f"--only: there is no {', '.join(unknown)}; known are {', '.join(PARTS)}")
    results = results or ROOT / "bench-results"
    rounds = rounds or (1 if short else 3)
    events = events or (200_000 if short else 1_500_000)
    console = Console(width=None if sys.stdout.isatty() else 120)
    broker = apache_kafka(heap="1g") if WITH_BROKER & set(parts) else None
    folder = Path(tempfile.mkdtemp(prefix="queuewatch-bench-"))

    def of_part(part: str) -> list[Figure]:
        if part == "scrape":
            return scrape.measure(events=400_000, queues=1_000, times=5 if short else 15, console=console)
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
        }

    signal.signal(signal.SIGTERM, _end)
    figures: list[Figure] = []
    failures: dict[str, str] = {}
    began = time.monotonic()
    try:
        if broker is not None:
            broker.start()
        for part in parts:
            console.rule(part)
            try:
                found = of_part(part)
                figures += [replace(each, bound=None, aim=None) for each in found] if short and part in SIZED else found
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
    options = {"parts": parts, "short": short, "rounds": rounds, "events": events, "seconds": time.monotonic() - began}
    console.print(f"written to {write(figures, failures, options, results)}")
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
