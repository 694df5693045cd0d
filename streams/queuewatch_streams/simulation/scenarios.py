"""Ready-made centres: the textbook's, and one in which everything happens."""

from dataclasses import replace
from datetime import datetime

from queuewatch_streams.simulation.settings import ORDINARY_DIRT, Dirt, Duration, Settings


def erlang(
    start: datetime, *, calls_per_hour: float, handle_s: float, agents: int, hours: float, seed: int = 1
) -> Settings:
    """One queue as Erlang C has it (M/M/n): Poisson arrivals, exponential talks, endless patience, answers at once.

    With `replace(..., patience=Duration(mean, "exponential"))` it is Erlang A's.
    """
    return Settings(
        start=start, hours=hours, seed=seed, queues=1, calls_per_hour=calls_per_hour, flat=True, agents=agents,
        talk=Duration(handle_s, "exponential"), wrap=None, ring=None, patience=None, max_wait_s=None, capacity=None,
        shared=0.0, breaks=0.0, chat=0.0, priority=0.0, everywhere=0.0, refused_unstaffed=0.0, callbacks=0.0,
        voicemail=0.0, keys=0.0, moved=0.0, withdrawn=0.0, declines=0.0, holds=0.0, transfers=0.0, requeues=0.0,
        handovers=0.0,
    )  # fmt: skip


def eventful(settings: Settings, dirt: Dirt = ORDINARY_DIRT) -> Settings:
    """The same centre with too few agents, and with every kind of event and dirt often enough for short files."""
    return replace(
        settings, load=1.1, capacity=12, max_wait_s=120.0, everywhere=0.04, callbacks=0.08, voicemail=0.05, keys=0.05,
        moved=0.04, withdrawn=0.03, declines=0.1, holds=0.3, transfers=0.15, requeues=0.03, handovers=0.05,
        snapshots=True, heartbeats=True, surveys=0.3, dirt=dirt,
    )  # fmt: skip
