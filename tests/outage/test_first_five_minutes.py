"""What the README walks through: three agents, three ways to go, three reasons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from control_plane import ControlPlane
from fleet import fleet
from waiting import until


def openstack(url: str) -> dict[str, dict[str, Any]]:
    """Return what ``openstack compute service list`` shows, by host."""
    program = Path(sys.executable).with_name("openstack")
    endpoint = ["--os-auth-type", "none", "--os-endpoint", f"{url}/v2.1"]
    listed = subprocess.run(
        [program, *endpoint, "compute", "service", "list", "-f", "json"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return {row["Host"]: row for row in msgspec.json.decode(listed.stdout)}


def test_three_agents_go_down_for_three_reasons(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    plane = control_plane

    def verdict(host: str) -> tuple[str, str]:
        found = plane.services(f"?host={host}")[host, "nova-compute"]["verdict"]
        return found["state"], found["reason"]

    hosts = ["crashed", "broken", "stopped"]
    with fleet(plane.url, hosts, tmp_path, "sleep", "600") as (crashed, broken, stopped):
        until(lambda: len(plane.services("?state=up&binary=nova-compute")) == 3, what="all up")
        assert {openstack(plane.url)[host]["State"] for host in hosts} == {"up"}

        os.kill(broken.child(), signal.SIGKILL)
        assert broken.process.wait(10) == 128 + signal.SIGKILL
        assert verdict("broken") == ("down", "exited")
        assert plane.services("?host=broken")["broken", "nova-compute"]["detail"]

        assert stopped.stop() == 128 + signal.SIGTERM
        assert verdict("stopped") == ("down", "left")

        assert verdict("crashed") == ("up", "reporting")
        crashed.kill()
        until(lambda: verdict("crashed") == ("down", "silent"), timeout=20, what="silent")
        assert {openstack(plane.url)[host]["State"] for host in hosts} == {"down"}
