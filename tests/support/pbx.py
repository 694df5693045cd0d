"""Stand-ins that speak as Asterisk's manager interface and FreeSWITCH's event socket do, over real sockets.

Both play a session in parts: whenever the reader asks for the lists, they first send the events up to these lists, then
answer with them.  After the last part the last answers stand.  Or they play it by the clock, whoever listens.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import math
import re
import ssl
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

Fields = Mapping[str, str]


@dataclass
class Part:
    """Events, and what the lists say after them: rows of QueueStatus, or answers by api command."""

    events: Sequence[Mapping[str, Any]] = ()
    lists: Any = field(default_factory=list)


class _Server:
    """A server on a free port that counts how often it was asked."""

    def __init__(self, parts: Sequence[Part], secret: str) -> None:
        self.parts = list(parts)
        self.secret = secret
        self.port = 0
        self.played = 0
        """How many parts have been sent."""
        self.connections = 0
        self.refused = 0
        self.drop_after: int | None = None
        """Ends the connection when so many parts have been sent, in the middle of the next one's events; once."""
        self._amidst = False
        """Whether a part has been sent in half."""
        self._server: asyncio.Server | None = None
        self._turns: dict[asyncio.StreamWriter, asyncio.Lock] = {}
        """Of each connection; held while something whole is said over it."""

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()

    def drop(self) -> None:
        """End all connections."""
        for writer in list(self._turns):
            writer.close()

    @property
    def over(self) -> bool:
        """Whether everything has been sent."""
        return self.played >= len(self.parts)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._turns[writer] = asyncio.Lock()
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._gone(writer)
            del self._turns[writer]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _say(self, writer: asyncio.StreamWriter, *told: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _welcomed(self, writer: asyncio.StreamWriter) -> None:
        """Somebody has logged in, and is told from now on what happens."""

    def _gone(self, writer: asyncio.StreamWriter) -> None:
        """A connection is over."""

    def _next(self, writer: asyncio.StreamWriter, *, first: bool) -> tuple[Sequence[Mapping[str, Any]], Any, bool]:
        """The next part's events and lists, and whether the connection ends amidst them.

        :param first: nothing was asked over this connection before: then the lists are still those of the part before.
        """
        if self.over or (first and self.played and not self._amidst):
            return (), self.parts[self.played - 1].lists, False
        part = self.parts[self.played]
        self._amidst = self.drop_after == self.played
        if self.drop_after == self.played:
            self.drop_after = None
            half = len(part.events) // 2
            self.parts[self.played] = Part(part.events[half:], part.lists)
            return part.events[:half], part.lists, True
        self.played += 1
        return part.events, part.lists, False


async def _ragged(writer: asyncio.StreamWriter, data: bytes) -> None:
    """In pieces of odd lengths, so that characters and messages are cut in two."""
    for place in range(0, len(data), 4093):
        writer.write(data[place : place + 4093])
        await writer.drain()
        await asyncio.sleep(0)


class AmiServer(_Server):
    """Speaks as Asterisk's manager interface does."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Asterisk Call Manager/11.0.0\r\n")
        challenge, welcome, first = "840415273", False, True
        while True:
            action = _fields((await reader.readuntil(b"\r\n\r\n")).decode())
            async with self._turns[writer]:
                name, told = action["Action"], {"ActionID": action["ActionID"]}
                if name == "Challenge":
                    await self._say(writer, {"Response": "Success", **told, "Challenge": challenge})
                elif name == "Login":
                    right = hashlib.md5((challenge + self.secret).encode()).hexdigest()
                    welcome = action.get("Key") == right or action.get("Secret") == self.secret
                    if not welcome:
                        self.refused += 1
                        await self._say(writer, {"Response": "Error", **told, "Message": "Authentication failed"})
                        return
                    await self._say(
                        writer,
                        {"Response": "Success", **told, "Message": "Authentication accepted"},
                        {"Event": "FullyBooted", "Uptime": "86400", "Status": "Fully Booted"},
                    )
                    self._welcomed(writer)
                elif not welcome:
                    await self._say(writer, {"Response": "Error", **told, "Message": "Permission denied"})
                elif name == "Ping":
                    await self._say(writer, {"Response": "Success", **told, "Ping": "Pong"})
                elif name == "QueueStatus":
                    events, rows, drop = self._next(writer, first=first)
                    first = False
                    await self._say(writer, *events)
                    if drop:
                        return
                    await self._say(writer, {"Response": "Success", **told, "EventList": "start"})
                    await self._say(writer, *({**row, **told} for row in rows))
                    await self._say(writer, {"Event": "QueueStatusComplete", **told, "EventList": "Complete"})

    async def _say(self, writer: asyncio.StreamWriter, *told: Mapping[str, Any]) -> None:
        await _ragged(
            writer, "".join("".join(f"{k}: {v}\r\n" for k, v in each.items()) + "\r\n" for each in told).encode()
        )


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\r\n") if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


class EventSocketServer(_Server):
    """Speaks as FreeSWITCH's event socket does; `lists` of a part are answers by api command."""

    core = "core-1"
    each_list_is_new = False
    """Whether each list tells of the moment at which it is asked for, not of that of the first one of a round."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Content-Type: auth/request\n\n")
        answers: Mapping[str, str] = {}
        first = True
        while True:
            command = (await reader.readuntil(b"\n\n")).decode().strip()
            async with self._turns[writer]:
                word, _, rest = command.partition(" ")
                if word in ("auth", "userauth"):
                    if (rest.partition(":")[2] if word == "userauth" else rest) != self.secret:
                        self.refused += 1
                        writer.write(b"Content-Type: command/reply\nReply-Text: -ERR invalid\n\n")
                        writer.write(b"Content-Type: text/disconnect-notice\nContent-Length: 0\n\n")
                        return
                    writer.write(b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n")
                elif word == "event":
                    writer.write(b"Content-Type: command/reply\nReply-Text: +OK event listener enabled json\n\n")
                    self._welcomed(writer)
                elif rest == "global_getvar core_uuid":
                    await self._answer(writer, self.core)
                elif rest == "uptime s":
                    await self._answer(writer, "86400")
                elif rest.startswith("uuid_exists"):
                    await self._answer(writer, "true")
                else:
                    if rest == "callcenter_config agent list" or self.each_list_is_new:
                        events, answers, drop = self._next(writer, first=first)
                        first = False
                        await self._say(writer, *events)
                        if drop:
                            return
                    await self._answer(writer, answers.get(rest, self.parts[-1].lists.get(rest, "+OK\n")))

    async def _say(self, writer: asyncio.StreamWriter, *told: Mapping[str, Any]) -> None:
        for event in told:
            body = orjson.dumps(event)
            head = f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n"
            await _ragged(writer, head.encode() + body)

    async def _answer(self, writer: asyncio.StreamWriter, text: str) -> None:
        body = text.encode()
        await _ragged(writer, f"Content-Type: api/response\nContent-Length: {len(body)}\n\n".encode() + body)


# ---------------------------------------------------------------------------------------------------------- recordings


def recorded_ami(file: Path) -> list[Part]:
    """A recorded manager session in parts: what was received, cut where QueueStatus was answered."""
    parts: list[Part] = []
    events: list[Fields] = []
    rows: list[Fields] = []
    received = False
    block: list[str] = []
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        for line in [*lines, "\n"]:
            text = line.rstrip("\r\n")
            if text.startswith("@ "):
                received = text.split(" ")[2] == "<"
            elif text:
                block.append(text)
            elif block:
                fields = _fields("\r\n".join(block))
                block = []
                event = fields.get("Event", "")
                if not received or not event or event in ("FullyBooted", "QueueSummary", "QueueSummaryComplete"):
                    continue
                if event == "QueueStatusComplete":
                    parts.append(Part(events, rows))
                    events, rows = [], []
                elif "ActionID" in fields:
                    rows.append({key: value for key, value in fields.items() if key != "ActionID"})
                else:
                    events.append(fields)
    idle = [row for row in parts[-1].lists if row["Event"] == "QueueParams"]
    return [*parts, Part(events, [{**row, "Calls": "0"} for row in idle])]


def recorded_event_socket(folder: Path) -> list[Part]:
    """A recorded event socket in parts: events, cut where the lists were asked for."""
    with gzip.open(folder / "events.ndjson.gz") as lines:
        events = [(found["recv"], found["event"]) for found in map(orjson.loads, lines)]
    rounds: list[tuple[float, dict[str, str]]] = []
    with gzip.open(folder / "snapshots.ndjson.gz") as lines:
        for found in map(orjson.loads, lines):
            if found["cmd"].endswith("members sales") and "list" in found["cmd"]:
                rounds.append((found["t"], {}))
            rounds[-1][1][found["cmd"]] = found["out"]
    parts: list[Part] = []
    place = 0
    for when, answers in rounds:
        until = next((number for number in range(place, len(events)) if events[number][0] > when), len(events))
        parts.append(Part([event for _, event in events[place:until]], answers))
        place = until
    if place < len(events):
        parts.append(Part([event for _, event in events[place:]], rounds[-1][1]))
    return parts


# ------------------------------------------------------------------------------------------------------- by the clock


class Told:
    """One connection: since when and until when it was told what happens, and when lists; seconds of the session."""

    def __init__(self, since: float, place: int) -> None:
        self.since = since
        self.until = math.inf
        self.lists: list[float] = []
        self.place = place
        """Of the next event."""

    def vouches(self, second: float, snapshot: float) -> bool:
        """Whether a snapshot of that time shows that all was taken that was told here up to a second.

        It is that of the third list after the one before which all was told, or of a later one: what is held back for a
        moment has been decided by then.
        """
        after = [each for each in self.lists if each > second]
        return len(after) > 3 and after[3] <= snapshot <= self.until


class _ByTheClock(_Server):
    """Plays a session as time passes, to whoever is connected; what happens while nobody is, nobody is ever told.

    :param events: each with its second.
    :param lists: what the lists say at a second.
    :param origin: the moment, in seconds since the epoch, that the session's records take for their second 0.
    """

    def __init__(
        self,
        events: Sequence[tuple[float, Mapping[str, Any]]],
        lists: Callable[[float], Any],
        origin: int,
        secret: str,
    ) -> None:
        super().__init__([Part((), {})], secret)
        self.events = list(events)
        self.lists = lists
        self.begins = int(time.time() + 2 - self.events[0][0])
        """The moment of second 0, since the epoch."""
        self.told: list[Told] = []
        """Of all connections, oldest first."""
        self._moves = self.begins - origin
        self._moment = re.compile(rf"{str(origin)[:5]}\d{{5}}")
        self._by: dict[asyncio.StreamWriter, tuple[Told, asyncio.Task[None]]] = {}

    @property
    def now(self) -> float:
        return time.time() - self.begins

    @property
    def over(self) -> bool:
        """Whether everything has happened, and somebody is connected who has asked for lists so much later that he knows."""
        last = self.events[-1][0]
        return any(told.lists and told.lists[-1] > last + 4 for told, _ in self._by.values())

    def _welcomed(self, writer: asyncio.StreamWriter) -> None:
        now = self.now
        told = Told(now, bisect_right(self.events, now, key=lambda each: each[0]))
        self.told.append(told)
        self._by[writer] = told, asyncio.ensure_future(self._tell(writer, told))

    def _gone(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._by:
            told, task = self._by.pop(writer)
            told.until = self.now
            task.cancel()

    async def _tell(self, writer: asyncio.StreamWriter, told: Told) -> None:
        with suppress(OSError):
            while True:
                async with self._turns[writer]:
                    await self._say(writer, *self._due(told, self.now))
                await asyncio.sleep(0.01)

    def _due(self, told: Told, now: float) -> list[Mapping[str, Any]]:
        first, told.place = told.place, bisect_right(self.events, now, key=lambda each: each[0])
        return [self._moved(event) for _, event in self.events[first : told.place]]

    def _next(self, writer: asyncio.StreamWriter, *, first: bool) -> tuple[Sequence[Mapping[str, Any]], Any, bool]:
        now, told = self.now, self._by[writer][0]
        told.lists.append(now)
        return self._due(told, now), self._moved(self.lists(now)), False

    def name_of(self, call: str) -> str:
        """How a call of the session is called now."""
        return str(self._moved(call))

    def _moved(self, told: Any) -> Any:
        """With all its moments moved to when the session is played."""
        text = orjson.dumps(told).decode()
        return orjson.loads(self._moment.sub(lambda found: str(int(found[0]) + self._moves), text))


class AmiByTheClock(_ByTheClock, AmiServer):
    """Asterisk's manager interface; `lists` are rows of QueueStatus."""


class EventSocketByTheClock(_ByTheClock, EventSocketServer):
    """FreeSWITCH's event socket; `lists` are answers by api command."""

    each_list_is_new = True
