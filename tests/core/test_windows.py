"""Cells follow their bookings, and sums that are kept up to date are those that are added up anew."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from queuewatch_streams.core.windows import TEN_SECONDS, Cell, Cells

AT = st.integers(0, 5).map(lambda cell: cell * TEN_SECONDS + 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), AT),
        st.tuples(st.just("withdraw"), AT),
        st.tuples(st.just("look"), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.integers(1, 3)),
    ),
    max_size=40,
)


@settings(max_examples=1000)
@given(STEPS)
def test_a_sum_that_is_followed_is_that_which_is_added_up_anew(steps: list[tuple[str, int]]) -> None:
    """Whatever is booked and withdrawn between two looks, before and behind the cell that was booked into last."""
    cells = Cells(TEN_SECONDS)
    booked: list[int] = []
    forgotten = 0
    for what, value in steps:
        if what == "book":
            if (cell := cells.cell(value)) is not None:
                cell.offered += 1
                booked.append(value)
        elif what == "withdraw":
            start = value - value % TEN_SECONDS
            found = [at for at in booked if at - at % TEN_SECONDS == start]
            if found:
                cell = cells.cell(value)
                assert cell is not None
                cell.offered -= 1
                cells.tidy(value)
                booked.remove(found[0])
        elif what == "look":
            start = max(value * TEN_SECONDS, forgotten)
            end = start + 3 * TEN_SECONDS
            assert cells.total(start, end, followed=True).offered == sum(start <= at < end for at in booked)
        else:
            forgotten = max(forgotten, value * TEN_SECONDS)
            cells.forget(forgotten)
            booked = [at for at in booked if at >= forgotten]
    assert cells.total(forgotten, 8 * TEN_SECONDS).offered == len(booked)


AMOUNTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 3)), max_size=5)


@given(AMOUNTS, st.randoms(use_true_random=False))
def test_equal_cells_tell_the_same_in_the_same_order(amounts: list[tuple[str, int]], chance: Random) -> None:
    """Whatever came first: records of equal states are equal, byte for byte."""
    one, other = Cell(), Cell()
    shuffled = sorted(amounts, key=lambda _: chance.random())
    for cell, order in ((one, amounts), (other, shuffled)):
        for name, amount in order:
            cell.add_level(name, amount, amount)
            cell.add("diverted:" + name, amount)
    assert list(one.told().items()) == list(other.told().items())
    assert Cell.of_told(one.told()) == other
