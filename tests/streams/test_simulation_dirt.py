"""Each kind of dirt does what it says, and only that."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from queuewatch_schemas.events import Rejected, parse
from queuewatch_streams.simulation import (
    MALFORMED,
    MONITOR,
    ORDINARY_DIRT,
    SOURCE,
    Dirt,
    Settings,
    Truth,
    eventful,
    events,
    lines,
    messages,
)

MORNING = datetime.fromisoformat("2026-11-21T08:00:00+08:00")
CLEAN = eventful(Settings(start=MORNING, hours=2, seed=11), Dirt())
OUTCOMES = {"answered", "abandoned", "diverted", "evicted"}

Visit = tuple[str, str, int]


def soiled(**dirt: float) -> tuple[list[bytes], Counter[str]]:
    """Lines of the same centre with this dirt, and how often the simulator says it was put in."""
    truth = Truth()
    feed = list(lines(replace(CLEAN, dirt=Dirt(**dirt)), truth))
    return feed, truth.dirt


def stories(feed: Iterable[bytes]) -> dict[Visit, dict[str, list[dict[str, Any]]]]:
    """Each visit's events by kind."""
    found: dict[Visit, dict[str, list[dict[str, Any]]]] = {}
    for line in feed:
        event = json.loads(line)
        parts = event["type"].split(".")
        if parts[1] == "call" and parts[2] != "refused":
            data = event["data"]
            visit = data["queue"], event["subject"], data.get("visit", 1)
            found.setdefault(visit, {}).setdefault(parts[2], []).append(event)
    return found


TRUE = list(lines(CLEAN))


def test_duplicates_are_the_same_bytes_again() -> None:
    """Without repetitions the feed is the clean one."""
    feed, count = soiled(duplicates=0.1)
    assert len(feed) == len(TRUE) + count["duplicates"]
    assert list(dict.fromkeys(feed)) == TRUE
    assert 0.08 < count["duplicates"] / len(TRUE) < 0.12


def test_disorder_changes_the_order_of_lines_by_at_most_the_delay() -> None:
    """The same lines, none delivered early, none more than 60 s late."""
    feed, count = soiled(disorder=0.2)
    assert feed != TRUE and sorted(feed) == sorted(TRUE)
    delayed = 0
    sent = list(messages(replace(CLEAN, dirt=Dirt(disorder=0.2))))
    assert all(before.at <= after.at for before, after in pairwise(sent))
    for message in sent:
        late = message.at / 8 - datetime.fromisoformat(json.loads(message.value)["time"]).timestamp()
        assert 0 <= late <= 60
        delayed += late > 0
    assert delayed == count["disorder"]


def test_of_a_ghost_nothing_is_heard_after_queued() -> None:
    """The other visits are as they were."""
    feed, count = soiled(ghosts=0.05)
    before, after = stories(TRUE), stories(feed)
    ghosts = [visit for visit in before if after[visit] != before[visit]]
    assert all(set(after[visit]) == {"queued"} for visit in ghosts)
    silent_anyway = sum(set(story) == {"queued"} for story in before.values())
    assert 0 < len(ghosts) <= count["ghosts"] <= len(ghosts) + silent_anyway


def test_snapshots_do_not_show_a_ghost_who_has_left() -> None:
    """The source's own list stays true, so that absence can be noticed."""

    def snapshots(feed: Iterable[bytes]) -> list[Any]:
        return [json.loads(line)["data"] for line in feed if b"queue.snapshot" in line]

    assert snapshots(soiled(ghosts=0.05)[0]) == snapshots(TRUE)


def test_ghosts_are_evicted_by_the_monitor_itself_after_the_maximum_wait() -> None:
    """Source, reason, time and id follow from the visit; nothing else is evicted."""
    feed, count = soiled(ghosts=0.05, evictions=0.7, evict_after_s=900)
    evicted = 0
    for story in stories(feed).values():
        for event in story.get("evicted", ()):
            evicted += 1
            (queued,) = story["queued"]
            assert set(story) == {"queued", "evicted"}
            since = datetime.fromisoformat(queued["data"].get("due", queued["time"]))
            assert (datetime.fromisoformat(event["time"]) - since).total_seconds() == 900
            assert event["source"] == MONITOR and event["data"]["reason"] == "too_long"
            assert queued["source"] == SOURCE
    assert evicted == count["evictions"] > 0


def test_a_lost_end_leaves_an_answered_visit_without_ended_and_wrapped() -> None:
    """And everything else as it was."""
    feed, count = soiled(lost_ends=0.1)
    before, after = stories(TRUE), stories(feed)
    lost = [visit for visit in before if after[visit] != before[visit]]
    assert len(lost) == count["lost_ends"] > 0
    for visit in lost:
        rest = {kind: events for kind, events in before[visit].items() if kind not in ("ended", "wrapped")}
        assert after[visit] == rest and "answered" in rest


