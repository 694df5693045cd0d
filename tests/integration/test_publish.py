"""Files of events on real brokers: nothing lost, nothing changed, everything where its key belongs."""

import asyncio
import gzip
import io
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic

from queuewatch_schemas.config import Configuration, KafkaSettings, TopicNames
from queuewatch_schemas.times import instant
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.brokers import Broker, free_port
from queuewatch_streams.kafka import KafkaTrouble, administration
from queuewatch_streams.publish import UnreadableFile, publish
from queuewatch_streams.topics import TopicTrouble, ensure, wait_for_topic

pytestmark = pytest.mark.asyncio

PARTITIONS = 3
START = instant("2026-11-20T08:00:00Z")


@pytest_asyncio.fixture
async def wanted(broker: Broker, unique: str) -> Configuration:
    """A configuration whose topics are this test's own and exist, for the past."""
    configuration = Configuration(
        application=unique,
        kafka=KafkaSettings(brokers=broker.address, partitions=PARTITIONS),
        topics=TopicNames.model_validate(
            {role: f"{unique}.{role}" for role in ("events", "agents", "dead_letter", "queues", "intervals")}
        ),
    )
    await ensure(configuration, history=True)
    return configuration


def line(number: int, kind: str = "call.queued", subject: str | None = None, **data: Any) -> bytes:
    """The number-th event of a file, a second after the one before."""
    second = START // 1_000_000 + number
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": str(number),
            "source": "urn:pbx:1",
            "type": f"queuewatch.{kind}.v1",
            "time": time.strftime("%Y-%m-%dT%H:%M:%S.250Z", time.gmtime(second)),
            "subject": subject or f"call-{number}",
            "data": data,
        }
    )


async def stored(configuration: Configuration, topic: str) -> dict[int, list[ConsumerRecord]]:
    """Every record of a topic by partition, in order."""
    async with AIOKafkaConsumer(bootstrap_servers=configuration.kafka.brokers, enable_auto_commit=False) as consumer:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        found: dict[int, list[ConsumerRecord]] = {place.partition: [] for place in places}
        async with asyncio.timeout(30):
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[place.partition].extend(records)
    return found


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_every_line_arrives_unchanged_in_order_on_its_partition(
    wanted: Configuration, tmp_path: Path, packed: bool
) -> None:
    """With the queue as key, murmur2's partition and, for histories, the event's own time as timestamp."""
    lines = [line(number, queue=f"queue {number % 17} é") for number in range(5000)]
    lines[7] = lines[7].replace(b'":', b'" :  ')  # odd, but JSON: sent as it stands
    path = tmp_path / ("events.ndjson.gz" if packed else "events.ndjson")
    content = b"\n".join(lines)
    path.write_bytes(gzip.compress(content) if packed else content)
    done = await publish(str(path), wanted, history=True)
    assert (done.published, done.skipped) == (5000, 0)
    found = await stored(wanted, wanted.topics.events)
    by_partition: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
    for number, each in enumerate(lines):
        by_partition[partition_for(f"queue {number % 17} é".encode(), PARTITIONS)].append(each)
    assert {partition: [each.value for each in records] for partition, records in found.items()} == by_partition
    for records in found.values():
        for each in records:
            event = orjson.loads(each.value)
            assert each.key.decode() == event["data"]["queue"]
            assert each.timestamp == instant(event["time"]) // 1000


