"""openstacksdk: the library other programs use, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openstack
import pytest
from openstack import exceptions

from support.control_plane import ControlPlane

from .conftest import ADMIN, READER, join

# It warns of its own doings: how it calls itself, and a library that is installed nowhere here.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@contextmanager
def connected(
    plane: ControlPlane, version: str = "", token: str = "", url: str = ""
) -> Iterator[Any]:
    """Give the compute proxy of a connection, to the control plane or to a proxy's ``url``."""
    auth = {"endpoint": f"{url or plane.url}/v2.1"}
    options: dict[str, Any] = {"compute_default_microversion": version} if version else {}
    if token:
        auth["token"] = token
    connection = openstack.connection.Connection(
        auth_type="admin_token" if token else "none", auth=auth, **options
    )
    try:
        yield connection.compute
    finally:
        connection.close()
        connection.session.session.close()


@pytest.mark.parametrize("version", ["", "2.53", "2.69", "2.96", "2.104"])
def test_a_service_by_uuid(trusting: ControlPlane, version: str) -> None:
    uuid = join(trusting, "host1")
    with connected(trusting, version) as compute:
        [service] = compute.services(host="host1", binary="nova-compute")
        assert (service.id, service.status, service.state) == (uuid, "enabled", "up")

        compute.disable_service(service, "host1", "nova-compute", "bad disk")
        compute.update_service_forced_down(service, "host1", "nova-compute", True)
        [service] = compute.services(host="host1")
        assert (service.status, service.disabled_reason) == ("disabled", "bad disk")
        assert (service.state, service.is_forced_down) == ("down", True)

        compute.update_service_forced_down(service, "host1", "nova-compute", False)
        compute.enable_service(service, "host1", "nova-compute")
        service = compute.find_service("nova-compute", host="host1")
        assert (service.status, service.disabled_reason) == ("enabled", None)
        assert (service.state, service.is_forced_down) == ("up", False)

        compute.delete_service(service, ignore_missing=False)
        assert list(compute.services(host="host1")) == []
        with pytest.raises(exceptions.NotFoundException, match=f"Service {uuid} not found."):
            compute.delete_service(uuid, ignore_missing=False)


@pytest.mark.parametrize("version", ["2.11", "2.52"])
def test_a_service_by_host_and_binary(trusting: ControlPlane, version: str) -> None:
    join(trusting, "host1")
    with connected(trusting, version) as compute:
        [service] = compute.services(host="host1")
        compute.disable_service(service, "host1", "nova-compute", "bad disk")
        compute.update_service_forced_down(service, "host1", "nova-compute", True)
        [service] = compute.services(host="host1")
        assert (service.status, service.disabled_reason) == ("disabled", "bad disk")
        assert (service.state, service.is_forced_down) == ("down", True)
        compute.enable_service(service, "host1", "nova-compute")
        compute.delete_service(service, ignore_missing=False)
        assert list(compute.services(host="host1")) == []


def test_discovery_leads_from_the_root_to_the_newest_microversion(trusting: ControlPlane) -> None:
    with connected(trusting) as compute:
        found = compute.get_endpoint_data()
        assert (found.min_microversion, found.max_microversion) == ((2, 1), (2, 104))
        assert found.url == f"{trusting.url}/v2.1/"


def test_discovery_and_requests_stay_below_a_path(
    trusting: ControlPlane, below_a_path: str
) -> None:
    """F-10."""
    uuid = join(trusting, "below")
    with connected(trusting, url=below_a_path) as compute:
        found = compute.get_endpoint_data()
        assert found.url == f"{below_a_path}/v2.1/"
        assert found.max_microversion == (2, 104)
        assert [service.id for service in compute.services(host="below")] == [uuid]
        compute.delete_service(uuid, ignore_missing=False)


def test_zones(trusting: ControlPlane) -> None:
    uuid = join(trusting, "host7")
    with connected(trusting, "2.104") as compute:
        assert [(zone.name, zone.state) for zone in compute.availability_zones()] == [
            ("nova", {"available": True})
        ]
        zones = {zone.name: zone.hosts for zone in compute.availability_zones(details=True)}
        assert zones["nova"]["host7"]["nova-compute"]["available"] is True
        assert any("servicegroup" in services for services in zones["internal"].values())
        compute.delete_service(uuid, ignore_missing=False)


def test_a_token(guarded: ControlPlane) -> None:
    uuid = join(guarded, "host1", X_Auth_Token=ADMIN)
    with connected(guarded, "2.96", ADMIN) as compute:
        assert uuid in [service.id for service in compute.services()]
    with (
        connected(guarded, "2.96", READER) as compute,
        pytest.raises(exceptions.ForbiddenException),
    ):
        list(compute.services())
    with connected(guarded, "2.96", "wrong") as compute, pytest.raises(exceptions.HttpException):
        list(compute.services())
