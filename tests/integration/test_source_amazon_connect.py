"""Amazon Connect as a source: queues and streams of a stand-in for Amazon (moto's server), onto a real broker, and back."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from queuewatch_schemas.config import Configuration
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.amazon_connect.reader import ConnectReader
from queuewatch_streams.sources.aws import sqs
from queuewatch_streams.sources.aws.kinesis import KinesisStreams
from queuewatch_streams.sources.aws.sqs import SqsQueue
from queuewatch_streams.sources.command import run_checks
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.kinds import kind_named
from queuewatch_streams.sources.shape import Lost, Out
from sources.heard import START
from sources.made_up_connect import INSTANCE, Day, moved
from support.amazon import REGION, left, put, stand_in_for_amazon
from support.kills import configuration_file, killed_again_and_again, last_of_all, until
from support.sources import said
from support.topics import site_of, written

pytestmark = pytest.mark.asyncio

RECORDS, AGENTS = "connect-records", "connect-agents"


@pytest.fixture(scope="module")
def amazon() -> Iterator[str]:
    """Where the stand-in for Amazon listens."""
    with stand_in_for_amazon() as here:
        yield here


@pytest.fixture
def clients(amazon: str) -> Iterator[dict[str, Any]]:
    """Amazon's own client of each service; all queues and streams are new."""
    made = {each: boto3.client(each, region_name=REGION, endpoint_url=amazon) for each in ("sqs", "kinesis")}
    yield made
    for name in made["kinesis"].list_streams()["StreamNames"]:
        made["kinesis"].delete_stream(StreamName=name)
    for url in made["sqs"].list_queues().get("QueueUrls", ()):
        made["sqs"].delete_queue(QueueUrl=url)


@pytest.fixture
def queue_url(clients: dict[str, Any]) -> str:
    return str(clients["sqs"].create_queue(QueueName="connect-events")["QueueUrl"])


@pytest.fixture
def streams(clients: dict[str, Any]) -> tuple[str, ...]:
    for name in (RECORDS, AGENTS):
        clients["kinesis"].create_stream(StreamName=name, ShardCount=2)
    return RECORDS, AGENTS


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str) -> Configuration:
    return await site_of(embedded, unique)


def with_source(site: Configuration, amazon: str, queue_url: str, folder: Path, **more: Any) -> Configuration:
    """The configuration with the source `connect`."""
    settings: dict[str, Any] = {
        "kind": "amazon-connect",
        "region": REGION,
        "queue_url": queue_url,
        "endpoint_url": amazon,
        "visibility_seconds": 2,
        "sure_seconds": 1,
        "state_folder": folder,
        "heartbeat_seconds": 1,
        "metrics_port": 0,
    }
    sources = Configuration.model_validate({"sources": {"connect": settings | more}}).sources
    return site.model_copy(update={"sources": sources})


def pour(client: Any, name: str, records: list[Any], key: str) -> None:
    """Put records into a stream."""
    for number in range(0, len(records), 200):
        part = records[number : number + 200]
        client.put_records(
            StreamName=name, Records=[{"Data": orjson.dumps(each), "PartitionKey": each[key]} for each in part]
        )


def recent(day: Day) -> tuple[list[Any], list[Any], list[Any]]:
    """A day's events, contact records and agent events, as if it had just ended."""
    whole = [day.events(), day.records(), day.agent_events()]
    last = max(when for told in whole for when, _ in told)
    now = int(datetime.now(UTC).timestamp())
    by = now - START - int(last) - 60
    return tuple([moved(record, by) for _, record in told] for told in whole)  # type: ignore[return-value]


