"""By keyboard alone, on a phone, in the dark: the page works however it is held."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from support.control_plane import ControlPlane
from support.waiting import until
from ui.browser import PATIENCE, Browser

pytestmark = pytest.mark.long

HOSTS = ("alpha", "beta", "gamma")

HIDDEN = "const page = document.documentElement; return page.scrollWidth - page.clientWidth"
"""Pixels that one would have to scroll sideways for."""

# Contrast as WCAG 2 defines it, of every visible text against what is painted behind it.
FAINT_TEXTS = """
const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}
function luminance(colour) {
  const [red, green, blue] = [...colour].slice(0, 3).map((byte) => byte / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
function ground(element) {
  const colour = rgba(getComputedStyle(element).backgroundColor);
  return colour[3] > 200 ? colour : ground(element.parentElement);
}
const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
const shown = [...document.querySelectorAll("body *")].filter((element) =>
  [...element.childNodes].some(isText) && element.checkVisibility() && !element.disabled
  && !element.closest("option, noscript"));
return shown.map((element) => {
  const both = [rgba(getComputedStyle(element).color), ground(element)].map(luminance);
  return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), element.innerText];
}).filter(([contrast]) => contrast < 4.5);
"""

NAMED = {"application", "article", "button", "columnheader", "combobox", "complementary", "dialog"}
NAMED |= {"image", "link", "region", "rowheader", "search", "searchbox", "table", "textbox"}
"""What nobody could find, or would know what to do with, without a name."""


@pytest.fixture
def plane(register: ControlPlane) -> ControlPlane:
    """Give a control plane with three services, the first of them forced down."""
    uuids = []
    for host in HOSTS:
        answer = register.request("POST", "/v1/services", {"host": host, "binary": "worker"})
        uuids.append(answer[2]["uuid"])
    register.request("PATCH", f"/v1/services/{uuids[0]}", {"forced_down": True})
    register.request("PATCH", f"/v1/services/{uuids[1]}", {"disabled": True})
    return register


def sorts(browser: Browser) -> list[Any]:
    """Return how each column says it is sorted."""
    return list(browser.run("return [...document.querySelectorAll('th')].map(e => e.ariaSort)"))


def spoken(browser: Browser) -> list[tuple[str, str]]:
    """Return what Chromium tells a screen reader: the role and the name of everything."""
    nodes = browser.cdp("Accessibility.getFullAXTree")["nodes"]
    return [(n["role"]["value"], n["name"]["value"]) for n in nodes if not n["ignored"]]


def hosts(browser: Browser) -> list[str]:
    return [text for text in browser.texts("#rows a") if text in HOSTS]


def test_by_keyboard_the_table_is_sorted_and_a_service_opened(
    plane: ControlPlane, browser: Browser
) -> None:
    browser.open(plane.url)
    browser.until_row("gamma")
    browser.press(Keys.TAB)
    assert browser.focused() == "Skip to the services"
    browser.press(Keys.ENTER)
    assert browser.focused() == "Services"
    tab_to(browser, "Host")
    browser.press(Keys.ENTER)
    until(lambda: hosts(browser) == ["alpha", "beta", "gamma"], PATIENCE)
    assert "ascending" in sorts(browser)[1]
    assert browser.focused() == "Host", "the focus stays where it was"
    browser.press(Keys.ENTER)
    until(lambda: hosts(browser) == ["gamma", "beta", "alpha"], PATIENCE)
    assert "descending" in sorts(browser)[1]
    tab_to(browser, "gamma")
    browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    until(lambda: browser.focused() == "alpha", PATIENCE)
    browser.press(Keys.ENTER)
    browser.until_text("#service-title", "alpha")
    assert browser.focused() == "alpha worker", "the heading of what was opened has the focus"
    tab_to(browser, "Unset force-down…")
    browser.press(Keys.ENTER)
    browser.until_text("dialog h2", "Unset force-down alpha worker?")
    browser.press(Keys.ESCAPE)
    assert browser.focused() == "Unset force-down…", "and gets it back from the dialog"
    browser.driver.back()
    until(lambda: browser.focused() == "alpha", PATIENCE)


def tab_to(browser: Browser, text: str) -> None:
    """Press Tab until the element with this text has the focus, and see that one can see it."""
    for _ in range(60):
        browser.press(Keys.TAB)
        if browser.focused() == text:
            style = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", f"nothing shows that {text} has the focus"
            return
    raise AssertionError(f"Tab never reaches {text}")


def test_by_keyboard_the_map_tells_and_opens(plane: ControlPlane, browser: Browser) -> None:
    browser.open(plane.url)
    browser.until_row("gamma")
    browser.run("map.focus()")
    browser.until_text("#tip", ":")
    browser.press(Keys.END)
    browser.until_text("#tip", "gamma worker")
    browser.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    browser.until_text("#tip", "alpha worker: down")
    browser.until_text("#tip", "forced_down")
    browser.press(Keys.ESCAPE)
    assert browser.text("#tip") == ""
    browser.press(Keys.HOME, Keys.END, Keys.ENTER)
    browser.until_text("#service-title", "gamma")


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_no_window_scrolls_sideways(plane: ControlPlane, browser: Browser, width: int) -> None:
    name = "h" * 63
    plane.request("POST", "/v1/services", {"host": name, "binary": "worker", "zone": "z" * 60})
    browser.resize(width, 740)
    browser.open(plane.url)
    browser.until_row(name)
    assert browser.run(HIDDEN) == 0
    browser.click("#rows a")
    browser.until_text("#facts", "the limit is")
    assert browser.run(HIDDEN) == 0
    browser.click("[data-action]")
    browser.until_text("dialog h2", "?")
    assert browser.run(HIDDEN) == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_and_every_control_has_a_name(
    plane: ControlPlane, browser: Browser, theme: str
) -> None:
    browser.cdp(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ],
    )
    browser.open(plane.url)
    browser.until_row("alpha", "down")
    for part in ("", "#rows a", "[data-action]"):
        if part:
            browser.click(part)
            browser.until_text("#facts", "the limit is")
        assert browser.run(FAINT_TEXTS) == []
        assert [one for one in spoken(browser) if one[0] in NAMED and not one[1]] == []
    moving = "return document.getAnimations().length"
    assert browser.run(moving) == 0


def test_a_screen_reader_is_told_what_eyes_see(plane: ControlPlane, browser: Browser) -> None:
    browser.open(plane.url)
    browser.until_row("alpha", "down")
    map_ = (
        "Fleet map, 4 services. Arrow keys move, Enter opens a service. The table lists the same."
    )
    overview = {
        ("button", "worker 2 up, 1 down, 1 disabled"),
        ("application", map_),
        ("search", "Filter services"),
        ("columnheader", "State"),
        ("cell", "down forced_down"),
        ("rowheader", "alpha"),
        ("complementary", "Events"),
    }
    until(lambda: overview <= set(spoken(browser)), PATIENCE, what="all is told")
    browser.click("#rows a")
    browser.until_text("#history", "was forced down")
    told = set(spoken(browser))
    assert {("heading", "alpha worker"), ("group", "Actions"), ("heading", "History")} <= told
    assert any(role == "image" and name.startswith("Timeline of") for role, name in told)
    browser.click("[data-action=remove]")
    browser.until_text("dialog h2", "?")
    assert ("dialog", "Delete alpha worker?") in spoken(browser)


def test_the_theme_can_be_chosen_and_is_kept(plane: ControlPlane, browser: Browser) -> None:
    scheme = "return getComputedStyle(document.body).colorScheme"
    browser.open(plane.url)
    assert browser.run(scheme) == "light dark"
    browser.click("#theme")
    assert browser.run(scheme) == "light"
    browser.click("#theme")
    assert browser.run(scheme) == "dark"
    browser.driver.refresh()
    browser.until_row("alpha")
    assert browser.run(scheme) == "dark"
