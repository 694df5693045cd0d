"""A running source of Asterisk's queue_log on real brokers: killed, ended, compared."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.brokers import Broker, free_port
from queuewatch_streams.core.partition import Clock, Record
from queuewatch_streams.topics import ensure
from sources.made_up import made_up_day
from support.audits import audited, published
from support.topics import stored as stored_on

KILLS = 55
HERE = Path(__file__).resolve().parents[1]


class Site:
    """A log, a configuration that follows it, and topics of its own."""

    def __init__(self, folder: Path, broker: Broker, unique: str, partitions: int = 1) -> None:
        self.folder = folder
        self.log = folder / "asterisk" / "queue_log"
        self.log.parent.mkdir()
        self.port = free_port()
        self.config = folder / "queuewatch.toml"
        roles = ("events", "agents", "dead_letter", "queues", "intervals")
        names = "\n".join(f'{role} = "{unique}.{role}"' for role in roles)
        self.config.write_text(
            f"""
application = "{unique}"
[kafka]
brokers = "{broker.address}"
partitions = {partitions}
[topics]
{names}
[sources.pbx1]
kind = "asterisk-queue-log"
file = "asterisk/queue_log"
heartbeat_seconds = 1
metrics_port = {self.port}
map.queues = {{ "vip" = "sales" }}
""",
            encoding="utf-8",
        )
        asyncio.run(ensure(self.configuration, history=True))

    @property
    def configuration(self) -> Configuration:
        return load(self.config)

    @property
    def saved(self) -> dict[str, Any]:
        path = self.folder / "queuewatch-state" / "pbx1.json"
        found: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}
        return found

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "queuewatch_streams.cli", "source", "pbx1", "--config", str(self.config)]
        return subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE)

    def caught_up(self) -> bool:
        position = self.saved.get("position") or {}
        about = self.log.stat()
        return bool(position.get("inode") == about.st_ino and position.get("offset") == about.st_size)

    def converted(self) -> list[bytes]:
        """All its files through `convert` in one pass."""
        files = [str(path) for path in sorted(self.log.parent.iterdir())]
        command = [sys.executable, "-m", "queuewatch_streams.cli", "convert", "--config", str(self.config)]
        done = subprocess.run([*command, "--from", "pbx1", *files], capture_output=True, check=True)
        return done.stdout.splitlines()

    def rotate(self, dice: random.Random) -> None:
        """In any of the ways in which logs are rotated."""
        for number in range(199, 0, -1):
            for end in ("", ".gz"):
                old = self.log.with_name(f"queue_log.{number}{end}")
                if old.exists():
                    old.rename(self.log.with_name(f"queue_log.{number + 1}{end}"))
        first = self.log.with_name("queue_log.1")
        if dice.random() < 0.5:
            self.log.rename(first)
            self.log.touch()
        else:
            shutil.copy(self.log, first)
            os.truncate(self.log, 0)
        if dice.random() < 0.5 and (second := self.log.with_name("queue_log.2")).exists():
            about = second.stat()
            packed = self.log.with_name("queue_log.2.gz")
            partial = self.log.with_name("packing")
            partial.write_bytes(gzip.compress(second.read_bytes()))
            os.utime(partial, ns=(about.st_atime_ns, about.st_mtime_ns))
            partial.rename(packed)
            second.unlink()


def stored(configuration: Configuration, topic: str) -> list[list[Record]]:
    """Every record of a topic, by partition."""
    return asyncio.run(stored_on(configuration, topic))


def health(port: int) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as ill:
        return bytes(ill.read())


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def is_heartbeat(value: bytes | None) -> bool:
    return b'"type":"queuewatch.source.heartbeat.v1"' in (value or b"")


def numbered(values: list[bytes]) -> list[Record]:
    """Events as records of one partition."""
    return [
        Record(offset, 0, orjson.loads(value)["data"]["queue"].encode(), value, ())
        for offset, value in enumerate(values)
    ]


def test_killed_anywhere_it_loses_nothing_and_repeats_what_changes_nothing(
    embedded: Broker, unique: str, tmp_path: Path
) -> None:
    """Fifty-five kills while the log grows and is rotated: the topic comes to what one pass over all files comes to."""
    site = Site(tmp_path, embedded, unique)
    dice = random.Random(7)
    lines, _ = made_up_day(7, calls=2500, spacing=0.05, start=int(time.time()))
    content = b"".join(line + b"\n" for line in lines)
    written = 0
    site.log.touch()
    killer = subprocess.Popen(
        [sys.executable, str(HERE / "sources" / "killed_source.py"), str(site.config), "pbx1", str(KILLS), "3", "1"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    rotated = 0
    while killer.poll() is None:
        end = min(len(content), written + dice.randrange(1, 700))  # mostly in the middle of a line
        is_time = dice.random() < 0.04 and written < len(content)
        if is_time:
            end = content.index(b"\n", end - 1) + 1
        with site.log.open("ab") as file:
            file.write(content[written:end])
        written = end
        if is_time:
            site.rotate(dice)
            rotated += 1
        time.sleep(0.02)
    assert killer.stdout is not None
    assert [line.split()[1] for line in killer.stdout.read().splitlines()] == [b"-9"] * KILLS
    assert rotated >= 5
    with site.log.open("ab") as file:
        file.write(content[written:])
    last = site.start("--from", "beginning")
    try:
        until(site.caught_up)
        last.send_signal(signal.SIGTERM)
        assert last.wait(30) == 0
    finally:
        last.kill()
    expected = site.converted()
    calls = [value for value in expected if b'"type":"queuewatch.call.' in value]
    [records] = stored(site.configuration, site.configuration.topics.events)
    sent = [each.value for each in records if each.value is not None and not is_heartbeat(each.value)]
    assert set(sent) == set(calls)  # byte for byte
    assert len(sent) > len(calls), "some kill must have come between an event and its position"
    [agents] = stored(site.configuration, site.configuration.topics.agents)
    assert {each.value for each in agents} == set(expected) - set(calls)
    # And as the audit counts: what a worker would tell of one pass is what the topic comes to.
    plain = Configuration()
    told = {
        name: each.model_copy(update={"offset": len(sent)})
        for name, each in published(numbered(calls), plain, Clock.EVENTS).items()
    }
    assert set(told) == {"sales", "pbx1/sales", "pbx1/support"}
    assert audited(numbered(sent), told, plain, Clock.EVENTS) == []


def test_a_source_lives_as_it_should_and_ends_cleanly(broker: Broker, unique: str, tmp_path: Path) -> None:
    """On all partitions its heartbeats; figures and health over HTTP; SIGTERM saves and ends with 0."""
    site = Site(tmp_path, broker, unique, partitions=3)
    lines, _ = made_up_day(3, calls=100, start=int(time.time()) - 500)
    site.log.write_bytes(b"".join(line + b"\n" for line in lines))
    running = site.start("--from", "beginning")
    try:
        until(site.caught_up)
        second = site.start()
        assert second.wait(30) == 2
        assert second.stderr is not None
        assert b"another process runs this source" in second.stderr.read()

        def asked(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{site.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())

        assert '"ok"' in asked("/healthz")
        until(lambda: 'queuewatch_source_up{source="pbx1"} 1.0' in asked("/metrics"))
        figures = asked("/metrics")
        assert f'queuewatch_source_records_total{{source="pbx1"}} {len(lines)}.0' in figures
        assert 'queuewatch_source_position_behind{source="pbx1"} 0.0' in figures
        assert 'queuewatch_source_refused_records_total{reason="unknown_event",source="pbx1"} 0.0' in figures
        time.sleep(1.5)  # a second heartbeat
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
    configuration = site.configuration
    found = stored(configuration, configuration.topics.events)
    for number, records in enumerate(found):
        beats = [orjson.loads(each.value or b"") for each in records if is_heartbeat(each.value)]
        assert len(beats) >= 2
        assert {each["data"]["upstream"] for each in beats} <= {"ok", "unknown"}
        assert beats[-1]["data"]["upstream"] == "ok"
        for each in records:
            if not is_heartbeat(each.value):
                assert each.key is not None
                assert partition_for(each.key, 3) == number
    assert sum(len(records) for records in found) > 200


def test_while_kafka_is_gone_it_waits_and_then_goes_on(own_broker: Broker, unique: str, tmp_path: Path) -> None:
    """Nothing is lost, and the source itself lives; /healthz says what is wrong meanwhile."""
    site = Site(tmp_path, own_broker, unique)
    lines, _ = made_up_day(9, calls=200, start=int(time.time()) - 600)
    half = len(lines) // 2
    site.log.write_bytes(b"".join(line + b"\n" for line in lines[:half]))
    running = site.start("--from", "beginning")
    try:
        until(site.caught_up)
        own_broker.kill()
        with site.log.open("ab") as log:
            log.write(b"".join(line + b"\n" for line in lines[half:]))
        until(lambda: b"has acknowledged nothing for" in health(site.port))
        assert running.poll() is None
        own_broker.start()
        until(site.caught_up, 120)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        running.kill()
    [records] = stored(site.configuration, site.configuration.topics.events)
    sent = {each.value for each in records if not is_heartbeat(each.value)}
    assert sent == {value for value in site.converted() if b'"type":"queuewatch.call.' in value}


def test_no_callers_number_or_name_is_in_a_topic_the_state_or_the_log(
    embedded: Broker, unique: str, tmp_path: Path
) -> None:
    """With and without a fault in the very line that holds them."""
    site = Site(tmp_path, embedded, unique)
    now = int(time.time()) - 60
    numbers = [f"+3906555{number:04d}" for number in range(200)]
    lines = [f"{now}|c{number}|sales|NONE|ENTERQUEUE||{each}|1|Mario Rossi" for number, each in enumerate(numbers)]
    lines += [f"{now}|c{number}|sales|NONE|ENTRQUEUE|{each}|Mario Rossi" for number, each in enumerate(numbers)]
    lines += [f"{each}|c|sales|NONE|ABANDON|Rossi|{each}|1" for each in numbers]
    lines += [f"{now}|x{number}|sales|Anna|COMPLETEAGENT|{each}|Rossi|1" for number, each in enumerate(numbers)]
    site.log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    running = site.start("--from", "beginning")
    until(site.caught_up)
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=30)
    kept = (tmp_path / "queuewatch-state" / "pbx1.json").read_bytes()
    [records] = stored(site.configuration, site.configuration.topics.events)
    assert sum(b"call.queued" in (each.value or b"") for each in records) == 200
    assert b"wrong_field" in told
    for text in (told, kept, *((each.value or b"") + (each.key or b"") for each in records)):
        assert b"3906555" not in text
        assert b"Rossi" not in text


def test_check_and_compare_tell_what_is_there_and_change_nothing(embedded: Broker, unique: str, tmp_path: Path) -> None:
    """0 where all is well and both count the same, 1 where they do not, with the reasons."""
    site = Site(tmp_path, embedded, unique)
    lines, _ = made_up_day(3, calls=60, start=int(time.time()) - 700)
    site.log.write_bytes(b"".join(line + b"\n" for line in lines))

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "queuewatch_streams.cli", "source", "pbx1", "--config", str(site.config)]
        return subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=60, check=False)

    checked = command("--check")
    assert checked.returncode == 0, checked.stderr
    assert "queuewatch.call." in checked.stdout
    assert not site.saved
    assert command("--compare", "1").returncode == 1  # nothing was sent yet
    running = site.start("--from", "beginning")
    until(site.caught_up)
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0
    same = command("--compare", "1")
    assert same.returncode == 0, same.stdout
    with site.log.open("ab") as log:
        log.write(lines[0] + b"\n" + lines[0] + b"\n")  # told twice there, once here
    other = command("--compare", "1")
    assert other.returncode == 1
    assert "Why they may differ" in other.stdout
    site.log.unlink()
    gone = command("--check")
    assert gone.returncode == 1
    assert "is not there" in gone.stderr
