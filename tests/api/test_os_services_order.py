"""Which of several mistakes is answered: the order of checks decides between 400, 403 and 404."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from servicegroup.api.call import NOT_ASKED, Role
from servicegroup.api.faults import answer_for
from servicegroup.errors import ConfigError, Conflict, DriverUnavailable, StoreUnavailable
from servicegroup.group import ServiceGroup
from servicegroup.store.tables import metadata

from .conftest import as_role
from .nova import Nova, Reply

NOBODY = "8fab5ad8-8a57-4d1d-a1ad-d9a4a5a1c6ae"
PROJECT = "6f70656e737461636b20342065766572"
OTHER = "/v2.1/abc"
XML = "application/xml"
GARBAGE = b"{"
MISTAKEN = {"foo": 1}

OTHERS_PROJECT = (
    f"Malformed request URL: URL's project_id 'abc' doesn't match Context's project_id '{PROJECT}'"
)


def reader(group: ServiceGroup) -> Nova:
    return as_role(group, Role.READER, PROJECT)


def administrator(group: ServiceGroup) -> Nova:
    return as_role(group, Role.ADMIN, PROJECT)


def stranger(group: ServiceGroup) -> Nova:
    return Nova(group, NOT_ASKED)


def test_put_up_to_2_52(group: ServiceGroup) -> None:
    """Each request mends the mistake that was answered before; the others are still in it."""
    group.join("host2", "nova-scheduler")
    body = {"host": "nosuch", "binary": "nova-scheduler"}
    compute = {"host": "nosuch", "binary": "nova-compute"}
    path, bad, good = "/os-services/nosuch", "/os-services/disable-log-reason", "2.11"

    def told(nova: Nova, path: str, body: object, version: str, root: str, kind: str) -> str:
        reply = nova.put(path, body, version=version, root=root, content_type=kind)
        return f"{reply.status} {_message(reply)}"

    reason = {"disabled_reason": "why"}
    steps = [
        (told(stranger(group), path, GARBAGE, "x", OTHER, XML), "401"),
        (told(reader(group), path, GARBAGE, "x", OTHER, XML), "400 API Version String x"),
        (told(reader(group), path, GARBAGE, "2.999", OTHER, XML), "406 Version 2.999"),
        (told(reader(group), path, GARBAGE, good, OTHER, XML), "415 Unsupported Content-Type"),
        (told(reader(group), "/nosuch", GARBAGE, good, OTHER, ""), "404 unrouted"),
        (told(reader(group), path, GARBAGE, good, OTHER, ""), "400 Malformed request body"),
        (told(reader(group), path, MISTAKEN, good, OTHER, ""), f"400 {OTHERS_PROJECT}"),
        (told(reader(group), path, MISTAKEN, good, "/v2.1", ""), "400 'host' is a required"),
        (told(reader(group), path, body, good, "/v2.1", ""), "403 Policy doesn't allow"),
        (told(administrator(group), path, body, good, "/v2.1", ""), "404 Unknown action"),
        (told(administrator(group), bad, body, good, "/v2.1", ""), "400 Missing disabled reason"),
        (
            told(administrator(group), bad, body | reason, good, "/v2.1", ""),
            "400 Updating a nova-s",
        ),
        (told(administrator(group), bad, compute | reason, good, "/v2.1", ""), "404 Host 'nosuch'"),
        (
            told(
                administrator(group), bad, compute | reason | {"host": "host2"}, good, "/v2.1", ""
            ),
            "404 Could not find binary nova-compute on host host2.",
        ),
    ]
    for said, expected in steps:
        assert said.startswith(expected)


def test_put_from_2_53(group: ServiceGroup) -> None:
    scheduler = group.join("host1", "nova-scheduler").uuid
    compute = group.join("host1", "nova-compute").uuid

    def told(nova: Nova, service_id: str, body: object) -> str:
        reply = nova.put(f"/os-services/{service_id}", body, version="2.53")
        return f"{reply.status} {_message(reply)}"

    steps = [
        (told(reader(group), "bad", MISTAKEN), "400 Additional properties"),
        (told(reader(group), "bad", {}), "400 Invalid uuid bad"),
        (told(reader(group), NOBODY, {}), "403 Policy doesn't allow"),
        (told(administrator(group), NOBODY, {}), f"404 Service {NOBODY} could not be found."),
        (told(administrator(group), scheduler, {}), "400 Updating a nova-scheduler service"),
        (told(administrator(group), compute, {}), "400 No updates were requested."),
    ]
    for said, expected in steps:
        assert said.startswith(expected)


@pytest.mark.parametrize(("version", "wrong"), [("2.52", "400 Invalid input"), ("2.53", "400 Inv")])
def test_delete(group: ServiceGroup, version: str, wrong: str) -> None:
    def told(nova: Nova, service_id: str) -> str:
        reply = nova.delete(f"/os-services/{service_id}", version=version)
        return f"{reply.status} {_message(reply)}"

    unknown = "77" if version == "2.52" else NOBODY
    assert told(reader(group), "bad").startswith("403 Policy doesn't allow")
    assert told(administrator(group), "bad").startswith(wrong)
    assert told(administrator(group), unknown) == f"404 Service {unknown} not found."


def test_get(group: ServiceGroup) -> None:
    def told(nova: Nova) -> str:
        reply = nova.get("/os-services?xxx=1", version="2.75")
        return f"{reply.status} {_message(reply)}"

    assert told(stranger(group)).startswith("401")
    assert told(reader(group)).startswith("400 Additional properties")
    reply = reader(group).get("/os-services?xxx=1", version="2.74")
    assert reply.fault[0] == 403


def _message(reply: Reply) -> str:
    if reply.is_unrouted:
        return "unrouted"
    return str(next(iter(reply.json.values()))["message"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/os-services"),
        ("POST", "/os-services"),
        ("PATCH", "/os-services"),
        ("PUT", "/os-services"),
        ("OPTIONS", "/os-services"),
        ("get", "/os-services"),
        ("GET", f"/os-services/{NOBODY}"),
        ("PATCH", f"/os-services/{NOBODY}"),
        ("GET", "/os-services/"),
        ("GET", "/os-services.json"),
        ("GET", "/OS-SERVICES"),
        ("GET", "/os-services/detail"),
        ("GET", "/servers"),
        ("GET", "/nothex/os-services"),
        ("GET", "/ABC/os-services"),
        ("GET", "/abc/def/os-services"),
        ("GET", "/abc"),
        ("GET", "/abc//os-services"),
        ("GET", "/../os-services"),
    ],
)
@pytest.mark.parametrize("root", ["/v2.1", "/v2"])
def test_unrouted(nova: Nova, root: str, method: str, path: str) -> None:
    reply = nova.ask(method, path, root=root)
    assert reply.is_unrouted
    assert reply.body.startswith(b"404 Not Found")


def test_slashes_after_the_root_count_as_one(nova: Nova) -> None:
    assert nova.get("/os-services", root="/v2.1/").status == 200
    assert nova.get("/os-services", root="/v2/").status == 200


@pytest.mark.parametrize("root", ["/v2.1/abc-123", "/v2/0", f"/v2.1/{PROJECT}"])
def test_the_project_may_be_in_the_path(group: ServiceGroup, root: str) -> None:
    group.join("host1", "nova-compute")
    assert len(Nova(group).get("/os-services", root=root).json["services"]) == 1
    status = as_role(group, Role.ADMIN, PROJECT).get("/os-services", root=root).status
    assert status == (200 if root.endswith(PROJECT) else 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"content_type": ""}, 200),
        ({"content_type": "text/plain"}, 200),
        ({"content_type": "application/json"}, 200),
        ({"content_type": "Application/JSON; charset=utf-8"}, 200),
        ({"content_type": "application/vnd.openstack.compute+json"}, 200),
        ({"content_type": "application/xml"}, 415),
        ({"content_type": "text/html"}, 415),
        ({"accept": "image/png"}, 200),
    ],
)
def test_content_types(nova: Nova, headers: Mapping[str, str], status: int) -> None:
    nova.group.join("host1", "nova-compute")
    body = {"host": "host1", "binary": "nova-compute"}
    for reply in (nova.put("/os-services/enable", body, **headers), nova.get("/")):
        assert reply.media_type.startswith("application/json")
    listed = nova.get("/os-services", **headers)
    edited = nova.put("/os-services/enable", body, **headers)
    assert (listed.status, edited.status) == (status, status)
    if status == 415:
        assert edited.fault == (415, "badMediaType", "Unsupported Content-Type")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"host": "\xff"}',
        b'{"host": "\xed\xa0\x80"}',
        b'{"host": "\\ud800"}',
        b'{"host": NaN}',
        b'{"host": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"host": 1e400}',
        b"host=host1",
        b"\0",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ],
)
def test_garbage_for_json(nova: Nova, body: bytes) -> None:
    for version, path in (("2.1", "/os-services/enable"), ("2.53", f"/os-services/{NOBODY}")):
        reply = nova.put(path, body, version=version)
        assert reply.fault == (400, "badRequest", "Malformed request body")


def test_of_a_repeated_key_the_last_wins(nova: Nova) -> None:
    uuid = nova.group.join("host1", "nova-compute").uuid
    body = b'{"status": "enabled", "status": "disabled"}'
    assert nova.put(f"/os-services/{uuid}", body, version="2.53").json["service"]["status"] == (
        "disabled"
    )


def test_a_body_where_none_belongs_is_not_read(nova: Nova) -> None:
    assert nova.ask("GET", "/os-services", GARBAGE).status == 200


def test_a_database_that_does_not_answer_is_503(nova: Nova) -> None:
    metadata.drop_all(nova.group._store.engine)
    reply = nova.get("/os-services", version="2.53")
    assert reply.fault[:2] == (503, "serviceUnavailable")
    assert int(reply.header("Retry-After")[0]) > 0
    assert reply.header("OpenStack-API-Version") == ["compute 2.53"]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (ConfigError("x"), 400, "badRequest"),
        (Conflict("x"), 409, "conflictingRequest"),
        (StoreUnavailable("x"), 503, "serviceUnavailable"),
        (DriverUnavailable("x"), 503, "serviceUnavailable"),
    ],
)
def test_errors_are_answered_by_the_nearest_class(error: Exception, status: int, name: str) -> None:
    assert Reply.of(answer_for(error)).fault == (status, name, "x")


def test_an_error_of_ours_is_logged_and_kept_from_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        reply = Reply.of(answer_for(ZeroDivisionError("a secret")))
    status, name, message = reply.fault
    assert (status, name) == (500, "computeFault")
    assert message.startswith("Unexpected API Error. ")
    assert message.endswith("\n<class 'ZeroDivisionError'>")
    assert "a secret" not in message
    assert "a secret" in caplog.text
