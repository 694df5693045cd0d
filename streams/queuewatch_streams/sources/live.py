"""How a system is followed that pushes events over a connection and keeps no history: the loop that such readers share.

What happens while nobody is connected is not told again, so on every connect, a moment later, and then every so often the
system's own lists are asked for; they are records like events, in the order in which they came over the connection.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.station import Station

__all__ = ["ANSWER_SECONDS", "SECRET_VARIABLE", "Link", "follow", "now", "read_secret"]

ANSWER_SECONDS: Final = 15.0
"""A system that has not answered by then is gone."""
SECRET_VARIABLE: Final = "QUEUEWATCH_SOURCE_SECRET"
"""The environment's variable for the secret of a source that names no file."""
_IDLE: Final = 0.1
_AGAIN: Final = 3.0
"""Seconds after a connect for the second list: who is on neither has left, and what is on both is no event on its way."""
_SETTLE: Final = 1.0
R = TypeVar("R", covariant=True)


class Link(Protocol[R]):
    """A connection that is logged in.  What comes over it is kept until `taken`, also when it is then lost."""

    def taken(self) -> Sequence[R]:
        """What has come since this was asked last."""

    async def hear(self, seconds: float) -> None:
        """Wait at most so long for something to come.  Raises Lost."""

    async def ping(self) -> None:
        """Have the system answer.  Raises Lost."""

    async def ask(self) -> None:
        """Have the system tell all its lists.  Raises Lost."""


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


async def follow(station: Station[R], link: Link[R], *, ping_seconds: float, ask_seconds: float) -> None:
    """Follow a connection until it is lost; never returns.

    :param ping_seconds: how often the system has to answer.
    :param ask_seconds: how often it has to tell its lists.
    :raises Lost: it is gone, or does not answer.
    """
    clock = asyncio.get_running_loop().time
    number, unsettled, settled = 0, False, 0.0

    async def after(step: Awaitable[None]) -> bool:
        """Do something over the connection and take what came meanwhile, though it was the last; whether anything came."""
        nonlocal number, unsettled
        try:
            await step
        finally:
            records = link.taken()
            if records:
                first, number, unsettled = number, number + len(records), True
                await station.take(records, None, lambda place: f"record {first + place + 1} of the connection")
        return bool(records)

    await after(link.ask())
    station.looked()
    asked = pinged = clock()
    again = asked + min(_AGAIN, ask_seconds)
    while True:
        if not await after(link.hear(_IDLE)):
            await station.advance(now())
        at = clock()
        if at >= again:
            await after(link.ask())
            station.looked()
            asked = pinged = clock()
            again = asked + ask_seconds
        elif at - pinged >= ping_seconds:
            await after(link.ping())
            station.looked()
            pinged = clock()
        if unsettled and at - settled >= _SETTLE:
            await station.settle()
            unsettled, settled = False, clock()


def read_secret(place: str, file: Path | None) -> str:
    """The secret from its file, or from the environment where no file is named.

    :param place: where in the configuration the file is named.
    :raises ConfigurationError: it is in neither.
    :raises Lost: the file cannot be read now.
    """
    if file is None:
        secret = os.environ.get(SECRET_VARIABLE, "")
        if not secret:
            raise ConfigurationError(None, [f"{place} is not set, and neither is {SECRET_VARIABLE} in the environment"])
    else:
        try:
            secret = file.read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise Lost(f"{place}: {file} cannot be read: {reason}") from None
    if not secret or any(ord(character) < 32 for character in secret):
        raise Lost(f"{place}: the secret is empty or holds a control character")
    return secret
