"""Reads Asterisk's queue_log from a table of its realtime database, which it asks for rows with higher ids.

Ids are given out before rows are committed, so a lower id may appear after a higher one: a row behind a gap is taken only
once the gap has stood for a moment.  Times without a zone are those of the PBX's wall clock; in the hour that comes twice
the order of the rows says which of the two is meant.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, TypeVar, cast
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, MetaData, Table, create_engine, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchTableError, SQLAlchemyError

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import AsteriskQueueLogTable, SourceSettings
from queuewatch_streams.sources.asterisk.queue_log.lines import SECOND
from queuewatch_streams.sources.asterisk.queue_log.tally import Tally
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Counters, Kind, Look, Lost, Out, Reader, Unreadable
from queuewatch_streams.sources.station import Station

__all__ = ["KIND", "QueueLogRows", "QueueLogTable", "instant_of"]

AT_ONCE: Final = 5000
"""Rows that are asked for at once."""
ANSWER_SECONDS: Final = 30.0
"""A database that has not answered by then is gone."""
_LONG_SECONDS: Final = 3600.0
"""The same where it is asked much at once: where a first start begins, and how many rows there are."""
_CONNECT_SECONDS: Final = 15
GAP_SECONDS: Final = 2.0
"""After so long a missing id is taken for one that will never come."""
_EARLIER: Final = 300 * SECOND
"""Rows may stand so much out of order of time; more, in the hour that comes twice, means the second one."""
_SHOWN: Final = 50
_LOCAL: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_COLUMNS: Final = ("time", "callid", "queuename", "agent", "event")
_DATA: Final = ("data1", "data2", "data3", "data4", "data5")

T = TypeVar("T")
Row = Sequence[Any]
"""time, callid, queuename, agent, event, data…, as the database gives them."""


@lru_cache(maxsize=4096)
def _both(local: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """The instants that a local time may mean, in seconds: the first and the second time that a clock shows it."""
    return round(local.replace(tzinfo=zone, fold=0).timestamp()), round(local.replace(tzinfo=zone, fold=1).timestamp())


def instant_of(value: object, zone: ZoneInfo, last: int) -> int:
    """A row's time as microseconds since the epoch.

    :param value: a date and time, with or without a zone, as an object or as text; or seconds since 1970 as text, which may
        be bytes.
    :param zone: where the PBX's clock hangs, for times without a zone.
    :param last: the time of the row before; 0 where there is none.
    :raises Unreadable: it is none of these.
    """
    if isinstance(value, bytes):
        value = _text(value)
    if isinstance(value, str):
        found = _LOCAL.fullmatch(value.strip())
        if found is None:
            stamp = re.fullmatch(r"(\d{9,11})(?:\.(\d{1,9}))?", value.strip(), re.ASCII)
            if stamp is None:
                raise Unreadable("bad_time", "its time is neither a date and time nor seconds since 1970")
            return int(stamp[1]) * SECOND + int(((stamp[2] or "") + "000000")[:6])
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        try:
            value = datetime(year, month, day, hour, minute, second, int(((found[7] or "") + "000000")[:6]))
        except ValueError:
            raise Unreadable("bad_time", "its time is not on the calendar") from None
    if not isinstance(value, datetime):
        raise Unreadable("bad_time", "its time is neither a date and time nor text")
    if not 1900 <= value.year < 3000:
        raise Unreadable("bad_time", "its time is not in the years 1900 to 2999")
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
        return round(value.replace(microsecond=0).timestamp()) * SECOND + value.microsecond
    first, second = _both(value.replace(microsecond=0), zone)
    at = first * SECOND + value.microsecond
    if first < second and at < last - _EARLIER:
        return second * SECOND + value.microsecond
    return at


class QueueLogRows(QueueLog):
    """The translator of a table's rows."""

    def __init__(self, composer: Composer, memory: Any = None, zone: str = "UTC") -> None:
        super().__init__(composer, memory)
        self._zone = ZoneInfo(zone)

    def translate(self, record: Row, out: Out) -> None:
        """Say what a row means."""
        try:
            if len(record) < 5:
                raise Unreadable("unreadable", f"it has {len(record)} columns of at least 5")
            fields = [_text(value) for value in record]
            if len(fields) == 6 and "|" in fields[5]:  # older tables have all data in one column
                fields[5:] = fields[5].split("|")
            self._say_of(instant_of(record[0], self._zone, self._last), fields, out)
        except Unreadable as why:
            out.refuse(why.reason, str(why))


