"""Decides how the topics of the contract come to exist on a cluster, and how far those that exist differ from it.

`ensure` creates what is missing and never changes what is there: a setting may be someone's intention, and another
clean-up can lose data.  What differs is told by `check`, each with the command that mends it.
Topics are never asked for by name before they are known to exist, since some brokers create what is named.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from queuewatch_schemas.config import Configuration, KafkaSettings
from queuewatch_schemas.topics import MAXIMUM_MESSAGE_BYTES, MINIMUM_IN_SYNC, Role, Topic
from queuewatch_schemas.topics import topics as topics_of
from queuewatch_streams.kafka import KafkaTrouble, administration, described

__all__ = [
    "Difference",
    "Ensured",
    "TopicTrouble",
    "check",
    "check_limits",
    "ensure",
    "partition_counts",
    "wait_for_topic",
]

log = logging.getLogger(__name__)

ALREADY_EXISTS = 36
_SET_ON_TOPIC = 1
"""Kafka's code for a setting that is the topic's own."""
SEEN_AFTER_SECONDS = 30.0
"""How long a topic that was created may take to appear in the brokers' metadata."""

# One queue's events, records, snapshots and intervals are one worker's, so these topics are divided alike.
DIVIDED_AS_EVENTS: frozenset[Role] = frozenset({"changelog", "queues", "intervals"})

_WHY_REFUSED = {
    29: "the user may not create topics; grant CREATE on the topic, or let an operator create it",
    31: "the user may not create topics; grant CREATE on the cluster, or let an operator create it",
    38: "set kafka.replication to at most the number of brokers",
    40: "the broker does not know a setting; is it Apache Kafka 2.1 or later?",
}


class TopicTrouble(KafkaTrouble):
    """A topic cannot be created or is not there; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One point in which a topic is not as the contract has it."""

    topic: str
    setting: str
    """Kafka's name of the setting, or "partitions", "replication", "topic" for its being there at all."""
    found: str | None
    """What it is; None: the broker does not tell."""
    wanted: str
    mend: str
    """What to do: a command where one does it."""

    def __str__(self) -> str:
        """The difference as one line for people."""
        is_ = "is not told by the broker" if self.found is None else f"is {self.found}"
        return f"{self.topic}: {self.setting} {is_}, should be {self.wanted}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Ensured:
    """What `ensure` did and found."""

    created: tuple[str, ...]
    existed: tuple[str, ...]
    differences: tuple[Difference, ...]
    """Of the topics that existed: they are left as they are."""


async def ensure(configuration: Configuration, *, history: bool = False) -> Ensured:
    """Create the topics that are missing and wait until every broker shows them; then `check` those that existed.

    The topics that are divided as the events are get the partitions that the events topic has, even where the
    configuration says otherwise.  Safe to call from several processes at once.

    :param history: for the past, read with `--clock events`: producers' timestamps, nothing is ever deleted.
    :raises TopicTrouble: a topic was refused.
    :raises KafkaTrouble: no broker can be reached.
    """
    wanted = topics_of(configuration)
    created: list[str] = []
    async with administration(configuration.kafka) as admin:
        there = await _listed(admin)
        divided = _partitions_of_events(wanted, there)
        missing = [topic for topic in wanted.values() if topic.name not in there]
        if missing:
            replicas = await _replicas_of_new_topics(admin, configuration.kafka)
            for topic in missing:
                partitions = divided if topic.role in DIVIDED_AS_EVENTS else topic.partitions
                if await _create(admin, topic, partitions, topic.settings(history=history, replicas=replicas)):
                    created.append(topic.name)
            await _await_listed(admin, {topic.name for topic in missing})
        existed = {role: topic for role, topic in wanted.items() if topic.name not in created}
        differences = await _differences(admin, configuration, existed, history=history)
    return Ensured(tuple(created), tuple(topic.name for topic in existed.values()), tuple(differences))


async def check(configuration: Configuration, *, history: bool = False) -> list[Difference]:
    """Every point in which the topics are not as `ensure` would have made them; empty when all is well.

    A setting that the broker does not tell is a difference of its own kind (`found` is None): it cannot be verified.

    :raises KafkaTrouble: no broker can be reached.
    """
    async with administration(configuration.kafka) as admin:
        return await _differences(admin, configuration, topics_of(configuration), history=history)


