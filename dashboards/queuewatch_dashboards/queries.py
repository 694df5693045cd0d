"""Every question that boards and rules ask of Prometheus, by name: what it means, in which unit, and its PromQL.

Names come from the catalogue only; an unknown metric or label raises here, so no board with one can be built.  Three rules hold
for every question:

- **`instance` is aggregated away.**  A queue moves between workers, and its series with it; a board or an alert must not
  notice.  `max` is the way: one worker shows a queue at a time, and where two do for a moment, a sum would double it.
- **Counters are recorded as `max by (queue, ...)` first, rates are taken of that.**  Usually that is wrong, since targets count
  apart.  Here it is right, and the usual `sum(rate())` is wrong: a queue's totals are part of its state, so the new worker goes
  on exactly where the old one was.  The maximum over instances is one counter that never goes down, while a rate by instance
  loses what was counted between the last scrape of the old worker and the first of the new one.
- **Unknown stays unknown.**  Nothing is filled with 0; a ratio whose base is 0 is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol

from queuewatch_dashboards.configuration import Configuration
from queuewatch_dashboards.promql import (
    DAY,
    EVERYWHERE,
    HOUR,
    WEEK,
    Labels,
    Recording,
    UnknownName,
    Where,
    by,
    duration,
    selector,
    shifted,
)
from queuewatch_schemas.metrics import METRICS, PREFIX, SOURCE_METRICS, WALLBOARD_METRICS, Family, Kind, Metric

EXPOSED: Final = (*METRICS, *SOURCE_METRICS, *WALLBOARD_METRICS)
"""Everything that workers, sources and wallboards expose."""
_BY_NAME: Final = {each.name: each for each in EXPOSED}
RATE_INTERVAL: Final = "$__rate_interval"
"""Grafana's range for rates: never shorter than four scrapes."""
SCRAPED: Final = ("job", "instance")
"""Labels that Prometheus itself adds to what it scrapes."""
OF_PROMETHEUS: Final = ("up", "scrape_duration_seconds", "scrape_samples_scraped")
"""Series that Prometheus itself makes of each target."""
WEEKS: Final = (1, 2, 3, 4)
"""The weeks before that a day is compared with."""

Part = Literal["", "bucket", "sum", "count"]
_PARTS: Final[Mapping[Kind, tuple[Part, ...]]] = {
    Kind.GAUGE: ("",),
    Kind.COUNTER: ("",),
    Kind.HISTOGRAM: ("bucket", "sum", "count"),
    Kind.SUMMARY: ("sum", "count"),
}


