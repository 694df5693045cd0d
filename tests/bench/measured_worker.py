"""A worker as `queuewatch worker` runs it, which besides writes down ten times a second how far it is.

    python -m bench.measured_worker CONFIGURATION.toml PROGRESS.jsonl

Each line tells, on the machine's monotonic clock: records folded, bytes and records of checkpoints acknowledged, processor
seconds, resident bytes, and the longest time that the event loop was not free since the line before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

import faust

from queuewatch_schemas.configuration_file import load
from queuewatch_streams.core.partition import Clock
from queuewatch_streams.worker import Worker, prepare

EVERY = 0.1
LOOK = 0.01
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """The process's resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


async def write_down(worker: Worker, file: TextIO) -> None:
    """Tell of the worker until it ends."""
    stalled, told = 0.0, 0.0
    while True:
        before = time.monotonic()
        await asyncio.sleep(LOOK)
        now = time.monotonic()
        stalled = max(stalled, now - before - LOOK)
        if now - told >= EVERY:
            line = {
                "at": now,
                "folded": worker.deliveries.records_folded,
                "bytes": worker.checkpoints.bytes_written,
                "records": worker.checkpoints.records_written,
                "cpu": time.process_time(),
                "resident": resident(),
                "stalled": stalled,
                "ready": worker.unready() is None,
            }
            file.write(json.dumps(line) + "\n")
            file.flush()
            stalled, told = 0.0, now


class _Faust(faust.Worker):
    def __init__(self, worker: Worker, file: TextIO) -> None:
        super().__init__(worker.app, loglevel="WARNING", redirect_stdouts=False, quiet=True)
        self.spinner = None
        worker.add_future(write_down(worker, file))


def main() -> None:
    """Run the worker until it is stopped."""
    toml, progress = map(Path, sys.argv[1:3])
    configuration = load(toml)
    prepared = asyncio.run(prepare(configuration))
    with tempfile.TemporaryDirectory(prefix="queuewatch-bench-") as scratch, progress.open("w") as file:
        worker = Worker(configuration, prepared, Clock.LIVE, Path(scratch))
        _Faust(worker, file).execute_from_commandline()


if __name__ == "__main__":
    main()
