"""One partition of the event topic, read once from its first record to its end, judged and recounted queue by queue.

Each record is judged anew by the contract: what is refused counts nowhere and must have a dead letter; what lies on the wrong
partition counts nowhere and must have been published again where it belongs, and counts there.  Each queue is recounted up
to the offset of its own snapshot; what comes behind that is only noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import Reason, Rejected, parse
from queuewatch_schemas.records import QueueSnapshot
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.audit.recount import ALWAYS, SECOND, Question, QueueRecount

__all__ = ["Behind", "LogRecord", "PartitionRecount", "Rekeyed"]

REKEYED_HEADER: Final = "queuewatch-original-timestamp"
"""On an event that was published again: the timestamp of its first record, milliseconds in ASCII."""
SWEEP_EVERY: Final = 100_000
"""Records after which visits that are over are let go."""
LOG_APPEND_TIME: Final = 1
"""A record's timestamp type, where the broker's clock set it."""

_EVICTED: Final = "queuewatch.call.evicted.v1"
_CALL: Final = "queuewatch.call."
_QUEUE: Final = "queuewatch.queue."


class LogRecord(Protocol):
    """What is read of a Kafka record; `timestamp` in milliseconds."""

    @property
    def offset(self) -> int:
        """Where it lies."""

    @property
    def timestamp(self) -> int:
        """When it came."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """The event."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


@dataclass(slots=True)
class Behind:
    """Accepted events of a queue that its snapshot does not hold, or that has none."""

    first: int
    last: int
    log_time: int
    events: int = 0


class Rekeyed:
    """Events on a wrong partition, and what was published again; over all partitions."""

    def __init__(self) -> None:
        self.originals: dict[int, tuple[int, int, int]] = {}
        """By digest: (partition, offset, partition where it belongs)."""
        self.copies: set[int] = set()
        self.found = 0

    def lost(self) -> list[tuple[int, int, int]]:
        """The originals that were not published again."""
        return sorted(place for digest, place in self.originals.items() if digest not in self.copies)


