"""Our own API: its document, who may call what, and what it says of a service."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from openapi_spec_validator import validate

from servicegroup.api.v1 import routes as v1
from servicegroup.liveness import judge
from servicegroup.model import Service
from support.control_plane import ControlPlane

TOKENS = {"admin": "a-secret", "reader": "r-secret", "reporter": "p-secret"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that asks for tokens."""
    directory = tmp_path_factory.mktemp("plane")
    tokens = "".join(
        f"token = {role}:{hashlib.sha256(text.encode()).hexdigest()}\n"
        for role, text in TOKENS.items()
    )
    plane = ControlPlane(
        f"sqlite:///{directory / 'r.sqlite'}", directory, api=f"auth_strategy = token\n{tokens}"
    )
    plane.start()
    yield plane
    plane.stop()


def ask(plane: ControlPlane, role: str, method: str, path: str, body: Any = None) -> Any:
    status, _, content = plane.request(method, path, body, X_Auth_Token=TOKENS[role])
    assert status < 400, content
    return content


def test_the_document_is_valid_and_complete(plane: ControlPlane) -> None:
    document = ask(plane, "reader", "GET", "/v1/openapi.json")
    validate(document)
    assert v1.SESSION.path not in document["paths"], "OpenAPI has no words for a WebSocket"
    for route in (one for one in (*v1.WAITING, *v1.ROUTES) if one is not v1.SESSION):
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"]
        assert str(route.status) in operation["responses"]
    identifiers = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize(("path", "kind"), [("/v1/reports", "reports"), ("/v1/leave", "leaves")])
def test_a_request_takes_as_many_as_the_document_says(
    plane: ControlPlane, path: str, kind: str
) -> None:
    """F-60: a batch is everybody's, and one request is not to fill several."""
    document = ask(plane, "reader", "GET", "/v1/openapi.json")
    schema = document["components"]["schemas"][kind.capitalize()]["properties"][kind]
    assert schema["maxItems"] == 5000
    lives = [{"uuid": str(uuid4()), "incarnation": 1} for _ in range(5000)]
    assert len(ask(plane, "reporter", "POST", path, {kind: lives})["unknown"]) == 5000
    token = {"X_Auth_Token": TOKENS["reporter"]}
    status, _, content = plane.request("POST", path, {kind: [*lives, lives[0]]}, **token)
    assert (status, "5001 entries" in content["badRequest"]["message"]) == (400, True)


PATHS = {
    "/v1/services/{uuid}": "/v1/services/x",
    "/v1/services/{uuid}/history": "/v1/services/x/history",
    "/v1/events/stream": f"/v1/events/stream?after={2**62}",  # refused, for else it has no end
}
ROUTES = [
    (route.method, PATHS.get(route.path, route.path), route.roles)
    for route in (*v1.WAITING, *v1.ROUTES)
]


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_each_role_may_do_what_the_table_says(
    plane: ControlPlane, method: str, path: str, roles: frozenset[str]
) -> None:
    for role, token in TOKENS.items():
        status, _, content = plane.request(method, path, {}, X_Auth_Token=token)
        assert (status == 403) == (role not in roles), (role, content)
        if status == 403:
            assert "needs the role" in content["forbidden"]["message"]


@pytest.mark.parametrize("token", [None, "", "wrong", "A-SECRET", "a-secretx"])
def test_nobody_without_a_token(plane: ControlPlane, token: str | None) -> None:
    headers = {} if token is None else {"X_Auth_Token": token}
    for path in ("/v1/services", "/v2.1/os-services"):
        status, answer, content = plane.request("GET", path, **headers)
        assert status == 401
        assert content["error"]["title"] == "Unauthorized"
        assert "WWW-Authenticate" in answer
    assert plane.request("GET", "/healthz")[0] == 200


