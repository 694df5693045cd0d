"""Stopped or killed and started again, a worker ends with the figures of one that was never interrupted."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.worker_process import COUNTED, Scrape, Site, WorkerProcess, corrected, message, read_of, until
from queuewatch_schemas.metrics import PREFIX
from queuewatch_schemas.records import PartitionNews, partition_of_key
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.partition import Partition
from queuewatch_streams.exporter import Exporter, Health
from support.events import MINUTE, SECOND, call, record

PARTITIONS = 4
SETTINGS = """
[timing]
checkpoint_seconds = 2
"""


def calls(first: int, count: int, start: int) -> list[dict[str, object]]:
    """Some calls, a third of them abandoned, a third waiting still; numbered so that no two are alike."""
    events: list[dict[str, object]] = []
    for number in range(first, first + count):
        at, queue, name = start + number * 1000, f"queue {number % 23}", f"call-{number}"
        events.append(call("queued", at, name, queue))
        if number % 3 == 0:
            events.append(call("answered", at + 100, name, queue))
            events.append(call("ended", at + 200, name, queue))
            if number % 15 == 0:
                events.append(call("abandoned", at + 50, name, queue))
        elif number % 3 == 1:
            events.append(call("abandoned", at + 100, name, queue))
    return events


def uninterrupted(site: Site, events: Sequence[dict[str, object]]) -> Scrape:
    """What a worker tells that folded all of these events in one go."""
    folded = []
    for number in range(PARTITIONS):
        partition = Partition(number, site.configuration, partitions=PARTITIONS)
        mine = [event for event in events if site.partition(event["data"]["queue"]) == number]  # type: ignore[index]
        refused = partition.fold([record(offset, event) for offset, event in enumerate(mine)]).refused
        assert not refused
        folded.append(partition)
    health = Health(True, PARTITIONS)
    told = Exporter(site.configuration).at_once(folded, health, int(time.time() * 1e6))
    return Scrape.parse(told.text().decode())


def counters(scrape: Scrape) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Everything that may never go down, but for the delay of events, which is the broker's business."""
    return {
        key: value
        for key, value in scrape.samples.items()
        if key[0] in COUNTED and not key[0].startswith(f"{PREFIX}event_delay")
    }


def assert_not_lower(before: Scrape, after: Scrape) -> None:
    """No counter that is told was higher before."""
    was, is_ = counters(before), counters(after)
    lower = {key: (was[key], is_[key]) for key in was.keys() & is_.keys() if is_[key] < was[key]}
    assert not lower, lower


def watch_recovery(site: Site, worker: WorkerProcess, before: Scrape) -> int:
    """Look at a worker until it is ready: what it shows is never less than before; how often it was not ready."""
    unready = 0

    def look() -> bool | None:
        nonlocal unready
        health, readiness = worker.ask("/healthz"), worker.ask("/readyz")
        if health is None or readiness is None:
            return None
        assert health.status == 200
        scrape = worker.scrape()
        assert_not_lower(before, scrape)
        shown = {int(number) for number in scrape.nonzero("partition_ready", "partition")}
        assert {site.partition(queue) for queue in scrape.queues} <= shown, "a partition is shown before it is ready"
        unready += readiness.status == 503
        if not scrape.ready:
            return None
        return scrape.sum("partitions") == PARTITIONS or None

    worker.patiently("the worker to be ready again", look)
    return unready


@pytest.fixture
def site(broker: Broker, unique: str, tmp_path: Path) -> Iterator[Site]:
    """Topics of this test's own."""
    made = Site(broker, unique, tmp_path, PARTITIONS, settings=SETTINGS)
    yield made.create_topics()
    made.close()


