"""The whole audit: what is read in which order, what is compared, and how it is told.

First what was published, then the offsets that were committed, then the end of the log, then the letters: so every snapshot
is of events that are read, and whatever lies before a committed offset has its letters and copies.  A queue that should have
been told of and was not is waited for, and is a difference only where its partition's worker is seen to live meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import Reason
from queuewatch_schemas.records import PartitionNews, QueueSnapshot, microseconds
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.audit.compare import NOW, Difference, compare
from queuewatch_streams.audit.partition import Behind, PartitionRecount, Rekeyed
from queuewatch_streams.audit.reading import (
    Letters,
    Published,
    Reader,
    Span,
    committed_offsets,
    connected,
    span_after,
)
from queuewatch_streams.audit.recount import ALWAYS, SECOND

__all__ = ["AuditReport", "Omission", "audit", "print_audit"]

PATIENCE: Final = 30.0
"""Seconds to wait for queues that should have been told of; their workers tell of all every ten."""
SHOWN: Final = 5
"""Names and offsets that are told one by one."""


@dataclass(frozen=True, slots=True)
class Omission:
    """Something that could not be compared, why, and of which queues; none named: of a partition or the whole."""

    what: str
    why: str
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found."""

    events: int
    """Records of the event topic that were read."""
    refused: int
    """Of them, those that the contract refuses."""
    rekeyed: int
    """Of them, those that lay on another partition than their queue's."""
    behind: int
    """Of them, those that no snapshot holds yet."""
    letters: int
    """Events that have a dead letter."""
    queues: int
    """Queues whose snapshot was compared."""
    figures: int
    """Figures that were compared."""
    differences: tuple[Difference, ...]
    left_out: tuple[Omission, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def empty(self) -> bool:
        """Whether there were events, but nothing to compare with them."""
        return self.events > 0 and not self.queues


async def audit(
    configuration: Configuration,
    *,
    history: bool = False,
    queues: Sequence[str] = (),
    since: datetime | None = None,
    patience: float = PATIENCE,
) -> AuditReport:
    """Read the log, recount it by brute force, and compare it with what the workers publish.

    :param history: the topics are a history, read by workers with `--clock events`.
    :param queues: only these; what belongs to no queue (letters, re-keyed events) is then not compared.
    :param since: compare only windows that began at or after it, as after a change of the configuration.
    :param patience: seconds to wait for queues that should have been told of.
    :raises KafkaTrouble: Kafka cannot be reached or read, or a topic is not there.
    """
    async with connected(configuration.kafka) as reader:
        return await _Audit(configuration, reader, history, tuple(queues), since, patience).run()


class _Audit:
    def __init__(
        self,
        configuration: Configuration,
        reader: Reader,
        history: bool,
        only: tuple[str, ...],
        since: datetime | None,
        patience: float,
    ) -> None:
        self.configuration = configuration
        self.reader = reader
        self.history = history
        self.only = only
        self.since = ALWAYS if since is None else microseconds(since)
        self.patience = patience
        self.topics = configuration.topics
        self.partitions = reader.partitions(self.topics.events)
        self.published = Published()
        self.published_up_to: dict[int, Span] = {}
        self.letters = Letters()
        self.letters_up_to: dict[int, Span] = {}
        self.recounts: dict[int, PartitionRecount] = {}
        self.rekeyed = Rekeyed()
        self.differences: list[Difference] = []
        self.omissions: dict[tuple[str, str], list[str]] = {}
        self.figures = 0

    async def run(self) -> AuditReport:
        await self._read_published()
        await self._wait_for_first_news()
        snapshots, news = dict(self.published.queues), dict(self.published.news)
        committed = await committed_offsets(self.configuration, self.partitions)
        spans = await self.reader.spans(self.topics.events)
        await self._read_letters()
        if committed is None:
            self._leave_out("missing dead letters", "the brokers do not tell which offsets are committed")
        elif not self.letters.whole:
            self._leave_out("missing dead letters", "retention has deleted dead letters")
        await self._recount(snapshots, spans, committed or {})
        compared = self._compare(snapshots, spans)
        await self._compare_what_is_missing(snapshots, news)
        if not self.only:
            self._compare_letters()
            self._compare_rekeyed(spans)
        recounts = self.recounts.values()
        return AuditReport(
            events=sum(each.records for each in recounts),
            refused=sum(each.refused for each in recounts),
            rekeyed=self.rekeyed.found,
            behind=sum(behind.events for each in recounts for behind in each.behind.values()),
            letters=self.letters.count,
            queues=compared,
            figures=self.figures,
            differences=tuple(self.differences),
            left_out=tuple(Omission(what, why, tuple(names)) for (what, why), names in self.omissions.items()),
        )

    def _leave_out(self, what: str, why: str, queue: str | None = None) -> None:
        self.omissions.setdefault((what, why), []).extend([] if queue is None else [queue])

    def _differ(
        self, queue: str, figure: str, published: int | float | str | None, recounted: int | float | str | None
    ) -> None:
        self.differences.append(Difference(queue, "", NOW, figure, published, recounted))

    # ------------------------------------------------------------------------------------------------------------ reading

    async def _read_published(self) -> None:
        """What was published since the last look."""
        spans = await self.reader.spans(self.topics.queues)
        fresh = {number: span_after(span, self.published_up_to, number) for number, span in spans.items()}
        async for _, records in self.reader.records(self.topics.queues, fresh):
            for record in records:
                self.published.add(record.key, record.value)
        self.published_up_to = fresh

    async def _wait_for_first_news(self) -> None:
        """A worker that has just become ready tells of its partitions within seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + min(self.patience, 3.0)
        while not self.published.news and loop.time() < end:
            await asyncio.sleep(0.5)
            await self._read_published()

    async def _read_letters(self) -> None:
        """The letters that came since the last look."""
        spans = await self.reader.spans(self.topics.dead_letter)
        self.letters.whole = self.letters.whole and not any(span.begin for span in spans.values())
        fresh = {number: span_after(span, self.letters_up_to, number) for number, span in spans.items()}
        async for _, records in self.reader.records(self.topics.dead_letter, fresh):
            for record in records:
                self.letters.add(self.topics.events, record)
        self.letters_up_to = fresh

    async def _recount(
        self, snapshots: Mapping[str, QueueSnapshot], spans: dict[int, Span], committed: Mapping[int, int]
    ) -> None:
        by_partition: dict[int, dict[str, QueueSnapshot]] = {}
        for name, snapshot in snapshots.items():
            if not self.only or name in self.only:
                by_partition.setdefault(partition_for(name.encode(), self.partitions), {})[name] = snapshot
        if self.only:
            homes = {partition_for(name.encode(), self.partitions) for name in self.only}
            for number in spans.keys() - homes:
                del spans[number]
        for number, span in spans.items():
            self.recounts[number] = PartitionRecount(
                number,
                self.partitions,
                self.configuration,
                history=self.history,
                letters=self.letters.reasons.get(number, {}),
                snapshots={
                    name: each for name, each in by_partition.get(number, {}).items() if each.partition == number
                },
                settled=committed.get(number, 0),
                begin=span.begin,
                since=self.since,
                rekeyed=self.rekeyed,
            )
        total = sum(span.end - span.begin for span in spans.values())
        with _counting(total) as progress:
            task = progress.add_task(self.topics.events, total=total)
            async for number, records in self.reader.records(self.topics.events, spans):
                self.recounts[number].read(records)
                progress.advance(task, len(records))
                await asyncio.sleep(0)
        for recount in self.recounts.values():
            recount.finish()

    # ---------------------------------------------------------------------------------------------------------- comparing

    def _compare(self, snapshots: Mapping[str, QueueSnapshot], spans: Mapping[int, Span]) -> int:
        """Hold each snapshot against its queue's recount; how many could be."""
        compared = 0
        for name, fault in self.published.unreadable.items():
            if not self.only or name in self.only:
                self._differ(name.replace("\0", "partition "), "snapshot", f"unreadable: {fault}", None)
        for name, snapshot in sorted(snapshots.items()):
            home = partition_for(name.encode(), self.partitions)
            recount = self.recounts.get(home)
            if recount is None or (self.only and name not in self.only):
                continue
            if snapshot.partition != home:
                self._differ(name, "partition", snapshot.partition, home)
            elif snapshot.offset > spans[home].end:
                self._differ(
                    name, "offset up to which it is true", snapshot.offset, f"the log ends at {spans[home].end}"
                )
            else:
                found = compare(snapshot, recount.queues[name], recount.log_times[name])
                compared += 1
                self.figures += found.figures
                self.differences += found.differences
                for left in found.left_out:
                    self._leave_out(left.what, left.why, name)
        return compared

    async def _compare_what_is_missing(
        self, snapshots: Mapping[str, QueueSnapshot], news: Mapping[int, PartitionNews]
    ) -> None:
        """Queues with events that their partition's worker says to have folded, and no snapshot that holds them."""
        missing: dict[str, tuple[int, Behind]] = {}
        for number, recount in self.recounts.items():
            told = news.get(number)
            if told is None:
                names = [name for name in recount.behind if self._is_wanted(name)]
                for name in names:
                    self._leave_out("events that no snapshot holds", f"no worker has told of partition {number}", name)
                continue
            idle = recount.log_time - self.configuration.timing.idle_days * 86_400 * SECOND
            for name, behind in recount.behind.items():
                known = snapshots.get(name)
                gone = known is None and behind.log_time <= idle
                if self._is_wanted(name) and behind.first < told.offset and told.ready and not gone:
                    missing[name] = number, behind
        if not missing:
            return
        loop = asyncio.get_running_loop()
        began, first = loop.time(), {number: each.time for number, each in news.items()}
        patience = max(self.patience, 0.01 * len(snapshots)) if self.patience else 0.0
        while True:
            await self._read_published()
            for name in [name for name, (_, behind) in missing.items() if self._is_told(name, behind)]:
                del missing[name]
                if name not in snapshots:
                    self._leave_out("everything", "it was told of only after the audit had begun", name)
            if not missing or loop.time() - began >= patience:
                break
            await asyncio.sleep(0.5)
        if missing:
            await self._read_letters()
        for name, (number, behind) in sorted(missing.items()):
            if name not in snapshots and behind.first in self.letters.reasons.get(number, {}):
                continue  # there was no room for it
            newest = self.published.news.get(number)
            lived = newest is not None and (newest.time - first[number]).total_seconds() >= 0.7 * patience > 0
            if lived:
                up_to = self.published.queues[name].offset if name in self.published.queues else None
                self._differ(name, "offset up to which it is true", up_to, f"beyond {behind.first}")
            else:
                self._leave_out("events that no snapshot holds", f"no worker of partition {number} lives", name)

    def _is_wanted(self, name: str) -> bool:
        return not self.only or name in self.only

    def _is_told(self, name: str, behind: Behind) -> bool:
        snapshot = self.published.queues.get(name)
        return snapshot is not None and snapshot.offset > behind.first

    def _compare_letters(self) -> None:
        for fault in self.letters.unreadable[:SHOWN]:
            self._differ("", "dead letter", f"unreadable: {fault}", None)
        for number, recount in self.recounts.items():
            if self.letters.whole:
                for reason, offsets in _by_reason(recount.unlettered).items():
                    self._differ("", f"dead letters for {reason} on partition {number}", "none", _some(offsets))
            for reason, offsets in _by_reason(recount.unfounded).items():
                self._differ("", f"dead letters for {reason} on partition {number}", _some(offsets), "no fault found")

    def _compare_rekeyed(self, spans: Mapping[int, Span]) -> None:
        lost: dict[tuple[int, int], list[int]] = {}
        for number, offset, home in self.rekeyed.lost():
            if spans[home].begin:
                self._leave_out(f"re-keyed events for partition {home}", "retention has deleted a part of it")
            else:
                lost.setdefault((number, home), []).append(offset)
        for (number, home), offsets in sorted(lost.items()):
            figure = f"events of partition {number} published again to {home}"
            self._differ("", figure, "none", f"misplaced: {_some(offsets)}")


def _by_reason(found: Sequence[tuple[int, Reason | str]]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for offset, reason in found:
        grouped.setdefault(str(reason), []).append(offset)
    return grouped


def _some(offsets: Sequence[int]) -> str:
    shown = ", ".join(map(str, offsets[:SHOWN]))
    return f"offset {shown}" + (f" and {len(offsets) - SHOWN} more" if len(offsets) > SHOWN else "")


@contextmanager
def _counting(total: int) -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal or not total) as progress:
        yield progress


# --------------------------------------------------------------------------------------------------------------- telling


def print_audit(report: AuditReport, console: Console | None = None) -> None:
    """The differences as a table on a terminal, as tab-separated lines elsewhere; then what was left out, and the counts."""
    console = Console() if console is None else console
    headings = ("queue", "channel", "window", "figure", "published", "recounted")
    rows = [
        (each.queue, each.channel, each.window, each.figure, _shown(each.published), _shown(each.recounted))
        for each in report.differences
    ]
    if console.is_terminal and rows:
        table = Table(title=f"{len(rows)} differences")
        for heading in headings:
            table.add_column(heading, justify="right" if heading in ("published", "recounted") else "left")
        for row in rows:
            table.add_row(*map(Text, row))  # a name in brackets is no markup
        console.print(table)
    elif rows:
        for row in (headings, *rows):
            print("\t".join(row), file=console.file)
    for omission in report.left_out:
        named = ", ".join(omission.queues[:SHOWN]) + (", ..." if len(omission.queues) > SHOWN else "")
        of = f" of {len(omission.queues)} queues ({named})" if omission.queues else ""
        print(f"left out: {omission.what}{of}: {omission.why}", file=console.file)
    print(
        f"{report.events} events read ({report.refused} refused, {report.letters} dead letters, {report.rekeyed} on a wrong"
        f" partition, {report.behind} not yet in a snapshot); {report.figures} figures of {report.queues} queues compared:"
        f" {len(report.differences) or 'no'} difference{'' if len(report.differences) == 1 else 's'}",
        file=console.file,
    )


def _shown(value: int | float | str | None) -> str:
    return "–" if value is None else f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
