"""Streams whose shards are split and merged, whose reads fail: against a stand-in, since moto neither ends a shard nor fails.

The stand-in gives what the service model says: no next iterator at the end of a closed shard, errors by their codes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.sources.aws import kinesis
from queuewatch_streams.sources.aws.kinesis import END, KinesisStreams
from queuewatch_streams.sources.shape import Lost

START: Any = {"since": 0, "streams": {}}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinesis, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(kinesis, "SHARDS_SECONDS", 0.005)
    monkeypatch.setattr(kinesis, "_LONGEST_PAUSE", 0.001)


def failed(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "Any")


class Stream:
    """A stream of shards: each has records, parents, and may be closed."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.shards: dict[str, dict[str, Any]] = {}
        self.trimmed: dict[str, int] = {}
        self.faults: list[str] = []
        """Errors that reads have by chance."""
        self.gone = False
        self.clock = time.time

    def open(self, name: str, records: int, *parents: str) -> None:
        for parent in parents:
            self.shards[parent]["closed"] = True
        self.shards[name] = {
            "records": [f"{name}:{number}" for number in range(records)],
            "parents": parents,
            "closed": False,
        }

    @property
    def all(self) -> list[str]:
        return [each for shard in self.shards.values() for each in shard["records"]]

    async def list_shards(self, **asked: Any) -> dict[str, Any]:
        if self.gone:
            raise failed("ResourceNotFoundException")
        names = list(self.shards)
        number = int(asked.get("NextToken", 0))
        shard = self.shards[names[number]]
        ends = {"EndingSequenceNumber": str(len(shard["records"]))} if shard["closed"] else {}
        found: dict[str, Any] = {
            "ShardId": names[number],
            "SequenceNumberRange": {"StartingSequenceNumber": "0", **ends},
        }
        for key, parent in zip(("ParentShardId", "AdjacentParentShardId"), shard["parents"], strict=False):
            found[key] = parent
        return {"Shards": [found], **({"NextToken": str(number + 1)} if number + 1 < len(names) else {})}

    async def get_shard_iterator(self, *, ShardId: str, ShardIteratorType: str, **asked: Any) -> dict[str, Any]:  # noqa: N803
        first = self.trimmed.get(ShardId, 0)
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            number = int(asked["StartingSequenceNumber"]) + 1
            if number < first:
                raise failed("InvalidArgumentException")
            first = number
        elif ShardIteratorType == "AT_TIMESTAMP":
            at = asked["Timestamp"].timestamp()
            if at > self.clock():
                raise failed("InvalidArgumentException")
            first = max(first, int(at))
        elif ShardIteratorType == "LATEST":
            first = len(self.shards[ShardId]["records"])
        return {"ShardIterator": f"{ShardId} {first}"}

    async def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        if self.faults and self.dice.random() < 0.3:
            raise failed(self.dice.choice(self.faults))
        name, _, first = ShardIterator.partition(" ")
        shard = self.shards[name]
        part = shard["records"][int(first) : int(first) + self.dice.randint(0, 4)]
        after = int(first) + len(part)
        records = [
            {
                "Data": each.encode(),
                "SequenceNumber": each.partition(":")[2],
                "ApproximateArrivalTimestamp": datetime.now(UTC),
            }
            for each in part
        ]
        at_end = shard["closed"] and after >= len(shard["records"])
        return {
            "Records": records,
            "MillisBehindLatest": 0 if after >= len(shard["records"]) else 60_000,
            **({} if at_end else {"NextShardIterator": f"{name} {after}"}),
        }


async def read(
    stream: Stream,
    position: Any,
    enough: Callable[[list[str]], bool],
    also: Callable[[KinesisStreams], None] | None = None,
) -> tuple[list[str], list[tuple[int, Any]], list[str]]:
    """What is taken until it is enough; after how many records the position was which; and troubles."""
    streams = KinesisStreams(["s"], position, "eu-central-1")
    streams._client = stream
    taken: list[str] = []
    places: list[str] = []
    positions: list[tuple[int, Any]] = []
    troubles: list[str] = []
    done = asyncio.Event()
    now = position

    async def take(where: Callable[[int], str], records: Sequence[bytes], move: Callable[[Any], Any]) -> None:
        nonlocal now
        await asyncio.sleep(0)
        taken.extend(each.decode() for each in records)
        places.extend(where(number) for number in range(len(records)))
        now = move(now)
        positions.append((len(taken), now))
        if enough(taken):
            done.set()

    work = asyncio.ensure_future(streams.follow(take, lambda: None, troubles.append))
    try:
        waiting = asyncio.ensure_future(done.wait())
        async with asyncio.timeout(20):
            await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if work.done():
            work.result()
        if also is not None:
            also(streams)
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError, Lost):
            await work
    assert places == ["s, {}, {}".format(*each.split(":")) for each in taken]
    return taken, positions, troubles


