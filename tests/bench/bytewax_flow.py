"""The same core driven by Bytewax: a dataflow keyed by queue, recovery on.

    python -m bench.bytewax_flow BROKER TOPIC PARTITIONS RECORDS FOLDER             # in an environment of its own

**What is fair.**  `stateful_batch` with the queue as key: its logic holds the live queue in memory, is handed all events of
the queue that came in one batch of the source, and is asked for a snapshot at the end of each epoch in which it had events.
That is Bytewax' own way, and the cheapest one: nothing is serialised for each message.  Epochs have the ten seconds of the
default, the source takes its default batches of 1,000, recovery goes into SQLite, one file a partition.  The snapshot is the
record that the worker writes of a queue: bytes, so that pickling costs nothing; a tenth of the size of a pickled state.

**What it does less than the worker.**  No `/metrics` and no scrapes, no snapshots for others, intervals or dead letters, no
counts by partition, no group and no second worker: its partitions are assigned by hand, its state is on one machine's disk.

Prints as JSON the records, seconds and processor seconds after the first 20,000, snapshots of a queue, bytes, calls offered.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.connectors.stdio import StdOutSink  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]
from bytewax.run import cli_main  # type: ignore[import-not-found]

from bench.one_queue import CHECKPOINT_EVERY, Meter, OneQueue
from queuewatch_streams.core.partition import Record


class Folding(StatefulBatchLogic):  # type: ignore[misc]
    """One queue.  A snapshot is (name, partition, record)."""

    def __init__(self, kept: tuple[str, int, bytes] | None, flow: Flow) -> None:
        self._flow = flow
        self._number = -1 if kept is None else kept[1]
        self.queue = None if kept is None else OneQueue(kept[0], kept[1], flow.partitions, kept[2])

    def on_batch(self, values: list[Any]) -> tuple[tuple[()], bool]:
        """Some messages of this queue, in the order of their offsets."""
        if self.queue is None:
            self._number = values[0].partition
            self.queue = OneQueue(values[0].key.decode(), self._number, self._flow.partitions, None)
        self.queue.fold([Record(each.offset, each.timestamp[1], each.key, each.value, each.headers) for each in values])
        self._flow.folded(len(values))
        return (), self.RETAIN

    def snapshot(self) -> tuple[str, int, bytes]:
        """What recovery keeps."""
        assert self.queue is not None
        value = self.queue.record()
        self._flow.records += 1
        self._flow.written += len(value)
        return self.queue.name, self._number, value


class Flow:
    """The dataflow; it ends its process once all is folded."""

    def __init__(self, broker: str, topic: str, partitions: int, records: int) -> None:
        self.partitions = partitions
        self.records = self.written = 0
        self._meter = Meter(records)
        self._all: list[Folding] = []
        self.dataflow = Dataflow("queuewatch")
        source = op.input("events", self.dataflow, KafkaSource([broker], [topic]))
        keyed = op.key_on("queue", source, lambda message: message.key.decode())
        op.output("nothing", op.stateful_batch("fold", keyed, self._build), StdOutSink())  # a dataflow needs an end

    def _build(self, kept: tuple[str, int, bytes] | None) -> Folding:
        self._all.append(Folding(kept, self))
        return self._all[-1]

    def folded(self, count: int) -> None:
        """So many more."""
        if self._meter.folded(count):
            offered = sum(each.queue.offered() for each in self._all if each.queue is not None)
            self._meter.end(checkpoints=self.records / len(self._all), bytes=self.written, offered=offered)


def main() -> None:
    """Fold so many records, then end at once."""
    broker, topic, partitions, records, folder = sys.argv[1:6]
    kept = Path(folder)
    if not kept.exists():
        kept.mkdir(parents=True)
        init_db_dir(kept, int(partitions))
    cli_main(
        Flow(broker, topic, int(partitions), int(records)).dataflow,
        epoch_interval=timedelta(seconds=CHECKPOINT_EVERY),
        recovery_config=RecoveryConfig(kept),
    )


if __name__ == "__main__":
    main()
