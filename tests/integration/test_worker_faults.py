"""What goes wrong around a worker is recognised by name, handled by its rule, and never changes a figure in silence.

All against Apache Kafka, whose producers, limits, topics and absence are what goes wrong here.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Message as Delivered
from confluent_kafka import Producer

from integration.test_worker_restarts import PARTITIONS, SETTINGS, assert_not_lower, calls, counters, uninterrupted
from integration.worker_process import ROLES, Message, Scrape, Site, WorkerProcess, corrected, message, until
from queuewatch_streams.brokers import Broker, apache_kafka
from queuewatch_streams.topics import TopicTrouble, check_limits
from support.events import MINUTE, SECOND, call

T = TypeVar("T")
Ask = Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, T]]


@pytest.fixture
def site(kafka: Broker, unique: str, tmp_path: Path) -> Iterator[Site]:
    """Topics of this test's own."""
    made = Site(kafka, unique, tmp_path, PARTITIONS, settings=SETTINGS)
    yield made.create_topics()
    made.close()


def ask(site: Site, what: Ask[T]) -> T:
    """Ask the broker as an operator."""

    async def asking() -> T:
        admin = AIOKafkaAdminClient(bootstrap_servers=site.broker.address)
        await admin.start()
        try:
            return await what(admin)
        finally:
            await admin.close()

    return asyncio.run(asking())


def set_largest(site: Site, topic: str, size: int) -> None:
    """Give a topic another max.message.bytes."""
    setting = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})
    ask(site, lambda admin: admin.alter_configs([setting]))


def remake(site: Site, topic: str, settings: Mapping[str, str] | None = None) -> None:
    """Delete a topic and create it again."""

    async def remaking(admin: AIOKafkaAdminClient) -> None:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            await asyncio.sleep(0.1)
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=dict(settings or {}))])

    ask(site, remaking)


def committed(site: Site) -> dict[int, int]:
    """The group's offset of each partition; 0 where it has none."""

    async def asking() -> dict[int, int]:
        group = site.application
        async with AIOKafkaConsumer(
            bootstrap_servers=site.broker.address, group_id=group, enable_auto_commit=False
        ) as consumer:
            places = [TopicPartition(site.topic("events"), number) for number in range(PARTITIONS)]
            return {place.partition: await consumer.committed(place) or 0 for place in places}

    return asyncio.run(asking())


def lately() -> int:
    """A minute ago, in microseconds."""
    return int(time.time()) * SECOND - MINUTE


def exact(site: Site, workers: Sequence[WorkerProcess], events: Sequence[dict[str, object]]) -> list[Scrape]:
    """Wait until the workers, all of them ready, tell of each queue once and of all as one that folded all in one go."""
    expected = uninterrupted(site, events)
    seen: list[Scrape] = []

    def look() -> bool:
        seen[:] = [worker.scrape() for worker in workers]
        queues = [queue for scrape in seen for queue in scrape.queues]
        assert len(queues) == len(set(queues)), "a queue is told by two workers"
        whole = sum(scrape.sum("partitions") for scrape in seen) == PARTITIONS
        return whole and all(scrape.ready for scrape in seen) and corrected(seen) == corrected([expected])

    try:
        until("exact figures", look)
    except AssertionError as error:
        said = "\n".join(worker.said()[-2000:] for worker in workers)
        raise AssertionError(f"{error}: {corrected(seen)}, not {corrected([expected])}\n{said}") from None
    for name in ("calls_waiting", "calls_talking", "window_offered_calls"):
        assert sum(scrape.sum(name) for scrape in seen) == expected.sum(name)
    for queue in expected.queues:
        assert corrected(seen, queue=queue) == corrected([expected], queue=queue)
    assert {value for scrape in seen for value in scrape.values("balance_residual")} == {0}
    return seen


def test_events_that_another_hash_has_spread_end_exact_in_two_workers(site: Site) -> None:
    """librdkafka's default partitioner, an old backlog and live: each that lies wrong is counted so and moved, once."""
    misplaced = 0

    def place(error: object, delivered: Delivered) -> None:
        nonlocal misplaced
        assert error is None, error
        key = delivered.key()
        assert isinstance(key, bytes)
        misplaced += delivered.partition() != site.partition(key.decode())

    def send(events: Sequence[dict[str, Any]]) -> None:
        producer = Producer({"bootstrap.servers": site.broker.address})
        for event in events:
            key = event["data"]["queue"].encode()
            producer.produce(site.topic("events"), json.dumps(event).encode(), key, on_delivery=place)
            producer.poll(0)
        assert producer.flush(30) == 0

    start = lately()
    events: list[dict[str, Any]] = calls(0, 2000, start)
    send(events)
    workers = [site.worker(), site.worker()]
    exact(site, workers, events)
    live = calls(2000, 1000, start)
    send(live)
    scrapes = exact(site, workers, events + live)
    assert misplaced > len(events) / 3
    assert sum(scrape.sum("rekeyed_events_total") for scrape in scrapes) == misplaced
    assert sum(scrape.sum("rejected_events_total") for scrape in scrapes) == 0
    assert [worker.stop() for worker in workers] == [0, 0]