def test_an_orphan_is_all_but_its_queued() -> None:
    """A connector that came up in the middle of the call would report so."""
    feed, count = soiled(orphans=0.05)
    before, after = stories(TRUE), stories(feed)
    changed = [visit for visit in before if after.get(visit, {}) != before[visit]]
    assert len(changed) == count["orphans"] > 0
    for visit in changed:
        assert after.get(visit, {}) == {kind: events for kind, events in before[visit].items() if kind != "queued"}


def test_negative_waits_are_outcomes_stamped_before_queued() -> None:
    """By up to two seconds."""
    feed, count = soiled(negative_waits=0.05)
    negative = 0
    for story in stories(feed).values():
        for kind in OUTCOMES & set(story):
            queued = story["queued"][0]["data"].get("due", story["queued"][0]["time"])
            moments = datetime.fromisoformat(queued), datetime.fromisoformat(story[kind][0]["time"])
            wait = (moments[1] - moments[0]).total_seconds()
            negative += wait < 0
            assert wait >= -2
    assert negative == count["negative_waits"] > 0


def test_time_conflicts_are_the_same_fact_at_another_time_under_another_id() -> None:
    """All true events are still there."""
    feed, count = soiled(time_conflicts=0.05)
    added = [json.loads(line) for line in set(feed) - set(TRUE)]
    assert set(TRUE) <= set(feed) and len(added) == count["time_conflicts"] > 0
    true = {event["id"]: event for event in map(json.loads, TRUE)}
    for event in added:
        original = true[event["id"].removesuffix("-again")]
        apart = datetime.fromisoformat(event["time"]) - datetime.fromisoformat(original["time"])
        assert apart and -5.125 <= apart.total_seconds() <= 1
        assert event["data"] == original["data"] and event["type"] == original["type"]


def test_data_conflicts_are_the_same_fact_at_the_same_time_with_other_data() -> None:
    """Another agent, reason, channel or priority."""
    feed, count = soiled(data_conflicts=0.1)
    added = [json.loads(line) for line in set(feed) - set(TRUE)]
    assert set(TRUE) <= set(feed) and len(added) == count["data_conflicts"] > 0
    true = {event["id"]: event for event in map(json.loads, TRUE)}
    for event in added:
        original = true[event["id"].removesuffix("-other")]
        assert event["data"] != original["data"] and event["time"] == original["time"]
    assert {event["type"].split(".")[2] for event in added} == {"queued", "answered", "diverted"}


def test_outcome_conflicts_give_a_visit_two_outcomes() -> None:
    """Within three seconds of each other, in both directions."""
    feed, count = soiled(outcome_conflicts=0.1)
    both = Counter(
        frozenset(OUTCOMES & set(story)) for story in stories(feed).values() if len(OUTCOMES & set(story)) == 2
    )
    assert sum(both.values()) == count["outcome_conflicts"] > 0
    assert frozenset(("answered", "abandoned")) in both


def test_bad_lines_are_extra_and_every_one_is_rejected() -> None:
    """No true event is lost, and none of the bad lines can pass for one."""
    sent = list(messages(replace(CLEAN, dirt=Dirt(malformed=0.2))))
    assert [message.value + b"\n" for message in sent if message.kind != MALFORMED] == TRUE
    reasons = Counter[str]()
    for message in sent:
        if message.kind == MALFORMED:
            assert b"\n" not in message.value
            with pytest.raises(Rejected) as rejected:
                parse(message.value)
            reasons[rejected.value.reason] += 1
    assert set(reasons) >= {"not_utf8", "unreadable_json", "unknown_type", "missing_field", "wrong_field"}
    feed, count = soiled(malformed=0.2)
    assert feed == [message.value + b"\n" for message in sent]
    assert count["malformed"] == sum(reasons.values())


def test_dirt_leaves_the_truth_alone() -> None:
    """What really happened does not depend on how it was reported."""
    day = replace(CLEAN, hours=12)
    clean, dirty = Truth(), Truth()
    list(lines(day, clean))
    list(events(replace(day, dirt=ORDINARY_DIRT), dirty))
    assert clean.queues == dirty.queues
    assert not clean.dirt
    assert all(
        dirty.dirt[share.name] for share in fields(Dirt) if share.name not in ("delay_s", "evict_after_s", "malformed")
    )


def test_the_same_visits_suffer_whatever_else_is_switched_on() -> None:
    """Ghosts stay ghosts when duplicates and disorder come along."""
    alone = stories(soiled(ghosts=0.05)[0])
    along = stories(soiled(ghosts=0.05, duplicates=0.1, disorder=0.1)[0])
    assert {visit for visit, story in alone.items() if set(story) == {"queued"}} == {
        visit for visit, story in along.items() if set(story) == {"queued"}
    }