async def test_agents_and_heartbeats_have_their_places(wanted: Configuration, tmp_path: Path) -> None:
    """Agents in their own topic; a heartbeat on every partition; queue events under the queue that is their subject."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(
        b"\n".join(
            [
                line(0, "agent.state", "ann", state="available", queues=[]),
                line(1, "source.heartbeat", "urn:pbx:1", interval_s=5, upstream="ok"),
                line(2, "queue.opened", "sales"),
            ]
        )
        + b"\n"
    )
    assert (await publish(str(path), wanted)).published == 3
    agents = [each for records in (await stored(wanted, wanted.topics.agents)).values() for each in records]
    assert [each.key for each in agents] == [b"ann"]
    events = await stored(wanted, wanted.topics.events)
    assert all(records[0].key == b"urn:pbx:1" for records in events.values())
    assert Counter(each.key for records in events.values() for each in records) == {b"urn:pbx:1": 3, b"sales": 1}


async def test_lines_without_address_are_told_with_their_place_and_the_rest_is_published(
    wanted: Configuration, tmp_path: Path
) -> None:
    """Blank lines are none; the numbers are those that an editor shows."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(
        b"\n".join([line(0, queue="sales"), b"", b"{not json", line(1), b"[1]", b"\xff\xfe", line(2, queue="sales")])
    )
    told: list[str] = []
    done = await publish(str(path), wanted, complain=told.append)
    assert (done.published, done.skipped) == (2, 4)
    assert [each.split(": ")[0] for each in told] == [f"{path}:{number}" for number in (3, 4, 5, 6)]
    assert "is not JSON" in told[0]
    assert "data.queue: is missing" in told[1]
    assert sum(len(records) for records in (await stored(wanted, wanted.topics.events)).values()) == 2


async def test_a_time_is_needed_only_where_one_is_used(wanted: Configuration, tmp_path: Path) -> None:
    """Sent as it stands it is the worker's to reject; for a history's timestamp it is left out and told."""
    path = tmp_path / "events.ndjson"
    event = orjson.loads(line(0, queue="sales"))
    missing = {name: each for name, each in event.items() if name != "time"}
    path.write_bytes(b"\n".join(orjson.dumps(each) for each in (missing, event | {"time": ["now"]})) + b"\n")
    assert (await publish(str(path), wanted)).published == 2
    told: list[str] = []
    assert (await publish(str(path), wanted, history=True, complain=told.append)).skipped == 2
    assert told == [f"{path}:1: time: is missing", f"{path}:2: time: \"['now']\" is no time with an offset"]


@pytest.mark.parametrize("speed", [None, 1000.0], ids=["at once", "paced"])
async def test_the_past_is_moved_to_the_present(wanted: Configuration, tmp_path: Path, speed: float | None) -> None:
    """One shift for all, so that the newest is now, and with a pace the oldest; to the second, and never ahead."""
    numbers = [5, 0, 90, 30]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(line(number, queue="sales", entered="2026-11-20T07:00:00Z") for number in numbers))
    before = time.time_ns() // 1000
    await publish(str(path), wanted, speed=speed, shift_to_now=True)
    after = time.time_ns() // 1000
    records = (await stored(wanted, wanted.topics.events))[partition_for(b"sales", PARTITIONS)]
    events = [orjson.loads(each.value) for each in records]
    times = [instant(event["time"]) for event in events]
    assert [each - times[1] for each in times] == [number * 1_000_000 for number in numbers]
    anchor = max(times) if speed is None else min(times)
    assert before - 1_000_000 < anchor <= after
    moved = times[1] - instant("2026-11-20T08:00:00.250Z")
    assert all(instant(event["data"]["entered"]) == instant("2026-11-20T07:00:00Z") + moved for event in events)


async def test_a_paced_file_arrives_whole_and_in_order(wanted: Configuration, tmp_path: Path) -> None:
    """Also where its times go back; when each is due is asked of the pace alone, without a broker."""
    numbers = [0, 1, 2, 1, 0, 3]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join(line(number, queue="sales") for number in numbers))
    assert (await publish(str(path), wanted, speed=20)).published == 6
    records = (await stored(wanted, wanted.topics.events))[partition_for(b"sales", PARTITIONS)]
    assert [int(orjson.loads(each.value)["id"]) for each in records] == numbers


