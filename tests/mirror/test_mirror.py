"""An OpenStack in a register: what happens there happens here, and no outage takes it down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import pytest

import servicegroup
from servicegroup.agent.join import Membership
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import QUICK, MirrorProcess, at, mirrored, reason

Planes = Callable[..., ControlPlane]
Mirroring = Callable[..., MirrorProcess]

ONE = "one nova-compute"
TWO = "two nova-compute"


@contextmanager
def joined(plane: ControlPlane, *hosts: str) -> Iterator[list[Membership]]:
    """Join computes of these hosts in a cloud until the end of the block."""
    with ExitStack() as stack:
        members = [
            stack.enter_context(servicegroup.join("nova-compute", host=host, url=plane.url))
            for host in hosts
        ]
        until(lambda: all(member.uuid for member in members), 30, what="all have joined")
        yield members


@pytest.fixture
def world(plane: Planes, mirroring: Mirroring) -> tuple[ControlPlane, ControlPlane, MirrorProcess]:
    """Give a cloud, a register and a mirror that is not started."""
    cloud, register = plane("cloud"), plane("register")
    return cloud, register, mirroring(register, {"prod": at(cloud)})


def itself(register: ControlPlane) -> dict[str, Any]:
    """Return the mirror's own service, empty before it has joined."""
    found = register.request("GET", "/v1/services?binary=mirror-prod-nova")[2]["services"]
    return dict(found[0]) if found else {}


def edit(cloud: ControlPlane, name: str, body: dict[str, Any]) -> None:
    host, binary = name.split()
    _, _, found = cloud.request("GET", f"/v1/services?host={host}&binary={binary}")
    status, _, said = cloud.request("PATCH", f"/v1/services/{found['services'][0]['uuid']}", body)
    assert status == 200, said


