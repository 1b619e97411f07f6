"""Who did it: every edit by an operator is told with its actor, through whichever interface."""

from __future__ import annotations

import msgspec
import pytest

from servicegroup.api.call import Call, Caller, Role
from servicegroup.api.v1 import routes as v1
from servicegroup.events import EventFilter
from servicegroup.group import ServiceGroup

from .nova import Nova

FENCER = Caller("fencer", frozenset({Role.ADMIN}))
EDITS = [
    ({"disabled": True, "disabled_reason": "why"}, "service-disable", "why"),
    ({"disabled": False}, "service-enable", None),
    ({"forced_down": True}, "service-force-down", None),
    ({"forced_down": False}, "service-unforce", None),
]


@pytest.fixture
def uuid(group: ServiceGroup) -> str:
    """Give a compute."""
    return group.join("cmp1", "nova-compute").uuid


def told(group: ServiceGroup) -> list[tuple[str, str | None, str | None]]:
    """Return kind, actor and detail of what happened after the compute had joined."""
    return [
        (event.kind.value, event.actor, event.detail)
        for event in group.events(EventFilter(after=1), 100).events
    ]


ALL = [(kind, "fencer", detail) for _, kind, detail in EDITS]
GONE = ("service-delete", "fencer", None)


def test_through_v1(group: ServiceGroup, uuid: str) -> None:
    def call(method: str, body: bytes = b"") -> Call:
        path = f"/v1/services/{uuid}"
        return Call(group, FENCER, method, path, params={"uuid": uuid}, body=body)

    for changes, _, _ in EDITS:
        v1.edit_service(call("PATCH", msgspec.json.encode(changes)))
    v1.delete_service(call("DELETE"))
    assert told(group) == [*ALL, GONE]


def test_through_nova_by_uuid(group: ServiceGroup, uuid: str) -> None:
    nova = Nova(group, FENCER)
    for body in (
        {"status": "disabled", "disabled_reason": "why"},
        {"status": "enabled"},
        {"forced_down": True},
        {"forced_down": False},
    ):
        assert nova.put(f"/os-services/{uuid}", body, version="2.53").status == 200
    assert nova.delete(f"/os-services/{uuid}", version="2.53").status == 204
    assert told(group) == [*ALL, GONE]


def test_through_nova_by_host_and_binary(group: ServiceGroup, uuid: str) -> None:
    nova = Nova(group, FENCER)
    compute = {"host": "cmp1", "binary": "nova-compute"}
    for action, more in (
        ("disable-log-reason", {"disabled_reason": "why"}),
        ("enable", {}),
        ("force-down", {"forced_down": True}),
        ("force-down", {"forced_down": False}),
    ):
        reply = nova.put(f"/os-services/{action}", {**compute, **more}, version="2.11")
        assert reply.status == 200
    assert nova.delete("/os-services/1").status == 204
    assert told(group) == [*ALL, GONE]


def test_an_edit_that_changes_nothing_did_not_happen(group: ServiceGroup, uuid: str) -> None:
    for _ in range(2):
        group.update(uuid, by="fencer", disabled=True)
        group.update(uuid, by="fencer", forced_down=True)
    assert [kind for kind, *_ in told(group)] == ["service-disable", "service-force-down"]
    group.update(uuid, by="fencer", disabled=True, disabled_reason="another")
    assert told(group)[-1] == ("service-disable", "fencer", "another")
