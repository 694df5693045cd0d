"""The one way from a source to Kafka: every event acknowledged by every copy in sync, keyed, in order.

Back-pressure is the brokers' own: `put` waits while a partition's batch before is not yet on its way.  Whoever has to know
that events are safe (to save a position, to answer a webhook) awaits `settled`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from queuewatch_schemas.config import Configuration
from queuewatch_streams.kafka import KafkaTrouble, client_settings, described, gives_producer_ids, producer_settings
from queuewatch_streams.publish import Packer
from queuewatch_streams.sources.shape import Message
from queuewatch_streams.topics import TopicTrouble, partition_counts

__all__ = ["Writer"]

_STOP_SECONDS: Final = 10.0


class Writer:
    """Writes events to their topics.  Several tasks may use it."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._turn = asyncio.Lock()
        self._since: float | None = None
        self._producer: AIOKafkaProducer | None = None
        self._packer: Packer | None = None

    async def start(self) -> None:
        """Connect.

        :raises KafkaTrouble: no broker can be reached, or a topic is missing.
        """
        kafka, topics = self._configuration.kafka, self._configuration.topics
        settings = client_settings(kafka)
        partitions = await partition_counts(kafka)
        names = {"events": topics.events, "agents": topics.agents}
        for name in names.values():
            if name not in partitions:
                raise TopicTrouble(
                    f"the topic {name} is not there at {kafka.brokers}; create it with `queuewatch topics create`"
                )
        idempotent = await gives_producer_ids(settings)
        self._producer = AIOKafkaProducer(**settings, **producer_settings(kafka, idempotent=idempotent))
        try:
            await self._producer.start()
        except KafkaError as error:
            raise self._trouble(error) from error
        self._packer = Packer(self._producer, names, partitions, self._configuration)

    async def put(self, messages: Iterable[Message], *, everywhere: bool = False) -> None:
        """Send events, in order; they are on their way, not yet safe.

        :param everywhere: put each on every partition, as heartbeats are.
        :raises KafkaTrouble: some event, of now or before, was not taken.
        """
        assert self._packer is not None, "started"
        async with self._turned():
            try:
                for role, key, value in messages:
                    await self._packer.add(role, key.encode(), value, None, everywhere)
                await self._packer.send_all()
            except KafkaError as error:
                raise self._trouble(error) from error

    async def settled(self) -> None:
        """Wait until all that was put is acknowledged.

        :raises KafkaTrouble: some event was not taken.
        """
        assert self._packer is not None, "started"
        async with self._turned():
            try:
                await self._packer.finish()
            except KafkaError as error:
                raise self._trouble(error) from error

    @property
    def waiting(self) -> float:
        """Seconds for which the brokers have kept us waiting by now; they retry within, for as long as it takes."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @asynccontextmanager
    async def _turned(self) -> AsyncIterator[None]:
        async with self._turn:
            self._since = time.monotonic()
            try:
                yield
            finally:
                self._since = None

    async def stop(self) -> None:
        """Let go of the brokers; what is not acknowledged by now may be written or not."""
        if self._producer is not None:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._producer.stop()
            self._producer = self._packer = None

    def _trouble(self, error: BaseException) -> KafkaTrouble:
        return KafkaTrouble(f"Kafka at {self._configuration.kafka.brokers} did not take events ({described(error)})")
