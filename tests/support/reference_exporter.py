"""The exporter without any thought of speed: every line a sample with a dictionary of labels, written by Prometheus' client.

The worker's own exporter, which writes text from templates, has to say the very same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.metrics import (
    CATALOGUE,
    DAY_WINDOWS,
    EVENT_DELAY_BUCKETS,
    METRICS,
    OUTCOMES,
    REVISIONS,
    definition_labels,
)
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.core.calendar import SECOND
from queuewatch_streams.core.figures import ChannelFigures, balance_residual, channel_figures, is_open
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.core.queue import CALLBACK, Channel, Queue
from queuewatch_streams.exporter import Health, source_up

Labels = dict[str, str]

_COUNTED = {
    "calls_offered_total": ("offered", ""),
    "calls_answered_total": ("answered", ""),
    "calls_abandoned_total": ("abandoned", ""),
    "calls_short_abandoned_total": ("short_abandoned", ""),
    "calls_diverted_total": ("diverted", "reason"),
    "calls_refused_total": ("refused", "reason"),
    "calls_evicted_total": ("evicted", "reason"),
    "calls_declined_total": ("declined", "reason"),
    "calls_transferred_in_total": ("transferred_in", "via"),
    "orphaned_visits_total": ("orphaned", ""),
    "negative_waits_total": ("negative_waits", ""),
    "lost_ends_total": ("lost_ends", ""),
    "time_revisions_total": ("time_revisions", "fact"),
}
"""Each counter of a queue: its name among the channel's totals, and the label that its second part is."""


class Families(Collector):
    """Samples by metric, in the order of the catalogue; what Prometheus' client renders."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}

    def add(self, name: str, labels: Labels, value: float, part: str = "") -> None:
        """One sample of a metric of the catalogue; `part` is "_bucket", "_sum" or "_count" where it has parts."""
        self._samples[name].append(Sample(CATALOGUE[name].full + part, labels, value))

    def collect(self) -> Iterator[Metric]:
        """The metrics that have samples."""
        for name, samples in self._samples.items():
            metric = CATALOGUE[name]
            if samples:
                family = Metric(metric.full.removesuffix("_total"), metric.help, metric.kind.value)
                family.samples = samples
                yield family


class Reference:
    """Turns owned partitions into samples, by one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def families(self, partitions: Iterable[Partition], health: Health, now: int) -> Families:
        """Everything there is to tell at `now` (microseconds)."""
        families = Families()
        partitions = list(partitions)
        for partition in partitions:
            at = partition.log_time if partition.clock is Clock.EVENTS else now
            for queue in self._shown(partition):
                self._add_queue(families, partition, queue, at)
        self._add_definitions(families)
        for partition in partitions:
            _add_partition(families, partition)
        _add_sources(families, partitions)
        _add_health(families, health)
        return families

    def text(self, partitions: Iterable[Partition], health: Health, now: int, accept: str = "") -> str:
        """The whole text."""
        families = cast(CollectorRegistry, self.families(partitions, health, now))
        return choose_encoder(accept)[0](families).decode()

    def _shown(self, partition: Partition) -> Iterator[Queue]:
        yield from partition.queues.values()
        for name in self._configuration.queues:
            if name not in partition.queues and partition_for(name.encode(), partition.partitions) == partition.number:
                yield Queue(name, partition.policy(name))

    def _add_queue(self, families: Families, partition: Partition, queue: Queue, now: int) -> None:
        settings = self._configuration.queue(queue.name)
        labels = {"queue": queue.name}
        up = source_up(partition, queue, now)
        for source, alive in up.items():
            families.add("queue_source_up", {**labels, "source": source}, float(alive))
        known = queue.name in self._configuration.queues or not up or any(up.values())
        if (opened := is_open(queue, now)) is not None:
            families.add("queue_open", labels, float(opened))
        limits = settings.limits
        families.add("longest_wait_limit_seconds", labels, limits.longest_wait_seconds)
        families.add("calls_waiting_limit", labels, limits.calls_waiting)
        families.add("abandon_limit_ratio", labels, limits.abandon_ratio)
        families.add("window_minimum_calls", labels, limits.window_minimum_calls)
        info = {"name": settings.name, "group": settings.group, "site": settings.site, "timezone": settings.time_zone}
        families.add("queue_info", labels | info, 1)
        offset = datetime.fromtimestamp(now / SECOND, queue.policy.zone).utcoffset()
        assert offset is not None
        families.add("queue_utc_offset_seconds", labels, offset.total_seconds())
        if known and CALLBACK not in queue.channels:
            families.add("callbacks_waiting", labels, 0)
            families.add("oldest_callback_seconds", labels, 0)
        started = False
        for name, channel in queue.channels.items():
            at = labels | {"channel": name}
            figures = channel_figures(queue, channel, now)
            if known:
                _add_now(families, name, at, figures, now)
            _add_windows(families, at, figures)
            _add_totals(families, channel, at)
            _add_distributions(families, channel, at, queue)
            families.add("balance_residual", at, balance_residual(channel))
            for level in queue.policy.rules.levels:
                families.add("service_level_target_ratio", at | {"definition": level.name}, level.target)
            if not started:
                started = True
                for window in DAY_WINDOWS:
                    if window in figures.windows:
                        start = figures.windows[window].start / SECOND
                        families.add("interval_start_timestamp_seconds", labels | {"window": window}, start)

    def _add_definitions(self, families: Families) -> None:
        for name, definition in self._configuration.definitions.items():
            families.add("service_level_definition_info", definition_labels(name, definition), 1)


