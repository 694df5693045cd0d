"""Streams of Amazon Kinesis as a source reads them: every shard from its own sequence number on, parents before children.

The position is a dict: `since`, where a first start began (microseconds since the epoch; 0: at the oldest), and `streams`, by
stream and shard the last sequence number that was taken, or END of a shard that was split or merged and is read to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from queuewatch_streams.sources.aws.clients import amazon, answered_at, clear_errors, code_of
from queuewatch_streams.sources.live import now
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.tasks import together

__all__ = ["END", "KinesisStreams"]

END: Final = "end"
POLL_SECONDS: Final = 1.0
"""Kinesis lets a shard be read five times a second, by all its readers together."""
SHARDS_SECONDS: Final = 60.0
"""How often it is looked whether there are new shards."""
AT_ONCE: Final = 1000
"""Records in one read."""
_CAUGHT_UP: Final = 5_000
"""Milliseconds; a shard that is behind by more is catching up."""
_LONGEST_PAUSE: Final = 30.0
_BUSY: Final = frozenset({"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"})

Take = Callable[[Callable[[int], str], Sequence[bytes], Callable[[Any], Any]], Awaitable[None]]
"""Takes what a shard had: where the n-th of its records is, for people, the records, and what makes the position behind them of
that before."""


class KinesisStreams:
    """Some streams; to be opened with `async with`.

    :param names: the streams' names.
    :param position: where to read on; as the module says.
    """

    def __init__(self, names: Sequence[str], position: Any, region: str, endpoint_url: str | None = None) -> None:
        self.position = position
        self._names = tuple(names)
        self._region = region
        self._endpoint = endpoint_url
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._behind: dict[tuple[str, str], int | None] = {}
        """By stream and shard up to when it is read, microseconds since the epoch; None: nobody knows."""
        self._listed: set[str] = set()

    async def __aenter__(self) -> KinesisStreams:
        self._client = await self._stack.enter_async_context(amazon("kinesis", self._region, self._endpoint))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def up_to(self, at: int) -> int | None:
        """Up to when all streams are read, at most `at`, microseconds since the epoch; None: nobody knows."""
        if len(self._listed) < len(self._names):
            return None
        times = list(self._behind.values())
        return None if None in times else min([at, *(each for each in times if each is not None)])

    async def shards(self, name: str) -> list[dict[str, Any]]:
        """The shards of a stream that still have records, as Kinesis lists them.  Raises Lost."""
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"StreamName": name}
        with clear_errors(f"Kinesis {name}"):
            while True:
                answer = await self._client.list_shards(**asked)
                found += answer.get("Shards", ())
                if not (token := answer.get("NextToken")):
                    return found
                asked = {"NextToken": token}

    async def newest(self, name: str, seconds: float, most: int) -> list[bytes]:
        """Some of the newest records of a stream, which are none of the position's business.  Raises Lost."""
        found: list[tuple[datetime, bytes]] = []
        start = datetime.fromtimestamp(now() / 1e6 - seconds, UTC)
        for shard in await self.shards(name):
            with clear_errors(f"Kinesis {name}"):
                given = await self._client.get_shard_iterator(
                    StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="AT_TIMESTAMP", Timestamp=start
                )
                answer = await self._client.get_records(ShardIterator=given["ShardIterator"], Limit=AT_ONCE)
            found += [(each["ApproximateArrivalTimestamp"], each["Data"]) for each in answer["Records"]]
        return [data for _, data in sorted(found, key=lambda each: each[0])[-most:]]

    async def follow(self, take: Take, looked: Callable[[], None], trouble: Callable[[str], None]) -> NoReturn:
        """Read all streams for ever.

        :param looked: called after every answer.
        :param trouble: called with words where records are gone before they could be read.
        :raises Lost: a stream cannot be read.
        """
        await together(*(self._stream(name, take, looked, trouble) for name in self._names))
        raise Lost("Kinesis: nobody reads it any more")

    # ---------------------------------------------------------------------------------------------------------- inside

    def _taken(self, name: str) -> dict[str, str]:
        """By shard the last sequence number of a stream that was taken."""
        found: dict[str, str] = self.position["streams"].get(name, {})
        return found

    async def _stream(self, name: str, take: Take, looked: Callable[[], None], trouble: Callable[[str], None]) -> None:
        """Read a stream: a task for each shard whose parents are read to their end; new ones are looked for."""
        reading: dict[str, asyncio.Task[None]] = {}
        first = True
        try:
            while True:
                listed = {each["ShardId"]: each for each in await self.shards(name)}
                looked()
                # A shard whose end was read never opens again: its stream was made anew, and gives out the same names.
                anew = {shard for shard, told in listed.items() if first and not _is_closed(told)}
                await self._forget(name, set(listed), anew, take, trouble)
                first = False
                for shard, told in listed.items():
                    taken = self._taken(name)
                    parents = {told.get("ParentShardId"), told.get("AdjacentParentShardId")} & set(listed)
                    ready = all(taken.get(parent or "") == END for parent in parents)
                    if taken.get(shard) == END:
                        self._behind.pop((name, shard), None)
                    elif shard not in reading:
                        self._behind.setdefault((name, shard), None)
                        if ready:
                            reading[shard] = asyncio.ensure_future(self._shard(name, shard, take, looked, trouble))
                self._listed.add(name)
                if not reading:
                    await asyncio.sleep(SHARDS_SECONDS)
                    continue
                done, _ = await asyncio.wait(
                    reading.values(), timeout=SHARDS_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for shard, task in list(reading.items()):
                    if task in done:
                        del reading[shard]
                        task.result()
        finally:
            for task in reading.values():
                task.cancel()
            await asyncio.gather(*reading.values(), return_exceptions=True)

    async def _forget(
        self, name: str, listed: Set[str], anew: Set[str], take: Take, trouble: Callable[[str], None]
    ) -> None:
        """Let go of shards that are not there any more.

        :param anew: of those that were read to their end these are others by the same name.
        """
        taken = self._taken(name)
        gone = set(taken) - listed
        for shard in sorted(gone):
            if taken[shard] != END:
                trouble(f"Kinesis {name}, {shard}: it is gone, and with it what it may have had after what was read")
        gone |= {shard for shard in anew if taken.get(shard) == END}
        if gone:
            await self._go_on(name, dict.fromkeys(gone), lambda _: name, (), take)
        for shard in gone:
            self._behind.pop((name, shard), None)

    async def _shard(
        self, name: str, shard: str, take: Take, looked: Callable[[], None], trouble: Callable[[str], None]
    ) -> None:
        """Read a shard to its end, which comes only when it is split or merged."""
        where, pause, iterator = f"{name}, {shard}", POLL_SECONDS, None
        while True:
            with clear_errors(f"Kinesis {name}"):
                try:
                    if iterator is None:
                        iterator = await self._iterator(name, shard, trouble)
                    asked = now()
                    answer = await self._client.get_records(ShardIterator=iterator, Limit=AT_ONCE)
                except ClientError as error:
                    code = code_of(error)
                    if code == "ExpiredIteratorException":
                        iterator = None
                        continue
                    if code in _BUSY:
                        await asyncio.sleep(pause := min(2 * pause, _LONGEST_PAUSE))
                        continue
                    raise
            looked()
            pause = POLL_SECONDS
            records, iterator = answer["Records"], answer.get("NextShardIterator")
            if records or iterator is None:
                last = END if iterator is None else records[-1]["SequenceNumber"]
                place = partial(_place, where, [each["SequenceNumber"] for each in records])
                await self._go_on(name, {shard: last}, place, [each["Data"] for each in records], take)
            if iterator is None:
                self._behind[name, shard] = None  # its children's records are still to come, whichever they are
                return
            late = answer.get("MillisBehindLatest", 0)
            self._behind[name, shard] = min(asked, answered_at(answer)) - late * 1000 if late <= _CAUGHT_UP else None
            if not late:
                await asyncio.sleep(POLL_SECONDS)
            else:
                await asyncio.sleep(POLL_SECONDS / 5)

    async def _go_on(
        self,
        name: str,
        read: Mapping[str, str | None],
        where: Callable[[int], str],
        records: Sequence[bytes],
        take: Take,
    ) -> None:
        """Take records.

        :param read: by shard up to where it is read with them; None: it is to be forgotten.
        """
        await take(where, records, lambda before: self._moved(before, name, read))
        self.position = self._moved(self.position, name, read)

    def _moved(self, before: Any, name: str, read: Mapping[str, str | None]) -> Any:
        position = self.position if before is None else before
        shards = {**position["streams"].get(name, {}), **read}
        known = {shard: last for shard, last in shards.items() if last is not None}
        return position | {"streams": position["streams"] | {name: known}}

    async def _iterator(self, name: str, shard: str, trouble: Callable[[str], None]) -> str:
        last, since = self._taken(name).get(shard), self.position["since"]
        asked: dict[str, Any] = {"StreamName": name, "ShardId": shard}
        if last is not None:
            start: dict[str, Any] = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last}
            try:
                return str((await self._client.get_shard_iterator(**asked, **start))["ShardIterator"])
            except ClientError as error:
                if code_of(error) != "InvalidArgumentException":
                    raise
                trouble(f"Kinesis {name}, {shard}: records are gone before they were read; it goes on with the oldest")
                since = 0
        if not since:
            start = {"ShardIteratorType": "TRIM_HORIZON"}
            return str((await self._client.get_shard_iterator(**asked, **start))["ShardIterator"])
        start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.fromtimestamp(since / 1e6, UTC)}
        try:
            return str((await self._client.get_shard_iterator(**asked, **start))["ShardIterator"])
        except ClientError as error:
            if code_of(error) != "InvalidArgumentException":
                raise
        # That time has not come yet by Kinesis' clock, which is a little behind ours: all that is to be read is still to come.
        return str((await self._client.get_shard_iterator(**asked, ShardIteratorType="LATEST"))["ShardIterator"])


def _place(where: str, numbers: Sequence[str], number: int) -> str:
    """Where the n-th of some records is, for people."""
    return f"{where}, {numbers[number]}"


def _is_closed(told: Mapping[str, Any]) -> bool:
    """Whether a shard, as Kinesis lists it, was split or merged."""
    return "EndingSequenceNumber" in told.get("SequenceNumberRange", {})
