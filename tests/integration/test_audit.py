"""The audit against a real worker on a real Apache Kafka: clean where it is true, loud where it is not."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from integration.worker_process import Message, Site, message, site
from queuewatch_schemas.records import PartitionNews
from queuewatch_streams.audit import AuditReport, audit
from queuewatch_streams.brokers import Broker
from queuewatch_streams.kafka import administration
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, line

QUEUES = ("sales", "claims", "north", "south", "billing")


@pytest.fixture
def live(kafka: Broker, unique: str, tmp_path: Path) -> Iterator[Site]:
    """An application with a worker that has caught up on nothing."""
    settings = '[business]\nwindows = ["5m", "15m", "30m", "1h", "interval", "last_interval", "day"]\n'
    with site(kafka, unique, tmp_path, partitions=2, settings=settings) as made:
        made.create_topics()
        yield made


def told(number: int, now: int) -> list[dict[str, Any]]:
    """The number-th call of the last minutes, of a fate of its own."""
    queue, name, at = QUEUES[number % len(QUEUES)], f"c-{number}", now - 10 * MINUTE + number * SECOND // 2
    events = [call("queued", at, name, queue, channel=("voice", "voice", "chat", "callback")[number % 4])]
    fate = number % 7
    if fate < 3:
        events.append(call("answered", at + (5 + fate * 10) * SECOND, name, queue))
        events.append(call("ended", at + 90 * SECOND, name, queue))
    if fate == 1:
        events.append(call("wrapped", at + 100 * SECOND, name, queue))
    if fate in (3, 4):
        events.append(call("abandoned", at + (fate - 3) * 30 * SECOND + 2 * SECOND, name, queue))
    if fate == 5:
        events.append(call("diverted", at + 40 * SECOND, name, queue, reason="voicemail"))
    return events


def calls(count: int, first: int = 0) -> list[dict[str, Any]]:
    """The events of so many calls, as they would come."""
    now = time.time_ns() // 1000
    events = [event for number in range(first, first + count) for event in told(number, now)]
    return sorted(events, key=lambda event: str(event["time"]))


def audited(made: Site, **also: Any) -> AuditReport:
    """What the audit says."""
    report = asyncio.run(audit(made.configuration, history=made.history, **also))
    assert report.queues or report.differences, report
    return report


def publish_snapshot(made: Site, record: dict[str, Any]) -> None:
    """Put a snapshot of our own among those of the workers."""

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=made.broker.address) as producer:
            await producer.send_and_wait(
                made.topic("queues"),
                orjson.dumps(record),
                key=record["queue"].encode(),
                partition=record["partition"],
            )

    asyncio.run(send())


def newest(made: Site, queue: str) -> dict[str, Any]:
    """The last snapshot of a queue."""
    found = [orjson.loads(each.value) for each in made.read("queues") if each.key == queue.encode() and each.value]
    return max(found, key=lambda each: (each["offset"], each["time"]))


def test_a_live_worker_with_bad_late_and_misplaced_events_is_found_exact(live: Site) -> None:
    """Letters, re-keyed events, duplicates, an aborted transaction and a restart: nothing differs, nothing is left out."""
    events = calls(400)
    messages = [message(event) for event in events]
    chosen = events[::9]
    messages += [message(event, partition=1 - live.partition(event["data"]["queue"])) for event in chosen]
    messages += [message(event) for event in events[::5]]
    late = call("queued", "2020-01-01T00:00:00Z", "late", "sales")
    messages += [Message(b"sales", b"{", 0), Message(b"sales", None, 1), message(late)]
    messages += [Message(b"urn:test:1", line(heartbeat(time.time_ns() // 1000)), each) for each in (0, 1)]
    worker = live.worker().until_ready()
    live.send(messages[: len(messages) // 2])
    live.send(messages[len(messages) // 2 :])
    worker.until_read(len(messages) + len(chosen))

    async def abort() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=live.broker.address, transactional_id=live.application)
        async with producer:
            await producer.begin_transaction()
            for event in calls(20, first=9000):
                await producer.send(live.topic("events"), line(event), key=event["data"]["queue"].encode(), partition=0)
            await producer.flush()
            await producer.abort_transaction()

    asyncio.run(abort())

    async def audit_beside_an_open_transaction() -> AuditReport:
        producer = AIOKafkaProducer(bootstrap_servers=live.broker.address, transactional_id=live.application + "-open")
        async with producer:
            await producer.begin_transaction()
            await producer.send(live.topic("events"), b"{", key=b"sales", partition=0)
            await producer.flush()
            report = await audit(live.configuration)
            await producer.abort_transaction()
        return report

    report = asyncio.run(audit_beside_an_open_transaction())
    assert report.clean, report.differences
    assert report.queues == len(QUEUES)
    assert report.refused == 3
    assert report.rekeyed == len(chosen)
    assert not report.left_out
    worker.kill()
    live.worker().until_ready()
    live.send([message(event) for event in calls(50, first=2000)])
    again = audited(live)
    assert again.clean, again.differences


def test_a_tampered_snapshot_is_reported(live: Site) -> None:
    """A figure changed by one in what was published last is named, with both values."""
    live.worker().until_ready()
    live.send([message(event) for event in calls(100)])
    time.sleep(2)
    for worker in live.workers:
        assert worker.stop() == 0
    assert audited(live).clean
    record = newest(live, "sales")
    record["channels"]["voice"]["windows"]["day"]["answered"] += 1
    publish_snapshot(live, record)
    (difference,) = audited(live, patience=0).differences
    assert (difference.queue, difference.channel, difference.window) == ("sales", "voice", "day")
    assert difference.figure == "answered"
    assert difference.published == difference.recounted + 1  # type: ignore[operator]


def test_events_that_no_letter_or_copy_tells_of_are_reported(live: Site) -> None:
    """Offsets committed past a refused and a misplaced event that nobody told of: both are lost, and named."""
    live.worker().until_ready()
    live.send([message(event) for event in calls(20)])
    time.sleep(2)
    for worker in live.workers:
        assert worker.stop() == 0
    home = live.partition("sales")
    before = ends(live)
    stray = next(event for event in calls(10, first=700) if event["data"]["queue"] == "sales")
    live.send([message(stray, partition=1 - home), Message(b"sales", b"{", home)])
    assert audited(live, patience=0).clean

    async def commit() -> None:
        async with AIOKafkaConsumer(
            bootstrap_servers=live.broker.address, group_id=live.application, enable_auto_commit=False
        ) as consumer:
            places = [TopicPartition(live.topic("events"), number) for number in (0, 1)]
            consumer.assign(places)
            await consumer.commit({place: before[place.partition] + 1 for place in places})

    asyncio.run(commit())
    found = {each.figure for each in audited(live, patience=0).differences}
    assert found == {
        f"dead letters for unreadable_json on partition {home}",
        f"events of partition {1 - home} published again to {home}",
    }


def test_a_queue_that_a_living_worker_does_not_tell_of_is_reported(live: Site) -> None:
    """Events folded, by the worker's own word, and no snapshot for all its life: a difference; from a dead worker, none."""
    live.worker().until_ready()
    live.send([message(event) for event in calls(20)])
    time.sleep(2)
    for worker in live.workers:
        assert worker.stop() == 0
    home = live.partition("forgotten")
    live.send([message(call("queued", time.time_ns() // 1000, "f-1", "forgotten"))])
    up_to = ends(live)[home]

    async def tell_news() -> None:
        async with AIOKafkaProducer(bootstrap_servers=live.broker.address) as producer:
            while True:
                news = PartitionNews(
                    partition=home, partitions=2, owner="w", offset=up_to, queues=5, ready=True,
                    time=datetime.now(UTC), log_time=datetime.now(UTC),
                )  # fmt: skip
                await producer.send_and_wait(live.topic("queues"), news.to_bytes(), key=news.key(), partition=home)
                await asyncio.sleep(0.3)

    async def both() -> AuditReport:
        telling = asyncio.create_task(tell_news())
        await asyncio.sleep(1)
        try:
            return await audit(live.configuration, patience=4)
        finally:
            telling.cancel()

    (difference,) = asyncio.run(both()).differences
    assert (difference.queue, difference.published) == ("forgotten", None)
    alone = audited(live, patience=1)
    assert alone.clean
    assert [each.queues for each in alone.left_out] == [("forgotten",)]


def test_what_retention_has_cut_is_left_out_and_said(live: Site) -> None:
    """With the first half of the log gone what begins behind the cut is compared, the rest is told with its reason."""
    worker = live.worker().until_ready()
    live.send([message(event) for event in calls(200)])
    worker.until_read(len(calls(200)))
    middle = {number: end // 2 for number, end in ends(live).items()}

    async def cut() -> None:
        async with administration(live.configuration.kafka) as admin:
            await admin.delete_records(
                {
                    TopicPartition(live.topic("events"), number): RecordsToDelete(before_offset=at)
                    for number, at in middle.items()
                }
            )

    asyncio.run(cut())
    report = audited(live)
    assert report.clean, report.differences
    assert {"day", "15m", "callbacks"} <= {each.what for each in report.left_out}
    assert report.events < len(calls(200))


def ends(made: Site) -> dict[int, int]:
    """The offset after the last record of each partition of the events."""
    found = dict.fromkeys(range(made.partitions), 0)
    for each in made.read("events"):
        found[each.partition] = max(found[each.partition], each.offset + 1)
    return found


def test_a_history_is_audited_by_its_own_clock(broker: Broker, unique: str, tmp_path: Path) -> None:
    """Events of long ago, published with their own times: now is the newest event's time, and nothing is late."""
    with site(broker, unique, tmp_path, partitions=2, history=True) as made:
        made.create_topics()
        file = tmp_path / "history.ndjson"
        long_ago = 1_700_000_000 * SECOND + 3 * HOUR
        events = [event for number in range(300) for event in told(number, long_ago)]
        file.write_bytes(b"\n".join(line(event) for event in events))
        published = made.publish(file)
        made.worker().until_read(published.published)
        report = audited(made)
        assert report.clean, report.differences
        assert report.queues == len(QUEUES)
        assert not report.left_out
