"""Decides how the demo's figures look: a picture that fits the terminal, or plain lines where there is none.

Pure: a view in, text out.  What is unknown is a dash, never 0; a state is told by its word as well as by its colour.
Where the terminal is too narrow titles become short, then columns go, the least needed first; where it is too low, rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from queuewatch_streams.demo_figures import Figures, QueueFigures, State, state, together

__all__ = ["View", "addresses", "picture", "plain_lines"]

DASH: Final = "–"
WIDEST_QUEUE: Final = 24
STATE_WIDTH: Final = len("unknown")
ALL: Final = "all"

STYLES: Final = {"ok": "bold green", "behind": "bold red", "unknown": "bold magenta"}
BEYOND: Final = "bold red underline"
TOLD: Final = {"longest": "wait", "waiting": "line", "level": "level", "abandoned": "abandons"}
"""What is beyond its limit, in words; in the order in which it is told."""


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show at one moment."""

    figures: Figures
    now: float
    """Seconds since the epoch."""
    status: str
    """What goes on, in a few words: "live", "starting the broker"."""
    live: bool = False
    """Whether the figures are as they should be: read just now from a worker that is ready."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """URLs by what one finds there."""
    notes: tuple[str, ...] = ()
    """Sentences that explain the picture, one a line."""


@dataclass(frozen=True, slots=True)
class _Column:
    group: str
    title: str
    short: str
    """The title where there is little room; with the width it decides how narrow the column may be."""
    narrow: int
    need: int
    """The columns with the smallest need go first."""
    name: str
    """The figure, as in State.beyond."""
    text: Callable[[QueueFigures], str]


_GROUPS: Final = {"now": "now", "today (UTC)": "today", "last 15 min": "15 min"}
"""Each group's name, and its name where there is little room."""

