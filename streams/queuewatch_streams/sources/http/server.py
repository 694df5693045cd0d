"""Takes events over HTTP: `POST /v1/events`, one CloudEvent or a batch, whole or not at all.

202 says that the brokers have acknowledged every event; each other answer says that the sender has to send again (503, 429)
or to mend something first (other 4xx), which event is meant, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import Rejected
from queuewatch_schemas.source_settings import Http
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.http.translator import HEARTBEAT, Grant, Posted, Senders, TokensTrouble, batch_of, judge
from queuewatch_streams.sources.json_lines import records_of
from queuewatch_streams.sources.listening import Away, Door, Rate, body_of, is_loopback, problem, retry_later
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Out, Reader
from queuewatch_streams.sources.station import Station
from queuewatch_streams.tasks import together

__all__ = ["KIND", "HttpReader"]

_FAULTS: Final = 20
"""Faulty events of a batch that are told one by one."""
_LOOK_AGAIN: Final = 1.0
"""How often the file of tokens is looked at for changes."""


class HttpReader(Reader[Any]):
    """The reader of what is posted."""

    def __init__(self, name: str, settings: Http, configuration: Configuration) -> None:
        self._name = name
        self._settings = settings
        self.door: Door[Any] = Door(settings, f"sources.{name}")
        self._heartbeats = Posted(Composer(name, settings), settings)
        self._senders: Senders | None = None
        self._seen: tuple[int, int, int] | None = None
        self._rates: dict[str, Rate] = {}
        self._station: Station[Any] | None = None

    # --------------------------------------------------------------------------------------------------- as a source

    async def open(self) -> None:
        """Listen; who comes before anything can be taken is told to come again.  Raises PortTaken."""
        await self.door.open([web.post("/v1/events", self._post)])

    async def run(self, station: Station[Any]) -> None:
        """Take what is posted.  Raises Lost where the file of tokens cannot be used: then nobody is let in."""
        self._station = station
        await self._know_senders()
        await together(self.door.pass_on(station, self._take), self._watch_tokens())

    async def close(self) -> None:
        """Listen no more."""
        await self.door.close()

    async def _take(self, events: Sequence[Any]) -> None:
        station = self._station
        assert station is not None, "running"
        beats = [event for event in events if event["type"] == HEARTBEAT]
        if beats:
            out = Out()
            for beat in beats:
                self._heartbeats.translate(beat, out)
            await station.announce(out.messages)
        calls = [event for event in events if event["type"] != HEARTBEAT]
        await station.take(calls, None, lambda number: f"event {number + 1} of a batch")
        station.looked(self._settings.quiet_after_seconds)

    async def _watch_tokens(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            await self._know_senders()

    async def _know_senders(self) -> None:
        """Read the file of tokens where it has changed.  Raises Lost."""
        path = self._settings.tokens_file
        try:
            stat = await asyncio.to_thread(path.stat)
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._senders = await asyncio.to_thread(Senders.of, path)
                self._seen = seen
        except OSError as error:
            self._senders, self._seen = None, None
            raise Lost(f"sources.{self._name}.tokens_file: {path}: {error.strerror or error}") from None
        except TokensTrouble as why:
            self._senders, self._seen = None, None
            raise Lost(f"sources.{self._name}.tokens_file: {why}") from None

    # ------------------------------------------------------------------------------------------------------ a request

    async def _post(self, request: web.Request) -> web.Response:
        if self._senders is None:
            return retry_later(503, "closed", "nobody can be let in at the moment")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        grant = self._senders.of_token(token.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            return problem(
                401, "unauthorized", "send Authorization: Bearer with a token", {"WWW-Authenticate": "Bearer"}
            )
        body = await body_of(request)
        if isinstance(body, web.Response):
            return body
        try:
            events = batch_of(request.content_type, body)
        except LookupError as why:
            return problem(415, "content_type", str(why.args[0]))
        except ValueError as why:
            return self._refused(grant, 400, "unreadable_json", str(why))
        most = self._settings.most_events
        if len(events) > most:
            return self._refused(grant, 413, "too_many", f"a batch has at most {most} events, this one {len(events)}")
        rate = self._rates.setdefault(grant.name, Rate(self._settings.events_per_second, most))
        if (wait := rate.wait(max(1, len(events)))) > 0:
            return retry_later(429, "too_fast", f"at most {self._settings.events_per_second:g} events a second", wait)
        if (answer := self._faults(grant, events)) is not None:
            return answer
        try:
            if events:
                await self.door.hand_in(events, len(body))
        except Away:
            return retry_later(503, "kafka_away", "not acknowledged yet; send the same once more")
        return web.json_response({"accepted": len(events)}, status=202)

    def _faults(self, grant: Grant, events: Sequence[Any]) -> web.Response | None:
        """What to answer where an event may not be taken; None: all may."""
        faults: list[dict[str, Any]] = []
        forbidden = False
        for number, event in enumerate(events):
            try:
                judge(event)
            except Rejected as why:
                faults.append({"event": number, "reason": why.reason, "detail": why.detail})
            else:
                why_not = grant.forbids(event)
                if why_not is None:
                    continue
                forbidden = True
                faults.append({"event": number, "reason": "forbidden", "detail": why_not})
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                faults[-1]["id"] = event["id"]
            if len(faults) >= _FAULTS:
                break
        if not faults:
            return None
        first = faults[0]
        status = 403 if forbidden and all(each["reason"] == "forbidden" for each in faults) else 422
        return self._refused(
            grant, status, first["reason"], f"event {first['event']}: {first['detail']}; none was taken", faults=faults
        )

    def _refused(self, grant: Grant, status: int, reason: str, detail: str, **more: Any) -> web.Response:
        """Tell the sender what is wrong, and the log that something is, without what was sent."""
        if self._station is not None:
            event = f", event {more['faults'][0]['event']}" if "faults" in more else ""
            self._station.trouble(
                _COUNTED.get(reason, "unreadable"), f"sender {grant.name}{event}: refused with {status}, {reason}"
            )
        return problem(status, reason, detail, **more)

    # ----------------------------------------------------------------------------------------------------- for people

    async def look(self) -> Look:
        """Who may send what, and where to.  Raises Lost."""
        await self._know_senders()
        assert self._senders is not None
        settings = self._settings
        says = [f"listens on {settings.listen_host}:{settings.port}, POST /v1/events"]
        if not is_loopback(settings.listen_host):
            says.append("others can reach it and it speaks plain HTTP: put a proxy with TLS before it")
        for grant in self._senders.grants:
            says.append(f"sender {grant.name}: {', '.join(sorted(grant.sources))}; queues: {grant.queues.told}")
        return Look(tuple(says))

    async def counters(self, since: datetime) -> Counters:
        """Senders keep no counts that could be asked for.  Raises Lost."""
        raise Lost(f"{self._name}: senders keep no counts that could be asked for; have them send queue.snapshot")


_COUNTED: Final = {
    "unknown_type": "unknown_event",
    "missing_field": "missing_field",
    "wrong_field": "wrong_field",
    "bad_queue_name": "bad_queue_name",
    "too_large": "too_long",
    "too_many": "too_long",
}
"""What is refused, in the catalogue's words."""

KIND = Kind(
    translator=lambda composer, memory, settings: Posted(composer, settings), reader=HttpReader, records=records_of
)
