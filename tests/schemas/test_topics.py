"""Which topics there are, and on which partition a key lies."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas.config import Configuration, TopicNames
from queuewatch_schemas.topics import changelog_name, murmur2, partition_for, topics


@given(st.binary(max_size=210), st.integers(1, 500))
def test_a_key_lies_where_aiokafka_puts_it(key: bytes, partitions: int) -> None:
    """So a producer's own partitioner and ours agree."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF
    assert partition_for(key, partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_lies_where_the_java_client_puts_it(key: bytes, expected: int) -> None:
    """The vectors of Kafka's own tests, which are signed."""
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_every_named_topic_has_its_settings() -> None:
    """Each role once, under the configured name, and the changelog as Faust names it."""
    configuration = Configuration.model_validate({"application": "floor", "topics": {"events": "calls"}})
    found = topics(configuration)
    assert set(TopicNames.model_fields) | {"changelog"} == set(found)
    assert found["events"].name == "calls"
    assert found["changelog"].name == changelog_name("floor") == "floor-queues-changelog"
    assert len({topic.name for topic in found.values()}) == len(found)
    assert {topic.partitions for topic in found.values()} == {4}


def test_live_events_take_the_brokers_time_and_histories_keep_their_own() -> None:
    """A history is never cut off by retention, and what is late in it is not judged by today's clock."""
    for role in ("events", "agents"):
        topic = topics(Configuration())[role]
        assert topic.settings()["message.timestamp.type"] == "LogAppendTime"
        assert topic.settings()["retention.ms"] == str(7 * 86_400_000)
        past = topic.settings(history=True)
        assert (past["message.timestamp.type"], past["retention.ms"], past["retention.bytes"]) == (
            "CreateTime",
            "-1",
            "-1",
        )


def test_records_are_compacted_but_not_before_stale_ones_are_written_again() -> None:
    """Of a key the highest offset counts, so compaction waits ten minutes; segments stay small enough for it."""
    for role in ("queues", "intervals", "changelog"):
        settings = topics(Configuration())[role].settings()
        assert settings["cleanup.policy"] == "compact"
        assert int(settings["min.compaction.lag.ms"]) >= 600_000
        assert int(settings["segment.ms"]) == 600_000
        assert int(settings["max.message.bytes"]) == 16 * 1024 * 1024


def test_two_copies_must_be_in_sync_only_where_a_third_exists() -> None:
    """With two copies one broker's restart would stop all writing."""
    topic = topics(Configuration())["events"]
    assert [topic.settings(replicas=replicas).get("min.insync.replicas") for replicas in (1, 2, 3)] == [None, None, "2"]
