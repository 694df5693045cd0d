"""What Twilio's TaskRouter says of tasks and workers; docs/sources/twilio.md says it for operators.

The same event comes as a webhook's form fields, as a CloudEvent of Event Streams and from the list of events; names are
written in three ways, so they are compared without case and underscores.  Twice the same event (by its Sid) counts once.

Events overtake each other, and what webhooks lost the list tells a minute later.  So a task's events are told anew as one story
with each that comes (`story`), and a worker's too (`workers`): order and repetition cannot matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from queuewatch_schemas.source_settings import SourceSettings, TwilioTaskRouter
from queuewatch_streams.sources import json_lines
from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.stories import Record, Stories
from queuewatch_streams.sources.twilio.story import DECLINED, ENTERED, ORDER, tell
from queuewatch_streams.sources.twilio.workers import Workers

__all__ = ["TaskRouter", "flat", "records_of"]

SECOND: Final = 1_000_000
KEEP: Final = 20 * 60 * SECOND
"""So long a task that has ended is remembered; no webhook is taken that comes later."""
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_OF_WORKERS: Final = ("reservation.canceled", "reservation.rescinded", "worker.activity.update")
"""Events that say nothing of a task's stays."""
_PASSING: Final = ("reservation.created", *DECLINED)
_STREAMED: Final = "com.twilio.taskrouter."
"""What names of TaskRouter's events begin with in Event Streams; a sink's own test and other products' events do not."""
_NO_MEANING: Final = (
    "com.twilio.",
    "task.",
    "task-queue.",
    "task-channel.",
    "reservation.",
    "worker.",
    "workflow.",
    "workspace.",
    "activity.",
)
_CANCELED: Final = (
    (("hangup", "hang up", "hung up", "abandon"), ""),
    (("voicemail", "voice mail"), "voicemail"),
    (("callback", "call back"), "callback"),
    (("timeout", "timed out", "time out", "ttl"), "timeout"),
    (("leave", "keypress", "digit"), "key"),
    (("transfer", "redirect"), "transfer"),
)
"""Why a waiting task was canceled, by words in Twilio's text; "" is the caller's hang-up, no word of these a withdrawal."""
_TEXTS: Final = {
    "task": "tasksid",
    "queue": "taskqueuesid",
    "reservation": "reservationsid",
    "worker": "workersid",
    "status": "taskassignmentstatus",
}
_NUMBERS: Final = {"age": "taskage", "queueage": "taskageinqueue", "priority": "taskpriority"}
_LONGEST: Final = 200


def flat(record: Any) -> dict[str, Any]:
    """The fields of an event in any of its three forms, by their names without case and underscores.

    :raises Unreadable: it is none of them.
    """
    if not isinstance(record, Mapping):
        raise Unreadable("unreadable", "it is no object")
    inner: Any = record
    outer: Mapping[Any, Any] = {}
    data = record.get("data")
    if isinstance(data, Mapping):
        inner = data.get("payload", data)
        outer = {key: data[key] for key in ("sid", "timestamp") if key in data}
    elif "event_data" in record:
        inner, outer = record["event_data"], {key: value for key, value in record.items() if key != "event_data"}
    if isinstance(inner, str):
        inner = json_lines.loaded(inner)
    if not isinstance(inner, Mapping):
        raise Unreadable("unreadable", "it holds no event")
    fields = {str(key).replace("_", "").lower(): value for key, value in inner.items()}
    for key, value in outer.items():
        fields[str(key).replace("_", "").lower()] = value
    streamed = record.get("type")
    if isinstance(data, Mapping) and isinstance(streamed, str) and streamed:
        if not streamed.startswith(_STREAMED):
            fields["eventtype"] = streamed
        elif fields.get("eventtype") is None:
            fields["eventtype"] = streamed.removeprefix(_STREAMED)
    return fields


