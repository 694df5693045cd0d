"""A queue is told of again when something in it changes by time alone, and not before."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import ROLLING_SECONDS, QueueSettings
from queuewatch_streams.cadence import Cadence
from queuewatch_streams.core.figures import is_open, moves_at
from queuewatch_streams.core.partition import Clock, Partition
from queuewatch_streams.exporter import Exporter
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, record
from support.histories import LENGTH, START, Scale, histories
from support.running import PATIENT, as_told, at_once, boards, configuration, figures, folded

STILL = configuration(timing=PATIENT)
nows = st.integers(0, LENGTH + 27 * HOUR).map(lambda since: START + since)


def told(made: Partition, now: int) -> dict[Any, Any]:
    """All figures, but for where a rolling window or a history of zeros begins, which says nothing."""
    found: dict[Any, Any] = {}
    for key, each in figures(made, now).items():
        windows = {
            name: replace(window, start=0, end=0) if name in ROLLING_SECONDS else window
            for name, window in each.windows.items()
        }
        history, longest = boards(made, now)[key]
        counted = history.offered + [count for level in history.levels for count in level.base]
        found[key] = replace(each, windows=windows), history if any(counted) else None, longest
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories(Scale()), nows, st.floats(0, 1, exclude_max=True))
def test_nothing_that_is_told_changes_before_the_queue_moves(
    events: list[dict[str, Any]], now: int, part: float
) -> None:
    """Where nobody waits: no figure of any window, no point and no longest wait, at any instant until then."""
    made = folded(at_once(events, START), STILL)
    for queue in made.queues.values():
        for channel in queue.channels.values():
            for key in list(channel.open):
                name, visit = (key, 1) if isinstance(key, str) else key
                left = call("abandoned", START + LENGTH, name, visit=visit)
                made.fold([record(made.next_offset, left, START)])
        assert not any(channel.waiting for channel in queue.channels.values())
        moves = moves_at(queue, now)
        assert now < moves <= now + 30 * MINUTE
        later = now + math.floor((moves - now) * part)
        assert told(made, now) == told(made, later)
        assert is_open(queue, now) is is_open(queue, later)


def shown(*events: dict[str, Any], clock: Clock = Clock.LIVE) -> Partition:
    """A partition that folded these as they happened."""
    return folded(as_told(events), configuration(), clock)


def begun() -> Cadence:
    """Of the queues to which something happened."""
    return Cadence(lambda made: made.queues)


def serve(cadence: Cadence, made: Partition, name: str, now: int) -> None:
    """The queue's figures went out, or that it is gone."""
    cadence.was_told(made, name, made.queues.get(name), now)


def served(cadence: Cadence, made: Partition, now: int) -> list[str]:
    """The queues that are told of at this instant, in their order."""
    cadence.look([made], now)
    names = []
    while (due := cadence.next_due(now)) is not None:
        serve(cadence, *due, now)
        names.append(due[1])
    return names


