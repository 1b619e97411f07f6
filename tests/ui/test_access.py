"""Who may see and do what, and that nothing a service is called can become part of the page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane import ControlPlane
from ui.browser import PATIENCE, Browser
from waiting import until

TOKENS = {"admin": "a-secret", "reader": "r-secret", "reporter": "p-secret"}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane that asks for tokens, with one service."""
    tokens = "".join(
        f"token = {role}:{hashlib.sha256(text.encode()).hexdigest()}\n"
        for role, text in TOKENS.items()
    )
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, api=f"auth_strategy = token\n{tokens}"
    )
    plane.start()
    new = {"host": "node1", "binary": "nova-compute"}
    plane.request("POST", "/v1/services", new, X_Auth_Token=TOKENS["admin"])
    yield plane
    plane.stop()


def give(browser: Browser, token: str) -> None:
    """Type a token into the field for it."""
    browser.find("#token").send_keys(token)
    browser.click("#token-form button")


def test_without_a_token_the_page_asks_for_one(guarded: ControlPlane, browser: Browser) -> None:
    browser.open(guarded.url, live=False)
    browser.until_text("#token-panel", "A token is needed")
    until(lambda: browser.run("return document.activeElement.id") == "token", PATIENCE)
    assert browser.row("node1") == ""
    give(browser, "not-a-token")
    browser.until_text("#token-problem", "refused")
    give(browser, TOKENS["reporter"])
    browser.until_text("#token-problem", "needs the role")
    give(browser, TOKENS["admin"])
    browser.until_row("node1", "up")
    assert browser.text("#token-panel") == ""
    kept = browser.run("return [JSON.stringify(localStorage), document.cookie, location.href]")
    assert TOKENS["admin"] not in "".join(kept)
    browser.driver.refresh()
    browser.until_row("node1", "up")
    browser.click("#forget")
    browser.until_text("#token-panel", "A token is needed")


def test_a_reader_is_told_which_role_edits_need(guarded: ControlPlane, browser: Browser) -> None:
    browser.open(guarded.url, live=False)
    give(browser, TOKENS["reader"])
    browser.until_row("node1", "up")
    browser.click("#rows a")
    browser.click("[data-action=disable]")
    browser.click("dialog .buttons button:last-child")
    browser.until_text("dialog .problem", "Edits need the role admin")
    assert not browser.find("dialog .buttons button:last-child").is_enabled()
    browser.click("dialog .buttons button")
    browser.until_text("#actions", "Edits need the role admin")
    assert browser.texts("[data-action]") == []


def test_a_hostile_name_is_text(control_plane: ControlPlane, browser: Browser) -> None:
    new = {"host": HOSTILE, "binary": f"{HOSTILE}&amp;", "group": HOSTILE, "zone": HOSTILE}
    uuid = control_plane.request("POST", "/v1/services", new)[2]["uuid"]
    edit = {"disabled": True, "disabled_reason": HOSTILE}
    control_plane.request("PATCH", f"/v1/services/{uuid}", edit)
    browser.open(control_plane.url)
    browser.until_text("#rows", HOSTILE)
    assert browser.text("#rows").count(HOSTILE) == 5
    browser.until_text("#groups", HOSTILE)
    browser.click("#rows a")
    browser.until_text("#service-title", HOSTILE)
    browser.until_text("#record", f"disabled: {HOSTILE}")
    browser.click("[data-action=remove]")
    browser.until_text("dialog h2", f"Delete {HOSTILE} {HOSTILE}&amp;?")
    assert browser.run("return document.querySelectorAll('main img, dialog img').length") == 0


def test_the_policy_refuses_what_would_be_smuggled_in(
    control_plane: ControlPlane, browser: Browser
) -> None:
    browser.open(control_plane.url)
    assert browser.complaints() == []
    browser.run(
        "const code = document.createElement('script'); code.textContent = 'window.ran = 1';"
        " document.body.append(code);"
        " document.body.insertAdjacentHTML('beforeend', `<img src=x onerror='window.ran = 2'>`)"
    )
    until(lambda: len(found := browser.complaints()) >= 1 and found, PATIENCE)
    assert browser.run("return window.ran ?? null") is None
    browser.complaints()
