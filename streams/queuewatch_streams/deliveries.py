"""Decides which delivery is folded, which is dropped, which is fetched again, and when a partition may be shown.

A partition is restored when its changelog has been read, and then begins a run of deliveries at the offset where its
records end.  Whatever was fetched before, by an older run, is dropped: the run fetches it again.  Within a run every
delivery is folded in the order of its number; when one is missing (Faust clears its queues now and then) the partition is
fetched again from its next offset, and so it is when the last one is missing and nothing follows: when the loop has passed
on all that was fetched since, never because time has passed, for a loop that stalls has lost nothing.

The topic must be the one that the records tell of: it is known by its id, at the assignment and now and then, and by its
offsets where the broker tells no ids.  One that was made anew ends the worker; one that retention has cut is counted and
gone on with.

A partition is *ready* once the consumer's position has reached the end that the partition had when it was assigned, and
every delivery handed out so far is folded; it is shown while it is ready and the lease holds.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from aiokafka.errors import KafkaError

from queuewatch_streams.checkpoints import Checkpoints, Partition
from queuewatch_streams.delivery import LAST_WORDS, Delivery, FetchApp, Row, Span, TopicIds, within

__all__ = ["ChangelogReplaced", "Deliveries", "LogTruncated"]

log = logging.getLogger(__name__)

P = TypeVar("P", bound=Partition)


TURNS = 10
"""Turns of the loop between two deliveries while a checkpoint is being written."""
TOPICS_EVERY = 10
"""Looks between two questions whether the topics are still those that were there at the assignment."""


class LogTruncated(RuntimeError):
    """The source topic is not the one that the records tell of: it was made anew, or cut at its end."""


class ChangelogReplaced(RuntimeError):
    """The changelog was made anew while we wrote to it: what is not written again soon is in no record."""


class _Owned(Generic[P]):
    """A partition of ours and how far its run has been folded."""

    __slots__ = ("end", "folded", "partition", "ready", "run", "seen", "seen_at")

    def __init__(self, partition: P, run: int, end: int) -> None:
        self.partition = partition
        self.run = run
        self.end = end
        self.folded = 0
        self.ready = False
        #: Run, deliveries folded and handed out, as a look saw them first, and how many fetches had begun by then.
        self.seen = (0, 0, 0)
        self.seen_at = 0


class Deliveries(Generic[P]):
    """The partitions that this worker owns, fed by Faust: the `delivery.Reader` of the application.

    ``restore(number, own, values)`` makes a partition from its own record (None: there is none) and those of its queues;
    it raises when the record is of another number of partitions.  ``folded(partition, result)`` is given what each fold
    returned.  ``lost(partition, up_to)``: the log begins beyond the next offset; the partition must count what is lost
    and go on at ``up_to``.  ``dropped(number)``: the partition is gone.  ``became_ready(partition)``: it may be shown.
    ``recovering(numbers)``: the records of these are being read.  ``letting_go(partitions)``: none of them is shown any more,
    and they are about to be written for the last time; it has a moment, no more.  ``room()`` returns when there is room for
    what the next delivery may cause to be sent.
    """

    def __init__(
        self,
        app: FetchApp,
        checkpoints: Checkpoints[P],
        *,
        restore: Callable[[int, bytes | None, list[bytes]], P],
        folded: Callable[[P, Any], None] | None = None,
        lost: Callable[[P, int], None] | None = None,
        dropped: Callable[[int], None] | None = None,
        became_ready: Callable[[P], None] | None = None,
        recovering: Callable[[frozenset[int]], None] | None = None,
        letting_go: Callable[[list[P]], Awaitable[None]] | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
        look_every: float = 1.0,
    ) -> None:
        self._app = app
        self._checkpoints = checkpoints
        self._restore = restore
        self._folded = folded
        self._lost = lost
        self._dropped = dropped
        self._became_ready = became_ready
        self._recovering = recovering
        self._letting_go = letting_go
        self._room = room
        self._look_every = look_every
        self._owned: dict[int, _Owned[P]] = {}
        self._loading: frozenset[int] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()
        #: Records folded (those that compaction removed from a batch included), deliveries dropped because they were of an
        #: older run, deliveries fetched again; since the start.
        self.records_folded = 0
        self.deliveries_dropped = 0
        self.fetched_again = 0
        app.reader = self
        app.task(self._write)
        app.task(self._look)

    # What the application tells (delivery.Reader)

    def loading(self, partitions: frozenset[int]) -> None:
        """Forget what was loaded of the changelog before."""
        self._checkpoints.loading(partitions)
        self._loading = partitions
        if self._recovering is not None:
            self._recovering(partitions)

    def loaded(self, partition: int, records: Sequence[Row]) -> None:
        """Take in a part of the changelog."""
        self._checkpoints.load(partition, records)

    async def assigned(
        self, spans: Mapping[int, Span], runs: Mapping[int, int], topic_ids: TopicIds
    ) -> Mapping[int, int]:
        """Restore each partition and say where it begins.  Raises what ``restore`` raises, and `LogTruncated`."""
        generation = self._app.generation
        starts: dict[int, int] = {}
        for number, span in sorted(spans.items()):
            if self._app.generation != generation:
                return {}
            own, values = self._checkpoints.loaded(number)
            partition = self._restore(number, own, values)
            if own is not None and _other(partition.topic_ids[1], topic_ids.changelog):
                # Each queue's record is whole, but not every queue has been written since.
                log.warning(
                    "%s was made anew while a worker wrote to it: the record of partition %d is passed over",
                    self._app.settings.changelog_topic, number,
                )  # fmt: skip
                own, partition = None, self._restore(number, None, values)
            self._check_source(partition, topic_ids.source)
            known = partition.topic_ids
            partition.topic_ids = topic_ids.source or known[0], topic_ids.changelog or known[1]
            starts[number] = self._begin(partition, own is not None, len(values), span)
            self._checkpoints.own(partition, generation)
            self._owned[number] = _Owned(partition, runs[number], span.end)
            await asyncio.sleep(0)  # restoring takes a while; scrapes and heartbeats go on
        return starts

    def _begin(self, partition: P, has_own: bool, queues: int, span: Span) -> int:
        number, topic = partition.number, self._app.settings.source
        if not has_own:
            if span.committed is not None or queues:
                log.warning(
                    "partition %d of %s has a committed offset (%s) or records of queues (%d), but no record of its own in %s:"
                    " it is folded again from the earliest offset, %d",
                    number, topic, span.committed, queues, self._app.settings.changelog_topic, span.earliest,
                )  # fmt: skip
            return span.earliest
        start = partition.resume_at
        if span.committed is not None and span.committed > start:
            log.warning(
                "partition %d of %s: offset %d is committed beyond the records, which are true up to %d; it begins there",
                number, topic, span.committed, start,
            )  # fmt: skip
        if span.earliest > start:
            self._lose(partition, start, span.earliest)
            return span.earliest
        return start

    def _lose(self, partition: P, start: int, earliest: int) -> None:
        log.error(
            "partition %d of %s begins at offset %d, but only what lies before %d is counted: retention deleted up to %d"
            " records that were not; raise retention.ms and retention.bytes, or keep the worker running and in time",
            partition.number, self._app.settings.source, earliest, start, earliest - start,
        )  # fmt: skip
        if self._lost is not None:
            self._lost(partition, earliest)

    def _check_source(self, partition: P, now: str | None) -> None:
        before = partition.topic_ids[0]
        if not _other(before, now):
            return
        raise LogTruncated(
            f"{self._app.settings.source} is not the topic that the records of partition {partition.number} tell of: that one"
            f" had the id {before}, this one has {now}; it was deleted and made anew.  {self._what_to_do()}"
        )

    def deliver(self, delivery: Delivery) -> None:
        """Fold the delivery if it is the next of its partition's run."""
        owned = self._owned.get(delivery.partition)
        if owned is None or delivery.run != owned.run:
            self.deliveries_dropped += 1
            return
        if delivery.number != owned.folded + 1:
            self._fetch_again(owned, f"delivery {owned.folded + 1} is missing, {delivery.number} came")
            return
        partition = owned.partition
        if delivery.begin < partition.next_offset:
            raise self._truncated(partition, delivery.begin)
        owned.folded = delivery.number
        if delivery.parts:
            self.records_folded += delivery.count
            result = partition.fold(delivery.taken())
            if self._folded is not None:
                self._folded(partition, result)
        elif delivery.begin > partition.next_offset:
            self._lose(partition, partition.next_offset, delivery.begin)
        if not owned.ready:
            self.ready(delivery.partition)

    async def rest(self) -> None:
        """Give others a turn: a queue of deliveries that is never empty would not.

        A checkpoint gets several: it takes a dozen to be written and acknowledged, and would have to wait for a whole
        delivery before each.
        """
        for _ in range(TURNS if self._checkpoints.busy else 1):
            await asyncio.sleep(0)
        if self._room is not None:
            await self._room()

    async def revoked(self) -> None:
        """Write what can be written, then drop everything."""
        await self._let_go("revoked")

    async def stopping(self) -> None:
        """Write and commit; the worker ends."""
        await self._let_go("stopping")

    async def _let_go(self, why: str) -> None:
        owned, self._owned = self._owned, {}  # no more folding, nothing shown
        self._loading = frozenset()
        if owned and self._letting_go is not None:
            last_words = self._letting_go([each.partition for each in owned.values()])
            await within(LAST_WORDS, last_words, "what was to be told of partitions that are let go was not told")
        try:
            # The group waits for us, other workers too: half a session, not more.
            if owned and not await self._checkpoints.write_all(self._app.settings.session_timeout / 2):
                resume = {number: each.partition.resume_at for number, each in sorted(owned.items())}
                log.warning(
                    "%s: the last checkpoint is not written; who has these partitions next folds them again from the offset"
                    " beside each: %s",
                    why, resume,
                )  # fmt: skip
        finally:
            self._checkpoints.forget()
            for number in owned:
                if self._dropped is not None:
                    self._dropped(number)

    # Its own tasks

    async def _write(self) -> None:
        try:
            await self._checkpoints.run()
        except Exception as error:
            await self._app.crash(error)
            raise

    async def _look(self) -> None:
        try:
            for look in itertools.count(1):
                await asyncio.sleep(self._look_every)
                if self._app.should_stop:
                    return
                self.look()
                self._app.check_recovery()
                if look % TOPICS_EVERY == 0:
                    await self._check_topics()
        except Exception as error:
            await self._app.crash(error)
            raise

    def look(self) -> None:
        """Find deliveries that got lost with nothing behind them, and partitions that became ready without an event."""
        waiting, fetches = self._app.deliveries_waiting, self._app.fetches
        for number, owned in self._owned.items():
            progress = self._app.progress(number)
            handed = progress.number if progress is not None and progress.run == owned.run else -1
            state = owned.run, owned.folded, handed
            if waiting or state != owned.seen:
                owned.seen, owned.seen_at = state, fetches
            elif handed != owned.folded and fetches >= owned.seen_at + 2:
                # The loop has passed on all that was there when we looked first, twice over, and nothing waits.
                self._fetch_again(
                    owned, f"{handed} deliveries were handed out, {owned.folded} arrived, none is under way"
                )
            if not owned.ready:
                self.ready(number)

    async def _check_topics(self) -> None:
        """A topic that is made anew under us may go on where the old one ended."""
        if not self._owned or self._app.rebalancing or self._app.in_recovery:
            return
        try:
            topic_ids = await self._app.topic_ids()
        except KafkaError:
            return  # the broker is away; there is a next time
        for partition in self.owned().values():
            self._check_source(partition, topic_ids.source)
            if _other(partition.topic_ids[1], topic_ids.changelog):
                raise ChangelogReplaced(
                    f"{self._app.settings.changelog_topic} was deleted and made anew while this worker wrote to it; start the"
                    f" worker again: it folds {self._app.settings.source} again from its earliest offset"
                )

    def _fetch_again(self, owned: _Owned[P], why: str) -> None:
        partition = owned.partition
        self.fetched_again += 1
        log.warning("partition %d: %s; fetching again from offset %d", partition.number, why, partition.next_offset)
        owned.run, owned.folded = self._app.new_run(), 0  # what is still queued is of an older run
        task = asyncio.ensure_future(self._seek(partition.number, partition.next_offset, owned.run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _truncated(self, partition: P, offset: int) -> LogTruncated:
        # The broker does not know the offset that we asked for, and the consumer went to the earliest one.
        return LogTruncated(
            f"partition {partition.number} of {self._app.settings.source} has no offset {partition.next_offset}, up to which"
            f" it is counted (it goes on at {offset}): the topic was made anew or cut at its end.  {self._what_to_do()}"
        )

    def _what_to_do(self) -> str:
        return (
            f"If that was meant, delete the topic {self._app.settings.changelog_topic} too, run `queuewatch topics create` and"
            " start again (the state begins anew); if not, restore the topic"
        )

    async def _seek(self, number: int, offset: int, run: int) -> None:
        try:
            await self._app.fetch_from(number, offset, run)
        except Exception:
            log.exception("partition %d could not be fetched again; the next look tries once more", number)

    # What the worker asks

    def ready(self, partition: int) -> bool:
        """Whether the partition has been caught up since it was assigned."""
        owned = self._owned.get(partition)
        if owned is None:
            return False
        if not owned.ready:
            progress = self._app.progress(partition)
            owned.ready = (
                progress is not None
                and progress.run == owned.run
                and progress.position >= owned.end
                and progress.number == owned.folded
            )
            if owned.ready and self._became_ready is not None:
                self._became_ready(owned.partition)
        return owned.ready

    def owned(self) -> dict[int, P]:
        """The partitions that are ours and restored, by number; not all of them ready."""
        return {number: owned.partition for number, owned in self._owned.items()}

    def recovering(self) -> list[int]:
        """The partitions that are ours and whose records are still being read."""
        return sorted(self._loading - self._owned.keys())

    def exposed(self) -> dict[int, P]:
        """The partitions that may be shown now: ready ones, while the lease holds."""
        if not self._app.lease.holds():
            return {}
        return {number: owned.partition for number, owned in self._owned.items() if owned.ready}

    def lag(self, partition: int) -> int | None:
        """Records of the source that are not yet folded; None while it is not known."""
        owned, progress = self._owned.get(partition), self._app.progress(partition)
        if owned is None or progress is None or progress.run != owned.run:
            return None
        at = progress.position if progress.number == owned.folded else owned.partition.next_offset
        return max(0, progress.end - at)


def _other(before: str | None, now: str | None) -> bool:
    """Whether the ids are of two topics; one that is not known is compared with nothing."""
    return before is not None and now is not None and before != now
