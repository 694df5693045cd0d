"""Several hundred screens in one process: each reads a stream of the wallboard's, and what comes is checked and counted.

    python -m bench.screens ADDRESS STREAMS SEEN.jsonl QUEUE…      # until its standard input ends

Every message must be a whole board with these queues, and ids must ascend in each stream.  A message that many streams are sent
is inflated and read once, as the client would else need more processors than what is measured; its bytes are read by each.
SEEN.jsonl tells, for the streams as they come, when (seconds since the epoch) how many callers were shown to wait in queues
whose name begins with `probe-`.  Prints one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple, TextIO

import aiohttp
import orjson

_GZIP_HEAD: Final = 10
_REMEMBERED: Final = 64
PROBE: Final = "probe-"


class Told(NamedTuple):
    """What a piece of a stream holds: the ids of its boards, how many are not whole, and who waits in probed queues."""

    ids: tuple[int, ...]
    broken: int
    waiting: dict[str, int]
    inflated: int


class Reader:
    """Reads pieces of streams, each distinct one once."""

    def __init__(self, queues: frozenset[str]) -> None:
        self._queues = queues
        self._known: OrderedDict[bytes, Told] = OrderedDict()

    def read(self, piece: bytes) -> Told:
        """A piece that one write of the service made.  Fails where it cannot be read by itself."""
        found = self._known.get(piece)
        if found is None:
            found = self._known[piece] = self._read(piece)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _read(self, piece: bytes) -> Told:
        text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(piece)
        ids, broken, waiting = [], 0, {}
        for event in text.decode().replace("\r\n", "\n").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line and line[0] != ":")
            if fields.get("event") == "board":
                board = orjson.loads(fields["data"])
                rows = {row["queue"]: row for row in board["queues"]}
                broken += board["id"] != int(fields["id"]) or rows.keys() != self._queues
                ids.append(board["id"])
                waiting = {name: row["waiting"] for name, row in rows.items() if name.startswith(PROBE)}
        return Told(tuple(ids), broken, waiting, len(text))


class Stream:
    """What one screen was sent."""

    def __init__(self) -> None:
        self.messages = self.broken = self.size = self.inflated = 0
        self.last = -1
        self.disordered = 0
        self.longest_silence = 0.0
        self.heard = 0.0

    def take(self, told: Told, size: int, now: float) -> None:
        """A piece of so many bytes came."""
        self.size += size
        self.inflated += told.inflated
        self.broken += told.broken
        for each in told.ids:
            self.messages += 1
            self.disordered += each <= self.last
            self.last = each
        if self.heard:
            self.longest_silence = max(self.longest_silence, now - self.heard)
        self.heard = now


async def watch(
    client: aiohttp.ClientSession, address: str, number: int, stream: Stream, reader: Reader, seen: TextIO | None
) -> None:
    """Read one stream until cancelled.  Fails where it ends by itself."""
    async with client.get(address + "/api/v1/stream") as answer:
        answer.raise_for_status()
        assert answer.headers.get("Content-Encoding") == "gzip", "the stream is not compressed"
        piece, head = b"", _GZIP_HEAD
        while True:
            data, complete = await answer.content.readchunk()
            if not data and not complete:
                raise AssertionError("a stream ended")
            piece += data
            if head:
                if len(piece) < head:
                    continue
                piece, head = piece[head:], 0
            if complete and piece:
                now = time.time()
                told = reader.read(piece)
                stream.take(told, len(piece), now)
                piece = b""
                if told.waiting and seen is not None:
                    seen.write(json.dumps({"at": now, "stream": number, "waiting": told.waiting}) + "\n")


async def screens(address: str, count: int, path: Path, queues: frozenset[str]) -> dict[str, float]:
    """Watch with so many streams until told to end; rates are counted from when all are open."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    reader, streams = Reader(queues), [Stream() for _ in range(count)]
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60)
    headers = {"Accept-Encoding": "gzip", "Accept": "text/event-stream"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, headers=headers, read_bufsize=2**20
    ) as client:
        with path.open("w", buffering=1) as seen:
            watching = []
            for number, stream in enumerate(streams):
                # Every tenth is written down: they differ by when their turn comes.
                file = None if number % 10 else seen
                watching.append(asyncio.create_task(watch(client, address, number, stream, reader, file)))
                await asyncio.sleep(0.01)
            while not all(stream.messages for stream in streams):
                await asyncio.sleep(0.1)
                _none_ended(watching)
            print("open", flush=True)
            before = [(stream.messages, stream.size, stream.inflated) for stream in streams]
            for stream in streams:
                stream.longest_silence = 0.0
            began, worked = time.monotonic(), time.process_time()
            while not ended.done():
                await asyncio.wait([ended], timeout=1.0)
                _none_ended(watching)
            took, cpu = time.monotonic() - began, time.process_time() - worked
            rates = [(stream.messages - was[0]) / took for stream, was in zip(streams, before, strict=True)]
            told = {
                "streams": count,
                "messages": sum(stream.messages for stream in streams),
                "broken": sum(stream.broken for stream in streams),
                "disordered": sum(stream.disordered for stream in streams),
                "rate_median": statistics.median(rates),
                "rate_least": min(rates),
                "longest_silence": max(stream.longest_silence for stream in streams),
                "bytes_per_second": sum(s.size - was[1] for s, was in zip(streams, before, strict=True)) / took,
                "inflated_per_second": sum(s.inflated - was[2] for s, was in zip(streams, before, strict=True)) / took,
                "client_cpu_share": cpu / took,
            }
            for each in watching:
                each.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            return told


def _none_ended(watching: list[asyncio.Task[None]]) -> None:
    for each in watching:
        if each.done():
            each.result()


if __name__ == "__main__":
    print(
        json.dumps(asyncio.run(screens(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), frozenset(sys.argv[4:])))),
        flush=True,
    )
