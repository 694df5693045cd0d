"""A stand-in for Genesys Cloud: login, queues, agents, conversations, observations, aggregates, notification channels.

It speaks of conversations by a clock that the test gives, in seconds of the made-up day.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import WSCloseCode, web

from sources.made_up_genesys import AGENTS, QUEUES, Conversation

CLIENT, SECRET = "client-1", "not to be told"


class GenesysByTheClock:
    """The stand-in."""

    def __init__(self, conversations: list[Conversation], clock: Callable[[], float]) -> None:
        self.conversations = {each.id: each for each in conversations}
        self.clock = clock
        self.queues: dict[str, str] = {each: f"Queue {each}" for each in QUEUES}
        self.counts: dict[str, dict[str, int]] = {}
        self.asked: Counter[str] = Counter()
        self.failures: list[tuple[str, int, dict[str, str]]] = []
        """What the next requests are answered whose path begins so."""
        self.truncated = False
        self.tokens = 0
        self.channels: dict[str, list[str]] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.told = 0
        self.address = ""

    # ------------------------------------------------------------------------------------------------------- requests

    @web.middleware
    async def _known(self, request: web.Request, handler: Any) -> web.StreamResponse:
        for place, (path, status, headers) in enumerate(self.failures):
            if request.path.startswith(path):
                del self.failures[place]
                return web.json_response({"message": "no"}, status=status, headers=headers)
        if request.path.startswith("/api/"):
            self.asked[f"{request.method} {request.path}"] += 1
            if request.headers.get("Authorization") != f"Bearer token-{self.tokens}":
                return web.json_response({"message": "who?"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        who = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
        if form["grant_type"] != "client_credentials" or who != f"{CLIENT}:{SECRET}":
            return web.json_response({"error": "invalid_client"}, status=401)
        self.tokens += 1
        return web.json_response({"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": 86_399})

    def _page(self, request: web.Request, found: list[Any]) -> web.Response:
        size = min(2, int(request.query["pageSize"]))
        number = int(request.query["pageNumber"])
        pages = -(-len(found) // size)
        some = found[(number - 1) * size : number * size]
        return web.json_response({"entities": some, "pageNumber": number, "pageCount": pages})

    async def _queues(self, request: web.Request) -> web.Response:
        return self._page(request, [{"id": each, "name": name} for each, name in self.queues.items()])

    async def _members(self, request: web.Request) -> web.Response:
        place = QUEUES.index(request.match_info["queue"])
        return self._page(request, [{"id": each, "joined": each != "u-7"} for each in AGENTS[place::2]])

    async def _users(self, request: web.Request) -> web.Response:
        assert request.query.getall("expand") == ["routingStatus", "presence"]
        began = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = {"presenceDefinition": {"id": "pd", "systemPresence": "On Queue"}, "modifiedDate": began}
        return web.json_response(
            {
                "entities": [
                    {"id": each, "routingStatus": {"status": "IDLE", "startTime": began}, "presence": shown}
                    for each in request.query.getall("id")
                ]
            }
        )

    async def _conversation(self, request: web.Request) -> web.Response:
        found = self.conversations.get(request.match_info["id"])
        if found is None or found.moments[0] > self.clock():
            return web.json_response({"code": "not.found"}, status=404)
        return web.json_response(found.at(self.clock()))

    async def _observations(self, request: web.Request) -> web.Response:
        told = await request.json()
        assert told["metrics"] == told["detailMetrics"] == ["oWaiting", "oAlerting"]
        waiting: dict[str, list[Any]] = {}
        for conversation in self.conversations.values():
            for queue, one in conversation.waiting(self.clock()):
                waiting.setdefault(queue, []).append(one)
        results = []
        for predicate in told["filter"]["predicates"]:
            found = waiting.get(predicate["value"], [])
            if found:  # Genesys leaves out queues without any
                data: dict[str, Any] = {"metric": "oWaiting", "stats": {"count": len(found)}, "observations": found}
                data |= {"truncated": True} if self.truncated else {}
                results.append({"group": {"queueId": predicate["value"], "mediaType": "voice"}, "data": [data]})
        return web.json_response({"results": results})

    async def _aggregates(self, request: web.Request) -> web.Response:
        told = await request.json()
        since, until = told["interval"].split("/")
        assert since < until
        results = [
            {
                "group": {"queueId": queue, "mediaType": "voice"},
                "data": [
                    {
                        "interval": told["interval"],
                        "metrics": [{"metric": name, "stats": {"count": count}} for name, count in counts.items()],
                    }
                ],
            }
            for queue, counts in self.counts.items()
        ]
        return web.json_response({"results": results})

    # ------------------------------------------------------------------------------------------------------- channels

    async def _create(self, request: web.Request) -> web.Response:
        name = f"channel-{len(self.channels)}"
        self.channels[name] = []
        return web.json_response({"id": name, "connectUri": f"{self.address.replace('http', 'ws')}/channels/{name}"})

    async def _subscribe(self, request: web.Request) -> web.Response:
        topics = [each["id"] for each in await request.json()]
        if len(topics) > 1000:
            return web.json_response({"code": "too.many"}, status=400)
        self.channels[request.match_info["channel"]] = topics
        return web.json_response({"entities": [{"id": each} for each in topics]})

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        name = request.match_info["channel"]
        self.sockets[name] = socket
        try:
            async for message in socket:
                if message.json().get("message") == "ping":
                    await socket.send_json({"topicName": "channel.metadata", "eventBody": {"message": "pong"}})
        finally:
            self.sockets.pop(name, None)
        return socket

    async def tell(self, record: dict[str, Any]) -> None:
        """Tell it on every channel that listens to it."""
        for name, socket in list(self.sockets.items()):
            if record["topicName"] in self.channels[name] or record["topicName"].startswith("v2.system"):
                try:
                    await socket.send_str(orjson.dumps(record).decode())
                    self.told += 1
                except ConnectionResetError:
                    pass

    async def play(self, records: list[tuple[float, dict[str, Any]]]) -> None:
        """Tell what happens, when it happens."""
        for second, record in records:
            await asyncio.sleep(max(0.0, second - self.clock()))
            await self.tell(record)

    async def drop(self) -> None:
        """End all connections without a word."""
        for socket in list(self.sockets.values()):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Where it listens."""
        application = web.Application(middlewares=[self._known])
        application.add_routes(
            [
                web.post("/oauth/token", self._token),
                web.get("/api/v2/routing/queues", self._queues),
                web.get("/api/v2/routing/queues/{queue}/members", self._members),
                web.get("/api/v2/users", self._users),
                web.get("/api/v2/conversations/{id}", self._conversation),
                web.post("/api/v2/analytics/queues/observations/query", self._observations),
                web.post("/api/v2/analytics/conversations/aggregates/query", self._aggregates),
                web.post("/api/v2/notifications/channels", self._create),
                web.put("/api/v2/notifications/channels/{channel}/subscriptions", self._subscribe),
                web.get("/channels/{channel}", self._connect),
            ]
        )
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self.address
        finally:
            await runner.cleanup()
