"""A run with a planted bug: what the harness does not catch it does not test."""

from __future__ import annotations

from pathlib import Path

from chaos.faults import Script
from chaos.ground import Ground
from chaos.planted_worker import PLANTED
from chaos.site import Outcome, run
from chaos.traffic import make_round

__all__ = ["run_planted"]


def run_planted(ground: Ground, name: str, keep: Path) -> Outcome:
    """A run with this bug and the faults that bring it to light, up to the first thing seen that must not be."""
    bug = PLANTED[name]
    return run(
        ground,
        Script(1, bug.faults),
        make_round(1),
        rate=4000,
        planted=name,
        checkpoint_seconds=bug.checkpoint_seconds,
        keep=keep,
    )
