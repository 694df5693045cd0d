"""What a screen shows, made of what is known: pure, with every instant as an argument.

Rows are made once for all screens (`Rows`), a board of those that one view shows (`board`).  Figures that are not to be trusted
stand in their row as last known, with `stale` beside them, and enter no sum.  A sum over a part is no sum: where a member
is stale, or might be missing, it is null.  A view's sums are made of the queues that it shows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from queuewatch_schemas.config import Window
from queuewatch_schemas.records import ChannelFigures, History, Level, QueueSnapshot, WindowFigures
from queuewatch_schemas.wallboard import Agents, Stale
from queuewatch_wallboard.access import View
from queuewatch_wallboard.known import HeldSnapshot, Instant, Known
from queuewatch_wallboard.states import Patience, Standing, judge, settle, worst

__all__ = ["Arrangement", "Board", "Row", "Rows", "board"]

VOICE: Final = "voice"
_OPTIONS: Final = orjson.OPT_UTC_Z


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The order of the rows, and how long a change of state must last."""

    pinned: tuple[str, ...]
    """Queues that stand first, in this order."""
    order: tuple[str, ...]
    """Queues that come next; all others follow by the names that are shown."""
    patience: Patience

    def place(self, queue: str, name: str) -> tuple[Any, ...]:
        """What rows are sorted by."""
        if queue in self.pinned:
            return 0, self.pinned.index(queue), "", ""
        if queue in self.order:
            return 1, self.order.index(queue), "", ""
        return 2, 0, name.casefold(), queue


@dataclass(frozen=True, slots=True)
class Row:
    """One queue as every view shows it."""

    queue: str
    group: str
    place: tuple[Any, ...]
    record: QueueSnapshot | None
    """None: never heard of, or gone."""
    stale: Stale | None
    standing: Standing
    longest_wait: float | None
    longest_wait_today: float | None
    text: bytes
    """The row as JSON."""
    visible: tuple[bytes, bytes]
    """What people would see change: all of it but for what ticks by itself."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board as JSON, without its id: `text` is an object whose first field is still to be written before it."""

    text: bytes
    visible: tuple[object, ...]
    """Equal for boards between which nothing changed that people would see, but for what ticks by itself."""
    as_of: tuple[datetime | None, ...]
    """The times of the figures; equal where nothing was published meanwhile."""

    def numbered(self, number: int) -> bytes:
        """The whole message."""
        return b'{"id":%d,' % number + self.text[1:]


class Rows:
    """The rows of all known queues at one instant after another; between them it holds the states that are told."""

    def __init__(self, arrangement: Arrangement) -> None:
        self._arrangement = arrangement
        self._standings: dict[str, Standing] = {}
        self._fixed: dict[str, tuple[QueueSnapshot, bytes]] = {}

    def at(self, known: Known, agents: Mapping[str, Agents], now: Instant) -> dict[str, Row]:
        """The row of each known queue, by queue.  `agents`: by queue, where known."""
        silent = known.silent(now)
        rows = {
            queue: self._row(queue, held, known.stale(held, silent), agents.get(queue), now)
            for queue, held in known.snapshots.items()
        }
        for memory in (self._standings, self._fixed):
            for queue in memory.keys() - rows.keys():
                del memory[queue]
        return rows

    def _text(self, record: QueueSnapshot) -> bytes:
        """What of a row follows from the snapshot alone."""
        held = self._fixed.get(record.queue)
        if held is None or held[0] is not record:
            text = orjson.dumps(_fixed(record, record.channels.get(VOICE)), option=_OPTIONS)
            held = self._fixed[record.queue] = record, text
        return held[1]

    def _row(self, queue: str, held: HeldSnapshot, stale: Stale | None, agents: Agents | None, now: Instant) -> Row:
        record = held.record
        voice = record.channels.get(VOICE)
        advance = 0.0 if stale is not None else held.age_at(now)
        longest = None if voice is None else _advanced(voice, advance)
        today = None if voice is None else voice.longest_wait_today_seconds
        if today is not None and longest is not None:
            today = max(today, longest)
        state, why = ("unknown", ()) if stale is not None else judge(record, longest)
        standing = settle(self._standings.get(queue), state, why, now, self._arrangement.patience)
        self._standings[queue] = standing
        fixed = self._text(record)
        told = {
            "pinned": queue in self._arrangement.pinned,
            "stale": None if stale is None else stale.model_dump(),
            "state": standing.state,
            "state_since": standing.since,
            "agents": None if agents is None else agents.model_dump(),
        }
        ticking = {
            "as_of": record.time,
            "data_age_seconds": round(held.age_at(now), 3),
            "why": [each.model_dump() for each in standing.why],
            "longest_wait_seconds": _rounded(longest),
            "longest_wait_today_seconds": _rounded(today),
            "other_channels": [
                {
                    "channel": name,
                    "waiting": figures.waiting,
                    "longest_wait_seconds": _rounded(_advanced(figures, advance)),
                    "talking": figures.talking,
                }
                for name, figures in sorted(record.channels.items())
                if name != VOICE
            ],
        }
        changing = orjson.dumps(
            told | {"why": [(each.figure, each.severity, each.window, each.definition) for each in standing.why]},
            option=_OPTIONS,
        )
        return Row(
            queue=queue,
            group=record.group,
            place=self._arrangement.place(queue, record.name),
            record=record,
            stale=stale,
            standing=standing,
            longest_wait=longest,
            longest_wait_today=today,
            text=fixed[:-1] + b"," + orjson.dumps(told | ticking, option=_OPTIONS)[1:],
            visible=(fixed, changing),
        )


