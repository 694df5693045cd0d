"""A worker with a toy core that only counts, run as a process of its own: `python counting_worker.py OPTIONS.json`.

It writes what it would show to a file, twice a second and after its end.  Its partition is the smallest that keeps the
contract of `queuewatch_streams.checkpoints.Partition`: a count per queue, guarded by the offset of the queue's record.
"""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import faust
import orjson
from aiokafka.cluster import ClusterMetadata

from queuewatch_schemas.config import KafkaSettings
from queuewatch_streams.checkpoints import Checkpoints
from queuewatch_streams.deliveries import Deliveries
from queuewatch_streams.delivery import FetchApp, Row, Settings, build_app
from queuewatch_streams.topics import wait_for_topic


def record_offset(value: bytes) -> int:
    """The source offset up to which a record is true: its first twenty digits."""
    return int(value[:20])


class CountingPartition:
    """Counts the events of each queue: the record's key, or ``data.queue`` of its value when it shall ``decode``."""

    def __init__(
        self, number: int, partitions: int, own: bytes | None, values: Sequence[bytes], *, decode: bool = False
    ) -> None:
        self.number = number
        self.decode = decode
        self.partitions = partitions
        self.topic_ids: tuple[str | None, str | None] = (None, None)
        self.counts: dict[str, int] = {}
        self.true_up_to: dict[str, int] = {}
        self.dirty: dict[str, tuple[int, int]] = {}
        self.last: dict[str, int] = {}
        self.total, self.own_up_to, self.next_offset = 0, 0, 0
        if own is not None:
            state = orjson.loads(own[20:])
            if state["partitions"] != partitions:
                raise ValueError(f"the records are of {state['partitions']} partitions, the topic has {partitions}")
            self.own_up_to, self.total, self.next_offset = int(own[:20]), state["total"], state["resume_at"]
            self.topic_ids = tuple(state["topic_ids"])
        for value in values:
            state = orjson.loads(value[20:])
            self.counts[state["queue"]] = state["events"]
            self.true_up_to[state["queue"]] = int(value[:20])

    @property
    def resume_at(self) -> int:
        return next(iter(self.dirty.values()))[0] if self.dirty else self.next_offset

    def fold(self, records: Iterable[Row]) -> int:
        folded = 0
        counts, true_up_to, dirty, last, decode = self.counts, self.true_up_to, self.dirty, self.last, self.decode
        for offset, timestamp, key, value, _ in records:
            queue = orjson.loads(value or b"")["data"]["queue"] if decode else (key or b"").decode()
            if offset >= self.own_up_to:
                self.total += 1
            folded += 1
            self.next_offset = max(self.next_offset, offset + 1)
            if offset < true_up_to.get(queue, 0):
                continue
            counts[queue] = counts.get(queue, 0) + 1
            last[queue] = offset
            if queue not in dirty:
                dirty[queue] = offset, timestamp
        return folded

    def encode_queue(self, queue: str) -> bytes | None:
        if queue not in self.counts:
            return None
        return b"%020d" % self.next_offset + orjson.dumps({"queue": queue, "events": self.counts[queue]})

    def encode_self(self) -> bytes:
        state = {
            "resume_at": self.resume_at, "total": self.total, "partitions": self.partitions, "topic_ids": self.topic_ids,
        }  # fmt: skip
        return b"%020d" % self.next_offset + orjson.dumps(state)

    def written(self, queue: str | None, up_to: int) -> None:
        if queue is None:
            return
        if queue in self.dirty:
            del self.dirty[queue]
            if self.last[queue] >= up_to:
                self.dirty[queue] = up_to, 0
                self.dirty = dict(sorted(self.dirty.items(), key=lambda item: item[1]))

    def unwritten(self, queue: str) -> None:
        """Nothing to do: a queue stays dirty until its record is acknowledged."""


