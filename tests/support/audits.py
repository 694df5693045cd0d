"""Histories as records with delays of their own, the snapshots that the core publishes of them, and their audit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from queuewatch_schemas.config import (
    Attribution,
    Business,
    Calendar,
    Configuration,
    Definition,
    Diverts,
    Hours,
    Preset,
    QueueSettings,
    WaitClock,
)
from queuewatch_schemas.records import QueueSnapshot
from queuewatch_streams.audit.compare import Difference, LeftOut, compare
from queuewatch_streams.audit.partition import PartitionRecount
from queuewatch_streams.audit.recount import ALWAYS
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.publications import snapshot
from support.events import micros, record
from support.running import ALL_WINDOWS


def _definitions() -> dict[str, Definition]:
    """Every preset, each with other settings of the rest, and all attributions and clocks."""
    chance = random.Random(5)
    found = {"default": Definition()}
    for preset in Preset:
        for attribution in Attribution:
            found[f"{preset}-{attribution}"] = Definition(
                preset=preset,
                attribution=attribution,
                clock=chance.choice(list(WaitClock)),
                diverts=chance.choice([None, *Diverts]),
                hours=chance.choice(list(Hours)),
                short_seconds=chance.choice([None, 5.0]),
                threshold_seconds=chance.choice([20.0, 20.0, 0.0, 90.0]),
            )
    return found


CONFIG = Configuration(
    business=Business(time_zone="Asia/Kathmandu", day_starts_at_hour=14, interval_minutes=15, windows=ALL_WINDOWS),
    definitions=_definitions(),
    calendars={"shop": Calendar(weekly={"mon": ("13:50-14:30", "15:00-16:00")})},
    defaults=QueueSettings(definitions=tuple(_definitions()), calendar="shop"),
)

SHORT_LIVED = CONFIG.model_copy(
    update={
        "timing": CONFIG.timing.model_copy(update={"grace_seconds": 300, "evicted_grace_seconds": 900}),
        "defaults": CONFIG.defaults.model_copy(update={"maximum_talk_seconds": 600, "maximum_wrap_seconds": 400}),
    }
)
"""The same, but everything is let go soon."""


@dataclass(frozen=True, slots=True)
class Appended:
    """A record whose timestamp is the broker's."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 1


def appended(records: Sequence[Record]) -> list[Any]:
    """The records as a topic of log append time holds them."""
    return [Appended(each.offset, each.timestamp, each.key, each.value, tuple(each.headers)) for each in records]


def records_of(events: Sequence[dict[str, Any]], seed: int, *, delay: int) -> list[Record]:
    """The events in the order in which they came, each after a delay of its own, some of them more than once."""
    chance = random.Random(seed)
    told = []
    for event in events:
        for _ in range(chance.choice((1, 1, 1, 1, 2))):
            late = chance.choice((0, 0, chance.randrange(60_000_000), chance.randrange(-30_000_000, delay)))
            told.append((micros(event["time"]) + late, event))
    told.sort(key=lambda each: each[0])
    return [record(offset, event, stamp, key=b"any") for offset, (stamp, event) in enumerate(told)]


def published(
    records: Sequence[Record],
    config: Configuration,
    clock: Clock = Clock.LIVE,
    *,
    now: Callable[[int], int] = lambda log_time: log_time,
) -> dict[str, QueueSnapshot]:
    """What a worker that folded these records publishes of each queue."""
    made = Partition(0, config, partitions=1, clock=clock)
    made.fold(Record(each.offset, each.timestamp, each.key, each.value, each.headers) for each in records)
    return {
        name: QueueSnapshot.from_bytes(snapshot(made, made.queues[name], config.queue(name), now(made.log_time)))
        for name in made.queues
    }


def recounted(
    records: Sequence[Record],
    told: Mapping[str, QueueSnapshot],
    config: Configuration,
    clock: Clock = Clock.LIVE,
    *,
    begin: int = 0,
    letters: Mapping[int, str] | None = None,
    settled: int = 0,
    since: int = ALWAYS,
) -> PartitionRecount:
    """The finished recount of the records from an offset on."""
    counted = PartitionRecount(
        0,
        1,
        config,
        history=clock is Clock.EVENTS,
        snapshots=told,
        begin=begin,
        letters=letters,
        settled=settled,
        since=since,
    )
    counted.read(records[begin:])
    counted.finish()
    return counted


def audited(
    records: Sequence[Record],
    told: Mapping[str, QueueSnapshot],
    config: Configuration,
    clock: Clock = Clock.LIVE,
    **also: Any,
) -> list[Difference]:
    """The differences between the snapshots and the recount of the records."""
    return audited_with_rest(records, told, config, clock, **also)[0]


def audited_with_rest(
    records: Sequence[Record],
    told: Mapping[str, QueueSnapshot],
    config: Configuration,
    clock: Clock = Clock.LIVE,
    **also: Any,
) -> tuple[list[Difference], set[LeftOut]]:
    """The differences, and what was left out."""
    counted = recounted(records, told, config, clock, **also)
    found = [compare(each, counted.queues[name], counted.log_times[name]) for name, each in told.items()]
    return [difference for each in found for difference in each.differences], {
        left for each in found for left in each.left_out
    }


def tampered(told: QueueSnapshot, change: Callable[[dict[str, Any]], None]) -> QueueSnapshot:
    """The snapshot with something changed in its JSON."""
    plain = orjson.loads(told.to_bytes())
    change(plain)
    return QueueSnapshot.from_bytes(orjson.dumps(plain))


def dropped(records: Sequence[Record], offset: int) -> list[Record]:
    """The records without one; its offset is passed over."""
    return [each for each in records if each.offset != offset]
