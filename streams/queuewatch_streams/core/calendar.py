"""Where a local day, an interval and opening hours begin and end.

Times are integer microseconds since the epoch; intervals are closed on the left and open on the right.  Intervals are
aligned to the local clock, and the business day begins at a local hour, so a day has 23, 24 or 25 hours where clocks change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(at: datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)


def to_datetime(at: int) -> datetime:
    """Microseconds since the epoch as a datetime in UTC."""
    return EPOCH + timedelta(microseconds=at)


def interval_start(at: int, minutes: int, zone: ZoneInfo) -> int:
    """The start of the local interval of so many minutes that holds `at`.

    Local minutes are subtracted in absolute time, so both passes of a repeated hour have intervals of their own.
    """
    return _interval_start(at - at % SECOND, minutes, zone)


@lru_cache(maxsize=65_536)
def _interval_start(second: int, minutes: int, zone: ZoneInfo) -> int:
    local = to_datetime(second).astimezone(zone)
    return second - (local.minute % minutes) * MINUTE - local.second * SECOND


@lru_cache(maxsize=4096)
def _day_bounds(day: date, start_hour: int, zone: ZoneInfo) -> tuple[int, int]:
    def begins(on: date) -> int:
        return to_microseconds(datetime.combine(on, time(start_hour), zone))

    return begins(day), begins(day + timedelta(days=1))


def business_day(at: int, start_hour: int, zone: ZoneInfo) -> tuple[int, int]:
    """Start and end of the business day that holds `at`; it begins at that local hour and is named by that date."""
    return _business_day(at - at % SECOND, start_hour, zone)


@lru_cache(maxsize=4096)
def _business_day(second: int, start_hour: int, zone: ZoneInfo) -> tuple[int, int]:
    day = to_datetime(second).astimezone(zone).date()
    for candidate in (day, day - timedelta(days=1), day + timedelta(days=1)):
        start, end = _day_bounds(candidate, start_hour, zone)
        if start <= second < end:
            return start, end
    raise AssertionError(f"no business day around {day} in {zone} holds {second}")


def utc_offset(at: int, zone: ZoneInfo) -> int:
    """Seconds by which a zone's local time is ahead of UTC."""
    return _utc_offset(at - at % (15 * MINUTE), zone)


@lru_cache(maxsize=4096)
def _utc_offset(at: int, zone: ZoneInfo) -> int:
    """Clocks are changed at a quarter of an hour by UTC."""
    offset = to_datetime(at).astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


@dataclass(frozen=True)
class OpeningHours:
    """When a queue is open: local ranges of seconds of the day by weekday (Monday is 0), and dated exceptions.

    `weekly` None: always open but for the exceptions.  Ranges are closed on the left, open on the right.
    """

    zone: ZoneInfo
    weekly: tuple[tuple[tuple[int, int], ...], ...] | None = None
    exceptions: dict[date, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def is_open(self, at: int) -> bool:
        """Whether the queue is open at that instant."""
        local = to_datetime(at).astimezone(self.zone)
        second = local.hour * 3600 + local.minute * 60 + local.second
        ranges = self.exceptions.get(local.date())
        if ranges is None:
            if self.weekly is None:
                return True
            ranges = self.weekly[local.weekday()]
        return any(start <= second < end for start, end in ranges)
