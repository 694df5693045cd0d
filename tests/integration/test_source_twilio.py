"""The TaskRouter source over real sockets onto a real broker; a stand-in tells the list of events as Twilio does."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from queuewatch_schemas.config import Configuration
from queuewatch_streams.brokers import Broker, free_port
from queuewatch_streams.sources import command
from queuewatch_streams.sources.kinds import kind_named
from queuewatch_streams.sources.serving import Figures
from queuewatch_streams.sources.state import Saved, StateFile
from queuewatch_streams.sources.station import Station
from queuewatch_streams.sources.twilio import webhook
from queuewatch_streams.sources.twilio.webhook import TwilioReader
from sources.made_up_twilio import (
    ACCOUNT,
    CALLER,
    START,
    WORKSPACE,
    as_listed,
    as_streamed,
    as_webhook,
    differences,
    event,
    made_up_day,
    settings,
)
from support.kills import configuration_file, killed_again_and_again, last_of_all, until
from support.topics import site_of, stored

pytestmark = pytest.mark.asyncio

TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://pbx.example/twilio"
QUEUES = {"sales": "Sales", "support": "Support"}


class Twilio:
    """A stand-in for the REST interface: the workspace, its queues, its list of events without further pages."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked = 0
        self.refused = 0
        self.most = 0
        self.token = TOKEN
        self.port = 0
        self.faulty: random.Random | None = None
        """Whether answers take a while, and some fail."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        base = f"/v1/Workspaces/{WORKSPACE}"
        application.add_routes([
            web.get(base, self._workspace), web.get(f"{base}/TaskQueues", self._queues), web.get(f"{base}/Events", self._list),
            web.get(f"{base}/TaskQueues/{{queue}}/CumulativeStatistics", self._statistics),
        ])  # fmt: skip
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _let_in(self, request: web.Request) -> None:
        account = base64.b64encode(f"{ACCOUNT}:{self.token}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {account}":
            self.refused += 1
            raise web.HTTPUnauthorized

    async def _workspace(self, request: web.Request) -> web.Response:
        self._let_in(request)
        return web.json_response({"friendly_name": "Floor", "event_callback_url": "https://elsewhere.example/"})

    async def _queues(self, request: web.Request) -> web.Response:
        self._let_in(request)
        return web.json_response({"task_queues": [{"sid": sid, "friendly_name": name} for sid, name in QUEUES.items()]})

    async def _statistics(self, request: web.Request) -> web.Response:
        self._let_in(request)
        return web.json_response({"tasks_entered": 7, "reservations_accepted": 5, "tasks_canceled": 2})

    async def _list(self, request: web.Request) -> web.Response:
        self._let_in(request)
        self.asked += 1
        if self.faulty is not None:
            await asyncio.sleep(self.faulty.uniform(0, 0.3))
            if self.faulty.random() < 0.2:
                raise web.HTTPServiceUnavailable
        now = datetime.now(UTC)
        since = datetime.fromisoformat(request.query.get("StartDate", (now - timedelta(minutes=15)).isoformat()))
        until = datetime.fromisoformat(request.query.get("EndDate", now.isoformat()))
        found = [
            as_listed(each)
            for each in self.events
            if since.timestamp() <= each["timestamp_ms"] // 1000 <= until.timestamp()
        ]
        found.sort(key=lambda each: -each["event_date_ms"])
        page = found[: int(request.query["PageSize"])]
        self.most = max(self.most, len(page))
        return web.json_response({"events": page})


@pytest_asyncio.fixture
async def twilio() -> AsyncIterator[Twilio]:
    stand_in = Twilio()
    await stand_in.start()
    yield stand_in
    await stand_in.stop()


def settings_of(folder: Path, twilio: Twilio, **more: Any) -> dict[str, Any]:
    (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    return {
        "kind": "twilio-taskrouter", "port": 0, "public_url": URL, "auth_token_file": str(folder / "token"),
        "account_sid": ACCOUNT, "workspace_sid": WORKSPACE, "api_url": f"http://127.0.0.1:{twilio.port}",
        "reconcile_seconds": 1, "state_folder": str(folder / "state"), **more,
    }  # fmt: skip


@pytest_asyncio.fixture
async def site(embedded: Broker, unique: str, tmp_path: Path, twilio: Twilio) -> Configuration:
    source = settings_of(tmp_path, twilio, heartbeat_seconds=1, metrics_port=0)
    made = await site_of(embedded, unique, partitions=1)
    return made.model_copy(update={"sources": Configuration.model_validate({"sources": {"tr": source}}).sources})


def signed(body: Any, *, sign: str = TOKEN, query: str = "", over: Any = None) -> dict[str, Any]:
    """A webhook as Twilio posts it: a form of a dict, JSON of bytes; `over` is what the signature is over."""
    url = f"{URL}?{query}" if query else URL
    params = (body if isinstance(body, dict) else {}) if over is None else over
    headers = {"X-Twilio-Signature": RequestValidator(sign).compute_signature(url, params)}
    if not isinstance(body, dict):
        headers["Content-Type"] = "application/json"
    return {"params": query or None, "data": body, "headers": headers}


class Service:
    """A running source, and Twilio's webhook."""

    def __init__(self, station: Station[Any], reader: TwilioReader, session: ClientSession) -> None:
        self.station = station
        self.reader = reader
        self.session = session

    async def call(self, body: Any, **more: Any) -> int:
        """What a webhook is answered with."""
        url = f"http://127.0.0.1:{self.reader.door.port}/twilio"
        async with self.session.post(url, **signed(body, **more)) as answer:
            return answer.status

    async def stream(self, records: list[Any]) -> int:
        """The same of Event Streams."""
        body = orjson.dumps(records)
        return await self.call(body, query=f"bodySHA256={sha256(body).hexdigest()}")


