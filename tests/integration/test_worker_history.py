"""A day of events through a live worker ends with the counts of the same file replayed, and says so on every topic."""

import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from integration.worker_process import ROOT, Scrape, Site, command, corrected, environment
from queuewatch_schemas.metrics import METRICS
from queuewatch_schemas.records import ClosedInterval, OutcomeCounts, PartitionNews, QueueSnapshot, partition_of_key
from queuewatch_streams.brokers import Broker
from queuewatch_streams.simulation import ORDINARY_DIRT, SOURCE, Settings, eventful, lines
from support.events import heartbeat, line, micros

DAY = datetime(2026, 11, 20, 7, tzinfo=UTC)
NOON = DAY + timedelta(hours=5)
LAST = NOON + timedelta(hours=5)
"""The last interval that is over when the log ends."""
END = LAST + timedelta(minutes=30)
PARTITIONS = 3
SETTINGS = """
[business]
windows = ["5m", "15m", "30m", "1h", "interval", "last_interval", "day"]
[queues.sales]
[queues."never called"]
"""


def split(title: str) -> tuple[str, str]:
    """A recount's title as queue and channel."""
    queue, _, channel = title.removesuffix("]").partition(" [")
    return queue, channel or "voice"


@dataclass(frozen=True)
class Day:
    """What went in and what came out."""

    site: Site
    types: dict[str, int]
    replayed: dict[str, dict[str, Any]]
    orphans_at_most: dict[str, int]
    scrape: Scrape


def replayed(path: Path) -> dict[str, dict[str, Any]]:
    """The queues of `queuewatch replay FILE --json`."""
    done = subprocess.run(
        command("replay", str(path), "--json", "--tz", "UTC", "--now", END.isoformat()),
        env=environment(),
        capture_output=True,
        check=True,
    )
    queues: dict[str, dict[str, Any]] = json.loads(done.stdout)["queues"]
    return queues


def orphans_at_most(path: Path, grace_seconds: float) -> dict[str, int]:
    """By queue the visits never queued, once more for each silence longer than the grace: by then they were let go."""
    events = [event for event in map(json.loads, path.read_bytes().splitlines()) if ".call." in event["type"]]
    visits: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        visits[event["data"]["queue"], event["subject"], event["data"].get("visit", 1)].append(event)
    found: Counter[str] = Counter()
    for (queue, _, _), told in visits.items():
        if not {event["type"].split(".")[2] for event in told} & {"queued", "refused"}:
            times = sorted(micros(event["time"]) for event in told)
            found[queue] += 1 + sum(later - sooner >= grace_seconds * 1e6 for sooner, later in pairwise(times))
    return dict(found)


