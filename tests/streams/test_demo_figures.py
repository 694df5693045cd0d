"""What the demo reads from /metrics, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queuewatch_schemas.config import Configuration, Definition
from queuewatch_streams.core.partition import Partition
from queuewatch_streams.demo_figures import QueueFigures, State, read, state, together
from queuewatch_streams.exporter import Exporter, Health
from support.events import SECOND, call, heartbeat, micros
from support.running import as_told, configuration, folded

NOON = micros("2026-11-21T12:00:00+00:00")
GOOD = QueueFigures(
    "sales", waiting=3, longest=12.5, talking=4, offered=40, answered=30, abandoned=6, evicted=1, met=24, counted=30,
    definition="80 % in 20 s, negative", target=0.8, answers=25, answer_wait=200, handled=20, handle=4000,
    abandon_ratio=0.1, longest_limit=60, waiting_limit=8, abandon_limit=0.1, minimum=20,
)  # fmt: skip


def exposed(partition: Partition, config: Configuration, now: int, *, ready: bool = True) -> str:
    """The text of /metrics."""
    return Exporter(config).at_once([partition], Health(ready=ready, owned=1, lag={0: 7}), now).text().decode()


def test_figures_are_read_as_the_worker_exposes_them() -> None:
    """From events to the demo: one caller answered after 10 s and gone after a minute, one who waits, one who hung up."""
    config = configuration({"gold": Definition(threshold_seconds=15, target=0.9)})
    events = [
        heartbeat(NOON),
        call("queued", NOON, "a"),
        call("queued", NOON + SECOND, "b"),
        call("queued", NOON + 2 * SECOND, "c"),
        call("answered", NOON + 10 * SECOND, "a"),
        call("abandoned", NOON + 12 * SECOND, "b"),
        call("ended", NOON + 70 * SECOND, "a"),
    ]
    text = exposed(folded(as_told(events), config), config, NOON + 80 * SECOND)
    figures = read(text, ["sales", "never seen"])
    sales, unseen = figures.queues
    assert (sales.waiting, sales.longest, sales.talking) == (1, 78, 0)
    assert (sales.offered, sales.answered, sales.abandoned, sales.evicted) == (3, 1, 1, 0)
    assert (sales.met, sales.counted) == (1, 3)  # the caller who waits has passed the threshold
    assert sales.level == pytest.approx(1 / 3)
    assert sales.asa == 10
    assert sales.aht == 60
    assert sales.definition == "90 % in 15 s, negative"
    assert unseen == QueueFigures("never seen")
    assert figures.ready
    assert (figures.events, figures.rejected, figures.duplicates, figures.lag, figures.residual) == (7, 0, 0, 7, 0)
    assert figures.newest_event == NOON / SECOND + 70


def test_what_is_not_exposed_is_unknown_and_not_zero() -> None:
    """A worker that is not ready exposes no queue."""
    figures = read("# TYPE queuewatch_ready gauge\nqueuewatch_ready 0.0\n", ["sales"])
    assert not figures.ready
    assert figures.queues == (QueueFigures("sales"),)
    assert figures.newest_event is None
    assert (figures.queues[0].level, figures.queues[0].asa, figures.queues[0].aht) == (None, None, None)
    assert state(figures.queues[0]) == State("unknown")


def test_other_channels_do_not_mix_with_voice() -> None:
    """A chat that waits is none of the voice figures."""
    config = configuration()
    text = exposed(folded(as_told([call("queued", NOON, "a", channel="chat")]), config), config, NOON)
    assert all(queue.waiting is None or queue.waiting == 0 for queue in read(text).queues)


def test_a_queue_is_behind_where_a_figure_is_beyond_its_limit() -> None:
    """The limit itself is not beyond it."""
    assert state(GOOD) == State("ok")
    for change, name in (
        ({"waiting": 9}, "waiting"),
        ({"longest": 60.1}, "longest"),
        ({"met": 23}, "level"),
        ({"abandon_ratio": 0.11}, "abandoned"),
    ):
        assert state(replace(GOOD, **change)) == State("behind", frozenset({name}))


def test_ratios_of_few_calls_say_nothing_yet() -> None:
    """One caller would move them too far."""
    assert state(replace(GOOD, met=0, counted=19, abandon_ratio=1.0)) == State("ok")


def test_a_queue_whose_source_is_down_is_unknown() -> None:
    """Whatever its last figures were."""
    assert state(replace(GOOD, source_up=False)) == State("unknown")


def test_queues_together_are_sums_and_means_of_sums() -> None:
    """Never means of means."""
    other = replace(GOOD, queue="support", longest=40, answers=75, answer_wait=2000, met=10, counted=10)
    whole = together("all", [GOOD, other])
    assert (whole.waiting, whole.longest, whole.offered) == (6, 40, 80)
    assert whole.asa == 22
    assert whole.level == 34 / 40


def test_queues_with_different_definitions_have_no_level_together() -> None:
    """Such a sum would mean nothing."""
    whole = together("all", [GOOD, replace(GOOD, definition="90 % in 10 s, ignore")])
    assert whole.level is None
    assert whole.waiting == 6


def test_what_is_unknown_of_one_queue_is_unknown_of_all() -> None:
    """A sum of the others would be too small."""
    assert together("all", [GOOD, QueueFigures("support")]).waiting is None
    assert together("all", []).waiting is None
