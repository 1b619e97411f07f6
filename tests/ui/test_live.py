"""The dashboard follows the register: agents join and die, and the page shows it as it happens."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.control_plane import ControlPlane
from support.fleet import fleet
from support.waiting import until
from ui.browser import PATIENCE, Browser

pytestmark = pytest.mark.long


@pytest.mark.timeout(240)
def test_agents_join_and_die_before_ones_eyes(
    register: ControlPlane, browser: Browser, tmp_path: Path
) -> None:
    browser.open(register.url)
    with fleet(register.url, ["node1", "node2"], tmp_path) as (one, two):
        browser.until_row("node1", "up", "reporting", "nova-compute", "compute")
        browser.until_row("node2", "up", "fresh")
        browser.until_text("#groups", "compute")
        one.kill()
        browser.until_row("node1", "down", "silent")
        browser.until_text("#events", "node1 is down")
        assert browser.run("return document.title").startswith("1 down")
        two.stop()
        until(lambda: "node2" in browser.run("return announcer.textContent"), PATIENCE)
        browser.until_row("node2", "down", "left")
    assert not browser.was_reloaded


@pytest.mark.timeout(240)
def test_a_control_plane_that_stops_or_hangs_is_said_to_be_away(
    mortal: ControlPlane, browser: Browser, tmp_path: Path
) -> None:
    with fleet(mortal.url, ["node1"], tmp_path):
        browser.open(mortal.url)
        browser.until_row("node1", "up")
        mortal.stop()
        browser.until_text("#phase", "reconnecting")
        assert "The control plane" in browser.text("#away")
        assert "what happened since is not known" in browser.text("#away")
        until(lambda: "last heard" in browser.text("#heard"), PATIENCE)
        assert browser.run("return getComputedStyle(fleet).filter") == "grayscale(1)"
        assert "up" in browser.row("node1"), "what is known stays on the page"
        mortal.start()
        browser.until_text("#phase", "live")
        assert browser.text("#away") == ""
        assert browser.run("return getComputedStyle(fleet).filter") == "none"
        browser.until_row("node1", "up")
    mortal.freeze()
    browser.until_text("#phase", "reconnecting")
    mortal.thaw()
    browser.until_text("#phase", "live")
    browser.until_row("node1", "down")
    assert not browser.was_reloaded


def test_events_that_were_purged_meanwhile_are_said_to_be_missing(
    mortal: ControlPlane, browser: Browser
) -> None:
    mortal.request("POST", "/v1/services", {"host": "node9", "binary": "worker"})
    browser.open(mortal.url)
    browser.until_text("#events", "node9 registered")
    mortal.stop()
    with sqlite(mortal) as connection:
        connection.execute("UPDATE event_log SET last = last + 50, purged = last + 50")
        connection.execute("DELETE FROM events")
        connection.execute("UPDATE services SET disabled = 1, disabled_reason = 'unseen'")
    mortal.start()
    browser.until_text("#events", "Older events are not kept")
    browser.until_row("node9", "disabled", "unseen")
    assert "node9 registered" not in browser.text("#events")
    assert not browser.was_reloaded


@pytest.mark.timeout(240)
def test_another_register_at_the_same_place_is_noticed(
    mortal: ControlPlane, browser: Browser, tmp_path: Path
) -> None:
    newest = shown_as_old(mortal, browser)
    mortal.stop()
    mortal.connection = f"sqlite:///{tmp_path / 'new.sqlite'}"
    mortal.configure()
    mortal.start()
    until(lambda: browser.row("old") == "" and browser.text("#phase") == "live", PATIENCE)
    assert "old" not in browser.text("#events")
    register_until(mortal, newest)  # so the ids of the old register's events come once more
    until(lambda: int(browser.run("return events.firstChild.dataset.key")) > newest, PATIENCE)
    assert "old" not in browser.text("#events")
    assert not browser.was_reloaded


@pytest.mark.timeout(240)
def test_another_register_is_noticed_that_has_had_more_events(
    mortal: ControlPlane, browser: Browser, tmp_path: Path
) -> None:
    newest = shown_as_old(mortal, browser)
    other = ControlPlane(f"sqlite:///{tmp_path / 'more.sqlite'}", tmp_path)
    other.start()
    register_until(other, newest + 5)  # few, so that those of the former one would still show
    other.stop()
    mortal.stop()
    mortal.connection = other.connection
    mortal.configure()
    mortal.start()
    browser.until_row("new")
    until(lambda: browser.row("old") == "" and browser.text("#phase") == "live", PATIENCE)
    assert "old" not in browser.text("#events")
    assert not browser.was_reloaded


def shown_as_old(plane: ControlPlane, browser: Browser) -> int:
    """Show a register with the service ``old``; return the id of its newest event."""
    old = {"host": "old", "binary": "worker"}
    plane.request("POST", "/v1/services", old)
    browser.open(plane.url)
    browser.until_row("old")
    for _ in range(10):  # more events than another register has by the time the page asks it
        plane.request("POST", "/v1/services", old)
    until(lambda: browser.text("#events").count("old registered again") == 10, PATIENCE)
    return newest_event(plane)


def register_until(plane: ControlPlane, event: int) -> None:
    """Register a service ``new`` again and again until newer events have been given than this."""
    while newest_event(plane) <= event:
        plane.request("POST", "/v1/services", {"host": "new", "binary": "worker"})


def newest_event(plane: ControlPlane) -> int:
    """Return the id of the newest event."""
    return int(plane.request("GET", "/v1/events?limit=1")[2]["last"])


@contextmanager
def sqlite(plane: ControlPlane) -> Iterator[sqlite3.Connection]:
    """Give the register's own file, while no control plane has it."""
    connection = sqlite3.connect(plane.connection.removeprefix("sqlite:///"))
    with connection:
        yield connection
    connection.close()


def test_a_filter_is_in_the_address_and_survives_a_reload(
    register: ControlPlane, browser: Browser
) -> None:
    for host in ("alpha", "beta"):
        register.request("POST", "/v1/services", {"host": host, "binary": "worker"})
    browser.open(register.url)
    browser.until_row("alpha", "worker")
    browser.find("#q").send_keys("ALPHA worker")
    until(lambda: browser.row("beta") == "", PATIENCE)
    assert "1 service match" in browser.text("#found")
    browser.driver.refresh()
    browser.until_row("alpha", "worker")
    assert browser.row("beta") == ""
    browser.click("#clear")
    browser.until_row("beta", "worker")
    browser.click("#groups li:last-child button")
    until(lambda: browser.run("return location.hash") == "#/?group=worker", PATIENCE)
    assert browser.run("return group.value") == "worker"
