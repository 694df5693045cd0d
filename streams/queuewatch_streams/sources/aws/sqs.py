"""A queue of Amazon SQS as a source reads it: in batches, several receives at once, deleted once Kafka has what they say.

A standard queue gives messages in no strict order, and more than once.  It is known to be read up to now once for a while no
message has come that had waited long, and those have come again that a predecessor had received but not deleted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Generic, NamedTuple, NoReturn, TypeVar

from queuewatch_streams.sources.aws.clients import amazon, answered_at, clear_errors
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.station import Station
from queuewatch_streams.tasks import together

__all__ = ["AT_ONCE", "VISIBILITY_SECONDS", "Horizon", "SqsMessage", "SqsQueue", "drain"]

AT_ONCE: Final = 10
"""Messages in one receive, and in one deletion."""
WAIT_SECONDS: Final = 20
"""The longest that a receive waits."""
VISIBILITY_SECONDS: Final = 60
"""So long what was received is hidden; so long after a crash it comes again."""
RECEIVERS: Final = 4
"""Receives under way at once."""
MOST_HELD: Final = 10_000
"""Messages that are received and not deleted yet; of more than that nothing is received."""
_LATE: Final = 10_000_000
"""Microseconds by which a message may be received after one that was sent later, while none waits long."""
_BACKLOG: Final = 60_000_000
"""A message that waited for longer is of a backlog, of which nothing says how much of it is left, and in which order."""
_STEP: Final = 1.0
_COUNT_SECONDS: Final = 30
R = TypeVar("R")


class SqsMessage(NamedTuple):
    """One message as it was received."""

    body: str
    receipt: str
    sent_at: int
    """When it was put into the queue, microseconds since the epoch."""
    receive_count: int
    """How often it was received, this time included."""
    identity: str
    """The queue's own id of it."""


class SqsQueue:
    """A queue; to be opened with `async with`.

    :param url: the queue's address, as its owner sees it.
    :param region: where it is, as in eu-central-1.
    :param endpoint_url: another address of the service (a VPC endpoint, a stand-in).
    :param visibility_seconds: so long a received message is hidden from others, unless it is deleted, or hidden anew.
    """

    def __init__(
        self, url: str, region: str, endpoint_url: str | None = None, visibility_seconds: int = VISIBILITY_SECONDS
    ) -> None:
        self.url = url
        self.visibility_seconds = visibility_seconds
        self.where = f"SQS {url.rsplit('/', 1)[-1]}"
        self.received_at = 0
        """When the newest receive was answered, by Amazon's clock, microseconds since the epoch."""
        self._region = region
        self._endpoint = endpoint_url
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def __aenter__(self) -> SqsQueue:
        self._client = await self._stack.enter_async_context(amazon("sqs", self._region, self._endpoint))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def receive(self, wait_seconds: int = WAIT_SECONDS, *, only_look: bool = False) -> list[SqsMessage]:
        """At most ten messages; none after so many seconds without any.  Raises Lost.

        :param only_look: they stay there for others.
        """
        with clear_errors(self.where):
            answer = await self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=0 if only_look else self.visibility_seconds,
                AttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        self.received_at = answered_at(answer)
        return [_message(each) for each in answer.get("Messages", ())]

    async def delete(self, messages: Sequence[SqsMessage]) -> None:
        """Delete what was received; what cannot be deleted comes again, which changes nothing.  Raises Lost."""
        await self._in_batches(self._client.delete_message_batch, messages)

    async def extend(self, messages: Sequence[SqsMessage], seconds: int | None = None) -> None:
        """Hide what was received for so long from now on; None: as when received; 0: give it back.  Raises Lost."""
        seconds = self.visibility_seconds if seconds is None else seconds
        await self._in_batches(self._client.change_message_visibility_batch, messages, VisibilityTimeout=seconds)

    async def _in_batches(self, act: Any, messages: Sequence[SqsMessage], **more: Any) -> None:
        """Do something with messages, ten at once."""
        batches = [messages[number : number + AT_ONCE] for number in range(0, len(messages), AT_ONCE)]

        async def one(batch: Sequence[SqsMessage]) -> None:
            entries = [{"Id": str(place), "ReceiptHandle": each.receipt, **more} for place, each in enumerate(batch)]
            with clear_errors(self.where):
                await act(QueueUrl=self.url, Entries=entries)

        await asyncio.gather(*(one(batch) for batch in batches))

    async def attributes(self) -> dict[str, int]:
        """About how many messages are there: `waiting`, `in_flight`, `delayed`.  Raises Lost."""
        with clear_errors(self.where):
            answer = await self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=list(_COUNTS))
        told = answer.get("Attributes", {})
        return {ours: int(told.get(theirs, 0)) for theirs, ours in _COUNTS.items()}


_COUNTS: Final = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


def _message(told: dict[str, Any]) -> SqsMessage:
    attributes = told.get("Attributes", {})
    return SqsMessage(
        body=told.get("Body", ""),
        receipt=told["ReceiptHandle"],
        sent_at=int(attributes.get("SentTimestamp", 0)) * 1000,
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        identity=told.get("MessageId", ""),
    )


