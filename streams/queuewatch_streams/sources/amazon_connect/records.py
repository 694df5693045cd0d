"""How Amazon Connect's records read: which story each belongs to, and what of it is kept; nothing of the caller is.

Keys are matched without case, since Amazon mixes them.  Times are the exact ones of events.  A time without a fraction is taken
for the end of its second: contact records have whole seconds, and where an event tells of the same, its exact time is then the
earlier one, which holds, whichever of the two comes first.  A time in the epoch's first moments is Amazon's word for none yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from queuewatch_streams.sources.shape import Unreadable
from queuewatch_streams.sources.stories import Record

__all__ = [
    "agent_of",
    "channel_of",
    "event_of",
    "id_of",
    "lowered",
    "queue_of",
    "record_of",
    "state_of",
    "time_of",
    "word_of",
]

TOLD: Final = frozenset({"INITIATED", "QUEUED", "CONNECTED_TO_AGENT", "DISCONNECTED", "COMPLETED"})
"""Contact events that say something of waiting."""
_OFFERED: Final = frozenset({"INCOMING", "PENDING", "CONNECTING", "MISSED", "REJECTED", "ERROR"})
"""States of a contact that no agent has."""
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:[.:,](\d{1,9}))?([Zz]|[+-]\d\d:?\d\d)")
_PLAIN: Final = re.compile(r"[!-~]{1,256}")
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_END_OF_SECOND: Final = 999_000
_NO_TIME: Final = 86_400_000_000
"""A time of 1970's first day is none: events of contacts that no agent has yet say 1970-01-01T00:00:00.001Z."""


def lowered(value: Any) -> dict[str, Any]:
    """An object with its keys in lower case; an empty one where it is none."""
    if not isinstance(value, dict):
        return {}
    return {key.lower(): each for key, each in value.items() if isinstance(key, str)}


def time_of(fields: Mapping[str, Any], key: str) -> int | None:
    """A field's time, microseconds since the epoch; None where it is missing, or Amazon's word for none.  Raises Unreadable."""
    text = fields.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > 40:
        raise Unreadable("bad_time", f"{key} is no time")
    at = _instant(text)
    if at is None:
        raise Unreadable("bad_time", f"{key} is no time")
    return at if at >= _NO_TIME else None


