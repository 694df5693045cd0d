"""Events that come over HTTP are of the contract already: what of them goes on, and who may send what.

Only what the contract knows goes on: an unknown field could hold what nobody may read, so it is left out, and a customer
leaves as a keyed hash or not at all, as from every source.  The sender's ids, times and sources stay, which makes a repeat
harmless.  `map` and `ignore` are about the sender's own names; no name gets a prefix.

A sender is known by the SHA-256 of its token, so the file of tokens holds no secret.  It may speak as its own sources, about
its own queues and agents, and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_type_hints

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from queuewatch_schemas.events import EVENT_TYPES, Reason, Rejected, parse
from queuewatch_schemas.names import MAXIMUM_NAME
from queuewatch_schemas.settings import Settings, place_of
from queuewatch_schemas.source_settings import Ignored, Names, SourceSettings
from queuewatch_schemas.times import instant
from queuewatch_streams.publish import address
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["HEARTBEAT", "Grant", "Posted", "Senders", "TokensTrouble", "batch_of", "judge"]

HEARTBEAT: Final = "queuewatch.source.heartbeat.v1"
_EVICTED: Final = "queuewatch.call.evicted.v1"
_AGENT_STATE: Final = "queuewatch.agent.state.v1"
_DECLINED: Final = "queuewatch.call.declined.v1"
_ENVELOPE: Final = ("specversion", "id", "source", "type", "time", "subject")


def _known_fields(data: Any) -> dict[str, Any]:
    """The fields of an event's data as the contract has them: by name what is known of what is in it, or None."""
    known: dict[str, Any] = {}
    for field, hint in get_type_hints(data).items():
        inner = next((each for each in get_args(hint) if is_typeddict(each)), None)
        known[field] = None if inner is None else _known_fields(inner)
    return known


_KNOWN: Final = {name: _known_fields(get_type_hints(model)["data"]) for name, model in EVENT_TYPES.items()}
_REASONS: Final = {
    Reason.TOO_LARGE: "too_long",
    Reason.UNKNOWN_TYPE: "unknown_event",
    Reason.MISSING_FIELD: "missing_field",
    Reason.WRONG_FIELD: "wrong_field",
    Reason.BAD_QUEUE_NAME: "bad_queue_name",
}
"""The contract's reasons in the words of sources; what is not here is unreadable."""


# ------------------------------------------------------------------------------------------------------------- senders

Pattern = Annotated[str, Field(min_length=1, max_length=MAXIMUM_NAME)]


