"""Compressed messages, made once for many screens."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from queuewatch_wallboard.access import EVERYTHING, View
from queuewatch_wallboard.board import Board
from queuewatch_wallboard.figures import Figures
from queuewatch_wallboard.streams import AGES_EVERY, BOARDS_EVERY, Event, Hub, compressed
from support.boards import NOON, at, moment

BEGIN = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
ALL = View(EVERYTHING, EVERYTHING)


@given(st.lists(st.binary(max_size=2000), max_size=8), st.data())
def test_a_block_continues_any_stream_and_is_whole_when_it_has_come(messages: list[bytes], data: st.DataObject) -> None:
    """A screen that came later, or missed some, reads the same messages out of the same bytes."""
    blocks = [compressed(message) for message in messages]
    heard = data.draw(st.lists(st.sampled_from(range(len(blocks))))) if blocks else []
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert stream.decompress(BEGIN) == b""
    for number in heard:
        assert stream.decompress(blocks[number]) == messages[number]
        assert not stream.unused_data


async def test_an_event_is_the_same_compressed_and_plain_however_large() -> None:
    """Large ones are compressed in a thread."""
    for size in (10, 100_000):
        event = await Event.of("board", b"x" * size, 7)
        assert event.plain == b"id: 7\nevent: board\ndata: " + b"x" * size + b"\n\n"
        assert zlib.decompressobj(-zlib.MAX_WBITS).decompress(event.compressed) == event.plain


class Made:
    """Boards as the test wants them."""

    def __init__(self) -> None:
        self.visible: object = "nothing"
        self.as_of = NOON
        self.ready = True
        self.times = 0
        self.figures = Figures()
        self.hub = Hub(lambda _: self.ready, self.make, "1.x", self.figures)

    def make(self, view: View) -> Board:
        """A board."""
        self.times += 1
        return Board(b'{"version":"1.x"}', (self.visible,), (self.as_of,))


async def test_a_view_has_a_new_board_only_when_something_changed_that_people_would_see() -> None:
    """Or, less often, when the figures were confirmed; else now and then a heartbeat."""
    made = Made()
    with made.hub.watching(ALL) as shared:
        await made.hub.look(at(0))
        assert (shared.boards, shared.number) == (1, 1)
        await made.hub.look(at(BOARDS_EVERY))
        assert shared.boards == 1
        made.as_of = moment(0.5)
        await made.hub.look(at(0.5))
        assert shared.boards == 1
        await made.hub.look(at(AGES_EVERY))
        assert shared.boards == 2
        made.visible = "more"
        await made.hub.look(at(AGES_EVERY + BOARDS_EVERY))
        assert (shared.boards, shared.beats, shared.heartbeat) == (3, 3, None)
        await made.hub.look(at(20))
        assert (shared.boards, shared.beats) == (3, 4)
        assert shared.heartbeat is not None
        assert b'"id":3' in shared.heartbeat.plain


async def test_while_there_is_nothing_to_show_there_are_heartbeats_without_a_number() -> None:
    """And nothing is answered to who polls."""
    made = Made()
    made.ready = False
    with made.hub.watching(ALL) as shared:
        await made.hub.look(at(0))
        assert shared.board is None
        assert shared.heartbeat is not None
        assert b'"id":null' in shared.heartbeat.plain
        assert await made.hub.poll(ALL) is None
        assert made.times == 0


async def test_a_fault_in_making_boards_is_told_and_tried_again() -> None:
    """Meanwhile no heartbeat says that all is well."""
    made = Made()
    made.visible = None
    with made.hub.watching(ALL) as shared:

        def fail(view: View) -> Board:
            raise ZeroDivisionError

        whole, made.hub._make = made.hub._make, fail
        task = asyncio.create_task(made.hub.run())
        await asyncio.sleep(0.1)
        assert shared.beats == 0
        made.hub._make = whole
        await asyncio.wait_for(shared.more_than(0, lambda: False), 10)
        assert shared.boards == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert made.hub.views == 0


async def test_who_polls_at_one_look_gets_one_board() -> None:
    """Made once for all of them, and anew after the next look."""
    made = Made()
    await made.hub.look(at(0))
    first, second = await asyncio.gather(made.hub.poll(ALL), made.hub.poll(ALL))
    assert first is not None
    assert first is second
    plain, zipped = first
    assert gzip.decompress(zipped) == plain == b'{"id":1,"version":"1.x"}'
    await made.hub.look(at(1))
    again = await made.hub.poll(ALL)
    assert again is not None
    assert again[0] == b'{"id":2,"version":"1.x"}'
