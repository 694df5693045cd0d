"""How an everyday event is read without the whole machinery of the schema: most events are plain, and speed counts.

An event is plain when it has the envelope's attributes and nothing else, and in `data` only fields that its type knows, each
of a kind that can be judged at a glance.  What is plain is read to exactly what the schema would have read (a test holds
that); anything else is not judged here at all: the schema does it, and says what is wrong.

The bytes are read by msgspec straight into a structure made for their type (`events` makes them from the schema), which is
three times as fast as a dict and its checks, and leaves less behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson
from mypy_extensions import mypyc_attr

from queuewatch_schemas.names import queue_name
from queuewatch_schemas.times import instant

MAXIMUM_EVENT_BYTES: Final = 4 * 1024 * 1024
"""Room for a snapshot of some 40,000 waiting callers; anything larger is no event."""
MAXIMUM_VISIT: Final = 1_000_000
CHANNEL_PATTERN: Final = r"^[a-z][a-z0-9_-]*$"
MAXIMUM_CHANNEL: Final = 40
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_-]*")
_ABOUT_QUEUES: Final = "queuewatch.queue."
_encode: Final = msgspec.json.Encoder().encode
_builtins: Final = msgspec.to_builtins


class Kind:
    """A type of event: its `number` among all, its name, and of a call's the word in it: "queued", "ended"; "" of others."""

    __slots__ = ("call", "name", "number")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.call = name.split(".")[2] if name.startswith("queuewatch.call.") else ""


@mypyc_attr(acyclic=True)
class Event:
    """One event as it is worked with: `at` is its `time` in microseconds since the epoch, the rest is as it came.

    `queue` is the one that it is about, "" where it is about none; `visit` the number of the call's stay in it, 1 where the
    data do not say.  `log_time` is for whoever folds it: the log time, in microseconds, at which it has to be folded.
    """

    __slots__ = ("_data", "at", "kind", "log_time", "queue", "source", "subject", "time", "visit")

    def __init__(
        self, kind: Kind, source: str, subject: str, time: str, at: int, queue: str, visit: int, data: Any
    ) -> None:
        self.kind = kind
        self.source = source
        self.subject = subject
        self.time = time
        self.at = at
        self.queue = queue
        self.visit = visit
        self._data = data
        self.log_time = 0

    @property
    def type(self) -> str:
        """The name of its type."""
        return self.kind.name

    @property
    def data(self) -> dict[str, Any]:
        """Its data; empty once they were forgotten."""
        data = self._data
        if isinstance(data, dict):
            return data
        told: dict[str, Any] = {} if data is None else _builtins(data)
        return told

    def compact(self) -> bytes:
        """The data as short JSON with sorted keys, to keep: a copy of its size, since who writes JSON gives it in more."""
        data = self._data
        if not isinstance(data, dict):
            return memoryview(_encode(data)).tobytes()  # the structure's fields are sorted
        try:
            return memoryview(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).tobytes()
        except TypeError:  # whole numbers of more than 64 bits
            return msgspec.json.encode(data, order="sorted")

    def forget(self, data: bool) -> None:
        """Let go of what was needed only to judge it, perhaps of the data too: what waits to be folded has to stay small."""
        self.time = ""
        if data:
            self._data = None


def event_of(kind: Kind, source: str, subject: str, time: str, data: dict[str, Any]) -> Event:
    """An event that the schema has read.  Raises ValueError where its time is none."""
    visit = data.get("visit", 1)  # of other events than calls' it may be anything
    queue: str = subject if kind.name.startswith(_ABOUT_QUEUES) else data.get("queue", "")
    return Event(kind, source, subject, time, instant(time), queue, visit if isinstance(visit, int) else 1, data)


class Forms:
    """What is plain: `decode` reads the envelope of one into a structure, whose class tells the kind."""

    __slots__ = ("decode", "kinds")

    def __init__(self, decode: Callable[[bytes], Any], kinds: dict[Any, Kind]) -> None:
        self.decode = decode
        self.kinds = kinds


@lru_cache(maxsize=1024)
def _is_channel(text: str) -> bool:
    return len(text) <= MAXIMUM_CHANNEL and _CHANNEL.fullmatch(text) is not None


def read_plain(value: bytes, forms: Forms) -> Event | None:
    """A plain event; None for one that the schema has to judge."""
    if len(value) > MAXIMUM_EVENT_BYTES:
        return None
    try:
        read = forms.decode(value)
        kind = forms.kinds[type(read)]
        data = read.data
        queue = queue_name(data.queue)
        if kind.call == "queued":
            if data.channel is not msgspec.UNSET and not _is_channel(data.channel):
                return None
            if data.due is not msgspec.UNSET:
                instant(data.due)
            if data.entered is not msgspec.UNSET:
                instant(data.entered)
        visit = data.visit
        time: str = read.time
        return Event(
            kind, read.source, read.subject, time, instant(time), queue, 1 if visit is msgspec.UNSET else visit, data
        )
    except (ValueError, msgspec.MsgspecError):
        return None
