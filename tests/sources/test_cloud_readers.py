"""Where readers of clouds begin, and what of a cloud's answers they do not take for its silence."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from queuewatch_schemas.config import Configuration
from queuewatch_streams.sources.amazon_connect.reader import ConnectReader
from queuewatch_streams.sources.aws.clients import who_we_are
from queuewatch_streams.sources.aws.sqs import SqsQueue, drain
from queuewatch_streams.sources.genesys.notifications import Notifications
from queuewatch_streams.sources.genesys.reader import GenesysReader
from queuewatch_streams.sources.genesys.rest import genesys_api
from queuewatch_streams.sources.shape import Lost
from queuewatch_streams.sources.state import StateTrouble
from queuewatch_streams.sources.twilio import webhook
from queuewatch_streams.sources.twilio.webhook import TwilioReader
from sources.made_up_twilio import ACCOUNT, WORKSPACE
from support.genesys import CLIENT, SECRET, GenesysByTheClock


class Enough(Exception):
    """The test has seen what it wants to."""


class Station:
    """What a reader needs of one until it has begun."""

    def __init__(self, position: Any = None, begin: str = "now") -> None:
        self.position = position
        self.begin = begin
        self.start_at = 0
        self.taken: list[tuple[list[Any], Any]] = []
        self.enough = 1

    async def take(self, records: Any, position: Any, where: Any = None) -> None:
        self.position = position(self.position) if callable(position) else position
        self.taken.append((list(records), self.position))
        if len(self.taken) >= self.enough:
            raise Enough

    async def advance(self, at: int) -> None:
        pass

    def looked(self, good_for: float | None = None) -> None:
        pass

    def behind(self, records: float | None) -> None:
        pass


def source(name: str, told: Mapping[str, Any]) -> tuple[Any, Configuration]:
    configuration = Configuration.model_validate({"sources": {name: told}})
    return configuration.sources[name], configuration


# ---------------------------------------------------------------------------------------------------- Amazon Connect


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConnectReader:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    told = {"kind": "amazon-connect", "region": "eu-central-1", "queue_url": "http://q/1/q", "streams": ["records"]}
    return ConnectReader("c", *source("c", told | {"endpoint_url": "http://127.0.0.1:1", "state_folder": tmp_path}))


def test_where_a_first_start_began_is_kept_though_nothing_has_come(connect: ConnectReader) -> None:
    """Else the next start would be a first one too, and skip what came in between."""
    station: Any = Station()
    with pytest.raises(Enough):
        asyncio.run(connect.run(station))
    [(records, position)] = station.taken
    assert (records, position["streams"]) == ([], {})
    assert position["since"] > 0


def test_who_we_are_may_be_known_to_nobody_without_harm(connect: ConnectReader) -> None:
    """As where only the queue has an endpoint in our network; that service does not know the question."""
    no = "<ErrorResponse><Error><Code>InvalidAction</Code><Message>no</Message></Error></ErrorResponse>"

    async def ask() -> str:
        async with answering(lambda _: web.Response(status=400, text=no, content_type="text/xml")) as address:
            return await who_we_are("eu-central-1", address)

    assert asyncio.run(ask()) == "nobody knows whom (sts: Amazon answers InvalidAction)"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidClientTokenId", "the credentials are not known"),
        ("InvalidSignatureException", "this machine's clock is wrong"),
        ("KMSAccessDeniedException", "it needs kms:Decrypt"),
        ("AccessDeniedException", "see the policy in this source's page"),
        ("ANewOne", "Amazon answers ANewOne"),
    ],
)
def test_what_amazon_refuses_is_said_in_words(connect: ConnectReader, code: str, words: str) -> None:
    async def look() -> None:
        refusal = {"__type": f"com.amazonaws.sqs#{code}", "message": "no"}
        async with (
            answering(lambda _: web.json_response(refusal, status=400)) as address,
            SqsQueue("http://q/1/calls", "eu-central-1", address) as queue,
        ):
            await queue.receive(0)

    with pytest.raises(Lost, match=rf"^SQS calls: .*{words}"):
        asyncio.run(look())


@pytest.mark.parametrize("ahead", [-240, 0, 240])
def test_what_is_still_to_come_is_judged_by_amazons_clock(connect: ConnectReader, ahead: int) -> None:
    """Ours may be ahead of it, or behind."""
    advanced: list[int] = []
    answered: set[int] = set()

    class Following(Station):
        async def advance(self, at: int) -> None:
            advanced.append(at)
            raise Enough

        async def settle(self) -> None:
            pass

    def answer(request: web.Request) -> web.Response:
        told: dict[str, Any] = {}
        if request.headers["X-Amz-Target"].endswith(".ReceiveMessage"):
            sent = {"SentTimestamp": str(round((time.time() - ahead) * 1000) - 500)}
            told = {"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}", "Attributes": sent}]}
            time.sleep(0.05)  # there is always one, and nobody asks faster
        there = int(time.time() - ahead)
        answered.add(there)
        return web.json_response(told, headers={"Date": formatdate(there, usegmt=True)})

    async def run() -> None:
        station: Any = Following()
        station.enough = sys.maxsize
        async with (
            answering(answer) as address,
            SqsQueue("http://q/1/calls", "eu-central-1", address, visibility_seconds=1) as queue,
            asyncio.timeout(60),
        ):
            await drain(queue, station, lambda message: message.body)

    with pytest.raises(Enough):
        asyncio.run(run())
    (at,) = advanced
    assert any(there - 12 <= at / 1e6 <= there - 10 for there in answered)


@pytest.mark.parametrize(
    "position", ["x", {}, {"since": 1}, {"since": "x", "streams": {}}, {"since": 1, "streams": {"records": {"a": 1}}}]
)
def test_a_position_that_is_none_is_said(connect: ConnectReader, tmp_path: Path, position: Any) -> None:
    station: Any = Station(position)
    with pytest.raises(StateTrouble, match="the position in it is damaged; delete it to start afresh") as told:
        asyncio.run(connect.run(station))
    assert str(told.value).startswith(f"{tmp_path}/c.json: ")


# ------------------------------------------------------------------------------------------------------------ Twilio


@asynccontextmanager
async def answering(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """Where somebody listens who answers so."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", handle)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def twilio(folder: Path, address: str) -> TwilioReader:
    (folder / "token").write_text("0123456789abcdef", encoding="utf-8")
    told = {
        "kind": "twilio-taskrouter", "port": 0, "public_url": "https://pbx.example/twilio", "state_folder": folder,
        "auth_token_file": folder / "token", "account_sid": ACCOUNT, "workspace_sid": WORKSPACE, "api_url": address,
    }  # fmt: skip
    return TwilioReader("tr", *source("tr", told))


