"""How an everyday event is read without the whole machinery of the schema: most events are plain, and speed counts.

An event is plain when it has the envelope's attributes and nothing else, and in `data` only fields that can be judged at a
glance.  What is plain is read to exactly what the schema would have read (a test holds that); anything else is not judged
here at all: the schema does it, and says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson
from mypy_extensions import mypyc_attr

from queuewatch_schemas.names import MAXIMUM_NAME, queue_name
from queuewatch_schemas.times import instant

# What a plain field may be, besides one of some words.
QUEUE: Final = 0
NAME: Final = 1
CHANNEL: Final = 2
TEXT: Final = 3
OPAQUE: Final = 4
INTEGER: Final = 5
VISIT: Final = 6

MAXIMUM_VISIT: Final = 1_000_000
CHANNEL_PATTERN: Final = r"^[a-z][a-z0-9_-]*$"
MAXIMUM_CHANNEL: Final = 40
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_-]*")
_ENVELOPE: Final = 7
"""specversion, id, source, type, time, subject, data; with datacontenttype one more."""


@mypyc_attr(acyclic=True)
class Event:
    """One event as it is worked with: `at` is its `time` in microseconds since the epoch, the rest is as it came.

    `visit` is the number of the call's stay in the queue, 1 where the data do not say.  `log_time` is for whoever folds it: the
    log time, in microseconds, at which it has to be folded.
    """

    __slots__ = ("at", "data", "log_time", "source", "subject", "time", "type", "visit")

    def __init__(self, kind: str, source: str, subject: str, time: str, data: dict[str, Any]) -> None:
        self.type = kind
        self.source = source
        self.subject = subject
        self.time = time
        self.at = instant(time)
        self.data = data
        visit = data.get("visit", 1)
        self.visit: int = visit if isinstance(visit, int) else 1  # of other events than calls' it may be anything
        self.log_time = 0


class Form:
    """What is plain in the data of one event type: what each field may be, or which words; and which fields must be there."""

    __slots__ = ("fields", "required", "words")

    def __init__(
        self, fields: Mapping[str, int], words: Mapping[str, frozenset[str]], required: frozenset[str]
    ) -> None:
        self.fields = dict(fields)
        self.words = dict(words)
        self.required = tuple(required)


@lru_cache(maxsize=1024)
def _is_channel(text: str) -> bool:
    return len(text) <= MAXIMUM_CHANNEL and _CHANNEL.fullmatch(text) is not None


def _is_plain(field: int, given: object) -> bool:
    if field >= INTEGER:
        if not isinstance(given, int) or isinstance(given, bool):
            return False
        return field == INTEGER or 1 <= given <= MAXIMUM_VISIT
    if not isinstance(given, str):
        return False
    if field == QUEUE:
        queue_name(given)
        return True
    if field == NAME:
        return 1 <= len(given) <= MAXIMUM_NAME
    if field == CHANNEL:
        return _is_channel(given)
    return field == TEXT or len(given) <= MAXIMUM_NAME


def read_plain(value: bytes, forms: dict[str, Form]) -> Event | None:
    """A plain event; None for one that the schema has to judge."""
    try:
        found = orjson.loads(value)
        if not isinstance(found, dict):
            return None
        given: dict[str, Any] = found
        size = len(given)
        if size != _ENVELOPE and not (size == _ENVELOPE + 1 and given.get("datacontenttype") == "application/json"):
            return None
        kind, subject, source, identity = given.get("type"), given.get("subject"), given.get("source"), given.get("id")
        time, data = given.get("time"), given.get("data")
        if not (
            isinstance(kind, str)
            and isinstance(subject, str)
            and isinstance(source, str)
            and isinstance(identity, str)
            and isinstance(time, str)
            and isinstance(data, dict)
            and given.get("specversion") == "1.0"
            and 1 <= len(subject) <= MAXIMUM_NAME
            and 1 <= len(source) <= MAXIMUM_NAME
            and 1 <= len(identity) <= MAXIMUM_NAME
        ):
            return None
        form = forms.get(kind)
        if form is None:
            return None
        fields, words = form.fields, form.words
        for name, value_of in data.items():
            field = fields.get(name)
            if field is None:
                allowed = words.get(name)
                if allowed is None or not isinstance(value_of, str) or value_of not in allowed:
                    return None
            elif not _is_plain(field, value_of):
                return None
        for required in form.required:
            if required not in data:
                return None
        return Event(kind, source, subject, time, data)
    except ValueError:  # orjson's errors too
        return None
