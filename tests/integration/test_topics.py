"""Creating, checking and waiting for the topics, and reaching a broker that wants a password; with both brokers."""

import asyncio
import base64
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from queuewatch_schemas.config import Configuration, KafkaSettings, TopicNames
from queuewatch_schemas.topics import Role, changelog_name
from queuewatch_streams.brokers import ApacheKafka, Broker, free_port
from queuewatch_streams.kafka import KafkaTrouble, administration, client_settings, gives_producer_ids
from queuewatch_streams.topics import (
    TopicTrouble,
    check,
    ensure,
    partition_counts,
    wait_for_topic,
)

pytestmark = pytest.mark.asyncio

ROLES: tuple[Role, ...] = ("events", "agents", "dead_letter", "queues", "intervals")


def configuration(broker: Broker, unique: str, **kafka: int) -> Configuration:
    """A configuration whose topics are this test's own."""
    return Configuration(
        application=unique,
        kafka=KafkaSettings.model_validate({"brokers": broker.address, "partitions": 3, **kafka}),
        topics=TopicNames.model_validate({role: f"{unique}.{role.replace('_', '-')}" for role in ROLES}),
    )


async def create(broker: Broker, topic: str, partitions: int, settings: dict[str, str] | None = None) -> None:
    """A topic as someone else would make it."""
    async with administration(KafkaSettings(brokers=broker.address)) as admin:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings or {})])
    await wait_for_topic(KafkaSettings(brokers=broker.address), topic, timeout=20)


@pytest.mark.parametrize("history", [False, True], ids=["live", "history"])
async def test_what_ensure_creates_check_finds_right(broker: Broker, unique: str, history: bool) -> None:
    """All six topics, the changelog under the name that Faust gives it; a second time there is nothing to do."""
    wanted = configuration(broker, unique)
    missing = await check(wanted, history=history)
    assert {each.setting for each in missing} == {"topic"}
    assert len(missing) == 6
    made = await ensure(wanted, history=history)
    assert len(made.created) == 6
    assert changelog_name(unique) in made.created
    assert made.existed == ()
    assert await check(wanted, history=history) == []
    again = await ensure(wanted, history=history)
    assert (again.created, len(again.existed), again.differences) == ((), 6, ())
    counts = await partition_counts(wanted.kafka)
    assert {counts[name] for name in made.created} == {3}


async def test_two_may_create_at_once(broker: Broker, unique: str) -> None:
    """Several workers start together; each topic is created once and neither fails."""
    wanted = configuration(broker, unique)
    one, other = await asyncio.gather(ensure(wanted), ensure(wanted))
    assert sorted(one.created + other.created) == sorted({*one.created, *other.created})
    assert await check(wanted) == []


async def test_a_live_topic_is_no_history(broker: Broker, unique: str) -> None:
    """The differences name the timestamps and the retention, what they are and should be, and the mending command."""
    wanted = configuration(broker, unique)
    await ensure(wanted)
    found = {(each.topic, each.setting): each for each in await check(wanted, history=True)}
    stamps = found[wanted.topics.events, "message.timestamp.type"]
    assert (stamps.found, stamps.wanted) == ("LogAppendTime", "CreateTime")
    assert (
        f"kafka-configs.sh --bootstrap-server {broker.address} --alter --entity-type topics"
        f" --entity-name {wanted.topics.events} --add-config message.timestamp.type=CreateTime" in stamps.mend
    )
    assert str(stamps).startswith(
        f"{wanted.topics.events}: message.timestamp.type is LogAppendTime, should be CreateTime; "
    )
    assert found[wanted.topics.events, "retention.ms"].wanted == "-1"
    assert (wanted.topics.queues, "cleanup.policy") not in found


async def test_existing_topics_are_left_as_they_are_and_their_differences_told(broker: Broker, unique: str) -> None:
    """The events topic decides the partitions of those divided as it is; its own number is mended in the settings."""
    wanted = configuration(broker, unique)
    await create(broker, wanted.topics.events, 5, {"message.timestamp.type": "CreateTime"})
    await create(broker, wanted.topics.queues, 2, {"cleanup.policy": "compact"})
    made = await ensure(wanted)
    counts = await partition_counts(wanted.kafka)
    assert counts[changelog_name(unique)] == counts[wanted.topics.intervals] == 5
    assert counts[wanted.topics.agents] == 3
    assert (counts[wanted.topics.events], counts[wanted.topics.queues]) == (5, 2)
    told = {(each.topic, each.setting): each for each in made.differences}
    assert {topic for topic, _ in told} == {wanted.topics.events, wanted.topics.queues}
    assert told[wanted.topics.events, "message.timestamp.type"].found == "CreateTime"
    assert "set kafka.partitions = 5" in told[wanted.topics.events, "partitions"].mend
    queues = told[wanted.topics.queues, "partitions"]
    assert (queues.found, queues.wanted) == ("2", "5")
    assert f"delete {wanted.topics.queues}" in queues.mend