def split_and_merged(dice: random.Random) -> Stream:
    """A stream that was split and merged some times."""
    stream = Stream(dice)
    stream.open("a", dice.randrange(12))
    stream.open("b", dice.randrange(12))
    open_ones = ["a", "b"]
    for number in range(dice.randrange(6)):
        if dice.random() < 0.5 or len(open_ones) < 2:
            parents = [open_ones.pop(dice.randrange(len(open_ones)))]
            children = [f"c{number}", f"d{number}"]
        else:
            parents = [open_ones.pop(dice.randrange(len(open_ones))) for _ in range(2)]
            children = [f"m{number}"]
        for child in children:
            stream.open(child, dice.randrange(12), *parents)
        open_ones += children
    return stream


def _at_least(number: int) -> Callable[[list[str]], bool]:
    return lambda taken: len(taken) >= number


@given(st.integers(0, 1 << 30))
def test_every_record_is_taken_once_in_order_and_those_of_parents_first(seed: int) -> None:
    stream = split_and_merged(random.Random(seed))
    stream.faults = ["ProvisionedThroughputExceededException", "ExpiredIteratorException"]
    stream.open("last", 1)
    taken, positions, troubles = asyncio.run(read(stream, START, lambda taken: len(taken) >= len(stream.all)))
    assert sorted(taken) == sorted(stream.all)
    assert troubles == []
    places = {record: place for place, record in enumerate(taken)}
    for shard in stream.shards.values():
        assert [places[each] for each in shard["records"]] == sorted(places[each] for each in shard["records"])
        for parent in shard["parents"]:
            for older in stream.shards[parent]["records"]:
                assert all(places[older] < places[each] for each in shard["records"])
    unfinished = [(number, position) for number, position in positions if number < len(taken)]
    for number, position in random.Random(seed).sample(unfinished, min(3, len(unfinished))):
        left = [each for each in stream.all if each not in taken[:number]]
        again, _, _ = asyncio.run(read(stream, position, _at_least(len(left))))
        assert sorted(again) == sorted(left)


def test_a_first_start_begins_where_it_is_told() -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 10)
    taken, _, _ = asyncio.run(read(stream, {"since": 7_000_000, "streams": {}}, lambda taken: len(taken) >= 3))
    assert taken == ["a:7", "a:8", "a:9"]


def test_a_stream_whose_every_shard_is_read_to_its_end_is_looked_at_until_there_are_new_ones() -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 3)
    stream.shards["a"]["closed"] = True

    async def later() -> tuple[list[str], list[tuple[int, Any]], list[str]]:
        reading = asyncio.ensure_future(read(stream, {"since": 0, "streams": {"s": {"a": END}}}, _at_least(2)))
        await asyncio.sleep(0.02)
        stream.open("b", 2, "a")
        return await reading

    taken, _, _ = asyncio.run(later())
    assert taken == ["b:0", "b:1"]


def test_shards_that_are_gone_are_forgotten() -> None:
    stream = Stream(random.Random(1))
    stream.open("b", 3, *())
    position = {"since": 0, "streams": {"s": {"a": END, "b": "0"}}}
    _, positions, _ = asyncio.run(read(stream, position, lambda taken: len(taken) >= 2))
    assert positions[-1][1] == {"since": 0, "streams": {"s": {"b": "2"}}}


