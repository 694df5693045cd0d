"""Who may see, in a real browser and by bare requests: a link shows what it names, and its token is nowhere to be read."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser

from integration.conftest import started
from integration.worker_process import until
from queuewatch_streams.brokers import embedded_broker
from queuewatch_wallboard.access import EVERYTHING, Key, Scope, sign_link
from queuewatch_wallboard.keys import read
from wallboard import live
from wallboard.live import (
    FOREIGN,
    FOREIGN_GROUP,
    FOREIGN_WORDS,
    GREY_WITHIN,
    GROUP,
    NORTH,
    SOUTH,
    Floor,
    Reply,
    Screen,
    bearer,
    query,
    token_of,
)

LASTS = 15
"""Seconds that a link lasts which is watched until its end."""


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    live.chromium()
    broker = started(embedded_broker())
    try:
        with live.floor(broker, f"live-{uuid4().hex[:8]}", tmp_path_factory.mktemp("access")) as made:
            yield made
    finally:
        broker.stop()


def key_of(floor: Floor) -> Key:
    """The key that links are signed with by default."""
    floor.link("--group", GROUP)
    path = next(floor.site.folder.glob("wallboard-keys.json"))
    return next(iter(read(path).values()))


def received(floor: Floor, path: str, seconds: float = 2.5) -> tuple[int, bytes]:
    """Status and the bytes that a stream sends within some seconds, or until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", floor.guarded.port, timeout=10)
    connection.request("GET", path, headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    found, end = b"", time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end and (piece := answer.read1(65536)):
            found += piece
    connection.close()
    return answer.status, found


def test_a_link_for_a_group_shows_that_group_alone(floor: Floor, screen: Screen) -> None:
    """Page, API and stream: no foreign name in any byte, while calls come in there too."""
    link = floor.link("--group", GROUP, "--days", "1")
    screen.open(link)
    screen.until(
        "the group", lambda: screen.figure(NORTH, "waiting") == "0" and screen.figure(SOUTH, "waiting"), patience=20
    )
    hidden = floor.calls.enter(FOREIGN, 3)
    seen = floor.calls.enter(NORTH)
    screen.until_figure(NORTH, "waiting", "1")
    screen.until("several boards", lambda: len(screen.messages) > 5)
    shown = bearer(floor.guarded.ticket(token_of(link)))
    ticket = quote(floor.guarded.ticket(token_of(link)))
    board = floor.guarded.ask("/api/v1/queues", shown)
    assert {each["queue"] for each in board.json["queues"]} == {NORTH, SOUTH}
    assert {each["group"] for each in board.json["groups"]} == {GROUP}
    status, streamed = received(floor, f"/api/v1/stream?ticket={ticket}")
    assert status == 200
    assert NORTH.encode() in streamed
    everything = [board.body, streamed, screen.page.content().encode(), *(each.encode() for each in screen.messages)]
    everything += [floor.guarded.ask(path).body for path in ("/", "/healthz", "/readyz", "/metrics")]
    for told in everything:
        for word in FOREIGN_WORDS:
            assert word.encode() not in told
    floor.calls.leave(FOREIGN, hidden)
    floor.calls.leave(NORTH, seen)
    assert not screen.problems


def test_what_lies_outside_a_link_is_refused_without_saying_whether_it_is_there(floor: Floor) -> None:
    """The same answer, byte for byte, for a foreign queue, its group, and what does not exist."""
    shown = bearer(floor.guarded.ticket(token_of(floor.link("--group", GROUP))))
    ticket = quote(floor.guarded.ticket(token_of(floor.link("--group", GROUP))))
    answers = [
        floor.guarded.ask(f"/api/v1/queues?{asked}", shown)
        for asked in (
            f"queue={FOREIGN}", "queue=nothing", f"group={FOREIGN_GROUP}", "group=nothing",
            f"queue={NORTH}&queue={FOREIGN}", f"group={GROUP}&queue=nothing",
        )
    ]  # fmt: skip
    assert {each.status for each in answers} == {403}
    assert len({each.body for each in answers}) == 1
    for asked in (f"queue={FOREIGN}", "queue=nothing", f"group={FOREIGN_GROUP}"):
        assert floor.guarded.ask(f"/api/v1/stream?ticket={ticket}&{asked}").status == 403
    assert floor.guarded.ask(f"/api/v1/queues?queue={NORTH}", shown).status == 200
    assert floor.guarded.ask(f"/api/v1/queues?group={GROUP}", shown).status == 200


def refused(floor: Floor, token: str | None) -> list[Reply]:
    """All doors, tried with that token."""
    headers = {} if token is None else bearer(token)
    behind = "" if token is None else f"?ticket={quote(token)}"
    return [
        floor.guarded.ask("/api/v1/ticket", headers, data=b""),
        floor.guarded.ask("/api/v1/queues", headers),
        floor.guarded.ask(f"/api/v1/stream{behind}"),
        floor.guarded.ask(f"/api/v1/queues?queue={NORTH}", headers),
    ]


def test_no_token_a_wrong_an_expired_and_a_revoked_one_are_refused_alike(floor: Floor) -> None:
    """401 and the same bytes everywhere."""
    key, now = key_of(floor), int(time.time())
    good = token_of(floor.link("--group", GROUP))
    expired = sign_link(EVERYTHING, key, now - 20, now - 10)
    stranger = sign_link(EVERYTHING, Key(key.id, b"x" * 32, 0), now)
    unknown = sign_link(EVERYTHING, Key("nobody", b"x" * 32, 0), now)
    gone = token_of(floor.link("--all", "--key", "to-be-revoked"))
    assert floor.guarded.ask("/api/v1/ticket", bearer(gone), data=b"").status == 200
    floor.run("revoke", "to-be-revoked")
    answers = [
        answer
        for token in (None, "", "nonsense", good[:-2], expired, stranger, unknown, gone)
        for answer in refused(floor, token)
    ]
    assert {each.status for each in answers} == {401}
    assert len({each.body for each in answers}) == 1
    assert len({tuple(sorted(each.headers)) for each in answers}) == 1
    assert not any(word.encode() in each.body for each in answers for word in (*FOREIGN_WORDS, NORTH, GROUP))


def test_a_link_is_no_ticket_and_a_ticket_no_link(floor: Floor) -> None:
    """So that what stands in an address opens one stream, and nothing afterwards."""
    token = token_of(floor.link("--all"))
    ticket = floor.guarded.ticket(token)
    assert floor.guarded.ask(f"/api/v1/stream?ticket={quote(token)}").status == 401
    assert floor.guarded.ask("/api/v1/ticket", bearer(ticket), data=b"").status == 401


@pytest.mark.parametrize("fragment", ["", "#token=", "#token=nonsense", "#token=a.b.c"])
def test_without_a_valid_link_the_page_explains_and_shows_nothing(floor: Floor, screen: Screen, fragment: str) -> None:
    """No figure, no name, not even those of a group that is in the address."""
    screen.open(f"{floor.guarded.address}/{query(lang='en')}{fragment}")
    screen.until("an explanation", lambda: "link" in screen.page.inner_text("body").lower(), patience=20)
    assert screen.page.locator("[data-queue]").count() == 0
    assert not screen.messages
    content = screen.page.content()
    assert not any(word in content for word in (*FOREIGN_WORDS, NORTH, SOUTH))
    found = Axe().run(screen.page)
    assert not found.violations_count, found.generate_report()


def test_a_revoked_key_ends_the_streams_that_its_links_opened(floor: Floor, browser: Browser) -> None:
    """The screen says so and shows nothing any more; the other key's screens go on."""
    contexts = [browser.new_context(), browser.new_context()]
    gone, stays = (Screen(each) for each in contexts)
    gone.open(floor.link("--all", "--key", "lobby"))
    stays.open(floor.link("--all", "--key", "office"))
    for each in (gone, stays):
        each.until("the board", lambda each=each: each.figure(FOREIGN, "waiting") == "0", patience=20)  # type: ignore[misc]
    floor.run("revoke", "lobby")
    gone.until("nothing is shown", lambda: gone.page.locator("[data-queue]").count() == 0, patience=20)
    assert "link" in gone.page.inner_text("body").lower()
    content = gone.page.content()
    assert not any(word in content for word in FOREIGN_WORDS)
    floor.calls.leave(FOREIGN, floor.calls.enter(FOREIGN))
    count = len(stays.messages)
    stays.until("the other goes on", lambda: len(stays.messages) > count)
    stays.until_figure(FOREIGN, "waiting", "0")
    for context in contexts:
        context.close()


def test_a_stream_ends_when_its_link_does(floor: Floor, screen: Screen) -> None:
    """A screen that was opened in time is not left on for ever."""
    now = int(time.time())
    token = sign_link(Scope(groups=frozenset({GROUP})), key_of(floor), now, now + LASTS)
    ticket = quote(floor.guarded.ticket(token))
    screen.open(f"{floor.guarded.address}/{query(lang='en')}#token={token}")
    screen.until("the board", lambda: screen.figure(NORTH, "waiting") == "0", patience=LASTS)
    status, _ = received(floor, f"/api/v1/stream?ticket={ticket}", seconds=30)
    assert status == 200
    assert now + LASTS <= time.time() < now + LASTS + GREY_WITHIN
    screen.until("nothing is shown", lambda: screen.page.locator("[data-queue]").count() == 0, patience=20)


def test_the_token_is_in_no_address_no_referrer_and_no_log(floor: Floor, screen: Screen) -> None:
    """Nor is a ticket in the service's log; no cookie is set, and nothing is asked of anybody else."""
    link = floor.link("--group", GROUP)
    token = token_of(link)
    assert token.count(".") == 2
    screen.open(link)
    screen.until("the board", lambda: screen.figure(NORTH, "waiting") == "0", patience=20)
    screen.page.reload()
    screen.until("the board again", lambda: screen.figure(NORTH, "waiting") == "0", patience=20)
    signature = token.rpartition(".")[2]
    assert screen.requests
    for url in screen.requests:
        assert signature not in url.partition("#")[0]
        assert url.startswith(floor.guarded.address + "/") or url.startswith("data:")
    for headers in screen.headers:
        assert signature not in headers.get("referer", "")
    tickets = [url.partition("ticket=")[2].partition("&")[0] for url in screen.requests if "ticket=" in url]
    assert tickets
    said = floor.guarded.said()
    for secret in (signature, *(each.rpartition(".")[2] for each in tickets)):
        assert secret not in said
    assert not screen.page.context.cookies()
    page = floor.guarded.ask("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in page.headers


def test_one_address_gets_so_many_streams_and_no_more(floor: Floor) -> None:
    """The next one is told when to come again; one that ends makes room."""
    ticket = quote(floor.guarded.ticket(token_of(floor.link("--group", GROUP))))
    opened: list[http.client.HTTPConnection] = []
    status = 200
    while status == 200 and len(opened) < 2000:
        connection = http.client.HTTPConnection("127.0.0.1", floor.guarded.port, timeout=10)
        connection.request("GET", f"/api/v1/stream?ticket={ticket}")
        answer = connection.getresponse()
        status = answer.status
        opened.append(connection)
    assert status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(opened) > 10
    for connection in opened:
        connection.close()
    until(
        "room again",
        lambda: received(floor, f"/api/v1/stream?ticket={ticket}", seconds=0.1)[0] == 200 or None,
        patience=30,
    )


def test_a_name_that_points_here_from_elsewhere_opens_nothing(floor: Floor) -> None:
    """The open board on loopback answers a browser that was led here by a foreign name like a stranger."""
    assert floor.board.ask("/api/v1/queues").status == 200
    assert floor.board.ask("/api/v1/queues", {"Host": "evil.example"}).status == 401
    assert floor.board.ask("/api/v1/queues", {"Host": f"evil.example:{floor.board.port}"}).status == 401
    assert floor.board.ask("/api/v1/queues", {"X-Forwarded-For": "203.0.113.7"}).status == 401
    assert floor.board.ask("/api/v1/stream", {"Host": "evil.example"}).status == 401
    assert (
        "access-control-allow-origin"
        not in floor.board.ask("/api/v1/queues", {"Origin": "http://evil.example"}).headers
    )


def test_what_a_link_shows_is_written_in_its_claims_alone(floor: Floor) -> None:
    """Everything, several groups, single queues; the command says what it made on standard error, if at all."""
    for arguments, wanted in (
        (("--all",), {NORTH, SOUTH, FOREIGN}),
        (("--queue", SOUTH), {SOUTH}),
        (("--group", FOREIGN_GROUP, "--queue", NORTH), {FOREIGN, NORTH}),
    ):
        shown = bearer(floor.guarded.ticket(token_of(floor.link(*arguments))))
        board = json.loads(floor.guarded.ask("/api/v1/queues", shown).body)
        assert {each["queue"] for each in board["queues"]} == wanted
