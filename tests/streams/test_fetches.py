"""What a fetch brought is unpacked batch by batch to exactly what aiokafka unpacks record by record."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.delivery import Record, _Fetched

TP = TopicPartition("events", 0)
READ_COMMITTED = 1
LZ4 = 3


class Batch(NamedTuple):
    """The offsets of its records after those before, whether it is compressed, and which transaction it belongs to."""

    gaps: list[int]
    compressed: bool
    producer: int | None


BATCHES = st.lists(
    st.builds(Batch, st.lists(st.integers(0, 3), min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 1, 2])),
    max_size=5,
)


def written(batches: Sequence[Batch]) -> bytes:
    """The bytes of these batches as a broker sends them; offsets have holes, as compaction leaves them."""
    made, base = b"", 0
    for batch in batches:
        builder = DefaultRecordBatchBuilder(
            2, LZ4 if batch.compressed else 0, int(batch.producer is not None), batch.producer or -1, 0, 0, 1 << 20
        )
        delta = 0
        for gap in batch.gaps:
            delta += gap
            offset = base + delta
            headers: list[Any] = [("h", b"x")] if offset % 3 == 0 else []
            value = None if offset % 5 == 0 else b"v%d" % offset
            assert builder.append(delta, 1_000 + offset, b"k%d" % offset, value, headers) is not None
            delta += 1
        made += struct.pack(">q", base) + bytes(builder.build())[8:]
        base += delta
    return made


def fetched(batches: Sequence[Batch], begin: int, aborted: list[tuple[int, int]]) -> tuple[FetchResult, Any]:
    """A fetch that began at an offset, and the state of its partition."""
    assignment = Assignment({TP})
    state = assignment.state_value(TP)
    state.seek(begin)
    records = PartitionRecords(
        TP, MemoryRecords(written(batches)), list(aborted), begin, None, None, True, READ_COMMITTED
    )
    return FetchResult(TP, assignment=assignment, partition_records=records, backoff=0), state


@given(BATCHES, st.integers(0, 12), st.lists(st.one_of(st.none(), st.integers(1, 6)), max_size=12), st.booleans())
def test_records_positions_and_ends_are_those_of_aiokafka(
    batches: list[Batch], begin: int, asked: list[int | None], abort: bool
) -> None:
    """However many are asked for at a time, from the middle of a batch on, with transactions that were aborted."""

    async def compare() -> None:  # aiokafka wants a loop around it
        aborted = [(1, 0)] if abort else []
        theirs, their_state = fetched(batches, begin, aborted)
        ours, our_state = fetched(batches, begin, aborted)
        _Fetched(frozenset({TP.topic}))[TP] = ours
        for most in [*asked, None]:
            expected = [
                Record(each.offset, each.timestamp, each.key, each.value, list(each.headers))
                for each in theirs.getall(most)
            ]
            assert ours.getall(most) == expected
            assert our_state.position == their_state.position
            assert ours.has_more() == theirs.has_more()
            if not theirs.has_more():
                break

    asyncio.run(compare())


@given(BATCHES, st.one_of(st.none(), st.integers(1, 6)))
def test_a_fetch_is_gone_with_its_last_record(batches: list[Batch], most: int | None) -> None:
    """Nothing of it is left for the garbage collector, which comes only after minutes: the worker's memory would grow."""

    async def hand_out() -> None:
        ours, _ = fetched(batches, 0, [])
        records = weakref.ref(ours._partition_records)
        waiting = _Fetched(frozenset({TP.topic}))
        waiting[TP] = ours
        while ours.has_more():
            ours.getall(most)
        assert records() is None
        fetch = weakref.ref(ours)
        del ours, waiting[TP]
        assert fetch() is None

    gc.disable()
    try:
        asyncio.run(hand_out())
    finally:
        gc.enable()
