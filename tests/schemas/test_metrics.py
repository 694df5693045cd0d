"""The catalogue of metrics, the single home of their names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily

from queuewatch_schemas.config import Configuration, Definition, Preset
from queuewatch_schemas.events import EVENT_TYPES, Reason
from queuewatch_schemas.metrics import (
    CATALOGUE,
    EVENT_DELAY_BUCKETS,
    METRICS,
    PREFIX,
    REVISED_FROM,
    REVISED_TO,
    REVISIONS,
    SOURCE_METRICS,
    WAIT_GRID,
    Family,
    Kind,
    Metric,
    Unit,
    definition_labels,
    metric,
    wait_buckets,
)

EVERY = (*METRICS, *SOURCE_METRICS)
IDS = [each.name for each in EVERY]


def test_no_two_metrics_share_a_series() -> None:
    """Also not the parts of a histogram with another's name."""
    series = [name for each in EVERY for name in each.series]
    assert len(series) == len(set(series))
    assert len(CATALOGUE) == len(METRICS)


@pytest.mark.parametrize("each", EVERY, ids=IDS)
def test_names_and_labels_are_as_prometheus_asks(each: Metric) -> None:
    """Only counters end in _total, info metrics are gauges, units stand at the end, le is never a label of ours."""
    assert re.fullmatch(r"queuewatch_[a-z][a-z0-9_]*[a-z0-9]", each.full)
    assert each.name.endswith("_total") == (each.kind is Kind.COUNTER)
    assert not each.name.endswith(("_bucket", "_count", "_created"))
    assert not each.name.endswith("_info") or each.kind is Kind.GAUGE
    assert len(set(each.labels)) == len(each.labels)
    assert all(re.fullmatch(r"[a-z]+", label) and label != "le" for label in each.labels)
    if each.unit is Unit.RATIO:
        assert each.name.endswith("_ratio")
    if each.unit is Unit.TIMESTAMP:
        assert each.name.endswith("_timestamp_seconds")
    if each.unit is Unit.SECONDS:
        assert "seconds" in each.name


@pytest.mark.parametrize("each", EVERY, ids=IDS)
def test_help_is_one_plain_line(each: Metric) -> None:
    """It ends as a sentence does, and says the unit of seconds."""
    assert each.help.endswith(".")
    assert "\n" not in each.help
    assert "  " not in each.help
    if each.unit is Unit.SECONDS:
        assert re.search("seconds?", each.help, re.IGNORECASE)


@pytest.mark.parametrize("each", EVERY, ids=IDS)
def test_known_values_belong_to_labels_of_the_metric(each: Metric) -> None:
    """Each value once, none empty; every enumerated label has its values."""
    assert each.values.keys() <= set(each.labels)
    assert {"window", "outcome", "reason", "via", "from", "to", "fact", "type"} & set(each.labels) == each.values.keys()
    for values in each.values.values():
        assert values
        assert all(values)
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("each", EVERY, ids=IDS)
def test_no_label_could_hold_a_call_a_caller_or_an_agent(each: Metric) -> None:
    """Labels are few and their values bounded."""
    assert not {"call", "customer", "visit", "agent", "subject", "id"} & set(each.labels)


@pytest.mark.parametrize("each", EVERY, ids=IDS)
def test_the_client_library_takes_every_metric_as_it_is(each: Metric) -> None:
    """Under the very names of the catalogue."""
    labels = ["x" for _ in each.labels]
    if each.kind is Kind.COUNTER:
        counter = CounterMetricFamily(each.full, each.help, labels=each.labels)
        counter.add_metric(labels, 1)
        names = [sample.name for sample in counter.samples]
    elif each.kind is Kind.GAUGE:
        gauge = GaugeMetricFamily(each.full, each.help, labels=each.labels)
        gauge.add_metric(labels, 1)
        names = [sample.name for sample in gauge.samples]
    elif each.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(each.full, each.help, labels=each.labels)
        histogram.add_metric(labels, [("+Inf", 1)], 1)
        names = [sample.name for sample in histogram.samples]
    else:
        summary = SummaryMetricFamily(each.full, each.help, labels=each.labels)
        summary.add_metric(labels, 1, 1)
        names = [sample.name for sample in summary.samples]
    assert sorted(names) == sorted(each.series)


def test_what_moves_with_a_partition_carries_its_number() -> None:
    """Counts of a partition's log would otherwise go down when it moves."""
    for name in ("events", "rejected_events", "late_events", "duplicate_events", "rekeyed_events", "lost_records"):
        assert "partition" in metric(f"{name}_total").labels
    assert metric("event_delay_seconds").labels == ("partition",)
    assert set(metric("events_total").values["type"]) == set(EVENT_TYPES)
    assert set(metric("rejected_events_total").values["reason"]) == {str(reason) for reason in Reason}


def test_every_figure_of_a_queue_has_its_channel() -> None:
    """Callbacks' own two are of the channel callback alone; limits and hours are the queue's."""
    for each in METRICS:
        if each.family in (Family.WINDOW, Family.TOTAL, Family.DISTRIBUTION) and "timestamp" not in each.name:
            assert each.labels[:2] == ("queue", "channel"), each.name


def test_a_revision_goes_to_what_counts_more_or_out() -> None:
    """Of conflicting outcomes answered, abandoned, diverted, evicted count in this order."""
    assert {before for before, _ in REVISIONS} == set(REVISED_FROM)
    assert {after for _, after in REVISIONS} == set(REVISED_TO)
    order = ("answered", "abandoned", "diverted", "evicted")
    for before, after in REVISIONS:
        assert after == "none" or order.index(after) < order.index(before)


def test_a_metric_is_found_with_and_without_the_prefix() -> None:
    """A wrong name raises with that name."""
    assert metric("calls_waiting") is metric(PREFIX + "calls_waiting")
    with pytest.raises(KeyError, match="calls_wating"):
        metric("calls_wating")


@given(st.lists(st.floats(0, 86_400)))
def test_every_threshold_is_a_bucket(thresholds: list[float]) -> None:
    """Ascending, each bound once, the grid always there, no infinity."""
    buckets = wait_buckets(thresholds)
    assert list(buckets) == sorted(set(buckets))
    assert set(buckets) == set(WAIT_GRID) | set(thresholds)
    assert all(bound < float("inf") for bound in buckets)
    assert list(EVENT_DELAY_BUCKETS) == sorted(set(EVENT_DELAY_BUCKETS))


def test_the_default_configuration_adds_no_bucket() -> None:
    """80/20 is on the grid."""
    assert wait_buckets(Configuration().thresholds) == WAIT_GRID


def test_a_definitions_labels_say_how_it_counts() -> None:
    """In the labels' own order, whole seconds without a point."""
    labels = definition_labels("gold", Definition(preset=Preset.IGNORE_SHORT, threshold_seconds=20.0))
    assert labels == {
        "definition": "gold",
        "preset": "ignore-short",
        "threshold": "20",
        "short": "5",
        "attribution": "arrival",
        "clock": "queue",
        "diverts": "after-threshold",
    }
    assert tuple(labels) == metric("service_level_definition_info").labels
    assert definition_labels("x", Definition(threshold_seconds=12.5))["threshold"] == "12.5"
    assert definition_labels("x", Definition())["short"] == ""
