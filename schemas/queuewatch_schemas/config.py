"""What an operator may set, checked as a whole, with working defaults for everything that is left out.

All durations are in seconds.  A queue that is not named takes `[defaults]`; a queue that is named inherits from there what
its own table leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from queuewatch_schemas.settings import (
    Label,
    Name,
    NotNegative,
    Port,
    Positive,
    QueueName,
    TimeZone,
    place_of,
    token,
)
from queuewatch_schemas.settings import Settings as _Settings
from queuewatch_schemas.source_settings import Source, SourceName

HOUR: Final = 3600
DAY: Final = 86_400

# ------------------------------------------------------------------------------------------------ checked kinds of text

_RANGE = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ANCESTOR = re.compile(r"self|https?://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?")
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")


def _application_name(text: str) -> str:
    return token(text, 100, "an application's name")


def _topic_name(text: str) -> str:
    return token(text, 249, "a topic's name")


def _brokers(text: str) -> str:
    for broker in text.split(","):
        found = _BROKER.fullmatch(broker.strip())
        if found is None or not 1 <= int(found[2]) <= 65_535:
            raise ValueError(f"{broker.strip()!r} is no broker's address; write host:port, several with commas between")
    return ",".join(broker.strip() for broker in text.split(","))


@lru_cache(maxsize=4096)
def minutes_of(text: str) -> tuple[int, int]:
    """`"08:00-18:00"` as minutes of the day, (480, 1080): closed on the left, open on the right; `24:00` ends the day.

    Raises ValueError where the text is no such range; one that passes midnight is two ranges on two days.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no range of hours; write it as in '08:00-18:00', at the latest to '24:00'")
    start = int(found[1]) * 60 + int(found[2])
    end = 24 * 60 if found[3] is None else int(found[3]) * 60 + int(found[4])
    if start >= end:
        raise ValueError(
            f"{text!r} ends before it starts; over midnight write two ranges: '{text[:5]}-24:00' here"
            f" and '00:00-{text[6:]}' on the next day"
        )
    return start, end


def _ranges(texts: tuple[str, ...]) -> tuple[str, ...]:
    ordered = sorted(texts, key=minutes_of)
    for earlier, later in pairwise(ordered):
        if minutes_of(later)[0] < minutes_of(earlier)[1]:
            raise ValueError(f"{earlier!r} and {later!r} overlap")
    return tuple(ordered)


def _calendar_day(value: object) -> object:
    if isinstance(value, date):
        return value
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{value!r} is no day; write it as in '2026-12-25'")


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    for at, value in enumerate(values):
        if value in values[:at]:
            raise ValueError(f"{value!r} is named twice")
    return values


TopicName = Annotated[str, AfterValidator(_topic_name)]
Ranges = Annotated[tuple[str, ...], AfterValidator(_ranges)]
CalendarDay = Annotated[date, BeforeValidator(_calendar_day)]


def _unknown(name: str, known: Iterable[str], table: str) -> str:
    near = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"add a table [{place_of((table, name))}]"
    return f"there is no {name!r} under [{table}]; {hint}"


# ------------------------------------------------------------------------------------------------------- service level


class Preset(StrEnum):
    """The formula of a service level; T is the threshold, S the short-abandon time.

    `counted` are the visits that have had a service-level event: answered or abandoned within T, or T passing.
    """

    IGNORE = "ignore"
    """answered within T / (counted - abandoned within T)"""
    NEGATIVE = "negative"
    """answered within T / counted"""
    POSITIVE = "positive"
    """(answered + abandoned within T) / counted"""
    ANSWERED_ONLY = "answered-only"
    """answered within T / answered"""
    IGNORE_SHORT = "ignore-short"
    """answered within T / (counted - abandoned within S)"""
    ALL_OFFERED = "all-offered"
    """answered within T / (answered + abandoned + diverted)"""
    REMOVED = "removed"
    """(answered + abandoned + diverted to a callback, each within T) / queued"""
    GENESYS = "genesys"
    """answered within T / (answered + abandoned)"""
    ASTERISK_2 = "asterisk-2"
    """(answered + abandoned within T) / (answered + abandoned), where abandoned holds time-outs and key exits too"""


