"""The audit against the core: silent on every true snapshot of any history, loud on every planted fault."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import Definition
from queuewatch_schemas.records import QueueSnapshot
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.publications import snapshot
from support.audits import (
    CONFIG,
    SHORT_LIVED,
    appended,
    audited,
    audited_with_rest,
    dropped,
    published,
    records_of,
    recounted,
    tampered,
)
from support.events import MINUTE, call, iso, line, micros
from support.histories import START, Scale, histories, seeded

SCALE = Scale(queues=("sales", "claims"), strays=12)
SANE = Scale(queues=("sales", "claims"), strays=0)
DELAY = 20 * MINUTE
History = list[dict[str, Any]]
modest = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
ahead = st.integers(0, 3 * 60 * MINUTE)
seeds = st.integers(0, 1 << 30)


@modest
@given(histories(SCALE), seeds, ahead, st.sampled_from(Clock), st.data())
def test_true_snapshots_are_never_accused(
    events: History, seed: int, ahead: int, clock: Clock, data: st.DataObject
) -> None:
    """Late, early, doubled, disordered, let go and begun anew: what the core tells is what the recount finds."""
    records = records_of(events, seed, delay=DELAY)
    offset = data.draw(st.integers(0, len(records)))
    for config in (CONFIG, SHORT_LIVED):
        told = published(records[:offset], config, clock, now=lambda log_time: log_time + ahead)
        assert audited(records, told, config, clock) == []


@pytest.mark.parametrize("seed", range(12))
def test_long_true_histories_are_never_accused(seed: int) -> None:
    """The same for histories of two hundred visits, which are released and swept on the way."""
    records = records_of(seeded(seed, 200, SCALE), seed, delay=DELAY)
    told = published(records, SHORT_LIVED)
    assert audited(records, told, SHORT_LIVED) == []


def told_of(told: QueueSnapshot) -> dict[str, Any]:
    """What of a snapshot has to be right; who talks and wraps up only has to be so within what is due."""
    plain = told.model_dump(include={"channels", "callbacks", "last_event_time", "log_time"})
    for channel in plain["channels"].values():
        del channel["talking"]
        channel["wrapping"] = channel["wrapping"] is not None
        del channel["history"]["step_seconds"]  # which is always the same
    return plain


def counted(told: Any) -> bool:
    """Whether anything in it is a number other than 0."""
    if isinstance(told, dict):
        return any(counted(each) for each in told.values())
    if isinstance(told, tuple):
        return any(counted(each) for each in told)
    return isinstance(told, int | float) and not isinstance(told, bool) and told != 0


def is_wrong(told: QueueSnapshot, truth: QueueSnapshot) -> bool:
    """Whether something differs; a channel that is not told of says no less than one of zeros."""
    found, right = told_of(told), told_of(truth)
    for name in right["channels"].keys() - found["channels"].keys():
        if not counted(right["channels"][name]):
            del right["channels"][name]
    return found != right


def assert_found(records: list[Record], truth: dict[str, QueueSnapshot], told: dict[str, QueueSnapshot]) -> None:
    """A queue is accused exactly where something of it is not as it would be in truth."""
    wrong = {name for name in told if name not in truth or is_wrong(told[name], truth[name])}
    accused = {
        each.queue for each in audited(records, told, CONFIG) if each.figure not in ("talking", "wrapping")
    }  # fmt: skip
    assert accused == wrong


@modest
@given(histories(SCALE), seeds, ahead, st.data())
def test_a_dropped_event_is_found_wherever_it_shows(
    events: History, seed: int, ahead: int, data: st.DataObject
) -> None:
    """A worker that passed one event over is accused for exactly the queues whose snapshots are not true for it."""
    records = records_of(events, seed, delay=DELAY)
    assume(len(records) > 1)
    missed = data.draw(st.integers(0, len(records) - 2))
    truth = published(records, CONFIG, now=lambda log_time: log_time + ahead)
    told = published(dropped(records, missed), CONFIG, now=lambda log_time: log_time + ahead)
    assert_found(records, truth, told)


@modest
@given(histories(SCALE), seeds, st.data())
def test_a_doubled_event_is_found_wherever_it_shows(events: History, seed: int, data: st.DataObject) -> None:
    """A worker that counted one event as two calls' is accused where that shows."""
    records = [each._replace(offset=2 * each.offset) for each in records_of(events, seed, delay=DELAY)]
    assume(records)
    at = data.draw(st.integers(0, len(records) - 1))
    first = records[at]
    twin = first._replace(offset=first.offset + 1, value=(first.value or b"").replace(b'"c-', b'"twin-'))
    last = Record(2 * len(records), records[-1].timestamp, b"any", None)
    truth = published([*records, last], CONFIG)
    told = published([*records[: at + 1], twin, *records[at + 1 :], last], CONFIG)
    assert_found([*records, last], truth, told)


