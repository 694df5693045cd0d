"""The core as other frameworks drive it: one queue by itself, a partition of the core that holds nothing else.

Frameworks that keep state by key hand over the events of one key and store the state of one key.  The core's own interface
serves that: fold, record, restore.  Log time is then the queue's own, not its partition's.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence

from bench.core_kind import core_is
from queuewatch_schemas.config import Configuration
from queuewatch_streams.core.partition import Clock, Partition, Record

AHEAD = 20_000
"""Events that are folded before the clock starts, as the measured worker does it."""
CHECKPOINT_EVERY = 10.0
"""Seconds between two checkpoints of a framework: Bytewax' default, twice that of Quix Streams, and as often as the worker
commits."""
_CONFIGURATION = Configuration()


class Meter:
    """Counts what was folded; the clock starts after the first 20,000."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._seen = self._before = 0
        self._began = self._worked = 0.0

    def folded(self, count: int) -> bool:
        """So many more; whether that was all."""
        self._seen += count
        if not self._before and self._seen >= AHEAD:
            self._before, self._began, self._worked = self._seen, time.monotonic(), time.process_time()
        return self._seen >= self._records

    def end(self, **more: float) -> None:
        """Print what it took, and end this process at once: what an orderly end costs is not measured."""
        spent = {"seconds": time.monotonic() - self._began, "cpu": time.process_time() - self._worked}
        told = {"records": self._seen - self._before, "compiled": core_is() == "compiled", **spent, **more}
        print(json.dumps(told), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


class OneQueue:
    """A queue and its state."""

    def __init__(self, name: str, number: int, partitions: int, kept: bytes | None) -> None:
        self.name = name
        self._partition = Partition.restored(
            number, _CONFIGURATION, () if kept is None else (kept,), partitions=partitions, clock=Clock.LIVE
        )

    def fold(self, records: Sequence[Record]) -> None:
        """Fold some events of this queue.  Fails where one is refused: the feed has none that should be."""
        folded = self._partition.fold(records)
        assert not folded.refused, folded.refused
        assert not folded.misplaced, folded.misplaced

    def record(self) -> bytes:
        """The same record that the worker writes of a queue."""
        up_to = self._partition.next_offset
        value = self._partition.encode_queue(self.name)
        assert value is not None, "queues leave after thirty days"
        self._partition.written(self.name, up_to)
        return value

    def offered(self) -> int:
        """Calls that were offered since its first event."""
        queue = self._partition.queues.get(self.name)
        return 0 if queue is None else sum(each.totals.get("offered", 0) for each in queue.channels.values())
