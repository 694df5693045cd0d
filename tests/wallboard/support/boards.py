"""Boards made for tests of the page: what a service would send, from the interface's own models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from queuewatch_schemas.config import Definition, Preset
from queuewatch_schemas.records import AlertLimits, Callbacks, DefinitionContent, Level, WindowFigures
from queuewatch_schemas.wallboard import (
    FORM,
    Agents,
    Board,
    GroupLevel,
    GroupRow,
    GroupSums,
    HistoryPoint,
    LevelRow,
    Partitions,
    QueueRow,
    SilentPartition,
    Stale,
    Why,
)

VERSION: Final = f"{FORM}.abc123"
START: Final = datetime(2026, 3, 10, 9, 41, 7, tzinfo=UTC)
"""The server's time when a stand-in starts: no browser's clock is near it."""
_UNKNOWN: Final = (
    "time_zone",
    "partition",
    "as_of",
    "data_age_seconds",
    "open",
    "state_since",
    "waiting",
    "longest_wait_seconds",
    "oldest_waiting_since",
    "longest_wait_today_seconds",
    "talking",
    "wrapping",
    "callbacks",
    "agents",
    "interval",
    "last_interval",
    "today",
    "limits",
)
_HOUR: Final = (9, 12, 11, 14, 8, 13, 17, 15, 10, 12, 16, 6)


def definition(preset: Preset = Preset.NEGATIVE, **changes: Any) -> DefinitionContent:
    """A definition with everything written out."""
    return DefinitionContent.model_validate(Definition(preset=preset, **changes).resolved())


def level(met: int, counted: int) -> Level:
    """Met of counted."""
    return Level(met=met, counted=counted, ratio=met / counted if counted else None)


def window(
    offered: int,
    answered: int = 0,
    abandoned: int = 0,
    start: datetime | None = None,
    abandon_ratio: float | None = None,
) -> WindowFigures:
    """One window of voice calls."""
    return WindowFigures(
        start=start,
        offered=offered,
        answered=answered,
        abandoned=abandoned,
        short_abandoned=0,
        diverted=0,
        evicted=0,
        waiting=0,
        answer_wait_seconds_sum=0,
        answer_wait_mean_seconds=None,
        handled=0,
        handle_seconds_sum=0,
        handle_time_mean_seconds=None,
        abandon_ratio=abandon_ratio,
    )


def history(now: datetime, offered: Sequence[int] = _HOUR, lost: int = 9) -> tuple[HistoryPoint, ...]:
    """Twelve points; one in `lost` abandoned."""
    first = now.replace(second=0, microsecond=0, minute=now.minute // 5 * 5) - timedelta(minutes=55)
    return tuple(
        HistoryPoint(
            start=first + timedelta(minutes=5 * index),
            offered=count,
            answered=count - count // lost,
            abandoned=count // lost,
            met=count - 2,
            counted=count,
        )
        for index, count in enumerate(offered)
    )


def queue(name: str, *, now: datetime = START, met: int = 42, counted: int = 50, **changes: Any) -> QueueRow:
    """An everyday queue: open, two callers waiting, the level above its goal; any field may be given otherwise."""
    waited = changes.pop("waited", 14.0)
    waiting = changes.get("waiting", 2)
    main = changes.pop("definition", None) or definition(Preset.IGNORE_SHORT)
    fields: dict[str, Any] = {
        "queue": name,
        "name": name,
        "group": "",
        "site": "",
        "time_zone": "Europe/Zurich",
        "partition": 0,
        "pinned": False,
        "stale": None,
        "as_of": now,
        "data_age_seconds": 0.2,
        "open": True,
        "state": "ok",
        "state_since": now - timedelta(minutes=19),
        "why": (),
        "waiting": 2,
        "longest_wait_seconds": waited if waiting else 0.0,
        "oldest_waiting_since": now - timedelta(seconds=waited) if waiting else None,
        "longest_wait_today_seconds": 203.0,
        "talking": 11,
        "wrapping": 3,
        "callbacks": Callbacks(waiting=1, oldest_seconds=30, oldest_since=now - timedelta(seconds=30)),
        "agents": Agents(available=4, busy=14, paused=2),
        "other_channels": (),
        "interval": window(31, 27, 2, now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)),
        "last_interval": window(64, 60, 3),
        "today": window(512, 478, 31, now.replace(hour=0, minute=0, second=0, microsecond=0)),
        "levels": (
            LevelRow(
                name="default",
                definition=main,
                windows={"15m": level(met, counted), "interval": level(met + 30, counted + 40), "day": level(401, 480)},
            ),
        ),
        "limits": AlertLimits(),
        "history": history(now),
    }
    return QueueRow.model_validate(fields | changes)


def waits_long(name: str, *, now: datetime = START, waited: float = 262, **changes: Any) -> QueueRow:
    """A critical queue: its longest wait is over the limit, its level below the goal."""
    why = (
        Why(figure="longest_wait", value=waited, limit=120, severity="critical"),
        Why(figure="service_level", value=0.61, limit=0.8, severity="warning", definition="default"),
    )
    fields: dict[str, Any] = {
        "waiting": 17,
        "waited": waited,
        "state": "critical",
        "why": why,
        "met": 30,
        "longest_wait_today_seconds": waited,
        "agents": Agents(available=0, busy=19, paused=3),
        "history": history(now, (9, 12, 14, 18, 21, 19, 24, 28, 26, 31, 29, 22), 5),
    }
    return queue(name, now=now, **(fields | changes))


def warned(name: str, *, now: datetime = START, **changes: Any) -> QueueRow:
    """A queue with a warning: more callers wait than its limit."""
    why = (Why(figure="calls_waiting", value=9, limit=8, severity="warning"),)
    fields: dict[str, Any] = {"waiting": 9, "waited": 74.0, "state": "warning", "why": why, "met": 41}
    return queue(name, now=now, **(fields | changes))


def idle(name: str, *, now: datetime = START, **changes: Any) -> QueueRow:
    """Open, and nobody there."""
    nothing = {"15m": level(0, 0), "interval": level(0, 0), "day": level(11, 12)}
    fields: dict[str, Any] = {
        "waiting": 0,
        "talking": 0,
        "wrapping": 0,
        "state": "idle",
        "longest_wait_today_seconds": 48.0,
        "interval": window(0, 0, 0, now.replace(minute=30, second=0, microsecond=0)),
        "today": window(12, 12, 0),
        "levels": (LevelRow(name="default", definition=definition(Preset.IGNORE_SHORT), windows=nothing),),
        "history": history(now, (0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0)),
        "agents": Agents(available=2, busy=0, paused=1),
    }
    return queue(name, now=now, **(fields | changes))


def closed(name: str, *, now: datetime = START, **changes: Any) -> QueueRow:
    """Outside of its opening hours."""
    since = now.replace(hour=8, minute=30, second=0)
    return idle(name, now=now, **({"state": "closed", "open": False, "state_since": since, "agents": None} | changes))


def silent(name: str, why: str = "no_news", what: str = "all", *, now: datetime = START, **changes: Any) -> QueueRow:
    """A queue whose figures are not to be trusted any more."""
    stale = Stale.model_validate({"why": why, "since": now - timedelta(seconds=37), "what": what})
    fields: dict[str, Any] = {"stale": stale, "state": "unknown"}
    return queue(name, now=now, **(fields | changes))


def unheard(name: str, **changes: Any) -> QueueRow:
    """A queue of which nothing was ever known."""
    fields: dict[str, Any] = dict.fromkeys(_UNKNOWN, None)
    fields |= {"stale": Stale(why="never", since=None, what="all"), "state": "unknown", "levels": (), "history": ()}
    return queue(name, **{**fields, **changes})


def group(name: str, rows: Sequence[QueueRow], *, now: datetime = START) -> GroupRow:
    """A group's row: sums where all members are known, else nothing."""
    unknown = sum(row.stale is not None for row in rows)
    contents = {row.levels[0].definition.model_dump_json() for row in rows if row.levels}

    def total(values: Iterable[int | None]) -> int | None:
        known = list(values)
        return None if unknown or None in known else sum(value for value in known if value is not None)

    waits = [row.longest_wait_seconds for row in rows]
    longest = None if unknown or None in waits else max((wait for wait in waits if wait is not None), default=0.0)
    days = [row.longest_wait_today_seconds or 0.0 for row in rows]
    same = len(contents) == 1 and not unknown
    level_row = None
    if same:
        levels = [row.levels[0].windows["15m"] for row in rows]
        content = next(row.levels[0].definition for row in rows)
        level_row = GroupLevel(
            definition=content,
            windows={"15m": level(sum(each.met for each in levels), sum(each.counted for each in levels))},
        )

    def sums(figure: str) -> GroupSums | None:
        windows = [getattr(row, figure) for row in rows]
        if unknown or None in windows:
            return None
        names = ("offered", "answered", "abandoned")
        return GroupSums.model_validate({each: sum(getattr(part, each) for part in windows) for each in names})

    order = ("closed", "idle", "ok", "unknown", "warning", "critical")
    return GroupRow(
        group=name,
        queues=len(rows),
        unknown=unknown,
        incomplete=False,
        waiting=total(row.waiting for row in rows),
        longest_wait_seconds=longest,
        oldest_waiting_since=None if not longest else now - timedelta(seconds=longest),
        longest_wait_today_seconds=None if unknown else max(days, default=0.0),
        talking=total(row.talking for row in rows),
        agents=None,
        interval=sums("interval"),
        today=sums("today"),
        level=level_row,
        state=max((row.state for row in rows), key=order.index),
    )


