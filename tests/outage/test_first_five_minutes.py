"""What the README walks through: three agents, three ways to go, three reasons."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.process import PATIENCE
from support.control_plane import ControlPlane
from support.fleet import fleet, openstack
from support.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane with nothing configured."""
    plane = ControlPlane(f"sqlite:///{tmp_path / 'register.sqlite'}", tmp_path)
    plane.start()
    yield plane
    plane.stop()


def test_three_agents_go_down_for_three_reasons(plane: ControlPlane, tmp_path: Path) -> None:
    def verdict(host: str) -> tuple[str, str]:
        found = plane.services(f"?host={host}")[host, "nova-compute"]["verdict"]
        return found["state"], found["reason"]

    hosts = ["crashed", "broken", "stopped"]
    with fleet(plane.url, hosts, tmp_path, "sleep", "600") as (crashed, broken, stopped):
        until(
            lambda: len(plane.services("?state=up&binary=nova-compute")) == 3,
            PATIENCE,
            what="all up",
        )
        assert {openstack(plane.url)[host]["State"] for host in hosts} == {"up"}

        os.kill(broken.child(), signal.SIGKILL)
        assert broken.process.wait(PATIENCE) == 128 + signal.SIGKILL
        assert verdict("broken") == ("down", "exited")
        assert plane.services("?host=broken")["broken", "nova-compute"]["detail"]

        assert stopped.stop() == 128 + signal.SIGTERM
        assert verdict("stopped") == ("down", "left")

        assert verdict("crashed") == ("up", "present")
        crashed.kill()
        until(lambda: verdict("crashed") == ("down", "absent"), PATIENCE, what="absent")
        assert {openstack(plane.url)[host]["State"] for host in hosts} == {"down"}
