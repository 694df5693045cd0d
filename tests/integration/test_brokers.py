"""What queuewatch relies upon in a Kafka-protocol broker, asked of both that we start.

Where the embedded broker falls short, `ABILITIES` says so and the test asserts that too: a difference that vanishes, or
a new one, fails here.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, UnknownError

from queuewatch_streams import brokers
from queuewatch_streams.brokers import (
    Broker,
    BrokerFailed,
    MissingPart,
    apache_kafka,
    embedded_broker,
    free_port,
    port_taken,
)


@dataclass(frozen=True)
class Abilities:
    """In what the two brokers differ, as far as it concerns us."""

    gives_producer_ids: bool
    """Idempotent and transactional producers of aiokafka work (it asks in version 0, Tansu answers from version 3)."""
    stamps_log_time: bool
    """`message.timestamp.type=LogAppendTime` replaces the producer's timestamp by the broker's."""
    limits_size: bool
    """`max.message.bytes` is enforced."""
    checks_settings: bool
    """An unknown topic setting, or a wrong value, is refused."""
    creates_what_is_named: bool
    """Asking for the metadata of a topic that is not there creates it."""
    knows_defaults: bool
    """describe-configs tells all settings of a topic, not only those that were given."""
    compacts: bool
    """`cleanup.policy=compact` removes older records of a key."""
    keeps_data: bool
    """What was stored is there after a kill -9 and a restart."""


ABILITIES = {
    "kafka": Abilities(
        gives_producer_ids=True,
        stamps_log_time=True,
        limits_size=True,
        checks_settings=True,
        creates_what_is_named=False,
        knows_defaults=True,
        compacts=True,
        keeps_data=True,
    ),
    "embedded": Abilities(
        gives_producer_ids=False,
        stamps_log_time=False,
        limits_size=False,
        checks_settings=False,
        creates_what_is_named=True,
        knows_defaults=False,
        compacts=False,
        keeps_data=False,
    ),
}


@pytest.fixture
def abilities(broker: Broker) -> Abilities:
    return ABILITIES[broker.kind]


async def create(broker: Broker, topic: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> int:
    """Create a topic with the broker's default replication; Kafka's error code, 0 when all is well.

    Apache Kafka answers before its metadata shows the topic, so wait for that.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        made = await admin.create_topics([NewTopic(topic, partitions, -1, {}, dict(settings or {}))])
        code: int = made.topic_errors[0][1]
        async with asyncio.timeout(10):
            while code == 0 and topic not in {
                each["topic"] for each in await admin.describe_topics() if len(each["partitions"]) == partitions
            }:
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
    return code


async def send(broker: Broker, topic: str, records: Sequence[Mapping[str, Any]], **options: Any) -> None:
    """Send records one after the other, idempotently where the broker can, each acknowledged before the next."""
    options.setdefault("enable_idempotence", ABILITIES[broker.kind].gives_producer_ids)
    async with AIOKafkaProducer(bootstrap_servers=broker.address, **options) as producer:
        for record in records:
            await producer.send_and_wait(topic, **record)


async def read(
    broker: Broker, topic: str, count: int, *, partition: int = 0, seconds: float = 10, **options: Any
) -> list[ConsumerRecord]:
    """The first `count` records of a partition from its start; fewer when no more came within some seconds."""
    found: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=broker.address, enable_auto_commit=False, auto_offset_reset="earliest", **options
    ) as consumer:
        at = TopicPartition(topic, partition)
        consumer.assign([at])
        await consumer.seek_to_beginning(at)
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
    return found


