"""One Chromium and one control plane for all tests: a tab each, and no services left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver

from servers.plugin import require
from support.control_plane import ControlPlane
from ui.browser import Browser, Chromedriver, tab


@pytest.fixture(scope="session")
def chromedriver() -> Iterator[Chromedriver]:
    require(Chromedriver)
    with Chromedriver() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(chromedriver: Chromedriver) -> Iterator[webdriver.Remote]:
    with chromedriver.chromium() as driver:
        yield driver


@pytest.fixture
def browser(chromium: webdriver.Remote) -> Iterator[Browser]:
    """Give a tab that must have nothing to complain about at the end."""
    with tab(chromium) as browser:
        yield browser
        assert browser.complaints() == []


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane on SQLite with short intervals; ask for ``register`` instead."""
    directory = tmp_path_factory.mktemp("ui")
    plane = ControlPlane(
        f"sqlite:///{directory / 'register.sqlite'}",
        directory,
        report_interval=1,
        service_down_time=4,
    )
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture
def register(running: ControlPlane) -> Iterator[ControlPlane]:
    """Give a control plane that has no service but itself; do not stop it."""
    yield running
    for service in running.services().values():
        if service["topic"] != "servicegroup":
            running.request("DELETE", f"/v1/services/{service['uuid']}")


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane to stop and to freeze; whoever does it lets it run again."""
    directory = tmp_path_factory.mktemp("mortal")
    connection = f"sqlite:///{directory / 'register.sqlite'}"
    short: dict[str, Any] = {"report_interval": 1, "service_down_time": 4}
    # Without sessions nobody follows its events but pages, which are counted.
    plane = ControlPlane(connection, directory, servicegroup_driver="db", **short)
    plane.start()
    yield plane
    plane.stop()
