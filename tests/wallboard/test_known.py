"""What of the snapshots' topic is held for true: offsets, silence, recoveries, logs that were made anew."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_wallboard.known import NEWS_SILENCE, Known
from support.boards import PARTITIONS, at, moment, news, snapshot

BEFORE = NEWS_SILENCE - 0.01
AFTER = NEWS_SILENCE + 0.01


def stale_of(known: Known, queue: str, seconds: float) -> str | None:
    """Why the queue is stale; None when it is not."""
    stale = known.stale(known.snapshots[queue], known.silent(at(seconds)))
    return None if stale is None else stale.why


# ----------------------------------------------------------------------------------------------------------- properties


@dataclass(frozen=True)
class Step:
    """Some time passes, then a record comes."""

    seconds: float
    kind: str
    partition: int
    offset: int
    live: bool
    ready: bool
    owner: str


steps = st.lists(
    st.builds(
        Step,
        seconds=st.sampled_from([0, 0.5, 2, 6.5, 7.5, 60]),
        kind=st.sampled_from(["news", "news", "snapshot", "snapshot", "tombstone"]),
        partition=st.integers(0, PARTITIONS - 1),
        offset=st.integers(0, 6),
        live=st.booleans(),
        ready=st.booleans(),
        owner=st.sampled_from(["worker-1", "worker-2"]),
    ),
    max_size=30,
)


@given(steps)
def test_nothing_is_fresh_unless_its_worker_said_within_three_rounds_that_it_is_caught_up(taken: list[Step]) -> None:
    """Whatever comes in whatever order: news that lay in the topic before, recoveries and other offsets prove nothing."""
    known = Known()
    seconds = 0.0
    said: dict[int, float] = {}
    for step in taken:
        seconds += step.seconds
        queue = f"q{step.partition}"
        if step.kind == "news":
            told = news(step.partition, step.offset, seconds, ready=step.ready, owner=step.owner)
            known.take_news(told, at(seconds), live=step.live)
            if step.live and step.ready:
                said[step.partition] = seconds
        elif step.kind == "snapshot":
            record = snapshot(queue, step.offset, seconds, partition=step.partition)
            known.take_snapshot(record, at(seconds), live=step.live)
        else:
            known.take_tombstone(queue, at(seconds))
        for later in (0.0, 5.0, 20.0):
            silent = known.silent(at(seconds + later))
            for held in known.snapshots.values():
                if known.stale(held, silent) is None:
                    heard = said.get(held.record.partition)
                    assert heard is not None
                    assert seconds + later - heard <= NEWS_SILENCE


@given(st.permutations(range(8)), st.data())
def test_of_one_key_the_greatest_offset_counts_in_any_order_with_any_duplicates(
    order: list[int], data: st.DataObject
) -> None:
    """Times say nothing: a worker that was fenced may write late."""
    known = Known()
    again = data.draw(st.lists(st.sampled_from(order)))
    for offset in [*order, *again]:
        late = (7 - offset) / 2
        known.take_snapshot(snapshot("sales", offset, late, waiting=offset), at(20), live=True)
        known.take_news(news(0, offset, late), at(20), live=True)
    assert known.snapshots["sales"].record.offset == 7
    assert known.news[0].record.offset == 7


@given(st.lists(st.floats(0, 1000), min_size=1), st.floats(-4000, 4000))
def test_the_age_of_what_came_as_it_was_written_owes_nothing_to_any_wall_clock(passed: list[float], off: float) -> None:
    """Neither the workers' clock nor a step of this service's own."""
    known = Known()
    known.take_snapshot(snapshot("sales", 1, off), at(0), live=True)
    held = known.snapshots["sales"]
    for seconds in passed:
        assert held.age_at(at(seconds, clock=off)) == pytest.approx(seconds)


# ------------------------------------------------------------------------------------------------------------- silence


def test_a_partition_is_silent_three_rounds_after_its_last_news_and_says_since_when() -> None:
    """Since the last time that it was heard of, not since it was noticed."""
    known = Known()
    known.take_snapshot(snapshot("sales", 5, 0), at(0), live=True)
    for partition in range(PARTITIONS):
        known.take_news(news(partition, 5, 0), at(0), live=True)
    assert known.silent(at(BEFORE)) == {}
    assert stale_of(known, "sales", BEFORE) is None
    silent = known.silent(at(AFTER))
    assert list(silent) == list(range(PARTITIONS))
    assert {(each.why, each.since) for each in silent.values()} == {("no_news", moment(0))}
    assert stale_of(known, "sales", AFTER) == "no_news"


def test_a_partition_never_heard_of_is_known_from_the_news_of_any_other() -> None:
    """It may hold queues that no row shows."""
    known = Known()
    assert known.partitions is None
    assert known.silent(at(0)) == {}
    known.take_news(news(2, 5, 0), at(0), live=True)
    silent = known.silent(at(0))
    assert {number: (each.why, each.since) for number, each in silent.items()} == dict.fromkeys(
        (0, 1, 3), ("never", None)
    )


def test_what_lay_in_the_topic_before_proves_nothing_even_if_its_time_is_of_now() -> None:
    """Its clock may be an hour ahead, and its worker dead for an hour."""
    known = Known()
    known.take_snapshot(snapshot("sales", 5, 0), at(0), live=False)
    known.take_news(news(0, 5, 0), at(0), live=False)
    assert stale_of(known, "sales", 0) == "no_news"
    known.take_news(news(0, 5, 2), at(2), live=True)
    assert stale_of(known, "sales", 2) is None


def test_a_recovering_worker_is_told_with_the_time_until_which_the_figures_were_true() -> None:
    """The new owner begins behind what was told before, and does not begin a new log by that."""
    known = Known()
    known.take_snapshot(snapshot("sales", 90, 0), at(0), live=True)
    known.take_news(news(0, 100, 1), at(1), live=True)
    known.take_news(news(0, 60, 3, owner="worker-2", ready=False), at(3), live=True)
    silent = known.silent(at(4))[0]
    assert (silent.why, silent.since) == ("recovering", moment(1))
    assert stale_of(known, "sales", 4) == "recovering"
    known.take_news(news(0, 120, 5, owner="worker-2"), at(5), live=True)
    assert stale_of(known, "sales", 5) is None


def test_after_a_silence_it_is_since_the_last_true_news_also_while_the_next_worker_recovers() -> None:
    """People want to know how old the figures are, not how far the machinery is."""
    known = Known()
    known.take_news(news(0, 100, 1), at(1), live=True)
    known.take_news(news(0, 60, 41, owner="worker-2", ready=False), at(41), live=True)
    assert known.silent(at(60))[0].since == moment(1)
    assert known.silent(at(60))[0].why == "no_news"


# ------------------------------------------------------------------------------------------------- one queue's staleness


def test_a_snapshot_that_its_living_worker_no_longer_publishes_is_stale() -> None:
    """Every snapshot comes again each ten seconds, so three of these and some room are silence."""
    known = Known()
    known.take_snapshot(snapshot("sales", 5, 0), at(0), live=True)
    for seconds in range(0, 46):
        known.take_news(news(0, 5, seconds), at(seconds), live=True)
    assert stale_of(known, "sales", 45) is None
    known.take_news(news(0, 5, 46), at(46), live=True)
    stale = known.stale(known.snapshots["sales"], known.silent(at(46)))
    assert stale is not None
    assert (stale.why, stale.since, stale.what) == ("not_published", moment(0), "all")


def test_a_source_that_is_down_greys_who_waits_since_it_went_down() -> None:
    """Also after many more snapshots; once it is up again nothing is grey."""
    known = Known()
    for seconds, up in ((0, True), (1, False), (2, False), (3, False)):
        known.take_snapshot(snapshot("sales", seconds, seconds, source_up=up), at(seconds), live=True)
        known.take_news(news(0, seconds, seconds), at(seconds), live=True)
    stale = known.stale(known.snapshots["sales"], known.silent(at(3)))
    assert stale is not None
    assert (stale.why, stale.since, stale.what) == ("source_down", moment(1), "waiting")
    known.take_snapshot(snapshot("sales", 4, 4, source_up=None), at(4), live=True)
    assert stale_of(known, "sales", 4) is None


def test_a_queue_that_has_left_the_state_is_gone_and_older_snapshots_do_not_bring_it_back() -> None:
    """A newer one does: it has calls again."""
    known = Known()
    known.take_snapshot(snapshot("sales", 5, 0), at(0), live=True)
    assert known.take_tombstone("sales", at(1))
    assert not known.take_tombstone("sales", at(2))
    assert "sales" not in known.snapshots
    assert known.gone_since("sales") == moment(1)
    assert not known.take_snapshot(snapshot("sales", 5, 3), at(3), live=True)
    assert known.take_snapshot(snapshot("sales", 6, 4), at(4), live=True)
    assert known.gone_since("sales") is None


# ------------------------------------------------------------------------------------------------- other logs and topics


def test_news_of_a_log_that_was_made_anew_count_after_a_silence_and_void_what_was_beyond_its_end() -> None:
    """Else the old log's greater offsets would stand for ever."""
    known = Known()
    known.take_snapshot(snapshot("sales", 900, 0, waiting=3), at(0), live=True)
    known.take_news(news(0, 1000, 1), at(1), live=True)
    assert not known.take_news(news(0, 4, 3, owner="worker-2"), at(3), live=True)
    assert known.take_news(news(0, 4, 9, owner="worker-2"), at(9), live=True)
    assert stale_of(known, "sales", 9) == "not_published"
    assert known.take_snapshot(snapshot("sales", 3, 10, waiting=1), at(10), live=True)
    assert known.take_news(news(0, 5, 11, owner="worker-2"), at(11), live=True)
    assert stale_of(known, "sales", 11) is None
    voice = known.snapshots["sales"].record.channels["voice"]
    assert voice.waiting == 1


def test_with_another_number_of_partitions_news_of_the_old_topic_are_no_news() -> None:
    """What was heard under a number that is no more, or means something else now, says nothing."""
    known = Known()
    for partition in range(PARTITIONS):
        known.take_snapshot(snapshot(f"q{partition}", 5, 0, partition=partition), at(0), live=True)
        known.take_news(news(partition, 5, 0), at(0), live=True)
    known.take_news(news(0, 2, 10, partitions=2, owner="worker-2"), at(10), live=True)
    assert known.partitions == 2
    assert {number: each.why for number, each in known.silent(at(10)).items()} == {1: "never"}
    assert stale_of(known, "q1", 10) == "never"
    assert stale_of(known, "q3", 10) == "never"


def test_another_topic_of_the_same_name_is_known_from_nothing() -> None:
    """Nothing of the old one is shown."""
    known = Known()
    known.take_snapshot(snapshot("sales", 5, 0), at(0), live=True)
    known.take_news(news(0, 5, 0), at(0), live=True)
    known.forget()
    assert known.snapshots == {}
    assert known.partitions is None
