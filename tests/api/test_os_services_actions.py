"""PUT /os-services/{action} up to 2.52: by host and binary."""

from __future__ import annotations

from typing import Any

import pytest

from servicegroup.group import ServiceGroup

from .nova import Nova

NOT_SUPPORTED = "service is not supported. Only nova-compute services can be updated."
WHICH = {"host": "host1", "binary": "nova-compute"}
TRUE = [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
FALSE = [False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]


@pytest.fixture(autouse=True)
def fleet(group: ServiceGroup) -> None:
    """Begin with a compute that is disabled for a reason, and a scheduler."""
    joined = group.join("host1", "nova-compute")
    group.update(joined.uuid, disabled=True, disabled_reason="old")
    group.join("host2", "nova-scheduler")


@pytest.mark.parametrize("root", ["/v2.1", "/v2", "/v2.1/abc-123", "/v2/abc-123"])
@pytest.mark.parametrize(
    ("action", "extra", "answer", "effect"),
    [
        ("enable", {}, {"status": "enabled"}, ("enabled", None)),
        ("enable", {"disabled_reason": "x"}, {"status": "enabled"}, ("enabled", None)),
        ("disable", {}, {"status": "disabled"}, ("disabled", None)),
        ("disable", {"disabled_reason": "x"}, {"status": "disabled"}, ("disabled", None)),
        (
            "disable-log-reason",
            {"disabled_reason": "new"},
            {"status": "disabled", "disabled_reason": "new"},
            ("disabled", "new"),
        ),
    ],
)
def test_actions(
    nova: Nova,
    root: str,
    action: str,
    extra: dict[str, str],
    answer: dict[str, str],
    effect: tuple[str, str | None],
) -> None:
    for version in ("2.1", "2.11", "2.52"):
        reply = nova.put(f"/os-services/{action}", WHICH | extra, version=version, root=root)
        assert (reply.status, reply.json) == (200, {"service": WHICH | answer})
        shown = nova.service("host1")
        assert (shown["status"], shown["disabled_reason"]) == effect


@pytest.mark.parametrize(
    ("given", "meant"), [(v, True) for v in TRUE] + [(v, False) for v in FALSE]
)
def test_force_down(nova: Nova, given: bool | str, meant: bool) -> None:
    for version in ("2.11", "2.52"):
        body = WHICH | {"forced_down": given}
        reply = nova.put("/os-services/force-down", body, version=version)
        assert (reply.status, reply.json) == (200, {"service": WHICH | {"forced_down": meant}})
        shown = nova.service("host1")
        assert (shown["forced_down"], shown["state"]) == (meant, "down" if meant else "up")
        assert shown["disabled_reason"] == "old"


@pytest.mark.parametrize(
    ("version", "action", "body", "status", "message"),
    [
        ("2.1", "nosuch", WHICH, 404, "Unknown action"),
        ("2.1", "force-down", WHICH, 404, "Unknown action"),
        ("2.10", "force-down", WHICH, 404, "Unknown action"),
        ("2.1", "Enable", WHICH, 404, "Unknown action"),
        ("2.52", "8fab5ad8-8a57-4d1d-a1ad-d9a4a5a1c6ae", WHICH, 404, "Unknown action"),
        (
            "2.10",
            "force-down",
            WHICH | {"forced_down": True},
            400,
            "Additional properties are not allowed ('forced_down' was unexpected)",
        ),
        ("2.1", "disable-log-reason", WHICH, 400, "Missing disabled reason field"),
        ("2.11", "force-down", WHICH, 400, "Missing forced_down field"),
        (
            "2.1",
            "enable",
            {"host": "host2", "binary": "nova-scheduler"},
            400,
            f"Updating a nova-scheduler {NOT_SUPPORTED}",
        ),
        (
            "2.1",
            "enable",
            {"host": "nosuch", "binary": "nova-compute"},
            404,
            "Host 'nosuch' is not mapped to any cell",
        ),
        (
            "2.1",
            "enable",
            {"host": "host2", "binary": "nova-compute"},
            404,
            "Could not find binary nova-compute on host host2.",
        ),
    ],
)
def test_refusals(
    nova: Nova, version: str, action: str, body: dict[str, Any], status: int, message: str
) -> None:
    reply = nova.put(f"/os-services/{action}", body, version=version)
    name = "badRequest" if status == 400 else "itemNotFound"
    assert reply.fault == (status, name, message)
    assert nova.service("host1")["disabled_reason"] == "old"


FIELD = "Invalid input for field/attribute"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "None is not of type 'object'"),
        ([], "[] is not of type 'object'"),
        ("host1", "'host1' is not of type 'object'"),
        ({}, "'host' is a required property"),
        ({"host": "host1"}, "'binary' is a required property"),
        (WHICH | {"foo": 1}, "Additional properties are not allowed ('foo' was unexpected)"),
        (WHICH | {"host": ""}, f"{FIELD} host. Value: . "),
        (WHICH | {"host": "x" * 256}, f"{FIELD} host. Value: {'x' * 256}. "),
        (WHICH | {"host": "host 1"}, f"{FIELD} host. Value: host 1. "),
        (WHICH | {"host": "host1💥"}, f"{FIELD} host. Value: host1💥. "),
        (WHICH | {"host": "host1\0"}, f"{FIELD} host. Value: host1\0. "),
        (WHICH | {"host": None}, f"{FIELD} host. Value: None. "),
        (WHICH | {"host": ["host1"]}, f"{FIELD} host. Value: ['host1']. "),
        (WHICH | {"binary": ""}, f"{FIELD} binary. Value: . "),
        (WHICH | {"binary": 1}, f"{FIELD} binary. Value: 1. "),
        (WHICH | {"disabled_reason": ""}, f"{FIELD} disabled_reason. Value: . "),
        (WHICH | {"disabled_reason": "x" * 256}, f"{FIELD} disabled_reason. Value: xxx"),
        (WHICH | {"disabled_reason": None}, f"{FIELD} disabled_reason. Value: None. "),
        (WHICH | {"forced_down": 1}, f"{FIELD} forced_down. Value: 1. "),
        (WHICH | {"forced_down": 10**30}, f"{FIELD} forced_down. Value: 1000000"),
        (WHICH | {"forced_down": "y"}, f"{FIELD} forced_down. Value: y. "),
        (WHICH | {"forced_down": None}, f"{FIELD} forced_down. Value: None. "),
    ],
)
def test_bodies_that_break_the_schema(nova: Nova, body: Any, message: str) -> None:
    for action in ("enable", "nosuch"):
        status, name, said = nova.put(f"/os-services/{action}", body, version="2.11").fault
        assert (status, name) == (400, "badRequest")
        assert said.startswith(message)


def test_the_legacy_api_removes_extra_properties_silently(nova: Nova) -> None:
    body = WHICH | {"foo": 1, "forced_down": True}
    reply = nova.put("/os-services/enable", body, root="/v2")
    assert (reply.status, reply.json) == (200, {"service": WHICH | {"status": "enabled"}})
    assert nova.service("host1")["forced_down"] is False
    assert nova.put("/os-services/force-down", body, root="/v2").fault[2] == "Unknown action"
    assert nova.put("/os-services/enable", [], root="/v2").fault[0] == 400


def test_a_reason_of_255_characters_and_emoji_is_kept(nova: Nova) -> None:
    reason = "💥" * 255
    body = WHICH | {"disabled_reason": reason}
    assert nova.put("/os-services/disable-log-reason", body).status == 200
    assert nova.service("host1")["disabled_reason"] == reason


@pytest.mark.parametrize("reason", ["nul\0", "nul\0in it"])
def test_a_reason_with_nul_is_refused(nova: Nova, reason: str) -> None:
    body = WHICH | {"disabled_reason": reason}
    assert nova.put("/os-services/disable-log-reason", body).fault[0] == 400
    assert nova.service("host1")["disabled_reason"] == "old"
