"""What the audit tells, and what it makes of many partitions."""

import io

import pytest
from rich.console import Console

from queuewatch_schemas.events import Reason
from queuewatch_schemas.topics import partition_for
from queuewatch_streams.audit import AuditReport, Difference, Omission, print_audit
from queuewatch_streams.audit.compare import compare
from queuewatch_streams.audit.partition import REKEYED_HEADER, PartitionRecount, Rekeyed
from queuewatch_streams.audit.reading import Published
from queuewatch_streams.core.partition import REKEYED_HEADER as CORES_HEADER
from queuewatch_streams.core.partition import Partition, Record
from queuewatch_streams.publications import news, snapshot
from support.audits import CONFIG
from support.events import call, line
from support.histories import START

HOME = partition_for(b"sales", 2)


def event(name: str, at: int = START) -> bytes:
    """A caller of the queue sales."""
    return line(call("queued", at, name))


def test_the_header_of_rekeyed_events_is_the_cores() -> None:
    """It is written down twice, since the recount shares nothing with the core."""
    assert REKEYED_HEADER == CORES_HEADER


def test_a_misplaced_event_counts_only_where_it_was_published_again() -> None:
    """The original counts nowhere, its copy once, by its first timestamp; an original without a copy is lost."""
    stamp = START // 1000
    later = stamp + 3_600_000
    kept = ((REKEYED_HEADER, str(stamp).encode()),)
    away = [Record(0, stamp, b"sales", event("c-1")), Record(1, stamp, b"sales", event("c-2"))]
    home = [Record(0, later, b"sales", event("c-1"), kept), Record(1, later, b"sales", event("c-3"))]
    folded = Partition(HOME, CONFIG, partitions=2)
    assert [each.reason for each in folded.fold(home).refused] == [Reason.LATE]
    published = Published()
    published.add(b"sales", snapshot(folded, folded.queues["sales"], CONFIG.queue("sales"), folded.log_time))
    rekeyed = Rekeyed()
    there = PartitionRecount(1 - HOME, 2, CONFIG, settled=2, rekeyed=rekeyed)
    here = PartitionRecount(HOME, 2, CONFIG, settled=2, rekeyed=rekeyed, snapshots=published.queues)
    for recount, records in ((there, away), (here, home)):
        recount.read(records)
        recount.finish()
    assert rekeyed.lost() == [(1 - HOME, 1, HOME)]
    assert rekeyed.found == 2
    assert not there.behind
    assert here.unlettered == [(1, Reason.LATE)]
    found = compare(published.queues["sales"], here.queues["sales"], here.log_times["sales"])
    assert found.differences == ()
    assert here.queues["sales"].channels["voice"].waiting == [START]


def test_of_snapshots_the_greatest_offset_counts_and_a_tombstone_takes_back() -> None:
    """What a lost worker wrote behind its successor is passed over; news stand apart; a torn record is told."""
    folded, old = Partition(0, CONFIG, partitions=1), Partition(0, CONFIG, partitions=1)
    records = [Record(n, START // 1000, b"sales", event(f"c-{n}")) for n in range(3)]
    folded.fold(records)
    old.fold(records[:1])
    newest, stale = (snapshot(each, each.queues["sales"], CONFIG.queue("sales"), START) for each in (folded, old))
    published = Published()
    for value in (newest, stale):
        published.add(b"sales", value)
    published.add(*news(folded, "w", ready=True, now=START))
    assert published.queues["sales"].offset == 3
    assert published.news[0].offset == 3
    published.add(b"sales", None)
    assert not published.queues
    published.add(b"sales", b"{")
    published.add(b"claims", newest)
    assert published.unreadable.keys() == {"sales", "claims"}


def report(*differences: Difference) -> AuditReport:
    """A report of these differences."""
    left_out = (Omission("day", "it began before", ("sales", "claims")), Omission("letters", "they are gone"))
    return AuditReport(1000, 3, 2, 1, 3, 2, 400, differences, left_out)


@pytest.mark.parametrize("terminal", [False, True])
def test_differences_are_told_with_both_values(terminal: bool) -> None:
    """On a terminal a table, else lines; then what was left out and why, and how much was read and compared."""
    told = io.StringIO()
    console = Console(file=told, force_terminal=terminal, width=200, color_system=None)
    print_audit(report(Difference("sales", "voice", "day", "answered", 3, 4)), console)
    text = told.getvalue()
    assert ("sales\tvoice\tday\tanswered\t3\t4" in text) is not terminal
    assert "answered" in text
    assert "left out: day of 2 queues (sales, claims): it began before" in text
    assert "left out: letters: they are gone" in text
    assert "1000 events read" in text
    assert "400 figures of 2 queues compared: 1 difference\n" in text


def test_a_report_without_differences_is_clean_and_one_without_queues_empty() -> None:
    """To compare nothing is not to find nothing."""
    assert report().clean
    assert not report().empty
    assert AuditReport(5, 0, 0, 5, 0, 0, 0, (), ()).empty