def test_a_webhook_that_waits_for_its_turn_does_not_turn_back_the_lists_place(tmp_path: Path) -> None:
    station: Any = Station({"read_until": 100})
    turn = asyncio.Lock()
    take = station.take

    async def taken_in_turn(records: Any, position: Any, where: Any = None) -> None:
        async with turn:
            await take(records, position, where)

    async def both() -> None:
        station.take, station.enough = taken_in_turn, 99
        reader = twilio(tmp_path, "http://127.0.0.1:1")
        reader._station = station
        async with turn:
            waiting = asyncio.ensure_future(reader._take([{}]))
            await asyncio.sleep(0)
            await take([], {"read_until": 200})
        await waiting

    asyncio.run(both())
    assert station.position == {"read_until": 200}


def test_from_now_is_from_the_start_though_the_list_is_read_later(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.query["StartDate"])
        return web.json_response({"events": []}, status=200 if len(asked) > 1 else 503)

    async def read() -> None:
        async with answering(answer) as address:
            reader = twilio(tmp_path, address)
            reader._began -= 50  # as if it had begun then
            with pytest.raises(Lost, match="503"):
                await reader._read_list(station)
            with pytest.raises(Enough):
                await reader._read_list(station)

    station: Any = Station()
    asyncio.run(read())
    assert asked[0] == asked[1]


