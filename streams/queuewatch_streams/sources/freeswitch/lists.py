"""What the lists of queues and their members tell that no event did: who waits or talks unannounced, who is gone, and why.

What a list alone tells is believed only once it is so old that its event cannot still be on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.freeswitch.agents import Agents
from queuewatch_streams.sources.freeswitch.passes import Passes
from queuewatch_streams.sources.freeswitch.records import number, rows_of
from queuewatch_streams.sources.heard import OLD, SECOND
from queuewatch_streams.sources.shape import Out, Unreadable
from queuewatch_streams.sources.visits import CLOSED, TALKING, WAITING, Stay, Visits

__all__ = ["Lists"]

_MOST_QUEUES: Final = 10_000
_MOST_GONE: Final = 5_000


class Lists:
    """The lists of one connection after another."""

    def __init__(self, composer: Composer, visits: Visits, agents: Agents, passes: Passes) -> None:
        self._composer = composer
        self._visits = visits
        self._agents = agents
        self._passes = passes
        self.queues: dict[str, int] = {}
        """The queues that there are, and their time limits in microseconds; 0: none."""
        self._gone: list[str] = []
        """Channels that are not there any more, though the module lists them."""
        self._missed: list[str] = []
        """Queues whose next list tells what was missed."""

    def connected(self) -> None:
        """There is a new connection."""
        self._missed = list(dict.fromkeys(stay.queue for stay in self._visits.unfinished(WAITING, TALKING)))

    def is_gone(self, channel: str) -> None:
        """A channel is not there any more."""
        self._gone = [*self._gone[-_MOST_GONE:], channel]

    def list_queues(self, at: int, answer: str, out: Out) -> None:
        """The answer to QUEUES: in a queue that is gone nobody waits.  Raises Unreadable."""
        queues: dict[str, int] = {}
        for row in rows_of(answer, "moh_sound", out):
            if len(queues) < _MOST_QUEUES and row.get("name"):
                queues[row["name"]] = SECOND * number(row.get("max_wait_time", ""))
        self.queues = queues
        empty = {stay.name for stay in self._visits.unfinished(WAITING) if stay.queue not in queues}
        for queue in sorted(empty - {self._composer.queue(each) for each in queues}):
            self._composer.snapshot(out, at, queue, [])

    def list_members(self, at: int, queue: str, answer: str, before: int, out: Out) -> None:
        """The answer to MEMBERS, who is in a queue.  Raises Unreadable.

        Rows of those who left stay for a while, and those of a killed FreeSWITCH too.

        :param before: when the last record of the connection before was received, by the system's clock.
        """
        name = self._composer.queue(queue)
        if name is None or (self.queues and queue not in self.queues):
            out.ignore("queue" if name is None else "no_meaning")  # a queue that is not there answers like an empty one
            return
        missed = queue in self._missed
        waiting: dict[tuple[str, int], int] = {}
        talking: set[tuple[str, str]] = set()
        listed: set[tuple[str, str]] = set()
        for row in rows_of(answer, "cid_name", out):
            if row.get("state") != "Abandoned" and row.get("session_uuid", "") not in self._gone:
                listed.add((row.get("session_uuid", ""), row.get("uuid", "")))
            try:
                self._read(at, queue, name, row, missed, waiting, talking, out)
            except Unreadable as why:
                out.refuse(why.reason, str(why))
        if missed and not self._close_missed(at, queue, waiting, talking, before, out):
            self._missed.remove(queue)
        for stay in self._visits.unfinished(WAITING):
            if stay.queue == queue:
                if (stay.call, stay.mark) in listed:
                    stay.more.pop("absent", None)
                elif at - stay.more.setdefault("absent", at) >= OLD:  # how he left was missed
                    self._visits.forget(stay)
        same = [each for each in self.queues if each != queue and self._composer.queue(each) == name]
        if not same:  # several queues of one name here have no list that is complete
            self._composer.snapshot(out, at, name, [(call, visit, since) for (call, visit), since in waiting.items()])

    def _close_missed(
        self,
        at: int,
        queue: str,
        waiting: Collection[tuple[str, int]],
        talking: Collection[tuple[str, str]],
        before: int,
        out: Out,
    ) -> bool:
        """Talks of before that began or ended while nobody listened.  Whether some have to be seen again."""
        too_young = False
        for stay in self._visits.unfinished(WAITING):
            if stay.queue != queue or (stay.call, stay.mark) in talking or "bridge" not in stay.more:
                continue
            if stay.more["bridge"] <= before and (self._visits.subject(stay), stay.visit) not in waiting:
                self._passes.talk(stay, out)
        for stay in self._visits.unfinished(TALKING):
            if stay.queue != queue or (stay.call, stay.mark) in talking or stay.answered > before:
                continue
            if at - stay.answered <= OLD:
                too_young = True
                continue
            agent = self._agents.known(stay.more.get("agent", ""))
            when = before
            if agent is not None and stay.answered <= agent.last_end <= at:
                when = agent.last_end
            self._visits.end(out, when, stay, None)
        return too_young

    def _read(
        self,
        at: int,
        queue: str,
        name: str,
        row: Mapping[str, str],
        missed: bool,
        waiting: dict[tuple[str, int], int],
        talking: set[tuple[str, str]],
        out: Out,
    ) -> None:
        state, member, call = row.get("state", ""), row.get("uuid", ""), row.get("session_uuid", "")
        since = SECOND * (number(row.get("rejoined_epoch", "")) or number(row.get("joined_epoch", "")))
        if state == "Abandoned":
            if missed:
                self._missed_leave(at, queue, member, row, out)
            return
        if state not in ("Waiting", "Trying", "Answered") or not member or not call or call in self._gone:
            return
        stay = self._passes.known(call, member)
        if stay is not None and stay.state == CLOSED:
            if stay.ended >= since:
                return
            stay = None
        old = at - since >= OLD
        bridged = SECOND * number(row.get("bridge_epoch", ""))
        if state == "Answered":
            talking.add((call, member))
            if stay is not None and stay.state == WAITING and "bridge" in stay.more:
                self._list_waiting(stay, waiting)  # picked up, not yet bridged: nothing was said of it
            if not bridged or at - bridged < OLD:
                return
        if stay is None:
            if not old:
                return
            stay = self._visits.enter(out, since, call, queue, name, row.get("cid_number", ""), member)
            stay.more["listed"] = True
        if state == "Answered":
            if stay.state == WAITING and "bridge" not in stay.more:
                agent = row.get("serving_agent", "")
                self._visits.answer(out, max(bridged, stay.queued), stay, self._composer.agent(agent))
                stay.more["agent"] = agent
        elif stay.state == WAITING:
            self._list_waiting(stay, waiting)

    def _list_waiting(self, stay: Stay, waiting: dict[tuple[str, int], int]) -> None:
        if not self._visits.ignored(stay):
            waiting[self._visits.subject(stay), stay.visit] = stay.queued

    def _missed_leave(self, at: int, queue: str, member: str, row: Mapping[str, str], out: Out) -> None:
        """A caller who left while nobody listened: the row says when, not why; only the time limit can be told from it."""
        left = SECOND * number(row.get("abandoned_epoch", ""))
        for stay in self._visits.unfinished(WAITING):
            if stay.mark == member and stay.queue == queue and stay.queued - SECOND <= left <= at - OLD:
                left = max(left, stay.queued)
                limit = self.queues.get(queue, 0)
                reason = "TIMEOUT" if limit and left - stay.queued >= limit - SECOND else "BREAK_OUT"
                stay.more.pop("bridge", None)
                self._passes.leave(left, stay, reason, True, out)

    def memory(self) -> dict[str, Any]:
        """All that `recall` needs, but for `queues`."""
        return {"gone": list(self._gone), "missed": list(self._missed)}

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self.queues = dict(memory["queues"])
        self._gone, self._missed = list(memory["gone"]), list(memory["missed"])
