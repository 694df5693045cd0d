"""What the wallboard answers over HTTP: one board, whole in every message, and a ticket to open a stream with.

What is unknown is null, never 0.  Times are UTC (RFC 3339), waits and ages are in seconds, ratios go from 0 to 1.  A row whose
source of truth is gone says so in `stale`, with since when; what it shows then is what was last known.  Names of reasons
and states are keys: whoever shows them puts them into words.  Readers ignore fields that they do not know.

`GET /api/v1/queues` answers a `Board`; the events `board` of `GET /api/v1/stream` are a `Board` each, its events `heartbeat`
a `Heartbeat`; `POST /api/v1/ticket` answers a `Ticket`; what is refused is a `Refusal`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from queuewatch_schemas.config import Window
from queuewatch_schemas.records import (
    AlertLimits,
    Callbacks,
    Count,
    DefinitionContent,
    Level,
    Seconds,
    WindowFigures,
)

FORM: Final = "1"
"""The form of these messages; it stands before the dot in `Board.version`."""
HEARTBEAT_SECONDS: Final = 5.0
"""A stream tells at least so often that it lives; a page that has missed three shows no figure as fresh."""
HISTORY_POINTS: Final = 12
"""Points of a queue's last hour, of five minutes each."""


class _Told(BaseModel):
    """Frozen; every field is always there; the text below a field is its description in the OpenAPI document."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


Silence = Literal["no_news", "recovering", "never"]
"""Why nothing certain is known of a partition: its worker has fallen silent, has taken it over and is not caught up yet, or
was never heard of."""
Staleness = Literal["no_news", "recovering", "never", "not_published", "source_down", "gone"]
"""Why figures of a queue are not to be trusted: as of its partition; or its worker lives and has not published it for long;
or its sources are not looked at; or (only of a queue that was asked for by name) it has left the state."""
State = Literal["ok", "warning", "critical", "idle", "closed", "unknown"]
"""idle: open, with nobody there and nobody having come in the window; closed: by its source or calendar, and nobody waits."""
Judged = Literal["longest_wait", "calls_waiting", "service_level", "abandon_ratio"]
"""The figures that a state follows from."""


class SilentPartition(_Told):
    """A partition of the event topic of which nothing is known that is true now."""

    partition: Count
    """Its number."""
    since: AwareDatetime | None
    """Since when, by this service's clock; null where it was never heard of."""
    why: Silence
    """Why."""


class Partitions(_Told):
    """Which part of the queues there may be news of."""

    count: Annotated[int, Field(ge=1)] | None
    """How many the event topic has; null while no worker was ever heard of."""
    without_news: tuple[SilentPartition, ...]
    """Those of which nothing certain is known: their queues are stale, and may include some that no row shows."""


class Stale(_Told):
    """Why a row is not to be trusted, and since when."""

    why: Staleness
    """Why."""
    since: AwareDatetime | None
    """Since when, by this service's clock; null where nothing was ever known."""
    what: Literal["all", "waiting"]
    """waiting: only who is there now (waiting, longest waits, talking, wrapping, callbacks, agents); all: every figure."""


class Why(_Told):
    """One figure that a state follows from."""

    figure: Judged
    """Which."""
    value: float | None
    """Its value now: seconds, callers or a ratio; null once it is no longer beyond its limit, while the state is held still."""
    limit: float
    """The queue's own limit or target, in the same unit."""
    severity: Literal["warning", "critical"]
    """warning: past the limit or below the target; critical: past twice the limit, or below three fifths of the target."""
    window: Window | None = None
    """Of a level or a ratio: the window it is judged in, the shortest from a quarter of an hour on with calls enough."""
    definition: str | None = None
    """Of a service level: the name of its definition."""


class Agents(_Told):
    """Agents who serve the queue, by what they do; those unheard of for long are in none."""

    available: Count
    """Ready for a contact."""
    busy: Count
    """Ringing, talking, on hold, in after-call work, or on a contact of another queue."""
    paused: Count
    """Logged in, not ready: at a break, a meal, training, a meeting or something else."""


class LevelRow(_Told):
    """A service level of a queue: how it is counted, and where it stands in each window."""

    name: str
    """The definition's name."""
    definition: DefinitionContent
    """How it is counted, with everything written out: target, threshold, short abandons, preset, attribution."""
    windows: dict[Window, Level]
    """By window; `ratio` is null where nothing is counted."""


class HistoryPoint(_Told):
    """Five minutes of the last hour."""

    start: AwareDatetime
    """Its begin."""
    offered: Count
    """Visits that entered in it."""
    answered: Count
    """Of them, those answered."""
    abandoned: Count
    """Of them, those abandoned."""
    met: int
    """Visits that met the main service level."""
    counted: int
    """Visits in its base; 0 leaves the ratio unknown."""


class OtherChannel(_Told):
    """Who is there now in a channel other than voice."""

    channel: str
    """Its name."""
    waiting: Count | None
    """Who waits."""
    longest_wait_seconds: Seconds | None
    """How long the first of them has waited at the board's `server_time`; 0 when nobody waits."""
    talking: Count | None
    """Contacts that were answered and have not ended."""