@pytest.mark.parametrize("date", ["Sun, 22 Nov 2020 12:00:00 GMT", "Sun, 22 Nov 2099 12:00:00 GMT"])
def test_a_clock_that_is_not_twilios_is_said_since_the_list_is_asked_for_by_it(tmp_path: Path, date: str) -> None:
    """Ahead of it all times would lie in a future of which the list is empty."""

    async def read() -> None:
        async with answering(lambda _: web.json_response({"events": []}, headers={"Date": date})) as address:
            with pytest.raises(
                Lost, match=r"this machine's clock is about \d+ s (ahead of|behind) Twilio's; set it right"
            ):
                await twilio(tmp_path, address)._read_list(station)

    station: Any = Station()
    asyncio.run(read())
    assert station.taken == []


def test_meanwhile_nothing_is_sure_that_by_twilios_clock_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "PATIENCE", -1)

    async def read() -> None:
        date = {"Date": "Sun, 22 Nov 2020 12:00:00 GMT"}
        async with answering(lambda _: web.json_response({}, headers=date)) as address:
            await twilio(tmp_path, address)._reconcile(station)

    told: list[int] = []

    async def advance(at: int) -> None:
        told.append(at)
        raise Enough

    station: Any = Station()
    station.advance = advance
    with pytest.raises(Enough):
        asyncio.run(read())
    assert abs(told[0] - 1_606_046_400_000_000) < 60_000_000


@pytest.mark.parametrize("position", ["x", {}, {"read_until": "x"}])
def test_a_place_in_the_list_that_is_none_is_said(tmp_path: Path, position: Any) -> None:
    station: Any = Station(position)
    with pytest.raises(StateTrouble, match="the position in it is damaged; delete it to start afresh"):
        asyncio.run(twilio(tmp_path, "http://127.0.0.1:1")._read_list(station))


# ----------------------------------------------------------------------------------------------------------- Genesys


def genesys(folder: Path, address: str, **more: Any) -> tuple[Any, Configuration]:
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    told = {"kind": "genesys-cloud", "transport": "notifications", "domain": "genesys.test", "client_id": CLIENT}
    told |= {"api_url": address, "login_url": address, "secret_file": str(folder / "secret")}
    return source("gc", told | more)


def test_a_client_that_sees_no_queue_is_told_instead_of_listening_to_nothing(tmp_path: Path) -> None:
    async def listen() -> None:
        stand_in = GenesysByTheClock([], lambda: 0.0)
        stand_in.queues = {}
        async with stand_in.listening() as address:
            settings, _ = genesys(tmp_path, address)
            async with genesys_api(settings, "sources.gc") as api:
                with pytest.raises(Lost, match="the client sees no queue"):
                    await Notifications(settings).follow(api, station)
            for more in ({}, {"queues": ["q-misspelt"]}):
                with pytest.raises(Lost, match="the client sees no queue"):
                    await GenesysReader("gc", *genesys(tmp_path, address, **more)).look()

    station: Any = Station()
    asyncio.run(listen())


def test_a_token_may_end_while_a_limit_is_waited_for_and_a_gateways_fault_is_no_end(tmp_path: Path) -> None:
    async def ask() -> None:
        stand_in = GenesysByTheClock([], lambda: 0.0)
        async with stand_in.listening() as address:
            settings, _ = genesys(tmp_path, address)
            async with genesys_api(settings, "sources.gc") as api:
                for status in (429, 503):
                    assert await api.queues() == stand_in.queues
                    stand_in.failures.append(("/api/v2/routing", status, {"Retry-After": "0"}))
                    stand_in.tokens += 1  # the old one is not known any more
                    assert await api.queues() == stand_in.queues

    asyncio.run(ask())
