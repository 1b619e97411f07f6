"""F-29: a control plane that is told to stop goes in time, and says so to whoever waits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.process import PATIENCE
from support.control_plane import ControlPlane

pytestmark = pytest.mark.long

UNIT = 10.0
"""Seconds that contrib's unit lets a control plane stop."""


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_while_the_database_hangs(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    own: Callable[..., Any] = request.getfixturevalue(f"own_{kind}")
    server = own()
    plane = ControlPlane(server.database(), tmp_path, report_interval=1)
    plane.start()
    _, _, life = plane.request("POST", "/v1/services", {"host": "node1", "binary": "worker"})
    report = {"reports": [{"uuid": life["uuid"], "incarnation": life["incarnation"]}]}
    server.freeze()
    asked = [
        _ask(plane, *arguments)
        for arguments in (
            ("GET", "/v1/services"),
            ("GET", "/v2.1/os-services"),
            ("POST", "/v1/reports", report),
            ("POST", "/v1/services", {"host": "node2", "binary": "worker"}),
            ("GET", "/v1/events?after=999&wait=60"),  # a place that no memory of events holds
        )
    ]
    # Connections are taken in turn: the others are by the time that this one is answered.
    with closing(_ask(plane, "GET", "/healthz")) as last, last.getresponse() as answer:
        assert answer.status == 200
    began = time.monotonic()
    plane.process.send_signal(signal.SIGTERM)
    plane.process.wait(PATIENCE)
    assert time.monotonic() - began < UNIT
    for connection in asked:
        with closing(connection), connection.getresponse() as answer:
            body = msgspec.json.decode(answer.read())
        assert answer.status == 503, body
        assert body["serviceUnavailable"]["code"] == 503
    assert "Traceback" not in plane.log()
    server.thaw()


def _ask(plane: ControlPlane, method: str, path: str, body: Any = None) -> HTTPConnection:
    """Send a request on a connection of its own, and wait for nothing."""
    connection = HTTPConnection("127.0.0.1", plane.port, timeout=PATIENCE)
    connection.request(method, path, body=body and msgspec.json.encode(body))
    return connection
