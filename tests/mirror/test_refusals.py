"""What cannot be mirrored is refused in one sentence that says what, where and what to do."""

from __future__ import annotations

import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import servicegroup
from support.control_plane import ControlPlane
from support.waiting import until

from .conftest import MirrorProcess, at, mirrored, trouble

Planes = Callable[..., ControlPlane]
Mirroring = Callable[..., MirrorProcess]

Answer = tuple[int, str, bytes]
"""A status, a content type and a body."""


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a refused command wrote, after its `Error: `."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("Error: ")


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Give the URL of an HTTP server that answers so for each path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def json(body: object, status: int = 200) -> Answer:
    return status, "application/json", msgspec.json.encode(body)


@pytest.fixture
def register(plane: Planes) -> ControlPlane:
    """Give an empty register."""
    return plane("register")


def refused(mirroring: Mirroring, register: ControlPlane, cloud: Mapping[str, Any]) -> str:
    """Return what a mirror of such a cloud is refused with."""
    return one_line(mirroring(register, {"prod": cloud}).run("--os-cloud", "prod"))


def test_an_unknown_cloud_and_a_wrong_file(
    register: ControlPlane, mirroring: Mirroring, tmp_path: Path
) -> None:
    mirror = mirroring(register, {"east": {}, "west": {}})
    said = one_line(mirror.run("--os-cloud", "south"))
    assert said == f"Cloud 'south' is not in {mirror.directory}/clouds.yaml, which has east, west."

    (mirror.directory / "clouds.yaml").write_text("clouds: [east\n")
    said = one_line(mirror.run("--os-cloud", "east"))
    assert said.startswith(f"{mirror.directory}/clouds.yaml cannot be read as YAML (line ")

    (mirror.directory / "clouds.yaml").unlink()
    assert "has no clouds.yaml to be in" in one_line(mirror.run("--os-cloud", "east"))

    said = one_line(mirror.run("--os-cloud", "east", "--api", "nove"))
    assert "clouds.yaml" in said or "'nove' is none of the APIs nova, cinder" in said


def test_a_cloud_that_lacks_what_its_authentication_needs(
    register: ControlPlane, mirroring: Mirroring
) -> None:
    auth = {"auth_url": "http://127.0.0.1:1/v3", "username": "u", "project_name": "p"}
    said = refused(mirroring, register, {"auth": auth})
    assert said == "Cloud prod cannot be used: password is a required attribute; check clouds.yaml."


def test_an_api_that_answers_html(register: ControlPlane, mirroring: Mirroring) -> None:
    with answering(lambda path: (200, "text/html", b"<html>Sign in</html>")) as url:
        said = refused(
            mirroring, register, {"auth_type": "none", "compute_endpoint_override": f"{url}/v2.1"}
        )
    assert "answers 200 with text/html, and no list of nova" in said
    assert "check the endpoint of nova in cloud prod" in said


def test_an_api_that_refuses_the_token(register: ControlPlane, mirroring: Mirroring) -> None:
    with answering(lambda path: json({"error": {"code": 401}}, 401)) as url:
        said = refused(
            mirroring, register, {"auth_type": "none", "compute_endpoint_override": f"{url}/v2.1"}
        )
    assert "refuses (401): the token has expired" in said


def test_pages_that_never_end(register: ControlPlane, mirroring: Mirroring) -> None:
    agent = {"host": "one", "binary": "neutron-l3-agent", "alive": True, "admin_state_up": True}

    def answer(path: str) -> Answer:
        following = {"rel": "next", "href": "http://elsewhere/v2.0/agents?marker=1"}
        return json({"agents": [agent], "agents_links": [following]})

    with answering(answer) as url:
        said = refused(
            mirroring, register, {"auth_type": "none", "network_endpoint_override": f"{url}/v2.0"}
        )
    assert said.startswith("The pages of neutron in cloud prod never end")


