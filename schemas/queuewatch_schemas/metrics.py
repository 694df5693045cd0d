"""Every figure that is exposed to Prometheus: its name, kind, labels and meaning.

This is the single home of metric names: exporter, boards, rules and documents import them from here.  A label whose
values are known beforehand lists them in `values`; such counters exist from the start, at 0.  (Of `window`, only those
that are configured are shown.)  No label ever holds a call or a customer.  Where a metric has `queue` and `channel`, a
visit of which no `queued` ever came is booked to voice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, get_args

from queuewatch_schemas.config import WINDOWS, Definition
from queuewatch_schemas.events import (
    EVENT_TYPES,
    DeclinedReason,
    DivertedReason,
    EvictedReason,
    Reason,
    RefusedReason,
    Via,
)

PREFIX: Final = "queuewatch_"
"""Stands before every name on /metrics."""


class Kind(StrEnum):
    """Prometheus' metric types; a summary here is a sum and a count, without quantiles."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


class Family(StrEnum):
    """What a metric tells of, and so where it is shown."""

    NOW = "now"
    """The queue at this moment, computed at scrape time."""
    WINDOW = "window"
    """A window's exact figures; they may be corrected, backwards too."""
    LEVEL = "level"
    """Service levels, each by its definition."""
    TOTAL = "total"
    """Counters: each visit once, when its outcome first becomes known; they never go down."""
    DISTRIBUTION = "distribution"
    """Each visit once, when first known."""
    LIMIT = "limit"
    """Settings as series, so that alert rules are the same for all queues."""
    HEALTH = "health"
    """Whether the figures can be believed."""
    WALLBOARD = "wallboard"
    """What the wallboard reads and sends; exposed by `queuewatch wallboard`, not by workers."""
    SOURCE = "source"
    """What a source has read and sent; exposed by `queuewatch source`, not by workers."""