_COLUMNS: Final[tuple[_Column, ...]] = (
    _Column("now", "waiting", "wait", 4, 10, "waiting", lambda queue: _count(queue.waiting)),
    _Column("now", "longest", "longest", 7, 9, "longest", lambda queue: _duration(queue.longest)),
    _Column("now", "talking", "talk", 4, 6, "talking", lambda queue: _count(queue.talking)),
    _Column("today (UTC)", "offered", "offer", 5, 5, "offered", lambda queue: _count(queue.offered)),
    _Column("today (UTC)", "answered", "answ.", 5, 4, "answered", lambda queue: _count(queue.answered)),
    _Column("today (UTC)", "abandoned", "aband", 5, 7, "abandoned", lambda queue: _count(queue.abandoned)),
    _Column("today (UTC)", "evicted", "evict", 5, 1, "evicted", lambda queue: _count(queue.evicted)),
    _Column("last 15 min", "level", "level", 5, 8, "level", lambda queue: _percent(queue.level)),
    _Column("last 15 min", "ASA", "ASA", 5, 3, "asa", lambda queue: _duration(queue.asa)),
    _Column("last 15 min", "AHT", "AHT", 5, 2, "aht", lambda queue: _duration(queue.aht)),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns are shown, and how wide."""

    columns: tuple[_Column, ...]
    widths: tuple[int, ...]
    titles: tuple[str, ...]
    queue: int
    """The width of the queue's name."""
    gap: int
    """Blanks between columns of a group; there is one more between groups."""
    why: int
    """Room behind a row for what is beyond its limit; 0: none."""


def picture(view: View, *, width: int, height: int) -> Text:
    """The whole picture, no line wider than `width` and no more than `height` of them."""
    figures = view.figures
    table = _layout(figures.queues, width)
    head = [_title(view, width)], _heading(figures), _header(table)
    rows = [_row(queue, state(queue), table) for queue in figures.queues]
    whole = together(ALL, figures.queues)
    last = [_rule(table), _row(whole, State("ok"), table, total=True)]
    foot = [_health(view)], _notes(view), _addresses(view), [_ENDS]
    must = sum(map(len, head)) + len(last)
    # The queues come first: for them blanks go, then notes, then the rest of the foot.
    for airy, kept in (
        (True, foot),
        (False, foot),
        (False, (foot[0], foot[2], foot[3])),
        (False, foot[:1]),
        (False, ()),
    ):
        below = [line for part in kept for line in part]
        room = height - must - len(below) - 3 * airy
        if len(rows) <= room:
            break
    else:
        shown = max(room - 1, 0)
        more = Text(f" … and {len(rows) - shown} more queues; a taller window shows them", style="dim")
        rows = [*rows[:shown], more]
    blank = [Text("")] if airy else []
    lines = [*head[0], *blank, *head[1], *blank, *head[2], *rows, *last, *(blank if below else ()), *below]
    return Text("\n").join(_within(line, width) for line in lines[:height])


def plain_lines(view: View) -> list[str]:
    """A compact line per queue, with its definition beside the level, for where there is no terminal."""
    at = _clock(view.now)
    wide = max((cell_len(queue.queue) for queue in view.figures.queues), default=0)
    lines: list[str] = []
    for queue in view.figures.queues:
        found = state(queue)
        lines.append(
            f"{at} {set_cell_size(queue.queue, wide)} {found.word:<7}  waiting {_count(queue.waiting):>2}"
            f"  longest {_duration(queue.longest):>5}  talking {_count(queue.talking):>2}"
            f"  today offered {_count(queue.offered)} answered {_count(queue.answered)}"
            f" abandoned {_count(queue.abandoned)} evicted {_count(queue.evicted)}"
            f"  15 min: level {_percent(queue.level)} ({queue.definition or DASH})"
            f"  ASA {_duration(queue.asa)}  AHT {_duration(queue.aht)}"
            f"{'  beyond: ' + _told(found, 80) if found.beyond else ''}"
        )
    lines.append(f"{at} {_counts(view.figures)}")
    return lines


def addresses(view: View) -> list[str]:
    """A line for each address."""
    wide = max(map(len, view.addresses), default=0)
    return [f"{what:<{wide}}  {url}" for what, url in view.addresses.items()]


# --------------------------------------------------------------------------------------------------------------- parts


def _title(view: View, width: int) -> Text:
    left = Text.assemble(
        (" queuewatch demo ", "bold reverse"), "  ", ("● ", "green" if view.live else "yellow"),
        (view.status, "bold green" if view.live else "bold yellow"),
    )  # fmt: skip
    right = Text.assemble((f"{_age(view)}   ", ""), (f"{_clock(view.now)} UTC ", "bold"))
    pad = width - left.cell_len - right.cell_len
    return left.append(" " * pad).append_text(right) if pad >= 2 else left


def _heading(figures: Figures) -> list[Text]:
    said = "; ".join(figures.definitions)
    level = Text.assemble(" service level: ", (f"{said}, 15 min" if said else DASH, "bold"))
    return [level.append("   (channel voice)", style="dim")]


def _health(view: View) -> Text:
    return Text(" " + _counts(view.figures), style="bold red" if view.figures.residual else "")


def _notes(view: View) -> list[Text]:
    return [Text(" " + note, style="yellow" if at == 0 else "dim") for at, note in enumerate(view.notes)]


def _addresses(view: View) -> list[Text]:
    return [Text(" " + line, style="cyan") for line in addresses(view)]


_ENDS: Final = Text.assemble((" Ctrl-C", "bold"), (" ends the demo and everything it started; nothing is kept.", "dim"))


def _header(table: _Layout) -> list[Text]:
    groups, titles = Text(" " * (1 + table.queue + 1 + STATE_WIDTH)), Text(" ")
    titles.append(set_cell_size("queue", table.queue)).append(" " + "state".ljust(STATE_WIDTH))
    parts = zip(table.columns, table.widths, table.titles, strict=True)
    for group, members in groupby(parts, key=lambda part: part[0].group):
        columns = list(members)
        wide = sum(width for _, width, _ in columns) + table.gap * (len(columns) - 1)
        name = next((name for name in (f" {group} ", f" {_GROUPS[group]} ", _GROUPS[group]) if len(name) <= wide), "")
        groups.append(" " * (table.gap + 1)).append(name.center(wide, "─"), style="dim")
        for at, (_, width, title) in enumerate(columns):
            titles.append(" " * (table.gap + (at == 0))).append(title.rjust(width))
    titles.stylize("bold")
    return [groups, titles, _rule(table)]


def _rule(table: _Layout) -> Text:
    return Text(" " + "─" * (_wide(table.widths, table.columns, table.gap) + table.queue - 1), style="dim")


def _row(queue: QueueFigures, found: State, table: _Layout, *, total: bool = False) -> Text:
    row = Text(" ")
    row.append(_cut(queue.queue, table.queue), style="bold")
    row.append(" ")
    if total:
        row.append(" " * STATE_WIDTH)
    else:
        row.append(found.word.ljust(STATE_WIDTH), style=STYLES[found.word])
    before = table.columns[0].group
    for column, width in zip(table.columns, table.widths, strict=True):
        text = column.text(queue)
        row.append(" " * (table.gap + (column.group != before or column is table.columns[0])))
        row.append(" " * (width - len(text)))
        row.append(text, style="dim" if text == DASH else BEYOND if column.name in found.beyond else "bold" * total)
        before = column.group
    if table.why and found.beyond:
        row.append("  " + _told(found, table.why - 2), style=STYLES["behind"])
    return row


def _layout(queues: Sequence[QueueFigures], width: int) -> _Layout:
    """The widest layout that fits: full titles and two blanks between, then one, then short titles, then fewer columns."""
    name = min(max((cell_len(queue.queue) for queue in queues), default=0), WIDEST_QUEUE)
    name = max(name, len("queue"))
    columns = _COLUMNS
    for gap, short in ((2, False), (1, False), (1, True)):
        titles = tuple(column.short if short else column.title for column in columns)
        widths = tuple(column.narrow if short else max(column.narrow, len(column.title)) for column in columns)
        spare = width - _wide(widths, columns, gap) - name
        if spare >= 0:
            return _Layout(columns, widths, titles, name, gap, spare if spare >= 10 else 0)
    while len(columns) > 1 and _wide(widths, columns, 1) + min(name, 8) > width:
        least = min(columns, key=lambda column: column.need)
        columns = tuple(column for column in columns if column is not least)
        widths = tuple(column.narrow for column in columns)
    name = max(min(name, width - _wide(widths, columns, 1)), 1)
    return _Layout(columns, widths, tuple(column.short for column in columns), name, 1, 0)


def _wide(widths: Sequence[int], columns: Sequence[_Column], gap: int) -> int:
    """The width of a row without its name: margin, state, columns and the blanks before each."""
    groups = len({column.group for column in columns})
    return 1 + 1 + STATE_WIDTH + sum(widths) + gap * len(widths) + groups


# --------------------------------------------------------------------------------------------------------------- words


def _within(line: Text, width: int) -> Text:
    line = line.copy()
    line.truncate(width, overflow="ellipsis")
    return line


def _cut(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _told(found: State, width: int) -> str:
    """What is beyond its limit; what does not fit is only counted: "wait, line +1"."""
    words = [word for name, word in TOLD.items() if name in found.beyond]
    for shown in range(len(words), 0, -1):
        left = len(words) - shown
        text = ", ".join(words[:shown]) + (f" +{left}" if left else "")
        if len(text) <= width:
            return text
    return ""


def _counts(figures: Figures) -> str:
    return (
        f"events {_count(figures.events)}, duplicates {_count(figures.duplicates)}, rejected"
        f" {_count(figures.rejected)}, not yet counted {_count(figures.lag)}, balance {_count(figures.residual)}"
    )


def _age(view: View) -> str:
    newest = view.figures.newest_event
    return f"newest event {DASH}" if newest is None else f"newest event {max(view.now - newest, 0):.1f} s ago"


def _clock(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")


def _count(value: float | None) -> str:
    return DASH if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    """Rounded down, so that 79.6 % is not shown as the 80 % that it misses."""
    return DASH if value is None else f"{int(value * 100 + 1e-9)} %"


def _duration(seconds: float | None) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    if seconds is None:
        return DASH
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
