"""One chromedriver for all, a fresh browser for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers.plugin import require
from ui.browser import Browser, Chromedriver


@pytest.fixture(scope="session")
def chromedriver() -> Iterator[Chromedriver]:
    require(Chromedriver)
    with Chromedriver() as started:
        yield started


@pytest.fixture
def browser(chromedriver: Chromedriver) -> Iterator[Browser]:
    """Give a browser that must have nothing to complain about at the end."""
    with chromedriver.browser() as browser:
        yield browser
        assert browser.complaints() == []
