"""What all sources agree on: the words between a vendor's record and the topic.

A translator never raises and never looks at a clock: equal records after an equal memory give equal events, byte for byte,
ids too.  That is what makes a repeat harmless, and why a crash may repeat but never lose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.source_settings import SourceSettings

if TYPE_CHECKING:
    from queuewatch_streams.sources.compose import Composer
    from queuewatch_streams.sources.station import Station

__all__ = [
    "Begin",
    "Counters",
    "Kind",
    "Look",
    "Lost",
    "Message",
    "Out",
    "Reader",
    "Refusal",
    "Role",
    "Translator",
    "Unreadable",
]

Role = Literal["events", "agents"]
Message = tuple[Role, str, bytes]
"""The topic by its role, the key, and the event in JSON."""
R_contra = TypeVar("R_contra", contravariant=True)
R = TypeVar("R")


class Unreadable(Exception):
    """A record that cannot be translated; the text says what is wrong, without anything of what the record holds.

    It goes to logs and terminals, where no caller may stand.  `reason` is one of SOURCE_REFUSALS of the metrics' catalogue.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Lost(Exception):
    """The vendor's system cannot be reached, or is gone; the text says which and why.  The station tries again."""


@dataclass(slots=True)
class Refusal:
    """One record that was refused, or one thing about it that is worth telling."""

    reason: str
    detail: str


class Out:
    """What a translator has to say of the records since it was last emptied; one for all that it says."""

    __slots__ = ("ignored", "messages", "refused")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        """Events, in the order in which they are to be written."""
        self.refused: list[Refusal] = []
        """At most a few for each record."""
        self.ignored: dict[str, int] = {}
        """How many records yielded nothing on purpose, by one of SOURCE_IGNORED of the metrics' catalogue."""

    def refuse(self, reason: str, detail: str) -> None:
        """Tell of a record that cannot be read."""
        self.refused.append(Refusal(reason, detail))

    def ignore(self, reason: str) -> None:
        """Count a record that is left out on purpose."""
        self.ignored[reason] = self.ignored.get(reason, 0) + 1


class Translator(Protocol[R_contra]):
    """One vendor's records into canonical events.  It is made with a `Composer` and, after a restart, its own memory."""

    newest: int
    """The greatest time of any record, in microseconds since the epoch; 0 before the first."""

    @property
    def open_calls(self) -> int:
        """How many calls it remembers that have not ended."""

    def translate(self, record: R_contra, out: Out) -> None:
        """Say what one record means, into `out`.  Raises nothing, whatever the record holds."""

    def advance(self, at: int, out: Out) -> None:
        """Nothing older than `at` (microseconds) will come any more: say what was held back until then.

        A station says so with the reader's word for it, `convert` at the end of its files.
        """

    def memory(self) -> Any:
        """All that the translator has to know to carry on, as JSON can hold it; bounded, however long it runs."""


Begin = Literal["now", "business-day", "beginning"]
"""Where a source begins that has no position yet."""


@dataclass(frozen=True, slots=True)
class Look:
    """What `--check` saw: that the system can be reached, what is there, and some of its newest records."""

    says: tuple[str, ...]
    """Lines for people: where, as whom, what is there."""
    records: tuple[Any, ...] = ()
    """A few of the newest records, oldest first, to show what would be sent."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What `--compare` sets beside our own counts: the vendor's, by its queue and by our words for what is counted."""

    queues: Mapping[str, Mapping[str, int]]
    """By the vendor's id of the queue: offered, answered, abandoned, diverted, refused; what is not told is left out."""
    notes: tuple[str, ...] = ()
    """Why they may differ from ours, a sentence each."""
    since: datetime | None = None
    """Since when the vendor counts, where that is not what was asked for."""


class Reader(ABC, Generic[R]):
    """The I/O of one source: brings records to its station, in order, each with the position behind it.

    Made also for `--check` and `--compare`, which only ask `look` and `counters`: nothing is opened before `open`.
    """

    async def open(self) -> None:
        """Whatever is to be there from the start to the end, whether Kafka is or not: the port of a listener.

        Awaited once, before the first `run`.  Raises PortTaken.
        """

    async def close(self) -> None:
        """Let go of what `open` opened.  Awaited when the source ends, also where `open` failed."""

    @abstractmethod
    async def run(self, station: Station[R]) -> None:
        """Read for ever from `station.position` on.

        `await station.take(records, position)` for what has come; `station.looked()` after every real look at the system;
        `await station.settle()` before the vendor is told to forget records.  Several tasks may do so.  Raises Lost when the
        system is gone: it is called again after a while, with the position then.  Cancelled when the source ends.
        """

    @abstractmethod
    async def look(self) -> Look:
        """A short look for `--check`, which changes nothing.  Raises Lost."""

    @abstractmethod
    async def counters(self, since: datetime) -> Counters:
        """The vendor's own figures from `since` until now, for `--compare`.  Raises Lost."""


@dataclass(frozen=True)
class Kind:
    """A kind of source, and how its parts are made."""

    translator: Callable[[Composer, Any, SourceSettings | None], Translator[Any]]
    """From the composer, the memory (None: a new one) and the settings (None: `convert` of a kind without settings)."""
    reader: Callable[[str, Any, Configuration], Reader[Any]]
    """From the source's name, its settings and the whole configuration."""
    records: Callable[[Iterable[bytes]], Iterator[tuple[int, Any]]]
    """For `convert`: a file's lines as records, each with the number of its line (from 1)."""
