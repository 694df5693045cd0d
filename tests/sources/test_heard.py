"""What every translator is held to that listens live: made-up sessions, cut, repeated, spoilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from queuewatch_streams.sources.asterisk.ami.translator import Ami
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.records import GONE
from queuewatch_streams.sources.freeswitch.translator import Callcenter
from queuewatch_streams.sources.shape import Out, Translator
from sources import made_up_ami, made_up_freeswitch
from sources.heard import Live, assert_nothing_counts_twice, at, figures
from sources.made_up_freeswitch import answer, connected, members, tiers
from support.events import record as kafka_record
from support.sources import (
    assert_a_memory_can_be_saved_anywhere,
    assert_a_repeat_adds_nothing,
    assert_sound,
    mutated,
    said,
)


class System(NamedTuple):
    """A telephony system: its translator, a session of it and its truth, and records that sessions have not."""

    translator: Callable[..., Translator[Any]]
    session: Callable[[int, int], tuple[list[Any], dict[str, Any]]]
    live: Callable[[int, int], Live]
    more: tuple[Any, ...] = ()

    def make(self, memory: Any = None) -> Translator[Any]:
        return self.translator(Composer("pbx"), memory)


def ami_session(seed: int, calls: int) -> tuple[list[Any], dict[str, Any]]:
    messages, visits = made_up_ami.made_up_session(seed, calls)
    return messages, made_up_ami.truth_of(visits)


LISTS = (members(9, {"joined": 1}), tiers(9, "sales|anna"), connected(9), answer(9, f"{GONE}s1", "false"))
systems = pytest.mark.parametrize(
    "system",
    [
        System(Ami, ami_session, made_up_ami.live),
        System(Callcenter, made_up_freeswitch.made_up_session, made_up_freeswitch.live, LISTS),
    ],
    ids=["AMI", "FreeSWITCH"],
)


@systems
@given(seed=st.integers(0, 10_000))
def test_a_made_up_session_gives_what_its_maker_knows(system: System, seed: int) -> None:
    records, truth = system.session(seed, 25)
    out = said(system.make(), records)
    assert not out.refused
    assert_sound(out.messages)
    assert figures(out, "pbx") == truth


@systems
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_a_memory_can_be_saved_anywhere(system: System, seed: int, cuts: list[int]) -> None:
    records, _ = system.session(seed, 15)
    assert_a_memory_can_be_saved_anywhere(system.make, records, [min(cut, len(records)) for cut in cuts])


@systems
@given(seed=st.integers(0, 10_000), cut=st.integers(20, 80), back=st.integers(0, 20))
def test_a_repeat_adds_nothing(system: System, seed: int, cut: int, back: int) -> None:
    records, _ = system.session(seed, 15)
    assert_a_repeat_adds_nothing(system.make, records, min(cut, len(records)), back)


@systems
def test_100_000_spoilt_records_raise_nothing(system: System) -> None:
    """Time passes now and then, and the memory is asked for."""
    one, out = system.make(), Out()
    for number, record in enumerate(mutated([*system.session(1, 60)[0], *system.more], 100_000)):
        one.translate(record, out)
        if number % 5000 == 0:
            one.advance(at(number), out)
            one.memory()
    one.advance(1 << 62, out)
    assert_sound(out.messages, ids=False)
    assert out.refused


class Run(NamedTuple):
    """One life of a source; in seconds, shares of what may be."""

    life: float
    unsaved: float
    """How much before its end its memory was saved last."""
    unsent: float
    """Which share of what it has said since is on no topic."""
    away: float
    """Until it begins again."""


RUNS = st.lists(
    st.builds(Run, st.floats(0.1, 60), st.floats(0, 1), st.floats(0, 1), st.floats(0, 40)), min_size=1, max_size=6
)


@systems
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 10_000), runs=RUNS, every=st.floats(3, 30))
def test_a_source_that_is_killed_counts_nothing_twice_and_nobody_waits_who_is_gone(
    system: System, seed: int, runs: list[Run], every: float
) -> None:
    """Each run knows what was saved up to a second before the last one's end, and hears nothing of the time between."""
    live = system.live(seed, 25)
    end = live.records[-1][0]
    told: list[Any] = []
    memory: Any = None
    now = 0.0
    for run in (*runs, Run(end + 100, 0, 0, 0)):
        memory, messages = _lived(system, live, memory, now, run, every)
        told += messages
        now += run.life + run.away
    assert memory["visits"]["open"] == {}
    events = [orjson.loads(value) for role, _, value in told if role == "events"]
    assert_nothing_counts_twice([kafka_record(number, event) for number, event in enumerate(events)], live.stays)


def _lived(system: System, live: Live, memory: Any, now: float, run: Run, every: float) -> tuple[Any, list[Any]]:
    """What is saved at the end of a run, and what it has sent."""
    one, out = system.make(memory), Out()
    end = now + run.life
    lists = [now + 0.001, now + 0.001 + min(3.0, every)]
    while lists[-1] < end:
        lists.append(lists[-1] + every)
    heard = [(second, record) for second, record in live.records if now < second <= end]
    heard += [(second, each) for second in lists if second <= end for each in live.lists(second)]
    heard = [(now, live.connected(now)), *sorted(heard, key=lambda each: each[0])]
    saved, sure = (memory, 0) if memory is None else (orjson.loads(orjson.dumps(memory)), 0)
    for second, record in heard:
        one.translate(record, out)
        if second <= end - run.unsaved:
            saved, sure = orjson.loads(orjson.dumps(one.memory())), len(out.messages)
    one.advance(at(end), out)
    return saved, out.messages[: sure + round((len(out.messages) - sure) * (1 - run.unsent))]
