"""`servicegroup nova` on a Nova that runs: the list that scripts parse, and what doctor finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from servers.cloud import Cloud
from servers.openstack import output
from servers.process import ServerError


def doctored(cloud: Cloud) -> list[str]:
    """Return the results of `nova doctor`, each with the name of its check."""
    names = ("-c", "result", "-c", "check", "-f", "value")
    return cloud.api.servicegroup("doctor", *names).splitlines()


def faces(cloud: Cloud) -> dict[str, str]:
    """Return what `nova list` says of each host's compute, read as scripts read nova-manage's."""
    listed = cloud.api.servicegroup("list", "-f", "nova-manage").splitlines()
    rows = [line.split() for line in listed[1:]]
    return {row[1]: row[4] for row in rows if row[0] == "nova-compute"}


def force(cloud: Cloud, option: str) -> None:
    """Force two's compute down, or up again, as an operator does."""
    command = (Path(sys.executable).parent / "openstack", "--os-auth-type", "none")
    where = ("--os-endpoint", cloud.api.url, "--os-compute-api-version", "2.69")
    output(*command, *where, "compute", "service", "set", option, "two", "nova-compute")


def test_a_force_down_that_was_left_behind_is_found(zookeeper_cloud: Cloud) -> None:
    cloud = zookeeper_cloud
    assert {line.split()[0] for line in doctored(cloud)} == {"OK"}
    assert faces(cloud) == {"one": ":-)", "two": ":-)"}
    force(cloud, "--down")
    assert cloud.reason("two") == "forced_down"
    assert faces(cloud) == {"one": ":-)", "two": "XXX"}
    assert "WARN forced down" in doctored(cloud)
    force(cloud, "--up")
    assert {line.split()[0] for line in doctored(cloud)} == {"OK"}


def test_a_host_that_does_not_exist_is_not_explained(zookeeper_cloud: Cloud) -> None:
    with pytest.raises(ServerError, match=r"ended with 3: .*no record of a service on host three"):
        zookeeper_cloud.api.servicegroup("why", "three")
