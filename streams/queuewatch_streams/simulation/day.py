"""How a centre's day goes: how busy each time of day is, when each kind of queue is open, and how big queues are."""

from collections.abc import Callable
from datetime import tzinfo
from typing import Final, NamedTuple

from queuewatch_streams.simulation.grid import TICKS, moment_of

_DAY: Final = 86_400
_SLOT: Final = 300
# Calls at the middle of each hour of local time, as a share of the day's peak: a late morning, a lunch, an afternoon.
_HOURS: Final = (
    .05, .04, .03, .03, .04, .06, .12, .30, .62, .88, 1.0, .96,
    .78, .72, .84, .92, .84, .68, .50, .38, .30, .22, .14, .08,
)  # fmt: skip


class Profile(NamedTuple):
    """A queue's size relative to the mean, and its opening hours in hours of local time (None: always open)."""

    size: float
    hours: tuple[float, float] | None


PROFILES: Final = (
    Profile(1.2, (7, 21)), Profile(1.5, None), Profile(0.9, (8, 18)), Profile(0.6, (8, 18)), Profile(0.8, None),
)  # fmt: skip
"""Sizes and hours that the queues take in turn; the sizes' mean is 1."""
ALIKE: Final = Profile(1.0, None)


def _weight(second: int) -> float:
    hour = second / 3600 - 0.5
    left = int(hour // 1)
    return _HOURS[left % 24] + (hour - left) * (_HOURS[(left + 1) % 24] - _HOURS[left % 24])


_WEIGHTS: Final = tuple(_weight(slot + _SLOT // 2) for slot in range(0, _DAY, _SLOT))


def busyness(second_of_day: int) -> float:
    """Calls at this second of local time as a share of the peak (0…1): linear between hours, in steps of 5 minutes."""
    return _WEIGHTS[second_of_day // _SLOT]


def is_open(hours: tuple[float, float] | None, second_of_day: int) -> bool:
    """Whether a queue with these hours is open; half-open, and hours may run over midnight."""
    if hours is None:
        return True
    opens, closes = (hour * 3600 for hour in hours)
    return opens <= second_of_day < closes if opens <= closes else not closes <= second_of_day < opens


def local_clock(zone: tzinfo) -> Callable[[int], int]:
    """A function from ticks to the second of the local day, right over changes of the clocks.

    It looks the offset up once per quarter of an hour, on which all changes fall.
    """
    known: tuple[int, int] = (-1, 0)

    def second_of_day(tick: int) -> int:
        nonlocal known
        second = tick // TICKS
        quarter = second // 900
        if known[0] != quarter:
            offset = moment_of(quarter * 900 * TICKS, zone).utcoffset()
            assert offset is not None  # an aware datetime has one
            known = quarter, int(offset.total_seconds())
        return (second + known[1]) % _DAY

    return second_of_day
