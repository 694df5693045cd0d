"""Crash consistency: whatever is folded, written, lost and folded again, the figures and counters end the same.

A model of the worker's storage: records are encoded, travel in order, and land one by one; of a key the record with the
highest source offset counts.  A crash loses the memory and what has not landed; what has landed but was not yet acknowledged
stays.  The next owner restores from what lies there and folds on from where its record says.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import Attribution, Configuration, Definition, Timing, WaitClock
from queuewatch_streams.core.checkpoint import record_offset
from queuewatch_streams.core.figures import balance_residual
from queuewatch_streams.core.partition import Clock, Partition, Record
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, listing, micros, record
from support.histories import START, Scale, histories, seeded
from support.running import boards, configuration, figures, partition, restored, settle, state, totals

CONFIG = configuration(
    {"default": Definition(), "called": Definition(clock=WaitClock.CALL, attribution=Attribution.EVENT)},
    timing=Timing(grace_seconds=900, evicted_grace_seconds=3600, maximum_queues_per_partition=3),
    maximum_talk_seconds=1800,
    maximum_wrap_seconds=1200,
)
SCALE = Scale(queues=("sales", "claims", "loans", "surplus"), visits=14, strays=10)


def delivered(events: Sequence[dict[str, Any]], seed: int) -> list[Record]:
    """A log of these events: late and doubled here and there, with heartbeats, lists and rubbish between, and holes."""
    chance = random.Random(seed)
    arriving: list[tuple[int, dict[str, Any] | bytes]] = []
    for event in events:
        for _ in range(chance.choice((1, 1, 1, 2))):
            late = chance.choice((0, 0, 0, 1, 30, 300, 1200)) * SECOND
            arriving.append((micros(event["time"]) + late, event))
    for _ in range(chance.randrange(12)):
        at = START + chance.randrange(4 * HOUR)
        shown = {f"c-{chance.randrange(14)}": at for _ in range(2)}
        strange: list[dict[str, Any] | bytes] = [
            heartbeat(at), listing(at, shown, chance.choice(SCALE.queues)), b"{", call("queued", at + HOUR, "early")
        ]  # fmt: skip
        arriving.append((at, chance.choice(strange)))
    arriving.sort(key=lambda each: each[0])
    offset, records = chance.randrange(3), []
    for stamp, each in arriving:
        records.append(record(offset, each, stamp + chance.randrange(-200, 200) * 1000))
        offset += chance.choice((1, 1, 1, 2))
    return records


class Storage:
    """The changelog: what travels, what lies there, and who is told when something has landed."""

    def __init__(self) -> None:
        self.lying: dict[str | None, tuple[int, bytes | None]] = {}
        self.travelling: deque[tuple[str | None, int, bytes | None]] = deque()

    def send(self, key: str | None, up_to: int, value: bytes | None) -> None:
        """A record sets out."""
        if value is not None:
            assert record_offset(value) == up_to
        self.travelling.append((key, up_to, value))

    def land(self) -> tuple[str | None, int]:
        """The oldest record that travels lands; of its key the highest offset counts."""
        key, up_to, value = self.travelling.popleft()
        if key not in self.lying or up_to >= self.lying[key][0]:
            self.lying[key] = up_to, value
        return key, up_to


class Worker:
    """One partition's owner after another, over the same log and storage."""

    def __init__(self, log: Sequence[Record], config: Configuration, clock: Clock, crash: random.Random) -> None:
        self.log, self.config, self.clock, self.chance = log, config, clock, crash
        self.storage = Storage()
        self.partition = partition(config, clock)
        self.refused: set[int] = set()
        self.crashes = 0

    def fold(self) -> None:
        """Fold some of what comes next."""
        coming = [each for each in self.log if each.offset >= self.partition.next_offset]
        asked = self.partition.fold(coming[: self.chance.choice((1, 2, 5, 20))])
        self.refused |= {each.record.offset for each in asked.refused}

    def write_a_queue(self) -> None:
        """Encode a queue that changed, or any."""
        under_way = {key for key, _, _ in self.storage.travelling}
        names = [name for name in self.partition.dirty if name not in under_way] or [
            name for name in self.partition.queues if name not in under_way
        ]
        if names:
            name = self.chance.choice(names)
            self.storage.send(name, self.partition.next_offset, self.partition.encode_queue(name))

    def write_own(self) -> None:
        """Encode the partition's own record."""
        if None not in {key for key, _, _ in self.storage.travelling}:
            self.storage.send(None, self.partition.next_offset, self.partition.encode_self())

    def acknowledge(self) -> None:
        """The oldest record that travels lands and is acknowledged, or its sending fails."""
        if self.storage.travelling:
            if self.storage.travelling[0][0] is not None and self.chance.random() < 0.15:
                key, _, _ = self.storage.travelling.popleft()
                assert key is not None
                self.partition.unwritten(key)
                return
            key, up_to = self.storage.land()
            self.partition.written(key, up_to)

    def let_time_act(self) -> None:
        """Expire what is due and tell closed intervals, as the worker does now and then."""
        self.partition.advance()

    def crash(self) -> None:
        """The memory is gone; some of what travelled lands all the same, unacknowledged, and another owner begins."""
        self.crashes += 1
        for _ in range(self.chance.randint(0, len(self.storage.travelling))):
            self.storage.land()
        self.storage.travelling.clear()
        values = [value for _, value in self.storage.lying.values()]
        self.chance.shuffle(values)
        resume_at = self.partition.resume_at
        self.partition = restored(values, self.config, self.clock)
        assert self.partition.next_offset <= resume_at or None in self.storage.lying

    def finish(self) -> Partition:
        """Fold what is left."""
        while self.log and self.partition.next_offset <= self.log[-1].offset:
            self.fold()
        return self.partition