def _advanced(figures: ChannelFigures, seconds: float) -> float | None:
    """The longest wait so many seconds after the snapshot."""
    longest = figures.longest_wait_seconds
    return longest if longest is None or figures.oldest_waiting_since is None else longest + seconds


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _fixed(record: QueueSnapshot, voice: ChannelFigures | None) -> dict[str, Any]:
    """What of a row follows from the snapshot alone."""
    windows = {} if voice is None else voice.windows
    return {
        "queue": record.queue,
        "name": record.name,
        "group": record.group,
        "site": record.site,
        "time_zone": record.time_zone,
        "partition": record.partition,
        "open": record.open,
        "waiting": None if voice is None else voice.waiting,
        "oldest_waiting_since": None if voice is None else voice.oldest_waiting_since,
        "talking": None if voice is None else voice.talking,
        "wrapping": None if voice is None else voice.wrapping,
        "callbacks": record.callbacks.model_dump(),
        "interval": _window(windows.get("interval")),
        "last_interval": _window(windows.get("last_interval")),
        "today": _window(windows.get("day")),
        "levels": [
            {
                "name": name,
                "definition": definition.model_dump(mode="json"),
                "windows": {}
                if voice is None
                else {window: level.model_dump() for window, level in voice.levels.get(name, {}).items()},
            }
            for name, definition in record.definitions.items()
        ],
        "limits": record.limits.model_dump(),
        "history": [] if voice is None or voice.history is None else _points(voice.history, record),
    }


def _window(figures: WindowFigures | None) -> dict[str, Any] | None:
    return None if figures is None else figures.model_dump()


def _points(history: History, record: QueueSnapshot) -> list[dict[str, Any]]:
    """The history by points, with the main level's; without any where its parts are of different lengths."""
    main = history.levels.get(next(iter(record.definitions), ""))
    if main is None:
        return []
    columns = (history.offered, history.answered, history.abandoned, main.met, main.counted)
    if len({len(column) for column in columns}) != 1:
        return []
    step = timedelta(seconds=history.step_seconds)
    return [
        {
            "start": history.start + step * number,
            "offered": offered,
            "answered": answered,
            "abandoned": abandoned,
            "met": met,
            "counted": counted,
        }
        for number, (offered, answered, abandoned, met, counted) in enumerate(zip(*columns, strict=True))
    ]


# ---------------------------------------------------------------------------------------------------------- one view


def board(
    rows: Mapping[str, Row],
    known: Known,
    view: View,
    now: Instant,
    *,
    arrangement: Arrangement,
    version: str,
    announcement: str | None,
) -> Board:
    """What a view shows of these rows, at the instant that they were made for."""
    silent = known.silent(now)
    shown = [row for row in rows.values() if view.shows(row.queue, row.group)]
    shown += _unheard_of(rows, known, view, now, arrangement)
    shown.sort(key=lambda row: row.place)
    never = known.partitions is None or any(each.why == "never" for each in silent.values())
    groups = _groups(shown, view, never)
    partitions = {
        "count": known.partitions,
        "without_news": [each.model_dump() for each in silent.values()],
    }
    head = {
        "version": version,
        "server_time": now.wall,
        "announcement": announcement,
        "partitions": partitions,
        "groups": groups,
    }
    text = orjson.dumps(head, option=_OPTIONS)[:-1] + b',"queues":[' + b",".join(row.text for row in shown) + b"]}"
    visible = (version, announcement, orjson.dumps(partitions, option=_OPTIONS), *(row.visible for row in shown))
    return Board(text, visible, tuple(None if row.record is None else row.record.time for row in shown))


def _unheard_of(rows: Mapping[str, Row], known: Known, view: View, now: Instant, arrangement: Arrangement) -> list[Row]:
    """Rows of queues that were asked for by name, and are not there."""
    return [
        _empty_row(queue, known.gone_since(queue), now, arrangement)
        for queue in sorted(view.asked.queues)
        if queue not in rows and view.granted.holds(queue, known.group_of(queue))
    ]


