"""What is published of a queue: its snapshot for wallboards, its closed intervals for planners.

Core figures in, the bytes of `queuewatch_schemas.records` out, built as plain data since this happens ten times a second;
tests hold them against the models.  What is unknown is null, never 0.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from queuewatch_schemas.config import ROLLING_SECONDS, Definition, Limits, ResolvedQueue
from queuewatch_schemas.records import POINT_SECONDS, VERSION, interval_key
from queuewatch_streams.core.calendar import SECOND, to_datetime
from queuewatch_streams.core.figures import (
    ChannelFigures,
    HistoryFigures,
    LevelFigures,
    WindowFigures,
    balance_residual,
    channel_figures,
    channel_history,
    is_open,
    longest_wait_today,
)
from queuewatch_streams.core.intervals import Closed
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.core.queue import CALLBACK, Queue
from queuewatch_streams.exporter import source_up

_OPTIONS: Final = orjson.OPT_UTC_Z
_NOBODY: Final = {"waiting": 0, "oldest_seconds": 0.0, "oldest_since": None}


def snapshot(partition: Partition, queue: Queue, settings: ResolvedQueue, now: int) -> bytes:
    """A queue's newest state, true up to the partition's `next_offset`, as it stands at `now` (microseconds)."""
    queue.expire(partition.log_time)
    if partition.clock is Clock.EVENTS:
        now = partition.log_time
    up = source_up(partition, queue, now)
    channels: dict[str, dict[str, Any]] = {}
    callbacks: dict[str, Any] = _NOBODY
    for each, channel in queue.channels.items():
        figures = channel_figures(queue, channel, now)
        if each == CALLBACK:
            callbacks = _callbacks(figures, now)
        else:
            told = _channel(figures, now, balance_residual(channel))
            told["longest_wait_today_seconds"] = longest_wait_today(queue, each, now) / SECOND
            told["history"] = _history(channel_history(channel, queue.policy, now))
            channels[each] = told
    limits, definitions = _encoded(settings.limits, settings.definitions)
    record = {
        "version": VERSION,
        "queue": queue.name,
        "partition": partition.number,
        "offset": partition.next_offset,
        "time": _moment(now),
        "log_time": _moment(partition.log_time) if partition.log_time else None,
        "last_event_time": to_datetime(queue.last_event) if queue.last_event else None,
        "name": settings.name,
        "group": settings.group,
        "site": settings.site,
        "time_zone": settings.time_zone,
        "open": is_open(queue, now),
        "source_up": all(up.values()) if up else None,
        "limits": limits,
        "definitions": definitions,
        "channels": channels,
        "callbacks": callbacks,
    }
    return orjson.dumps(record, option=_OPTIONS)


@lru_cache(maxsize=1024)
def _encoded(
    limits: Limits, definitions: tuple[tuple[str, Definition], ...]
) -> tuple[orjson.Fragment, orjson.Fragment]:
    """Settings as they stand in snapshots; many queues have the same."""
    told = {each: definition.model_dump() for each, definition in definitions}
    return orjson.Fragment(orjson.dumps(limits.model_dump())), orjson.Fragment(orjson.dumps(told))


def _channel(figures: ChannelFigures, now: int, residual: int) -> dict[str, Any]:
    levels: dict[str, dict[str, Any]] = {}
    for window, told in figures.windows.items():
        for level in told.levels:
            levels.setdefault(level.level.name, {})[window] = _level(level)
    return {
        "waiting": figures.waiting,
        "longest_wait_seconds": figures.longest_wait(now) / SECOND,
        "oldest_waiting_since": None if figures.oldest is None else _moment(figures.oldest),
        "talking": figures.talking,
        "wrapping": figures.wrapping,
        "balance_residual": residual,
        "windows": {window: _window(window, told) for window, told in figures.windows.items()},
        "levels": levels,
    }


def _history(figures: HistoryFigures) -> dict[str, Any]:
    return {
        "start": _moment(figures.start),
        "step_seconds": POINT_SECONDS,
        "offered": figures.offered,
        "answered": figures.answered,
        "abandoned": figures.abandoned,
        "levels": {each.level.name: {"met": each.met, "counted": each.base} for each in figures.levels},
    }


def _callbacks(figures: ChannelFigures, now: int) -> dict[str, Any]:
    return {
        "waiting": figures.waiting,
        "oldest_seconds": figures.longest_wait(now) / SECOND,
        "oldest_since": None if figures.oldest is None else _moment(figures.oldest),
    }


def _level(figures: LevelFigures) -> dict[str, Any]:
    return {
        "met": figures.met,
        "counted": figures.base,
        "ratio": figures.ratio,
        "lower": figures.lower,
        "upper": figures.upper,
    }


def _window(window: str, figures: WindowFigures) -> dict[str, Any]:
    answer, handle = figures.answer_wait_mean, figures.handle_mean
    return {
        "start": None if window in ROLLING_SECONDS else _moment(figures.start),
        "offered": figures.offered,
        "answered": figures.of("answered"),
        "abandoned": figures.of("abandoned"),
        "short_abandoned": figures.of("short"),
        "diverted": figures.of("diverted"),
        "evicted": figures.of("evicted"),
        "waiting": figures.waiting,
        "answer_wait_seconds_sum": figures.of("answer_wait") / SECOND,
        "answer_wait_mean_seconds": None if answer is None else answer / SECOND,
        "handled": figures.of("handled"),
        "handle_seconds_sum": figures.handle / SECOND,
        "handle_time_mean_seconds": None if handle is None else handle / SECOND,
        "abandon_ratio": figures.abandon_ratio,
    }


def interval(partition: Partition, closed: Closed, settings: ResolvedQueue) -> tuple[bytes, bytes]:
    """Key and value of a closed interval's record, true up to its offset."""
    figures = closed.figures
    of = figures.of
    definitions = dict(settings.definitions)
    start = _moment(figures.start)
    reasons = {
        key.partition(":")[2]: count for key, count in figures.cell.told().items() if key.startswith("diverted:")
    }
    outcomes = {
        "answered": of("answered"),
        "abandoned": of("abandoned"),
        "short_abandoned": of("short"),
        "diverted": of("diverted"),
        "diverted_by": reasons,
        "evicted": of("evicted"),
        "answer_wait_seconds": of("answer_wait") / SECOND,
        "abandon_wait_seconds": of("abandon_wait") / SECOND,
    }
    record = {
        "version": VERSION,
        "queue": closed.queue,
        "channel": closed.channel,
        "start": start,
        "end": _moment(figures.end),
        "time_zone": settings.time_zone,
        "final": closed.final,
        "partition": partition.number,
        "offset": closed.offset,
        "as_of": _moment(closed.as_of),
        "refused": of("refused"),
        "arrivals": outcomes | {"offered": figures.offered, "waiting": figures.waiting},
        "outcomes": {
            "answered": of("done:answered"),
            "abandoned": of("done:abandoned"),
            "short_abandoned": of("done:short"),
            "diverted": of("done:diverted"),
            "diverted_by": {
                key.removeprefix("done:diverted:"): count
                for key, count in figures.cell.told().items()
                if key.startswith("done:diverted:")
            },
            "evicted": of("done:evicted"),
            "answer_wait_seconds": of("done:answer_wait") / SECOND,
            "abandon_wait_seconds": of("done:abandon_wait") / SECOND,
        },
        "handled": {
            "calls": of("handled"),
            "talk_seconds": of("talk") / SECOND,
            "hold_seconds": of("hold") / SECOND,
            "wrap_up_seconds": of("wrap") / SECOND,
        },
        "levels": {
            level.level.name: _level(level) | {"definition": definitions[level.level.name].model_dump()}
            for level in figures.levels
            if level.level.name in definitions
        },
    }
    value = orjson.dumps(record, option=_OPTIONS)
    return interval_key(closed.queue, closed.channel, start), memoryview(
        value
    ).tobytes()  # orjson's own keep 4 KB, and many wait


def news(partition: Partition, owner: str, *, ready: bool, now: int) -> tuple[bytes, bytes]:
    """Key and value of the news of a partition: who serves it, and how far it is folded."""
    record = {
        "version": VERSION,
        "partition": partition.number,
        "partitions": partition.partitions,
        "owner": owner,
        "offset": partition.next_offset,
        "queues": len(partition.queues),
        "ready": ready,
        "time": _moment(now),
        "log_time": _moment(partition.log_time) if partition.log_time else None,
    }
    return b"\0%d" % partition.number, orjson.dumps(record, option=_OPTIONS)


@lru_cache(maxsize=1024)
def _moment(at: int) -> datetime:
    """The instant as records have it; many of one time share `now`, log time and the starts of windows."""
    return to_datetime(at)
