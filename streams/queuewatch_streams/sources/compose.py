"""How a source's canonical events look: names, ids, times and customers are made in this one place.

Every call is `SOURCE-vendor's id`, every queue and agent the name in `map`, else `SOURCE/vendor's id`.  Caller numbers leave
here only as a keyed hash, and only where there is a key.  An id is made from what the vendor says, so the same record read
twice gives the same event.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from queuewatch_schemas.configuration_file import ConfigurationError
from queuewatch_schemas.names import MAXIMUM_NAME, queue_name
from queuewatch_schemas.source_settings import Ignored, Names, SourceSettings
from queuewatch_streams.sources.shape import Out, Role, Unreadable

__all__ = ["LONGEST_ID", "Composer", "moment", "source_urn"]

LONGEST_ID: Final = 300
"""Characters of a vendor's call or agent id: with the rest, an event's id stays within what an event may hold."""
_EPOCH: Final = datetime(1970, 1, 1)
_TWO_DIGITS: Final = tuple(f"{number:02d}" for number in range(60))
_FIRST, _LAST = -2_208_988_800 // 60, 32_503_680_000 // 60  # minutes of the years 1900 to 2999
_KNOWN_NAMES: Final = 65_536
_WITHHELD: Final = frozenset(
    {"", "unknown", "<unknown>", "anonymous", "private", "restricted", "unavailable", "withheld"}
)
"""What stands where a caller's number is not known, in lower case."""
_SHORTEST_KEY: Final = 16


def source_urn(name: str) -> str:
    """The CloudEvents source of a source's events."""
    return f"urn:source:{name}"


