"""What a worker publishes: snapshots of queues, news of partitions, closed intervals, and dead letters.

What is unknown is null, never 0.  Times are UTC, waits and sums are in seconds.  A record says up to which offset of
its partition it is true: everything before that offset is in it, nothing from there on.  Of one key readers keep the
record with the greatest offset, never the last that came (but for news of a partition that is not ready).  Readers ignore
fields that they do not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, Self

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from queuewatch_schemas.config import Definition, Limits, Window
from queuewatch_schemas.events import DivertedReason, Reason

VERSION: Final = 1
"""Of all records; a reader refuses another."""
LETTER_BYTES: Final = 64 * 1024
"""So much of a refused payload goes into its dead letter."""
DETAIL_CHARACTERS: Final = 1000
POINTS: Final = 12
"""So many points has a queue's history."""
POINT_SECONDS: Final = 300
"""The length of one of them."""
CALLBACK: Final = "callback"
"""The channel whose visits are shown apart."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """The core's time, in microseconds since 1970, as a record's."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(moment: datetime) -> int:
    """A record's time as the core's; exact."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class UnreadableRecordError(ValueError):
    """Bytes that are no record of the expected kind; the message says what is wrong and where."""


Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Offset = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    """Frozen; unknown fields are ignored, so that an older reader understands a newer worker."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )

    def to_bytes(self) -> bytes:
        """The record as JSON in UTF-8."""
        return orjson.dumps(self.model_dump(), option=orjson.OPT_UTC_Z)

    @classmethod
    def from_bytes(cls, value: bytes) -> Self:
        """The record in these bytes.  Raises UnreadableRecordError."""
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UnreadableRecordError(f"no {cls.__name__}: {f'{place}: ' if place else ''}{first['msg']}") from None


class DefinitionContent(Definition):
    """How a service level is counted, with everything written out; made from the configuration's `resolved()` one."""

    model_config = ConfigDict(
        extra="ignore", from_attributes=True, json_schema_serialization_defaults_required=True, title="Definition"
    )


class AlertLimits(Limits):
    """Where a queue's alerts begin; made from the configuration's limits."""

    model_config = ConfigDict(
        extra="ignore", from_attributes=True, json_schema_serialization_defaults_required=True, title="Limits"
    )


class Level(_Record):
    """A service level in one window: sums over sums, so that groups of queues can be added up."""

    met: int
    """Visits that met it; with the base they make the ratio."""
    counted: int
    """Visits in its base, by its definition."""
    ratio: Ratio | None
    """met / counted; null where nothing is counted."""
    lower: Ratio | None = None
    """The ratio if all who wait now will miss it; null where it has no meaning."""
    upper: Ratio | None = None
    """The ratio if all who wait now and are within the threshold will be met; null where it has no meaning."""


class WindowFigures(_Record):
    """One window of one channel.  What came in is booked by arrival, what was handled by the end of the talk."""

    start: AwareDatetime | None = None
    """When it began; null for a rolling window, which begins its length before `time`."""
    offered: Count
    """Visits that entered; of them answered, abandoned, diverted, evicted and waiting are the parts."""
    answered: Count
    """Of the offered, those answered."""
    abandoned: Count
    """Of the offered, those whose caller hung up while waiting."""
    short_abandoned: Count
    """Of the abandoned, those within the queue's short-abandon time."""
    diverted: Count
    """Of the offered, those who left unanswered, not by hanging up."""
    evicted: Count
    """Of the offered, those given up as ghosts."""
    waiting: Count
    """Of the offered, those who wait still."""
    answer_wait_seconds_sum: Seconds
    """What the answered had waited, summed."""
    answer_wait_mean_seconds: Seconds | None
    """The same by answered visit (ASA); null without any."""
    handled: Count
    """Answered calls that ended in the window, their length known."""
    handle_seconds_sum: Seconds
    """Talk, hold and after-call work of the handled, summed."""
    handle_time_mean_seconds: Seconds | None
    """The same by handled call (AHT); null without any."""
    abandon_ratio: Ratio | None
    """(abandoned - short) / (answered + abandoned - short); null where that is of nothing."""


class LevelHistory(_Record):
    """A service level by five minutes; one number for each point of the history."""

    met: tuple[int, ...]
    """Visits that met it."""
    counted: tuple[int, ...]
    """Visits in its base, by its definition; callers past the threshold are in it while they wait, as in windows."""


class History(_Record):
    """The last hour of one channel by five minutes: `POINTS` numbers each, the oldest first; the last five minutes are running.

    Points are aligned to five minutes of UTC, whatever the zone.  Visits are booked by arrival, levels as each says.
    """

    start: AwareDatetime
    """When the first point begins; each of the others begins `step_seconds` after the one before."""
    step_seconds: Annotated[int, Field(ge=1)] = POINT_SECONDS
    """The length of a point."""
    offered: tuple[Count, ...]
    """Visits that entered, those who still wait included."""
    answered: tuple[Count, ...]
    """Of the offered, those answered by now."""
    abandoned: tuple[Count, ...]
    """Of the offered, those whose caller hung up while waiting."""
    levels: dict[str, LevelHistory]
    """By definition."""


