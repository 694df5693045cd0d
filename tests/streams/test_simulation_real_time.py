"""The simulated centre in real time, on a clock that the test moves."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from queuewatch_streams.simulation import Incident, Live, Settings, endless, in_real_time, messages

NOW = datetime(2026, 11, 21, 1, 30, 0, 60_000, tzinfo=UTC)


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self) -> None:
        self.at = NOW.timestamp()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        assert seconds > 0
        self.at += seconds


def taken(settings: Settings, minutes: float, speed: float = 1.0) -> list[tuple[float, Live]]:
    """What came within so many minutes of the clock, with the clock's time."""

    async def take() -> list[tuple[float, Live]]:
        clock, came = Clock(), []
        stream = in_real_time(messages(settings), clock.now, live_from=NOW.timestamp(), speed=speed, sleep=clock.sleep)
        async for live in stream:
            if clock.at > NOW.timestamp() + minutes * 60:
                break
            came.append((clock.at, live))
        return came

    return asyncio.run(take())


def test_the_warm_up_comes_at_once_as_backlog_and_the_rest_when_its_time_has_come() -> None:
    """Nothing is sent before it happened, and nothing later than one step of the grid."""
    came = taken(endless(Settings(start=NOW, flat=True), NOW), minutes=5)
    backlog = [live for _, live in came if live.backlog]
    live = [(at, live) for at, live in came if not live.backlog]
    assert backlog and live
    assert all(item.backlog for _, item in came[: len(backlog)])
    first = datetime.fromisoformat(json.loads(backlog[0].message.value)["time"])
    assert timedelta(minutes=11) < NOW - first <= timedelta(minutes=12, seconds=1)
    for at, item in live:
        happened = datetime.fromisoformat(json.loads(item.message.value)["time"]).timestamp()
        assert 0 <= at - happened < 0.001
    assert live[-1][0] > NOW.timestamp() + 240


def test_at_speed_ten_ten_times_as_much_happens() -> None:
    """The stream is the same, the clock goes slower."""
    centre = endless(Settings(start=NOW, flat=True), NOW)
    fast, slow = taken(centre, minutes=1, speed=10), taken(centre, minutes=10)
    assert [live for _, live in fast] == [live for _, live in slow]


def test_an_incident_keeps_its_distance_from_now() -> None:
    """The warm-up is not counted (the start is rounded down to the grid, so all is up to 1/8 s early)."""
    settings = endless(Settings(start=NOW, flat=True, incidents=(Incident("sales", 2, 3),)), NOW, warm_up_minutes=5)
    assert settings.incidents == (Incident("sales", 7, 3),)
    rung = [
        (live.message.at / 8 - NOW.timestamp()) / 60
        for _, live in taken(settings, minutes=10)
        if live.message.kind == "call.ringing" and live.message.key == b"sales"
    ]
    assert any(minute < 2 for minute in rung)
    assert not any(2 <= minute < 4.99 for minute in rung)
    assert any(minute > 5 for minute in rung)


def test_a_speed_of_nothing_is_refused() -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="speed"):
        taken(endless(Settings(start=NOW), NOW), minutes=1, speed=0)
