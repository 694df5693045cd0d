"""What the configuration means to counting: the rules that visits are counted by, and how long things are kept.

Durations are integer microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from queuewatch_schemas.config import ROLLING_SECONDS, WEEKDAYS, Configuration, Definition, ResolvedQueue, minutes_of
from queuewatch_schemas.metrics import wait_buckets
from queuewatch_streams.core.calendar import SECOND, OpeningHours
from queuewatch_streams.core.service_level import Level
from queuewatch_streams.core.visit import Rules
from queuewatch_streams.core.windows import QUARTER

FOREVER: Final = 1 << 62
"""A duration or an instant that never comes."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything a queue needs to know of the configuration in order to fold events and to tell figures."""

    rules: Rules
    zone: ZoneInfo
    day_starts_at_hour: int
    interval_minutes: int
    windows: tuple[str, ...]
    grace: int
    evicted_grace: int
    maximum_wait: int
    overtaken_by: int
    maximum_talk: int
    maximum_wrap: int
    wait_edges: tuple[int, ...]
    longest_rolling: int
    step: int = QUARTER
    ahead: int = 0
    answer_keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    abandon_keys: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The totals of a histogram: one for each of `wait_edges`, one beyond them, and the sum."""

    def __post_init__(self) -> None:
        for name in ("answer", "abandon"):
            object.__setattr__(self, f"{name}_keys", _histogram_keys(name, self.wait_edges))

    @property
    def kept(self) -> int:
        """How long after its last new fact a closed visit may still be told of, and is kept.

        That fact may have come ahead of its time; and what comes exactly when grace ends is not late yet.
        """
        return self.grace + self.ahead + 1

    @property
    def shortest(self) -> int:
        """No visit that does not wait is let go of sooner after its last new fact."""
        return min(self.kept, self.maximum_talk)

    @classmethod
    def of(cls, configuration: Configuration, queue: str) -> Policy:
        """The policy of that queue, named in the configuration or not."""
        resolved = configuration.queue(queue)
        business, timing = configuration.business, configuration.timing
        return cls(
            rules=Rules(
                levels=_levels(resolved.definitions),
                short=_microseconds(resolved.short_abandon_seconds),
                hours=opening_hours(resolved),
            ),
            zone=ZoneInfo(resolved.time_zone),
            day_starts_at_hour=business.day_starts_at_hour,
            interval_minutes=business.interval_minutes,
            windows=business.windows,
            grace=_microseconds(timing.grace_seconds),
            ahead=_microseconds(timing.ahead_tolerance_seconds),
            evicted_grace=_microseconds(timing.evicted_grace_seconds),
            maximum_wait=_microseconds(resolved.maximum_wait_seconds),
            overtaken_by=resolved.overtaken_by,
            maximum_talk=_microseconds(resolved.maximum_talk_seconds),
            maximum_wrap=_microseconds(resolved.maximum_wrap_seconds),
            wait_edges=_wait_edges(tuple(each.threshold_seconds for each in configuration.definitions.values())),
            longest_rolling=max((ROLLING_SECONDS.get(window, 0) for window in business.windows), default=0) * SECOND,
        )


# Queues of one kind share what they have in common: there are thousands of them.


@lru_cache(maxsize=1024)
def _levels(definitions: tuple[tuple[str, Definition], ...]) -> tuple[Level, ...]:
    return tuple(Level.of(name, definition) for name, definition in definitions)


@lru_cache(maxsize=64)
def _wait_edges(thresholds: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(_microseconds(edge) for edge in wait_buckets(thresholds))


@lru_cache(maxsize=64)
def _histogram_keys(name: str, edges: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_wait:{bucket}" for bucket in (*edges, "inf", "sum"))


def opening_hours(queue: ResolvedQueue) -> OpeningHours | None:
    """The queue's calendar, ready to be asked; None where it has none."""
    calendar = queue.calendar
    if calendar is None:
        return None
    zone = ZoneInfo(calendar.time_zone or queue.time_zone)

    def seconds(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((start * 60, end * 60) for start, end in ranges)

    weekly = None
    if calendar.weekly is not None:
        hours = {name: tuple(minutes_of(text) for text in texts) for name, texts in calendar.weekly.items()}
        weekly = tuple(seconds(hours.get(name, ())) for name in WEEKDAYS)
    exceptions = {day: seconds(calendar.hours_on(day)) for day in calendar.exceptions}
    return OpeningHours(zone, weekly, exceptions)


def _microseconds(seconds: float) -> int:
    return round(seconds * SECOND)
