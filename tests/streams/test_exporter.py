"""What stands on /metrics: the catalogue's names, zeros from the start, and nothing where nothing is known."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from integration.worker_process import Scrape
from queuewatch_schemas.config import Business, Calendar, Configuration, Definition, QueueSettings
from queuewatch_schemas.metrics import METRICS, PREFIX, Kind
from queuewatch_streams import pace
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.exporter import Exporter, Exposition, Health
from support import histories
from support.events import HOUR, MINUTE, SECOND, SOURCE, call, cloud_event, heartbeat, listing, micros, record
from support.reference_exporter import Reference
from support.running import ALL_WINDOWS

START = micros("2026-11-20T09:00:00+00:00")
HEALTH = Health(
    ready=True,
    owned=2,
    partition_ready={0: True, 1: False},
    lag={0: 0, 1: None},
    checkpoint_age=3.5,
    config_loaded_at=1.0,
    version="1.2.3",
)


def configuration(**settings: Any) -> Configuration:
    """A configuration with everything at its default but this."""
    return Configuration.model_validate(settings)


def partition(
    config: Configuration, *events: dict[str, Any], partitions: int = 1, clock: Clock = Clock.LIVE
) -> Partition:
    """A partition that folded these events as they happened."""
    made = Partition(0, config, partitions=partitions, clock=clock)
    refused = made.fold([record(offset, event) for offset, event in enumerate(events)]).refused
    assert not refused
    return made


def text(
    config: Configuration, partitions: Iterable[Partition], now: int, only: str | None = None, accept: str = ""
) -> str:
    """/metrics as it is sent."""
    return Exporter(config).at_once(partitions, HEALTH, now, only=only).text(accept).decode()


def scrape(config: Configuration, *partitions: Partition, now: int, only: str | None = None) -> Scrape:
    """/metrics as it is read."""
    return Scrape.parse(text(config, partitions, now, only))


def eventful() -> Partition:
    """A partition where a bit of everything happened."""
    return partition(
        configuration(),
        call("queued", START),
        call("answered", START + 7 * SECOND),
        call("held", START + 20 * SECOND),
        call("resumed", START + 25 * SECOND),
        call("ended", START + 60 * SECOND),
        call("wrapped", START + 70 * SECOND),
        call("queued", START, "c-2"),
        call("abandoned", START + 3 * SECOND, "c-2"),
        call("queued", START, "c-3", 'say "hi" \\ back'),
        call("diverted", START + 3 * SECOND, "c-3", 'say "hi" \\ back', reason="overflow"),
        call("queued", START, "c-4", channel="callback", due="2026-11-20T09:01:00Z"),
        cloud_event("queue.opened", START, "sales", {}),
        heartbeat(START + 60 * SECOND),
    )


OPEN = "application/openmetrics-text; version=1.0.0"
ACCEPTED = ["", "text/plain", "text/plain; version=1.0.0; escaping=allow-utf-8", OPEN]
ODD = ('say "hi" \\ back', "50 %", "%s %d %% %(queue)s", "客服 – þÿ", "{a=b},c", "\\n")
"""Names that an exposition format, a template or an encoding may trip over."""
MANY = configuration(
    business=Business(windows=ALL_WINDOWS, time_zone="Asia/Kolkata"),
    definitions={
        "default": {"threshold_seconds": 20},
        "%d": {"threshold_seconds": 17.5, "preset": "removed"},
        "late": {"attribution": "outcome", "preset": "ignore-short"},
    },
    calendars={"office": Calendar(weekly={"mon": ("08:00-10:00",)})},
    queues={
        ODD[0]: QueueSettings(name="1st % of \\", group='"', site="€", definitions=("default", "%d", "late")),
        ODD[1]: QueueSettings(calendar="office"),
        "quiet": QueueSettings(definitions=("late",)),
    },
)


def lines(text: str) -> list[tuple[str, float | str]]:
    """Each line, its value as a number however it is written."""
    found: list[tuple[str, float | str]] = []
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        found.append((line, "") if line.startswith("#") else (series, float(value)))
    return found


@st.composite
def odd_histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Histories of queues with odd names, with heartbeats, opening hours and lists of who waits."""
    events = draw(histories.histories(histories.Scale(queues=ODD, visits=8, strays=6)))
    at = st.integers(0, histories.LENGTH // SECOND).map(lambda second: histories.START + second * SECOND)
    queue = st.sampled_from(ODD)
    more = st.one_of(
        st.builds(
            heartbeat,
            at,
            upstream=st.sampled_from(("ok", "down", "unknown")),
            source=st.sampled_from(histories.SOURCES),
        ),
        st.builds(lambda at, queue, kind: cloud_event(kind, at, queue, {}), at, queue, st.sampled_from(HOURS)),
        st.builds(lambda at, queue: listing(at, {}, queue, source='"\\%s\n'), at, queue),
        st.builds(lambda at: heartbeat(at, source='"\\%s\n'), at),
    )
    return sorted([*events, *draw(st.lists(more, max_size=6))], key=lambda event: micros(event["time"]))


HOURS = ("queue.opened", "queue.closed")


modest = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)


