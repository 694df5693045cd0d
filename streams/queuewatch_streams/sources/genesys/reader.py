"""Listens to Genesys Cloud: a queue of SQS that Amazon EventBridge fills, or the notification service over WebSocket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import GenesysCloud
from queuewatch_streams.sources.aws.clients import who_we_are
from queuewatch_streams.sources.aws.sqs import SqsQueue, drain
from queuewatch_streams.sources.genesys.notifications import NO_QUEUES, Notifications
from queuewatch_streams.sources.genesys.rest import genesys_api
from queuewatch_streams.sources.genesys.translator import Genesys
from queuewatch_streams.sources.genesys.wire import read, records_of
from queuewatch_streams.sources.live import read_secret
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Reader
from queuewatch_streams.sources.station import Station

__all__ = ["KIND", "GenesysReader"]


class GenesysReader(Reader[Any]):
    """The reader of either transport."""

    def __init__(self, name: str, settings: GenesysCloud, configuration: Configuration) -> None:
        self._settings = settings
        self._place = f"sources.{name}"
        self._notifications = Notifications(settings)
        if settings.transport == "notifications" and settings.secret_file is None:
            read_secret(f"{self._place}.secret_file", None)  # a secret that is nowhere is known before anything starts

    def _queue(self) -> SqsQueue:
        settings = self._settings
        assert settings.queue_url is not None and settings.region is not None, "the settings are complete"
        return SqsQueue(settings.queue_url, settings.region, settings.endpoint_url, settings.visibility_seconds)

    async def run(self, station: Station[Any]) -> None:
        """Listen until the system is gone.  Raises Lost."""
        if self._settings.transport == "sqs":
            async with self._queue() as queue:
                await drain(queue, station, lambda message: read(message.body))
        async with genesys_api(self._settings, self._place) as api:
            await self._notifications.follow(api, station)

    async def look(self) -> Look:
        """Log in, and see what is there.  Raises Lost."""
        settings, says, records = self._settings, [], []
        if settings.transport == "sqs":
            assert settings.region is not None, "the settings are complete"
            says.append(f"at Amazon as {await who_we_are(settings.region, settings.endpoint_url)}")
            async with self._queue() as queue:
                counts = await queue.attributes()
                says.append(
                    f"{queue.where}: about {counts['waiting']} messages wait, {counts['in_flight']} are being read"
                )
                records = [read(each.body) for each in await queue.receive(1, only_look=True)]
        if settings.client_id is not None:
            async with genesys_api(settings, self._place) as api:
                seen = await api.queues()
                says.append(f"{api.where}: logged in, {len(seen)} queues")
                listened = [queue for queue in settings.queues or seen if queue in seen]
                if not listened and settings.transport == "notifications":
                    raise Lost(f"{api.where}: {NO_QUEUES}")
                for each, (observations, cut) in (await api.waiting(listened)).items():
                    more = " or more" if cut else ""
                    says.append(f"queue {each} ({seen[each]}): {len(observations)}{more} waiting or ringing")
                says += [f"queue {each}: the client cannot see it" for each in settings.queues if each not in seen]
        return Look(tuple(says), tuple(records))

    async def counters(self, since: datetime) -> Counters:
        """What the analytics API counts.  Raises Lost."""
        async with genesys_api(self._settings, self._place) as api:
            return Counters(await api.aggregates(since, datetime.now(UTC)), _WHY_OTHERWISE)


_WHY_OTHERWISE: Final = (
    "Genesys' analytics lag by some minutes.",
    "It counts all media of a queue together, as is done here.",
    "Of web messages that end unanswered it counts no abandon.",
    "EventBridge and notifications are best effort: what got lost there is in Genesys' counts only.",
    "A call whose end got lost is told as abandoned when the customer has left, though it may have flowed out.",
)

KIND = Kind(translator=Genesys, reader=GenesysReader, records=records_of)
