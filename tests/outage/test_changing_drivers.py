"""A running fleet changes drivers, forth and back, and no verdict ever flips (S9, AND-5)."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from servers.memcached import Memcached
from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane
from support.crowd import BINARY, crowd
from support.waiting import until
from support.watcher import Watcher

pytestmark = pytest.mark.long

COUNT = 50
LIMITS: dict[str, Any] = {
    "report_interval": 2,
    "service_down_time": 12,
    "heartbeat_interval": 1,
    "membership_ttl": 4,
}


@pytest.mark.timeout(300)
def test_fifty_services_move_from_driver_to_driver_and_back(
    zookeeper_server: ZooKeeper, memcached_server: Memcached, tmp_path: Path
) -> None:
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path)
    sections = (
        f"[zookeeper]\naddress = {zookeeper_server.address}\nsession_timeout = 4\n"
        f"prefix = /changing-{plane.port}\n[memcached]\nservers = {memcached_server.address}\n"
    )

    def restart_with(driver: str, shadow: str = "") -> None:
        plane.stop()
        options = LIMITS | {"servicegroup_driver": driver, "servicegroup_shadow_driver": shadow}
        plane.configure(sections, **options)
        plane.start()

    def ready() -> bool:
        command = [sys.executable, "-m", "servicegroup", "--url", plane.url, "driver", "ready"]
        ended = subprocess.run(command, capture_output=True, timeout=30)
        assert ended.returncode in (0, 1), ended.stderr
        return ended.returncode == 0

    def all_because(reason: str) -> bool:
        found = plane.services(f"?binary={BINARY}").values()
        return [s["verdict"]["reason"] for s in found] == [reason] * COUNT

    restart_with("db")
    try:
        with crowd(plane.url, COUNT):
            until(lambda: all_because("reporting"), timeout=60, what="the crowd reports")
            incarnations = {s["incarnation"] for s in plane.services(f"?binary={BINARY}").values()}
            with Watcher(plane, BINARY, COUNT) as watcher:
                for former, latter in pairwise(
                    ("db", "session", "zookeeper", "memcached", "session")
                ):
                    restart_with(former, latter)
                    until(ready, timeout=60, interval=0.5, what=f"ready for {latter}")
                    restart_with(latter, former)
                    until(lambda: all_because("present"), timeout=60, what=f"present, {latter}")
                restart_with("memcached", "session")
                until(lambda: all_because("present"), timeout=60, what="rolled back")
            assert watcher.flips == []
            assert watcher.answers > 50
            after = {s["incarnation"] for s in plane.services(f"?binary={BINARY}").values()}
            assert after == incarnations, "nobody had to register again"
    finally:
        plane.stop()
