"""A stand-in for the wallboard's service: the page's files, and the HTTP interface as a test wants it to behave.

It runs in a thread of its own, since Playwright keeps the test's thread.  Its clock is `START` and goes on from there; what is
shown is sent with that time, whatever the computer's clock says.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from aiohttp import web

import queuewatch_wallboard
from queuewatch_schemas.wallboard import Board, Heartbeat, QueueRow, Ticket
from wallboard.support.boards import START, VERSION, board

PAGE: Final = Path(queuewatch_wallboard.__file__).parent / "page"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BEAT_SECONDS: Final = 5.0


class StandIn:
    """What it does is set by its attributes, at any time; `seen` counts what the page asked for."""

    def __init__(self) -> None:
        self.rows: list[QueueRow] = []
        self.changes: dict[str, Any] = {}
        self.version = VERSION
        self.page_version = VERSION
        self.token: str | None = None
        self.streams = "open"  # or "silent": opened and nothing sent; "refused": 403; "broken": 502
        self.polls = "open"  # or "refused", "broken"
        self.beats = True
        self.beat_seconds = BEAT_SECONDS
        self.lag_seconds = 0.0
        self.seen: Counter[str] = Counter()
        self.tickets: set[str] = set()
        self.asked: list[str] = []
        self._open: dict[web.StreamResponse, bool] = {}
        self._began = time.monotonic()
        self._shown_at = START
        self._number = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.address = self._run(self._start())

    # ----------------------------------------------------------------------------------------------------- for tests

    @property
    def now(self) -> datetime:
        """The server's time."""
        return START + timedelta(seconds=time.monotonic() - self._began - self.lag_seconds)

    def skip(self, seconds: float) -> None:
        """Time goes on by so much at once, as the test lets it in the browser."""
        self._began -= seconds

    def send(self, event: str, data: str) -> None:
        """Any event on every open stream."""
        self._call(lambda: self._send(event, data))

    def show(self, *rows: QueueRow, **changes: Any) -> None:
        """From now on these queues are the board; sent to every open stream."""
        self.rows, self.changes = list(rows), changes
        self._shown_at = self.now
        self._call(self._send_board)

    def make(self, make: Callable[[datetime], list[QueueRow]], **changes: Any) -> None:
        """The same, of rows that are made for the server's time."""
        self.show(*make(self.now), **changes)

    def drop(self) -> None:
        """Closes every stream."""
        self._call(self._drop)

    def stop(self) -> None:
        """Ends it, and every connection."""
        self._drop_all()
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # ------------------------------------------------------------------------------------------------------- its own

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _call(self, work: Callable[[], Any]) -> None:
        self._run(work())

    def _drop_all(self) -> None:
        self._call(self._drop)

    async def _drop(self) -> None:
        for stream in list(self._open):
            self._open[stream] = False

    async def _start(self) -> str:
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/page/{version}/{path:.+}", self._asset),
                web.get("/api/v1/queues", self._queues),
                web.get("/api/v1/stream", self._stream),
                web.post("/api/v1/ticket", self._ticket),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/"

    def _board(self) -> Board:
        """The board as of now: its waits are as old as its rows."""
        self._number += 1
        now, passed = self.now, (self.now - self._shown_at).total_seconds()
        rows = [
            row.model_copy(update={"longest_wait_seconds": row.longest_wait_seconds + passed})
            if row.oldest_waiting_since is not None and row.longest_wait_seconds is not None and row.stale is None
            else row
            for row in self.rows
        ]
        return board(rows, now=now, number=self._number, **({"version": self.version} | self.changes))

    async def _page(self, request: web.Request) -> web.Response:
        self.seen["page"] += 1
        text = (PAGE / "index.html").read_text(encoding="utf-8").replace("{{version}}", self.page_version)
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _asset(self, request: web.Request) -> web.Response:
        path = PAGE / request.match_info["path"]
        if not path.is_file():
            raise web.HTTPNotFound
        return web.Response(body=path.read_bytes(), content_type=TYPES[path.suffix], charset="utf-8")

    def _admit(self, request: web.Request, ticket: str | None) -> None:
        self.asked.append(f"{request.path_qs} {request.headers.get('Referer', '')}")
        if self.token is not None and ticket not in self.tickets:
            raise web.HTTPUnauthorized(text='{"error": "unauthorized"}')

    async def _ticket(self, request: web.Request) -> web.Response:
        self.seen["ticket"] += 1
        self.asked.append(f"{request.path_qs} {request.headers.get('Referer', '')}")
        if self.token is None or request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized(text='{"error": "unauthorized"}')
        ticket = f"ticket-{self.seen['ticket']}"
        self.tickets.add(ticket)
        return web.Response(
            text=Ticket(ticket=ticket, expires_in_seconds=60).model_dump_json(), content_type="application/json"
        )

    async def _queues(self, request: web.Request) -> web.Response:
        self.seen["poll"] += 1
        bearer = request.headers.get("Authorization", "")
        self._admit(request, bearer.removeprefix("Bearer ") if bearer else None)
        if self.polls == "refused":
            raise web.HTTPForbidden(text='{"error": "forbidden"}')
        if self.polls == "broken":
            raise web.HTTPBadGateway
        return web.Response(text=self._board().model_dump_json(), content_type="application/json")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.seen["stream"] += 1
        self._admit(request, request.query.get("ticket"))
        if self.streams == "refused":
            raise web.HTTPForbidden(text='{"error": "forbidden"}')
        if self.streams == "broken":
            raise web.HTTPBadGateway
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await answer.prepare(request)
        self._open[answer] = True
        try:
            await self._write(answer, "board", self._board().model_dump_json())
            beaten = time.monotonic()
            while self._open[answer]:
                await asyncio.sleep(0.05)
                if self.beats and time.monotonic() - beaten >= self.beat_seconds:
                    beaten = time.monotonic()
                    beat = Heartbeat(server_time=self.now, version=self.version, id=self._number)
                    await self._write(answer, "heartbeat", beat.model_dump_json())
        except ConnectionError:
            pass
        finally:
            self._open.pop(answer, None)
        return answer

    async def _write(self, stream: web.StreamResponse, event: str, data: str) -> None:
        if self.streams == "open":
            await stream.write(f"event: {event}\ndata: {data}\n\n".encode())

    async def _send_board(self) -> None:
        await self._send("board", self._board().model_dump_json())

    async def _send(self, event: str, data: str) -> None:
        for stream in list(self._open):
            with contextlib.suppress(ConnectionError):
                await self._write(stream, event, data)
