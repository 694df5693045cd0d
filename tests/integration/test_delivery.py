"""Every event is folded exactly once, through kills, losses on the way, stale records and restarts, on both brokers.

The workers are processes of their own (`counting_worker.py`), with a core that only counts: what is tested here is delivery,
checkpoints and commits.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from queuewatch_streams.brokers import Broker, EmbeddedBroker

PARTITIONS = 4
QUEUES = 100  # of each partition
WORKER = Path(__file__).with_name("counting_worker.py")
Shown = dict[str, Any]
T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    return asyncio.run(coroutine)


@dataclass
class Log:
    """A source topic, its changelog, and what was published to it."""

    address: str
    group: str
    idempotent: bool
    published: dict[str, int]

    @property
    def source(self) -> str:
        return f"{self.group}-events"

    @property
    def changelog(self) -> str:
        return f"{self.group}-queues-changelog"

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def create(self, *, changelog_config: Mapping[str, str] | None = None) -> None:
        """Create both topics."""
        config = {"cleanup.policy": "compact"} | dict(changelog_config or {})

        async def create() -> None:
            async with self.admin() as admin:
                topics = [
                    NewTopic(self.source, PARTITIONS, 1),
                    NewTopic(self.changelog, PARTITIONS, 1, topic_configs=config),
                ]
                response = await admin.create_topics(topics)
                assert [code for _, code, _ in response.topic_errors] == [0, 0], response

        run(create())

    def publish(self, events: int, *, compression: str | None = None) -> None:
        """Publish so many events over all partitions and queues."""

        async def publish() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.address, compression_type=compression, max_batch_size=1 << 18
            )
            await producer.start()
            try:
                for partition in range(PARTITIONS):
                    left = events // PARTITIONS
                    while left:
                        batch = producer.create_batch()
                        while left:
                            queue = f"queue-{partition}-{left % QUEUES}"
                            if batch.append(key=queue.encode(), value=b'{"id":"%040d"}' % left, timestamp=None) is None:
                                break
                            self.published[queue] = self.published.get(queue, 0) + 1
                            left -= 1
                        batch.close()
                        await producer.send_batch(batch, self.source, partition=partition)
                await producer.flush()
            finally:
                await producer.stop()

        run(publish())

    def write_record(self, partition: int, key: str, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Write to the changelog, as a worker would that has lost its group."""

        async def write() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.address)
            await producer.start()
            try:
                await producer.send_and_wait(
                    self.changelog, value, key=key.encode(), partition=partition, headers=headers
                )
            finally:
                await producer.stop()

        run(write())

    def last_records(self) -> dict[str, bytes | None]:
        """The last record of each key of the changelog."""

        async def read() -> dict[str, bytes | None]:
            partitions = [TopicPartition(self.changelog, p) for p in range(PARTITIONS)]
            consumer = AIOKafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest")
            await consumer.start()
            last: dict[str, bytes | None] = {}
            try:
                consumer.assign(partitions)
                while fetched := await consumer.getmany(timeout_ms=1000):
                    for records in fetched.values():
                        last.update((r.key.decode(), r.value) for r in records)
            finally:
                await consumer.stop()
            return last

        return run(read())

    def remake(self, topic: str) -> None:
        """Delete a topic and create it again: another id, nothing in it."""

        async def remake() -> None:
            async with self.admin() as admin:
                await admin.delete_topics([topic])
                while topic in await admin.list_topics():
                    await asyncio.sleep(0.1)
                await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])

        run(remake())

    def cut(self, partition: int, before: int) -> None:
        """Delete what lies before an offset of the source, as retention does."""

        async def cut() -> None:
            async with self.admin() as admin:
                await admin.delete_records({TopicPartition(self.source, partition): RecordsToDelete(before)})

        run(cut())

    def commit(self, offset: int) -> None:
        """Commit an offset for all partitions, as anyone could while no worker runs."""

        async def commit() -> None:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.address, group_id=self.group, enable_auto_commit=False)
            await consumer.start()
            try:
                partitions = [TopicPartition(self.source, p) for p in range(PARTITIONS)]
                consumer.assign(partitions)
                await consumer.commit(dict.fromkeys(partitions, offset))
            finally:
                await consumer.stop()

        run(commit())