class Attribution(StrEnum):
    """To which interval a visit's level belongs."""

    ARRIVAL = "arrival"
    OUTCOME = "outcome"
    EVENT = "event"


class WaitClock(StrEnum):
    """From when a wait is measured: entry into this queue, or the call's first entry into any queue."""

    QUEUE = "queue"
    CALL = "call"


class Diverts(StrEnum):
    """Which diverted visits enter the level: those past the threshold, all, or none."""

    AFTER_THRESHOLD = "after-threshold"
    ALL = "all"
    NONE = "none"


class Hours(StrEnum):
    """Which visits enter the level: all, or those that arrived while the queue was open."""

    ALL = "all"
    OPEN = "open"


OWN_DIVERTS: Final[Mapping[Preset, Diverts]] = MappingProxyType(
    {
        Preset.IGNORE: Diverts.AFTER_THRESHOLD,
        Preset.NEGATIVE: Diverts.AFTER_THRESHOLD,
        Preset.POSITIVE: Diverts.AFTER_THRESHOLD,
        Preset.ANSWERED_ONLY: Diverts.NONE,
        Preset.IGNORE_SHORT: Diverts.AFTER_THRESHOLD,
        Preset.ALL_OFFERED: Diverts.ALL,
        Preset.REMOVED: Diverts.ALL,
        Preset.GENESYS: Diverts.NONE,
        Preset.ASTERISK_2: Diverts.NONE,
    }
)
"""What `diverts` means where a definition leaves it out.

The diversions that a preset's formula itself names (to a callback; what Asterisk takes for abandons) count anyway.
"""
OWN_SHORT_SECONDS: Final[Mapping[Preset, float]] = MappingProxyType({Preset.IGNORE_SHORT: 5.0})
"""What `short_seconds` means where a definition leaves it out; a preset that is not here drops no short abandons."""


class Definition(_Settings):
    """One service level: how its visits are counted.  Immutable under its name."""

    preset: Preset = Preset.NEGATIVE
    """The formula."""
    threshold_seconds: Annotated[float, Field(ge=0, le=DAY)] = 20
    """A caller answered after exactly so many seconds is still in time."""
    target: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The share to reach: 0.8 with a threshold of 20 is "80/20"."""
    short_seconds: Annotated[float, Field(ge=0, le=DAY)] | None = None
    """Abandons after at most so many seconds are dropped; left out: 5 for ignore-short, else none are."""
    attribution: Attribution = Attribution.ARRIVAL
    """The interval that a visit belongs to: that of its arrival, its outcome, or its service-level event."""
    clock: WaitClock = WaitClock.QUEUE
    """Waits run from the entry into this queue, or from the call's first entry into any queue."""
    diverts: Diverts | None = None
    """Which diverted visits are counted; left out: as the preset has it."""
    hours: Hours = Hours.ALL
    """Count all visits, or only those that arrived while the queue was open."""

    def resolved(self) -> Definition:
        """The same definition with the preset's own `short_seconds` and `diverts` written out.

        `short_seconds` stays None where no short abandons are dropped.
        """
        short = OWN_SHORT_SECONDS.get(self.preset) if self.short_seconds is None else self.short_seconds
        diverts = OWN_DIVERTS[self.preset] if self.diverts is None else self.diverts
        return self.model_copy(update={"short_seconds": short, "diverts": diverts})


# -------------------------------------------------------------------------------------------------------------- queues

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)
ALL_DAY: Final = ((0, 24 * 60),)


class Calendar(_Settings):
    """When a queue is open."""

    weekly: Mapping[Weekday, Ranges] | None = None
    """Hours by weekday, as in mon = ["08:00-12:00", "13:00-18:00"]; a day left out is closed; no table: always open."""
    exceptions: Mapping[CalendarDay, Ranges] = Field(default_factory=dict)
    """Days that differ, as in "2026-12-25" = [] (closed) or ["09:00-12:00"]."""
    time_zone: TimeZone | None = None
    """The zone of these hours; left out: the queue's own."""

    def hours_on(self, day: date) -> tuple[tuple[int, int], ...]:
        """The open ranges of a local day, in minutes from its midnight by the wall: sorted, apart, half-open."""
        if day in self.exceptions:
            return tuple(minutes_of(text) for text in self.exceptions[day])
        if self.weekly is None:
            return ALL_DAY
        return tuple(minutes_of(text) for text in self.weekly.get(WEEKDAYS[day.weekday()], ()))