@modest
@given(odd_histories(), st.integers(0, 40), st.sampled_from(tuple(Clock)), st.sampled_from(ACCEPTED))
def test_the_text_is_what_prometheus_client_would_write(
    events: list[dict[str, Any]], minutes: int, clock: Clock, accept: str
) -> None:
    """Line by line, whatever came, again and again from the same templates, while queues come, change and go."""
    exporter, reference = Exporter(MANY), Reference(MANY)
    made = [Partition(number, MANY, partitions=2, clock=clock) for number in range(2)]
    health = replace(HEALTH, version='1"\\\n%d')
    half = len(events) // 2
    for part in (events[:half], events[half:], []):
        now = (micros(part[-1]["time"]) if part else histories.START + histories.LENGTH) + minutes * MINUTE
        for partition in made:
            mine = [each for offset, each in enumerate(part) if offset % 2 == partition.number]
            partition.fold(record(partition.next_offset + offset, each) for offset, each in enumerate(mine))
            partition.expire()
        if not part and made[0].queues:
            del made[0].queues[next(iter(made[0].queues))]
        told = exporter.at_once(made, health, now)
        content_type, size, pieces = told.encoded(accept)
        body = b"".join(pieces)
        assert (content_type, size) == (choose_encoder(accept)[1], len(body))
        assert lines(body.decode()) == lines(reference.text(made, health, now, accept))
        samples = Scrape.parse(told.text().decode()).samples
        for name in ODD[:3]:
            alone = exporter.at_once(made, health, now, only=name).text().decode()
            expected = {key: value for key, value in samples.items() if ("queue", name) in key[1]}
            assert Scrape.parse(alone).samples == expected


@modest
@given(odd_histories(), st.integers(0, 40))
def test_both_formats_are_read_as_the_same_samples(events: list[dict[str, Any]], minutes: int) -> None:
    """By the two parsers of Prometheus' client."""
    made = Partition(0, MANY, partitions=1)
    made.fold(record(offset, event) for offset, event in enumerate(events))
    told = Exporter(MANY).at_once([made], HEALTH, made.log_time + minutes * MINUTE)
    read = []
    for parse, accept in ((text_string_to_metric_families, ""), (open_metrics, OPEN)):
        families = parse(told.text(accept).decode())
        read.append([each[:3] for family in families for each in family.samples])
    assert read[0] == read[1]


def test_names_are_not_escaped_and_the_client_is_told_so() -> None:
    """They need none; a client that asks for another scheme than it gets can tell by the content type."""
    for scheme in ("dots", "values"):
        accept = f"{OPEN}; escaping={scheme}"
        content_type, _, pieces = Exporter(configuration()).at_once([eventful()], HEALTH, START).encoded(accept)
        assert content_type.endswith("escaping=underscores")
        assert b"".join(pieces).decode() == text(configuration(), [eventful()], START, accept=OPEN)


