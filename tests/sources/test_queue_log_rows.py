"""Rows of a queue_log table, spoilt: whatever a database gives, nothing is raised and nothing unsound is said."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from queuewatch_streams.sources.asterisk.queue_log.table import QueueLogRows
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out
from sources.made_up import made_up_day
from support.sources import (
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    mutated,
    said,
)

ROME = ZoneInfo("Europe/Rome")
ODD: tuple[Any, ...] = (
    *(
        None,
        b"600",
        "S\xfcd".encode("latin-1"),
        bytearray(b"x"),
        memoryview(b"y"),
        Decimal("1.5"),
        Decimal("NaN"),
        7,
        -1,
    ),
    *("\udcfc", "sales\x00", datetime.min, datetime.max, datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
    *(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), datetime(2026, 10, 25, 2, 30, fold=1)),
    *(date(2026, 1, 1), timedelta(days=9), "0000-00-00 00:00:00", "2026-02-30 10:00:00", "26-1-1 1:1", "9" * 400),
)
"""What columns of other types and encodings come to, and times at the ends of the calendar."""


def make(memory: Any = None) -> QueueLogRows:
    return QueueLogRows(Composer("pbx1"), memory, "Europe/Rome")


def rows(seed: int, calls: int) -> list[list[Any]]:
    """A day as a table has it, its times as text, as a moment, or as a moment with its zone."""
    found: list[list[Any]] = []
    lines, _ = made_up_day(seed, calls)
    for number, line in enumerate(lines):
        stamp, callid, queue, agent, event, *data = line.decode().split("|")
        moment = datetime.fromtimestamp(int(stamp), ROME)
        shown = (moment.strftime("%Y-%m-%d %H:%M:%S.%f"), moment.replace(tzinfo=None), moment.astimezone(UTC), stamp)
        found.append([shown[number % 4], callid, queue, agent, event, *(*data, "", "", "", "", "")[:5]])
    return found


def test_columns_without_a_character_set_say_what_others_say() -> None:
    told = [[each.encode() if isinstance(each, str) else each for each in row] for row in rows(3, 40)]
    assert said(make(), told).messages == said(make(), rows(3, 40)).messages
    row = [b"1795305000", b"1.1", "S\xfcd".encode("latin-1"), None, b"ENTERQUEUE", b"", b"", b"1"]
    [(_, key, _)] = said(make(), [row]).messages
    assert key == "pbx1/S\ufffdd"


def test_rows_say_what_lines_say_whatever_their_times_look_like() -> None:
    lines, _ = made_up_day(2, 60)
    assert said(make(), rows(2, 60)).messages == said(QueueLog(Composer("pbx1")), lines).messages


def test_a_memory_can_be_saved_anywhere_and_a_repeat_adds_nothing() -> None:
    day = rows(3, 40)
    assert_a_memory_can_be_saved_anywhere(make, day, (0, 1, 50, 99))
    assert_a_repeat_adds_nothing(make, day, 80, 40)


def test_100_000_spoilt_rows_raise_nothing() -> None:
    """Half of them as any record is spoilt, half with what another column's type or encoding would give."""
    dice, one, out = random.Random(4), make(), Out()
    for number, record in enumerate(mutated(rows(4, 200), 100_000)):
        row = list(record)
        if number % 2 and row:
            row[dice.randrange(len(row))] = dice.choice(ODD)
        one.translate(row, out)
        if number % 5000 == 0:
            one.advance(one.newest, out)
            one.memory()
    one.advance(1 << 62, out)
    assert_sound(out.messages, ids=False)
    assert {"bad_time", "unreadable", "wrong_field"} <= {refusal.reason for refusal in out.refused}
    assert len(out.messages) > 10_000
