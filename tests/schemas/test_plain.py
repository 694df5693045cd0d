"""Reading everyday events quickly never reads them otherwise than the schema does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from queuewatch_schemas import plain
from queuewatch_schemas.events import EVENT, FORMS, judge
from queuewatch_schemas.examples import EVENTS
from queuewatch_schemas.times import instant

CALLS = [event for event in EVENTS if event["type"].startswith("queuewatch.call.")]
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        ["", "x" * 1024, "x" * 1025, "é" * 101, " sales", "e\u0301", "voice\n", "Voice", "a" * 41, "\ud800"]
    ),
    st.sampled_from(
        ["1.0", "timeout", "direct", "application/json", "2026-11-21T09:15:02Z", "queuewatch.call.queued.v1"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
FIELDS = (
    "agent", "by", "call", "channel", "customer", "datacontenttype", "due", "entered", "extra", "from_queue", "id", "priority",
    "queue", "reason", "skills", "source", "specversion", "subject", "time", "to_queue", "type", "via", "visit",
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> bytes:
    """A call event as it should be, or with some attributes and fields lost, added or changed; sometimes broken bytes."""
    event: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(CALLS))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from([event, event["data"]])) if isinstance(event.get("data"), dict) else event
        name = draw(st.sampled_from(FIELDS))
        if draw(st.booleans()):
            place[name] = draw(STRANGE)
        else:
            place.pop(name, None)
    value = json.dumps(event).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.binary(max_size=3)) + value[at + draw(st.integers(0, 3)) :]
    return value


@given(events())
def test_what_is_plain_is_read_exactly_as_the_schema_reads_it(value: bytes) -> None:
    """Type, source, call, time and data are equal; and nothing is plain that the schema refuses."""
    read = plain.read_plain(value, FORMS)
    if read is None:
        return
    told = EVENT.validate_json(value)
    assert (read.type, read.source, read.subject, read.time, read.data) == (
        told["type"],
        told["source"],
        told["subject"],
        told["time"],
        told["data"],
    )
    assert read.at == instant(told["time"])


@pytest.mark.parametrize("event", CALLS, ids=[event["type"] for event in CALLS])
def test_every_call_event_of_the_documents_is_plain(event: dict[str, Any]) -> None:
    """So the quick way is the way of most events."""
    assert plain.read_plain(json.dumps(event).encode(), FORMS) is not None


TIMES = (
    r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:[0-6][0-9]),?"
)


@given(st.from_regex(TIMES, fullmatch=True))
def test_what_is_an_instant_has_the_pattern_of_the_schema(text: str) -> None:
    """The documents' pattern and the code agree on what a time looks like."""
    event = {**CALLS[0], "time": text}
    try:
        instant(text)
    except ValueError:
        return
    try:
        EVENT.validate_json(json.dumps(event))
    except ValidationError:
        pytest.fail(f"{text!r} is an instant, but not to the schema")


@given(events())
def test_what_is_kept_of_a_plain_event_is_what_is_kept_of_the_same_event_read_by_the_schema(value: bytes) -> None:
    """Of two events at the same instant the data decide which holds, whichever way each was read."""
    read = plain.read_plain(value, FORMS)
    if read is None:
        return
    told = judge(value)
    assert read.compact() == told.compact()
    assert (read.queue, read.visit, read.at, read.kind) == (told.queue, told.visit, told.at, told.kind)
