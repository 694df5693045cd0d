"""What stands on /metrics: figures computed at scrape time, of the queues that this worker owns now and nothing else.

Names, kinds, labels and help come from the catalogue.  What is unknown is left out, never shown as 0.

In the text all lines of a family stand together, while state is read queue by queue.  So what is said of one thing (a queue's
channel, a partition) is a template with a part for each family, and one `%` and one split give its lines.  Names are put in
afterwards, so that templates are shared by all queues of the same settings.  A scrape is gathered on the event loop in short
slices: a queue's lines are all of one instant, and nobody else waits for long.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Any, Final, cast
from weakref import WeakValueDictionary

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from queuewatch_schemas.config import Configuration, ResolvedQueue
from queuewatch_schemas.metrics import (
    BOUNDED_WINDOWS,
    CATALOGUE,
    DAY_WINDOWS,
    EVENT_DELAY_BUCKETS,
    METRICS,
    OUTCOMES,
    REVISIONS,
    Kind,
    Metric,
    definition_labels,
)
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.core.calendar import SECOND, utc_offset
from queuewatch_streams.core.figures import ChannelFigures, balance_residual, channel_figures, is_open
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.core.policy import Policy
from queuewatch_streams.core.queue import CALLBACK, Channel, Queue
from queuewatch_streams.pace import Pace

__all__ = ["Exporter", "Exposition", "Health", "source_up"]

_BETWEEN: Final = b"\xff"
"""Stands between the parts of families in a template."""
_NAME: Final = b"\xfe"
"""Stands in a template for the name of what it tells of.  Neither byte is in any UTF-8 text."""
_AT_ONCE: Final = 256 * 1024
"""Bytes of a text that are put together and sent at a time."""

_INDEX: Final = {metric.name: index for index, metric in enumerate(METRICS)}
_COUNTED: Final = {
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
    "revisions_total": ("revisions", ""),
    "time_revisions_total": ("time_revisions", "fact"),
}
"""Each counter of a queue: its name among the channel's totals, and the label that its second part is."""
_SETTLED: Final = OUTCOMES[:-1]
_WAITS: Final = ("answer_wait", "abandon_wait")
_LENGTHS: Final = ("talk", "hold", "wrap_up")
_ZEROS: Final = repeat(0)
_DELAY_EDGES: Final = tuple(round(edge * SECOND) for edge in EVENT_DELAY_BUCKETS)

_DELAYS: Final = (*(("delay", str(edge)) for edge in _DELAY_EDGES), ("delay", "inf"))
_DELAY_SUM: Final = ("delay", "sum")

Labels = Mapping[str, str]

assert all(CATALOGUE[name].kind is Kind.COUNTER for name in _COUNTED), "a counter of the catalogue was renamed"


@dataclass(frozen=True, slots=True)
class Health:
    """What only the worker around the partitions knows.  Times in seconds; None where it is not known."""

    ready: bool
    owned: int
    partition_ready: Mapping[int, bool] = field(default_factory=dict)
    lag: Mapping[int, int | None] = field(default_factory=dict)
    checkpoint_age: float | None = None
    config_loaded_at: float | None = None
    version: str = ""


# ------------------------------------------------------------------------------------------------------------- the text


class Exposition:
    """The lines of each family, as they are gathered; in which format they are sent is decided at the end."""

    __slots__ = ("_families", "_rows")

    def __init__(self) -> None:
        self._families: list[list[bytes]] = [[] for _ in METRICS]
        self._rows: list[list[bytes]] = []

    def add(self, lines: bytes) -> None:
        """Lines with a part for each family, as templates have them."""
        self._rows.append(lines.split(_BETWEEN))

    def line(self, name: str, labels: Labels, value: float) -> None:
        """One line of a metric of the catalogue."""
        self._families[_INDEX[name]].append(b"%b %a\n" % (_series(CATALOGUE[name], "", labels), value))

    def settle(self) -> None:
        """Put together what was added by family; to be called now and then, and at the end."""
        if self._rows:
            for lines, parts in zip(self._families, zip(*self._rows, strict=True), strict=True):
                if text := b"".join(parts):
                    lines.append(text)
            self._rows.clear()

    def names(self) -> set[str]:
        """The metrics that have lines."""
        return {metric.name for metric, lines in zip(METRICS, self._families, strict=True) if lines}

    def encoded(self, accept: str) -> tuple[str, int, Iterator[bytes]]:
        """By a request's Accept header: the content type, how many bytes the text has, and the text, piece by piece."""
        content_type, headers, end = _format(accept)
        told = [(head, lines) for head, lines in zip(headers, self._families, strict=True) if lines]
        size = sum(len(head) + sum(map(len, lines)) for head, lines in told) + len(end)
        return content_type, size, _pieces((part for head, lines in told for part in (head, *lines)), end)

    def text(self, accept: str = "") -> bytes:
        """The whole text."""
        return b"".join(self.encoded(accept)[2])


