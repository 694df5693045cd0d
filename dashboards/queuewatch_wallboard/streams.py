"""How boards reach many screens: each view is made, written and compressed once, and all its streams send those bytes.

A board is sent when something changed that people would see, at most four times a second; where only the age of the figures
changed, once a second; and a heartbeat when nothing was sent for five seconds.  A stream sends the newest board and then
waits for a newer one, so a slow screen misses boards and none pile up for it.

A message is compressed into a block of its own that refers to nothing before it and ends on a byte (deflate, fully flushed).
So the same bytes continue any gzip stream, whatever it has sent before.  The stream has no end of its own: it ends with its
connection.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest
from aiohttp_sse import EventSourceResponse

from queuewatch_schemas.wallboard import HEARTBEAT_SECONDS, Heartbeat
from queuewatch_wallboard.access import View
from queuewatch_wallboard.board import Board
from queuewatch_wallboard.figures import Figures
from queuewatch_wallboard.known import Instant

__all__ = ["Event", "Hub", "SharedView", "Stream", "now", "send"]

log = logging.getLogger(__name__)

BOARDS_EVERY: Final = 0.25
"""Seconds between two boards of a view at least."""
AGES_EVERY: Final = 1.0
"""The same where nothing changed but the age of the figures."""
LOOK_EVERY: Final = 0.5
"""Seconds after which it is looked whether time alone has changed something."""
SEND_TIMEOUT: Final = 30.0
"""Seconds after which a screen that takes nothing is given up."""
COMPRESSION: Final = 6
"""zlib's level: beyond it boards hardly become smaller, and each takes longer."""
_LARGE: Final = 32 * 1024
"""Bytes from which on a message is compressed beside the event loop."""
_GZIP_BEGIN: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def now() -> Instant:
    """The present, by both clocks."""
    return Instant(time.monotonic(), datetime.now(UTC))


def compressed(text: bytes) -> bytes:
    """A block that continues any deflate stream which stands at a byte's begin."""
    deflate = zlib.compressobj(COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)


def _zipped(text: bytes) -> tuple[bytes, bytes]:
    return text, gzip.compress(text, COMPRESSION, mtime=0)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, as it is and compressed."""

    plain: bytes
    compressed: bytes

    @classmethod
    async def of(cls, name: str, data: bytes, number: int | None = None) -> Event:
        """The event; `data` is JSON in one line."""
        head = b"" if number is None else b"id: %d\n" % number
        plain = head + b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
        block = await asyncio.to_thread(compressed, plain) if len(plain) > _LARGE else compressed(plain)
        return cls(plain, block)


class SharedView:
    """One view and what its streams send.  `boards` counts its boards, `beats` everything there was to send."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.streams = 0
        self.boards = 0
        self.beats = 0
        self.number: int | None = None
        self.board: Event | None = None
        self.heartbeat: Event | None = None
        self.shown: Board | None = None
        self.shown_at = 0.0
        self.sent_at = 0.0
        self._more: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """There is more to send, or nothing will come any more."""
        self._more.set_result(None)
        self._more = asyncio.get_running_loop().create_future()

    async def more_than(self, beats: int, closing: Callable[[], bool]) -> None:
        """Wait until there was more to send than that."""
        while self.beats <= beats and not closing():
            await asyncio.shield(self._more)


