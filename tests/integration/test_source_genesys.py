"""Genesys Cloud as a source: a queue of a stand-in for Amazon, and a stand-in for Genesys, onto a real broker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import orjson
import pytest
import pytest_asyncio

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import GenesysCloud
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.sources.command import run_checks
from queuewatch_streams.sources.compare import compare
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.genesys import notifications
from queuewatch_streams.sources.genesys.reader import KIND, GenesysReader
from queuewatch_streams.sources.genesys.rest import genesys_api
from queuewatch_streams.sources.genesys.translator import Genesys
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.state import StateFile
from queuewatch_streams.sources.station import Station
from sources import made_up_genesys
from sources.made_up_genesys import QUEUES, Day, bridged, day
from support.amazon import REGION, left, put, stand_in_for_amazon
from support.genesys import CLIENT, SECRET, GenesysByTheClock
from support.kills import configuration_file, killed_again_and_again, last_of_all, until
from support.sources import said
from support.topics import site_of, written

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def amazon() -> Iterator[str]:
    """Where the stand-in for Amazon listens."""
    with stand_in_for_amazon() as address:
        yield address


@pytest.fixture
def sqs(amazon: str) -> Any:
    return boto3.client("sqs", region_name=REGION, endpoint_url=amazon)


@pytest.fixture
def queue_url(sqs: Any, unique: str) -> str:
    return str(sqs.create_queue(QueueName=unique)["QueueUrl"])


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str) -> Configuration:
    return await site_of(embedded, unique)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    return tmp_path / "secret"


@pytest.fixture
def _from_now_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up day begins now, for this test alone; `begin_in` begins another one."""
    monkeypatch.setattr(made_up_genesys, "START", time.time())


def clock() -> float:
    """Seconds since the made-up day began."""
    return time.time() - made_up_genesys.START


def begin_in(seconds: float) -> None:
    """The made-up day begins then; what was made up before speaks of another one."""
    made_up_genesys.START = time.time() + seconds


def begun(seed: int, stand_in: GenesysByTheClock) -> tuple[Day, asyncio.Future[None]]:
    """A short day that begins in half a second, and is told as it happens."""
    begin_in(0.5)
    whole = day(seed, conversations=40, seconds=4, hold=False, lengths=0.03)
    stand_in.conversations = {each.id: each for each in whole.conversations}
    return whole, asyncio.ensure_future(stand_in.play(whole.notified()))


def with_source(site: Configuration, folder: Path, **more: Any) -> Configuration:
    """The configuration with the source `gc`."""
    told = {"kind": "genesys-cloud", "state_folder": folder / "state", "heartbeat_seconds": 1, "metrics_port": 0}
    sources = Configuration.model_validate({"sources": {"gc": told | more}}).sources
    return site.model_copy(update={"sources": sources})


def by_notifications(site: Configuration, folder: Path, address: str, secret: Path, **more: Any) -> Configuration:
    reached = {"api_url": address, "login_url": address, "domain": "genesys.test", "client_id": CLIENT}
    told = {"transport": "notifications", "secret_file": secret, "status_seconds": 1, "late_seconds": 1}
    return with_source(site, folder, **(told | reached | more))


@asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[Station[Any]]:
    """The source in this process, as long as the block runs."""
    settings = configuration.sources["gc"]
    assert isinstance(settings, GenesysCloud)
    settings.state_folder.mkdir(exist_ok=True)
    reader = GenesysReader("gc", settings, configuration)
    state = StateFile(settings.state_folder, "gc", "genesys-cloud")
    station = Station[Any]("gc", settings, configuration, KIND, reader, state, Figures("gc"))
    task = asyncio.ensure_future(station.run())
    try:
        yield station
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def folded(values: list[bytes]) -> dict[str, Any]:
    """What the core makes of events, by queue."""
    replay = Replay(Question())
    assert not replay.fold_all(values)
    return {
        queue: {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
        for queue, row in replay.report()["queues"].items()
        if row["offered"]
    }


def one_pass(configuration: Configuration, records: list[Any], *, end: bool = True) -> list[dict[str, Any]]:
    """What one pass over all records says; with what follows from there being no more of them, or without."""
    settings = configuration.sources["gc"]
    out = said(Genesys(Composer("gc", settings), None, settings), records, end=end)
    return [orjson.loads(value) for role, _, value in out.messages if role == "events"]


async def calls(configuration: Configuration) -> list[dict[str, Any]]:
    """What is on the topic about calls."""
    found = await written(configuration, configuration.topics.events)
    return [each for each in found if each["type"].startswith("queuewatch.call.")]


def dumped(events: list[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(each) for each in events]


async def soon(
    configuration: Configuration, expected: dict[str, Any], of: set[str] | None = None
) -> list[dict[str, Any]]:
    """Wait until the topic comes to that, and what is on it; where conversations are named, only they count."""
    some: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(30):
            while True:
                found = await calls(configuration)
                some = [each for each in found if of is None or each["subject"].split("/")[0] in of]
                if folded(dumped(some)) == expected:
                    return found
                await asyncio.sleep(0.3)
    except TimeoutError:
        came = folded(dumped(some))
        queues = sorted({*came, *expected})
        assert {queue: came.get(queue) for queue in queues if came.get(queue) != expected.get(queue)} == {}, some
        raise


# ------------------------------------------------------------------------------------------------------------------ sqs


async def test_killed_anywhere_it_loses_nothing_and_changes_nothing(
    amazon: str, sqs: Any, queue_url: str, site: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages come unordered and doubled while the source is killed, and are deleted only once Kafka has what they say."""
    monkeypatch.setattr(made_up_genesys, "START", time.time() - 330)
    whole, dice = day(12, conversations=60, seconds=200, lengths=0.3), random.Random(5)
    records = [bridged(each) for each in whole.records]
    lines = (
        f'kind = "genesys-cloud"\nqueue_url = "{queue_url}"\nregion = "{REGION}"\nendpoint_url = "{amazon}"\n'
        "visibility_seconds = 2\nlate_seconds = 600"  # so nothing follows yet from what has not come
    )
    config = configuration_file(tmp_path, site, "gc", lines)
    sent = records + dice.sample(records, len(records) // 4)
    sent.sort(key=lambda each: each["detail"]["eventBody"]["eventTime"] + dice.uniform(0, 25_000))

    async def go_on() -> None:
        ahead = [*sent, "{"]
        while ahead:
            size = dice.randrange(40)
            await asyncio.to_thread(put, sqs, queue_url, ahead[:size])
            del ahead[:size]
            await asyncio.sleep(0.1)

    await asyncio.gather(go_on(), killed_again_and_again(config, "gc", longest=3))
    configuration = with_source(
        site, tmp_path, queue_url=queue_url, region=REGION, endpoint_url=amazon, visibility_seconds=2
    )
    expected = folded(dumped(one_pass(configuration, records, end=False)))
    async with last_of_all(config, "gc"):
        await until(lambda: left(sqs, queue_url) == 0, "an empty queue")
        await soon(configuration, expected)
    for queue, figures in whole.truth.items():
        row = expected[f"gc/{queue}"]
        assert (row["offered"], row["answered"], row["abandoned"]) == (
            figures.offered, figures.answered, figures.abandoned,
        )  # fmt: skip
        assert row["answer_wait_sum"] == pytest.approx(figures.answer_wait_sum, abs=0.01)
    beats = [
        each["data"]["upstream"]
        for each in await written(configuration, configuration.topics.events)
        if each["type"] == "queuewatch.source.heartbeat.v1"
    ]
    assert "ok" in beats


async def test_a_check_tells_what_is_there_and_takes_nothing_out(
    amazon: str,
    sqs: Any,
    queue_url: str,
    site: Configuration,
    tmp_path: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = day(3, conversations=4)
    put(sqs, queue_url, [bridged(each) for each in whole.records[:5]])
    stand_in = GenesysByTheClock(whole.conversations, lambda: 1800.0)
    async with stand_in.listening() as address:
        configuration = with_source(
            site, tmp_path, queue_url=queue_url, region=REGION, endpoint_url=amazon, client_id=CLIENT,
            secret_file=secret, api_url=address, login_url=address,
        )  # fmt: skip
        assert await run_checks(configuration, "gc")
    told = " ".join(capsys.readouterr().out.split())
    assert "at Amazon as arn:aws:" in told
    assert "about 5 messages wait" in told
    assert "logged in, 3 queues" in told
    assert "queue q-sales (Queue q-sales): " in told
    assert "queuewatch.call." in told
    assert SECRET not in told
    assert left(sqs, queue_url) == 5
    assert "POST /api/v2/notifications/channels" not in stand_in.asked


# -------------------------------------------------------------------------------------------------------- notifications


@pytest.mark.usefixtures("_from_now_on")
async def test_what_is_notified_is_on_the_topic_and_channels_are_renewed_without_a_gap(
    site: Configuration, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of Genesys' own endings and many renewals in some seconds; agents' states and who waits are there from the start."""
    monkeypatch.setattr(notifications, "RENEW_SECONDS", 1.0)
    monkeypatch.setattr(notifications, "OVERLAP_SECONDS", 0.3)
    stand_in = GenesysByTheClock([], clock)
    async with stand_in.listening() as address:
        configuration = by_notifications(site, tmp_path, address, secret)
        async with running(configuration):
            await until(lambda: bool(stand_in.sockets), "a connection")
            whole, playing = begun(21, stand_in)
            for _ in range(2):
                await asyncio.sleep(2)
                await stand_in.tell({"topicName": "v2.system.socket_closing", "eventBody": {"message": "soon"}})
            await playing
            expected = folded(dumped(one_pass(configuration, [record for _, record in whole.notified()])))
            await soon(configuration, expected)
        assert len(stand_in.channels) >= 4
        topics = set(stand_in.channels["channel-0"])
        assert {f"v2.routing.queues.{queue}.conversations" for queue in QUEUES} <= topics
    states = await written(configuration, configuration.topics.agents)
    serving = {each["subject"]: {queue["queue"] for queue in each["data"]["queues"]} for each in states}
    assert serving["gc/u-0"] == {"gc/q-sales"}
    assert serving["gc/u-7"] == set()
    lists = [
        each
        for each in await written(configuration, configuration.topics.events)
        if each["type"] == "queuewatch.queue.snapshot.v1"
    ]
    assert {each["subject"] for each in lists} == {f"gc/{queue}" for queue in QUEUES}
    named = {(call["call"], call["visit"]) for each in lists for call in each["data"]["waiting"]}
    assert named
    assert named <= {(each["subject"], 1) for each in await calls(configuration)}


@pytest.mark.usefixtures("_from_now_on")
async def test_after_a_lost_connection_every_conversation_that_was_open_or_waits_is_asked_for(
    site: Configuration, tmp_path: Path, secret: Path
) -> None:
    """Only calls that came and went while nobody listened are not known."""
    stand_in = GenesysByTheClock([], clock)
    async with stand_in.listening() as address:
        configuration = by_notifications(site, tmp_path, address, secret)
        async with running(configuration):
            await until(lambda: bool(stand_in.sockets), "a connection")
            whole, playing = begun(22, stand_in)
            for _ in range(3):
                await asyncio.sleep(1.3)
                await stand_in.drop()
            await playing
            await until(lambda: bool(stand_in.sockets), "a connection")
            told = one_pass(configuration, [record for _, record in whole.notified()])

            def wanted(known: set[str]) -> list[dict[str, Any]]:
                return [each for each in told if each["subject"].split("/")[0] in known]

            async with asyncio.timeout(60):
                while True:
                    found = await calls(configuration)
                    known = {each["subject"].split("/")[0] for each in found}
                    if folded(dumped(found)) == folded(dumped(wanted(known))):
                        break
                    await asyncio.sleep(0.3)
    assert len(known) > 20
    assert sum(number for path, number in stand_in.asked.items() if "/conversations/c" in path) > 0


@pytest.mark.usefixtures("_from_now_on")
async def test_killed_anywhere_a_live_source_says_nothing_wrong_and_makes_whole_what_goes_on(
    site: Configuration, tmp_path: Path, secret: Path
) -> None:
    """What is promised of a feed that is not told again: no call twice, nothing untrue, and all of each call that goes on."""
    begin_in(3)
    whole = day(23, conversations=120, seconds=11, hold=False, lengths=0.02)
    stand_in = GenesysByTheClock(whole.conversations, clock)
    async with stand_in.listening() as address:
        lines = (
            f'kind = "genesys-cloud"\ntransport = "notifications"\napi_url = "{address}"\nlogin_url = "{address}"\n'
            f'domain = "genesys.test"\nclient_id = "{CLIENT}"\nsecret_file = "{secret}"\nlate_seconds = 1'
        )
        config = configuration_file(tmp_path, site, "gc", lines)
        playing = asyncio.ensure_future(stand_in.play(whole.notified()))
        await killed_again_and_again(config, "gc", longest=1.5)
        configuration = by_notifications(site, tmp_path, address, secret)
        true = one_pass(configuration, [record for _, record in whole.notified()])
        before = set(stand_in.channels)
        async with last_of_all(config, "gc"):
            await until(lambda: bool(stand_in.sockets.keys() - before), "a connection")
            connected = clock()
            await playing
            goes_on = {f"gc-{each.id}" for each in whole.conversations if each.moments[-1] > connected + 1}
            mine = [each for each in true if each["subject"].split("/")[0] in goes_on]
            found = await soon(configuration, folded(dumped(mine)), goes_on)
    facts = {(each["type"], each["subject"], each["time"]) for each in true}
    assert {(each["type"], each["subject"], each["time"]) for each in found} <= facts
    assert goes_on


# ------------------------------------------------------------------------------------------------------------------ api


def reached(address: str, secret: Path, **more: Any) -> GenesysCloud:
    told = {"kind": "genesys-cloud", "transport": "notifications", "domain": "genesys.test", "client_id": CLIENT}
    told |= {"api_url": address, "login_url": address, "secret_file": str(secret)}
    return GenesysCloud.model_validate(told | more)


async def test_a_token_that_has_ended_is_renewed_and_a_limit_is_waited_for(secret: Path) -> None:
    stand_in = GenesysByTheClock([], lambda: 0.0)
    async with stand_in.listening() as address, genesys_api(reached(address, secret), "sources.gc") as api:
        assert await api.queues() == stand_in.queues
        stand_in.tokens += 1  # the old one is not known any more
        assert await api.queues() == stand_in.queues
        stand_in.failures.append(("/api/v2/routing", 429, {"Retry-After": "0"}))
        assert await api.queues() == stand_in.queues
        assert await api.conversation("nobody/knows it?") is None


async def test_what_is_wrong_at_genesys_is_told_in_words_without_the_secret(secret: Path, tmp_path: Path) -> None:
    stand_in = GenesysByTheClock([], lambda: 0.0)
    async with stand_in.listening() as address:

        async def trouble(**more: Any) -> str:
            async with genesys_api(reached(address, secret, **more), "sources.gc") as api:
                with pytest.raises(Lost) as told:
                    await api.queues()
            assert SECRET not in str(told.value)
            return str(told.value)

        stand_in.failures.append(("/api/v2/routing", 403, {}))
        assert "the client's role lacks a permission (403)" in await trouble()
        stand_in.failures += [("/api/v2/routing", 500, {})]
        assert "GET /api/v2/routing/queues: answers 500" in await trouble()
        assert "the client id and its secret are not accepted (401)" in await trouble(client_id="another")
        assert "a secret is sent over TLS only" in await trouble(login_url="http://login.example")
        assert "Cannot connect" in await trouble(api_url="http://127.0.0.1:1")
        assert "cannot be read" in await trouble(secret_file=str(tmp_path / "nowhere"))
    async with genesys_api(reached(address, secret), "sources.gc") as api:
        with pytest.raises(Lost, match="Cannot connect"):
            await api.queues()


async def test_more_than_a_client_may_listen_to_is_told(
    site: Configuration, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MOST_CHANNELS", 1)
    monkeypatch.setattr(notifications, "MOST_TOPICS", 5)
    stand_in = GenesysByTheClock([], lambda: 0.0)
    async with stand_in.listening() as address:
        configuration = by_notifications(site, tmp_path, address, secret)
        async with running(configuration) as station:
            await until(lambda: "are more than the 5 topics" in (station.ill or ""), "a word about it")
        assert not stand_in.channels


async def test_genesys_own_counts_stand_beside_ours(
    site: Configuration, tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = GenesysByTheClock([], lambda: 0.0)
    stand_in.counts = {"q-sales": {"nOffered": 12, "tAnswered": 9, "tAbandon": 2, "tFlowOut": 1, "tOther": 5}}
    async with stand_in.listening() as address:
        configuration = by_notifications(site, tmp_path, address, secret)
        settings = configuration.sources["gc"]
        assert isinstance(settings, GenesysCloud)
        reader = GenesysReader("gc", settings, configuration)
        since = datetime.now(UTC) - timedelta(hours=1)
        found = await reader.counters(since)
        assert found.queues == {"q-sales": {"offered": 12, "answered": 9, "abandoned": 2, "diverted": 1}}
        assert not await compare(configuration, "gc", settings, reader, since)
        assert "12 / 0" in capsys.readouterr().out
        bare = settings.model_copy(update={"client_id": None})
        with pytest.raises(Lost, match="domain and client_id are not set"):
            await GenesysReader("gc", bare, configuration).counters(since)


async def test_a_list_that_genesys_cut_off_is_no_list(secret: Path) -> None:
    whole: Day = day(3, conversations=30)
    stand_in = GenesysByTheClock(whole.conversations, lambda: 1800.0)
    async with stand_in.listening() as address, genesys_api(reached(address, secret), "sources.gc") as api:
        told = await api.waiting(QUEUES)
        assert set(told) == set(QUEUES)
        assert any(observations for observations, _ in told.values())
        assert not any(cut for _, cut in told.values())
        stand_in.truncated = True
        assert any(cut for _, cut in (await api.waiting(QUEUES)).values())