def _pieces(parts: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _AT_ONCE:
            yield b"".join(held)
            held.clear()
            size = 0
    held.append(end)
    yield b"".join(held)


class _Heads(Collector):
    """Families without samples: what an encoder makes of them is what stands above the lines."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """The families."""
        for metric in self._metrics:
            yield Family(metric.full.removesuffix("_total"), metric.help, metric.kind.value)


@lru_cache(maxsize=16)
def _format(accept: str) -> tuple[str, tuple[bytes, ...], bytes]:
    """Content type, what stands above each family, and what ends the text, by the Accept header.

    Names are never escaped: there is nothing in them that would need it, and a client is told so.
    """
    encode, content_type = choose_encoder(re.sub(r"escaping\s*=\s*(dots|values)", "escaping=underscores", accept))

    def encoded(*metrics: Metric) -> bytes:
        # A collector that needs no registry of its own: the encoders ask for nothing but collect().
        return encode(cast(CollectorRegistry, _Heads(*metrics)))

    end = encoded()
    return content_type, tuple(encoded(metric).removesuffix(end) for metric in METRICS), end


def _escaped(value: str) -> bytes:
    """A label's value as it stands between its quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"').encode()


def _series(metric: Metric, part: str, labels: Labels, **names: bytes) -> bytes:
    """A line's name and labels; `names` are labels that are escaped already."""
    known = {label: _escaped(value) for label, value in labels.items()} | names
    inner = b",".join(b'%b="%b"' % (label.encode(), known[label]) for label in sorted(known))
    name = (metric.full + part).encode()
    return b"%b{%b}" % (name, inner) if inner else name


class _Template:
    """Lines of the families in the order of the catalogue, with a place for each value that is not known beforehand."""

    __slots__ = ("_at", "_label", "_lines")

    def __init__(self, label: str) -> None:
        self._label = label
        """What the name is that is put in afterwards: every line has this label."""
        self._lines: list[list[bytes]] = [[] for _ in METRICS]
        self._at = 0

    def line(self, name: str, labels: Labels, value: bytes = b"%d", part: str = "") -> None:
        """A line that is always there."""
        self._place(name).append(self._series(name, labels, part).replace(b"%", b"%%") + value + b"\n")

    def gap(self, name: str, labels: Iterable[Labels] = ()) -> list[bytes]:
        """A place for any number of lines, and the lines that may stand there, each up to its value."""
        self._place(name).append(b"%b")
        return [self._series(name, each) for each in labels]

    def histogram(self, name: str, labels: Labels, edges: Sequence[int]) -> None:
        """What `_histogram` gives values for; edges in microseconds."""
        for edge in edges:
            self.line(name, {**labels, "le": repr(edge / SECOND)}, part="_bucket")
        self.line(name, {**labels, "le": "+Inf"}, part="_bucket")
        self.line(name, labels, part="_count")
        self.line(name, labels, b"%a", "_sum")

    def done(self) -> bytes:
        """The template."""
        return _BETWEEN.join(map(b"".join, self._lines))

    def _series(self, name: str, labels: Labels, part: str = "") -> bytes:
        return _series(CATALOGUE[name], part, labels, **{self._label: _NAME}) + b" "

    def _place(self, name: str) -> list[bytes]:
        assert _INDEX[name] >= self._at, f"{name} stands before what was written already: values would be out of order"
        self._at = _INDEX[name]
        return self._lines[self._at]


def _filled(lines: Sequence[bytes], values: Sequence[float | None], scale: int = 1) -> bytes:
    """The lines whose value is known."""
    found = zip(lines, values, strict=True)
    return b"".join([line + b"%a\n" % (value / scale) for line, value in found if value is not None])


