"""Genesys Cloud's notification service: channels of at most a thousand topics each, heard over WebSocket.

A channel lives for a day and may be ended earlier for maintenance: a new one is opened first, and both are heard for a while;
what comes twice changes nothing.  What happened while none was open is not told again, so after every such gap each
conversation that was open is asked for, and who waits, and what agents do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from queuewatch_schemas.source_settings import GenesysCloud
from queuewatch_streams.sources.genesys.rest import MOST_TOPICS, GenesysApi
from queuewatch_streams.sources.genesys.wire import OBSERVED, conversation_of, is_open, read
from queuewatch_streams.sources.live import ANSWER_SECONDS, now
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.station import Station
from queuewatch_streams.tasks import together

__all__ = ["NO_QUEUES", "Notifications"]

RENEW_SECONDS: Final = 20 * 3600.0
"""A channel lives for 24 hours."""
OVERLAP_SECONDS: Final = 5.0
NO_QUEUES: Final = "the client sees no queue to listen to; give its role the divisions of the queues"
MOST_CHANNELS: Final = 20
"""Channels of one client; the one that opens more loses its oldest."""
_MOST_OPEN: Final = 5000
"""Conversations that are asked for after a gap."""
_LARGEST: Final = 4 * 1024 * 1024
_STEP: Final = 1.0
_ASKED_AT_ONCE: Final = 4
_PING: Final = orjson.dumps({"message": "ping"}).decode()


class _Channel:
    """One channel that is connected."""

    def __init__(self, where: str, socket: ClientConnection, inbox: asyncio.Queue[Any]) -> None:
        self._where = where
        self._socket = socket
        self._inbox = inbox
        self.closing = asyncio.Event()
        """Genesys ends it soon."""
        self.heard = asyncio.get_running_loop().time()
        self.heard_at = now()
        """When something came last: nothing older than that is still to come."""
        self.hearing = asyncio.ensure_future(self._hear())

    async def _hear(self) -> None:
        try:
            async for text in self._socket:
                self.heard, self.heard_at = asyncio.get_running_loop().time(), now()
                record = read(text)
                if isinstance(record, dict) and record.get("topicName") == "v2.system.socket_closing":
                    self.closing.set()
                elif not (isinstance(record, dict) and record.get("topicName") == "channel.metadata"):
                    await self._inbox.put(record)
        except (ConnectionClosed, WebSocketException, OSError):
            pass
        if not self.closing.is_set():
            raise Lost(f"{self._where}: the notification channel was closed")

    async def ping(self) -> None:
        """Have it answer; it is heard of later.  Raises Lost."""
        try:
            await self._socket.send(_PING)
        except (ConnectionClosed, WebSocketException, OSError):
            raise Lost(f"{self._where}: the notification channel was closed") from None

    async def close(self) -> None:
        """Let go."""
        self.closing.set()
        self.hearing.cancel()
        await asyncio.gather(self.hearing, return_exceptions=True)
        with suppress(WebSocketException, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._socket.close()


class Notifications:
    """What is listened to, from one gap to the next.  It lives as long as its source."""

    def __init__(self, settings: GenesysCloud) -> None:
        self._settings = settings
        self._open: dict[str, None] = {}
        """Conversations that are not over, the one that was heard of longest ago first."""
        self._channels: set[_Channel] = set()
        """Those that are heard."""
        self._whole = asyncio.Event()
        """What was missed has been asked for."""

    async def follow(self, api: GenesysApi, station: Station[Any]) -> None:
        """Listen until a channel is lost.  Raises Lost."""
        settings = self._settings
        self._whole.clear()
        if not self._open and isinstance(station.position, list):
            self._open = dict.fromkeys(each for each in station.position if isinstance(each, str))
        queues = list(settings.queues or await api.queues())
        if not queues:
            raise Lost(f"{api.where}: {NO_QUEUES}")
        serving = await self._serving(api, queues) if settings.agents else {}
        topics = [f"v2.routing.queues.{queue}.conversations" for queue in queues]
        topics += [f"v2.users.{user}.activity" for user in serving]
        parts = [topics[number : number + MOST_TOPICS] for number in range(0, len(topics), MOST_TOPICS)]
        if len(parts) > MOST_CHANNELS:
            raise Lost(
                f"{api.where}: {len(queues)} queues and {len(serving)} agents are more than the {MOST_CHANNELS * MOST_TOPICS} "
                "topics that one client may listen to; name fewer `queues`, or set `agents = false`"
            )
        inbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=10_000)
        ready = asyncio.Semaphore(0)
        await together(
            *(self._keep(api, part, inbox, ready, station) for part in parts),
            self._look(api, station, queues, serving, ready, len(parts)),
            self._take(station, inbox),
        )

    async def _serving(self, api: GenesysApi, queues: Sequence[str]) -> dict[str, list[str]]:
        """The agents of queues, and those of them that each serves now."""
        serving: dict[str, list[str]] = {}
        for queue in queues:
            for user, joined in (await api.members(queue)).items():
                serving.setdefault(user, []).extend([queue] if joined else [])
        return serving

    async def _opened(self, api: GenesysApi, topics: Sequence[str], inbox: asyncio.Queue[Any]) -> _Channel:
        """A channel that hears topics.  Raises Lost."""
        address = await api.channel(topics)
        try:
            socket = await connect(
                address, open_timeout=ANSWER_SECONDS, close_timeout=1, ping_interval=None, max_size=_LARGEST
            )
        except (WebSocketException, OSError, TimeoutError, ValueError) as error:
            raise Lost(f"{api.where}: the notification channel cannot be opened: {type(error).__name__}") from None
        channel = _Channel(api.where, socket, inbox)
        self._channels.add(channel)
        return channel

    async def _keep(
        self,
        api: GenesysApi,
        topics: Sequence[str],
        inbox: asyncio.Queue[Any],
        ready: asyncio.Semaphore,
        station: Station[Any],
    ) -> None:
        """Have topics heard for ever.  Raises Lost."""
        clock = asyncio.get_running_loop().time
        every = self._settings.heartbeat_seconds
        channel, opened = await self._opened(api, topics, inbox), clock()
        ready.release()
        try:
            while True:
                await channel.ping()
                closing = asyncio.ensure_future(channel.closing.wait())
                await asyncio.wait([closing, channel.hearing], timeout=every, return_when=asyncio.FIRST_COMPLETED)
                closing.cancel()
                if channel.hearing.done():
                    channel.hearing.result()
                if clock() - channel.heard > every + ANSWER_SECONDS:
                    raise Lost(f"{api.where}: the notification channel is silent")
                if clock() - channel.heard < every:
                    station.looked()
                if channel.closing.is_set() or clock() - opened >= RENEW_SECONDS:
                    fresh = await self._opened(api, topics, inbox)
                    old, channel, opened = channel, fresh, clock()
                    self._channels.discard(old)
                    try:
                        await asyncio.sleep(OVERLAP_SECONDS)
                    finally:
                        await old.close()
        finally:
            self._channels.discard(channel)
            await channel.close()

    async def _take(self, station: Station[Any], inbox: asyncio.Queue[Any]) -> None:
        """Hand on what comes, and tell that time passes."""
        while True:
            records = []
            with suppress(TimeoutError):
                async with asyncio.timeout(_STEP):
                    records.append(await inbox.get())
            while not inbox.empty() and len(records) < 1000:
                records.append(inbox.get_nowait())
            at = min((channel.heard_at for channel in self._channels), default=0)
            if records:
                await self._told(station, records)
            if inbox.empty() and self._whole.is_set():
                await station.advance(at)

    async def _told(self, station: Station[Any], records: Sequence[Any]) -> None:
        for record in records:
            conversation = conversation_of(record)
            if conversation is not None:
                self._open.pop(conversation, None)
                if is_open(record):
                    self._open[conversation] = None
        while len(self._open) > _MOST_OPEN:
            del self._open[next(iter(self._open))]
        await station.take(records, list(self._open), lambda number: f"notification {number + 1} of {len(records)}")

    async def _look(
        self,
        api: GenesysApi,
        station: Station[Any],
        queues: Sequence[str],
        serving: dict[str, list[str]],
        ready: asyncio.Semaphore,
        channels: int,
    ) -> None:
        """Once all channels are heard ask for what was missed, and then every so often who waits."""
        for _ in range(channels):
            await ready.acquire()
        await self._ask_for(api, station, list(self._open))
        if serving:
            users = await api.users(list(serving))
            await station.take(
                [_activity(user, serving) for user in users], list(self._open), lambda _: "an agent's state"
            )
        while True:
            at = now()
            waiting = await api.waiting(queues)
            unknown = {
                one["conversationId"]
                for observations, _ in waiting.values()
                for one in observations
                if isinstance(one, dict) and isinstance(one.get("conversationId"), str)
            }
            await self._ask_for(api, station, sorted(unknown - self._open.keys()))
            lists = [
                {
                    "topicName": OBSERVED,
                    "eventBody": {"queueId": queue, "at": at // 1000, "observations": found, "truncated": cut},
                }
                for queue, (found, cut) in waiting.items()
            ]
            await station.take(lists, list(self._open), lambda _: "a list of who waits")
            station.looked()
            self._whole.set()
            await asyncio.sleep(self._settings.status_seconds)

    async def _ask_for(self, api: GenesysApi, station: Station[Any], conversations: Iterable[str]) -> None:
        few = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def one(conversation: str) -> None:
            async with few:
                found = await api.conversation(conversation)
            if found is None:
                self._open.pop(conversation, None)
            else:
                record = {"topicName": f"v2.conversations.{conversation}", "eventBody": found}
                await self._told(station, [record])

        asked = await asyncio.gather(*(one(each) for each in conversations), return_exceptions=True)
        for failed in asked:
            if failed is not None:
                raise failed


def _activity(user: Any, serving: dict[str, list[str]]) -> dict[str, Any]:
    """What an agent does, as a notification would tell it."""
    body = {key: user[key] for key in ("id", "routingStatus", "presence") if user.get(key) is not None}
    body["activeQueueIds"] = serving.get(str(user.get("id")), [])
    return {"topicName": f"v2.users.{user.get('id')}.activity", "eventBody": body}
