"""How the wallboard's benchmark judges: each event by the first look at which it is seen, and what it cannot read, it says."""

from __future__ import annotations

import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.screens import Reader
from bench.wallboard import delays

QUEUE = "probe-1"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_an_event_is_seen_at_the_first_look_with_so_many(jumps: list[int]) -> None:
    """Boards may leap over figures; what came in between was seen by then."""
    looks, waiting = [], 0
    for number, jump in enumerate(jumps):
        waiting += jump
        looks.append((float(number), QUEUE, waiting))
    sent = {(QUEUE, each): -1.0 for each in range(1, waiting + 1)}
    seen = [next(at for at, _, shown in looks if shown >= each) + 1 for each in range(1, waiting + 1)]
    assert delays("here", sent, looks) == seen


def test_an_event_that_nobody_saw_is_a_failure() -> None:
    """Not a figure left out."""
    with pytest.raises(AssertionError, match="1 of 2 events were never seen here"):
        delays("here", {(QUEUE, 1): 0.0, (QUEUE, 2): 0.0}, [(1.0, QUEUE, 1)])


def piece(*events: tuple[str, int, list[str]]) -> bytes:
    text = b""
    for name, number, queues in events:
        board = {"id": number, "queues": [{"queue": each, "waiting": 3} for each in queues]}
        text += b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), orjson.dumps(board))
    deflate = zlib.compressobj(4, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)


def test_a_message_is_whole_or_counted_as_broken() -> None:
    """All queues, none else; heartbeats are no boards."""
    reader = Reader(frozenset({QUEUE, "other"}))
    whole = reader.read(piece(("board", 7, [QUEUE, "other"]), ("heartbeat", 7, [])))
    assert whole.ids == (7,)
    assert whole.broken == 0
    assert whole.waiting == {QUEUE: 3}
    for queues in ([QUEUE], [QUEUE, "other", "third"], []):
        assert reader.read(piece(("board", 8, queues))).broken == 1
