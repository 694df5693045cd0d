"""The boards: what each shows, from named queries and texts; `boards` makes them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from queuewatch_dashboards.boards.capacity import capacity
from queuewatch_dashboards.boards.comparison import comparison
from queuewatch_dashboards.boards.floor import floor
from queuewatch_dashboards.boards.kit import Kit
from queuewatch_dashboards.boards.pipeline import pipeline
from queuewatch_dashboards.boards.queue import queue
from queuewatch_dashboards.grafana import Board

BOARDS: Final[Mapping[str, Callable[[Kit], Board]]] = {
    "floor": floor,
    "queue": queue,
    "capacity": capacity,
    "comparison": comparison,
    "pipeline": pipeline,
}
"""By the name of their file and their field in `Uids`, in the order in which they are read."""


def boards(kit: Kit) -> dict[str, Board]:
    """Every board, by name."""
    return {name: made(kit) for name, made in BOARDS.items()}