class QueueRow(_Told):
    """One queue; its figures are of voice calls."""

    queue: str
    """The queue's own name."""
    name: str
    """The name to show."""
    group: str
    """The group it belongs to; empty for none."""
    site: str
    """The place that serves it; empty where none is named."""
    time_zone: str | None
    """The zone of its business day; null where the queue was never heard of."""
    partition: Count | None
    """Of the event topic; null where that is not known."""
    pinned: bool
    """Whether it stands before the others."""
    stale: Stale | None
    """Why and since when its figures are not to be trusted; null when they are."""
    as_of: AwareDatetime | None
    """The worker's instant of these figures; null where the queue was never heard of."""
    data_age_seconds: Seconds | None
    """How long before the board's `server_time` they were so, by this service's own clock."""
    open: bool | None
    """Whether it is open; null where nobody says."""
    state: State
    """How it stands, with hysteresis: a change holds for a while before it is told. Decided by the service."""
    state_since: AwareDatetime | None
    """Since when it has been in this state, by this service's clock."""
    why: tuple[Why, ...]
    """What the state follows from, the worst first; empty for ok, idle, closed and unknown."""
    waiting: Count | None
    """Callers who wait."""
    longest_wait_seconds: Seconds | None
    """How long the first of them has waited at the board's `server_time`; 0 when nobody waits. While the row is not stale
    and somebody waits, count on from here by a monotonic clock."""
    oldest_waiting_since: AwareDatetime | None
    """When that one came, by the clock of the source; null when nobody waits."""
    longest_wait_today_seconds: Seconds | None
    """The longest wait of the business day so far, of those who wait now too."""
    talking: Count | None
    """Answered calls that have not ended."""
    wrapping: Count | None
    """Ended calls in after-call work; null where the sources do not tell."""
    callbacks: Callbacks | None
    """Promised calls back that are due; `oldest_seconds` at `as_of`."""
    agents: Agents | None
    """Null where nothing is known of its agents."""
    other_channels: tuple[OtherChannel, ...]
    """Channels beside voice, by name."""
    interval: WindowFigures | None
    """The interval that runs; null where it is not kept."""
    last_interval: WindowFigures | None
    """The one before; null where it is not kept."""
    today: WindowFigures | None
    """The business day so far; null where it is not kept."""
    levels: tuple[LevelRow, ...]
    """Its service levels, the main one first."""
    limits: AlertLimits | None
    """Where its alerts begin; null where the queue was never heard of."""
    history: tuple[HistoryPoint, ...]
    """The last hour by five minutes, oldest first; empty where the worker does not tell."""


class GroupSums(_Told):
    """Sums of one window over all queues of a group."""

    offered: Count
    """Visits that entered."""
    answered: Count
    """Of them, those answered."""
    abandoned: Count
    """Of them, those abandoned."""


class GroupLevel(_Told):
    """A group's service level: sums over sums, only where all its queues count by the same content."""

    definition: DefinitionContent
    """How all of them count; the names of the definitions may differ."""
    windows: dict[Window, Level]
    """By the windows that all of them tell; no bounds."""


class GroupRow(_Told):
    """All shown queues of a group.  A sum over a part is no sum: with an unknown member it is null.

    It tells nothing of agents: they serve several queues, and a sum over queues would count them twice.
    """

    group: str
    """Its name; empty for the queues of none."""
    queues: Count
    """How many queues are in it."""
    unknown: Count
    """How many of them are stale, in part or all."""
    incomplete: bool
    """Whether there may be further queues of it that were never heard of, since some partition never was."""
    waiting: Count | None
    """Callers who wait."""
    longest_wait_seconds: Seconds | None
    """The longest of the queues' longest waits, at the board's `server_time`."""
    oldest_waiting_since: AwareDatetime | None
    """When that caller came; null when nobody waits."""
    longest_wait_today_seconds: Seconds | None
    """The longest of the queues' longest waits of today."""
    talking: Count | None
    """Answered calls that have not ended."""
    interval: GroupSums | None
    """The intervals that run, where they began at the same time in all queues."""
    today: GroupSums | None
    """The business days so far, where they began at the same time in all queues."""
    level: GroupLevel | None
    """Null where definitions differ, or a member is unknown."""
    state: State
    """The worst of its queues' states; unknown where the worst cannot be known."""


class Board(_Told):
    """Everything that a screen shows, whole."""

    version: str
    """The form of this message and the page's own version, as in 1.0f3c9a; another one than the page's: load the page anew."""
    id: Count
    """Grows with each board of this process; an id below the last one is of a service that was started anew."""
    server_time: AwareDatetime
    """This service's clock at this board."""
    announcement: str | None
    """A line for everybody; null without one."""
    partitions: Partitions
    """Which part of the queues there may be news of."""
    groups: tuple[GroupRow, ...]
    """One row per group, by name; those of no group come last."""
    queues: tuple[QueueRow, ...]
    """The queues to show: pinned ones first, then in the order of the settings, then by name."""


class Heartbeat(_Told):
    """The service lives."""

    server_time: AwareDatetime
    """This service's clock."""
    version: str
    """As in `Board`."""
    id: Count | None
    """Of the newest board of this view; null while there is none yet."""


class Ticket(_Told):
    """What opens a stream, in the place of the link's token, which must not stand in an address."""

    ticket: str
    """Put it behind `?ticket=` of a stream, or send it as Bearer."""
    expires_in_seconds: Seconds
    """It opens streams for so long; a stream that is open stays so."""


class Refusal(_Told):
    """Why there is no answer; it names nothing that exists."""

    error: Literal["unauthorized", "forbidden", "too_many", "starting", "bad_request", "not_found"]
    """A key; unauthorized: no token, or none that is valid (401); forbidden: not for this token or network (403); too_many
    (429) and starting (503): try again after `Retry-After` seconds."""
