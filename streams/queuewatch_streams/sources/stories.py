"""Calls whose vendor tells of them in any order, more than once, and late: each call's records are kept, and told anew.

With each record that comes, all records of its call are put in order and read as one story, by a pure function of the
translator's.  Said is what was not said before.  So order and repetition cannot matter, and a record that comes late only
adds what it brings.  What follows from the absence of a record (he hung up, since nobody took him) is said only once nothing
that old will come any more; by then it is true.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from queuewatch_streams.sources.compose import Composer
from queuewatch_streams.sources.shape import Out, Unreadable

__all__ = ["Fact", "Record", "Said", "Stories"]

MOST_CALLS: Final = 20_000
"""Calls that are remembered; of one more the one is forgotten that was heard of longest ago."""
MOST_RECORDS: Final = 200
"""Records of one call; for a further one a passing record is forgotten, and where there is none it is refused."""
_OPEN: Final = 24 * 3_600_000_000
"""A call that has not ended is remembered so long after its last record."""
_SWEEP: Final = 10_000_000
_UNANSWERED: Final = frozenset({"abandoned", "diverted", "refused"})
_PASSING: Final = frozenset({"ringing", "declined", "held", "resumed"})
"""What may happen in a stay without end."""

Said = Mapping[tuple[str, str, str], int]
"""When what was said already happened, by (stay, kind, which)."""


class Record(NamedTuple):
    """One record of a call, as it is remembered: only what its story needs, nothing of the caller."""

    at: int
    """When it happened, microseconds since the epoch."""
    order: int
    """Which of those of one moment comes first."""
    identity: str
    """The vendor's own identity of it: a second one of a call with the same is the same."""
    kind: str
    fields: dict[str, Any]
    """As JSON can hold it."""


class Fact(NamedTuple):
    """Something that happened to a call's stay in a queue."""

    stay: str
    """What tells the stay from others of its story, whatever else becomes known; the number of the visit is found by it."""
    call: str
    """The vendor's id of the call that the stay is told as."""
    queue: str
    """The vendor's id of the queue."""
    kind: str
    """As in `call.KIND`."""
    at: int
    data: dict[str, Any]
    """The event's data without queue and visit."""
    which: str = ""
    """Tells facts of one kind of one stay apart, as the agent does."""
    sure: int = 0
    """It follows from a record's absence, which is sure once nothing older than this comes any more."""


class _Story:
    __slots__ = ("heard", "open", "records", "said", "visits", "waits")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.said: dict[tuple[str, str, str], int] = {}
        self.visits: dict[str, list[Any]] = {}
        """The visit's call, queue and number, by stay."""
        self.heard = 0
        """The time of the newest record, or of what became sure last."""
        self.waits = 0
        """When something becomes sure that is not said yet; 0: nothing waits."""
        self.open = False
        """Whether something was said of a stay that has not ended by what was said."""

    def is_open(self) -> bool:
        """What `open` is to be."""
        over = {stay for stay, kind, _ in self.said if kind in _UNANSWERED}
        over -= {stay for stay, kind, _ in self.said if kind == "answered"}
        over |= {stay for stay, kind, _ in self.said if kind == "ended"}
        return any(stay not in over for stay in self.visits)