def _add_now(families: Families, channel: str, labels: Labels, figures: ChannelFigures, now: int) -> None:
    longest = figures.longest_wait(now) / SECOND
    if channel == CALLBACK:
        families.add("callbacks_waiting", {"queue": labels["queue"]}, figures.waiting)
        families.add("oldest_callback_seconds", {"queue": labels["queue"]}, longest)
    else:
        families.add("calls_waiting", labels, figures.waiting)
        families.add("longest_wait_seconds", labels, longest)
    families.add("calls_talking", labels, figures.talking)
    if figures.wrapping is not None:
        families.add("calls_wrapping", labels, figures.wrapping)


def _add_windows(families: Families, labels: Labels, figures: ChannelFigures) -> None:
    add = families.add
    for name, window in figures.windows.items():
        at = labels | {"window": name}
        add("window_offered_calls", at, window.offered)
        for outcome in OUTCOMES:
            amount = window.waiting if outcome == "waiting" else window.of(outcome)
            add("window_calls", at | {"outcome": outcome}, amount)
        add("window_handled_calls", at, window.of("handled"))
        add("window_answer_wait_seconds_sum", at, window.of("answer_wait") / SECOND)
        add("window_handle_seconds_sum", at, window.handle / SECOND)
        for metric, value, scale in (
            ("answer_wait_mean_seconds", window.answer_wait_mean, SECOND),
            ("handle_time_mean_seconds", window.handle_mean, SECOND),
            ("abandon_ratio", window.abandon_ratio, 1),
        ):
            if value is not None:
                add(metric, at, value / scale)
        for level in window.levels:
            by = labels | {"definition": level.level.name, "window": name}
            add("service_level_met_calls", by, level.met)
            add("service_level_counted_calls", by, level.base)
            for metric, ratio in (
                ("service_level_ratio", level.ratio),
                ("service_level_lower_bound_ratio", level.lower),
                ("service_level_upper_bound_ratio", level.upper),
            ):
                if ratio is not None:
                    add(metric, by, ratio)


def _add_totals(families: Families, channel: Channel, labels: Labels) -> None:
    totals = channel.totals
    for name, (total, label) in _COUNTED.items():
        if label:
            for value in CATALOGUE[name].values[label]:
                families.add(name, labels | {label: value}, totals.get(f"{total}:{value}", 0))
        else:
            families.add(name, labels, totals.get(total, 0))
    for before, after in REVISIONS:
        families.add(
            "revisions_total", labels | {"from": before, "to": after}, totals.get(f"revisions:{before}:{after}", 0)
        )