class QueueLogTable(Reader[Row]):
    """The reader of a queue_log table."""

    def __init__(self, name: str, settings: AsteriskQueueLogTable, configuration: Configuration) -> None:
        self._settings = settings
        self._place = f"sources.{name}.url_file: {settings.url_file}"
        self._where = settings.table
        self._zone = ZoneInfo(settings.time_zone)
        self._engine: Engine | None = None
        self._table: Table
        self._seen: list[tuple[float, int]] = []
        """When a highest id was seen first, oldest first."""

    async def run(self, station: Station[Row]) -> None:
        """Ask for new rows again and again.  Raises Lost."""
        try:
            await self._asked(self._connect)
            while True:
                if station.position is None:
                    first = await self._asked(partial(self._first, station), _LONG_SECONDS)
                    await station.take([], first)  # or what comes next would be before the next "now"
                    await station.settle()
                last = station.position
                rows, highest = await self._asked(partial(self._rows, last))
                station.looked()
                if highest is not None and highest < last:
                    station.trouble(
                        "lost", f"{self._where}: its ids begin anew, {highest} after {last}; reading from 0"
                    )
                    self._seen.clear()
                    await station.take([], 0)
                    continue
                if rows:
                    ids = [row[0] for row in rows]
                    await station.take([row[1:] for row in rows], ids[-1], _place(ids))
                    station.behind((highest or 0) - ids[-1])
                if len(rows) < AT_ONCE:
                    await station.advance(time.time_ns() // 1000 - 5 * SECOND)
                    await asyncio.sleep(self._settings.poll_seconds)
        except SQLAlchemyError as error:
            raise Lost(f"{self._where}: {_in_short(error)}") from None
        finally:
            self._disconnect()

    async def _asked(self, ask: Callable[[], T], seconds: float | None = None) -> T:
        """What comes of asking the database, in a thread that nothing waits for: one that hangs must not keep us from ending.

        :param seconds: left out: ANSWER_SECONDS.
        :raises Lost: it does not answer.
        """
        seconds = ANSWER_SECONDS if seconds is None else seconds
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def tell(found: Callable[[], None]) -> None:
            with suppress(RuntimeError):  # the source has ended meanwhile
                loop.call_soon_threadsafe(lambda: None if answer.done() else found())

        def work() -> None:
            try:
                found = ask()
            except BaseException as error:
                failed = error
                tell(lambda: answer.set_exception(failed))
            else:
                tell(lambda: answer.set_result(found))

        threading.Thread(target=work, name=self._place, daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise Lost(f"{self._where}: no answer within {seconds:g} s") from None

    def _connect(self) -> None:
        self._disconnect()
        try:
            url: URL | None = make_url(self._settings.url_file.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise Lost(f"{self._place}: cannot be read: {error.strerror or error}") from None
        except (ArgumentError, ValueError):
            url = None
        if url is None or "@" in (url.host or ""):  # then a part of the password
            raise Lost(
                f"{self._place}: holds no database's address; write it as in postgresql+psycopg://user:password@host/asterisk,"
                " an @ in the password as %40"
            )
        try:
            self._engine = create_engine(
                url,
                pool_size=1,
                max_overflow=0,
                pool_pre_ping=True,
                isolation_level="AUTOCOMMIT",
                connect_args=_TIMES.get(url.get_dialect().driver, {}),
            )
            self._where = f"{self._settings.table} at {url.render_as_string(hide_password=True)}"
            schema, _, name = self._settings.table.rpartition(".")
            self._table = Table(name, MetaData(), schema=schema or None, autoload_with=self._engine)
        except NoSuchTableError:
            raise Lost(f"{self._where}: there is no such table, or this user may not read it") from None
        except (ImportError, ArgumentError, SQLAlchemyError) as error:
            raise Lost(f"{self._place}: {_in_short(error)}") from None
        missing = [each for each in ("id", *_COLUMNS) if each not in self._table.columns]
        if missing:
            raise Lost(f"{self._where}: lacks the columns {', '.join(missing)}; Asterisk's own has them")

    def _disconnect(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @property
    def _columns(self) -> list[Any]:
        there = self._table.columns
        data = [there[each] for each in _DATA if each in there] or [there[each] for each in ("data",) if each in there]
        return [there["id"], *(there[each] for each in _COLUMNS), *data]

    def _ask(self, statement: Any) -> list[Any]:
        assert self._engine is not None, "connected"
        with self._engine.connect() as connection:
            return list(connection.execute(statement))

    def _rows(self, last: int) -> tuple[list[tuple[Any, ...]], int | None]:
        """The rows after an id that can be taken by now, and the highest id in the table."""
        identity = self._table.columns["id"]
        rows = self._ask(select(*self._columns).where(identity > last).order_by(identity).limit(AT_ONCE))
        if not rows:
            return [], self._ask(select(func.max(identity)))[0][0]
        now, highest = time.monotonic(), rows[-1][0]
        if len(rows) == AT_ONCE:
            return rows, highest
        if not self._seen or self._seen[-1][1] < highest:
            self._seen.append((now, highest))
        while len(self._seen) > 1 and self._seen[1][0] <= now - GAP_SECONDS:
            self._seen.pop(0)
        settled = self._seen[0][1] if self._seen[0][0] <= now - GAP_SECONDS else last
        expected, taken = last + 1, 0
        for row in rows:
            if row[0] > settled and row[0] != expected:
                break
            expected, taken = row[0] + 1, taken + 1
        return rows[:taken], highest

    def _first(self, station: Station[Row]) -> int:
        """The id before the one to begin with at a first start."""
        identity = self._table.columns["id"]
        [(lowest, highest)] = self._ask(select(func.min(identity), func.max(identity)))
        if highest is None:
            return 0
        if station.begin == "now":
            return cast(int, highest)
        if station.begin == "beginning":
            return 0
        return self._before(station.start_at, lowest, highest)

    def _before(self, start: int, lowest: int, highest: int) -> int:
        """The last id whose row, and so every one before it, is older than a time; the table may be large, so by halves."""
        identity, when = self._table.columns["id"], self._table.columns["time"]
        low, high = lowest - 1, highest + 1
        while high - low > 1:
            middle = (low + high) // 2
            found = self._ask(select(identity, when).where(identity >= middle).order_by(identity).limit(1))
            try:
                older = bool(found) and instant_of(found[0][1], self._zone, 0) < start
            except Unreadable:
                older = True
            if not older:
                high = middle
            else:
                low = max(middle, found[0][0])
        return low

    async def look(self) -> Look:
        """The table, its newest rows and their queues.  Raises Lost."""
        try:
            await self._asked(self._connect)
            identity = self._table.columns["id"]
            newest = select(*self._columns).order_by(identity.desc()).limit(_SHOWN)
            rows = (await self._asked(partial(self._ask, newest)))[::-1]
        except SQLAlchemyError as error:
            raise Lost(f"{self._where}: {_in_short(error)}") from None
        finally:
            self._disconnect()
        queues = ", ".join(sorted({_text(row[3]) for row in rows} - {"NONE"})) or "none"
        says = (
            f"{self._where}: can be read, its highest id is {rows[-1][0] if rows else 'none'}",
            f"queues in its newest {len(rows)} rows: {queues}",
        )
        return Look(says, tuple(row[1:] for row in rows))

    async def counters(self, since: datetime) -> Counters:
        """The rows of each event and queue.  Raises Lost."""
        try:
            await self._asked(self._connect)
            return await self._asked(partial(self._count, round(since.timestamp()) * SECOND), _LONG_SECONDS)
        except SQLAlchemyError as error:
            raise Lost(f"{self._where}: {_in_short(error)}") from None
        finally:
            self._disconnect()

    def _count(self, start: int) -> Counters:
        identity, tally = self._table.columns["id"], Tally()
        [(lowest, highest)] = self._ask(select(func.min(identity), func.max(identity)))
        last = highest if highest is None else self._before(start, lowest, highest)
        while last is not None:
            rows = self._ask(select(*self._columns).where(identity > last).order_by(identity).limit(AT_ONCE))
            for row in rows:
                tally.add([_text(value) for value in row[1:]])
            last = rows[-1][0] if rows else None
        return tally.told()


_TIMES: Final[Mapping[str, Mapping[str, int]]] = {
    "psycopg": {"connect_timeout": _CONNECT_SECONDS},
    "pymysql": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": round(ANSWER_SECONDS)},
}
"""So a database that hangs gets no thread more with each try."""


def _place(ids: list[int]) -> Callable[[int], str]:
    return lambda number: f"row {ids[number]}"


def _text(value: object) -> str:
    """A column's value as the file would have it; columns without a character set give bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _in_short(error: BaseException) -> str:
    """A database's error without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())[:300]


def _rows_of(lines: Iterable[bytes]) -> Iterator[tuple[int, Row]]:
    """For `convert`: rows as a database's client prints them, with bars or tabs between, without the id."""
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.strip():
            yield number, text.split("\t" if "\t" in text else "|")


def _translator(composer: Composer, memory: Any, settings: SourceSettings | None) -> QueueLogRows:
    return QueueLogRows(composer, memory, settings.time_zone if isinstance(settings, AsteriskQueueLogTable) else "UTC")


KIND = Kind(translator=_translator, reader=QueueLogTable, records=_rows_of)
