"""Listens to FreeSWITCH's event socket.

The client is our own: genesis, the library for it, needs an older rich than ours and a Python before 3.13.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from queuewatch_schemas.source_settings import Freeswitch
from queuewatch_streams.sources.freeswitch.records import (
    AGENTS,
    CONNECTED,
    GONE,
    MEMBERS,
    QUEUES,
    TIERS,
    Heard,
    heard_of,
    loaded,
    rows_of,
    waiting_sessions,
)
from queuewatch_streams.sources.freeswitch.translator import Callcenter
from queuewatch_streams.sources.live import ANSWER_SECONDS, Link, LiveReader, now
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost

__all__ = ["KIND", "FreeswitchReader"]

_EVENTS: Final = "event json CHANNEL_BRIDGE CHANNEL_HOLD CHANNEL_UNHOLD CUSTOM callcenter::info"
_CORE: Final = "global_getvar core_uuid"
_LONGEST: Final = 1 << 24
"""Bytes; nothing that FreeSWITCH says at once is so long."""
_LONG: Final = 60
"""Seconds; of members who are listed as waiting for longer, the channel is asked for: the module knows ghosts."""
_ASKED_AT_MOST: Final = 500
_AT_ONCE: Final = 1000


class _EventSocket(Link[Heard]):
    """A connection to the event socket."""

    def __init__(self, where: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(where, reader, writer)
        self._frame: asyncio.Task[tuple[dict[str, str], bytes]] | None = None
        self._core = ""

    async def _next(self) -> tuple[dict[str, str], bytes]:
        """The next frame: its headers and its body."""
        head = await self._reader.readuntil(b"\n\n")
        headers: dict[str, str] = {}
        for line in head.decode("utf-8", "replace").split("\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = unquote(value.strip())
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _LONGEST:
            raise Lost(f"{self._where}: what it says has no length that could be true")
        return headers, await self._reader.readexactly(int(length)) if int(length) else b""

    async def _wait(self, seconds: float) -> tuple[str, dict[str, str], bytes] | None:
        """The next frame that is no event, as (type, headers, body); events are kept.  None after so many seconds.

        The reading goes on in between, so that a frame is never cut in two.
        """
        if self._frame is None:
            self._frame = asyncio.ensure_future(self._next())
        done, _ = await asyncio.wait([self._frame], timeout=seconds)
        if not done:
            return None
        task, self._frame = self._frame, None
        try:
            headers, body = task.result()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            what = "FreeSWITCH closed the connection" if isinstance(error, asyncio.IncompleteReadError) else str(error)
            raise Lost(f"{self._where}: {what}") from None
        kind = headers.get("content-type", "")
        if kind == "text/disconnect-notice":
            raise Lost(f"{self._where}: FreeSWITCH ended the connection")
        if kind == "text/rude-rejection":
            raise Lost(
                f"{self._where}: FreeSWITCH does not let this host in; see apply-inbound-acl of mod_event_socket"
            )
        if kind == "text/event-json":
            self._came.append((now(), loaded(body)))
        return kind, headers, body

    async def hear(self, seconds: float) -> None:
        """Wait at most so long for something to come.  Raises Lost."""
        if await self._wait(seconds) is not None:
            while len(self._came) < _AT_ONCE and await self._wait(0) is not None:
                pass

    async def _answer(self, wanted: str) -> tuple[dict[str, str], str]:
        loop = asyncio.get_running_loop()
        until = loop.time() + ANSWER_SECONDS
        while (left := until - loop.time()) > 0:
            frame = await self._wait(left)
            if frame is not None and frame[0] == wanted:
                return frame[1], frame[2].decode("utf-8", "replace")
            if frame is not None and frame[0] == "command/reply":  # so a user is told who may not give a command
                reply = frame[1].get("reply-text", "")
                raise Lost(f"{self._where}: FreeSWITCH refused a command: {reply}; see esl-allowed-api of its user")
        raise Lost(f"{self._where}: no answer within {ANSWER_SECONDS:.0f} s")

    async def _send(self, text: str) -> None:
        try:
            self._writer.write(f"{text}\n\n".encode())
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise Lost(f"{self._where}: {error}") from None

    async def command(self, text: str, what: str) -> None:
        """Give a command that is answered by yes or no.  Raises Lost where it is no."""
        await self._send(text)
        headers, _ = await self._answer("command/reply")
        reply = headers.get("reply-text", "")
        if not reply.startswith("+OK"):
            raise Lost(f"{self._where}: FreeSWITCH refused {what}: {reply or 'no reason given'}")

    async def log_in(self, user: str | None, secret: str) -> None:
        """Log in and subscribe.  Raises Lost."""
        await self._answer("auth/request")
        await self.command(f"auth {secret}" if user is None else f"userauth {user}:{secret}", "the login")
        await self.ping()  # so the first record says whom the connection is to
        await self.command(_EVENTS, f"`{_EVENTS}`")

    async def api(self, command: str) -> str:
        """What an api command answers.  Raises Lost where FreeSWITCH does not know it."""
        await self._send(f"api {command}")
        _, answer = await self._answer("api/response")
        if answer.startswith("-ERR") and "not found" in answer.lower():
            raise Lost(f"{self._where}: FreeSWITCH refused `{command}`: {answer.strip()[:200]}")
        return answer

    async def _asked(self, command: str) -> str:
        answer = await self.api(command)
        self._came.append((now(), {"cmd": command, "out": answer}))
        return answer

    async def ping(self) -> None:
        """Have FreeSWITCH answer; and see whether it is still the same that was there before.  Raises Lost."""
        core = (await self.api(_CORE)).strip()
        if core != self._core:
            self._core = core
            self._came.append((now(), {"cmd": CONNECTED, "out": core}))

    async def ask(self) -> None:
        """Have FreeSWITCH tell all queues, agents, tiers and members.  Raises Lost."""
        await self.ping()
        for command in (AGENTS, TIERS):
            await self._asked(command)
        for row in rows_of(await self._asked(QUEUES), "moh_sound"):
            command = f"{MEMBERS}{row.get('name', '')}"
            answer = await self.api(command)
            for session in waiting_sessions(answer, now() // 1_000_000 - _LONG)[:_ASKED_AT_MOST]:
                await self._asked(f"{GONE}{session}")
            self._came.append((now(), {"cmd": command, "out": answer}))

    async def close(self) -> None:
        """Let go."""
        if self._frame is not None:
            self._frame.cancel()
            await asyncio.gather(self._frame, return_exceptions=True)
        await super().close()


class FreeswitchReader(LiveReader[Heard, Freeswitch, _EventSocket]):
    """The reader of an event socket."""

    def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _EventSocket:
        return _EventSocket(self._where, reader, writer)

    async def _log_in(self, link: _EventSocket, secret: str) -> None:
        await link.log_in(self._settings.username, secret)

    async def look(self) -> Look:
        """Log in and look at queues, agents and members.  Raises Lost."""
        async with self._connected() as link:
            await link.ask()
            await link.hear(1)
            records = link.taken()
        says = [f"{self._where}: logged in" + (f" as {self._settings.username}" if self._settings.username else "")]
        answers = {
            fields["cmd"]: fields["out"] for _, fields in records if isinstance(fields, dict) and "cmd" in fields
        }
        for row in rows_of(answers.get(QUEUES, ""), "moh_sound"):
            waiting = len(waiting_sessions(answers.get(f"{MEMBERS}{row.get('name', '')}", ""), 1 << 40))
            says.append(f"queue {row.get('name', '?')}: {waiting} callers waiting")
        says.append(f"{len(list(rows_of(answers.get(AGENTS, ''), 'contact')))} agents")
        return Look(tuple(says), tuple(records))

    async def counters(self, since: datetime) -> Counters:
        """The module's own counters, which run since it was loaded.  Raises Lost."""
        async with self._connected() as link:
            answer = await link.api(QUEUES)
            uptime = (await link.api("uptime s")).strip()
        queues: dict[str, dict[str, int]] = {}
        for row in rows_of(answer, "moh_sound"):
            counted: dict[str, Any] = {
                "answered": row.get("calls_answered", ""),
                "abandoned": row.get("calls_abandoned", ""),
            }
            queues[row.get("name", "")] = {what: int(text) for what, text in counted.items() if text.isdecimal()}
        start = datetime.now(UTC) - timedelta(seconds=int(uptime)) if uptime.isdecimal() else None
        return Counters(queues, _WHY_OTHERWISE, start)


_WHY_OTHERWISE: Final = (
    "FreeSWITCH counts since mod_callcenter was loaded, not since the hours asked for.",
    "Its `calls_abandoned` are all who left unanswered: time-outs, keys and transfers too.",
    "Of a call that an agent took at the time limit it counts both an answer and an abandon, or neither.",
    "It counts an answer when the talk ends; those who talk now are in ours only.",
    "It does not tell how many callers came.",
)

KIND = Kind(translator=Callcenter, reader=FreeswitchReader, records=heard_of)
