"""The HTTP source over real sockets onto a real broker: whole batches or none, acknowledged or not answered with success."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, ClientSession

from queuewatch_schemas.config import Configuration
from queuewatch_streams.brokers import Broker
from queuewatch_streams.core.replay import Question, Replay
from queuewatch_streams.serve import PortTaken
from queuewatch_streams.simulation import Settings, Truth, eventful
from queuewatch_streams.simulation import events as simulated
from queuewatch_streams.simulation.settings import Dirt
from queuewatch_streams.sources import command
from queuewatch_streams.sources.http.server import HttpReader
from queuewatch_streams.sources.kinds import kind_named
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.state import StateFile
from queuewatch_streams.sources.station import Station
from support.events import call, cloud_event
from support.topics import site_of, stored

pytestmark = pytest.mark.asyncio

TOKEN = "a token that nobody guesses"
URN = "urn:queuewatch:simulator"
ONE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PARTITIONS = 3


def tokens(*queues: str, token: str = TOKEN) -> str:
    digest = sha256(token.encode()).hexdigest()
    return f"[crm]\nsha256 = '{digest}'\nsources = ['{URN}']\nqueues = {list(queues)}\nagents = ['*']\n"


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str, tmp_path: Path) -> Configuration:
    return await site_at(embedded, unique, tmp_path)


async def site_at(broker: Broker, unique: str, folder: Path, **more: Any) -> Configuration:
    """A configuration with the source `web` and topics of its own, for the past too."""
    (folder / "tokens.toml").write_text(tokens("*"), encoding="utf-8")
    web = {"kind": "http", "port": 0, "tokens_file": folder / "tokens.toml", "state_folder": folder / "state"}
    web |= {"heartbeat_seconds": 1, "metrics_port": 0} | more
    made = await site_of(broker, unique, PARTITIONS)
    return made.model_copy(update={"sources": Configuration.model_validate({"sources": {"web": web}}).sources})


class Service:
    """A running source, and a sender."""

    def __init__(self, station: Station[Any], reader: HttpReader, session: ClientSession) -> None:
        self.station = station
        self.reader = reader
        self.session = session

    async def post(
        self, body: Any, content_type: str = BATCH, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, Any, ClientResponse]:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        url = f"http://127.0.0.1:{self.reader.door.port}/v1/events"
        async with self.session.post(url, data=data, headers={"Content-Type": content_type, **headers}) as answer:
            return answer.status, orjson.loads(await answer.read()), answer


@asynccontextmanager
async def begun(configuration: Configuration) -> AsyncIterator[Service]:
    """The source, from when it listens until it has ended, whether it takes anything or not."""
    settings = configuration.sources["web"]
    kind = kind_named("http")
    reader = kind.reader("web", settings, configuration)
    assert isinstance(reader, HttpReader)
    settings.state_folder.mkdir(exist_ok=True)
    state = StateFile(settings.state_folder, "web", "http")
    station = Station[Any]("web", settings, configuration, kind, reader, state, Figures("web"))
    task = asyncio.ensure_future(station.run())
    try:
        async with ClientSession() as session:
            async with asyncio.timeout(60):
                while not reader.door.port:
                    await asyncio.sleep(0.02)
            yield Service(station, reader, session)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[Service]:
    """The source, as long as it takes what is posted."""
    async with begun(configuration) as service:
        async with asyncio.timeout(60):
            while service.station.ill is not None or not service.reader.door.taking:
                await asyncio.sleep(0.02)
        yield service


async def written(
    configuration: Configuration, topic: str, source: str | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """What lies on a topic, with its partition: of one CloudEvents source, or of all but the HTTP source's own."""
    found = [
        (place, orjson.loads(each.value))
        for place, records in enumerate(await stored(configuration, topic))
        for each in records
        if each.value
    ]
    return [
        each
        for each in found
        if each[1]["source"] == source or (source is None and each[1]["source"] != "urn:source:web")
    ]


async def upstreams(configuration: Configuration) -> list[str]:
    """What the source's own heartbeats say, on one partition."""
    found = await written(configuration, configuration.topics.events, "urn:source:web")
    return [event["data"]["upstream"] for place, event in found if place == 0]


def now() -> str:
    return datetime.now(UTC).isoformat()


def queued(number: int = 1, **more: Any) -> dict[str, Any]:
    return call("queued", now(), f"c-{number}", more.pop("queue", "sales"), source=URN, **more)


