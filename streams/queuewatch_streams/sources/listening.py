"""How a system is listened to that calls us over HTTP: it has its answer only once the brokers have acknowledged.

Requests that come at the same time are written together and acknowledged together.  Who cannot be served is told so at once or
after `answer_seconds`, with a time to come again: whatever was not answered with success has to be sent again, and may be,
since an event's id makes a repeat harmless.

The listener stays open while Kafka is away, so that senders hear why.  It speaks plain HTTP; TLS is a proxy's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson
from aiohttp import http_exceptions, web

from queuewatch_schemas.source_settings import Listening
from queuewatch_streams.serve import PortTaken
from queuewatch_streams.sources.station import Station

__all__ = ["Away", "Door", "Rate", "body_of", "problem", "retry_later"]

log = logging.getLogger(__name__)


_SENDERS: Final = (http_exceptions.HttpProcessingError, web.RequestPayloadError)
"""What is wrong with a request, and answered: where it is no HTTP its bad line is in it, which may be that with the token."""


def _may_be_told(record: logging.LogRecord) -> bool:
    """Whether aiohttp may log that: our faults, not those of senders."""
    return record.exc_info is None or not isinstance(record.exc_info[1], _SENDERS)


logging.getLogger("aiohttp.server").addFilter(_may_be_told)

AGAIN_SECONDS: Final = 5
"""When a sender is to come again while the brokers are away."""
BODY_SECONDS: Final = 30.0
"""A request whose body takes longer is given up."""
CLOSE_SECONDS: Final = 5.0
"""A request that is still coming in after so long is cut off when the source ends."""
MOST_REQUESTS: Final = 64
"""Requests that are served at once."""
MOST_HELD: Final = 16 * 1024 * 1024
"""Bytes of requests that wait to be written; of more than that nothing is taken."""
R = TypeVar("R")


class Away(Exception):
    """Nothing can be taken now: Kafka is away, or too much waits for it."""


@dataclass(eq=False, slots=True)
class _Handed(Generic[R]):
    """What one request brought."""

    records: Sequence[R]
    size: int
    done: asyncio.Future[None]


class Door(Generic[R]):
    """What requests bring, on its way to the brokers.

    :param place: where in the configuration the port is set, for people.
    """

    def __init__(self, settings: Listening, place: str) -> None:
        self.port = settings.port
        self._host = settings.listen_host
        self._most_bytes = settings.most_bytes
        self._patience = settings.answer_seconds
        self._place = place
        self._runner: web.AppRunner | None = None
        self._waiting: asyncio.Queue[_Handed[R]] = asyncio.Queue()
        self._held = 0
        self.taking = False
        """Whether somebody is there to take what comes."""
        self._requests = 0

    async def open(self, routes: Iterable[web.AbstractRouteDef]) -> None:
        """Listen, unless that is done already.  Raises PortTaken."""
        if self._runner is not None:
            return
        application = web.Application(client_max_size=self._most_bytes, middlewares=[self._one_of_few])
        application.add_routes(list(routes))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            why = os.strerror(error.errno) if error.errno else str(error)
            raise PortTaken(
                f"cannot listen on {self._host}:{self.port}: {why}; choose another with {self._place}.port"
            ) from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        if not is_loopback(self._host):
            log.warning(
                "%s: listening on %s without TLS; tokens and events can be read on their way", self._place, self._host
            )

    async def close(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    @web.middleware
    async def _one_of_few(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._requests >= MOST_REQUESTS:
            return retry_later(503, "busy", f"{MOST_REQUESTS} requests are being served", 1)
        self._requests += 1
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as why:
            headers = {"Allow": why.headers["Allow"]} if "Allow" in why.headers else None
            return problem(why.status, "not_here", f"{request.method} of this path means nothing here", headers)
        finally:
            self._requests -= 1

    async def hand_in(self, records: Sequence[R], size: int) -> None:
        """Give what a request brought to the brokers, and wait until they have acknowledged it.

        :param size: bytes of the request.
        :raises Away: they did not; it may have been written, or not.
        """
        if not self.taking or self._held + size > MOST_HELD:
            raise Away
        handed = _Handed(records, size, asyncio.get_running_loop().create_future())
        self._held += size
        self._waiting.put_nowait(handed)
        try:
            async with asyncio.timeout(self._patience):
                await handed.done
        except TimeoutError:
            handed.records = ()
            raise Away from None

    async def pass_on(self, station: Station[R], take: Callable[[Sequence[R]], Awaitable[None]]) -> None:
        """Take what requests bring, for ever, and answer each once it is safe.

        :param take: gives one request's records to the station.
        :raises KafkaTrouble: the brokers did not take events; who waits is told to come again.
        """
        under_way: list[_Handed[R]] = []
        self.taking = True
        try:
            while True:
                under_way.append(await self._waiting.get())
                while not self._waiting.empty():
                    under_way.append(self._waiting.get_nowait())
                self._held -= sum(each.size for each in under_way)
                for each in under_way:
                    if each.records and not each.done.done():  # else nobody waits any more: it will come again
                        await take(each.records)
                await station.acknowledged()
                for each in under_way:
                    if not each.done.done():
                        each.done.set_result(None)
                under_way.clear()
        finally:
            self.taking = False
            while not self._waiting.empty():
                under_way.append(self._waiting.get_nowait())
            self._held = 0
            for each in under_way:
                if not each.done.done():
                    each.done.set_exception(Away())


class Rate:
    """How much may come in the long run, and how much of it at once.

    :param per_second: in the long run.
    :param at_once: after a pause.
    """

    def __init__(self, per_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = at_once
        self._left = at_once
        self._clock = clock
        self._at = clock()

    def wait(self, number: float) -> float:
        """Take so many; 0, or the seconds until they may come, and then none is taken."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if number <= self._left:
            self._left -= number
            return 0.0
        return (min(number, self._most) - self._left) / self._per_second


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def body_of(request: web.Request) -> bytes | web.Response:
    """The body of a request, or what to answer to one that cannot be read."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return problem(415, "encoded", "send the body without Content-Encoding")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        most = request.app._client_max_size
        return problem(413, "too_large", f"a request has at most {most} bytes; send smaller batches")
    except (ConnectionError, web.RequestPayloadError):
        return problem(400, "cut_off", "the body ended before its end")
    except TimeoutError:
        return problem(408, "too_slow", f"the body did not come within {BODY_SECONDS:.0f} s")


def problem(status: int, reason: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> web.Response:
    """An answer that says what is wrong, for programs and for people (RFC 9457).

    :param reason: a short word.
    :param more: further members.
    """
    return web.Response(
        status=status,
        headers=headers,
        content_type="application/problem+json",
        body=orjson.dumps({"status": status, "reason": reason, "detail": detail, **more}),
    )


def retry_later(status: int, reason: str, detail: str, seconds: float = AGAIN_SECONDS) -> web.Response:
    """An answer that asks to send the same once more, later."""
    return problem(status, reason, detail, {"Retry-After": str(max(1, round(seconds + 0.5)))})
