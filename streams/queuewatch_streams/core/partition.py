"""A partition is a fold over its records: it judges each, routes it to its queue, and knows what a new owner must know.

Nothing is judged by another event or by the wall clock, so live, replay and audit agree: an event is late or ahead by its own
record's timestamp.  The one exception, the maximum number of queues, is decided in log order and stored.  Every rule with a
duration runs on log time: the greatest record timestamp folded, or of a history the newest event's time.

What is written: one record per queue, and one for the partition itself.  Each is true up to an offset of its own; after a
crash records are folded again from the lowest of them, and each queue skips what its record already holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import FORMS, KINDS, Reason, Rejected, judge
from queuewatch_schemas.metrics import EVENT_DELAY_BUCKETS
from queuewatch_schemas.plain import Event, read_plain
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.core.calendar import SECOND
from queuewatch_streams.core.checkpoint import dump_queue, load_queue, pack, unpack
from queuewatch_streams.core.ghosts import Eviction, evictions
from queuewatch_streams.core.intervals import Closed, closed_intervals
from queuewatch_streams.core.policy import Policy
from queuewatch_streams.core.queue import Queue
from queuewatch_streams.core.visit import REPEATED, visit_key
from queuewatch_streams.core.windows import QUARTER

REKEYED_HEADER: Final = "queuewatch-original-timestamp"
"""On an event that was published again to its right partition: its first record's timestamp, milliseconds in ASCII."""
SOURCE_SILENT: Final = 15 * 60 * SECOND
"""A source that sends no heartbeats counts as alive for so long after its last event."""
MISSED_HEARTBEATS: Final = 3
LONGEST_INTERVAL: Final = 86_400
"""Seconds; a source that promises its next heartbeat for later than that is held to a day."""

_DELAY_EDGES: Final = [round(edge * SECOND) for edge in EVENT_DELAY_BUCKETS]
_DELAYS: Final = (*(str(edge) for edge in _DELAY_EDGES), "inf")
_NAMES: Final = [kind.name for kind in KINDS.values()]
_BARE: Final = [kind.call in ("ringing", "answered", "abandoned", "ended", "wrapped") for kind in KINDS.values()]
"""Whether nothing is asked of an event's data once it is routed, by the number of its kind."""
_EVICTED: Final = KINDS["queuewatch.call.evicted.v1"].number
_SURVEY: Final = KINDS["queuewatch.survey.answered.v1"].number
_AGENT: Final = KINDS["queuewatch.agent.state.v1"].number
_HEARTBEAT: Final = KINDS["queuewatch.source.heartbeat.v1"].number


class Clock(StrEnum):
    """Which time a topic runs on."""

    LIVE = "live"
    """Log time is the record's timestamp; late and ahead are judged; now is the wall clock."""
    EVENTS = "events"
    """A history: log time and now are the newest event's; nothing in it is late or ahead."""


class Record(NamedTuple):
    """One Kafka record; `timestamp` in milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Any] = ()
    """(name, value): text and bytes, but whoever sent the record may have left a value out."""


Row = tuple[int, int, bytes | None, bytes | None, Sequence[Any]]
"""A record's fields in the order of `Record`, which is one too: names for each of millions would cost as much as reading it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not counted, and why; it goes to the dead-letter topic."""

    record: Record
    reason: Reason
    detail: str


@dataclass(slots=True)
class Folded:
    """What a fold asks of its caller: dead letters, events to publish again to the partition that their queue means, and
    intervals to tell."""

    refused: list[Refused] = field(default_factory=list)
    misplaced: list[tuple[Record, str]] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)


class Pending(NamedTuple):
    """A queue's first event that no written record holds: its offset, and the log time before it."""

    offset: int
    log_time: int


@dataclass(slots=True)
class Source:
    """What a partition knows of a source.  Times in microseconds."""

    name: str
    last_event: int = 0
    heartbeat: int | None = None
    interval: int = 0
    up: bool | None = None
    """What it says of its system; None: that it cannot tell, as of a log that is quiet."""

    def is_alive(self, now: int) -> bool | None:
        """Whether its newest heartbeat is in time and says ok; None where nobody knows: it cannot tell, or sends none."""
        if self.heartbeat is None:
            return None
        return self.up if now - self.heartbeat <= MISSED_HEARTBEATS * self.interval else False


