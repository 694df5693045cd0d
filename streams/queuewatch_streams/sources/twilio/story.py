"""What a task's events tell all together of its stays in queues: pure, from all that are known, in their order.

A stay begins with its own `task-queue.entered`, whose Sid is its identity.  A reservation belongs to the stay of its queue that
is open at its time.  What no event that is still missing could turn around is said at once:

* an entry; leaving by the queue's own word (an earlier one corrects it, and so does an answer);
* an answer or a hang-up that says itself when the task entered the queue, if that is a stay that is known;
* the end of a talk after which the task is said to be wrapping, completed or canceled: nobody talks any more.

All else is sure once nothing older comes.  An answer whose entry is not known by then has a stay of its own from the time at
which the task entered by the answer's word, and keeps it though the entry be told later.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer, moment
from queuewatch_streams.sources.stories import Fact, Record, Said

__all__ = ["DECLINED", "ENTERED", "ORDER", "tell"]

ENTERED: Final = "task-queue.entered"
DECLINED: Final = {
    "reservation.rejected": "rejected",
    "reservation.timeout": "no_answer",
    "reservation.failed": "unavailable",
}
_LEFT: Final = {"task-queue.timeout": "timeout", "task-queue.moved": "overflow"}
_GONE: Final = {"task.canceled": "", "task.deleted": "withdrawn", "task.system-deleted": "timeout"}
_TALKED: Final = frozenset({*_GONE, "task.wrapup", "task.completed"})
_TRANSFERS: Final = {
    "task.transfer-initiated": True,
    "task.transfer-completed": False,
    "task.transfer-canceled": False,
    "task.transfer-failed": False,
    "task.transfer-attempt-failed": False,
}
ORDER: Final = {
    kind: place
    for place, kinds in enumerate(
        (
            DECLINED,
            ("reservation.canceled", "reservation.rescinded", "task.transfer-initiated"),
            _LEFT,
            (ENTERED,),
            ("reservation.created",),
            ("reservation.accepted",),
            ("reservation.wrapup",),
            ("reservation.completed",),
            [kind for kind, begins in _TRANSFERS.items() if not begins],
            ("task.wrapup",),
            ("task.completed", *_GONE),
            ("worker.activity.update",),
        )
    )
    for kind in kinds
}
"""The events that mean something, in the order in which those of one moment happen."""
_OVER: Final = frozenset({"wrapping", "completed", "canceled"})
"""States of a task that nobody talks in any more."""
_NEAR: Final = 2_000_000
"""Clocks differ by at most so much, and a talk that goes on after so short a pause is one."""
_EARLIER: Final = 1_500_000
_LATER: Final = 500_000
"""How far the entry that an event tells, mostly in whole seconds, lies from the time of that entry's own event."""


class _Leg:
    """One worker's part of a talk."""

    __slots__ = ("agent", "at", "by_task", "done", "over", "reservation", "sure")

    def __init__(self, record: Record, agent: str, sure: int) -> None:
        self.at = record.at
        self.agent = agent
        self.reservation: str = record.fields["reservation"]
        self.sure = sure
        self.over: int | None = None
        """When the worker's talk was over."""
        self.by_task = False
        """Whether by that time nobody talked any more."""
        self.done: int | None = None
        """When the worker's after-call work was."""


class _Stay:
    __slots__ = ("fields", "id", "left", "legs", "offers", "order", "queue", "sure")

    def __init__(self, stay: str, at: int, fields: Mapping[str, Any], sure: int = 0) -> None:
        self.id = stay
        self.queue: str = fields["queue"]
        self.order = (at, ORDER[ENTERED])
        self.fields = fields
        self.sure = sure
        """When it is sure that there was this stay; 0: its entry is known."""
        self.left: tuple[int, str] | None = None
        self.legs: list[_Leg] = []
        self.offers: list[Fact] = []

    @property
    def at(self) -> int:
        return self.order[0]

    def fact(self, kind: str, at: int, data: dict[str, Any], which: str = "", sure: int = 0) -> Fact:
        at = max(at, self.at)
        call = (
            f"{self.fields['task']}/{self.id}"  # not a visit's number: which stay is told of first, a crash may change
        )
        return Fact(self.id, call, self.queue, kind, at, data, which, max(sure, self.sure))

    def is_over(self, at: int) -> bool:
        """Whether, long enough before that time, it was left, or talked to its end."""
        if self.legs:
            return all(leg.over is not None and leg.over + _NEAR < at for leg in self.legs)
        return self.left is not None and self.left[0] + _NEAR < at


