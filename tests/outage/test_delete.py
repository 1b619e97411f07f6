"""Spec S4 end to end: a deleted service is freed, told, and stays away until it is restarted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.memcached import Memcached
from servers.process import PATIENCE
from servicegroup.driver import Driver, load
from servicegroup.model import Member
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.waiting import until

pytestmark = pytest.mark.long

LIMITS: dict[str, Any] = {
    "report_interval": 2,
    "service_down_time": 10,
    "heartbeat_interval": 0.5,
    "membership_ttl": 30,  # so that only a leave, and no expiry, frees the backend in time
    "servicegroup_driver": "memcached",
}
HOST, BINARY = "h1", "nova-compute"
MEMBER = Member("compute", HOST)


@pytest.fixture
def server(own_memcached: Callable[[], Memcached]) -> Memcached:
    """Give a memcached of the test's own."""
    return own_memcached()


@pytest.fixture
def plane(server: Memcached, tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane that uses it."""
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    plane.configure(f"[memcached]\nservers = {server.address}\n", **LIMITS)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture
def backend(server: Memcached) -> Iterator[Driver]:
    """Give a handle to look with."""
    driver = load("memcached", {"servers": server.address})
    yield driver
    driver.close()


def living(backend: Driver) -> frozenset[int]:
    return backend.presence([MEMBER])[MEMBER].incarnations


def joined(plane: ControlPlane, backend: Driver) -> str:
    """Wait until the agent's service is present, and return its uuid."""
    until(lambda: (HOST, BINARY) in plane.services(), PATIENCE, what="registered")
    until(lambda: living(backend), PATIENCE, what="present")
    return str(plane.services()[HOST, BINARY]["uuid"])


def told_and_gone(plane: ControlPlane, agent: Agent, backend: Driver) -> None:
    """The process was told, left the backend, still runs, and does not come back."""
    until(lambda: "was deleted" in agent.log(), PATIENCE, what="the agent is told")
    until(lambda: not living(backend), PATIENCE, what="the backend has forgotten it")
    assert agent.process.poll() is None
    assert (HOST, BINARY) not in plane.services()
    assert "joined as incarnation 2" not in agent.log()


def through_os_services(plane: ControlPlane, uuid: str) -> None:
    status, _, body = plane.request(
        "DELETE", f"/v2.1/os-services/{uuid}", OpenStack_API_Version="compute 2.53"
    )
    assert status == 204, body


def through_v1(plane: ControlPlane, uuid: str) -> None:
    assert plane.request("DELETE", f"/v1/services/{uuid}")[0] == 204


def through_the_command(plane: ControlPlane, uuid: str) -> None:
    command = plane.command("service", "delete", "--yes", uuid)
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("delete", [through_os_services, through_v1, through_the_command])
def test_every_way_to_delete_frees_the_backend_and_tells_the_process(
    plane: ControlPlane,
    backend: Driver,
    tmp_path: Path,
    delete: Callable[[ControlPlane, str], None],
) -> None:
    with fleet(plane.url, [HOST], tmp_path) as (agent,):
        uuid = joined(plane, backend)
        delete(plane, uuid)
        told_and_gone(plane, agent, backend)
        agent.stop()
        with fleet(plane.url, [HOST], tmp_path):
            assert joined(plane, backend) != uuid, "a restart makes a new record"
            until(lambda: living(backend) == {2}, PATIENCE, what="the newer incarnation")


def test_a_delete_while_the_backend_is_down_survives_a_crash_of_the_control_plane(
    plane: ControlPlane, backend: Driver, server: Memcached, tmp_path: Path
) -> None:
    """LC-2: the eviction is in SQL."""
    with fleet(plane.url, [HOST], tmp_path) as (agent,):
        uuid = joined(plane, backend)
        server.freeze()
        through_v1(plane, uuid)
        plane.kill()
        agent.kill()  # nobody is left who could leave by itself
        server.thaw()
        assert living(backend) == {1}
        plane.start()
        until(lambda: not living(backend), PATIENCE, what="freed after all")
