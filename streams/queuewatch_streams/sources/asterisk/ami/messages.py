"""What a message of AMI holds: its fields, checked where they are used; and how messages are cut out of a recorded session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from queuewatch_streams.sources.heard import NEVER, SECOND
from queuewatch_streams.sources.shape import Unreadable

__all__ = [
    "GREETING",
    "Message",
    "agent_of",
    "caller_of",
    "checked",
    "fields_of",
    "messages_of",
    "needed",
    "place_of",
    "stamp",
    "whole",
]

Message = tuple[int, Mapping[str, str]]
"""When it was received (microseconds since the epoch), and its fields; of a field that stands twice the first."""
GREETING: Final = "Greeting"
"""The field that holds the first line of a connection: what was missed before it, nobody knows."""


def checked(record: Message) -> Message:
    """The record itself.  Raises Unreadable where it is none."""
    if len(record) == 2:
        received, fields = record
        if (
            type(received) is int
            and 0 <= received < NEVER
            and isinstance(fields, dict)
            and all(type(value) is str for value in fields.values())
        ):
            return record
    raise Unreadable("unreadable", "it is no message")


def needed(fields: Mapping[str, str], name: str) -> str:
    """A field that must not be empty.  Raises Unreadable."""
    found = fields.get(name)
    if not found:
        raise Unreadable("missing_field", f"its {name} is missing")
    return found


def agent_of(fields: Mapping[str, str]) -> str:
    """The member whom an event of a call names.  Raises Unreadable."""
    return fields.get("MemberName") or needed(fields, "Interface")


def caller_of(fields: Mapping[str, str]) -> str:
    """The caller's number; empty where it is not told."""
    return fields.get("CallerIDNum", "")


def place_of(fields: Mapping[str, str]) -> str:
    """Where in the dialplan the caller is; empty where the event does not say."""
    if "Context" not in fields:
        return ""
    return ",".join((fields["Context"], fields.get("Exten", ""), fields.get("Priority", "")))


def whole(fields: Mapping[str, str], name: str, otherwise: int) -> int:
    """A whole number that is not negative.  Raises Unreadable."""
    text = fields.get(name)
    if not text:
        return otherwise
    if not (text.isdecimal() and text.isascii()) or len(text) > 11:
        raise Unreadable("wrong_field", f"its {name} is no number of seconds")
    return int(text)


def stamp(text: str) -> int:
    """`1795305008.642533` as microseconds.  Raises Unreadable."""
    seconds, _, fraction = text.partition(".")
    if not (text.isascii() and seconds.isdecimal() and len(seconds) <= 11 and (not fraction or fraction.isdecimal())):
        raise Unreadable("bad_time", "its Timestamp is no time in seconds since 1970")
    return int(seconds) * SECOND + int((fraction + "000000")[:6])


def fields_of(lines: Iterable[str]) -> dict[str, str]:
    """The fields of a message from its lines; a line that is no field stands under GREETING where it is a greeting."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
        elif line.startswith("Asterisk Call Manager"):
            fields[GREETING] = line.strip()
    return fields


def messages_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Message]]:
    """A recorded session's messages, each with the number of its first line.

    Two forms are read: what a connection carried, as it is (then every event needs its Timestamp), and with a line
    `@ 1795305008.643274 <` before each message that says when it was received; those that were sent (`>`) are left out.
    """
    block: list[str] = []
    began, received, stamped, heard = 1, 0, 0, True
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("@ "):
            parts = line.split(" ", 3)
            try:
                received = stamp(parts[1])
            except Unreadable:
                received = 0
            heard, began = len(parts) > 2 and parts[2] == "<", number
        elif line:
            if not block and not received:
                began = number
            block.append(line)
            if len(block) == 1 and line.startswith("Asterisk Call Manager"):  # a greeting has no blank line behind it
                yield began, (received, {GREETING: line})
                block = []
        elif block:
            if heard:
                message = _recorded(received, stamped, block)
                stamped = message[0]
                yield began, message
            block = []
    if block and heard:
        yield began, _recorded(received, stamped, block)


def _recorded(received: int, before: int, block: list[str]) -> Message:
    """A message; where nobody wrote down when it was received, its Timestamp says so, or that of the one before."""
    fields = fields_of(block)
    if not received:
        try:
            received = stamp(fields["Timestamp"])
        except (KeyError, Unreadable):
            received = before
    return received, fields