class Hub:
    """The views that are looked at, and the loop that keeps them up to date.

    `refresh(now)` brings what all views are made of up to date and says whether there is anything to show yet;
    `make(view, now)` makes a view's board of it.
    """

    def __init__(
        self, refresh: Callable[[Instant], bool], make: Callable[[View], Board], version: str, figures: Figures
    ) -> None:
        self._refresh = refresh
        self._make = make
        self.version = version
        self._figures = figures
        self._views: dict[View, SharedView] = {}
        self._polled: dict[View, asyncio.Future[tuple[bytes, bytes]]] = {}
        self._number = 0
        self._wake = asyncio.Event()
        self.closing = False
        self.ready = False

    @property
    def views(self) -> int:
        """Different views that are looked at now."""
        return len(self._views)

    def news(self) -> None:
        """Something came that boards are made of."""
        self._wake.set()

    async def run(self) -> None:
        """Keep all views up to date until cancelled."""
        while True:
            began = time.monotonic()
            self._wake.clear()
            try:
                await self.look(now())
            except Exception:  # without heartbeats screens say that they are stale, which is true
                log.exception("boards cannot be made; it is tried again")
            rest = BOARDS_EVERY - (time.monotonic() - began)
            await asyncio.sleep(max(0.0, rest))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY - BOARDS_EVERY):
                    await self._wake.wait()

    async def look(self, at: Instant) -> None:
        """Bring everything up to date at that instant."""
        self.ready = self._refresh(at)
        self._polled.clear()
        await asyncio.gather(*(self._update(shared, at) for shared in self._views.values()))

    async def _update(self, shared: SharedView, at: Instant) -> None:
        if self.ready:
            board = self._make(shared.view)
            last = shared.shown
            changed = last is None or board.visible != last.visible
            aged = last is not None and board.as_of != last.as_of and at.monotonic - shared.shown_at >= AGES_EVERY
            if changed or aged:
                number = self._next()
                event = await Event.of("board", board.numbered(number), number)
                shared.board, shared.number, shared.shown = event, number, board
                shared.boards += 1
                shared.shown_at = at.monotonic
                self._figures.count("boards_total")
                self._sent(shared, at)
                return
        if at.monotonic - shared.sent_at >= HEARTBEAT_SECONDS - LOOK_EVERY:
            beat = Heartbeat(server_time=at.wall, version=self.version, id=shared.number)
            shared.heartbeat = await Event.of("heartbeat", beat.model_dump_json().encode())
            self._sent(shared, at)

    @staticmethod
    def _sent(shared: SharedView, at: Instant) -> None:
        shared.sent_at = at.monotonic
        shared.beats += 1
        shared.wake()

    def _next(self) -> int:
        self._number += 1
        return self._number

    @contextmanager
    def watching(self, view: View) -> Iterator[SharedView]:
        """The view as all its streams share it, for as long as one of them lasts."""
        shared = self._views.get(view)
        if shared is None:
            shared = self._views[view] = SharedView(view)
            self._wake.set()
        shared.streams += 1
        try:
            yield shared
        finally:
            shared.streams -= 1
            if not shared.streams:
                del self._views[view]

    async def poll(self, view: View) -> tuple[bytes, bytes] | None:
        """The board of now as JSON, plain and as gzip, made once for all who ask; None where there is none yet."""
        if not self.ready:
            return None
        polled = self._polled.get(view)
        if polled is None:
            text = self._make(view).numbered(self._next())
            polled = self._polled[view] = asyncio.ensure_future(asyncio.to_thread(_zipped, text))
        return await asyncio.shield(polled)

    def close(self) -> None:
        """End all streams."""
        self.closing = True
        for shared in self._views.values():
            shared.wake()


class Stream(EventSourceResponse):
    """One screen's stream; what it sends was written and compressed before."""

    def __init__(self, *, compress: bool) -> None:
        # The library's own pings would be plain text in a compressed stream; ours are events.
        super().__init__(sep="\n", send_timeout=SEND_TIMEOUT, ping_interval=10 * 365 * 86_400)
        self._compress = compress
        self.headers["Cache-Control"] = "no-store, no-transform"
        self.headers["Vary"] = "Accept-Encoding"
        if compress:
            self.headers["Content-Encoding"] = "gzip"

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers, and what a compressed stream begins with."""
        first = not self.prepared
        writer = await super().prepare(request)
        if first and self._compress:
            await self.write(_GZIP_BEGIN)
        return writer

    async def put(self, event: Event) -> int:
        """Send an event; how many bytes that were.  Raises ConnectionError, and TimeoutError where nothing is taken."""
        data = event.compressed if self._compress else event.plain
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self.write(data)
        except TimeoutError:
            self._abort_transport()
            raise
        return len(data)


async def send(stream: Stream, shared: SharedView, hub: Hub, may_go_on: Callable[[], bool], figures: Figures) -> None:
    """Send a view's boards and heartbeats until the screen goes away, the service ends, or it may no more."""
    boards = beats = 0
    if shared.board is None:  # something must be told at once, so that the screen knows that it is connected
        beat = Heartbeat(server_time=now().wall, version=hub.version, id=None)
        event = await Event.of("heartbeat", beat.model_dump_json().encode())
        figures.count("sent_bytes_total", by=await stream.put(event))
    while not hub.closing and may_go_on():
        beats, newest = shared.beats, shared.boards
        told = shared.heartbeat
        if newest > boards:
            told = shared.board
            figures.count("messages_total")
            if boards and newest > boards + 1:
                figures.count("skipped_messages_total", by=newest - boards - 1)
            boards = newest
        if told is not None:
            figures.count("sent_bytes_total", by=await stream.put(told))
        await shared.more_than(beats, lambda: hub.closing)
