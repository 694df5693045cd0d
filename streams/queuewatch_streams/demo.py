"""The demo: an embedded broker, a worker, the wallboard and a simulated call centre in real time, and figures on the terminal.

It decides what is started, in which order, and that all of it ends with the demo: in order when the demo is told to end
or a part of it fails, by watchdogs when it is killed.  Everything listens on loopback, on memory or in one private folder
which is removed at the end; it is kept, and named, when something failed.

Exit status: 0 when the asked-for seconds are over or the reader of a pipe went away, 130 after Ctrl-C, 143 after SIGTERM,
129 when the terminal is gone.  A second Ctrl-C does not wait for an orderly end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.control import Control
from rich.live import Live

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.configuration_file import load
from queuewatch_streams.brokers import HOST, BrokerError, EmbeddedBroker, embedded_broker, free_port, tansu_binary
from queuewatch_streams.demo_figures import UNKNOWN, Figures, QueueFigures, read
from queuewatch_streams.demo_table import View, addresses, picture, plain_lines
from queuewatch_streams.kafka import KafkaTrouble
from queuewatch_streams.simulation import Settings
from queuewatch_streams.tasks import together
from queuewatch_streams.topics import ensure
from queuewatch_streams.watchdog import call_off, watch

__all__ = ["DemoFailed", "run_demo"]

READ_EVERY: Final = 1.0
"""Seconds between two readings of /metrics."""
LINES_EVERY: Final = 5.0
"""Seconds between two rounds of plain lines."""
STALE_AFTER: Final = 5.0
"""Figures that could not be read for so many seconds are unknown."""
PATIENCE: Final = 120.0
"""Seconds in which the worker must be ready."""
ENDING: Final = 8.0
"""Seconds that a process has to end in order."""
TAIL: Final = 15
"""Lines of a log that are told."""

CALLS_PER_HOUR: Final = 360
"""By queue: with five queues something happens every second."""
ALL_CALLS_PER_HOUR: Final = 12_000
"""Over all queues at most: more would only show how fast this machine is."""
LONGEST_WAIT: Final = 60
"""Seconds of the longest wait beyond which a queue is behind: less than usual, so that a short incident shows."""
CALLS_WAITING: Final = 8
"""Callers waiting beyond which a queue is behind."""
INCIDENT_EVERY: Final = 6.0
"""Minutes."""
INCIDENT_MINUTES: Final = 2.5
INCIDENTS: Final = 100
"""After these, ten hours, the centre goes without."""


class DemoFailed(Exception):
    """The demo cannot start or go on; the text says why and what to do."""


@dataclass(slots=True)
class _Child:
    """A command of ours that runs beside the demo."""

    name: str
    process: subprocess.Popen[bytes]
    watchdog: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], folder: Path) -> _Child:
        """Start `queuewatch` with these arguments, its output in a log in the folder."""
        log = folder / f"{name.replace(' ', '-')}.log"
        # Whoever has set up queuewatch for another cluster must not have the demo write there.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("QUEUEWATCH_")}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "queuewatch_streams.cli",
                    *arguments,
                ],  # -P: no module of the current folder
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which ends the others in order
            )
        try:
            return cls(name, process, watch(process.pid, folder), log)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


async def run_demo(*, metrics_port: int, wallboard_port: int, queues: int, seed: int, seconds: float | None) -> int:
    """Run the demo until it is told to end, or for so many seconds; the exit status.

    Raises DemoFailed where a part is missing, a port is taken, or a part ends by itself; nothing runs on then.
    """
    ports = _Ports(metrics_port or free_port(), wallboard_port or free_port())
    _check(ports)
    folder = Path(tempfile.mkdtemp(prefix="queuewatch-demo-"))
    keep = False
    try:
        with _listening() as told:
            demo = _Demo(folder, ports, queues, seed)
            running = asyncio.ensure_future(demo.run())
            try:
                await asyncio.wait(_either(running, told.first), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()  # it ends by an error, or because nobody reads any more
            finally:
                await demo.end(running, told)
            return 128 + told.first.result() if told.first.done() else 0
    except (BrokerError, KafkaTrouble, DemoFailed) as error:
        keep = any(folder.iterdir())
        kept = f"\nThe logs are kept in {folder}" if keep else ""
        raise DemoFailed(f"{error}{kept}") from None
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _either(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)


class _Told:
    """What signals ask for: the number of the first, and whether another came, so that it is urgent."""

    def __init__(self) -> None:
        self.first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.urgent = False

    def tell(self, number: int) -> None:
        """A signal came."""
        if self.first.done():
            self.urgent = True
        else:
            self.first.set_result(number)


@contextlib.contextmanager
def _listening() -> Iterator[_Told]:
    """Hear the signals that ask for an end; those that are ignored stay so."""
    loop, told = asyncio.get_running_loop(), _Told()
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, told.tell, number)
    try:
        yield told
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True)
class _Ports:
    """Where the worker's figures and the wallboard are."""

    metrics: int
    wallboard: int