def _add_distributions(families: Families, channel: Channel, labels: Labels, queue: Queue) -> None:
    totals = channel.totals
    for name in ("answer_wait", "abandon_wait"):
        observed = {key.partition(":")[2]: amount for key, amount in totals.items() if key.partition(":")[0] == name}
        _add_histogram(families, f"{name}_seconds", labels, observed, queue.policy.wait_edges)
    for name in ("talk", "hold", "wrap_up"):
        families.add(f"{name}_seconds", labels, totals.get(f"{name}:count", 0), "_count")
        families.add(f"{name}_seconds", labels, totals.get(f"{name}:sum", 0) / SECOND, "_sum")


def _add_histogram(
    families: Families, name: str, labels: Labels, observed: Mapping[str, int], edges: Sequence[int]
) -> None:
    """Cumulative buckets from counts by upper edge (microseconds as text, "inf") and "sum"; old edges count upwards."""
    counted = sorted((int(edge), amount) for edge, amount in observed.items() if edge not in ("inf", "sum"))
    below, at = 0, 0
    for edge in edges:
        while at < len(counted) and counted[at][0] <= edge:
            below += counted[at][1]
            at += 1
        families.add(name, labels | {"le": repr(edge / SECOND)}, below, "_bucket")
    total = below + sum(amount for _, amount in counted[at:]) + observed.get("inf", 0)
    families.add(name, labels | {"le": "+Inf"}, total, "_bucket")
    families.add(name, labels, total, "_count")
    families.add(name, labels, observed.get("sum", 0) / SECOND, "_sum")


def _add_partition(families: Families, partition: Partition) -> None:
    counts, labels = partition.counts, {"partition": str(partition.number)}
    for name, key, label in (("events_total", "events", "type"), ("rejected_events_total", "rejected", "reason")):
        for value in CATALOGUE[name].values[label]:
            families.add(name, labels | {label: value}, counts.get((key, value), 0))
    for name, key in (
        ("late_events_total", "late"),
        ("duplicate_events_total", "duplicates"),
        ("rekeyed_events_total", "rekeyed"),
        ("lost_records_total", "lost"),
    ):
        families.add(name, labels, counts.get((key,), 0))
    delays = {key[1]: amount for key, amount in counts.items() if key[0] == "delay"}
    edges = [round(edge * SECOND) for edge in EVENT_DELAY_BUCKETS]
    _add_histogram(families, "event_delay_seconds", labels, delays, edges)
    if partition.newest_event:
        families.add("last_event_timestamp_seconds", labels, partition.newest_event / SECOND)


def _add_sources(families: Families, partitions: Iterable[Partition]) -> None:
    newest: dict[str, int] = {}
    for partition in partitions:
        for name, source in partition.sources.items():
            if source.heartbeat is not None:
                newest[name] = max(source.heartbeat, newest.get(name, 0))
    for name, at in newest.items():
        families.add("source_heartbeat_timestamp_seconds", {"source": name}, at / SECOND)


def _add_health(families: Families, health: Health) -> None:
    values: tuple[tuple[str, Labels, Any], ...] = (
        ("ready", {}, float(health.ready)),
        ("partitions", {}, health.owned),
        ("checkpoint_age_seconds", {}, health.checkpoint_age),
        ("config_last_reload_success_timestamp_seconds", {}, health.config_loaded_at),
        ("build_info", {"version": health.version}, 1),
        *(("partition_ready", {"partition": str(n)}, float(ready)) for n, ready in health.partition_ready.items()),
        *(("consumer_lag_records", {"partition": str(n)}, lag) for n, lag in health.lag.items()),
    )
    for name, labels, value in values:
        if value is not None:
            families.add(name, labels, value)