@modest
@given(histories(SCALE), seeds, st.data())
def test_a_stale_snapshot_is_found_wherever_it_shows(events: History, seed: int, data: st.DataObject) -> None:
    """Figures of before under the offset of now are accused where they have changed since."""
    records = records_of(events, seed, delay=DELAY)
    now = 2 * START
    before = published(records[: data.draw(st.integers(0, len(records)))], CONFIG, now=lambda log_time: now)
    truth = published(records, CONFIG, now=lambda log_time: now)
    told = {name: each.model_copy(update={"offset": len(records)}) for name, each in before.items()}
    assert_found(records, truth, told)


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The places of all figures that are compared to the digit."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in ("talking", "wrapping"):
                yield from leaves(each, *path, name)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from leaves(each, *path, at)
    else:
        yield path


@modest
@given(seeds, st.sampled_from((CONFIG, SHORT_LIVED)), st.data())
def test_any_one_figure_that_is_wrong_is_found(seed: int, config: Any, data: st.DataObject) -> None:
    """Every count, sum, mean, ratio, bound, time and residual of a snapshot is compared, in every window and level."""
    records = records_of(seeded(seed, 20, Scale()), seed, delay=0)
    told = published(records, config)["sales"]
    plain = told.model_dump(mode="json")
    place = data.draw(
        st.sampled_from([path for part in ("channels", "callbacks") for path in leaves(plain[part], part)])
    )

    def change(snapshot: dict[str, Any]) -> None:
        inner: Any = snapshot
        for name in place[:-1]:
            inner = inner[name]
        value = inner[place[-1]]
        if isinstance(value, int):
            inner[place[-1]] = value + 1
        elif isinstance(value, float):
            inner[place[-1]] = 0.75 if value == 0.25 else abs(value - 0.5)  # 0.25 would stay as it is
        else:
            timely = str(place[-1]).endswith("since") or place[-1] == "start"
            inner[place[-1]] = "2026-03-02T08:00:00.000001Z" if timely else 0.5

    found = audited(records, {"sales": tampered(told, change)}, config)
    assert found, place
    assert next(name for name in reversed(place) if isinstance(name, str)) in found[0].figure


@modest
@given(histories(SANE), seeds, ahead, st.data())
def test_a_log_that_retention_has_cut_accuses_nobody(
    events: History, seed: int, ahead: int, data: st.DataObject
) -> None:
    """Wherever the log begins: what may depend on what is gone is left out, and the rest is right."""
    told_once = [event for event in events if "due" not in event["data"] or event["data"].get("channel") == "callback"]
    records = appended(records_of(told_once, seed, delay=DELAY))
    begin = data.draw(st.integers(0, len(records)))
    told = published(records, CONFIG, now=lambda log_time: log_time + ahead)
    differences, left_out = audited_with_rest(records, told, CONFIG, begin=begin)
    assert differences == []
    assert bool(left_out) == bool(begin and told)


