"""The same core driven by Quix Streams: a stateful function of each message, keyed by queue, state in RocksDB with a changelog.

    python -m bench.quix_streams BROKER TOPIC PARTITIONS RECORDS GROUP FOLDER       # in an environment of its own

**What is fair.**  Quix Streams hands over one message at a time together with the state of its key, and writes at each commit
what was set.  A queue's state is one record of some kilobytes: to get, unpack, change, pack and set it for each message costs
hundreds of times the fold, and nobody would run that.  What the framework promises is that state and offsets are committed
together; so it is enough when the state is set as late as possible before a commit.  Therefore each queue stays unpacked in
memory, a message is folded there, and its `State` is kept; when Quix Streams commits it first calls `flush` of the registered
sinks, which is public, and there the record of each queue that changed is set, once.  That is the least that loses nothing in
a crash: one get of a queue's state when it is first met (its record is read back there), no call of the store for each
message, one set a queue and commit.  Commits come every ten seconds, which is twice the default and in its favour; values and
keys stay bytes, since the core reads the JSON itself; the function returns nothing, so that nothing is passed on.

**What it does less than the worker.**  No `/metrics` and no scrapes, no snapshots, intervals or dead letters, no counts by
partition, no lease.  Records are written by the ten seconds whatever is left to do, not spread; of two owners the one that
writes last wins; and queues of partitions that were taken away would stay in memory (here is one process).

Prints as JSON the records, seconds and processor seconds after the first 20,000, the commits, bytes set, and calls offered.
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, message_context  # type: ignore[import-not-found]
from quixstreams.sinks import BaseSink  # type: ignore[import-not-found]

from bench.one_queue import CHECKPOINT_EVERY, Meter, OneQueue
from queuewatch_streams.core.partition import Record

KEY = "record"


class Records(BaseSink):  # type: ignore[misc]
    """Sets the records of the queues that changed, when Quix Streams is about to commit."""

    def __init__(self) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self.changed: dict[bytes, tuple[OneQueue, Any]] = {}
        self.commits = self.written = 0

    def flush(self) -> None:
        """A commit begins; the states are those of its transaction."""
        for queue, state in self.changed.values():
            value = queue.record()
            state.set_bytes(KEY, value)
            self.written += len(value)
        self.changed.clear()
        self.commits += 1

    def add(self, *_: Any, **__: Any) -> None:
        """Never called: nothing is passed on."""
        raise NotImplementedError


def main() -> None:
    """Fold so many records, then end at once."""
    broker, topic, partitions, records, group, folder = sys.argv[1:7]
    app = Application(
        broker_address=broker,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=CHECKPOINT_EVERY,
        state_dir=folder,
        loglevel="WARNING",
    )
    sink = Records()
    queues: dict[bytes, OneQueue] = {}
    changed = sink.changed
    meter = Meter(int(records))

    def fold(value: bytes, key: bytes, timestamp: int, headers: Any, state: Any) -> tuple[()]:
        at = message_context()
        queue = queues.get(key)
        if queue is None:
            kept = state.get_bytes(KEY)
            queue = queues[key] = OneQueue(key.decode(), at.partition, int(partitions), kept)
        queue.fold((Record(at.offset, timestamp, key, value, headers or ()),))
        changed[key] = queue, state
        if meter.folded(1):
            offered = sum(each.offered() for each in queues.values())
            meter.end(checkpoints=sink.commits, bytes=sink.written, offered=offered)
        return ()

    source = app.topic(topic, key_deserializer="bytes", value_deserializer="bytes")
    stream = app.dataframe(source).apply(fold, stateful=True, expand=True, metadata=True)
    stream.sink(sink)
    app.run()


if __name__ == "__main__":
    main()
