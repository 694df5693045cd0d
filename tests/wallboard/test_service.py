"""What the wallboard answers over HTTP: real requests, a real broker."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from yarl import URL

from integration.conftest import embedded, unique  # noqa: F401
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.generate import openapi
from queuewatch_schemas.metrics import WALLBOARD_METRICS, Kind
from queuewatch_schemas.wallboard import Board, Heartbeat, Ticket
from queuewatch_streams.brokers import Broker
from queuewatch_wallboard.access import EVERYTHING, Scope, sign_link
from queuewatch_wallboard.keys import create, revoke
from queuewatch_wallboard.service import CannotServe, Service, start
from wallboard.serving import Wall, counted, queue_of, until

pytestmark = pytest.mark.usefixtures("embedded")


@pytest.fixture
def wall(embedded: Broker, unique: str) -> Wall:  # noqa: F811
    """A wall with topics of its own, not started."""
    return Wall(embedded, unique)


def is_fresh(queue: str) -> Any:
    """Whether the queue has a row that is not stale."""
    return lambda board: (row := queue_of(board, queue)) is not None and row.stale is None


def waits(queue: str, callers: int) -> Any:
    """Whether so many callers wait in the queue."""
    return lambda board: (row := queue_of(board, queue)) is not None and row.waiting == callers


# ------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_stream_tells_each_change_as_a_whole_board(wall: Wall, compressed: bool) -> None:
    """Compressed or not; ids grow; what is polled says the same."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen(compressed=compressed) as screen:
            assert screen.response.headers["Content-Type"] == "text/event-stream"
            assert screen.response.headers.get("Content-Encoding") == ("gzip" if compressed else None)
            ids = []
            for waiting in range(3):
                await wall.snapshot("sales", waiting=waiting)
                board = await screen.board(waits("sales", waiting))
                ids.append(board.id)
            assert ids == sorted(set(ids))
            polled = await wall.board()
            assert polled is not None
            assert polled.id > ids[-1]
            assert queue_of(polled, "sales").waiting == 2


async def test_what_is_polled_comes_compressed_to_whoever_takes_it(wall: Wall) -> None:
    """And is the same."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living():
            await wall.snapshot("sales")
            await wall.until_board("a fresh row", is_fresh("sales"))
            response, body = await wall.get("/api/v1/queues", **{"Accept-Encoding": "br;q=1.0, gzip;q=0.8"})
            assert response.headers["Content-Encoding"] == "gzip"
            assert queue_of(Board.model_validate_json(gzip.decompress(body)), "sales") is not None
            response, body = await wall.get("/api/v1/queues", **{"Accept-Encoding": "gzip;q=0"})
            assert "Content-Encoding" not in response.headers
            assert response.headers["Cache-Control"] == "no-store, no-transform"


async def test_a_stream_that_opens_early_hears_that_the_service_lives_and_then_the_first_board(wall: Wall) -> None:
    """There is no board while nothing is known."""
    async with wall:
        await wall.start()
        async with wall.screen() as screen:
            first = await screen.next()
            assert first.event == "heartbeat"
            assert first.id is None
            beat = Heartbeat.model_validate(first.data)
            assert (beat.id, beat.version) == (None, wall.running.service.page.version)
            await wall.create()
            async with wall.living():
                await wall.snapshot("sales")
                await screen.board(is_fresh("sales"))


async def test_heartbeats_come_while_nothing_changes(wall: Wall) -> None:
    """With the number of the board that still holds."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen() as screen:
            await wall.snapshot("sales")
            board = await screen.board(is_fresh("sales"))
            while (told := await screen.next()).event == "board":
                board = Board.model_validate(told.data)
            beat = Heartbeat.model_validate(told.data)
            assert beat.id == board.id
            assert beat.server_time > board.server_time


