"""The long form: run after run, a line each, a table at the end, and everything as JSON.

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
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.faults import FAULTS, script
from chaos.ground import Ground
from chaos.planted import run_planted
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
    parser.add_argument("--rate", type=float, default=2000, help="events a second, in bursts (default: 2000)")
    parser.add_argument("--planted", help=f"a bug that must be caught: {', '.join(PLANTED)}, or all")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "bench-results" / "chaos.json", help="where the summary goes"
    )
    parser.add_argument("--logs", type=Path, default=ROOT / ".cache" / "chaos", help="where logs of failed runs stay")
    chosen = parser.parse_args(arguments)
    faults = chosen.faults.split(",") if chosen.faults else []
    planted = [] if not chosen.planted else list(PLANTED) if chosen.planted == "all" else chosen.planted.split(",")
    for names, known in ((faults, FAULTS), (planted, PLANTED)):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"there is no {', '.join(unknown)}; known are {', '.join(known)}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)  # the broker is killed on purpose; clients retry
    try:
        java_command()
        kafka_jars()
    except MissingPart as missing:
        print(missing, file=sys.stderr)
        return 2
    with Ground() as ground:
        if planted:
            return _planted(ground, planted, chosen.logs)
        outcomes: list[Outcome] = []
        for number in range(chosen.runs):
            seed = chosen.seed + number
            place = f"run {number + 1}/{chosen.runs}, seed {seed}"
            outcome = run(
                ground,
                script(seed, chosen.count, faults),
                make_round(seed),
                rate=chosen.rate,
                keep=chosen.logs,
                say=lambda step, place=place: _progress(f"{place}: {step}"),  # type: ignore[misc]
            )
            outcomes.append(outcome)
            _progress("")
            _tell(outcome)
            chosen.json.parent.mkdir(parents=True, exist_ok=True)
            chosen.json.write_text(json.dumps(_summary(outcomes) | {"each": _each(outcomes)}, indent=1))
    _table(outcomes)
    return 0 if all(each.passed for each in outcomes) else 1


def _planted(ground: Ground, names: Sequence[str], logs: Path) -> int:
    missed = []
    for name in names:
        began = time.monotonic()
        _progress(f"planted: {name}")
        outcome = run_planted(ground, name, logs)
        _progress("")
        caught = "caught" if outcome.caught else "NOT CAUGHT"
        print(f"{name:20} {time.monotonic() - began:5.0f} s  {': '.join([caught, *outcome.faults[:1]])}", flush=True)
        if not outcome.caught:
            missed.append(name)
    print(f"{len(names) - len(missed)} of {len(names)} planted bugs were caught")
    return 1 if missed else 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _tell(outcome: Outcome) -> None:
    verdict = "ok" if outcome.passed else "FAILED"
    faults = ", ".join(outcome.script.faults)
    own = f", {outcome.ended} workers ended by themselves" if outcome.ended else ""
    print(
        f"seed {outcome.script.seed:4}  {faults:50} {verdict:6} {outcome.seconds:4.0f} s  {outcome.events} records,"
        f" {outcome.seen.looks} looks{own}",
        flush=True,
    )
    for fault in outcome.faults[:12]:
        print(f"    {fault}")
    if outcome.logs:
        print(f"    logs: {outcome.logs}", flush=True)


def _summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    longest = max(
        (each for outcome in outcomes for each in outcome.recoveries), key=lambda each: each.seconds, default=None
    )
    return {
        "runs": len(outcomes),
        "passed": sum(each.passed for each in outcomes),
        "seconds": sum(each.seconds for each in outcomes),
        "faults": Counter(name for each in outcomes for name in each.script.faults),
        "records": sum(each.events for each in outcomes),
        "sent_again": sum(each.sent_again for each in outcomes),
        "lost": sum(each.lost for each in outcomes),
        "doubled": sum(each.doubled for each in outcomes),
        "exposures": sum(each.seen.exposures for each in outcomes),
        "went_down": sum(each.seen.went_down for each in outcomes),
        "unbalanced": sum(each.seen.residuals for each in outcomes),
        "looks": sum(each.seen.looks for each in outcomes),
        "pairs": sum(each.seen.pairs for each in outcomes),
        "compared": sum(each.seen.compared for each in outcomes),
        "ended_by_themselves": sum(each.ended for each in outcomes),
        "longest_recovery": asdict(longest) if longest else None,
    }


def _each(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [asdict(each) | {"passed": each.passed} for each in outcomes]


def _table(outcomes: Sequence[Outcome]) -> None:
    print(f"\n{'fault':22}{'times':>6}{'runs':>6}{'passed':>8}{'longest recovery':>20}")
    summary = _summary(outcomes)
    for name in FAULTS:
        if of := [each for each in outcomes if name in each.script.faults]:
            recoveries = [each.seconds for outcome in of for each in outcome.recoveries if each.fault == name]
            longest = f"{max(recoveries):.1f} s" if recoveries else "–"
            passed = sum(each.passed for each in of)
            print(f"{name:22}{summary['faults'][name]:>6}{len(of):>6}{passed:>8}{longest:>20}")
    longest = summary["longest_recovery"]
    rows = [
        ("runs; passed", f"{summary['runs']}; {summary['passed']}"),
        ("faults", sum(summary["faults"].values())),
        ("records; sent twice", f"{summary['records']}; {summary['sent_again']}"),
        ("lost", summary["lost"]),
        ("doubled", summary["doubled"]),
        ("queues exposed twice", f"{summary['exposures']} in {summary['pairs']} pairs of looks in one instant"),
        (
            "counters that went down",
            f"{summary['went_down']} of {summary['compared']} compared, in {summary['looks']} looks",
        ),
        ("balances that were not 0", summary["unbalanced"]),
        ("workers that ended by themselves", summary["ended_by_themselves"]),
        ("longest recovery", f"{longest['seconds']:.1f} s, after {longest['fault']}" if longest else "–"),
        ("time", f"{summary['seconds'] / 60:.1f} min, {summary['seconds'] / max(1, len(outcomes)):.0f} s a run"),
    ]
    print()
    for what, value in rows:
        print(f"{what:34}{value}")


if __name__ == "__main__":
    sys.exit(main())
