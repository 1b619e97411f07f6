"""GET /os-services: what is listed, as which fields, by which filters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import update

from servicegroup.api.call import Role
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.store.database import write
from servicegroup.store.tables import services

from .conftest import as_role
from .nova import Nova
from .responses import SERVICE_2_1, SERVICE_2_11, SERVICE_2_53, check, exactly, listed

EVERY_VIEW = [
    ("2.1", SERVICE_2_1),
    ("2.10", SERVICE_2_1),
    ("2.11", SERVICE_2_11),
    ("2.52", SERVICE_2_11),
    ("2.53", SERVICE_2_53),
    ("2.68", SERVICE_2_53),
    ("2.69", SERVICE_2_53),
    ("2.74", SERVICE_2_53),
    ("2.75", SERVICE_2_53),
    ("latest", SERVICE_2_53),
]


@pytest.fixture
def fleet(group: ServiceGroup) -> ServiceGroup:
    """Give a register with a few services."""
    for host in ("host1", "host2"):
        group.join(host, "nova-compute")
        group.join(host, "nova-scheduler")
    group.join("host1", "nova-osapi_compute")
    group.join("host1", "nova-metadata")
    group.join("host3", "cinder-volume", zone="far")
    return group


@pytest.mark.parametrize(("version", "schema"), EVERY_VIEW)
def test_fields(nova: Nova, fleet: ServiceGroup, version: str, schema: Mapping[str, Any]) -> None:
    reply = nova.get("/os-services", version=version)
    assert (reply.status, reply.media_type) == (200, "application/json")
    check(reply.json, exactly(services=listed(dict(schema))))
    assert len(reply.json["services"]) == 5


def test_one_service_in_full(nova: Nova, group: ServiceGroup) -> None:
    joined = group.join("host1", "nova-compute")
    expected = {
        "binary": "nova-compute",
        "host": "host1",
        "zone": "nova",
        "status": "enabled",
        "state": "up",
        "updated_at": None,
        "disabled_reason": None,
    }
    assert nova.services(version="2.1") == [expected | {"id": 1}]
    assert nova.services(version="2.11") == [expected | {"id": 1, "forced_down": False}]
    both = expected | {"id": joined.uuid, "forced_down": False}
    assert nova.services(version="2.53") == [both]

    group.update(joined.uuid, disabled=True, disabled_reason="bad disk 💥", forced_down=True)
    [changed] = nova.services()
    assert changed | {"updated_at": None} == both | {
        "status": "disabled",
        "state": "down",
        "disabled_reason": "bad disk 💥",
        "forced_down": True,
    }


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678901), "2026-01-02T03:04:05.678901"),
        (datetime(2026, 1, 2, 3, 4, 5, 678000), "2026-01-02T03:04:05.678000"),
        (datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000"),
        (None, None),
    ],
)
def test_stamps_have_six_digits(
    nova: Nova, group: ServiceGroup, stamp: datetime | None, shown: str | None
) -> None:
    group.join("host1", "nova-compute")
    change = update(services).values(updated_at=stamp)
    write(group._store.engine, lambda connection: connection.execute(change))
    assert nova.service("host1")["updated_at"] == shown


def test_updated_at_is_shown_and_never_judged_by(nova: Nova, group: ServiceGroup) -> None:
    joined = group.join("host1", "nova-compute")
    group.report([Report(joined.uuid, joined.incarnation)])
    long_ago = datetime(2020, 1, 1)
    silent = update(services).values(last_seen_up=long_ago, created_at=long_ago)
    write(group._store.engine, lambda connection: connection.execute(silent))
    group.update(joined.uuid, disabled=True)
    shown = nova.service("host1")
    assert shown["state"] == "down"
    assert datetime.fromisoformat(shown["updated_at"]).year >= 2026


def test_services_come_in_the_order_of_their_ids(nova: Nova, group: ServiceGroup) -> None:
    for host in ("c", "a", "b"):
        group.join(host, "nova-compute")
    assert [s["host"] for s in nova.services()] == ["c", "a", "b"]


ALL = ["host1 compute", "host1 scheduler", "host2 compute", "host2 scheduler", "host3 volume"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ALL),
        ("?", ALL),
        ("?host=host1", ["host1 compute", "host1 scheduler"]),
        ("?binary=nova-compute", ["host1 compute", "host2 compute"]),
        ("?host=host2&binary=nova-compute", ["host2 compute"]),
        ("?host=host3&binary=nova-compute", []),
        ("?host=nosuch", []),
        ("?host=HOST1", []),
        ("?host=host", []),
        ("?host=host1%20", []),
        ("?host=", ALL),
        ("?host", ALL),
        ("?host=&binary=", ALL),
        ("?host=host1&host=host3", ["host3 volume"]),
        ("?host=host1&host=", ALL),
        ("?binary=nova-osapi_compute", []),
        ("?binary=nova-metadata", []),
        ("?host=%F0%9F%92%A5", []),
        ("?host=" + "x" * 5000, []),
        ("?host=%27%20OR%201=1--", []),
    ],
)
def test_filters(nova: Nova, fleet: ServiceGroup, query: str, found: list[str]) -> None:
    for version in ("2.1", "2.53", "2.74", "2.75", "latest"):
        shown = nova.services(query, version)
        assert [f"{s['host']} {s['binary'].partition('-')[2]}" for s in shown] == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?xxx=1", "Additional properties are not allowed ('xxx' was unexpected)"),
        ("?limit=1", "Additional properties are not allowed ('limit' was unexpected)"),
        ("?host=host1&Host=x", "Additional properties are not allowed ('Host' was unexpected)"),
        ("?a=1&b=2", "Additional properties are not allowed ('a', 'b' were unexpected)"),
    ],
)
def test_unknown_parameters(nova: Nova, fleet: ServiceGroup, query: str, message: str) -> None:
    for version in ("2.75", "latest"):
        refused = nova.get(f"/os-services{query}", version=version)
        assert refused.fault == (400, "badRequest", message)
    for version in ("2.1", "2.74"):
        assert nova.get(f"/os-services{query}", version=version).status == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?host=%00", "Invalid input for query parameters host. Value: \0. "),
        ("?host=a%00b", "Invalid input for query parameters host. Value: a\0b. "),
        ("?binary=%00", "Invalid input for query parameters binary. Value: \0. "),
        ("?host=%FF", "Query string is not UTF-8 encoded"),
        ("?%FF=host1", "Query string is not UTF-8 encoded"),
        ("?host=%ED%A0%80", "Query string is not UTF-8 encoded"),
    ],
)
def test_bytes_that_are_no_text(nova: Nova, query: str, message: str) -> None:
    for version in ("2.1", "latest"):
        status, _, said = nova.get(f"/os-services{query}", version=version).fault
        assert status == 400
        assert said.startswith(message)


@pytest.mark.parametrize("role", [Role.READER, Role.REPORTER])
def test_administrators_only(group: ServiceGroup, role: Role) -> None:
    assert as_role(group, role).get("/os-services").fault == (
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-services:list to be performed.",
    )
    assert as_role(group, Role.ADMIN).get("/os-services").status == 200
