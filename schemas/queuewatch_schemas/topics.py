"""Which topics there are, how each is set, and on which partition a key lies.

Kafka clients disagree on the last point: the Java client and aiokafka hash with murmur2, librdkafka and what is built
on it with CRC32.  Here murmur2 is the rule; an event that lies elsewhere is published again where it belongs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from queuewatch_schemas.config import Configuration

TABLE: Final = "queues"
"""The Faust table that holds one record per queue, and one per partition."""
MAXIMUM_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message of any topic, for brokers and producers: far above an event, so that too large ones are seen."""
MINIMUM_IN_SYNC: Final = 2
"""A write counts when so many copies hold it, where there are copies enough."""

Role = Literal["events", "agents", "dead_letter", "queues", "intervals", "changelog"]

_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(10 * 60 * 1000),
    "min.cleanable.dirty.ratio": "0.1",
    # Of a key the record with the highest source offset counts, which need not be the last: compaction has to wait
    # until the owner has written such a key again.
    "min.compaction.lag.ms": str(10 * 60 * 1000),
    "max.message.bytes": str(MAXIMUM_MESSAGE_BYTES),
}


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as `topics create` makes it and `topics check` finds it."""

    role: Role
    name: str
    partitions: int
    replication: int | None
    """Copies of each partition; None: the broker's default."""
    key: str
    """What the key of a message is, in words."""
    value: str
    """What a message says, in words."""
    live: Mapping[str, str]
    """Kafka's settings for a topic that is fed as things happen."""
    history: Mapping[str, str]
    """Kafka's settings for a topic that is filled with the past and read with `--clock events`."""

    @property
    def cleanup(self) -> str:
        """Kafka's clean-up policy: "delete" or "compact"."""
        return self.live["cleanup.policy"]

    def settings(self, *, history: bool = False, replicas: int = 1) -> dict[str, str]:
        """Kafka's settings for a topic whose partitions have so many copies."""
        settings = dict(self.history if history else self.live)
        # With two copies of which two must be in sync, one broker's restart would stop all writing.
        if replicas > MINIMUM_IN_SYNC:
            settings["min.insync.replicas"] = str(MINIMUM_IN_SYNC)
        return settings


def changelog_name(application: str) -> str:
    """The topic behind the Faust table of an application, as Faust names it."""
    return f"{application}-{TABLE}-changelog"


def topics(configuration: Configuration) -> dict[Role, Topic]:
    """All topics by role, the source topics first."""
    names, kafka = configuration.topics, configuration.kafka
    deleted = {
        "cleanup.policy": "delete",
        "retention.ms": str(round(kafka.retention_days * 86_400_000)),
        "max.message.bytes": str(MAXIMUM_MESSAGE_BYTES),
    }
    kept = {**deleted, "retention.ms": "-1", "retention.bytes": "-1"}
    source = {**deleted, "message.timestamp.type": "LogAppendTime"}
    past = {**kept, "message.timestamp.type": "CreateTime"}

    def topic(role: Role, name: str, key: str, value: str, *, settings: tuple[dict[str, str], dict[str, str]]) -> Topic:
        live, history = (MappingProxyType(dict(each)) for each in settings)
        return Topic(role, name, kafka.partitions, kafka.replication, key, value, live, history)

    all_topics = (
        topic(
            "events",
            names.events,
            "the queue, UTF-8; of source.heartbeat the source, sent to every partition",
            "call and queue events as CloudEvents in JSON",
            settings=(source, past),
        ),
        topic(
            "agents",
            names.agents,
            "the agent, UTF-8",
            "agent.state events as CloudEvents in JSON",
            settings=(source, past),
        ),
        topic(
            "dead_letter",
            names.dead_letter,
            "where it was found, topic/partition/offset: the same letter may come more than once",
            "what could not be counted, as it came or its first 64 KiB; the reason is in the headers",
            settings=(deleted, kept),
        ),
        topic(
            "queues",
            names.queues,
            "the queue, UTF-8; of the news of a partition a NUL and its number",
            "the newest snapshot of the queue in JSON; readers keep the one with the greatest offset",
            settings=(_COMPACTED, _COMPACTED),
        ),
        topic(
            "intervals",
            names.intervals,
            "a JSON array of queue, channel and start; on the partition of the queue's events",
            "a closed interval in JSON; of one key the greatest offset counts",
            settings=(_COMPACTED, _COMPACTED),
        ),
        topic(
            "changelog",
            changelog_name(configuration.application),
            "partition/queue; of the partition's own record the partition alone",
            "a worker's record, compressed; of one key the highest source offset counts, never the last record",
            settings=(_COMPACTED, _COMPACTED),
        ),
    )
    return {each.role: each for each in all_topics}


@lru_cache(maxsize=65_536)
def murmur2(key: bytes) -> int:
    """Kafka's 32-bit murmur2 of a key, unsigned."""
    mixer, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(key)
    whole = length & ~3
    digest = 0x9747B28C ^ length
    for word in struct.unpack(f"<{whole >> 2}I", key[:whole]):
        mixed = word * mixer & mask
        digest = digest * mixer & mask ^ (mixed ^ mixed >> 24) * mixer & mask
    if whole < length:
        digest = (digest ^ int.from_bytes(key[whole:], "little")) * mixer & mask
    digest = (digest ^ digest >> 13) * mixer & mask
    return digest ^ digest >> 15


def partition_for(key: bytes, partitions: int) -> int:
    """The partition, from 0, on which Kafka's Java client and aiokafka put a key; cached, since few keys exist."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
