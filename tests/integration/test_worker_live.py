"""A worker on live topics: what it counts, publishes and proposes as events come, on both brokers."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewTopic

from integration.worker_process import Message, Scrape, Site, WorkerProcess, message, read_of
from queuewatch_schemas.events import Reason
from queuewatch_schemas.records import DeadLetter, PartitionNews, QueueSnapshot, partition_of_key
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.partition import REKEYED_HEADER
from queuewatch_streams.kafka import administration
from support.events import SECOND, SOURCE, call, cloud_event, heartbeat, line

SETTINGS = """
[queues."ghost town"]
maximum_wait_seconds = 3
"""


def now() -> int:
    """The present, in microseconds."""
    return time.time_ns() // 1000


class Live:
    """A site with its one worker, and how many records it must have told of."""

    def __init__(self, site: Site, worker: WorkerProcess) -> None:
        self.site = site
        self.worker = worker
        self.expected = 0.0

    def send(self, *messages: Message, compression: str | None = None, more: int = 0) -> Scrape:
        """Send, and wait until the worker has told of all; `more` records come of them by the worker's own doing."""
        self.site.send(messages, compression=compression)
        self.expected += len(messages) + more
        return self.worker.until_scrape(
            f"{self.expected} records read", lambda scrape: scrape.ready and read_of(scrape) >= self.expected
        )

    def snapshots(self, queue: str) -> list[QueueSnapshot]:
        """The queue's snapshots so far, oldest first."""
        records = [each for each in self.site.read("queues") if each.key == queue.encode()]
        return [QueueSnapshot.from_bytes(each.value) for each in records]


