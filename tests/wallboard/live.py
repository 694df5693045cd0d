"""A whole small site with a wallboard, everything real: Apache Kafka, a worker, the wallboard's process, Chromium.

Calls come from the test itself, so that it knows what a screen has to show.  Playwright keeps an event loop in the thread of
the tests, so what is asynchronous here runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from aiokafka import AIOKafkaProducer
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from integration.worker_process import Running, Site, WorkerProcess, command, environment, until
from queuewatch_streams.brokers import Broker
from support.events import call, heartbeat

T = TypeVar("T")

NORTH, SOUTH, FOREIGN = "sales-north", "sales-south", "qx-vault"
GROUP, FOREIGN_GROUP, FOREIGN_NAME = "sales", "confidential", "Zebra desk"
FOREIGN_WORDS: Final = (FOREIGN, FOREIGN_GROUP, FOREIGN_NAME)
"""What nobody may read who has a link for the other group."""
GREY_WITHIN = 16.0
"""Seconds after which no figure may be shown as true whose source has died."""
SETTINGS = f"""[timing]
grace_seconds = 7200
[calendars.always]
[defaults]
calendar = "always"
[queues.{NORTH}]
name = "North sales"
group = "{GROUP}"
[queues.{SOUTH}]
name = "South sales"
group = "{GROUP}"
[queues.{FOREIGN}]
name = "{FOREIGN_NAME}"
group = "{FOREIGN_GROUP}"
"""


def aside(work: Callable[[], T]) -> T:
    """Run what needs an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


