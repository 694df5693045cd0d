"""What a worker answers over HTTP: /metrics, /healthz and /readyz, on loopback unless told otherwise.

Figures are gathered and sent in slices, so that folding goes on meanwhile; scrapes that come while one is gathered share it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from queuewatch_streams.exporter import Exposition
from queuewatch_streams.pace import Pace

__all__ = ["PortTaken", "Server", "application"]

log = logging.getLogger(__name__)


class PortTaken(RuntimeError):
    """The address cannot be listened on; the message says which, and what to do."""


def _taken(host: str, port: int, setting: str, error: OSError) -> PortTaken:
    # asyncio puts a text of its own, with the address once more, in the place of the system's.
    number = None if isinstance(error, socket.gaierror) else error.errno
    why = error.strerror or str(error) if number is None else os.strerror(number)
    return PortTaken(f"cannot listen on {host}:{port}: {why}; choose another port with {setting}")


SHARED_FOR: Final = 1.0
"""Seconds for which what is being gathered is shared with scrapes that come later."""


def application(
    figures: Callable[[str | None], Awaitable[Exposition]],
    unready: Callable[[], str | None],
    standing: Callable[[], object] = lambda: None,
) -> web.Application:
    """The routes.

    `figures(queue)` gathers the figures of now, of one queue or (None) of all; `unready()` says why the worker is not ready,
    or None when it is.  `standing()` is what the figures rest upon (lease and generation): where it changed while they were
    gathered, as it does in a process that was paused, they are another worker's by now and are gathered anew.
    """
    under_way: tuple[float, asyncio.Task[Exposition]] | None = None

    async def gathered(queue: str | None) -> Exposition:
        while True:
            before = standing()
            told = await figures(queue)
            if standing() == before:
                return told

    def ended(task: asyncio.Task[Exposition]) -> None:
        nonlocal under_way
        if under_way is not None and under_way[1] is task:
            under_way = None

    async def shared() -> Exposition:
        nonlocal under_way
        now = time.monotonic()
        if under_way is None or now - under_way[0] > SHARED_FOR:
            under_way = now, asyncio.ensure_future(gathered(None))
            under_way[1].add_done_callback(ended)
        return await asyncio.shield(under_way[1])

    async def metrics(request: web.Request) -> web.StreamResponse:
        queue = request.query.get("queue")
        told = await (shared() if queue is None else gathered(queue))
        content_type, size, pieces = told.encoded(request.headers.get("Accept", ""))
        response = web.StreamResponse(headers={"Content-Type": content_type})
        response.content_length = size
        pace = Pace()
        try:
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
                if pace.over():
                    await pace.rest()
            await response.write_eof()
        except ConnectionError:
            log.debug("a scraper went away before it had everything")
        return response

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        reason = unready()
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": reason}, status=503)

    routes = web.Application()
    routes.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return routes


class Server:
    """An aiohttp application that listens; `port` is the real one once started (0 asks for any)."""

    def __init__(self, routes: web.Application, host: str, port: int, setting: str) -> None:
        self._routes = routes
        self._host = host
        self.port = port
        self._setting = setting
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.  Raises PortTaken."""
        self._runner = web.AppRunner(self._routes, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise _taken(self._host, self.port, self._setting, error) from None
        self.port = self._runner.addresses[0][1]
        log.info("serving http://%s:%d/metrics", self._host, self.port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