def tell(composer: Composer, records: Sequence[Record], said: Said) -> Iterator[Fact]:
    """What the records of a task say.

    Their `fields` have `task`, and as far as they were told `queue`, `reservation`, `worker`, `status` (the task's), `entered`
    (when it entered the queue that it is in, microseconds), `age` and `queueage` (since it was made, and since then; seconds),
    `why` (it was canceled, in our words), `channel`, `priority`, `customer`.  Names of queues and workers are good ones.
    """
    stays = _read(composer, records, said)
    known = {stay for stay, _, _ in said}
    first = before = None
    gone = next((each for each in records if each.kind in _GONE or each.kind == "task.completed"), None)
    turns = [(each.at, _TRANSFERS[each.kind]) for each in records if each.kind in _TRANSFERS]
    for number, stay in enumerate(stays):
        after = stays[number + 1] if number + 1 < len(stays) else None
        yield _queued(composer, stay, first, before)
        yield from stay.offers
        for leg in stay.legs:
            yield stay.fact("answered", leg.at, {"agent": leg.agent}, leg.reservation, leg.sure)
        if stay.legs:
            yield from _ended(stay, after, turns, gone)
        elif stay.left is not None:
            yield stay.fact("diverted", stay.left[0], {"reason": stay.left[1]})
        elif after is not None:  # a microsecond later, for the queue's own word to be the earlier one when it comes
            yield stay.fact("diverted", after.at + 1, {"reason": "overflow"}, sure=after.sure)
        elif gone is not None and gone.kind in _GONE:
            reason = _GONE[gone.kind] or gone.fields.get("why", "")
            if reason:
                yield stay.fact("diverted", gone.at + 1, {"reason": reason})
            else:
                yield stay.fact("abandoned", gone.at, {}, sure=0 if _fits(stay, gone) else gone.at + 1)
        if not stay.sure or stay.id in known:
            first, before = first or stay, stay


def _read(composer: Composer, records: Sequence[Record], said: Said) -> list[_Stay]:
    """The stays of a task in their order, each with what is about it."""
    stays = [_Stay(each.identity, each.at, each.fields) for each in records if each.kind == ENTERED]
    answered = {which: stay for stay, kind, which in said if kind == "answered"}
    known = {stay for stay, _, _ in said}
    for record in records:
        if record.kind in _LEFT:
            found = _last(stays, record)
            if found is not None and found.left is None:
                found.left = record.at, _LEFT[record.kind]
        elif record.kind == "reservation.accepted":
            reservation = record.fields["reservation"]
            told = answered.get(reservation)
            stay = next((each for each in stays if each.id == told), None)
            sure = 0
            if stay is None:
                stay, sure = _place(stays, record)
                if stay is not None and told is not None and stay.id not in known:
                    stay.id = told  # its entry comes after the answer was said
                if stay is None or (told is not None and stay.id != told):
                    stay = _rebuilt(stays, record, told)
            if stay is not None and all(leg.reservation != reservation for leg in stay.legs):
                leg = _Leg(record, composer.agent(record.fields["worker"]), sure)
                _close(leg, records)
                stay.legs.append(leg)
    for record in records:
        if record.kind == "reservation.created" or record.kind in DECLINED:
            stay, sure = _place(stays, record)
            if stay is not None:
                data, which = {"agent": composer.agent(record.fields["worker"])}, record.fields["reservation"]
                if record.kind in DECLINED:
                    data["reason"] = DECLINED[record.kind]
                    stay.offers.append(stay.fact("declined", record.at, data, which, sure))
                else:  # no figure depends on it
                    stay.offers.append(stay.fact("ringing", record.at, data, which))
    return stays


def _last(stays: Sequence[_Stay], record: Record) -> _Stay | None:
    """The newest stay of an event's queue by then; else one that began so little later that only clocks may differ."""
    theirs = [each for each in stays if record.fields.get("queue", each.queue) == each.queue]
    begun = [each for each in theirs if each.order < record[:2]]
    return begun[-1] if begun else next((each for each in theirs if each.at <= record.at + _NEAR), None)


