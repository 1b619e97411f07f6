"""PUT /os-services/{uuid} from 2.53, and DELETE."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from servicegroup.api.call import Role
from servicegroup.group import ServiceGroup
from spellings import OF_UUIDS

from .conftest import as_role
from .nova import Nova
from .responses import SERVICE_2_53, check, exactly

VERSIONS = ("2.53", "2.69", "2.75", "latest")
NOBODY = "8fab5ad8-8a57-4d1d-a1ad-d9a4a5a1c6ae"

NO_UPDATES = "No updates were requested. Fields 'status' or 'forced_down' should be specified."
NO_REASON = "Specifying 'disabled_reason' with status 'enabled' is invalid."


@pytest.fixture
def uuid(group: ServiceGroup) -> str:
    """Give the UUID of a compute that is disabled for a reason."""
    joined = group.join("host1", "nova-compute")
    group.update(joined.uuid, disabled=True, disabled_reason="old")
    return joined.uuid


@pytest.mark.parametrize(
    ("body", "effect"),
    [
        ({"status": "enabled"}, ("enabled", None, False)),
        ({"status": "disabled"}, ("disabled", None, False)),
        ({"status": "disabled", "disabled_reason": "new"}, ("disabled", "new", False)),
        ({"forced_down": True}, ("disabled", "old", True)),
        ({"forced_down": "on"}, ("disabled", "old", True)),
        ({"forced_down": "no"}, ("disabled", "old", False)),
        ({"forced_down": True, "disabled_reason": "new"}, ("disabled", "old", True)),
        ({"forced_down": True, "status": "enabled"}, ("enabled", None, True)),
        (
            {"forced_down": True, "status": "disabled", "disabled_reason": "both"},
            ("disabled", "both", True),
        ),
    ],
)
def test_edits(
    nova: Nova, uuid: str, body: dict[str, Any], effect: tuple[str, str | None, bool]
) -> None:
    for version in VERSIONS:
        reply = nova.put(f"/os-services/{uuid}", body, version=version)
        assert reply.status == 200
        check(reply.json, exactly(service=SERVICE_2_53))
        shown = reply.json["service"]
        assert (shown["status"], shown["disabled_reason"], shown["forced_down"]) == effect
        assert shown["state"] == ("down" if shown["forced_down"] else "up")
        assert shown == nova.service("host1")


def test_the_same_edit_again_does_not_move_the_stamp(nova: Nova, uuid: str) -> None:
    first = nova.put(f"/os-services/{uuid}", {"status": "enabled"}, version="2.53")
    again = nova.put(f"/os-services/{uuid}", {"status": "enabled"}, version="2.53")
    assert (again.status, again.json) == (200, first.json)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, NO_UPDATES),
        ({"disabled_reason": "why"}, NO_UPDATES),
        ({"status": "enabled", "disabled_reason": "why"}, NO_REASON),
        ({"status": "enabled", "disabled_reason": "why", "forced_down": True}, NO_REASON),
        ({"host": "x"}, "Additional properties are not allowed ('host' was unexpected)"),
        ({"status": "up"}, "Invalid input for field/attribute status. Value: up. "),
        ({"status": ["enabled"]}, "Invalid input for field/attribute status. Value: ['enabled']. "),
        ({"forced_down": 0}, "Invalid input for field/attribute forced_down. Value: 0. "),
        (None, "None is not of type 'object'"),
    ],
)
def test_refused_edits(nova: Nova, uuid: str, body: Any, message: str) -> None:
    before = nova.service("host1")
    for version in VERSIONS:
        status, name, said = nova.put(f"/os-services/{uuid}", body, version=version).fault
        assert (status, name) == (400, "badRequest")
        assert said.startswith(message)
    assert nova.service("host1") == before


def test_only_computes_can_be_updated(nova: Nova, group: ServiceGroup) -> None:
    joined = group.join("host2", "nova-conductor")
    reply = nova.put(f"/os-services/{joined.uuid}", {"status": "disabled"}, version="2.53")
    assert reply.fault[2] == (
        "Updating a nova-conductor service is not supported."
        " Only nova-compute services can be updated."
    )


@pytest.mark.parametrize(
    "bad", ["1", "enable", "nosuch", NOBODY + "0", "💥", "..", "'--", "a" * 999]
)
def test_ids_that_are_no_uuid(nova: Nova, bad: str) -> None:
    for reply in (
        nova.put(f"/os-services/{bad}", {"status": "enabled"}, version="2.53"),
        nova.delete(f"/os-services/{bad}", version="2.53"),
    ):
        assert reply.fault == (400, "badRequest", f"Invalid uuid {bad}")


@pytest.mark.parametrize(
    "path", ["/%2e%2e/x", "/a%2Fb", "/%00", f"/{NOBODY}%00", "/", "//", "/a/b"]
)
def test_tricks_in_paths_are_unrouted(nova: Nova, path: str) -> None:
    for version in ("2.1", "2.53"):
        assert nova.put(f"/os-services{path}", {"status": "enabled"}, version=version).is_unrouted
        assert nova.delete(f"/os-services{path}", version=version).is_unrouted


def test_unknown_uuids(nova: Nova, uuid: str) -> None:
    put = nova.put(f"/os-services/{NOBODY}", {"status": "enabled"}, version="2.53")
    assert put.fault == (404, "itemNotFound", f"Service {NOBODY} could not be found.")
    delete = nova.delete(f"/os-services/{NOBODY}", version="2.53")
    assert delete.fault == (404, "itemNotFound", f"Service {NOBODY} not found.")


@pytest.mark.parametrize("spelling", OF_UUIDS)
def test_a_uuid_is_the_same_however_it_is_written(nova: Nova, uuid: str, spelling: str) -> None:
    """As with Nova on MySQL, but on every database alike (F-54)."""
    path = f"/os-services/{quote(OF_UUIDS[spelling](uuid), safe='')}"
    reply = nova.put(path, {"status": "enabled"}, version="2.53")
    assert (reply.status, reply.json["service"]["id"]) == (200, uuid)
    assert nova.delete(path, version="2.53").status == 204


@pytest.mark.parametrize("root", ["/v2.1", "/v2.1/abc-123"])
def test_delete_by_uuid(nova: Nova, uuid: str, root: str) -> None:
    reply = nova.delete(f"/os-services/{uuid}", version="2.53", root=root)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("OpenStack-API-Version") == ["compute 2.53"]
    assert nova.services() == []
    again = nova.delete(f"/os-services/{uuid}", version="2.53")
    assert again.fault == (404, "itemNotFound", f"Service {uuid} not found.")


@pytest.mark.parametrize("root", ["/v2.1", "/v2"])
def test_delete_by_number(nova: Nova, uuid: str, root: str) -> None:
    [service] = nova.services(version="2.1")
    reply = nova.delete(f"/os-services/{service['id']}", version="2.52", root=root)
    assert (reply.status, reply.body) == (204, b"")
    assert nova.services() == []


def test_any_binary_can_be_deleted(nova: Nova, group: ServiceGroup) -> None:
    joined = group.join("host2", "nova-conductor")
    assert nova.delete(f"/os-services/{joined.uuid}", version="2.53").status == 204


@pytest.mark.parametrize("bad", ["x", "1.0", "0x1", "💥", NOBODY, "9" * 5000, "1%20"[:1] + "-"])
def test_ids_that_are_no_integer(nova: Nova, uuid: str, bad: str) -> None:
    reply = nova.delete(f"/os-services/{bad}", version="2.52")
    message = "Invalid input received: id must be an integer"
    assert reply.fault == (400, "badRequest", message)


@pytest.mark.parametrize("unknown", ["0", "-1", "999", str(2**31), str(2**63), str(10**30)])
def test_unknown_numbers(nova: Nova, uuid: str, unknown: str) -> None:
    reply = nova.delete(f"/os-services/{unknown}", version="2.52")
    assert reply.fault == (404, "itemNotFound", f"Service {unknown} not found.")


def test_a_deleted_service_comes_back_as_another(
    nova: Nova, group: ServiceGroup, uuid: str
) -> None:
    nova.delete(f"/os-services/{uuid}", version="2.53")
    group.join("host1", "nova-compute")
    assert nova.service("host1")["id"] != uuid


def test_administrators_only(group: ServiceGroup, uuid: str) -> None:
    reader = as_role(group, Role.READER)
    body = {"status": "enabled"}
    for reply, rule in (
        (reader.put(f"/os-services/{uuid}", body, version="2.53"), "update"),
        (reader.delete(f"/os-services/{uuid}", version="2.53"), "delete"),
        (reader.delete("/os-services/1", version="2.1"), "delete"),
    ):
        message = f"Policy doesn't allow os_compute_api:os-services:{rule} to be performed."
        assert reply.fault == (403, "forbidden", message)


def test_unknown_query_parameters_do_not_matter(nova: Nova, uuid: str) -> None:
    path = f"/os-services/{uuid}?x={uuid4()}"
    assert nova.put(path, {"status": "enabled"}, version="latest").status == 200
    assert nova.delete(path, version="latest").status == 204
