"""How a queue's state becomes one compact, versioned value, and a queue again.

A record is a header (version, the source offset before which everything is in it) and zstd-compressed JSON; the offset is
read without unpacking the rest, since of a key the record with the highest offset counts.  Visits are written as columns of
differences, which compress well.  What can be derived (who waits, what is due when) is not written but rebuilt.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

import cramjam
import orjson

from queuewatch_schemas.config import Attribution, Diverts, Preset, WaitClock
from queuewatch_streams.core.calendar import OpeningHours
from queuewatch_streams.core.policy import Policy
from queuewatch_streams.core.queue import Queue
from queuewatch_streams.core.service_level import EVICTED, REFUSED, WAITING, Level
from queuewatch_streams.core.visit import UNKNOWN, Entry, Rules, Visit, VisitKey, outcome_of, share, visit_key
from queuewatch_streams.core.windows import FIVE_MINUTES, Cell, Cells, DayCell, Point, Points

VERSION: Final = 3
_HEADER: Final = struct.Struct(">Bq")
_LEVEL: Final = 3  # zstd: half the size of level 1's worst cases, still some 100 MB/s


class UnreadableRecord(ValueError):
    """A record that this version of queuewatch cannot read; the message says which version wrote it."""


def pack(offset: int, payload: dict[str, Any]) -> bytes:
    """The bytes of a record that is true up to the source offset (the next one to fold)."""
    packed = cramjam.zstd.compress(orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS), level=_LEVEL)
    return _HEADER.pack(VERSION, offset) + bytes(packed)


def record_offset(value: bytes) -> int:
    """The source offset before which everything is in the record.

    Raises UnreadableRecord where another version wrote it, or nothing of ours.
    """
    if len(value) < _HEADER.size:
        raise UnreadableRecord(f"a record of {len(value)} bytes is no checkpoint of queuewatch")
    version, offset = _HEADER.unpack_from(value)
    if version != VERSION:
        raise UnreadableRecord(
            f"the record has format {version}, this queuewatch reads {VERSION}; run the version that wrote it, or begin"
            " anew under another application name"
        )
    return int(offset)


def unpack(value: bytes) -> tuple[int, dict[str, Any]]:
    """(offset, payload) of a record's bytes.  Raises UnreadableRecord."""
    offset = record_offset(value)
    try:
        return offset, orjson.loads(bytes(cramjam.zstd.decompress(value[_HEADER.size :])))
    except (cramjam.DecompressionError, orjson.JSONDecodeError) as error:
        raise UnreadableRecord(f"a record true up to offset {offset} is damaged: {error}") from None


# ------------------------------------------------------------------------------------------------------------- queues


def dump_queue(queue: Queue) -> dict[str, Any]:
    """The queue's state as plain data; equal states give equal data whatever order made them."""
    ordered = sorted(queue.visits.items(), key=_order)
    rules: list[Rules] = []
    entries: dict[Entry, int] = {}
    position: dict[VisitKey, int] = {}
    columns: dict[str, list[Any]] = {
        name: [] for name in ("call", "tie", "entry", "rules", "counted", "known", *_TIMES)
    }
    numbers: dict[int, int] = {}
    more: dict[int, Any] = {}
    before = 0
    for index, (key, visit) in enumerate(ordered):
        position[key] = index
        call, number = (key, 1) if isinstance(key, str) else key
        if number != 1:
            numbers[index] = number
        if visit.more:
            more[index] = _dump_more(visit.more)
        columns["call"].append(call)
        columns["tie"].append(visit.tie.decode())
        columns["entry"].append(None if visit.entry is None else entries.setdefault(visit.entry, len(entries)))
        columns["rules"].append(None if visit.rules is None else _index(rules, visit.rules))
        columns["counted"].append(visit.counted)
        columns["known"].append(visit.known_at - before)
        before = visit.known_at
        start = visit.queued if visit.queued != UNKNOWN else visit.known_at
        columns["queued"].append(None if visit.queued == UNKNOWN else visit.known_at - visit.queued)
        for name in _TIMES[1:]:
            at = getattr(visit, name)
            columns[name].append(None if at == UNKNOWN else at - start)
    return {
        "queue": queue.name,
        "visits": columns,
        "numbers": numbers,
        "more": more,
        "entries": [list(entry) for entry in entries],
        "rules": [dump_rules(each) for each in rules],
        "channels": {
            name: {
                "totals": sorted([key, amount] for key, amount in channel.totals.items() if amount),
                "days": _dump_cells(channel.windows.days),
                "rolling": _dump_cells(channel.windows.rolling),
                "points": _dump_points(channel.windows.points),
                "from": [channel.windows.days.since, channel.windows.rolling.since, channel.windows.points.since],
                "longest": sorted(
                    [at, cell.released]
                    for at, cell in channel.windows.days.cells.items()
                    if isinstance(cell, DayCell) and cell.released
                ),
                "touched": sorted(channel.windows.touched),
                "published_to": channel.published_to,
                "unfinal": sorted(channel.unfinal),
                "given_up": sorted([position[key], due] for key, due in channel.given_up.due.items()),
            }
            for name, channel in sorted(queue.channels.items())
        },
        "hours": queue.hours,
        "snapshots": {
            source: [[at, sorted(_flat(key) for key in keys)] for at, keys in lists]
            for source, lists in sorted(queue.snapshots.items())
        },
        "sources": sorted(queue.sources),
        "wraps": queue.wraps,
        "last_event": queue.last_event,
        "repeated": queue.repeated,
        "active_at": queue.active_at,
    }


