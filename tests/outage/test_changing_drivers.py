"""A running fleet changes drivers, forth and back, and no verdict ever flips (S9, AND-5)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import urllib3

from control_plane import ControlPlane
from crowd import BINARY
from servers.memcached import Memcached
from servers.zookeeper import ZooKeeper
from waiting import until

COUNT = 50
LIMITS: dict[str, Any] = {
    "report_interval": 2,
    "service_down_time": 12,
    "heartbeat_interval": 1,
    "membership_ttl": 4,
}


@contextmanager
def crowd(url: str) -> Iterator[None]:
    """Give a process with many services."""
    script = Path(__file__).parent.parent / "crowd.py"
    process = subprocess.Popen([sys.executable, script, url, str(COUNT)])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


class Watcher:
    """Asks for the crowd again and again, and remembers whoever was not up."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.answers = 0
        self.flips: list[Any] = []

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            try:
                found = self._plane.services(f"?binary={BINARY}")
            except (urllib3.exceptions.HTTPError, AssertionError):
                continue  # the control plane restarts, as it must to read its configuration
            self.answers += 1
            flips = [s["verdict"] for s in found.values() if s["verdict"]["state"] != "up"]
            if flips or len(found) != COUNT:
                self.flips.append((len(found), flips[:1]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.mark.timeout(300)
def test_fifty_services_move_to_zookeeper_and_on_to_memcached_and_back(
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
        with crowd(plane.url):
            until(lambda: all_because("reporting"), timeout=60, what="the crowd reports")
            incarnations = {s["incarnation"] for s in plane.services(f"?binary={BINARY}").values()}
            with Watcher(plane) as watcher:
                restart_with("db", "zookeeper")
                until(ready, timeout=60, interval=0.5, what="ready for zookeeper")
                restart_with("zookeeper", "db")
                until(lambda: all_because("present"), timeout=60, what="present in zookeeper")
                restart_with("zookeeper", "memcached")
                until(ready, timeout=60, interval=0.5, what="ready for memcached")
                restart_with("memcached", "zookeeper")
                until(lambda: all_because("present"), timeout=60, what="present in memcached")
                restart_with("zookeeper", "memcached")
                until(lambda: all_because("present"), timeout=60, what="rolled back")
            assert watcher.flips == []
            assert watcher.answers > 50
            after = {s["incarnation"] for s in plane.services(f"?binary={BINARY}").values()}
            assert after == incarnations, "nobody had to register again"
    finally:
        plane.stop()
