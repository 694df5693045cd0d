"""Which record of a key counts, when a record is due, and in which order records, dead letters and commits go out."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.checkpoints import UP_TO, CheckpointFailed, Checkpoints
from queuewatch_streams.core.partition import Record
from queuewatch_streams.deliveries import Deliveries
from queuewatch_streams.delivery import FetchApp, Settings, build_app
from queuewatch_streams.lease import Lease

APP = build_app(Settings(brokers="127.0.0.1:1", group="g", source="e", partitions=1))


class Counting:
    """The smallest partition: records are their offset in text."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.topic_ids: tuple[str | None, str | None] = (None, None)
        self.next_offset = 0
        self.dirty: dict[str, tuple[int, int]] = {}

    @property
    def resume_at(self) -> int:
        return next(iter(self.dirty.values()))[0] if self.dirty else self.next_offset

    def fold(self, queues: Iterable[str]) -> None:
        for queue in queues:
            self.dirty.setdefault(queue, (self.next_offset, 0))
            self.next_offset += 1

    def encode_queue(self, queue: str) -> bytes | None:
        return None if queue.startswith("gone") else str(self.next_offset).encode()

    def encode_self(self) -> bytes:
        return str(self.next_offset).encode()

    def unwritten(self, queue: str) -> None:
        """It is dirty until it is written."""

    def written(self, queue: str | None, up_to: int) -> None:
        if queue is not None and queue in self.dirty and self.dirty[queue][0] < up_to:
            del self.dirty[queue]


