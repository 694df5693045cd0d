"""A way from one worker to the broker that can be cut: it forwards bytes as they are and rewrites nothing.

The broker has a listener of its own for each worker and advertises the proxy's port on it, so that a worker never learns of
another way.  *Hold*: nothing passes, connections stay, and what was on its way arrives when the hold ends, however late.
*Refuse*: connections are aborted and new ones too.  *Slow*: answers trickle.  A *trap* holds at the first write to the
changelog, before it passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import StrEnum

from queuewatch_streams.brokers import HOST, free_port

__all__ = ["Proxies", "Proxy", "Way"]

PRODUCE = b"\0\0"
"""Kafka's key of a produce request, behind the length of the request."""


class Way(StrEnum):
    """How a proxy treats what comes."""

    OPEN = "open"
    HOLD = "hold"
    REFUSE = "refuse"
    SLOW = "slow"


TRICKLE = 30_000
"""Bytes a second of each connection from the broker on a slow way: about a tenth of what the events of a run need."""


class Proxy:
    """One way.  All but the methods named in capitals in the class `Way` happens on the proxies' own loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.upstream = free_port(but=self.port)
        """The broker's listener for this way."""
        self._loop = loop
        self._way = Way.OPEN
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._trap: tuple[bytes, Callable[[], None]] | None = None
        self.trapped = threading.Event()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def stop(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self, way: Way) -> None:
        """Treat everything like this from now on; from any thread."""
        done = threading.Event()

        def change() -> None:
            self._change(way)
            done.set()

        self._loop.call_soon_threadsafe(change)
        done.wait(5)

    def trap(self, topic: str, sprung: Callable[[], None]) -> None:
        """Hold when the next record of this topic would pass, and call `sprung` before anything else; from any thread."""
        self.trapped.clear()
        self._trap = topic.encode(), sprung

    def untrap(self) -> None:
        """Set the trap no longer."""
        self._trap = None

    def _change(self, way: Way) -> None:
        self._way = way
        if way is Way.HOLD:
            self._open.clear()
        else:
            self._open.set()
        if way is Way.REFUSE:
            self._abort()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._open.wait()
            if self._way is Way.REFUSE:
                return
            up_reader, up_writer = await asyncio.open_connection(HOST, self.upstream)
            ends.append(up_writer)
            self._writers.add(up_writer)
            done, rest = await asyncio.wait(
                [
                    asyncio.ensure_future(self._pump(reader, up_writer, True)),
                    asyncio.ensure_future(self._pump(up_reader, writer, False)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in rest:
                each.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18 if self._way is not Way.SLOW else TRICKLE // 10):
                if self._way is Way.SLOW and not up:
                    await asyncio.sleep(len(data) / TRICKLE)
                if up and self._trap is not None and data[4:6] == PRODUCE and self._trap[0] in data:
                    _, sprung = self._trap
                    self._trap = None
                    self._change(Way.HOLD)
                    sprung()
                    self.trapped.set()
                await self._open.wait()
                writer.write(data)
                await writer.drain()


class Proxies:
    """Some ways, on a loop in a thread of its own."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self.by_name = {name: Proxy(self._loop, name) for name in names}

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        for proxy in self.by_name.values():
            asyncio.run_coroutine_threadsafe(proxy.start(), self._loop).result(10)

    def stop(self) -> None:
        """End everything."""
        for proxy in self.by_name.values():
            asyncio.run_coroutine_threadsafe(proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def broker_settings(self, port: int, controller: int) -> dict[str, str]:
        """What the broker needs for a listener of its own for each way, beside its ordinary one on `port`."""
        ways = self.by_name.values()
        ordinary = f"PLAINTEXT://{HOST}:{port}"
        own = [f"{way.name.upper()}://{HOST}:{way.upstream}" for way in ways]
        told = [f"{way.name.upper()}://{HOST}:{way.port}" for way in ways]
        protocols = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *(way.name.upper() for way in ways))]
        return {
            "listeners": ",".join([ordinary, *own, f"CONTROLLER://{HOST}:{controller}"]),
            "advertised.listeners": ",".join([ordinary, *told]),
            "listener.security.protocol.map": ",".join(protocols),
        }
