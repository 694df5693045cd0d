"""One example of every event and record, for the documents: the story of two calls to the queue `sales`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from queuewatch_schemas.config import Definition
from queuewatch_schemas.events import Reason
from queuewatch_schemas.records import (
    AlertLimits,
    ArrivalCounts,
    Callbacks,
    ChannelFigures,
    ClosedInterval,
    DeadLetter,
    DefinitionContent,
    HandledCounts,
    History,
    IntervalLevel,
    Level,
    LevelHistory,
    OutcomeCounts,
    PartitionNews,
    QueueSnapshot,
    WindowFigures,
)

_FIRST, _SECOND = "pbx1-1795305007.1", "pbx1-1795305031.4"


def _event(number: int, kind: str, subject: str, second: float, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"pbx1-{number}",
        "source": "urn:pbx:1",
        "type": f"queuewatch.{kind}.v1",
        "time": f"2026-11-21T09:15:{second:06.3f}+08:00",
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }


EVENTS: Final[tuple[dict[str, Any], ...]] = (
    _event(
        1,
        "call.queued",
        _FIRST,
        2.25,
        {"queue": "sales", "channel": "voice", "priority": 0, "customer": "c-77", "via": "direct"},
    ),
    _event(2, "call.ringing", _FIRST, 4, {"queue": "sales", "agent": "a-12"}),
    _event(3, "call.declined", _FIRST, 9, {"queue": "sales", "agent": "a-12", "reason": "no_answer"}),
    _event(4, "call.answered", _FIRST, 14.5, {"queue": "sales", "agent": "a-7"}),
    _event(5, "call.held", _FIRST, 20, {"queue": "sales", "agent": "a-7"}),
    _event(6, "call.resumed", _FIRST, 26, {"queue": "sales", "agent": "a-7"}),
    _event(7, "call.ended", _FIRST, 40, {"queue": "sales", "agent": "a-7", "by": "caller"}),
    _event(8, "call.wrapped", _FIRST, 52, {"queue": "sales", "agent": "a-7"}),
    _event(9, "survey.answered", _FIRST, 58, {"queue": "sales", "agent": "a-7", "question": "nps", "score": 9}),
    _event(10, "call.abandoned", _SECOND, 33, {"queue": "sales", "visit": 1}),
    _event(11, "call.diverted", _SECOND, 33, {"queue": "sales", "reason": "overflow", "to_queue": "sales-overflow"}),
    _event(12, "call.refused", _SECOND, 31, {"queue": "sales", "reason": "closed"}),
    {
        **_event(13, "call.evicted", _SECOND, 31, {"queue": "sales", "reason": "too_long"}),
        "source": "urn:queuewatch:queuewatch",
    },
    _event(
        14,
        "agent.state",
        "a-7",
        14.5,
        {
            "state": "talking",
            "queues": [{"queue": "sales", "level": 1}],
            "contacts": [{"channel": "voice", "state": "talking", "queue": "sales"}],
        },
    ),
    _event(15, "queue.opened", "sales", 0, {"reason": "schedule"}),
    _event(16, "queue.closed", "sales", 59, {"reason": "schedule"}),
    _event(
        17,
        "queue.snapshot",
        "sales",
        10,
        {"complete": True, "waiting": [{"call": _FIRST, "visit": 1, "since": "2026-11-21T09:15:02.250+08:00"}]},
    ),
    _event(18, "source.heartbeat", "urn:pbx:1", 15, {"interval_s": 5, "upstream": "ok", "queues": ["sales"]}),
)
"""One of each type; each is valid."""


def _at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 11, 21, hour, minute, second, tzinfo=UTC)


_DEFINITION = DefinitionContent.model_validate(Definition().resolved())

_INTERVAL = WindowFigures(
    start=_at(1, 0),
    offered=3,
    answered=1,
    abandoned=1,
    short_abandoned=0,
    diverted=0,
    evicted=0,
    waiting=1,
    answer_wait_seconds_sum=12.25,
    answer_wait_mean_seconds=12.25,
    handled=1,
    handle_seconds_sum=37.5,
    handle_time_mean_seconds=37.5,
    abandon_ratio=0.5,
)
_LAST_INTERVAL = WindowFigures(
    start=_at(0, 30),
    offered=0,
    answered=0,
    abandoned=0,
    short_abandoned=0,
    diverted=0,
    evicted=0,
    waiting=0,
    answer_wait_seconds_sum=0,
    answer_wait_mean_seconds=None,
    handled=0,
    handle_seconds_sum=0,
    handle_time_mean_seconds=None,
    abandon_ratio=None,
)

QUEUE_SNAPSHOT: Final = QueueSnapshot(
    queue="sales",
    partition=3,
    offset=1_204_518,
    time=_at(1, 16),
    log_time=_at(1, 15, 59),
    last_event_time=_at(1, 15, 58),
    name="Sales",
    group="Commerce",
    site="Singapore",
    time_zone="Asia/Singapore",
    open=True,
    source_up=True,
    limits=AlertLimits(),
    definitions={"default": _DEFINITION},
    channels={
        "voice": ChannelFigures(
            waiting=1,
            longest_wait_seconds=10,
            oldest_waiting_since=_at(1, 15, 50),
            longest_wait_today_seconds=12.25,
            talking=0,
            wrapping=0,
            balance_residual=0,
            windows={"interval": _INTERVAL, "last_interval": _LAST_INTERVAL},
            levels={
                "default": {
                    "interval": Level(met=1, counted=2, ratio=0.5, lower=1 / 3, upper=2 / 3),
                    "last_interval": Level(met=0, counted=0, ratio=None),
                }
            },
            history=History(
                start=_at(0, 20),
                offered=(*(0,) * 11, 3),
                answered=(*(0,) * 11, 1),
                abandoned=(*(0,) * 11, 1),
                levels={"default": LevelHistory(met=(*(0,) * 11, 1), counted=(*(0,) * 11, 2))},
            ),
        )
    },
    callbacks=Callbacks(waiting=0, oldest_seconds=0, oldest_since=None),
)

PARTITION_NEWS: Final = PartitionNews(
    partition=3,
    partitions=4,
    owner="worker-1-7f3a",
    offset=1_204_518,
    queues=12,
    ready=True,
    time=_at(1, 16),
    log_time=_at(1, 15, 59),
)

_OUTCOMES = OutcomeCounts(
    answered=1,
    abandoned=1,
    short_abandoned=0,
    diverted=1,
    diverted_by={"overflow": 1},
    evicted=0,
    answer_wait_seconds=12.25,
    abandon_wait_seconds=2,
)

CLOSED_INTERVAL: Final = ClosedInterval(
    queue="sales",
    channel="voice",
    start=_at(1, 0),
    end=_at(1, 30),
    time_zone="Asia/Singapore",
    final=False,
    partition=3,
    offset=1_204_900,
    as_of=_at(1, 30, 2),
    refused=1,
    arrivals=ArrivalCounts(offered=3, waiting=0, **_OUTCOMES.model_dump()),
    outcomes=_OUTCOMES,
    handled=HandledCounts(calls=1, talk_seconds=19.5, hold_seconds=6, wrap_up_seconds=12),
    levels={"default": IntervalLevel(met=1, counted=3, ratio=1 / 3, lower=1 / 3, upper=1 / 3, definition=_DEFINITION)},
)

DEAD_LETTER: Final = DeadLetter.of(
    topic="queuewatch.events",
    partition=3,
    offset=1_204_519,
    reason=Reason.MISSING_FIELD,
    detail="data.queue: is missing",
    payload=b'{"specversion":"1.0","type":"queuewatch.call.queued.v1","data":{}}',
)