@pytest.mark.asyncio
class TestTopics:
    async def test_a_topic_is_created_with_the_partitions_and_settings_asked_for(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """What is given at creation is told back by describe-configs; only Apache Kafka tells the defaults too."""
        given = {
            "cleanup.policy": "compact",
            "segment.bytes": "67108864",
            "segment.ms": "600000",
            "min.cleanable.dirty.ratio": "0.1",
            "min.compaction.lag.ms": "600000",
            "max.message.bytes": "16777216",
        }
        assert await create(broker, unique, 3, given) == 0
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        try:
            [described] = await admin.describe_topics([unique])
            assert sorted(each["partition"] for each in described["partitions"]) == [0, 1, 2]
            [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, unique, None)])
        finally:
            await admin.close()
        told = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        assert given.items() <= told.items()
        assert ("retention.ms" in told) == abilities.knows_defaults

    async def test_a_topic_that_exists_is_not_created_again(self, broker: Broker, unique: str) -> None:
        """Both answer with Kafka's error 36, TOPIC_ALREADY_EXISTS."""
        assert [await create(broker, unique), await create(broker, unique)] == [0, 36]

    @pytest.mark.parametrize("settings", [{"no.such.setting": "1"}, {"segment.ms": "soon"}], ids=["name", "value"])
    async def test_a_wrong_setting_is_refused_or_swallowed(
        self, broker: Broker, abilities: Abilities, unique: str, settings: dict[str, str]
    ) -> None:
        """Apache Kafka refuses it (error 40); the embedded broker stores whatever it is given."""
        assert await create(broker, unique, 1, settings) == (40 if abilities.checks_settings else 0)

    async def test_asking_about_a_topic_by_name_may_create_it(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """So who only wants to look must list all topics and never name one."""
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        try:
            assert unique not in await admin.list_topics()
            await admin.describe_topics([unique])
            assert (unique in await admin.list_topics()) == abilities.creates_what_is_named
        finally:
            await admin.close()


@pytest.mark.asyncio
class TestRecords:
    async def test_an_idempotent_producer_is_served_or_refused_at_its_start(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """Refused means an error at once, so that a caller can go on without."""
        await create(broker, unique)
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, enable_idempotence=True)
        try:
            if abilities.gives_producer_ids:
                await producer.start()
                told = await producer.send_and_wait(unique, b"once")
                assert told.offset == 0
            else:
                with pytest.raises(UnknownError):
                    await producer.start()
        finally:
            await producer.stop()

    async def test_records_come_back_in_order_as_they_were_sent(self, broker: Broker, unique: str) -> None:
        """Keys, values, timestamps and headers, several of the same name among them, survive."""
        await create(broker, unique, settings={"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
        sent = [
            {
                "key": f"queue {number}".encode(),
                "value": b"v" * number + b"!",
                "timestamp_ms": 1_700_000_000_000 + number * 7,
                "headers": [("origin", b"\x00\xff"), ("origin", str(number).encode()), ("empty", b"")],
            }
            for number in range(50)
        ]
        await send(broker, unique, sent)
        found = await read(broker, unique, 50)
        assert [each.offset for each in found] == list(range(50))
        assert [
            {"key": each.key, "value": each.value, "timestamp_ms": each.timestamp, "headers": list(each.headers)}
            for each in found
        ] == sent

    async def test_null_and_empty_keys_and_values_are_told_apart(self, broker: Broker, unique: str) -> None:
        """A null value is a tombstone, an empty one is not."""
        await create(broker, unique)
        pairs = [(b"k", None), (None, b"v"), (b"", b""), (b"k", b"")]
        await send(broker, unique, [{"key": key, "value": value} for key, value in pairs])
        assert [(each.key, each.value) for each in await read(broker, unique, 4)] == pairs

    @pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
    async def test_every_compression_is_read(self, broker: Broker, unique: str, codec: str) -> None:
        """Each needs its codec in aiokafka: without it one such batch ends a consumer."""
        await create(broker, unique)
        values = [f"{codec} {number} ".encode() * 200 for number in range(20)]
        await send(broker, unique, [{"key": b"k", "value": value} for value in values], compression_type=codec)
        assert [each.value for each in await read(broker, unique, 20)] == values

    async def test_a_record_lands_on_the_partition_that_was_named(self, broker: Broker, unique: str) -> None:
        """Heartbeats go to every partition, re-keyed events to the right one, whatever their key means."""
        await create(broker, unique, 3)
        await send(broker, unique, [{"key": b"k", "value": b"%d" % each, "partition": each} for each in (2, 0, 1)])
        for partition in range(3):
            assert [each.value for each in await read(broker, unique, 1, partition=partition)] == [b"%d" % partition]

    async def test_log_append_time_is_the_brokers_clock_or_the_producers(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """The embedded broker keeps the producer's timestamp: live producers there must send the present."""
        await create(broker, unique, settings={"message.timestamp.type": "LogAppendTime"})
        hours_ago = int(time.time() * 1000) - 3 * 3_600_000
        await send(broker, unique, [{"value": b"v", "timestamp_ms": hours_ago}])
        [found] = await read(broker, unique, 1)
        if abilities.stamps_log_time:
            assert found.timestamp > hours_ago + 3_000_000
        else:
            assert found.timestamp == hours_ago

    async def test_ten_megabytes_pass_where_the_topic_allows_them(self, broker: Broker, unique: str) -> None:
        """And a consumer reads them though they are larger than what it asks for at a time."""
        await create(broker, unique, settings={"max.message.bytes": str(16 << 20)})
        value = os.urandom(10_000_000)
        await send(broker, unique, [{"key": b"k", "value": value}], max_request_size=16 << 20)
        [found] = await read(broker, unique, 1, max_partition_fetch_bytes=1 << 20)
        assert found.value == value

    async def test_a_larger_message_than_allowed_is_refused_or_taken(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """The embedded broker does not look at max.message.bytes."""
        await create(broker, unique, settings={"max.message.bytes": "10000"})
        record = {"value": os.urandom(50_000)}
        if abilities.limits_size:
            with pytest.raises(MessageSizeTooLargeError):
                await send(broker, unique, [record])
        else:
            await send(broker, unique, [record])
            assert len(await read(broker, unique, 1)) == 1

    async def test_a_compacted_topic_gives_the_newest_of_every_key_from_its_start(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """On both, who lets the last record of a key win ends with the same; only Apache Kafka removes others."""
        await create(
            broker,
            unique,
            settings={"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"},
        )
        for round_ in range(6):
            records = [{"key": b"%d" % key, "value": b"%d %d" % (key, round_)} for key in range(5)]
            await send(broker, unique, records)
            await asyncio.sleep(0.1)  # past segment.ms, so that the next round opens a new segment
        newest = {b"%d" % key: b"%d 5" % key for key in range(5)}
        deadline = time.monotonic() + (30 if abilities.compacts else 0)
        while True:
            found = await read(broker, unique, 30, seconds=2)
            assert {each.key: each.value for each in found} == newest
            assert [each.offset for each in found] == sorted({each.offset for each in found})
            if len(found) < 30 or time.monotonic() > deadline:
                break
        assert (len(found) < 30) == abilities.compacts

    async def test_aborted_records_are_hidden_from_who_reads_committed(
        self, broker: Broker, abilities: Abilities, unique: str
    ) -> None:
        """The embedded broker refuses transactional producers of aiokafka, so nothing aborted is ever there."""
        await create(broker, unique)
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, transactional_id=unique)
        try:
            if not abilities.gives_producer_ids:
                with pytest.raises(UnknownError):
                    await producer.start()
                return
            await producer.start()
            await producer.begin_transaction()
            await producer.send_and_wait(unique, b"aborted")
            await producer.abort_transaction()
            async with producer.transaction():
                await producer.send_and_wait(unique, b"committed")
        finally:
            await producer.stop()
        committed = await read(broker, unique, 1, isolation_level="read_committed")
        assert [(each.offset, each.value) for each in committed] == [(2, b"committed")]


@pytest.mark.asyncio
class TestGroups:
    async def test_a_group_commits_and_a_later_member_goes_on_from_there(self, broker: Broker, unique: str) -> None:
        """The committed offset is that of the next record to read, and survives the member."""
        await create(broker, unique, 2)
        await send(
            broker,
            unique,
            [{"value": b"%d" % each, "partition": each % 2} for each in range(10)],
        )

        def member() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(
                unique,
                bootstrap_servers=broker.address,
                group_id=unique,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                session_timeout_ms=2000,  # the embedded broker lets a member in after half of it
                heartbeat_interval_ms=300,
            )

        both = {TopicPartition(unique, 0), TopicPartition(unique, 1)}
        async with member() as first:
            assert first.assignment() == both
            seen = [await first.getone() for _ in range(10)]
            assert sorted(int(each.value) for each in seen) == list(range(10))
            await first.commit({TopicPartition(unique, 0): 5, TopicPartition(unique, 1): 3})
        async with member() as second:
            assert [await second.committed(TopicPartition(unique, each)) for each in (0, 1)] == [5, 3]
            rest = [await second.getone() for _ in range(2)]
            assert [each.value for each in rest] == [b"7", b"9"]

    async def test_two_members_share_the_partitions_and_one_inherits(self, broker: Broker, unique: str) -> None:
        """When the second leaves, the first has all again."""
        await create(broker, unique, 2)

        def member() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(
                unique,
                bootstrap_servers=broker.address,
                group_id=unique,
                enable_auto_commit=False,
                session_timeout_ms=2000,
                heartbeat_interval_ms=300,
            )

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(30):
                while not condition():
                    await asyncio.sleep(0.05)

        async with member() as first:
            async with member() as second:
                await until(lambda: len(first.assignment()) == len(second.assignment()) == 1)
                assert first.assignment().isdisjoint(second.assignment())
            await until(lambda: len(first.assignment()) == 2)


class TestLife:
    @pytest.mark.parametrize("kind", ["embedded", "kafka"])
    def test_a_killed_broker_comes_back_on_its_port(self, kind: str, request: pytest.FixtureRequest) -> None:
        """With its data where it keeps any, and again after an orderly stop that keeps the folder."""
        request.getfixturevalue(kind)  # skips where it cannot be had
        broker = embedded_broker() if kind == "embedded" else apache_kafka()
        with broker as address:
            asyncio.run(create(broker, "kept"))
            asyncio.run(send(broker, "kept", [{"value": b"before"}]))
            for end in (broker.kill, broker.halt):
                end()
                assert not broker.running()
                assert broker.pid is None
                assert not port_taken(broker.port)
                assert broker.start() == address
                if not ABILITIES[kind].keeps_data:
                    asyncio.run(create(broker, "kept"))
                found = asyncio.run(read(broker, "kept", 1, seconds=10 if ABILITIES[kind].keeps_data else 1))
                assert [each.value for each in found] == ([b"before"] if ABILITIES[kind].keeps_data else [])
            folder = broker.folder
        assert not broker.running()
        assert not folder.exists()

    @pytest.mark.skipif(sys.platform != "linux", reason="finds the broker's process under /proc, which only Linux has")
    @pytest.mark.parametrize("kind", ["embedded", "kafka"])
    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_nothing_outlives_the_command(self, kind: str, how: signal.Signals, request: pytest.FixtureRequest) -> None:
        """Told to end it ends in order; killed, its watchdog ends the broker and removes the folder."""
        request.getfixturevalue(kind)
        with subprocess.Popen(
            [sys.executable, "-m", "queuewatch_streams.brokers", kind],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as command:
            try:
                assert command.stdout is not None
                address = command.stdout.readline().strip()
                port = int(address.partition(":")[2])
                assert port_taken(port)
                pid, folder = _listener(port)
                command.send_signal(how)
                assert command.wait(30) == (-signal.SIGKILL if how is signal.SIGKILL else 0)
                _until(lambda: not Path(f"/proc/{pid}").exists() and not folder.exists() and not port_taken(port))
            finally:
                command.kill()

    def test_a_broker_lives_where_the_path_is_empty(
        self, embedded: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Its watchdog needs no program to wait with; without one it would kill what it guards."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with embedded_broker() as address:
            assert asyncio.run(_topics_at(address)) == []

    def test_a_port_that_is_none_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        """With exit status 2, as for any wrong argument."""
        with pytest.raises(SystemExit, match="2"):
            brokers.main(["embedded", "--port", "99999"])
        assert "--port 99999 is no port; it must be from 1 to 65535" in capsys.readouterr().err

    def test_a_taken_port_is_said(self) -> None:
        """Before anything is started."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(BrokerFailed, match=f"port {port} on 127.0.0.1 is taken"):
                embedded_broker(port).start()

    def test_a_broker_that_ends_at_once_shows_the_end_of_its_log(self, kafka: Broker) -> None:
        """And leaves no folder."""
        broken = apache_kafka(settings={"log.segment.bytes": "nonsense"})
        folder = broken.folder
        with pytest.raises(BrokerFailed, match="nonsense"):
            broken.start()
        assert not folder.exists()


class TestMissingParts:
    def test_no_java_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """With the packages' names."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        with pytest.raises(MissingPart, match=r"install a JDK of version 17 or later .*openjdk-17-jdk-headless maven"):
            apache_kafka().start()

    def test_an_old_java_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """JAVA_HOME goes before the path, as everywhere."""
        (tmp_path / "bin").mkdir()
        java = tmp_path / "bin" / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
        java.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(MissingPart, match=r'needs Java 17 and .* is openjdk version "11\.0\.2"'):
            brokers.java_command()

    def test_no_maven_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Only where the jars are not there yet."""
        folder = tmp_path / "deploy" / "kafka"
        folder.mkdir(parents=True)
        (folder / "pom.xml").write_text("<project/>")
        monkeypatch.setattr(brokers, "KAFKA_FOLDER", folder)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingPart, match="no `mvn` is on the path: install it"):
            brokers.kafka_jars()

    def test_without_a_clone_there_is_no_apache_kafka(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The wheel carries no pom."""
        monkeypatch.setattr(brokers, "KAFKA_FOLDER", tmp_path)
        with pytest.raises(MissingPart, match="from a clone of the project only"):
            brokers.kafka_jars()

    def test_free_ports_lie_below_the_ephemeral_range(self) -> None:
        """Where no client's own port can be in a broker's way."""
        ports = {free_port() for _ in range(20)}
        assert len(ports) > 1
        assert all(15_000 <= port < 32_000 for port in ports)


async def _topics_at(address: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        names: list[str] = await admin.list_topics()
        return names
    finally:
        await admin.close()


def _listener(port: int) -> tuple[int, Path]:
    """The process that listens on a loopback port and the folder that it runs in."""
    tables = (Path("/proc/net") / name for name in ("tcp", "tcp6"))
    rows = (row.split() for table in tables for row in table.read_text().splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # closed, or its process gone, since it was listed
            if os.readlink(descriptor) in sockets:
                process = descriptor.parents[1]
                return int(process.name), Path(os.readlink(process / "cwd"))
    raise AssertionError(f"nothing listens on port {port}")


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)