class PartitionRecount:
    """What a partition's log comes to.

    `letters`: the reasons of the dead letters by offset.  `snapshots`: what was published of the partition's queues, by name.
    `settled`: the committed offset; for all before it letters and copies have been acknowledged.  `begin`: the first offset
    that retention has left.
    """

    def __init__(
        self,
        number: int,
        partitions: int,
        configuration: Configuration,
        *,
        history: bool = False,
        letters: Mapping[int, str] | None = None,
        snapshots: Mapping[str, QueueSnapshot] | None = None,
        settled: int = 0,
        begin: int = 0,
        since: int = ALWAYS,
        rekeyed: Rekeyed | None = None,
    ) -> None:
        self.number = number
        self.partitions = partitions
        self.history = history
        self.begin = begin
        self.known_from = ALWAYS if begin == 0 else -ALWAYS  # as long as no record is left, nothing is known
        self.log_time = 0
        self.records = 0
        self.refused = 0
        self.queues: dict[str, QueueRecount] = {}
        self.log_times: dict[str, int] = {}
        """Of each queue that has a snapshot: the log time up to its offset."""
        self.behind: dict[str, Behind] = {}
        self.unlettered: list[tuple[int, Reason]] = []
        """(offset, reason) of what had to be refused and has no letter."""
        self.unfounded: list[tuple[int, str]] = []
        """(offset, reason) of letters for events that are as they must be."""
        self.rekeyed = Rekeyed() if rekeyed is None else rekeyed
        self._configuration = configuration
        self._letters = {} if letters is None else letters
        self._snapshots = {} if snapshots is None else snapshots
        self._ends = sorted((snapshot.offset, name) for name, snapshot in self._snapshots.items())
        self._passed = 0
        self._settled = settled
        self._since = since
        self._grace = round(configuration.timing.grace_seconds * SECOND)
        self._ahead = round(configuration.timing.ahead_tolerance_seconds * SECOND)
        if begin == 0:
            self._ask()

    def _ask(self) -> None:
        """Begin the recount of each queue that has a snapshot, once it is known from when on everything is there."""
        for name, snapshot in self._snapshots.items():
            question = Question.about(snapshot, self._configuration, known_from=self.known_from, ruled_from=self._since)
            self.queues[name] = QueueRecount(question)

    def _begin_behind_the_cut(self, record: LogRecord) -> None:
        """Nothing that was deleted was appended after the first record that is left, so nothing of it happened later.

        Timestamps that producers set need not ascend, and a history need not be in order: there the grace is added.
        """
        bound = record.timestamp * 1000 + self._ahead
        if self.history or getattr(record, "timestamp_type", None) != LOG_APPEND_TIME:
            bound += self._grace
        self.known_from = bound + 1
        self._ask()

    def read(self, records: Iterable[LogRecord]) -> None:
        """The next records, in the order of their offsets."""
        for record in records:
            if not self.records and self.begin:
                self._begin_behind_the_cut(record)
            while self._passed < len(self._ends) and self._ends[self._passed][0] <= record.offset:
                self.log_times[self._ends[self._passed][1]] = self.log_time
                self._passed += 1
            self.records += 1
            if not self.history and record.timestamp * 1000 > self.log_time:
                self.log_time = record.timestamp * 1000
            try:
                self._read(record)
            except Rejected as rejected:
                self.refused += 1
                lettered = record.offset in self._letters
                if not lettered and record.offset < self._settled and record.timestamp * 1000 >= self._since:
                    self.unlettered.append((record.offset, rejected.reason))
            if not self.records % SWEEP_EVERY:
                for queue in self.queues.values():
                    queue.sweep()

    def finish(self) -> None:
        """The log has ended: count what is left."""
        if not self.queues:
            self._ask()
        for _, name in self._ends[self._passed :]:
            self.log_times[name] = self.log_time
        for name, queue in self.queues.items():
            queue.finish(self.log_times[name])

    def _read(self, record: LogRecord) -> None:
        """Judge the record and hand it to its queue.  Raises Rejected."""
        if record.value is None:
            raise Rejected(Reason.NO_VALUE, "")
        if record.key is None:
            raise Rejected(Reason.NO_KEY, "")
        event = parse(record.value)
        kind, at = event.type, event.at
        if self.history:
            self.log_time = max(self.log_time, at)
        original = next((value for name, value in reversed(record.headers) if name == REKEYED_HEADER), None)
        if not self.history:
            self._judge_time(record, original, kind, at, event.source)
        if kind == "queuewatch.agent.state.v1":
            raise Rejected(Reason.WRONG_TOPIC, "")
        letter = self._letters.get(record.offset)
        if kind == "queuewatch.source.heartbeat.v1":
            self._note_letter(record, letter)
            return
        name = event.subject if kind.startswith(_QUEUE) else event.data["queue"]
        home = partition_for(name.encode(), self.partitions)
        if home != self.number:
            if original is not None:
                raise Rejected(Reason.MISPLACED, "")
            self.rekeyed.found += 1
            if record.offset < self._settled and record.timestamp * 1000 >= self._since:
                self.rekeyed.originals.setdefault(hash(record.value), (self.number, record.offset, home))
            self._note_letter(record, letter)
            return
        if original is not None:
            self.rekeyed.copies.add(hash(record.value))
        if letter is not None:
            self._note_letter(record, letter)
            return
        snapshot = self._snapshots.get(name)
        if snapshot is None or record.offset >= snapshot.offset:
            self._note_behind(record.offset, name, kind)
        elif kind.startswith(_CALL):
            self.queues[name].take(kind.split(".")[2], at, event.subject, event.data, self.log_time)
        elif kind.startswith(_QUEUE):
            self.queues[name].touch(self.log_time)

    def _judge_time(self, record: LogRecord, original: bytes | None, kind: str, at: int, source: str) -> None:
        """An event is late or ahead by the timestamp of its own record; our own evictions never are."""
        if kind == _EVICTED:
            if source != self._configuration.own_source:
                raise Rejected(Reason.FOREIGN_EVICTION, "")
            return
        stamp = record.timestamp if original is None or not original.isdigit() else int(original)
        if stamp * 1000 - at > self._grace:
            raise Rejected(Reason.LATE, "")
        if at - stamp * 1000 > self._ahead:
            raise Rejected(Reason.AHEAD, "")

    def _note_letter(self, record: LogRecord, letter: str | None) -> None:
        # Whether there was room for one more queue is the one thing that the event itself does not tell.
        if letter not in (None, Reason.TOO_MANY_QUEUES) and record.timestamp * 1000 >= self._since:
            self.unfounded.append((record.offset, str(letter)))

    def _note_behind(self, offset: int, name: str, kind: str) -> None:
        behind = self.behind.get(name)
        if behind is None:
            if kind == "queuewatch.survey.answered.v1" and name not in self._snapshots:
                return  # a survey makes no queue
            behind = self.behind[name] = Behind(offset, offset, self.log_time)
        behind.last, behind.log_time = offset, self.log_time
        behind.events += 1
