"""One running source: what a reader brings is translated, written, and only then its position saved.

The order is always the same: records into the translator, its events to the brokers, their acknowledgement awaited, then
position and memory saved together, so seldom that it costs little, however much there is to remember.  A crash at any point
repeats some events, which changes nothing, and loses none.  Where Kafka fails everything starts again from what is saved, as
after a crash; where only the vendor's system is lost, the reader is called again and the translator goes on as it was.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import SourceSettings
from queuewatch_streams.kafka import KafkaTrouble
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.doubles import doubled
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Begin, Kind, Lost, Message, Out, Reader, Translator
from queuewatch_streams.sources.state import Saved, StateFile, StateTrouble
from queuewatch_streams.sources.writer import Writer
from queuewatch_streams.tasks import together

__all__ = ["Station"]

log = logging.getLogger(__name__)

DOUBLES_SECONDS: Final = 600.0
"""So often it is looked whether another source tells of the same calls, among those since the last look."""
SAVE_SECONDS: Final = 1.0
"""The shortest pause between two saves."""
_SELDOM: Final = 20
"""The pause between two saves is at least so many times as long as the first of them took."""
_SELDOMEST: Final = 30.0
"""The longest pause between two saves, in seconds."""
PATIENCE: Final = 10.0
"""Seconds without an answer from the brokers after which that is told."""
_LONGEST_PAUSE: Final = 60.0
_LAST_WORDS: Final = 10.0
"""Seconds for the brokers to acknowledge what was sent when the source ends."""
_TOLD: Final = 20
"""Refusals of one reason that are told one by one; of those after them every thousandth is."""
R = TypeVar("R")


class Station(Generic[R]):
    """What a reader works with.

    :param begin: where to begin while there is no position.
    :param start_at: for "business-day" when that began, microseconds since the epoch.
    """

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        configuration: Configuration,
        kind: Kind,
        reader: Reader[R],
        state: StateFile,
        figures: Figures,
        *,
        begin: Begin = "business-day",
        start_at: int = 0,
    ) -> None:
        self.begin = begin
        self.start_at = start_at
        self.position: Any = None
        """Where to read on, as the reader gave it with its last records; None: begin as `begin` says."""
        self._name = name
        self._settings = settings
        self._configuration = configuration
        self._kind = kind
        self._reader = reader
        self._state = state
        self._figures = figures
        self._composer = Composer(name, settings)
        self._translator: Translator[R]
        self._writer = Writer(configuration)
        self._out = Out()
        self._turn = asyncio.Lock()
        """Held while records are taken and while what is taken is saved: several tasks of a reader may do either."""
        self._whole = True
        """Whether position and memory belong together: not where a translator failed amidst records."""
        self._changes = 0
        """How often position or memory have changed in this session."""
        self._saved = 0
        """How many of these changes are saved."""
        self._save_again = 0.0
        """Before then nothing is saved."""
        self._told: dict[str, int] = {}
        self._good_until = 0.0
        self._down: str | None = None
        self._ill: str | None = "it has only begun"
        self._pause = _Pause()

    # ------------------------------------------------------------------------------------------------- for the reader

    async def take(
        self, records: Iterable[R], position: Any, where: Callable[[int], str] = lambda number: f"record {number}"
    ) -> None:
        """Translate records and send their events; waits while the brokers are slower.

        :param position: where to read on once these are taken, as JSON can hold it; a reader of several streams at once gives
            a function instead, which makes it of the position before.
        :param where: tells people which record was the n-th of these, from 0.
        :raises KafkaTrouble: the brokers did not take events; let it pass.
        """
        translate, out, number = self._translator.translate, self._out, -1
        async with self._turn:
            self._whole = False
            for number, record in enumerate(records):
                translate(record, out)
                if out.refused:
                    self._tell(out, where(number))
            self.position = position(self.position) if callable(position) else position
            self._whole = True
            self._changes += 1
            self._figures.count("source_records_total", number + 1)
            await self._send()
            self._figures.show("source_open_calls", self._translator.open_calls)
            if self._translator.newest:
                self._figures.show("source_delay_seconds", max(0.0, time.time() - self._translator.newest / 1e6))

    async def advance(self, at: int) -> None:
        """Tell the translator that nothing older than `at` will come any more, microseconds since the epoch.

        :raises KafkaTrouble: the brokers did not take events; let it pass.
        """
        async with self._turn:
            self._whole = False
            self._translator.advance(at, self._out)
            self._whole = True
            self._changes += bool(self._out.messages)
            if self._out.refused:
                self._tell(self._out, "what was held back")
            await self._send()

    async def announce(self, messages: Iterable[Message]) -> None:
        """Send events that concern every partition, as heartbeats do; safe once `acknowledged` has returned.

        :raises KafkaTrouble: the brokers did not take events; let it pass.
        """
        await self._writer.put(messages, everywhere=True)

    async def acknowledged(self) -> None:
        """Wait until the brokers have acknowledged all that follows from what was taken.

        That suffices a reader to tell its vendor so whose vendor can be asked for the records once more, from the position
        that is saved on, or whose translator remembers nothing.

        :raises KafkaTrouble: the brokers did not take events; let it pass.
        """
        async with self._turn:
            await self._acknowledged()

    async def settle(self) -> None:
        """Wait until what was taken by now is acknowledged and saved, which may last for the pause between two saves.

        A reader awaits it before it has its vendor forget records.  Else there is no need to: the station saves by itself.

        :raises KafkaTrouble: the brokers did not take events; let it pass.
        """
        changes = self._changes
        while self._saved < changes:
            await asyncio.sleep(self._save_again - time.monotonic())
            async with self._turn:
                if self._saved < changes and time.monotonic() >= self._save_again:
                    await self._settle()

    async def _acknowledged(self) -> None:
        await self._send()
        await self._writer.settled()

    async def _settle(self) -> None:
        await self._acknowledged()
        began, changes = time.monotonic(), self._changes
        if self._whole:
            await self._save(Saved(self.position, self._translator.memory()))
            self._saved = changes
            self._figures.show("source_saved_timestamp_seconds", time.time())
        ended = time.monotonic()
        self._save_again = ended + min(_SELDOMEST, max(SAVE_SECONDS, _SELDOM * (ended - began)))

    async def _save(self, saved: Saved) -> None:
        """Save, in a thread; a thread cannot be cancelled, so who cancels this waits, and nothing is taken meanwhile."""
        saving = asyncio.ensure_future(asyncio.to_thread(self._state.save, saved))
        cancelled: asyncio.CancelledError | None = None
        while not saving.done():
            try:
                await asyncio.wait([saving])
            except asyncio.CancelledError as why:
                cancelled = why
        saving.result()
        if cancelled is not None:
            raise cancelled

    def looked(self, good_for: float | None = None) -> None:
        """There was a real look at the system (an answer, a row, a new line): it is up.

        :param good_for: seconds for which this look speaks; left out: two heartbeats.
        """
        self._good_until = time.monotonic() + (2 * self._settings.heartbeat_seconds if good_for is None else good_for)
        self._down = None
        self._pause.over()

    def behind(self, records: float | None) -> None:
        """Tell how much there is that is not taken yet; None: nobody knows."""
        self._figures.show("source_position_behind", records)

    def leave_out(self, reason: str, number: int = 1) -> None:
        """Count records that the reader itself leaves out, by a reason of the catalogue."""
        self._figures.count("source_ignored_records_total", number, reason)

    def trouble(self, reason: str, detail: str) -> None:
        """Tell of something that cannot be read, as if it were a record, by a reason of the catalogue."""
        self._out.refuse(reason, detail)
        self._tell(self._out, "reader")

    # -------------------------------------------------------------------------------------------------------- running

    @property
    def ill(self) -> str | None:
        """What keeps events from flowing, in words; None when nothing does."""
        return self._ill or self._kept_waiting or self._down

    @property
    def _kept_waiting(self) -> str | None:
        waiting = self._writer.waiting
        if waiting < PATIENCE:
            return None
        return f"Kafka at {self._configuration.kafka.brokers} has acknowledged nothing for {waiting:.0f} s"

    async def run(self) -> None:
        """Run until cancelled; what was taken by then is acknowledged and saved, if that is possible at all.

        :raises PortTaken: the reader cannot listen.
        :raises StateTrouble: the state cannot be used.
        """
        try:
            await self._reader.open()
            while True:
                try:
                    await self._session()
                except KafkaTrouble as why:
                    self._ill = str(why)
                    wait = self._pause.next()
                    log.warning("%s: %s; trying again in %.0f s", self._name, why, wait)
                    self._figures.count("source_reconnects_total")
                    await asyncio.sleep(wait)
        finally:
            await self._reader.close()

    async def _session(self) -> None:
        """From what is saved until Kafka fails."""
        saved = self._state.load()
        self.position = None if saved is None else saved.position
        memory = None if saved is None else saved.memory
        try:
            self._translator = self._kind.translator(self._composer, memory, self._settings)
        except (LookupError, TypeError, ValueError, AttributeError):
            if memory is None:
                raise
            raise StateTrouble(f"{self._state.path}: what it remembers is damaged; delete it to start afresh") from None
        self._out, self._whole, self._changes, self._saved = Out(), True, 0, 0
        self._writer = Writer(self._configuration)
        try:
            await self._writer.start()
            self._ill = None
            try:
                await together(self._follow(), self._keep(), self._beat(), self._watch(), self._compare())
            finally:
                if self._saved < self._changes:
                    with suppress(KafkaTrouble, TimeoutError):
                        async with asyncio.timeout(_LAST_WORDS), self._turn:
                            await self._settle()
        finally:
            await self._writer.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._reader.run(self)
                why = "the connection ended"
            except Lost as lost:
                why = str(lost)
            self._down, self._good_until = why, 0.0
            self._figures.show("source_up", 0)
            self.behind(None)
            self._figures.count("source_reconnects_total")
            wait = self._pause.next()
            log.warning("%s: %s; trying again in %.0f s", self._name, why, wait)
            await asyncio.sleep(wait)

    async def _keep(self) -> None:
        """Save again and again where we are."""
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self.settle()

    async def _beat(self) -> None:
        interval, out = self._settings.heartbeat_seconds, Out()
        while True:
            upstream = "down" if self._down else "ok" if time.monotonic() < self._good_until else "unknown"
            self._figures.show("source_up", {"down": 0, "ok": 1}.get(upstream))
            self._composer.heartbeat(out, time.time_ns() // 1000, interval, upstream)
            await self.announce(out.messages)
            out.messages.clear()
            await asyncio.sleep(interval)

    async def _compare(self) -> None:
        """Look now and then whether another source tells of the same calls."""
        while True:
            await asyncio.sleep(DOUBLES_SECONDS)
            since = datetime.now(UTC) - timedelta(seconds=DOUBLES_SECONDS)
            with suppress(KafkaTrouble):  # the writer tells of the brokers
                found = await doubled(self._configuration, self._name, since)
                self._figures.show("source_doubled_calls", sum(found.values()))
                for other, number in found.items():
                    log.error(
                        "%s: the source %s tells of the same calls (%d of the last %.0f minutes), so they are counted twice; "
                        "end one of the two",
                        self._name, other, number, DOUBLES_SECONDS / 60,
                    )  # fmt: skip

    async def _watch(self) -> None:
        """Tell once when the brokers keep us waiting, and once when they no longer do."""
        told = False
        while True:
            await asyncio.sleep(PATIENCE / 5)
            why = self._kept_waiting
            if why is not None and not told:
                log.warning("%s: %s; waiting", self._name, why)
            elif why is None and told:
                log.warning("%s: Kafka acknowledges again", self._name)
            told = why is not None

    async def _send(self) -> None:
        """Put what there is to say on its way; what a cancelled `_send` had begun with is sent again, which changes nothing."""
        out = self._out
        for reason, number in out.ignored.items():
            self._figures.count("source_ignored_records_total", number, reason)
        out.ignored.clear()
        if out.messages:
            await self._writer.put(out.messages)
            self._figures.count("source_events_total", len(out.messages))
            out.messages.clear()

    def _tell(self, out: Out, where: str) -> None:
        for refusal in out.refused:
            self._figures.count("source_refused_records_total", 1, refusal.reason)
            told = self._told[refusal.reason] = self._told.get(refusal.reason, 0) + 1
            if told <= _TOLD or told % 1000 == 0:
                log.warning("%s: %s: %s: %s", self._name, where, refusal.reason, refusal.detail)
        out.refused.clear()


class _Pause:
    """How long to wait before the next try: longer each time, never the same for all, short again after a success."""

    def __init__(self) -> None:
        self._tries = 0

    def next(self) -> float:
        """Seconds until the next try."""
        self._tries += 1
        return min(_LONGEST_PAUSE, 2.0 ** min(self._tries - 1, 10)) * random.uniform(0.5, 1.0)

    def over(self) -> None:
        """It worked."""
        self._tries = 0
