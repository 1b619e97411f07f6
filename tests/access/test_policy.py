"""Every route asks the policy, with a rule that exists; what is open to all is listed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from api.nova import Nova
from servicegroup.api.access.keystone import rules
from servicegroup.api.access.policy import RULES
from servicegroup.api.access.strategies import TrustEveryone
from servicegroup.api.app import ROOTS, create_app
from servicegroup.api.call import Caller, Role
from servicegroup.api.compute import routes as compute
from servicegroup.api.v1 import routes as v1
from servicegroup.controlplane.intake import NOBODY, Intake
from servicegroup.controlplane.plane import Plane
from servicegroup.driver import load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits
from servicegroup.store.database import connect
from servicegroup.store.store import Store

from .conftest import Guarded

OPEN = {
    *("/v1/openapi.json", "/metrics", "/healthz", "/readyz"),
    *("/ui", "/ui/", "/ui/{name}"),
    # Which say what there is, as the open document does.
    *(path for root in ROOTS for path in (f"/{root}", f"/{root}/{{rest:path}}")),
    *("/v2.1/{rest:path}", "/{rest:path}"),  # Nova's, and asked by its own table
}
"""What a stranger may ask for; none of it shows a service."""

NODE = {"host": "node1", "binary": "nova-compute"}
UUID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ServiceGroup]:
    engine = connect(f"sqlite:///{tmp_path / 'none.sqlite'}")
    yield ServiceGroup(Store(engine), load("db"), Limits())
    engine.dispose()


def test_a_stranger_gets_nowhere_but_where_all_may(guarded: Guarded) -> None:
    group = ServiceGroup(Store(guarded.engine), load("db"), Limits())
    intake = Intake(lambda reports, marking, deadline: NOBODY, 1)
    routes = create_app(Plane(group, intake), TrustEveryone()).routes
    closed = [r for r in routes if isinstance(r, Route) and r.path not in OPEN]
    assert {route.path for route in closed} == {r.path for r in (*v1.WAITING, *v1.ROUTES)}
    for route in closed:
        for method in route.methods or ():
            path = route.path.replace("{uuid}", UUID)
            assert guarded.plane.request(method, path, {})[0] == 401, (method, path)


@pytest.mark.parametrize("route", compute.ROUTES, ids=lambda r: f"{r.method} {r.path} {r.since}")
def test_novas_routes_refuse_whoever_has_no_role(group: ServiceGroup, route: compute.Route) -> None:
    """The database of this register has no table: whatever comes before the policy fails loudly."""
    path = route.path.replace("{id}", UUID if route.since >= (2, 53) else "enable")
    body = None
    if route.method == "PUT":
        body = {"status": "enabled"} if route.since >= (2, 53) else NODE
    version = ".".join(map(str, route.since))
    reply = Nova(group, Caller("nobody", frozenset())).ask(
        route.method, path, body, version=version
    )
    status, _, message = reply.fault
    assert status == 403
    assert message in {f"Policy doesn't allow {rule.name} to be performed." for rule in RULES}


def test_a_rule_is_said_once_and_known_to_oslo_policy() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in rules()] == names
    for rule in RULES:
        assert Role.ADMIN in rule.roles, "an administrator may do everything"
        assert Caller("x", rule.roles).may(rule)
        assert not Caller("x", frozenset()).may(rule)
