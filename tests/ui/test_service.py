"""One service's page: why it is up or down, what happened to it, and edits that ask first."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from support.control_plane import ControlPlane
from support.waiting import until
from ui.browser import PATIENCE, Browser


@pytest.fixture
def uuid(register: ControlPlane) -> str:
    """Register a service that has no process."""
    new = {"host": "node1", "binary": "nova-compute"}
    return str(register.request("POST", "/v1/services", new)[2]["uuid"])


def record(plane: ControlPlane, uuid: str) -> Any:
    """Return the service as the API has it; None once deleted."""
    status, _, body = plane.request("GET", f"/v1/services/{uuid}")
    return body["service"] if status == 200 else None


def open_service(browser: Browser, plane: ControlPlane) -> None:
    """Open the page of the service from the table."""
    browser.open(plane.url)
    browser.until_row("node1")
    browser.click("#rows a")
    browser.until_text("#service-title", "node1")
    browser.until_text("#facts", "the limit is 4")


def confirm(browser: Browser, action: str, answer: str = "") -> None:
    """Choose an action, answer its question and confirm it."""
    browser.click(f"[data-action={action}]")
    browser.until_text("dialog h2", "node1 nova-compute?")
    if answer:
        browser.find("#answer").send_keys(answer)
    browser.click("dialog .buttons button:last-child")


def test_the_page_explains_the_verdict_and_tells_what_happened(
    register: ControlPlane, browser: Browser, uuid: str
) -> None:
    open_service(browser, register)
    browser.until_text("#sentence", "Its reports stopped for longer than service_down_time.")
    browser.until_text("#service-state", "down")
    browser.until_text("#otherwise", "It is up again with its next report")
    browser.until_text("#reason", "silent")
    assert uuid in browser.text("#record")
    browser.click("details summary")
    browser.until_text("#evidence", "limits.service_down_time\n4")
    browser.until_text("#history", "is down\nsilent")
    browser.until_text("#availability", "Availability")
    until(lambda: "down" in str(browser.run("return timeline.innerHTML")), PATIENCE)
    assert "Timeline of the last 24 hours" in browser.run("return timeline.ariaLabel")


@pytest.mark.long
def test_the_timeline_shows_the_spans_of_the_api(
    register: ControlPlane, browser: Browser, uuid: str
) -> None:
    open_service(browser, register)
    browser.until_text("#history", "is down")
    confirm(browser, "disable")
    browser.until_text("#history", "was disabled")

    def spans() -> list[str]:
        history = register.request("GET", f"/v1/services/{uuid}/history")[2]
        names = [
            (span["state"] or "not recorded") + ", disabled" * span["disabled"]
            for span in history["spans"]
        ]
        assert names[-2:] == ["down", "down, disabled"]
        return names

    shown = "return [...timeline.children].map((part) => part.title.split(' for ')[0])"
    until(lambda: browser.run(shown) == spans(), PATIENCE)
    assert "look-off" in browser.run("return timeline.lastChild.className")


@pytest.mark.long
def test_disabling_gives_the_reason_to_the_api(
    register: ControlPlane, browser: Browser, uuid: str
) -> None:
    open_service(browser, register)
    confirm(browser, "disable", "new disks")
    browser.until_text("#record", "disabled: new disks")
    service = record(register, uuid)
    assert (service["disabled"], service["disabled_reason"]) == (True, "new disks")
    browser.until_text("#history", "was disabled")
    confirm(browser, "enable")
    browser.until_text("#record", "enabled")
    until(lambda: not record(register, uuid)["disabled"], PATIENCE)


@pytest.mark.long
def test_forcing_down_and_taking_it_back(
    register: ControlPlane, browser: Browser, uuid: str
) -> None:
    open_service(browser, register)
    confirm(browser, "forceDown")
    browser.until_text("#reason", "forced_down")
    assert record(register, uuid)["forced_down"] is True
    confirm(browser, "unforce")
    until(lambda: "forced_down" not in browser.text("#reason"), PATIENCE)
    assert record(register, uuid)["forced_down"] is False


@pytest.mark.long
def test_deleting_asks_for_the_host(register: ControlPlane, browser: Browser, uuid: str) -> None:
    open_service(browser, register)
    browser.click("[data-action=remove]")
    answer = browser.find("#answer")
    answer.send_keys("node")
    assert not browser.find("dialog .grave").is_enabled()
    answer.send_keys(Keys.ENTER)
    browser.press(Keys.ESCAPE)
    until(lambda: not browser.run("return dialog.open"), PATIENCE)
    assert record(register, uuid) is not None, "it was not confirmed"
    confirm(browser, "remove", "node1")
    until(lambda: record(register, uuid) is None, PATIENCE)
    until(lambda: "services/" not in browser.run("return location.hash"), PATIENCE)
    until(lambda: browser.row("node1") == "", PATIENCE)


@pytest.mark.long
def test_a_service_that_others_delete_is_said_to_be_gone(
    register: ControlPlane, browser: Browser, uuid: str
) -> None:
    open_service(browser, register)
    register.request("DELETE", f"/v1/services/{uuid}")
    browser.until_text("#service-state", "it was deleted")
    assert browser.texts("[data-action]") == []


def test_a_mirrored_service_is_marked_and_edited_elsewhere(
    register: ControlPlane, browser: Browser
) -> None:
    node = {"host": "node1", "binary": "nova-compute", "down": True}
    look = {"mirror": "prod/nova", "services": [node]}
    assert register.request("POST", "/v1/mirrors", look)[0] == 200
    try:
        browser.open(register.url)
        browser.until_row("node1")
        browser.until_text("#rows", "mirrored")
        browser.click("#rows a")
        browser.until_text("#reason", "told_down")
        browser.until_text("#actions", "Mirrored from prod/nova: edit it there")
        browser.until_text("#record", "prod/nova")
        assert browser.run("return document.querySelectorAll('#actions button').length") == 0
    finally:
        register.request("POST", "/v1/mirrors", {"mirror": "prod/nova", "ending": True})