async def test_a_day_in_batches_comes_to_what_the_simulator_knows(site: Configuration) -> None:
    """Several senders at once; each batch is on the topic when it is answered with 202."""
    truth = Truth()
    start = datetime(2026, 11, 20, 8, tzinfo=UTC)
    day = list(simulated(eventful(Settings(start=start, hours=3, queues=4, agent_states=True), Dirt()), truth))
    batches = [day[first : first + 200] for first in range(0, len(day), 200)]
    async with running(site) as service:
        service.reader._settings = service.reader._settings.model_copy(update={"events_per_second": 1e5})
        for first in range(0, len(batches), 4):
            answers = await asyncio.gather(*(service.post(batch) for batch in batches[first : first + 4]))
            assert [status for status, *_ in answers] == [202] * len(answers)
            if first == 0:
                here = {event["id"] for _, event in await written(site, site.topics.events)}
                here |= {event["id"] for _, event in await written(site, site.topics.agents)}
                assert {event["id"] for batch in batches[:4] for event in batch} <= here
    found = await written(site, site.topics.events)
    replay = Replay(Question(threshold=20))
    assert not replay.fold_all(orjson.dumps(event) for _, event in found)
    report = replay.report()["queues"]
    assert len(report) > 4
    for name, true in truth.queues.items():
        if name in report:
            for fact in ("offered", "answered", "abandoned", "diverted", "refused", "answer_wait_sum", "talk_sum"):
                assert report[name][fact] == getattr(true, fact), (name, fact)
    beats = [(place, event["id"]) for place, event in found if event["type"] == "queuewatch.source.heartbeat.v1"]
    sent = {event["id"] for event in day if event["type"] == "queuewatch.source.heartbeat.v1"}
    assert sorted(beats) == sorted((place, each) for place in range(PARTITIONS) for each in sent)


async def test_a_batch_with_a_fault_is_not_taken_at_all_and_the_fault_is_named(
    site: Configuration, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "queuewatch_streams")
    async with running(site) as service:
        good, bad = queued(1), queued(2) | {"time": "call +390612345 back"}
        status, told, _ = await service.post([good, bad, queued(3, customer=7)])
        assert status == 422
        assert [(each["event"], each["reason"], each["id"]) for each in told["faults"]] == [
            (1, "wrong_field", bad["id"]),
            (2, "wrong_field", told["faults"][1]["id"]),
        ]
        assert "time" in told["detail"]
        status, told, _ = await service.post(b"[{]")
        assert (status, told["reason"]) == (400, "unreadable_json")
        status, told, _ = await service.post([call("evicted", now(), source=URN)])
        assert (status, told["reason"]) == (422, "foreign_eviction")
        status, told, _ = await service.post([good, cloud_event("queue.opened", now(), "x", {}, "urn:other")])
        assert (status, told["faults"][0]["event"], told["reason"]) == (403, 1, "forbidden")
        status, told, _ = await service.post({}, "application/json")
        assert status == 415
        status, told, _ = await service.post([], BATCH)
        assert (status, told) == (202, {"accepted": 0})
        status, told, _ = await service.post(good, ONE)
        assert (status, told) == (202, {"accepted": 1})
    assert [event["id"] for _, event in await written(site, site.topics.events)] == [good["id"]]
    assert "refused with 422, wrong_field" in caplog.text
    assert "0612345" not in caplog.text
    assert TOKEN not in caplog.text


async def test_who_has_no_token_or_the_wrong_one_is_not_read_at_all(site: Configuration, tmp_path: Path) -> None:
    async with running(site) as service:
        for token, headers in ((None, {}), ("", {}), ("wrong", {}), (None, {"Authorization": f"Basic {TOKEN}"})):
            status, _, answer = await service.post(b"{" * 100, token=token, **headers)
            assert status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        (tmp_path / "tokens.toml").write_text(tokens("support", token="new"), encoding="utf-8")
        async with asyncio.timeout(30):
            while (await service.post([]))[0] != 401:  # the old token, until the file was looked at again
                await asyncio.sleep(0.1)
        assert (await service.post([queued()], token="new"))[0] == 403
        (tmp_path / "tokens.toml").write_text("[", encoding="utf-8")
        async with asyncio.timeout(30):
            while (answered := await service.post([], token="new"))[0] != 503:
                await asyncio.sleep(0.1)
        assert int(answered[2].headers["Retry-After"]) > 0
        assert "no TOML" in (service.station.ill or "")
    assert not await written(site, site.topics.events)


