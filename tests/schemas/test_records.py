"""What a worker publishes, and that its readers get it back."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_schemas import examples
from queuewatch_schemas.config import Configuration
from queuewatch_schemas.events import Reason
from queuewatch_schemas.records import (
    LETTER_BYTES,
    RECORDS,
    ClosedInterval,
    DeadLetter,
    PartitionNews,
    QueueSnapshot,
    UnreadableRecordError,
    interval_key,
    letter_value,
    microseconds,
    moment,
    partition_of_key,
)

RECORD_EXAMPLES = (examples.QUEUE_SNAPSHOT, examples.PARTITION_NEWS, examples.CLOSED_INTERVAL, examples.DEAD_LETTER)


@pytest.mark.parametrize("record", RECORD_EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_went(record: QueueSnapshot | PartitionNews | ClosedInterval | DeadLetter) -> None:
    """Through bytes, twice: what was read can be written again."""
    back = type(record).from_bytes(record.to_bytes())
    assert back == record
    assert back.to_bytes() == record.to_bytes()


def test_every_record_has_an_example() -> None:
    """The documents show each."""
    assert {type(record) for record in RECORD_EXAMPLES} == set(RECORDS.values())


def test_what_is_unknown_is_null_and_never_left_out() -> None:
    """A reader that finds no number shows no number."""
    document = orjson.loads(examples.QUEUE_SNAPSHOT.model_copy(update={"open": None}).to_bytes())
    assert document["open"] is None
    empty = document["channels"]["voice"]["windows"]["last_interval"]
    assert empty["answer_wait_mean_seconds"] is None
    assert empty["abandon_ratio"] is None
    assert document["channels"]["voice"]["levels"]["default"]["last_interval"]["ratio"] is None


def test_times_are_written_in_utc() -> None:
    """With a Z, whatever zone they had."""
    singapore = datetime(2026, 11, 21, 9, 16, tzinfo=timezone(timedelta(hours=8)))
    news = examples.PARTITION_NEWS.model_copy(update={"time": singapore})
    assert PartitionNews.from_bytes(news.to_bytes()).time == singapore
    assert orjson.loads(examples.PARTITION_NEWS.to_bytes())["time"] == "2026-11-21T01:16:00Z"


def test_a_field_that_a_newer_worker_adds_is_ignored_and_a_newer_version_refused() -> None:
    """Adding is no break; what breaks a reader has another version."""
    document = orjson.loads(examples.PARTITION_NEWS.to_bytes())
    assert PartitionNews.from_bytes(orjson.dumps({**document, "new": 1})) == examples.PARTITION_NEWS
    snapshot = orjson.loads(examples.QUEUE_SNAPSHOT.to_bytes())
    snapshot["limits"]["new"] = snapshot["definitions"]["default"]["new"] = 1
    assert QueueSnapshot.from_bytes(orjson.dumps(snapshot)) == examples.QUEUE_SNAPSHOT
    with pytest.raises(UnreadableRecordError, match="no PartitionNews: version: "):
        PartitionNews.from_bytes(orjson.dumps({**document, "version": 2}))


@given(st.binary(max_size=60))
def test_other_bytes_are_no_record(value: bytes) -> None:
    """They raise one kind of error, with the kind of record in it."""
    with pytest.raises(UnreadableRecordError, match="no QueueSnapshot"):
        QueueSnapshot.from_bytes(value)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_the_cores_time_goes_there_and_back_exactly(time: int) -> None:
    """For every microsecond of the years 1 to 9999."""
    assert microseconds(moment(time)) == time
    assert moment(time).tzinfo is UTC


def test_a_snapshots_definitions_are_written_out_in_full() -> None:
    """A wallboard must not know what a preset implies."""
    for definition in examples.QUEUE_SNAPSHOT.definitions.values():
        assert definition == definition.resolved()
        assert (
            orjson.loads(examples.QUEUE_SNAPSHOT.to_bytes())["definitions"]["default"]["diverts"] == "after-threshold"
        )


def test_the_queues_settings_fit_the_snapshot() -> None:
    """What `Configuration.queue` resolves can be put into it as it is."""
    resolved = Configuration().queue("sales")
    fields = {name: getattr(examples.QUEUE_SNAPSHOT, name) for name in QueueSnapshot.model_fields}
    snapshot = QueueSnapshot.model_validate(
        {**fields, "definitions": dict(resolved.definitions), "limits": resolved.limits}
    )
    back = QueueSnapshot.from_bytes(snapshot.to_bytes())
    assert back.limits.model_dump() == resolved.limits.model_dump()
    assert back.definitions["default"].model_dump() == resolved.definitions[0][1].model_dump()


# ----------------------------------------------------------------------------------------------------------------- keys


@given(st.integers(0, 10_000))
def test_the_key_of_a_partitions_news_is_no_queues_and_tells_the_partition(partition: int) -> None:
    """No queue's name holds a control character."""
    key = examples.PARTITION_NEWS.model_copy(update={"partition": partition}).key()
    assert partition_of_key(key) == partition
    assert partition_of_key(examples.QUEUE_SNAPSHOT.key()) is None
    assert partition_of_key(str(partition).encode()) is None


def test_an_intervals_key_is_one_text_for_one_instant() -> None:
    """Whatever zone its start is told in."""
    start = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
    assert examples.CLOSED_INTERVAL.key() == b'["sales","voice","2026-11-21T01:00:00Z"]'
    assert (
        interval_key("sales", "voice", start.astimezone(timezone(timedelta(hours=8)))) == examples.CLOSED_INTERVAL.key()
    )


# --------------------------------------------------------------------------------------------------------- dead letters


@given(
    st.integers(0, 2**62),
    st.sampled_from(Reason),
    st.text(st.characters(), max_size=2000),
    st.none() | st.binary(max_size=50) | st.just(b"x" * (LETTER_BYTES + 1)),
)
def test_a_dead_letter_says_where_and_why_in_its_headers(
    offset: int, reason: Reason, detail: str, payload: bytes | None
) -> None:
    """Whatever the detail holds: it is cut, and what is no character replaced."""
    letter = DeadLetter.of(
        topic="queuewatch.events", partition=3, offset=offset, reason=reason, detail=detail, payload=payload
    )
    headers = letter.headers()
    assert all(isinstance(name, str) and isinstance(value, bytes) for name, value in headers)
    assert DeadLetter.from_headers([*headers, ("traceparent", b"\xff")]) == letter
    assert len(letter.detail) <= 1000
    assert letter.key() == b"queuewatch.events/3/%d" % offset
    value = letter_value(payload)
    if payload is None:
        assert (value, letter.size, letter.sha256, letter.truncated) == (None, None, None, False)
    else:
        assert value is not None
        assert payload.startswith(value)
        assert len(value) == min(len(payload), LETTER_BYTES)
        assert (letter.size, letter.sha256) == (len(payload), hashlib.sha256(payload).hexdigest())
        assert letter.truncated == (value != payload)


def test_headers_that_are_no_dead_letters_are_refused() -> None:
    """With the first that is missing."""
    with pytest.raises(UnreadableRecordError, match="no DeadLetter: topic"):
        DeadLetter.from_headers([("reason", b"late")])
