"""``openstack compute service``: the command operators type, as a process, over HTTP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.control_plane import ControlPlane

from .conftest import ADMIN, READER, join

pytestmark = pytest.mark.long

COLUMNS = ["ID", "Binary", "Host", "Zone", "Status", "State", "Updated At"]


class Command:
    """``openstack`` with one way to authenticate and one microversion."""

    def __init__(
        self, plane: ControlPlane, token: str = "", version: str = "", url: str = ""
    ) -> None:
        how = ["--os-auth-type", "admin_token" if token else "none"]
        self._arguments = [*how, "--os-endpoint", f"{url or plane.url}/v2.1"]
        if token:
            self._arguments += ["--os-token", token]
        if version:
            self._arguments += ["--os-compute-api-version", version]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``openstack compute service …`` to its end."""
        program = Path(sys.executable).parent / "openstack"
        return subprocess.run(
            [program, *self._arguments, "compute", "service", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, *arguments: str) -> None:
        """Run a command that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr

    def list(self, *arguments: str) -> list[dict[str, Any]]:
        """List computes; returns rows by column."""
        done = self.run("list", "--service", "nova-compute", "-f", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=list[dict[str, Any]])


def test_a_service_at_the_default_microversion(trusting: ControlPlane) -> None:
    uuid = join(trusting, "host1")
    openstack = Command(trusting)
    [row] = openstack.list("--host", "host1")
    assert list(row) == COLUMNS
    assert (row["ID"], row["Zone"], row["Status"], row["State"]) == (uuid, "nova", "enabled", "up")

    openstack("set", "host1", "nova-compute", "--disable", "--disable-reason", "bad disk", "--down")
    [row] = openstack.list("--host", "host1", "--long")
    assert list(row) == [*COLUMNS, "Disabled Reason", "Forced Down"]
    assert (row["Status"], row["State"]) == ("disabled", "down")
    assert (row["Disabled Reason"], row["Forced Down"]) == ("bad disk", True)

    openstack("set", "host1", "nova-compute", "--enable", "--up")
    trusting.request("POST", "/v1/reports", {"reports": [{"uuid": uuid, "incarnation": 1}]})
    service = trusting.services()["host1", "nova-compute"]
    assert (service["disabled"], service["disabled_reason"]) == (False, None)
    assert (service["forced_down"], service["verdict"]["state"]) == (False, "up")

    openstack("delete", uuid)
    assert ("host1", "nova-compute") not in trusting.services()


def test_a_service_below_a_path(trusting: ControlPlane, below_a_path: str) -> None:
    """A proxy takes the path off, and discovery stays below it (F-10)."""
    uuid = join(trusting, "below")
    openstack = Command(trusting, url=below_a_path)
    [row] = openstack.list("--host", "below")
    assert (row["ID"], row["State"]) == (uuid, "up")
    openstack("delete", uuid)
    assert ("below", "nova-compute") not in trusting.services()


def test_a_service_at_the_oldest_microversion(trusting: ControlPlane) -> None:
    join(trusting, "host2")
    openstack = Command(trusting, version="2.1")
    openstack("set", "host2", "nova-compute", "--disable", "--disable-reason", "bad disk")
    [row] = openstack.list("--host", "host2", "--long")
    assert list(row) == [*COLUMNS, "Disabled Reason"]
    assert (row["Status"], row["Disabled Reason"]) == ("disabled", "bad disk")
    openstack("delete", str(row["ID"]))
    assert ("host2", "nova-compute") not in trusting.services()


def test_a_token_is_asked_for(guarded: ControlPlane) -> None:
    uuid = join(guarded, "host1", X_Auth_Token=ADMIN)
    openstack = Command(guarded, token=ADMIN, version="2.96")
    openstack("set", "host1", "nova-compute", "--disable")
    assert [(row["ID"], row["Status"]) for row in openstack.list()] == [(uuid, "disabled")]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "The request you have made requires authentication"),
        ("wrong", "The request you have made requires authentication"),
        (READER, "Policy doesn't allow os_compute_api:os-services:list to be performed"),
    ],
)
def test_whoever_may_not_is_told_so(guarded: ControlPlane, token: str, said: str) -> None:
    done = Command(guarded, token=token).run("list")
    assert done.returncode == 1
    assert said in done.stderr
