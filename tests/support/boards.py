"""Snapshots, news and instants for tests of the wallboard, made in one call each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from queuewatch_schemas.examples import PARTITION_NEWS, QUEUE_SNAPSHOT
from queuewatch_schemas.records import ChannelFigures, PartitionNews, QueueSnapshot
from queuewatch_wallboard.access import EVERYTHING, Scope, View
from queuewatch_wallboard.board import Arrangement
from queuewatch_wallboard.known import Instant
from queuewatch_wallboard.states import Patience

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PARTITIONS = 4
ARRANGEMENT = Arrangement((), (), Patience(2, 10))
ALL = View(EVERYTHING, EVERYTHING)


def at(seconds: float, *, clock: float = 0) -> Instant:
    """So many seconds after noon; `clock`: how far this service's wall clock is off."""
    return Instant(1000 + seconds, NOON + timedelta(seconds=seconds + clock))


def moment(seconds: float) -> datetime:
    """The same by the workers' clock."""
    return NOON + timedelta(seconds=seconds)


def snapshot(queue: str, offset: int, time: float, *, partition: int = 0, **changed: Any) -> QueueSnapshot:
    """A queue's snapshot; `changed` are fields of the record or of its voice channel."""
    of_voice = {name: value for name, value in changed.items() if name in ChannelFigures.model_fields}
    of_record = {name: value for name, value in changed.items() if name not in of_voice}
    voice = QUEUE_SNAPSHOT.channels["voice"].model_copy(update=of_voice)
    return QUEUE_SNAPSHOT.model_copy(
        update={
            "queue": queue,
            "name": queue,
            "group": "",
            "partition": partition,
            "offset": offset,
            "time": moment(time),
            "log_time": moment(time),
            "channels": {"voice": voice},
            **of_record,
        }
    )


def news(partition: int, offset: int, time: float, **changed: Any) -> PartitionNews:
    """A partition's news."""
    return PARTITION_NEWS.model_copy(
        update={
            "partition": partition,
            "partitions": PARTITIONS,
            "offset": offset,
            "time": moment(time),
            "owner": "worker-1",
            **changed,
        }
    )


def only(*, queues: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> View:
    """The view of a link that names these, asking for all of it."""
    scope = Scope(frozenset(queues), frozenset(groups))
    return View(scope, scope)