class _Sender(Settings):
    """One sender in the file of tokens."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sources: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=MAXIMUM_NAME)], ...], Field(min_length=1)]
    queues: tuple[Pattern, ...] = ()
    agents: tuple[Pattern, ...] = ()


_SENDERS: Final = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")], _Sender])


class TokensTrouble(Exception):
    """The file of tokens cannot be used; the text says where and why, without any value of it."""


class _Allowed:
    """Names, and beginnings of names where a `*` stands at the end."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self.told = ", ".join(patterns) or "none"
        self._names = frozenset(each for each in patterns if not each.endswith("*"))
        self._beginnings = tuple(each[:-1] for each in patterns if each.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.startswith(self._beginnings)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one sender may do."""

    name: str
    sources: frozenset[str]
    queues: _Allowed
    agents: _Allowed

    def forbids(self, event: Mapping[str, Any]) -> str | None:
        """What of an event of the contract the sender may not say, in words; None: it may say all of it."""
        if event["source"] not in self.sources:
            return "source: this token may not speak for it"
        for place, queue in _queues_of(event):
            if queue not in self.queues:
                return f"{place}: this token may not speak about that queue"
        if event["type"] == _AGENT_STATE and event["subject"] not in self.agents:
            return "subject: this token may not speak about that agent"
        return None


def _queues_of(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind, data = event["type"], event["data"]
    if kind.startswith("queuewatch.queue."):
        yield "subject", event["subject"]
    if "queue" in data:
        yield "data.queue", data["queue"]
    for field in ("queues", "contacts"):
        for number, each in enumerate(data.get(field, ())):
            name = each if isinstance(each, str) else each.get("queue")
            if name is not None:
                yield f"data.{field}[{number}]", name


class Senders:
    """Who may send, by their tokens.  Raises TokensTrouble where the file is none."""

    def __init__(self, path: Path, text: bytes) -> None:
        try:
            found = _SENDERS.validate_python(tomllib.loads(text.decode()))
        except UnicodeDecodeError:
            raise TokensTrouble(f"{path}: is not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
            raise TokensTrouble(f"{path}: is no TOML{f' ({line[1]})' if line else ''}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = place_of(first["loc"])
            raise TokensTrouble(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
        self._grants = tuple(
            (
                bytes.fromhex(each.sha256),
                Grant(name, frozenset(each.sources), _Allowed(each.queues), _Allowed(each.agents)),
            )
            for name, each in found.items()
        )
        if len({digest for digest, _ in self._grants}) < len(self._grants):
            raise TokensTrouble(f"{path}: two senders have one token")

    @classmethod
    def of(cls, path: Path) -> Senders:
        """Those of a file.  Raises TokensTrouble."""
        try:
            return cls(path, path.read_bytes())
        except OSError as error:
            raise TokensTrouble(f"{path}: cannot be read: {error.strerror or error}") from None

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What each sender may do."""
        return tuple(grant for _, grant in self._grants)

    def of_token(self, token: str) -> Grant | None:
        """What the bearer of a token may do; takes as long for a wrong one as for any right one."""
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = None
        for known, grant in self._grants:
            if hmac.compare_digest(known, digest):
                found = grant
        return found


# -------------------------------------------------------------------------------------------------------------- events


def batch_of(content_type: str, body: bytes) -> list[Any]:
    """The events of a request, not yet judged.

    :raises LookupError: of that content type nothing is taken; the text says what is.
    :raises ValueError: the body is no JSON, or no array where one was promised; the text says so.
    """
    if content_type == "application/cloudevents+json":
        return [_loaded(body)]
    if content_type == "application/cloudevents-batch+json":
        found = _loaded(body)
        if not isinstance(found, list):
            raise ValueError("a batch is a JSON array of events")
        return found
    raise LookupError("send application/cloudevents+json for one event, application/cloudevents-batch+json for several")


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None


def judge(event: Any) -> None:
    """Whether it is an event that senders may send.  Raises Rejected with the reason and where the fault is."""
    try:
        value = orjson.dumps(event)
    except TypeError:  # it came from no JSON
        raise Rejected(Reason.UNREADABLE_JSON, "it holds what JSON cannot hold") from None
    parse(value)
    if event["type"] == _EVICTED:
        raise Rejected(Reason.FOREIGN_EVICTION, "type: only the monitor itself gives visits up")


class Posted:
    """The translator of events that came over HTTP.  It remembers nothing: every event says all there is."""

    def __init__(self, composer: Composer, settings: SourceSettings | None) -> None:
        self._composer = composer
        names, ignored = (Names(), Ignored()) if settings is None else (settings.map, settings.ignore)
        self._queues = names.queues
        self._agents = names.agents
        self._no_queues = frozenset(ignored.queues)
        self._no_agents = frozenset(ignored.agents)
        self.newest = 0

    @property
    def open_calls(self) -> int:
        """None are remembered."""
        return 0

    def advance(self, at: int, out: Out) -> None:
        """Nothing is held back."""

    def memory(self) -> Any:
        """Nothing is remembered."""
        return {}

    def translate(self, record: Any, out: Out) -> None:
        """Say an event on."""
        try:
            judge(record)
            self._say(record, out)
        except Rejected as why:
            out.refuse(_REASONS.get(why.reason, "unreadable"), _without_values(why))
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def _say(self, event: Mapping[str, Any], out: Out) -> None:
        kind, data = event["type"], _only(event["data"], _KNOWN[event["type"]])
        subject = event["subject"]
        self.newest = max(self.newest, instant(event["time"]))
        if (subject if kind.startswith("queuewatch.queue.") else data.get("queue")) in self._no_queues:
            out.ignore("queue")
            return
        if (kind == _AGENT_STATE and subject in self._no_agents) or (
            kind == _DECLINED and data["agent"] in self._no_agents
        ):
            out.ignore("agent")
            return
        if kind.startswith("queuewatch.queue."):
            subject = self._queues.get(subject, subject)
        elif kind == _AGENT_STATE:
            subject = self._agents.get(subject, subject)
        said = {field: event[field] for field in _ENVELOPE} | {"subject": subject, "data": self._named(data)}
        role, key, _ = address(said)
        out.messages.append((role, key, orjson.dumps(said)))

    def _named(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data with stable names, without what is ignored, the customer as a hash."""
        for field in ("queue", "from_queue", "to_queue"):
            if data.get(field) in self._no_queues:
                del data[field]
            elif field in data:
                data[field] = self._queues.get(data[field], data[field])
        if "agent" in data:
            data["agent"] = self._agents.get(data["agent"], data["agent"])
        if "queues" in data:
            data["queues"] = [
                self._queues.get(each, each)
                if isinstance(each, str)
                else each | {"queue": self._queues.get(each["queue"], each["queue"])}
                for each in data["queues"]
                if (each if isinstance(each, str) else each["queue"]) not in self._no_queues
            ]
        for each in data.get("contacts", ()):
            if each.get("queue") in self._no_queues:
                del each["queue"]
            elif "queue" in each:
                each["queue"] = self._queues.get(each["queue"], each["queue"])
        customer = data.pop("customer", None)
        if customer is not None and (hidden := self._composer.customer(customer)) is not None:
            data["customer"] = hidden
        return data


def _only(data: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What the contract knows of an event's data; a copy."""
    told: dict[str, Any] = {}
    for field, inner in known.items():
        if field in data:
            told[field] = data[field] if inner is None else [_only(each, inner) for each in data[field]]
    return told


def _without_values(why: Rejected) -> str:
    """Where the fault is and of what kind, for logs: the sender alone is shown what it sent."""
    place = re.match(r"[a-z_]+(?:\.[a-z0-9_]+)*(?=: )", why.detail)
    return f"{place[0]}: {why.reason}" if place else str(why.reason)