async def test_a_queues_lines_are_of_one_instant_though_others_have_their_turn_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Folding goes on between the slices of a scrape; no queue is seen half before an event and half after it."""
    monkeypatch.setattr(pace, "SLICE", 0.0)  # after each queue somebody else has his turn
    config = configuration()
    queues = [f"q-{number}" for number in range(20)]
    made = partition(config, *(call("queued", START, f"c-{each}", each) for each in queues))
    gathering = asyncio.ensure_future(Exporter(config).in_slices([made], HEALTH, START + 2 * HOUR))
    await asyncio.sleep(0)  # it has begun
    turns = 0
    while not gathering.done():
        turns += 1
        at = START + turns * SECOND
        for each in [*queues, f"new-{turns}"]:
            events = call("queued", at, f"c-{turns}-{each}", each), call("abandoned", at, f"c-{each}", each)
            made.fold([record(made.next_offset + offset, event) for offset, event in enumerate(events)])
        await asyncio.sleep(0)
    shown = Scrape.parse((await gathering).text().decode())
    assert turns >= len(queues)
    assert shown.queues == set(queues), "what came meanwhile stands in the next scrape"
    seen = set()
    for each in queues:
        seen.add(offered := shown.value("calls_offered_total", queue=each))
        assert shown.sum("window_calls", queue=each, window="day") == offered
        assert shown.value("calls_waiting", queue=each) == shown.value(
            "window_calls", queue=each, window="day", outcome="waiting"
        )
        assert shown.value("balance_residual", queue=each) == 0
    assert len(seen) > 1, "the queues were told at different instants"
    counted = shown.sum("events_total", type="queuewatch.call.queued.v1")
    assert 0 < counted <= shown.sum("calls_offered_total"), "what the partition has counted is in its queues' lines"


async def test_in_slices_and_at_once_is_the_same_where_nothing_happens_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same bytes, in the same order."""
    exporter, now = Exporter(MANY), START + 2 * MINUTE
    at_once = exporter.at_once([eventful()], HEALTH, now).text()
    assert (await exporter.in_slices([eventful()], HEALTH, now)).text() == at_once
    monkeypatch.setattr(pace, "SLICE", 0.0)
    assert (await exporter.in_slices([eventful()], HEALTH, now)).text() == at_once


def test_a_long_text_comes_in_pieces() -> None:
    """All of them together are the whole of the promised size, and no label is put together of two lines."""
    told = Exposition()
    for number in range(20_000):
        told.line("partition_ready", {"partition": str(number)}, 1)
    _, size, pieces = told.encoded("")
    parts = list(pieces)
    assert len(parts) > 1
    assert sum(map(len, parts)) == size
    assert len(Scrape.parse(b"".join(parts).decode()).samples) == 20_000


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_the_text_is_read_by_prometheus_own_parsers(accept: str) -> None:
    """Both formats; every family has its kind and its help, and what they hold is the same."""
    body = text(configuration(), [eventful()], START + 2 * MINUTE, accept=accept)
    parse = open_metrics if "openmetrics" in accept else text_string_to_metric_families
    found = {family.name: family for family in parse(body)}
    for metric in METRICS:
        name = metric.full.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.full
        assert found[name].type == metric.kind.value, name
        assert found[name].documentation == metric.help
    samples = {
        (each.name, *sorted(each.labels.items())): each.value for family in found.values() for each in family.samples
    }
    plain = Scrape.parse(text(configuration(), [eventful()], START + 2 * MINUTE)).samples
    assert len(samples) == len(plain)


def test_every_sample_has_the_catalogues_labels_and_no_other() -> None:
    """Also where a queue has callbacks, a channel of its own whose figures of now have no channel."""
    shown = scrape(configuration(), eventful(), now=START + 2 * MINUTE)
    catalogue = {series: metric for metric in METRICS for series in metric.series}
    for (name, labels), _ in shown.samples.items():
        expected = set(catalogue[name].labels) | ({"le"} if name.endswith("_bucket") else set())
        assert {label for label, _ in labels} == expected, name
    assert {name for name, _ in shown.samples} == set(catalogue)


def test_counters_of_reasons_that_never_occurred_stand_at_0() -> None:
    """So that an increase is seen from the first time on: each known value of each label."""
    shown = scrape(configuration(), partition(configuration(), call("queued", START)), now=START)
    for metric in METRICS:
        if metric.kind is not Kind.COUNTER:
            continue
        for label, values in metric.values.items():
            if metric.name == "revisions_total":
                continue
            found = {labels[label] for labels, _ in shown.by_name[metric.full]}
            assert found == set(values), metric.name
    revisions = shown.by_name[PREFIX + "revisions_total"]
    assert ("evicted", "answered") in {(labels["from"], labels["to"]) for labels, _ in revisions}
    assert {value for _, value in revisions} == {0}


def test_a_configured_queue_without_events_shows_zeros_an_unknown_one_nothing() -> None:
    """Counts are 0; ratios and means are not there, since nothing was counted."""
    config = configuration(queues={"quiet": {}})
    shown = scrape(config, Partition(0, config, partitions=1), now=START)
    assert shown.queues == {"quiet"}
    at = {"queue": "quiet", "channel": "voice"}
    assert shown.value("calls_waiting", **at) == shown.value("longest_wait_seconds", **at) == 0
    assert shown.value("calls_offered_total", **at) == shown.value("callbacks_waiting", queue="quiet") == 0
    assert set(shown.values("window_calls", **at)) == {0}
    for name in ("service_level_ratio", "abandon_ratio", "answer_wait_mean_seconds", "handle_time_mean_seconds"):
        assert shown.values(name) == [], name
    assert shown.values("calls_wrapping", **at) == [], "nobody told of after-call work: unknown, not 0"
    assert scrape(config, now=START).queues == set(), "a worker without partitions shows no queue"


