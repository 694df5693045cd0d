"""Processes that are measured: started with our sources, watched, always ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from integration.worker_process import ROOT, environment
from queuewatch_streams.brokers import free_port

T = TypeVar("T")
PATIENCE = 600.0


def our_environment() -> dict[str, str]:
    """The environment in which `python -m bench.…` runs."""
    kept = environment()
    kept["PYTHONPATH"] += f":{ROOT / 'tests'}"
    return kept


def run(module: str, *arguments: object, python: Path | str = sys.executable) -> dict[str, float]:
    """Run one of our modules to its end, perhaps by the Python of another environment; the JSON in its last line."""
    command = [str(python), "-m", f"bench.{module}", *map(str, arguments)]
    done = subprocess.run(command, env=our_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = done.stdout.strip().splitlines()
    assert lines, f"{module} printed nothing:\n{done.stderr[-3000:]}"
    found: dict[str, float] = json.loads(lines[-1])
    return found


def until(what: str, find: Callable[[], T | None], *, patience: float = PATIENCE, pause: float = 0.05) -> T:
    """Ask again and again until there is an answer that is not None."""
    end = time.monotonic() + patience
    while (found := find()) is None:
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(pause)
    return found


class Measured:
    """A measured worker: its process, its port, and what it has written down so far."""

    def __init__(self, toml: Path, folder: Path) -> None:
        self.port = free_port()
        stem = f"{toml.stem}-{self.port}"
        self.log, self.progress = folder / f"{stem}.log", folder / f"{stem}.jsonl"
        own = folder / f"{stem}.toml"
        text = toml.read_text()
        ports = f"\n[serve]\nmetrics_port = {self.port}\nwallboard_port = {0}\n"
        own.write_text(text + ports)
        command = [sys.executable, "-m", "bench.measured_worker", str(own), str(self.progress)]
        self.started_at = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=our_environment(), stdout=log, stderr=log)

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote down."""
        self.alive()
        if not self.progress.exists():
            return []
        return [json.loads(line) for line in self.progress.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def last(self) -> dict[str, Any] | None:
        """Its last line."""
        self.alive()
        if not self.progress.exists():
            return None
        with self.progress.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 2000))
            lines = [line for line in file.read().split(b"\n")[:-1] if line.startswith(b"{") and line.endswith(b"}")]
        return json.loads(lines[-1]) if lines else None

    def alive(self) -> None:
        """Fails, with the end of its log, where it has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")

    def until(self, what: str, is_so: Callable[[dict[str, Any]], Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for a line of which something is so."""

        def look() -> dict[str, Any] | None:
            last = self.last()
            return last if last is not None and is_so(last) else None

        return until(what, look, patience=patience)

    def get(self, path: str, timeout: float = 30.0) -> tuple[int, bytes] | None:
        """Status and body; None while nobody listens."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except (URLError, ConnectionError, TimeoutError):
            return None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile it does nothing (SIGSTOP), which must take less than its session."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def until_ready(self) -> float:
        """Wait until it calls itself ready; when that was, in seconds after its start."""

        def look() -> float | None:
            self.alive()
            answer = self.get("/readyz")
            return time.monotonic() - self.started_at if answer is not None and answer[0] == 200 else None

        return until("ready", look, pause=0.02)

    def stop(self) -> None:
        """End it in order."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
            self.process.wait(30)
        finally:  # also where we are told to end while it takes its time
            if self.process.poll() is None:
                self.kill()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(30)


@contextmanager
def worker(toml: Path, folder: Path) -> Iterator[Measured]:
    """A measured worker, ended at the end."""
    measured = Measured(toml, folder)
    try:
        yield measured
    finally:
        with suppress(subprocess.TimeoutExpired):  # then it was killed
            measured.stop()


@contextmanager
def scraping(measured: Measured, every: float) -> Iterator[list[float]]:
    """Another process that scrapes all of /metrics every so many seconds, as Prometheus does; fills the times it took."""
    code = (
        "import sys,time,urllib.request as u\n"
        "while True:\n"
        "  t=time.monotonic()\n"
        "  try: b=u.urlopen(sys.argv[1],timeout=60).read(); print(time.monotonic()-t,b.count(10),flush=True)\n"
        "  except OSError: pass\n"
        "  time.sleep(max(0.1,float(sys.argv[2])-(time.monotonic()-t)))\n"
    )
    command = [sys.executable, "-c", code, f"http://127.0.0.1:{measured.port}/metrics", str(every)]
    scraper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    took: list[float] = []
    try:
        yield took
    finally:
        scraper.kill()
        said, _ = scraper.communicate()
        took += [float(line.split()[0]) for line in said.splitlines() if len(line.split()) == 2]
