"""No figure on the page outlives its truth: time, freshness, and what is unknown; in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from queuewatch_schemas.config import Preset
from wallboard.conftest import OpenWall
from wallboard.support import boards
from wallboard.support.stand_in import StandIn

FIGURES = (
    "waiting",
    "longest_wait",
    "level",
    "talking",
    "wrapping",
    "callbacks",
    "agents_available",
    "agents_busy",
    "agents_paused",
    "offered_interval",
    "answered_interval",
    "abandoned_interval",
    "level_interval",
    "offered_today",
    "answered_today",
    "abandoned_today",
    "level_today",
)


def figure(page: Page, queue: str, name: str) -> Locator:
    return page.locator(f'[data-queue="{queue}"] [data-figure="{name}"]').first


def seconds(text: str) -> int:
    minutes, _, rest = text.partition(":")
    return int(minutes) * 60 + int(rest)


def colour(place: Locator) -> str:
    found: str = place.evaluate("element => getComputedStyle(element).color")
    return found


@pytest.mark.parametrize("layout", ["one", "grid", "list"])
def test_an_unknown_figure_is_a_dash(stand_in: StandIn, open_wall: OpenWall, layout: str) -> None:
    stand_in.show(boards.unheard("Switchboard"))
    page = open_wall(f"?lang=en&layout={layout}")
    row = page.locator('[data-queue="Switchboard"]')
    expect(row).to_be_visible()
    shown = row.locator("[data-figure]").evaluate_all(
        "all => all.map(element => [element.dataset.figure, element.textContent])"
    )
    told = {name: text for name, text in shown if name in FIGURES}
    assert len(told) >= 8
    assert set(told.values()) == {"–"}


def test_a_figure_that_is_none_is_told_as_0_and_not_as_unknown(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.idle("Complaints"))
    page = open_wall("?lang=en")
    expect(figure(page, "Complaints", "waiting")).to_have_text("0")
    expect(figure(page, "Complaints", "longest_wait")).to_have_text("0:00")
    expect(figure(page, "Complaints", "level")).to_have_text("–")  # of nothing: no share


def test_the_wait_ticks_though_no_message_comes(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.waits_long("Sales", waited=262))
    page = open_wall("?lang=en", clock=True)
    wait = figure(page, "Sales", "longest_wait")
    expect(wait).to_have_text(re.compile(r"4:2\d"))
    before, boards_before = seconds(wait.inner_text()), page.evaluate("window.queuewatch.boards")
    page.clock.fast_forward(9000)
    expect(wait).to_have_text(re.compile(r"4:3\d"))
    assert 9 <= seconds(wait.inner_text()) - before <= 20
    assert page.evaluate("window.queuewatch.boards") == boards_before
    assert figure(page, "Sales", "today_words").inner_text() == f"today {wait.inner_text()}"


def test_a_browser_clock_that_is_wrong_changes_nothing(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.waits_long("Sales", waited=262))
    page = open_wall("?lang=en", clock=True)
    expect(figure(page, "Sales", "longest_wait")).to_have_text(re.compile(r"4:[23]\d"))
    expect(page.locator("#clock")).to_have_text(re.compile(r"10:41:\d\d"))  # START in the queue's zone
    for wrong in ("2026-11-22T23:00:00", "2031-01-01T00:00:00", "1999-01-01T00:00:00"):
        page.clock.set_system_time(wrong)
        page.wait_for_timeout(600)
        expect(page.locator("#clock")).to_have_text(re.compile(r"10:41:\d\d"))
        expect(figure(page, "Sales", "longest_wait")).to_have_text(re.compile(r"4:[23]\d"))
        expect(page.locator("#banner")).to_be_hidden()


def test_three_missed_heartbeats_grey_everything_and_say_since_when(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.waits_long("Sales"), boards.queue("Support"))
    page = open_wall("?lang=en", clock=True)
    waiting = figure(page, "Sales", "waiting")
    expect(waiting).to_have_text("17")
    fresh = colour(waiting)
    stand_in.beats, stand_in.streams, stand_in.polls = False, "broken", "broken"
    page.evaluate(
        """() => { window.told = 0; new MutationObserver(() => { window.told += 1; })
        .observe(document.getElementById("banner"), {subtree: true, childList: true, characterData: true}); }"""
    )
    page.clock.fast_forward(14000)
    expect(page.locator("#banner")).to_be_hidden()
    page.clock.fast_forward(2000)
    expect(page.locator("#banner")).to_be_visible()
    assert re.search(r"DATA STALE since 10:41:\d\d", page.locator("#banner").inner_text())
    assert page.locator("#banner").get_attribute("role") == "alert"
    for name in FIGURES:
        assert colour(figure(page, "Sales", name)) != fresh
    stopped = figure(page, "Sales", "longest_wait").inner_text()
    page.clock.fast_forward(30000)
    page.wait_for_timeout(600)
    assert figure(page, "Sales", "longest_wait").inner_text() == stopped
    assert page.evaluate("window.told") == 1  # a reader of the screen hears it once, not every second
    stand_in.beats, stand_in.streams, stand_in.polls = True, "open", "open"
    stand_in.skip(66)
    stand_in.drop()
    stand_in.skip(20)
    page.clock.fast_forward(20000)
    expect(page.locator("#banner")).to_be_hidden(timeout=15000)
    assert colour(figure(page, "Sales", "waiting")) == fresh


def test_heartbeats_alone_keep_the_figures_true(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    stand_in.beat_seconds = 0.1
    page = open_wall("?lang=en", clock=True)
    expect(figure(page, "Sales", "waiting")).to_have_text("2")
    for _ in range(4):
        beats = page.evaluate("window.queuewatch.heartbeats")
        stand_in.skip(9)
        page.clock.fast_forward(9000)
        page.wait_for_function("beats => window.queuewatch.heartbeats > beats + 1", arg=beats)
        expect(page.locator("#banner")).to_be_hidden()
    assert page.evaluate("window.queuewatch.boards") == 1


def test_news_that_comes_late_is_as_old_as_it_is(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en")
    expect(figure(page, "Sales", "waiting")).to_have_text("2")
    stand_in.lag_seconds = 20.0  # a proxy holds the stream back: messages come all the time, all of them old
    stand_in.show(boards.queue("Sales"))
    expect(page.locator("#banner")).to_be_visible()


def test_a_service_that_never_answered_is_told_of(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.streams, stand_in.polls = "broken", "broken"
    page = open_wall("?lang=en", clock=True)
    page.wait_for_timeout(300)
    expect(page.locator("#banner")).to_be_hidden()
    page.clock.fast_forward(16000)
    expect(page.locator("#banner")).to_contain_text("NO DATA")


def test_a_computer_that_slept_shows_nothing_old_as_true(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(figure(page, "Sales", "waiting")).to_have_text("2")
    stand_in.streams, stand_in.polls = "broken", "broken"
    page.clock.set_system_time("2040-01-01T00:00:00")  # the wall clock went on, the monotonic one stood still
    expect(page.locator("#banner")).to_be_visible(timeout=4000)


def test_a_stale_queue_is_greyed_and_no_other(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.silent("Orders", "no_news"), boards.queue("Sales"))
    page = open_wall("?lang=en&theme=dark")
    card = page.locator('[data-queue="Orders"]')
    expect(card).to_have_attribute("data-stale", "no_news")
    expect(card.locator('[data-figure="note"]')).to_have_text("No news since 10:40:30: worker silent")
    for name in FIGURES:
        assert colour(figure(page, "Orders", name)) != colour(figure(page, "Sales", name))
    waited = figure(page, "Orders", "longest_wait").inner_text()
    page.wait_for_timeout(1300)
    assert figure(page, "Orders", "longest_wait").inner_text() == waited  # nobody knows whether they still wait


def test_a_queue_without_its_source_keeps_what_was_counted(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.silent("Help", "source_down", "waiting"), boards.queue("Sales"))
    page = open_wall("?lang=en")
    expect(page.locator('[data-queue="Help"]')).to_have_attribute("data-stale-what", "waiting")
    expect(figure(page, "Help", "note")).to_contain_text("Phone system silent since 10:40:30")
    for name in ("waiting", "longest_wait", "talking", "wrapping", "agents_available"):
        assert colour(figure(page, "Help", name)) != colour(figure(page, "Sales", name))
    for name in ("level", "answered_interval", "answered_today"):
        assert colour(figure(page, "Help", name)) == colour(figure(page, "Sales", name))


def test_partitions_without_news_are_told_of(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"), partitions=boards.without_news(3, 7))
    page = open_wall("?lang=en")
    expect(page.locator("#partitions")).to_contain_text("no news of partition 3, 7 since 10:40:30")
    stand_in.show(boards.queue("Sales"))
    expect(page.locator("#partitions")).to_be_hidden()


def test_a_sum_over_a_part_is_no_sum(stand_in: StandIn, open_wall: OpenWall) -> None:
    known = [boards.queue("One", group="Sales"), boards.queue("Two", group="Sales", waiting=5, waited=60)]
    stand_in.show(*known)
    page = open_wall("?lang=en")
    band = page.locator('[data-group="Sales"] .band')
    expect(band.locator('[data-figure="waiting"]')).to_have_text("7")
    expect(band.locator('[data-figure="longest_wait"]')).to_have_text(re.compile(r"1:0\d"))
    expect(band.locator('[data-figure="level"]')).to_have_text(re.compile("84"))
    stand_in.show(known[0], boards.silent("Two", group="Sales"))
    for name in ("waiting", "longest_wait", "level", "talking"):
        expect(band.locator(f'[data-figure="{name}"]')).to_have_text("–")
    expect(band.locator('[data-figure="note"]')).to_have_text("2 queues · 1 not known for certain")


def test_levels_of_different_definitions_have_no_sum(stand_in: StandIn, open_wall: OpenWall) -> None:
    other = boards.definition(Preset.ANSWERED_ONLY, threshold_seconds=120, target=0.9)
    stand_in.show(boards.queue("One", group="Sales"), boards.queue("Two", group="Sales", definition=other))
    page = open_wall("?lang=en")
    expect(page.locator('[data-group="Sales"] .band [data-figure="level"]')).to_have_text("–")
    expect(page.locator('[data-group="Sales"] .band [data-figure="waiting"]')).to_have_text("4")


def test_a_level_stands_beside_its_goal_and_its_definition(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales", met=399, counted=500))
    page = open_wall("?lang=en")
    expect(figure(page, "Sales", "level")).to_have_text(re.compile(r"^79\s%$"))  # 79.8 % is not rounded to the goal
    expect(figure(page, "Sales", "target")).to_have_text(re.compile(r"^below goal 80\s%$"))
    expect(figure(page, "Sales", "definition")).to_have_text(
        re.compile(r"^80\s% in 20 s · 15 min · short abandons out$")
    )


def test_closed_idle_and_unknown_look_different_from_each_other(stand_in: StandIn, open_wall: OpenWall) -> None:
    rows = (boards.idle("Idle"), boards.closed("Closed"), boards.unheard("Unknown"), boards.queue("Busy"))
    stand_in.show(*rows, boards.warned("Warned"), boards.waits_long("Late"))
    page = open_wall("?lang=en")
    expect(page.locator(".card")).to_have_count(6)
    words = page.locator('.card [data-figure="state"]').all_inner_texts()
    assert words == ["Idle", "Closed", "Unknown", "OK", "Warning", "Critical"]
    icons = page.locator(".card .state use").evaluate_all("all => all.map(use => use.getAttribute('href'))")
    assert len(set(icons)) == 6
    looks = page.locator(".card").evaluate_all(
        "all => all.map(card => { const of = getComputedStyle(card);"
        " return [of.backgroundColor, of.backgroundImage, of.borderLeftColor, of.borderLeftStyle].join(); })"
    )
    assert len(set(looks)) == 6


def test_a_board_that_is_none_is_no_news(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(figure(page, "Sales", "waiting")).to_have_text("2")
    stand_in.beats, stand_in.polls = False, "broken"
    stand_in.send("board", "{")
    stand_in.send("board", '{"server_time": "yesterday", "queues": [], "groups": []}')
    stand_in.send("heartbeat", "{}")
    expect(figure(page, "Sales", "waiting")).to_have_text("2")
    stand_in.streams = "broken"
    page.clock.fast_forward(16000)
    expect(page.locator("#banner")).to_be_visible()