class Unit(StrEnum):
    """What a value counts."""

    CALLS = "calls"
    SECONDS = "seconds"
    TIMESTAMP = "seconds since 1970"
    RATIO = "ratio"
    EVENTS = "events"
    RECORDS = "records"
    PARTITIONS = "partitions"
    YES_NO = "1 or 0"
    STREAMS = "streams"
    QUEUES = "queues"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.  `name` is without the prefix, `full` with it."""

    name: str
    kind: Kind
    family: Family
    unit: Unit
    labels: tuple[str, ...]
    help: str
    """What it means, with its unit and definition; one line."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values of those labels that are known beforehand."""

    @property
    def full(self) -> str:
        """The name on /metrics."""
        return PREFIX + self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The full names of its samples."""
        parts = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("_sum", "_count")}.get(self.kind, ("",))
        return tuple(self.full + part for part in parts)


OUTCOMES: Final = ("answered", "abandoned", "diverted", "evicted", "waiting")
"""The values of `outcome`; they sum to what was offered."""
REVISED_FROM: Final = ("waiting", "answered", "abandoned", "diverted", "evicted", "refused")
REVISED_TO: Final = ("answered", "abandoned", "diverted", "none")
"""`none`: no longer counted here, since the visit is of another channel, or a refused call was queued after all."""
REVISIONS: Final = tuple(
    (before, after)
    for before, afters in {
        "waiting": ("none",),
        "answered": ("none",),
        "abandoned": ("answered", "none"),
        "diverted": ("answered", "abandoned", "none"),
        "evicted": ("answered", "abandoned", "diverted", "none"),
        "refused": ("none",),
    }.items()
    for after in afters
)
"""The pairs (from, to) of `revisions_total` that can occur, and so exist from the start."""
REVISED_FACTS: Final = ("queued", "refused", "answered", "abandoned", "diverted", "evicted", "ended", "wrapped")
"""The values of `fact`."""
BOUNDED_WINDOWS: Final = ("interval", "day")
"""The windows whose level has bounds."""
DAY_WINDOWS: Final = ("interval", "last_interval", "day")
"""The windows that follow the business day and so have a start."""

SOURCE_REFUSALS: Final = (
    "unreadable",  # no record of this vendor, or one that is cut off
    "bad_time",
    "bad_queue_name",
    "too_long",  # a name or an id beyond what an event may hold
    "unknown_event",
    "missing_field",
    "wrong_field",
    "lost",  # records are gone before they could be read
)
"""Why a source cannot translate a record."""
SOURCE_IGNORED: Final = ("queue", "agent", "caller", "no_meaning", "repeated", "unnamed_member", "before_start")
"""Why a source leaves a record out on purpose."""

_QUEUE = ("queue",)
_FIGURE = ("queue", "channel")
_WINDOW = ("queue", "channel", "window")
_LEVEL = ("queue", "channel", "definition", "window")
_PARTITION = ("partition",)
_NONE: tuple[str, ...] = ()

_ALL_WINDOWS = {"window": WINDOWS}
_NO_VALUES: Mapping[str, tuple[str, ...]] = {}


def _family(
    family: Family, kind: Kind, *rows: tuple[str, Unit, tuple[str, ...], Mapping[str, tuple[str, ...]], str]
) -> tuple[Metric, ...]:
    """Metrics of one family and kind from (name, unit, labels, known values, help)."""
    return tuple(
        Metric(name, kind, family, unit, labels, help_, MappingProxyType(dict(values)))
        for name, unit, labels, values, help_ in rows
    )


METRICS: Final[tuple[Metric, ...]] = (
    *_family(
        Family.NOW,
        Kind.GAUGE,
        (
            "calls_waiting",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Callers who wait in the queue now; callbacks are not among them.",
        ),
        (
            "longest_wait_seconds",
            Unit.SECONDS,
            _FIGURE,
            _NO_VALUES,
            "Seconds of the longest wait of those waiting now; 0 when nobody waits.",
        ),
        (
            "calls_talking",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Answered calls not ended, those on hold too.",
        ),
        ("calls_wrapping", Unit.CALLS, _FIGURE, _NO_VALUES, "Ended calls of the queue that are in after-call work."),
        ("callbacks_waiting", Unit.CALLS, _QUEUE, _NO_VALUES, "Callbacks of the queue that are due and not yet made."),
        (
            "oldest_callback_seconds",
            Unit.SECONDS,
            _QUEUE,
            _NO_VALUES,
            "Seconds since the oldest of the callbacks waiting was due; 0 when none waits.",
        ),
        (
            "queue_open",
            Unit.YES_NO,
            _QUEUE,
            _NO_VALUES,
            "1 while the queue is open, 0 while it is closed: as its source says, else as its calendar says.",
        ),
    ),
    *_family(
        Family.WINDOW,
        Kind.GAUGE,
        ("window_offered_calls", Unit.CALLS, _WINDOW, _ALL_WINDOWS, "Visits that entered the queue in the window."),
        (
            "window_calls",
            Unit.CALLS,
            (*_WINDOW, "outcome"),
            {**_ALL_WINDOWS, "outcome": OUTCOMES},
            "Visits that entered the queue in the window, by what became of them; they sum to window_offered_calls.",
        ),
        (
            "window_handled_calls",
            Unit.CALLS,
            _WINDOW,
            _ALL_WINDOWS,
            "Answered calls whose talk ended in the window, with a known length.",
        ),
        (
            "window_answer_wait_seconds_sum",
            Unit.SECONDS,
            _WINDOW,
            _ALL_WINDOWS,
            "Seconds that the answered visits which entered in the window had waited, summed.",
        ),
        (
            "window_handle_seconds_sum",
            Unit.SECONDS,
            _WINDOW,
            _ALL_WINDOWS,
            "Seconds of talk, hold and after-call work of the calls in window_handled_calls, summed.",
        ),
        (
            "answer_wait_mean_seconds",
            Unit.SECONDS,
            _WINDOW,
            _ALL_WINDOWS,
            "Average speed of answer (ASA): mean wait in seconds of the answered visits that entered in the window;"
            " absent where none was answered. Abandoned calls never enter it.",
        ),
        (
            "handle_time_mean_seconds",
            Unit.SECONDS,
            _WINDOW,
            _ALL_WINDOWS,
            "Average handle time (AHT): (talk + hold + after-call work) / handled, in seconds;"
            " absent where none was handled.",
        ),
        (
            "abandon_ratio",
            Unit.RATIO,
            _WINDOW,
            _ALL_WINDOWS,
            "(abandoned - short) / (answered + abandoned - short) of the visits that entered in the window, 0 to 1;"
            " absent where there are none.",
        ),
        (
            "interval_start_timestamp_seconds",
            Unit.TIMESTAMP,
            ("queue", "window"),
            {"window": DAY_WINDOWS},
            "When the window began by the queue's business day, in seconds since 1970.",
        ),
    ),
    *_family(
        Family.LEVEL,
        Kind.GAUGE,
        (
            "service_level_ratio",
            Unit.RATIO,
            _LEVEL,
            _ALL_WINDOWS,
            "Service level by its definition, 0 to 1: service_level_met_calls / service_level_counted_calls;"
            " absent where nothing is counted.",
        ),
        (
            "service_level_met_calls",
            Unit.CALLS,
            _LEVEL,
            _ALL_WINDOWS,
            "Visits that met the service level by its definition.",
        ),
        (
            "service_level_counted_calls",
            Unit.CALLS,
            _LEVEL,
            _ALL_WINDOWS,
            "Visits in the base of the service level by its definition; callers past the threshold are in it at once"
            " where the definition counts them so.",
        ),
        (
            "service_level_lower_bound_ratio",
            Unit.RATIO,
            _LEVEL,
            {"window": BOUNDED_WINDOWS},
            "The service level if all who wait now will miss it; only of definitions attributed by arrival.",
        ),
        (
            "service_level_upper_bound_ratio",
            Unit.RATIO,
            _LEVEL,
            {"window": BOUNDED_WINDOWS},
            "The service level if all who wait now and have not passed the threshold will be met;"
            " only of definitions attributed by arrival.",
        ),
        (
            "service_level_target_ratio",
            Unit.RATIO,
            (*_FIGURE, "definition"),
            _NO_VALUES,
            "The share that the definition aims for, 0 to 1.",
        ),
        (
            "service_level_definition_info",
            Unit.YES_NO,
            ("definition", "preset", "threshold", "short", "attribution", "clock", "diverts"),
            _NO_VALUES,
            "1; the labels say how the definition counts: threshold and short in seconds, short empty where none"
            " are dropped.",
        ),
    ),
    *_family(
        Family.TOTAL,
        Kind.COUNTER,
        ("calls_offered_total", Unit.CALLS, _FIGURE, _NO_VALUES, "Visits that entered the queue."),
        ("calls_answered_total", Unit.CALLS, _FIGURE, _NO_VALUES, "Visits first known as answered."),
        (
            "calls_abandoned_total",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Visits first known as abandoned: the caller hung up while waiting. Time-outs and keys are diversions.",
        ),
        (
            "calls_short_abandoned_total",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Those of calls_abandoned_total who hung up within the queue's short_abandon_seconds.",
        ),
        (
            "calls_diverted_total",
            Unit.CALLS,
            (*_FIGURE, "reason"),
            {"reason": get_args(DivertedReason)},
            "Visits first known as diverted, by reason: left unanswered, not by hanging up.",
        ),
        (
            "calls_refused_total",
            Unit.CALLS,
            (*_FIGURE, "reason"),
            {"reason": get_args(RefusedReason)},
            "Calls that were never let into the queue, by reason; they are not among the offered.",
        ),
        (
            "calls_evicted_total",
            Unit.CALLS,
            (*_FIGURE, "reason"),
            {"reason": get_args(EvictedReason)},
            "Visits that the monitor gave up as ghosts, by reason.",
        ),
        (
            "calls_declined_total",
            Unit.CALLS,
            (*_FIGURE, "reason"),
            {"reason": get_args(DeclinedReason)},
            "Times that an agent did not take a ringing call, by reason; the visit went on.",
        ),
        (
            "calls_transferred_in_total",
            Unit.CALLS,
            (*_FIGURE, "via"),
            {"via": tuple(via for via in get_args(Via) if via != "direct")},
            "Those of calls_offered_total that did not come directly, by the way they came.",
        ),
        (
            "orphaned_visits_total",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Visits of which events came but never a queued one until their grace ended; they count nowhere else.",
        ),
        (
            "negative_waits_total",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Visits whose outcome lies before their entry by their own times; their wait counts as 0.",
        ),
        (
            "lost_ends_total",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Answered visits closed at the maximum talk time since their end never came; they are left out of AHT.",
        ),
        (
            "revisions_total",
            Unit.CALLS,
            (*_FIGURE, "from", "to"),
            {"from": REVISED_FROM, "to": REVISED_TO},
            "Visits whose counted outcome was corrected later: an outcome's total - revisions from + revisions to is"
            " the exact figure. To none: no longer counted here.",
        ),
        (
            "time_revisions_total",
            Unit.EVENTS,
            (*_FIGURE, "fact"),
            {"fact": REVISED_FACTS},
            "Times that a fact which was already counted was corrected to another time.",
        ),
    ),
    *_family(
        Family.DISTRIBUTION,
        Kind.HISTOGRAM,
        ("answer_wait_seconds", Unit.SECONDS, _FIGURE, _NO_VALUES, "Seconds that answered visits had waited."),
        ("abandon_wait_seconds", Unit.SECONDS, _FIGURE, _NO_VALUES, "Seconds that abandoned visits had waited."),
    ),
    *_family(
        Family.DISTRIBUTION,
        Kind.SUMMARY,
        (
            "talk_seconds",
            Unit.SECONDS,
            _FIGURE,
            _NO_VALUES,
            "Seconds of talk of ended calls: from answer to end, without hold; sum and count.",
        ),
        ("hold_seconds", Unit.SECONDS, _FIGURE, _NO_VALUES, "Seconds on hold of ended calls; sum and count."),
        ("wrap_up_seconds", Unit.SECONDS, _FIGURE, _NO_VALUES, "Seconds of after-call work; sum and count."),
    ),
    *_family(
        Family.LIMIT,
        Kind.GAUGE,
        (
            "longest_wait_limit_seconds",
            Unit.SECONDS,
            _QUEUE,
            _NO_VALUES,
            "Setting: a caller who waits longer, in seconds, raises an alert.",
        ),
        (
            "calls_waiting_limit",
            Unit.CALLS,
            _QUEUE,
            _NO_VALUES,
            "Setting: more callers waiting than that raise an alert.",
        ),
        (
            "abandon_limit_ratio",
            Unit.RATIO,
            _QUEUE,
            _NO_VALUES,
            "Setting: a larger abandon_ratio raises an alert.",
        ),
        (
            "window_minimum_calls",
            Unit.CALLS,
            _QUEUE,
            _NO_VALUES,
            "Setting: with fewer calls in the window its ratios raise no alert.",
        ),
        (
            "queue_info",
            Unit.YES_NO,
            ("queue", "name", "group", "site", "timezone"),
            _NO_VALUES,
            "1; the labels say the queue's display name, group, site and time zone.",
        ),
        (
            "queue_utc_offset_seconds",
            Unit.SECONDS,
            _QUEUE,
            _NO_VALUES,
            "Seconds by which the queue's local time is ahead of UTC now; it changes with the clocks.",
        ),
    ),
    *_family(
        Family.HEALTH,
        Kind.GAUGE,
        (
            "balance_residual",
            Unit.CALLS,
            _FIGURE,
            _NO_VALUES,
            "Offered - answered - abandoned - diverted - evicted as counted by increments and revisions, less the open"
            " visits held; anything but 0 is a fault of the monitor.",
        ),
        (
            "last_event_timestamp_seconds",
            Unit.TIMESTAMP,
            _PARTITION,
            _NO_VALUES,
            "The newest event's own time in the partition, in seconds since 1970.",
        ),
        (
            "source_heartbeat_timestamp_seconds",
            Unit.TIMESTAMP,
            ("source",),
            _NO_VALUES,
            "When the source's connector last sent a heartbeat, in seconds since 1970.",
        ),
        (
            "queue_source_up",
            Unit.YES_NO,
            ("queue", "source"),
            _NO_VALUES,
            "1 while heartbeats say that the source of the queue is looked at, 0 when it is down or they stay away; absent"
            " while they say that nobody knows, as of a log that is quiet.",
        ),
        (
            "ready",
            Unit.YES_NO,
            _NONE,
            _NO_VALUES,
            "1 once all its partitions are caught up, else 0.",
        ),
        (
            "partition_ready",
            Unit.YES_NO,
            _PARTITION,
            _NO_VALUES,
            "1 once the partition is caught up and its queues are shown.",
        ),
        ("partitions", Unit.PARTITIONS, _NONE, _NO_VALUES, "Partitions of the event topic that this worker owns."),
        (
            "consumer_lag_records",
            Unit.RECORDS,
            _PARTITION,
            _NO_VALUES,
            "Records of the partition that are not folded into the figures yet.",
        ),
        (
            "checkpoint_age_seconds",
            Unit.SECONDS,
            _NONE,
            _NO_VALUES,
            "Seconds since the oldest change that no written record holds yet; 0 when all are written.",
        ),
        (
            "config_last_reload_success_timestamp_seconds",
            Unit.TIMESTAMP,
            _NONE,
            _NO_VALUES,
            "When the configuration in force was read, in seconds since 1970.",
        ),
        ("build_info", Unit.YES_NO, ("version",), _NO_VALUES, "1; the label says which version of queuewatch runs."),
    ),
    *_family(
        Family.HEALTH,
        Kind.COUNTER,
        (
            "events_total",
            Unit.EVENTS,
            ("type", "partition"),
            {"type": tuple(EVENT_TYPES)},
            "Events that were read and accepted, duplicates too, by type.",
        ),
        (
            "rejected_events_total",
            Unit.EVENTS,
            ("reason", "partition"),
            {"reason": tuple(reason.value for reason in Reason)},
            "Records that were not counted and went to the dead-letter topic, by reason.",
        ),
        (
            "late_events_total",
            Unit.EVENTS,
            _PARTITION,
            _NO_VALUES,
            "Those of rejected_events_total that came after their grace.",
        ),
        ("duplicate_events_total", Unit.EVENTS, _PARTITION, _NO_VALUES, "Events that repeated what was known."),
        (
            "rekeyed_events_total",
            Unit.EVENTS,
            _PARTITION,
            _NO_VALUES,
            "Events found on a partition that their key does not mean, and published again to the right one.",
        ),
        (
            "lost_records_total",
            Unit.RECORDS,
            _PARTITION,
            _NO_VALUES,
            "Records that retention deleted before they were read.",
        ),
    ),
    *_family(
        Family.HEALTH,
        Kind.HISTOGRAM,
        (
            "event_delay_seconds",
            Unit.SECONDS,
            _PARTITION,
            _NO_VALUES,
            "Seconds from an event's own time to the timestamp of its record in Kafka.",
        ),
    ),
)
"""The catalogue, in the order in which it is exposed and documented."""

_SOURCE = ("source",)

SOURCE_METRICS: Final[tuple[Metric, ...]] = (
    *_family(
        Family.SOURCE,
        Kind.COUNTER,
        (
            "source_records_total",
            Unit.RECORDS,
            _SOURCE,
            _NO_VALUES,
            "Records of the vendor's system that were read.",
        ),
        (
            "source_events_total",
            Unit.EVENTS,
            _SOURCE,
            _NO_VALUES,
            "Events that the records were translated to; a record may be several, or none.",
        ),
        (
            "source_refused_records_total",
            Unit.RECORDS,
            ("source", "reason"),
            {"reason": SOURCE_REFUSALS},
            "Records that could not be translated, by reason; each is told in the log, with its position.",
        ),
        (
            "source_ignored_records_total",
            Unit.RECORDS,
            ("source", "reason"),
            {"reason": SOURCE_IGNORED},
            "Records that yield nothing on purpose, by reason.",
        ),
        (
            "source_reconnects_total",
            Unit.EVENTS,
            _SOURCE,
            _NO_VALUES,
            "Times that the vendor's system or Kafka was lost and tried again.",
        ),
    ),
    *_family(
        Family.SOURCE,
        Kind.GAUGE,
        (
            "source_up",
            Unit.YES_NO,
            _SOURCE,
            _NO_VALUES,
            "1 after a real look at the vendor's system, 0 when it is gone; absent while it is not known.",
        ),
        (
            "source_delay_seconds",
            Unit.SECONDS,
            _SOURCE,
            _NO_VALUES,
            "Seconds from the time of the newest record to when it was read; absent before the first.",
        ),
        (
            "source_position_behind",
            Unit.RECORDS,
            _SOURCE,
            _NO_VALUES,
            "How much of what is there is not read yet: bytes of a file, rows of a table; absent where nobody can tell.",
        ),
        (
            "source_open_calls",
            Unit.CALLS,
            _SOURCE,
            _NO_VALUES,
            "Calls that the source remembers since they may go on.",
        ),
        (
            "source_doubled_calls",
            Unit.CALLS,
            _SOURCE,
            _NO_VALUES,
            "Calls of the last ten minutes that another source told of too, so that they count twice; absent before a look.",
        ),
        (
            "source_saved_timestamp_seconds",
            Unit.TIMESTAMP,
            _SOURCE,
            _NO_VALUES,
            "When the position was saved last, in seconds since 1970.",
        ),
    ),
)
"""What `queuewatch source` exposes."""

WALLBOARD_IGNORED: Final = (
    "unreadable",  # no record of ours, or a broken one
    "version",  # a form that this wallboard does not know
    "foreign_key",  # the key belongs to something else
    "older",  # what is held is newer, by its offset
    "other_event",  # of the agents' topic: no agent.state
)
"""Why the wallboard leaves a record out."""
WALLBOARD_TOPICS: Final = ("queues", "agents")

WALLBOARD_METRICS: Final[tuple[Metric, ...]] = (
    *_family(
        Family.WALLBOARD,
        Kind.GAUGE,
        ("wallboard_streams", Unit.STREAMS, _NONE, _NO_VALUES, "Streams that are open now."),
        ("wallboard_views", Unit.STREAMS, _NONE, _NO_VALUES, "Different boards among the open streams."),
        ("wallboard_queues", Unit.QUEUES, _NONE, _NO_VALUES, "Queues of which a snapshot is held."),
        (
            "wallboard_stale_queues",
            Unit.QUEUES,
            _NONE,
            _NO_VALUES,
            "Those of wallboard_queues whose figures are greyed, in part or all.",
        ),
        (
            "wallboard_silent_partitions",
            Unit.PARTITIONS,
            _NONE,
            _NO_VALUES,
            "Partitions of the event topic of which nothing certain is known; absent while no worker was ever heard of.",
        ),
        (
            "wallboard_newest_record_age_seconds",
            Unit.SECONDS,
            _NONE,
            _NO_VALUES,
            "Seconds since the newest snapshot or news came; absent before the first.",
        ),
        (
            "wallboard_ready",
            Unit.YES_NO,
            _NONE,
            _NO_VALUES,
            "1 once the topic of snapshots is read up to the end that it had when reading began.",
        ),
    ),
    *_family(
        Family.WALLBOARD,
        Kind.COUNTER,
        (
            "wallboard_records_total",
            Unit.RECORDS,
            ("topic",),
            {"topic": WALLBOARD_TOPICS},
            "Records that were read.",
        ),
        (
            "wallboard_ignored_records_total",
            Unit.RECORDS,
            ("topic", "reason"),
            {"topic": WALLBOARD_TOPICS, "reason": WALLBOARD_IGNORED},
            "Those of wallboard_records_total that were left out, by reason.",
        ),
        (
            "wallboard_reconnects_total",
            Unit.EVENTS,
            ("topic",),
            {"topic": WALLBOARD_TOPICS},
            "Times that Kafka or the topic was lost and reading began anew.",
        ),
        ("wallboard_boards_total", Unit.EVENTS, _NONE, _NO_VALUES, "Different boards that were made."),
        ("wallboard_messages_total", Unit.EVENTS, _NONE, _NO_VALUES, "Boards that were sent to streams."),
        (
            "wallboard_skipped_messages_total",
            Unit.EVENTS,
            _NONE,
            _NO_VALUES,
            "Boards that a slow stream did not get, since a newer one had come.",
        ),
        (
            "wallboard_sent_bytes_total",
            Unit.BYTES,
            _NONE,
            _NO_VALUES,
            "Bytes of boards and heartbeats that were sent to streams, as compressed.",
        ),
        (
            "wallboard_refused_requests_total",
            Unit.EVENTS,
            ("status",),
            {"status": ("401", "403", "429")},
            "Requests that were refused, by status.",
        ),
    ),
)
"""What `queuewatch wallboard` exposes."""

CATALOGUE: Final[Mapping[str, Metric]] = MappingProxyType({each.name: each for each in METRICS})
"""By name, without the prefix."""

WAIT_GRID: Final = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
"""Upper bounds in seconds, inclusive, that every wait histogram has."""
EVENT_DELAY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
"""Upper bounds in seconds, inclusive, of `event_delay_seconds`; the last is the usual grace."""


def metric(name: str) -> Metric:
    """The metric of that name, with or without the prefix.  Raises KeyError that names it."""
    return CATALOGUE[name.removeprefix(PREFIX)]


def wait_buckets(thresholds: Iterable[float]) -> tuple[float, ...]:
    """The bounds of the wait histograms, ascending, without +Inf: the grid and every threshold in use.

    One set for all queues, so that they can be summed; with the thresholds in it "answered within T" is a bucket.
    """
    return tuple(sorted({*WAIT_GRID, *(float(threshold) for threshold in thresholds)}))


def definition_labels(name: str, definition: Definition) -> dict[str, str]:
    """The labels of `service_level_definition_info`; seconds as short as they can be written, "" for none."""
    full = definition.resolved()
    return {
        "definition": name,
        "preset": full.preset.value,
        "threshold": f"{full.threshold_seconds:.15g}",
        "short": "" if full.short_seconds is None else f"{full.short_seconds:.15g}",
        "attribution": full.attribution.value,
        "clock": full.clock.value,
        "diverts": full.diverts.value if full.diverts is not None else "",
    }