async def test_streams_of_one_view_share_each_board_and_other_views_have_their_own(wall: Wall) -> None:
    """Made, encoded and compressed once."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen() as one, wall.screen() as other, wall.screen("?queue=sales") as third:
            await wall.snapshot("sales", waiting=5)
            await wall.snapshot("support", waiting=6)
            both = lambda board: {row.queue for row in board.queues if row.stale is None} >= {"sales", "support"}  # noqa: E731
            assert (await one.board(both)).queues == (await other.board(both)).queues
            narrow = await third.board(is_fresh("sales"))
            assert [row.queue for row in narrow.queues] == ["sales"]
            assert wall.running.service.hub.views == 2
            assert wall.running.service.slots.open == 3

        async def gone() -> bool:
            return wall.running.service.slots.open == 0 and wall.running.service.hub.views == 0

        await until("all streams to be given back", gone)


async def test_a_slow_screen_gets_the_newest_board_and_holds_up_nobody(wall: Wall) -> None:
    """What it did not get in time it never gets; nothing piles up for it."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen() as quick:
            for number in range(60):  # enough to fill what the system itself buffers
                await wall.snapshot(f"queue {number:02}", waiting=0, site="s" * 20_000)
            await quick.board(lambda board: len(board.queues) == 60)
            slow = socket.create_connection(("127.0.0.1", wall.running.port))
            slow.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                for waiting in range(1, 31):
                    await wall.snapshot("queue 00", waiting=waiting)
                    await quick.board(waits("queue 00", waiting))
                slow.setblocking(False)
                loop, text = asyncio.get_running_loop(), b""
                async with asyncio.timeout(30):
                    while b'"waiting":30,' not in text:
                        text += await loop.sock_recv(slow, 1 << 20)
                heard = [int(found) for found in re.findall(rb"\nid: (\d+)\n", text)]
                assert heard == sorted(set(heard))
                assert len(heard) < 30
                assert counted(wall, "skipped_messages_total") > 0
            finally:
                slow.close()


async def test_streams_end_when_the_service_ends(wall: Wall) -> None:
    """Within a moment, so that a new one can take over."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.screen() as compressed, wall.screen(compressed=False) as plain:
            await compressed.next()
            await plain.next()
            await wall.stop()
            await compressed.ended()
            await plain.ended()


async def test_proxies_that_speak_http_1_0_can_carry_a_stream(wall: Wall) -> None:
    """As nginx does unless it is told otherwise: no chunks then."""
    async with wall:
        await wall.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", wall.running.port)
        writer.write(b"GET /api/v1/stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"chunked" not in head.lower()
        assert (await reader.readline()) == b"event: heartbeat\n"
        writer.close()


# ------------------------------------------------------------------------------------------------------------- access


class Keys:
    """A wall with two keys, and links of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.lobby = create(self.path, "lobby", int(time.time()))
        self.office = create(self.path, "office", int(time.time()))
        self.settings = {"keys_file": str(self.path)}

    def link(self, *groups: str, queues: tuple[str, ...] = (), expires: int | None = None) -> str:
        """A link's token of the lobby's key; everything where nothing is named."""
        scope = Scope(frozenset(queues), frozenset(groups)) if groups or queues else EVERYTHING
        return sign_link(scope, self.lobby, int(time.time()), expires)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """A file of keys."""
    return Keys(tmp_path)


async def ticket_for(wall: Wall, token: str) -> str:
    """What a page exchanges its link's token for."""
    async with wall.client.post(f"{wall.base}/api/v1/ticket", headers=bearer(token)) as response:
        assert response.status == 200, await response.text()
        told = Ticket.model_validate_json(await response.read())
        assert 0 < told.expires_in_seconds <= 60
        return told.ticket