class Written(list[tuple[str, bytes | None, tuple[tuple[str, bytes], ...]]]):
    """A writer whose broker acknowledges all at once, or refuses all."""

    ended = False

    def __init__(self, refuse: Exception | None = None) -> None:
        super().__init__()
        self.refuse = refuse

    async def send(
        self, partition: int, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Awaitable[Any]:
        self.append((key.decode(), value, headers))
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.refuse is not None:
            acknowledged.set_exception(self.refuse)
        else:
            acknowledged.set_result(None)
        return acknowledged

    @property
    def keys(self) -> list[str]:
        return [key for key, _, _ in self]


class Clock:
    """A clock that the test sets."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


class Bench:
    """Checkpoints of one partition with a writer and a clock of the test's."""

    def __init__(self, refuse: Exception | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.app: FetchApp = APP
        self.app.lease = Lease(1e9, 0, clock=self.clock)
        self.app.lease.renew(0)
        self.writer = Written(refuse)
        self.app.writer = self.writer  # type: ignore[assignment]  # a broker that always answers
        self.checkpoints: Checkpoints[Counting] = Checkpoints(
            self.app, record_offset=int, clock=self.clock, **{"interval": 60.0, "tick": 1.0} | options
        )
        self.partition = Counting()

    def own(self) -> None:
        self.checkpoints.own(self.partition, -1)

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.time += 1
            await self.checkpoints.write_due()


KEYS = st.sampled_from([b"0/a", b"0/b", b"0/\xc3\xa9", b"0"])
RECORDS = st.lists(st.tuples(KEYS, st.integers(0, 50), st.booleans()))


def record(at: int, key: bytes, offset: int, tombstone: bool) -> Record:
    """A record of the changelog, as a worker writes it."""
    headers = ((UP_TO, str(offset).encode()),) if tombstone else ()
    return Record(at, 0, key, None if tombstone else str(offset).encode(), headers)


@given(RECORDS, st.integers(1, 5))
def test_of_a_key_the_record_with_the_highest_source_offset_counts(
    written: list[tuple[bytes, int, bool]], size: int
) -> None:
    """In any order and any split into fetches; a key whose last record is not its highest is written again."""
    bench = Bench()
    records = [record(n, key, offset, gone and key != b"0") for n, (key, offset, gone) in enumerate(written)]
    bench.checkpoints.loading([0])
    for first in range(0, len(records), size):
        bench.checkpoints.load(0, records[first : first + size])
    best: dict[bytes, Record] = {}
    behind: set[bytes] = set()

    def up_to(r: Record) -> int:
        return int(r.value) if r.value is not None else int(r.headers[0][1])

    for r in records:
        assert r.key is not None
        if r.key not in best or up_to(r) >= up_to(best[r.key]):
            best[r.key] = r
            behind.discard(r.key)
        else:
            behind.add(r.key)
    own, values = bench.checkpoints.loaded(0)
    assert own == (best[b"0"].value if b"0" in best else None)
    assert sorted(values) == sorted(r.value for k, r in best.items() if k != b"0" and r.value is not None)

    bench.own()
    asyncio.run(bench.tick())
    expected = {key.decode() for key in behind} | ({"0"} if b"0" not in best else set())
    assert set(bench.writer.keys) == expected


def test_a_tombstone_without_our_header_loses_against_any_record() -> None:
    """Somebody else's deletion does not delete a queue."""
    bench = Bench()
    bench.checkpoints.loading([0])
    bench.checkpoints.load(0, [record(0, b"0/a", 5, False), Record(1, 0, b"0/a", None, ())])
    assert bench.checkpoints.loaded(0) == (None, [b"5"])


def test_each_changed_queue_is_written_once_an_interval_and_evenly_spread() -> None:
    """600 queues that change all the time: each once in 60 seconds, never a tenth of them in one second."""
    bench = Bench(commit_interval=60.0)
    bench.own()
    queues = [f"queue-{n}" for n in range(600)]
    sizes = []

    async def a_minute() -> None:
        for _ in range(60):
            bench.partition.fold(queues)
            before = len(bench.writer)
            await bench.tick()
            sizes.append(len(bench.writer) - before)

    asyncio.run(a_minute())
    keys = [key for key in bench.writer.keys if "/" in key]
    assert sorted(keys) == sorted(f"0/{queue}" for queue in queues)
    assert max(sizes) < 60


def test_a_checkpoint_gets_on_between_deliveries_that_never_end() -> None:
    """600 queues of four partitions, written slice by slice: some dozens of deliveries later all are acknowledged."""
    bench = Bench()
    bench.app = bench.checkpoints._app = build_app(Settings(brokers="127.0.0.1:1", group="g", source="e", partitions=4))
    bench.app.lease, bench.app.writer = APP.lease, APP.writer
    deliveries: Deliveries[Counting] = Deliveries(
        bench.app, bench.checkpoints, restore=lambda number, own, values: Counting(number)
    )
    for number in range(4):
        partition = Counting(number)
        bench.checkpoints.own(partition, -1)
        partition.fold([f"queue-{n}" for n in range(150)])
    passed = 0

    async def deliver() -> None:
        nonlocal passed
        while True:
            passed += 1
            await deliveries.rest()

    async def write() -> None:
        delivering = asyncio.ensure_future(deliver())
        await bench.checkpoints.write_all(30.0)
        delivering.cancel()

    asyncio.run(write())
    assert len(bench.writer) == 604
    assert passed < 30


def test_nothing_waits_when_too_many_events_would_have_to_be_replayed() -> None:
    """The oldest go first, until half of what may be replayed is left; and the partition's own record with them."""
    bench = Bench(replay_events=1000)
    bench.own()

    async def folds() -> None:
        await bench.tick()
        bench.writer.clear()
        for n in range(100):
            bench.partition.fold([f"queue-{n}"] * 20)
            await bench.tick()
            assert bench.partition.next_offset - bench.partition.resume_at <= 1000

    asyncio.run(folds())
    assert "0" in bench.writer.keys


def test_an_unchanged_record_is_written_again_within_half_the_compaction_lag() -> None:
    """So a stale record behind it never stays the last of its key until compaction comes."""
    bench = Bench(refresh=300.0)
    bench.checkpoints.loading([0])
    bench.checkpoints.load(0, [record(n, b"0/queue-%d" % n, n, False) for n in range(100)])
    bench.own()
    asyncio.run(bench.tick(455))
    assert {key for key in bench.writer.keys if "/" in key} == {f"0/queue-{n}" for n in range(100)}


def test_outside_the_lease_nothing_is_written() -> None:
    """Neither what is due nor the last checkpoint; within it again all is."""
    bench = Bench()
    bench.own()
    bench.partition.fold(["a", "b"])
    bench.app.lease.end()
    asyncio.run(bench.tick(60))
    assert not asyncio.run(bench.checkpoints.write_all(5.0)) or not bench.writer
    assert not bench.writer
    bench.app.lease.renew(0)
    asyncio.run(bench.checkpoints.write_all(5.0))
    assert bench.writer.keys == ["0/a", "0/b", "0"]


def test_in_another_generation_nothing_is_written() -> None:
    """The partitions may be another worker's."""
    bench = Bench()
    bench.checkpoints.own(bench.partition, 7)
    bench.partition.fold(["a"])
    asyncio.run(bench.tick(60))
    assert not bench.writer


def test_what_is_behind_the_barrier_is_acknowledged_before_any_record_that_relies_on_it() -> None:
    """A crash in between would lose letters (the own record says where to go on) and intervals (a queue's says told)."""
    order: list[list[str]] = []

    async def before_commit() -> None:
        order.append(list(bench.writer.keys))

    bench = Bench(before_commit=before_commit)
    bench.own()
    bench.partition.fold(["a", "b"])
    asyncio.run(bench.checkpoints.write_all(5.0))
    assert order == [[], ["0/a", "0/b"]]
    assert bench.writer.keys == ["0/a", "0/b", "0"]


def test_a_tombstone_says_up_to_which_offset_it_is_true() -> None:
    """It must be comparable with the records of its key."""
    bench = Bench()
    bench.own()
    bench.partition.fold(["gone-1"])
    asyncio.run(bench.checkpoints.write_all(5.0))
    assert bench.writer[0] == ("0/gone-1", None, ((UP_TO, b"1"),))


def test_a_record_that_the_broker_refuses_is_an_error_that_names_record_and_limit() -> None:
    """The worker stops on it; nothing is committed past it."""
    bench = Bench(refuse=MessageSizeTooLargeError())
    bench.own()
    bench.partition.fold(["a"])
    with pytest.raises(
        CheckpointFailed, match=r"record 0/a cannot be written to g-queues-changelog: .*max\.message\.bytes"
    ):
        asyncio.run(bench.checkpoints.write_all(5.0))
    assert bench.partition.dirty


def test_the_age_runs_from_the_oldest_change_that_no_record_holds_and_is_0_when_all_are_written() -> None:
    """An idle worker stays young; one that cannot write grows old, also when it has never written."""
    bench = Bench()
    assert bench.checkpoints.age() is None
    bench.own()
    bench.clock.time += 500
    assert bench.checkpoints.age() == 0
    bench.partition.fold(["a"])
    assert bench.checkpoints.age() == 0  # this is the first look at it
    bench.app.lease.end()
    asyncio.run(bench.tick(40))
    bench.partition.fold(["b"])
    assert bench.checkpoints.age() == 40
    bench.app.lease.renew(0)
    asyncio.run(bench.checkpoints.write_all(5.0))
    assert bench.checkpoints.age() == 0
    bench.clock.time += 500
    assert bench.checkpoints.age() == 0
