"""How the demo's figures look: within the terminal, unknown as a dash, states in words."""

from __future__ import annotations

import string
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from queuewatch_streams.demo_figures import Figures, QueueFigures
from queuewatch_streams.demo_table import View, picture, plain_lines

GOOD = QueueFigures(
    "sales", waiting=3, longest=12.5, talking=4, offered=40, answered=30, abandoned=6, evicted=1, met=27, counted=30,
    definition="80 % in 20 s, negative", target=0.8, answers=25, answer_wait=205, handled=20, handle=4000,
    abandon_ratio=0.1, longest_limit=60, waiting_limit=8, abandon_limit=0.1, minimum=20,
)  # fmt: skip
LATE = replace(GOOD, queue="support", waiting=12, longest=3723, met=2)
UNKNOWN = QueueFigures("billing")
NOON = 1_795_262_400.0

calls = st.none() | st.integers(0, 10**9)
seconds = st.none() | st.floats(min_value=0, max_value=1e9)
queues = st.builds(
    QueueFigures,
    queue=st.text(string.ascii_letters + string.digits + "äß销售-. ", min_size=1, max_size=40),
    waiting=calls, longest=seconds, talking=calls, offered=calls, answered=calls, abandoned=calls, evicted=calls,
    met=calls, counted=calls, answers=calls, answer_wait=seconds, handled=calls, handle=seconds,
    definition=st.none() | st.just("80 % in 20 s, negative"), longest_limit=st.just(60.0),
)  # fmt: skip


def view(*queues: QueueFigures) -> View:
    figures = Figures(
        queues, ready=True, events=1234, duplicates=5, rejected=2, lag=0, residual=0, newest_event=NOON - 0.4
    )
    addresses = {"metrics": "http://127.0.0.1:9464/metrics"}
    return View(figures, NOON, "live", live=True, addresses=addresses, notes=("an incident", "about it"))


def rows(shown: View, width: int = 120, height: int = 30) -> dict[str, list[str]]:
    """The words of each line by its first."""
    lines = picture(shown, width=width, height=height).plain.splitlines()
    return {words[0]: words[1:] for line in lines if (words := line.split())}


@given(st.lists(queues, max_size=30), st.integers(1, 200), st.integers(1, 60))
def test_the_picture_fits_any_terminal(shown: list[QueueFigures], width: int, height: int) -> None:
    """Neither a line too wide nor a line too many, whatever the names and figures."""
    lines = picture(view(*shown), width=width, height=height).split("\n")
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)


def test_unknown_is_a_dash_and_never_zero() -> None:
    """In every column, in the sum of all queues, and in plain lines; the state says it in a word."""
    shown = view(UNKNOWN)
    for width in (80, 120):
        found = rows(shown, width)
        assert found["billing"] == ["unknown", *["–"] * 10]
        assert found["all"] == ["–"] * 10
    line = plain_lines(shown)[0]
    assert "unknown" in line
    assert not any(digit in line.partition("billing")[2].replace("15 min", "") for digit in string.digits)


def test_a_row_tells_the_queue_its_state_and_all_figures() -> None:
    """At 80 columns as at 120."""
    figures = ["3", "0:12", "4", "40", "30", "6", "1", "90", "%", "0:08", "3:20"]
    for width in (80, 120):
        assert rows(view(GOOD), width)["sales"] == ["ok", *figures]


def test_a_queue_that_is_behind_says_so_and_why() -> None:
    """In words where there is room, and its figures stand out in any case."""
    shown = view(GOOD, LATE)
    assert rows(shown)["support"][0] == "behind"
    assert rows(shown, 140)["support"][-3:] == ["wait,", "line,", "level"]
    assert "beyond: wait, line, level" in plain_lines(shown)[1]
    for width in (80, 120):
        line = next(line for line in picture(shown, width=width, height=30).split("\n") if "support" in line.plain)
        marked = {line.plain[span.start : span.end] for span in line.spans if "underline" in str(span.style)}
        assert marked == {"12", "1:02:03", "6 %"}


def test_the_heading_says_how_the_level_is_defined() -> None:
    """Its target, threshold, formula and window; of several definitions all."""
    assert "service level: 80 % in 20 s, negative, 15 min" in picture(view(GOOD), width=80, height=24).plain
    other = replace(GOOD, queue="support", definition="90 % in 10 s, ignore")
    assert "80 % in 20 s, negative; 90 % in 10 s, ignore" in picture(view(GOOD, other), width=120, height=24).plain


def test_a_level_that_misses_its_target_is_not_rounded_up_to_it() -> None:
    """79.9 % is not 80 %."""
    shown = rows(view(replace(GOOD, met=799, counted=1000)))["sales"]
    assert shown[shown.index("%") - 1] == "79"


def test_queues_that_do_not_fit_are_counted() -> None:
    """A terminal of 24 lines shows what it can, the queues before the notes, and says how many are missing."""
    text = picture(view(*(replace(GOOD, queue=f"queue-{n:02}") for n in range(40))), width=80, height=24).plain
    assert "about it" not in text
    shown = text.count("queue-")
    assert shown >= 10
    assert f"… and {40 - shown} more queues" in text
    assert len(text.splitlines()) == 24


def test_the_age_of_the_data_and_the_addresses_are_told() -> None:
    """And how to end it."""
    text = picture(view(GOOD), width=80, height=24).plain
    for told in ("newest event 0.4 s ago", "http://127.0.0.1:9464/metrics", "Ctrl-C", "rejected 2", "balance 0"):
        assert told in text
