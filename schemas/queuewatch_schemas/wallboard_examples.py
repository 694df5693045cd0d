"""One board as the wallboard answers it: a queue behind, one idle, one closed, one greyed, and a partition without news."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from queuewatch_schemas.config import Definition
from queuewatch_schemas.records import AlertLimits, Callbacks, DefinitionContent, Level, WindowFigures
from queuewatch_schemas.wallboard import (
    Agents,
    Board,
    GroupLevel,
    GroupRow,
    GroupSums,
    Heartbeat,
    HistoryPoint,
    LevelRow,
    OtherChannel,
    Partitions,
    QueueRow,
    Refusal,
    SilentPartition,
    Stale,
    Ticket,
    Why,
)


def _at(hour: int, minute: int, second: float = 0) -> datetime:
    return datetime(2026, 11, 21, hour, minute, tzinfo=UTC) + timedelta(seconds=second)


_EIGHTY_TWENTY: Final = DefinitionContent.model_validate(Definition().resolved())
_NINETY_TEN: Final = DefinitionContent.model_validate(
    Definition.model_validate({"preset": "ignore-short", "threshold_seconds": 10, "target": 0.9}).resolved()
)
_NO_CALLBACKS: Final = Callbacks(waiting=0, oldest_seconds=0, oldest_since=None)


def _window(start: datetime, answered: int, abandoned: int, waiting: int, mean: float | None) -> WindowFigures:
    return WindowFigures(
        start=start,
        offered=answered + abandoned + waiting,
        answered=answered,
        abandoned=abandoned,
        short_abandoned=0,
        diverted=0,
        evicted=0,
        waiting=waiting,
        answer_wait_seconds_sum=0 if mean is None else mean * answered,
        answer_wait_mean_seconds=mean,
        handled=answered,
        handle_seconds_sum=answered * 210,
        handle_time_mean_seconds=210 if answered else None,
        abandon_ratio=abandoned / (answered + abandoned) if answered + abandoned else None,
    )


def _history(*points: tuple[int, int, int]) -> tuple[HistoryPoint, ...]:
    """Twelve points up to 01:15 from (answered, abandoned, met)."""
    return tuple(
        HistoryPoint(
            start=_at(0, 15) + timedelta(minutes=5 * number),
            offered=answered + abandoned,
            answered=answered,
            abandoned=abandoned,
            met=met,
            counted=answered + abandoned,
        )
        for number, (answered, abandoned, met) in enumerate(points)
    )


_QUIET: Final = _history(*[(0, 0, 0)] * 12)
_SALES_LEVELS: Final = (
    LevelRow(
        name="default",
        definition=_EIGHTY_TWENTY,
        windows={
            "15m": Level(met=21, counted=34, ratio=21 / 34),
            "interval": Level(met=22, counted=36, ratio=22 / 36, lower=22 / 39, upper=23 / 39),
            "last_interval": Level(met=61, counted=70, ratio=61 / 70),
            "day": Level(met=83, counted=106, ratio=83 / 106, lower=83 / 109, upper=84 / 109),
        },
    ),
    LevelRow(
        name="90/10",
        definition=_NINETY_TEN,
        windows={"15m": Level(met=14, counted=33, ratio=14 / 33), "day": Level(met=70, counted=104, ratio=70 / 104)},
    ),
)

_SALES: Final = QueueRow(
    queue="sales",
    name="Sales",
    group="Commerce",
    site="Singapore",
    time_zone="Asia/Singapore",
    partition=3,
    pinned=True,
    stale=None,
    as_of=_at(1, 15, 59.75),
    data_age_seconds=0.25,
    open=True,
    state="critical",
    state_since=_at(1, 15, 12),
    why=(
        Why(figure="longest_wait", value=252.25, limit=120, severity="critical"),
        Why(figure="service_level", value=21 / 34, limit=0.8, severity="warning", window="15m", definition="default"),
    ),
    waiting=3,
    longest_wait_seconds=252.25,
    oldest_waiting_since=_at(1, 11, 47.75),
    longest_wait_today_seconds=252.25,
    talking=6,
    wrapping=1,
    callbacks=Callbacks(waiting=2, oldest_seconds=340, oldest_since=_at(1, 10, 19.75)),
    agents=Agents(available=0, busy=7, paused=2),
    other_channels=(OtherChannel(channel="chat", waiting=1, longest_wait_seconds=14.5, talking=4),),
    interval=_window(_at(1, 0), 31, 2, 3, 24.5),
    last_interval=_window(_at(0, 30), 68, 2, 0, 9.25),
    today=_window(_at(0, 0) - timedelta(hours=8), 99, 4, 3, 14),
    levels=_SALES_LEVELS,
    limits=AlertLimits(),
    history=_history(
        *[(9, 0, 9), (12, 0, 11), (11, 1, 10), (13, 0, 12), (10, 0, 9), (12, 0, 10)],
        *[(11, 0, 11), (12, 1, 9), (10, 0, 9), (12, 1, 8), (11, 0, 6), (8, 1, 3)],
    ),
)
_RETURNS: Final = QueueRow(
    queue="returns",
    name="Returns",
    group="Commerce",
    site="Singapore",
    time_zone="Asia/Singapore",
    partition=1,
    pinned=False,
    stale=None,
    as_of=_at(1, 15, 57.5),
    data_age_seconds=2.5,
    open=None,
    state="idle",
    state_since=_at(0, 55),
    why=(),
    waiting=0,
    longest_wait_seconds=0,
    oldest_waiting_since=None,
    longest_wait_today_seconds=12,
    talking=0,
    wrapping=None,
    callbacks=_NO_CALLBACKS,
    agents=None,
    other_channels=(),
    interval=_window(_at(1, 0), 0, 0, 0, None),
    last_interval=_window(_at(0, 30), 4, 0, 0, 6),
    today=_window(_at(0, 0) - timedelta(hours=8), 17, 1, 0, 5.5),
    levels=(
        LevelRow(
            name="default",
            definition=_EIGHTY_TWENTY,
            windows={
                "15m": Level(met=0, counted=0, ratio=None),
                "interval": Level(met=0, counted=0, ratio=None),
                "last_interval": Level(met=4, counted=4, ratio=1),
                "day": Level(met=17, counted=18, ratio=17 / 18),
            },
        ),
    ),
    limits=AlertLimits(),
    history=_QUIET,
)
_SUPPORT: Final = _RETURNS.model_copy(
    update={
        "queue": "support",
        "name": "Support",
        "group": "Service",
        "site": "Rome",
        "time_zone": "Europe/Rome",
        "open": False,
        "state": "closed",
        "state_since": _at(1, 0),
    }
)
_BILLING: Final = _RETURNS.model_copy(
    update={
        "queue": "billing",
        "name": "Billing",
        "group": "Service",
        "site": "Rome",
        "time_zone": "Europe/Rome",
        "partition": 0,
        "stale": Stale(why="no_news", since=_at(1, 12, 4), what="all"),
        "as_of": _at(1, 12, 3.5),
        "data_age_seconds": 236.5,
        "open": True,
        "state": "unknown",
        "state_since": _at(1, 12, 10.5),
        "waiting": 4,
        "longest_wait_seconds": 31.0,
        "oldest_waiting_since": _at(1, 11, 32.5),
    }
)

BOARD: Final = Board(
    version="1.0f3c9a1b2c3d",
    id=48_213,
    server_time=_at(1, 16),
    announcement="Fire drill at 15:00",
    partitions=Partitions(
        count=4,
        without_news=(SilentPartition(partition=0, since=_at(1, 12, 4), why="no_news"),),
    ),
    groups=(
        GroupRow(
            group="Commerce",
            queues=2,
            unknown=0,
            incomplete=False,
            waiting=3,
            longest_wait_seconds=252.25,
            oldest_waiting_since=_at(1, 11, 47.75),
            longest_wait_today_seconds=252.25,
            talking=6,
            interval=GroupSums(offered=36, answered=31, abandoned=2),
            today=GroupSums(offered=124, answered=116, abandoned=5),
            level=GroupLevel(
                definition=_EIGHTY_TWENTY,
                windows={
                    "15m": Level(met=21, counted=34, ratio=21 / 34),
                    "interval": Level(met=22, counted=36, ratio=22 / 36),
                    "last_interval": Level(met=65, counted=74, ratio=65 / 74),
                    "day": Level(met=100, counted=124, ratio=100 / 124),
                },
            ),
            state="critical",
        ),
        GroupRow(
            group="Service",
            queues=2,
            unknown=1,
            incomplete=False,
            waiting=None,
            longest_wait_seconds=None,
            oldest_waiting_since=None,
            longest_wait_today_seconds=None,
            talking=None,
            interval=None,
            today=None,
            level=None,
            state="unknown",
        ),
    ),
    queues=(_SALES, _BILLING, _RETURNS, _SUPPORT),
)
"""What a screen with all queues gets."""
HEARTBEAT: Final = Heartbeat(server_time=_at(1, 16, 5), version=BOARD.version, id=BOARD.id)
TICKET: Final = Ticket(ticket="k1.8mJ0Yx2d.cGFnZQ", expires_in_seconds=60)
REFUSAL: Final = Refusal(error="forbidden")
