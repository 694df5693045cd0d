"""HTTP as a scraper and an orchestrator meet it: a real server on a free port of loopback."""

import asyncio
import socket
from collections.abc import Iterator

import aiohttp
import pytest

from queuewatch_streams.exporter import Exposition
from queuewatch_streams.serve import PortTaken, Server, application

HOST = "127.0.0.1"


class Told:
    """Says what it is told to say, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.reason: str | None = None
        self.lines = 1

    async def figures(self, queue: str | None) -> Exposition:
        self.asked.append(queue)
        await asyncio.sleep(0)
        told = Exposition()
        told.line("ready", {}, 1)
        for number in range(self.lines):
            told.line("calls_waiting", {"queue": queue or 'the "1st" &', "channel": f"voice {number}"}, 2)
        return told

    def unready(self) -> str | None:
        return self.reason


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server((HOST, 0)) as listening:
        yield listening.getsockname()[1]


async def test_metrics_are_sent_in_the_format_that_is_asked_for() -> None:
    """Prometheus' text by default, OpenMetrics when it is accepted."""
    told = Told()
    server = Server(application(told.figures, told.unready), HOST, 0, "--metrics-port")
    await server.start()
    async with aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session:
        async with session.get("/metrics") as answer:
            body = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert 'queuewatch_calls_waiting{channel="voice 0",queue="the \\"1st\\" &"} 2' in body
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with session.get("/metrics", headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await answer.text()).endswith("# EOF\n")
    await server.stop()


async def test_a_long_text_arrives_whole_and_is_made_for_all_formats_at_once() -> None:
    """Scrapers that differ in what they accept share the figures; one that goes away early troubles nobody."""
    told = Told()
    told.lines = 100_000
    server = Server(application(told.figures, told.unready), HOST, 0, "--metrics-port")
    await server.start()
    async with aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session:

        async def scrape(accept: str) -> list[str]:
            async with session.get("/metrics", headers={"Accept": accept}) as answer:
                body = await answer.read()
                assert answer.content_length == len(body)
                return body.decode().splitlines()

        async def leave() -> None:
            async with session.get("/metrics") as answer:
                await answer.content.readexactly(10)
                answer.close()

        plain, opened, _ = await asyncio.gather(scrape(""), scrape("application/openmetrics-text"), leave())
        assert opened == [*plain, "# EOF"]
        assert sum(not line.startswith("#") for line in plain) == told.lines + 1
        assert len(told.asked) < 3
    await server.stop()


async def test_one_queue_can_be_asked_for_whatever_its_name() -> None:
    """The name reaches the collector as it is."""
    told = Told()
    server = Server(application(told.figures, told.unready), HOST, 0, "--metrics-port")
    await server.start()
    names = ["sales", "a&b=c", "50 %", "客服", "a/b", "+1"]
    async with aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session:
        for name in names:
            async with session.get("/metrics", params={"queue": name}) as answer:
                assert answer.status == 200
    await server.stop()
    assert told.asked == names


async def test_scrapes_at_the_same_time_share_one_text() -> None:
    """Ten scrapers do not cost ten times the work."""
    told = Told()
    server = Server(application(told.figures, told.unready), HOST, 0, "--metrics-port")
    await server.start()
    async with aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session:

        async def scrape() -> str:
            async with session.get("/metrics") as answer:
                return await answer.text()

        bodies = await asyncio.gather(*(scrape() for _ in range(10)))
        assert len(set(bodies)) == 1
        assert len(told.asked) < 10
        asked = len(told.asked)
        await scrape()
        assert len(told.asked) == asked + 1, "a later scrape is made anew"
    await server.stop()


@pytest.mark.parametrize("query", ["", "?queue=sales"])
async def test_samples_whose_ground_was_lost_while_the_text_was_made_are_taken_anew(query: str) -> None:
    """A process that was paused in the middle of a scrape must not tell of partitions that are another worker's by now."""
    told = Told()
    grounds = iter([(True, 7), (False, 7), (False, 7), (False, 7)])
    server = Server(application(told.figures, told.unready, lambda: next(grounds)), HOST, 0, "--metrics-port")
    await server.start()
    async with (
        aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session,
        session.get(f"/metrics{query}") as answer,
    ):
        assert answer.status == 200
    await server.stop()
    assert len(told.asked) == 2
    assert list(grounds) == []


async def test_healthy_is_not_ready() -> None:
    """/healthz says that the process answers; /readyz says whether its figures are whole, and why not."""
    told = Told()
    told.reason = "partitions [3] are not caught up"
    server = Server(application(told.figures, told.unready), HOST, 0, "--metrics-port")
    await server.start()
    async with aiohttp.ClientSession(f"http://{HOST}:{server.port}") as session:
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (503, {"status": "not ready", "reason": told.reason})
        told.reason = None
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ready"})
        async with session.get("/elsewhere") as answer:
            assert answer.status == 404
    await server.stop()


async def test_a_taken_port_is_told_with_what_to_do(taken: int) -> None:
    """The address, the system's reason, the flag."""
    told = Told()
    server = Server(application(told.figures, told.unready), HOST, taken, "--metrics-port")
    expected = f"cannot listen on {HOST}:{taken}: Address already in use; choose another port with --metrics-port"
    with pytest.raises(PortTaken) as error:
        await server.start()
    assert str(error.value) == expected


async def test_a_host_that_is_not_there_is_told() -> None:
    """By its name, not by a number."""
    told = Told()
    server = Server(application(told.figures, told.unready), "no-such-host.invalid", 0, "--metrics-port")
    with pytest.raises(PortTaken, match=r"cannot listen on no-such-host\.invalid:0: "):
        await server.start()
