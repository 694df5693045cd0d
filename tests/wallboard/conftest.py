"""Decides where the browser of the page's tests is found, and how a test opens the page.

Where Chromium is not installed the tests are skipped and say what to install; with QUEUEWATCH_REQUIRE_ALL=1 a missing one is a
failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

from wallboard.support.stand_in import StandIn

OpenWall = Callable[..., Page]


@pytest.fixture(scope="module")
def page_browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    found = shutil.which("chromium")
    if found is None:
        missing = (
            "chromium is not installed; on Debian: apt-get install --no-install-recommends chromium fonts-noto-cjk"
        )
        if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1":
            pytest.fail(f"QUEUEWATCH_REQUIRE_ALL=1 and a part is missing: {missing}", pytrace=False)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A service that behaves as the test wants."""
    service = StandIn()
    yield service
    service.stop()


@pytest.fixture
def open_wall(page_browser: Browser, stand_in: StandIn) -> Iterator[OpenWall]:
    """Opens the page at an address behind the service's own; whatever goes wrong in its scripts fails the test."""
    faults: list[str] = []
    contexts = []

    def told(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def failed(error: Error) -> None:
        faults.append(error.stack or error.message)

    def opened(
        address: str = "", *, width: int = 1920, height: int = 1080, clock: bool = False, **context: Any
    ) -> Page:
        made = page_browser.new_context(viewport={"width": width, "height": height}, **context)
        contexts.append(made)
        page = made.new_page()
        page.on("console", told)
        page.on("pageerror", failed)
        if clock:
            page.clock.install()
        page.goto(stand_in.address + address)
        return page

    yield opened
    for each in contexts:
        each.close()
    assert not faults
