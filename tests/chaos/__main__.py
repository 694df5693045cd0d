"""The long form: run after run, a line each, a table at the end.

    python -m chaos --runs 50 --seed 1
    python -m chaos --seed 17 --runs 1          # that run again
    python -m chaos --planted all               # each planted bug must be caught

Exit status 0 when every run passed (with `--planted`: every bug was caught), 1 when not, 2 where a part is missing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from chaos.faults import FAULTS, script
from chaos.planted_worker import PLANTED
from chaos.site import Outcome, run
from chaos.traffic import make_round
from queuewatch_streams.brokers import MissingPart, java_command, kafka_jars

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, tell, and say by the exit status whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="how many runs (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed; each further run has the next")
    parser.add_argument("--count", type=int, default=3, help="faults in a run (default: 3)")
    parser.add_argument("--faults", help=f"these faults in every run, with commas between: {', '.join(FAULTS)}")
    parser.add_argument("--rate", type=float, default=4000, help="events a second (default: 4000)")
    parser.add_argument("--planted", help=f"a bug that must be caught: {', '.join(PLANTED)}, or all")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument("--logs", type=Path, default=ROOT / ".cache" / "chaos", help="where logs of failed runs stay")
    chosen = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)  # the broker is killed on purpose; clients retry
    try:
        java_command()
        kafka_jars()
    except MissingPart as missing:
        print(missing, file=sys.stderr)
        return 2
    if chosen.planted:
        return _planted(list(PLANTED) if chosen.planted == "all" else chosen.planted.split(","), chosen.logs)
    outcomes: list[Outcome] = []
    faults = chosen.faults.split(",") if chosen.faults else []
    for number in range(chosen.runs):
        seed = chosen.seed + number
        place = f"run {number + 1}/{chosen.runs}, seed {seed}"
        outcome = run(
            script(seed, chosen.count, faults),
            make_round(seed),
            rate=chosen.rate,
            keep=chosen.logs,
            say=lambda step, place=place: _progress(f"{place}: {step}"),  # type: ignore[misc]
        )
        outcomes.append(outcome)
        _progress("")
        _tell(outcome)
        if chosen.json:
            chosen.json.write_text(json.dumps([asdict(each) | {"passed": each.passed} for each in outcomes], indent=1))
    _table(outcomes)
    return 0 if all(each.passed for each in outcomes) else 1


def _planted(names: Sequence[str], logs: Path) -> int:
    missed = []
    for name in names:
        bug = PLANTED[name]
        began = time.monotonic()
        _progress(f"planted: {name}")
        outcome = run(
            script(1, faults=bug.faults),
            make_round(1),
            planted=name,
            checkpoint_seconds=bug.checkpoint_seconds,
            keep=logs,
        )
        _progress("")
        caught = f"caught: {outcome.faults[0]}" if outcome.faults else "NOT CAUGHT"
        print(f"{name:20} {time.monotonic() - began:5.0f} s  {caught}", flush=True)
        if outcome.passed:
            missed.append(name)
    print(f"{len(names) - len(missed)} of {len(names)} planted bugs were caught")
    return 1 if missed else 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _tell(outcome: Outcome) -> None:
    verdict = "ok" if outcome.passed else "FAILED"
    faults = ", ".join(outcome.script.faults)
    ended = sum("ended by itself" in note for note in outcome.notes)
    own = f", {ended} workers ended by themselves" if ended else ""
    print(
        f"seed {outcome.script.seed:4}  {faults:50} {verdict:6} {outcome.seconds:4.0f} s  {outcome.events} records,"
        f" {outcome.looks} looks, {outcome.pairs} pairs{own}",
        flush=True,
    )
    for fault in outcome.faults[:12]:
        print(f"    {fault}")
    if outcome.logs:
        print(f"    logs: {outcome.logs}", flush=True)


def _table(outcomes: Sequence[Outcome]) -> None:
    print(f"\n{'fault':22}{'runs':>6}{'passed':>8}")
    for name in FAULTS:
        of = [each for each in outcomes if name in each.script.faults]
        if of:
            print(f"{name:22}{len(of):>6}{sum(each.passed for each in of):>8}")
    passed = sum(each.passed for each in outcomes)
    print(
        f"{'all':22}{len(outcomes):>6}{passed:>8}   {sum(len(each.script.faults) for each in outcomes)} faults,"
        f" {sum(each.events for each in outcomes)} records, {sum(each.sent_again for each in outcomes)} sent again,"
        f" {sum(each.lost for each in outcomes)} lost, {sum(each.doubled for each in outcomes)} doubled;"
        f" {sum(each.looks for each in outcomes)} looks, {sum(each.compared for each in outcomes)} counters compared,"
        f" {sum(each.pairs for each in outcomes)} pairs in one instant"
    )


if __name__ == "__main__":
    sys.exit(main())
