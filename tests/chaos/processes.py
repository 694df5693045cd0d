"""A worker as a process: started, stopped, killed, frozen and thawed, and never outliving us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from integration.worker_process import ROOT, command, environment
from queuewatch_streams.brokers import free_port
from queuewatch_streams.watchdog import call_off, watch

__all__ = ["Worker"]

STOPPING: Final = 30.0
"""Seconds in which a worker that is told to stop has to end."""


class Worker:
    """One place for a worker: a configuration, a port, and the process that is there now, if any."""

    def __init__(self, name: str, toml: Path, folder: Path, planted: str | None = None) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"worker-{name}.log"
        self.incarnation = 0
        self.wanted = False
        """Whether it is meant to run."""
        self.frozen = False
        self._folder = folder
        self._planted = planted
        self._arguments = ("worker", "--config", str(toml), "--metrics-port", str(self.port))
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status of the last process; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.running:
            return
        self._reap()
        self.incarnation += 1
        data = self._folder / f"data-{self.name}-{self.incarnation}"
        data.mkdir()
        arguments = ("-v", *self._arguments, "--data-folder", str(data))
        words, variables = command(*arguments), environment()
        if self._planted is not None:
            words = [sys.executable, "-m", "chaos.planted_worker", *arguments]
            variables |= {
                "QUEUEWATCH_PLANTED": self._planted,
                "PYTHONPATH": os.pathsep.join([variables["PYTHONPATH"], str(ROOT / "tests")]),
            }
        with self.log.open("ab") as log:
            log.write(f"=== {time.strftime('%H:%M:%S')} incarnation {self.incarnation}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                words, env=variables, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        self._watchdog = watch(self._process.pid, data)
        self.wanted, self.frozen = True, False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.wanted = False
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
        self._reap()

    def tell_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        self.wanted = False
        self.signal(signal.SIGTERM)

    def stop(self, patience: float = STOPPING) -> int | None:
        """End it as an operator would: its exit status, or None where it did not end in time and was killed."""
        self.tell_to_stop()
        if self._process is None:
            return 0
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        self._reap()
        return status

    def freeze(self) -> None:
        """SIGSTOP."""
        self.frozen = True
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.frozen = False

    def _reap(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            call_off(watchdog)