def _histogram(counts: list[int], total: int, edges: Sequence[int], old: Mapping[int, int]) -> tuple[float, ...]:
    """Cumulative buckets, count and sum in seconds, from the counts by bucket and a sum in microseconds.

    What was counted under an old edge, of buckets that are gone, counts in the next one above.
    """
    for edge, amount in old.items():
        counts[bisect_left(edges, edge)] += amount
    buckets = tuple(accumulate(counts))
    return *buckets, buckets[-1], total / SECOND


def _key(*parts: str) -> str:
    """The key of a channel's total."""
    return ":".join(parts)


# ------------------------------------------------------------------------------------------------------- what is told


class _ChannelText:
    """The lines of one channel, for all queues whose windows, levels and buckets are the same.

    `known` is whether figures of now are told.  Values are in the order of the template, which is the catalogue's.
    """

    __slots__ = (
        "__weakref__", "_averages", "_bounds", "_callback", "_counters", "_edges", "_keys", "_known", "_lengths", "_ratios",
        "_template", "_waits", "_wrapping",
    )  # fmt: skip

    def __init__(self, channel: str, policy: Policy, *, known: bool) -> None:
        template, at = _Template("queue"), {"channel": channel}
        levels = policy.rules.levels
        by_window = [{**at, "window": window} for window in policy.windows]
        by_level = [{**each, "definition": level.name} for each in by_window for level in levels]
        bounded = [each for each in by_level if each["window"] in BOUNDED_WINDOWS]
        self._known, self._callback = known, channel == CALLBACK
        if known:
            if not self._callback:
                template.line("calls_waiting", at)
                template.line("longest_wait_seconds", at, b"%a")
            template.line("calls_talking", at)
            [self._wrapping] = template.gap("calls_wrapping", [at])
            if self._callback:
                template.line("callbacks_waiting", {})
                template.line("oldest_callback_seconds", {}, b"%a")
        for each in by_window:
            template.line("window_offered_calls", each)
        for each in by_window:
            for outcome in OUTCOMES:
                template.line("window_calls", {**each, "outcome": outcome})
        for each in by_window:
            template.line("window_handled_calls", each)
        for name in ("window_answer_wait_seconds_sum", "window_handle_seconds_sum"):
            for each in by_window:
                template.line(name, each, b"%a")
        averages = ("answer_wait_mean_seconds", "handle_time_mean_seconds", "abandon_ratio")
        self._averages = [template.gap(name, by_window) for name in averages]
        self._ratios = template.gap("service_level_ratio", by_level)
        for name in ("service_level_met_calls", "service_level_counted_calls"):
            for each in by_level:
                template.line(name, each)
        bounds = ("service_level_lower_bound_ratio", "service_level_upper_bound_ratio")
        self._bounds = [template.gap(name, bounded) for name in bounds]
        for level in levels:
            template.line("service_level_target_ratio", {**at, "definition": level.name}, b"%r" % level.target)
        self._counters = [key for name in _COUNTED for key in _counter(template, name, at)]
        self._edges = policy.wait_edges
        buckets = [*map(str, self._edges), "inf"]
        self._waits = [(name, [_key(name, bucket) for bucket in buckets], _key(name, "sum")) for name in _WAITS]
        for name in _WAITS:
            template.histogram(f"{name}_seconds", at, self._edges)
        self._lengths = [(_key(name, "count"), _key(name, "sum")) for name in _LENGTHS]
        for name in _LENGTHS:
            template.line(f"{name}_seconds", at, part="_count")
            template.line(f"{name}_seconds", at, b"%a", "_sum")
        template.line("balance_residual", at)
        self._template = template.done()
        waits = (key for _, keys, total in self._waits for key in (*keys, total))
        self._keys = frozenset((*self._counters, *waits, *(key for both in self._lengths for key in both)))

    def told(self, channel: Channel, figures: ChannelFigures, now: int) -> bytes:
        """The lines, with a part for each family, for the queue's name to be put in."""
        values: list[Any] = []
        if self._known:
            longest = figures.longest_wait(now) / SECOND
            wrapping = b"" if figures.wrapping is None else self._wrapping + b"%d\n" % figures.wrapping
            if self._callback:
                values += (figures.talking, wrapping, figures.waiting, longest)
            else:
                values += (figures.waiting, longest, figures.talking, wrapping)
        windows = figures.windows.values()
        values += [window.offered for window in windows]
        for window in windows:
            values += map(window.of, _SETTLED)
            values.append(window.waiting)
        values += [window.of("handled") for window in windows]
        values += [window.of("answer_wait") / SECOND for window in windows]
        values += [window.handle / SECOND for window in windows]
        answer_wait, handle_time, abandon = self._averages
        values.append(_filled(answer_wait, [window.answer_wait_mean for window in windows], SECOND))
        values.append(_filled(handle_time, [window.handle_mean for window in windows], SECOND))
        values.append(_filled(abandon, [window.abandon_ratio for window in windows]))
        levels = [level for window in windows for level in window.levels]
        values.append(_filled(self._ratios, [level.ratio for level in levels]))
        values += [level.met for level in levels]
        values += [level.base for level in levels]
        bounded = [
            level for name, window in figures.windows.items() if name in BOUNDED_WINDOWS for level in window.levels
        ]
        values.append(_filled(self._bounds[0], [level.lower for level in bounded]))
        values.append(_filled(self._bounds[1], [level.upper for level in bounded]))
        get = channel.totals.get
        values += map(get, self._counters, _ZEROS)
        strangers = () if channel.totals.keys() <= self._keys else channel.totals.keys() - self._keys
        for name, keys, total in self._waits:
            old = {int(key[len(name) + 1 :]): channel.totals[key] for key in strangers if key.startswith(name)}
            values += _histogram(list(map(get, keys, _ZEROS)), get(total, 0), self._edges, old)
        for count, total in self._lengths:
            values += (get(count, 0), get(total, 0) / SECOND)
        values.append(balance_residual(channel))
        return self._template % tuple(values)