class Figure(Protocol):
    """A question about a window that can be asked of another time: one of the methods of `Queries`."""

    def __call__(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """PromQL; `offset` in seconds back, negative for ahead."""


def _metric(name: str, part: Part) -> Metric:
    """The metric of the catalogue, which must have that part."""
    try:
        found = _BY_NAME[name.removeprefix(PREFIX)]
    except KeyError:
        raise UnknownName(f"the catalogue has no metric {name!r}") from None
    if part not in _PARTS[found.kind]:
        raise UnknownName(f"{found.name}, a {found.kind}, has no part {part!r}")
    return found


def _full(found: Metric, part: Part) -> str:
    return f"{found.full}_{part}" if part else found.full


def _labels(found: Metric, part: Part) -> tuple[str, ...]:
    return (*found.labels, "le") if part == "bucket" else found.labels


def _moves(found: Metric) -> bool:
    """Whether it belongs to a queue or a partition, and so moves with it between workers and goes on where it was."""
    return not {"queue", "partition"}.isdisjoint(found.labels)


def recorded_name(name: str, part: Part = "") -> str:
    """The name under which a counter is recorded with `instance` aggregated away.

    `queue:queuewatch_calls_offered_total:max`; `partition:...` for what is counted by partition.
    """
    found = _metric(name, part)
    if found.kind is Kind.GAUGE:
        raise UnknownName(f"{found.name} is a gauge; only counters are recorded")
    if not _moves(found):
        raise UnknownName(f"{found.name} is counted by each process for itself, so its maximum means nothing")
    return f"{'queue' if 'queue' in found.labels else 'partition'}:{_full(found, part)}:max"


RECENT: Final = ("calls_refused_total", "calls_evicted_total")
"""Counters whose increase over the rolling window is recorded too: no exact gauge of a window tells them."""
_RECORDED: Final = tuple(each for each in EXPOSED if each.kind is not Kind.GAUGE and _moves(each))


class Queries:
    """The questions, by one configuration.

    `where` says which series, as in `{"queue": "sales", "window": chosen("window")}`; a label that the metric does not have
    raises UnknownName.  What comes back keeps the metric's own labels, without Prometheus' own, unless said otherwise.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration

    # ------------------------------------------------------------------------------------------------- what all stand on

    def metric(self, name: str, where: Labels = EVERYWHERE, *, part: Part = "", offset: int = 0) -> str:
        """A metric's raw series, one for each worker that shows it.  `offset` in seconds back, negative for ahead."""
        found = _metric(name, part)
        fixed = self.configuration.selectors.matchers
        return selector(_full(found, part), (*_labels(found, part), *SCRAPED, *fixed), {**fixed, **where}, offset)

    def target(self, name: str, where: Labels = EVERYWHERE) -> str:
        """A series that Prometheus itself makes of each worker that it scrapes: one of `OF_PROMETHEUS`."""
        if name not in OF_PROMETHEUS:
            raise UnknownName(f"{name} is none of {', '.join(OF_PROMETHEUS)}")
        selectors = self.configuration.selectors
        fixed = {"job": selectors.job, **selectors.matchers}
        return selector(name, (*SCRAPED, *fixed), {**fixed, **where})

    def figure(self, name: str, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """A gauge, whichever worker shows it, with its own labels; by instance where it has none.  In its own unit."""
        found = _metric(name, "")
        if found.kind is not Kind.GAUGE:
            raise UnknownName(f"{found.name} is no gauge; take a rate of its total")
        return by(found.labels or ("instance",), self.metric(name, where, offset=offset))

    def total(self, name: str, where: Labels = EVERYWHERE, *, part: Part = "") -> str:
        """A counter as it is recorded, whichever worker shows it, with its own labels."""
        return selector(recorded_name(name, part), _labels(_metric(name, part), part), where)

    def rate(self, name: str, keep: Iterable[str], where: Labels = EVERYWHERE, *, part: Part = "") -> str:
        """How much a counter rises each second, summed by the labels to keep."""
        return by(keep, f"rate({self._counter(name, where, part)}[{RATE_INTERVAL}])", "sum")

    def increase(
        self,
        name: str,
        keep: Iterable[str],
        where: Labels = EVERYWHERE,
        *,
        part: Part = "",
        over: str = RATE_INTERVAL,
        offset: float = 0,
    ) -> str:
        """How much a counter rose in the range, so many seconds ago, summed by the labels to keep.

        Prometheus extrapolates to the range's ends.
        """
        return by(keep, f"increase({self._counter(name, where, part)}[{over}]{shifted(offset)})", "sum")

    def _counter(self, name: str, where: Labels, part: Part) -> str:
        """What rates are taken of: the recorded maximum, or of what each process counts for itself its own series."""
        return (self.total if _moves(_metric(name, part)) else self.metric)(name, where, part=part)

    def recordings(self) -> tuple[Recording, ...]:
        """What is recorded, in the order in which it must be evaluated.

        Every counter of queues and partitions with `instance` aggregated away (why: above), then recent increases of some.
        """
        kept = [
            Recording(recorded_name(each.name, part), by(_labels(each, part), self.metric(each.name, part=part)))
            for each in _RECORDED
            for part in _PARTS[each.kind]
        ]
        rolling = self.configuration.windows.rolling
        recent = [
            Recording(self._recent_name(name), self.increase(name, ("queue", "channel"), over=rolling))
            for name in RECENT
        ]
        return (*kept, *recent)

    def recent(self, name: str, where: Labels = EVERYWHERE) -> str:
        """How much a counter of `RECENT` rose over the rolling window, by queue and channel; calls, not whole numbers."""
        if name not in RECENT:
            raise UnknownName(f"{name} is none of {', '.join(RECENT)}")
        return selector(self._recent_name(name), ("queue", "channel"), where)

    def _recent_name(self, name: str) -> str:
        stem = _full(_metric(name, ""), "").removesuffix("_total")
        return f"queue:{stem}:increase{self.configuration.windows.rolling}"

    # ------------------------------------------------------------------------------------------------------- the queue now

    def waiting(self, where: Labels = EVERYWHERE) -> str:
        """Callers who wait now, by queue and channel; calls."""
        return self.figure("calls_waiting", where)

    def longest_wait(self, where: Labels = EVERYWHERE) -> str:
        """The longest wait of those who wait now, by queue and channel; seconds."""
        return self.figure("longest_wait_seconds", where)

    def talking(self, where: Labels = EVERYWHERE) -> str:
        """Calls that agents talk to now, on hold too, by queue and channel; calls."""
        return self.figure("calls_talking", where)

    def wrapping(self, where: Labels = EVERYWHERE) -> str:
        """Calls in after-call work now, by queue and channel; calls."""
        return self.figure("calls_wrapping", where)

    def callbacks_waiting(self, where: Labels = EVERYWHERE) -> str:
        """Callbacks that are due and not yet made, by queue; calls."""
        return self.figure("callbacks_waiting", where)

    def oldest_callback(self, where: Labels = EVERYWHERE) -> str:
        """For how long the oldest due callback has waited, by queue; seconds."""
        return self.figure("oldest_callback_seconds", where)

    def is_open(self, where: Labels = EVERYWHERE) -> str:
        """1 while a queue is open, 0 while it is closed, by queue; absent where nobody says."""
        return self.figure("queue_open", where)

    def utc_offset(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Seconds by which a queue's local time is ahead of UTC, by queue."""
        return self.figure("queue_utc_offset_seconds", where, offset=offset)

    def limit(self, name: str, where: Labels = EVERYWHERE) -> str:
        """A queue's own limit for alerts, by queue: one of the catalogue's limits, in its unit."""
        if _metric(name, "").family is not Family.LIMIT or name in ("queue_info", "queue_utc_offset_seconds"):
            raise UnknownName(f"{name} is no limit of the catalogue")
        return self.figure(name, where)

    def info(self, keep: Iterable[str] = (), where: Labels = EVERYWHERE) -> str:
        """1 for each queue that is shown, by `queue` and what else to keep of name, group, site, timezone."""
        return by(("queue", *keep), self.metric("queue_info", where))

    def of_queues(self, expression: str, where: Labels) -> str:
        """What an expression with `queue` says, of those queues only whose info (queue, name, group, site, ...) matches."""
        return f"({expression}) and on (queue) {self.info(where=where)}"

    def with_info(self, expression: str, keep: Iterable[str]) -> str:
        """An expression with `queue`, with labels of the queue's info (name, group, site, timezone) put to it."""
        labels = tuple(keep)
        return f"({expression}) * on (queue) group_left ({', '.join(labels)}) {self.info(labels)}"

    def how_many(self, expression: str, condition: str) -> str:
        """Of how many series a condition (`< 0`) holds: 0 where it holds of none, absent where there is no series at all."""
        return f"count(({expression}) {condition}) or (0 * count({expression}))"

    def vanished(self, where: Labels = EVERYWHERE) -> str:
        """1 for each queue that was shown within `times.vanished` and that no worker shows now, by queue."""
        lately = f"last_over_time({self.metric('queue_info', where)}[{self.configuration.times.vanished}])"
        return f"{by(('queue',), lately)} unless {self.info()}"

    def data_state(self, where: Labels = EVERYWHERE) -> str:
        """Whether a queue's figures can be believed, by queue; `where` matches its info.

        3: its sources that can tell are looked at.  2: none can, or none sends heartbeats, so silence is not told from quiet.
        1: stale, a source is down or its heartbeats stay away.  0: no worker shows the queue now, though one did lately.
        """
        sources = by(("queue",), self.figure("queue_source_up"), "min")
        shown = self.info(where=where)
        return f"((2 * {sources} + 1) and on (queue) {shown}) or (2 * {shown}) or (0 * ({self.vanished(where)}))"

    def source_up(self, where: Labels = EVERYWHERE) -> str:
        """1 while a queue's source is looked at, 0 when it is down or its heartbeats stay away; by queue and source.

        Absent where nobody knows.
        """
        return self.figure("queue_source_up", where)

    # ------------------------------------------------------------------------------------------------- windows and levels

    def offered(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Visits that entered in a window, by queue, channel and window; calls."""
        return self.figure("window_offered_calls", where, offset=offset)

    def outcomes(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """What became of them, by outcome too; calls, which sum to those offered."""
        return self.figure("window_calls", where, offset=offset)

    def handled(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Calls whose talk ended in a window, by queue, channel and window; calls."""
        return self.figure("window_handled_calls", where, offset=offset)

    def answer_wait_sum(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """What the answered visits of a window had waited, summed, by queue, channel and window; seconds."""
        return self.figure("window_answer_wait_seconds_sum", where, offset=offset)

    def handle_sum(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Talk, hold and after-call work of the handled calls of a window, by queue, channel and window; seconds."""
        return self.figure("window_handle_seconds_sum", where, offset=offset)

    def answer_wait_mean(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """ASA: mean wait of the answered, by queue, channel and window; seconds, absent where none was answered."""
        return self.figure("answer_wait_mean_seconds", where, offset=offset)

    def handle_time_mean(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """AHT: mean talk + hold + after-call work, by queue, channel and window; seconds, absent where none was handled."""
        return self.figure("handle_time_mean_seconds", where, offset=offset)

    def abandon_ratio(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Share of the decided visits whose caller hung up, short ones aside; by queue, channel and window; 0 to 1."""
        return self.figure("abandon_ratio", where, offset=offset)

    def interval_start(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """When a window of the business day began, by queue and window; seconds since 1970."""
        return self.figure("interval_start_timestamp_seconds", where, offset=offset)

    def level(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Service level, by queue, channel, definition and window; 0 to 1, absent where nothing is counted."""
        return self.figure("service_level_ratio", where, offset=offset)

    def met(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Visits that met the level, by queue, channel, definition and window; calls."""
        return self.figure("service_level_met_calls", where, offset=offset)

    def counted(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Visits in the base of the level, by queue, channel, definition and window; calls."""
        return self.figure("service_level_counted_calls", where, offset=offset)

    def level_lower(self, where: Labels = EVERYWHERE) -> str:
        """The level if all who wait now miss it, by queue, channel, definition and window; 0 to 1."""
        return self.figure("service_level_lower_bound_ratio", where)

    def level_upper(self, where: Labels = EVERYWHERE) -> str:
        """The level if all who wait now and can still meet it do, by queue, channel, definition and window; 0 to 1."""
        return self.figure("service_level_upper_bound_ratio", where)

    def level_target(self, where: Labels = EVERYWHERE) -> str:
        """What the definition aims for, by queue, channel and definition; 0 to 1."""
        return self.figure("service_level_target_ratio", where)

    def level_gap(self, where: Labels = EVERYWHERE) -> str:
        """Level less its own target, by queue, channel, definition and window; points of 1, negative where it is missed."""
        target = self.level_target(_without(where, "window"))
        return f"{self.level(where)} - on (queue, channel, definition) group_left () {target}"

    def definition(self, where: Labels = EVERYWHERE) -> str:
        """1 for each definition, with everything that says how it counts as labels."""
        return self.figure("service_level_definition_info", where)

    def by_definition(self, expression: str, where: Labels = EVERYWHERE, *, on: str = "queue, channel") -> str:
        """An expression by queue and channel (or by queue), once for each definition of the queue.

        So that every column of a table has the same rows: one for each level that the queue has.
        """
        return f"({expression}) * on ({on}) group_right () ({self.level_target(where)} > bool 0)"

    def by_place(
        self, figure: Figure, labels: Iterable[str], where: Labels = EVERYWHERE, within: Labels = EVERYWHERE
    ) -> str:
        """`met` or `counted` summed by labels of the queues' info (site, group) and by definition; calls.

        Of queues whose info matches `within`.  Definitions are never mixed.
        """
        own = tuple(labels)
        return by((*own, "definition"), self.with_info(self.of_queues(figure(where), within), own), "sum")

    def level_by_place(self, labels: Iterable[str], where: Labels = EVERYWHERE, within: Labels = EVERYWHERE) -> str:
        """Level of a site or group: sum of met over sum of counted, by definition; 0 to 1.  Ratios are never averaged."""
        own = tuple(labels)
        met, counted = (self.by_place(figure, own, where, within) for figure in (self.met, self.counted))
        return f"{met} / ({counted} > 0)"

    # ------------------------------------------------------------------------------------------------------ distributions

    def handle_part(self, name: str, where: Labels = EVERYWHERE) -> str:
        """Mean seconds of talk_seconds, hold_seconds or wrap_up_seconds per ended call: the three sum to the AHT."""
        keep = ("queue", "channel")
        parts = self.rate(name, keep, where, part="sum")
        return f"{parts} / ({self.rate('talk_seconds', keep, where, part='count')} > 0)"

    def buckets(self, name: str, where: Labels = EVERYWHERE) -> str:
        """A histogram's buckets as they filled within each step, by `le`; for a heatmap."""
        return self.increase(name, ("le",), where, part="bucket")

    def quantile(self, share: float, name: str, keep: Iterable[str] = (), where: Labels = EVERYWHERE) -> str:
        """The value that this share (0 to 1) of a histogram's observations did not exceed; by the labels to keep."""
        return f"histogram_quantile({share}, {self.rate(name, ('le', *keep), where, part='bucket')})"

    # ---------------------------------------------------------------------------------------------------------- capacity

    @property
    def interval_seconds(self) -> int:
        """The length of a closed interval, in seconds."""
        return self.configuration.interval_minutes * 60

    @property
    def at_start(self) -> int:
        """The offset by which a figure of the last closed interval stands at that interval's own start; negative.

        An interval that begins at t is the last closed one from t + 1 to t + 2 intervals.  It is looked at a minute before that
        ends: so late that corrections within its grace are in it, and not on the boundary, where a scrape may fall.
        """
        return 60 - 2 * self.interval_seconds

    def at_interval(self, figure: Figure, where: Labels = EVERYWHERE) -> str:
        """A figure of closed intervals, each at the start of its own interval (`figure`: `offered`, `level`, ...)."""
        return figure(self._closed(where), offset=self.at_start)

    def weeks_before(self, weeks: int, figure: Figure, where: Labels = EVERYWHERE) -> str:
        """The same figure so many weeks before at the same *local* time of the queue's own zone.

        `offset 1w` is 168 hours, which is another time of day once the clocks have changed in between.  So 168 hours are looked
        back, and one less and one more, and what counts is where the queue's offset from UTC changed by just as much.  Of an
        hour that the clocks repeat, the one at the same distance in hours is taken; one that they skip has none.  Zones that
        change by half an hour (Lord Howe) have no line across a change.
        """

        def ahead(back: int) -> str:
            """A minute into the interval: as it begins the last scrape may still tell of before the change."""
            return self.utc_offset(_only(where, "queue"), offset=back - 60)

        def same_time(change: int) -> str:
            back = weeks * WEEK + change
            agrees = f"{ahead(back)} - {ahead(0)} == {change}"
            return f"(({figure(self._closed(where), offset=self.at_start + back)}) and on (queue) ({agrees}))"

        return " or ".join(same_time(change) for change in (0, -HOUR, HOUR))

    def weeks_mean(self, figure: Figure, where: Labels = EVERYWHERE) -> str:
        """The mean of the same figure in the weeks before, of as many of the four as there are."""
        each = " or ".join(
            f'label_replace({self.weeks_before(week, figure, where)}, "week", "{week}", "", "")' for week in WEEKS
        )
        return f"avg without (week) ({each})"

    def over_days(self, figure: Figure, days: int, where: Labels = EVERYWHERE) -> str:
        """A figure of closed intervals (calls or seconds) summed over the days before, each interval once.

        A minute less than the days, since Prometheus 2 counts both ends of a range where both are steps, and 3 only one.
        """
        span, step = duration(days * DAY - 60), duration(self.interval_seconds)
        return f"sum_over_time(({figure(self._closed(where), offset=60)})[{span}:{step}])"

    def level_over_days(self, days: int, where: Labels = EVERYWHERE) -> str:
        """Service level over the days before, from the closed intervals: sum of met over sum of counted; 0 to 1."""
        return f"{self.over_days(self.met, days, where)} / ({self.over_days(self.counted, days, where)} > 0)"

    def erlangs_offered(self, where: Labels = EVERYWHERE, *, offset: int = 0) -> str:
        """Load offered in a closed interval: calls offered x AHT / length of the interval; by queue and channel; Erlangs.

        AHT is that of the calls that ended in the interval, or where none ended that of the business day so far; without
        either the load is unknown, and absent.
        """
        windows, keep, at = self.configuration.windows, ("queue", "channel"), _without(where, "window")
        calls = by(keep, self.offered({**at, "window": windows.closed}, offset=offset))
        closed, day = (
            by(keep, self.handle_time_mean({**at, "window": each}, offset=offset))
            for each in (windows.closed, windows.day)
        )
        begin, end = (
            by(("queue",), self.interval_start({**_only(at, "queue"), "window": each}, offset=offset))
            for each in (windows.closed, windows.interval)
        )
        return f"{calls} * ({closed} or {day}) / on (queue) group_left () ({end} - {begin})"

    def _closed(self, where: Labels) -> Labels:
        return {**where, "window": self.configuration.windows.closed}

    # -------------------------------------------------------------------------------------------------------- comparison

    def left_out(self, where: Labels = EVERYWHERE) -> str:
        """Visits of the window that are not in a definition's base, by queue, channel and definition; calls.

        Negative where the base holds visits that entered before the window (attribution by outcome or event).
        """
        calls = by(("queue", "channel"), self.offered(_without(where, "definition")))
        counted = by(("queue", "channel", "definition"), self.counted(where))
        return f"-1 * ({counted} - on (queue, channel) group_left () {calls})"

    def difference(self, first: Where, second: Where, where: Labels = EVERYWHERE) -> str:
        """Level by the first definition less that by the second, of the same queue and window; points of 1.

        It is exactly `difference_by_met` + `difference_by_counted`.
        """
        a, b = self._two(self.level, first, second, where)
        return f"{a} - {b}"

    def difference_by_met(self, first: Where, second: Where, where: Labels = EVERYWHERE) -> str:
        """Of that difference, what comes from other visits being met: (met by A - met by B) / counted by A."""
        met_a, met_b = self._two(self.met, first, second, where)
        counted_a, _ = self._two(self.counted, first, second, where)
        return f"({met_a} - {met_b}) / ({counted_a} > 0)"

    def difference_by_counted(self, first: Where, second: Where, where: Labels = EVERYWHERE) -> str:
        """Of that difference, what comes from another base: met by B / counted by A - met by B / counted by B."""
        _, met_b = self._two(self.met, first, second, where)
        counted_a, counted_b = self._two(self.counted, first, second, where)
        return f"{met_b} / ({counted_a} > 0) - {met_b} / ({counted_b} > 0)"

    def _two(self, figure: Figure, first: Where, second: Where, where: Labels) -> tuple[str, str]:
        """A figure by one definition and by another, without the definition's label."""
        a, b = (by(("queue", "channel"), figure({**where, "definition": each})) for each in (first, second))
        return a, b

    # ---------------------------------------------------------------------------------------------------------- pipeline

    def ready(self) -> str:
        """1 for each worker that is caught up, else 0; by instance."""
        return self.figure("ready")

    def partition_ready(self) -> str:
        """1 for each partition that is caught up and shown, else 0; by partition."""
        return self.figure("partition_ready")

    def partitions_owned(self) -> str:
        """Partitions that each worker owns; by instance."""
        return self.figure("partitions")

    def lag(self) -> str:
        """Records not folded yet; by partition."""
        return self.figure("consumer_lag_records")

    def checkpoint_age(self) -> str:
        """Seconds since the oldest change that no written record holds; by instance."""
        return self.figure("checkpoint_age_seconds")

    def reload_age(self) -> str:
        """Seconds since the configuration in force was read; by instance."""
        return f"time() - {self.figure('config_last_reload_success_timestamp_seconds')}"

    def event_age(self) -> str:
        """Seconds since the newest event's own time; by partition."""
        return f"time() - {self.figure('last_event_timestamp_seconds')}"

    def heartbeat_age(self, where: Labels = EVERYWHERE) -> str:
        """Seconds since a source's connector last sent a heartbeat; by source."""
        return f"time() - {self.figure('source_heartbeat_timestamp_seconds', where)}"

    def residual(self, where: Labels = EVERYWHERE) -> str:
        """Calls by which a queue's books do not balance, without sign; by queue and channel; anything but 0 is a fault."""
        return by(("queue", "channel"), f"abs({self.metric('balance_residual', where)})")

    def shown_by(self, where: Labels = EVERYWHERE) -> str:
        """How many workers show a queue; by queue; more than 1 is a fault unless it lasts a moment."""
        return by(("queue",), self.metric("queue_info", where), "count")

    def versions(self) -> str:
        """How many workers run each version; by version."""
        return by(("version",), self.metric("build_info"), "count")


def _only(where: Labels, *labels: str) -> dict[str, Where]:
    return {label: value for label, value in where.items() if label in labels}


def _without(where: Labels, *labels: str) -> dict[str, Where]:
    return {label: value for label, value in where.items() if label not in labels}
