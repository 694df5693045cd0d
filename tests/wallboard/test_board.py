"""What a screen shows: nothing that is not so, nothing that is not its business."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Definition
from queuewatch_schemas.records import DefinitionContent
from queuewatch_schemas.wallboard import Agents, Board, GroupRow, QueueRow
from queuewatch_wallboard.access import EVERYTHING, Scope, View
from queuewatch_wallboard.board import Board as Made
from queuewatch_wallboard.board import Rows, board
from queuewatch_wallboard.known import NEWS_SILENCE, Known
from support.boards import ALL, ARRANGEMENT, PARTITIONS, at, moment, news, only, snapshot

NINETY = DefinitionContent.model_validate(Definition.model_validate({"target": 0.9}).resolved())


def made(
    known: Known, seconds: float, view: View = ALL, agents: dict[str, Agents] | None = None, rows: Rows | None = None
) -> Made:
    """The board of a view, so many seconds after noon."""
    current = (rows or Rows(ARRANGEMENT)).at(known, agents or {}, at(seconds))
    return board(current, known, view, at(seconds), arrangement=ARRANGEMENT, version="1.x", announcement=None)


def shown(known: Known, seconds: float, view: View = ALL, agents: dict[str, Agents] | None = None) -> Board:
    """The same as whoever reads it understands it."""
    return Board.model_validate_json(made(known, seconds, view, agents).numbered(7))


def site(*, silent: tuple[int, ...] = (), seconds: float = 0) -> Known:
    """A known site: news of each partition but of the silent ones."""
    known = Known()
    for partition in range(PARTITIONS):
        if partition not in silent:
            known.take_news(news(partition, 100, seconds), at(seconds), live=True)
    return known


def row(told: Board, queue: str) -> QueueRow:
    """The one row of that queue."""
    [found] = [each for each in told.queues if each.queue == queue]
    return found


def group(told: Board, name: str) -> GroupRow:
    """The one row of that group."""
    [found] = [each for each in told.groups if each.group == name]
    return found


# ----------------------------------------------------------------------------------------------------------- properties

NAMES = ("alpha-queue", "bravo-queue", "carol-queue", "delta-queue", "echo-queue")
GROUPS = ("", "north-group", "south-group")


@dataclass(frozen=True)
class Given:
    """A queue of a made-up site."""

    partition: int
    group: str
    waiting: int | None
    talking: int
    longest: float
    source_up: bool | None


queues = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Given,
        partition=st.integers(0, PARTITIONS - 1),
        group=st.sampled_from(GROUPS),
        waiting=st.none() | st.integers(0, 30),
        talking=st.integers(0, 30),
        longest=st.floats(0, 500),
        source_up=st.sampled_from([True, None, None, False]),
    ),
)
scopes = st.builds(
    Scope,
    queues=st.frozensets(st.sampled_from(NAMES), max_size=2),
    groups=st.frozensets(st.sampled_from(GROUPS[1:]), max_size=2),
    everything=st.booleans(),
)
silences = st.frozensets(st.integers(0, PARTITIONS - 1), max_size=2)


def known_of(given_queues: dict[str, Given], silent: frozenset[int]) -> Known:
    """What is known of these queues, all snapshots from noon, and news of all partitions but of the silent ones."""
    known = site(silent=tuple(silent))
    for name, each in given_queues.items():
        record = snapshot(
            name,
            50,
            0,
            partition=each.partition,
            group=each.group,
            waiting=each.waiting,
            talking=each.talking,
            longest_wait_seconds=None if each.waiting is None else each.longest if each.waiting else 0,
            oldest_waiting_since=moment(-each.longest) if each.waiting else None,
            source_up=each.source_up,
        )
        known.take_snapshot(record, at(0), live=True)
    return known


@given(queues, silences, scopes, scopes, st.floats(0, 20))
def test_a_filtered_board_holds_no_name_of_what_is_not_to_be_seen(
    given_queues: dict[str, Given], silent: frozenset[int], granted: Scope, asked: Scope, seconds: float
) -> None:
    """Neither of queues nor of groups, nor in sums."""
    text = made(known_of(given_queues, silent), seconds, View(granted, asked)).text.decode()
    seen = {
        name for name, each in given_queues.items() if granted.holds(name, each.group) and asked.holds(name, each.group)
    }
    for name in given_queues.keys() - seen - (granted.queues & asked.queues):
        assert name not in text
    groups = {given_queues[name].group for name in seen} | asked.groups
    for name in set(GROUPS[1:]) - groups:
        assert name not in text
    told = Board.model_validate_json(b'{"id":1,' + text.encode()[1:])
    assert {each.queue for each in told.queues if each.as_of is not None} == seen


@given(queues, silences, st.floats(0, 20))
def test_a_groups_figures_are_the_sums_over_all_its_queues_or_unknown(
    given_queues: dict[str, Given], silent: frozenset[int], seconds: float
) -> None:
    """A sum over a part is no sum."""
    told = shown(known_of(given_queues, silent), seconds)
    assert {each.group for each in told.groups} == {each.group for each in given_queues.values()}
    for each in told.groups:
        members = [one for one in told.queues if one.group == each.group]
        assert each.queues == len(members)
        assert each.unknown == sum(one.stale is not None for one in members)
        assert each.incomplete == bool(silent)
        waiting = [one.waiting for one in members]
        if each.unknown or each.incomplete:
            assert (each.waiting, each.talking, each.longest_wait_seconds, each.level, each.today) == (None,) * 5
            assert each.state in ("unknown", "critical")
        elif None in waiting:
            assert each.waiting is None
        else:
            assert each.waiting == sum(one for one in waiting if one is not None)
            assert each.talking == sum(one.talking for one in members if one.talking is not None)
            longest = [one.longest_wait_seconds for one in members if one.longest_wait_seconds is not None]
            assert each.longest_wait_seconds == max(longest)


@given(queues, silences, st.floats(0, 20))
def test_no_figure_of_a_partition_without_news_is_told_as_fresh(
    given_queues: dict[str, Given], silent: frozenset[int], seconds: float
) -> None:
    """It is stale with since when, its state is unknown, and its clock stands still."""
    told = shown(known_of(given_queues, silent), seconds)
    for each in told.queues:
        of = given_queues[each.queue]
        if of.partition in silent or seconds > NEWS_SILENCE:
            assert each.stale is not None
            assert each.stale.what == "all"
        elif of.source_up is False:
            assert each.stale is not None
            assert (each.stale.what, each.stale.why) == ("waiting", "source_down")
        else:
            assert each.stale is None
        if each.stale is not None:
            assert each.state == "unknown"
            if of.waiting:
                assert each.longest_wait_seconds == pytest.approx(of.longest, abs=0.001)
        elif of.waiting:
            assert each.longest_wait_seconds == pytest.approx(of.longest + seconds, abs=0.001)
        elif of.waiting == 0:
            assert each.longest_wait_seconds == 0


@given(queues, silences, st.floats(0, 3), st.floats(0, 3))
def test_nothing_that_people_would_see_changes_while_time_alone_passes(
    given_queues: dict[str, Given], silent: frozenset[int], first: float, second: float
) -> None:
    """So that no board is sent for the sake of a clock that screens run themselves."""
    known = known_of({name: replace(each, longest=0) for name, each in given_queues.items()}, silent)
    rows = Rows(ARRANGEMENT)
    one, other = made(known, first, rows=rows), made(known, first + second, rows=rows)
    assert one.visible == other.visible
    assert one.as_of == other.as_of


# ------------------------------------------------------------------------------------------------------------- examples


def test_what_a_worker_publishes_stands_in_the_row_as_it_is() -> None:
    """Each figure where the model says; what it does not tell is null or empty."""
    known = site()
    record = snapshot("sales", 50, 0, group="Commerce", waiting=1, longest_wait_seconds=10.0)
    known.take_snapshot(record, at(0), live=True)
    told = row(shown(known, 2, agents={"sales": Agents(available=1, busy=2, paused=3)}), "sales")
    voice = record.channels["voice"]
    assert (told.waiting, told.longest_wait_seconds, told.talking) == (1, 12.0, voice.talking)
    assert (told.as_of, told.data_age_seconds) == (record.time, 2.0)
    assert told.interval == voice.windows["interval"]
    assert told.today == voice.windows.get("day")
    assert [(level.name, level.definition, level.windows) for level in told.levels] == [
        (name, definition, voice.levels[name]) for name, definition in record.definitions.items()
    ]
    assert told.agents == Agents(available=1, busy=2, paused=3)
    assert told.limits == record.limits
    assert row(shown(known, 2), "sales").agents is None


def test_the_history_is_told_by_points_with_the_main_level() -> None:
    """As the worker counts them; columns of different lengths are no history."""
    known = site()
    record = snapshot("sales", 50, 0)
    history = record.channels["voice"].history
    assert history is not None, "the example has one"
    known.take_snapshot(record, at(0), live=True)
    told = row(shown(known, 0), "sales").history
    assert [point.offered for point in told] == list(history.offered)
    assert [point.met for point in told] == list(history.levels["default"].met)
    assert [(point.start - history.start).total_seconds() for point in told] == [
        300 * each for each in range(len(told))
    ]
    broken = snapshot("sales", 51, 1, history=history.model_copy(update={"offered": history.offered[1:]}))
    known.take_snapshot(broken, at(1), live=True)
    assert row(shown(known, 1), "sales").history == ()


def test_a_groups_level_is_told_only_where_all_count_by_the_same_content() -> None:
    """Whatever the definitions are called."""
    known = site()
    record = snapshot("a", 50, 0, group="g")
    voice = record.channels["voice"]
    [content] = record.definitions.values()
    renamed = record.model_copy(
        update={
            "queue": "b",
            "definitions": {"other": content},
            "channels": {"voice": voice.model_copy(update={"levels": {"other": voice.levels["default"]}})},
        }
    )
    known.take_snapshot(record, at(0), live=True)
    known.take_snapshot(renamed, at(0), live=True)
    told = group(shown(known, 0), "g").level
    assert told is not None
    assert told.definition == content
    assert (told.windows["interval"].met, told.windows["interval"].counted) == (2, 4)
    assert told.windows["interval"].ratio == 0.5
    other = snapshot("c", 50, 0, group="g", definitions={"default": NINETY})
    known.take_snapshot(other, at(0), live=True)
    assert group(shown(known, 0), "g").level is None
    assert group(shown(known, 0), "g").waiting == 3


def test_intervals_that_began_at_different_times_have_no_sum() -> None:
    """As of queues in two zones whose days begin apart."""
    known = site()
    record = snapshot("a", 50, 0, group="g")
    voice = record.channels["voice"]
    later = voice.windows["interval"].model_copy(update={"start": moment(-60)})
    other = snapshot("b", 50, 0, group="g", windows={**voice.windows, "interval": later})
    known.take_snapshot(record, at(0), live=True)
    known.take_snapshot(other, at(0), live=True)
    told = group(shown(known, 0), "g")
    assert told.interval is None
    assert told.level is not None
    assert "interval" not in told.level.windows


def test_a_queue_that_was_asked_for_by_name_is_there_even_if_it_was_never_heard_of() -> None:
    """A missing row would be taken for a quiet queue; one that has left the state says so."""
    known = site()
    told = row(shown(known, 0, only(queues=("sales",))), "sales")
    assert told.stale is not None
    assert (told.stale.why, told.stale.since, told.state, told.waiting) == ("never", None, "unknown", None)
    known.take_snapshot(snapshot("sales", 50, 0), at(0), live=True)
    known.take_tombstone("sales", at(1))
    told = row(shown(known, 2, only(queues=("sales",))), "sales")
    assert told.stale is not None
    assert (told.stale.why, told.stale.since) == ("gone", moment(1))
    assert shown(known, 2).queues == ()


def test_a_queue_that_has_gone_is_still_told_of_to_who_may_see_its_group_and_to_nobody_else() -> None:
    """Whoever asked for it by name wants to know."""
    known = site()
    known.take_snapshot(snapshot("sales", 50, 0, group="g"), at(0), live=True)
    known.take_tombstone("sales", at(1))
    asked = Scope(frozenset({"sales"}))
    for group_name, queues_told in (("g", ["sales"]), ("other", [])):
        view = View(Scope(groups=frozenset({group_name})), asked)
        assert [each.queue for each in shown(known, 2, view).queues] == queues_told


def test_a_group_may_lack_queues_while_a_partition_was_never_heard_of_but_queues_named_one_by_one_do_not() -> None:
    """What a view names itself, it names all of."""
    known = site(silent=(3,))
    known.take_snapshot(snapshot("a", 50, 0, group="g", waiting=2), at(0), live=True)
    by_group = group(shown(known, 0, only(groups=("g",))), "g")
    assert (by_group.incomplete, by_group.waiting) == (True, None)
    by_name = group(shown(known, 0, only(queues=("a",))), "g")
    assert (by_name.incomplete, by_name.waiting) == (False, 2)


def test_a_group_that_was_asked_for_and_has_no_queue_is_there_as_unknown() -> None:
    """Zero callers wait nowhere."""
    told = group(shown(site(), 0, only(groups=("sales",))), "sales")
    assert (told.queues, told.waiting, told.state) == (0, None, "unknown")


def test_pinned_queues_come_first_then_the_ordered_then_all_by_their_names() -> None:
    """Whatever they are called inside."""
    known = site()
    for queue, name in (("a", "Zulu"), ("b", "alpha"), ("c", "Bravo"), ("d", "Yankee"), ("e", "X-ray")):
        known.take_snapshot(snapshot(queue, 50, 0).model_copy(update={"name": name}), at(0), live=True)
    arrangement = replace(ARRANGEMENT, pinned=("d",), order=("e", "a"))
    rows = Rows(arrangement).at(known, {}, at(0))
    text = board(rows, known, ALL, at(0), arrangement=arrangement, version="1.x", announcement=None).numbered(1)
    told = Board.model_validate_json(text).queues
    assert [each.queue for each in told] == ["d", "e", "a", "b", "c"]
    assert [each.pinned for each in told] == [True, False, False, False, False]


def test_closed_and_idle_are_told_apart() -> None:
    """One has nobody to call it, the other nobody who calls."""
    known = site()
    voice = snapshot("x", 1, 0).channels["voice"]
    empty = {name: each.model_copy(update={"offered": 0}) for name, each in voice.windows.items()}
    quiet: dict[str, Any] = {"waiting": 0, "talking": 0, "windows": empty, "levels": {}}
    known.take_snapshot(snapshot("closed", 50, 0, open=False, **quiet), at(0), live=True)
    known.take_snapshot(snapshot("idle", 50, 0, open=True, **quiet), at(0), live=True)
    told = shown(known, 0)
    assert (row(told, "closed").state, row(told, "idle").state) == ("closed", "idle")


def test_everything_a_board_holds_is_in_the_model_and_the_other_way_round() -> None:
    """Rows are written without the model, for speed."""
    known = site(silent=(2,))
    known.take_snapshot(snapshot("a", 50, 0, group="g", waiting=2, longest_wait_seconds=500.0), at(0), live=True)
    known.take_snapshot(snapshot("b", 50, 0, partition=2), at(0), live=True)
    view = View(EVERYTHING, Scope(frozenset({"nowhere"}), frozenset({"g", "none"}), everything=True))
    text = made(known, 1, view).numbered(3)
    model = Board.model_validate_json(text)
    assert orjson.loads(text) == orjson.loads(orjson.dumps(model.model_dump(), option=orjson.OPT_UTC_Z))
