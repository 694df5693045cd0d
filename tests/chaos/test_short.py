"""The chaos harness in its short form: two runs against a real Apache Kafka, with the faults that have told the most."""

import os
from pathlib import Path

import pytest

from chaos.faults import Script
from chaos.site import run
from chaos.traffic import make_round
from queuewatch_streams.brokers import MissingPart, java_command, kafka_jars


@pytest.fixture(scope="module", autouse=True)
def _parts() -> None:
    """Apache Kafka can be started."""
    try:
        java_command()
        kafka_jars()
    except MissingPart as error:
        if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
            pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.mark.parametrize("faults", [("kill", "broker"), ("pause-past-end",)], ids="-then-".join)
def test_nothing_is_lost_or_doubled_and_nothing_false_is_shown(faults: tuple[str, ...], tmp_path: Path) -> None:
    """Audit, balance, counters, queues shown twice, and counts by brute force, after faults in the midst of traffic."""
    outcome = run(Script(7, faults), make_round(7), rate=3000, keep=tmp_path)
    assert outcome.passed, "\n".join([*outcome.faults, *outcome.notes, str(outcome.logs)])
    assert outcome.looks > 20, "the workers were looked at all along"
    assert outcome.compared > 1000, "counters were held against earlier ones"