def load_queue(payload: dict[str, Any], policy: Policy) -> Queue:
    """The queue that `dump_queue` told of.

    Visits keep the rules that they were counted by; everything else follows the policy of today.
    """
    queue = Queue(payload["queue"], policy)
    queue.wraps, queue.last_event, queue.active_at = payload["wraps"], payload["last_event"], payload["active_at"]
    queue.sources = set(payload["sources"])
    queue.repeated = payload["repeated"]
    queue.hours = None if payload["hours"] is None else (payload["hours"][0], payload["hours"][1])
    queue.snapshots = {
        source: [(at, frozenset(visit_key(*each) for each in keys)) for at, keys in lists]
        for source, lists in payload["snapshots"].items()
    }
    rules = [policy.rules if (known := load_rules(each)) == policy.rules else known for each in payload["rules"]]
    entries = [share(Entry(e[0], e[1], tuple(e[2]), *e[3:])) for e in payload["entries"]]
    for name, kept in payload["channels"].items():
        channel = queue.channel(name)
        channel.totals = dict(kept["totals"])
        windows = channel.windows
        windows.days.cells = {int(at): DayCell.of_told(told) for at, told in kept["days"].items()}
        windows.rolling.cells = {int(at): Cell.of_told(told) for at, told in kept["rolling"].items()}
        windows.points.points = _load_points(kept["points"])
        windows.days.since, windows.rolling.since, windows.points.since = kept["from"]
        for at, wait in kept["longest"]:
            cell = windows.days.cells[at]
            assert isinstance(cell, DayCell)
            cell.longest = cell.released = wait
        windows.touched = set(kept["touched"])
        channel.published_to, channel.unfinal = kept["published_to"], set(kept["unfinal"])
    keys = _load_visits(queue, payload, rules, entries)
    for name, kept in payload["channels"].items():
        for index, due in kept["given_up"]:
            queue.channels[name].given_up.put(keys[index], due)
    _rebuild(queue)
    return queue


_TIMES: Final = ("queued", "answered", "abandoned", "ended", "wrapped")


def _load_visits(queue: Queue, payload: dict[str, Any], rules: list[Rules], entries: list[Entry]) -> list[VisitKey]:
    columns, numbers, more = payload["visits"], payload["numbers"], payload["more"]
    keys: list[VisitKey] = []
    known = 0
    for index, call in enumerate(columns["call"]):
        visit = Visit()
        known += columns["known"][index]
        visit.known_at, visit.counted = known, columns["counted"][index]
        visit.tie = columns["tie"][index].encode()
        waited = columns["queued"][index]
        visit.queued = UNKNOWN if waited is None else known - waited
        start = known if waited is None else visit.queued
        for name in _TIMES[1:]:
            after = columns[name][index]
            setattr(visit, name, UNKNOWN if after is None else start + after)
        visit.entry = None if columns["entry"][index] is None else entries[columns["entry"][index]]
        visit.rules = None if columns["rules"][index] is None else rules[columns["rules"][index]]
        if found := more.get(str(index)):
            visit.more = _load_more(found)
        key = visit_key(call, numbers.get(str(index), 1))
        keys.append(key)
        queue.visits[key] = visit
    return keys


