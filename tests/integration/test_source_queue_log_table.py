"""queue_log in a realtime database: PostgreSQL and MariaDB, with the tables that Asterisk's own scripts make."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, create_engine, text

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import AsteriskQueueLogTable
from queuewatch_streams.sources.asterisk.queue_log import table
from queuewatch_streams.sources.asterisk.queue_log.table import QueueLogRows, QueueLogTable
from queuewatch_streams.sources.asterisk.queue_log.translator import QueueLog
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Lost, Out
from sources.made_up import START, made_up_day
from support.databases import insert_queue_log, make_queue_log, mariadb, postgresql
from support.sources import events, said


@pytest.fixture(scope="module", params=[postgresql, mariadb], ids=["PostgreSQL", "MariaDB"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """With an empty table as Asterisk's documentation has it."""
    made = create_engine(database, isolation_level="AUTOCOMMIT")
    make_queue_log(made, "char(26)")
    yield made
    made.dispose()


class Taking:
    """What the reader sees of its station; ends it once it has nothing more to take."""

    def __init__(self, position: Any = None, begin: str = "beginning", start_at: int = 0) -> None:
        self.position = position
        self.begin = begin
        self.start_at = start_at
        self.translator = QueueLogRows(Composer("pbx1"), None, "Europe/Rome")
        self.out = Out()
        self.told: list[str] = []
        self.takes = 0
        self.saved = position
        self.when_idle: list[Callable[[], None]] = []

    async def take(self, records: Iterable[Any], position: Any, where: Any = None) -> None:
        for record in records:
            self.takes += 1
            self.translator.translate(record, self.out)
        self.position = orjson.loads(orjson.dumps(position))

    async def settle(self) -> None:
        self.saved = self.position

    async def advance(self, at: int) -> None:
        if not self.when_idle:
            raise asyncio.CancelledError
        self.when_idle.pop(0)()

    def looked(self, good_for: float | None = None) -> None:
        pass

    def behind(self, records: float | None) -> None:
        assert records is None or records >= 0

    def trouble(self, reason: str, detail: str) -> None:
        self.told.append(reason)


def settings(folder: Path, url: str, **more: Any) -> AsteriskQueueLogTable:
    secret = folder / "url"
    secret.write_text(url + "\n", encoding="utf-8")
    return AsteriskQueueLogTable.model_validate(
        {
            "kind": "asterisk-queue-log-table",
            "url_file": str(secret),
            "time_zone": "Europe/Rome",
            "poll_seconds": 0.02,
            **more,
        }
    )


def read(station: Taking, settings: AsteriskQueueLogTable) -> Taking:
    reader = QueueLogTable("pbx1", settings, Configuration())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(reader.run(station))  # type: ignore[arg-type]
    return station


def test_a_table_says_what_the_file_says(engine: Engine, database: str, tmp_path: Path) -> None:
    """The same log both ways: the same events, byte for byte."""
    lines, _ = made_up_day(5, calls=120)
    with engine.connect() as connection:
        insert_queue_log(connection, lines)
    found = read(Taking(), settings(tmp_path, database))
    expected = said(QueueLog(Composer("pbx1")), lines, end=False)
    assert not found.out.refused
    assert found.out.messages == expected.messages
    assert found.position == len(lines)


@pytest.mark.parametrize("kind", ["timestamp", "datetime"])
def test_times_may_be_of_the_databases_own_types(engine: Engine, database: str, tmp_path: Path, kind: str) -> None:
    """With and without a zone, as the database knows them."""
    if engine.dialect.name == "postgresql":
        make_queue_log(engine, "timestamptz" if kind == "timestamp" else "timestamp")
    else:
        make_queue_log(engine, f"{kind}(6)")
    lines, _ = made_up_day(6, calls=20)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("set time zone 'Europe/Rome'"))
        insert_queue_log(connection, lines)
    found = read(Taking(), settings(tmp_path, database))
    assert found.out.messages == said(QueueLog(Composer("pbx1")), lines, end=False).messages


