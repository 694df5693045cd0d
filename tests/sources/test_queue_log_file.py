"""A queue_log that grows, is renamed, copied and truncated, compressed, while it is followed or while nobody follows it."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import AsteriskQueueLog
from queuewatch_streams.sources.asterisk.queue_log import file
from queuewatch_streams.sources.asterisk.queue_log.file import CHUNK, QueueLogFile
from queuewatch_streams.sources.shape import Lost
from sources.made_up import START


class Taking:
    """What a reader sees of its station: takes records, keeps the position; a crash is to make a new one from a saved one."""

    def __init__(self, position: Any = None, begin: str = "beginning", start_at: int = 0) -> None:
        self.position = position
        self.begin = begin
        self.start_at = start_at
        self.lines: list[bytes] = []
        self.saved: Any = position
        self.told: list[tuple[str, str]] = []
        self.left_out: dict[str, int] = {}
        self.places: list[str] = []

    async def take(self, records: Iterable[bytes], position: Any, where: Callable[[int], str] = str) -> None:
        for number, line in enumerate(records):
            self.lines.append(line)
            self.places.append(where(number))
        self.position = orjson.loads(orjson.dumps(position))

    async def settle(self) -> None:
        self.saved = self.position

    async def advance(self, at: int) -> None:
        self.saved = self.position

    def looked(self, good_for: float | None = None) -> None:
        pass

    def behind(self, records: float | None) -> None:
        pass

    def leave_out(self, reason: str, number: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + number

    def trouble(self, reason: str, detail: str) -> None:
        self.told.append((reason, detail))


class Followed:
    """A log in a folder, and a reader that looks when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue_log"
        self.number = 0
        self.written: list[bytes] = []
        self.station = Taking()
        self.reader: QueueLogFile | None = None
        self.seen: list[list[bytes]] = []

    def lines(self, number: int) -> bytes:
        made = [
            f"{START + (self.number + each) // 7}|{START}.{self.number + each}|sales|NONE|ENTERQUEUE||5|1".encode()
            for each in range(number)
        ]
        self.number += number
        self.written += made
        return b"".join(line + b"\n" for line in made)

    def append(self, content: bytes, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            file.write(content)

    def start(self, position: Any = None, begin: str = "beginning", start_at: int = 0) -> None:
        self.stop()
        self.station = Taking(position, begin, start_at)
        self.seen.append(self.station.lines)
        settings = AsteriskQueueLog.model_validate({"kind": "asterisk-queue-log", "file": str(self.path)})
        self.reader = QueueLogFile("pbx1", settings, Configuration())
        self.reader._tail = self.reader._resume(self.station)  # type: ignore[arg-type]

    def look(self) -> None:
        if self.reader is not None:
            asyncio.run(self.reader._read_on(self.station))  # type: ignore[arg-type]

    def stop(self) -> None:
        if self.reader is not None and self.reader._tail is not None:
            self.reader._tail.close()
        self.reader = None

    def rotate(self) -> Path:
        """Rename as logrotate does: .1 to .2.gz and so on."""
        for number in range(9, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"queue_log.{number}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"queue_log.{number + 1}{end}"))
        rotated = self.path.with_name("queue_log.1")
        self.path.rename(rotated)
        return rotated

    def copy_and_truncate(self) -> None:
        for number in range(9, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"queue_log.{number}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"queue_log.{number + 1}{end}"))
        shutil.copy(self.path, self.path.with_name("queue_log.1"))
        os.truncate(self.path, 0)

    def pack(self, number: int) -> None:
        old = self.path.with_name(f"queue_log.{number}")
        if old.exists():
            about = old.stat()
            packed = old.with_name(f"{old.name}.gz")
            packed.write_bytes(gzip.compress(old.read_bytes()))
            os.utime(packed, ns=(about.st_atime_ns, about.st_mtime_ns))
            old.unlink()

    def all_seen(self) -> list[bytes]:
        """Every line that was taken, first appearances in order, and that each session's are in order."""
        for lines in self.seen:
            assert lines == sorted(lines, key=self.written.index)
        return sorted({line for lines in self.seen for line in lines}, key=self.written.index)


@pytest.fixture
def log(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_lines_are_taken_once_they_are_whole(log: Followed) -> None:
    """A half-written one waits; its place is told in bytes."""
    whole = log.lines(3)
    log.append(whole[:-20])
    log.start()
    log.look()
    assert log.station.lines == log.written[:2]
    log.append(whole[-20:])
    log.look()
    assert log.station.lines == log.written
    assert log.station.places[1] == f"{log.path}: byte {len(log.written[0]) + 1}"


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_what_is_written_around_a_rename_is_not_lost(log: Followed, followed: bool, packed: bool) -> None:
    """Asterisk goes on in the renamed file until it opens the new one; logrotate may have made that, empty."""
    log.append(log.lines(5))
    log.start()
    log.look()
    log.append(log.lines(2))
    rotated = log.rotate()
    if followed:
        log.look()
    log.append(log.lines(3), rotated)
    log.path.touch()
    if followed:
        log.look()
    log.append(log.lines(2), rotated)
    log.append(log.lines(4))
    if packed:
        log.pack(1)
    if not followed:
        log.start(log.station.saved)
    log.look()
    log.append(log.lines(1))
    log.look()
    assert log.all_seen() == log.written
    assert log.station.told == []


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
@pytest.mark.parametrize("after", [1, 40])
def test_what_was_not_read_before_a_truncation_is_read_from_the_copy(log: Followed, followed: bool, after: int) -> None:
    """Whether the file is shorter afterwards than where it was read to, or has grown beyond it."""
    log.append(log.lines(5))
    log.start()
    log.look()
    log.append(log.lines(3))
    log.copy_and_truncate()
    if followed:
        log.append(log.lines(after))
        log.look()
    else:
        log.append(log.lines(after))
        log.start(log.station.saved)
        log.look()
    assert log.all_seen() == log.written


def test_several_rotations_while_nobody_follows_are_all_read(log: Followed) -> None:
    """Each file once, the oldest first, packed or not."""
    log.append(log.lines(5))
    log.start()
    log.look()
    for number in range(5):
        log.append(log.lines(20))
        log.rotate()
        log.append(log.lines(10))
        if number % 2:
            log.pack(2)
    log.start(log.station.saved)
    log.look()
    assert log.all_seen() == log.written
    assert len(log.station.lines) == len(log.written) - 5


def test_a_last_line_without_an_end_is_a_line_once_another_file_follows(log: Followed) -> None:
    """As after a crash of Asterisk."""
    log.append(log.lines(3)[:-1])
    log.start()
    log.look()
    log.rotate()
    log.append(log.lines(1))
    log.look()
    assert log.all_seen() == log.written


def test_a_file_that_is_gone_with_what_it_held_is_told(log: Followed) -> None:
    """And the next one is read from its beginning."""
    log.append(log.lines(30))
    log.start()
    log.look()
    log.rotate().unlink()
    log.append(log.lines(30))
    log.start(log.station.saved)
    log.look()
    assert [reason for reason, _ in log.station.told] == ["lost"]
    assert log.station.lines == log.written[30:]


def test_a_first_start_begins_where_it_is_told_to(log: Followed) -> None:
    """Now; with the business day, whose older lines are counted; or with all that is there."""
    log.append(log.lines(70))
    log.rotate()
    log.append(log.lines(70)[:-1])
    log.start(begin="now")
    log.look()
    log.append(b"\n")
    log.look()
    assert log.station.lines == log.written[-1:]
    log.start(begin="business-day", start_at=(START + 5) * 1_000_000)
    log.look()
    assert log.station.lines == log.written[35:]
    assert log.station.left_out == {"before_start": 35}
    log.start(begin="beginning")
    log.look()
    assert log.station.lines == log.written


def test_a_line_longer_than_any_is_one_bad_record_not_a_standstill(log: Followed) -> None:
    """What follows it is read."""
    log.append(b"x" * (2 * CHUNK) + b"\n" + log.lines(2))
    log.start()
    log.look()
    assert log.station.lines[-2:] == log.written


class EndedAt(Taking):
    """Killed with the n-th advance."""

    advances = 1

    async def advance(self, at: int) -> None:
        self.advances -= 1
        if not self.advances:
            raise asyncio.CancelledError
        await super().advance(at)


def reader_of(log: Followed) -> QueueLogFile:
    settings = AsteriskQueueLog.model_validate({"kind": "asterisk-queue-log", "file": str(log.path)})
    return QueueLogFile("pbx1", settings, Configuration())


def run(reader: QueueLogFile, station: Any) -> None:
    asyncio.run(reader.run(station))


def run_until_killed(reader: QueueLogFile, station: Taking) -> None:
    with pytest.raises(asyncio.CancelledError):
        run(reader, station)


def test_what_comes_after_a_first_now_is_taken_though_nothing_had_come_before_a_kill(log: Followed) -> None:
    """The next start goes on from the first one's now, not from one of its own."""
    log.append(log.lines(40))
    first = EndedAt(begin="now")
    run_until_killed(reader_of(log), first)
    log.append(log.lines(3))
    second = EndedAt(first.saved, begin="now")
    run_until_killed(reader_of(log), second)
    assert (first.lines, second.lines) == ([], log.written[40:])


def test_an_empty_file_that_is_packed_before_it_is_seen_again_is_still_the_newest(log: Followed) -> None:
    """By its name and inode nobody knows it any more; what lies beside it is older all the same."""
    log.append(log.lines(70))
    log.rotate()
    log.path.touch()
    first = EndedAt(begin="now")
    run_until_killed(reader_of(log), first)
    written = f"{round(time.time())}|1.1|sales|NONE|ENTERQUEUE||5|1".encode()
    log.append(written + b"\n")
    log.rotate()
    log.path.touch()
    log.pack(1)
    second = EndedAt(first.saved, begin="now")
    run_until_killed(reader_of(log), second)
    assert (first.lines, second.lines) == ([], [written])


def test_what_a_file_holds_that_was_not_there_at_first_has_come_after_now(log: Followed) -> None:
    reader, station = reader_of(log), EndedAt(begin="now")
    with pytest.raises(Lost):
        run(reader, station)
    log.append(log.lines(3))
    run_until_killed(reader, station)
    assert station.lines == log.written


def test_killed_amidst_what_is_older_than_a_first_start_it_does_not_take_the_rest_for_new(log: Followed) -> None:
    """Nor does it begin anew where all of it had been passed over."""
    log.append(log.lines(2 * CHUNK // 40))
    start_at = (START + log.number) * 1_000_000

    class KilledAmidst(Taking):
        async def take(self, records: Iterable[bytes], position: Any, where: Callable[[int], str] = str) -> None:
            await super().take(records, position, where)
            raise asyncio.CancelledError

    killed = KilledAmidst(begin="business-day", start_at=start_at)
    run_until_killed(reader_of(log), killed)
    passed = EndedAt(killed.position, begin="business-day", start_at=start_at)
    run_until_killed(reader_of(log), passed)
    assert passed.lines == []
    log.append(log.lines(1))
    later = EndedAt(passed.position, begin="business-day", start_at=start_at * 2)
    run_until_killed(reader_of(log), later)
    assert later.lines == log.written[-1:]


def test_a_file_that_may_not_be_read_any_more_is_lost_and_not_taken_for_a_quiet_one(
    log: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a rotation that gave the new one to root alone; a check says so too."""
    log.append(log.lines(10))
    log.start()
    log.look()
    log.rotate()
    log.append(log.lines(10))
    log.path.chmod(0)
    if os.geteuid() == 0:  # who may read whatever the mode says
        monkeypatch.setattr(file, "_head", forbidden(log.path, file._head))
    with pytest.raises(PermissionError, match="queue_log"):
        log.look()
    with pytest.raises(Lost, match="queue_log: cannot be read: Permission denied"):
        asyncio.run(reader_of(log).look())


def forbidden(path: Path, head: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def of(asked: Path) -> bytes:
        if asked == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(asked))
        return head(asked)

    return of


def test_a_packed_file_that_is_cut_off_is_named_with_what_can_be_done(log: Followed) -> None:
    """It is not passed over by itself: whoever packs it may not be done."""
    log.append(log.lines(500))
    log.start()
    log.look()
    saved = {**log.station.saved, "offset": 0}
    log.rotate()
    log.pack(1)
    log.append(log.lines(10))
    packed = log.path.with_name("queue_log.1.gz")
    os.truncate(packed, packed.stat().st_size // 2)
    with pytest.raises(
        Lost, match=r"queue_log\.1\.gz: cannot be unpacked to its end yet: .*; if nobody .* move it away"
    ):
        run(reader_of(log), Taking(saved))


def test_time_goes_on_in_a_quiet_log_beside_one_that_is_always_written_to(log: Followed) -> None:
    """As Asterisk's `full` is: after-call work ends by time alone."""
    log.append(log.lines(3))
    station: Any = EndedAt()
    station.advances = 4

    async def noise() -> None:
        while True:
            log.append(b"noise\n", log.path.with_name("full"))
            await asyncio.sleep(0.01)

    async def follow_beside_it() -> None:
        writing = asyncio.ensure_future(noise())
        try:
            async with asyncio.timeout(30):
                await reader_of(log).run(station)
        finally:
            writing.cancel()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow_beside_it())
    assert station.lines == log.written


def test_a_missing_file_is_lost_with_its_name(log: Followed) -> None:
    """The station tells it and tries again."""
    with pytest.raises(Lost, match="queue_log"):
        run(reader_of(log), Taking())


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 12)),
    st.tuples(st.just("half"), st.integers(1, 50)),
    st.tuples(st.just("rotate"), st.integers(0, 4)),
    st.tuples(st.just("copy"), st.integers(0, 4)),
    st.tuples(st.just("pack"), st.integers(1, 4)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 3)),
)


@settings(max_examples=300)
@example([("append", 1), ("copy", 0), ("rotate", 0)])
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_to_the_files_every_line_is_read_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Lines, half lines, rotations of both kinds, compression, and crashes that begin again at some saved position."""
    log = Followed(tmp_path_factory.mktemp("log"))
    log.append(log.lines(8))
    log.start()
    log.look()
    saved = [log.station.saved]
    half = b""
    for what, number in steps:
        if what == "append":
            log.append(half + log.lines(number))
            half = b""
        elif what == "half" and not half:
            whole = log.lines(1)
            log.append(whole[:number])
            half = whole[number:]
        elif what in ("rotate", "copy") and not half:  # the old file is closed only between lines
            if what == "copy":
                log.copy_and_truncate()
            else:
                rotated = log.rotate()
                log.append(log.lines(number), rotated)
            log.append(log.lines(8))  # one that is known by its first bytes
        elif what == "pack":
            log.pack(number)
        elif what == "look":
            log.look()
            saved.append(log.station.saved)
        elif what == "crash":
            log.start(saved[max(0, len(saved) - 1 - number)])
    log.append(half)
    log.look()
    log.start(log.station.saved)
    log.look()
    log.stop()
    assert log.all_seen() == log.written