def test_behind_a_cut_what_is_known_is_still_compared() -> None:
    """Windows that begin after the first record that is left are compared: a fault in one of them is found."""
    events = [call("queued", START + n * MINUTE, f"c-{n}") for n in range(120)]
    events += [call("answered", START + n * MINUTE + 1_000_000, f"c-{n}") for n in range(120)]
    records = appended(records_of(sorted(events, key=lambda each: str(each["time"])), 1, delay=0))
    told = published(records, CONFIG)["sales"]
    assert audited(records, {"sales": told}, CONFIG, begin=40) == []

    def change(snapshot: dict[str, Any]) -> None:
        snapshot["channels"]["voice"]["windows"]["15m"]["answered"] -= 1

    (found,) = audited(records, {"sales": tampered(told, change)}, CONFIG, begin=40)
    assert (found.window, found.figure) == ("15m", "answered")


def test_refused_events_need_letters_and_letters_need_a_reason() -> None:
    """Below the committed offset each refused event has a letter; a letter for a good event is an accusation."""
    good = line(call("queued", START))
    records = [Record(0, START // 1000, b"sales", b"{"), Record(1, START // 1000, b"sales", good)]
    told = published(records, CONFIG)
    silent = recounted(records, told, CONFIG, settled=2)
    assert [offset for offset, _ in silent.unlettered] == [0]
    assert recounted(records, told, CONFIG, settled=0).unlettered == []
    wrong = recounted(records, told, CONFIG, settled=2, letters={0: "unreadable_json", 1: "late"})
    assert (wrong.unlettered, wrong.unfounded) == ([], [(1, "late")])
    full = recounted(records, told, CONFIG, settled=2, letters={0: "unreadable_json", 1: "too_many_queues"})
    assert full.unfounded == []


@modest
@given(histories(SCALE), histories(SCALE), seeds, st.booleans())
def test_a_queue_that_was_idle_and_began_anew_accuses_nobody(
    first: History, second: History, seed: int, left: bool
) -> None:
    """Whether or not it had left the state meanwhile, what may have been forgotten is not compared."""
    config = CONFIG.model_copy(update={"timing": CONFIG.timing.model_copy(update={"idle_days": 1})})
    gap = 29 * 60 * MINUTE
    before = records_of(first, seed, delay=MINUTE)
    later = [event | {"time": iso(micros(event["time"]) + gap)} for event in second]
    after = [each._replace(offset=len(before) + each.offset) for each in records_of(later, seed, delay=MINUTE)]
    made = Partition(0, config, partitions=1)
    made.fold(before)
    if left and after:
        made.log_time = max(made.log_time, after[0].timestamp * 1000)
        made.advance()
    made.fold(after)
    told = {
        name: QueueSnapshot.from_bytes(snapshot(made, made.queues[name], config.queue(name), made.log_time))
        for name in made.queues
    }
    assert audited([*before, *after], told, config) == []


def test_after_a_change_of_the_configuration_only_later_windows_are_compared() -> None:
    """Visits keep the rules they were queued by: `since` leaves out the windows that began before the change."""
    old = CONFIG.model_copy(update={"definitions": {**CONFIG.definitions, "default": Definition(threshold_seconds=1)}})
    records = records_of(seeded(3, 100, Scale()), 3, delay=0)
    change = len(records) // 2
    made = Partition(0, old, partitions=1)
    made.fold(records[:change])
    values = [made.encode_queue("sales"), made.encode_self()]
    made = Partition.restored(0, CONFIG, [value for value in values if value], partitions=1)
    made.fold(records)
    told = {
        "sales": QueueSnapshot.from_bytes(
            snapshot(made, made.queues["sales"], CONFIG.queue("sales"), made.log_time + 20 * MINUTE)
        )
    }
    assert {each.figure.partition(":")[0] for each in audited(records, told, CONFIG)} == {"level default"}
    differences, left_out = audited_with_rest(records, told, CONFIG, since=made.log_time)
    assert differences == []
    assert "day" in {each.what for each in left_out}
