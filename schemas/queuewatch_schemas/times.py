"""Which texts are times, and which instant they mean."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

TIME_PATTERN: Final = r"^[0-9]{4}(-[0-9]{2}){2}[Tt ][0-9]{2}(:[0-9]{2}){2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
_SECOND: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){2}[Tt ][0-9]{2}(:[0-9]{2}){2}")
_OFFSET: Final = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECONDS: Final = 1_000_000


_KEPT: Final = 65_536
_seconds: Final[dict[str, int]] = {}
_THOUSANDTHS: Final = {f"{number:03}": number * 1000 for number in range(1000)}


class _Latest:
    """The second that was asked for last, which most events share with the one before."""

    __slots__ = ("at", "second")

    def __init__(self) -> None:
        self.second = "1970-01-01T00:00:00"
        self.at = 0


_latest: Final = _Latest()


def _second(text: str) -> int:
    """Microseconds from the epoch to a local date and time of whole seconds, as if it were UTC."""
    if _SECOND.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no date and time of RFC 3339")
    local = datetime.fromisoformat(text.upper())
    if not 1900 <= local.year < 3000:  # at the calendar's very ends it could not be told in another time zone
        raise ValueError(f"the year {local.year} is not one of 1900 to 2999")
    since = local - _EPOCH
    return (since.days * 86_400 + since.seconds) * _MICROSECONDS


@lru_cache(maxsize=1024)
def _offset(zone: str) -> int:
    if zone in ("Z", "z"):
        return 0
    if _OFFSET.fullmatch(zone) is None:
        raise ValueError(f"{zone!r} is no offset from UTC")
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"offset {zone} is beyond a day")
    return (hours * 3600 + minutes * 60) * (-_MICROSECONDS if zone[0] == "-" else _MICROSECONDS)


def instant(text: str) -> int:
    """An RFC 3339 time with its offset, as microseconds since the epoch; finer digits are cut off.

    Raises ValueError where it is none.  Seconds and offsets are remembered, since events come in order of time.
    """
    zone = 0
    if text.endswith("+00:00"):
        cut = len(text) - 6
    else:
        cut = len(text) - (1 if text.endswith(("Z", "z")) else 6)
        zone = _offset(text[cut:])
    if text.startswith(_latest.second):
        at = _latest.at
    else:
        second = text[:19]
        known = _seconds.get(second)
        if known is None:
            known = _second(second)
            if len(_seconds) >= _KEPT:
                _seconds.clear()
            _seconds[second] = known
        _latest.second, _latest.at = second, known
        at = known
    at -= zone
    if cut == 19:
        return at
    digits = text[20:cut]
    if text[19] == "." and (thousandths := _THOUSANDTHS.get(digits)) is not None:
        return at + thousandths
    if text[19] != "." or not digits.isdigit() or not digits.isascii():
        raise ValueError(f"{text[19:cut]!r} is no fraction of a second")
    return at + int((digits + "00000")[:6])
