"""Decides how a file of events comes to Kafka: which topic, key, partition and timestamp each line gets, and when.

A line is one canonical event in JSON.  The key is the queue; agent.state goes to the agents topic under its agent, and
a source.heartbeat to every partition of the events topic.  A line is sent as it stands, byte for byte, unless its times
are moved; whether the event is a good one is the worker's to judge.  Only what cannot be addressed (no JSON, no queue,
or no time where a time is needed) is left out, told with file and line, and counted: nothing is lost in silence.

Lines are packed into record batches here, one per partition, since aiokafka's `send` costs ten times as much for each.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal, cast

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import TYPE_PREFIX
from queuewatch_schemas.times import instant
from queuewatch_schemas.topics import MAXIMUM_MESSAGE_BYTES, partition_for
from queuewatch_streams.kafka import KafkaTrouble, client_settings, described, gives_producer_ids, producer_settings
from queuewatch_streams.topics import TopicTrouble, partition_counts

__all__ = ["Packer", "Published", "Unaddressed", "UnreadableFile", "address", "publish", "shifted", "shifted_time"]

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
LINGER_SECONDS = 0.05
"""After so long without a further line what is packed is sent: a pipe's last line must not wait for the next."""

Role = Literal["events", "agents"]


class Unaddressed(ValueError):
    """A line that cannot be published; the text says why."""


class UnreadableFile(Exception):
    """The file cannot be opened or read to its end; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the lines of a file; blank lines are none."""

    published: int
    """Lines that the brokers have acknowledged."""
    skipped: int
    """Lines that could not be addressed; each was told."""
    seconds: float
    """From the first line to the last acknowledgement."""

    @property
    def per_second(self) -> float:
        """Lines published a second."""
        return self.published / self.seconds if self.seconds > 0 else 0.0


def address(event: object) -> tuple[Role, str, bool]:
    """Where an event goes: the topic's role, the key, and whether to every partition.

    :raises Unaddressed: it is no JSON object, or names no queue, agent or source to be keyed by.
    """
    if type(event) is not dict:
        raise Unaddressed("an event is a JSON object, this is not one")
    kind = event.get("type")
    if type(kind) is str and kind.startswith(_BY_SUBJECT):
        subject = event.get("subject")
        if type(subject) is not str or not subject:
            raise Unaddressed(f"subject: is missing, and a {kind} is keyed by it")
        if kind.startswith(_AGENT):
            return "agents", subject, False
        return "events", subject, kind.startswith(_HEARTBEAT)
    data = event.get("data")
    queue = data.get("queue") if type(data) is dict else None
    if type(queue) is not str or not queue:
        raise Unaddressed("data.queue: is missing; an event is keyed by its queue")
    return "events", queue, False


_AGENT = f"{TYPE_PREFIX}agent."
_HEARTBEAT = f"{TYPE_PREFIX}source.heartbeat."
_BY_SUBJECT = (_AGENT, _HEARTBEAT, f"{TYPE_PREFIX}queue.")


def event_time(event: Mapping[str, Any]) -> int:
    """When an event happened, in microseconds since the epoch.

    :raises Unaddressed: it says no time, or none that can be read.
    """
    text = event.get("time")
    try:
        if isinstance(text, str):
            return instant(text)
    except (ValueError, IndexError, OverflowError):
        pass
    shown = "is missing" if text is None else f"{str(text)[:60]!r} is no time with an offset"
    raise Unaddressed(f"time: {shown}")


def shifted_time(text: str, by: timedelta) -> str:
    """A time moved by whole seconds; its offset and the digits of its fraction stay as they were written.

    :raises ValueError: it is no time.
    :raises OverflowError: it would leave the calendar.
    """
    instant(text)  # the rest of it too must be a time
    return (datetime.fromisoformat(text[:19]) + by).isoformat() + text[19:]


