"""Bad input gets one clear answer, and the control plane goes on as before."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from servers.postgresql import PostgreSQL
from servers.process import PATIENCE, free_port
from support.control_plane import ControlPlane
from support.waiting import until

SERVICES, REPORTS, LEAVE = "/v1/services", "/v1/reports", "/v1/leave"
SOMEBODY = {"host": "h1", "binary": "nova-compute"}
LIFE = {"uuid": "u", "incarnation": 1}

BODIES: list[tuple[str, str, Any, int, str]] = [
    # method, path, body, status, part of the message
    ("POST", SERVICES, b"garbage", 400, "Malformed request body"),
    ("POST", SERVICES, b"", 400, "Malformed request body"),
    ("POST", SERVICES, b"\xff\xfe{}", 400, "Malformed request body"),
    ("POST", SERVICES, b"[" * 100_000, 400, "Malformed request body"),
    ("POST", SERVICES, [], 400, "object"),
    ("POST", SERVICES, {"host": "h1"}, 400, "binary"),
    ("POST", SERVICES, SOMEBODY | {"host": 7}, 400, "host"),
    ("POST", SERVICES, SOMEBODY | {"hots": "h"}, 400, "hots"),
    ("POST", SERVICES, SOMEBODY | {"host": "x" * 256}, 400, "host"),
    ("POST", SERVICES, SOMEBODY | {"host": ""}, 400, "host"),
    ("POST", SERVICES, SOMEBODY | {"host": "a\0b"}, 400, "host"),
    ("POST", SERVICES, SOMEBODY | {"binary": "x" * 256}, 400, "binary"),
    ("POST", SERVICES, SOMEBODY | {"group": "x" * 256}, 400, "group"),
    ("POST", SERVICES, SOMEBODY | {"zone": "a\nb"}, 400, "zone"),
    ("POST", SERVICES, SOMEBODY | {"version": -1}, 400, "version"),
    ("POST", SERVICES, SOMEBODY | {"version": 2**31}, 400, "version"),
    ("POST", SERVICES, SOMEBODY | {"version": 1.5}, 400, "version"),
    ("POST", SERVICES, b'{"host": "\\ud800", "binary": "b"}', 400, ""),
    ("POST", REPORTS, {"reports": [LIFE | {"incarnation": "1"}]}, 400, "incarnation"),
    ("POST", REPORTS, {"reports": [LIFE | {"incarnation": 10**30}]}, 400, "incarnation"),
    ("POST", REPORTS, {"reports": [LIFE | {"incarnation": -1}]}, 400, "incarnation"),
    ("POST", REPORTS, {"reports": [LIFE | {"uuid": "x" * 100}]}, 400, "uuid"),
    ("POST", REPORTS, {"reports": [LIFE | {"uuid": "a\0b"}]}, 400, "uuid"),
    ("POST", REPORTS, {"reports": [LIFE | {"failing": "a\0b"}]}, 400, "failing"),
    ("POST", REPORTS, {"reports": {}}, 400, "array"),
    ("POST", REPORTS, {"reports": [LIFE] * 5001}, 400, "5001 entries, and a request takes 5000"),
    ("POST", LEAVE, {"leaves": [LIFE] * 5001}, 400, "further requests"),
    ("POST", REPORTS, b'{"reports": ' + b"[" * 100_000, 400, "Malformed request body"),
    ("POST", REPORTS, {}, 400, "reports"),
    ("POST", LEAVE, {"leaves": [LIFE | {"how": "vanished"}]}, 400, "how"),
    ("POST", LEAVE, {"leaves": [LIFE | {"detail": "a\0b"}]}, 400, "detail"),
    ("PATCH", SERVICES + "/none", {"disabled": True}, 400, "Invalid uuid"),
    ("PATCH", SERVICES + "/{uuid}", {"disabled": "yes"}, 400, "disabled"),
    ("PATCH", SERVICES + "/{uuid}", {"host": "h2"}, 400, "host"),
    ("PATCH", SERVICES + "/{uuid}", {}, 400, "No updates"),
    ("PATCH", SERVICES + "/{uuid}", {"disabled_reason": "x"}, 400, "disabled=true"),
    ("PATCH", SERVICES + "/{uuid}", {"disabled_reason": None}, 400, "disabled=true"),
    ("PATCH", SERVICES + "/{uuid}", {"disabled": True, "disabled_reason": "\0"}, 400, "reason"),
    ("PATCH", SERVICES + "/{uuid}", {"disabled": True, "disabled_reason": ""}, 400, "reason"),
    ("PATCH", SERVICES + "/{uuid}", {"forced_down": None}, 400, "forced_down"),
    ("DELETE", SERVICES + "/00000000-0000-0000-0000-000000000000", None, 404, "not"),
    ("GET", SERVICES + "/%2e%2e%2f%2e%2e%2fetc", None, 404, "not part of the API"),
    ("GET", SERVICES + "/..%00", None, 400, "Invalid uuid"),
    ("GET", SERVICES + "/1' OR '1'='1", None, 400, "Invalid uuid"),
    ("GET", SERVICES + "?limit=0", None, 400, "limit"),
    ("GET", SERVICES + "?limit=%D9%A3", None, 400, "limit"),
    ("GET", SERVICES + "?limit=99999999999999999999", None, 400, "limit"),
    ("GET", "/v1/events?after=" + "0" * 5000, None, 400, "after"),
    ("GET", SERVICES + "?state=dead", None, 400, "state"),
    ("GET", SERVICES + "?hots=h1", None, 400, "hots"),
    ("GET", SERVICES + "?marker=00000000-0000-0000-0000-000000000000", None, 404, "marker"),
    ("GET", SERVICES + "?marker=%00", None, 400, "marker"),
    ("GET", SERVICES + "?host=%00", None, 400, "host"),
    ("GET", SERVICES + "?host=%ff", None, 200, ""),
    ("GET", "/v1/versions?binary=%00", None, 400, "binary"),
    ("PUT", SERVICES, SOMEBODY, 405, "takes GET, HEAD, POST"),
    ("GET", "/v1/nothing", None, 404, "not part of the API"),
]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give one control plane to all the bad requests; it must outlive them."""
    directory = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.start()
    yield plane
    assert "Traceback" not in plane.log()
    plane.stop()