class TaskRouter:
    """The translator."""

    def __init__(self, composer: Composer, memory: Any, settings: SourceSettings | None) -> None:
        self._composer = composer
        self._workspace = settings.workspace_sid if isinstance(settings, TwilioTaskRouter) else None
        self._tasks = Stories(composer, partial(tell, composer), KEEP, passing=_PASSING)
        self._workers = Workers(composer)
        self.newest = 0
        if memory is not None:
            self._tasks.recall(memory["tasks"])
            self._workers.recall(memory["workers"])
            self.newest = memory["newest"]

    @property
    def open_calls(self) -> int:
        """How many tasks it remembers that have not ended."""
        return self._tasks.open_calls

    def memory(self) -> Any:
        """All that it has to know to carry on; no text of a task's attributes is in it."""
        return {"tasks": self._tasks.memory(), "workers": self._workers.memory(), "newest": self.newest}

    def translate(self, record: Any, out: Out) -> None:
        """Take an event, and say what it brings."""
        try:
            self._take(flat(record), "event_data" in record, out)
        except Unreadable as why:
            out.refuse(why.reason, str(why))

    def advance(self, at: int, out: Out) -> None:
        """Nothing older than `at` will come, neither by webhook nor in the list."""
        self._tasks.advance(at, out)
        self._workers.advance(at)

    def _take(self, told: Mapping[str, Any], listed: bool, out: Out) -> None:
        kind = told.get("eventtype")
        if not isinstance(kind, str) or not kind:
            raise Unreadable("missing_field", "it has no event type")
        order = ORDER.get(kind)
        if order is None:
            if kind.startswith(_NO_MEANING):
                out.ignore("no_meaning")
                return
            raise Unreadable("unknown_event", "its event type is none of TaskRouter's")
        workspace = told.get("workspacesid")
        if self._workspace is not None and workspace is not None and workspace != self._workspace:
            out.ignore("no_meaning")
            return
        at = _time_of(told)
        sid = _text(told, "sid")
        if sid is None:
            raise Unreadable("missing_field", "it has no Sid")
        if at < self._tasks.until - KEEP and not listed:  # the list has told it, and its task may be forgotten
            out.ignore("repeated")
            return
        fields = self._fields(kind, told)
        if "task" in fields and self._composer.looks_at_callers and (caller := _caller(told)):
            if self._composer.ignores_caller(caller):
                out.ignore("caller")
                return
            if kind == ENTERED or kind == "reservation.accepted":
                customer = self._composer.customer(caller)
                fields |= {} if customer is None else {"customer": customer}
        self.newest = max(self.newest, at)
        news = self._of_worker(kind, at, sid, fields, told, out)
        if kind in DECLINED and self._composer.ignores_agent(fields["worker"]):
            out.ignore("agent")
        elif kind not in _OF_WORKERS:
            news = self._tasks.add(fields["task"], Record(at, order, sid, kind, fields), out) or news
        if not news:
            out.ignore("repeated")

    def _of_worker(
        self, kind: str, at: int, sid: str, fields: Mapping[str, Any], told: Mapping[str, Any], out: Out
    ) -> bool:
        """What an event says of its worker, if it has one; whether that was not known."""
        worker = fields.get("worker")
        if kind == "worker.activity.update":
            name = _text(told, "workeractivityname")
            if worker is None or name is None:
                raise Unreadable("missing_field", "it names no worker, or no activity")
            return self._workers.activity(worker, at, sid, name, out)
        if worker is None or "reservation" not in fields:
            return False
        queue = fields.get("queue", "")
        return self._workers.reservation(worker, at, sid, kind, fields["reservation"], queue, out)

    def _fields(self, kind: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """What of an event the story of its task needs.  Raises Unreadable where it does not tell enough."""
        fields: dict[str, Any] = {ours: text for ours, name in _TEXTS.items() if (text := _text(told, name))}
        fields |= {ours: each for ours, name in _NUMBERS.items() if (each := _number(told, name)) is not None}
        if (entered := _instant(told.get("taskqueueentereddate"))) is not None:
            fields["entered"] = entered
        if "queue" in fields:
            self._composer.queue(fields["queue"])  # a name that is none is refused here, not when it is said
        if kind.startswith("worker."):
            return fields
        if "task" not in fields:
            raise Unreadable("missing_field", "it names no task")
        if kind.startswith("reservation."):
            if "reservation" not in fields or "worker" not in fields:
                raise Unreadable("missing_field", "it names no reservation, or no worker")
        elif kind == ENTERED and "queue" not in fields:
            raise Unreadable("missing_field", "it names no task queue")
        if kind == "task.canceled":
            fields["why"] = _canceled(told)
        if kind in (ENTERED, "reservation.accepted"):
            fields["channel"] = _channel(told)
        return fields


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    text = fields.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise Unreadable("wrong_field", f"its {key} is no text that fits")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable("wrong_field", f"its {key} is no text") from None
    return text


def _number(fields: Mapping[str, Any], key: str) -> int | None:
    """A whole number of a field, as a number or in digits; None where it is missing or none."""
    value = fields.get(key)
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else None
    return value if type(value) is int and 0 <= value < 10**15 else None


def _instant(value: Any) -> int | None:
    """A time that is told as seconds or milliseconds since the epoch, or as text, in microseconds; None where it is none."""
    number = _number({"": value}, "")
    if number is not None:
        return number * (1000 if number >= 10**11 else SECOND)
    if isinstance(value, str) and len(value) <= 40:
        try:
            found = datetime.fromisoformat(value)
            if found.tzinfo is not None:
                return round(found.timestamp() * 1000) * 1000
        except (ValueError, OverflowError):
            pass
    return None


def _time_of(fields: Mapping[str, Any]) -> int:
    """When it happened, in microseconds since the epoch; the most exact of the fields that tell it."""
    for key in ("timestampms", "eventdatems", "timestamp", "eventdate"):
        if (found := _instant(fields.get(key))) is not None:
            moment(found)
            return found
    raise Unreadable("bad_time", "it tells no time")


def _channel(fields: Mapping[str, Any]) -> str:
    name = str(fields.get("taskchanneluniquename", "voice")).lower()
    if name == "default":  # where channels are not told apart, tasks are calls
        return "voice"
    return name if _CHANNEL.fullmatch(name) else "other"


def _canceled(fields: Mapping[str, Any]) -> str:
    """Why a task that waited was canceled, in our words; "" is a hang-up."""
    text = fields.get("taskcanceledreason") or fields.get("reason") or ""
    plain = text.casefold() if isinstance(text, str) else ""
    if not plain.strip():
        described = fields.get("eventdescription") or fields.get("description")
        # Of a task that lived too long the reference says only that the description tells it.
        return "timeout" if isinstance(described, str) and "ttl" in described.casefold() else ""
    return next((ours for words, ours in _CANCELED if any(word in plain for word in words)), "withdrawn")


def _caller(fields: Mapping[str, Any]) -> str:
    """The caller's number in a task's attributes; empty where there is none."""
    attributes = fields.get("taskattributes")
    if isinstance(attributes, str):
        attributes = json_lines.loaded(attributes)
    if isinstance(attributes, Mapping):
        for key in ("from", "caller"):
            number = attributes.get(key)
            if isinstance(number, str) and number:
                return number[:_LONGEST]
    return ""


def records_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """For `convert`: events in JSON, one or an array of them a line, in any of the three forms; None is refused."""
    for number, found in json_lines.records_of(lines):
        for record in found if isinstance(found, list) else [found]:
            yield number, record
