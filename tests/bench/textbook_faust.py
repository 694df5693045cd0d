"""The baseline: what Faust's documentation shows for this job, an agent with a plain table and two tumbling ones.

    python -m bench.textbook_faust BROKER TOPIC PARTITIONS RECORDS APPLICATION

It counts each queue's events for good, by interval and by day, as its own documentation does it.  Prints as JSON the records,
seconds and processor seconds after the first tenth, which was prefetched in part, up to the last.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

import faust
import orjson


def build(broker: str, topic: str, partitions: int, records: int, application: str, folder: str) -> faust.App:
    """The application."""
    app = faust.App(
        application,
        broker=f"kafka://{broker}",
        store="memory://",
        datadir=folder,
        web_enabled=False,
        topic_partitions=partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=1_000,
    )
    events = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    calls: Any = app.Table("calls", default=dict, partitions=partitions)
    by_interval: Any = app.Table("by_interval", default=int, partitions=partitions).tumbling(900, expires=7200)
    by_day: Any = app.Table("by_day", default=int, partitions=partitions).tumbling(86_400, expires=2 * 86_400)

    @app.agent(events)
    async def count(stream: Any) -> None:
        seen, began, worked = 0, 0.0, 0.0
        warm = records // 10
        async for value in stream:
            event = orjson.loads(value)
            queue = event["data"].get("queue") or event["subject"]
            kind = event["type"].split(".")[2]
            figures = calls[queue]
            figures[kind] = figures.get(kind, 0) + 1
            calls[queue] = figures
            by_interval[queue] += 1
            by_day[queue] += 1
            seen += 1
            if seen == warm:
                began, worked = time.monotonic(), time.process_time()
            elif seen == records:
                spent = time.monotonic() - began
                print(
                    json.dumps({"records": seen - warm, "seconds": spent, "cpu": time.process_time() - worked}),
                    flush=True,
                )
                os.kill(os.getpid(), signal.SIGKILL)  # its orderly end takes longer than the measurement

    return app


def main() -> None:
    """Run it until enough was counted; the process ends by a signal."""
    broker, topic, partitions, records, application = sys.argv[1:6]
    with tempfile.TemporaryDirectory(prefix="queuewatch-bench-") as folder:
        app = build(broker, topic, int(partitions), int(records), application, folder)
        worker = faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True)
        worker.spinner = None
        worker.execute_from_commandline()


if __name__ == "__main__":
    main()