def _counter(template: _Template, name: str, labels: Labels) -> Iterator[str]:
    """Write a counter's lines, one for each known value of its label; the keys of the totals that they tell."""
    total, label = _COUNTED[name]
    if name == "revisions_total":
        for before, after in REVISIONS:
            template.line(name, {**labels, "from": before, "to": after})
            yield _key(total, before, after)
    elif label:
        for value in CATALOGUE[name].values[label]:
            template.line(name, {**labels, label: value})
            yield _key(total, value)
    else:
        template.line(name, labels)
        yield _key(total)


class _QueueText:
    """The lines of a queue that are of no channel, for all queues with the same windows.

    `callbacks` is whether zeros stand for callbacks: they are told, and the queue has no such channel.
    """

    __slots__ = ("__weakref__", "_open", "_template", "_windows")

    def __init__(self, policy: Policy, *, callbacks: bool) -> None:
        template = _Template("queue")
        if callbacks:
            template.line("callbacks_waiting", {}, b"0")
            template.line("oldest_callback_seconds", {}, b"0")
        [self._open] = template.gap("queue_open", [{}])
        self._windows = [window for window in DAY_WINDOWS if window in policy.windows]
        for window in self._windows:
            template.line("interval_start_timestamp_seconds", {"window": window}, b"%a")
        for name in (
            "longest_wait_limit_seconds",
            "calls_waiting_limit",
            "abandon_limit_ratio",
            "window_minimum_calls",
        ):
            template.line(name, {}, b"%a")
        template.gap("queue_info")
        template.line("queue_utc_offset_seconds", {})
        template.gap("queue_source_up")
        self._template = template.done()

    def told(
        self,
        settings: ResolvedQueue,
        info: bytes,
        up: Mapping[str, bool],
        opened: bool | None,
        ahead: int,
        figures: ChannelFigures,
    ) -> bytes:
        """The lines, with a part for each family, for the queue's name to be put in; `ahead` of UTC, in seconds."""
        limits = settings.limits
        return self._template % (
            b"" if opened is None else self._open + b"%d\n" % opened,
            *(figures.windows[window].start / SECOND for window in self._windows),
            limits.longest_wait_seconds,
            limits.calls_waiting,
            limits.abandon_ratio,
            limits.window_minimum_calls,
            info,
            ahead,
            b"".join([_source_line(source) + b"%d\n" % alive for source, alive in up.items()]),
        )


@lru_cache(maxsize=1024)
def _source_line(source: str) -> bytes:
    return _series(CATALOGUE["queue_source_up"], "", {"source": source}, queue=_NAME) + b" "