class Shown:
    """Writes what the worker would show to a file."""

    app: FetchApp
    deliveries: Deliveries[CountingPartition]
    checkpoints: Checkpoints[CountingPartition]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost: dict[int, int] = {}
        self.first = self.latest = 0.0
        self.seen = 0

    def lose(self, partition: CountingPartition, up_to: int) -> None:
        self.lost[partition.number] = self.lost.get(partition.number, 0) + up_to - partition.next_offset
        partition.next_offset = up_to

    def write(self) -> None:
        exposed = self.deliveries.exposed()
        table: Any = self.app.tables["queues"]
        consumer: Any = self.app.consumer
        state = {
            "exposed": {p: partition.counts for p, partition in exposed.items()},
            "totals": {p: partition.total for p, partition in exposed.items()},
            "owned": sorted(self.deliveries.owned()),
            "lag": {p: self.deliveries.lag(p) for p in self.deliveries.owned()},
            "committed": {p: self.checkpoints.committed(p) for p in self.deliveries.owned()},
            "folded": self.deliveries.records_folded,
            "fetched_again": self.deliveries.fetched_again,
            "written": self.checkpoints.records_written,
            "lost": self.lost,
            "seconds": self.latest - self.first,
            "table": len(table.data),
            "gaps": sum(len(gap) for gap in consumer._gap.values()),
        }
        hidden = self.path.with_suffix(".tmp")
        hidden.write_text(json.dumps(state))
        hidden.replace(self.path)

    def note(self, _: CountingPartition, records: int) -> None:
        self.latest = time.monotonic()
        if not self.seen:
            self.first = self.latest
        self.seen += records


def make(options: dict[str, Any]) -> FetchApp:
    """The application for these options."""
    partitions = options["partitions"]
    settings = Settings(
        brokers=options["brokers"], group=options["group"], source=options["source"], partitions=partitions,
        session_timeout=options.get("session_timeout", 6.0), folder=Path(options["folder"]),
        **options.get("settings", {}),
    )  # fmt: skip
    app = build_app(settings)
    checkpoints: Checkpoints[CountingPartition] = Checkpoints(
        app,
        record_offset=record_offset,
        **{"interval": 2.0, "commit_interval": 1.0, "tick": 0.2} | options.get("every", {}),
    )
    shown = Shown(Path(options["shown"]))
    deliveries: Deliveries[CountingPartition] = Deliveries(
        app,
        checkpoints,
        restore=lambda number, own, values: CountingPartition(
            number, partitions, own, values, decode=options.get("decode", False)
        ),
        folded=shown.note,
        lost=shown.lose,
    )
    shown.app, shown.deliveries, shown.checkpoints = app, deliveries, checkpoints

    if throw := options.get("throw_away"):  # [partition, offset]: the first delivery that holds it never arrives
        deliver, left = deliveries.deliver, {(p, offset) for p, offset in throw}

        def forgetful(delivery: Any) -> None:
            held = {(p, o) for p, o in left if p == delivery.partition and delivery.begin <= o < delivery.end}
            if held:
                left.difference_update(held)
                return
            deliver(delivery)

        deliveries.deliver = forgetful  # type: ignore[method-assign]  # a test loses what Faust sometimes loses

    async def stall() -> None:
        while not app.should_stop:
            time.sleep(options["stall"])
            await asyncio.sleep(0.01)

    if "stall" in options:
        app.task(stall)

    async def show() -> None:
        while not app.should_stop:
            await asyncio.sleep(options.get("show_every", 0.25))
            shown.write()

    app.task(show)
    return app


def forget_topics(times: int) -> None:
    """So many answers of brokers tell nothing of any topic, as those of one that has just started may."""
    update, left = ClusterMetadata.update_metadata, iter(range(times))

    def forgetful(cluster: Any, metadata: Any) -> None:
        update(cluster, metadata)
        if next(left, None) is not None:
            cluster._partitions = {}

    ClusterMetadata.update_metadata = forgetful


def main() -> None:
    """Wait for the topics, then work until told to stop."""
    options = json.loads(Path(sys.argv[1]).read_text())
    logging.basicConfig(level=options.get("loglevel", "WARNING"), format="%(asctime)s %(name)s %(message)s")
    app = make(options)
    for topic in (app.settings.source, app.settings.changelog_topic):
        asyncio.run(wait_for_topic(KafkaSettings(brokers=app.settings.brokers), topic))
    os.chdir(options["folder"])
    forget_topics(options.get("unknown", 0))
    faust.Worker(app, loglevel=options.get("loglevel", "WARNING"), redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
