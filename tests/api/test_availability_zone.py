"""os-availability-zone: zones, and who is up in them."""

from __future__ import annotations

import pytest

from servicegroup.api.call import Role
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report

from .conftest import as_role
from .nova import Nova
from .responses import ZONES, ZONES_DETAIL, check

LIST, DETAIL = "/os-availability-zone", "/os-availability-zone/detail"


@pytest.fixture(autouse=True)
def fleet(group: ServiceGroup) -> None:
    """Begin with two zones that are available, one that is not, and the internal one."""
    up = group.join("host1", "nova-compute")
    group.report([Report(up.uuid, up.incarnation)])
    down = group.join("host2", "nova-compute")
    group.update(down.uuid, forced_down=True)
    group.join("host1", "nova-scheduler")
    group.join("host1", "nova-metadata")
    for host, zone in (("host3", "far"), ("host4", "closed"), ("host5", "nova")):
        joined = group.join(host, "nova-compute", zone=zone)
        group.update(joined.uuid, disabled=zone != "far")


def test_list(nova: Nova) -> None:
    reply = nova.get(LIST)
    assert (reply.status, reply.media_type) == (200, "application/json")
    check(reply.json, ZONES)
    assert reply.json == {
        "availabilityZoneInfo": [
            {"zoneName": "far", "zoneState": {"available": True}, "hosts": None},
            {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None},
            {"zoneName": "closed", "zoneState": {"available": False}, "hosts": None},
        ]
    }


def test_detail(nova: Nova) -> None:
    content = nova.get(DETAIL).json
    check(content, ZONES_DETAIL)
    zones = {zone["zoneName"]: zone for zone in content["availabilityZoneInfo"]}
    assert list(zones) == ["far", "internal", "nova", "closed"]
    assert zones["closed"] == {
        "zoneName": "closed",
        "zoneState": {"available": False},
        "hosts": None,
    }
    assert set(zones["internal"]["hosts"]["host1"]) == {"nova-scheduler"}
    assert set(zones["nova"]["hosts"]) == {"host1", "host2"}
    up = zones["nova"]["hosts"]["host1"]["nova-compute"]
    down = zones["nova"]["hosts"]["host2"]["nova-compute"]
    assert (up["available"], up["active"]) == (True, True)
    assert up["updated_at"] is not None
    assert (down["available"], down["active"]) == (False, True)


def test_liveness_does_not_make_a_zone_available_or_not(nova: Nova) -> None:
    uuid = nova.service("host3")["id"]
    nova.put(f"/os-services/{uuid}", {"forced_down": True}, version="2.53")
    assert nova.get(LIST).json["availabilityZoneInfo"][0]["zoneState"] == {"available": True}


def test_anyone_may_list_and_administrators_see_details(group: ServiceGroup) -> None:
    reader = as_role(group, Role.READER)
    assert reader.get(LIST).status == 200
    rule = "os_compute_api:os-availability-zone:detail"
    message = f"Policy doesn't allow {rule} to be performed."
    assert reader.get(DETAIL).fault == (403, "forbidden", message)


@pytest.mark.parametrize("path", [LIST, DETAIL])
def test_unknown_parameters(nova: Nova, path: str) -> None:
    assert nova.get(f"{path}?x=1", version="2.101").status == 200
    message = "Additional properties are not allowed ('x' was unexpected)"
    assert nova.get(f"{path}?x=1", version="2.102").fault == (400, "badRequest", message)


def test_an_empty_register(nova: Nova) -> None:
    for service in nova.services():
        nova.delete(f"/os-services/{service['id']}", version="2.53")
    nova.group.delete(nova.group.find("host1", "nova-metadata").uuid)
    for path in (LIST, DETAIL):
        assert nova.get(path).json == {"availabilityZoneInfo": []}
