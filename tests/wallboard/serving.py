"""The wallboard's service inside of a test, with topics of its own on a real broker, and what its screens hear."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.records import PartitionNews, QueueSnapshot
from queuewatch_schemas.wallboard import Board
from queuewatch_streams.brokers import Broker
from queuewatch_streams.kafka import administration
from queuewatch_wallboard.service import Running, start
from support.boards import NOON, news, snapshot

T = TypeVar("T")
PARTITIONS = 2
PATIENCE = 30.0


def _present() -> float:
    """Now, as records of tests have it."""
    return (datetime.now(UTC) - NOON).total_seconds()


async def until(what: str, find: Callable[[], Awaitable[T | None]], patience: float = PATIENCE) -> T:
    """Ask again and again until there is an answer; fails, naming what was waited for."""
    end = asyncio.get_running_loop().time() + patience
    while (found := await find()) is None or found is False:
        assert asyncio.get_running_loop().time() < end, f"not within {patience:g} s: {what}"
        await asyncio.sleep(0.05)
    return found


@dataclass
class Told:
    """One event that a screen heard."""

    event: str
    data: dict[str, Any]
    id: str | None


class Screen:
    """A stream that is read as a browser does, compressed or not."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._compressed else None
        self._rest = b""

    @property
    def _compressed(self) -> bool:
        return self.response.headers.get("Content-Encoding") == "gzip"

    async def next(self) -> Told:
        """The next event.  Raises EOFError at the stream's end."""
        while b"\n\n" not in self._rest:
            async with asyncio.timeout(PATIENCE):
                raw = await self.response.content.readany()
            if not raw:
                raise EOFError
            self._rest += raw if self._inflate is None else self._inflate.decompress(raw)
        text, _, self._rest = self._rest.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in text.decode().split("\n"))
        return Told(fields["event"], orjson.loads(fields["data"]), fields.get("id"))

    async def board(self, is_so: Callable[[Board], Any] = lambda _: True) -> Board:
        """The next board of which that is so."""
        async with asyncio.timeout(PATIENCE):
            while True:
                told = await self.next()
                if told.event == "board":
                    board = Board.model_validate(told.data)
                    assert told.id == str(board.id)
                    if is_so(board):
                        return board

    async def ended(self) -> None:
        """Wait until nothing comes any more."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.next()
                except (EOFError, aiohttp.ClientError):
                    return


@dataclass
class Wall:
    """A service, and who feeds and asks it."""

    broker: Broker
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"
    offset: int = 0

    async def __aenter__(self) -> Self:
        self.client = aiohttp.ClientSession(auto_decompress=False)
        self._producer: AIOKafkaProducer | None = None
        self._running: Running | None = None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        if self._producer is not None:
            await self._producer.stop()
        if self._running is not None:
            await self._running.stop()

    @property
    def configuration(self) -> Configuration:
        """With topics of its own."""
        return Configuration.model_validate(
            {
                "kafka": {"brokers": self.broker.address, "partitions": PARTITIONS},
                "topics": {"queues": f"{self.name}.queues", "agents": f"{self.name}.agents"},
                "serve": {"host": self.host, "wallboard_port": 0},
                "wallboard": self.settings,
            }
        )

    @property
    def running(self) -> Running:
        """The service, once started."""
        assert self._running is not None, "it was not started"
        return self._running

    async def create(self, *roles: str) -> Self:
        """Create topics by role; both where none is named."""
        topics = self.configuration.topics
        async with administration(self.configuration.kafka) as admin:
            names = [getattr(topics, role) for role in roles or ("queues", "agents")]
            await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        return self

    async def delete(self) -> None:
        """Delete the snapshots' topic."""
        async with administration(self.configuration.kafka) as admin:
            await admin.delete_topics([self.configuration.topics.queues])

    async def start(self) -> Self:
        """Start the service."""
        self._running = await start(self.configuration)
        return self

    async def stop(self) -> None:
        """End it."""
        await self.running.stop()
        self._running = None

    # ----------------------------------------------------------------------------------------------------------- feeding

    async def send(self, key: bytes | None, value: bytes | None, *, role: str = "queues", partition: int = 0) -> None:
        """Send one record and wait until it is there."""
        if self._producer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self.broker.address)
            await self._producer.start()
        await self._producer.send_and_wait(
            getattr(self.configuration.topics, role), value, key=key, partition=partition
        )

    async def tell(self, record: QueueSnapshot | PartitionNews) -> None:
        """Publish a record as a worker does."""
        await self.send(record.key(), record.to_bytes(), partition=record.partition)

    async def news(self, **changed: Any) -> None:
        """Publish the news of all partitions."""
        for partition in range(PARTITIONS):
            record = news(partition, self.offset, _present(), partitions=PARTITIONS, **changed)
            await self.tell(record)

    async def snapshot(self, queue: str, **changed: Any) -> None:
        """Publish the snapshot of a queue, newer than all before."""
        self.offset += 1
        await self.tell(snapshot(queue, self.offset, _present(), **changed))

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """As a worker that lives: news of all partitions every half second."""

        async def go_on() -> None:
            while True:
                await self.news()
                await asyncio.sleep(0.5)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------ asking

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.running.port}"

    async def get(self, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
        """An answer, and its body."""
        async with self.client.get(self.base + path, headers={"Accept-Encoding": "identity", **headers}) as response:
            return response, await response.read()

    async def board(self, query: str = "", **headers: str) -> Board | None:
        """The board of now; None while there is none."""
        response, body = await self.get(f"/api/v1/queues{query}", **headers)
        return Board.model_validate_json(body) if response.status == 200 else None

    async def until_board(self, what: str, is_so: Callable[[Board], Any], query: str = "") -> Board:
        """Poll until that is so."""

        async def look() -> Board | None:
            board = await self.board(query)
            return board if board is not None and is_so(board) else None

        return await until(what, look)

    @asynccontextmanager
    async def screen(self, query: str = "", *, compressed: bool = True, **headers: str) -> AsyncIterator[Screen]:
        """A stream."""
        accept = {"Accept-Encoding": "gzip" if compressed else "identity"}
        timeout = aiohttp.ClientTimeout(total=None)
        address = f"{self.base}/api/v1/stream{query}"
        async with self.client.get(address, headers={**accept, **headers}, timeout=timeout) as response:
            assert response.status == 200, await response.text()
            yield Screen(response)


def queue_of(board: Board, queue: str) -> Any:
    """The row of a queue; None where there is none."""
    return next((row for row in board.queues if row.queue == queue), None)


def counted(wall: Wall, name: str, *labels: str) -> int:
    """A counter of the service."""
    return wall.running.service.figures.value(name, *labels)