class _PartitionText:
    """The lines of one partition, for all of them."""

    __slots__ = ("_counters", "_newest", "_template")

    def __init__(self) -> None:
        template = _Template("partition")
        [self._newest] = template.gap("last_event_timestamp_seconds", [{}])
        self._counters: list[tuple[str, ...]] = []
        for name, key, label in (
            ("events_total", "events", "type"),
            ("rejected_events_total", "rejected", "reason"),
            ("late_events_total", "late", ""),
            ("duplicate_events_total", "duplicates", ""),
            ("rekeyed_events_total", "rekeyed", ""),
            ("lost_records_total", "lost", ""),
        ):
            for value in CATALOGUE[name].values[label] if label else ("",):
                template.line(name, {label: value} if label else {})
                self._counters.append((key, value) if label else (key,))
        template.histogram("event_delay_seconds", {}, _DELAY_EDGES)
        self._template = template.done()

    def told(self, partition: Partition) -> bytes:
        """The lines, with a part for each family, for the partition's number to be put in."""
        counts, newest = partition.counts, partition.newest_event
        get = counts.get
        known = {*_DELAYS, _DELAY_SUM}
        old = {int(key[1]): counts[key] for key in counts if key[0] == "delay" and key not in known}
        return self._template % (
            self._newest + b"%a\n" % (newest / SECOND) if newest else b"",
            *map(get, self._counters, _ZEROS),
            *_histogram(list(map(get, _DELAYS, _ZEROS)), get(_DELAY_SUM, 0), _DELAY_EDGES, old),
        )


class _Told:
    """What of a queue's text does not change: made when it is first told, and anew when its policy is another."""

    __slots__ = ("channels", "info", "name", "policy", "queues", "shape")

    def __init__(self, name: str, policy: Policy, settings: ResolvedQueue) -> None:
        self.policy = policy
        self.shape = (policy.rules.levels, policy.windows, policy.wait_edges)
        """What templates depend on; queues with the same one share them."""
        self.name = _escaped(name)
        labels = {"name": settings.name, "group": settings.group, "site": settings.site, "timezone": settings.time_zone}
        self.info = _series(CATALOGUE["queue_info"], "", labels, queue=_NAME) + b" 1\n"
        self.channels: dict[tuple[str, bool], _ChannelText] = {}
        self.queues: dict[bool, _QueueText] = {}


