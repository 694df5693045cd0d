"""Letters reach a real broker in their order, hold commits back until they do, and never leave without the lease."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from integration.worker_process import Site
from queuewatch_streams.brokers import Broker
from queuewatch_streams.kafka import client_settings, gives_producer_ids, producer_settings
from queuewatch_streams.outbox import FULL, Letter, Outbox, OutboxFailed


@dataclass
class Group:
    """What the group says of this worker."""

    holds: bool = True
    generation: int = 1


@pytest.fixture
def site(broker: Broker, unique: str, tmp_path: Path) -> Site:
    """Topics of this test's own."""
    return Site(broker, unique, tmp_path).create_topics()


@asynccontextmanager
async def running(site: Site, group: Group) -> AsyncIterator[tuple[Outbox, asyncio.Task[None]]]:
    """An outbox that sends, with a producer as the worker has it."""
    kafka = site.configuration.kafka
    client = client_settings(kafka)
    producer = AIOKafkaProducer(
        **client, **producer_settings(kafka, idempotent=await gives_producer_ids(client)), linger_ms=5
    )
    await producer.start()
    outbox = Outbox(producer, may_send=lambda: group.holds, generation=lambda: group.generation)
    task = asyncio.ensure_future(outbox.run())
    try:
        yield outbox, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, OutboxFailed):
            await task
        await producer.stop()


def letters(site: Site, count: int, first: int = 0) -> Iterator[Letter]:
    """Numbered dead letters, all to one partition."""
    for number in range(first, first + count):
        value = b"%d" % number
        yield Letter(site.topic("dead_letter"), b"key", value, [("reason", value)], partition=1)


def values(records: list[ConsumerRecord]) -> list[int]:
    """The letters' numbers."""
    return [int(each.value) for each in records]


def test_letters_arrive_in_order_each_once(site: Site) -> None:
    """With key, headers, partition and timestamp; `settled` returns when all of them are acknowledged."""

    async def send() -> None:
        async with running(site, Group()) as (outbox, _):
            for letter in letters(site, 1700):
                outbox.put(letter)
            outbox.put(Letter(site.topic("intervals"), b"interval", None, timestamp=1_000))
            async with asyncio.timeout(30):
                await outbox.settled()

    asyncio.run(send())
    records = site.read("dead_letter")
    assert values(records) == list(range(1700))
    assert {each.partition for each in records} == {1}
    assert all(dict(each.headers)["reason"] == each.value for each in records)
    [interval] = site.read("intervals")
    assert (interval.key, interval.value, interval.timestamp) == (b"interval", None, 1_000)


def test_nothing_leaves_while_the_lease_is_out(site: Site) -> None:
    """It waits, and what waits on it waits too; it goes out when the lease is back."""
    group = Group(holds=False)

    async def send() -> None:
        async with running(site, group) as (outbox, _):
            for letter in letters(site, 10):
                outbox.put(letter)
            settled = asyncio.ensure_future(outbox.settled())
            await asyncio.sleep(0.5)
            assert not settled.done()
            assert await asyncio.to_thread(site.read, "dead_letter") == []
            group.holds = True
            async with asyncio.timeout(30):
                await settled

    asyncio.run(send())
    assert values(site.read("dead_letter")) == list(range(10))


def test_letters_of_an_older_generation_are_dropped(site: Site) -> None:
    """The next owner folds those records again and sends their letters itself; later letters go out."""
    group = Group(holds=False)

    async def send() -> None:
        async with running(site, group) as (outbox, _):
            for letter in letters(site, 10):
                outbox.put(letter)
            await asyncio.sleep(0.1)
            group.generation = 2
            for letter in letters(site, 5, first=10):
                outbox.put(letter)
            group.holds = True
            async with asyncio.timeout(30):
                await outbox.settled()

    asyncio.run(send())
    assert values(site.read("dead_letter")) == list(range(10, 15))


def test_settled_does_not_wait_for_letters_that_come_later(site: Site) -> None:
    """A commit stands for what was folded before it; with nothing put, it returns at once."""

    async def send() -> None:
        group = Group()
        async with running(site, group) as (outbox, _):
            await outbox.settled()
            for letter in letters(site, 3):
                outbox.put(letter)
            first = asyncio.ensure_future(outbox.settled())
            async with asyncio.timeout(30):
                await first
            group.holds = False
            outbox.put(next(letters(site, 1, first=3)))
            second = asyncio.ensure_future(outbox.settled())
            await asyncio.sleep(0.2)
            assert not second.done()
            second.cancel()

    asyncio.run(send())


def test_room_holds_back_when_too_much_is_under_way(site: Site) -> None:
    """And lets go once it is sent."""

    async def send() -> None:
        group = Group(holds=False)
        async with running(site, group) as (outbox, _):
            async with asyncio.timeout(5):
                await outbox.room()
            for letter in letters(site, FULL + 1):
                outbox.put(letter)
            room = asyncio.ensure_future(outbox.room())
            await asyncio.sleep(0.1)
            assert not room.done()
            group.generation += 1  # all are dropped
            async with asyncio.timeout(30):
                await room

    asyncio.run(send())
    assert site.read("dead_letter") == []


def test_a_letter_that_can_never_be_sent_ends_the_outbox(site: Site) -> None:
    """Rather than commit past it; the message names topic and size, and what to look at."""

    async def send() -> None:
        async with running(site, Group()) as (outbox, task):
            outbox.put(Letter(site.topic("dead_letter"), b"key", b"x" * (17 * 1024 * 1024)))
            async with asyncio.timeout(30):
                with pytest.raises(OutboxFailed) as failed:
                    await task
        said = str(failed.value)
        assert site.topic("dead_letter") in said
        assert str(17 * 1024 * 1024) in said
        assert "queuewatch topics check" in said

    asyncio.run(send())


def test_letters_survive_a_broker_that_is_away(own_broker: Broker, unique: str, tmp_path: Path) -> None:
    """They are sent again until it is back: none is lost, and their order holds."""
    site = Site(own_broker, unique, tmp_path).create_topics()

    async def send() -> None:
        async with running(site, Group()) as (outbox, task):
            for letter in letters(site, 100):
                outbox.put(letter)
            async with asyncio.timeout(30):
                await outbox.settled()
            await asyncio.to_thread(own_broker.kill)
            for letter in letters(site, 100, first=100):
                outbox.put(letter)
            settled = asyncio.ensure_future(outbox.settled())
            await asyncio.sleep(8)  # longer than a request may take
            assert not settled.done()
            assert not task.done()
            await asyncio.to_thread(own_broker.start)
            async with asyncio.timeout(60):
                await settled

    asyncio.run(send())
    found = values(site.read("dead_letter"))
    assert sorted(set(found)) == list(range(200))
    # Of a batch that was not acknowledged letters may come twice: readers know a letter by its key.
    assert list(dict.fromkeys(found)) == list(range(200))