def bearer(token: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {token}"}


async def test_a_link_for_one_group_shows_that_group_and_no_name_of_any_other(wall: Wall, keys: Keys) -> None:
    """By polling and by stream."""
    wall.settings = keys.settings
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living():
            await wall.snapshot("sales", group="north")
            await wall.snapshot("vault", group="secret")
            ticket = await ticket_for(wall, keys.link("north"))

            async def fresh() -> Board | None:
                board = await wall.board(**bearer(ticket))
                return board if board is not None and is_fresh("sales")(board) else None

            board = await until("the group's board", fresh)
            assert "vault" not in board.model_dump_json()
            assert "secret" not in board.model_dump_json()
            async with wall.screen(f"?ticket={ticket}") as screen:
                board = await screen.board(is_fresh("sales"))
                assert [row.queue for row in board.queues] == ["sales"]
                assert [row.group for row in board.groups] == ["north"]


async def test_what_is_not_to_be_seen_is_refused_in_the_same_way_whether_it_exists_or_not(
    wall: Wall, keys: Keys
) -> None:
    """Byte for byte, but for the date."""
    wall.settings = keys.settings
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living():
            await wall.snapshot("sales", group="north")
            await wall.snapshot("vault", group="secret")
            ticket = await ticket_for(wall, keys.link("north"))
            await until("a board", lambda: wall.board(**bearer(ticket)))
            for path in ("queues", "stream"):
                answers = []
                for asked in (
                    "queue=vault",
                    "queue=nowhere",
                    "group=secret",
                    "group=nowhere",
                    "queue=sales&queue=vault",
                ):
                    response, body = await wall.get(f"/api/v1/{path}?{asked}&ticket={ticket}", **bearer(ticket))
                    headers = {name: value for name, value in response.headers.items() if name != "Date"}
                    answers.append((response.status, headers, body))
                assert {answer[0] for answer in answers} == {403}
                assert all(answer == answers[0] for answer in answers)
                assert orjson.loads(answers[0][2]) == {"error": "forbidden"}


async def test_while_groups_are_not_known_yet_a_good_link_is_told_to_wait_and_not_turned_away(
    wall: Wall, keys: Keys
) -> None:
    """As after a restart of the service, for a screen that asks for one queue of its group."""
    wall.settings = keys.settings
    async with wall:
        await wall.start()
        ticket = await ticket_for(wall, keys.link("north"))
        for path in ("queues", "stream"):
            response, body = await wall.get(f"/api/v1/{path}?queue=sales&ticket={ticket}", **bearer(ticket))
            assert (response.status, orjson.loads(body)) == (503, {"error": "starting"})
            assert int(response.headers["Retry-After"]) > 0


async def test_without_a_valid_token_nothing_is_answered(wall: Wall, keys: Keys) -> None:
    """None, nonsense, a link's token in the place of a ticket, an expired one, one of a key that is not there."""
    wall.settings = keys.settings
    async with wall:
        await wall.create()
        await wall.start()
        await wall.news()
        foreign = sign_link(EVERYTHING, create(keys.path.with_name("other.json"), "lobby", 0), int(time.time()))
        tickets = ["", "x", "a.b.c", keys.link(), foreign]
        for token in tickets:
            for path in ("queues", "stream"):
                response, body = await wall.get(f"/api/v1/{path}?ticket={token}", **(bearer(token) if token else {}))
                assert (response.status, orjson.loads(body)) == (401, {"error": "unauthorized"})
        expired = sign_link(EVERYTHING, keys.lobby, 1000, 2000)
        for token in ("", "x", foreign, expired, await ticket_for(wall, keys.link())):
            async with wall.client.post(f"{wall.base}/api/v1/ticket", headers=bearer(token)) as response:
                assert (response.status, await response.json()) == (401, {"error": "unauthorized"})
        assert (await wall.get("/"))[0].status == 200
        assert counted(wall, "refused_requests_total", "401") == 15


async def test_a_key_that_is_revoked_ends_its_streams_and_no_others(wall: Wall, keys: Keys) -> None:
    """Without a restart."""
    wall.settings = keys.settings
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living():
            lobby = await ticket_for(wall, keys.link())
            office = await ticket_for(wall, sign_link(EVERYTHING, keys.office, int(time.time())))
            async with wall.screen(f"?ticket={lobby}") as one, wall.screen(f"?ticket={office}") as other:
                await one.next()
                revoke(keys.path, "lobby")
                await one.ended()
                await wall.snapshot("sales")
                await other.board(is_fresh("sales"))


async def test_a_proxy_on_this_machine_opens_nothing_to_those_behind_it(wall: Wall) -> None:
    """What it forwards is not from this machine."""
    async with wall:
        await wall.start()
        assert (await wall.get("/api/v1/queues"))[0].status == 503
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            assert (await wall.get("/api/v1/queues", **{header: "127.0.0.1"}))[0].status == 401
        assert (await wall.get("/api/v1/queues", Host="evil.example"))[0].status == 401


async def test_behind_a_trusted_proxy_the_networks_hold_for_who_is_behind_it(wall: Wall) -> None:
    """Inside yes, outside no."""
    wall.settings = {"networks": ["10.1.0.0/16"], "trusted_proxies": ["127.0.0.1/32"]}
    async with wall:
        await wall.start()
        assert (await wall.get("/api/v1/queues", **{"X-Forwarded-For": "10.1.2.3"}))[0].status == 503
        assert (await wall.get("/api/v1/queues", **{"X-Forwarded-For": "10.2.2.3"}))[0].status == 401
        assert (await wall.get("/api/v1/queues"))[0].status == 401


async def test_streams_are_limited_by_address(wall: Wall) -> None:
    """One too many is told to come again later; one that ends makes room."""
    wall.settings = {"streams_per_address": 2}
    async with wall:
        await wall.start()
        async with wall.screen() as one:
            await one.next()
            async with wall.screen() as other:
                await other.next()
                response, body = await wall.get("/api/v1/stream")
                assert (response.status, orjson.loads(body)) == (429, {"error": "too_many"})
                assert int(response.headers["Retry-After"]) > 0

            async def room() -> bool:
                return wall.running.service.slots.open < 2

            await until("the place to be given back", room)


@pytest.mark.parametrize(
    ("host", "settings", "told"),
    [
        ("0.0.0.0", {}, r"everything to everyone who can reach 0\.0\.0\.0.*wallboard link --all.*networks"),
        ("::", {}, "everything to everyone"),
        ("no-such-host.invalid", {}, "everything to everyone"),
        ("0.0.0.0", {"keys_file": "missing.json"}, "there are no keys in missing.json.*wallboard link --all"),
        ("127.0.0.1", {"keys_file": "missing.json"}, "there are no keys in missing.json"),
    ],
)
async def test_it_does_not_start_where_everybody_or_nobody_would_be_let_in(
    host: str, settings: Mapping[str, Any], told: str
) -> None:
    """It says what to do instead."""
    with pytest.raises(CannotServe, match=told):
        Service(Configuration.model_validate({"serve": {"host": host}, "wallboard": settings}))


async def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    """In one sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotServe, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use; .*--wallboard-port"
        ):
            await start(Configuration.model_validate({"serve": {"wallboard_port": port}}))


# ------------------------------------------------------------------------------------------------- the page, and the rest


async def test_the_page_and_its_files_are_served_with_their_version_and_for_good(wall: Wall) -> None:
    """The page itself is asked for anew each time; of another version there is nothing."""
    async with wall:
        await wall.start()
        page = wall.running.service.page
        response, body = await wall.get("/?group=sales&rotate=20")
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"{{" not in body
        paths = re.findall(rb'(?:src|href)="(page/[^"]+)"', body)
        assert paths
        for path in paths:
            assert path.startswith(f"page/{page.version}/".encode())
            response, _ = await wall.get("/" + path.decode())
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
        for name in page.assets:
            response, plain = await wall.get(f"/page/{page.version}/{name}")
            packed, compressed = await wall.get(f"/page/{page.version}/{name}", **{"Accept-Encoding": "gzip"})
            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(compressed) == plain
            again, nothing = await wall.get(
                f"/page/{page.version}/{name}", **{"If-None-Match": response.headers["ETag"]}
            )
            assert (again.status, nothing) == (304, b"")
            assert (await wall.get(f"/page/1.another/{name}"))[0].status == 404
        for wrong in ("../service.py", "%2e%2e/service.py", "..%2fservice.py", "nothing.js", ""):
            assert (await wall.get(f"/page/{page.version}/{wrong}"))[0].status == 404


async def test_every_answer_has_the_headers_that_keep_browsers_safe(wall: Wall) -> None:
    """Streams and refusals too; no cookies, nothing inline, no frame unless allowed, nothing said to other sites."""
    async with wall:
        await wall.start()
        for path in ("/", "/api/v1/queues", "/api/v1/queues?queue=", "/healthz", "/readyz", "/metrics", "/nothing"):
            headers = (await wall.get(path))[0].headers
            check_headers(headers)
        async with wall.screen() as screen:
            check_headers(screen.response.headers)
            assert screen.response.headers["X-Accel-Buffering"] == "no"
            assert screen.response.headers["Cache-Control"] == "no-store, no-transform"


def check_headers(headers: Mapping[str, str]) -> None:
    """See the test above."""
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"]
    assert not {"Set-Cookie", "Server", "Access-Control-Allow-Origin"} & set(headers)


async def test_sites_that_may_frame_it_are_settings(wall: Wall) -> None:
    """Then no older header forbids it."""
    wall.settings = {"frame_ancestors": ["self", "https://intranet.example"]}
    async with wall:
        await wall.start()
        headers = (await wall.get("/"))[0].headers
        assert "frame-ancestors 'self' https://intranet.example" in headers["Content-Security-Policy"]
        assert "X-Frame-Options" not in headers


async def test_an_announcement_is_read_again_when_its_file_changes(wall: Wall, tmp_path: Path) -> None:
    """An empty file announces nothing."""
    path = tmp_path / "announcement.txt"
    path.write_text("Fire drill at three\nsecond line\n", encoding="utf-8")
    wall.settings = {"announcement": "ignored", "announcement_file": str(path)}
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen() as screen:
            await screen.board(lambda board: board.announcement == "Fire drill at three")
            path.write_text("消防演习\n", encoding="utf-8")
            await screen.board(lambda board: board.announcement == "消防演习")
            path.unlink()
            await screen.board(lambda board: board.announcement is None)


async def test_agents_are_told_where_the_topic_knows_any(wall: Wall) -> None:
    """By the newest state of each; of other queues nothing is known."""
    async with wall:
        await wall.create()
        await wall.start()
        present = datetime.now(UTC).isoformat()
        for agent, state in (("anna", "available"), ("bert", "talking"), ("cleo", "meal")):
            event = {
                "specversion": "1.0",
                "id": f"{agent} 1",
                "source": "urn:pbx:1",
                "type": "queuewatch.agent.state.v1",
                "time": present,
                "subject": agent,
                "data": {"state": state, "queues": [{"queue": "sales"}]},
            }
            await wall.send(agent.encode(), orjson.dumps(event), role="agents")
        async with wall.living(), wall.screen() as screen:
            await wall.snapshot("sales")
            await wall.snapshot("support")
            board = await screen.board(lambda board: is_fresh("support")(board) and queue_of(board, "sales").agents)
            agents = queue_of(board, "sales").agents
            assert (agents.available, agents.busy, agents.paused) == (1, 1, 1)
            assert queue_of(board, "support").agents is None


async def test_its_own_metrics_are_those_of_the_catalogue(wall: Wall) -> None:
    """Each of them, and no others; no label holds a name."""
    async with wall:
        await wall.create()
        await wall.start()
        async with wall.living(), wall.screen() as screen:
            await wall.snapshot("sales")
            await screen.board(is_fresh("sales"))
            _, body = await wall.get("/metrics")
        told = {
            name: float(value) for name, value in re.findall(r"^([^#\s{]+)(?:{[^}]*})? (\S+)$", body.decode(), re.M)
        }
        assert told.keys() == {metric.full for metric in WALLBOARD_METRICS}
        assert (told["queuewatch_wallboard_streams"], told["queuewatch_wallboard_queues"]) == (1, 1)
        assert told["queuewatch_wallboard_ready"] == 1
        assert told["queuewatch_wallboard_messages_total"] >= 1
        assert "sales" not in body.decode()
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", body.decode(), re.M))
        assert kinds == {
            metric.full: "counter" if metric.kind is Kind.COUNTER else "gauge" for metric in WALLBOARD_METRICS
        }


async def test_the_openapi_document_names_the_routes_that_there_are(wall: Wall) -> None:
    """But for the page's own, which are nobody else's business."""
    service = Service(wall.configuration)
    routes = {
        (resource.canonical, route.method.lower())
        for resource in service.application().router.resources()
        for route in resource
        if route.method != "HEAD" and resource.canonical != "/" and not resource.canonical.startswith("/page/")
    }
    assert routes == {(path, method) for path, methods in openapi()["paths"].items() for method in methods}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/queues?queue=", 400),
        ("GET", "/api/v1/queues?group=" + "x" * 201, 400),
        ("GET", "/api/v1/queues?" + "&".join(f"queue={n}" for n in range(501)), 400),
        ("DELETE", "/api/v1/queues", 405),
        ("GET", "/api/v1/ticket", 405),
        ("GET", "/api/v2/queues", 404),
        ("GET", "//", 404),
    ],
)
async def test_bad_requests_are_answered_as_such(wall: Wall, method: str, path: str, status: int) -> None:
    """In JSON, without echoing anything."""
    async with wall:
        await wall.start()
        async with wall.client.request(method, URL(wall.base + path, encoded=True)) as response:
            assert response.status == status
            assert (await response.json()).keys() == {"error"}