class Worker:
    """A counting worker in a process of its own."""

    def __init__(self, log: Log, folder: Path, name: str, **options: Any) -> None:
        self.name = name
        self.shown_path = folder / f"{name}.json"
        self.errors = folder / f"{name}.log"
        settings = {"idempotent": log.idempotent} | options.pop("settings", {})
        options_path = folder / f"{name}-options.json"
        options_path.write_text(
            json.dumps(
                {
                    "brokers": log.address, "group": log.group, "source": log.source, "partitions": PARTITIONS,
                    "folder": str(folder), "shown": str(self.shown_path), "settings": settings, **options,
                }
            )
        )  # fmt: skip
        self.output = self.errors.open("a")
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), str(options_path)],
            stdout=self.output, stderr=self.output, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def shown(self) -> Shown:
        """What it showed last; empty before the first time."""
        try:
            return dict(json.loads(self.shown_path.read_text()))
        except FileNotFoundError:
            return {}

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, wait for its end, and return its exit status; what it showed is forgotten."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(30)
        self.output.close()
        self.shown_path.unlink(missing_ok=True)
        return status

    def log_text(self) -> str:
        """All that it wrote to its outputs."""
        return self.errors.read_text()


Start = Callable[..., Worker]


@pytest.fixture
def log(broker: Broker, unique: str) -> Log:
    """A log of this test's own on each broker."""
    return Log(broker.address, unique, not isinstance(broker, EmbeddedBroker), {})


