"""Who may do what by Keystone's word and the policy's, and what strangers are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.process import PATIENCE
from support.waiting import until

from .conftest import QUIET, USERS, Cloud

pytestmark = QUIET

NODE = {"host": "node1", "binary": "nova-compute"}
ASKED = (
    ("GET", "/v1/services", None, {"alice", "sys"}),
    ("GET", "/v1/terms", None, {"alice", "agents"}),
    ("POST", "/v1/services", NODE, {"alice", "agents"}),
    ("PATCH", "/v1/services/x", {"disabled": True}, {"alice"}),
    ("DELETE", "/v1/services/x", None, {"alice"}),
    ("GET", "/v2.1/os-services", None, {"alice"}),
    ("PUT", "/v2.1/os-services/enable", NODE, {"alice"}),
    ("DELETE", "/v2.1/os-services/999", None, {"alice"}),
    ("GET", "/v2.1/os-availability-zone", None, {"alice", "rita", "mel", "agents"}),
    ("GET", "/v2.1/os-availability-zone/detail", None, {"alice"}),
    ("GET", "/v2.1/os-hosts", None, {"alice"}),
)
"""What is asked, and who may; Nova's own rules are for tokens of a project."""


@pytest.fixture(scope="module")
def tokens(cloud: Cloud) -> dict[str, str]:
    return {user: cloud.token(user) for user in USERS}


@pytest.mark.parametrize(("method", "path", "body", "allowed"), ASKED)
def test_who_may(
    cloud: Cloud,
    tokens: dict[str, str],
    method: str,
    path: str,
    body: dict[str, str] | None,
    allowed: set[str],
) -> None:
    answers = {user: cloud.ask(token, method, path, body) for user, token in tokens.items()}
    assert {user for user, (status, _) in answers.items() if status != 403} == allowed, answers
    for user, (_, content) in answers.items():
        if user not in allowed:
            assert "olicy" in content["forbidden"]["message"]


@pytest.mark.parametrize("token", [None, "", "garbage", "x" * 2000, "\xe4\xf6", "gAAAAABk" * 20])
def test_a_stranger_is_told_where_tokens_are(cloud: Cloud, token: str | None) -> None:
    headers = {} if token is None else {"X_Auth_Token": token}
    for path in ("/v1/services", "/v2.1/os-services"):
        status, answer, content = cloud.plane.request("GET", path, **headers)
        assert status == 401
        assert answer["WWW-Authenticate"] == f'Keystone uri="{cloud.keystone.url}"'
        assert content == {
            "error": {
                "code": 401,
                "title": "Unauthorized",
                "message": "The request you have made requires authentication.",
            }
        }


def test_a_policy_file_counts_as_soon_as_it_is_written(
    cloud: Cloud, tokens: dict[str, str], policy: Path
) -> None:
    def listed() -> int:
        return cloud.ask(tokens["rita"], "GET", "/v2.1/os-services")[0]

    assert listed() == 403
    policy.write_text('"os_compute_api:os-services:list": "role:reader"\n')
    until(lambda: listed() == 200, PATIENCE)
    assert cloud.ask(tokens["rita"], "DELETE", "/v2.1/os-services/999")[0] == 403
    policy.write_text("")
    until(lambda: listed() == 403, PATIENCE)


def test_an_application_credential_may_no_more_than_its_rules(cloud: Cloud) -> None:
    alice = cloud.connection("alice")
    rule = {"service": "compute", "method": "GET", "path": "/v1/**"}
    credential = alice.identity.create_application_credential(
        alice.current_user_id, "looks", access_rules=[rule]
    )
    identity = {
        "methods": ["application_credential"],
        "application_credential": {"id": credential.id, "secret": credential.secret},
    }
    answer = alice.session.post(
        f"{cloud.keystone.url}/auth/tokens", json={"auth": {"identity": identity}}
    )
    token = answer.headers["X-Subject-Token"]
    assert cloud.ask(token, "GET", "/v1/services")[0] == 200
    assert cloud.ask(token, "DELETE", "/v1/services/x")[0] == 401


def test_a_token_of_the_register_goes_on_beside_keystones(cloud: Cloud) -> None:
    """Agents cannot ask Keystone for a new one every hour."""
    import subprocess

    command = cloud.plane.command("token", "create", "node7", "--role", "reporter", "--host", "h7")
    token = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    own = {"host": "h7", "binary": "worker"}
    assert cloud.ask(token, "POST", "/v1/services", own)[0] == 200
    assert cloud.ask(token, "POST", "/v1/services", NODE)[0] == 403
    assert cloud.ask(token, "GET", "/v1/services")[0] == 403
    assert cloud.ask(f"{token}x", "POST", "/v1/services", own)[0] == 401
