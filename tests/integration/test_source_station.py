"""A reader of several tasks, some cut short: what its station saves is always safe, and belongs together."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.brokers import Broker
from queuewatch_streams.sources import station as station_module
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Out, Reader
from queuewatch_streams.sources.state import Saved, StateFile
from queuewatch_streams.sources.station import Station
from queuewatch_streams.tasks import together
from support.kills import until
from support.topics import site_of, written

pytestmark = pytest.mark.asyncio

TASKS = 4
START = 1_795_305_000_000_000


class Numbers:
    """A translator of numbers: each is a call, and what it remembers is how many of each task it has seen."""

    def __init__(self, composer: Composer, memory: Any) -> None:
        self.newest = 0
        self.open_calls = 0
        self._composer = composer
        self._seen: dict[str, int] = dict(memory or {})

    def translate(self, record: tuple[int, int], out: Out) -> None:
        task, number = record
        self._seen[str(task)] = number
        self._composer.call(out, "queued", START + number, f"{task}-{number}", {"queue": "sales"})

    def advance(self, at: int, out: Out) -> None:
        seen = self._seen.get("advanced", 0) + 1
        self._seen["advanced"] = seen
        self._composer.call(out, "queued", START + seen, f"advanced-{seen}", {"queue": "sales"})

    def memory(self) -> Any:
        return self._seen


class Several(Reader[tuple[int, int]]):
    """A reader whose tasks all take, advance and settle; all are cut short again and again."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self.opened = self.closed = self.runs = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def run(self, station: Station[tuple[int, int]]) -> None:
        self.runs += 1
        await together(self._end(), *(self._take(station, task) for task in range(TASKS)))

    async def _end(self) -> None:
        await asyncio.sleep(self._dice.uniform(0, 0.05))
        raise Lost("a while")

    async def _take(self, station: Station[tuple[int, int]], task: int) -> None:
        number = (station.position or {}).get(str(task), 0)
        while True:
            first, number = number + 1, number + 1 + self._dice.randrange(3)
            here = {str(task): number}
            await station.take(
                [(task, each) for each in range(first, number + 1)],
                lambda position, here=here: {**(position or {}), **here},
            )
            if self._dice.random() < 0.5:
                await station.advance(0)
            if self._dice.random() < 0.5:
                await station.settle()

    async def look(self) -> Look:
        return Look(())

    async def counters(self, since: datetime) -> Counters:
        return Counters({})


class Kept(StateFile):
    """A state that also remembers all that was saved."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "made", "numbers")
        self.all: list[Saved] = []

    def save(self, saved: Saved) -> None:
        super().save(saved)
        found = self.load()
        assert found is not None
        self.all.append(found)


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str) -> Configuration:
    return await site_of(embedded, unique)


def station_of(
    site: Configuration, reader: Reader[tuple[int, int]], state: StateFile, figures: Figures | None = None
) -> Station[tuple[int, int]]:
    kind = Kind(
        translator=lambda composer, memory, _: Numbers(composer, memory),
        reader=lambda *_: reader,
        records=lambda lines: iter(()),
    )
    return Station("made", SourceSettings(), site, kind, reader, state, figures or Figures("made"))


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_saved_belongs_together_and_is_safe_whoever_takes_and_is_cut_short(
    site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """No save has the position of one task's records and the memory of another's; each event of a save is on the topic."""
    monkeypatch.setattr("queuewatch_streams.sources.station._Pause.next", lambda _: 0.0)
    monkeypatch.setattr(station_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(station_module, "_SELDOM", 0)
    reader, state = Several(seed), Kept(tmp_path)
    station = station_of(site, reader, state)
    for _ in range(2):  # ended and begun again
        runs = reader.runs
        task = asyncio.ensure_future(station.run())
        async with asyncio.timeout(60):
            while reader.runs < runs + 40:
                await asyncio.sleep(0.02)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert reader.opened == reader.closed == 2
    assert len(state.all) > 40
    for saved in state.all:
        assert {key: value for key, value in saved.memory.items() if key != "advanced"} == saved.position
    calls = {event["subject"] for event in await written(site, site.topics.events)}
    for task_number in range(TASKS):
        told = range(1, state.all[-1].position[str(task_number)] + 1)
        assert {f"{task_number}-{number}" for number in told} <= calls


class Forgetful(Several):
    """A reader whose vendor forgets what it has settled; it looks whether that is saved, and whether all is in the end."""

    def __init__(self, state: Kept) -> None:
        super().__init__(0)
        self._state = state
        self.settled = 0
        self.over = asyncio.Event()

    async def run(self, station: Station[tuple[int, int]]) -> None:
        await together(self._on_and_on(station), self._forget(station))

    async def _on_and_on(self, station: Station[tuple[int, int]]) -> None:
        number = 0
        while self.settled < 6:
            number += 1
            await station.take([(0, number)], {"0": number})
            await station.acknowledged()
        await self.over.wait()

    async def _forget(self, station: Station[tuple[int, int]]) -> None:
        while self.settled < 6:
            await asyncio.sleep(0.01)
            before = (station.position or {}).get("0", 0)
            await station.settle()
            assert not before or self._state.all[-1].position["0"] >= before
            self.settled += before > 0
        while self._state.all[-1].position != station.position:  # nobody asks for that
            await asyncio.sleep(0.01)
        self.over.set()
        await asyncio.Event().wait()


class Slow(Kept):
    """A state that takes a while to be saved, and knows from when until when it was."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.times: list[tuple[float, float]] = []

    def save(self, saved: Saved) -> None:
        began = time.monotonic()
        time.sleep(0.02)
        super().save(saved)
        self.times.append((began, time.monotonic()))


async def test_saving_takes_a_small_part_of_the_time_and_who_settles_waits_for_it(
    site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "SAVE_SECONDS", 0.01)
    state = Slow(tmp_path)
    reader = Forgetful(state)
    task = asyncio.ensure_future(station_of(site, reader, state).run())
    waiting = asyncio.ensure_future(reader.over.wait())
    async with asyncio.timeout(60):
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    running = list(state.times)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert reader.over.is_set()
    assert len(running) >= 6
    for (began, ended), (again, _) in pairwise(running):
        assert again - ended >= 20 * (ended - began)


class GoneBehind(Several):
    """A reader that was behind when its system went away."""

    async def run(self, station: Station[tuple[int, int]]) -> None:
        station.behind(5)
        self.runs += 1
        raise Lost("for good")


async def test_nobody_knows_how_far_behind_a_system_is_that_is_gone(site: Configuration, tmp_path: Path) -> None:
    reader, figures = GoneBehind(0), Figures("made")
    station = station_of(site, reader, StateFile(tmp_path, "made", "numbers"), figures)
    task = asyncio.ensure_future(station.run())
    await until(lambda: station.ill == "for good", "the loss")
    assert reader.runs
    assert figures.registry.get_sample_value("queuewatch_source_position_behind", {"source": "made"}) is None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
