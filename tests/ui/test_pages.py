"""Many pages of one browser share one stream, and none of them is stale and says live (F-8)."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from selenium import webdriver

from support.control_plane import ControlPlane
from support.fleet import fleet
from support.waiting import until
from ui.browser import PATIENCE, Browser, tabs

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SOON = 15.0
"""Seconds until every page shows what is recorded; nine of them share two cores with the tests."""

TOKENS = ["t-one", "t-two", "t-three", "t-four", "t-five"]
ADMIN = "a-secret"

UNSHARED = "delete window.SharedWorker"
MUTE = "window.SharedWorker = class { port = new MessageChannel().port1; addEventListener() {} }"


def opened(pages: Sequence[Browser], plane: ControlPlane) -> None:
    """Open the dashboard in every tab, and wait until each is live."""
    for page in pages:
        page.show()
        page.open(plane.url)


def soon_in_all(pages: Sequence[Browser], is_shown: Callable[[Browser], object]) -> None:
    """Wait until every page shows it, from now on."""
    deadline = time.monotonic() + SOON
    for number, page in enumerate(pages):
        page.show()
        left = max(0.1, deadline - time.monotonic())
        until(partial(is_shown, page), left, 0.1, f"page {number + 1} of {len(pages)}")


def followers(plane: ControlPlane, **headers: str) -> int:
    """Return how many streams the control plane has open."""
    metrics = plane.request("GET", "/metrics", **headers)[2].decode()
    return int(float(re.findall(r"^servicegroup_followers (\S+)$", metrics, re.MULTILINE)[0]))


def state(plane: ControlPlane, host: str) -> str:
    """Return the state of a host's service as it is recorded."""
    return str(plane.services(f"?host={host}")[host, "nova-compute"]["verdict"]["state"])


@pytest.mark.parametrize("count", [6, 9])
def test_a_service_that_dies_is_down_in_every_page(
    mortal: ControlPlane, chromium: webdriver.Remote, tmp_path: Path, count: int
) -> None:
    """Browsers open six connections to one address; a stream for each page takes all of them."""
    host = f"node{count}"
    with tabs(chromium, count) as pages, fleet(mortal.url, [host], tmp_path) as (agent,):
        until(lambda: (host, "nova-compute") in mortal.services(), PATIENCE)
        opened(pages, mortal)
        soon_in_all(pages, lambda page: "up" in page.row(host).split())
        assert followers(mortal) == 1
        agent.kill()
        until(lambda: state(mortal, host) == "down", PATIENCE)
        soon_in_all(pages, lambda page: "down" in page.row(host).split())
        soon_in_all(pages, lambda page: page.text("#phase") == "live")


def test_no_page_says_live_while_nothing_is_heard(
    mortal: ControlPlane, chromium: webdriver.Remote
) -> None:
    with tabs(chromium, 6) as pages:
        opened(pages, mortal)
        mortal.freeze()
        soon_in_all(pages, lambda page: page.text("#phase") == "reconnecting")
        mortal.thaw()
        soon_in_all(pages, lambda page: page.text("#phase") == "live")


def test_a_page_that_is_closed_frees_its_part(
    mortal: ControlPlane, chromium: webdriver.Remote
) -> None:
    with tabs(chromium, 3) as pages:
        opened(pages, mortal)
        pages[0].close()  # the one that began it
        mortal.request("POST", "/v1/services", {"host": "later", "binary": "worker"})
        soon_in_all(pages[1:], lambda page: page.row("later"))
        assert followers(mortal) == 1
        for page in pages[1:]:
            page.close()
        until(lambda: followers(mortal) == 0, PATIENCE)


def test_a_page_whose_questions_hang_is_behind(mortal: ControlPlane, browser: Browser) -> None:
    """Events go on arriving, and are not what the page shows."""
    new = {"host": "hung", "binary": "worker"}
    uuid = mortal.request("POST", "/v1/services", new)[2]["uuid"]
    browser.open(mortal.url)
    browser.until_row("hung", "enabled")
    browser.cdp("Fetch.enable", patterns=[{"urlPattern": "*/v1/services*"}])
    mortal.request("PATCH", f"/v1/services/{uuid}", {"disabled": True})
    browser.until_text("#phase", "behind")
    assert "does not answer what they are" in browser.text("#away")
    assert "as of" in browser.text("#heard")
    browser.cdp("Fetch.disable")
    browser.until_row("hung", "disabled")
    browser.until_text("#phase", "live")
    assert browser.text("#heard") == ""


@pytest.mark.parametrize("script", [UNSHARED, MUTE], ids=["none", "silent"])
def test_without_a_shared_worker_the_page_asks_and_holds_no_stream(
    mortal: ControlPlane, browser: Browser, script: str
) -> None:
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", source=script)
    browser.open(mortal.url)
    mortal.request("POST", "/v1/services", {"host": "asked", "binary": "worker"})
    browser.until_row("asked")
    assert followers(mortal) == 0
    mortal.freeze()
    browser.until_text("#phase", "reconnecting")
    mortal.thaw()
    browser.until_text("#phase", "live")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane with several tokens that may read."""
    roles = {ADMIN: "admin", **dict.fromkeys(TOKENS, "reader")}
    tokens = "".join(
        f"token = {role}:{hashlib.sha256(text.encode()).hexdigest()}\n"
        for text, role in roles.items()
    )
    connection = f"sqlite:///{tmp_path / 'r.sqlite'}"
    plane = ControlPlane(connection, tmp_path, api=f"auth_strategy = token\n{tokens}")
    plane.start()
    yield plane
    plane.stop()


def test_pages_with_different_tokens_share_nothing_and_follow_all_the_same(
    guarded: ControlPlane, chromium: webdriver.Remote
) -> None:
    admin = {"X_Auth_Token": ADMIN}
    with tabs(chromium, len(TOKENS) + 2) as (unknown, *pages):
        unknown.show()
        unknown.open(guarded.url, live=False)
        for page, token in zip(pages, [*TOKENS, TOKENS[0]], strict=True):
            page.show()
            page.open(guarded.url, live=False)
            page.give(token)
            page.until_text("#phase", "live")
        assert 1 <= followers(guarded, **admin) <= 3
        guarded.request("POST", "/v1/services", {"host": "node1", "binary": "worker"}, **admin)
        soon_in_all(pages, lambda page: page.row("node1"))
        unknown.show()
        assert unknown.text("#phase") == "token needed"
        assert unknown.text("main .data") == ""
        for page in pages:
            page.close()
        until(lambda: followers(guarded, **admin) == 0, PATIENCE)
