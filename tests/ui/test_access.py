"""Who may see and do what, and that nothing a service is called can become part of the page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from support.control_plane import ControlPlane
from support.waiting import until
from ui.browser import PATIENCE, Browser, Chromedriver

pytestmark = pytest.mark.long

TOKENS = {"admin": "a-secret", "reader": "r-secret", "reporter": "p-secret"}
NODE1 = {"host": "node1", "binary": "nova-compute"}
HOSTILE = "<img src=x onerror=alert(1)>"

SENT = """
const [url, method, mode, type, body, done] = arguments;
fetch(url, { method, mode, headers: { "Content-Type": type }, body: JSON.stringify(body) ?? null })
  .then((answer) => done(answer.type), () => done("refused"));
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that asks for tokens, with one service."""
    tokens = "".join(
        f"token = {role}:{hashlib.sha256(text.encode()).hexdigest()}\n"
        for role, text in TOKENS.items()
    )
    directory = tmp_path_factory.mktemp("guarded")
    connection = f"sqlite:///{directory / 'r.sqlite'}"
    plane = ControlPlane(connection, directory, api=f"auth_strategy = token\n{tokens}")
    plane.start()
    plane.request("POST", "/v1/services", NODE1, X_Auth_Token=TOKENS["admin"])
    yield plane
    plane.stop()


def test_without_a_token_the_page_asks_for_one(guarded: ControlPlane, browser: Browser) -> None:
    browser.open(guarded.url, live=False)
    browser.until_text("#token-panel", "A token is needed")
    until(lambda: browser.run("return document.activeElement.id") == "token", PATIENCE)
    assert browser.text("main .data") == "", "nothing is known, not even that there is nothing"
    browser.give("not-a-token")
    browser.until_text("#token-problem", "refused")
    browser.give(TOKENS["reporter"])
    browser.until_text("#token-problem", "needs the role")
    browser.give(TOKENS["admin"])
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
    browser.give(TOKENS["reader"])
    browser.until_row("node1", "up")
    browser.click("#rows a")
    browser.click("[data-action=disable]")
    browser.click("dialog .buttons button:last-child")
    browser.until_text("dialog .problem", "Edits need the role admin")
    assert not browser.find("dialog .buttons button:last-child").is_enabled()
    browser.click("dialog .buttons button")
    browser.until_text("#actions", "Edits need the role admin")
    assert browser.texts("[data-action]") == []


def test_a_hostile_name_is_text(register: ControlPlane, browser: Browser) -> None:
    new = {"host": HOSTILE, "binary": f"{HOSTILE}&amp;", "group": HOSTILE, "zone": HOSTILE}
    uuid = register.request("POST", "/v1/services", new)[2]["uuid"]
    edit = {"disabled": True, "disabled_reason": HOSTILE}
    register.request("PATCH", f"/v1/services/{uuid}", edit)
    browser.open(register.url)
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
    register: ControlPlane, browser: Browser
) -> None:
    browser.open(register.url)
    assert browser.complaints() == []
    browser.run(
        "const code = document.createElement('script'); code.textContent = 'window.ran = 1';"
        " document.body.append(code);"
        " document.body.insertAdjacentHTML('beforeend', `<img src=x onerror='window.ran = 2'>`)"
    )
    until(lambda: len(found := browser.complaints()) >= 1 and found, PATIENCE)
    assert browser.run("return window.ran ?? null") is None
    browser.complaints()


def test_a_page_of_another_origin_can_neither_edit_nor_read(
    register: ControlPlane, browser: Browser, chromedriver: Chromedriver
) -> None:
    """A new incarnation would supersede the service, so registering is an edit as well."""
    life = register.request("POST", "/v1/services", NODE1)[2]
    uuid = life["uuid"]
    services, one = f"{register.url}/v1/services", f"{register.url}/v1/services/{uuid}"
    browser.driver.get(f"http://{chromedriver.address}/status")

    def sent(url: str, method: str, mode: str, body: object = None) -> object:
        kind = "text/plain" if mode == "no-cors" else "application/json"
        return browser.driver.execute_async_script(SENT, url, method, mode, kind, body)

    assert sent(services, "POST", "no-cors", NODE1) == "opaque", "it was sent, as any form may be"
    assert sent(services, "POST", "cors", NODE1) == "refused"
    assert sent(one, "PATCH", "cors", {"disabled": True}) == "refused"
    assert sent(one, "DELETE", "cors") == "refused"
    assert sent(services, "GET", "cors") == "refused"
    service = register.services()["node1", "nova-compute"]
    assert (service["incarnation"], service["disabled"]) == (life["incarnation"], False)
    browser.complaints()
