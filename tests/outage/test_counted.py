"""What is acknowledged is counted, however many report for one service at once (F-58)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.control_plane import ControlPlane

pytestmark = pytest.mark.long

CLIENTS = 8
REQUESTS = 25


def test_every_acknowledged_report_is_counted(database_url: str, tmp_path: Path) -> None:
    """A relay and a service's own agent report at once; some say it twice in one request."""
    plane = ControlPlane(database_url, tmp_path)
    plane.start()
    body = {"host": "h1", "binary": "worker"}
    uuid = plane.request("POST", "/v1/services", body)[2]["uuid"]
    life = {"uuid": uuid, "incarnation": 1}

    def report(client: int) -> int:
        acknowledged = 0
        for number in range(REQUESTS):
            reports = [life] * (1 + (client + number) % 3) + [life | {"failing": "no disk"}]
            status, _, refused = plane.request("POST", "/v1/reports", {"reports": reports})
            assert (status, refused["unknown"]) == (200, [])
            acknowledged += len(reports) - 1
        return acknowledged

    with ThreadPoolExecutor(CLIENTS) as pool:
        acknowledged = sum(pool.map(report, range(CLIENTS)))
    assert acknowledged > CLIENTS * REQUESTS
    assert plane.services("?host=h1")["h1", "worker"]["report_count"] == acknowledged
    plane.stop()