@asynccontextmanager
async def running(configuration: Configuration, begin: Any = "beginning") -> AsyncIterator[Service]:
    source = configuration.sources["tr"]
    kind = kind_named("twilio-taskrouter")
    reader = kind.reader("tr", source, configuration)
    assert isinstance(reader, TwilioReader)
    source.state_folder.mkdir(exist_ok=True)
    state = StateFile(source.state_folder, "tr", "twilio-taskrouter")
    station = Station[Any]("tr", source, configuration, kind, reader, state, Figures("tr"), begin=begin)
    task = asyncio.ensure_future(station.run())
    try:
        async with ClientSession() as session:
            await until(lambda: station.ill is None and reader.door.taking, "the source begins")
            yield Service(station, reader, session)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def sent(configuration: Configuration) -> list[bytes]:
    """All that the source said of calls and agents, in order."""
    topics = configuration.topics
    return [
        each.value
        for topic in (topics.events, topics.agents)
        for records in await stored(configuration, topic)
        for each in records
        if each.value is not None and b'"type":"queuewatch.source.heartbeat.v1"' not in each.value
    ]


@pytest.mark.parametrize("page", [1000, 40])
async def test_what_webhooks_and_streams_missed_comes_from_the_list(
    site: Configuration, twilio: Twilio, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Half of the first half never came, and the list could not be read; of the second half nothing came, since the source
    was not there.  Pages may be short."""
    monkeypatch.setattr(webhook, "PAGE", page)
    monkeypatch.setattr(webhook, "KEPT_DAYS", 0.1)
    dice = random.Random(1)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    day = made_up_day(settings(5, 0.5, start))
    half = len(day.events) // 2
    twilio.token = "another"
    async with running(site) as service:
        for first in range(0, half, 20):
            chosen = [each for each in day.events[first : first + 20] if dice.random() < 0.5]
            calls = [service.call(as_webhook(each)) for each in chosen[::2]]
            if chosen[1::2]:
                calls.append(service.stream([as_streamed(each) for each in chosen[1::2]]))
            assert set(await asyncio.gather(*calls)) <= {204}
        assert service.station.position is None
    assert differences(await sent(site), day) != []
    twilio.events, twilio.token = day.events, TOKEN
    async with running(site) as service:

        def read_until() -> float:
            return 0 if service.station.position is None else service.station.position["read_until"]

        await until(lambda: read_until() > start.timestamp() + 3500, "the list is read")
        assert service.station.ill is None
    assert differences(await sent(site), day) == []
    assert twilio.most <= page
    if page < 1000:
        assert twilio.most == page, "and so longer times were asked for in parts"


async def test_killed_at_any_moment_it_has_said_in_the_end_all_that_the_simulator_knows(
    site: Configuration, twilio: Twilio, tmp_path: Path
) -> None:
    """While webhooks come, half of them, and nobody sends again what found nobody; the list is slow, and fails at times."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    day = made_up_day(settings(8, 0.6, start))
    twilio.events, twilio.faulty = day.events, random.Random(8)
    port, dice, answers = free_port(), random.Random(2), dict[int, int]()
    lines = "\n".join(
        f"{name} = {orjson.dumps(value).decode()}" for name, value in settings_of(tmp_path, twilio, port=port).items()
    )
    config = configuration_file(tmp_path, site, "tr", lines)
    state = StateFile(tmp_path / "state", "tr", "twilio-taskrouter")
    state.path.parent.mkdir()
    state.save(Saved({"read_until": int(start.timestamp())}, None))

    async def call() -> None:
        async with ClientSession() as session:
            for each in day.events:
                if dice.random() < 0.5:
                    try:
                        async with session.post(
                            f"http://127.0.0.1:{port}/twilio", **signed(as_webhook(each))
                        ) as answer:
                            answers[answer.status] = answers.get(answer.status, 0) + 1
                    except ClientError:
                        answers[0] = answers.get(0, 0) + 1
                    await asyncio.sleep(0.005)

    calling = asyncio.ensure_future(call())
    await killed_again_and_again(config, "tr")
    calling.cancel()
    twilio.faulty = None

    def read_until() -> float:
        saved = state.load()
        return 0 if saved is None else saved.position["read_until"]

    since = datetime.now(UTC).timestamp()
    async with last_of_all(config, "tr"):
        await until(lambda: read_until() > since, "the list is read to its end")
    assert answers.get(204, 0) > 10
    assert answers.get(0, 0) > 10
    assert differences(await sent(site), day) == []


async def test_who_calls_before_anything_can_be_taken_is_told_to_come_again(site: Configuration) -> None:
    reader = TwilioReader("tr", site.sources["tr"], site)  # type: ignore[arg-type]  # it is Twilio's
    await reader.open()
    try:
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{reader.door.port}/twilio"
            async with session.post(url, **signed(as_webhook(event(0, "task-queue.entered")))) as answer:
                assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    finally:
        await reader.close()


async def test_only_what_the_account_signed_is_taken(site: Configuration, caplog: pytest.LogCaptureFixture) -> None:
    second = int(datetime.now(UTC).timestamp()) - START
    told = as_webhook(event(second, "task-queue.entered"))
    body = orjson.dumps([as_streamed(event(second, "task-queue.entered", "t2"))])
    hashed = f"bodySHA256={sha256(body).hexdigest()}"
    async with running(site, "now") as service:
        assert await service.call(told, sign="f" * 32) == 403
        assert await service.call(told | {"TaskSid": "another"}, over=told) == 403
        assert await service.call(body) == 403
        assert await service.call(body + b" ", query=hashed) == 403
        assert await service.call(body, query=hashed, sign="f" * 32) == 403
        assert await service.call(b"{", query=f"bodySHA256={sha256(b'{').hexdigest()}") == 400
        assert await service.call(told, query="from=workspace") == 204
        assert await service.call(body, query=hashed) == 204
        assert await service.call(told) == 204
    said = [orjson.loads(each) for each in await sent(site)]
    assert sorted(each["subject"].partition("/")[0] for each in said) == ["tr-t1", "tr-t2"]
    assert "signature" in caplog.text
    assert CALLER.strip("+") not in caplog.text
    assert TOKEN not in caplog.text


async def test_webhooks_go_on_while_the_list_cannot_be_read(
    site: Configuration, twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    twilio.token = "another"
    async with running(site, "now") as service:
        assert await service.call(as_webhook(event(0, "task-queue.entered"))) == 204
        await until(lambda: twilio.refused >= 2, "the list is asked for again")
        assert await service.call(as_webhook(event(1, "task-queue.entered", "t2"))) == 204
        assert service.station.position is None, "what was not read is read later"
        twilio.token = TOKEN
        await until(lambda: "read again" in caplog.text, "the list is read")
        assert service.station.position is not None
    assert caplog.text.count("is the secret right?") == 1


async def test_check_and_compare_say_what_is_there(
    site: Configuration, twilio: Twilio, capsys: pytest.CaptureFixture[str]
) -> None:
    now = int(datetime.now(UTC).timestamp())
    twilio.events = [event(now - 60 - START, "task-queue.entered")]
    assert await command.run_checks(site, "tr")
    told = capsys.readouterr().out
    assert "workspace Floor" in told
    assert "queue sales: Sales" in told
    assert "not public_url" in told
    assert not await command.tell_comparison(site, "tr", 1)
    told = capsys.readouterr().out
    assert "7 / 0" in told
    assert "time-outs of the workflow" in told
    twilio.token = "another"
    assert not await command.run_checks(site, "tr")
