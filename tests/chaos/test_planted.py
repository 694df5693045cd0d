"""Each planted bug makes the harness fail: what it does not catch it does not test."""

from pathlib import Path

import pytest

from chaos.faults import script
from chaos.planted_worker import PLANTED
from chaos.site import run
from chaos.traffic import make_round


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    """The run with the faults that bring it to light does not pass."""
    bug = PLANTED[name]
    outcome = run(
        script(1, faults=bug.faults),
        make_round(1),
        planted=name,
        checkpoint_seconds=bug.checkpoint_seconds,
        keep=tmp_path,
    )
    assert not outcome.passed, f"{name} was not caught: {outcome}"