async def test_a_setting_that_the_broker_does_not_tell_is_said(broker: Broker, unique: str) -> None:
    """Apache Kafka tells its defaults, which differ; the embedded broker only what was set: it cannot be verified."""
    wanted = configuration(broker, unique)
    await ensure(wanted)
    bare = wanted.model_copy(update={"topics": wanted.topics.model_copy(update={"dead_letter": f"{unique}.bare"})})
    await create(broker, bare.topics.dead_letter, 3)
    found = {each.setting: each for each in await check(bare)}
    if broker.kind == "kafka":
        assert found["max.message.bytes"].found == "1048588"
        assert set(found) == {"max.message.bytes"}
    else:
        assert {each.found for each in found.values()} == {None}
        assert "is not told by the broker, should be" in str(found["max.message.bytes"])


async def test_more_copies_than_brokers_are_refused_in_words(kafka: Broker, unique: str) -> None:
    """With what to set; the embedded broker does not look at it."""
    with pytest.raises(TopicTrouble, match=r"could not be created: .* set kafka\.replication to at most the number"):
        await ensure(configuration(kafka, unique, replication=3))


async def test_a_topic_is_waited_for(broker: Broker, unique: str) -> None:
    """Until it is there; and asking for it does not create it, though the embedded broker would."""
    kafka = KafkaSettings(brokers=broker.address)
    waiting = asyncio.create_task(wait_for_topic(kafka, unique, timeout=30))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert unique not in await partition_counts(kafka)
    await create(broker, unique, 7)
    assert await waiting == 7


async def test_waiting_ends_in_words(broker: Broker, unique: str) -> None:
    """Which topic, where, and the command that creates it."""
    with pytest.raises(TopicTrouble, match=f"the topic {unique} is not there at .*`queuewatch topics create`"):
        await wait_for_topic(KafkaSettings(brokers=broker.address), unique, timeout=0.3)


async def test_brokers_that_are_not_there_are_said() -> None:
    """With their address and what to look at."""
    nowhere = KafkaSettings(brokers=f"127.0.0.1:{free_port()}")
    for asked in (check(Configuration(kafka=nowhere)), wait_for_topic(nowhere, "any", timeout=0)):
        with pytest.raises(KafkaTrouble, match=f"no Kafka broker can be reached at {nowhere.brokers}: is it running"):
            await asked


async def test_only_apache_kafka_gives_our_clients_producer_ids(broker: Broker) -> None:
    """So a producer against the embedded broker goes without idempotence."""
    assert await gives_producer_ids(client_settings(KafkaSettings(brokers=broker.address))) == (broker.kind == "kafka")


async def test_a_broker_that_wants_a_password_is_reached_with_it(kafka: Broker, unique: str, tmp_path: Path) -> None:
    """SASL from the settings' password file; a wrong password is refused in words that do not hold it."""
    secret = base64.urlsafe_b64encode(unique.encode()).decode()
    guarded = ApacheKafka()
    port = free_port(but=guarded.port)
    guarded.settings.update(
        {
            "listeners": f"PLAINTEXT://127.0.0.1:{guarded.port},CONTROLLER://127.0.0.1:{guarded.controller_port},"
            f"GUARDED://127.0.0.1:{port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{guarded.port},GUARDED://127.0.0.1:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.guarded.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule"
            f' required user_monitor="{secret}";',
        }
    )

    def as_monitor(password: str) -> KafkaSettings:
        path = tmp_path / "password"
        path.write_text(password + "\n")
        return KafkaSettings(
            brokers=f"127.0.0.1:{port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username="monitor",
            sasl_password_file=path,
        )

    await asyncio.to_thread(guarded.start)
    try:
        wanted = Configuration(application=unique, kafka=as_monitor(secret))
        assert len((await ensure(wanted)).created) == 6
        assert await gives_producer_ids(client_settings(wanted.kafka))
        with pytest.raises(
            KafkaTrouble, match="Do the security protocol, user, password and certificates fit"
        ) as raised:
            await check(Configuration(kafka=as_monitor("not the secret")))
        assert "not the secret" not in str(raised.value)
    finally:
        await asyncio.to_thread(guarded.stop)
