"""Genesys Cloud's platform API as far as it is needed: log in, look, count, and open notification channels.

Who we are is an OAuth client with client credentials; its secret goes to the login's address alone, and over TLS.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from queuewatch_schemas.source_settings import GenesysCloud
from queuewatch_streams.sources.listening import is_loopback
from queuewatch_streams.sources.live import ANSWER_SECONDS, read_secret
from queuewatch_streams.sources.shape import Lost

__all__ = ["MOST_TOPICS", "GenesysApi", "genesys_api"]

MOST_TOPICS: Final = 1000
"""Topics of one channel."""
_PAGE: Final = 100
_PREDICATES: Final = 50
"""Queues that one query asks for."""
_TRIES: Final = 3
_PASSING: Final = frozenset({429, 502, 503, 504})
"""Answers that another try may not have."""
_LONGEST_WAIT: Final = 60.0
_EARLIER: Final = 60.0
"""A token is renewed so many seconds before it ends."""


class GenesysApi:
    """The API, logged in when it is first asked.

    :param place: where in the configuration the secret's file is named, for people.
    """

    def __init__(self, session: ClientSession, settings: GenesysCloud, place: str) -> None:
        self._session = session
        self._client = settings.client_id or ""
        self._place, self._file = place, settings.secret_file
        self._api = (settings.api_url or f"https://api.{settings.domain}").rstrip("/")
        self._login = (settings.login_url or f"https://login.{settings.domain}").rstrip("/")
        self.where = f"Genesys Cloud at {urlsplit(self._api).netloc}"
        self._token = ""
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def _authorization(self, refused: str = "") -> str:
        """The header that says who we are; another one than that which was refused."""
        async with self._turn:
            clock = asyncio.get_running_loop().time
            if not self._token or clock() >= self._until or self._token == refused:
                self._token, lasts = await self._log_in()
                self._until = clock() + max(1.0, lasts - _EARLIER)
            return self._token

    async def _log_in(self) -> tuple[str, float]:
        login = urlsplit(self._login)
        if login.scheme != "https" and not is_loopback(login.hostname or ""):
            raise Lost(f"{self._login}: a secret is sent over TLS only; write https://")
        secret = await asyncio.to_thread(read_secret, self._place, self._file)
        where = f"login at {login.netloc}"
        try:
            async with self._session.post(
                f"{self._login}/oauth/token",
                data={"grant_type": "client_credentials"},
                headers={"Authorization": f"Basic {b64encode(f'{self._client}:{secret}'.encode()).decode()}"},
            ) as answer:
                if answer.status in (400, 401, 403):
                    raise Lost(f"{where}: the client id and its secret are not accepted ({answer.status})")
                if answer.status != 200:
                    raise Lost(f"{where}: answers {answer.status}")
                told = await answer.json(content_type=None)
        except (ClientError, OSError, TimeoutError, ValueError) as error:
            raise Lost(f"{where}: {_words(error)}") from None
        token, lasts = (told.get("access_token"), told.get("expires_in", 3600)) if isinstance(told, dict) else (None, 0)
        if not isinstance(token, str) or not isinstance(lasts, int | float):
            raise Lost(f"{where}: it gives no token")
        return f"Bearer {token}", float(lasts)

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer to a request; None where what it asks for is not there.  Raises Lost."""
        header = await self._authorization()
        where = f"{self.where}: {method} {path.split('?')[0]}"
        renewed = False
        for number in range(_TRIES):
            try:
                async with self._session.request(
                    method,
                    f"{self._api}{path}",
                    json=body,
                    params=query or None,
                    headers={"Authorization": header},
                ) as answer:
                    if answer.status == 404:
                        return None
                    if answer.status < 300:
                        return await answer.json(content_type=None)
                    status, wait = answer.status, _seconds(answer.headers)
            except (ClientError, OSError, TimeoutError, ValueError) as error:
                raise Lost(f"{where}: {_words(error)}") from None
            if status == 401 and not renewed:
                renewed = True
                header = await self._authorization(refused=header)
            elif status in _PASSING and number < _TRIES - 1:
                await asyncio.sleep(min(_LONGEST_WAIT, wait))
            elif status == 403:
                raise Lost(f"{where}: the client's role lacks a permission (403); see the page of this source")
            else:
                break
        raise Lost(f"{where}: answers {status}")

    async def _pages(self, path: str, **query: Any) -> AsyncIterator[Mapping[str, Any]]:
        number, pages = 1, 1
        while number <= pages:
            told = _object(await self.ask("GET", path, pageSize=str(_PAGE), pageNumber=str(number), **query))
            for each in told.get("entities") or ():
                if isinstance(each, dict):
                    yield each
            pages = told.get("pageCount") or 1
            number += 1

    async def queues(self) -> dict[str, str]:
        """The queues that the client may see, by id, with their names.  Raises Lost."""
        return {str(each["id"]): str(each.get("name", "")) async for each in self._pages("/api/v2/routing/queues")}

    async def members(self, queue: str) -> dict[str, bool]:
        """A queue's agents, by id, and whether they serve it now.  Raises Lost."""
        path = f"/api/v2/routing/queues/{quote(queue, safe='')}/members"
        return {str(each["id"]): bool(each.get("joined", True)) async for each in self._pages(path)}

    async def users(self, users: Sequence[str]) -> list[Mapping[str, Any]]:
        """What agents do: their routing status and presence.  Raises Lost."""
        found: list[Mapping[str, Any]] = []
        for number in range(0, len(users), _PAGE):
            some = users[number : number + _PAGE]
            told = _object(
                await self.ask(
                    "GET", "/api/v2/users", id=list(some), expand=["routingStatus", "presence"], pageSize=str(_PAGE)
                )
            )
            found += [each for each in told.get("entities") or () if isinstance(each, dict)]
        return found

    async def conversation(self, conversation: str) -> Any:
        """All that is known of a conversation; None where it is none any more.  Raises Lost."""
        return await self.ask("GET", f"/api/v2/conversations/{quote(conversation, safe='')}")

    async def waiting(self, queues: Sequence[str]) -> dict[str, tuple[list[Any], bool]]:
        """Who waits in queues or rings at agents: each queue's observations, and whether some are left out.  Raises Lost."""
        metrics = ["oWaiting", "oAlerting"]
        found: dict[str, tuple[list[Any], bool]] = {each: ([], False) for each in queues}
        for number in range(0, len(queues), _PREDICATES):
            asked = {
                "filter": _any_of(queues[number : number + _PREDICATES]),
                "metrics": metrics,
                "detailMetrics": metrics,
            }
            told = _object(await self.ask("POST", "/api/v2/analytics/queues/observations/query", asked))
            for queue, data in _results(told):
                if queue in found:
                    seen, cut = found[queue]
                    listed = data.get("observations") or []
                    count = (data.get("stats") or {}).get("count") or 0
                    found[queue] = (seen + listed, cut or bool(data.get("truncated")) or len(listed) < count)
        return found

    async def aggregates(self, since: datetime, until: datetime) -> dict[str, dict[str, int]]:
        """How many were offered, answered, abandoned and flowed out, by queue.  Raises Lost."""
        asked = {
            "interval": f"{_iso(since)}/{_iso(until)}",
            "groupBy": ["queueId"],
            "metrics": ["nOffered", "tAnswered", "tAbandon", "tFlowOut"],
        }
        told = _object(await self.ask("POST", "/api/v2/analytics/conversations/aggregates/query", asked))
        names = {"nOffered": "offered", "tAnswered": "answered", "tAbandon": "abandoned", "tFlowOut": "diverted"}
        counted: dict[str, dict[str, int]] = {}
        for queue, data in _results(told):
            counts = counted.setdefault(queue, {})
            for metric in data.get("metrics") or ():
                name = names.get(str(metric.get("metric")))
                if name is not None:
                    counts[name] = counts.get(name, 0) + int((metric.get("stats") or {}).get("count") or 0)
        return counted

    async def channel(self, topics: Iterable[str]) -> str:
        """A new notification channel that hears these topics: the address to connect to.  Raises Lost."""
        made = _object(await self.ask("POST", "/api/v2/notifications/channels"))
        channel, address = made.get("id"), made.get("connectUri")
        if not isinstance(channel, str) or not isinstance(address, str):
            raise Lost(f"{self.where}: it opens no notification channel")
        path = f"/api/v2/notifications/channels/{quote(channel, safe='')}/subscriptions"
        if await self.ask("PUT", path, [{"id": topic} for topic in topics]) is None:
            raise Lost(f"{self.where}: the notification channel is gone already")
        return address


