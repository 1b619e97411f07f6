"""A path of ours answers for every method: load balancers and browsers ask by any (F-7)."""

from __future__ import annotations

import http.client
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.haproxy import HAProxy
from servers.plugin import require
from servers.process import PATIENCE
from support.control_plane import ControlPlane
from support.waiting import until

READ = ("/healthz", "/readyz", "/metrics", "/ui", "/ui/", "/ui/app.js", "/v1/openapi.json",
        "/v1/services", "/v1/groups", "/v1/events", "/v1/services?host=a")  # fmt: skip
NOT_THERE = ("/readyz/", "/readyz/x", "/healthz/", "/metrics/x", "/ui/a/b", "/ui/nosuch", "/v1/",
             "/v1/nosuch")  # fmt: skip


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane on a database in a file."""
    directory = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.start()
    yield plane
    plane.stop()


@pytest.mark.parametrize("path", READ)
def test_head_is_get_without_its_body(plane: ControlPlane, path: str) -> None:
    status, headers, _ = plane.request("GET", path)
    found, of_head, body = plane.request("HEAD", path)
    assert (found, body) == (status, b"")
    assert of_head["Content-Type"] == headers["Content-Type"]
    assert "Content-Length" in of_head


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
def test_another_method_is_refused_with_those_there_are(plane: ControlPlane, method: str) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/ui/", "/ui", "/ui/app.js", "/v1/groups"):
        status, headers, body = plane.request(method, path)
        assert status == 405, path
        assert headers["Allow"] == "GET, HEAD"
        assert body["badMethod"]["message"] == f"{path} takes GET, HEAD."
    assert plane.request("OPTIONS", "/v1/services")[1]["Allow"] == "GET, HEAD, POST"
    assert plane.request("HEAD", "/v1/leave")[1]["Allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_what_is_below_a_root_of_ours_is_never_one_of_novas_choices(
    plane: ControlPlane, method: str
) -> None:
    for path in NOT_THERE:
        wanted = {404, 405} if path == "/ui/nosuch" else {404}
        assert plane.request(method, path)[0] in wanted, path


def test_novas_paths_answer_as_nova_does(plane: ControlPlane) -> None:
    for method in ("HEAD", "OPTIONS"):
        assert plane.request(method, "/")[0] == 200
        assert plane.request(method, "/v3")[0] == 300
        assert plane.request(method, "/v2.1/os-services")[0] == 404


def test_the_head_of_a_stream_ends(plane: ControlPlane) -> None:
    """And the connection serves the next request."""
    connection = http.client.HTTPConnection("127.0.0.1", plane.port, timeout=PATIENCE)
    for path, kind in (
        ("/v1/events/stream", "text/event-stream"),
        ("/healthz", "application/json"),
    ):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert answer.read() == b""
    connection.close()


@pytest.mark.long
def test_a_load_balancer_that_asks_by_head_sees_who_cannot_commit(tmp_path: Path) -> None:
    require(HAProxy)
    file = tmp_path / "r.sqlite"
    plane = ControlPlane(f"sqlite:///{file}", tmp_path)
    plane.start()
    try:
        with HAProxy([plane.port], method="HEAD") as proxy:

            def is_let_in() -> bool:
                return plane.http.request("GET", f"{proxy.url}/healthz").status == 200

            until(is_let_in, PATIENCE, what="a control plane that is ready")
            writer = sqlite3.connect(file, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            until(lambda: not is_let_in(), PATIENCE, what="one that cannot commit is taken out")
            assert plane.request("GET", "/healthz")[0] == 200
            writer.rollback()
            writer.close()
            until(is_let_in, PATIENCE, what="one that commits again is let in")
    finally:
        plane.stop()