def test_the_hour_that_comes_twice_is_settled_by_the_order_of_the_rows(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    """On 25 October 2026 clocks in Rome show 02:00 to 03:00 twice; two calls wait for twenty minutes in either."""
    first = int(datetime(2026, 10, 25, 0, 5, tzinfo=UTC).timestamp())
    lines = [
        f"{first}|a|sales|NONE|ENTERQUEUE||5|1",
        f"{first + 1200}|a|sales|NONE|ABANDON|1|1|1200",
        f"{first + 3000}|b|sales|NONE|ENTERQUEUE||5|1",
        f"{first + 4200}|b|sales|NONE|ABANDON|1|1|1200",
        f"{first + 4300}|c|sales|NONE|ENTERQUEUE||5|1",
        f"{first + 7000}|c|sales|NONE|ABANDON|1|1|2700",
    ]
    with engine.connect() as connection:
        insert_queue_log(connection, [line.encode() for line in lines])
        [shown] = connection.execute(text("select count(*) from queue_log where time like '2026-10-25 02%'")).scalars()
    assert shown == 5
    found = read(Taking(), settings(tmp_path, database))
    times = [event["time"] for event in events(found.out)]
    assert times == [
        event["time"] for event in events(said(QueueLog(Composer("pbx1")), [line.encode() for line in lines]))
    ]


def test_rows_that_come_later_are_read_from_where_it_was(engine: Engine, database: str, tmp_path: Path) -> None:
    """While it runs, and after a new start; each row once."""
    lines, _ = made_up_day(7, calls=40)
    station = Taking()

    def more(begin: int, end: int) -> Callable[[], None]:
        def go() -> None:
            with engine.connect() as connection:
                insert_queue_log(connection, lines[begin:end])

        return go

    station.when_idle = [more(0, 30), more(30, 31), more(31, 60)]
    read(station, settings(tmp_path, database))
    assert station.takes == 60
    with engine.connect() as connection:
        insert_queue_log(connection, lines[60:])
    again = read(Taking(station.position), settings(tmp_path, database))
    assert again.takes == len(lines) - 60


def test_a_row_that_is_committed_after_a_later_one_keeps_its_place(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    """Its id was given out before: what stands behind the gap waits a moment for it."""
    lines, _ = made_up_day(8, calls=30)
    slow = create_engine(database)
    station = Taking()
    with slow.connect() as other:
        transaction = other.begin()
        with engine.connect() as connection:
            insert_queue_log(connection, lines[:5])
            insert_queue_log(other, lines[5:6])  # not committed: nobody sees it, but its id is gone
            insert_queue_log(connection, lines[6:])

        def commit() -> None:
            assert station.takes == 5
            transaction.commit()

        station.when_idle = [commit, lambda: None]
        read(station, settings(tmp_path, database))
    slow.dispose()
    assert station.out.messages == said(QueueLog(Composer("pbx1")), lines, end=False).messages


def test_an_id_that_never_comes_is_not_waited_for_for_ever(
    engine: Engine, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that was rolled back, or a cluster that counts by threes."""
    monkeypatch.setattr(table, "GAP_SECONDS", 0.1)
    lines, _ = made_up_day(9, calls=20)
    with engine.connect() as connection:
        for number, line in enumerate(lines, 1):
            insert_queue_log(connection, [line], id=number * 3)
    station = Taking()
    station.when_idle = [lambda: None] * 30
    read(station, settings(tmp_path, database))
    assert station.takes == len(lines)


def test_a_first_start_begins_where_it_is_told_to(engine: Engine, database: str, tmp_path: Path) -> None:
    """Now, with the business day, or with all that is there; a large table is searched by halves."""
    lines, _ = made_up_day(10, calls=60)
    middle = START + 100
    since = next(number for number, line in enumerate(lines) if int(line.split(b"|")[0]) >= middle)
    with engine.connect() as connection:
        insert_queue_log(connection, lines)
        connection.execute(text("delete from queue_log where id % 7 = 3 and id < 40"))
    of = settings(tmp_path, database)
    assert read(Taking(begin="now"), of).position == len(lines)
    station = Taking(begin="business-day", start_at=middle * 1_000_000)
    station.when_idle = [lambda: None] * 4
    read(station, of)
    assert station.takes == len(lines) - since


def test_what_comes_after_a_first_now_is_taken_though_nothing_had_come_before_a_kill(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    """The next start goes on from the first one's now, not from one of its own."""
    lines, _ = made_up_day(10, calls=20)
    with engine.connect() as connection:
        insert_queue_log(connection, lines[:30])
    of = settings(tmp_path, database)
    first = read(Taking(begin="now"), of)
    with engine.connect() as connection:
        insert_queue_log(connection, lines[30:32])
    second = read(Taking(first.saved, begin="now"), of)
    assert (first.takes, second.takes) == (0, 2)


def test_a_database_that_hangs_is_lost_and_keeps_nothing_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing, as one that is frozen."""
    monkeypatch.setattr(table, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        of = settings(tmp_path, f"postgresql+psycopg://tests@127.0.0.1:{silent.getsockname()[1]}/postgres")
        reader = QueueLogTable("pbx1", of, Configuration())
        station: Any = Taking()
        for asked in (reader.look, lambda: reader.run(station)):
            with pytest.raises(Lost, match=r"no answer within 0\.2 s"):
                asyncio.run(asked())


def test_a_table_that_begins_anew_is_told_and_read_from_its_beginning(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    """TRUNCATE gives out the low ids again."""
    lines, _ = made_up_day(11, calls=20)
    with engine.connect() as connection:
        insert_queue_log(connection, lines[:10])
    station = read(Taking(position=500), settings(tmp_path, database, table="queue_log"))
    assert station.told == ["lost"]
    assert station.takes == 10


def test_what_is_wrong_with_the_access_is_said_without_the_password(
    engine: Engine, database: str, tmp_path: Path
) -> None:
    """No such table, a password that does not fit, an address that is none."""

    def why(url: str, **more: Any) -> str:
        reader = QueueLogTable("pbx1", settings(tmp_path, url, **more), Configuration())
        with pytest.raises(Lost) as lost:
            asyncio.run(reader.look())
        return str(lost.value)

    assert "there is no such table" in why(database, table="nothing")
    assert "holds no database's address" in why("not an address")
    assert "holds no database's address" in why("postgresql+psycopg://nobody:s3cret@host:port/asterisk")
    assert "s3cret" not in why("postgresql+psycopg://nobody:an@s3cret@127.0.0.1:1/asterisk")
    wrong = database.replace("tests@", "nobody:s3cret@").replace("root@", "nobody:s3cret@")
    assert "s3cret" not in why(wrong)


def test_an_account_that_may_only_read_suffices(engine: Engine, database: str, tmp_path: Path) -> None:
    """SELECT on the one table, as the page says."""
    lines, _ = made_up_day(12, calls=20)
    with engine.connect() as connection:
        insert_queue_log(connection, lines)
        if engine.dialect.name == "postgresql":
            connection.execute(text("drop role if exists queuewatch"))
            connection.execute(text("create role queuewatch login password 'x'"))
            connection.execute(text("grant select on queue_log to queuewatch"))
            url = database.replace("tests@", "queuewatch:x@")
        else:
            connection.execute(text("drop user if exists queuewatch@'127.0.0.1'"))
            connection.execute(text("create user queuewatch@'127.0.0.1' identified by 'x'"))
            connection.execute(text("grant select on test.queue_log to queuewatch@'127.0.0.1'"))
            url = database.replace("root@", "queuewatch:x@")
    assert read(Taking(), settings(tmp_path, url)).takes == len(lines)
    look = asyncio.run(QueueLogTable("pbx1", settings(tmp_path, url), Configuration()).look())
    assert "sales" in look.says[1]
    counts = asyncio.run(
        QueueLogTable("pbx1", settings(tmp_path, url), Configuration()).counters(datetime(2020, 1, 1, tzinfo=UTC))
    )
    assert sum(each["offered"] for each in counts.queues.values()) == sum(b"ENTERQUEUE" in line for line in lines)
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text("drop owned by queuewatch"))
