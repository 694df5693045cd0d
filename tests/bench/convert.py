"""How fast `convert` reads a queue_log, and that its memory does not grow: python -m bench.convert [LINES].

Lines a second of processor time, since `convert` runs on one core and others may use the machine; without the start of Python.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from sources.made_up import START, made_up_day

DAY: Final = 20_000
"""Calls of the day that is repeated, each time later and with other calls."""


def write_log(path: Path, lines: int) -> None:
    """A log of so many lines."""
    day, _ = made_up_day(1, calls=DAY)
    length = DAY * 4 + 400
    with path.open("wb") as log:
        written = repeated = 0
        while written < lines:
            shift, old, new = repeated * length, b"|%d." % START, b"|%d." % (START + repeated * length)
            for line in day[: lines - written]:
                stamp, rest = line.split(b"|", 1)
                log.write(b"%d|%s\n" % (int(stamp) + shift, (b"|" + rest).replace(old, new)[1:]))
            written += min(len(day), lines - written)
            repeated += 1


def spent(path: Path) -> tuple[float, list[int]]:
    """Processor seconds of converting a file, and the process' memory on the way, KiB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "queuewatch_streams.cli", "convert", "--from", "asterisk-queue-log", str(path)]
    memory: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            time.sleep(0.5)
            status = Path(f"/proc/{running.pid}/statm")
            if status.exists() and len(fields := status.read_text().split()) > 1:
                memory.append(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert running.returncode == 0
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, [each for each in memory if each]


def main(lines: int) -> None:
    """Measure and tell."""
    with tempfile.TemporaryDirectory(prefix="queuewatch-bench-") as folder:
        path, nothing = Path(folder) / "queue_log", Path(folder) / "empty"
        write_log(path, lines)
        nothing.touch()
        start, _ = spent(nothing)
        seconds, memory = spent(path)
    rate = lines / (seconds - start)
    quarter = len(memory) // 4
    print(f"{lines:,} lines: {rate:,.0f} a second of processor time, {(seconds - start) / lines * 1e6:.2f} µs each")
    print(f"memory: {memory[quarter] / 1024:.0f} MiB after a quarter, {max(memory) / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