def told_at(cadence: Cadence, made: Partition, start: int, seconds: int) -> list[float]:
    """When `sales` is told of in so many seconds, looked at every tenth of one, in seconds since the start."""
    instants = range(start, start + seconds * SECOND, SECOND // 10)
    return [(now - start) / SECOND for now in instants if "sales" in served(cadence, made, now)]


def test_a_queue_with_a_caller_who_waits_is_told_of_once_a_second() -> None:
    """At once, and then as long as he waits."""
    assert told_at(begun(), shown(call("queued", START)), START + SECOND, 5) == [0, 1, 2, 3, 4]


def test_a_callback_that_is_not_due_yet_is_no_reason_to_tell_of_a_queue() -> None:
    """Until it is: then it waits as others do."""
    due = "2026-03-02T08:00:23+00:00"
    made = shown(call("queued", START, channel="callback", due=due))
    assert told_at(begun(), made, START, 26) == [0, 10, 20, 23, 24, 25]


def test_a_queue_that_slides_is_told_of_at_every_full_ten_seconds() -> None:
    """For an hour and not for long after; in between nothing changes, so there is nothing to tell."""
    made = shown(call("queued", START), call("abandoned", START + SECOND))
    assert told_at(begun(), made, START + 4 * SECOND, 40) == [0, 6, 16, 26, 36]
    later = START + HOUR + 5 * MINUTE + 3 * SECOND
    assert told_at(begun(), made, later, 40) == [0, 10, 20, 30]


def test_an_idle_queue_is_told_of_when_its_interval_ends() -> None:
    """Its last interval, and at midnight its day, are other ones then."""
    made = shown(call("queued", START), call("abandoned", START + SECOND))
    assert told_at(begun(), made, START + 16 * HOUR - 16 * SECOND, 20) == [0, 10, 16]


def test_what_was_told_for_a_change_is_not_due_again_at_once() -> None:
    """Whoever told of a changed queue says so; it stays due for as long as nobody does."""
    cadence, made = begun(), shown(call("queued", START))
    cadence.look([made], START)
    assert cadence.next_due(START) == cadence.next_due(START) == (made, "sales")
    serve(cadence, made, "sales", START + SECOND // 2)
    assert cadence.next_due(START + SECOND) is None
    assert cadence.next_due(START + 3 * SECOND // 2) == (made, "sales")


def test_a_queue_in_which_somebody_begins_to_wait_is_due_sooner_than_it_was() -> None:
    """It was to be told of in ten seconds."""
    cadence, made = begun(), shown(heartbeat(START), call("refused", START))
    assert served(cadence, made, START + HOUR + 10 * MINUTE) == ["sales"]
    later = START + HOUR + 10 * MINUTE + SECOND
    made.fold([record(2, call("queued", later, "c-2"))])
    serve(cadence, made, "sales", later)
    assert told_at(cadence, made, later, 4) == [1, 2, 3]


def test_a_partition_that_comes_anew_is_due_whole() -> None:
    """Another owner's snapshots may be of long ago; also where it has been here before."""
    cadence, made = begun(), shown(call("queued", START), call("queued", START, "c-2", "claims"))
    assert sorted(served(cadence, made, START)) == ["claims", "sales"]
    assert served(cadence, made, START) == []
    again = shown(call("queued", START), call("queued", START, "c-2", "claims"))
    assert sorted(served(cadence, again, START)) == ["claims", "sales"]
    cadence.look([], START)
    assert cadence.next_due(START + HOUR) is None
    assert sorted(served(cadence, again, START)) == ["claims", "sales"]


def test_what_is_most_overdue_comes_first() -> None:
    """So that nothing is passed over for ever where there is not time enough for all."""
    cadence = begun()
    made = shown(*(call("queued", START, f"c-{name}", name) for name in ("a", "b", "c")))
    served(cadence, made, START)
    for name, at in (("b", 1), ("c", 2), ("a", 3)):
        serve(cadence, made, name, START + at)
    assert served(cadence, made, START + HOUR) == ["b", "c", "a"]


def test_a_source_that_falls_silent_or_is_heard_again_makes_its_queues_due() -> None:
    """Three heartbeats of ten seconds are missed; queues of other sources are let be."""
    cadence = begun()
    made = shown(
        call("queued", START),
        call("answered", START),
        heartbeat(START, 10),
        call("queued", START, "c-2", "claims", source="x"),
        call("answered", START, "c-2", "claims", source="x"),
    )
    assert sorted(served(cadence, made, START + 21 * SECOND)) == ["claims", "sales"]
    assert sorted(served(cadence, made, START + 30 * SECOND)) == ["claims", "sales"]
    assert served(cadence, made, START + 30 * SECOND + 1) == ["sales"]
    made.fold([record(made.next_offset, heartbeat(START + 30 * SECOND + 2, 10))])
    assert served(cadence, made, START + 30 * SECOND + 3) == ["sales"]


def test_a_clock_that_goes_back_makes_everything_due() -> None:
    """Else nothing would be told of until it is where it was."""
    cadence, made = begun(), shown(call("queued", START), call("answered", START))
    assert told_at(cadence, made, START + HOUR, 1) == [0]
    assert told_at(cadence, made, START + MINUTE, 1) == [0]


def test_a_history_is_told_of_every_ten_seconds() -> None:
    """Its time stands still but for its events."""
    made = shown(call("queued", START), clock=Clock.EVENTS)
    assert told_at(begun(), made, START + HOUR, 25) == [0, 10, 20]


def test_a_queue_that_has_left_is_not_due() -> None:
    """Once that has been told."""
    cadence, made = begun(), shown(call("queued", START))
    cadence.look([made], START)
    del made.queues["sales"]
    serve(cadence, made, "sales", START)
    assert served(cadence, made, START + MINUTE) == []


def test_a_queue_of_the_configuration_is_told_of_before_anything_happens_in_it() -> None:
    """Every ten seconds, like any other that is at rest; and its first event is one of a queue that is known."""
    config = configuration().model_copy(update={"queues": {"claims": QueueSettings()}})
    exporter = Exporter(config)
    cadence, made = Cadence(exporter.names), Partition(0, config, partitions=1)
    for at in range(25):
        cadence.look([made], START + at * SECOND)
        due = cadence.next_due(START + at * SECOND)
        assert (due is not None) is (at in (0, 10, 20))
        if due is not None:
            assert due == (made, "claims")
            cadence.was_told(made, "claims", exporter.queue(made, "claims"), START + at * SECOND)
    made.fold([record(0, call("queued", START + 25 * SECOND, "c-1", "claims"))])
    assert exporter.queue(made, "claims") is made.queues["claims"]


def test_a_changed_queue_is_told_of_at_once_and_then_ten_times_a_second() -> None:
    """A clock that went back holds nothing up."""
    cadence, made = begun(), shown(call("queued", START))
    assert not cadence.was_just_told(made, "sales", START)
    cadence.look([made], START)
    serve(cadence, made, "sales", START)
    assert [cadence.was_just_told(made, "sales", START + tenths * SECOND // 20) for tenths in range(4)] == [
        *(True, True),
        *(False, False),
    ]
    assert not cadence.was_just_told(made, "sales", START - 1)
    assert not cadence.was_just_told(shown(call("queued", START)), "sales", START), "another owner's partition"
