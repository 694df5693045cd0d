"""The wallboard's process: what it reads, what it answers over HTTP, to whom, and how it starts and ends.

It keeps no state of its own: what it knows, it has read from the topics, and will read again when it starts anew.
No address, ticket or name is logged; what is refused is answered by status alone.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from aiokafka import ConsumerRecord

from queuewatch_schemas.config import Configuration, Wallboard
from queuewatch_schemas.wallboard import Agents, Refusal, Ticket
from queuewatch_streams.kafka import client_settings
from queuewatch_wallboard.access import (
    Admission,
    Allowance,
    Client,
    Grant,
    Refused,
    Slots,
    View,
    admit,
    client,
    exchange,
    in_force,
    view,
)
from queuewatch_wallboard.agents import AgentStates
from queuewatch_wallboard.board import Arrangement, Board, Row, Rows, board
from queuewatch_wallboard.figures import Figures
from queuewatch_wallboard.keys import KeyFile
from queuewatch_wallboard.known import NEWS_SILENCE, Instant, Known
from queuewatch_wallboard.page import Asset, Page, read_page
from queuewatch_wallboard.reading import Reading, take_agent_record, take_queue_record
from queuewatch_wallboard.states import Patience
from queuewatch_wallboard.streams import Hub, Stream, now, send

__all__ = ["CannotServe", "Service", "run"]

log = logging.getLogger(__name__)

DAY: Final = 86_400
AGENTS_EVERY: Final = 1.0
"""Seconds between two counts of agents."""
NAMES: Final = 500
"""Queues and groups that one address may ask for."""
NAME_BYTES: Final = 200
_REFUSALS: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    429: "too_many",
    503: "starting",
}
_SOON: Final[Mapping[str, str]] = {"Retry-After": "2"}
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class CannotServe(RuntimeError):
    """The service cannot start; the text says why and what to do."""


class Announcement:
    """The line for everybody: a setting, or the first line of a file, read again when that changes."""

    def __init__(self, settings: Wallboard) -> None:
        self._line = settings.announcement or None
        self._path = settings.announcement_file
        self._seen: object = None

    def current(self) -> str | None:
        """The line of now; None for none.  A file that cannot be read announces nothing, which is logged once."""
        path = self._path
        if path is None:
            return self._line
        try:
            status = path.stat()
            seen: object = status.st_mtime_ns, status.st_size, status.st_ino
        except OSError as error:
            seen = error.errno
        if seen != self._seen:
            self._seen = seen
            self._line = _first_line(path)
        return self._line


def _first_line(path: Path) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        log.warning(
            "%s: cannot be read, so nothing is announced: %s", path, getattr(error, "strerror", None) or "no UTF-8"
        )
        return None
    return (lines[0].strip()[:300] or None) if lines else None


def admission(configuration: Configuration, keys: KeyFile) -> Admission:
    """Who is let in without a link.  Raises CannotServe where nobody could be let in, or everybody would be."""
    settings, host = configuration.wallboard, configuration.serve.host
    networks = tuple(ipaddress.ip_network(each) for each in settings.networks)
    names = {"localhost", *(name.lower() for name in settings.host_names)}
    if settings.base_url is not None and (named := urlsplit(settings.base_url).hostname):
        names.add(named)
    if networks or (settings.keys_file is not None and keys.current()):
        return Admission(networks, frozenset(names))
    if settings.keys_file is not None:
        raise CannotServe(
            f"wallboard.keys_file: there are no keys in {settings.keys_file}, and no networks are set, so nobody could be let"
            " in; make a link first: queuewatch wallboard link --all"
        )
    if not _is_loopback(host):
        raise CannotServe(
            f"the wallboard would show everything to everyone who can reach {host}: set wallboard.keys_file and make links"
            " (queuewatch wallboard link --all), or name who is let in (wallboard.networks), or serve on 127.0.0.1"
        )
    return Admission(_LOOPBACK, frozenset(names))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


class Service:
    """What is read, what is made of it, and who gets it.  Made on a running event loop."""

    def __init__(self, configuration: Configuration) -> None:
        settings = configuration.wallboard
        self.configuration = configuration
        self.settings = settings
        self.keys = KeyFile(settings.keys_file)
        self.admission = admission(configuration, self.keys)
        self.page: Page = read_page()
        self.figures = Figures()
        self.known = Known()
        self.agents = AgentStates()
        self.announcement = Announcement(settings)
        self.arrangement = Arrangement(
            settings.pinned, settings.order, Patience(settings.worse_after_seconds, settings.better_after_seconds)
        )
        self.hub = Hub(self._refresh, self._board, self.page.version, self.figures)
        self.slots = Slots(settings.streams_per_address, settings.streams)
        often = settings.streams_per_address
        self.attempts = Allowance(per_second=often / 5, burst=2 * often)
        self.polls = Allowance(per_second=often, burst=2 * often)
        self._proxies = tuple(ipaddress.ip_network(each) for each in settings.trusted_proxies)
        self._rows = Rows(self.arrangement)
        self._current: dict[str, Row] = {}
        self._at = now()
        self._agents: dict[str, Agents] = {}
        self._agents_at = float("-inf")
        self._caught_up_at: float | None = None
        self._has_shown = False
        topics, kafka = configuration.topics, configuration.kafka
        client_settings(kafka)  # what cannot be used of the configuration is told before anything starts
        self.queues = Reading(
            "queues", topics.queues, kafka, self.figures, take=self._take_queue, forget=self.known.forget
        )
        self.agent_states = Reading(
            "agents",
            topics.agents,
            kafka,
            self.figures,
            take=self._take_agent,
            forget=self.agents.forget,
            only_last_seconds=DAY,
        )
        self.figures.ask(
            {
                "streams": lambda: self.slots.open,
                "views": lambda: self.hub.views,
                "queues": lambda: len(self.known.snapshots),
                "stale_queues": lambda: sum(row.stale is not None for row in self._current.values()),
                "silent_partitions": self._silent_partitions,
                "newest_record_age_seconds": self._newest_record_age,
                "ready": lambda: float(self.unready() is None),
            }
        )

    # ------------------------------------------------------------------------------------------------------- taking in

    def _take_queue(self, record: ConsumerRecord, live: bool) -> None:
        take_queue_record(self.known, record.key, record.value, now(), live=live)
        self.hub.news()

    def _take_agent(self, record: ConsumerRecord, live: bool) -> None:
        take_agent_record(self.agents, record.value)

    def _silent_partitions(self) -> float | None:
        return None if self.known.partitions is None else len(self.known.silent(now()))

    def _newest_record_age(self) -> float | None:
        last = self.queues.last_record
        return None if last is None else time.monotonic() - last

    # ------------------------------------------------------------------------------------------------------ making boards

    def _refresh(self, at: Instant) -> bool:
        """Bring everything that boards are made of up to date; whether there is anything to show yet."""
        if at.monotonic - self._agents_at >= AGENTS_EVERY:
            self._agents_at = at.monotonic
            present = round(at.wall.timestamp() * 1_000_000)
            self.agents.drop_older(present - DAY * 1_000_000)
            known = self.agent_states.caught_up
            self._agents = self.agents.by_queue(present, self.settings.agents_unknown_after_seconds) if known else {}
        self._has_shown = self._has_shown or self._may_show(at)
        if self._has_shown:
            self._current = self._rows.at(self.known, self._agents, at)
            self._at = at
        return self._has_shown

    def _may_show(self, at: Instant) -> bool:
        """Whether all that lay there was read, and each worker that lives had the time to say so."""
        if not self.queues.caught_up:
            self._caught_up_at = None
            return False
        if self._caught_up_at is None:
            self._caught_up_at = at.monotonic
        heard = self.known.partitions is not None and not self.known.silent(at)
        return heard or at.monotonic - self._caught_up_at > NEWS_SILENCE

    def _board(self, shown: View) -> Board:
        return board(
            self._current,
            self.known,
            shown,
            self._at,
            arrangement=self.arrangement,
            version=self.page.version,
            announcement=self.announcement.current(),
        )

    def unready(self) -> str | None:
        """Why there is nothing true to show yet; None when there is.  Anybody may ask, so it names nothing; the log does."""
        if self._has_shown and self.queues.caught_up:
            return None
        if self.queues.trouble is not None:
            return "snapshots cannot be read now; the log says why"
        if not self.queues.caught_up:
            return "snapshots are being read"
        return "workers are being waited for"

    # ------------------------------------------------------------------------------------------------------- answering

    def application(self) -> web.Application:
        """The routes."""
        routes = web.Application(middlewares=[self._answered], client_max_size=16 * 1024)
        routes.add_routes(
            [
                web.get("/", self._index),
                web.get("/page/{version}/{path:.+}", self._asset),
                web.get("/api/v1/queues", self._queues),
                web.get("/api/v1/stream", self._stream, allow_head=False),
                web.post("/api/v1/ticket", self._ticket),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        routes.on_response_prepare.append(self._secured)
        routes.on_shutdown.append(self._ended)
        return routes

    async def _ended(self, _: web.Application) -> None:
        self.hub.close()

    async def _secured(self, request: web.Request, response: web.StreamResponse) -> None:
        ancestors = " ".join("'self'" if each == "self" else each for each in self.settings.frame_ancestors) or "'none'"
        headers = response.headers
        headers["Content-Security-Policy"] = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; media-src 'self';"
            f" connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
        )
        if ancestors == "'none'":
            headers["X-Frame-Options"] = "DENY"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        headers.setdefault("Cache-Control", "no-store")
        headers.popall("Server", None)

    @web.middleware
    async def _answered(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Say what is refused by its status alone."""
        try:
            return await handler(request)
        except Refused as refused:
            self.figures.count("refused_requests_total", str(refused.status))
            return _refusal(refused.status, refused.headers)
        except web.HTTPException as error:
            if error.status not in _REFUSALS:
                raise
            kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
            return _refusal(error.status, kept)

    def _client(self, request: web.Request) -> Client:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        if not forwarded and any(name in request.headers for name in ("Forwarded", "X-Real-IP", "Via")):
            forwarded = ["unknown"]
        return client(request.remote, forwarded, self._proxies)

    def _view(self, request: web.Request, grant: Grant) -> View:
        queues, groups = request.query.getall("queue", []), request.query.getall("group", [])
        names = [*queues, *groups]
        if len(names) > NAMES or any(not name or len(name.encode("utf-8", "replace")) > NAME_BYTES for name in names):
            raise web.HTTPBadRequest
        try:
            return view(grant, queues, groups, self.known.group_of)
        except Refused:
            if self._has_shown:
                raise
            # In which group a queue is, is not known yet: a screen with a good link must not be turned away for that.
            raise web.HTTPServiceUnavailable(headers=_SOON) from None

    def _grant(self, token: str | None, asker: Client, request: web.Request) -> Grant:
        return admit(token, asker, request.host, self.admission, self.keys.current(), int(time.time()))

    async def _ticket(self, request: web.Request) -> web.Response:
        self.attempts.take(self._client(request).address, time.monotonic())
        ticket, seconds = exchange(_bearer(request), self.keys.current(), int(time.time()))
        return _json(Ticket(ticket=ticket, expires_in_seconds=seconds).model_dump_json().encode())

    async def _queues(self, request: web.Request) -> web.Response:
        asker = self._client(request)
        self.polls.take(asker.address, time.monotonic())
        shown = self._view(request, self._grant(_bearer(request), asker, request))
        polled = await self.hub.poll(shown)
        if polled is None:
            return _refusal(503, _SOON)
        plain, zipped = polled
        takes_gzip = _takes_gzip(request)
        response = _json(zipped if takes_gzip else plain)
        response.headers["Vary"] = "Accept-Encoding"
        if takes_gzip:
            response.headers["Content-Encoding"] = "gzip"
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asker = self._client(request)
        self.attempts.take(asker.address, time.monotonic())
        grant = self._grant(request.query.get("ticket") or _bearer(request), asker, request)
        shown = self._view(request, grant)
        self.slots.take(asker.address)
        try:
            with self.hub.watching(shown) as shared:
                stream = Stream(compress=_takes_gzip(request))
                await stream.prepare(request)
                async with stream:
                    with suppress(ConnectionError, TimeoutError):
                        await send(stream, shared, self.hub, lambda: self._holds(grant), self.figures)
                return stream
        finally:
            self.slots.give_back(asker.address)

    def _holds(self, grant: Grant) -> bool:
        return in_force(grant, self.keys.current(), int(time.time()))

    async def _index(self, request: web.Request) -> web.Response:
        return _file(request, self.page.index, f'"{self.page.version}"', "no-cache")

    async def _asset(self, request: web.Request) -> web.Response:
        found = self.page.assets.get(request.match_info["path"])
        if found is None or request.match_info["version"] != self.page.version:
            raise web.HTTPNotFound
        return _file(request, found, f'"{self.page.version}"', "public, max-age=31536000, immutable")

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        reason = self.unready()
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": reason}, status=503)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self.figures.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store, no-transform"})


