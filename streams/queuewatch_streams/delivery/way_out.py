"""The way out is bounded in time, whether or not the broker answers: a worker that was told to stop ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from aiokafka import errors

log = logging.getLogger(__name__)

#: Seconds that each step on the way out may take: a broker that is away must not keep a worker that was told to stop.
LAST_WORDS = 3.0


class WriterEnded(RuntimeError):
    """The assignment that these records belong to is over; they were not written."""


async def within(seconds: float, step: Awaitable[Any], otherwise: str) -> bool:
    """Take a step on the way out for so long at most; where it fails or does not end, say so and go on.

    The step is left to itself then, for some of aiokafka's never end by being cancelled.
    """
    task = asyncio.ensure_future(step)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        log.warning("%s within %g s", otherwise, seconds)
        return False
    if task.cancelled() or (error := task.exception()) is None:
        return not task.cancelled()
    if not isinstance(error, WriterEnded | errors.KafkaError):
        log.warning("%s: %r", otherwise, error)
    return False
