"""A suspect signal is at the top of the page, with what to do, for as long as it is suspect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from servers.memcached import Memcached
from servicegroup.driver import load
from servicegroup.model import Member
from support.control_plane import ControlPlane
from support.waiting import until
from ui.browser import PATIENCE, Browser

pytestmark = pytest.mark.long

TTL = 3
HOSTS = ("node1", "node2", "node3", "node4")


@pytest.fixture
def server(own_memcached: Callable[[], Memcached]) -> Memcached:
    """Give a memcached of the test's own."""
    return own_memcached()


@pytest.fixture
def plane(server: Memcached, tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane whose driver is that memcached."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'register.sqlite'}",
        tmp_path,
        api=f"[memcached]\nservers = {server.address}",
        servicegroup_driver="memcached",
        report_interval=1,
        service_down_time=6,
        heartbeat_interval=1,
        membership_ttl=TTL,
    )
    plane.start()
    yield plane
    plane.stop()


@contextmanager
def members(plane: ControlPlane, server: Memcached) -> Iterator[threading.Event]:
    """Register services that report, and are in the backend except while the event is set."""
    lives = {}
    for host in HOSTS:
        joined = plane.request("POST", "/v1/services", {"host": host, "binary": "nova-compute"})[2]
        lives[host] = {name: joined[name] for name in ("uuid", "incarnation")}
    vanished, stop = threading.Event(), threading.Event()

    def live() -> None:
        with closing(load("memcached", {"servers": server.address})) as driver:
            while not stop.wait(0.3):
                plane.request("POST", "/v1/reports", {"reports": list(lives.values())})
                for host, life in lives.items():
                    if vanished.is_set():
                        driver.leave(Member("compute", host))
                    else:
                        driver.heartbeat(Member("compute", host), life["incarnation"], TTL)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield vanished
    finally:
        stop.set()
        thread.join(30)


def test_a_suspect_signal_is_shown_until_it_is_believed_again(
    plane: ControlPlane, server: Memcached, browser: Browser
) -> None:
    """AND-2: the members of a group vanish from the backend together, while all of them report."""
    browser.open(plane.url)
    with members(plane, server) as vanished:
        for host in HOSTS:
            browser.until_row(host, "up", "present")
        assert browser.texts("#protections li") == []
        vanished.set()
        browser.until_text("#protections", "the presence of group compute, zone nova, is suspect")
        browser.until_text("#protections", "4 members vanished from the driver's backend")
        browser.until_text("#protections", "Check the backend first")
        browser.until_text("#events", "Protection began for compute, nova")
        for host in HOSTS:
            browser.until_row(host, "up", "held")
        vanished.clear()
        until(lambda: browser.texts("#protections li") == [], PATIENCE)
        browser.until_text("#events", "Protection ended")
        browser.until_row("node1", "up", "present")
        assert "is down" not in browser.text("#events")
