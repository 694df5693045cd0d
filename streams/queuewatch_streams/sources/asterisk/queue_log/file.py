"""Follows Asterisk's queue_log as a file: as it grows, is renamed away, copied and truncated, or compressed.

A file is known by a digest of its first bytes, since its name changes and a copy has another inode.  A file is finished once
another one follows it that has content: Asterisk writes to the new one only after it has closed the old.  So nothing that was
written before a rotation is lost, whenever this process was not there.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, cast

from watchfiles import awatch

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import AsteriskQueueLog
from queuewatch_streams.sources.asterisk.queue_log.lines import lines_of
from queuewatch_streams.sources.asterisk.queue_log.tally import Tally
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Reader
from queuewatch_streams.sources.station import Station

__all__ = ["KIND", "QueueLogFile"]

log = logging.getLogger(__name__)
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change

CHUNK: Final = 256 * 1024
LONGEST_LINE: Final = 64 * 1024
"""Bytes; what is longer is no line of a log."""
HEAD: Final = 256
"""Bytes at the beginning by which a file is known."""
_SHOWN: Final = 50
_SETTLED: Final = 5_000_000
"""Microseconds after which nothing older than now will come any more in a file that is followed."""


@dataclass(slots=True)
class _Listed:
    """A file of the log, as it lies in the folder."""

    path: Path
    inode: int
    head: bytes
    changed: int
    live: bool

    @property
    def began(self) -> int:
        """The time of its first line, seconds; 0 where it has none."""
        return _began(self.head)

    @property
    def order(self) -> tuple[bool, int, int]:
        """The oldest first, the one that Asterisk writes last."""
        return self.live, self.began, self.changed

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return self.path.name.endswith(".gz")


class _Tail:
    """An open file and how far it is read."""

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self.packed = path.name.endswith(".gz")
        self.raw: IO[bytes] = path.open("rb")
        self.file = cast(IO[bytes], gzip.GzipFile(fileobj=self.raw)) if self.packed else self.raw
        self.offset = offset
        self.inode = os.fstat(self.raw.fileno()).st_ino
        self.head = b""
        self.look()

    def look(self) -> bool:
        """Learn the head while it grows; whether the file is still the one that it was."""
        if len(self.head) >= HEAD and self.packed:
            return True
        if self.packed:
            self.file.seek(0)
            now = self.file.read(HEAD)
        else:
            now = os.pread(self.raw.fileno(), HEAD, 0)
        if not now.startswith(self.head):
            return False
        self.head = now
        return self.packed or os.fstat(self.raw.fileno()).st_size >= self.offset

    @property
    def size(self) -> int:
        """Bytes on the disk; of a packed file what is read, as nobody knows more."""
        return self.offset if self.packed else os.fstat(self.raw.fileno()).st_size

    def read(self) -> bytes:
        """The next bytes, none at the end for now."""
        if self.packed:
            self.file.seek(self.offset)
            return self.file.read(CHUNK)
        return os.pread(self.raw.fileno(), CHUNK, self.offset)

    def close(self) -> None:
        """Let go of it."""
        self.file.close()
        self.raw.close()

    @property
    def position(self) -> dict[str, Any]:
        """Where this is, so that it is found again under whatever name."""
        return {
            "inode": self.inode,
            "head": hashlib.sha256(self.head).hexdigest(),
            "length": len(self.head),
            "began": _began(self.head) if self.head else int(time.time()) - 1,  # its first line is still to come
            "offset": self.offset,
        }


class QueueLogFile(Reader[bytes]):
    """The reader of a queue_log file."""

    def __init__(self, name: str, settings: AsteriskQueueLog, configuration: Configuration) -> None:
        self._path = settings.file
        self._poll = settings.poll_seconds
        self._quiet = settings.quiet_after_seconds
        self._tail: _Tail | None = None
        self._skip_before = 0
        self._was_missing = False
        """Whether there was no file when this process began: then all that one holds is of later."""

    async def run(self, station: Station[bytes]) -> None:
        """Read on from the station's position, and follow.  Raises Lost."""
        try:
            self._tail = self._resume(station)
            if station.position is None and station.begin == "now":  # or what comes next would be before the next "now"
                await station.take([], self._tail.position)
                await station.settle()
            async for _ in self._wakes():
                await self._read_on(station)
        except (OSError, EOFError, zlib.error) as error:
            if self._tail is not None and self._tail.packed and getattr(error, "filename", None) is None:
                raise Lost(
                    f"{self._tail.path}: cannot be unpacked to its end yet: {error}; if nobody is packing it any more, move it"
                    " away, and what it held is lost"
                ) from None
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise Lost(f"{getattr(error, 'filename', None) or self._path}: cannot be read: {reason}") from None
        finally:
            if self._tail is not None:
                self._tail.close()
                self._tail = None

    async def _read_on(self, station: Station[bytes]) -> None:
        """Take everything that is there by now, through all rotations.

        Whether another file follows is asked before the last reading: what follows is written to only after this one is
        closed, so what is read then is all that it ever holds.
        """
        while True:
            tail = self._tail
            assert tail is not None, "resumed"
            await self._drain(station, tail, last=False)
            following = self._following(tail)
            if following is None:
                break
            await self._drain(station, tail, last=True)
            tail.close()
            self._tail = following
        if self._skip_before:  # a first start is over, though nothing has come since
            self._skip_before = 0
            await station.take([], tail.position)
        station.behind(tail.size - tail.offset)
        await station.advance(time.time_ns() // 1000 - _SETTLED)

    async def _drain(self, station: Station[bytes], tail: _Tail, *, last: bool) -> None:
        """Take whole lines to the end of a file, as long as it is the file that it was.

        :param last: nothing more will be written to it: what stands after the last line's end is a line too.
        """
        while True:
            chunk = tail.read()
            if not tail.look():
                return
            end = chunk.rfind(b"\n") + 1
            if not end and chunk and (last or len(chunk) >= LONGEST_LINE):
                end = len(chunk)
            if not end:
                return
            lines = chunk[:end].split(b"\n")
            if not lines[-1]:
                lines.pop()
            starts = tail.offset
            tail.offset += end
            station.looked(self._quiet)
            kept = self._since_start(lines, station)
            # Not amidst what is older than a first start: a second one would take the rest of it for new.
            position = None if self._skip_before else tail.position
            await station.take(kept, position, _place(tail.path, starts, lines, len(lines) - len(kept)))
            station.behind(tail.size - tail.offset)
            await asyncio.sleep(0)

    def _since_start(self, lines: list[bytes], station: Station[bytes]) -> list[bytes]:
        """The lines without those that are older than where a first start begins."""
        if not self._skip_before:
            return lines
        for number, line in enumerate(lines):
            stamp = _began(line)
            if stamp >= self._skip_before:
                self._skip_before = 0
                station.leave_out("before_start", number)
                return lines[number:]
        station.leave_out("before_start", len(lines))
        return []

    # ------------------------------------------------------------------------------------------------ which file, where

    def _resume(self, station: Station[bytes]) -> _Tail:
        """The file to read on in.  Raises OSError where there is none at all."""
        while True:
            listed = self._listed()
            if not listed or (station.position is None and station.begin == "now"):
                return self._end_of_now(station)
            tail = _opened(*self._place_in(listed, station))
            if tail is not None:
                return tail

    def _end_of_now(self, station: Station[bytes]) -> _Tail:
        """The file itself, behind its last whole line where that is asked for."""
        try:
            tail = _Tail(self._path, 0)
        except FileNotFoundError:
            self._was_missing = True
            raise
        if station.begin == "now" and not self._was_missing:
            end = tail.size
            back = os.pread(tail.raw.fileno(), min(end, LONGEST_LINE), max(0, end - LONGEST_LINE))
            tail.offset = end - len(back) + back.rfind(b"\n") + 1
        return tail

    def _place_in(self, listed: list[_Listed], station: Station[bytes]) -> tuple[_Listed, int]:
        """The file and the offset to read on at."""
        position = station.position
        if position is None:
            if station.begin == "business-day":
                self._skip_before = station.start_at // 1_000_000
                listed = [each for each in listed if each.live or each.changed >= station.start_at * 1000] or listed[
                    -1:
                ]
            return listed[0], 0
        length = position["length"]
        fitting = [
            each
            for each in listed
            if hashlib.sha256(each.head[:length]).hexdigest() == position["head"]
            and (length or each.inode == position["inode"])
        ]
        if fitting:
            best = min(fitting, key=lambda each: (each.inode != position["inode"], each.packed, not each.live))
            return best, position["offset"]
        if length:
            station.trouble("lost", f"{self._path}: the file that was read last is gone, with what it still held")
        newer = [each for each in listed if each.began > position["began"]] or listed[-1:]
        return newer[0], 0

    def _listed(self) -> list[_Listed]:
        """The file and its rotated ones, oldest first, copies left out; the file itself last, where it is there.

        While files are renamed, copied and truncated one after the other, one look may miss any of them, and what is missed
        is skipped for ever: so a look counts only if the next one sees the same.
        """
        found = self._seen()
        while (again := self._seen()) != found:
            found = again
        apart: list[_Listed] = []
        for each in sorted(found, key=lambda each: (not each.live, each.packed, each.order)):
            if not any(len(each.head) == HEAD and each.head == other.head for other in apart):
                apart.append(each)
        return sorted(apart, key=lambda each: each.order)

    def _seen(self) -> list[_Listed]:
        """What one look at the folder shows; a packed file counts once what it was packed from is gone."""
        base, found = self._path.name, []
        with os.scandir(self._path.parent) as entries:
            names = {
                entry.name for entry in entries if entry.name == base or entry.name.startswith((f"{base}.", f"{base}-"))
            }
        for name in sorted(names):
            if name.removesuffix(".gz") == name or name.removesuffix(".gz") not in names:
                path, live = self._path.with_name(name), name == base
                try:
                    about, head = path.stat(), _head(path)
                except (OSError, EOFError, zlib.error) as error:  # gone meanwhile, or not yet whole
                    if live and not isinstance(error, FileNotFoundError):
                        raise
                    continue
                if head or live:
                    found.append(_Listed(path, about.st_ino, head, 0 if live else about.st_mtime_ns, live))
        return found

    def _following(self, tail: _Tail) -> _Tail | None:
        """The file to go on with once this one is read to its end; None while it may still grow."""
        intact = tail.look()
        try:
            is_live = self._path.stat().st_ino == tail.inode and not tail.packed
        except FileNotFoundError:
            is_live = False
        if intact and is_live:
            return None
        listed = self._listed()
        same = [number for number, each in enumerate(listed) if tail.head and each.head.startswith(tail.head)]
        if (
            not intact and same
        ):  # copied and truncated, and perhaps renamed since: what was not read before is in the copy
            return _opened(listed[same[-1]], tail.offset)
        if not intact and is_live:
            return _Tail(self._path, 0)
        began = _began(tail.head)
        later = listed[same[-1] + 1 :] if same else [each for each in listed if each.live or each.began > began]
        if not later or not later[0].head:
            return None
        return _opened(later[0], 0)

    async def _wakes(self) -> AsyncIterator[None]:
        """Once, and then whenever the folder changes or it is time to look again."""
        yield None
        wait = max(1, round(self._poll * 1000))
        watch = awatch(
            self._path.parent,
            watch_filter=None,  # with one, it wakes nobody for as long as another log in the folder is written to
            debounce=100,
            step=20,
            rust_timeout=wait,
            yield_on_timeout=True,
            recursive=False,
        )
        try:
            async for _ in watch:
                yield None
        except (OSError, RuntimeError) as why:  # no more watches to be had: look again and again
            log.info("%s: is polled, since the system does not tell of changes: %s", self._path, why)
        while True:
            await asyncio.sleep(self._poll)
            yield None

    # --------------------------------------------------------------------------------------------- check and compare

    async def look(self) -> Look:
        """The file, its rotated ones, its queues, and its newest lines.  Raises Lost."""
        try:
            listed = self._listed()
            if not any(each.live for each in listed):
                raise Lost(f"{self._path}: is not there; is it the queue_log of a running Asterisk?")
            tail = _Tail(self._path, 0)
            tail.offset = max(0, tail.size - 4 * LONGEST_LINE)
            newest = tail.read().split(b"\n")[bool(tail.offset) : -1]
            tail.close()
        except OSError as error:
            raise Lost(f"{error.filename or self._path}: cannot be read: {error.strerror or error}") from None
        queues = sorted(
            {fields[2].decode("utf-8", "replace") for line in newest if len(fields := line.split(b"|")) > 4}
        )
        says = (
            f"{self._path}: {self._path.stat().st_size} bytes, {len(listed) - 1} rotated files beside it",
            f"queues in its newest {len(newest)} lines: {', '.join(each for each in queues if each != 'NONE') or 'none'}",
        )
        return Look(says, tuple(newest[-_SHOWN:]))

    async def counters(self, since: datetime) -> Counters:
        """The lines of each event and queue.  Raises Lost."""
        start = round(since.timestamp())
        try:
            return await asyncio.to_thread(self._count, start)
        except (OSError, EOFError, zlib.error) as error:
            raise Lost(f"{self._path}: cannot be read: {error}") from None

    def _count(self, start: int) -> Counters:
        counts = Tally()
        for each in self._listed():
            if each.live or each.changed // 1_000_000_000 >= start:
                with cast(IO[bytes], gzip.open(each.path)) if each.packed else each.path.open("rb") as lines:
                    for line in lines:
                        if _began(line) >= start:
                            counts.add(line.decode("utf-8", "replace").rstrip("\r\n").split("|"))
        return counts.told()


def _opened(listed: _Listed, offset: int) -> _Tail | None:
    """A listed file, open; None where another one has its name by now."""
    try:
        tail = _Tail(listed.path, offset)
    except FileNotFoundError:
        return None
    if tail.inode == listed.inode and tail.head.startswith(listed.head):
        return tail
    tail.close()
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as raw:
        if path.name.endswith(".gz"):
            with gzip.open(raw) as unpacked:
                return unpacked.read(HEAD)
        return raw.read(HEAD)


def _began(head: bytes) -> int:
    """The time of a line or a file's first one, in whole seconds; 0 where it has none."""
    stamp = head.partition(b"|")[0].partition(b".")[0]
    if not stamp.isdigit() or len(stamp) > 17:
        return 0
    return int(stamp) if len(stamp) <= 11 else int(stamp) // 1_000_000


def _place(path: Path, starts: int, lines: list[bytes], before: int) -> Callable[[int], str]:
    """Where the n-th line that is taken stands, for people: file and byte."""
    return lambda number: f"{path}: byte {starts + sum(len(line) + 1 for line in lines[: before + number])}"


KIND = Kind(
    translator=lambda composer, memory, settings: QueueLog(composer, memory),
    reader=QueueLogFile,
    records=lines_of,
)
