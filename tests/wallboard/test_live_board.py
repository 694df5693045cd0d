"""The board in a real browser, fed by a real worker: what happened is shown, and nothing is shown that is not known."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser

from integration.conftest import started
from queuewatch_streams.brokers import apache_kafka
from wallboard import live
from wallboard.live import FOREIGN, GREY_WITHIN, NORTH, SHIFTED, SOUTH, Floor, Screen, aside, at, query

PROMPTLY = 5.0
"""Seconds within which a test wants to see what happened; how long it takes is measured by the benchmark."""
BACK_WITHIN = 60.0
"""Seconds within which everything is as before once what had died is there again: sessions, leases, retries."""


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    live.chromium()
    broker = started(apache_kafka())
    try:
        with live.floor(broker, f"live-{uuid4().hex[:8]}", tmp_path_factory.mktemp("live")) as made:
            yield made
    finally:
        broker.stop()


def shown(screen: Screen, floor: Floor, **asked: str) -> Screen:
    """The open board, all queues on one page, alive."""
    screen.open(floor.board.address + "/" + query(rotate="0", lang="en", **asked))
    for queue in (NORTH, SOUTH, FOREIGN):
        screen.until(f"{queue} shown as true", lambda queue=queue: is_true(screen, queue), patience=20)  # type: ignore[misc]
    return screen


def is_true(screen: Screen, queue: str) -> bool:
    """Whether a queue's figures are shown as true now."""
    return screen.figure(queue, "waiting") not in (None, "–") and not screen.mark(queue, "stale") and no_banner(screen)


def no_banner(screen: Screen) -> bool:
    return not screen.text("#banner")


def waiting_of(screen: Screen, queue: str) -> int:
    text = screen.figure(queue, "waiting")
    assert text is not None
    return int(text)


def test_what_happens_is_shown_in_its_order(floor: Floor, screen: Screen) -> None:
    """Three callers enter one after the other, one is answered, one hangs up: no other figure is ever seen."""
    shown(screen, floor)
    before = waiting_of(screen, NORTH)
    talking = int(screen.figure(NORTH, "talking") or "")
    screen.watch(NORTH, "waiting")
    names = []
    for number in range(1, 4):
        names += floor.calls.enter(NORTH)
        screen.until_figure(NORTH, "waiting", str(before + number), patience=PROMPTLY)
    floor.calls.tell("answered", names[0], NORTH)
    screen.until_figure(NORTH, "waiting", str(before + 2), patience=PROMPTLY)
    screen.until_figure(NORTH, "talking", str(talking + 1), patience=PROMPTLY)
    floor.calls.tell("abandoned", names[1], NORTH)
    screen.until_figure(NORTH, "waiting", str(before + 1), patience=PROMPTLY)
    floor.calls.tell("ended", names[0], NORTH)
    screen.until_figure(NORTH, "talking", str(talking), patience=PROMPTLY)
    assert screen.seen() == [str(before + each) for each in (0, 1, 2, 3, 2, 1)]
    assert not screen.problems
    floor.calls.leave(NORTH, names[2:])


def seconds_shown(text: str | None) -> int:
    """1:05 as 65."""
    assert text is not None
    parts = re.findall(r"\d+", text)
    return sum(int(part) * 60**place for place, part in enumerate(reversed(parts)))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_television_with_a_wrong_clock_shows_the_same(floor: Floor, browser: Browser, hours: int) -> None:
    """An hour ahead or behind: the longest wait ticks as everywhere, nothing is grey, the hour shown is the server's."""
    context = browser.new_context()
    right = shown(Screen(context), floor)
    wrong_context = browser.new_context()
    wrong_context.add_init_script(SHIFTED % (hours * 3_600_000))
    wrong = shown(Screen(wrong_context), floor)
    assert abs(wrong.page.evaluate("Date.now()") / 1000 - time.time() - hours * 3600) < 60
    names = floor.calls.enter(SOUTH, ago=75)
    for each in (right, wrong):
        each.until("the wait is shown", lambda each=each: seconds_shown(each.figure(SOUTH, "longest_wait")) >= 75)  # type: ignore[misc]
    for _ in range(4):
        first = seconds_shown(right.figure(SOUTH, "longest_wait"))
        between = seconds_shown(wrong.figure(SOUTH, "longest_wait"))
        last = seconds_shown(right.figure(SOUTH, "longest_wait"))
        assert first - 1 <= between <= last + 1
        assert is_true(wrong, SOUTH)
        time.sleep(0.4)
    beginning = seconds_shown(wrong.figure(SOUTH, "longest_wait"))
    wrong.until("it ticks", lambda: seconds_shown(wrong.figure(SOUTH, "longest_wait")) > beginning)
    floor.calls.leave(SOUTH, names)
    assert not wrong.problems
    context.close()
    wrong_context.close()