def test_a_configured_queue_stands_only_where_its_partition_is() -> None:
    """Of four partitions one shows it, before any event of it came."""
    config = configuration(queues={f"queue {n}": {} for n in range(20)})
    parts = [Partition(number, config, partitions=4) for number in range(4)]
    each = [scrape(config, part, now=START).queues for part in parts]
    assert sorted(name for names in each for name in names) == sorted(config.queues)
    assert sum(bool(names) for names in each) > 1


def test_while_its_source_is_down_an_unconfigured_queue_says_nothing_of_now() -> None:
    """What was counted stays; a configured queue goes on, and queue_source_up says that it is not looked at."""
    events = (
        call("queued", START),
        call("queued", START, "c-2", "other"),
        heartbeat(START + SECOND, interval_s=10, upstream="down"),
    )
    config = configuration(queues={"other": {}})
    shown = scrape(config, partition(config, *events), now=START + 2 * SECOND)
    now = [metric.name for metric in METRICS if metric.family.value == "now" and metric.name != "queue_open"]
    assert [name for name in now if shown.values(name, queue="sales")] == []
    assert shown.value("calls_waiting", queue="other", channel="voice") == 1
    assert shown.value("calls_offered_total", queue="sales", channel="voice") == 1
    assert shown.value("queue_source_up", queue="sales", source=SOURCE) == 0


@pytest.mark.parametrize(("later", "up"), [(30, 1), (31, 0)])
def test_a_source_is_up_for_three_heartbeats(later: int, up: int) -> None:
    """Of ten seconds each; then its word is too old."""
    config = configuration()
    made = partition(config, heartbeat(START, interval_s=10), call("queued", START))
    shown = scrape(config, made, now=START + later * SECOND)
    assert shown.value("queue_source_up", queue="sales", source=SOURCE) == up
    assert len(shown.values("calls_waiting", queue="sales")) == up


def test_a_source_that_cannot_tell_is_neither_up_nor_down_until_it_falls_silent() -> None:
    """A quiet log at night: its queues are shown, and nothing is said to be down; a connector that died is."""
    config = configuration()
    made = partition(config, heartbeat(START, interval_s=10, upstream="unknown"), call("queued", START))
    shown = scrape(config, made, now=START + 30 * SECOND)
    assert shown.values("queue_source_up") == []
    assert shown.value("calls_waiting", queue="sales") == 1
    shown = scrape(config, made, now=START + 31 * SECOND)
    assert shown.value("queue_source_up", queue="sales", source=SOURCE) == 0
    assert shown.values("calls_waiting", queue="sales") == []


def test_a_source_without_heartbeats_is_neither_up_nor_down() -> None:
    """Its queues are shown."""
    config = configuration()
    shown = scrape(config, partition(config, call("queued", START)), now=START + HOUR)
    assert shown.values("queue_source_up") == []
    assert shown.value("calls_waiting", queue="sales") == 1
    assert shown.value("longest_wait_seconds", queue="sales") == 3600


def test_one_queue_alone_is_the_same_lines_and_nothing_else() -> None:
    """Whatever its name is made of."""
    config, made, now = configuration(), eventful(), START + 2 * MINUTE
    everything = scrape(config, made, now=now)
    for queue in everything.queues:
        alone = scrape(config, made, now=now, only=queue)
        assert alone.samples == {
            key: value for key, value in everything.samples.items() if dict(key[1]).get("queue") == queue
        }
    assert scrape(config, made, now=now, only="nobody").samples == {}


