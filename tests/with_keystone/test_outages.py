"""Keystone dies or hangs, and tokens end: who is not known stays out, all others go on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from servers.process import PATIENCE
from support.waiting import until

from .conftest import QUIET, Cloud

pytestmark = QUIET


@pytest.fixture
def whole(cloud: Cloud) -> Iterator[Cloud]:
    """Give the cloud, and put Keystone back afterwards as it was."""
    yield cloud
    cloud.keystone.configure(expiration=3600)
    cloud.keystone.restart()


def own_token(cloud: Cloud, name: str) -> str:
    """Return a token of the register's own, which needs no Keystone."""
    command = cloud.plane.command("token", "create", name, "--role", "reporter")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_keystone_that_is_down_is_503_for_whoever_is_not_known(whole: Cloud) -> None:
    known, new, own = whole.token("alice"), whole.token("alice"), own_token(whole, "a1")
    assert whole.ask(known, "GET", "/v1/services")[0] == 200
    whole.keystone.kill()
    for path in ("/v1/services", "/v2.1/os-services"):
        status, headers, content = whole.plane.request("GET", path, X_Auth_Token=new)
        assert (status, headers["Retry-After"]) == (503, "2"), content
        assert "Keystone" in content["serviceUnavailable"]["message"]
    assert whole.ask(known, "GET", "/v1/services")[0] == 200, "what was validated is kept"
    assert whole.ask(own, "GET", "/v1/terms")[0] == 200
    assert whole.ask(None, "GET", "/v1/services")[0] == 401
    whole.keystone.start()
    until(lambda: whole.ask(new, "GET", "/v1/services")[0] == 200, PATIENCE)


def test_a_keystone_that_hangs_holds_up_nobody_else(whole: Cloud) -> None:
    new, own = whole.token("alice"), own_token(whole, "a2")
    assert whole.ask(own, "GET", "/v1/terms")[0] == 200
    whole.keystone.freeze()
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"X-Auth-Token: {new}"]
    stuck = [
        subprocess.Popen([*command, f"{whole.plane.url}/v1/services"], stdout=subprocess.PIPE)
        for _ in range(20)
    ]
    until(lambda: all(one.poll() is None for one in stuck), what="they wait")
    began = time.monotonic()
    assert whole.ask(own, "GET", "/v1/terms")[0] == 200
    assert time.monotonic() - began < 2
    assert {one.communicate(timeout=PATIENCE)[0] for one in stuck} == {b"503"}


def test_a_token_that_expired_or_was_revoked_is_refused(whole: Cloud) -> None:
    """Its end counts at once, even for what is kept; a revocation, once that is forgotten."""
    whole.keystone.configure(expiration=6)
    whole.keystone.restart()
    brief = whole.token("alice")
    assert whole.ask(brief, "GET", "/v1/services")[0] == 200
    until(lambda: whole.ask(brief, "GET", "/v1/services")[0] == 401, 30)

    whole.keystone.configure(expiration=3600)
    whole.keystone.restart()
    revoked, alice = whole.token("alice"), whole.connection("alice")
    headers = {"X-Subject-Token": revoked}
    alice.session.delete(f"{whole.keystone.url}/auth/tokens", headers=headers)
    assert whole.ask(revoked, "GET", "/v1/services")[0] == 401
