"""What is published is what the models of the contract say, byte for byte as a reader of the topic would find it."""

import json
from typing import Any

import pytest

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.records import ClosedInterval, PartitionNews, QueueSnapshot, partition_of_key
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.exporter import Exporter
from queuewatch_streams.publications import interval, news, snapshot
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, micros, record

START = micros("2026-11-20T09:00:00+00:00")
WINDOWS = ["5m", "15m", "30m", "1h", "interval", "last_interval", "day"]
CONFIG = Configuration.model_validate(
    {
        "business": {"windows": WINDOWS, "time_zone": "Asia/Kolkata"},
        "definitions": {
            "gold": {"threshold_seconds": 10, "preset": "ignore-short"},
            "late": {"attribution": "outcome"},
        },
        "queues": {"sales": {"name": "Sales", "definitions": ["gold", "late"], "group": "front", "site": "Rome"}},
    }
)
EVENTS = (
    call("queued", START),
    call("queued", START + SECOND, "c-2"),
    call("queued", START + 2 * SECOND, "c-3"),
    call("queued", START + 3 * SECOND, "c-4", channel="chat"),
    call("queued", START + 4 * SECOND, "c-5", channel="callback", due="2026-11-20T09:00:30Z"),
    call("answered", START + 5 * SECOND),
    call("abandoned", START + 5 * SECOND, "c-2"),
    call("diverted", START + 6 * SECOND, "c-3", reason="overflow"),
    call("ended", START + 35 * SECOND),
    call("wrapped", START + 45 * SECOND),
)


def partition(*events: dict[str, Any], config: Configuration = CONFIG, clock: Clock = Clock.LIVE) -> Partition:
    """A partition that folded these events as they happened."""
    made = Partition(0, config, partitions=1, clock=clock)
    assert not made.fold([record(offset, event) for offset, event in enumerate(events)]).refused
    return made


def told(made: Partition, now: int, queue: str = "sales") -> QueueSnapshot:
    """The snapshot as its reader has it."""
    exporter = Exporter(made.configuration)
    told = exporter.queue(made, queue)
    assert told is not None
    value = snapshot(made, told, exporter.settings(queue), now)
    read = QueueSnapshot.from_bytes(value)
    assert json.loads(value) == json.loads(read.to_bytes()), "nothing is lost, added or written otherwise"
    return read


def closed(made: Partition, *records: Record) -> dict[tuple[str, int], list[ClosedInterval]]:
    """The intervals to tell once these are folded, as their reader has them, by channel and start."""
    found: dict[tuple[str, int], list[ClosedInterval]] = {}
    folded = made.fold(records)
    assert not folded.refused
    for each in [*folded.closed, *made.advance()]:
        key, value = interval(made, each, Exporter(made.configuration).settings(each.queue))
        read = ClosedInterval.from_bytes(value)
        assert key == read.key()
        assert json.loads(value) == json.loads(read.to_bytes())
        found.setdefault((read.channel, micros(read.start.isoformat())), []).append(read)
    return found


def test_a_snapshot_is_the_record_of_the_contract() -> None:
    """Every window and level, with offset, settings and definitions: it stands for itself."""
    read = told(partition(*EVENTS), START + MINUTE)
    assert (read.queue, read.partition, read.offset) == ("sales", 0, len(EVENTS))
    assert (read.name, read.group, read.site, read.time_zone) == ("Sales", "front", "Rome", "Asia/Kolkata")
    assert list(read.definitions) == ["gold", "late"]
    assert set(read.channels) == {"voice", "chat"}
    voice = read.channels["voice"]
    assert list(voice.windows) == WINDOWS
    day = voice.windows["day"]
    assert (day.offered, day.answered, day.abandoned, day.short_abandoned, day.diverted) == (3, 1, 1, 1, 1)
    assert (day.handled, day.handle_seconds_sum, day.answer_wait_mean_seconds) == (1, 40, 5)
    assert voice.levels["gold"]["day"].ratio == 1
    assert voice.levels["late"]["interval"].lower is None
    assert voice.levels["gold"]["interval"].lower is not None
    assert read.channels["chat"].longest_wait_seconds == 57
    assert (voice.longest_wait_today_seconds, read.channels["chat"].longest_wait_today_seconds) == (5, 57)
    assert (read.callbacks.waiting, read.callbacks.oldest_seconds) == (1, 30)


def test_a_queue_of_the_configuration_is_told_at_0_before_anything_happens() -> None:
    """As on /metrics: it is known to be there, and that nobody came."""
    made = Partition(0, CONFIG, partitions=1)
    [name, *_] = CONFIG.queues
    read = told(made, START, name)
    assert (read.queue, read.offset, read.log_time, read.last_event_time) == (name, 0, None, None)
    voice = read.channels["voice"]
    assert (voice.waiting, voice.longest_wait_seconds, voice.longest_wait_today_seconds) == (0, 0, 0)
    assert {window.offered for window in voice.windows.values()} == {0}
    assert {level.ratio for windows in voice.levels.values() for level in windows.values()} == {None}


