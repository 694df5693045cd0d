"""What outlasts a run: one Apache Kafka and the ways to it, a listener and a proxy for each worker.

A broker takes seconds to start, so runs follow each other on one ground, each with topics and a group of its own, which are
deleted behind it.  After a run that failed the ground is laid anew: the next one owes nothing to what went wrong.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from chaos.proxy import Proxies
from queuewatch_streams.brokers import apache_kafka

__all__ = ["WORKERS", "Ground"]

WORKERS: Final = ("one", "two", "three")


class Ground:
    """A running broker behind proxies; a context manager."""

    def __init__(self) -> None:
        """Choose the ports; nothing is started."""
        self._runs = itertools.count(1)
        self._lay()

    def _lay(self) -> None:
        self.proxies = Proxies(WORKERS)
        self.broker = apache_kafka(heap="384m")
        self.broker.settings |= self.proxies.broker_settings(self.broker.port, self.broker.controller_port)

    def __enter__(self) -> Ground:
        """Start everything."""
        self.proxies.start()
        try:
            self.broker.start()
        except BaseException:
            self.proxies.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self.broker.stop()
        self.proxies.stop()

    def application(self) -> str:
        """A name that no run on this ground has had."""
        return f"chaos-{next(self._runs)}"

    def clear(self, topics: Sequence[str], spoilt: bool) -> None:
        """A run has ended: remove what it leaves, the broker too if that may be spoilt."""
        if spoilt or not self.broker.running():
            self.__exit__(None, None, None)
            self._lay()
            self.__enter__()
        else:
            asyncio.run(self._delete(topics))

    async def _delete(self, topics: Sequence[str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.broker.address)
        await admin.start()
        try:
            await admin.delete_topics(list(topics))
        finally:
            await admin.close()