async def check_limits(configuration: Configuration) -> None:
    """Find the limits of topics and brokers that a record of the worker would run into one day.

    What a broker does not tell is passed over.  A `replica.fetch.max.bytes` that is too small is only logged: copies are
    fetched one large record at a time then.

    :raises TopicTrouble: records would be refused; the text names each limit and the command that mends it.
    :raises KafkaTrouble: no broker can be reached.
    """
    kafka, wanted = configuration.kafka, topics_of(configuration)
    written: tuple[Role, ...] = ("changelog", "dead_letter", "queues", "intervals")
    walls: list[str] = []
    async with administration(kafka) as admin:
        for name in (wanted[role].name for role in written):
            found, of_broker = await _limit(admin, ConfigResourceType.TOPIC, name, "max.message.bytes")
            if found is not None and found < MAXIMUM_MESSAGE_BYTES:
                told = " (the broker's message.max.bytes, as the topic has none of its own)" if of_broker else ""
                walls.append(
                    f"max.message.bytes of {name} is {found}{told}, the largest record is {MAXIMUM_MESSAGE_BYTES}: "
                    f"kafka-configs.sh --bootstrap-server {kafka.brokers} --alter --entity-type topics --entity-name {name}"
                    f" --add-config max.message.bytes={MAXIMUM_MESSAGE_BYTES}"
                )
        there = await _listed(admin)
        copies = max(len(each["replicas"]) for each in there[wanted["changelog"].name]["partitions"])
        for broker in (str(each["node_id"]) for each in (await admin.describe_cluster())["brokers"]):
            for limit in ("socket.request.max.bytes", "replica.fetch.max.bytes"):
                found, _ = await _limit(admin, ConfigResourceType.BROKER, broker, limit)
                if found is None or found >= MAXIMUM_MESSAGE_BYTES:
                    continue
                said = (
                    f"{limit} of broker {broker} is {found}, the largest record is {MAXIMUM_MESSAGE_BYTES}: set it in the"
                    " broker's server.properties and restart the broker"
                )
                if limit == "socket.request.max.bytes":
                    walls.append(said)
                elif copies > 1:
                    log.warning("%s", said)
    if walls:
        raise TopicTrouble("records could not be written one day; nothing was started: " + "; ".join(walls))


async def _limit(
    admin: AIOKafkaAdminClient, kind: ConfigResourceType, name: str, limit: str
) -> tuple[int | None, bool]:
    """A limit in bytes, None where it is not told; and whether a topic has it from its broker."""
    try:
        # All settings, not only this: the embedded broker hangs up when some are named.
        [answer] = await admin.describe_configs([ConfigResource(kind, name, None)])
        for entry in answer.resources[0][4] or ():
            if entry[0] == limit:
                return int(entry[1]), entry[3] != _SET_ON_TOPIC
    except (KafkaError, LookupError, TypeError, ValueError) as error:
        log.warning("%s of %s is not told by the broker (%s)", limit, name, described(error))
    return None, False


async def partition_counts(kafka: KafkaSettings) -> dict[str, int]:
    """The topics that are there and can be used, every partition having a leader, with their numbers of partitions.

    :raises KafkaTrouble: no broker can be reached.
    """
    async with administration(kafka) as admin:
        return {name: len(found["partitions"]) for name, found in (await _listed(admin)).items() if _usable(found)}