def test_a_histogram_is_cumulative_with_a_bucket_for_every_threshold() -> None:
    """Bounds are inclusive: a wait of exactly the threshold is in its bucket."""
    config = configuration(definitions={"odd": {"threshold_seconds": 17}}, defaults={"definitions": ["odd"]})
    events = []
    for number, wait in enumerate((0, 5, 17, 17, 18, 4000)):
        events += [call("queued", START, f"c-{number}"), call("answered", START + wait * SECOND, f"c-{number}")]
    shown = scrape(config, partition(config, *sorted(events, key=lambda each: str(each["time"]))), now=START + 2 * HOUR)
    buckets = {labels["le"]: value for labels, value in shown.by_name[PREFIX + "answer_wait_seconds_bucket"]}
    assert (buckets["5.0"], buckets["15.0"], buckets["17.0"], buckets["20.0"]) == (2, 2, 4, 5)
    assert (buckets["3600.0"], buckets["+Inf"]) == (5, 6)
    values = [value for _, value in sorted(buckets.items(), key=lambda each: float(each[0]))]
    assert values == sorted(values)
    assert shown.value("answer_wait_seconds_sum", queue="sales") == 5 + 17 + 17 + 18 + 4000
    assert shown.value("answer_wait_seconds_count", queue="sales") == 6


def test_a_histogram_stays_cumulative_when_thresholds_change() -> None:
    """What was counted in a bucket that is gone counts in the next one above."""
    old = configuration(definitions={"a": {"threshold_seconds": 17}}, defaults={"definitions": ["a"]})
    new = configuration(definitions={"b": {"threshold_seconds": 25}}, defaults={"definitions": ["b"]})
    made = partition(old, call("queued", START), call("answered", START + 16 * SECOND))
    again = Partition.restored(
        0, new, [value for value in (made.encode_queue("sales"), made.encode_self()) if value], partitions=1
    )
    again.fold([record(2, call("queued", START, "c-2")), record(3, call("answered", START + 22 * SECOND, "c-2"))])
    shown = scrape(new, again, now=START + MINUTE)
    buckets = {labels["le"]: value for labels, value in shown.by_name[PREFIX + "answer_wait_seconds_bucket"]}
    assert "17.0" not in buckets
    assert (buckets["15.0"], buckets["20.0"], buckets["25.0"], buckets["+Inf"]) == (0, 1, 2, 2)
    assert shown.value("answer_wait_seconds_sum", queue="sales") == 38


def test_settings_stand_beside_the_figures() -> None:
    """Limits, names, targets and what each definition means, as labels and values."""
    config = configuration(
        business=Business(time_zone="Europe/Rome"),
        definitions={"gold": Definition(threshold_seconds=10, target=0.9)},
        queues={"sales": QueueSettings(name="Sales, 1st", group="front", site="Rome", definitions=("gold",))},
    )
    shown = scrape(config, Partition(0, config, partitions=1), now=START)
    [(info, one)] = shown.by_name[PREFIX + "queue_info"]
    assert one == 1
    assert info == {"queue": "sales", "name": "Sales, 1st", "group": "front", "site": "Rome", "timezone": "Europe/Rome"}
    assert shown.value("service_level_target_ratio", queue="sales", definition="gold") == 0.9
    assert shown.value("service_level_definition_info", definition="gold", threshold="10") == 1
    assert shown.value("longest_wait_limit_seconds", queue="sales") == 120


def test_a_calendar_says_whether_a_queue_is_open() -> None:
    """Where its source does not."""
    config = configuration(
        calendars={"office": Calendar(weekly={"fri": ("08:00-10:00",)})}, queues={"sales": {"calendar": "office"}}
    )
    made = Partition(0, config, partitions=1)
    assert scrape(config, made, now=START).values("queue_open", queue="sales") == [1]
    assert scrape(config, made, now=START + HOUR).values("queue_open", queue="sales") == [0]


def test_what_the_worker_does_not_know_of_itself_is_left_out() -> None:
    """Without partitions there is no age of a checkpoint, and of an unknown lag no sample."""
    names = Exporter(configuration()).at_once([], Health(ready=False, owned=0), START).names()
    assert {"ready", "partitions", "build_info"} <= names
    assert not {"checkpoint_age_seconds", "consumer_lag_records", "partition_ready"} & names
    shown = scrape(configuration(), now=START)
    assert shown.nonzero("partition_ready", "partition") == {"0": 1}
    assert [labels["partition"] for labels, _ in shown.by_name[PREFIX + "consumer_lag_records"]] == ["0"]
    assert shown.value("build_info", version="1.2.3") == 1


def test_of_a_history_now_is_its_newest_event() -> None:
    """Whatever the wall clock says."""
    config = configuration()
    made = partition(config, call("queued", START), call("queued", START + MINUTE, "c-2"), clock=Clock.EVENTS)
    shown = scrape(config, made, now=START + 9999 * HOUR)
    assert shown.value("longest_wait_seconds", queue="sales") == 60
    assert shown.value("window_offered_calls", queue="sales", window="day") == 2