class Horizon:
    """Up to when a queue has been read: nothing that was sent before then is still to come.

    That is known only once for a while no message has come that had waited long, so not while older ones are worked off, and
    not in the beginning, when those come again that a predecessor had received but not deleted.

    :param at: now by Amazon's clock, microseconds since the epoch, as all times here.
    :param seconds: that while; longer than a message is hidden.
    """

    def __init__(self, at: int, seconds: float) -> None:
        self._while = round(seconds * 1e6)
        self._began = self._last = at
        self._waited: deque[tuple[int, int]] = deque()
        """Of receives (when, how long its oldest message had waited), those that no later one outdoes."""

    def received(self, at: int, sent: Iterable[int]) -> None:
        """A receive has come back, with messages that were sent then."""
        waited = max(0, at - min(sent, default=at))
        while self._waited and self._waited[-1][1] <= waited:
            self._waited.pop()
        self._waited.append((at, waited))
        while self._waited[0][0] < at - self._while:
            self._waited.popleft()
        self._last = max(self._last, at)

    @property
    def at(self) -> int | None:
        """Nothing sent before this is to come; None: nobody knows."""
        if self._last < self._began + self._while or self._waited[0][1] > _BACKLOG:
            return None
        return self._last - self._waited[0][1] - _LATE


async def drain(
    queue: SqsQueue,
    station: Station[R],
    read: Callable[[SqsMessage], R],
    position: Callable[[Any], Any] = lambda before: before,
    up_to: Callable[[int], int | None] = lambda at: at,
) -> NoReturn:
    """Read an open queue for ever: take, settle, and then delete.

    A message is hidden from others again and again while Kafka is away.  What cannot be read is the translator's to refuse; it
    is deleted as well, since it would come again unchanged.

    :param read: a message as a record; may not raise.
    :param position: makes the position of that before; there is none in a queue, but the source may read something else too.
    :param up_to: from the time up to which this queue has been read the one to advance to, or None.
    :raises Lost: the queue is gone.
    :raises KafkaTrouble: the brokers did not take events.
    """
    await together(*_Drain(queue, station, read, position, up_to).tasks())
    raise Lost(f"{queue.where}: nobody reads it any more")


class _Drain(Generic[R]):
    def __init__(
        self,
        queue: SqsQueue,
        station: Station[R],
        read: Callable[[SqsMessage], R],
        position: Callable[[Any], Any],
        up_to: Callable[[int], int | None],
    ) -> None:
        self._queue = queue
        self._station = station
        self._read = read
        self._position = position
        self._up_to = up_to
        self._horizon: Horizon | None = None
        """From the first answer on, and all of it by Amazon's clock: ours may be another."""
        self._held: dict[str, tuple[SqsMessage, float]] = {}
        """What is not deleted yet, by receipt, with when it has to be hidden anew."""
        self._taken: list[SqsMessage] = []
        """What is to be deleted once it is settled."""
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._clock = asyncio.get_running_loop().time

    def tasks(self) -> Iterable[Coroutine[Any, Any, None]]:
        return (
            self._hide(), self._delete(), self._advance(), self._count(), *(self._receive() for _ in range(RECEIVERS))
        )  # fmt: skip

    async def _receive(self) -> None:
        while True:
            await self._room.wait()
            messages = await self._queue.receive()
            self._station.looked(2 * WAIT_SECONDS)
            if self._horizon is None:
                self._horizon = Horizon(self._queue.received_at, self._queue.visibility_seconds + 2)
            self._horizon.received(self._queue.received_at, [each.sent_at for each in messages])
            if messages:
                until = self._clock() + self._queue.visibility_seconds / 2
                self._held.update({each.receipt: (each, until) for each in messages})
                if len(self._held) >= MOST_HELD:
                    self._room.clear()
                await self._station.take([self._read(each) for each in messages], self._position, _named(messages))
                self._taken += messages
                self._some.set()

    async def _delete(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            messages, self._taken = self._taken, []
            await self._station.settle()  # which takes a moment: what comes meanwhile is settled together
            await self._queue.delete(messages)
            for each in messages:
                self._held.pop(each.receipt, None)
            self._room.set()

    async def _hide(self) -> None:
        while True:
            await asyncio.sleep(min(_STEP, self._queue.visibility_seconds / 8))
            due = [each for each, until in self._held.values() if until <= self._clock()]
            if due:
                until = self._clock() + self._queue.visibility_seconds / 2
                self._held.update({each.receipt: (each, until) for each in due})
                await self._queue.extend(due)

    async def _advance(self) -> None:
        while True:
            await asyncio.sleep(_STEP)
            at = None if self._horizon is None else self._horizon.at
            if at is not None and (at := self._up_to(at)) is not None:
                await self._station.advance(at)

    async def _count(self) -> None:
        while True:
            self._station.behind((await self._queue.attributes())["waiting"])
            await asyncio.sleep(_COUNT_SECONDS)


def _named(messages: Sequence[SqsMessage]) -> Callable[[int], str]:
    return lambda number: f"message {messages[number].identity}"