class Limits(_Settings):
    """Where alerts begin.  The defaults suit a queue with a goal of 80/20; they warn, and change no figure."""

    longest_wait_seconds: Positive = 120
    """A caller who waits longer raises an alert: two minutes, about where callers begin to hang up."""
    calls_waiting: Annotated[int, Field(ge=1)] = 20
    """More callers than that raise an alert: a full floor's worth in a middling queue."""
    abandon_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """A larger share of abandons raises an alert: 0.05 is what most aim for, twice that is trouble."""
    window_minimum_calls: Annotated[int, Field(ge=0)] = 20
    """With fewer calls in the window ratios raise no alert: below 20 one caller moves them by more than 5 points."""


class QueueSettings(_Settings):
    """One queue, or the `[defaults]` of all: what a queue's table leaves out is inherited from there."""

    name: Label = ""
    """The name on boards; left out: the queue's own."""
    definitions: Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_unique)] = ("default",)
    """The service levels of this queue, by the names under [definitions]; the first is the main one."""
    group: Label = ""
    """A group of queues whose sums are shown together."""
    site: Label = ""
    """The place that serves the queue; alerts are grouped by it."""
    time_zone: TimeZone | None = None
    """The zone of the queue's business day; left out: that of [business]."""
    calendar: Name | None = None
    """The opening hours, by a name under [calendars]; left out: as the source says, or always open."""
    limits: Limits = Limits()
    """Where alerts begin; each limit is inherited on its own."""
    short_abandon_seconds: NotNegative = 5
    """Callers who hang up within so many seconds are counted apart, as short abandons."""
    maximum_wait_seconds: Positive = 4 * HOUR
    """A caller who seems to wait longer is given up as a ghost.

    Four hours: real callers do wait for two hours in public services, ghosts wait for ever.
    """
    overtaken_by: Annotated[int, Field(ge=0)] = 0
    """A caller is given up as a ghost once so many who came later were answered first; 0: never.

    Only later visits of the same channel and skills and no higher priority count.  Off, since not every queue is first
    come, first served.
    """
    maximum_talk_seconds: Positive = 4 * HOUR
    """A talk whose end was not heard of is closed after so long, its length unknown."""
    maximum_wrap_seconds: Positive = 1 * HOUR
    """After-call work whose end was not heard of is no longer shown after so long."""


@dataclass(frozen=True, slots=True)
class ResolvedQueue:
    """A queue's settings with everything inherited filled in; compares by content."""

    queue: str
    """The queue's own name, the key of its events."""
    name: str
    """The name to show."""
    definitions: tuple[tuple[str, Definition], ...]
    """(name, definition), each `resolved()`, in the order of the settings."""
    group: str
    site: str
    time_zone: str
    calendar: Calendar | None
    """With its `time_zone` filled in; None: open unless the source says otherwise."""
    limits: Limits
    short_abandon_seconds: float
    maximum_wait_seconds: float
    overtaken_by: int
    maximum_talk_seconds: float
    maximum_wrap_seconds: float


# --------------------------------------------------------------------------------------------------- the whole system

