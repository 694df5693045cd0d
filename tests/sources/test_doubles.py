"""A PBX that is listened to twice is noticed by its calls' ids, whatever the queues are called."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.sources.doubles import doubled_in


def queued(source: str, call: str, kind: str = "queued") -> bytes:
    return orjson.dumps(
        {
            "type": f"queuewatch.call.{kind}.v1",
            "source": f"urn:source:{source}",
            "subject": f"{source}-{call}",
            "data": {"queue": f"{source}/sales"},
        }
    )


@given(st.sets(st.text(min_size=1), min_size=3), st.permutations(["pbx", "pbx-1", "log"]))
def test_two_sources_of_the_same_calls_name_each_other(calls: set[str], names: list[str]) -> None:
    one, other, third = names
    values = [queued(source, call) for call in calls for source in (one, other)] + [queued(third, "own")]
    assert doubled_in(values, one) == {other: len(calls)}
    assert doubled_in(values, other) == {one: len(calls)}
    assert doubled_in(values, third) == {}


@pytest.mark.parametrize(("same", "others", "noticed"), [(2, 0, False), (3, 0, True), (3, 20, False), (10, 30, True)])
def test_a_few_equal_ids_of_two_systems_are_chance(same: int, others: int, noticed: bool) -> None:
    values = [queued(source, f"c{number}") for source in ("a", "b") for number in range(same)]
    values += [queued(source, f"{source}{number}") for source in ("a", "b") for number in range(others)]
    assert bool(doubled_in(values, "a")) is noticed


def test_what_is_no_event_or_none_of_a_source_is_passed_over() -> None:
    values = [queued("a", f"c{number}") for number in range(5)] + [
        b"",
        b"{",
        b"[]",
        b'{"type": 1}',
        b'{"source": null}',
    ]
    values += [queued("b", f"c{number}", "answered") for number in range(5)]
    foreign = [queued("b", f"c{number}").replace(b"urn:source:", b"urn:else:") for number in range(5)]
    assert doubled_in([*values, *foreign], "a") == {}
