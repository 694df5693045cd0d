"""What must hold of every history: order, duplicates, batches and restarts change no figure; counters and gauges agree."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Attribution, Definition, Preset, WaitClock
from queuewatch_streams.core.figures import balance_residual
from queuewatch_streams.core.partition import Clock
from support import oracle
from support.events import MINUTE, SECOND, call, iso
from support.histories import LENGTH, START, Scale, histories, shuffled
from support.running import (
    PATIENT,
    at_once,
    boards,
    configuration,
    corrected,
    figures,
    folded,
    partition,
    restored,
    state,
    totals,
)

SCALE = Scale(queues=("sales", "claims"))
CONFIG = configuration(
    {
        "default": Definition(),
        "called": Definition(clock=WaitClock.CALL, attribution=Attribution.EVENT),
        "asterisk": Definition(preset=Preset.ASTERISK_2, attribution=Attribution.OUTCOME, short_seconds=5),
        "removed": Definition(preset=Preset.REMOVED, attribution=Attribution.EVENT, clock=WaitClock.CALL),
    },
    timing=PATIENT,
)
nows = st.integers(0, LENGTH + 20 * MINUTE).map(lambda since: START + since)
History = list[dict[str, Any]]


@given(histories(SCALE), st.integers(0, 1 << 30), nows)
def test_order_and_duplicates_change_no_figure(events: History, seed: int, now: int) -> None:
    """The same events, shuffled and some of them repeated, come to the same figures and the same knowledge of visits."""
    straight = folded(at_once(events, START), CONFIG)
    mixed = folded(at_once(shuffled(events, seed), START), CONFIG)
    assert figures(mixed, now) == figures(straight, now)
    assert boards(mixed, now) == boards(straight, now)
    for name, queue in straight.queues.items():
        known, also = state(queue), state(mixed.queues[name])
        assert also["visits"]["call"] == known["visits"]["call"]
        assert also["visits"]["queued"] == known["visits"]["queued"]
        assert also["more"] == known["more"]


@given(histories(SCALE), st.integers(0, 1 << 30))
def test_batching_changes_nothing_at_all(events: History, seed: int) -> None:
    """Folding record by record, in random batches, or in one go leaves the same state to the last counter."""
    records, chance = at_once(events, START), random.Random(seed)
    whole, pieces = folded(records, CONFIG), partition(CONFIG)
    begin = 0
    while begin < len(records):
        end = begin + chance.choice((1, 1, 2, 5, 20))
        pieces.fold(records[begin:end])
        begin = end
    assert {name: state(queue) for name, queue in pieces.queues.items()} == {
        name: state(queue) for name, queue in whole.queues.items()
    }
    assert pieces.counts == whole.counts
    assert pieces.next_offset == whole.next_offset


@given(histories(SCALE), st.data(), nows)
def test_snapshot_and_resume_at_any_point_change_nothing(events: History, data: st.DataObject, now: int) -> None:
    """Writing every record at some offset, restoring and folding on is as if nothing had happened."""
    records = at_once(events, START)
    cut = data.draw(st.integers(0, len(records)))
    whole, first = folded(records, CONFIG), folded(records[:cut], CONFIG)
    written = [first.encode_queue(name) for name in list(first.queues)]
    second = restored([*written, first.encode_self()], CONFIG)
    second.fold(records)
    assert figures(second, now) == figures(whole, now)
    assert boards(second, now) == boards(whole, now)
    assert totals(second) == totals(whole)
    assert second.counts == whole.counts
    assert {name: state(queue) for name, queue in second.queues.items()} == {
        name: state(queue) for name, queue in whole.queues.items()
    }


@given(histories(SCALE))
def test_a_written_queue_reads_back_as_it_was(events: History) -> None:
    """Encoding what was decoded gives the very same bytes: nothing is lost and nothing depends on the order of folding."""
    first = folded(at_once(events, START), CONFIG)
    written = {name: first.encode_queue(name) for name in list(first.queues)}
    for name in written:
        first.written(name, first.next_offset)
    second = restored([*written.values(), first.encode_self()], CONFIG)
    assert {name: second.encode_queue(name) for name in list(second.queues)} == written


@given(histories(SCALE), st.integers(0, 1 << 30))
def test_counters_corrected_by_revisions_are_the_exact_figures(events: History, seed: int) -> None:
    """total - revisions from + revisions to = what a recount of all visits gives, by outcome and channel, in any order."""
    made = folded(at_once(shuffled(events, seed), START), CONFIG)
    exact = oracle.joined(events)
    for name, queue in made.queues.items():
        for channel_name, channel in queue.channels.items():
            stays = exact.of(name, channel_name)
            by_status = Counter(stay.status for stay in stays)
            counted = corrected(channel)
            assert counted["offered"] == len(stays)
            assert {outcome: counted[outcome] for outcome in oracle.OUTCOMES} == {
                outcome: by_status[outcome] for outcome in oracle.OUTCOMES
            }
        assert corrected(queue.channels["voice"])["refused"] == len(exact.refused[name])


@given(histories(SCALE), st.integers(0, 1 << 30))
def test_counters_never_go_down(events: History, seed: int) -> None:
    """After each event every counter of queue and partition is at least what it was before."""
    made = partition(CONFIG)
    before: dict[Any, int] = {}
    counted: dict[Any, int] = {}
    for record in at_once(shuffled(events, seed), START):
        made.fold([record])
        after = {(key, name): amount for key, each in totals(made).items() for name, amount in each.items()}
        assert all(after.get(name, 0) >= amount for name, amount in before.items())
        assert all(made.counts.get(name, 0) >= amount for name, amount in counted.items())
        before, counted = after, dict(made.counts)


@given(histories(SCALE), st.integers(0, 1 << 30))
def test_the_balance_residual_is_zero_after_every_event(events: History, seed: int) -> None:
    """Counts kept by increments and revisions meet the open visits held, whatever has come so far."""
    made = partition(CONFIG)
    for record in at_once(shuffled(events, seed), START):
        made.fold([record])
        for queue in made.queues.values():
            assert [balance_residual(channel) for channel in queue.channels.values()] == [0] * len(queue.channels)


@given(histories(SCALE), nows)
def test_bounds_contain_the_level(events: History, now: int) -> None:
    """lower <= level <= upper wherever all three are known, and a known level has both bounds."""
    for shown in figures(folded(at_once(events, START), CONFIG), now).values():
        for window, told in shown.windows.items():
            for each in told.levels:
                if window not in ("interval", "day") or each.level.attribution is not Attribution.ARRIVAL:
                    assert each.lower is None and each.upper is None
                elif each.ratio is not None:
                    assert each.lower is not None and each.upper is not None
                    assert 0 <= each.lower <= each.ratio <= each.upper <= 1


@given(histories(SCALE))
def test_histories_and_live_topics_agree(events: History) -> None:
    """A topic that is folded as a history, without judging times, ends with the figures of the live one."""
    now = START + LENGTH
    live = folded(at_once(events, START), CONFIG)
    history = folded(at_once(events, START), CONFIG, Clock.EVENTS)
    assert figures(history, now) == figures(live, now)
    assert boards(history, now) == boards(live, now)
    assert totals(history) == totals(live)


def test_of_equal_times_the_smallest_canonical_json_holds() -> None:
    """Two `queued` of one instant disagree about the channel: the smaller text decides, whichever came first."""
    one, other = call("queued", START, channel="chat"), call("queued", START, channel="voice")
    for events in ([one, other], [other, one]):
        made = folded(at_once(events, START), CONFIG)
        assert list(figures(made, START)) == [("sales", "chat")]


@pytest.mark.parametrize(("first", "second"), [(9, 10), (10, 9)])
def test_canonical_json_orders_numbers_as_text(first: int, second: int) -> None:
    """`"priority": 10` sorts before `"priority": 9`, as in the brute-force recount; the visit has priority 10."""
    made = folded(at_once([call("queued", START, priority=each) for each in (first, second)], START), CONFIG)
    entry = made.queues["sales"].visits["c-1"].entry
    assert entry is not None and entry.priority == 10


def test_a_moved_first_entry_is_taken_out_of_the_very_cell_it_was_put_into() -> None:
    """The call's first entry is corrected after the outcome: the level by event moves, and nothing stays behind."""
    moved = [
        call("queued", START + MINUTE, entered=iso(START - 20 * MINUTE)),
        call("answered", START + 2 * MINUTE),
        call("queued", START + MINUTE - SECOND, entered=iso(START - 50 * MINUTE)),
    ]
    straight = folded(at_once(moved, START), CONFIG)
    backwards = folded(at_once(moved[::-1], START), CONFIG)
    one, other = (
        {at: cell.told() for at, cell in each.queues["sales"].channels["voice"].windows.days.cells.items()}
        for each in (straight, backwards)
    )
    assert one == other