class Partition:
    """The state of one partition of the event topic."""

    def __init__(
        self, number: int, configuration: Configuration, *, partitions: int, clock: Clock = Clock.LIVE
    ) -> None:
        self.number = number
        self.partitions = partitions
        self.topic_ids: tuple[str | None, str | None] = (None, None)
        """Of source and changelog, as the brokers told when the partition was taken up; None: they told none."""
        self.clock = clock
        self.configuration = configuration
        self.queues: dict[str, Queue] = {}
        self.next_offset = 0
        self.log_time = 0
        self.newest_event = 0
        self.sources: dict[str, Source] = {}
        self._routed: dict[str, list[Event]] = {}  # what each queue has to fold yet, within one call of fold
        self._source = Source("")  # of the event before
        self._counts: dict[tuple[str, ...], int] = {}
        # What every event adds to.
        self._events = [0] * len(_NAMES)
        self._delays = [0] * len(_DELAYS)
        self._delay_sum = 0
        self.dirty: dict[str, Pending] = {}
        """Queues that changed since their record was last encoded, in the order of their first event since."""
        self._writing: dict[str, Pending] = {}  # encoded, not yet acknowledged
        self.changed: set[str] = set()
        """Queues that changed since somebody last took this set."""
        self._true_up_to: dict[str, int] = {}
        self._grace = int(configuration.timing.grace_seconds * SECOND)
        self._ahead = int(configuration.timing.ahead_tolerance_seconds * SECOND)
        self._close_at = 0  # the log time from which intervals may have to be told
        self._settled = 0  # below it some loaded record may already hold an event
        self._own_offset = 0  # up to there the partition's own record holds what belongs to no queue
        self._repeated_gone = 0  # duplicates of queues that have left; those of the others are in their records
        self._admitted: dict[str, int] = {}  # queues that no written record tells of yet, and where they came in

    @property
    def counts(self) -> dict[tuple[str, ...], int]:
        """("events", type), ("rejected", reason), ("delay", edge or "sum"), and ("late",), ("duplicates",), ("rekeyed",),
        ("lost",); delays in microseconds."""
        told = dict(self._counts)
        told.update((("events", name), amount) for name, amount in zip(_NAMES, self._events, strict=True) if amount)
        told.update((("delay", edge), amount) for edge, amount in zip(_DELAYS, self._delays, strict=True) if amount)
        if self._delay_sum:
            told["delay", "sum"] = self._delay_sum
        return told

    def policy(self, queue: str) -> Policy:
        """What the configuration means to a queue."""
        return Policy.of(self.configuration, queue)

    # ------------------------------------------------------------------------------------------------------- recovery

    @classmethod
    def restored(
        cls,
        number: int,
        configuration: Configuration,
        values: Iterable[bytes],
        *,
        partitions: int,
        clock: Clock = Clock.LIVE,
    ) -> Partition:
        """The partition as its written records tell, in any order; fold on from `next_offset`.

        Raises UnreadableRecord, and ValueError where the records were made for another number of partitions.
        """
        partition = cls(number, configuration, partitions=partitions, clock=clock)
        for value in values:
            offset, payload = unpack(value)
            if "queue" in payload:
                partition._restore_queue(offset, payload)
            else:
                partition._restore_self(offset, payload)
        if repeated := partition._repeated_gone + sum(queue.repeated for queue in partition.queues.values()):
            partition._counts["duplicates",] = repeated
        partition._settled = max((partition._own_offset, *partition._true_up_to.values()), default=0)
        return partition

    def _restore_queue(self, offset: int, payload: dict[str, Any]) -> None:
        name = payload["queue"]
        self._true_up_to[name] = offset
        self.queues[name] = load_queue(payload, self.policy(name))

    def _restore_self(self, offset: int, payload: dict[str, Any]) -> None:
        if payload["partitions"] != self.partitions:
            raise ValueError(
                f"partition {self.number}: the records were made when the topic had {payload['partitions']} partitions,"
                f" now it has {self.partitions}; keys mean other partitions now. Give the topic its old number of"
                " partitions, or begin anew under another application name and a new topic"
            )
        source_id, changelog_id = payload["topic_ids"]
        self.topic_ids = source_id, changelog_id
        self._own_offset = offset
        self.next_offset = payload["resume_at"]
        self.log_time = payload["log_time"]
        self.newest_event = payload["newest_event"]
        for *key, amount in payload["counts"]:
            if key[0] == "events" and key[1] in KINDS:
                self._events[KINDS[key[1]].number] = amount
            elif key == ["delay", "sum"]:
                self._delay_sum = amount
            elif key[0] == "delay":
                self._delays[_DELAYS.index(key[1])] = amount
            else:
                self._counts[tuple(key)] = amount
        self._repeated_gone = payload["repeated_gone"]
        self.sources = {name: Source(name, *each) for name, each in payload["sources"].items()}
        self._admitted = dict(payload["admitted"])

    @property
    def resume_at(self) -> int:
        """The lowest offset that is not yet in an acknowledged record; from there a new owner has to fold again."""
        return self._first_unwritten().offset

    def _first_unwritten(self) -> Pending:
        oldest = next(iter(self.dirty.values()), Pending(self.next_offset, self.log_time))
        return min((oldest, *self._writing.values()))

    def encode_queue(self, queue: str) -> bytes | None:
        """The record of a queue, true up to `next_offset`; None, a tombstone, for one that has left the state.

        The queue leaves `dirty`; until `written` says that the record is acknowledged it still holds `resume_at` back.
        """
        pending = self.dirty.pop(queue, None)
        if pending is not None:
            self._writing[queue] = min(pending, self._writing.get(queue, pending))
        state = self.queues.get(queue)
        if state is None:
            return None
        state.expire(self.log_time)
        return pack(self.next_offset, dump_queue(state))

    def encode_self(self) -> bytes:
        """The partition's own record: what belongs to no queue, and where to resume."""
        first = self._first_unwritten()
        return pack(
            self.next_offset,
            {
                "partition": self.number,
                "partitions": self.partitions,
                "topic_ids": self.topic_ids,
                "resume_at": first.offset,
                "log_time": first.log_time,
                "newest_event": self.newest_event,
                "counts": sorted([*key, amount] for key, amount in self.counts.items() if key != ("duplicates",)),
                "repeated_gone": self._repeated_gone,
                "sources": {
                    name: [each.last_event, each.heartbeat, each.interval, each.up]
                    for name, each in sorted(self.sources.items())
                },
                "admitted": self._admitted,
            },
        )

    def written(self, queue: str | None, up_to: int) -> None:
        """The record encoded last of a queue (None: the partition's own) is acknowledged; it held all before `up_to`."""
        if queue is not None:
            self._writing.pop(queue, None)
            self._admitted.pop(queue, None)

    def unwritten(self, queue: str) -> None:
        """The record that was encoded last of a queue was not acknowledged: it is to be written again, before all others."""
        pending = self._writing.pop(queue, None)
        if pending is not None:
            self.dirty[queue] = min(pending, self.dirty.get(queue, pending))
            self.dirty = dict(sorted(self.dirty.items(), key=lambda each: each[1]))

    # -------------------------------------------------------------------------------------------------------- folding

    def fold(self, records: Iterable[Row]) -> Folded:
        """Fold records in the order of their offsets; what was folded before is passed over.

        Each record is judged and routed in that order, at its own log time; then each queue folds what is for it, in that order
        too.  Queue by queue, since what a queue knows is spread over memory, and looking there once is a third cheaper.
        """
        folded = Folded()
        live = self.clock is Clock.LIVE
        for row in records:
            offset, timestamp, key, value, headers = row
            if offset < self.next_offset:
                continue
            before, stamp = self.log_time, timestamp * 1000
            if live and stamp > before:
                self._pass_to(stamp, folded)
            own = offset >= self._own_offset  # what belongs to no queue is not in the partition's record yet
            try:
                if value is None:
                    raise Rejected(Reason.NO_VALUE, "the record has no value; an event is a JSON object")
                if key is None:
                    raise Rejected(Reason.NO_KEY, "the record has no key; the key of an event is its queue")
                event = read_plain(value, FORMS)
                if event is None:
                    event = judge(value)
                at = event.at
                kind = event.kind
                if not live:
                    if at > self.log_time:
                        self._pass_to(at, folded)
                elif headers or kind.number == _EVICTED or not -self._ahead <= stamp - at <= self._grace:
                    self._judge_time(event, stamp, headers)
                if self._route(row, offset, event, own, before, folded) and own:
                    self._events[kind.number] += 1
                    if at > self.newest_event:
                        self.newest_event = at
                    if live:
                        self._count_delay(stamp - at)
            except Rejected as rejected:
                if own:
                    self._add("rejected", rejected.reason.value)
                    if rejected.reason is Reason.LATE:
                        self._add("late")
                    folded.refused.append(Refused(Record(*row), rejected.reason, rejected.detail))
            self.next_offset = offset + 1
        self._fold_routed()
        return folded

    def _fold_routed(self) -> None:
        """Each queue folds the events that were routed to it."""
        for name, events in self._routed.items():
            queue = self.queues[name]
            source = ""
            for event in events:
                kind = event.kind
                if event.source is not source and kind.number != _EVICTED:
                    source = event.source
                    queue.sources.add(source)
                merged = queue.fold_call(event) if kind.call else _fold_queue_event(queue, event)
                if merged == REPEATED:
                    queue.repeated += 1
                    self._add("duplicates")
        self._routed = {}

    def _add(self, *key: str, by: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + by

    def _count_delay(self, delay: int) -> None:
        edges, at = _DELAY_EDGES, 0
        while at < len(edges) and edges[at] < delay:  # most are short
            at += 1
        self._delays[at] += 1
        if delay > 0:
            self._delay_sum += delay

    def _pass_to(self, log_time: int, folded: Folded) -> None:
        """Log time goes on; intervals that it closes are told before the next event is folded, and their cells forgotten."""
        self.log_time = log_time
        if log_time >= self._close_at:
            self._fold_routed()
            self._close_at = log_time - log_time % QUARTER + QUARTER
            folded.closed += self._close()

    def _close(self) -> list[Closed]:
        """The intervals that are to be told at this log time.

        Queues whose record was made later in the log than this are passed over: they told theirs.
        """
        told: list[Closed] = []
        for name, queue in self.queues.items():
            if queue.active_at <= self.log_time and (
                closed := list(closed_intervals(queue, self.log_time, self.next_offset))
            ):
                told += closed
                self._changed_by_time(name)
        return told

    def _route(self, row: Row, offset: int, event: Event, own: bool, before: int, folded: Folded) -> bool:
        """Hand an event to its queue; False where it does not count here.  `before`: log time before its record."""
        kind = event.kind
        if not kind.call:
            if kind.number == _AGENT:
                raise Rejected(Reason.WRONG_TOPIC, "agent.state belongs on the topic of the agents, not of the calls")
            if kind.number == _HEARTBEAT:
                self._heartbeat(event)
                return True
        name = event.queue
        routed = self._routed.get(name)
        if routed is None and name not in self.queues:
            if partition_for(name.encode(), self.partitions) != self.number:
                self._misplaced(Record(*row), name, own, folded)
                return False
            if kind.number == _SURVEY:
                return True
            if self._admit(name, offset) is None:
                return False
        event.source = self._heard_of(event.source)
        if offset < self._settled and offset < self._true_up_to.get(name, 0):
            self._keep_source(name, event)  # its record holds the event already
            return True
        if routed is None:
            routed = self._routed[name] = []
            self.changed.add(name)
            if name not in self.dirty:
                self.dirty[name] = Pending(offset, before)
        if kind.number == _SURVEY:
            self._keep_source(name, event)
            return True
        event.log_time = self.log_time
        event.forget(_BARE[kind.number])
        routed.append(event)
        return True

    def _heard_of(self, source: str) -> str:
        """A source sent an event; its name, of which one copy is kept."""
        known = self._source
        if known.name != source:
            found = self.sources.get(source)
            if found is None:
                found = self.sources[source] = Source(source)
            known = self._source = found
        known.last_event = self.log_time
        return known.name

    def _keep_source(self, name: str, event: Event) -> None:
        if event.kind.number != _EVICTED:
            self.queues[name].sources.add(event.source)

    def _judge_time(self, event: Event, stamp: int, headers: Sequence[Any]) -> None:
        """Raises Rejected where the event is late or ahead by its record's timestamp, or no eviction of our own."""
        at = event.at
        if event.kind.number == _EVICTED:
            if event.source != self.configuration.own_source:
                raise Rejected(
                    Reason.FOREIGN_EVICTION,
                    f"source: only {self.configuration.own_source} may give visits up, not {event.source[:200]!r}",
                )
            return
        for name, value in headers:
            if name == REKEYED_HEADER and value and len(value) <= 15 and value.isdigit():
                stamp = int(value) * 1000
        timing = self.configuration.timing
        if stamp - at > self._grace:
            raise Rejected(
                Reason.LATE,
                f"time: {event.time} is {(stamp - at) / SECOND:.0f} s before its record;"
                f" {timing.grace_seconds:g} s are allowed",
            )
        if at - stamp > self._ahead:
            raise Rejected(
                Reason.AHEAD,
                f"time: {event.time} is {(at - stamp) / SECOND:.0f} s ahead of its record;"
                f" {timing.ahead_tolerance_seconds:g} s are allowed",
            )

    def _misplaced(self, record: Record, name: str, own: bool, folded: Folded) -> None:
        if any(header == REKEYED_HEADER for header, _ in record.headers):
            raise Rejected(
                Reason.MISPLACED, f"queue {name!r} does not lie on this partition, and was published again once"
            )
        if own:
            self._add("rekeyed")
            folded.misplaced.append((record, name))

    def _heartbeat(self, event: Event) -> None:
        at = event.at
        source = self.sources.setdefault(event.source, Source(event.source))
        source.last_event = self.log_time
        if source.heartbeat is None or at >= source.heartbeat:
            source.heartbeat = at
            source.interval = round(min(event.data["interval_s"], LONGEST_INTERVAL) * SECOND)
            source.up = _UPSTREAM[event.data["upstream"]]

    def _admit(self, name: str, offset: int) -> Queue | None:
        """A new queue, if there is room.

        Below the partition's own record the decision was made before: a queue that neither a record nor `admitted` tells
        of was refused then, or has left since.
        """
        if offset < self._own_offset:
            if self._admitted.get(name, offset + 1) > offset:
                return None
        elif len(self.queues) >= self.configuration.timing.maximum_queues_per_partition:
            raise Rejected(
                Reason.TOO_MANY_QUEUES,
                f"queue {name!r} would be one more than timing.maximum_queues_per_partition ="
                f" {self.configuration.timing.maximum_queues_per_partition}",
            )
        self._admitted.setdefault(name, offset)
        queue = self.queues[name] = Queue(name, self.policy(name))
        return queue

    # ------------------------------------------------------------------------------------------- what time brings about

    def lose(self, up_to: int) -> None:
        """Records were deleted by retention before they could be folded; go on at that offset."""
        self._add("lost", by=up_to - self.next_offset)
        self.next_offset = up_to

    def expire(self) -> None:
        """Let go of what is due at log time in every queue, so that figures told now are those of now."""
        for queue in self.queues.values():
            self.expire_queue(queue)

    def expire_queue(self, queue: Queue) -> None:
        """Let go of what is due at log time in one queue."""
        if queue.next_due <= self.log_time:
            queue.expire(self.log_time)
            self._changed_by_time(queue.name)

    def advance(self) -> list[Closed]:
        """Expire what is due at log time, let idle queues and sources go, and tell the intervals that closed or changed."""
        self.expire()
        idle = self.log_time - self.configuration.timing.idle_days * 86_400 * SECOND
        for name in [name for name, queue in self.queues.items() if queue.active_at < idle and not queue.visits]:
            self._repeated_gone += self.queues.pop(name).repeated
            self._changed_by_time(name)
        self.sources = {name: source for name, source in self.sources.items() if source.last_event >= idle}
        self._source = Source("")
        return self._close()

    def _changed_by_time(self, name: str) -> None:
        if name not in self.dirty:
            self.dirty[name] = Pending(self.next_offset, self.log_time)
        self.changed.add(name)

    def evictions(self, now: int) -> Iterator[Eviction]:
        """The visits to give up at `now`; only of sources that are alive."""
        alive = {
            name
            for name, source in self.sources.items()
            if (source.is_alive(now) if source.heartbeat is not None else now - source.last_event <= SOURCE_SILENT)
        }
        for queue in self.queues.values():
            yield from evictions(queue, now, alive)


_UPSTREAM: Final[dict[str, bool | None]] = {"ok": True, "down": False, "unknown": None}


def _fold_queue_event(queue: Queue, event: Event) -> int:
    """Fold an event about a queue itself: its source's list of who waits, or that it opened or closed."""
    if event.type == "queuewatch.queue.snapshot.v1":
        waiting = frozenset(visit_key(each["call"], each.get("visit", 1)) for each in event.data["waiting"])
        return queue.fold_snapshot(event.at, event.source, waiting, event.log_time)
    return queue.fold_hours(event.at, event.type == "queuewatch.queue.opened.v1", event.log_time)