def _rebuild(queue: Queue) -> None:
    """Who waits, what is due when, the longest waits of the visits that are held: from the visits."""
    for key, visit in queue.visits.items():
        outcome = outcome_of(visit)
        if outcome is not None and outcome.status == WAITING:
            channel = queue.channel(outcome.channel)
            channel.waiting.append(outcome.arrival)
            channel.open[key] = visit
            continue
        queue.keep(key, visit)
        if outcome is not None and outcome.status not in (REFUSED, EVICTED):
            windows = queue.channel(outcome.channel).windows
            cell = windows.days.cells.get(outcome.arrival - outcome.arrival % windows.days.step)
            if isinstance(cell, DayCell):
                windows.book_wait(cell, outcome.wait, 1)
    for channel in queue.channels.values():
        channel.waiting.sort()
    queue.closed = type(queue.closed)(sorted(queue.closed, key=lambda key: queue.visits[key].known_at))
    queue.next_due = -1  # looked at before the next fold


def _order(item: tuple[VisitKey, Visit]) -> tuple[int, str, int]:
    key, visit = item
    call, number = (key, 1) if isinstance(key, str) else key
    return visit.known_at, call, number


def _index(values: list[Rules], value: Rules) -> int:
    for index, each in enumerate(values):
        if each == value:
            return index
    values.append(value)
    return len(values) - 1


def _flat(key: VisitKey) -> tuple[str, int]:
    return (key, 1) if isinstance(key, str) else key


def _dump_cells(cells: Cells) -> dict[int, dict[str, int]]:
    return {at: cell.told() for at, cell in sorted(cells.cells.items())}


def _dump_points(points: Points) -> list[list[Any]]:
    """[number since 1970, offered, answered, abandoned, then of each level its name, base, met], in the order of time."""
    dumped: list[list[Any]] = []
    for at, point in sorted(points.points.items()):
        row: list[Any] = [at // FIVE_MINUTES, point.offered, point.answered, point.abandoned]
        for level in sorted(point.levels()):
            met, base = point.tally(level)
            row += [level, base, met]
        dumped.append(row)
    return dumped


def _load_points(dumped: Iterable[list[Any]]) -> dict[int, Point]:
    points: dict[int, Point] = {}
    for number, offered, answered, abandoned, *levels in dumped:
        point = points[number * FIVE_MINUTES] = Point()
        point.offered, point.answered, point.abandoned = offered, answered, abandoned
        for at in range(0, len(levels), 3):
            point.add_level(levels[at], levels[at + 1], levels[at + 2])
    return points


_MORE: Final[dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "held": (list, tuple),
    "resumed": (list, tuple),
    "declined": (
        lambda declines: [[at, reason, tie.decode()] for at, reason, tie in declines],
        lambda declines: tuple((at, reason, tie.encode()) for at, reason, tie in declines),
    ),
}
"""How each rare fact is written and read; those that are not here are (time, reason, data)."""


def _dump_more(more: dict[str, Any]) -> dict[str, Any]:
    dumped = {}
    for name in sorted(more):
        value = more[name]
        dumped[name] = _MORE[name][0](value) if name in _MORE else [value[0], value[1], value[2].decode()]
    return dumped


def _load_more(more: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _MORE[name][1](value) if name in _MORE else (value[0], value[1], value[2].encode())
        for name, value in more.items()
    }


def dump_rules(rules: Rules) -> dict[str, Any]:
    """The rules as plain data."""
    hours = rules.hours
    return {
        "levels": [
            [
                level.name,
                level.preset,
                level.threshold,
                level.short,
                level.attribution,
                level.clock,
                level.diverts,
                level.only_open,
                level.target,
            ]
            for level in rules.levels
        ],
        "short": rules.short,
        "hours": None
        if hours is None
        else [hours.zone.key, hours.weekly, {day.isoformat(): each for day, each in sorted(hours.exceptions.items())}],
    }


def load_rules(payload: dict[str, Any]) -> Rules:
    """The rules that `dump_rules` told of."""
    hours = payload["hours"]
    return Rules(
        levels=tuple(
            Level(
                name, Preset(preset), threshold, short, Attribution(booked), WaitClock(clock), Diverts(diverts), *rest
            )
            for name, preset, threshold, short, booked, clock, diverts, *rest in payload["levels"]
        ),
        short=payload["short"],
        hours=None
        if hours is None
        else OpeningHours(
            ZoneInfo(hours[0]),
            None if hours[1] is None else tuple(_pairs(day) for day in hours[1]),
            {date.fromisoformat(day): _pairs(each) for day, each in hours[2].items()},
        ),
    )


def _pairs(ranges: Iterable[Iterable[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in ranges)