class Stories:
    """The calls of one source.

    :param tell: from a call's records, in order, and from what was said already, all that they say together; it changes
        neither.  May raise Unreadable.
    :param keep: microseconds for which a call that has ended is remembered after its last record.
    :param most: calls that are remembered.
    :param passing: kinds of records without which the rest of a story is told no differently, such as an agent's refusal;
        where a call has very many records they are forgotten once nothing as old comes any more.
    """

    def __init__(
        self,
        composer: Composer,
        tell: Callable[[Sequence[Record], Said], Iterable[Fact]],
        keep: int,
        most: int = MOST_CALLS,
        passing: Collection[str] = (),
    ) -> None:
        self._composer = composer
        self._tell = tell
        self._keep = keep
        self._most = most
        self._passing = passing
        self._stories: dict[str, _Story] = {}
        """By call, the one that was heard of longest ago first."""
        self._due: list[tuple[int, str]] = []
        """A heap of when something may become sure, and of which call."""
        self._open = 0
        self._until = 0
        """Nothing older than this comes any more."""
        self._swept = 0

    @property
    def open_calls(self) -> int:
        """How many calls are remembered that have not ended."""
        return self._open

    @property
    def until(self) -> int:
        """Nothing older than this comes any more, microseconds since the epoch; 0: nobody knows."""
        return self._until

    def records(self, call: str) -> Sequence[Record]:
        """What is known of a call, in order."""
        found = self._stories.get(call)
        return () if found is None else found.records

    def add(self, call: str, record: Record, out: Out) -> bool:
        """Take a record of a call, and say what it brings; False where it is known already.

        :raises Unreadable: the story cannot be told with it; the record is left out of it.
        """
        return self.add_all(call, (record,), out)

    def add_all(self, call: str, records: Iterable[Record], out: Out) -> bool:
        """Take records of a call that came together: nothing is said of some of them without the others.

        As `add` in all else.
        """
        story = self._stories.pop(call, None) or _Story()
        self._stories[call] = story  # the one that was heard of last stands last
        known = {each.identity for each in story.records}
        new = [record for record in {each.identity: each for each in records}.values() if record.identity not in known]
        try:
            for record in new:
                if len(story.records) >= MOST_RECORDS:
                    self._forget_passing(story)
                insort(story.records, record, key=lambda each: each[:3])
            if new:
                self._say(call, story, out)
        except Unreadable:
            story.records = [each for each in story.records if each.identity in known]
            raise
        finally:
            if not story.records:
                del self._stories[call]
        story.heard = max(story.heard, *(record.at for record in new), 0)
        if len(self._stories) > self._most:
            self._forget(next(iter(self._stories)), out)
        return bool(new)

    def advance(self, at: int, out: Out) -> None:
        """Nothing older than `at` (microseconds since the epoch) comes any more: say what is sure by now."""
        self._until = max(self._until, at)
        while self._due and self._due[0][0] <= self._until:
            due, call = heapq.heappop(self._due)
            story = self._stories.get(call)
            if story is not None and story.waits == due:
                story.heard = max(story.heard, due)
                self._say_at_last(call, story, out)
        if self._until >= self._swept + _SWEEP:
            self._swept = self._until
            for call in [call for call, story in self._stories.items() if self._is_over(story)]:
                self._drop(call)

    def _is_over(self, story: _Story) -> bool:
        if story.waits:
            return False
        return story.heard + (_OPEN if story.open else self._keep) < self._until

    def _forget(self, call: str, out: Out) -> None:
        """Say what waits, as nothing more will be known, and let go of the call."""
        self._say_at_last(call, self._stories[call], out, whatever=True)
        self._drop(call)

    def _drop(self, call: str) -> None:
        self._open -= self._stories.pop(call).open

    def _forget_passing(self, story: _Story) -> None:
        """Make room for a record.  Raises Unreadable."""
        for place, each in enumerate(story.records):
            if each.kind in self._passing and each.at < self._until:
                del story.records[place]
                if len(story.said) > 2 * MOST_RECORDS and (gone := next(filter(_is_passing, story.said), None)):
                    del story.said[gone]
                return
        raise Unreadable("too_long", f"its call has more than {MOST_RECORDS} records")

    def _say_at_last(self, call: str, story: _Story, out: Out, *, whatever: bool = False) -> None:
        try:
            self._say(call, story, out, whatever=whatever)
        except Unreadable as why:
            story.waits = 0
            out.refuse(why.reason, str(why))

    def _say(self, call: str, story: _Story, out: Out, *, whatever: bool = False) -> None:
        """Say what is not said yet; `whatever`: also what is not sure.  Raises Unreadable where the story cannot be told."""
        facts = list(self._tell(story.records, story.said))
        waited, story.waits = story.waits, 0
        for fact in facts:
            before = story.said.get((fact.stay, fact.kind, fact.which))
            if before is not None and before <= fact.at:
                continue  # of one kind the earliest holds
            if fact.sure > self._until and not whatever:
                story.waits = min(fact.sure, story.waits or fact.sure)
                continue
            story.said[fact.stay, fact.kind, fact.which] = fact.at
            try:
                self._compose(story, fact, out)
            except Unreadable as why:  # the rest of the story is none the worse for it
                out.refuse(why.reason, str(why))
        is_open = story.is_open()
        self._open += is_open - story.open
        story.open = is_open
        if story.waits and story.waits != waited:
            self._wake(call, story)

    def _wake(self, call: str, story: _Story) -> None:
        heapq.heappush(self._due, (story.waits, call))
        if len(self._due) > 2 * len(self._stories) + 1000:  # mostly of what is said by now, or forgotten
            self._due = [(each.waits, call) for call, each in self._stories.items() if each.waits]
            heapq.heapify(self._due)

    def _compose(self, story: _Story, fact: Fact, out: Out) -> None:
        name = self._composer.queue(fact.queue)
        if name is None:
            if fact.kind in ("queued", "refused"):
                out.ignore("queue")
            return
        found = story.visits.get(fact.stay)
        if found is None:
            theirs = [number for of, where, number in story.visits.values() if (of, where) == (fact.call, name)]
            found = story.visits[fact.stay] = [fact.call, name, 1 + max(theirs, default=0)]
        told = {"queue": name, **fact.data}
        which = f"{fact.which}/" if fact.which else ""
        self._composer.call(out, fact.kind, fact.at, self._composer.subject(fact.call), told, found[2], which)

    # ---------------------------------------------------------------------------------------------------------- memory

    def memory(self) -> Any:
        """All that `recall` needs; a copy."""
        return {
            "until": self._until,
            "swept": self._swept,
            "calls": {
                call: [
                    [list(each) for each in story.records],
                    [[*key, at] for key, at in story.said.items()],
                    {stay: list(visit) for stay, visit in story.visits.items()},
                    story.heard,
                    story.waits,
                ]
                for call, story in self._stories.items()
            },
        }

    def recall(self, memory: Any) -> None:
        """Take up a memory."""
        self._until, self._swept = memory["until"], memory["swept"]
        self._stories, self._due, self._open = {}, [], 0
        for call, (records, said, visits, heard, waits) in memory["calls"].items():
            story = self._stories[call] = _Story()
            story.records = [Record(*each) for each in records]
            story.said = {(stay, kind, which): at for stay, kind, which, at in said}
            story.visits = visits
            story.heard, story.waits = heard, waits
            story.open = story.is_open()
            self._open += story.open
            if waits:
                heapq.heappush(self._due, (waits, call))


def _is_passing(said: tuple[str, str, str]) -> bool:
    return said[1] in _PASSING