def test_a_shard_that_is_gone_before_its_end_was_read_is_told_of() -> None:
    stream = Stream(random.Random(1))
    stream.open("b", 3)
    position = {"since": 0, "streams": {"s": {"a": "7", "b": "0"}}}
    _, positions, troubles = asyncio.run(read(stream, position, lambda taken: len(taken) >= 2))
    assert positions[-1][1] == {"since": 0, "streams": {"s": {"b": "2"}}}
    assert troubles == ["Kinesis s, a: it is gone, and with it what it may have had after what was read"]


def test_a_stream_that_was_made_anew_is_read_though_its_shards_have_the_old_names() -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 3)
    taken, positions, _ = asyncio.run(read(stream, {"since": 0, "streams": {"s": {"a": END}}}, _at_least(3)))
    assert taken == ["a:0", "a:1", "a:2"]
    assert positions[-1][1] == {"since": 0, "streams": {"s": {"a": "2"}}}


def test_a_clock_ahead_of_amazons_begins_now_with_what_comes() -> None:
    """Kinesis refuses a time that has not come yet."""
    stream = Stream(random.Random(1))
    stream.open("a", 3)
    stream.clock = lambda: 5.0

    async def later() -> tuple[list[str], list[tuple[int, Any]], list[str]]:
        reading = asyncio.ensure_future(read(stream, {"since": 7_000_000, "streams": {}}, _at_least(2)))
        await asyncio.sleep(0.02)
        stream.shards["a"]["records"] += ["a:3", "a:4"]
        return await reading

    taken, _, troubles = asyncio.run(later())
    assert (taken, troubles) == (["a:3", "a:4"], [])


def test_records_that_are_gone_before_they_were_read_are_told_of() -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 10)
    stream.trimmed["a"] = 6
    position = {"since": 1_000_000, "streams": {"s": {"a": "2"}}}
    taken, _, troubles = asyncio.run(read(stream, position, lambda taken: len(taken) >= 4))
    assert taken == ["a:6", "a:7", "a:8", "a:9"]
    assert troubles == ["Kinesis s, a: records are gone before they were read; it goes on with the oldest"]


@pytest.mark.parametrize(
    ("code", "words"), [("AccessDeniedException", "access denied"), ("Strange", "Amazon answers Strange")]
)
def test_a_stream_that_cannot_be_read_is_lost(code: str, words: str) -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 3)
    stream.faults = [code]
    with pytest.raises(Lost, match=words):
        asyncio.run(read(stream, START, lambda taken: False))


def test_it_is_known_up_to_when_all_is_read_once_every_shard_is() -> None:
    stream = Stream(random.Random(1))
    stream.open("a", 3)
    stream.open("b", 3)
    seen: list[int | None] = []

    def look(streams: KinesisStreams) -> None:
        streams._behind["s", "a"] = 5
        streams._behind["s", "b"] = 7
        seen.extend([streams.up_to(3), streams.up_to(9)])
        streams._behind["s", "b"] = None
        seen.append(streams.up_to(9))

    assert KinesisStreams(["s"], START, "eu-central-1").up_to(9) is None
    asyncio.run(read(stream, START, lambda taken: len(taken) >= 6, look))
    assert seen == [3, 5, None]


def test_while_a_split_shards_children_are_not_known_nobody_knows_up_to_when_all_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kinesis, "SHARDS_SECONDS", 60.0)
    known: list[int | None] = []

    class Looked(Stream):
        async def list_shards(self, **asked: Any) -> dict[str, Any]:
            known.append(streams.up_to(1 << 62))
            return await super().list_shards(**asked)

    stream = Looked(random.Random(1))
    stream.open("a", 3)
    streams = KinesisStreams(["s"], START, "eu-central-1")
    streams._client = stream
    done = asyncio.Event()

    async def take(where: Callable[[int], str], records: Sequence[bytes], move: Callable[[Any], Any]) -> None:
        if "b" not in stream.shards:
            stream.open("b", 1, "a")
        elif records and where(0) == "s, b, 0":
            done.set()

    async def follow() -> None:
        work = asyncio.ensure_future(streams.follow(take, lambda: None, lambda _: None))
        async with asyncio.timeout(20):
            await done.wait()
            while streams.up_to(1 << 62) is None:
                await asyncio.sleep(0)
        work.cancel()
        with suppress(asyncio.CancelledError, Lost):
            await work

    asyncio.run(follow())
    assert len(known) > 1
    assert set(known) == {None}
