"""Databases of the tests' own: the distribution's PostgreSQL and MariaDB, in a temporary folder, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from queuewatch_streams.brokers import free_port

_ROME = ZoneInfo("Europe/Rome")
_FOLDERS = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), "/usr/sbin", "/usr/bin"]


def _program(name: str) -> str:
    """Where a program is.  Skips the test, with the reason, where it is not installed."""
    found = shutil.which(name, path=os.pathsep.join([*_FOLDERS, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: postgresql, mariadb-server)")
    return found


@contextmanager
def _folder(owner: str | None) -> Iterator[Path]:
    """A temporary folder, given to another user where that one has to run the database."""
    folder = Path(tempfile.mkdtemp(prefix="qw-db-"))
    try:
        if owner is not None:
            folder.chmod(0o755)
            shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(owner: str | None) -> dict[str, object]:
    return {} if owner is None else {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}


@contextmanager
def postgresql() -> Iterator[str]:
    """A running PostgreSQL; its address as SQLAlchemy writes it, for a user who may do all."""
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    initdb, server = _program("initdb"), _program("postgres")
    with _folder(owner) as folder:
        data, port = folder / "data", free_port()
        user = _as_user(owner)
        made = subprocess.run(  # type: ignore[call-overload]
            [initdb, "-D", str(data), "-U", "tests", "--auth=trust", "-E", "UTF8", "--no-sync"],
            capture_output=True, check=False, cwd="/", **user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(  # type: ignore[call-overload]
                [server, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"],
                stdout=log, stderr=log, cwd="/", **user,
            )  # fmt: skip
            with _ended(running):
                yield _awaited(f"postgresql+psycopg://tests@127.0.0.1:{port}/postgres", running, folder / "log")


@contextmanager
def mariadb() -> Iterator[str]:
    """A running MariaDB; its address as SQLAlchemy writes it, for a user who may do all."""
    install, server = _program("mariadb-install-db"), _program("mariadbd")
    me = pwd.getpwuid(os.geteuid()).pw_name
    with _folder(None) as folder:
        data, port = folder / "data", free_port()
        made = subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", f"--user={me}", "--auth-root-authentication-method=normal"],
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(
                [
                    server,
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--user={me}",
                    f"--port={port}",
                    "--bind-address=127.0.0.1",
                    f"--socket={folder / 's'}",
                    f"--pid-file={folder / 'pid'}",
                    "--skip-log-bin",
                    "--innodb-flush-log-at-trx-commit=0",
                ],
                stdout=log,
                stderr=log,
            )
            with _ended(running):
                yield _awaited(f"mysql+pymysql://root@127.0.0.1:{port}/test", running, folder / "log")


@contextmanager
def _ended(running: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _awaited(url: str, running: subprocess.Popen[bytes], log: Path) -> str:
    """The address once it answers."""
    engine = create_engine(url)
    end = time.monotonic() + 60
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("select 1"))
            engine.dispose()
            return url
        except SQLAlchemyError:
            assert running.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, log.read_text(errors="replace")[-2000:]
            time.sleep(0.2)


def make_queue_log(engine: Engine, time_type: str) -> None:
    """An empty table queue_log as Asterisk's documentation has it, with times of that type."""
    identity = "bigserial primary key" if engine.dialect.name == "postgresql" else "bigint auto_increment primary key"
    with engine.connect() as connection:
        connection.execute(text("drop table if exists queue_log"))
        data = ", ".join(f"data{number} varchar(100) not null default ''" for number in range(1, 6))
        connection.execute(
            text(
                f"create table queue_log (id {identity}, time {time_type}, callid varchar(80) not null default '',"
                f" queuename varchar(256) not null default '', agent varchar(80) not null default '',"
                f" event varchar(32) not null default '', {data})"
            )
        )


def insert_queue_log(connection: Connection, lines: Iterable[bytes], zone: ZoneInfo = _ROME, **also: Any) -> None:
    """Lines as Asterisk's realtime driver writes them: local time with microseconds, data in columns."""
    for line in lines:
        stamp, callid, queue, agent, event, *data = line.decode().split("|")
        row = dict(zip(("callid", "queuename", "agent", "event"), (callid, queue, agent, event), strict=True))
        row |= {f"data{number}": value for number, value in enumerate((*data, "", "", "", "", "")[:5], 1)}
        row["time"] = datetime.fromtimestamp(int(stamp), zone).strftime("%Y-%m-%d %H:%M:%S.%f")
        row |= also
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(text(f"insert into queue_log ({names}) values ({values})"), row)