def test_where_streams_are_blocked_polling_steps_in(floor: Floor, screen: Screen) -> None:
    """A proxy that lets no stream through costs seconds, not the truth."""
    screen.page.route(re.compile("/api/v1/stream"), lambda route: route.abort())
    screen.open(floor.board.address + "/" + query(rotate="0"))
    screen.until("polled", lambda: screen.figure(NORTH, "waiting") not in (None, "–"), patience=20)
    before = waiting_of(screen, NORTH)
    names = floor.calls.enter(NORTH, 2)
    screen.until_figure(NORTH, "waiting", str(before + 2), patience=15)
    floor.calls.leave(NORTH, names)
    screen.until_figure(NORTH, "waiting", str(before), patience=15)
    assert not screen.mark(NORTH, "stale")
    assert not screen.messages


WORDS = {"en": "Waiting", "zh": "等"}
LOOKS = (("one", "dark"), ("grid", "light"), ("list", "dark"), ("one", "light"), ("grid", "dark"), ("list", "light"))


def violations(screen: Screen) -> str:
    """What axe-core finds on the page as it is; nothing where all is well."""
    found = Axe().run(screen.page)
    return str(found.generate_report()) if found.violations_count else ""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_no_violation_on_the_live_page(floor: Floor, screen: Screen, language: str) -> None:
    """In each layout and theme, with somebody waiting; the words are those of the language."""
    names = floor.calls.enter(NORTH)
    for layout, theme in LOOKS:
        asked = {"queue": NORTH} if layout == "one" else {}
        screen.open(floor.board.address + "/" + query(lang=language, layout=layout, theme=theme, rotate="0", **asked))
        screen.until("the board", lambda: is_true(screen, NORTH), patience=20)
        assert screen.page.evaluate("document.documentElement.lang").startswith(language)
        body = screen.page.inner_text("body")
        assert WORDS[language].lower() in body.lower()
        assert "North sales" in body
        assert bool(re.search(r"[\u4e00-\u9fff]", body)) == (language == "zh")
        assert not violations(screen), (layout, theme)
    floor.calls.leave(NORTH, names)
    assert not screen.problems


def test_what_is_malformed_on_the_topic_breaks_nothing(floor: Floor, screen: Screen) -> None:
    """Garbage, a record of another form, a newer version of a real one: the board goes on, and counts them."""
    shown(screen, floor)
    partition = floor.site.partition(NORTH)
    newest = json.loads(
        aside(lambda: [each for each in floor.site.read("queues") if each.key == NORTH.encode()])[-1].value
    )
    bad: list[Any] = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"7", b'{"version": 1}', b"[" * 20_000]
    bad += [json.dumps(newest | change).encode() for change in (
        {"version": 99, "name": "from the future"},
        {"channels": "none", "offset": newest["offset"] + 10**9},
        {"queue": FOREIGN, "offset": newest["offset"] + 10**9},
        {"offset": -1},
    )]  # fmt: skip
    before = waiting_of(screen, NORTH)
    for value in bad:
        floor.calls.put("queues", NORTH.encode(), value, partition)
    for key in (b"\xff", b"", b"\x00nonsense", b"\x00999"):
        floor.calls.put("queues", key, b"{}", partition)
    names = floor.calls.enter(NORTH)
    screen.until_figure(NORTH, "waiting", str(before + 1), patience=PROMPTLY)
    floor.calls.leave(NORTH, names)
    screen.until_figure(NORTH, "waiting", str(before), patience=PROMPTLY)
    assert "from the future" not in screen.page.inner_text("body")
    assert not screen.problems
    assert floor.board.process.poll() is None


def test_a_queue_that_nobody_knows_is_told_as_unknown(floor: Floor, screen: Screen) -> None:
    """Beside the others, which go on."""
    screen.open(floor.board.address + "/?rotate=0&queue=" + NORTH + "&queue=no-such-queue")
    screen.until("the known one", lambda: is_true_here(screen, NORTH), patience=20)
    assert screen.figure("no-such-queue", "waiting") in (None, "–")
    assert not screen.problems


def is_true_here(screen: Screen, queue: str) -> bool:
    """Whether its own row is shown as true, whatever is said of others."""
    return screen.figure(queue, "waiting") not in (None, "–") and not screen.mark(queue, "stale")


