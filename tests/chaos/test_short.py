"""The chaos harness in its short form: a real Apache Kafka, the faults that have told the most, and one planted bug."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.faults import Script
from chaos.ground import Ground
from chaos.planted import run_planted
from chaos.site import run
from chaos.traffic import make_round
from queuewatch_streams.brokers import MissingPart


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """One broker for all runs."""
    made = Ground()
    try:
        made.__enter__()
    except MissingPart as error:
        if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
            pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {error}", pytrace=False)
        pytest.skip(str(error))
    yield made
    made.__exit__(None, None, None)


@pytest.mark.parametrize("faults", [("kill", "cut", "broker"), ("twice", "pause-past-end")], ids="-then-".join)
def test_nothing_is_lost_or_doubled_and_nothing_false_is_shown(
    ground: Ground, faults: tuple[str, ...], tmp_path: Path
) -> None:
    """Audit, balance, counters, queues shown twice, and counts by brute force, after faults in the midst of traffic."""
    outcome = run(ground, Script(7, faults), make_round(7), keep=tmp_path)
    assert outcome.passed, "\n".join([*outcome.faults, *outcome.notes, str(outcome.logs)])
    assert outcome.seen.looks > 20, "the workers were looked at all along"
    assert outcome.seen.compared > 1000, "counters were held against earlier ones"


def test_a_planted_bug_is_caught(ground: Ground, tmp_path: Path) -> None:
    """Workers that keep a lost partition's keys do not pass; `make chaos-planted` shows the same of all planted bugs."""
    outcome = run_planted(ground, "keep-lost", tmp_path)
    assert outcome.caught, f"it was not caught: {outcome}"