class ChannelFigures(_Record):
    """One channel of a queue, now and by window."""

    waiting: Count | None
    """Callers who wait now."""
    longest_wait_seconds: Seconds | None
    """How long the one who came first of them has waited at `time`; 0 when nobody waits."""
    oldest_waiting_since: AwareDatetime | None
    """When that one came; null when nobody waits. A board counts on from here."""
    longest_wait_today_seconds: Seconds | None = None
    """The longest wait until `time` of the visits that entered in the business day, those who wait now included, ghosts not;
    0 when nobody entered; null where the worker does not tell."""
    talking: Count | None
    """Answered calls that have not ended."""
    wrapping: Count | None
    """Ended calls in after-call work; null where the sources do not tell."""
    balance_residual: int
    """Must be 0: counts kept by increments against the open visits held."""
    windows: dict[Window, WindowFigures]
    """By window."""
    levels: dict[str, dict[Window, Level]]
    """By definition, then by window."""
    history: History | None = None
    """The last hour by five minutes; null where the worker does not tell."""


class Callbacks(_Record):
    """Promised calls back; they are no callers who wait."""

    waiting: Count
    """Those due and not yet made."""
    oldest_seconds: Seconds
    """How long the oldest of them has been due at `time`; 0 without any."""
    oldest_since: AwareDatetime | None
    """When that one fell due; null without any."""


class QueueSnapshot(_Record):
    """The newest state of a queue, for wallboards.  Key: the queue.  A null value: idle, and gone from the state.

    It comes when an event changed the queue, at most ten times a second; once a second while callers wait; within a second of
    a change by time alone (rolling windows and the history slide at full ten seconds); and every ten seconds.
    """

    version: Literal[1] = VERSION
    """Of this form."""
    queue: str
    """The queue's own name."""
    partition: Count
    """Of the event topic."""
    offset: Offset
    """True up to there: all events before it are in."""
    time: AwareDatetime
    """The instant, by the wall clock, of these figures."""
    log_time: AwareDatetime | None
    """How far the partition's log was read, by its own time; far behind `time` figures are old; null before a first record."""
    last_event_time: AwareDatetime | None = None
    """The newest event of this queue; null without any."""
    name: str
    """The name to show."""
    group: str = ""
    """The group it belongs to."""
    site: str = ""
    """The place that serves it."""
    time_zone: str
    """The zone of its business day."""
    open: bool | None
    """Whether it is open; null where nobody says."""
    source_up: bool | None
    """Whether its sources are looked at; null without heartbeats.  While false, what waits is what was last known."""
    limits: AlertLimits
    """Where alerts begin."""
    definitions: dict[str, DefinitionContent]
    """Its service levels by name, with everything written out; the first is the main one."""
    channels: dict[str, ChannelFigures]
    """By channel; "voice" is always there."""
    callbacks: Callbacks
    """The calls back that are due."""

    def key(self) -> bytes:
        """The Kafka key."""
        return self.queue.encode()


class PartitionNews(_Record):
    """Who serves a partition and how far; among the snapshots, so that a wallboard sees when a partition is missing.

    They come every two seconds, and at once when the partition is taken up, becomes ready, or is let go in good order; a
    worker that has lost its group says nothing.  A new owner that is not ready begins at a lower offset than was told before.
    """

    version: Literal[1] = VERSION
    """Of this form."""
    partition: Count
    """Of the event topic."""
    partitions: Annotated[int, Field(ge=1)]
    """How many the event topic has."""
    owner: str
    """The worker's name; another one for each start."""
    offset: Offset
    """Folded up to there; 0 while the records of before are being read."""
    queues: Count
    """Queues of the partition to which something happened; those of the configuration are shown before, too."""
    ready: bool
    """Whether the partition is caught up and its snapshots are true; false while it recovers or is being let go."""
    time: AwareDatetime
    """When this was so; a partition without news for long is missing."""
    log_time: AwareDatetime | None
    """How far its log was read, by its own time; null before the first record."""

    def key(self) -> bytes:
        """The Kafka key: a NUL, which no queue's name holds, and the partition."""
        return b"\0%d" % self.partition


def partition_of_key(key: bytes) -> int | None:
    """The partition whose news stands under this key of the snapshots' topic; None for the key of a queue."""
    return int(key[1:]) if key[:1] == b"\0" else None


class OutcomeCounts(_Record):
    """Visits by what became of them."""

    answered: Count
    """Visits that were answered."""
    abandoned: Count
    """Visits whose caller hung up while waiting."""
    short_abandoned: Count
    """Of the abandoned, those within the queue's short-abandon time."""
    diverted: Count
    """Visits that left unanswered, not by hanging up."""
    diverted_by: dict[DivertedReason, Count] = Field(default_factory=dict)
    """The diverted by reason; a reason without any is left out."""
    evicted: Count
    """Visits given up as ghosts."""
    answer_wait_seconds: Seconds
    """What the answered had waited, summed."""
    abandon_wait_seconds: Seconds
    """What the abandoned had waited, summed."""