def test_a_snapshot_has_the_last_hour_by_five_minutes() -> None:
    """Twelve points that end with the one that runs; levels by arrival and by outcome, each where it books."""
    history = told(partition(*EVENTS), START + 6 * MINUTE).channels["voice"].history
    assert history is not None
    assert micros(history.start.isoformat()) == START - 50 * MINUTE
    assert history.step_seconds == 300
    assert history.offered == (0,) * 10 + (3, 0)
    assert (history.answered, history.abandoned) == ((0,) * 10 + (1, 0), (0,) * 10 + (1, 0))
    assert history.levels["gold"].met == history.levels["gold"].counted == (0,) * 10 + (1, 0)
    assert (history.levels["late"].met, history.levels["late"].counted) == ((0,) * 10 + (1, 0), (0,) * 10 + (2, 0))
    chat = told(partition(*EVENTS), START + 6 * MINUTE).channels["chat"].history
    assert chat is not None
    assert chat.offered == (0,) * 10 + (1, 0)
    assert chat.levels["gold"].counted == (0,) * 10 + (1, 0), "past the threshold one who waits is counted"


def test_what_is_unknown_is_null_never_0() -> None:
    """No source with heartbeats, no hours, no after-call work, an empty window."""
    read = told(partition(call("queued", START)), START + HOUR)
    assert (read.open, read.source_up) == (None, None)
    voice = read.channels["voice"]
    assert voice.wrapping is None
    empty = voice.windows["last_interval"]
    assert (empty.offered, empty.answer_wait_mean_seconds, empty.handle_time_mean_seconds, empty.abandon_ratio) == (
        0,
        None,
        None,
        None,
    )
    assert voice.levels["late"]["5m"].ratio is None


def test_rolling_windows_have_no_start_and_those_of_the_day_have_theirs() -> None:
    """By the queue's own zone: a day in Kolkata begins at 18:30 UTC."""
    windows = told(partition(*EVENTS), START + MINUTE).channels["voice"].windows
    assert all(windows[name].start is None for name in ("5m", "15m", "30m", "1h"))
    start = windows["day"].start
    assert start is not None
    assert micros(start.isoformat()) == micros("2026-11-19T18:30:00+00:00")


@pytest.mark.parametrize(("upstream", "up"), [("ok", True), ("down", False), ("unknown", None)])
def test_a_snapshot_says_whether_its_source_is_looked_at(upstream: str, up: bool | None) -> None:
    """By the newest heartbeat."""
    made = partition(*EVENTS, heartbeat(START + 50 * SECOND, upstream=upstream))
    assert told(made, START + MINUTE).source_up is up


def test_a_queue_that_the_configuration_does_not_name_goes_by_its_own_name() -> None:
    """With the default definition."""
    read = told(partition(call("queued", START, queue="客服")), START + MINUTE, "客服")
    assert (read.name, list(read.definitions), read.key()) == ("客服", ["default"], "客服".encode())


def test_of_a_history_the_snapshots_time_is_its_newest_event() -> None:
    """Not the wall clock."""
    read = told(partition(*EVENTS, clock=Clock.EVENTS), START + 999 * HOUR)
    assert micros(read.time.isoformat()) == START + 45 * SECOND


def test_intervals_are_told_once_when_they_close_empty_ones_too() -> None:
    """From the first event's interval up to the one that runs."""
    made = partition(*EVENTS)
    assert closed(made) == {}
    found = closed(made, record(len(EVENTS), heartbeat(START + 95 * MINUTE)))
    starts = [START + n * 30 * MINUTE for n in range(3)]
    assert sorted(found) == sorted((channel, at) for channel in ("voice", "chat", "callback") for at in starts)
    assert closed(made) == {}, "they are told once"
    [first] = found["voice", START]
    assert (first.arrivals.offered, first.arrivals.answered, first.outcomes.diverted_by) == (3, 1, {"overflow": 1})
    assert (first.handled.calls, first.handled.talk_seconds, first.handled.wrap_up_seconds) == (1, 30, 10)
    assert (first.levels["gold"].met, first.levels["gold"].counted) == (1, 1)
    assert first.levels["gold"].definition.threshold_seconds == 10
    assert (first.final, first.offset) == (False, len(EVENTS)), "who waits on a channel may turn out to be of another"
    [waits] = found["chat", START]
    assert (waits.arrivals.waiting, waits.final) == (1, False)
    [empty] = found["voice", starts[1]]
    assert (empty.arrivals.offered, empty.levels["gold"].ratio) == (0, None)


def test_an_interval_that_a_late_event_changes_is_told_again() -> None:
    """With a greater offset; final once its grace has ended."""
    made = partition(call("queued", START + 29 * MINUTE))
    [first] = closed(made, record(1, heartbeat(START + 31 * MINUTE)))["voice", START]
    assert (first.arrivals.waiting, first.final) == (1, False)
    [second] = closed(made, record(2, call("abandoned", START + 32 * MINUTE)))["voice", START]
    assert (second.arrivals.abandoned, second.outcomes.abandoned, second.final) == (1, 0, False)
    assert second.offset > first.offset
    [last] = closed(made, record(3, heartbeat(START + 60 * MINUTE)))["voice", START]
    assert (last.arrivals, last.final) == (second.arrivals, True)


def test_news_of_a_partition_are_the_record_of_the_contract() -> None:
    """Also before its first record, when its log has no time yet."""
    for made in (Partition(0, CONFIG, partitions=1), partition(*EVENTS)):
        key, value = news(made, "host/1", ready=True, now=START)
        read = PartitionNews.from_bytes(value)
        assert (key, partition_of_key(key)) == (read.key(), 0)
        assert json.loads(value) == json.loads(read.to_bytes())
        assert (read.owner, read.queues, read.offset) == ("host/1", len(made.queues), made.next_offset)
        assert (read.log_time is None) == (made.next_offset == 0)