class Exporter:
    """Turns owned partitions into text, by one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._resolved: dict[str, ResolvedQueue] = {}
        self._unseen: dict[str, Queue] = {}
        self._told: dict[str, _Told] = {}
        self._channel_texts: WeakValueDictionary[Any, _ChannelText] = WeakValueDictionary()
        self._queue_texts: WeakValueDictionary[Any, _QueueText] = WeakValueDictionary()
        self._partition_text = _PartitionText()
        self._lying: dict[int, dict[int, list[str]]] = {}

    def at_once(
        self, partitions: Iterable[Partition], health: Health, now: int, *, only: str | None = None
    ) -> Exposition:
        """Everything there is to tell at `now` (microseconds); `only` one queue's lines, and nothing else, if given."""
        told = Exposition()
        for _ in self._gathered(told, partitions, health, now, only):
            pass
        told.settle()
        return told

    async def in_slices(
        self, partitions: Iterable[Partition], health: Health, now: int, *, only: str | None = None
    ) -> Exposition:
        """The same, without holding the event loop for long: each queue's lines are of one instant, not those of all."""
        told, pace = Exposition(), Pace()
        for _ in self._gathered(told, partitions, health, now, only):
            if pace.over():
                told.settle()
                await pace.rest()
        told.settle()
        return told

    def settings(self, queue: str) -> ResolvedQueue:
        """The queue's settings, resolved once."""
        found = self._resolved.get(queue)
        if found is None:
            found = self._resolved[queue] = self._configuration.queue(queue)
        return found

    def _gathered(
        self, told: Exposition, partitions: Iterable[Partition], health: Health, now: int, only: str | None
    ) -> Iterator[None]:
        """Tell one thing after the other; between them others may have their turn, and change what is not told yet."""
        partitions = list(partitions)
        seen: set[str] = set()
        for partition in partitions:
            if only is None:  # before its queues, so that what it has counted is in their lines
                told.add(self._partition_text.told(partition).replace(_NAME, b"%d" % partition.number))
            for name in self.names(partition) if only is None else (only,):
                queue = self.queue(partition, name)
                if queue is not None:
                    partition.expire_queue(queue)
                    self._add_queue(
                        told, partition, queue, partition.log_time if partition.clock is Clock.EVENTS else now
                    )
                    seen.add(name)
                    yield
        if only is not None:
            return
        for name, definition in self._configuration.definitions.items():
            told.line("service_level_definition_info", definition_labels(name, definition), 1)
        _add_sources(told, partitions)
        _add_health(told, health)
        for kept in (self._told, self._resolved, self._unseen):
            for name in kept.keys() - seen:
                del kept[name]

    def names(self, partition: Partition) -> Iterator[str]:
        """The partition's queues, and those of the configuration that belong to it though nothing happened there yet."""
        yield from list(partition.queues)
        for name in self._of_configuration(partition):
            if name not in partition.queues:
                yield name
            else:
                self._unseen.pop(name, None)

    def _of_configuration(self, partition: Partition) -> Sequence[str]:
        found = self._lying.get(partition.partitions)
        if found is None:
            found = self._lying[partition.partitions] = {}
            for name in self._configuration.queues:
                found.setdefault(partition_for(name.encode(), partition.partitions), []).append(name)
        return found.get(partition.number, ())

    def queue(self, partition: Partition, name: str) -> Queue | None:
        """A queue of the partition, as it stands or, of the configuration, empty; None where it is neither."""
        found = partition.queues.get(name)
        if found is not None or name not in self._configuration.queues:
            return found
        if partition_for(name.encode(), partition.partitions) != partition.number:
            return None
        if name not in self._unseen:
            self._unseen[name] = Queue(name, partition.policy(name))
        return self._unseen[name]

    def _add_queue(self, told: Exposition, partition: Partition, queue: Queue, now: int) -> None:
        texts = self._told.get(queue.name)
        if texts is None or texts.policy is not queue.policy:
            texts = self._told[queue.name] = _Told(queue.name, queue.policy, self.settings(queue.name))
        up = source_up(partition, queue, now)
        known = queue.name in self._configuration.queues or not up or any(up.values())
        for name, channel in queue.channels.items():
            figures = channel_figures(queue, channel, now)
            text = texts.channels.get((name, known)) or self._channel_text(texts, name, known)
            told.add(text.told(channel, figures, now).replace(_NAME, texts.name))
        callbacks = known and CALLBACK not in queue.channels
        alone = texts.queues.get(callbacks) or self._queue_text(texts, callbacks)
        ahead = utc_offset(now, queue.policy.zone)
        lines = alone.told(self.settings(queue.name), texts.info, up, is_open(queue, now), ahead, figures)
        told.add(lines.replace(_NAME, texts.name))

    def _channel_text(self, texts: _Told, channel: str, known: bool) -> _ChannelText:
        key = (channel, known, texts.shape)
        found = self._channel_texts.get(key)
        if found is None:
            found = self._channel_texts[key] = _ChannelText(channel, texts.policy, known=known)
        texts.channels[channel, known] = found
        return found

    def _queue_text(self, texts: _Told, callbacks: bool) -> _QueueText:
        key = (callbacks, texts.shape)
        found = self._queue_texts.get(key)
        if found is None:
            found = self._queue_texts[key] = _QueueText(texts.policy, callbacks=callbacks)
        texts.queues[callbacks] = found
        return found


def source_up(partition: Partition, queue: Queue, now: int) -> dict[str, bool]:
    """Of those sources of a queue that send heartbeats and can tell: whether each is looked at and in time."""
    known = ((source, partition.sources.get(source)) for source in sorted(queue.sources))
    alive = ((source, state.is_alive(now)) for source, state in known if state is not None)
    return {source: up for source, up in alive if up is not None}


def _add_sources(told: Exposition, partitions: Iterable[Partition]) -> None:
    newest: dict[str, int] = {}
    for partition in partitions:
        for name, source in partition.sources.items():
            if source.heartbeat is not None:
                newest[name] = max(source.heartbeat, newest.get(name, 0))
    for name, at in newest.items():
        told.line("source_heartbeat_timestamp_seconds", {"source": name}, at / SECOND)


def _add_health(told: Exposition, health: Health) -> None:
    values: tuple[tuple[str, Labels, float | None], ...] = (
        ("ready", {}, int(health.ready)),
        ("partitions", {}, health.owned),
        ("checkpoint_age_seconds", {}, health.checkpoint_age),
        ("config_last_reload_success_timestamp_seconds", {}, health.config_loaded_at),
        ("build_info", {"version": health.version}, 1),
        *(("partition_ready", {"partition": str(n)}, int(ready)) for n, ready in health.partition_ready.items()),
        *(("consumer_lag_records", {"partition": str(n)}, lag) for n, lag in health.lag.items()),
    )
    for name, labels, value in values:
        if value is not None:
            told.line(name, labels, value)