class ArrivalCounts(OutcomeCounts):
    """Visits that entered in the interval, whenever their outcome came."""

    offered: Count
    """All of them; answered, abandoned, diverted, evicted and waiting are the parts."""
    waiting: Count
    """Those without an outcome."""


class HandledCounts(_Record):
    """Answered calls whose talk ended in the interval, their length known."""

    calls: Count
    """How many."""
    talk_seconds: Seconds
    """From answer to end without hold, summed."""
    hold_seconds: Seconds
    """On hold, summed."""
    wrap_up_seconds: Seconds
    """After-call work, summed."""


class IntervalLevel(Level):
    """A service level in an interval, with its definition's content: the record stands for itself."""

    definition: DefinitionContent
    """How it was counted."""


class ClosedInterval(_Record):
    """One interval of the business day of one queue and channel, for planners; empty ones too.

    It is published when the interval is over, and again when late events within their grace have changed it; then with
    `final` once their grace has ended.
    """

    version: Literal[1] = VERSION
    """Of this form."""
    queue: str
    """The queue's own name."""
    channel: str
    """The channel."""
    start: AwareDatetime
    """Its begin, which belongs to it."""
    end: AwareDatetime
    """Its end, which does not."""
    time_zone: str
    """The zone whose local time the interval is aligned to."""
    final: bool
    """Whether no event can change it any more."""
    partition: Count
    """Of the event topic."""
    offset: Offset
    """True up to there: all events before it are in."""
    as_of: AwareDatetime
    """The log time of these figures."""
    refused: Count
    """Calls that were never let in, in this interval."""
    arrivals: ArrivalCounts
    """The visits that entered in it."""
    outcomes: OutcomeCounts
    """The visits whose outcome fell in it, whenever they came."""
    handled: HandledCounts
    """The talks that ended in it."""
    levels: dict[str, IntervalLevel]
    """By the name of the definition, each booked as its definition says."""

    def key(self) -> bytes:
        """The Kafka key; the record goes to the partition of the queue's events all the same."""
        return interval_key(self.queue, self.channel, self.start)


def interval_key(queue: str, channel: str, start: datetime) -> bytes:
    """The key of an interval: a JSON array of queue, channel and start in UTC."""
    return orjson.dumps([queue, channel, start.astimezone(UTC)], option=orjson.OPT_UTC_Z)


class DeadLetter(_Record):
    """Why a record was not counted, and where it lies: the headers of a dead letter, each as text.

    Its value is the refused payload, or the first 64 KiB of it.  The same letter may come more than once: its key,
    topic/partition/offset, tells.
    """

    topic: str
    """Where it was found."""
    partition: Count
    """Where it was found."""
    offset: Offset
    """Where it was found."""
    reason: Reason
    """Why, in a word."""
    detail: str
    """Why, for people: what is wrong, and where in it."""
    size: Count | None
    """Bytes of the whole payload; null where it had none."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """Of the whole payload; null where it had none."""
    truncated: bool
    """Whether the value is only the first 64 KiB."""

    @classmethod
    def of(cls, *, topic: str, partition: int, offset: int, reason: Reason, detail: str, payload: bytes | None) -> Self:
        """The letter for a payload that was found there; its value is `letter_value(payload)`."""
        detail = detail.encode("utf-8", "replace").decode()  # a lone surrogate out of a sender's JSON is no text
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            reason=reason,
            detail=detail if len(detail) <= DETAIL_CHARACTERS else detail[: DETAIL_CHARACTERS - 3] + "...",
            size=None if payload is None else len(payload),
            sha256=None if payload is None else hashlib.sha256(payload).hexdigest(),
            truncated=payload is not None and len(payload) > LETTER_BYTES,
        )

    def key(self) -> bytes:
        """The Kafka key: the same for each copy of the letter."""
        return f"{self.topic}/{self.partition}/{self.offset}".encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers: each field as text, without those that are null; `truncated` is true or false."""
        texts = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        texts["truncated"] = "true" if self.truncated else "false"
        return [(name, str(text).encode("utf-8", "replace")) for name, text in texts.items()]

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> Self:
        """The letter in these headers; others than its own are ignored.  Raises UnreadableRecordError."""
        texts: Mapping[str, str] = {name: value.decode("utf-8", "replace") for name, value in headers}
        return cls.from_bytes(orjson.dumps({"size": None, "sha256": None, **texts}))


def letter_value(payload: bytes | None) -> bytes | None:
    """What of a refused payload goes into its dead letter."""
    return payload if payload is None or len(payload) <= LETTER_BYTES else payload[:LETTER_BYTES]


RECORDS: Final[Mapping[str, type[_Record]]] = {
    "queue-snapshot": QueueSnapshot,
    "partition-news": PartitionNews,
    "closed-interval": ClosedInterval,
    "dead-letter-headers": DeadLetter,
}
"""Every kind of record that is published, by the name of its schema."""
