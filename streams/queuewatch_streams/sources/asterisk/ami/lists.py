"""What the answer to QueueStatus tells that no event did: who waits unannounced, which talks are over, who is gone.

A list is the truth, but it comes between the events.  What it alone tells is believed only once it is older than any event
that may still be on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from queuewatch_streams.sources.asterisk.ami.members import MOST_MEMBERS, Member, Members
from queuewatch_streams.sources.asterisk.ami.messages import needed, whole
from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.heard import OLD, SECOND
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import TALKING, WAITING, Visits

__all__ = ["ROWS", "Lists"]

ROWS: Final = frozenset({"QueueParams", "QueueMember", "QueueEntry"})
"""The events that are rows of a list."""
_LEAVING: Final = 60 * SECOND
"""An announcement to the agent lasts no longer: so long a caller may be on no list, though he is not answered."""
_MOST_ROWS: Final = 200_000
_FIELDS: Final = (
    *("Event", "Queue", "Uniqueid", "Wait", "CallerIDNum", "Name", "Location", "Status", "Paused", "PausedReason"),
    *("InCall", "LastCall", "Wrapuptime"),
)


class Lists:
    """The lists of one connection after another."""

    def __init__(self, composer: Composer, visits: Visits, members: Members) -> None:
        self._composer = composer
        self._visits = visits
        self._members = members
        self._rows: dict[str, list[dict[str, str]]] = {}
        """Lists that are not complete yet, by ActionID."""
        self._unannounced: dict[str, list[int]] = {}
        """Callers who stood on the last list, though no event has told of them: how many lists, and since when."""
        self.gap = True
        """Nothing is known of what happened before the next list."""

    def connected(self) -> None:
        """There is a new connection."""
        self.gap = True
        self._rows.clear()

    def announced(self, call: str, queue: str) -> None:
        """An event has told of a caller."""
        self._unannounced.pop(f"{call}\0{queue}", None)

    def row(self, fields: Mapping[str, str]) -> None:
        """One row of a list.  Raises Unreadable."""
        rows = self._rows.setdefault(fields.get("ActionID", ""), [])
        if len(rows) >= _MOST_ROWS or len(self._rows) > 10:
            self._rows.clear()
            raise Unreadable("too_long", "the answer to QueueStatus does not end")
        rows.append({key: fields[key] for key in _FIELDS if key in fields})

    def complete(
        self, at: int, fields: Mapping[str, str], before: int, held: Collection[tuple[str, str, int]], out: Out
    ) -> None:
        """All queues, members and waiting callers, as of now.

        :param fields: of the event that ends the list.
        :param before: when the last record of the connection before was received, by the system's clock.
        :param held: stays of which it is being decided how they ended, as (call, queue, visit).
        """
        rows = self._rows.pop(fields.get("ActionID", ""), [])
        waiting: dict[str, list[tuple[str, int, int]]] = {}
        unannounced: dict[str, list[int]] = {}
        for stay in self._visits.unfinished(WAITING):
            callers = waiting.setdefault(stay.name, [])  # a queue that is gone has nobody
            if at - _LEAVING < stay.more.get("left", 0) and not self._visits.ignored(stay):
                callers.append((self._visits.subject(stay), stay.visit, stay.queued))  # nothing was said of it yet
        members: dict[tuple[str, str], Member] = {}
        for row in rows:
            try:
                self._read(at, row, waiting, unannounced, members, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
        self._unannounced = unannounced
        names = self._members.replace(members)
        self.gap = self.gap and self._close_missed(at, before, out)
        self._forget_gone(at, before, rows, held)
        for name in names:
            self._members.tell_listed(at, name, out)
        for queue, callers in waiting.items():
            self._composer.snapshot(out, at, queue, callers)

    def _read(
        self,
        at: int,
        row: Mapping[str, str],
        waiting: dict[str, list[tuple[str, int, int]]],
        unannounced: dict[str, list[int]],
        members: dict[tuple[str, str], Member],
        out: Out,
    ) -> None:
        event, queue = row["Event"], needed(row, "Queue")
        name = self._composer.queue(queue)
        if name is None:
            return
        if event == "QueueParams":
            waiting.setdefault(name, [])
        elif event == "QueueMember":
            _, interface, member = self._members.read(row)
            if len(members) < MOST_MEMBERS:
                members[queue, interface] = member
        else:
            call = needed(row, "Uniqueid")
            subject = self._composer.subject(call)
            # Asterisk counts from whole second to whole second.
            since = (at // SECOND - whole(row, "Wait", 0)) * SECOND
            stay = self._visits.last(call, queue, WAITING)
            if stay is not None and since - stay.queued > SECOND:  # he left and came back while nobody listened
                self._visits.forget(stay)
                stay = None
            if stay is None:
                times, first = self._unannounced.get(f"{call}\0{queue}", [0, since])
                if at - since >= OLD or times:
                    stay = self._visits.enter(out, first, call, queue, name, row.get("CallerIDNum", ""))
                    stay.more["listed"] = True
                else:
                    unannounced[f"{call}\0{queue}"] = [times + 1, first]
            number, since = (self._visits.following(call, name), first) if stay is None else (stay.visit, stay.queued)
            if not self._visits.ignores(call, row.get("CallerIDNum", "")):
                waiting.setdefault(name, []).append((subject, number, since))

    def _close_missed(self, at: int, before: int, out: Out) -> bool:
        """Talks that ended while nobody listened: their agents are on no call any more.  Whether some have to be seen again.

        An agent may be on another call by now, and then nothing tells for a while that this one is over.
        """
        again = False
        for stay in self._visits.unfinished(TALKING):
            member, more = self._members.in_talk(stay), stay.more
            if stay.answered > before or "done" in more:
                continue
            if at - stay.answered < OLD or (member is not None and member.in_call):
                more.setdefault("seen", at)
                more.pop("absent", None)
                again = True
            elif "seen" in more and at - more.setdefault("absent", at) < OLD:
                again = True
            else:
                when = before
                if member is not None and stay.answered <= member.last_call <= more.get("seen", at):
                    when = member.last_call
                try:
                    self._visits.end(out, max(when, stay.answered), stay, None)
                except Unreadable as why:
                    out.refuse(why.reason, str(why))
        return again

    def _forget_gone(
        self, at: int, before: int, rows: Iterable[Mapping[str, str]], held: Collection[tuple[str, str, int]]
    ) -> None:
        """Callers who are on no list, and whom nobody talks to: how they left was missed, and whoever counts gives them up.

        While an agent of the queue is busy with what is not known, it may be with one of them; its end will tell.
        """
        listed = {(row.get("Uniqueid"), row.get("Queue")) for row in rows if row["Event"] == "QueueEntry"}
        known = {stay.more.get("interface", "") for stay in self._visits.unfinished(TALKING)}
        busy = self._members.queues_of_busy(known)
        for stay in self._visits.unfinished(WAITING):
            left = stay.more.get("left", 0)
            leaves = (left > before and left > at - _LEAVING) or (stay.call, stay.queue, stay.visit) in held
            if (stay.call, stay.queue) in listed or stay.queue in busy or leaves:
                stay.more.pop("absent", None)
            elif at - stay.more.setdefault("absent", at) >= OLD:
                self._visits.forget(stay)

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs, but for `gap`."""
        return {
            "rows": {name: list(rows) for name, rows in self._rows.items()},
            "unannounced": dict(self._unannounced),
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self.gap = memory["gap"]
        self._rows = {name: list(rows) for name, rows in memory["rows"].items()}
        self._unannounced = dict(memory["unannounced"])
