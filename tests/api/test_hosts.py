"""os-hosts: up to 2.42."""

from __future__ import annotations

import pytest

from servicegroup.api.call import Role
from servicegroup.group import ServiceGroup

from .conftest import as_role
from .nova import Nova
from .responses import HOST, HOSTS, check


@pytest.fixture(autouse=True)
def fleet(group: ServiceGroup) -> None:
    """Begin with two computes, one of them disabled, and a scheduler."""
    group.join("host1", "nova-compute")
    group.join("host1", "nova-osapi_compute")
    group.join("host2", "nova-scheduler")
    disabled = group.join("host3", "nova-compute")
    group.update(disabled.uuid, disabled=True)


COMPUTE = {"host_name": "host1", "service": "compute", "zone": "nova"}
SCHEDULER = {"host_name": "host2", "service": "scheduler", "zone": "internal"}


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ("", [COMPUTE, SCHEDULER]),
        ("?zone=", [COMPUTE, SCHEDULER]),
        ("?x=1", [COMPUTE, SCHEDULER]),
        ("?zone=nova", [COMPUTE]),
        ("?zone=nova&zone=internal", [SCHEDULER]),
        ("?zone=nosuch", []),
    ],
)
def test_list(nova: Nova, query: str, hosts: list[dict[str, str]]) -> None:
    for options in ({"version": "2.1"}, {"version": "2.42"}, {"root": "/v2"}):
        reply = nova.get(f"/os-hosts{query}", **options)
        assert reply.status == 200
        check(reply.json, HOSTS)
        assert reply.json == {"hosts": hosts}


def test_show(nova: Nova) -> None:
    for host in ("host1", "host3"):
        reply = nova.get(f"/os-hosts/{host}")
        assert reply.status == 200
        check(reply.json, HOST)
        resources = [entry["resource"] for entry in reply.json["host"]]
        assert [r["project"] for r in resources] == ["(total)", "(used_now)", "(used_max)"]
        assert {r["host"] for r in resources} == {host}


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nosuch", "Host 'nosuch' is not mapped to any cell"),
        ("%F0%9F%92%A5", "Host '💥' is not mapped to any cell"),
        ("%FF", "Host '\ufffd' is not mapped to any cell"),
        ("host2", "Host 'host2' is not mapped to any cell"),
    ],
)
def test_show_unknown(nova: Nova, host: str, message: str) -> None:
    assert nova.get(f"/os-hosts/{host}").fault == (404, "itemNotFound", message)


def test_nul_never_reaches_the_database(nova: Nova) -> None:
    assert nova.get("/os-hosts/%00").is_unrouted
    assert nova.get("/os-hosts?zone=%00").fault[0] == 400


def test_gone_from_2_43(nova: Nova) -> None:
    for path in ("/os-hosts", "/os-hosts/host1"):
        reply = nova.get(path, version="2.43")
        assert reply.fault == (404, "itemNotFound", "The resource could not be found.")
        assert reply.header("OpenStack-API-Version") == ["compute 2.43"]


def test_administrators_only(group: ServiceGroup) -> None:
    reader = as_role(group, Role.READER)
    for path, rule in (("/os-hosts", "list"), ("/os-hosts/host1", "show")):
        message = f"Policy doesn't allow os_compute_api:os-hosts:{rule} to be performed."
        assert reader.get(path).fault == (403, "forbidden", message)