def board(rows: Sequence[QueueRow], *, now: datetime = START, number: int = 1, **changes: Any) -> Board:
    """A whole board of these queues, with their groups' rows."""
    names = sorted({row.group for row in rows}, key=lambda name: (name == "", name))
    fields: dict[str, Any] = {
        "version": VERSION,
        "id": number,
        "server_time": now,
        "announcement": None,
        "partitions": Partitions(count=12, without_news=()),
        "groups": tuple(group(name, [row for row in rows if row.group == name], now=now) for name in names),
        "queues": tuple(rows),
    }
    return Board.model_validate(fields | changes)


def without_news(*numbers: int, now: datetime = START) -> Partitions:
    """Partitions of which nothing was heard for half a minute."""
    since = now - timedelta(seconds=37)
    gone = tuple(SilentPartition(partition=number, since=since, why="no_news") for number in numbers)
    return Partitions(count=12, without_news=gone)


def floor(now: datetime = START) -> list[QueueRow]:
    """A middling contact centre: three groups, every state, long names, one queue in Chinese."""
    rows = [
        waits_long("Sales English", now=now, group="Sales"),
        queue("Sales German", now=now, group="Sales", waiting=3, waited=22.0),
        warned("Sales French", now=now, group="Sales"),
        queue("Sales Italian", now=now, group="Sales", waiting=0, met=49),
        queue("Technical support, first line", now=now, group="Support", waiting=5, waited=41.0, met=45, talking=38),
        silent(
            "Technical support, second line (Netzwerk und Telefonie)",
            "source_down",
            "waiting",
            now=now,
            group="Support",
        ),
        queue("售后服务热线", now=now, group="Support", waiting=1, waited=9.0, met=47, time_zone="Europe/Zurich"),
        silent("Orders", "no_news", now=now, group="Support"),
        idle("Complaints", now=now, group="Back office"),
        closed("Fleet desk", now=now, group="Back office"),
        queue(
            "Invoices and reminders",
            now=now,
            group="Back office",
            met=38,
            definition=definition(Preset.ANSWERED_ONLY, threshold_seconds=120, target=0.9),
        ),
        unheard("Switchboard", group="Back office"),
    ]
    return [_sized(row, 0.35 + 0.4 * ((index * 5 + 4) % 7), now) for index, row in enumerate(rows)]


def _sized(row: QueueRow, size: float, now: datetime) -> QueueRow:
    """The same queue with so many times the calls and people; idle and closed ones, and those never heard of, stay."""
    if row.interval is None or row.today is None or row.interval.offered == 0:
        return row

    def more(part: WindowFigures) -> WindowFigures:
        answered, abandoned = round(part.answered * size), round(part.abandoned * size * size)
        return window(answered + abandoned + round(2 * size), answered, abandoned, part.start)

    offered = [round(point.offered * size + index % 3) for index, point in enumerate(row.history)]
    agents = row.agents and Agents(
        available=row.agents.available, busy=round(row.agents.busy * size), paused=row.agents.paused
    )
    return row.model_copy(
        update={
            "interval": more(row.interval),
            "today": more(row.today),
            "talking": round((row.talking or 0) * size),
            "wrapping": round((row.wrapping or 0) * size),
            "callbacks": Callbacks(waiting=round(size), oldest_seconds=0, oldest_since=None),
            "agents": agents,
            "longest_wait_today_seconds": max(
                (row.longest_wait_today_seconds or 0) * size, row.longest_wait_seconds or 0
            ),
            "history": history(now, offered, 5 if row.state == "critical" else 14),
        }
    )