def folded(messages: list[bytes]) -> dict[str, Any]:
    """What the core makes of events, by queue."""
    replay = Replay(Question())
    for value in messages:
        replay.fold(value)
    report: dict[str, Any] = replay.report()["queues"]
    return {
        queue: {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
        for queue, row in report.items()
        if row["offered"]
    }


def one_pass(records: list[Any], configuration: Configuration) -> dict[str, Any]:
    settings = configuration.sources["connect"]
    out: Out = said(kind_named("amazon-connect").translator(Composer("connect", settings), None, settings), records)
    return folded([value for role, _, value in out.messages if role == "events"])


async def on_topic(configuration: Configuration) -> list[dict[str, Any]]:
    return await written(configuration, configuration.topics.events)


def calls(events: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(each) for each in events if each["type"].startswith("queuewatch.call.")]


# --------------------------------------------------------------------------------------------------------- the queue


async def test_a_queue_gives_hides_and_forgets_messages(amazon: str, clients: dict[str, Any], queue_url: str) -> None:
    put(clients["sqs"], queue_url, [str(number) for number in range(25)])
    async with SqsQueue(queue_url, REGION, amazon, visibility_seconds=600) as queue:
        assert await queue.attributes() == {"waiting": 25, "in_flight": 0, "delayed": 0}
        seen = await queue.receive(0, only_look=True)
        assert len(seen) == 10
        assert (await queue.attributes())["waiting"] == 25
        taken = [each for _ in range(3) for each in await queue.receive(0)]
        assert {each.body for each in taken} == {str(number) for number in range(25)}
        now = datetime.now(UTC).timestamp() * 1e6
        assert all(now - 60e6 < each.sent_at <= now and each.receive_count >= 1 for each in taken)
        await queue.delete(taken[:15])
        await queue.extend(taken[15:20], 0)
        await queue.extend(taken[20:])
        again = await queue.receive(0)
        assert {each.identity for each in again} == {each.identity for each in taken[15:20]}
        assert await queue.attributes() == {"waiting": 0, "in_flight": 10, "delayed": 0}


async def test_what_is_wrong_at_amazon_is_told_in_words(amazon: str, clients: dict[str, Any]) -> None:
    async with SqsQueue(f"{amazon}/123456789012/nowhere", REGION, amazon) as queue:
        with pytest.raises(Lost, match="SQS nowhere: there is no such queue"):
            await queue.receive(0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with SqsQueue("http://q/1/q", REGION, f"http://127.0.0.1:{closed.getsockname()[1]}") as queue:
            with pytest.raises(Lost, match="SQS q: "):
                await queue.receive(0)
    async with KinesisStreams(["nothing"], None, REGION, amazon) as found:
        with pytest.raises(Lost, match="Kinesis nothing: there is no such stream"):
            await found.shards("nothing")


async def test_without_credentials_it_says_where_they_may_come_from(
    amazon: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    async with SqsQueue("http://q/1/q", REGION, amazon) as queue:
        with pytest.raises(Lost, match="there are no credentials for Amazon; give them by the environment"):
            await queue.receive(0)


# -------------------------------------------------------------------------------------------------------- the source


async def test_killed_anywhere_it_loses_nothing_and_changes_nothing(
    amazon: str,
    clients: dict[str, Any],
    queue_url: str,
    streams: tuple[str, ...],
    site: Configuration,
    tmp_path: Path,
) -> None:
    day, dice = Day(12, 40, span=500), random.Random(5)
    events, records, agent_events = recent(day)
    lines = (
        f'kind = "amazon-connect"\nregion = "{REGION}"\nqueue_url = "{queue_url}"\nendpoint_url = "{amazon}"\n'
        f'streams = ["{RECORDS}", "{AGENTS}"]\nvisibility_seconds = 2\nsure_seconds = 1'
    )
    config = configuration_file(tmp_path, site, "connect", lines)

    async def go_on() -> None:
        """Events and records of either kind come while it is killed, in small parts."""
        ahead = [list(events), list(records), list(agent_events)]
        while any(ahead):
            parts = []
            for number, rest in enumerate(ahead):
                size = dice.randrange(25)
                parts.append(rest[:size])
                ahead[number] = rest[size:]
            await asyncio.to_thread(put, clients["sqs"], queue_url, parts[0])
            await asyncio.to_thread(pour, clients["kinesis"], RECORDS, parts[1], "ContactId")
            await asyncio.to_thread(pour, clients["kinesis"], AGENTS, parts[2], "AgentARN")
            await asyncio.sleep(0.2)

    await asyncio.gather(go_on(), killed_again_and_again(config, "connect", longest=3))
    configuration = with_source(site, amazon, queue_url, tmp_path, streams=streams)
    expected = one_pass([*events, *records, *agent_events], configuration)
    async with last_of_all(config, "connect"):
        await until(lambda: left(clients["sqs"], queue_url) == 0, "an empty queue")
        async with asyncio.timeout(60):
            while folded(calls(await on_topic(configuration))) != expected:
                await asyncio.sleep(0.5)
    truth = day.truth(records=True, holds=True)
    for queue, row in truth.items():
        assert expected[f"connect/{queue}"]["offered"] == row["offered"]
        assert expected[f"connect/{queue}"]["talk_sum"] == pytest.approx(row["talk_sum"], abs=0.01)
    beats = [each["data"] for each in await on_topic(configuration) if each["type"] == "queuewatch.source.heartbeat.v1"]
    assert "ok" in {each["upstream"] for each in beats}
    states = await written(configuration, configuration.topics.agents)
    last = {each["subject"]: each["data"]["state"] for each in sorted(states, key=lambda each: str(each["time"]))}
    assert set(last.values()) == {"offline"}


async def test_a_check_looks_and_takes_nothing_out(
    amazon: str,
    clients: dict[str, Any],
    queue_url: str,
    streams: tuple[str, ...],
    site: Configuration,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    events, records, _ = recent(Day(1, 5, span=10))
    put(clients["sqs"], queue_url, events[:5])
    pour(clients["kinesis"], RECORDS, records, "ContactId")
    configuration = with_source(site, amazon, queue_url, tmp_path, streams=streams)
    assert await run_checks(configuration, "connect")
    told = capsys.readouterr().out
    assert "Amazon, eu-central-1: arn:aws:" in told
    assert "SQS connect-events: about 5 messages wait, 0 are being worked on" in told
    assert f"Kinesis {RECORDS}: 2 shards" in told
    assert f"of its {5 + len(records)} newest records" in told
    assert "queuewatch.call." in told
    assert left(clients["sqs"], queue_url) == 5


async def test_amazons_own_counts_are_asked_for_by_queue(amazon: str, site: Configuration, tmp_path: Path) -> None:
    """Against a small stand-in that answers as the service model says: moto has no figures of Connect."""
    asked: list[Any] = []

    async def queues(request: web.Request) -> web.Response:
        more = "nextToken" not in request.query
        return web.json_response(
            {"QueueSummaryList": [{"Id": "q-1" if more else "q-2"}], **({"NextToken": "2"} if more else {})}
        )

    async def figures(request: web.Request) -> web.Response:
        asked.append(await request.json())
        values = {"CONTACTS_QUEUED": 12.0, "CONTACTS_HANDLED": 9.0, "CONTACTS_ABANDONED": 2.0}
        rows = [
            {
                "Dimensions": {"QUEUE": queue},
                "Collections": [{"Metric": {"Name": name}, "Value": value} for name, value in values.items()],
            }
            for queue in ("q-1", "q-2")
        ]
        more = "NextToken" not in asked[-1]
        return web.json_response(
            {"MetricResults": rows[:1] if more else rows[1:], **({"NextToken": "2"} if more else {})}
        )

    application = web.Application()
    application.add_routes([web.get("/queues-summary/{instance}", queues), web.post("/metrics/data", figures)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        here = f"http://127.0.0.1:{runner.addresses[0][1]}"
        configuration = with_source(site, here, "http://q/1/q", tmp_path, instance_arn=INSTANCE)
        settings: Any = configuration.sources["connect"]
        since = datetime.now(UTC) - timedelta(hours=3)
        found = await ConnectReader("connect", settings, configuration).counters(since)
    finally:
        await runner.cleanup()
    row = {"offered": 12, "answered": 9, "abandoned": 2}
    assert found.queues == {"q-1": row, "q-2": row}
    assert asked[0]["ResourceArn"] == INSTANCE
    assert asked[0]["Filters"] == [{"FilterKey": "QUEUE", "FilterValues": ["q-1", "q-2"]}]
    bare = with_source(site, amazon, "http://q/1/q", tmp_path).sources["connect"]
    with pytest.raises(Lost, match=r"set sources\.connect\.instance_arn"):
        await ConnectReader("connect", bare, configuration).counters(since)  # type: ignore[arg-type]


async def test_a_message_stays_hidden_while_kafka_is_away(
    amazon: str, clients: dict[str, Any], queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for Kafka longer than a message is hidden is not given to others, and deleted when Kafka has it."""
    put(clients["sqs"], queue_url, ["{}"] * 3)
    monkeypatch.setattr(sqs, "RECEIVERS", 1)
    kafka = asyncio.Event()
    taken: list[Any] = []

    class Slow:
        async def take(self, records: Any, position: Any, where: Any) -> None:
            taken.extend(records)

        async def settle(self) -> None:
            await kafka.wait()

        async def advance(self, at: int) -> None:
            pass

        def looked(self, good_for: float) -> None:
            pass

        def behind(self, records: int) -> None:
            pass

    async with (
        SqsQueue(queue_url, REGION, amazon, visibility_seconds=2) as queue,
        SqsQueue(queue_url, REGION, amazon) as other,
    ):
        work = asyncio.ensure_future(sqs.drain(queue, Slow(), lambda message: message.body))  # type: ignore[arg-type]
        try:
            for _ in range(4):
                await asyncio.sleep(1)
                assert await other.receive(0, only_look=True) == [] or not taken
            assert (taken, left(clients["sqs"], queue_url)) == (["{}"] * 3, 3)
            kafka.set()
            await until(lambda: left(clients["sqs"], queue_url) == 0, "an empty queue")
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
