"""Listens to Twilio's TaskRouter: its webhook and Event Streams, and its list of events for what those missed.

A webhook that found nobody is not told again as a rule, so on start and every so often the list of events is read, from a
little before the time up to which it was read.  That time is the position.  Only the list can say that nothing older comes;
while it cannot be read, what waits for that waits too, but not until workers would refuse it as late.

A webhook is answered once Kafka has what it says, though the memory of it is saved later: after a crash the list tells of it
again, from the position on that was saved with the memory before.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import TwilioTaskRouter
from queuewatch_streams.sources.listening import Away, Door, body_of, problem, retry_later
from queuewatch_streams.sources.live import ANSWER_SECONDS, now, read_secret
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Reader
from queuewatch_streams.sources.state import StateTrouble
from queuewatch_streams.sources.station import Station
from queuewatch_streams.sources.twilio.translator import TaskRouter, records_of
from queuewatch_streams.tasks import together

__all__ = ["KIND", "TwilioReader"]

log = logging.getLogger(__name__)

PAGE: Final = 1000
"""Events that the list tells at once, at most; it has no further pages, so longer times are asked for in parts."""
OVERLAP: Final = 120
"""Seconds that are read again: an event may be listed so late."""
PATIENCE: Final = 600
"""Seconds for which what is not sure waits for a list that cannot be read."""
_CLOCKS: Final = OVERLAP / 2
"""Seconds by which clocks may differ."""
KEPT_DAYS: Final = 30
"""So long Twilio keeps events."""
_WINDOW: Final = 900
"""Seconds that are asked for at once; after them the position is saved."""
_EVENTS_AT_ONCE: Final = 5000


class TwilioReader(Reader[Any]):
    """The reader of webhooks and of the list of events."""

    def __init__(self, name: str, settings: TwilioTaskRouter, configuration: Configuration) -> None:
        self._name = name
        self._settings = settings
        self._place = f"sources.{name}"
        self.door: Door[Any] = Door(settings, self._place)
        self._validator: RequestValidator | None = None
        self._station: Station[Any] | None = None
        self._began = int(time.time())
        self._ahead = 0
        """Microseconds by which our clock was ahead of Twilio's when it answered last."""
        self._told = ""

    # --------------------------------------------------------------------------------------------------- as a source

    async def open(self) -> None:
        """Listen; who calls before anything can be taken is told to come again.  Raises PortTaken."""
        await self.door.open([web.post("/{path:.*}", self._post)])

    async def run(self, station: Station[Any]) -> None:
        """Take webhooks, and read the list for what is missing.  Raises Lost where the auth token cannot be read."""
        self._station = station
        self._validator = RequestValidator(await self._token())
        await together(self.door.pass_on(station, self._take), self._reconcile(station))

    async def close(self) -> None:
        """Listen no more."""
        await self.door.close()

    async def _take(self, records: Sequence[Any]) -> None:
        station = self._station
        assert station is not None, "running"
        # The position is the list's: it may move on while this waits for its turn.
        await station.take(records, lambda before: before, lambda number: f"event {number + 1} of a webhook")
        station.looked()

    async def _reconcile(self, station: Station[Any]) -> None:
        read_at = time.monotonic()
        while True:
            try:
                await self._read_list(station)
            except Lost as why:  # webhooks go on meanwhile; the place stays where it is
                if str(why) != self._told:
                    self._told = str(why)
                    log.warning("%s: %s; what webhooks miss is not seen meanwhile", self._name, why)
                if time.monotonic() - read_at > PATIENCE:
                    await station.advance(now() - max(0, self._ahead) - PATIENCE * 1_000_000)
            else:
                read_at = time.monotonic()
                if self._told:
                    log.warning("%s: the list of events is read again", self._name)
                self._told = ""
                station.looked(2 * max(self._settings.reconcile_seconds, self._settings.heartbeat_seconds))
            await asyncio.sleep(self._settings.reconcile_seconds)

    async def _read_list(self, station: Station[Any]) -> None:
        """Read the list from the position on until now.  Raises Lost."""
        end = int(time.time())
        if station.position is not None:
            since = self._read_until(station.position) - OVERLAP
        elif station.begin == "now":
            since = self._began  # though the list could not be read until later
        elif station.begin == "business-day":
            since = station.start_at // 1_000_000
        else:
            since = 0
        since = max(since, end - KEPT_DAYS * 86_400)
        async with self._session() as session:
            while since <= end:
                until = min(end, since + _WINDOW)
                events = await self._listed(session, since, until)
                for first in range(0, max(1, len(events)), _EVENTS_AT_ONCE):
                    last = first + _EVENTS_AT_ONCE >= len(events)
                    await station.take(
                        events[first : first + _EVENTS_AT_ONCE],
                        {"read_until": until} if last else lambda before: before,
                        lambda number: f"event {number + 1} of the list",
                    )
                await station.advance((until - OVERLAP) * 1_000_000)
                since = until + 1
        station.behind(0)

    def _read_until(self, position: Any) -> int:
        """The second up to which the list was read.  Raises StateTrouble where what was saved is none."""
        until = position.get("read_until") if isinstance(position, dict) else None
        if not isinstance(until, int):
            saved = self._settings.state_folder / f"{self._name}.json"
            raise StateTrouble(f"{saved}: the position in it is damaged; delete it to start afresh")
        return until

    async def _listed(self, session: ClientSession, since: int, until: int) -> list[Any]:
        """All events of some seconds, both ends in it, oldest first.  Raises Lost."""
        told = await self._get(session, "/Events", StartDate=_text(since), EndDate=_text(until), PageSize=str(PAGE))
        events = told.get("events")
        if not isinstance(events, list):
            raise Lost(f"{self._settings.api_url}: its list of events is none")
        if len(events) >= PAGE:
            if since < until:
                middle = (since + until) // 2
                return [
                    *await self._listed(session, since, middle),
                    *await self._listed(session, middle + 1, until),
                ]
            if self._station is not None:
                self._station.trouble("lost", f"more than {PAGE} events in the second {_text(since)}")
        return sorted(events, key=_when)

    # ------------------------------------------------------------------------------------------------------ a request

    async def _post(self, request: web.Request) -> web.Response:
        if self._validator is None:
            return retry_later(503, "closed", "nothing can be taken at the moment")
        body = await body_of(request)
        if isinstance(body, web.Response):
            return body
        form = request.content_type == "application/x-www-form-urlencoded"
        if not form and request.content_type not in ("application/json", "application/cloudevents-batch+json"):
            return problem(415, "content_type", "send a form, or JSON")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return self._refused("unreadable", "it is not UTF-8", 400)
        if not self._signed(request, await request.post() if form else text):
            return self._refused("unreadable", "its signature is not that of the account, or not for public_url", 403)
        if form:
            records: list[Any] = [dict(await request.post())]
        else:
            try:
                found = orjson.loads(body)
            except ValueError:
                return self._refused("unreadable", "it is not JSON", 400)
            records = found if isinstance(found, list) else [found]
        try:
            if records:
                await self.door.hand_in(records, len(body))
        except Away:
            return retry_later(503, "kafka_away", "not acknowledged yet")
        return web.Response(status=204, content_type="application/json")

    def _signed(self, request: web.Request, told: Mapping[str, Any] | str) -> bool:
        """Whether Twilio signed it for this address.  Of JSON the query tells the hash; without that nothing is signed."""
        signature = request.headers.get("X-Twilio-Signature", "")
        if self._validator is None or not signature.isascii():
            return False
        if isinstance(told, str) and "bodySHA256" not in request.query:
            return False
        query = request.rel_url.raw_query_string
        url = self._settings.public_url + (f"?{query}" if query else "")
        return bool(self._validator.validate(url, told, signature))

    def _refused(self, reason: str, detail: str, status: int) -> web.Response:
        if self._station is not None:
            self._station.trouble(reason, f"a webhook was refused with {status}: {detail}")
        return problem(status, "refused", detail)

    # ---------------------------------------------------------------------------------------------------- the REST part

    async def _token(self) -> str:
        return await asyncio.to_thread(read_secret, f"{self._place}.auth_token_file", self._settings.auth_token_file)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ClientSession]:
        settings = self._settings
        if settings.api_key_sid is None:
            user, secret = settings.account_sid, await self._token()
        else:
            user = settings.api_key_sid
            secret = await asyncio.to_thread(
                read_secret, f"{self._place}.api_key_secret_file", settings.api_key_secret_file
            )
        headers = {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}
        async with ClientSession(headers=headers, timeout=ClientTimeout(total=4 * ANSWER_SECONDS)) as session:
            yield session

    async def _get(self, session: ClientSession, path: str, **query: str) -> dict[str, Any]:
        """What the REST interface tells of the workspace.  Raises Lost."""
        where = self._settings.api_url
        try:
            url = f"{where}/v1/Workspaces/{self._settings.workspace_sid}{path}"
            async with session.get(url, params=query, allow_redirects=False) as answer:
                self._compare_clocks(answer.headers.get("Date"))
                if answer.status != 200:
                    hint = {
                        401: ": is the secret right?",
                        403: ": may this key read it?",
                        404: ": is it that workspace?",
                    }
                    raise Lost(f"{where}: GET …{path} was answered with {answer.status}{hint.get(answer.status, '')}")
                found = orjson.loads(await answer.read())
        except (ClientError, TimeoutError, OSError) as error:
            raise Lost(f"{where}: {type(error).__name__}: {error}") from None
        except ValueError:
            raise Lost(f"{where}: GET …{path} was answered with what is not JSON") from None
        if not isinstance(found, dict):
            raise Lost(f"{where}: GET …{path} was answered with what is no object")
        return found

    def _compare_clocks(self, date: str | None) -> None:
        """The list is asked for by the clock.  Raises Lost where ours is not Twilio's."""
        try:
            off = time.time() - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        self._ahead = round(off * 1e6)
        if abs(off) > _CLOCKS:
            way = "ahead of" if off > 0 else "behind"
            about = round(abs(off), -1)
            raise Lost(
                f"{self._settings.api_url}: this machine's clock is about {about:.0f} s {way} Twilio's; set it right"
            )

    # ----------------------------------------------------------------------------------------------------- for people

    async def look(self) -> Look:
        """Log in, and see the workspace, its queues and newest events.  Raises Lost."""
        await self._token()
        async with self._session() as session:
            workspace = await self._get(session, "")
            queues = await self._queues(session)
            events = (await self._get(session, "/Events", Minutes="15", PageSize="50")).get("events")
        says = [
            f"{self._settings.api_url}: logged in, workspace {workspace.get('friendly_name', '?')}",
            f"listens on {self._settings.listen_host}:{self._settings.port} for {self._settings.public_url}",
        ]
        callback = workspace.get("event_callback_url")
        if callback and str(callback).partition("?")[0] != self._settings.public_url:
            says.append(f"the workspace calls {callback}, not public_url: signatures would not fit")
        elif not callback:
            says.append(
                "the workspace calls no webhook: set its event callback URL to public_url, or use Event Streams"
            )
        says += [f"queue {sid}: {name}" for sid, name in queues.items()]
        return Look(tuple(says), tuple(sorted(events, key=_when)) if isinstance(events, list) else ())

    async def _queues(self, session: ClientSession) -> dict[str, str]:
        """The names of the task queues by their Sids; the first thousand.  Raises Lost."""
        told = (await self._get(session, "/TaskQueues", PageSize=str(PAGE))).get("task_queues")
        return {
            str(each.get("sid")): str(each.get("friendly_name"))
            for each in (told if isinstance(told, list) else ())
            if isinstance(each, dict)
        }

    async def counters(self, since: datetime) -> Counters:
        """Twilio's cumulative statistics of each queue.  Raises Lost."""
        start = max(since, datetime.now(UTC) - timedelta(days=KEPT_DAYS))
        counts: dict[str, dict[str, int]] = {}
        async with self._session() as session:
            for sid in await self._queues(session):
                told = await self._get(
                    session, f"/TaskQueues/{sid}/CumulativeStatistics", StartDate=_text(int(start.timestamp()))
                )
                named = {"offered": "tasks_entered", "answered": "reservations_accepted", "abandoned": "tasks_canceled"}
                counts[sid] = {
                    ours: told[theirs] for ours, theirs in named.items() if isinstance(told.get(theirs), int)
                }
        return Counters(counts, _WHY_OTHERWISE, start if start > since else None)


_WHY_OTHERWISE: Final = (
    "Twilio's `tasks_canceled` are all canceled tasks: time-outs of the workflow and withdrawals too.",
    "`reservations_accepted` counts every worker who took a task, and so a handed over task twice; so does ours.",
    "Twilio's statistics lag behind by a minute or more.",
)


def _text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _when(event: Any) -> int:
    at = event.get("event_date_ms") if isinstance(event, dict) else None
    return at if isinstance(at, int) else 0


KIND = Kind(translator=TaskRouter, reader=TwilioReader, records=records_of)