@pytest.fixture(scope="module")
def day(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """A simulated day, eventful and dirty, published as history and folded by one worker."""
    folder = tmp_path_factory.mktemp("day")
    dirt = replace(ORDINARY_DIRT, orphans=0.01, data_conflicts=0.01, outcome_conflicts=0.03)
    simulated = eventful(Settings(start=DAY, hours=5, seed=11, queues=4, calls_per_hour=60, flat=True), dirt)
    # Words of the source, long after the last call: log time passes every grace, and the day is still the same.
    quiet = [
        line(heartbeat((NOON + timedelta(minutes=minutes)).isoformat(), source=SOURCE)) + b"\n"
        for minutes in range(30, 360, 30)
    ]
    content = [*lines(simulated), *quiet]
    path = folder / "day.ndjson"
    path.write_bytes(b"".join(content))
    types = Counter[str]()
    for each in content:
        kind = json.loads(each)["type"]
        types[kind] += PARTITIONS if ".heartbeat." in kind else 1
    site = Site(broker, f"test-{uuid4().hex[:12]}", folder, PARTITIONS, history=True, settings=SETTINGS).create_topics()
    try:
        worker = site.worker()
        site.publish(path)
        worker.until_read(sum(types.values()))
        site.until_read("intervals", "the last interval of every queue and channel", all_closed)
        yield Day(
            site,
            dict(types),
            replayed(path),
            orphans_at_most(path, site.configuration.timing.grace_seconds),
            worker.scrape(),
        )
        assert worker.stop() == 0, worker.said()
    finally:
        site.close()


def newest_intervals(records: list[Any]) -> dict[bytes, ClosedInterval]:
    """Of each interval the record with the greatest offset; of equal ones the later."""
    newest: dict[bytes, ClosedInterval] = {}
    for record in records:
        told = ClosedInterval.from_bytes(record.value)
        if record.key not in newest or told.offset >= newest[record.key].offset:
            newest[record.key] = told
    return newest


def all_closed(records: list[Any]) -> bool:
    """Whether each queue and channel has told of the last interval, behind which nothing comes."""
    told = newest_intervals(records).values()
    channels = {(each.queue, each.channel) for each in told}
    return len({queue for queue, _ in channels}) == 4 and channels == {
        (each.queue, each.channel) for each in told if each.start == LAST
    }


def test_every_event_was_accepted_and_counted_by_its_type(day: Day) -> None:
    """What was accepted sums to what was published; nothing was refused."""
    assert day.scrape.nonzero("events_total", "type") == day.types
    assert day.scrape.sum("rejected_events_total") == 0
    assert day.scrape.sum("consumer_lag_records") == 0


def test_corrected_counters_equal_the_replay(day: Day) -> None:
    """Offered and each outcome: totals - revisions from + revisions to, of every queue and channel."""
    assert day.replayed, "the day has queues"
    for title, row in day.replayed.items():
        queue, channel = split(title)
        wanted = {name: row[name] for name in ("offered", "answered", "abandoned", "diverted", "evicted", "refused")}
        wanted = {name: amount for name, amount in wanted.items() if amount}
        assert day.scrape.corrected(queue=queue, channel=channel) == wanted, title
    assert {"sales", "support", "billing", "claims"} == day.scrape.queues - {"never called"}


def test_gauges_of_the_day_equal_the_replay(day: Day) -> None:
    """Outcomes, those who wait, what was handled, and the sums of seconds, in the window of the day."""
    for title, row in day.replayed.items():
        queue, channel = split(title)
        at = {"queue": queue, "channel": channel, "window": "day"}
        assert day.scrape.value("window_offered_calls", **at) == row["offered"], title
        assert day.scrape.nonzero("window_calls", "outcome", **at) == {
            name: row[name] for name in ("answered", "abandoned", "diverted", "evicted", "waiting") if row[name]
        }, title
        assert day.scrape.value("window_handled_calls", **at) == row["handled"]
        assert day.scrape.value("window_answer_wait_seconds_sum", **at) == row["answer_wait_sum"]
        handled = row["talk_sum"] + row["hold_sum"] + row["wrap_sum"]
        assert day.scrape.value("window_handle_seconds_sum", **at) == handled
        lost = row["abandoned"] - row["short_abandoned"]
        if row["answered"] + lost:
            assert day.scrape.value("abandon_ratio", **at) == lost / (row["answered"] + lost)
        waiting = "callbacks_waiting" if channel == "callback" else "calls_waiting"
        assert (
            day.scrape.value(waiting, queue=queue, **({} if channel == "callback" else {"channel": channel}))
            == (row["waiting"])
        ), title
        level = day.scrape.values("service_level_ratio", **at, definition="default")
        assert level == ([] if (wanted := row["service_level"]["negative"]) is None else [wanted]), title


def test_declines_and_strays_equal_the_replay(day: Day) -> None:
    """Declines by queue, since a visit may change its channel; orphans as far as their grace reaches."""
    for queue in sorted(day.scrape.queues - {"never called"}):
        rows = [row for title, row in day.replayed.items() if split(title)[0] == queue]
        assert day.scrape.sum("calls_declined_total", queue=queue) == sum(row["declined"] for row in rows)
        orphans = sum(row["orphans"] for row in rows)
        assert orphans <= day.scrape.sum("orphaned_visits_total", queue=queue) <= day.orphans_at_most.get(queue, 0)
    assert sum(day.orphans_at_most.values()) > 0, "the dirt holds orphans"


def test_first_sights_and_exact_figures_differ_by_what_was_revised(day: Day) -> None:
    """A histogram counts each visit once, when first known: as many as the counter beside it."""
    for name in ("answer_wait", "abandon_wait"):
        counter = {"answer_wait": "calls_answered_total", "abandon_wait": "calls_abandoned_total"}[name]
        for queue in day.scrape.queues:
            assert day.scrape.sum(f"{name}_seconds_count", queue=queue) == day.scrape.sum(counter, queue=queue)
            assert day.scrape.sum(f"{name}_seconds_bucket", queue=queue, le="+Inf") == day.scrape.sum(
                counter, queue=queue
            )
    assert day.scrape.sum("revisions_total") > 0, "the dirt holds conflicts"


def test_no_queue_is_out_of_balance(day: Day) -> None:
    """Two independent paths agree."""
    residuals = day.scrape.values("balance_residual")
    assert residuals
    assert set(residuals) == {0}


def test_a_configured_queue_that_nobody_calls_stands_at_zero(day: Day) -> None:
    """From the start, in every outcome."""
    assert day.scrape.values("calls_waiting", queue="never called") == [0]
    assert set(day.scrape.values("window_calls", queue="never called")) == {0}
    assert day.scrape.corrected(queue="never called") == {}


def outcomes_of(counts: OutcomeCounts) -> dict[str, float]:
    """An interval's outcomes by a recount's names; seconds are eighths, so that their sums are exact."""
    return {
        "answered": counts.answered,
        "abandoned": counts.abandoned,
        "diverted": counts.diverted,
        "evicted": counts.evicted,
        "short_abandoned": counts.short_abandoned,
        "answer_wait_sum": counts.answer_wait_seconds,
        "abandon_wait_sum": counts.abandon_wait_seconds,
    }


def test_intervals_of_the_day_sum_to_the_replay(day: Day) -> None:
    """By arrival and by outcome; talk, hold and after-call work apart; diverted by reason."""
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    by_outcome: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for key, each in newest_intervals(day.site.read("intervals")).items():
        assert key == each.key()
        assert each.partition == day.site.partition(each.queue)
        assert each.end - each.start == timedelta(minutes=30)
        at = each.queue, each.channel
        handled, level = each.handled, each.levels["default"]
        more = {
            "offered": each.arrivals.offered,
            "waiting": each.arrivals.waiting,
            "refused": each.refused,
            "handled": handled.calls,
            "talk_sum": handled.talk_seconds,
            "hold_sum": handled.hold_seconds,
            "wrap_sum": handled.wrap_up_seconds,
            "counted": level.counted,
            "answered_within": level.met,
        }
        for into, amounts in (
            (sums[at], outcomes_of(each.arrivals) | more),
            (by_outcome[at], outcomes_of(each.outcomes)),
        ):
            for name, amount in amounts.items():
                into[name] += amount
        reasons[at].update(each.arrivals.diverted_by)
    for title, row in day.replayed.items():
        at = split(title)
        assert sums[at] == {name: row[name] for name in sums[at]}, title
        assert by_outcome[at] == {name: row[name] for name in by_outcome[at]}, title
        assert reasons[at] == row["diverted_by"], title


def test_intervals_follow_each_other_without_a_hole(day: Day) -> None:
    """Empty ones too, from a queue's first event on; final where nobody is held who came before its end."""
    told: dict[tuple[str, str], list[ClosedInterval]] = defaultdict(list)
    for each in newest_intervals(day.site.read("intervals")).values():
        told[each.queue, each.channel].append(each)
    finals = 0
    for (queue, _), found in told.items():
        starts = sorted(each.start for each in found)
        assert starts == [starts[0] + timedelta(minutes=30) * n for n in range(len(starts))]
        assert starts[-1] == LAST
        # Those who wait, and ghosts that were given up, may still be corrected, and what came after them with them.
        rows = [row for title, row in day.replayed.items() if split(title)[0] == queue]
        if not any(row["waiting"] or row["evicted"] for row in rows):
            assert all(each.final for each in found)
        finals += sum(each.final for each in found)
    assert finals


def test_snapshots_show_what_the_metrics_show(day: Day) -> None:
    """The newest snapshot of each queue, and the news of every partition."""
    newest: dict[str, QueueSnapshot] = {}
    news: dict[int, PartitionNews] = {}

    def all_told(records: list[Any]) -> bool:
        told = {record.key: record.value for record in records}
        last = [told.get(b"\0%d" % number) for number in range(PARTITIONS)]
        return all(each and PartitionNews.from_bytes(each).ready for each in last) and len(told) >= PARTITIONS + 5

    for record in day.site.until_read("queues", "news of every partition", all_told):
        number = partition_of_key(record.key)
        if number is not None:
            news[number] = PartitionNews.from_bytes(record.value)
            assert record.partition == number
            continue
        told = QueueSnapshot.from_bytes(record.value)
        assert record.partition == told.partition == day.site.partition(told.queue)
        assert record.key == told.key()
        if told.queue not in newest or told.offset >= newest[told.queue].offset:
            newest[told.queue] = told
    assert set(news) == set(range(PARTITIONS))
    assert all(each.ready and each.partitions == PARTITIONS for each in news.values())
    assert sum(each.queues for each in news.values()) == sum(
        each.last_event_time is not None for each in newest.values()
    )
    assert newest.keys() == day.scrape.queues
    for title, row in day.replayed.items():
        queue, channel = split(title)
        if channel == "callback":
            assert newest[queue].callbacks.waiting == row["waiting"]
            continue
        shown = newest[queue].channels[channel]
        assert (shown.waiting, shown.balance_residual) == (row["waiting"], 0)
        assert shown.windows["day"].offered == row["offered"]
        assert shown.windows["day"].handle_time_mean_seconds == day.scrape.value(
            "handle_time_mean_seconds", queue=queue, channel=channel, window="day"
        )
        assert shown.levels["default"]["day"].ratio == row["service_level"]["negative"]


def test_nothing_stands_on_metrics_that_the_contract_does_not_name(day: Day) -> None:
    """Names, labels and known values are those of the catalogue; no label holds a call, an agent or a customer."""
    catalogue = {series: metric for metric in METRICS for series in metric.series}
    content = (day.site.folder / "day.ndjson").read_bytes().splitlines()
    events = [json.loads(each) for each in content]
    private = {event["subject"] for event in events if ".call." in event["type"]}
    private |= {str(event["data"][name]) for event in events for name in ("agent", "customer") if name in event["data"]}
    for (name, labels), _ in day.scrape.samples.items():
        metric = catalogue[name]
        allowed = set(metric.labels) | ({"le"} if name.endswith("_bucket") else set())
        assert {label for label, _ in labels} == allowed, name
        for label, value in labels:
            assert value not in private, (name, label, value)
            if label in metric.values:
                assert value in metric.values[label], (name, label, value)


def test_all_that_the_contract_names_stands_on_metrics(day: Day) -> None:
    """A day with everything in it has a sample of each metric, but for what its sources never say."""
    found = {name for name, _ in day.scrape.samples}
    missing = {metric.name for metric in METRICS if not set(metric.series) <= found}
    assert missing == {"queue_open"}  # nobody says whether these queues are open, and they have no calendar


# ------------------------------------------------------------------------------------------------------ the bank's log

SHARED = ROOT.parent / "shared"
TABLE = SHARED / "data" / "bank-1999-02-01-to-14.tsv.gz"


@pytest.mark.skipif(not TABLE.exists(), reason="the bank's log lies outside this repository")
def test_a_banks_real_log_gives_the_recounts_counts(broker: Broker, unique: str, tmp_path: Path) -> None:
    """Fourteen days of a bank's calls: every queue's counts are those of the brute-force recount."""
    table, path = tmp_path / "bank.tsv", tmp_path / "bank.ndjson"
    table.write_bytes(gzip.decompress(TABLE.read_bytes()))
    tools = SHARED / "tools"
    with path.open("wb") as file:
        subprocess.run([sys.executable, str(tools / "bank_events.py"), str(table)], stdout=file, check=True)
    counted = subprocess.run([sys.executable, str(tools / "recount.py"), str(path)], capture_output=True, check=True)
    recounted = json.loads(counted.stdout)["queues"]
    site = Site(broker, unique, tmp_path, PARTITIONS, history=True).create_topics()
    try:
        published = site.publish(path).published
        scrape = site.worker().until_read(published)
        for queue, row in recounted.items():
            wanted = {
                name: row[name] for name in ("offered", "answered", "abandoned", "diverted", "evicted", "refused")
            }
            assert scrape.corrected(queue=queue) == {name: amount for name, amount in wanted.items() if amount}, queue
            assert scrape.sum("calls_short_abandoned_total", queue=queue) == row["short_abandoned"]
            assert scrape.sum("answer_wait_seconds_sum", queue=queue) == row["answer_wait_sum"]
            assert scrape.sum("abandon_wait_seconds_sum", queue=queue) == row["abandon_wait_sum"]
            assert scrape.sum("talk_seconds_sum", queue=queue) == row["talk_sum"]
            assert scrape.sum("talk_seconds_count", queue=queue) == row["handled"]
            assert scrape.sum("answer_wait_seconds_bucket", queue=queue, le="20.0") == row["answered_within"]
            assert scrape.sum("calls_waiting", queue=queue) == row["waiting"]
        assert scrape.queues == set(recounted)
        assert set(scrape.values("balance_residual")) == {0}
        assert corrected([scrape])["offered"] == sum(row["offered"] for row in recounted.values())
    finally:
        site.close()
