"""Fields of what Genesys Cloud sends, each checked as it is read: nothing that cannot be kept or said gets any further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from queuewatch_schemas.times import instant
from queuewatch_streams.sources.compose import LONGEST_ID
from queuewatch_streams.sources.shape import Unreadable

__all__ = ["duration", "number_of", "objects", "text", "texts", "time", "whole"]

_FIRST: Final = -2_208_988_800_000
_LAST: Final = 32_503_680_000_000
"""Milliseconds of the years 1900 to 2999."""
_LONGEST: Final = 31 * 86_400_000
"""Milliseconds; nothing in a conversation is taken to last longer."""


def text(fields: Mapping[str, Any], name: str) -> str:
    """A short text; "" where it is not there.  Raises Unreadable."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable("wrong_field", f"{name} is no text")
    if len(value) > LONGEST_ID:
        raise Unreadable("too_long", f"{name} has more than {LONGEST_ID} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unreadable("wrong_field", f"{name} holds what is no text") from None
    return value


def texts(fields: Mapping[str, Any], name: str, most: int = 100) -> list[str]:
    """A list of short texts; what is none of them is left out."""
    value = fields.get(name)
    found = value if isinstance(value, list | tuple) else ()
    return [
        each for each in found[:most] if isinstance(each, str) and 0 < len(each) <= LONGEST_ID and each.isprintable()
    ]


def objects(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects; what is none of them is left out."""
    value = fields.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list | tuple) else []


def time(fields: Mapping[str, Any], name: str) -> int | None:
    """A time, as milliseconds since the epoch or as text, in microseconds; None where it is not there.  Raises Unreadable."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if not _FIRST <= value < _LAST:
            raise Unreadable("bad_time", f"{name} is not in the years 1900 to 2999")
        return value * 1000
    if isinstance(value, str) and len(value) < 64:
        try:
            return instant(value)
        except ValueError:
            pass
    raise Unreadable("bad_time", f"{name} is no time")


def duration(fields: Mapping[str, Any], *names: str) -> int:
    """The sum of lengths in milliseconds, in microseconds; those that are not there are 0.  Raises Unreadable."""
    total = 0
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LONGEST:
            raise Unreadable("wrong_field", f"{name} is no length of time")
        total += value * 1000
    return total


def whole(fields: Mapping[str, Any], name: str) -> int | None:
    """A whole number that fits into 32 bits; None where it is none."""
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31 else None


def number_of(address: str) -> str:
    """A caller's number or address without what only says how it came: `tel:+39…` and `sip:+39…@edge;user=phone` are one."""
    scheme, colon, rest = address.partition(":")
    if not colon or scheme.lower() not in ("tel", "sip", "sips"):
        return address.strip()
    return rest.split(";", 1)[0].split("@", 1)[0].strip()