async def test_standard_input_is_published_as_it_comes(wanted: Configuration, tmp_path: Path) -> None:
    """A line in a pipe that stays open is not held back until the next; the pipe's end ends it."""
    (tmp_path / "settings.json").write_text(wanted.model_dump_json())
    script = (
        "import asyncio, sys; from pathlib import Path; from queuewatch_schemas.config import Configuration\n"
        "from queuewatch_streams.publish import publish\n"
        "configuration = Configuration.model_validate_json(Path(sys.argv[1]).read_text())\n"
        "done = asyncio.run(publish('-', configuration))\n"
        "print(done.published, done.skipped)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "settings.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as command:
        try:
            assert command.stdin is not None
            command.stdin.write(line(0, queue="sales") + b"\n" + line(1, queue="sales") + b"\n" + b"{half")
            command.stdin.flush()
            async with asyncio.timeout(30):
                while sum(len(each) for each in (await stored(wanted, wanted.topics.events)).values()) < 2:
                    await asyncio.sleep(0.1)
            out, err = await asyncio.to_thread(command.communicate, b" a line", 30)
            assert (command.returncode, out.split()) == (0, [b"2", b"1"]), err
            assert err.startswith(b"-:3: is not JSON")
        finally:
            command.kill()


async def test_standard_input_can_be_moved_to_the_present(
    wanted: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept in a temporary file, since its newest event is known only at its end."""
    piped = io.TextIOWrapper(io.BytesIO(b"\n".join(line(number, queue="sales") for number in range(100))))
    monkeypatch.setattr(sys, "stdin", piped)
    assert (await publish("-", wanted, shift_to_now=True)).published == 100


async def test_a_line_larger_than_a_batch_passes(wanted: Configuration, tmp_path: Path) -> None:
    """A snapshot of many callers among small lines; one beyond any message is told and left out."""
    path = tmp_path / "events.ndjson"
    big = line(1, queue="sales", notes="x" * 3_000_000)
    path.write_bytes(
        b"\n".join(
            [line(0, queue="sales"), big, line(2, queue="sales", notes="x" * (17 << 20)), line(3, queue="sales")]
        )
    )
    told: list[str] = []
    done = await publish(str(path), wanted, complain=told.append)
    assert (done.published, done.skipped) == (3, 1)
    assert told[0].startswith(f"{path}:3: the line has ")
    records = (await stored(wanted, wanted.topics.events))[partition_for(b"sales", PARTITIONS)]
    assert [len(each.value) for each in records] == [len(line(0, queue="sales")), len(big), len(line(3, queue="sales"))]


async def test_a_missing_topic_or_file_or_broker_is_said(broker: Broker, unique: str, tmp_path: Path) -> None:
    """Each with what to do, and no topic is created by the asking."""
    absent = Configuration(
        kafka=KafkaSettings(brokers=broker.address), topics=TopicNames(events=f"{unique}.a", agents=f"{unique}.b")
    )
    path = tmp_path / "events.ndjson"
    path.write_bytes(line(0, queue="sales"))
    for _ in range(2):
        with pytest.raises(TopicTrouble, match=f"the topic {unique}.a is not there .*`queuewatch topics create`"):
            await publish(str(path), absent)
    nowhere = Configuration(kafka=KafkaSettings(brokers=f"127.0.0.1:{free_port()}"))
    with pytest.raises(KafkaTrouble, match="no Kafka broker can be reached"):
        await publish(str(path), nowhere)


async def test_a_file_that_ends_early_is_published_up_to_there(wanted: Configuration, tmp_path: Path) -> None:
    """What could be read is on the broker, and the error says that the rest is missing."""
    path = tmp_path / "events.ndjson.gz"
    whole = gzip.compress(b"".join(os.urandom(9).hex().encode() + b"\n" for _ in range(50_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="cannot be read to its end"):
        await publish(str(path), wanted, complain=lambda _: None)
    with pytest.raises(UnreadableFile, match="cannot be read: No such file"):
        await publish(str(tmp_path / "none"), wanted)


async def test_a_refused_batch_is_an_error_not_a_loss(kafka: Broker, unique: str, tmp_path: Path) -> None:
    """A topic of another maker with a small limit: said with the file and the broker's reason."""
    small = Configuration(
        kafka=KafkaSettings(brokers=kafka.address, compression="none"), topics=TopicNames(events=unique)
    )
    async with administration(small.kafka) as admin:
        await admin.create_topics([NewTopic(unique, 1, 1, topic_configs={"max.message.bytes": "10000"})])
    await wait_for_topic(small.kafka, unique, timeout=20)
    path = tmp_path / "events.ndjson"
    path.write_bytes(line(0, queue="sales", notes="x" * 50_000))
    with pytest.raises(KafkaTrouble, match=r"did not take a batch \(.*MessageSizeTooLarge"):
        await publish(str(path), small)
