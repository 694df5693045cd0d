"""The changelog's writer: it belongs to one assignment, and dies with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast

import aiokafka

from queuewatch_streams.delivery.way_out import LAST_WORDS, WriterEnded, within
from queuewatch_streams.lease import Lease


class ChangelogWriter:
    """Writes the records of one assignment, and sends nothing once that assignment is over or the lease has run out.

    An idempotent producer of aiokafka retries for ever, whatever its timeout: records of a worker that had lost its group
    would go out, minutes late, behind its successor's.  So requests wait at the last step while the lease is out, and an
    ended writer sends no more.  (A process that is stopped between that step and the socket is why, of a key, the record
    with the highest source offset counts.)
    """

    def __init__(self, producer: aiokafka.AIOKafkaProducer, topic: str, lease: Lease) -> None:
        self._producer = producer
        self._topic = topic
        self._lease = lease
        self._ended = False
        self._ending: asyncio.Task[None] | None = None
        sender = producer._sender
        send = sender._send_produce_req

        async def send_produce_request(node: int, batches: Mapping[Any, Any]) -> None:
            while not self._ended and not lease.holds():
                await asyncio.sleep(0.05)
            if not self._ended:
                await send(node, batches)
                return
            for tp, batch in batches.items():
                batch.failure(exception=WriterEnded("the assignment of these records is over"))
                sender._muted_partitions.discard(tp)
            sender._in_flight.discard(node)

        sender._send_produce_req = send_produce_request

    @property
    def ended(self) -> bool:
        """Whether this writer will write no more."""
        return self._ended

    async def start(self) -> None:
        """Connect and get a producer id."""
        await self._producer.start()

    async def send(
        self, partition: int, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Awaitable[Any]:
        """Hand a record over; the result resolves when the broker has acknowledged it, or raises."""
        if self._ended:
            raise WriterEnded("the assignment of this record is over")
        acknowledged = await self._producer.send(
            self._topic, value, key=key, partition=partition, headers=list(headers)
        )
        # Who waits for it may be gone by then: the end of a worker is bounded in time.
        acknowledged.add_done_callback(lambda done: done.cancelled() or done.exception())
        return cast(Awaitable[Any], acknowledged)

    def end(self) -> asyncio.Task[None]:
        """Send nothing from now on; what is under way fails with `WriterEnded`.  The task closes the connection."""
        if self._ending is None:
            self._ended = True
            self._ending = asyncio.ensure_future(self._end())
        return self._ending

    async def _end(self) -> None:
        producer = self._producer
        producer._message_accumulator.fail_all(WriterEnded("the assignment of these records is over"))
        task = producer._sender.sender_task
        if task is not None:
            task.cancel()
        if not await within(LAST_WORDS, producer.stop(), "the changelog's producer did not close in order"):
            await within(LAST_WORDS, producer.client.close(), "its connections did not close either")
