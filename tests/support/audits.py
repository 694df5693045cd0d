"""Histories as records with delays of their own, the snapshots that the core publishes of them, and their audit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
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
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.publications import snapshot
from support.events import line, micros, record
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
    restarts: int = 0,
) -> dict[str, QueueSnapshot]:
    """What a worker that folded these records publishes of each queue."""
    made = Partition(0, config, partitions=1, clock=clock)
    made.fold(records)
    return {
        name: QueueSnapshot.from_bytes(snapshot(made, name, config.queue(name), now(made.log_time)))
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
    """The records with an empty heartbeat-less hole where one was: its offset is passed over."""
    return [each for each in records if each.offset != offset]


__all__ = [
    "CONFIG",
    "audited",
    "audited_with_rest",
    "dropped",
    "line",
    "published",
    "records_of",
    "recounted",
    "tampered",
]