def test_restarts_and_kills_change_no_figure(site: Site) -> None:
    """Stopped in good order, then killed in mid traffic: counters never fall, and in the end all is as in one go."""
    start = int(time.time()) * SECOND - MINUTE
    events: list[dict[str, object]] = []

    def send(count: int) -> None:
        more = calls(len(events), count, start)
        events.extend(more)
        site.send(map(message, more))

    first = site.worker()
    first_unready = watch_recovery(site, first, Scrape({}))
    assert first_unready, "/healthz and /metrics answer before the worker is ready"
    send(2000)
    before = first.until_read(len(events))
    assert first.stop() == 0, first.said()

    send(500)  # while nobody listens
    second = site.worker()
    watch_recovery(site, second, before)
    again = second.until_read(len(events))
    assert_not_lower(before, again)

    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(send, 5000)
        last = second.until_scrape("some of the new events", lambda scrape: read_of(scrape) > read_of(again))
        second.kill()
        sending.result()

    third = site.worker()
    watch_recovery(site, third, last)
    end = third.until_read(len(events))
    assert_not_lower(last, end)
    expected = uninterrupted(site, events)
    assert counters(end) == counters(expected)
    assert corrected([end]) == corrected([expected])
    for gauge in ("calls_waiting", "calls_talking", "window_offered_calls", "window_calls", "balance_residual"):
        for labels, value in expected.by_name[PREFIX + gauge]:
            assert end.value(gauge, **labels) == value, (gauge, labels)
    assert third.stop() == 0, third.said()


def news(site: Site) -> dict[int, list[PartitionNews]]:
    """All news so far, by partition, in the order in which they came."""
    found: dict[int, list[PartitionNews]] = {number: [] for number in range(PARTITIONS)}
    for each in site.read("queues"):
        if partition_of_key(each.key) is not None:
            found[each.partition].append(PartitionNews.from_bytes(each.value))
    return found


def test_a_worker_that_leaves_or_recovers_says_so_and_one_that_is_ready_too(site: Site) -> None:
    """A wallboard has to know from when on nobody looks after a partition, and that somebody does again."""

    def until_last(what: str, ready: bool) -> dict[int, list[PartitionNews]]:
        def found() -> dict[int, list[PartitionNews]] | None:
            told = news(site)
            return told if all(each and each[-1].ready is ready for each in told.values()) else None

        return until(what, found)

    events = calls(0, 500, int(time.time()) * SECOND - MINUTE)
    site.send(map(message, events))
    first = site.worker()
    first.until_read(len(events))
    before = until_last("news that all is ready", ready=True)
    assert first.stop() == 0, first.said()
    left = until_last("news that nobody has the partitions", ready=False)
    owners = {each.owner for told in left.values() for each in told}
    assert len(owners) == 1
    for number, told in left.items():
        assert told[-1].offset >= before[number][-1].offset

    second = site.worker()
    again = until_last("news that all is ready again", ready=True)
    for number, told in again.items():
        other = [each for each in told if each.owner not in owners]
        assert not other[0].ready, "it recovers first, and says so"
        assert [each.offset for each in other] == sorted(each.offset for each in other)
        assert other[-1].offset == left[number][-1].offset
    assert second.stop() == 0, second.said()


def test_two_workers_share_the_partitions_and_no_queue_is_told_twice(site: Site) -> None:
    """A second worker takes some partitions over; sums over both are exact, before and after one of them is killed."""
    start = int(time.time()) * SECOND - MINUTE
    events = calls(0, 2000, start)
    site.send(map(message, events))
    one = site.worker()
    one.until_read(len(events))
    two = site.worker()

    def shared() -> tuple[Scrape, Scrape] | None:
        scrapes = one.scrape(), two.scrape()
        if not all(scrape.ready for scrape in scrapes) or not all(scrape.sum("partitions") for scrape in scrapes):
            return None
        assert not scrapes[0].queues & scrapes[1].queues, "a queue is told by both"
        return scrapes if sum(map(read_of, scrapes)) == len(events) else None

    both = until("both workers to be ready", shared)
    assert sum(scrape.sum("partitions") for scrape in both) == PARTITIONS
    more = calls(len(events), 1000, start)
    events += more
    site.send(map(message, more))
    both = until("the new events to be folded", shared)
    expected = uninterrupted(site, events)
    together: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for scrape in both:
        assert not together.keys() & counters(scrape).keys()
        together |= counters(scrape)
    assert together == counters(expected)
    assert corrected(both) == corrected([expected])

    two.kill()
    alone = one.until_scrape(
        "the killed worker's partitions", lambda scrape: scrape.ready and scrape.sum("partitions") == PARTITIONS
    )
    assert counters(alone) == counters(expected)
    assert one.stop() == 0, one.said()
