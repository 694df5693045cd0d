"""Listens to Asterisk's manager interface over TCP or TLS.

The reader is our own: panoramisk decodes every piece that comes from the socket on its own, so a queue's name is cut where a
character lies across two of them; and it delivers the answer to QueueStatus apart from the events, so that their order is
lost, by which alone the two can be told from each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from queuewatch_schemas.source_settings import AsteriskAmi
from queuewatch_streams.sources.asterisk.ami.messages import GREETING, Message, fields_of, messages_of
from queuewatch_streams.sources.asterisk.ami.translator import Ami
from queuewatch_streams.sources.live import ANSWER_SECONDS, Link, LiveReader, now
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost

__all__ = ["KIND", "AmiReader"]

EVENTS: Final = "agent,call,dialplan,system"
"""The classes of events that mean something here; Asterisk gives those of them that the account may read."""
_LONGEST: Final = 1 << 20
"""Bytes; no message is so long."""
_PIECE: Final = 1 << 16


class _Manager(Link[Message]):
    """A connection to the manager interface."""

    def __init__(self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(where, reader, writer)
        self._rest = b""
        self._number = 0

    async def greet(self) -> None:
        """Wait for the first line.  Raises Lost."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await self._reader.readline()
        except (TimeoutError, OSError, ValueError):
            line = b""
        if not line.startswith(b"Asterisk Call Manager"):
            raise Lost(f"{self._where}: is no manager interface of Asterisk (it does not greet as one)")
        self._came.append((now(), {GREETING: line.decode("utf-8", "replace").strip()}))

    async def hear(self, seconds: float) -> None:
        """Wait at most so long for something to come.  Raises Lost."""
        await self._hear(seconds)

    async def _hear(self, seconds: float) -> list[Message]:
        try:
            async with asyncio.timeout(seconds):
                piece = await self._reader.read(_PIECE)
        except TimeoutError:
            return []
        except OSError as error:
            raise Lost(f"{self._where}: {error.strerror or error}") from None
        if not piece:
            raise Lost(f"{self._where}: Asterisk closed the connection")
        at = now()
        *whole, self._rest = (self._rest + piece).split(b"\r\n\r\n")
        if len(self._rest) > _LONGEST:
            raise Lost(f"{self._where}: a message does not end")
        messages: list[Message] = [(at, fields_of(text.decode("utf-8", "replace").split("\r\n"))) for text in whole]
        self._came += messages
        return messages

    async def action(
        self, name: str, over: Callable[[Mapping[str, str]], bool] | None = None, **fields: str
    ) -> Mapping[str, str]:
        """Send an action and wait for its answer, or for the message after it that is `over`; the answer.

        Raises Lost where Asterisk does not answer, or refuses.
        """
        self._number += 1
        identity = f"queuewatch-{self._number}"
        lines = [f"Action: {name}", f"ActionID: {identity}", *(f"{key}: {value}" for key, value in fields.items())]
        answer: Mapping[str, str] | None = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
                await self._writer.drain()
                while True:
                    for _, message in await self._hear(ANSWER_SECONDS):
                        if message.get("ActionID") != identity:
                            continue
                        if "Response" in message:
                            answer = message
                            if message["Response"] not in ("Success", "Goodbye"):
                                told = message.get("Message", "no reason given")
                                raise Lost(f"{self._where}: Asterisk refused {name}: {told}")
                            if over is None:
                                return answer
                        elif over is not None and answer is not None and over(message):
                            return answer
        except TimeoutError:
            raise Lost(f"{self._where}: no answer to {name} within {ANSWER_SECONDS:.0f} s") from None
        except OSError as error:
            raise Lost(f"{self._where}: {error.strerror or error}") from None

    async def log_in(self, user: str, secret: str, *, plain: bool) -> None:
        """Log in; over an open connection the secret itself is not sent.  Raises Lost."""
        if plain:
            await self.action("Login", Username=user, Secret=secret, Events=EVENTS)
            return
        answer = await self.action("Challenge", AuthType="MD5")
        key = hashlib.md5((answer.get("Challenge", "") + secret).encode(), usedforsecurity=False).hexdigest()
        await self.action("Login", AuthType="MD5", Username=user, Key=key, Events=EVENTS)

    async def ping(self) -> None:
        """Have Asterisk answer.  Raises Lost."""
        await self.action("Ping")

    async def ask(self) -> None:
        """Have Asterisk tell all queues, members and callers.  Raises Lost."""
        await self.action("QueueStatus", lambda message: message.get("Event") == "QueueStatusComplete")


class AmiReader(LiveReader[Message, AsteriskAmi, _Manager]):
    """The reader of a manager interface."""

    def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Manager:
        return _Manager(self._where, reader, writer)

    def _encryption(self) -> tuple[ssl.SSLContext, str] | None:
        settings = self._settings
        if not settings.tls:
            return None
        try:
            return ssl.create_default_context(cafile=settings.ca_file), settings.tls_name or settings.host
        except OSError as error:
            raise Lost(f"{self._where}: {settings.ca_file} cannot be used: {error.strerror or error}") from None

    async def _log_in(self, link: _Manager, secret: str) -> None:
        await link.greet()
        await link.log_in(self._settings.username, secret, plain=self._settings.tls)

    async def look(self) -> Look:
        """Log in and look at the queues.  Raises Lost."""
        async with self._connected() as link:
            await link.ask()
            await link.hear(1)
            messages = link.taken()
        rows = [fields for _, fields in messages]
        queues = [row for row in rows if row.get("Event") == "QueueParams"]
        members = Counter(row.get("Queue") for row in rows if row.get("Event") == "QueueMember")
        says = [f"{self._where}: {messages[0][1][GREETING]}, logged in as {self._settings.username}"]
        for queue in queues:
            name = queue.get("Queue", "")
            says.append(f"queue {name}: {members[name]} members, {queue.get('Calls', '?')} callers waiting")
        if not queues:
            says.append("no queue is there")
        if not any(row.get("Event") == "FullyBooted" for row in rows):
            says.append("the account may not read the class system: a restart will look like a lost connection")
        return Look(tuple(says), tuple(messages))

    async def counters(self, since: datetime) -> Counters:
        """Asterisk's own counters, which run since it started.  Raises Lost."""
        async with self._connected() as link:
            await link.ask()
            messages = link.taken()
        queues: dict[str, dict[str, int]] = {}
        start: datetime | None = None
        for _, fields in messages:
            if fields.get("Event") == "QueueParams" and (name := fields.get("Queue")):
                done, left = fields.get("Completed", ""), fields.get("Abandoned", "")
                queues[name] = {
                    "answered": int(done) if done.isdecimal() else 0,
                    "abandoned": int(left) if left.isdecimal() else 0,
                }
            elif fields.get("Event") == "FullyBooted" and fields.get("Uptime", "").isdecimal():
                start = datetime.now(UTC) - timedelta(seconds=int(fields["Uptime"]))
        return Counters(queues, _WHY_OTHERWISE, start)


_WHY_OTHERWISE: Final = (
    "Asterisk counts since it started, or since `queue reset stats`, not since the hours asked for.",
    "Its `Abandoned` are all who left unanswered but by key: time-outs, emptied queues, withdrawn and redirected ones too.",
    "Its `Completed` are counted when the talk ends, ours when it begins: those who talk now are in ours only.",
    "It tells neither how many callers came nor how many were refused.",
)

KIND = Kind(translator=Ami, reader=AmiReader, records=messages_of)
