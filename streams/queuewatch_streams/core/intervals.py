"""When an interval of the business day is closed, told again, and final.

An interval closes when log time passes its end: it is told then, empty ones too; told again when a visit that belongs to it
is corrected; and told as final once its grace has ended and no visit is held that could still change it.  Readers keep, of
one queue, channel and start, the record with the greatest offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from queuewatch_streams.core.calendar import HOUR, MINUTE, interval_start
from queuewatch_streams.core.figures import WindowFigures, window_figures
from queuewatch_streams.core.queue import Channel, Queue

FARTHEST: Final = 400 * 24 * HOUR
"""Empty intervals further back are not told: one event of a distant past would make millions."""


@dataclass(frozen=True, slots=True)
class Closed:
    """One closed interval of a queue and channel, as it stands at the log time `as_of`."""

    queue: str
    channel: str
    figures: WindowFigures
    final: bool
    as_of: int
    offset: int
    """The source offset up to which it is true."""


def closed_intervals(queue: Queue, log_time: int, offset: int = 0) -> Iterator[Closed]:
    """The intervals to tell now; they count as told once this has been read through, so whoever reads must send them."""
    policy = queue.policy
    current = interval_start(log_time, policy.interval_minutes, policy.zone)
    for name, channel in queue.channels.items():
        if channel.published_to is None:
            first = min((*channel.windows.days.cells, *channel.waiting[:1], log_time))
            channel.published_to = interval_start(first, policy.interval_minutes, policy.zone)
        due = log_time - policy.grace - policy.interval_minutes * MINUTE
        if (
            channel.published_to >= current
            and not any(at < channel.published_to for at in channel.windows.touched)
            and not any(at <= due for at in channel.unfinal)
        ):
            continue
        starts = {
            interval_start(at, policy.interval_minutes, policy.zone)
            for at in channel.windows.touched
            if at < channel.published_to
        }
        start = max(channel.published_to, interval_start(log_time - FARTHEST, policy.interval_minutes, policy.zone))
        while start < current:
            starts.add(start)
            start = interval_start(start + policy.interval_minutes * MINUTE, policy.interval_minutes, policy.zone)
        channel.published_to = max(channel.published_to, current)
        channel.windows.touched = {at for at in channel.windows.touched if at >= current}
        channel.unfinal |= starts
        settled = _settled_before(queue, channel, log_time)
        final = {at for at in channel.unfinal if at + policy.interval_minutes * MINUTE <= settled}
        channel.unfinal -= final
        for at in sorted(starts | final):
            figures = window_figures(channel, policy, at, at + policy.interval_minutes * MINUTE, log_time)
            yield Closed(queue.name, name, figures, at not in channel.unfinal, log_time, offset)


def _settled_before(queue: Queue, channel: Channel, log_time: int) -> int:
    """Before that instant nothing can change any more: grace has passed, and no visit is held that arrived there."""
    settled = log_time - queue.policy.grace
    if channel.unfinal and min(channel.unfinal) < settled:
        for visit in queue.visits.values():
            if visit.queued < settled and (arrival := visit.arrival) is not None:  # nobody arrives before he is queued
                settled = min(settled, arrival)
    return settled
