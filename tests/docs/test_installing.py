"""Every `pip install` line of the documentation is enough for what its page is about (F-41)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.process import LOOPBACK, free_port
from support.installing import (
    Installations,
    InstalledPlane,
    Line,
    documented_keystone,
    lines,
    require_an_index,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

DRIVERS = {
    "zookeeper": "address = {0}",
    "memcached": "servers = {0}",
    "etcd": "endpoints = http://{0}",
    "redis": "url = redis://{0}/0",
}
"""The extras that bring a driver, and a section that names a server of it."""


@pytest.fixture(scope="session")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installations]:
    """Give what all lines install."""
    directory = tmp_path_factory.mktemp("installations")
    require_an_index(directory)
    installations = Installations(directory, lines())
    yield installations
    installations.close()


def test_the_lines_are_found() -> None:
    found = {(line.page, line.extras) for line in lines()}
    assert ("docs/security.md", frozenset({"server", "keystone"})) in found
    assert ("docs/nova.md", frozenset({"nova", "zookeeper"})) in found
    assert ("docs/deploying.md", frozenset()) in found


@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line.page}: {line.text}")
def test_a_line_is_enough(line: Line, installations: Installations, tmp_path: Path) -> None:
    installed = installations.of(line)
    installed.succeeds("pip", "check")
    installed.succeeds("servicegroup", "agent", "--help")
    drivers = sorted(line.extras & DRIVERS.keys())
    for driver in drivers:
        loads = f"from servicegroup.driver import driver_class; driver_class({driver!r})"
        installed.succeeds("python", "-c", loads)
    if "server" in line.extras:
        plane = InstalledPlane(installed, tmp_path)
        nowhere = f"{LOOPBACK}:{free_port()}"
        sections = (f"[{driver}]\n{DRIVERS[driver].format(nowhere)}" for driver in drivers)
        plane.configure("\n".join(sections), servicegroup_driver=(drivers or ["session"])[0])
        try:
            plane.start()
        finally:
            plane.stop()


def test_the_configuration_of_keystones_page(installations: Installations, tmp_path: Path) -> None:
    """It starts, and what only a request loads is there; Keystone is away (F-41)."""
    line, configuration = documented_keystone()
    keystone, memcached = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
    here = configuration.replace("keystone:5000", keystone).replace("localhost:11211", memcached)
    assert here.count(keystone) == 2
    assert here.count(memcached) == 1
    plane = InstalledPlane(installations.of(line), tmp_path)
    plane.configure(here)
    try:
        plane.start()
        status, headers, _ = plane.request("GET", "/v1/services")
        assert (status, headers["WWW-Authenticate"]) == (
            401,
            f'Keystone uri="http://{keystone}/v3"',
        )
        for path in ("/v1/services", "/v2.1/os-services"):
            status, _, body = plane.request("GET", path, X_Auth_Token="gAAAAABk" * 20)
            assert status == 503, body
        assert "Traceback" not in plane.log()
    finally:
        plane.stop()