@asynccontextmanager
async def genesys_api(settings: GenesysCloud, place: str) -> AsyncIterator[GenesysApi]:
    """The API, for as long as it is needed.  Raises Lost where the settings do not say how to reach it."""
    if settings.client_id is None or (
        settings.domain is None and (settings.api_url is None or settings.login_url is None)
    ):
        raise Lost(f"{place}: domain and client_id are not set, and without them Genesys Cloud's API cannot be asked")
    async with ClientSession(timeout=ClientTimeout(total=2 * ANSWER_SECONDS, sock_connect=ANSWER_SECONDS)) as session:
        yield GenesysApi(session, settings, f"{place}.secret_file")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {2 * ANSWER_SECONDS:.0f} s"
    return str(error) or type(error).__name__


def _seconds(headers: Mapping[str, str]) -> float:
    told = headers.get("Retry-After", "")
    return float(told) if told.isdecimal() and len(told) < 6 else 3.0


def _object(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}


def _any_of(queues: Sequence[str]) -> dict[str, Any]:
    one = {"type": "dimension", "dimension": "queueId", "operator": "matches"}
    return {"type": "or", "predicates": [one | {"value": queue} for queue in queues]}


def _results(told: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """By queue what was found of each of its groups."""
    for result in told.get("results") or ():
        queue = (result.get("group") or {}).get("queueId")
        for data in result.get("data") or ():
            if isinstance(queue, str) and isinstance(data, dict):
                yield queue, data


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