@lru_cache(maxsize=4096)
def _instant(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    zone = "+00:00" if found[3] in "Zz" else found[3] if ":" in found[3] else f"{found[3][:3]}:{found[3][3:]}"
    try:
        since = datetime.fromisoformat(found[1] + zone).astimezone(UTC) - _EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = since.days * 86_400 + since.seconds
    if not 0 <= seconds < 32_503_680_000:
        return None
    fraction = _END_OF_SECOND if found[2] is None else int(found[2][:6].ljust(6, "0"))
    return seconds * 1_000_000 + fraction


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def id_of(fields: Mapping[str, Any], key: str) -> str | None:
    """A field's id; None where it is missing.  Raises Unreadable."""
    text = fields.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or _PLAIN.fullmatch(text) is None:
        raise Unreadable("wrong_field", f"{key} is no id")
    return text


def word_of(fields: Mapping[str, Any], key: str) -> str | None:
    """A field's word in upper case; None where it is missing.  Raises Unreadable."""
    text = id_of(fields, key)
    return None if text is None else text.upper()


def _part_of(arn: str, after: str) -> str:
    """The last part of an Amazon resource name; the name itself where it has no such part."""
    return arn.rpartition(after)[2]


def queue_of(fields: Mapping[str, Any], key: str = "arn") -> str | None:
    """The id of a queue in the field of its resource name, `agent/ID` for an agent's own; None where it is missing."""
    arn = id_of(fields, key)
    return None if arn is None else _part_of(arn, "/queue/")


def agent_of(fields: Mapping[str, Any], key: str = "arn") -> str | None:
    """The id of an agent in the field of his resource name; None where it is missing."""
    arn = id_of(fields, key)
    return None if arn is None else _part_of(arn, "/agent/")


def channel_of(fields: Mapping[str, Any]) -> str | None:
    """The channel in our words; None where it is missing."""
    channel = id_of(fields, "channel")
    if channel is None:
        return None
    channel = channel.lower()
    return channel if _CHANNEL.fullmatch(channel) else "voice"


def _reason(value: Any) -> str | None:
    """The reason of a disconnect, which stands alone or in an object."""
    if isinstance(value, dict):
        inner = lowered(value)
        value = inner.get("code") or inner.get("reasoncode")
    return value.upper() if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _made(
    fields: Mapping[str, Any], kind: str, at: int | None, identity: str | None, known: dict[str, Any]
) -> tuple[str, Record]:
    """The story that a record belongs to, and the record."""
    contact = id_of(fields, "contactid")
    if contact is None:
        raise Unreadable("missing_field", "it names no contact")
    before, related = id_of(fields, "previouscontactid"), id_of(fields, "relatedcontactid")
    story = id_of(fields, "initialcontactid") or before or related or contact
    known |= {
        "c": contact,
        "p": before,
        "m": word_of(fields, "initiationmethod"),
        "ch": channel_of(fields),
    }
    kept = {key: value for key, value in known.items() if value is not None}
    if at is None:
        raise Unreadable("missing_field", "it has no time")
    if identity is None:  # then what it tells is its identity
        identity = f"{kind}/{contact}/{blake2b(repr(sorted(kept.items())).encode(), digest_size=12).hexdigest()}"
    return story, Record(at, 0, identity, kind, kept)


def event_of(event: Mapping[str, Any]) -> tuple[str, Record] | None:
    """A contact event as a record of its story; None where it says nothing of waiting.  Raises Unreadable.

    :param event: the event with its keys in lower case.
    """
    fields = lowered(event.get("detail"))
    kind = word_of(fields, "eventtype")
    if kind is None:
        raise Unreadable("missing_field", "it is of no kind")
    if kind not in TOLD:
        return None
    told = time_of(event, "time")
    queue, agent = lowered(fields.get("queueinfo")), lowered(fields.get("agentinfo"))
    enqueued, connected = time_of(queue, "enqueuetimestamp"), time_of(agent, "connectedtoagenttimestamp")
    left = time_of(fields, "disconnecttimestamp")
    if kind == "QUEUED" and enqueued is None:
        enqueued = told
    if kind == "CONNECTED_TO_AGENT" and connected is None:
        connected = told
    if kind == "DISCONNECTED" and left is None:
        left = told
    times = [each for each in (enqueued, connected, left) if each is not None]
    known: dict[str, Any] = {
        "q": queue_of(queue, "queuearn") or queue_of(queue),
        "e": enqueued,
        "s": connected,
        "a": agent_of(agent, "agentarn") or agent_of(agent),
        "d": left,
        "b": time_of(agent, "aftercontactworkstarttimestamp"),
        "w": time_of(agent, "aftercontactworkendtimestamp"),
        "why": _reason(fields.get("disconnectreason")),
        "done": True if kind == "COMPLETED" else None,
    }
    return _made(fields, kind, told if told is not None else max(times, default=None), id_of(event, "id"), known)


def record_of(fields: Mapping[str, Any]) -> tuple[str, Record]:
    """A contact record as a record of its story.  Raises Unreadable.

    :param fields: the record with its keys in lower case.
    """
    queue, agent = lowered(fields.get("queue")), lowered(fields.get("agent"))
    enqueued, dequeued = time_of(queue, "enqueuetimestamp"), time_of(queue, "dequeuetimestamp")
    waited = queue.get("duration")
    if enqueued is None and dequeued is not None and isinstance(waited, int) and 0 <= waited < 10**7:
        enqueued = dequeued - waited * 1_000_000
    held, transferred = agent.get("customerholdduration"), time_of(fields, "transfercompletedtimestamp")
    known: dict[str, Any] = {
        "q": queue_of(queue),
        "e": enqueued,
        "s": time_of(agent, "connectedtoagenttimestamp"),
        "a": agent_of(agent),
        "d": time_of(fields, "disconnecttimestamp"),
        "b": time_of(agent, "aftercontactworkstarttimestamp"),
        "w": time_of(agent, "aftercontactworkendtimestamp"),
        "why": _reason(fields.get("disconnectreason")),
        "h": held * 1_000_000 if isinstance(held, int) and 0 < held < 10**7 else None,
        "n": id_of(fields, "nextcontactid"),
        "x": True if transferred is not None or lowered(fields.get("transferredtoendpoint")) else None,
        "o": transferred,
    }
    updated = time_of(fields, "lastupdatetimestamp")
    begun = time_of(fields, "initiationtimestamp")
    times = [each for each in (begun, enqueued, known["s"], known["d"], known["w"]) if each is not None]
    at = max((each for each in (known["d"], known["w"]) if each is not None), default=max(times, default=updated))
    # A record is sent anew whenever something of it changes, two of them in one second too, which have one LastUpdateTimestamp.
    return _made(fields, "RECORD", at, None, known)


def state_of(contact: Mapping[str, Any], agent: str, at: int, before: str | None) -> tuple[str, Record] | None:
    """A contact in an agent event as a record of its story; None where it brings nothing new.  Raises Unreadable.

    :param contact: the contact with its keys in lower case; its state GONE: it is in the event before only.
    :param at: when the event happened.
    :param before: the contact's state before the event; None: it was not there.
    """
    state = word_of(contact, "state")
    if state is None:
        raise Unreadable("missing_field", "a contact has no state")
    since, connected = time_of(contact, "statestarttimestamp"), time_of(contact, "connectedtoagenttimestamp")
    if state == "GONE" or since is None:
        since = at
    elif connected is not None and since <= connected and state in ("CONNECTED", "CONNECTED_ONHOLD"):
        # There are reports that a hold does not change the time of the state: then the change itself tells it.
        if before != state and (state == "CONNECTED_ONHOLD" or before == "CONNECTED_ONHOLD"):
            since = at
        elif state == "CONNECTED_ONHOLD":
            return None
    known = {
        "q": queue_of(lowered(contact.get("queue"))),
        "e": time_of(contact, "queuetimestamp"),
        "a": agent,
        "s": connected,
        "st": state,
        "t": since,
    }
    name = f"{agent}/{id_of(contact, 'contactid')}/{state}/{since}/{connected}"
    return _made(contact, "OFFER" if state in _OFFERED else "STATE", since, name, known)
