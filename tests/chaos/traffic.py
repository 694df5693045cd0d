"""What is published while faults happen, as fast as asked for, and what it comes to by brute force.

Topics are live ones and the bank's log is of 1999, so its days are moved to now: on the events clock nothing could be sent
twice, since a history keeps a visit only for a grace of its own pace.

A round is some minutes of a simulated call centre (with the dirt of real feeds) and, where the bank's log is beside the
project, one of its days, its arrivals pressed into those minutes.  Rounds follow each other, each with calls of its own and
with its times moved so that the newest event is now; so nothing is late or ahead on live topics.
"""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.publish import shifted
from queuewatch_streams.simulation import MALFORMED, ORDINARY_DIRT, Settings, eventful, messages
from support.oracle import joined

__all__ = ["Publisher", "Round", "make_round"]

ROOT: Final = Path(__file__).resolve().parents[2]
BANK: Final = ROOT.parent / "shared" / "data" / "bank-1999-02-01-to-14.tsv.gz"
BANK_EVENTS: Final = ROOT.parent / "shared" / "tools" / "bank_events.py"
MINUTES: Final = 8
"""Minutes of event time in a round; less than the grace by more than a run takes."""
END: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
"""The newest event of a round before it is moved."""
BATCH: Final = 200
"""Events in a batch."""


class Step(NamedTuple):
    """One event of a round; `event` is None where it is no event."""

    at: datetime
    key: bytes
    value: bytes
    event: dict[str, Any] | None


@dataclass(frozen=True)
class Round:
    """Events in the order in which they are sent."""

    steps: Sequence[Step]

    def counted(self, count: int | None = None) -> dict[str, Counter[str]]:
        """By queue: offered, refused, and what became of the visits of the first `count` events, by brute force."""
        history = joined(step.event for step in self.steps[:count] if step.event is not None)
        found: dict[str, Counter[str]] = {}
        for stay in history.stays:
            queue = found.setdefault(stay.queue, Counter())
            queue["offered"] += 1
            if stay.status != "waiting":
                queue[stay.status] += 1
        for name, refusals in history.refused.items():
            found.setdefault(name, Counter())["refused"] += len(refusals)
        return found


@cache
def make_round(seed: int, *, queues: int = 24, calls_per_hour: float = 1000) -> Round:
    """A round; the same seed gives the same."""
    dirt = replace(ORDINARY_DIRT, evictions=0.0, delay_s=20.0, malformed=0.002)
    simulated = Settings(
        start=END - timedelta(minutes=MINUTES),
        hours=MINUTES / 60,
        seed=seed,
        queues=queues,
        calls_per_hour=calls_per_hour,
        flat=True,
    )
    steps = [*_simulated(eventful(simulated, dirt))]
    if BANK.exists() and BANK_EVENTS.exists():
        steps += _bank(seed)
    return Round(sorted(steps, key=lambda step: step.at))


def _simulated(settings: Settings) -> Iterator[Step]:
    for message in messages(settings):
        event = None if message.kind == MALFORMED else orjson.loads(message.value)
        if event is None or message.kind.startswith("call."):
            yield Step(datetime.fromtimestamp(message.at / 8, UTC), message.key, message.value, event)


def _bank(seed: int) -> Iterator[Step]:
    """One day: arrivals pressed together, waits and talks as they were; what would happen after the round is left out."""
    begin, whole = END - timedelta(minutes=MINUTES), timedelta(minutes=MINUTES - 1)
    days = _bank_days()
    midnight, calls = days[seed % len(days)]
    for call in calls:
        arrived = datetime.fromisoformat(call[0]["time"])
        into = (arrived - midnight) / timedelta(days=1)
        queued = begin + timedelta(seconds=round((whole * into).total_seconds()))
        for told in call:
            at = queued + (datetime.fromisoformat(told["time"]) - arrived)
            if at <= END:
                queue = f"bank {told['data']['queue']}"
                event = {
                    **told,
                    "time": at.isoformat(timespec="milliseconds"),
                    "data": {**told["data"], "queue": queue},
                }
                yield Step(at, queue.encode(), orjson.dumps(event), event)


@cache
def _bank_days() -> list[tuple[datetime, list[list[dict[str, Any]]]]]:
    """The bank's days: midnight, and the events of each call that has one thing happen after the other."""
    with tempfile.NamedTemporaryFile(suffix=".tsv") as table:
        table.write(gzip.decompress(BANK.read_bytes()))
        table.flush()
        done = subprocess.run([sys.executable, str(BANK_EVENTS), table.name], capture_output=True, check=True)
    calls: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        event = orjson.loads(line)
        calls.setdefault(event["subject"], []).append(event)
    days: dict[datetime, list[list[dict[str, Any]]]] = {}
    for call in calls.values():
        if call[0]["type"] == "queuewatch.call.queued.v1":
            arrived = datetime.fromisoformat(call[0]["time"])
            days.setdefault(arrived.replace(hour=0, minute=0, second=0, microsecond=0), []).append(call)
    return sorted(days.items())