def test_transactions_end_exact_and_ready(site: Site) -> None:
    """What is committed counts, what is aborted does not, also where the log ends in an aborted one."""
    start = lately()
    events = calls(0, 600, start)

    async def transactions() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=site.broker.address, transactional_id=site.application)
        await producer.start()
        try:
            for number in range(12):
                await producer.begin_transaction()
                some = events[number * 60 : number * 60 + 60] if number % 2 == 0 else calls(9000, 40, start)
                for key, value, *_ in map(message, some):
                    assert key is not None
                    at = site.partition(key.decode())
                    await producer.send(site.topic("events"), value, key=key, partition=at)
                await (producer.commit_transaction() if number % 2 == 0 else producer.abort_transaction())
        finally:
            await producer.stop()

    asyncio.run(transactions())
    counted = [event for number in range(0, 12, 2) for event in events[number * 60 : number * 60 + 60]]
    worker = site.worker()
    [scrape] = exact(site, [worker], counted)
    assert scrape.sum("events_total") == len(counted)
    assert scrape.sum("lost_records_total") == 0
    worker.until_scrape("no lag", lambda scrape: scrape.values("consumer_lag_records") == [0] * PARTITIONS)
    assert worker.stop() == 0


def test_a_checkpoint_that_cannot_be_written_stops_the_worker_and_nothing_is_committed_past_it(site: Site) -> None:
    """The limit of the changelog is lowered underneath; once it is mended, the next worker ends exact."""
    start = lately()
    events = calls(0, 1000, start)
    site.send(map(message, events))
    worker = site.worker()
    exact(site, [worker], events)
    until("commits", lambda: sum(committed(site).values()) == len(events))
    set_largest(site, site.topic("changelog"), 150)
    before = committed(site)
    more = calls(1000, 500, start)
    site.send(map(message, more))
    assert worker.process.wait(60) == 1, worker.said()
    assert f"cannot be written to {site.topic('changelog')}" in worker.said()
    assert "max.message.bytes" in worker.said()
    assert committed(site) == before
    set_largest(site, site.topic("changelog"), 16 << 20)
    exact(site, [site.worker()], events + more)


def test_a_queue_with_5000_callers_waiting_is_written_and_read_back(site: Site) -> None:
    """Its record is one value in Kafka; a new worker has every one of them."""
    start = lately()
    events = [call("queued", start + number * 1000, uuid4().hex, "crowd") for number in range(5000)]
    site.send(map(message, events))
    worker = site.worker()
    exact(site, [worker], events)
    assert worker.stop() == 0, worker.said()
    sizes = [len(record.value) for record in site.read("changelog") if record.key.endswith(b"/crowd")]
    assert max(sizes) > 100_000, "names that do not compress make it as large as it gets"
    again = site.worker()
    exact(site, [again], events)
    assert again.scrape().value("calls_waiting", queue="crowd", channel="voice") == 5000
    again.kill()
    third = site.worker()
    exact(site, [third], events)
    assert third.stop() == 0


@pytest.mark.parametrize("of_broker", [False, True], ids=["the topic's own", "the broker's"])
def test_a_limit_that_is_too_small_is_found_at_start_by_name(site: Site, of_broker: bool) -> None:
    """Also the broker's default, which holds where the topic has none; the message says what to do."""
    if of_broker:
        remake(site, site.topic("changelog"), {"cleanup.policy": "compact"})
    else:
        set_largest(site, site.topic("changelog"), 1_000_000)
    worker = site.worker()
    assert worker.process.wait(60) == 2
    found = "1048588 (the broker's message.max.bytes" if of_broker else "1000000,"
    assert f"max.message.bytes of {site.topic('changelog')} is {found}" in worker.said()
    assert f"--add-config max.message.bytes={16 << 20}" in worker.said()


def test_a_broker_that_takes_no_large_request_is_found_at_start_by_name(unique: str, tmp_path: Path) -> None:
    """A record of the size that is promised would never get in."""
    broker = apache_kafka(settings={"socket.request.max.bytes": "4000000"})
    with broker:
        site = Site(broker, unique, tmp_path).create_topics()
        with pytest.raises(
            TopicTrouble, match=r"socket\.request\.max\.bytes of broker 1 is 4000000.*server\.properties"
        ):
            asyncio.run(check_limits(site.configuration))