@pytest.fixture(scope="module")
def live(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A worker that has caught up with empty topics."""
    site = Site(broker, f"test-{uuid4().hex[:12]}", tmp_path_factory.mktemp("live"), settings=SETTINGS).create_topics()
    try:
        live = Live(site, site.worker().until_ready())
        yield live
        scrape = live.worker.scrape()
        assert set(scrape.values("balance_residual")) == {0}
        assert live.worker.stop() == 0, live.worker.said()
    finally:
        site.close()


def test_an_event_is_on_the_metrics_and_in_a_snapshot(live: Live) -> None:
    """Waiting first, then answered; both times the newest snapshot says so."""
    scrape = live.send(message(call("queued", now(), "c-1", "snapshots")))
    assert scrape.value("calls_waiting", queue="snapshots", channel="voice") == 1
    live.site.until_read("queues", "a snapshot", lambda _: live.snapshots("snapshots"))
    first = live.snapshots("snapshots")[-1]
    assert (first.channels["voice"].waiting, first.channels["voice"].talking) == (1, 0)
    live.send(message(call("answered", now(), "c-1", "snapshots")))

    def answered(_: list[ConsumerRecord]) -> bool:
        return live.snapshots("snapshots")[-1].channels["voice"].talking == 1

    live.site.until_read("queues", "the next snapshot", answered)
    last = live.snapshots("snapshots")[-1]
    assert last.channels["voice"].windows["day"].answered == 1
    assert last.offset > first.offset


def test_the_news_of_each_partition_say_who_serves_it(live: Live) -> None:
    """Among the snapshots, under a key that no queue can have."""
    site = live.site

    def ready(records: list[ConsumerRecord]) -> dict[int, PartitionNews]:
        told = [each for each in records if partition_of_key(each.key) is not None]
        found = {each.partition: PartitionNews.from_bytes(each.value) for each in told}
        return {number: each for number, each in found.items() if each.ready}

    records = site.until_read("queues", "news of both partitions", lambda records: len(ready(records)) == 2)
    assert {each.partition for each in ready(records).values()} == {0, 1}
    assert len({each.owner for each in ready(records).values()}) == 1
    assert all(each.partitions == 2 for each in ready(records).values())


def test_while_a_caller_waits_his_queue_is_told_of_though_nothing_happens(live: Live) -> None:
    """More often than all queues are: his wait grows, in the record as in the day's longest."""
    queue = "patience"
    live.send(message(call("queued", now(), "p-1", queue)))

    def by_time_alone() -> list[tuple[QueueSnapshot, QueueSnapshot]]:
        told = live.snapshots(queue)
        return [(one, other) for one, other in pairwise(told) if one.offset == other.offset]

    def often(_: list[ConsumerRecord]) -> bool:
        return any(other.time - one.time < timedelta(seconds=8) for one, other in by_time_alone())

    live.site.until_read("queues", "snapshots without an event", often)
    for one, other in by_time_alone():
        before, after = one.channels["voice"], other.channels["voice"]
        assert before.oldest_waiting_since == after.oldest_waiting_since
        assert before.longest_wait_seconds is not None and after.longest_wait_seconds is not None
        assert before.longest_wait_seconds < after.longest_wait_seconds == after.longest_wait_today_seconds
        assert after.history is not None and sum(after.history.offered) == 1


def test_all_compressions_are_read(live: Live) -> None:
    """None, gzip, Snappy, LZ4 and Zstandard, whatever a producer uses."""
    for compression in (None, "gzip", "snappy", "lz4", "zstd"):
        queue = f"packed by {compression}"
        events = [message(call("queued", now(), f"{compression}-{number}", queue)) for number in range(200)]
        scrape = live.send(*events, compression=compression)
        assert scrape.sum("calls_offered_total", queue=queue) == 200


def test_a_misplaced_event_is_counted_once_in_its_right_queue(live: Live) -> None:
    """It is published again where its queue belongs, with its first timestamp; the worker that found it counts it so."""
    queue = "misplaced"
    right = live.site.partition(queue)
    before = live.worker.scrape().sum("rekeyed_events_total")
    event = call("queued", now(), "m-1", queue)
    scrape = live.send(message(event, 1 - right), more=1)
    assert scrape.sum("rekeyed_events_total") - before == 1
    assert scrape.value("rekeyed_events_total", partition=str(1 - right)) == 1
    assert scrape.value("calls_offered_total", queue=queue, channel="voice") == 1
    found = [each for each in live.site.read("events") if each.value == line(event) or b'"m-1"' in each.value]
    assert {each.partition for each in found} == {0, 1}
    [again] = [each for each in found if each.partition == right]
    [original] = [each for each in found if each.partition != right]
    assert dict(again.headers)[REKEYED_HEADER] == str(original.timestamp).encode()
    assert (again.key, again.value) == (queue.encode(), original.value)


def test_a_copy_that_still_lies_wrong_is_refused_and_not_sent_again(live: Live) -> None:
    """Otherwise two workers with other ideas of a key could send it to and fro."""
    queue = "misplaced twice"
    wrong = 1 - live.site.partition(queue)
    sent = Message(
        queue.encode(),
        line(call("queued", now(), "m-2", queue)),
        wrong,
        [(REKEYED_HEADER, str(now() // 1000).encode())],
    )
    scrape = live.send(sent)
    assert scrape.nonzero("rejected_events_total", "reason") == {"misplaced": 1}
    assert queue not in scrape.queues

    def reasons(records: list[ConsumerRecord]) -> list[Reason]:
        return [DeadLetter.from_headers(each.headers).reason for each in records]

    assert reasons(live.site.until_read("dead_letter", "its letter", lambda records: records)) == [Reason.MISPLACED]


def test_one_queues_lines_can_be_asked_for(live: Live) -> None:
    """`/metrics?queue=NAME`: that queue and nothing else; of an unknown one, nothing."""
    queue = 'mind the & and the "?'
    everything = live.send(
        message(call("queued", now(), "one-1", queue)), message(call("queued", now(), "one-2", "two"))
    )
    alone = live.worker.scrape_queue(queue)
    assert alone.samples
    assert all(dict(labels)["queue"] == queue for _, labels in alone.samples)
    assert alone.samples.keys() == {key for key in everything.samples if dict(key[1]).get("queue") == queue}
    assert live.worker.scrape_queue("nobody knows it").samples == {}


def test_a_source_says_whether_its_queue_is_open(live: Live) -> None:
    """Nothing is said before, then 1, then 0."""
    queue = "opens late"
    scrape = live.send(message(call("queued", now(), "o-1", queue)))
    assert scrape.values("queue_open", queue=queue) == []
    for kind, value in (("opened", 1), ("closed", 0)):
        scrape = live.send(message(cloud_event(f"queue.{kind}", now(), queue, {})))
        assert scrape.value("queue_open", queue=queue) == value


def test_a_ghost_is_given_up_by_the_log_and_its_true_outcome_revises_that(live: Live) -> None:
    """Too long a wait is proposed as an event, counted when that comes back, and corrected by what really happened."""
    queue, ghost = "ghost town", "ghost-1"
    alive = line(heartbeat(now(), interval_s=60))
    entered = now()
    live.send(
        message(call("queued", entered, ghost, queue)), *(Message(SOURCE.encode(), alive, number) for number in (0, 1))
    )
    live.expected += 1
    scrape = live.worker.until_scrape("the eviction", lambda scrape: scrape.sum("calls_evicted_total", queue=queue))
    assert scrape.nonzero("calls_evicted_total", "reason", queue=queue) == {"too_long": 1}
    assert scrape.value("calls_waiting", queue=queue, channel="voice") == 0
    found = [json.loads(each.value) for each in live.site.read("events") if b"call.evicted" in (each.value or b"")]
    [eviction] = found
    assert eviction["source"] == live.site.configuration.own_source
    assert (eviction["subject"], eviction["data"]) == (ghost, {"queue": queue, "reason": "too_long"})
    assert eviction["time"] == cloud_event("any", entered + 3 * SECOND, "any", {})["time"].replace("+00:00", "Z")

    scrape = live.send(message(call("answered", now(), ghost, queue)))
    assert scrape.value("revisions_total", queue=queue, channel="voice", **{"from": "evicted", "to": "answered"}) == 1
    assert scrape.corrected(queue=queue) == {"offered": 1, "answered": 1}
    assert scrape.value("calls_talking", queue=queue, channel="voice") == 1


def test_a_worker_waits_for_its_topics_and_says_so(broker: Broker, unique: str, tmp_path: Path) -> None:
    """Started before they exist, it works as soon as they do."""
    site = Site(broker, unique, tmp_path)
    try:
        worker = site.worker()
        worker.patiently(
            "a word about the missing topics", lambda: "waiting: there is no topic" in worker.said() or None
        )
        assert site.topic("events") in worker.said()
        assert "queuewatch topics create" in worker.said()
        healthy, unready = worker.ask("/healthz"), worker.ask("/readyz")
        assert healthy is not None
        assert unready is not None
        assert (healthy.status, unready.status) == (200, 503)
        assert "waits for its topics" in unready.text
        assert worker.scrape().value("ready") == 0
        site.create_topics()
        site.send([message(call("queued", now()))])
        scrape = worker.until_read(1)
        assert scrape.value("calls_waiting", queue="sales", channel="voice") == 1
        assert worker.stop() == 0, worker.said()
    finally:
        site.close()


def test_a_topic_to_write_to_is_waited_for_too(embedded: Broker, unique: str, tmp_path: Path) -> None:
    """Else no offset could ever be committed behind the first dead letter; other partitions than the events' are refused."""
    site = Site(embedded, unique, tmp_path).create_topics()
    try:

        async def divide_otherwise() -> None:
            async with administration(site.configuration.kafka) as admin:
                await admin.delete_topics([site.topic("intervals")])
                await asyncio.sleep(0.5)
                worker = site.worker()
                await asyncio.to_thread(
                    worker.patiently,
                    "a word",
                    lambda: f"no topic {site.topic('intervals')} yet" in worker.said() or None,
                )
                await admin.create_topics([NewTopic(site.topic("intervals"), 5, 1)])
                status = await asyncio.to_thread(worker.process.wait, 30)
                assert (status, "Traceback" in worker.said()) == (2, False), worker.said()
                assert f"{site.topic('intervals')} has 5: they must be equal" in worker.said()

        asyncio.run(divide_otherwise())
    finally:
        site.close()


def test_a_taken_port_ends_the_worker_with_what_to_do(live: Live, tmp_path: Path) -> None:
    """Its message names the address and the flag; the worker that has the port is none the worse."""
    other = WorkerProcess(live.site.toml, tmp_path, port=live.worker.port)
    other.start()
    status = other.process.wait(60)
    said = other.said()
    assert status == 2, said
    assert f"cannot listen on 127.0.0.1:{live.worker.port}: Address already in use" in said
    assert "--metrics-port" in said
    assert "Traceback" not in said
    answer: Any = live.worker.ask("/readyz")
    assert answer.status == 200