@lru_cache(maxsize=4096)
def _minute(minute: int) -> str:
    if not _FIRST <= minute < _LAST:
        raise Unreadable("bad_time", "its time is not in the years 1900 to 2999")
    return (_EPOCH + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:")


def moment(at: int) -> str:
    """Microseconds since the epoch as RFC 3339 text.  Raises Unreadable outside the years 1900 to 2999."""
    second, rest = divmod(at, 1_000_000)
    minute, second = divmod(second, 60)
    if rest:
        return f"{_minute(minute)}{_TWO_DIGITS[second]}.{rest:06d}Z"
    return f"{_minute(minute)}{_TWO_DIGITS[second]}Z"


def _escaped(text: str) -> str:
    """A text as it stands between quotes in JSON.  Raises Unreadable where it is none."""
    return _dumped(text)[1:-1].decode()


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # lone surrogates, which are no characters
        raise Unreadable("wrong_field", "it holds what is no text") from None


class Composer:
    """Composes the events of one source.

    :param name: the source's name in the configuration.
    :raises ConfigurationError: the file of `customer_key_file` cannot be used.
    """

    def __init__(self, name: str, settings: SourceSettings | None = None) -> None:
        self.name = name
        self.urn = source_urn(name)
        names, ignored = (settings.map, settings.ignore) if settings is not None else (Names(), Ignored())
        key = None if settings is None else settings.customer_key_file
        self._key = None if key is None else _read_key(name, key)
        self._map = names
        self._ignored_queues = frozenset(ignored.queues)
        self._ignored_agents = frozenset(ignored.agents)
        self._ignored_callers = frozenset(ignored.callers)
        self._reasons: Mapping[str, str] = {each.casefold(): state for each, state in names.reasons.items()}
        self._queues: dict[str, str | None] = {}
        self._agents: dict[str, str | None] = {}
        self._customers: dict[str, str | None] = {}
        self._at, self._moment = 0, moment(0)
        """The time that was told last, and its text."""

    # ---------------------------------------------------------------------------------------------------------- names

    def queue(self, vendor: str) -> str | None:
        """The name of a queue that the vendor calls so; None where it is ignored.  Raises Unreadable."""
        try:
            return self._queues[vendor]
        except KeyError:
            name = None if vendor in self._ignored_queues else self._queue(vendor)
            return _remember(self._queues, vendor, name)

    def _queue(self, vendor: str) -> str:
        found = self._map.queues.get(vendor)
        if found is not None:
            return found
        text = unicodedata.normalize("NFC", vendor).strip()
        if not text:
            raise Unreadable("bad_queue_name", "it names no queue")
        try:
            return queue_name(f"{self.name}/{text}")
        except ValueError as why:
            raise Unreadable("bad_queue_name", str(why)) from None

    def agent(self, vendor: str) -> str:
        """The name of an agent whom the vendor calls so, ignored or not.  Raises Unreadable."""
        try:
            found = self._agents[vendor]
        except KeyError:
            found = self._map.agents.get(vendor)
            if found is None:
                if not vendor or len(vendor) > LONGEST_ID:
                    raise Unreadable(
                        "too_long" if vendor else "missing_field", "its agent has no name that fits"
                    ) from None
                found = f"{self.name}/{vendor}"
            _remember(self._agents, vendor, found)
        assert found is not None
        return found

    def has_agent(self, vendor: str) -> bool:
        """Whether `map.agents` names the agent."""
        return vendor in self._map.agents

    def ignores_agent(self, vendor: str) -> bool:
        """Whether the agent's states and refusals are left out."""
        return vendor in self._ignored_agents

    def ignores_caller(self, number: str) -> bool:
        """Whether a caller's calls are left out."""
        return number in self._ignored_callers

    @property
    def looks_at_callers(self) -> bool:
        """Whether a caller's number makes any difference: some are ignored, or all are told as hashes."""
        return bool(self._ignored_callers) or self._key is not None

    def subject(self, call: str) -> str:
        """A call's name over all sources.  Raises Unreadable where the vendor's id is too long, or empty."""
        if not 0 < len(call) <= LONGEST_ID:
            raise Unreadable("too_long" if call else "missing_field", "its call has no id that fits")
        return f"{self.name}-{call}"

    def customer(self, number: str) -> str | None:
        """Who calls, as a keyed hash; None without a key or a number."""
        if self._key is None:
            return None
        try:
            return self._customers[number]
        except KeyError:
            plain = "".join(number.split())
            hidden = None
            if plain.lower() not in _WITHHELD:
                hidden = hmac.digest(self._key, plain.encode("utf-8", "replace"), "sha256").hex()[:32]
            return _remember(self._customers, number, hidden)

    def pause_state(self, reason: str) -> str:
        """What an agent does who paused for that reason: by `map.reasons`, else by plain words, else "break" or "other"."""
        word = reason.strip().casefold()
        return self._reasons.get(word) or _PAUSES.get(word) or ("other" if word else "break")

    # --------------------------------------------------------------------------------------------------------- events

    def call(
        self, out: Out, kind: str, at: int, call: str, data: dict[str, Any], visit: int = 1, which: str = ""
    ) -> None:
        """A `call.KIND` event.

        :param at: when it happened, microseconds since the epoch.
        :param call: the call's name over all sources, of `subject`.
        :param data: the event's data, with `queue` by its stable name; `visit` is put in where it is not 1.
        :param which: tells events apart that may happen several times at once in one visit, as the agent does.
        :raises Unreadable: the time is none.
        """
        queue = data["queue"]
        if visit != 1:
            data["visit"] = visit
        if at != self._at:
            self._moment, self._at = moment(at), at
        identity = f"{call}/{visit}/{kind}/{at}/{which}{queue}"
        if which and len(identity) > MAXIMUM_NAME:
            raise Unreadable("too_long", "it says too much to be told from others")
        # Put together by hand, but for the data: this is done for every record, and is half of all its cost.
        if not identity.isprintable() or '"' in identity or "\\" in identity:
            identity, call = _escaped(identity), _escaped(call)
        event = (
            f'{{"specversion":"1.0","id":"{identity}","source":"{self.urn}","type":"queuewatch.call.{kind}.v1",'
            f'"time":"{self._moment}","subject":"{call}","data":'
        )
        out.messages.append(("events", queue, event.encode() + _dumped(data) + b"}"))

    def agent_state(self, out: Out, at: int, agent: str, state: str, queues: Iterable[str], **more: Any) -> None:
        """An `agent.state` event: what an agent (by the stable name) does from now on, and which queues he serves.

        :param queues: by their stable names, in an order that follows from the records.
        """
        self.agent_does(out, at, agent, self.agent_data(state, queues, **more))

    def agent_data(self, state: str, queues: Iterable[str], **more: Any) -> bytes:
        """The data of an `agent.state` event, to be said more than once.  Raises Unreadable."""
        more["state"], more["queues"] = state, [{"queue": each} for each in queues]
        return _dumped(more)

    def agent_does(self, out: Out, at: int, agent: str, data: bytes, which: str = "") -> None:
        """An `agent.state` event with ready data; as `agent_state` in all else.

        :param which: what in the vendor's record tells it from another one of the same agent, time and data.
        """
        self._about(out, "agents", "agent.state", at, agent, which, data)

    def snapshot(self, out: Out, at: int, queue: str, waiting: Iterable[tuple[str, int, int]]) -> None:
        """A `queue.snapshot`: the system's own list of who waits, as (call's name over all sources, visit, since)."""
        callers = [{"call": call, "visit": visit, "since": moment(since)} for call, visit, since in waiting]
        self._about(out, "events", "queue.snapshot", at, queue, "", _dumped({"complete": True, "waiting": callers}))

    def heartbeat(self, out: Out, at: int, interval_s: float, upstream: str) -> None:
        """A `source.heartbeat`; the writer puts it on every partition."""
        data: dict[str, Any] = {"interval_s": interval_s, "upstream": upstream}
        self._about(out, "events", "source.heartbeat", at, self.urn, "", _dumped(data))

    def _about(self, out: Out, role: Role, kind: str, at: int, subject: str, which: str, data: bytes) -> None:
        if at != self._at:
            self._moment, self._at = moment(at), at
        # Another word about the same moment is another event, so what is said is in its id.
        identity, about = f"{subject}/{kind}/{at}/{which}{crc32(data):08x}", subject
        if len(identity) > MAXIMUM_NAME:
            raise Unreadable("too_long", "it says too much to be told from others")
        if not identity.isprintable() or '"' in identity or "\\" in identity:
            identity, about = _escaped(identity), _escaped(subject)
        event = (
            f'{{"specversion":"1.0","id":"{identity}","source":"{self.urn}","type":"queuewatch.{kind}.v1",'
            f'"time":"{self._moment}","subject":"{about}","data":'
        )
        out.messages.append((role, subject, event.encode() + data + b"}"))


_PAUSES: Final = {
    "break": "break",
    "coffee": "break",
    "coffee break": "break",
    "pause": "break",
    "toilet": "break",
    "lunch": "meal",
    "meal": "meal",
    "dinner": "meal",
    "training": "training",
    "coaching": "training",
    "meeting": "meeting",
    "wrapup": "wrap_up",
    "wrap-up": "wrap_up",
    "wrap up": "wrap_up",
    "acw": "wrap_up",
    "after call work": "wrap_up",
}
"""Words for pauses that mean the same everywhere; all others are for `map.reasons`."""


def _remember(known: dict[str, str | None], vendor: str, name: str | None) -> str | None:
    if len(known) >= _KNOWN_NAMES:  # made-up names must not fill the memory
        known.clear()
    known[vendor] = name
    return name


def _read_key(name: str, path: Path) -> bytes:
    place = f"sources.{name}.customer_key_file: {path}"
    try:
        key = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(None, [f"{place} cannot be read: {error.strerror or error}"]) from None
    if len(key) < _SHORTEST_KEY:
        raise ConfigurationError(
            None, [f"{place} holds {len(key)} bytes; a key that cannot be guessed has at least {_SHORTEST_KEY}"]
        )
    return key
