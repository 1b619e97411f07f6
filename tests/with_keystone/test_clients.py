"""OpenStack's own clients find the control plane in Keystone's catalogue and do their work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from servicegroup.events import EventKind

from .conftest import PROJECT, QUIET, Cloud

pytestmark = QUIET


def openstack(cloud: Cloud, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``openstack compute service …`` as somebody does who logged in."""
    program = Path(sys.executable).parent / "openstack"
    return subprocess.run(
        [program, "compute", "service", *arguments],
        env=os.environ | cloud.environment(user),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_lists_edits_and_deletes(cloud: Cloud) -> None:
    alice = cloud.token("alice")
    new = {"host": "cmp1", "binary": "nova-compute"}
    uuid = cloud.ask(alice, "POST", "/v1/services", new)[1]["uuid"]

    def run(*arguments: str) -> str:
        done = openstack(cloud, "alice", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    found: list[dict[str, Any]] = msgspec.json.decode(run("list", "--host", "cmp1", "-f", "json"))
    assert [(one["ID"], one["State"]) for one in found] == [(uuid, "up")]
    run("set", "cmp1", "nova-compute", "--disable", "--disable-reason", "disk")
    run("delete", uuid)
    refused = openstack(cloud, "rita", "list")
    assert refused.returncode != 0
    assert "os_compute_api:os-services:list" in refused.stderr

    events = cloud.ask(alice, "GET", f"/v1/events?after=0&uuid={uuid}")[1]["events"]
    actors = {event["kind"]: event["actor"] for event in events if event["actor"]}
    user = cloud.connection("alice").current_user_id
    named = f"alice ({user}) in {PROJECT}"
    assert actors == {EventKind.DISABLE: named, EventKind.DELETE: named}


def test_openstacksdk_through_the_catalogue(cloud: Cloud) -> None:
    new = {"host": "cmp2", "binary": "nova-compute"}
    uuid = cloud.ask(cloud.token("agents"), "POST", "/v1/services", new)[1]["uuid"]
    compute = cloud.connection("alice").compute
    [service] = compute.services(host="cmp2")
    assert (service.id, service.state) == (uuid, "up")
    assert compute.update_service_forced_down(service, forced=True).is_forced_down
    compute.delete_service(service)
    assert list(compute.services(host="cmp2")) == []