@pytest.fixture(scope="module")
def uuid(plane: ControlPlane) -> str:
    """Give the uuid of a service that exists."""
    status, _, body = plane.request("POST", SERVICES, {"host": "there", "binary": "nova-compute"})
    assert status == 200
    return str(body["uuid"])


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), BODIES)
def test_each_bad_request_gets_one_clear_answer(
    plane: ControlPlane, uuid: str, method: str, path: str, body: Any, status: int, message: str
) -> None:
    answer, headers, content = plane.request(method, path.replace("{uuid}", uuid), body)
    assert answer == status, content
    assert headers["X-Openstack-Request-Id"] == headers["X-Compute-Request-Id"]
    if status != 200 and method != "HEAD":
        (name,) = content
        assert content[name]["code"] == status
        assert message in content[name]["message"]
        assert "\n" not in content[name]["message"]


def test_a_body_of_ten_megabytes_is_refused(plane: ControlPlane) -> None:
    body = b'{"host": "' + b"x" * 10_000_000 + b'", "binary": "b"}'
    for path in (SERVICES, REPORTS, "/v2.1/os-services/enable"):
        method = "PUT" if "os-services" in path else "POST"
        status, _, content = plane.request(method, path, body)
        assert status == 413
        assert "1048576 bytes" in content["overLimit"]["message"]


def test_a_length_that_lies_costs_only_its_own_connection(plane: ControlPlane) -> None:
    with socket.create_connection(("127.0.0.1", plane.port), timeout=10) as lying:
        lying.sendall(b"POST /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{")
        lying.shutdown(socket.SHUT_WR)
        lying.recv(1000)
    assert plane.request("GET", "/healthz")[0] == 200


def test_odd_names_are_kept_to_the_letter(plane: ControlPlane) -> None:
    for host in ("🚀", "päth/../x", "a b", "%00", "<script>", "x" * 255):
        status, _, body = plane.request("POST", SERVICES, {"host": host, "binary": "odd"})
        assert status == 200, body
        assert (host, "odd") in plane.services("?binary=odd")


def test_fifty_registrations_at_once_make_one_service(plane: ControlPlane) -> None:
    def register(_: int) -> tuple[str, int]:
        status, _headers, body = plane.request("POST", SERVICES, {"host": "race", "binary": "b"})
        assert status == 200, body
        return body["uuid"], body["incarnation"]

    with ThreadPoolExecutor(50) as threads:
        lives = list(threads.map(register, range(50)))
    assert len({uuid for uuid, _ in lives}) == 1
    assert sorted(incarnation for _, incarnation in lives) == list(range(1, 51))


def test_a_taken_topic_is_a_conflict(plane: ControlPlane) -> None:
    plane.request("POST", SERVICES, {"host": "both", "binary": "nova-compute"})
    status, _, body = plane.request(
        "POST", SERVICES, {"host": "both", "binary": "other", "group": "compute"}
    )
    assert status == 409
    assert "host both topic compute exists" in body["conflictingRequest"]["message"]