ACTS: tuple[tuple[Callable[[Worker], None], int], ...] = (
    (Worker.fold, 8),
    (Worker.write_a_queue, 6),
    (Worker.write_own, 3),
    (Worker.acknowledge, 8),
    (Worker.let_time_act, 2),
    (Worker.crash, 1),
)


def run(log: Sequence[Record], clock: Clock, seed: int, acts: int = 60) -> None:
    """A random life of a partition, against one that nothing happened to."""
    chance = random.Random(seed)
    undisturbed = partition(CONFIG, clock)
    refused = {each.record.offset for each in undisturbed.fold(log).refused}
    worker = Worker(log, CONFIG, clock, chance)
    for act in chance.choices([act for act, _ in ACTS], [weight for _, weight in ACTS], k=acts):
        act(worker)
    worker.finish()
    if chance.random() < 0.7:
        worker.crash()
    same(worker.finish(), undisturbed)
    assert worker.refused == refused


def same(made: Partition, undisturbed: Partition) -> None:
    """Figures, totals, counts and knowledge of visits are equal once all that is due has been let go."""
    settle(made)
    settle(undisturbed)
    assert made.next_offset == undisturbed.next_offset
    assert made.log_time == undisturbed.log_time
    assert made.newest_event == undisturbed.newest_event
    assert {name: state(queue) for name, queue in made.queues.items()} == {
        name: state(queue) for name, queue in undisturbed.queues.items()
    }
    assert totals(made) == totals(undisturbed)
    for now in (undisturbed.log_time, undisturbed.log_time + 7 * MINUTE):
        assert figures(made, now) == figures(undisturbed, now)
        assert boards(made, now) == boards(undisturbed, now)
    assert made.counts == undisturbed.counts
    assert made.sources == undisturbed.sources
    for queue in made.queues.values():
        assert not any(balance_residual(channel) for channel in queue.channels.values())


@settings(max_examples=100)
@given(histories(SCALE), st.integers(0, 1 << 30), st.sampled_from(Clock))
def test_any_crashes_end_with_the_same_figures_totals_and_counts(
    events: list[dict[str, Any]], seed: int, clock: Clock
) -> None:
    """Folding, writing, failing and crashing in any interleaving ends as an uninterrupted run does."""
    run(delivered(events, seed), clock, seed)


@pytest.mark.parametrize("seed", range(40))
def test_a_long_log_survives_many_crashes(seed: int) -> None:
    """The same over longer histories, several lives long."""
    log = delivered(seeded(seed, 60, SCALE), seed)
    run(log, Clock.LIVE if seed % 4 else Clock.EVENTS, seed, acts=150)


def test_a_record_holds_back_the_resume_offset_until_it_is_acknowledged() -> None:
    """Encoded is not written: until the acknowledgement a new owner must fold the queue's events again."""
    made = partition(CONFIG)
    made.fold([record(7, call("queued", START)), record(9, call("queued", START, "c-2", "claims"))])
    assert made.resume_at == 7
    made.encode_queue("sales")
    assert made.resume_at == 7
    made.written("sales", 10)
    assert made.resume_at == 9
    made.encode_queue("claims")
    made.written("claims", 10)
    assert made.resume_at == 10


def test_a_record_that_was_not_acknowledged_is_due_again_first() -> None:
    """A failed write puts the queue back in front, with the offset that it held before."""
    made = partition(CONFIG)
    made.fold([record(3, call("queued", START)), record(5, call("queued", START, "c-2", "claims"))])
    made.encode_queue("sales")
    made.fold([record(6, call("abandoned", START + SECOND))])
    made.unwritten("sales")
    assert list(made.dirty) == ["sales", "claims"]
    assert made.resume_at == 3


def test_a_duplicate_that_only_the_queues_record_holds_is_still_counted_once() -> None:
    """The queue's record is newer than the partition's: the duplicate between the two is neither lost nor doubled."""
    made = partition(CONFIG)
    made.fold([record(0, call("queued", START))])
    own = made.encode_self()
    made.fold([record(1, call("queued", START))])
    of_queue = made.encode_queue("sales")
    later = restored([own, of_queue], CONFIG)
    later.fold([record(0, call("queued", START)), record(1, call("queued", START))])
    assert later.counts["duplicates",] == 1


def test_the_number_of_partitions_must_not_change() -> None:
    """Keys would mean other partitions: the records refuse, and say what to do."""
    made = partition(CONFIG)
    with pytest.raises(ValueError, match="old number of partitions"):
        Partition.restored(0, CONFIG, [made.encode_self()], partitions=2)
