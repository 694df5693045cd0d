"""What a line of queue_log holds: its time, its event, durations among its data; and which events there are.

A line is `epoch|callid|queue|agent|EVENT|data…`.  Bars are not escaped, so a member whose name has some shifts what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from queuewatch_streams.sources.shape import Unreadable

__all__ = [
    "ENDED_BY",
    "LEFT",
    "NOBODY",
    "NO_CALLS",
    "NO_MEANING",
    "REFUSED",
    "SECOND",
    "lines_of",
    "seconds",
    "time_of",
    "unshifted",
]

SECOND: Final = 1_000_000
NO_CALLS: Final = frozenset({"NONE", "REALTIME", "MANAGER", "CLI", ""})
"""Call ids of lines that are about no call."""
NOBODY: Final = frozenset({"NONE", ""})

REFUSED: Final = {
    "JOINEMPTY": "no_agents",
    "FULL": "full",
    "CLOSED": "closed",
    "DIVERT_CA_RATIO": "other",
    "DIVERT_HOLDTIME": "other",
}
"""A caller was not let in, and why."""
LEFT: Final = {
    # the event: what becomes of the visit, why, and at which place the wait stands
    "ABANDON": ("abandoned", None, 2),
    "EXITEMPTY": ("diverted", "no_agents", 2),
    "EXITWITHTIMEOUT": ("diverted", "timeout", 2),
    "EXITWITHKEY": ("diverted", "key", 3),
    "WITHDRAW": ("diverted", "withdrawn", 2),
}
"""A caller left unanswered."""
ENDED_BY: Final = {
    "COMPLETEAGENT": "agent",
    "COMPLETECALLER": "caller",
    "BLINDTRANSFER": "transfer",
    "TRANSFER": "transfer",
    "ATTENDEDTRANSFER": "transfer",
}
"""A talk is over, and who or what ended it."""
NO_MEANING: Final = ("CONFIGRELOAD", "RINGCANCELED", "PENALTY", "RINGINUSE", "SYSCOMPAT", "DID", "INFO")
_ABOUT_CALLS: Final = frozenset({"CONNECT", *ENDED_BY, "RINGNOANSWER", "RINGCANCELED", "AGENTDUMP"})
"""Events that name a member and a call."""
_LONGEST: Final = 10_000_000
"""Seconds; a duration beyond it (115 days) is none."""
_PLAIN_EVENT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")


def lines_of(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """A file's lines as records."""
    return enumerate(lines, 1)


def time_of(text: str) -> int:
    """Seconds, with or without a fraction, or microseconds since 1970, as microseconds.  Raises Unreadable."""
    if text.isdecimal() and text.isascii():
        if len(text) <= 11:
            return int(text) * SECOND
        if 15 <= len(text) <= 17:
            return int(text)
    else:
        whole, dot, fraction = text.partition(".")
        if whole and dot and len(whole) <= 11 and (whole + fraction).isdecimal() and text.isascii():
            return int(whole) * SECOND + int((fraction + "000000")[:6])
    raise Unreadable("bad_time", "its first field is no time in seconds or microseconds since 1970")


def seconds(fields: list[str], place: int) -> int:
    """A duration in whole seconds among a record's data, counted from 0, as microseconds.  Raises Unreadable."""
    if place + 5 >= len(fields):
        raise Unreadable(
            "missing_field", f"it has {len(fields) - 5} fields of data, a duration in number {place + 1} is missing"
        )
    text = fields[place + 5]
    if not (text.isdecimal() and text.isascii()) or len(text) > 8 or int(text) > _LONGEST:
        raise Unreadable("wrong_field", f"number {place + 1} of its data is no duration in seconds")
    return int(text) * SECOND


def unshifted(fields: list[str], known: Iterable[str]) -> list[str]:
    """The fields of a record whose member has a name with bars in it, which are not escaped, so that all shifts.

    Raises Unreadable for an event that nobody knows.
    """
    about_call = fields[1] not in NO_CALLS
    for place in range(5, min(len(fields), 9)):
        if fields[place] in known and about_call == (fields[place] in _ABOUT_CALLS):
            return [*fields[:3], "|".join(fields[3:place]), *fields[place:]]
    event = fields[4]
    shown = event if _PLAIN_EVENT.fullmatch(event) else "with a name that is none"
    raise Unreadable("unknown_event", f"the event {shown} is not one of Asterisk's own")
