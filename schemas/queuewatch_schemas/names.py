"""Which texts may be names: of queues, and of everything else."""

from __future__ import annotations

import unicodedata
from typing import Final

MAXIMUM_NAME: Final = 1024
"""Characters of an id, a source, a call, an agent."""
MAXIMUM_QUEUE_BYTES: Final = 200


_KEPT: Final = 65_536
_allowed: Final[dict[str, str]] = {}


def queue_name(name: str) -> str:
    """The name itself if it may name a queue: NFC, without outer blanks or control characters, 1 to 200 bytes of UTF-8.

    Raises ValueError with the fault in words.  Names that are allowed are remembered, and equal ones come back as one and the
    same: every event names a queue, and few queues exist.
    """
    known = _allowed.get(name)
    if known is not None:
        return known
    _judge(name)
    if len(_allowed) >= _KEPT:
        _allowed.clear()
    _allowed[name] = name
    return name


def _judge(name: str) -> None:
    if not name:
        raise ValueError("the queue's name is empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("the queue's name holds a lone surrogate, which is no character") from None
    if size > MAXIMUM_QUEUE_BYTES:
        raise ValueError(f"the queue's name has {size} bytes, {MAXIMUM_QUEUE_BYTES} are allowed")
    if name != name.strip():
        raise ValueError(f"the queue's name {name!r} has blanks at its ends")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError(f"the queue's name {name!r} holds a control character")
    if not unicodedata.is_normalized("NFC", name):
        raise ValueError(f"the queue's name {name!r} is not in Unicode's composed form (NFC)")