def test_a_service_comes_with_its_verdict_evidence_and_explanation(plane: ControlPlane) -> None:
    life = ask(plane, "reporter", "POST", "/v1/services", {"host": "h1", "binary": "nova-compute"})
    report = {"reports": [{"uuid": life["uuid"], "incarnation": life["incarnation"]}]}
    answer = ask(plane, "reporter", "POST", "/v1/reports", report)
    assert answer == {
        "deleted": [], "superseded": [], "left": [], "unknown": [], "invalid": [],
        "terms": life["fingerprint"],
    }  # fmt: skip
    shown = ask(plane, "reader", "GET", f"/v1/services/{life['uuid']}")
    service = msgspec.convert(shown["service"], Service, strict=False)
    assert service.is_up
    assert judge(service.judged.evidence) == service.judged, "the evidence recomputes the verdict"
    assert shown["explanation"]["sentence"] == service.judged.sentence
    assert "60 s" in shown["explanation"]["facts"][0]["value"]
    assert "without a report" in shown["explanation"]["otherwise"]


def test_edits_and_their_effects(plane: ControlPlane) -> None:
    """Any binary may be edited here, unlike under os-services."""
    life = ask(plane, "reporter", "POST", "/v1/services", {"host": "h2", "binary": "own-worker"})
    path = f"/v1/services/{life['uuid']}"
    edited = ask(plane, "admin", "PATCH", path, {"disabled": True, "disabled_reason": "disk"})
    assert (edited["service"]["disabled"], edited["service"]["disabled_reason"]) == (True, "disk")
    forced = ask(plane, "admin", "PATCH", path, {"forced_down": True})
    assert forced["service"]["verdict"]["reason"] == "forced_down"
    assert forced["service"]["disabled_reason"] == "disk"
    groups = ask(plane, "reader", "GET", "/v1/groups")["groups"]
    assert {"group": "own-worker", "up": 0, "down": 1, "disabled": 1} in groups
    ask(plane, "admin", "DELETE", path)
    assert plane.request("GET", path, X_Auth_Token=TOKENS["admin"])[0] == 404
    report = {"reports": [{"uuid": life["uuid"], "incarnation": 1}]}
    assert ask(plane, "reporter", "POST", "/v1/reports", report)["deleted"] == [life["uuid"]]


def test_pages_and_filters(plane: ControlPlane) -> None:
    for n in range(5):
        ask(plane, "reporter", "POST", "/v1/services", {"host": f"p{n}", "binary": "pages"})
    seen: list[str] = []
    marker = ""
    while True:
        page = ask(plane, "reader", "GET", f"/v1/services?binary=pages&limit=2{marker}")
        seen += [service["host"] for service in page["services"]]
        if page["next"] is None:
            break
        marker = f"&marker={page['next']}"
    assert seen == ["p0", "p1", "p2", "p3", "p4"]
    one = ask(plane, "reader", "GET", "/v1/services?host=p3&binary=pages&state=up")
    assert [service["host"] for service in one["services"]] == ["p3"]
    assert ask(plane, "reader", "GET", "/v1/services?binary=pages&state=down")["services"] == []


def test_versions_have_range_and_histogram(plane: ControlPlane) -> None:
    for n, version in enumerate((64, 66, 66)):
        body = {"host": f"v{n}", "binary": "versioned", "version": version}
        ask(plane, "reporter", "POST", "/v1/services", body)
    (found,) = ask(plane, "reader", "GET", "/v1/versions?binary=versioned")["versions"]
    assert found == {
        "binary": "versioned", "minimum": 64, "maximum": 66, "histogram": {"64": 1, "66": 2}
    }  # fmt: skip


def test_a_connection_stays_open_longer_than_a_report_interval(
    control_plane: ControlPlane,
) -> None:
    """An idle agent's connection must not be closed between two of its reports."""
    connection = http.client.HTTPConnection("127.0.0.1", control_plane.port, timeout=10)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    before = connection.sock
    time.sleep(7)  # idleness is the subject: the server's own default closes after 5 seconds
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert connection.sock is before
    connection.close()
