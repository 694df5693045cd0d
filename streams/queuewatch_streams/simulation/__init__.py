"""A seeded call centre that emits the contract's events: for files, for the demo, and as an oracle for tests.

    settings = Settings(start=datetime.fromisoformat("2026-11-21T08:00:00+08:00"), hours=24, seed=7)
    for line in lines(settings): ...

All times are multiples of 1/8 second, so that sums of them are exact (see `grid`).
"""

from queuewatch_streams.simulation.call_centre import Report, reports
from queuewatch_streams.simulation.feed import MALFORMED, Message, events, lines, messages
from queuewatch_streams.simulation.grid import TICKS
from queuewatch_streams.simulation.real_time import WARM_UP_MINUTES, Live, endless, in_real_time
from queuewatch_streams.simulation.scenarios import erlang, eventful
from queuewatch_streams.simulation.settings import (
    DEFAULT_NAMES,
    MONITOR,
    ORDINARY_DIRT,
    SOURCE,
    Dirt,
    Duration,
    Incident,
    Settings,
)
from queuewatch_streams.simulation.truth import QueueTruth, Truth

__all__ = [
    "DEFAULT_NAMES",
    "MALFORMED",
    "MONITOR",
    "ORDINARY_DIRT",
    "SOURCE",
    "TICKS",
    "WARM_UP_MINUTES",
    "Dirt",
    "Duration",
    "Incident",
    "Live",
    "Message",
    "QueueTruth",
    "Report",
    "Settings",
    "Truth",
    "endless",
    "erlang",
    "eventful",
    "events",
    "in_real_time",
    "lines",
    "messages",
    "reports",
]