async def test_what_is_too_large_too_many_or_too_fast_is_not_taken(
    embedded: Broker, unique: str, tmp_path: Path
) -> None:
    site = await site_at(embedded, unique, tmp_path, most_bytes=4096, most_events=4, events_per_second=0.001)
    async with running(site) as service:
        status, told, _ = await service.post([queued(n) for n in range(5)])
        assert (status, told["reason"]) == (413, "too_many")
        assert (await service.post([queued(1, skills=["x" * 1000] * 5)]))[0] == 413
        packed = await service.post(b"\x1f\x8b", **{"Content-Encoding": "gzip"})
        assert packed[0] == 415
        assert (await service.post([queued(n) for n in range(4)]))[0] == 202
        status, _, answer = await service.post([queued(5)])
        assert status == 429
        assert int(answer.headers["Retry-After"]) > 0
    assert len(await written(site, site.topics.events)) == 4


async def test_while_the_broker_is_away_senders_are_told_to_come_again_and_nothing_is_lost(
    own_broker: Broker, unique: str, tmp_path: Path
) -> None:
    """Frozen, and then ended and begun again: what was answered with 202 is there, and what was not can be sent again."""
    site = await site_at(own_broker, unique, tmp_path, answer_seconds=1)
    async with running(site) as service:
        first = queued(1)
        assert (await service.post([first]))[0] == 202
        assert own_broker.pid is not None
        os.kill(own_broker.pid, signal.SIGSTOP)
        status, told, answer = await service.post([queued(2)])
        assert (status, told["reason"]) == (503, "kafka_away")
        assert int(answer.headers["Retry-After"]) > 0
        os.kill(own_broker.pid, signal.SIGCONT)
        again = queued(3)
        async with asyncio.timeout(120):
            while (await service.post([again]))[0] != 202:
                await asyncio.sleep(0.5)
        own_broker.kill()
        assert (await service.post([queued(4)]))[0] == 503
        own_broker.start()
        last = queued(5)
        async with asyncio.timeout(120):
            while (await service.post([last]))[0] != 202:
                await asyncio.sleep(0.5)
    ids = {event["id"] for _, event in await written(site, site.topics.events)}
    assert {first["id"], again["id"], last["id"]} <= ids


async def test_a_sender_is_told_to_come_again_where_kafka_is_away_when_the_source_begins(
    own_broker: Broker, unique: str, tmp_path: Path
) -> None:
    """The very first start; the port is no longer listened on when the source has ended."""
    site = await site_at(own_broker, unique, tmp_path)
    own_broker.kill()
    async with begun(site) as service:
        status, told, answer = await service.post([queued(1)])
        assert (status, told["reason"]) == (503, "closed")
        assert int(answer.headers["Retry-After"]) > 0
        own_broker.start()
        event = queued(2)
        async with asyncio.timeout(120):
            while (await service.post([event]))[0] != 202:
                await asyncio.sleep(0.5)
        port = service.reader.door.port
    assert [each["id"] for _, each in await written(site, site.topics.events)] == [event["id"]]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_that_is_taken_is_told_and_a_check_opens_none(
    site: Configuration, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(site) as service:
        settings = site.sources["web"].model_copy(update={"port": service.reader.door.port, "state_folder": Path("x")})
        same = site.model_copy(update={"sources": {"web": settings}})
        kind = kind_named("http")
        reader = kind.reader("web", settings, same)
        with pytest.raises(PortTaken, match=r"choose another with sources\.web\.port"):
            await Station[Any](
                "web", settings, same, kind, reader, StateFile(Path("x"), "web", "http"), Figures("web")
            ).run()
        assert await command.run_checks(same, "web")
    assert "listens on" in capsys.readouterr().out


async def test_check_tells_who_may_send_and_what_is_wrong_with_the_file(
    site: Configuration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command.run_checks(site, "web")
    told = capsys.readouterr().out
    assert f"sender crm: {URN}; queues: *" in told
    assert "Kafka" in told
    with pytest.raises(Lost, match="keep no counts"):
        await command.tell_comparison(site, "web", 1)
    (tmp_path / "tokens.toml").unlink()
    assert not await command.run_checks(site, "web")


async def test_a_sender_that_falls_silent_is_unknown_and_not_down(
    embedded: Broker, unique: str, tmp_path: Path
) -> None:
    site = await site_at(embedded, unique, tmp_path, quiet_after_seconds=1)
    async with running(site) as service:
        assert (await service.post([queued()]))[0] == 202
        async with asyncio.timeout(60):
            while "ok" not in (said := await upstreams(site)) or said[-1] != "unknown":
                await asyncio.sleep(0.5)
        assert "down" not in said
        assert service.station.ill is None