def _empty_row(queue: str, gone_since: datetime | None, now: Instant, arrangement: Arrangement) -> Row:
    stale = Stale(why="never" if gone_since is None else "gone", since=gone_since, what="all")
    told: dict[str, Any] = {
        "queue": queue,
        "name": queue,
        "group": "",
        "site": "",
        "pinned": queue in arrangement.pinned,
        "stale": stale.model_dump(),
        "state": "unknown",
        "state_since": gone_since,
        "why": [],
        "other_channels": [],
        "levels": [],
        "history": [],
        **dict.fromkeys(
            (
                *("time_zone", "partition", "as_of", "data_age_seconds", "open", "waiting", "longest_wait_seconds"),
                *("oldest_waiting_since", "longest_wait_today_seconds", "talking", "wrapping", "callbacks", "agents"),
                *("interval", "last_interval", "today", "limits"),
            )
        ),
    }
    text = orjson.dumps(told, option=_OPTIONS)
    standing = Standing("unknown", now.wall, ())
    place = arrangement.place(queue, queue)
    return Row(queue, "", place, None, stale, standing, None, None, text, (text, b""))


def _groups(shown: Iterable[Row], view: View, never: bool) -> list[dict[str, Any]]:
    """A row per group, those of no group last; `never`: whether some partition was never heard of."""
    members: dict[str, list[Row]] = {group: [] for group in sorted(view.asked.groups)}
    for row in shown:
        if row.record is not None:
            members.setdefault(row.group, []).append(row)
    ordered = sorted(members, key=lambda group: (group == "", group.casefold(), group))
    # A view that names its queues one by one lacks none of them; any other may lack what was never heard of.
    return [_group(group, members[group], never and view.asked.names_group(group)) for group in ordered]


def _group(group: str, rows: list[Row], incomplete: bool) -> dict[str, Any]:
    unknown = sum(row.stale is not None for row in rows)
    certain = bool(rows) and not unknown and not incomplete
    voices = [row.record.channels.get(VOICE) for row in rows if row.record is not None]
    heard = [voice for voice in voices if voice is not None] if certain else []
    certain = certain and len(heard) == len(rows)

    def total(values: list[int | None]) -> int | None:
        return sum(each for each in values if each is not None) if certain and None not in values else None

    def greatest(values: list[float | None]) -> float | None:
        known = [each for each in values if each is not None]
        return max(known) if certain and len(known) == len(values) else None

    oldest = [voice.oldest_waiting_since for voice in heard if voice.oldest_waiting_since is not None]
    return {
        "group": group,
        "queues": len(rows),
        "unknown": unknown,
        "incomplete": incomplete,
        "waiting": total([voice.waiting for voice in heard]),
        "longest_wait_seconds": _rounded(greatest([row.longest_wait for row in rows])),
        "oldest_waiting_since": min(oldest, default=None) if certain else None,
        "longest_wait_today_seconds": _rounded(greatest([row.longest_wait_today for row in rows])),
        "talking": total([voice.talking for voice in heard]),
        "interval": _sums([voice.windows.get("interval") for voice in heard]) if certain else None,
        "today": _sums([voice.windows.get("day") for voice in heard]) if certain else None,
        "level": _level([row.record for row in rows if row.record is not None]) if certain else None,
        "state": worst([row.standing.state for row in rows], certain=not incomplete),
    }


def _sums(windows: list[WindowFigures | None]) -> dict[str, int] | None:
    """Sums of windows that all are there and began together."""
    told = [each for each in windows if each is not None]
    if len(told) < len(windows) or len({each.start for each in told}) != 1:
        return None
    return {name: sum(getattr(each, name) for each in told) for name in ("offered", "answered", "abandoned")}


def _level(records: list[QueueSnapshot]) -> dict[str, Any] | None:
    """The main levels of all queues as one, where all count by the same content."""
    mains = [next(iter(record.definitions.items()), None) for record in records]
    contents = [main[1] for main in mains if main is not None]
    if len(contents) < len(records) or any(content != contents[0] for content in contents):
        return None
    told: list[dict[Window, Level]] = [
        record.channels[VOICE].levels.get(main[0], {})
        for record, main in zip(records, mains, strict=True)
        if main is not None
    ]
    windows = {}
    for window in told[0]:
        starts = {record.channels[VOICE].windows[window].start for record in records if _has(record, window)}
        if len(starts) == 1 and all(window in each for each in told):
            met, counted = sum(each[window].met for each in told), sum(each[window].counted for each in told)
            ratio = met / counted if 0 <= met <= counted != 0 else None
            windows[window] = {"met": met, "counted": counted, "ratio": ratio, "lower": None, "upper": None}
    return {"definition": contents[0].model_dump(mode="json"), "windows": windows}


def _has(record: QueueSnapshot, window: Window) -> bool:
    return window in record.channels[VOICE].windows
