"""The last hour by five minutes, and today's longest wait: true all along, late, corrected or restarted."""

from __future__ import annotations

import random
from typing import Any

import pytest

from queuewatch_schemas.config import Attribution, Business, Configuration, Definition, Preset, Timing
from queuewatch_streams.core.figures import HistoryFigures
from queuewatch_streams.core.partition import Clock, Partition
from support import oracle
from support.events import HOUR, MINUTE, SECOND, call, heartbeat, micros, record
from support.histories import START
from support.running import as_told, boards, configuration, folded, partition, restored

TERMS = (
    oracle.Terms("negative"),
    oracle.Terms("removed", 60),
    oracle.Terms("ignore-short", 20, attribution="event"),
    oracle.Terms("all-offered", 20, attribution="outcome"),
)
GRACE = 15 * MINUTE


def setting(windows: tuple[Any, ...] = ("5m", "15m", "day")) -> Configuration:
    """Short grace, a day that begins in the middle of it all, and a level of each attribution."""
    return configuration(
        {
            str(number): Definition(
                preset=Preset(each.preset),
                threshold_seconds=each.threshold,
                attribution=Attribution(each.attribution),
            )
            for number, each in enumerate(TERMS)
        },
        timing=Timing(grace_seconds=GRACE // SECOND, evicted_grace_seconds=1200),
        business=Business(time_zone="Asia/Kathmandu", day_starts_at_hour=15, windows=windows),
        maximum_talk_seconds=1800,
    )


def calls(chance: random.Random, number: int, at: int) -> list[dict[str, Any]]:
    """A visit's events; some are told twice with another time, and some who were given up come back."""
    name, wait = (
        f"c-{number}",
        chance.choice((0, SECOND, 20 * SECOND, chance.randrange(MINUTE), chance.randrange(HOUR))),
    )
    left = at + wait
    fate = chance.choice(("answered", "answered", "abandoned", "diverted", "waiting", "evicted"))
    # Who waits for ever waits longest: on a channel of their own they do not hide the others.
    channel = "chat" if fate == "waiting" else "voice"
    told = [call("queued", at, name, channel=channel)]
    if chance.random() < 0.2:
        told.append(call("queued", at - chance.randrange(2 * MINUTE), name, channel=channel))
    if fate == "waiting":
        return told
    told.append(call(fate, left, name))
    if chance.random() < 0.3:  # corrected: to an earlier time, or by another outcome
        told.append(call(chance.choice((fate, "answered")), max(at, left - chance.randrange(MINUTE)), name))
    if fate == "answered" and chance.random() < 0.7:
        told.append(call("ended", left + chance.randrange(10 * MINUTE), name))
    return told


def life(seed: int) -> list[tuple[int, dict[str, Any]]]:
    """Four hours of one queue as (stamp, event): late by up to the grace, some doubled, and quiet for an hour and a half."""
    chance = random.Random(seed)
    arriving = [(at, heartbeat(at)) for at in range(START, START + 4 * HOUR, 7 * MINUTE)]
    for number in range(80):
        at = START + chance.choice((chance.randrange(90 * MINUTE), 3 * HOUR + chance.randrange(45 * MINUTE)))
        for event in calls(chance, number, at):
            for _ in range(chance.choice((1, 1, 2))):
                late = chance.choice((0, 0, chance.randrange(GRACE)))
                arriving.append((micros(event["time"]) + late, event))
    return sorted(arriving, key=lambda each: each[0])


def restarted(made: Partition) -> Partition:
    """The partition as another owner restores it, all its records written."""
    written = [made.encode_queue(name) for name in list(made.queues)]
    for name in made.queues:
        made.written(name, made.next_offset)
    return restored([*written, made.encode_self()], made.configuration)


def hold(made: Partition, exact: oracle.History, now: int, config: Configuration) -> None:
    """Both figures are what the oracle counts."""
    zone, hour = made.policy("sales").zone, config.business.day_starts_at_hour
    for (queue, channel), (history, longest) in boards(made, now).items():
        stays = exact.of(queue, channel)
        assert longest == oracle.longest_wait(stays, *oracle.day_of(now, hour, zone), now)
        points = oracle.points_of(now)
        assert history.start == points[0][0]
        counted = [oracle.counts(stays, *point, 5) for point in points]
        assert history.offered == [each.get("offered", 0) for each in counted]
        assert history.answered == [each.get("answered", 0) for each in counted]
        assert history.abandoned == [each.get("abandoned", 0) for each in counted]
        for level, terms in zip(history.levels, TERMS, strict=True):
            met_and_base = [oracle.level(stays, terms, *point, now) for point in points]
            assert list(zip(level.met, level.base, strict=True)) == met_and_base, terms


@pytest.mark.parametrize("windows", [("5m", "15m", "day"), ("1h", "day"), ("day",)])
@pytest.mark.parametrize("seed", range(6))
def test_both_are_true_all_along_a_life_in_which_visits_are_let_go(seed: int, windows: tuple[Any, ...]) -> None:
    """After every few events, at log time and while time alone passes, and across restarts; whatever rolling windows keep."""
    chance, config = random.Random(seed), setting(windows)
    made, events = partition(config), []
    for offset, (stamp, event) in enumerate(life(seed)):
        assert not made.fold([record(offset, event, stamp)]).refused
        if ".call." in event["type"]:
            events.append(event)
        if chance.random() < 0.03:
            made.advance()
        if chance.random() < 0.03:
            made = restarted(made)
        if chance.random() < 0.15:
            exact = oracle.joined(events)
            for ahead in (0, chance.randrange(2 * MINUTE), chance.randrange(2 * HOUR)):
                hold(made, exact, made.log_time + ahead, config)
    assert len(made.queues["sales"].visits) < 60, "most have been let go"


def shown(*events: dict[str, Any], now: int, clock: Clock = Clock.LIVE) -> tuple[HistoryFigures, int]:
    """What is told of the voice of `sales`."""
    return boards(folded(as_told(events), configuration(), clock), now)["sales", "voice"]


def test_the_longest_wait_is_taken_back_when_it_is_corrected() -> None:
    """Three minutes turn out to be one: the second longest is the longest now."""
    events = [
        call("queued", START),
        call("queued", START, "c-2"),
        call("answered", START + 2 * MINUTE, "c-2"),
        call("answered", START + 3 * MINUTE),
    ]
    assert shown(*events, now=START + 4 * MINUTE)[1] == 3 * MINUTE
    assert shown(*events, call("answered", START + MINUTE), now=START + 4 * MINUTE)[1] == 2 * MINUTE


def test_the_longest_wait_grows_while_its_caller_waits_and_goes_with_a_ghost() -> None:
    """It counts from the arrival; one who is given up has not waited."""
    waits = [call("queued", START)]
    assert shown(*waits, now=START + 4 * MINUTE)[1] == 4 * MINUTE
    assert shown(*waits, now=START + 5 * MINUTE)[1] == 5 * MINUTE
    assert shown(*waits, call("evicted", START + 5 * MINUTE), now=START + 6 * MINUTE)[1] == 0


def test_who_came_before_the_day_began_is_not_of_today() -> None:
    """The business day holds those who entered in it, however long the others wait."""
    waits = [call("queued", START), call("queued", START + 16 * HOUR + MINUTE, "c-2")]
    assert shown(*waits, now=START + 16 * HOUR + 3 * MINUTE)[1] == 2 * MINUTE


def test_the_last_point_runs_and_each_has_five_minutes_of_utc() -> None:
    """A caller on the bound belongs to the point that begins there."""
    events = [call("queued", START - 1, "c-0"), call("queued", START), call("abandoned", START + MINUTE)]
    history, _ = shown(*events, now=START + 4 * MINUTE)
    assert history.start == START - 55 * MINUTE
    assert history.offered == [0] * 10 + [1, 1]
    assert history.abandoned == [0] * 11 + [1]
    later, _ = shown(*events, now=START + 59 * MINUTE)
    assert later.offered == [1] + [0] * 11
