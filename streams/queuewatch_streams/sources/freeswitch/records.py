"""What FreeSWITCH tells, as records: events in JSON with their headers, answers of api commands as tables, and recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from queuewatch_streams.sources.heard import SECOND
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = [
    "AGENTS",
    "CONNECTED",
    "GONE",
    "MEMBERS",
    "QUEUES",
    "TIERS",
    "Heard",
    "heard_of",
    "hung_up",
    "loaded",
    "number",
    "optional",
    "rows_of",
    "stamp",
    "text",
    "waiting_sessions",
]

Heard = tuple[int, Any]
"""When it was received (microseconds since the epoch), and an event's headers, or `cmd` and `out` of an api command."""
CONNECTED: Final = "connected"
"""The `cmd` of a record that stands for a new connection; `out` is the Core-UUID, which changes when FreeSWITCH restarts."""
QUEUES: Final = "callcenter_config queue list"
AGENTS: Final = "callcenter_config agent list"
TIERS: Final = "callcenter_config tier list"
MEMBERS: Final = "callcenter_config queue list members "
"""With the queue's name behind it."""
GONE: Final = "uuid_exists "
"""With a channel's id behind it; asked of members who are listed as waiting for long."""


def text(fields: Mapping[str, Any], name: str) -> str:
    """A header that must not be empty.  Raises Unreadable."""
    found = fields.get(name)
    if found is None or found == "":
        raise Unreadable("missing_field", f"its {name} is missing")
    if not isinstance(found, str):
        raise Unreadable("wrong_field", f"its {name} is no text")
    return found


def optional(fields: Mapping[str, Any], name: str) -> str:
    """A header; empty where it is missing."""
    found = fields.get(name)
    return found if isinstance(found, str) else ""


def stamp(fields: Mapping[str, Any]) -> int:
    """When an event was made: microseconds, where all other times are whole seconds.  Raises Unreadable."""
    told = text(fields, "Event-Date-Timestamp")
    if not (told.isascii() and told.isdecimal()) or len(told) > 17:
        raise Unreadable("bad_time", "its Event-Date-Timestamp is no time in microseconds since 1970")
    return int(told)


def number(told: str) -> int:
    """A number of a header or a table's cell; 0 where it is none."""
    return int(told) if told.isascii() and told.isdecimal() and len(told) <= 11 else 0


def hung_up(fields: Mapping[str, Any]) -> bool:
    """Whether the caller's channel is over; where the event does not tell of it, it is taken to be."""
    state = optional(fields, "Answer-State")
    return not state or state == "hangup" or bool(optional(fields, "Hangup-Cause"))


def rows_of(answer: str, free: str, out: Out | None = None) -> Iterator[dict[str, str]]:
    """The rows of an api command's table by its head.

    :param free: the column that may hold bars, which are not escaped.
    :param out: is told of rows that have too few columns.
    """
    lines = answer.split("\n")
    head = lines[0].split("|")
    if len(head) < 2:
        return
    for line in lines[1:]:
        if not line or line.startswith(("+OK", "-ERR")):
            continue
        cells = line.split("|")
        extra = len(cells) - len(head)
        if extra and free in head and extra > 0:
            place = head.index(free)
            cells[place : place + extra + 1] = ["|".join(cells[place : place + extra + 1])]
        if len(cells) != len(head) or not cells[0]:
            if out is not None:
                out.refuse("unreadable", f"a row of an answer has {len(cells)} columns of {len(head)}")
            continue
        yield dict(zip(head, cells, strict=True))


def waiting_sessions(answer: str, before: int) -> list[str]:
    """The channels of those whom a list of members shows as waiting since before a time, in seconds since the epoch."""
    waiting = [row for row in rows_of(answer, "cid_name") if row.get("state") in ("Waiting", "Trying")]
    sessions = [row.get("session_uuid", "") for row in waiting if number(row.get("joined_epoch", "")) < before]
    return [each for each in sessions if each]


def loaded(text: bytes) -> Any:
    """An event from its text; None where it is no JSON.  FreeSWITCH passes on callers' names in whatever bytes they came."""
    try:
        return orjson.loads(text.decode("utf-8", "replace"))
    except ValueError:
        return None


def heard_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Heard]]:
    """A recording's lines as records: events as JSON, bare or as `{"recv": seconds, "event": …}`, and answers of api
    commands as `{"t": seconds, "cmd": …, "out": …}`.  Where nobody wrote down when it was received, the event's time says."""
    for place, line in enumerate(lines, 1):
        if line.isspace():
            continue
        found = loaded(line)
        if found is None:
            yield place, (0, None)
            continue
        received: Any = None
        if isinstance(found, dict):
            received = found.get("recv", found.get("t"))
            if isinstance(found.get("event"), dict):
                found = found["event"]
            if received is None:
                made = found.get("Event-Date-Timestamp")
                received = int(made) / SECOND if isinstance(made, str) and made.isdecimal() and len(made) < 18 else 0
        if not isinstance(received, int | float) or isinstance(received, bool) or not 0 <= received < 1e11:
            received = 0
        yield place, (round(received * SECOND), found)
