"""Sessions while control planes, and the proxy before them, are restarted: nobody is shown down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from servers.haproxy import HAProxy
from servers.plugin import require
from servers.postgresql import PostgreSQL
from support.control_plane import ControlPlane
from support.fleet import fleet
from support.scrape import Scrape
from support.waiting import until
from support.watcher import Watcher

pytestmark = pytest.mark.long

BINARY = "nova-compute"
HOSTS = [f"h{number}" for number in range(8)]
Addresses = Callable[[list[ControlPlane]], str]


@pytest.fixture
def planes(postgresql: PostgreSQL, tmp_path: Path) -> Iterator[list[ControlPlane]]:
    """Give two control planes of one register, with the default intervals."""
    url = postgresql.database()
    planes = [ControlPlane(url, tmp_path, servicegroup_driver="session") for _ in range(2)]
    try:
        for plane in planes:
            plane.start()
        yield planes
    finally:
        for plane in planes:
            plane.stop()


@pytest.fixture
def proxy(planes: list[ControlPlane]) -> Iterator[HAProxy]:
    """Give one address before them."""
    require(HAProxy)
    with HAProxy([plane.port for plane in planes]) as proxy:
        yield proxy


@pytest.fixture(params=["every address", "HAProxy"])
def urls(request: pytest.FixtureRequest, planes: list[ControlPlane]) -> str:
    """Return what agents know of the control planes."""
    if request.param == "HAProxy":
        proxy: HAProxy = request.getfixturevalue("proxy")
        return proxy.url
    return ",".join(plane.url for plane in planes)


def sessions(plane: ControlPlane) -> int:
    """Return how many services hold a session with this control plane."""
    return int(Scrape.of(plane).total("sessions"))


def all_are_at(*planes: ControlPlane) -> bool:
    """Tell whether these control planes hold everybody's session."""
    return sum(map(sessions, planes)) == len(HOSTS)


def reasons(plane: ControlPlane) -> list[str]:
    """Return the reason of everybody's verdict."""
    found = plane.services(f"?binary={BINARY}").values()
    return [service["verdict"]["reason"] for service in found]


def downs(plane: ControlPlane) -> list[dict[str, Any]]:
    """Return the events of agents that were recorded as down."""
    page = plane.request("GET", "/v1/events?limit=1000&after=0&kind=service-down")[2]
    return [event for event in page["events"] if event["binary"] == BINARY]


def test_control_planes_are_restarted_in_turn(
    planes: list[ControlPlane], urls: str, tmp_path: Path
) -> None:
    """Each is in a group of its own, so that nobody is up because a crowd is protected."""
    with fleet(urls, HOSTS, tmp_path, binary=BINARY, apart=True):
        until(lambda: reasons(planes[0]) == ["present"] * len(HOSTS), 60)
        with (
            Watcher(planes[0], BINARY, len(HOSTS)) as first,
            Watcher(planes[1], BINARY, len(HOSTS)) as second,
        ):
            for _ in range(2):
                for plane, other in (planes, planes[::-1]):
                    plane.stop()
                    until(partial(all_are_at, other), 20)
                    plane.start()
        assert first.answers
        assert second.answers
        assert first.flips + second.flips == []
        until(lambda: reasons(planes[1]) == ["present"] * len(HOSTS), 60)
        assert downs(planes[0]) == []


def test_the_proxy_is_restarted(planes: list[ControlPlane], proxy: HAProxy, tmp_path: Path) -> None:
    """All sessions end at once, and those that need longer than linger are a crowd."""
    with fleet(proxy.url, HOSTS, tmp_path, binary=BINARY):
        until(lambda: reasons(planes[0]) == ["present"] * len(HOSTS), 60)
        with Watcher(planes[0], BINARY, len(HOSTS)) as watcher:
            for _ in range(3):
                proxy.restart()
                until(partial(all_are_at, *planes), 20)
                until(lambda: reasons(planes[1]) == ["present"] * len(HOSTS), 60)
        assert watcher.answers
        assert watcher.flips == []
        assert downs(planes[0]) == []


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_proxy_that_found_no_control_plane_is_asked_again_soon(
    planes: list[ControlPlane], status: int, tmp_path: Path
) -> None:
    """As while one restarts: a minute without a session would be long."""
    require(HAProxy)
    upgrade = "{ hdr(upgrade) -m found }"
    rules = [
        "stick-table type ip size 1 store http_req_cnt",
        f"http-request track-sc0 src if {upgrade}",
        f"http-request return status {status} if {upgrade} {{ sc_http_req_cnt(0) le 2 }}",
    ]
    ports = [plane.port for plane in planes]
    with HAProxy(ports, rules=rules) as proxy, fleet(proxy.url, ["h1"], tmp_path, binary=BINARY):
        until(lambda: reasons(planes[0]) == ["present"], 20)
