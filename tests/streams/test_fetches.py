"""What a fetch brought is handed out by batches, which unpack to exactly what aiokafka unpacks record by record."""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_streams.delivery.fetches import Delivery, Fetched, Part

TP = TopicPartition("events", 0)
READ_COMMITTED = 1
LZ4 = 3


class Batch(NamedTuple):
    """The offsets of its records after those before, whether it is compressed, which transaction it belongs to, and whether
    compaction has left nothing of it but its header."""

    gaps: list[int]
    compressed: bool
    producer: int | None
    emptied: bool


BATCHES = st.lists(
    st.builds(
        Batch,
        st.lists(st.integers(0, 3), min_size=1, max_size=5),
        st.booleans(),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([False, False, True]),
    ),
    max_size=5,
)


def written(batches: Sequence[Batch]) -> bytes:
    """The bytes of these batches as a broker sends them; offsets have holes, as compaction leaves them."""
    made, base = b"", 0
    for batch in batches:
        builder = DefaultRecordBatchBuilder(
            2,
            LZ4 if batch.compressed and not batch.emptied else 0,
            int(batch.producer is not None),
            batch.producer or -1,
            0,
            0,
            1 << 20,
        )
        delta = 0
        for gap in batch.gaps:
            delta += gap
            offset = base + delta
            headers: list[Any] = [("h", b"x")] if offset % 3 == 0 else []
            value = None if offset % 5 == 0 else b"v%d" % offset
            assert builder.append(delta, 1_000 + offset, b"k%d" % offset, value, headers) is not None
            delta += 1
        batch_bytes = bytes(builder.build())
        if batch.emptied:  # the header alone, of no records, with the last offset that it had
            header = batch_bytes[21:57] + struct.pack(">i", 0)
            batch_bytes = batch_bytes[:8] + struct.pack(">i", 49) + batch_bytes[12:17]
            batch_bytes += struct.pack(">I", calc_crc32c(header)) + header
        made += struct.pack(">q", base) + batch_bytes[8:]
        base += delta
    return made


def fetched(data: bytes, begin: int, aborted: list[tuple[int, int]]) -> tuple[FetchResult, Any]:
    """A fetch that began at an offset, and the state of its partition."""
    assignment = Assignment({TP})
    state = assignment.state_value(TP)
    state.seek(begin)
    records = PartitionRecords(TP, MemoryRecords(data), list(aborted), begin, None, None, True, READ_COMMITTED)
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0), state


@settings(max_examples=400)
@given(
    BATCHES, st.integers(0, 6), st.lists(st.one_of(st.none(), st.integers(1, 6)), max_size=12), st.booleans(),
    st.sampled_from([1, 2, 3, 100, 100]),
)  # fmt: skip
def test_records_positions_and_ends_are_those_of_aiokafka(
    batches: list[Batch], begin: int, asked: list[int | None], abort: bool, size: int
) -> None:
    """However many are asked for at a time, from the middle of a batch on, with transactions that were aborted."""

    async def compare() -> None:  # aiokafka wants a loop around it
        aborted = [(1, 0)] if abort else []
        theirs, their_state = fetched(written(batches), begin, aborted)
        ours, our_state = fetched(written(batches), begin, aborted)
        Fetched(frozenset({TP.topic}), size)[TP] = ours
        handed: list[tuple[Part, int]] = []
        while ours.has_more():
            most = asked.pop() if asked else None
            parts = ours.getall(most)
            assert len(parts) <= (most or len(parts))
            assert all(0 < part.size <= size for part in parts)
            handed += [(part, our_state.position) for part in parts]
            if parts and ours.has_more():
                assert our_state.position == parts[-1].end
        expected = [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in theirs.getall()]
        rows = [(part, list(part.rows), position) for part, position in handed]  # unpacked when all has been handed out
        assert [row for _, some, _ in rows for row in some] == expected
        assert our_state.position == their_state.position
        for part, some, position in rows:
            assert part.end <= position
            assert len(some) <= part.size <= part.end - part.begin
            if some:
                assert part.begin <= some[0][0] <= some[-1][0] < part.end
                assert part.timestamp == max(timestamp for _, timestamp, *_ in some)

    asyncio.run(compare())


@given(BATCHES, st.one_of(st.none(), st.integers(1, 6)))
def test_a_fetch_is_gone_with_its_last_record(batches: list[Batch], most: int | None) -> None:
    """Nothing of it is left for the garbage collector, which comes only after minutes: the worker's memory would grow.

    Its parts hold their batches until they are taken, and no longer.
    """

    async def hand_out() -> None:
        data = written(batches)
        held = sys.getrefcount(data)
        ours, _ = fetched(data, 0, [])
        records = weakref.ref(ours._partition_records)
        waiting = Fetched(frozenset({TP.topic}), 100)
        waiting[TP] = ours
        parts: list[Part] = []
        while ours.has_more():
            parts += ours.getall(most)
        assert records() is None
        delivery = Delivery(TP.topic, TP.partition, 1, 1, parts, 100, 0)
        del parts
        assert len(list(delivery.taken())) == sum(len(batch.gaps) for batch in batches if not batch.emptied)
        assert sys.getrefcount(data) == held
        fetch = weakref.ref(ours)
        del ours, waiting[TP]
        assert fetch() is None

    gc.disable()
    try:
        asyncio.run(hand_out())
    finally:
        gc.enable()