def test_a_source_that_falls_silent_greys_who_waits_and_nothing_else(floor: Floor, screen: Screen) -> None:
    """Who is there now is not known any more; what was counted today stays true.  Its heartbeat brings all back."""
    shown(screen, floor, layout="grid")
    offered = screen.figure(NORTH, "offered_today")
    floor.calls.alive = False
    try:
        screen.until("grey", lambda: screen.mark(NORTH, "stale") == "source_down", patience=GREY_WITHIN)
    finally:
        floor.calls.alive = True
    assert screen.mark(NORTH, "stale-what") == "waiting"
    assert screen.figure(NORTH, "offered_today") == offered
    assert re.search(r"\d\d:\d\d", screen.figure(NORTH, "note") or ""), "it says since when"
    assert no_banner(screen)
    screen.until("true again", lambda: is_true(screen, NORTH), patience=GREY_WITHIN)


def test_a_worker_that_dies_greys_its_figures_until_it_is_back(floor: Floor, screen: Screen) -> None:
    """With since when; then the page is as before by itself, and nothing that happened meanwhile is missing."""
    shown(screen, floor)
    screen.page.evaluate("window.__same = true")
    names = floor.calls.enter(NORTH)
    before = waiting_of(screen, SOUTH)
    floor.worker.kill()
    screen.until("grey", lambda: all(screen.mark(each, "stale") for each in (NORTH, SOUTH)), patience=GREY_WITHIN)
    said = screen.text(at(NORTH)) or ""
    body = screen.page.inner_text("body")
    assert re.search(r"\d\d:\d\d:\d\d", said + body), "it says since when"
    assert not violations(screen)
    more = floor.calls.enter(SOUTH, 2)
    floor.worker.start().until_ready()
    screen.until("true again", lambda: is_true(screen, NORTH) and is_true(screen, SOUTH), patience=BACK_WITHIN)
    screen.until_figure(SOUTH, "waiting", str(before + 2), patience=PROMPTLY)
    floor.calls.leave(NORTH, names)
    floor.calls.leave(SOUTH, more)
    screen.until_figure(SOUTH, "waiting", str(before), patience=PROMPTLY)
    assert screen.page.evaluate("window.__same"), "the page was not loaded anew"
    assert not screen.problems


def test_a_service_that_dies_is_told_across_the_page_until_it_is_back(floor: Floor, screen: Screen) -> None:
    """A banner, nothing shown as true; then by itself as before, without loading the page anew."""
    shown(screen, floor)
    screen.page.evaluate("window.__same = true")
    floor.board.kill()
    screen.until("a banner", lambda: screen.text("#banner"), patience=GREY_WITHIN)
    screen.until("since when", lambda: re.search(r"\d\d:\d\d:\d\d", screen.text("#banner") or ""), patience=GREY_WITHIN)
    assert not violations(screen)
    names = floor.calls.enter(NORTH)
    floor.board.start().until_ready()
    screen.until("true again", lambda: is_true(screen, NORTH) and is_true(screen, FOREIGN), patience=BACK_WITHIN)
    floor.calls.leave(NORTH, names)
    assert screen.page.evaluate("window.__same")


def test_a_service_that_is_stopped_ends_its_streams(floor: Floor, screen: Screen) -> None:
    """In order, at once, whoever watches; and the screens find the next one."""
    shown(screen, floor)
    assert floor.board.stop() == 0
    screen.until("told", lambda: not is_true(screen, NORTH), patience=GREY_WITHIN)
    floor.board.start().until_ready()
    screen.until("true again", lambda: is_true(screen, NORTH), patience=BACK_WITHIN)


def test_a_broker_that_is_gone_greys_all_until_it_is_back(floor: Floor, screen: Screen) -> None:
    """Nobody has news then; afterwards everything goes on, with new calls."""
    shown(screen, floor)
    before = waiting_of(screen, NORTH)
    floor.broker.halt()
    queues = (NORTH, SOUTH, FOREIGN)
    screen.until("grey", lambda: not any(is_true_here(screen, each) for each in queues), patience=GREY_WITHIN)
    floor.broker.start()
    screen.until("true again", lambda: all(is_true(screen, each) for each in queues), patience=BACK_WITHIN)
    names = floor.calls.enter(NORTH, 2)
    screen.until_figure(NORTH, "waiting", str(before + 2), patience=PROMPTLY)
    floor.calls.leave(NORTH, names)
    screen.until_figure(NORTH, "waiting", str(before), patience=PROMPTLY)