class Publisher:
    """Publishes rounds for as long as it is told to, in a thread of its own, straight to the broker.

    In bursts of `burst` events at full speed, as many of them as `rate` (events a second) comes to: what is published has to
    be counted by brute force afterwards.  While `twice` is set every batch is sent again behind its successor, as by a
    producer that retries without being idempotent.  A batch that is not acknowledged is sent again until it is.
    """

    def __init__(self, configuration: Configuration, partitions: int, rounds: Round, rate: float, burst: int) -> None:
        self.twice = False
        self.sent = 0
        """Events that are published, each once."""
        self.repeated = 0
        """Events that were sent once more."""
        self._configuration = configuration
        self._partitions = partitions
        self._round = rounds
        self._rate = rate
        self._burst = burst
        self._ending = threading.Event()
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._error: BaseException | None = None

    def start(self) -> Publisher:
        """Begin."""
        self._thread.start()
        return self

    def stop(self, patience: float = 90.0) -> None:
        """Publish no more and wait until everything is acknowledged."""
        self._ending.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            raise TimeoutError(f"the publisher's last events were not acknowledged within {patience:g} s")
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """Publish no more, whatever becomes of what is under way; the run has broken off."""
        self._ending.set()
        self._given_up = True
        if self._thread.is_alive():
            self._thread.join(20)

    def counted(self) -> dict[str, Counter[str]]:
        """What all that was published comes to, by queue."""
        whole, part = divmod(self.sent, len(self._round.steps))
        found: dict[str, Counter[str]] = {}
        for queue, counts in self._round.counted().items():
            found[queue] = Counter({name: amount * whole for name, amount in counts.items()})
        for queue, counts in self._round.counted(part).items():
            found.setdefault(queue, Counter()).update(counts)
        return {queue: +counts for queue, counts in found.items()}

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:  # told by stop()
            self._error = error

    async def _publish(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._configuration.kafka.brokers,
            compression_type="lz4",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=10_000,
            max_batch_size=1 << 20,
        )
        await producer.start()
        under_way: set[asyncio.Task[None]] = set()
        again: deque[dict[int, list[tuple[bytes, bytes]]]] = deque()
        began = time.monotonic()
        try:
            for batch in self._batches():
                if self._ending.is_set():
                    break
                by_partition: dict[int, list[tuple[bytes, bytes]]] = {}
                for key, value in batch:
                    by_partition.setdefault(partition_for(key, self._partitions), []).append((key, value))
                await self._send(producer, by_partition, under_way)
                self.sent += len(batch)
                while again:
                    self.repeated += sum(map(len, again[0].values()))
                    await self._send(producer, again.popleft(), under_way)
                if self.twice:
                    again.append(by_partition)
                if self.sent % self._burst >= BATCH:
                    continue
                ahead = self.sent / self._rate - (time.monotonic() - began)
                if ahead > 0:
                    await self._pause(ahead)
                elif ahead < -1:
                    began = time.monotonic() - self.sent / self._rate  # the broker was away: no storm to catch up
            while again:
                await self._send(producer, again.popleft(), under_way)
            while under_way:
                await asyncio.gather(*under_way)
        finally:
            await producer.stop()

    async def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending.is_set() and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.1))

    async def _send(
        self,
        producer: AIOKafkaProducer,
        by_partition: dict[int, list[tuple[bytes, bytes]]],
        under_way: set[asyncio.Task[None]],
    ) -> None:
        while len(under_way) > 200:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for partition, events in by_partition.items():
            task = asyncio.ensure_future(self._until_acknowledged(producer, partition, events))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.sleep(0)

    async def _until_acknowledged(
        self, producer: AIOKafkaProducer, partition: int, events: list[tuple[bytes, bytes]]
    ) -> None:
        while not self._given_up:
            batch = producer.create_batch()
            for key, value in events:
                assert batch.append(timestamp=None, key=key, value=value) is not None, "a batch holds 200 events"
            batch.close()
            try:
                await (await producer.send_batch(batch, self._configuration.topics.events, partition=partition))
                return
            except KafkaError:
                await asyncio.sleep(0.2)

    def _batches(self) -> Iterator[list[tuple[bytes, bytes]]]:
        number = 0
        while True:
            number += 1
            shift = timedelta(seconds=int((datetime.now(UTC) - END).total_seconds()))
            steps = self._round.steps
            for first in range(0, len(steps), BATCH):
                yield [(step.key, _moved(step, shift, number)) for step in steps[first : first + BATCH]]


def _moved(step: Step, shift: timedelta, number: int) -> bytes:
    if step.event is None:
        return step.value
    event = {**step.event, "data": dict(step.event["data"])}
    event["subject"] = f"{number}.{event['subject']}"
    event["id"] = f"{number}.{event['id']}"
    return orjson.dumps(shifted(event, shift))