def _check(ports: _Ports) -> None:
    """What can be known before anything is started.  Raises DemoFailed."""
    try:
        tansu_binary()
    except BrokerError as error:
        raise DemoFailed(str(error)) from None
    if ports.metrics == ports.wallboard:
        raise DemoFailed(
            f"--metrics-port and --wallboard-port are both {ports.metrics}; choose another for one of them"
        )
    for port, flag in ((ports.metrics, "--metrics-port"), (ports.wallboard, "--wallboard-port")):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # what a server that ended just now left is no hindrance
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise DemoFailed(
                    f"port {port} on {HOST} cannot be had ({error.strerror}); stop what listens there, or choose another with"
                    f" {flag} (0: any that is free)"
                ) from None


class _Demo:
    """What runs, and what is shown of it."""

    def __init__(self, folder: Path, ports: _Ports, queues: int, seed: int) -> None:
        self.folder = folder
        self.ports = ports
        self.seed = seed
        self.queues = queues
        self.console = Console()
        self.on_terminal = self.console.is_terminal and not self.console.is_dumb_terminal
        self.broker: EmbeddedBroker = embedded_broker()
        self.children: list[_Child] = []
        self.names = Settings(start=_NOWHEN, queues=queues).queue_names
        self.figures = self._unknown()
        self.read_at: float | None = None
        self.status = "starting the broker"
        self.incidents_from: float | None = None
        self._starting: asyncio.Future[str] | None = None

    # ------------------------------------------------------------------------------------------------ starting, ending

    async def run(self) -> None:
        """Start everything and show it; ends by an error, or when nobody reads any more."""
        await together(self._show(), self._go())

    async def _go(self) -> None:
        configuration = await self._start()
        base = f"http://{HOST}:{configuration.serve.metrics_port}"
        patience = time.monotonic() + PATIENCE
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=STALE_AFTER)) as client:
            while True:
                began = time.monotonic()
                await self._read(client, base)
                if self.figures.ready:
                    patience = began + PATIENCE
                elif began > patience:
                    raise DemoFailed(f"the worker was not ready for {PATIENCE:.0f} s: {self.status}")
                spent = time.monotonic() - began
                await self._watched_sleep(max(READ_EVERY - spent, spent))

    async def _start(self) -> Configuration:
        self._starting = asyncio.ensure_future(asyncio.to_thread(self.broker.start))
        address = await asyncio.shield(self._starting)  # its thread cannot be cancelled: `end` sees to it
        file = self.folder / "demo.toml"
        file.write_text(_toml(address, self.ports, self.names))
        configuration = load(file)
        self.status = "creating the topics"
        await ensure(configuration)
        self.status = "starting the worker, the wallboard and the call centre"
        config = ("--config", str(file))
        for name, arguments in (
            ("worker", ["worker", *config, "--data-folder", str(self.folder)]),
            ("wallboard", ["wallboard", *config]),
            ("call centre", ["simulate", *config, *_simulation(self.names, self.queues, self.seed)]),
        ):
            self.children.append(_Child.start(name, arguments, self.folder))
        self.incidents_from = time.time()
        return configuration

    async def _watched_sleep(self, seconds: float) -> None:
        """Sleep, and notice within a moment what ended by itself.  Raises DemoFailed."""
        until = time.monotonic() + seconds
        while True:
            if not self.broker.running():
                raise DemoFailed(
                    f"the embedded broker ended by itself; the end of its log:\n{self.broker.log_tail(TAIL)}"
                )
            for child in self.children:
                status = child.process.poll()
                if status is not None:
                    how = f"was killed by signal {-status}" if status < 0 else f"ended by itself, exit status {status}"
                    raise DemoFailed(f"the {child.name} {how}; the end of its log:\n{child.tail()}")
            if (left := until - time.monotonic()) <= 0:
                return
            await asyncio.sleep(min(left, 0.25))

    async def end(self, running: asyncio.Future[None], told: _Told) -> None:
        """End everything that was started; at once when it is urgent."""
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await running
        if self.on_terminal:
            print("ending everything that was started …", file=sys.stderr, flush=True)
        while self._starting is not None and not self._starting.done():
            self.broker.kill()  # its start, in a thread of its own, gives up then
            await asyncio.sleep(0.05)
        if self._starting is not None and not self._starting.cancelled():
            self._starting.exception()
        for child in self.children:
            child.signal(signal.SIGTERM)
        until = time.monotonic() + ENDING
        while any(child.process.poll() is None for child in self.children):
            if told.urgent or time.monotonic() > until:
                for child in self.children:
                    child.signal(signal.SIGKILL)
            await asyncio.sleep(0.02)
        for child in self.children:
            call_off(child.watchdog)
        with contextlib.suppress(OSError):  # its own folder goes with it
            shutil.copy(self.broker.folder / "broker.log", self.folder)
        await asyncio.to_thread(self.broker.stop, patience=0.0 if told.urgent else ENDING)

    # ------------------------------------------------------------------------------------------------ reading, showing

    async def _read(self, client: aiohttp.ClientSession, base: str) -> None:
        """Read the figures, or find out why there are none yet."""
        try:
            async with client.get(f"{base}/metrics") as response:
                response.raise_for_status()
                text = await response.text()
            self.figures = await asyncio.to_thread(read, text, self.names)
            self.read_at = time.monotonic()
            if self.figures.ready:
                self.status = "live"
                return
            async with client.get(f"{base}/readyz") as response:
                self.status = f"the worker is not ready: {(await response.json()).get('reason', 'it is about to be')}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if self.read_at is not None:
                self.status = f"the worker does not answer: {str(error) or type(error).__name__}"

    def _unknown(self) -> Figures:
        return replace(UNKNOWN, queues=tuple(map(QueueFigures, self.names)))

    def _view(self) -> View:
        fresh = self.read_at is not None and time.monotonic() - self.read_at < STALE_AFTER
        base = f"http://{HOST}:{self.ports.metrics}"
        return View(
            self.figures if fresh else self._unknown(),
            time.time(),
            self.status,
            live=fresh and self.figures.ready,
            addresses={
                "wallboard": f"http://{HOST}:{self.ports.wallboard}/",
                "metrics": f"{base}/metrics",
                "readiness": f"{base}/readyz",
            },
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        about = (
            f"behind: level below target, wait over {LONGEST_WAIT} s, over {CALLS_WAITING} callers, many abandons",
            f"a simulated call centre with the dirt of real feeds, seed {self.seed}",
        )
        if self.incidents_from is None:
            return ("", *about)
        minutes = (time.time() - self.incidents_from) / 60
        for queue, begin in _incidents(self.names):
            if begin <= minutes < begin + INCIDENT_MINUTES:
                left = (begin + INCIDENT_MINUTES - minutes) * 60
                return (f"incident: nobody serves {queue}, for {left:.0f} s more", *about)
            if minutes < begin:
                return (f"next incident: {queue} loses its agents in {(begin - minutes) * 60:.0f} s", *about)
        return ("", *about)

    async def _show(self) -> None:
        if self.on_terminal:
            await self._show_live()
        else:
            with contextlib.suppress(BrokenPipeError):
                await self._show_lines()
            with contextlib.suppress(OSError):  # else Python complains at its end about what is left in the buffer
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    async def _show_live(self) -> None:
        console = self.console
        with Live(console=console, screen=True, auto_refresh=False) as live:
            try:
                while True:
                    live.update(picture(self._view(), width=console.width, height=console.height), refresh=True)
                    await asyncio.sleep(READ_EVERY / 2)
            finally:  # a terminal that was resized meanwhile may else leave some of the picture behind
                console.control(Control.home(), Control.clear())

    async def _show_lines(self) -> None:
        def say(text: str) -> None:
            print(text, flush=True)

        for line in addresses(self._view()):
            say(line)
        said = ""
        while True:
            view = self._view()
            if view.status != said:
                said = view.status
                say(f"{said} …" if not view.live else said)
            if view.live:
                say("\n".join(plain_lines(view)))
                await asyncio.sleep(LINES_EVERY)
            else:
                await asyncio.sleep(0.2)


_NOWHEN: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _toml(brokers: str, ports: _Ports, names: Sequence[str]) -> str:
    """The demo's configuration.  The embedded broker's group join takes half the session timeout, so that is short."""
    half = (len(names) + 1) // 2
    groups = "\n".join(
        f"[queues.{json.dumps(name)}]\ngroup = {json.dumps('Front' if number < half else 'Back')}\n"
        for number, name in enumerate(names)
    )
    return f"""\
[business]
time_zone = "UTC"

[kafka]
brokers = "{brokers}"
session_timeout_seconds = 6
heartbeat_seconds = 1.5

[defaults.limits]
longest_wait_seconds = {LONGEST_WAIT}
calls_waiting = {CALLS_WAITING}

[serve]
host = "{HOST}"
metrics_port = {ports.metrics}
wallboard_port = {ports.wallboard}

{groups}"""


def _simulation(names: Sequence[str], queues: int, seed: int) -> list[str]:
    rate = min(CALLS_PER_HOUR, ALL_CALLS_PER_HOUR / queues)
    return [
        *("--queues", str(queues), "--seed", str(seed), "--calls-per-hour", f"{rate:g}", "--tz", "UTC"),
        *("--flat", "--dirty", "--malformed", "0.002", "--heartbeats", "--snapshots", "--agent-states"),
        *("--real-time", "--kafka"),
        *(
            part
            for queue, begin in _incidents(names)
            for part in ("--incident", f"{queue}:{begin:g}:{INCIDENT_MINUTES:g}")
        ),
    ]


def _incidents(names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Queues, and the minute at which nobody serves them any more: the second queue soon, then one after another."""
    for number in range(INCIDENTS):
        yield names[(number + 1) % len(names)], 0.5 + number * INCIDENT_EVERY
