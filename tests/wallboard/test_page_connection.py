"""How the page gets its news: streams that die, polling, tokens, other versions; in a real browser."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from wallboard.conftest import OpenWall
from wallboard.support import boards
from wallboard.support.stand_in import StandIn

TOKEN = "header.payload-of-a-link.signature"


def waiting(page: Page, queue: str = "Sales") -> Any:
    return page.locator(f'[data-queue="{queue}"] [data-figure="waiting"]')


def pass_time(page: Page, stand_in: StandIn, seconds: float) -> None:
    """Time goes on for service and browser alike, and what is due happens."""
    for _ in range(max(1, round(seconds / 4))):
        stand_in.skip(4)
        page.clock.fast_forward(4000)
        page.wait_for_timeout(150)


def until(condition: Any, page: Page) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        page.wait_for_timeout(50)


def test_what_changes_is_shown_by_the_same_nodes(stand_in: StandIn, open_wall: OpenWall) -> None:
    rows = [boards.queue(f"Queue {number}") for number in range(8)]
    stand_in.show(*rows)
    page = open_wall("?lang=en")
    expect(page.locator(".card")).to_have_count(8)
    page.evaluate("window.before = Array.from(document.querySelectorAll('.card, .card *'))")
    nodes = page.evaluate("document.querySelectorAll('*').length")
    for number in range(40):
        stand_in.show(*(boards.queue(row.queue, waiting=number + 1, talking=number) for row in rows))
    expect(waiting(page, "Queue 3")).to_have_text("40")
    same = "Array.from(document.querySelectorAll('.card, .card *')).every((node, at) => node === window.before[at])"
    assert page.evaluate(same)
    assert page.evaluate("document.querySelectorAll('*').length") == nodes


def test_a_queue_that_comes_and_one_that_goes_are_followed(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"), boards.queue("Old"))
    page = open_wall("?lang=en")
    expect(page.locator(".card")).to_have_count(2)
    stand_in.show(boards.queue("Sales"), boards.queue("New"), boards.queue("Newer"))
    expect(page.locator(".card")).to_have_count(3)
    assert page.locator("[data-queue]").evaluate_all("all => all.map(one => one.dataset.queue)") == [
        "Sales",
        "New",
        "Newer",
    ]


def test_a_board_without_queues_says_so(stand_in: StandIn, open_wall: OpenWall) -> None:
    for layout in ("one", "grid", "list"):
        stand_in.show(boards.queue("Sales"))
        page = open_wall(f"?lang=en&layout={layout}")
        expect(waiting(page)).to_have_text("2")
        stand_in.show()
        expect(page.locator("#loading")).to_have_text("There is no queue to show.")
        expect(page.locator("[data-queue]")).to_have_count(0)
        stand_in.show(boards.queue("Sales", waiting=4))
        expect(waiting(page)).to_have_text("4")
        expect(page.locator("#loading")).to_be_hidden()


def test_a_closed_stream_is_rebuilt(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(waiting(page)).to_have_text("2")
    for number in range(1, 4):
        stand_in.drop()
        until(lambda number=number: stand_in.seen["stream"] > number, page)
    stand_in.show(boards.queue("Sales", waiting=9))
    expect(waiting(page)).to_have_text("9")
    expect(page.locator("#mode")).to_have_attribute("data-mode", "live")
    expect(page.locator("#banner")).to_be_hidden()


def test_a_stream_that_dies_without_a_word_is_given_up(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(waiting(page)).to_have_text("2")
    stand_in.beats = False
    pass_time(page, stand_in, 20)
    until(lambda: stand_in.seen["stream"] >= 2, page)


@pytest.mark.parametrize("fault", ["silent", "refused", "broken"])
def test_polling_steps_in_where_streams_are_blocked_and_leaves_when_they_work(
    stand_in: StandIn, open_wall: OpenWall, fault: str
) -> None:
    stand_in.streams = fault
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    pass_time(page, stand_in, 8)
    expect(page.locator("#mode")).to_have_attribute("data-mode", "polling", timeout=15000)
    expect(waiting(page)).to_have_text("2")
    stand_in.show(boards.queue("Sales", waiting=7))
    pass_time(page, stand_in, 8)
    expect(waiting(page)).to_have_text("7")
    expect(page.locator("#banner")).to_be_hidden()
    stand_in.streams, stand_in.beat_seconds = "open", 0.05
    pass_time(page, stand_in, 60)
    expect(page.locator("#mode")).to_have_attribute("data-mode", "live", timeout=15000)
    page.wait_for_timeout(300)
    polls = stand_in.seen["poll"]
    pass_time(page, stand_in, 8)
    assert stand_in.seen["poll"] == polls


def test_a_service_that_comes_back_is_found_by_itself(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(waiting(page)).to_have_text("2")
    stand_in.streams = stand_in.polls = "broken"
    stand_in.drop()
    pass_time(page, stand_in, 40)
    expect(page.locator("#banner")).to_contain_text("DATA STALE")
    stand_in.streams = stand_in.polls = "open"
    stand_in.show(boards.queue("Sales", waiting=5))
    pass_time(page, stand_in, 16)
    expect(waiting(page)).to_have_text("5", timeout=15000)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#mode")).to_have_attribute("data-mode", "live", timeout=15000)


# ------------------------------------------------------------------------------------------------------ who may see what


def test_the_token_leaves_the_page_only_for_the_ticket(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.token = TOKEN
    stand_in.show(boards.queue("Sales"))
    page = open_wall(f"?lang=en#token={TOKEN}", clock=True)
    expect(waiting(page)).to_have_text("2")
    stand_in.streams = "silent"
    stand_in.drop()
    pass_time(page, stand_in, 12)
    until(lambda: stand_in.seen["poll"] > 0, page)
    assert stand_in.seen["ticket"] > 0
    assert not any(TOKEN in line for line in stand_in.asked)
    assert page.evaluate("location.hash") == f"#token={TOKEN}"  # so that a reload works
    page.reload()
    stand_in.streams = "open"
    pass_time(page, stand_in, 40)
    expect(waiting(page)).to_have_text("2")


def test_every_stream_has_a_ticket_of_its_own(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.token = TOKEN
    stand_in.show(boards.queue("Sales"))
    page = open_wall(f"?lang=en#token={TOKEN}", clock=True)
    expect(waiting(page)).to_have_text("2")
    for number in range(1, 3):
        stand_in.drop()
        until(lambda number=number: stand_in.seen["stream"] > number, page)
    used = [found.group(1) for line in stand_in.asked if (found := re.search(r"stream\?.*ticket=(\S+)", line))]
    assert len(used) == 3
    assert len(set(used)) == 3


@pytest.mark.parametrize(("hash_", "status"), [("", 401), ("#token=wrong", 401)])
def test_without_a_valid_link_the_page_explains_and_names_nothing(
    stand_in: StandIn, open_wall: OpenWall, hash_: str, status: int
) -> None:
    stand_in.token = TOKEN
    stand_in.show(boards.queue("Vault", group="Secret"))
    page = open_wall(f"?lang=en{hash_}")
    expect(page.locator("#refused")).to_contain_text("This screen's link is not valid")
    assert "Vault" not in page.content()
    assert "Secret" not in page.content()


def test_a_network_that_may_not_see_it_is_told_so(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.streams = stand_in.polls = "refused"
    page = open_wall("?lang=en")
    expect(page.locator("#refused")).to_contain_text("may not see what its address asks for")


def test_a_link_that_is_revoked_takes_every_name_off_the_screen(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.token = TOKEN
    stand_in.show(boards.queue("Vault", group="Secret"), boards.queue("Safe", group="Secret"), announcement="Hush")
    page = open_wall(f"?lang=en#token={TOKEN}")
    expect(waiting(page, "Vault")).to_have_text("2")
    stand_in.token = "another"
    stand_in.tickets.clear()
    stand_in.drop()
    expect(page.locator("#refused")).to_be_visible(timeout=15000)
    for word in ("Vault", "Secret", "Safe", "Hush"):
        assert word not in page.content()
        assert word not in page.title()


def test_a_screen_that_was_refused_comes_back_by_itself(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.token = TOKEN
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en#token=wrong", clock=True)
    expect(page.locator("#refused")).to_be_visible()
    stand_in.token = "wrong"
    pass_time(page, stand_in, 100)
    expect(waiting(page)).to_have_text("2", timeout=15000)
    expect(page.locator("#refused")).to_be_hidden()


def test_the_address_chooses_queues_and_groups(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en&queue=a%26b&queue=售后&group=North")
    expect(waiting(page)).to_have_text("2")
    stream = next(line for line in stand_in.asked if "stream" in line)
    assert "group=North&queue=a%26b&queue=%E5%94%AE%E5%90%8E" in stream


# ------------------------------------------------------------------------------------------------------ another version


def test_another_version_reloads_the_page_once(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(waiting(page)).to_have_text("2")
    loads = stand_in.seen["page"]
    stand_in.version = stand_in.page_version = "1.another"
    stand_in.show(boards.queue("Sales", waiting=3))
    pass_time(page, stand_in, 12)
    expect(page.locator("html")).to_have_attribute("data-version", "1.another")
    expect(waiting(page)).to_have_text("3")
    pass_time(page, stand_in, 40)
    assert stand_in.seen["page"] == loads + 2  # the question whether it is served, and the page


def test_a_cache_that_serves_the_old_page_makes_no_loop(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en", clock=True)
    expect(waiting(page)).to_have_text("2")
    stand_in.version = "1.another"  # and the page goes on to be the old one
    stand_in.show(boards.queue("Sales", waiting=3))
    pass_time(page, stand_in, 12)
    expect(waiting(page)).to_have_text("3")
    loads = stand_in.seen["page"]
    pass_time(page, stand_in, 60)
    assert stand_in.seen["page"] == loads
