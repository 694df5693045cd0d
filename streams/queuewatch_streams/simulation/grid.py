"""Time on the simulator's grid: every moment is a whole number of eighths of a second since the epoch.

An eighth is a power of two, so sums and differences of simulated times are exact in floating point and in any
order: two programs that count the same file can be compared with a plain diff.  A `tick` below is such an eighth.
"""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Final

TICKS: Final = 8
"""Ticks in a second."""

_MINUTE: Final = 60 * TICKS
_WITHIN: Final = tuple(f"{tick // TICKS:02d}.{tick % TICKS * 125:03d}" for tick in range(_MINUTE))
_REMEMBERED: Final = 4096


def tick_of(at: datetime) -> int:
    """The last tick not later than the aware datetime `at`."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * TICKS + since.microseconds * TICKS // 1_000_000


def moment_of(tick: int, zone: tzinfo) -> datetime:
    """The tick as an aware datetime of `zone`."""
    return datetime.fromtimestamp(tick / TICKS, zone)


def ticks(seconds: float) -> int:
    """A duration in seconds, rounded to ticks."""
    return round(seconds * TICKS)


def writer(zone: tzinfo) -> Callable[[int], str]:
    """A function from ticks to RFC 3339 with milliseconds and the offset of `zone` at that moment.

    It remembers the text of recent minutes.  Offsets of whole minutes are assumed: every zone has had one since 1972.
    """
    minutes: dict[int, tuple[str, str]] = {}

    def text(tick: int) -> str:
        minute, within = divmod(tick, _MINUTE)
        known = minutes.get(minute)
        if known is None:
            if len(minutes) >= _REMEMBERED:
                minutes.clear()
            whole = moment_of(minute * _MINUTE, zone).isoformat()
            known = minutes[minute] = whole[:17], whole[19:]
        return f"{known[0]}{_WITHIN[within]}{known[1]}"

    return text
