"""How a test opens the page, served by a stand-in or by the real service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page

from wallboard import live
from wallboard.live import Screen
from wallboard.support.stand_in import StandIn

OpenWall = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with live.browser() as started:
        yield started


@pytest.fixture
def screen(browser: Browser) -> Iterator[Screen]:
    """A fresh browser's page of the real service."""
    context = browser.new_context()
    yield Screen(context)
    context.close()


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A service that behaves as the test wants."""
    service = StandIn()
    yield service
    service.stop()


@pytest.fixture
def open_wall(browser: Browser, stand_in: StandIn) -> Iterator[OpenWall]:
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
        made = browser.new_context(viewport={"width": width, "height": height}, **context)
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