async def wait_for_topic(
    kafka: KafkaSettings, topic: str, *, timeout: float | None = None, remind_seconds: float = 10.0
) -> int:
    """Wait until a topic is there and every partition of it has a leader; its number of partitions.

    A consumer that starts before its topic exists is assigned nothing and may stay deaf.  Brokers that are down are
    waited for too.  What is waited for is logged at first and then every `remind_seconds`.

    :param timeout: seconds to wait at most; None: for ever.
    :raises TopicTrouble: the topic was not there in time.
    :raises KafkaTrouble: the brokers could not be reached in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    reminded = float("-inf")
    while True:
        trouble: KafkaTrouble | None = None
        try:
            if (partitions := (await partition_counts(kafka)).get(topic)) is not None:
                return partitions
        except KafkaTrouble as error:
            trouble = error
        if deadline is not None and time.monotonic() >= deadline:
            raise trouble or TopicTrouble(
                f"the topic {topic} is not there at {kafka.brokers}; create it with `queuewatch topics create`"
            )
        if time.monotonic() >= reminded + remind_seconds:
            reminded = time.monotonic()
            log.warning(
                "waiting: %s", trouble or f"there is no topic {topic} yet; `queuewatch topics create` creates it"
            )
        await asyncio.sleep(0.2 if deadline is not None else 1.0)


async def _listed(admin: AIOKafkaAdminClient) -> dict[str, Mapping[str, Any]]:
    return {found["topic"]: found for found in await admin.describe_topics(None)}


def _usable(found: Mapping[str, Any]) -> bool:
    return bool(found["partitions"]) and all(each["leader"] >= 0 for each in found["partitions"])


def _partitions_of_events(wanted: Mapping[Role, Topic], there: Mapping[str, Mapping[str, Any]]) -> int:
    events = wanted["events"]
    return len(there[events.name]["partitions"]) if events.name in there else events.partitions


async def _replicas_of_new_topics(admin: AIOKafkaAdminClient, kafka: KafkaSettings) -> int:
    """How many copies a new topic will have; 1 where the brokers do not tell their default."""
    if kafka.replication is not None:
        return kafka.replication
    brokers = (await admin.describe_cluster())["brokers"]
    if len(brokers) <= MINIMUM_IN_SYNC:
        return 1  # whatever the default is, it cannot matter; and the embedded broker hangs up on the question
    asked = ConfigResource(ConfigResourceType.BROKER, str(brokers[0]["node_id"]), {"default.replication.factor": None})
    try:
        [answer] = await admin.describe_configs([asked])
        return int(answer.resources[0][4][0][1])
    except (KafkaError, LookupError, TypeError, ValueError) as error:
        log.warning("the brokers do not tell default.replication.factor (%s); taken as 1", described(error))
        return 1


async def _create(admin: AIOKafkaAdminClient, topic: Topic, partitions: int, settings: dict[str, str]) -> bool:
    """Create a topic; False when another was quicker."""
    if topic.replication is None:
        new = NewTopic(topic.name, partitions, -1, {}, settings)  # aiokafka takes -1 beside an empty assignment only
    else:
        new = NewTopic(topic.name, partitions, topic.replication, topic_configs=settings)
    answer = await admin.create_topics([new])
    code, message = answer.topic_errors[0][1], answer.topic_errors[0][2]
    if code == ALREADY_EXISTS:
        return False
    if code:
        why = "; ".join(each for each in (message or for_code(code).__name__, _WHY_REFUSED.get(code)) if each)
        raise TopicTrouble(f"the topic {topic.name} could not be created: {why}")
    return True


async def _await_listed(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """The brokers answer before their metadata shows a new topic."""
    deadline = time.monotonic() + SEEN_AFTER_SECONDS
    while True:
        there = await _listed(admin)
        late = sorted(name for name in names if name not in there or not _usable(there[name]))
        if not late:
            return
        if time.monotonic() > deadline:
            raise TopicTrouble(
                f"created, but not usable after {SEEN_AFTER_SECONDS:.0f} s: {', '.join(late)}; are all brokers well?"
            )
        await asyncio.sleep(0.05)


async def _differences(
    admin: AIOKafkaAdminClient, configuration: Configuration, wanted: Mapping[Role, Topic], *, history: bool
) -> list[Difference]:
    there = await _listed(admin)
    every = topics_of(configuration)
    divided = _partitions_of_events(every, there)
    differences: list[Difference] = []
    for topic in wanted.values():
        if topic.name not in there:
            command = f"`queuewatch topics create{' --history' if history else ''}`"
            differences.append(Difference(topic.name, "topic", "missing", "there", f"create it: {command}"))
            continue
        found = there[topic.name]
        replicas = min((len(each["replicas"]) for each in found["partitions"]), default=0)
        differences += _of_layout(topic, len(found["partitions"]), replicas, divided, every["events"].name)
        settings = topic.settings(history=history, replicas=replicas)
        differences += await _of_settings(admin, configuration.kafka, topic.name, settings)
    return differences


def _of_layout(topic: Topic, partitions: int, replicas: int, divided: int, events: str) -> list[Difference]:
    differences = []
    if topic.role in DIVIDED_AS_EVENTS and partitions != divided:
        mend = (
            f"it must be divided as {events} is: stop the workers, delete {topic.name} and run"
            " `queuewatch topics create`; the workers rebuild it from the events that are kept"
        )
        differences.append(Difference(topic.name, "partitions", str(partitions), str(divided), mend))
    elif topic.role not in DIVIDED_AS_EVENTS and partitions != topic.partitions:
        mend = f"set kafka.partitions = {partitions} in the configuration: a topic in use cannot be divided anew"
        differences.append(Difference(topic.name, "partitions", str(partitions), str(topic.partitions), mend))
    if topic.replication is not None and replicas != topic.replication:
        mend = "reassign its partitions with kafka-reassign-partitions.sh, or set kafka.replication to what it is"
        differences.append(Difference(topic.name, "replication", str(replicas), str(topic.replication), mend))
    return differences


async def _of_settings(
    admin: AIOKafkaAdminClient, kafka: KafkaSettings, topic: str, wanted: Mapping[str, str]
) -> list[Difference]:
    try:
        # All settings, not only ours: the embedded broker hangs up when some are named.
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, None)])
        code, message, _, _, entries = answer.resources[0][:5]
        refusal = "" if code == 0 else message or for_code(code).__name__
    except KafkaError as error:
        entries, refusal = [], described(error)
    if refusal:
        mend = f"the broker does not answer describe-configs ({refusal}); allow it on this topic, or look there"
        return [Difference(topic, setting, None, value, mend) for setting, value in sorted(wanted.items())]
    told = {entry[0]: entry[1] for entry in entries}
    differences = []
    for setting, value in sorted(wanted.items()):
        if setting not in told:
            differences.append(
                Difference(topic, setting, None, value, "this broker tells only what was set explicitly")
            )
        elif _value(told[setting]) != _value(value):
            added = f"{setting}=[{value}]" if "," in value else f"{setting}={value}"
            command = (
                f"kafka-configs.sh --bootstrap-server {kafka.brokers} --alter --entity-type topics"
                f" --entity-name {topic} --add-config {added}"
            )
            differences.append(Difference(topic, setting, str(told[setting]), value, f"mend it: {command}"))
    return differences


def _value(text: str | None) -> object:
    """A setting's value as something to compare: 0.10 is 0.1, and a list has no order."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return frozenset(part.strip() for part in text.split(","))