def serve(plane: ControlPlane, **environment: str) -> tuple[int, str]:
    """Run serve, which is expected to end by itself, and return its exit code and stderr."""
    ended = subprocess.run(
        plane.command("serve"),
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )
    return ended.returncode, ended.stderr


def one_sentence(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert len(lines) == 1, stderr
    return lines[0]


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    with socket.create_server(("127.0.0.1", plane.port)):
        code, stderr = serve(plane)
    assert code == 2
    assert f"127.0.0.1:{plane.port} cannot be listened on" in one_sentence(stderr)


def test_a_database_without_our_schema_is_said_in_one_sentence(tmp_path: Path) -> None:
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    code, stderr = serve(plane)
    assert code == 2
    assert "run servicegroup db upgrade" in one_sentence(stderr)


def test_a_database_that_is_down_at_start_is_said_in_one_sentence(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://sg:secret@127.0.0.1:{free_port()}/sg"
    code, stderr = serve(ControlPlane(url, tmp_path))
    assert code not in (0, 1)
    assert "does not answer" in one_sentence(stderr)
    assert "secret" not in stderr


def test_a_contradiction_is_said_in_one_sentence(tmp_path: Path) -> None:
    plane = ControlPlane("sqlite://", tmp_path, service_down_time=5, report_interval=5)
    code, stderr = serve(plane)
    assert code == 2
    assert "service_down_time = 5 must be longer" in one_sentence(stderr)


def test_a_time_to_live_that_the_backend_cannot_keep_is_said_in_one_sentence(
    tmp_path: Path,
) -> None:
    """MC-2: memcached reads more than 30 days as a date, long past."""
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    plane.configure(servicegroup_driver="memcached", membership_ttl=31 * 86400)
    subprocess.run(plane.command("db", "upgrade"), check=True, capture_output=True, timeout=60)
    code, stderr = serve(plane)
    assert code == 2
    assert "membership_ttl = 2.6784e+06 is longer" in one_sentence(stderr)


def test_a_state_directory_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    plane = ControlPlane("", tmp_path)
    not_a_directory = tmp_path / "file"
    not_a_directory.touch()
    code, stderr = serve(plane, STATE_DIRECTORY=str(not_a_directory / "state"))
    assert code == 2
    assert "cannot be written" in one_sentence(stderr)


@pytest.mark.long
def test_a_database_that_goes_away_is_a_503_and_comes_back(
    own_postgresql: Callable[[], PostgreSQL], tmp_path: Path
) -> None:
    server = own_postgresql()
    plane = ControlPlane(server.database(), tmp_path)
    plane.start()
    try:
        life = plane.request("POST", SERVICES, SOMEBODY)[2]
        reports = {"reports": [{"uuid": life["uuid"], "incarnation": 1}]}
        server.kill()
        for method, path, body in (
            ("GET", SERVICES, None),
            ("POST", SERVICES, SOMEBODY),
            ("POST", REPORTS, reports),
            ("GET", "/v2.1/os-services", None),
        ):
            status, headers, content = plane.request(method, path, body)
            assert status == 503, content
            assert int(headers["Retry-After"]) > 0
            assert "does not answer" in content["serviceUnavailable"]["message"]
        until(lambda: plane.request("GET", "/readyz")[0] == 503, PATIENCE, what="not ready")
        assert plane.request("GET", "/healthz")[0] == 200
        assert b"servicegroup_store_up 0" in plane.request("GET", "/metrics")[2]
        server.start()
        until(plane.is_ready, PATIENCE, what="ready again")
        assert plane.request("POST", REPORTS, reports)[0] == 200
        assert plane.services()["h1", "nova-compute"]["report_count"] == 1
    finally:
        plane.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root to be mounted")
@pytest.mark.long
def test_a_full_disk_is_a_503_and_loses_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)])
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    plane = ControlPlane(f"sqlite:///{small / 'r.sqlite'}", tmp_path)
    try:
        plane.start()
        plane.request("POST", SERVICES, SOMEBODY)
        ballast = small / "ballast"
        ballast.write_bytes(b"")
        with ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        statuses = {
            plane.request("POST", SERVICES, {"host": f"h{n}", "binary": "b"})[0] for n in range(20)
        }
        assert statuses <= {200, 503}
        assert 503 in statuses
        assert "h1" in {host for host, _ in plane.services()}
        ballast.unlink()
        until(plane.is_ready, PATIENCE, what="ready again")
        assert plane.request("POST", SERVICES, {"host": "after", "binary": "b"})[0] == 200
    finally:
        plane.stop()
        subprocess.run(["umount", str(small)], check=True)
