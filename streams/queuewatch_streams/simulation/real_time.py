"""A simulated centre in real time: it has been running for a while when one looks, and goes on for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from queuewatch_streams.simulation.feed import Message
from queuewatch_streams.simulation.grid import TICKS
from queuewatch_streams.simulation.settings import Settings

WARM_UP_MINUTES: Final = 12.0
"""Enough for a full house, and less than the 15 minutes of grace after which the worker calls an event late."""


class Live(NamedTuple):
    """A message whose time has come."""

    message: Message
    backlog: bool
    """Whether it belongs to the warm-up: its time was over before the stream began, so send it without delay."""


def endless(settings: Settings, now: datetime, warm_up_minutes: float = WARM_UP_MINUTES) -> Settings:
    """The same centre, running since `warm_up_minutes` before `now` and for ever, in the time zone of `now`.

    Incidents keep their distance from `now`.
    """
    shifted = tuple(replace(one, minute=one.minute + warm_up_minutes) for one in settings.incidents)
    start = now - timedelta(minutes=warm_up_minutes)
    return replace(settings, start=start, hours=None, incidents=shifted)


async def in_real_time(
    messages: Iterable[Message],
    now: Callable[[], float],
    *,
    live_from: float,
    speed: float = 1.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[Live]:
    """Each message when its time has come; those from before `live_from` at once, marked as backlog.

    `now` gives seconds since the epoch, as time.time does; `live_from` is one of its values.  With a speed other than 1
    simulated time runs away from the clock, so that a live worker would call the events ahead or late: such a stream is
    for histories.  Raises ValueError if speed is not more than 0.
    """
    if not speed > 0:
        raise ValueError(f"speed is more than 0, not {speed}")
    for message in messages:
        moment = message.at / TICKS
        if moment <= live_from:
            yield Live(message, True)
            continue
        while (wait := live_from + (moment - live_from) / speed - now()) > 0:
            await sleep(wait)
        yield Live(message, False)
