"""A credential that is bound to a host: for the services of that host, and for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from servicegroup.store import tokens
from servicegroup.store.tokens import issued
from support.waiting import until

from .conftest import ADMIN, Guarded

GRACE = timedelta(seconds=3)


def reports(*uuids: str) -> dict[str, Any]:
    return {"reports": [{"uuid": uuid, "incarnation": 1} for uuid in uuids]}


def leaves(*uuids: str) -> dict[str, Any]:
    return {"leaves": [{"uuid": uuid, "incarnation": 1, "how": "stopped"} for uuid in uuids]}


def test_it_speaks_for_its_own_host_only(guarded: Guarded) -> None:
    bound = guarded.issue("bound", host="node1")
    own, other = guarded.join(bound, "node1"), guarded.join(ADMIN, "node2")
    assert guarded.ask(bound, "POST", "/v1/reports", reports(own))[0] == 200
    for path, body in (
        ("/v1/reports", reports(other)),
        ("/v1/reports", reports(own, other)),
        ("/v1/leave", leaves(other)),
        ("/v1/leave", leaves(own, other)),
    ):
        status, content = guarded.ask(bound, "POST", path, body)
        assert status == 403
        message = content["forbidden"]["message"]
        assert message == (
            f"This credential is for services of host node1, not for {other} of host node2."
        )
    for host in ("node2", "node1 ", "NODE1", "node10"):
        body = {"host": host, "binary": "evil"}
        assert guarded.ask(bound, "POST", "/v1/services", body)[0] == 403
    services = guarded.plane.request("GET", "/v1/services", X_Auth_Token=ADMIN)[2]["services"]
    found = {one["host"]: one for one in services if one["binary"] == "worker"}
    assert (found["node1"]["report_count"], found["node2"]["report_count"]) == (1, 0)
    assert {found[host]["left_at"] for host in ("node1", "node2")} == {None}, "all or nothing"
    assert guarded.ask(bound, "POST", "/v1/leave", leaves(own))[0] == 200


def test_it_mirrors_no_cloud(guarded: Guarded) -> None:
    """A cloud has services of many hosts; a reporter without a host may speak for them."""
    look = {"mirror": "prod/nova", "services": [{"host": "node1", "binary": "nova-compute"}]}
    bound = guarded.issue("mirror1", host="node1")
    status, content = guarded.ask(bound, "POST", "/v1/mirrors", look)
    assert status == 403
    assert "mirror with a token without a host" in content["forbidden"]["message"]
    free = guarded.issue("mirror")
    status, content = guarded.ask(free, "POST", "/v1/mirrors", look)
    assert (status, content["services"][0]["host"]) == (200, "node1")


def test_a_service_that_there_is_not_is_told_so(guarded: Guarded) -> None:
    """Then its process registers again, as after a restored backup."""
    bound = guarded.issue("forgotten", host="node3")
    uuid = "00000000-0000-4000-8000-000000000000"
    status, content = guarded.ask(bound, "POST", "/v1/reports", reports(uuid))
    assert (status, content["unknown"]) == (200, [uuid])


def test_a_deleted_service_of_its_host_is_told_so(guarded: Guarded) -> None:
    bound = guarded.issue("evicted", host="node4")
    uuid = guarded.join(bound, "node4")
    assert guarded.ask(ADMIN, "DELETE", f"/v1/services/{uuid}")[0] == 204
    assert guarded.ask(bound, "POST", "/v1/reports", reports(uuid))[1]["deleted"] == [uuid]


def test_a_relay_speaks_for_all_hosts(guarded: Guarded) -> None:
    relay = guarded.issue("relay")
    uuids = [guarded.join(relay, f"rack{n}") for n in range(3)]
    assert guarded.ask(relay, "POST", "/v1/reports", reports(*uuids))[0] == 200


def test_an_edit_is_told_with_the_name_of_the_token(guarded: Guarded) -> None:
    uuid = guarded.join(ADMIN, "node5")
    fencer = guarded.issue("fencer", role="admin")
    for token in (fencer, ADMIN):
        guarded.ask(token, "PATCH", f"/v1/services/{uuid}", {"disabled": token == fencer})
    _, content = guarded.ask(ADMIN, "GET", f"/v1/events?after=0&uuid={uuid}")
    actors = [event["actor"] for event in content["events"] if event["actor"]]
    assert actors == ["fencer", "root"]


def test_a_revoked_token_is_out_within_seconds(guarded: Guarded) -> None:
    token = guarded.issue("fired")
    tokens.revoke(guarded.engine, "fired")
    until(lambda: not guarded.knows(token))


@pytest.mark.parametrize("way", ["option", "environment"])
def test_an_agent_takes_a_rotated_token_without_a_restart(
    guarded: Guarded, tmp_path: Path, way: str
) -> None:
    """Its file is replaced, the old secret ends, and it never stopped reporting."""
    host = f"rotating-{way}"
    file = tmp_path / "token"
    file.write_text(guarded.issue(host, host=host) + "\n")
    command = [sys.executable, "-m", "servicegroup", "agent", "--url", guarded.plane.url]
    command += ["--host", host, "--binary", "worker"]
    environment = {"SERVICEGROUP_TOKEN_FILE": str(file)} if way == "environment" else {}
    command += ["--token-file", str(file)] if way == "option" else []
    with (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:

        def reported() -> int:
            path = f"/v1/services?host={host}"
            found = guarded.ask(ADMIN, "GET", path)[1]["services"]
            return found[0]["report_count"] if found else 0

        until(lambda: reported() >= 1, 30)
        new = tmp_path / "new"
        new.write_text(tokens.rotate(guarded.engine, host, GRACE))
        new.rename(file)
        until(lambda: len([t for t in issued(guarded.engine) if t.name == host]) == 1, 20)
        before = reported()
        until(lambda: reported() >= before + 3, 30)
        assert "refuse" not in (tmp_path / "log").read_text()
    finally:
        agent.terminate()
        agent.wait(20)
