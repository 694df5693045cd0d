"""How a system is followed that pushes events over a connection and keeps no history: the loop that such readers share.

What happens while nobody is connected is not told again, so on every connect, a moment later, and then every so often the
system's own lists are asked for; they are records like events, in the order in which they came over the connection.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Generic, TypeVar

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_schemas.source_settings import Connected
from queuewatch_streams.sources.shape import Lost, Reader
from queuewatch_streams.sources.station import Station

__all__ = ["ANSWER_SECONDS", "SECRET_VARIABLE", "Link", "LiveReader", "follow", "now", "read_secret"]

ANSWER_SECONDS: Final = 15.0
"""A system that has not answered by then is gone."""
SECRET_VARIABLE: Final = "QUEUEWATCH_SOURCE_SECRET"
"""The environment's variable for the secret of a source that names no file."""
_IDLE: Final = 0.1
_AGAIN: Final = 3.0
"""Seconds after a connect for the second list: who is on neither has left, and what is on both is no event on its way."""
_LONGEST_LINE: Final = 1 << 20
"""Bytes that may come before the end of a line, or of a head, is seen."""
R = TypeVar("R")
S = TypeVar("S", bound=Connected)


class Link(ABC, Generic[R]):
    """A connection.  What comes over it is kept until `taken`, also when it is then lost.

    :param where: host and port, for people.
    """

    def __init__(self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._where = where
        self._reader = reader
        self._writer = writer
        self._came: list[R] = []

    def taken(self) -> list[R]:
        """What has come since this was asked last."""
        came, self._came = self._came, []
        return came

    @abstractmethod
    async def hear(self, seconds: float) -> None:
        """Wait at most so long for something to come.  Raises Lost."""

    @abstractmethod
    async def ping(self) -> None:
        """Have the system answer.  Raises Lost."""

    @abstractmethod
    async def ask(self) -> None:
        """Have the system tell all its lists.  Raises Lost."""

    async def close(self) -> None:
        """Let go."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()


L = TypeVar("L", bound=Link)  # type: ignore[type-arg]  # of any records


class LiveReader(Reader[R], Generic[R, S, L]):
    """The reader of a system that is connected to, logged in to and followed."""

    def __init__(self, name: str, settings: S, configuration: Configuration) -> None:
        self._settings = settings
        self._place = f"sources.{name}.secret_file"
        self._where = f"{settings.host}:{settings.port}"
        if settings.secret_file is None:
            read_secret(self._place, None)  # a secret that is nowhere is known before anything starts

    @abstractmethod
    def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> L:
        """The connection's own words."""

    @abstractmethod
    async def _log_in(self, link: L, secret: str) -> None:
        """Log in, so that the link tells what happens.  Raises Lost."""

    def _encryption(self) -> tuple[ssl.SSLContext, str] | None:
        """Where the connection is encrypted: by what, and the name that the certificate must have.  Raises Lost."""
        return None

    async def run(self, station: Station[R]) -> None:
        """Follow what happens until the connection is lost.  Raises Lost."""
        settings = self._settings
        async with self._connected() as link:
            await follow(station, link, ping_seconds=settings.heartbeat_seconds, ask_seconds=settings.status_seconds)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[L]:
        """A connection that is logged in.  Raises Lost."""
        settings = self._settings
        secret = await asyncio.to_thread(read_secret, self._place, settings.secret_file)
        context, name = self._encryption() or (None, None)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(
                    settings.host, settings.port, ssl=context, server_hostname=name, limit=_LONGEST_LINE
                )
        except TimeoutError:
            raise Lost(f"{self._where}: no connection within {ANSWER_SECONDS:.0f} s") from None
        except ConnectionRefusedError:  # its own text says the address once more, and not that
            raise Lost(f"{self._where}: connection refused; does it run, and listen there?") from None
        except OSError as error:
            raise Lost(f"{self._where}: {error.strerror or error}") from None
        link = self._link(reader, writer)
        try:
            await self._log_in(link, secret)
            yield link
        finally:
            await link.close()


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
    number = 0

    async def after(step: Awaitable[None]) -> bool:
        """Do something over the connection and take what came meanwhile, though it was the last; whether anything came."""
        nonlocal number
        try:
            await step
        finally:
            records = link.taken()
            if records:
                first, number = number, number + len(records)
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


def read_secret(place: str, file: Path | None) -> str:
    """The secret from its file, or from the environment where no file is named.

    :param place: where in the configuration the file is named.
    :raises ConfigurationError: it is in neither.
    :raises Lost: the file cannot be read now.
    """
    if file is None:
        secret = os.environ.get(SECRET_VARIABLE, "").strip("\r\n")
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