def _refusal(status: int, headers: Mapping[str, str]) -> web.Response:
    body = Refusal.model_validate({"error": _REFUSALS[status]}).model_dump_json().encode()
    response = web.Response(status=status, body=body, content_type="application/json")
    response.headers.update(headers)
    return response


def _file(request: web.Request, asset: Asset, etag: str, caching: str) -> web.Response:
    headers = {"Cache-Control": caching, "ETag": etag, "Vary": "Accept-Encoding"}
    if etag in (each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers=headers)
    body = asset.plain
    if _takes_gzip(request):
        body, headers["Content-Encoding"] = asset.compressed, "gzip"
    return web.Response(body=body, headers={**headers, "Content-Type": asset.content_type})


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _takes_gzip(request: web.Request) -> bool:
    for each in request.headers.get("Accept-Encoding", "").split(","):
        name, _, quality = each.partition(";")
        if name.strip().lower() == "gzip":
            return quality.strip().lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


# --------------------------------------------------------------------------------------------------- starting, ending


class Running:
    """A service that listens.  `port` is the real one."""

    def __init__(self, service: Service, runner: web.AppRunner, tasks: list[asyncio.Task[None]], port: int) -> None:
        self.service = service
        self.port = port
        self._runner = runner
        self.tasks = tasks

    async def stop(self) -> None:
        """End all streams, then stop listening and reading."""
        self.service.hub.close()
        await self._runner.cleanup()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def start(configuration: Configuration) -> Running:
    """Listen and read.  Raises CannotServe, ConfigurationError."""
    service = Service(configuration)
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=3.0)
    await runner.setup()
    host, port = configuration.serve.host, configuration.serve.wallboard_port
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        await runner.cleanup()
        number = None if isinstance(error, socket.gaierror) else error.errno
        why = error.strerror or str(error) if number is None else os.strerror(number)
        raise CannotServe(
            f"cannot listen on {host}:{port}: {why}; choose another port with --wallboard-port (0: any that is free)"
        ) from None
    tasks = [
        asyncio.create_task(service.queues.run()),
        asyncio.create_task(service.agent_states.run()),
        asyncio.create_task(service.hub.run()),
    ]
    return Running(service, runner, tasks, runner.addresses[0][1])


async def run(configuration: Configuration, started: Callable[[Running], None]) -> int:
    """Serve until told to stop; the exit status: 0 after SIGTERM, 130 after Ctrl-C, 1 where a part ended by itself.

    `started` is told once it listens.  Raises CannotServe, ConfigurationError.
    """
    if not log.isEnabledFor(logging.INFO):
        # The client tells ten times a second that a broker is away; once is enough, and `Reading` does so.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    told: asyncio.Future[int] = loop.create_future()
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, lambda end: None if told.done() else told.set_result(end), status)
    running = await start(configuration)
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    started(running)
    ends: list[asyncio.Future[Any]] = [told, *running.tasks]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await running.stop()
    if told.done():
        return told.result()
    for task in running.tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            log.error("the wallboard ends: %r", error)
    return 1