Window = Literal["5m", "15m", "30m", "1h", "interval", "last_interval", "day"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
ROLLING_SECONDS: Final[Mapping[str, int]] = MappingProxyType({"5m": 300, "15m": 900, "30m": 1800, "1h": 3600})
"""The length of each rolling window; the other windows follow the business day."""


class Business(_Settings):
    """The business day and what is counted in it."""

    time_zone: TimeZone = "UTC"
    """The zone of every queue that names none."""
    day_starts_at_hour: Annotated[int, Field(ge=0, le=23)] = 0
    """The local hour at which the business day begins."""
    interval_minutes: Literal[15, 30] = 30
    """The length of an interval; intervals are aligned to local time."""
    windows: Annotated[tuple[Window, ...], Field(min_length=1), AfterValidator(_unique)] = (
        "15m",
        "interval",
        "last_interval",
        "day",
    )
    """The windows that are kept and shown; each costs series."""


class Timing(_Settings):
    """How long things are waited for, and what is kept.  All of it runs on the log's own time."""

    grace_seconds: Positive = 900
    """So long after an event's time it may still come and is counted; later it is late."""
    evicted_grace_seconds: Positive = DAY
    """So long a visit that was given up as a ghost may still be revised by its true outcome."""
    ahead_tolerance_seconds: NotNegative = 60
    """An event whose time is further ahead of its record's own timestamp is refused."""
    idle_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """A queue without events leaves the state after so many days; its counters start again."""
    maximum_queues_per_partition: Annotated[int, Field(ge=1)] = 10_000
    """Events of further queues are refused: a bound on memory against made-up names."""
    checkpoint_seconds: Annotated[float, Field(gt=0, le=HOUR)] = 60
    """A changed queue is written at least so often."""
    replay_events: Annotated[int, Field(ge=1)] = 1_000_000
    """A checkpoint comes sooner when more events than that would have to be replayed after a crash."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.evicted_grace_seconds < self.grace_seconds:
            raise ValueError("evicted_grace_seconds must not be shorter than grace_seconds")
        return self


class KafkaSettings(_Settings):
    """How Kafka is reached.  Security is set here only, never by flags or the environment."""

    brokers: Annotated[str, AfterValidator(_brokers)] = "127.0.0.1:9092"
    """host:port, several with commas between."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """SSL: encrypted; SASL: with a user and password."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How the password is proven; needed with SASL."""
    sasl_username: Annotated[str, Field(min_length=1)] | None = None
    """The user; needed with SASL."""
    sasl_password_file: Path | None = None
    """A file that holds the password and nothing else; needed with SASL."""
    tls_ca_file: Path | None = None
    """The authorities to trust, PEM; left out: the system's."""
    tls_certificate_file: Path | None = None
    """This client's own certificate, PEM; together with its key."""
    tls_key_file: Path | None = None
    """The key of that certificate, PEM."""
    session_timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """After so long without a heartbeat a worker's queues go to another; it shows and writes nothing from then on."""
    heartbeat_seconds: Positive = 3
    """How often a worker tells its group that it lives; at most a third of the session timeout."""
    request_timeout_seconds: Positive | None = None
    """How long the producer waits for an answer; at most the session timeout, which it is when left out."""
    group_instance_id: Annotated[str, AfterValidator(_topic_name)] | None = None
    """A name that is this worker's alone: with it a quick restart moves no queues."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How our own producers compress."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Partitions of the topics that `topics create` makes; at most so many workers share the work.

    It cannot be changed while the topic holds data: keys would mean other partitions.
    """
    replication: Annotated[int, Field(ge=1)] | None = None
    """Copies of each partition; left out: the broker's default."""
    retention_days: Annotated[float, Field(gt=0)] = 7
    """How long `topics create` has events kept; the audit can go back so far."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        protocol = self.security_protocol
        sasl = protocol.startswith("SASL")
        for field in ("sasl_mechanism", "sasl_username", "sasl_password_file"):
            if sasl and getattr(self, field) is None:
                raise ValueError(f"{field} is missing; {protocol} needs it")
            if not sasl and getattr(self, field) is not None:
                raise ValueError(f"{field} is set, but security_protocol is {protocol}, which has no user")
        for field in ("tls_ca_file", "tls_certificate_file", "tls_key_file"):
            if not protocol.endswith("SSL") and getattr(self, field) is not None:
                raise ValueError(f"{field} is set, but security_protocol is {protocol}, which is not encrypted")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file belong together; one of them is missing")
        if self.heartbeat_seconds * 3 > self.session_timeout_seconds:
            raise ValueError(
                f"heartbeat_seconds ({self.heartbeat_seconds:g}) is more than a third of"
                f" session_timeout_seconds ({self.session_timeout_seconds:g}): one lost heartbeat would end the session"
            )
        if self.request_timeout_seconds is not None and self.request_timeout_seconds > self.session_timeout_seconds:
            raise ValueError(
                f"request_timeout_seconds ({self.request_timeout_seconds:g}) is longer than"
                f" session_timeout_seconds ({self.session_timeout_seconds:g}): it could write after losing its queues"
            )
        return self


class TopicNames(_Settings):
    """The topics by their roles."""

    events: TopicName = "queuewatch.events"
    """Call events, keyed by the queue."""
    agents: TopicName = "queuewatch.agents"
    """Agent states, keyed by the agent."""
    dead_letter: TopicName = "queuewatch.dead-letter"
    """What could not be counted, with the reason."""
    queues: TopicName = "queuewatch.queues"
    """The newest snapshot of each queue, for wallboards."""
    intervals: TopicName = "queuewatch.intervals"
    """One record per queue, channel and closed interval, for planners."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        seen: dict[str, str] = {}
        for role in TopicNames.model_fields:
            name = getattr(self, role)
            if name in seen:
                raise ValueError(f"{seen[name]} and {role} are both {name!r}; each topic needs a name of its own")
            seen[name] = role
        return self


class Serve(_Settings):
    """Where figures are served.  Only this machine sees them unless `host` says otherwise."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address to listen on; "0.0.0.0" is every one, without a password."""
    metrics_port: Port = 9464
    """The port of /metrics, /healthz and /readyz; 0: any that is free."""
    wallboard_port: Port = 9465
    """The port of the wallboard; 0: any that is free."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.metrics_port == self.wallboard_port != 0:
            raise ValueError(f"metrics_port and wallboard_port are both {self.metrics_port}")
        return self


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no network: {error}; write it as in '192.168.7.0/24'") from None
    return _unique(texts)


def _ancestors(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        if not _ANCESTOR.fullmatch(text):
            raise ValueError(
                f"{text!r} cannot frame a page; write 'self' or an origin as in 'https://intranet.example'"
            )
    return _unique(texts)


Networks = Annotated[tuple[str, ...], AfterValidator(_networks)]
QueueNames = Annotated[tuple[QueueName, ...], AfterValidator(_unique)]


class Wallboard(_Settings):
    """Who may see the wallboard, and how it looks.  Without keys and networks it is for this machine alone."""

    keys_file: Path | None = None
    """The keys that links are signed with; `queuewatch wallboard link` makes it.  Left out: no links."""
    networks: Networks = ()
    """Who is let in without a link, as in ["192.168.7.0/24"]; with neither this nor keys: this machine."""
    trusted_proxies: Networks = ()
    """Proxies whose X-Forwarded-For is believed."""
    host_names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], AfterValidator(_unique)] = ()
    """Names by which browsers of those networks call this service; localhost and addresses always do."""
    base_url: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$")] | None = None
    """Where browsers find it, for links; left out: http, the host and the port of [serve]."""
    announcement: Annotated[str, Field(max_length=300)] = ""
    """A line for everybody."""
    announcement_file: Path | None = None
    """A text file whose first line is shown in its place, read again when it changes; an empty one shows none."""
    pinned: QueueNames = ()
    """Queues that stand first, in this order."""
    order: QueueNames = ()
    """Queues that come next, in this order; all others follow by name."""
    worse_after_seconds: NotNegative = 2
    """A state is told to be worse once it has been so for so long."""
    better_after_seconds: NotNegative = 10
    """A state is told to be better once it has been so for so long."""
    agents_unknown_after_seconds: Positive = 4 * HOUR
    """An agent unheard of for longer is neither there nor away, but unknown."""
    streams_per_address: Annotated[int, Field(ge=1)] = 100
    """Screens of one address, such as of a floor behind one router."""
    streams: Annotated[int, Field(ge=1)] = 1000
    """Screens altogether."""
    frame_ancestors: Annotated[tuple[str, ...], AfterValidator(_ancestors)] = ()
    """Sites that may show the wallboard in a frame, as in ["https://intranet.example"] or ["self"]; none by default."""


class Configuration(_Settings):
    """The whole configuration."""

    application: Annotated[str, AfterValidator(_application_name)] = "queuewatch"
    """The consumer group, the prefix of the changelog, and the end of `own_source`."""
    business: Business = Business()
    """The business day and its windows."""
    timing: Timing = Timing()
    """Grace, ghosts, checkpoints."""
    kafka: KafkaSettings = KafkaSettings()
    """How Kafka is reached."""
    topics: TopicNames = TopicNames()
    """The topics by their roles."""
    serve: Serve = Serve()
    """Where figures are served."""
    wallboard: Wallboard = Wallboard()
    """Who may see the wallboard, and how it looks."""
    definitions: Mapping[Name, Definition] = Field(default_factory=dict)
    """Service levels by name.  "default" is always there: negative, 20 seconds, 80 % unless written otherwise."""
    calendars: Mapping[Name, Calendar] = Field(default_factory=dict)
    """Opening hours by name."""
    defaults: QueueSettings = QueueSettings()
    """What a queue has where its own table is silent, or is missing."""
    queues: Mapping[QueueName, QueueSettings] = Field(default_factory=dict)
    """Queues by name.  They are shown from the start, at 0 while nothing happens."""
    sources: Mapping[SourceName, Source] = Field(default_factory=dict)
    """The telephony systems to listen to, by name; `queuewatch source NAME` runs one."""

    @field_validator("definitions", mode="after")
    @classmethod
    def _with_default(cls, given: Mapping[str, Definition]) -> Mapping[str, Definition]:
        return {**({} if "default" in given else {"default": Definition()}), **given}

    @model_validator(mode="after")
    def _references(self) -> Self:
        problems: list[str] = []
        if self.defaults.name:
            problems.append("defaults.name: a display name belongs to one queue; write it in that queue's table")
        tables: list[tuple[tuple[str, ...], QueueSettings]] = [(("defaults",), self.defaults)]
        tables += [(("queues", queue), settings) for queue, settings in self.queues.items()]
        for place, settings in tables:
            named = {
                "definitions": settings.definitions,
                "calendars": (settings.calendar,) if settings.calendar else (),
            }
            for table, names in named.items():
                field = place_of((*place, "calendar" if table == "calendars" else table))
                known: Mapping[str, Any] = getattr(self, table)
                problems += [f"{field}: {_unknown(name, known, table)}" for name in names if name not in known]
        if problems:
            raise PydanticCustomError("references", "{text}", {"text": "; ".join(problems), "problems": problems})
        return self

    @property
    def own_source(self) -> str:
        """The CloudEvents source of the events that this application itself publishes."""
        return f"urn:queuewatch:{self.application}"

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Every threshold in use, in seconds, ascending: the histograms have a bucket for each."""
        used = {name for settings in (self.defaults, *self.queues.values()) for name in settings.definitions}
        return tuple(sorted({self.definitions[name].threshold_seconds for name in used}))

    def queue(self, name: str) -> ResolvedQueue:
        """The settings of a queue, named in the file or not, with everything inherited filled in."""
        own = self.queues.get(name, _NOTHING_SET)
        own_limits = {field: getattr(own.limits, field) for field in own.limits.model_fields_set}

        def setting(field: str) -> Any:
            return getattr(own if field in own.model_fields_set else self.defaults, field)

        zone = setting("time_zone") or self.business.time_zone
        calendar = self.calendars[setting("calendar")] if setting("calendar") is not None else None
        if calendar is not None and calendar.time_zone is None:
            calendar = calendar.model_copy(update={"time_zone": zone})
        return ResolvedQueue(
            queue=name,
            name=own.name or name,
            definitions=tuple((each, self.definitions[each].resolved()) for each in setting("definitions")),
            group=setting("group"),
            site=setting("site"),
            time_zone=zone,
            calendar=calendar,
            limits=self.defaults.limits.model_copy(update=own_limits),
            short_abandon_seconds=setting("short_abandon_seconds"),
            maximum_wait_seconds=setting("maximum_wait_seconds"),
            overtaken_by=setting("overtaken_by"),
            maximum_talk_seconds=setting("maximum_talk_seconds"),
            maximum_wrap_seconds=setting("maximum_wrap_seconds"),
        )


_NOTHING_SET: Final = QueueSettings()