class Calls:
    """The source: sends call events, and a heartbeat to every partition each second while it is `alive`."""

    def __init__(self, site: Site) -> None:
        self.alive = True
        self._site = site
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._producer: AIOKafkaProducer = self._run(self._started())
        self._beating = asyncio.run_coroutine_threadsafe(self._beat(), self._loop)
        self._number = 0

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(bootstrap_servers=self._site.broker.address, acks="all")
        await producer.start()
        return producer

    async def _beat(self) -> None:
        while True:
            for partition in range(self._site.partitions if self.alive else 0):
                with contextlib.suppress(Exception):  # the broker is away for a while: it is told of again
                    beat = heartbeat(time.time_ns() // 1000, interval_s=2)
                    await self._producer.send(
                        self._site.topic("events"), json.dumps(beat).encode(), key=b"source", partition=partition
                    )
            await asyncio.sleep(1)

    async def _send(self, topic: str, key: bytes, value: bytes, partition: int) -> None:
        await self._producer.send_and_wait(topic, value, key=key, partition=partition)

    def tell(self, kind: str, name: str, queue: str, *, ago: float = 0, **data: Any) -> None:
        """A call event, acknowledged by the broker; `ago` in seconds."""
        event = call(kind, time.time_ns() // 1000 - round(ago * 1e6), name, queue, **data)
        self.put("events", queue.encode(), json.dumps(event).encode(), self._site.partition(queue))

    def put(self, role: str, key: bytes, value: bytes, partition: int) -> None:
        """Any bytes into any topic."""
        self._run(self._send(self._site.topic(role), key, value, partition))

    def name(self) -> str:
        """A call's name that was not there before."""
        self._number += 1
        return f"live-{self._number}"

    def enter(self, queue: str, calls: int = 1, *, ago: float = 0) -> list[str]:
        """So many callers enter; their names."""
        names = [self.name() for _ in range(calls)]
        for each in names:
            self.tell("queued", each, queue, ago=ago)
        return names

    def leave(self, queue: str, names: list[str]) -> None:
        """They hang up."""
        for each in names:
            self.tell("abandoned", each, queue)

    def stop(self) -> None:
        """No more of it."""
        self._beating.cancel()
        with contextlib.suppress(Exception):
            self._run(self._producer.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@dataclass(frozen=True)
class Reply:
    """What the service answered: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class WallboardProcess(Running):
    """`queuewatch wallboard`."""

    def __init__(self, toml: Path, folder: Path, port: int | None = None) -> None:
        super().__init__("wallboard", folder, "--config", str(toml), port_option="--wallboard-port", port=port)

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, headers: Mapping[str, str] = MappingProxyType({}), *, data: bytes | None = None) -> Reply:
        """What it answers; a body makes it a POST.  Fails where nobody listens."""
        try:
            with urlopen(Request(self.address + path, data=data, headers=dict(headers)), timeout=20) as answer:
                return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except HTTPError as error:
            return Reply(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def ticket(self, token: str) -> str:
        """A ticket for a link's token."""
        answer = self.ask("/api/v1/ticket", bearer(token), data=b"")
        assert answer.status == 200, answer
        ticket: str = answer.json["ticket"]
        return ticket

    def until_ready(self) -> WallboardProcess:
        """Wait until it has read what there is."""

        def ready() -> bool:
            assert self.process.poll() is None, f"the wallboard ended:\n{self.said()[-4000:]}"
            with contextlib.suppress(URLError, ConnectionError, TimeoutError):
                return self.ask("/readyz").status == 200
            return False

        until("the wallboard to be ready", ready)
        return self


@dataclass
class Floor:
    """The whole: the wallboard that is open on loopback, and one that asks for links."""

    site: Site
    broker: Broker
    worker: WorkerProcess
    board: WallboardProcess
    calls: Calls
    guarded_toml: Path
    ending: contextlib.ExitStack

    @cached_property
    def guarded(self) -> WallboardProcess:
        """The wallboard that asks for links, started when first asked for."""
        self.run("link", "--all")  # without a key nobody could be let in, and it would not start
        started = WallboardProcess(self.guarded_toml, self.site.folder).start()
        self.ending.callback(_end, started)
        return started.until_ready()

    def run(self, *arguments: str) -> str:
        """`queuewatch wallboard …` for the guarded one; what it prints."""
        return _run(self.guarded_toml, *arguments)

    def link(self, *arguments: str) -> str:
        """A link of the guarded wallboard, as its command prints it."""
        return self.run("link", "--base-url", self.guarded.address, *arguments).strip().splitlines()[-1]


def _run(toml: Path, *arguments: str) -> str:
    done = subprocess.run(
        command("wallboard", *arguments, "--config", str(toml)),
        env=environment(),
        cwd=toml.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token or a ticket."""
    return {"Authorization": f"Bearer {token}"}


def token_of(link: str) -> str:
    """The token in a link's fragment."""
    return link.partition("#token=")[2]


@contextlib.contextmanager
def floor(broker: Broker, application: str, folder: Path) -> Iterator[Floor]:
    """Everything started, the open board ready; everything ended at the end."""
    keys = folder / "wallboard-keys.json"
    site = Site(broker, application, folder, settings=SETTINGS)
    with contextlib.ExitStack() as ending:
        ending.callback(site.close)
        aside(site.create_topics)
        worker = site.worker()
        guarded_toml = folder / "guarded.toml"
        guarded_toml.write_text(site.toml.read_text() + f'[wallboard]\nkeys_file = "{keys}"\n')
        calls = Calls(site)
        ending.callback(calls.stop)
        worker.until_ready()
        for queue in (NORTH, SOUTH, FOREIGN):
            calls.leave(queue, calls.enter(queue))
        board = WallboardProcess(site.toml, folder).start()
        ending.callback(_end, board)
        board.until_ready()
        yield Floor(site, broker, worker, board, calls, guarded_toml, ending)


def _end(board: WallboardProcess) -> None:
    if board.process.poll() is None:
        board.kill()


# --------------------------------------------------------------------------------------------------------- the browser


def chromium() -> str:
    """The program; skips where it is missing, or fails where all is required."""
    found = shutil.which("chromium")
    if found is None:
        reason = "chromium is missing: apt-get install -y chromium"
        if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
            pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {reason}", pytrace=False)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright."""
    program = chromium()
    with sync_playwright() as playwright:
        # As root, in containers, Chromium's own sandbox cannot be set up.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


WATCH = """([selector]) => {
  const seen = (window.__seen = []);
  const look = () => {
    const found = document.querySelector(selector);
    const text = found === null ? null : found.textContent.trim();
    if (seen.length === 0 || seen[seen.length - 1] !== text) seen.push(text);
  };
  look();
  new MutationObserver(look).observe(document.documentElement, { subtree: true, childList: true, characterData: true,
    attributes: true });
}"""
"""Writes down every text that an element has had since."""

SHIFTED = """(() => {
  const True = Date, shift = %d;
  const parts = (given) => (given.length === 0 ? [True.now() + shift] : given);
  window.Date = class extends True {
    constructor(...given) { super(...parts(given)); }
    static now() { return True.now() + shift; }
  };
})()"""
"""A browser whose clock is wrong by so many milliseconds; its monotonic clock runs as ever."""


class Screen:
    """A page of the board in a browser, and everything that it has asked for and received."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.problems: list[str] = []
        self.messages: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("request", lambda request: self.headers.append(request.headers))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("response", lambda answer: self._answered(answer.status, answer.url))
        wire = context.new_cdp_session(self.page)
        wire.on("Network.eventSourceMessageReceived", lambda event: self.messages.append(event["data"]))
        wire.send("Network.enable")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400 and status not in (401, 403):
            self.problems.append(f"{status} {url.partition('?')[0]}")

    def open(self, address: str) -> Screen:
        """Go there."""
        self.page.goto(address, wait_until="load")
        return self

    def text(self, selector: str) -> str | None:
        """What people read there; None where there is no such element, or it is hidden."""
        found: str | None = self.page.evaluate(
            "(s) => { const e = document.querySelector(s);"
            " return e === null || e.getClientRects().length === 0 ? null : e.innerText.trim(); }",
            selector,
        )
        return found

    def figure(self, queue: str, name: str) -> str | None:
        """A queue's figure as it is shown."""
        return self.text(f'{at(queue)} [data-figure="{name}"]')

    def mark(self, queue: str, attribute: str) -> str | None:
        """What a queue's element says of itself (state, stale)."""
        found: str | None = self.page.evaluate(
            "([s, a]) => { const e = document.querySelector(s); return e === null ? null : e.getAttribute(a); }",
            [at(queue), f"data-{attribute}"],
        )
        return found

    def until(self, what: str, is_so: Callable[[], object], *, patience: float = 10.0) -> None:
        """Look again and again, with the browser's events coming in; where it does not come, say what is shown."""
        end = time.monotonic() + patience
        while not is_so():
            if time.monotonic() > end:
                shown = self.page.inner_text("body")[:2000]
                raise AssertionError(f"not within {patience:g} s: {what}\n{self.problems[-5:]}\n{shown}")
            self.page.wait_for_timeout(100)

    def until_figure(self, queue: str, name: str, text: str, *, patience: float = 10.0) -> None:
        """Wait until a queue's figure is this."""
        self.until(f"{name} of {queue} is {text}", lambda: self.figure(queue, name) == text, patience=patience)

    def watch(self, queue: str, name: str) -> None:
        """Write down from now on what that figure shows."""
        self.page.evaluate(WATCH, [f'{at(queue)} [data-figure="{name}"]'])

    def seen(self) -> list[str | None]:
        """What was written down."""
        found: list[str | None] = self.page.evaluate("window.__seen")
        return found


def at(queue: str) -> str:
    """The selector of a queue's element."""
    return f'[data-queue="{queue}"]'


def query(**asked: str) -> str:
    """`?name=value&…`."""
    return "?" + "&".join(f"{name}={quote(value)}" for name, value in asked.items())