def test_no_counter_goes_down_while_partitions_move_between_workers(kafka: Broker, unique: str, tmp_path: Path) -> None:
    """Killed, started, joined, killed, joined again and stopped in good order, in traffic: no series is ever lower than it was.

    Records are seldom written here, so that much has to be replayed before anything may be shown.
    """
    site = Site(kafka, unique, tmp_path, PARTITIONS, settings="[timing]\ncheckpoint_seconds = 600\n").create_topics()
    try:
        move_about(site)
    finally:
        site.close()


def move_about(site: Site) -> None:
    """Workers come and go while events come in; every scrape is compared with the highest values before it."""
    start = lately()
    events: list[dict[str, object]] = []
    highest = Scrape({})

    def watch(*workers: WorkerProcess) -> None:
        nonlocal highest
        for worker in workers:
            scrape = worker.scrape()
            assert_not_lower(highest, scrape)
            highest = Scrape({**highest.samples, **counters(scrape)})

    def feed(rounds: int, *workers: WorkerProcess, size: int = 200) -> None:
        for _ in range(rounds):
            more = calls(len(events), size, start)
            events.extend(more)
            site.send(map(message, more))
            watch(*workers)

    def settled(*workers: WorkerProcess) -> None:
        def look() -> bool:
            watch(*workers)
            return all_ready(workers)

        until("all shared out", look)

    one = site.worker()
    feed(1, one, size=8000)
    settled(one)
    one.kill()
    one = site.worker()
    settled(one)
    two = site.worker()
    feed(6, one, two)
    settled(one, two)
    two.kill()
    feed(4, one)
    settled(one)
    three = site.worker()
    feed(6, one, three)
    settled(one, three)
    assert one.stop() == 0, one.said()
    feed(2, three)
    settled(three)
    exact(site, [three], events)
    watch(three)


def all_ready(workers: Sequence[WorkerProcess]) -> bool:
    """Whether the workers are ready and have all partitions between them."""
    scrapes = [worker.scrape() for worker in workers]
    return all(scrape.ready and scrape.sum("partitions") for scrape in scrapes) and (
        sum(scrape.sum("partitions") for scrape in scrapes) == PARTITIONS
    )


def test_a_changelog_that_was_lost_is_made_again_from_the_events(site: Site) -> None:
    """A committed offset without records stands for nothing: all is folded again, and said so."""
    start = lately()
    events = calls(0, 1000, start)
    site.send(map(message, events))
    worker = site.worker()
    exact(site, [worker], events)
    assert worker.stop() == 0
    remake(site, site.topic("changelog"), {"max.message.bytes": str(16 << 20)})
    again = site.worker()
    exact(site, [again], events)
    assert "no record of its own" in again.said()


def test_events_made_anew_are_refused_though_their_log_is_longer(site: Site) -> None:
    """Another topic of that name is no continuation; and the worker says what to do, whichever was meant."""
    start = lately()
    events = calls(0, 1000, start)
    site.send(map(message, events))
    worker = site.worker()
    exact(site, [worker], events)
    assert worker.stop() == 0
    remake(site, site.topic("events"))
    site.send(map(message, calls(0, 3000, start)))
    again = site.worker()
    assert again.process.wait(60) == 1
    assert "it was deleted and made anew" in again.said()
    assert f"delete the topic {site.topic('changelog')} too" in again.said()


def test_another_number_of_partitions_is_refused_with_what_to_do(site: Site) -> None:
    """Keys mean other partitions now."""
    site.send(map(message, calls(0, 300, lately())))
    worker = site.worker().until_ready()
    assert worker.stop() == 0
    topics = [site.topic("changelog"), *(site.topic(role) for role in ROLES)]
    ask(site, lambda admin: admin.create_partitions({topic: NewPartitions(PARTITIONS + 2) for topic in topics}))
    again = site.worker()
    assert again.process.wait(60) == 1
    assert "the records were made when the topic had 4 partitions, now it has 6" in again.said()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "silent"])
def test_a_worker_ends_though_its_broker_is_away(
    own_broker: Broker, unique: str, tmp_path: Path, how: signal.Signals
) -> None:
    """Told to stop, it says what it could not write and ends; the next one, with the broker back, is exact."""
    site = Site(
        own_broker, unique, tmp_path, PARTITIONS, settings="[timing]\ncheckpoint_seconds = 30\n"
    ).create_topics()
    try:
        events = calls(0, 2000, lately())
        site.send([*map(message, events), *(Message(b"key", b"nonsense", 0) for _ in range(50))])
        worker = site.worker()
        exact(site, [worker], events)
        assert own_broker.pid is not None
        if how is signal.SIGKILL:
            own_broker.kill()
        else:
            os.kill(own_broker.pid, how)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0, worker.said()
        assert "the last checkpoint is not written" in worker.said()
        if how is signal.SIGKILL:
            own_broker.start()
        else:
            os.kill(own_broker.pid, signal.SIGCONT)
        exact(site, [site.worker()], events)
    finally:
        site.close()