@pytest.fixture
def kafka_log(kafka: Broker, unique: str) -> Log:
    """A log of this test's own on Apache Kafka."""
    return Log(kafka.address, unique, True, {})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers, and ends those that still run."""
    workers: list[Worker] = []

    def begin(log: Log, name: str = "worker", **options: Any) -> Worker:
        workers.append(Worker(log, tmp_path, name, **options))
        return workers[-1]

    yield begin
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.kill()
            worker.process.wait()


def counts(*workers: Worker) -> dict[str, int]:
    """What the workers show together; a queue that two of them show fails the test."""
    together: dict[str, int] = {}
    for worker in workers:
        for queues in worker.shown().get("exposed", {}).values():
            assert not together.keys() & queues.keys(), "a queue is shown by two workers"
            together |= queues
    return together


def wait_until(true: Callable[[], bool], *workers: Worker, within: float = 45.0) -> None:
    """Wait until it is true; a worker that ends, or too long a wait, fails the test with what the workers said."""
    limit = time.monotonic() + within
    while not true():
        said = "\n".join(f"{w.name}: {str(w.shown())[:600]}\n{w.log_text()[-3000:]}" for w in workers)
        assert all(w.process.poll() is None for w in workers), f"a worker ended:\n{said}"
        assert time.monotonic() < limit, f"not within {within} s:\n{said}"
        time.sleep(0.1)


def counted(log: Log, *workers: Worker) -> Callable[[], bool]:
    """Whether the workers show all partitions, with every event counted once."""
    return lambda: (
        sum(len(w.shown().get("exposed", {})) for w in workers) == PARTITIONS and counts(*workers) == log.published
    )


def idle(*workers: Worker) -> Callable[[], bool]:
    """Whether all that is folded is committed, with nothing left to fold."""

    def is_idle() -> bool:
        states = [w.shown() for w in workers]
        return all(
            s and s["lag"] and not any(s["lag"].values()) and None not in s["committed"].values() for s in states
        )

    return is_idle


def test_every_event_counts_once_when_one_of_two_workers_is_killed(log: Log, start: Start) -> None:
    """200,000 events; one of two workers is killed in the middle; the other takes over, and a restart finds the same."""
    log.create()
    one, two = start(log, "one"), start(log, "two")
    wait_until(lambda: len(one.shown().get("owned", ())) == len(two.shown().get("owned", ())) == 2, one, two)
    log.publish(100_000)
    wait_until(lambda: one.shown()["folded"] > 1000, one, two)
    log.publish(50_000)
    one.end(signal.SIGKILL)
    log.publish(50_000)
    wait_until(counted(log, two), two)
    assert two.end() == 0
    again = start(log, "again")
    wait_until(counted(log, again), again)
    assert again.end() == 0


def test_a_graceful_stop_leaves_nothing_to_replay(log: Log, start: Start) -> None:
    """What was folded before a stop is not folded again; what came while no worker ran is."""
    log.create()
    log.publish(20_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    assert worker.end() == 0
    log.publish(400)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    shown = worker.shown()
    assert shown["folded"] == 400
    assert sum(shown["totals"].values()) == 20_400
    assert shown["table"] == 0, "Faust's table is a second copy of the state"
    assert worker.end() == 0


def test_a_delivery_that_got_lost_is_fetched_again_also_the_last_one(log: Log, start: Start) -> None:
    """Of four partitions the first, a middle, the last, and several deliveries never arrive."""
    log.create()
    log.publish(16_000)
    lost = [[0, 0], [1, 2000], [2, 3999], [3, 100], [3, 2100], [3, 3999]]
    worker = start(log, settings={"records_per_delivery": 250}, throw_away=lost)
    wait_until(counted(log, worker), worker)
    assert worker.shown()["fetched_again"] >= 4
    wait_until(idle(worker), worker)
    assert worker.shown()["folded"] == 16_000
    assert worker.shown()["gaps"] == 0


def test_a_leader_that_does_not_know_the_topics_asks_for_them_before_it_assigns(log: Log, start: Start) -> None:
    """Otherwise nobody would have a partition until metadata are old, minutes later."""
    log.create()
    log.publish(4_000)
    worker = start(log, unknown=12)
    wait_until(counted(log, worker), worker)


def test_a_stale_record_behind_a_newer_one_loses_and_is_overwritten(log: Log, start: Start) -> None:
    """Of a key the highest source offset counts; nor does a committed offset beyond the records mislead."""
    log.create()
    log.publish(20_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    assert worker.end() == 0
    log.write_record(0, "0/queue-0-1", b"%020d" % 7 + orjson.dumps({"queue": "queue-0-1", "events": 1}), [])
    own = {"resume_at": 3, "total": 3, "partitions": PARTITIONS, "topic_ids": [None, None]}
    log.write_record(1, "1", b"%020d" % 9 + orjson.dumps(own), [])
    log.write_record(2, "2/queue-2-2", None, [("up-to", b"11")])
    if log.idempotent:  # the embedded broker takes commits of members only
        log.commit(5_050)
    log.publish(400)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    wait_until(idle(worker), worker)
    assert sum(worker.shown()["totals"].values()) == 20_400
    assert worker.end() == 0
    last = log.last_records()
    assert all(value is not None and int(value[:20]) >= 5_000 for value in last.values())
    assert "written again" in worker.log_text()


def test_all_four_compressions_are_read(log: Log, start: Start) -> None:
    """gzip, snappy, lz4 and zstd, beside batches without any."""
    log.create()
    for compression in (None, "gzip", "snappy", "lz4", "zstd"):
        log.publish(400, compression=compression)
    worker = start(log)
    wait_until(counted(log, worker), worker)


def test_topics_that_appear_after_the_start_are_waited_for(log: Log, start: Start) -> None:
    """A worker that was started first says what it waits for, and then works."""
    worker = start(log)
    wait_until(lambda: "there is no topic" in worker.log_text(), worker)
    log.create()
    log.publish(400)
    wait_until(counted(log, worker), worker)


def test_markers_and_aborted_transactions_neither_count_nor_hold_anything_up(kafka_log: Log, start: Start) -> None:
    """Holes in the offsets, at the end too, of the source and of the changelog: exact, ready, and no lag."""
    log = kafka_log
    log.create()

    async def transactions() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=log.address, transactional_id=log.group)
        await producer.start()
        try:
            for number in range(10):
                await producer.begin_transaction()
                for partition in range(PARTITIONS):
                    await producer.send(log.source, b"{}", key=b"queue-%d-1" % partition, partition=partition)
                await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
            await producer.begin_transaction()
            await producer.send(log.changelog, b"%020d{}" % 1, key=b"0/nothing", partition=0)
            await producer.abort_transaction()
        finally:
            await producer.stop()

    run(transactions())
    log.published = {f"queue-{partition}-1": 5 for partition in range(PARTITIONS)}
    worker = start(log)
    wait_until(counted(log, worker), worker)
    wait_until(idle(worker), worker)
    assert worker.shown()["fetched_again"] == 0
    assert worker.end() == 0
    worker = start(log)
    wait_until(counted(log, worker), worker)


def test_a_worker_stopped_through_its_session_neither_writes_nor_shows_anything_stale(
    kafka_log: Log, start: Start
) -> None:
    """SIGSTOP until another has taken over and the traffic has ended, then SIGCONT, then a restart of all."""
    log = kafka_log
    log.create()
    one, two = start(log, "one"), start(log, "two")
    wait_until(lambda: len(one.shown().get("owned", ())) == len(two.shown().get("owned", ())) == 2, one, two)
    log.publish(40_000)
    wait_until(lambda: one.shown()["folded"] > 0, one, two)
    one.process.send_signal(signal.SIGSTOP)
    shown_while_stopped = one.shown_path.read_text()
    one.shown_path.unlink()
    assert shown_while_stopped
    log.publish(40_000)
    wait_until(counted(log, two), two)
    one.process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(one.shown().get("owned", ())) == len(two.shown().get("owned", ())) == 2, one, two)
    wait_until(counted(log, one, two), one, two)
    assert {one.end(), two.end()} == {0}
    again = start(log, "again")
    wait_until(counted(log, again), again)


def test_a_record_that_cannot_be_written_stops_the_worker_and_commits_nothing(kafka_log: Log, start: Start) -> None:
    """A limit that is too small is named, the exit status is not 0, and no offset is committed."""
    log = kafka_log
    log.create(changelog_config={"max.message.bytes": "60"})
    log.publish(400)
    worker = start(log)
    assert worker.process.wait(30) != 0
    assert "max.message.bytes" in worker.log_text()

    async def committed() -> set[int | None]:
        consumer = AIOKafkaConsumer(bootstrap_servers=log.address, group_id=log.group, enable_auto_commit=False)
        await consumer.start()
        try:
            return {await consumer.committed(TopicPartition(log.source, p)) for p in range(PARTITIONS)}
        finally:
            await consumer.stop()

    assert run(committed()) == {None}


def test_records_that_retention_deleted_are_reported_as_lost(kafka_log: Log, start: Start) -> None:
    """The log begins beyond the resume point: how many are lost is told once, and on it goes."""
    log = kafka_log
    log.create()
    log.publish(4_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    assert worker.end() == 0
    kept = dict(log.published)
    log.publish(400)

    log.cut(0, 1_060)
    worker = start(log)
    wait_until(lambda: bool(worker.shown().get("exposed")) and len(worker.shown()["exposed"]) == PARTITIONS, worker)
    wait_until(idle(worker), worker)
    assert worker.shown()["lost"] == {"0": 60}
    assert sum(counts(worker).values()) == sum(kept.values()) + 400 - 60
    assert worker.end() == 0
    worker = start(log)
    wait_until(lambda: len(worker.shown().get("exposed", ())) == PARTITIONS, worker)
    assert worker.shown()["lost"] == {}


def test_a_source_topic_made_anew_is_refused_with_what_to_do(kafka_log: Log, start: Start) -> None:
    """Records that are true beyond the end of the log belong to another topic of that name, whether it tells its id."""
    log = kafka_log
    log.create()
    log.publish(4_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    assert worker.end() == 0

    log.remake(log.source)
    log.publish(40)
    worker = start(log)
    assert worker.process.wait(30) != 0
    assert "made anew" in worker.log_text()
    assert f"delete the topic {log.changelog} too" in worker.log_text()


@pytest.mark.parametrize("topic", ["source", "changelog"])
def test_a_topic_made_anew_under_a_running_worker_stops_it(kafka_log: Log, start: Start, topic: str) -> None:
    """It goes on where the old one ended, so that nothing but its id tells; the next start does by each as it must."""
    log = kafka_log
    log.create()
    log.publish(4_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    wait_until(idle(worker), worker)
    worker.process.send_signal(signal.SIGSTOP)
    log.remake(getattr(log, topic))
    if topic == "source":
        log.publish(8_000)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.process.wait(60) != 0
    assert "made anew" in worker.log_text()
    again = start(log, "again")
    if topic == "source":
        assert again.process.wait(30) != 0
        assert "made anew" in again.log_text()
    else:
        wait_until(counted(log, again), again)
        assert sum(again.shown()["totals"].values()) == 4_000


def test_a_changelog_made_anew_behind_some_new_records_is_no_base_to_go_on_from(kafka_log: Log, start: Start) -> None:
    """Its own record is there, but of the queues only those that were written since: all is folded again."""
    log = kafka_log
    log.create()
    log.publish(4_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    assert worker.end() == 0
    records = log.last_records()
    log.remake(log.changelog)
    for partition in range(PARTITIONS):  # as a worker does that has not noticed
        for key in (f"{partition}/queue-{partition}-7", str(partition)):
            log.write_record(partition, key, records[key], [])
    again = start(log, "again")
    wait_until(counted(log, again), again)
    assert sum(again.shown()["totals"].values()) == 4_000
    assert "is passed over" in again.log_text()


def test_what_retention_deletes_before_a_running_worker_is_counted_as_lost(kafka_log: Log, start: Start) -> None:
    """The log is cut beyond the consumer's position, in the middle and up to its end; on it goes behind both cuts."""
    log = kafka_log
    log.create()
    log.publish(4_000)
    worker = start(log)
    wait_until(counted(log, worker), worker)
    wait_until(idle(worker), worker)
    counted_before = sum(counts(worker).values())
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)  # the fetch that was under way ends empty (after 0.2 s), or it would bring what is cut below
    log.publish(400)
    log.cut(0, 1_060)  # 40 of 100 are left
    log.cut(1, 1_100)  # none is
    worker.process.send_signal(signal.SIGCONT)
    wait_until(lambda: worker.shown()["lost"] == {"0": 60, "1": 100}, worker)
    log.publish(400)
    wait_until(lambda: worker.shown()["folded"] == 4_800 - 160, worker)
    wait_until(idle(worker), worker)
    wait_until(lambda: len(worker.shown()["exposed"]) == PARTITIONS, worker)
    assert worker.shown()["lost"] == {"0": 60, "1": 100}
    assert sum(counts(worker).values()) == counted_before + 800 - 160
    assert worker.shown()["fetched_again"] == 0
    assert worker.end() == 0


def test_a_loop_that_stalls_loses_nothing_and_fetches_nothing_again(kafka_log: Log, start: Start) -> None:
    """What is under way while the loop does something else for longer than a look is not lost."""
    log = kafka_log
    log.create()
    worker = start(log, stall=1.3, session_timeout=15.0, settings={"records_per_delivery": 200})
    wait_until(lambda: len(worker.shown().get("owned", ())) == PARTITIONS, worker, within=90.0)
    for _ in range(4):
        log.publish(8_000)
        wait_until(counted(log, worker), worker, within=90.0)
    assert worker.shown()["fetched_again"] == 0
