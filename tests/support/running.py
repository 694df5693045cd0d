"""The core's own parts, set up for a test in one call, and what can be read off them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from queuewatch_schemas.config import Business, Configuration, Definition, QueueSettings, Timing
from queuewatch_streams.core.checkpoint import dump_queue
from queuewatch_streams.core.figures import (
    ChannelFigures,
    HistoryFigures,
    channel_figures,
    channel_history,
    longest_wait_today,
)
from queuewatch_streams.core.partition import Clock, Partition, Record
from queuewatch_streams.core.queue import Channel, Queue
from support.events import record

ALL_WINDOWS = ("5m", "15m", "30m", "1h", "interval", "last_interval", "day")
PATIENT = Timing(grace_seconds=10 * 86_400, evicted_grace_seconds=20 * 86_400, ahead_tolerance_seconds=10 * 86_400)
"""Nothing is late, ahead or let go."""
OUTCOMES = ("answered", "abandoned", "diverted", "evicted")


def configuration(
    definitions: dict[str, Definition] | None = None,
    *,
    timing: Timing | None = None,
    business: Business | None = None,
    **defaults: Any,
) -> Configuration:
    """A configuration whose queues all have these definitions and settings."""
    named = definitions or {"default": Definition()}
    return Configuration(
        definitions=named,
        timing=timing or Timing(),
        business=business or Business(windows=ALL_WINDOWS),
        defaults=QueueSettings(definitions=tuple(named), **defaults),
    )


def partition(config: Configuration | None = None, clock: Clock = Clock.LIVE) -> Partition:
    """An empty partition, the only one of its topic."""
    return Partition(0, config or configuration(), partitions=1, clock=clock)


def at_once(events: Iterable[dict[str, Any]], stamp: int) -> list[Record]:
    """Records that all came at one instant, so that no time passes between them."""
    return [record(offset, event, stamp) for offset, event in enumerate(events)]


def as_told(events: Iterable[dict[str, Any]]) -> list[Record]:
    """Records that came when their events happened."""
    return [record(offset, event) for offset, event in enumerate(events)]


def folded(records: Sequence[Record], config: Configuration | None = None, clock: Clock = Clock.LIVE) -> Partition:
    """A partition that folded the records in one go, none of which it refused."""
    made = partition(config, clock)
    refused = made.fold(records).refused
    assert not refused, refused[:3]
    return made


def restored(records: Iterable[bytes | None], config: Configuration, clock: Clock = Clock.LIVE) -> Partition:
    """The partition that these record values tell of."""
    return Partition.restored(0, config, [value for value in records if value is not None], partitions=1, clock=clock)


def figures(made: Partition, now: int) -> dict[tuple[str, str], ChannelFigures]:
    """Everything that is shown, by queue and channel, of channels where something happened."""
    return {
        (name, channel_name): channel_figures(queue, channel, now)
        for name, queue in made.queues.items()
        for channel_name, channel in queue.channels.items()
        if channel.windows.days.cells or channel.waiting
    }


def boards(made: Partition, now: int) -> dict[tuple[str, str], tuple[HistoryFigures, int]]:
    """What only wallboards show, by queue and channel: the last hour, and today's longest wait; of channels as `figures`."""
    return {
        (name, channel): (
            channel_history(made.queues[name].channels[channel], made.queues[name].policy, now),
            longest_wait_today(made.queues[name], channel, now),
        )
        for name, channel in figures(made, now)
    }


def settle(made: Partition) -> Partition:
    """Let go of all that is due, in every queue."""
    for queue in made.queues.values():
        queue.expire(made.log_time)
    return made


def totals(made: Partition) -> dict[tuple[str, str], dict[str, int]]:
    """Every counter, by queue and channel."""
    return {
        (name, channel_name): {key: amount for key, amount in channel.totals.items() if amount}
        for name, queue in made.queues.items()
        for channel_name, channel in queue.channels.items()
        if any(channel.totals.values())
    }


def state(queue: Queue) -> dict[str, Any]:
    """What a queue knows, but for its windows (which forget) and for what it has told of closed intervals."""
    dumped = dump_queue(queue)
    for channel in dumped["channels"].values():
        for name in ("days", "rolling", "points", "longest", "from", "touched", "published_to", "unfinal"):
            del channel[name]
    dumped["channels"] = {name: each for name, each in dumped["channels"].items() if each["totals"] or each["given_up"]}
    return dumped


def corrected(channel: Channel) -> dict[str, int]:
    """The counters of a channel corrected by its revisions: total - revisions from + revisions to."""
    counted = dict.fromkeys(("offered", *OUTCOMES, "refused"), 0)
    for key, amount in channel.totals.items():
        name, *labels = key.split(":")
        if name in counted:
            counted[name] += amount
        elif name == "revisions":
            before, after = labels
            if before in counted:
                counted[before] -= amount
            if after in counted:
                counted[after] += amount
            if after == "none" and before != "refused":
                counted["offered"] -= amount
    return counted