def test_a_service_without_a_host_is_left_out_and_said(
    register: ControlPlane, mirroring: Mirroring
) -> None:
    def answer(path: str) -> Answer:
        whole = {"id": 1, "host": "one", "binary": "nova-compute", "state": "up", "zone": "nova"}
        return json({"services": [whole, {"id": 2, "host": None, "binary": "nova-compute"}]})

    with answering(answer) as url:
        cloud = {"auth_type": "none", "compute_endpoint_override": f"{url}/v2.1"}
        mirror = mirroring(register, {"prod": cloud})
        mirror.start("--os-cloud", "prod")
        assert "nova lists nova-compute (id 2) without a host, so it is left out" in mirror.log()
        assert set(mirrored(register)) == {"one nova-compute"}
        mirror.kill()


def test_a_list_that_is_empty_deletes_nobody(register: ControlPlane, mirroring: Mirroring) -> None:
    whole = {"id": 1, "host": "one", "binary": "nova-compute", "state": "up", "zone": "nova"}
    other = whole | {"host": "two"}
    listed = [whole, other]
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return json({"services": list(listed)})

    with answering(answer) as url:
        cloud = {"auth_type": "none", "compute_endpoint_override": f"{url}/v2.1"}
        mirror = mirroring(register, {"prod": cloud})
        mirror.start("--os-cloud", "prod")
        listed.clear()
        until(lambda: "lists no service any more" in trouble(register), 60)
        assert len(mirrored(register)) == 2
        # Nova cannot tell of a cell that is away: who is not listed then may be of that cell.
        listed.append({"host": "two", "binary": "nova-compute", "status": "UNKNOWN"})
        until(lambda: "cannot tell of 1 services" in trouble(register), 60)
        assert len(mirrored(register)) == 2
        listed[:] = [other]
        until(lambda: set(mirrored(register)) == {"two nova-compute"}, 60)
        mirror.kill()


def test_a_list_that_is_empty_from_the_start_is_said_once(
    register: ControlPlane, mirroring: Mirroring
) -> None:
    asked: list[str] = []
    listed: list[dict[str, Any]] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return json({"agents": list(listed)})

    with answering(answer) as url:
        cloud = {"auth_type": "none", "network_endpoint_override": f"{url}/v2.0"}
        mirror = mirroring(register, {"prod": cloud})
        mirror.start("--os-cloud", "prod")
        assert "neutron of cloud prod lists no service: it has none, or hides them" in mirror.log()
        before = len(asked)
        until(lambda: len(asked) > before + 1, 30)
        listed.append({"id": "1", "host": "one", "binary": "neutron-l3-agent", "alive": True})
        until(lambda: set(mirrored(register)) == {"one neutron-l3-agent"}, 30)
        assert mirror.log().count("lists no service") == 1
        mirror.kill()


def has_one(cloud: ControlPlane) -> bool:
    """Tell whether the service of host one has joined a cloud."""
    return bool(cloud.request("GET", "/v1/services?host=one")[2]["services"])


def test_two_clouds_in_one_register(plane: Planes, mirroring: Mirroring) -> None:
    register, east, west = plane("register"), plane("east"), plane("west")
    members = [servicegroup.join("nova-compute", host="one", url=p.url) for p in (east, west)]
    try:
        for cloud in (east, west):
            until(partial(has_one, cloud))
        mirroring(register, {"east": at(east)}).start("--os-cloud", "east", "--api", "nova")
        second = mirroring(register, {"west": at(west), "east": at(west)})
        said = one_line(second.run("--os-cloud", "west"))
        assert said.count("west/nova lists services that this register mirrors from east/nova") == 1
        assert "give each cloud a register of its own" in said
        # Nor under the same name: one would delete what the other keeps.
        said = one_line(second.run("--os-cloud", "east"))
        assert f"This register mirrors {east.url}/v2.1 as east/nova, and not {west.url}" in said
        assert {s["mirror"] for s in mirrored(register).values()} == {"east/nova"}
    finally:
        for member in members:
            member.leave()


def test_without_a_control_plane(register: ControlPlane, mirroring: Mirroring) -> None:
    register.stop()
    with answering(lambda path: json({"services": []})) as url:
        cloud = {"auth_type": "none", "compute_endpoint_override": f"{url}/v2.1"}
        done = mirroring(register, {"prod": cloud}).run("--os-cloud", "prod")
    assert done.returncode == 4, done
    assert "Start a control plane with 'servicegroup serve'" in done.stderr