def test_what_happens_there_happens_here(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one", "two") as (_, two):
        mirror.start("--os-cloud", "prod")
        found = mirrored(register)
        assert {ONE, TWO} <= set(found)
        assert found[ONE]["mirror"] == "prod/nova"
        assert found[ONE]["verdict"]["reason"] == "reporting"

        edit(cloud, ONE, {"disabled": True, "disabled_reason": "bad disk"})
        until(lambda: mirrored(register)[ONE]["disabled_reason"] == "bad disk", 30)
        edit(cloud, ONE, {"disabled": False})
        until(lambda: not mirrored(register)[ONE]["disabled"], 30)
        edit(cloud, ONE, {"forced_down": True})
        until(lambda: reason(register, ONE) == "forced_down", 30)
        edit(cloud, ONE, {"forced_down": False})
        until(lambda: reason(register, ONE) == "reporting", 30)

        two.leave()
        until(lambda: reason(register, TWO) == "told_down", 30)
        service = mirrored(register)[TWO]
        assert service["detail"].startswith("its own API says down, last heartbeat 20")
        _, _, shown = register.request("GET", f"/v1/services/{service['uuid']}")
        facts = {fact["name"]: fact["value"] for fact in shown["explanation"]["facts"]}
        assert facts["mirror"] == "mirrored from prod/nova, whose API says down"

        host = cloud.request("GET", "/v1/services?host=two")[2]["services"][0]["uuid"]
        cloud.request("DELETE", f"/v1/services/{host}")
        until(lambda: TWO not in mirrored(register), 30)
        with joined(cloud, "two"):
            until(lambda: reason(register, TWO) == "reporting", 30)
    kinds = {e["kind"] for e in register.request("GET", "/v1/events?limit=100")[2]["events"]}
    assert {"service-disable", "service-force-down", "service-delete", "service-down"} <= kinds


@pytest.mark.long
def test_an_api_that_is_away_accuses_nobody(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one"):
        try:
            mirror.start("--os-cloud", "prod")
            before = mirrored(register)[ONE]["report_count"]
            until(lambda: mirrored(register)[ONE]["report_count"] > before, 30)
            cloud.freeze()

            def is_long_ago() -> bool:
                service = mirrored(register)[ONE]
                assert service["verdict"]["state"] == "up", service
                age = service["verdict"]["evidence"]["report_age"]
                return bool(age > QUICK.service_down_time + 4)

            until(is_long_ago, 60, 0.3)
            # The mirror itself is a service here, and says what hinders it.
            until(lambda: "does not answer" in (itself(register)["detail"] or ""), 60)
            cloud.thaw()
            count = mirrored(register)[ONE]["report_count"]
            until(lambda: mirrored(register)[ONE]["report_count"] > count, 60)
            assert reason(register, ONE) == "reporting"
        finally:
            cloud.thaw()
    downs = register.request("GET", "/v1/events?kind=service-down&limit=100")[2]["events"]
    assert [event for event in downs if event["host"] == "one"] == []


@pytest.mark.long
def test_a_mirror_that_died_accuses_nobody_and_is_down_itself(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one", "two"):
        mirror.start("--os-cloud", "prod")
        until(lambda: itself(register), 30)
        mirror.kill()

        until(lambda: itself(register)["verdict"]["state"] == "down", 30)
        until(lambda: mirrored(register)[ONE]["verdict"]["evidence"]["report_age"] > 8, 30, 0.3)
        assert reason(register, ONE) == "reporting"
        # What happened meanwhile is found by the next one.
        host = cloud.request("GET", "/v1/services?host=two")[2]["services"][0]["uuid"]
        cloud.request("DELETE", f"/v1/services/{host}")
        mirror.start("--os-cloud", "prod")
        until(lambda: TWO not in mirrored(register), 30)
        assert reason(register, ONE) == "reporting"
        joins = register.request("GET", "/v1/events?kind=service-join&limit=100")[2]["events"]
        assert len([event for event in joins if event["host"] == "one"]) == 1


@pytest.mark.long
def test_a_heartbeat_that_stands_still_is_silent_here(plane: Planes, mirroring: Mirroring) -> None:
    # The cloud waits for ten minutes before it says down; the register does not.
    cloud, register = plane("cloud", service_down_time=600, servicegroup_driver="db"), plane("r")
    mirror = mirroring(register, {"prod": at(cloud)})
    with joined(cloud, "one") as [one]:
        mirror.start("--os-cloud", "prod")
        before = mirrored(register)[ONE]["report_count"]
        until(lambda: mirrored(register)[ONE]["report_count"] > before, 30)
        one._alarm.set()  # its heart stops, and nothing says so
        until(lambda: reason(register, ONE) == "silent", 60)
        there = cloud.request("GET", "/v2.1/os-services?host=one")[2]["services"]
        assert [service["state"] for service in there] == ["up"]


def test_edits_here_say_where_to_edit(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one"):
        mirror.start("--os-cloud", "prod")
        uuid = mirrored(register)[ONE]["uuid"]
        said = "openstack --os-cloud prod compute service set"
        path = f"/v1/services/{uuid}"
        nova = {"OpenStack-API-Version": "compute 2.53"}
        for method, at_, body in (
            ("PATCH", path, {"disabled": True}),
            ("PATCH", path, {"forced_down": True}),
            ("DELETE", path, None),
            ("PUT", f"/v2.1/os-services/{uuid}", {"status": "disabled"}),
            ("DELETE", f"/v2.1/os-services/{uuid}", None),
        ):
            status, _, answer = register.request(method, at_, body, **nova)
            assert status == 409, (method, at_, answer)
            assert said in msgspec.json.encode(answer).decode()
        prune = {"reasons": ["left", "exited", "silent", "forced_down"], "host": "one"}
        assert register.request("POST", "/v1/prune", prune)[2]["services"] == []
        status, _, answer = register.request(
            "POST", "/v1/services", {"host": "one", "binary": "nova-compute"}
        )
        assert status == 409, answer
        assert (
            "is mirrored from prod/nova; end the mirror" in answer["conflictingRequest"]["message"]
        )
        assert reason(register, ONE) == "reporting"


def test_what_somebody_else_says_of_it_is_put_right(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one"):
        mirror.start("--os-cloud", "prod")
        service = mirrored(register)[ONE]
        leave = {"uuid": service["uuid"], "incarnation": service["incarnation"]}
        register.request("POST", "/v1/leave", {"leaves": [leave]})
        until(lambda: reason(register, ONE) == "reporting", 30)
        kinds = [e["kind"] for e in register.request("GET", "/v1/events?limit=100")[2]["events"]]
        assert "service-leave" in kinds


def test_it_ends_when_it_is_told_to(
    world: tuple[ControlPlane, ControlPlane, MirrorProcess],
) -> None:
    cloud, register, mirror = world
    with joined(cloud, "one"):
        mirror.start("--os-cloud", "prod")
        until(lambda: itself(register), 30)
        mirror.process.terminate()
        assert mirror.process.wait(20) == 0, mirror.log()
        assert itself(register)["verdict"]["reason"] == "left"
        assert mirror.run("--os-cloud", "prod", "--forget").returncode == 0
        assert mirrored(register) == {}
        # A service of the same name may join from now on.
        status, _, answer = register.request(
            "POST", "/v1/services", {"host": "one", "binary": "nova-compute"}
        )
        assert status == 200, answer