def _fits(stay: _Stay, record: Record) -> bool:
    """Whether an event says that the task had entered its queue when this stay began."""
    entered: int | None = record.fields.get("entered")
    same = record.fields.get("queue", stay.queue) == stay.queue
    return entered is not None and same and -_EARLIER <= entered - stay.at <= _LATER


def _place(stays: Sequence[_Stay], record: Record) -> tuple[_Stay | None, int]:
    """The stay that a reservation belongs to, and when that is sure; None: its entry is not known."""
    fitting = [each for each in stays if _fits(each, record)]
    if len(fitting) == 1:
        return fitting[0], 0
    found = _last(stays, record)
    if found is not None and found.is_over(record.at) and _start(stays, record) is not None:
        found = None
    return found, record.at + 1


def _start(stays: Sequence[_Stay], record: Record) -> int | None:
    """When the task entered its queue by the event's own word."""
    entered: int | None = record.fields.get("entered")
    if entered is not None:  # rather late than early: an entry that comes after all corrects it if it is earlier
        return entered if entered % 1_000_000 else entered + 999_000
    age = record.fields.get("queueage")
    if age is None and not stays:
        age = record.fields.get("age")
    return None if age is None else record.at - age * 1_000_000


def _rebuilt(stays: list[_Stay], record: Record, told: str | None) -> _Stay | None:
    """A stay of its own for an answer whose entry is not known, where the answer tells enough."""
    start = _start(stays, record)
    if start is None or "queue" not in record.fields:
        return None
    stay = _Stay(told or f"~{record.fields['reservation']}", min(start, record.at), record.fields, record.at + 1)
    insort(stays, stay, key=lambda each: each.order)
    return stay


def _close(leg: _Leg, records: Sequence[Record]) -> None:
    """Find out when a leg was over."""
    for each in records:
        if each.at < leg.at:
            continue
        theirs = each.fields.get("reservation") == leg.reservation
        if each.kind in _TALKED or (theirs and each.kind in ("reservation.wrapup", "reservation.completed")):
            if leg.over is None:
                leg.over = each.at
            if leg.over == each.at:
                leg.by_task = leg.by_task or each.kind in _TALKED or each.fields.get("status") in _OVER
            if theirs and each.kind == "reservation.completed" and each.at > leg.over:
                leg.done = each.at


def _queued(composer: Composer, stay: _Stay, first: _Stay | None, before: _Stay | None) -> Fact:
    data: dict[str, Any] = {"channel": stay.fields["channel"]}
    data |= {key: stay.fields[key] for key in ("priority", "customer") if key in stay.fields}
    if first is None or before is None:
        return stay.fact("queued", stay.at, data)
    data["via"] = "transfer" if before.legs else "requeue" if before.queue == stay.queue else "overflow"
    name = composer.queue(before.queue)
    if name is not None:
        data["from_queue"] = name
    data["entered"] = moment(first.at)
    # Said again where an earlier beginning becomes known; of equal times that one holds, its text being the smaller.
    return stay.fact("queued", stay.at, data, str(first.at))


def _ended(stay: _Stay, after: _Stay | None, turns: Sequence[tuple[int, bool]], gone: Record | None) -> Iterator[Fact]:
    """The end of a talk, when all who talked one after the other have ended, and of the last one's after-call work."""
    legs = sorted(stay.legs, key=lambda leg: leg.at)
    last, end = legs[0], legs[0].over
    for leg in legs[1:]:
        if end is None or leg.at > end + _NEAR:
            break
        if leg.over is None or leg.over >= end:
            last, end = leg, leg.over
    if end is None:
        return
    sure = max(leg.sure for leg in legs)
    if not last.by_task:
        sure = max(sure, end + _NEAR + 1)
    told: dict[str, Any] = {"agent": last.agent}
    turned = [begins for at, begins in turns if last.at <= at <= end]
    if (turned and turned[-1]) or (after is not None and after.at <= end + _NEAR):
        told["by"] = "transfer"
    elif gone is not None and gone.at == end and _GONE.get(gone.kind):
        told["by"] = "system"
    yield stay.fact("ended", end, told, sure=sure)
    if last.done is not None:
        yield stay.fact("wrapped", last.done, {"agent": last.agent}, sure=sure)
