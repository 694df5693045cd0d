"""What Genesys Cloud sends as it stands on the wire: envelopes, topics, and conversations by their sessions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from queuewatch_streams.sources.genesys.fields import objects, text
from queuewatch_streams.sources.shape import Unreadable

__all__ = [
    "COMMUNICATIONS",
    "CONVERSATION",
    "OBSERVED",
    "OVER",
    "conversation_of",
    "is_open",
    "read",
    "records_of",
    "told_of",
]

OBSERVED: Final = "queuewatch.observations"
"""The topic that the reader gives to the system's own list of who waits in a queue."""
CONVERSATION: Final = re.compile(r"v2\.(routing\.queues\.[^.]+\.conversations(\.[a-z]+)?|conversations\.[^.]+)")
"""Topics whose bodies are whole conversations."""
OVER: Final = frozenset({"DISCONNECTED", "TERMINATED"})
"""States of a session that has ended."""
COMMUNICATIONS: Final = {
    "calls": "voice",
    "callbacks": "callback",
    "chats": "chat",
    "emails": "email",
    "messages": "message",
    "internalMessages": "internalmessage",
    "videos": "video",
    "cobrowsesessions": "cobrowse",
    "screenshares": "screenshare",
}
"""Where a participant has sessions, and their media."""


def told_of(record: Any) -> tuple[str, Mapping[str, Any]]:
    """The topic and the body of what came, in an envelope of EventBridge or not.  Raises Unreadable."""
    if isinstance(record, Mapping) and isinstance(record.get("detail"), Mapping):
        record = record["detail"]
    if not isinstance(record, Mapping):
        raise Unreadable("unreadable", "it is no object of JSON")
    topic, body = record.get("topicName"), record.get("eventBody")
    if not isinstance(topic, str) or not topic:
        raise Unreadable("missing_field", "it names no topic")
    if topic == "channel.metadata" or topic.startswith("v2.system."):
        return topic, {}
    if not isinstance(body, Mapping):
        raise Unreadable("missing_field", "it has no eventBody")
    return topic, body


def conversation_of(record: Any) -> str | None:
    """The conversation that a notification is about, if it is about one."""
    try:
        topic, body = told_of(record)
        return text(body, "id") or None if CONVERSATION.fullmatch(topic) is not None else None
    except Unreadable:
        return None


def is_open(record: Any) -> bool:
    """Whether anybody is still in the conversation that a notification is about, or has after-call work."""
    for participant in objects(told_of(record)[1], "participants"):
        for name in COMMUNICATIONS:
            for one in objects(participant, name):
                if str(one.get("state", "")).upper() not in OVER:
                    return True
                work = one.get("afterCallWork")
                if isinstance(work, Mapping) and work.get("state") == "pending":
                    return True
    return False


def records_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """For `convert`: what came, one a line; what is no JSON is None, which is refused."""
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield number, read(line)


def read(text: bytes | str) -> Any:
    """What came as JSON; None where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