def shifted(event: dict[str, Any], by: timedelta) -> dict[str, Any]:
    """The event with all its times (`time`, a call's `entered` and `due`, a snapshot's `since`) moved alike, in place.

    :raises Unaddressed: one of them is no time.
    """
    place = "time"
    try:
        event["time"] = shifted_time(event["time"], by)
        data = event.get("data")
        if type(data) is dict:
            for place in ("entered", "due"):
                if place in data:
                    data[place] = shifted_time(data[place], by)
            place = "waiting"
            for caller in data.get("waiting", ()):
                caller["since"] = shifted_time(caller["since"], by)
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        raise Unaddressed(f"{place}: cannot be moved to the present, it holds no time with an offset") from None
    return event


async def publish(
    file: str,
    configuration: Configuration,
    *,
    speed: float | None = None,
    shift_to_now: bool = False,
    history: bool = False,
    complain: Callable[[str], None] | None = None,
    progress: bool | None = None,
) -> Published:
    """Publish every line of a file and wait until the brokers have acknowledged all.

    :param file: the path of an ndjson file, gzip'd when it ends in `.gz`; `-` for standard input.
    :param speed: pace by event time: 1 as it happened, 10 ten times as fast; None: as fast as can be.  Above 1 the
        times of shifted events run ahead of the clock, which live topics reject: use it with histories.
    :param shift_to_now: move all times by one shift, in whole seconds, so that the newest event is now; with `speed`
        the oldest.  The file is read twice (standard input through a temporary file).
    :param history: give each record the time of its event as timestamp, for topics with CreateTime; else the present.
    :param complain: told why a line is left out, as `file:line: reason`; None: standard error.
    :param progress: show a progress bar on standard error; None: when that is a terminal.
    :raises UnreadableFile: the file cannot be read, or not to its end; what came before is published.
    :raises TopicTrouble: a topic that is needed is not there.
    :raises KafkaTrouble: no broker can be reached, or a batch was refused.
    :raises ValueError: the speed is not above 0.
    """
    if speed is not None and not speed > 0:
        raise ValueError(f"the speed is {speed:g}, it must be above 0")
    settings = client_settings(configuration.kafka)
    partitions = await partition_counts(configuration.kafka)
    names = {"events": configuration.topics.events, "agents": configuration.topics.agents}
    if names["events"] not in partitions:
        raise _missing(names["events"], configuration)
    idempotent = await gives_producer_ids(settings)
    if not idempotent:
        log.info("these brokers serve no idempotent producers: a retry may store an event twice, which counts once")

    with ExitStack() as stack:
        source = stack.enter_context(_opened(file, again=shift_to_now))
        shift, first = timedelta(0), None
        if shift_to_now:
            oldest, newest = await asyncio.to_thread(_span, file, source)
            if oldest is not None and newest is not None:
                anchor = newest if speed is None else oldest
                shift = timedelta(seconds=(time.time_ns() // 1000 - anchor) // 1_000_000)
                first = oldest + shift // timedelta(microseconds=1)
            source.seek(0)
        bar = stack.enter_context(_Bar(source, shown=sys.stderr.isatty() if progress is None else progress))
        tell = complain or bar.print
        producer = AIOKafkaProducer(
            **settings,
            **producer_settings(configuration.kafka, idempotent=idempotent),
        )
        try:
            await producer.start()
            packer = Packer(producer, names, partitions, configuration)
            pace = None if speed is None else _Pace(speed, first)
            began = time.monotonic()
            published = skipped = number = 0
            timed = history or shift_to_now or pace is not None
            async for lines in _lines(file, source):
                if not lines:  # the pipe is quiet
                    await packer.send_all()
                    continue
                for line in lines:
                    number += 1
                    if not line or line.isspace():
                        continue
                    try:
                        event = _loaded(line)
                        role, key, everywhere = address(event)
                        value, timestamp = line, None
                        if timed:
                            if shift:
                                value = orjson.dumps(shifted(event, shift))
                            at = event_time(event)
                            if history:
                                timestamp = at // 1000
                            if pace is not None and (wait := pace.until(at)) > 0:
                                await packer.send_all()
                                await asyncio.sleep(wait)
                        await packer.add(role, key.encode(), value, timestamp, everywhere)
                    except Unaddressed as why:
                        skipped += 1
                        tell(f"{file}:{number}: {why}")
                        continue
                    published += 1
                bar.move(published, skipped)
            await packer.finish()
        except KafkaError as error:
            raise KafkaTrouble(
                f"publishing {file} ended at line {number}: Kafka at {configuration.kafka.brokers} did not take a batch"
                f" ({described(error)}); what came before it may be published, and may be published again safely"
            ) from error
        finally:
            await producer.stop()
        return Published(published, skipped, time.monotonic() - began)


def _missing(topic: str, configuration: Configuration) -> TopicTrouble:
    return TopicTrouble(
        f"the topic {topic} is not there at {configuration.kafka.brokers}; create it with `queuewatch topics create`"
    )


def _loaded(line: bytes) -> Any:
    if len(line) > MAXIMUM_MESSAGE_BYTES - 1024:  # the record's own head needs room
        raise Unaddressed(f"the line has {len(line)} bytes, a message has room for {MAXIMUM_MESSAGE_BYTES - 1024}")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Unaddressed(f"is not JSON: {error}") from None


class Packer:
    """Packs lines into one batch per partition and hands full ones to the producer, in order; for one task at a time."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        names: Mapping[Role, str] | Mapping[str, str],
        partitions: Mapping[str, int],
        configuration: Configuration,
    ) -> None:
        self._producer = producer
        self._names = cast(Mapping[str, str], names)
        self._partitions = partitions
        self._configuration = configuration
        self._open: dict[tuple[str, int], Any] = {}
        self._under_way: set[asyncio.Future[Any]] = set()
        self._failed: BaseException | None = None

    async def add(self, role: Role, key: bytes, line: bytes, timestamp: int | None, everywhere: bool) -> None:
        """Pack a line; sends the batch that it no longer fits into."""
        topic = self._names[role]
        count = self._partitions.get(topic)
        if count is None:
            raise _missing(topic, self._configuration)
        for partition in range(count) if everywhere else (partition_for(key, count),):
            place = (topic, partition)
            batch = self._open.get(place)
            if batch is not None and batch.append(timestamp=timestamp, key=key, value=line) is not None:
                continue
            if batch is not None:
                await self._send(place)
            batch = self._open[place] = self._producer.create_batch()
            if batch.append(timestamp=timestamp, key=key, value=line) is None:
                raise AssertionError("an empty batch takes any record")

    async def send_all(self) -> None:
        """Send what is packed, full or not."""
        for place in list(self._open):
            await self._send(place)

    async def finish(self) -> None:
        """Send what is packed and wait until every batch is acknowledged.

        :raises KafkaError: one was not.
        """
        await self.send_all()
        while self._under_way:
            await asyncio.wait(self._under_way)
            await asyncio.sleep(0)  # let the callbacks run
        self._check()

    async def _send(self, place: tuple[str, int]) -> None:
        self._check()
        batch = self._open.pop(place)
        batch.close()
        sent = await self._producer.send_batch(batch, place[0], partition=place[1])
        self._under_way.add(sent)
        sent.add_done_callback(self._settled)
        await asyncio.sleep(0)  # the sender's turn

    def _settled(self, sent: asyncio.Future[Any]) -> None:
        self._under_way.discard(sent)
        if not sent.cancelled() and (error := sent.exception()) is not None and self._failed is None:
            self._failed = error

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed


class _Pace:
    """How long it is until an event of some time is due."""

    def __init__(self, speed: float, first: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._first = first
        self._clock = clock
        self._began = clock()

    def until(self, at: int) -> float:
        """Seconds from now until the event is due; the first one sets the start."""
        if self._first is None:
            self._first = at
        return self._began + (at - self._first) / 1e6 / self._speed - self._clock()


class _Bar:
    """The progress bar, where one is shown, and standard error in any case."""

    def __init__(self, source: IO[bytes], *, shown: bool) -> None:
        self._position, self._total = _position_of(source)
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        if shown:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._task = self._progress.add_task("publishing", total=self._total)

    def __enter__(self) -> _Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def print(self, text: str) -> None:
        """A line on standard error, above the bar."""
        if self._progress is None:
            print(text, file=sys.stderr)
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def move(self, published: int, skipped: int) -> None:
        """Show how far the file is read."""
        if self._progress is not None:
            told = f"publishing: {published:,} events" + (f", {skipped:,} left out" if skipped else "")
            self._progress.update(self._task, completed=self._position(), description=told)


def _position_of(source: IO[bytes]) -> tuple[Callable[[], int], int | None]:
    """How far a file is read, in bytes on the disk, and its size there; no size for a pipe."""
    raw = cast(IO[bytes], source.fileobj) if isinstance(source, gzip.GzipFile) else source
    try:
        here = raw.tell()
        end = raw.seek(0, 2)
        raw.seek(here)
    except (OSError, ValueError):
        return (lambda: 0), None
    return raw.tell, end


def _opened(file: str, *, again: bool) -> IO[bytes]:
    """The file to read lines from; one that can be read again where that is needed."""
    try:
        if file != "-":
            return cast(IO[bytes], gzip.open(file, "rb")) if file.endswith(".gz") else Path(file).open("rb")
        if not again:
            return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        kept = tempfile.TemporaryFile(prefix="queuewatch-publish-")  # noqa: SIM115 - the caller closes it
        while chunk := sys.stdin.buffer.read(CHUNK_BYTES):
            kept.write(chunk)
        kept.seek(0)
        return cast(IO[bytes], kept)
    except OSError as error:
        raise UnreadableFile(f"{file}: cannot be read: {error.strerror or error}") from None


def _span(file: str, source: IO[bytes]) -> tuple[int | None, int | None]:
    """The oldest and the newest event's time, microseconds; lines that will be left out do not count."""
    oldest: int | None = None
    newest: int | None = None
    for chunk in _chunks(file, source):
        for line in chunk:
            try:
                event = _loaded(line)
                address(event)
                at = event_time(event)
            except Unaddressed:
                continue
            oldest = at if oldest is None or at < oldest else oldest
            newest = at if newest is None or at > newest else newest
    return oldest, newest


def _chunks(file: str, source: IO[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, without their ends, as they come; a last one without an end too.

    :raises UnreadableFile: the file cannot be read to its end.
    """
    rest = b""
    try:
        while chunk := source.read(CHUNK_BYTES):
            lines = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
            rest = lines.pop()
            yield [line[:-1] if line.endswith(b"\r") else line for line in lines]
    except (OSError, EOFError, zlib.error) as error:  # gzip raises all three
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UnreadableFile(f"{file}: cannot be read to its end: {reason}") from None
    if rest:
        yield [rest[:-1] if rest.endswith(b"\r") else rest]


async def _lines(file: str, source: IO[bytes]) -> AsyncIterator[list[bytes]]:
    """The chunks of a file, and an empty one when it falls quiet.

    Read in a thread, so that a silent pipe does not hold the loop, and a daemon, so that who waits for one can end.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue(maxsize=4)

    def read() -> None:
        try:
            for lines in _chunks(file, source):
                if lines:
                    asyncio.run_coroutine_threadsafe(queue.put(lines), loop).result()
            asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()
        except UnreadableFile as error:
            asyncio.run_coroutine_threadsafe(queue.put(error), loop).result()
        except RuntimeError:  # the loop has ended: nobody waits for more
            return

    threading.Thread(target=read, name="publish-reader", daemon=True).start()
    quiet = False
    while True:
        try:
            async with asyncio.timeout(None if quiet else LINGER_SECONDS):
                lines = await queue.get()
        except TimeoutError:
            quiet = True
            yield []
            continue
        quiet = False
        if lines is None:
            return
        if isinstance(lines, Exception):
            raise lines
        yield lines
