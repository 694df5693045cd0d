"""What a worker answers over HTTP: /metrics, /healthz and /readyz, on loopback unless told otherwise.

Samples are taken on the event loop, the text is made in a thread; scrapes that come while one is being made share it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from queuewatch_streams.exporter import Families

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
"""Seconds for which a rendering that is under way is shared with scrapes that come later."""


def application(
    families: Callable[[str | None], Families],
    unready: Callable[[], str | None],
    standing: Callable[[], object] = lambda: None,
) -> web.Application:
    """The routes.

    `families(queue)` tells the samples of now, of one queue or (None) of all; `unready()` says why the worker is not ready,
    or None when it is.  `standing()` is what the samples rest upon (lease and generation): where it changed while the text
    was made, as it does in a process that was paused, the samples are another worker's by now and are taken anew.
    """
    under_way: dict[str, tuple[float, asyncio.Task[tuple[bytes, str]]]] = {}

    async def rendered(accept: str, queue: str | None) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        while True:
            before = standing()
            # A collector that needs no registry of its own: the encoders ask for nothing but collect().
            told = cast(CollectorRegistry, families(queue))
            body = await asyncio.get_running_loop().run_in_executor(None, partial(encode, told))
            if standing() == before:
                return body, content_type

    async def metrics(request: web.Request) -> web.Response:
        accept, queue = request.headers.get("Accept", ""), request.query.get("queue")
        if queue is not None:
            body, content_type = await rendered(accept, queue)
        else:
            now = time.monotonic()
            began, task = under_way.get(accept, (now, None))
            if task is None or task.done() or now - began > SHARED_FOR:
                task = asyncio.ensure_future(rendered(accept, None))
                under_way[accept] = now, task
            body, content_type = await asyncio.shield(task)
        return web.Response(body=body, headers={"Content-Type": content_type})

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
