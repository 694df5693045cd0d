"""The page on its screens: layouts, themes, languages, sizes; accessible, with nothing cut off; in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from queuewatch_schemas.wallboard import QueueRow
from wallboard.conftest import OpenWall
from wallboard.support import boards
from wallboard.support.stand_in import PAGE, StandIn

LONG = "Kundendienst für Netzwerk, Telefonie und Fernwartung – Zentralschweiz und Tessin (zweite Ebene)"
CHINESE = "北京及天津地区企业客户售后技术支持与投诉处理专线二线"
SCREENS = {"1080p": (1920, 1080), "4K": (3840, 2160), "phone": (390, 844)}
CUT_OFF = """() => {
  const found = [];
  const within = '#board [data-figure], #board .name, #board dt, #board th, #top *, #banner *, #announcement';
  const paged = document.documentElement.dataset.paged === 'yes';
  document.querySelectorAll(within).forEach(element => {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0 || element.closest('svg')) return;
    const style = getComputedStyle(element);
    if (style.position === 'absolute' && style.clip !== 'auto') return;  // for readers of the screen only
    const wide = element.scrollWidth > element.clientWidth + 1;
    const high = element.scrollHeight > element.clientHeight * 1.2 + 1;
    const tell = what => found.push([what, element.id || element.dataset.figure || element.className, element.textContent]);
    if (style.overflow !== 'visible' && (wide || high)) tell('cut');
    if (box.left < -1 || box.right > innerWidth + 1) tell('beside the screen');
    if (paged && box.bottom > innerHeight + 1) tell('below the screen');
    const row = element.closest('.card, tr');
    const outer = row ? row.getBoundingClientRect() : box;
    if (box.right > outer.right + 1 || box.bottom > outer.bottom + 1) tell('out of its row');
  });
  return found;
}"""
OVERLAPS = """() => {
  const found = [];
  const below = (one, other) => other.top >= one.bottom - one.height * 0.3 - 1;
  const beside = (one, other) => other.left >= one.right - 1;
  document.querySelectorAll('.card .now').forEach(now => {
    const figures = Array.from(now.querySelectorAll('dd')).map(element => {
      const range = document.createRange();
      range.selectNodeContents(element);
      return [element.textContent, range.getBoundingClientRect()];
    });
    figures.forEach(([text, box], at) => figures.slice(at + 1).forEach(([other, next]) => {
      const apart = beside(box, next) || beside(next, box) || below(box, next) || below(next, box);
      if (!apart && box.width && next.width) found.push([text, other]);
    }));
  });
  return found;
}"""


def shown(page: Page, rows: Sequence[QueueRow]) -> None:
    expect(page.locator("[data-queue]").first).to_be_visible()
    page.wait_for_function("window.queuewatch.renders > 0")


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes'][:3]]}" for each in found]


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("layout", ["one", "grid", "list"])
def test_axe_finds_no_violation(stand_in: StandIn, open_wall: OpenWall, layout: str, theme: str) -> None:
    stand_in.make(boards.floor, announcement="Fire drill at 11:00", partitions=boards.without_news(3))
    page = open_wall(f"?lang=en&layout={layout}&theme={theme}&rotate=0&sound=1")
    shown(page, stand_in.rows)
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("layout", ["grid", "list"])
def test_axe_finds_no_violation_where_everything_is_stale(
    stand_in: StandIn, open_wall: OpenWall, layout: str, theme: str
) -> None:
    stand_in.make(boards.floor)
    page = open_wall(f"?lang=en&layout={layout}&theme={theme}&rotate=0", clock=True)
    shown(page, stand_in.rows)
    stand_in.beats, stand_in.streams, stand_in.polls = False, "broken", "broken"
    page.clock.fast_forward(16000)
    expect(page.locator("#banner")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_no_violation_where_nothing_may_be_seen(
    stand_in: StandIn, open_wall: OpenWall, theme: str, language: str
) -> None:
    stand_in.token = "link"
    page = open_wall(f"?lang={language}&theme={theme}")
    expect(page.locator("#refused")).to_be_visible()
    assert violations(page) == []


def test_axe_finds_no_violation_on_a_phone_in_chinese(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.make(boards.floor)
    for layout in ("grid", "list"):
        page = open_wall(f"?lang=zh&layout={layout}", width=390, height=844)
        shown(page, stand_in.rows)
        assert violations(page) == []


@pytest.mark.parametrize("layout", ["one", "grid", "list"])
@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_is_cut_off_on_any_screen(stand_in: StandIn, open_wall: OpenWall, screen: str, layout: str) -> None:
    width, height = SCREENS[screen]
    stand_in.make(lambda now: [*boards.floor(now), boards.queue("Last", now=now, waited=4522.0, waiting=128, met=50)])
    for language in ("en", "zh"):
        page = open_wall(f"?lang={language}&layout={layout}", width=width, height=height)
        shown(page, stand_in.rows)
        for _ in range(page.locator("#pager").is_visible() and 13):
            assert page.evaluate(CUT_OFF) == []
            assert page.evaluate(OVERLAPS) == []
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(60)
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()


@pytest.mark.parametrize("layout", ["one", "grid", "list"])
def test_long_and_chinese_names_are_there_in_full(stand_in: StandIn, open_wall: OpenWall, layout: str) -> None:
    stand_in.show(*(boards.waits_long(f"{number} {name}") for number in range(4) for name in (LONG, CHINESE)))
    page = open_wall(f"?lang=zh&layout={layout}&rotate=0")
    shown(page, stand_in.rows)
    assert page.evaluate(CUT_OFF) == []
    assert page.locator("[data-queue] .name").evaluate_all("all => all.every(name => name.dataset.fit !== '5')")


def test_the_layout_follows_the_number_of_queues(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en")
    layout = page.locator("html")
    expect(layout).to_have_attribute("data-layout", "one")
    stand_in.show(*(boards.queue(f"Queue {number}") for number in range(12)))
    expect(layout).to_have_attribute("data-layout", "grid")
    stand_in.show(*(boards.queue(f"Queue {number}") for number in range(13)))
    expect(layout).to_have_attribute("data-layout", "list")
    stand_in.show(boards.queue("Sales"))
    expect(layout).to_have_attribute("data-layout", "one")
    expect(page.locator(".card")).to_have_count(1)


def test_a_wall_turns_its_pages_until_every_queue_was_there(stand_in: StandIn, open_wall: OpenWall) -> None:
    names = [f"Queue {number:02}" for number in range(40)]
    stand_in.show(*(boards.queue(name, group=f"Group {name[-1]}") for name in names))
    page = open_wall("?lang=en&rotate=5", clock=True)
    shown(page, stand_in.rows)
    pages = int(page.locator("#page").inner_text().split("/")[1])
    assert pages > 1
    seen: list[str] = []
    for number in range(pages):
        expect(page.locator("#page")).to_have_text(f"{number + 1} / {pages}")
        seen += page.locator("[data-queue]").evaluate_all("all => all.map(one => one.dataset.queue)")
        stand_in.skip(5)
        page.clock.fast_forward(5000)
    assert sorted(seen) == names
    expect(page.locator("#page")).to_have_text(f"1 / {pages}")
    page.locator("#pause").click()
    stand_in.skip(11)
    page.clock.fast_forward(11000)
    page.wait_for_timeout(400)
    expect(page.locator("#page")).to_have_text(f"1 / {pages}")


def test_the_worst_comes_first_and_what_is_pinned_before_it(stand_in: StandIn, open_wall: OpenWall) -> None:
    rows = (boards.queue("Calm"), boards.warned("Warned"), boards.waits_long("Late"), boards.queue("Held"))
    stand_in.show(*rows)
    page = open_wall("?lang=en&sort=state&pin=Held")
    shown(page, rows)
    order = page.locator("[data-queue]").evaluate_all("all => all.map(one => one.dataset.queue)")
    assert order == ["Held", "Late", "Warned", "Calm"]


def test_the_language_is_the_address_s_or_the_browser_s(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    for address, locale, word, language in (
        ("", "zh-CN", "等待人数", "zh-CN"),
        ("", "de-CH", "Waiting", "en"),
        ("?lang=zh", "en-GB", "等待人数", "zh-CN"),
        ("?lang=tlh", "zh-TW", "等待人数", "zh-CN"),
        ("?lang=../secret", "en-GB", "Waiting", "en"),
    ):
        page = open_wall(address, locale=locale)
        expect(page.locator(".waiting dt").first).to_have_text(word)
        assert page.locator("html").get_attribute("lang") == language
        page.close()


def test_a_sparkline_is_told_in_words_too(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales", history=boards.history(boards.START, range(12), 3)))
    page = open_wall("?lang=en")
    spark = page.locator(".spark").first
    expect(spark).to_have_attribute(
        "aria-label",
        "Last hour in steps of five minutes, oldest first. Offered: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11."
        " Of them abandoned: 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3.",
    )
    assert spark.get_attribute("role") == "img"


def test_a_sound_asks_for_a_click_where_the_browser_forbids_it(stand_in: StandIn, open_wall: OpenWall) -> None:
    stand_in.show(boards.queue("Sales"))
    page = open_wall("?lang=en&sound=1")
    expect(page.locator("#sound")).to_have_text(re.compile("Turn the sound on"))
    page.locator("#sound").click()
    expect(page.locator("#sound")).to_have_text(re.compile("Sound on"))
    plain = open_wall("?lang=en")
    expect(plain.locator("#sound")).to_be_hidden()


def test_every_language_has_every_text_with_the_same_places() -> None:
    texts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (PAGE / "texts").glob("*.json")}
    assert {"en", "zh"} <= set(texts)
    listed = re.search(r"LANGUAGES = (\[.*?\]);", (PAGE / "texts.js").read_text(encoding="utf-8"))
    assert listed is not None
    assert set(json.loads(listed[1])) == set(texts)

    def places(of: dict[str, str]) -> dict[str, set[str]]:
        return {key: set(re.findall(r"\{\w+\}", text)) for key, text in of.items()}

    for language in texts:
        assert places(texts[language]) == places(texts["en"]), language


def test_the_page_is_written_for_browsers_of_some_years_ago() -> None:
    young = {
        ".js": r"\?\.[a-zA-Z_(\[]|\?\?|^\s*#\w|this\.#|replaceAll\(|replaceChildren\(|\.at\(|Object\.fromEntries|matchAll\("
        r"|globalThis|\|\|=|&&=|structuredClone|queueMicrotask|allSettled|^await |^\s*static \{",
        ".css": r":has\(|:is\(|:where\(|@container|@layer|\binset:|:focus-visible|aspect-ratio|color-mix"
        r"|\bclamp\(|\bmin\(|\bmax\(",
        ".html": r"\bstyle=|\bon\w+=|<style|https?://|<script>",
    }
    for path in PAGE.rglob("*.*"):
        if path.suffix in young:
            found = re.findall(young[path.suffix], path.read_text(encoding="utf-8"), re.MULTILINE)
            assert found == [], path.name
