"""A real browser on the dashboard: headless Chromium, driven through chromedriver.

chromedriver is a server as any other: a child process that answers and never outlives the tests.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from servers.process import Server, ask
from support.waiting import until

PATIENCE = 60.0
"""Seconds until the page has to show what is so; a busy machine has two cores for all of it."""

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

CHANGED = "document.body.dataset.sameDocument"
"""Set in the page, and lost by a reload."""

FORGET = "if (location.protocol === 'http:') localStorage.clear()"
"""What a page keeps beyond its tab ends with this."""

SHOWN = """
return [...document.querySelectorAll(arguments[0])]
  .filter((element) => element.checkVisibility()).map((element) => element.innerText.trim());
"""


class Chromedriver(Server):
    """chromedriver, which starts a Chromium for each session."""

    name = "chromium"
    package = "chromium-driver"

    @classmethod
    def installed(cls) -> bool:
        return all(shutil.which(program) for program in ("chromium", "chromedriver"))

    def command(self) -> Sequence[str | Path]:
        # Chromium makes a socket there, and the path of one has 107 characters at the most.
        short = f"TMPDIR={tempfile.gettempdir()}"
        return ["env", short, "chromedriver", f"--port={self.port}", "--allowed-ips="]

    def answers(self) -> bool:
        question = f"GET /status HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n"
        return b'"ready":true' in ask(self.port, question.encode(), b'"ready":true')

    @contextmanager
    def chromium(self) -> Iterator[webdriver.Remote]:
        """Give a Chromium with a fresh profile."""
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        profile = tempfile.mkdtemp(prefix="profile-", dir=self.directory)
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Remote(f"http://{self.address}", options=options)
        try:
            yield driver
        finally:
            driver.quit()


@contextmanager
def tab(driver: webdriver.Remote) -> Iterator[Browser]:
    """Give a tab of a Chromium, and leave nothing of what happened in it behind."""
    driver.switch_to.new_window("tab")
    browser = Browser(driver)
    try:
        yield browser
        if browser.is_open:
            browser.show()
            browser.run(FORGET)
    finally:
        browser.close()


@contextmanager
def tabs(driver: webdriver.Remote, count: int) -> Iterator[list[Browser]]:
    """Give several tabs of one Chromium, the last one shown."""
    with ExitStack() as stack:
        yield [stack.enter_context(tab(driver)) for _ in range(count)]


class Browser:
    """One tab, asked as a person looks at it: what is shown, and is it so yet."""

    def __init__(self, driver: webdriver.Remote) -> None:
        self.driver = driver
        self.handle = driver.current_window_handle
        self.cdp("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(1280, 900)

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the tab yet."""
        return self.handle in self.driver.window_handles

    def show(self) -> None:
        """Make this the tab that all further questions are about."""
        self.driver.switch_to.window(self.handle)

    def close(self) -> None:
        """Close the tab, if it is open, and turn to another one."""
        if self.is_open:
            self.show()
            self.driver.close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def resize(self, width: int, height: int) -> None:
        """Show the page on a screen of that size."""
        # A headless window has a smallest width that is larger than a phone's.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.cdp("Emulation.setDeviceMetricsOverride", **metrics)

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Ask Chromium itself."""
        return self.driver.execute("executeCdpCommand", {"cmd": command, "params": parameters})[
            "value"
        ]

    def open(self, url: str, *, live: bool = True) -> None:
        """Open a dashboard, and wait until it is live."""
        self.driver.get(f"{url}/ui/")
        self.run(f"{CHANGED} = 'yes'")
        if live:
            self.until_text("#phase", "live")

    @property
    def was_reloaded(self) -> bool:
        """Whether the page was loaded anew since it was opened."""
        return bool(self.run(f"return {CHANGED} !== 'yes'"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """Return the first element that matches, once there is one."""
        found = until(lambda: self.driver.find_elements(By.CSS_SELECTOR, selector), PATIENCE)
        return found[0]

    def texts(self, selector: str) -> list[str]:
        """Return what people read in each element that matches; nothing of what is hidden."""
        return [str(text) for text in self.run(SHOWN, selector)]

    def text(self, selector: str) -> str:
        """Return what people read in the elements that match."""
        return "\n".join(self.texts(selector))

    def until_text(self, selector: str, wanted: str) -> None:
        """Wait until an element says this, among other things."""
        until(lambda: wanted in self.text(selector), PATIENCE, 0.1, f"{wanted!r} in {selector}")

    def click(self, selector: str) -> None:
        """Click on an element, again if the page replaced it in that moment."""

        def clicked() -> bool:
            try:
                self.find(selector).click()
            except StaleElementReferenceException:
                return False
            return True

        until(clicked, PATIENCE)

    def give(self, token: str) -> None:
        """Type a token into the field for it, once it is asked for."""
        self.until_text("#token-panel", "A token is needed")
        self.find("#token").send_keys(token)
        self.click("#token-form button")

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def focused(self) -> str:
        """Return the text of the element that has the focus."""
        return str(self.run("return document.activeElement.innerText"))

    def row(self, host: str) -> str:
        """Return the row of a host, in one line; empty when the table has none."""
        rows = (" ".join(text.split()) for text in self.texts("#rows tr"))
        return next((row for row in rows if host in row.split()), "")

    def until_row(self, host: str, *words: str) -> None:
        """Wait until the row of a host has these words."""
        until(
            lambda: set(words) <= set(self.row(host).split()) and self.row(host),
            PATIENCE,
            0.1,
            f"{host} {' '.join(words)}",
        )

    def complaints(self) -> list[str]:
        """Return what the console has: errors of scripts and refusals of the policy."""
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": "browser"})["value"]
        return [f"{e['source']}: {e['message']}" for e in entries if e["source"] != "network"]
