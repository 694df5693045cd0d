"""What has to be acknowledged before an offset may be committed: dead letters, re-keyed events, closed intervals.

Letters are handed over in the middle of folding, which must not wait; they go out in order, each batch acknowledged before
the next.  Nothing leaves while the lease is out.  What belongs to an earlier generation of the group is dropped: the next
owner folds those records again and sends their letters itself, since no record of ours holds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

__all__ = ["Letter", "Outbox", "OutboxFailed"]

log = logging.getLogger(__name__)

FULL = 20_000
"""Letters waiting; above it folding is asked to wait."""
_BATCH = 500


class OutboxFailed(RuntimeError):
    """A letter cannot be sent, and would not be at the next try; the worker must stop before it commits past it."""


class Letter(NamedTuple):
    """One record to send; `partition` None: the key decides.  `timestamp` in milliseconds, None: now."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    timestamp: int | None = None


class Outbox:
    """Letters on their way.  `may_send` tells whether the lease holds, `generation` which one the group is in."""

    def __init__(
        self, producer: AIOKafkaProducer, *, may_send: Callable[[], bool], generation: Callable[[], int]
    ) -> None:
        self._producer = producer
        self._may_send = may_send
        self._generation = generation
        self._letters: deque[tuple[int, Letter]] = deque()
        self._put = 0
        self._done = 0
        self._news = asyncio.Event()
        self._progress = asyncio.Event()

    def put(self, letter: Letter) -> None:
        """Hand a letter over."""
        self._letters.append((self._generation(), letter))
        self._put += 1
        self._news.set()

    async def settled(self) -> None:
        """Wait until all that was put before this call is acknowledged, or dropped with its generation."""
        target = self._put
        while self._done < target:
            self._progress.clear()
            await self._progress.wait()

    async def room(self) -> None:
        """Wait while so many letters are under way that folding on would only fill memory."""
        while self._put - self._done > FULL:
            self._progress.clear()
            await self._progress.wait()

    async def run(self) -> None:
        """Send for as long as the worker runs.  Raises OutboxFailed."""
        while True:
            while not self._letters:
                self._news.clear()
                await self._news.wait()
            batch = [self._letters.popleft() for _ in range(min(_BATCH, len(self._letters)))]
            await self._send(batch)
            self._done += len(batch)
            self._progress.set()

    async def _send(self, batch: Sequence[tuple[int, Letter]]) -> None:
        left = list(batch)
        while left:
            while not self._may_send() and any(made == self._generation() for made, _ in left):
                await asyncio.sleep(0.05)
            left = [(made, letter) for made, letter in left if made == self._generation()]
            under_way = []
            for made, letter in left:
                try:
                    sent = await self._producer.send(
                        letter.topic,
                        letter.value,
                        key=letter.key,
                        partition=letter.partition,
                        timestamp_ms=letter.timestamp,
                        headers=list(letter.headers),
                    )
                except KafkaError as error:
                    self._judge(letter, error)
                    under_way.append((made, letter, None))
                else:
                    under_way.append((made, letter, sent))
            left = []
            for made, letter, sent in under_way:
                try:
                    if sent is None:
                        left.append((made, letter))
                    else:
                        await sent
                except KafkaError as error:
                    self._judge(letter, error)
                    left.append((made, letter))
            if left:
                await asyncio.sleep(0.2)

    @staticmethod
    def _judge(letter: Letter, error: KafkaError) -> None:
        """Passing troubles are tried again, the same letter first; others end the worker."""
        if error.retriable or isinstance(error, KafkaTimeoutError):
            log.warning("a record for %s was not acknowledged (%r); it is sent again", letter.topic, error)
            return
        raise OutboxFailed(
            f"a record of {len(letter.value or b'')} bytes cannot be written to {letter.topic}: {error!r};"
            " `queuewatch topics check` tells whether the topic is as it must be. No offset is committed beyond it"
        ) from error
