"""``driver`` and ``drill`` against running control planes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane
from support.waiting import until

pytestmark = pytest.mark.long

LIMITS: dict[str, Any] = {
    "report_interval": 1,
    "service_down_time": 4,
    "heartbeat_interval": 0.5,
    "membership_ttl": 2,
}


@pytest.fixture(scope="module")
def plane(
    zookeeper_server: ZooKeeper, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """Give a control plane with driver zookeeper and db as its shadow."""
    directory = tmp_path_factory.mktemp("plane")
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    drivers = {"servicegroup_driver": "zookeeper", "servicegroup_shadow_driver": "db"}
    section = (
        f"[zookeeper]\naddress = {zookeeper_server.address}\nsession_timeout = 2\n"
        f"prefix = /drills-{plane.port}\n"
    )
    plane.configure(section, **LIMITS, **drivers)
    plane.start()
    yield plane
    plane.stop()


def run(plane: ControlPlane, *arguments: str, remote: bool = True) -> tuple[int, str, str]:
    where = ["--url", plane.url] if remote else ["--config-file", str(plane.config)]
    command = [sys.executable, "-m", "servicegroup", *where, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("remote", [True, False])
def test_list_shows_the_drivers_and_how_fast_they_are(plane: ControlPlane, remote: bool) -> None:
    code, out, err = run(plane, "driver", "list", "-f", "json", remote=remote)
    assert code == 0, err
    obeyed, shadow = msgspec.json.decode(out)
    assert (obeyed["driver"], obeyed["obeyed"], obeyed["own_signal"]) == ("zookeeper", True, True)
    assert obeyed["crash_to_absent"] == pytest.approx(2 + 2 + 2 + 2 + 0.3)  # a leader's death too
    assert (shadow["driver"], shadow["obeyed"], shadow["crash_to_absent"]) == ("db", False, None)


def test_ready_and_compare_say_the_same(plane: ControlPlane) -> None:
    until(lambda: run(plane, "driver", "ready")[0] == 0, timeout=30, interval=0.5, what="ready")
    assert "would change no verdict" in run(plane, "driver", "ready")[1]
    assert run(plane, "driver", "compare", "-f", "value")[:2] == (0, "")
    life = plane.request("POST", "/v1/services", {"host": "only-reports", "binary": "b"})[2]
    report = {"reports": [{"uuid": life["uuid"], "incarnation": life["incarnation"]}]}

    def compared() -> list[dict[str, str]]:
        plane.request("POST", "/v1/reports", report)
        code, out, _ = run(plane, "driver", "compare", "-f", "json")
        assert code == 0
        return [row for row in msgspec.json.decode(out) if row["host"] == "only-reports"]

    # It never joins ZooKeeper: once the time to join is over, only db would say up. Until then
    # ready exits 1 as well where a driver cannot tell yet, so the row itself is waited for.
    until(lambda: bool(compared()), timeout=30, interval=0.2, what="a disagreement")
    assert run(plane, "driver", "ready")[0] == 1
    (row,) = compared()
    assert (row["now"], row["because"], row["would_be"]) == ("down", "absent", "up")
    plane.request("DELETE", f"/v1/services/{life['uuid']}")


def test_without_a_shadow_there_is_nothing_to_compare(control_plane: ControlPlane) -> None:
    code, out, err = run(control_plane, "driver", "ready")
    assert (code, out) == (2, "")
    assert "set servicegroup_shadow_driver" in err


def test_a_drill_measures_a_crash_and_cleans_up(plane: ControlPlane) -> None:
    code, out, err = run(plane, "drill", "-f", "json")
    measured = msgspec.json.decode(out)
    assert (measured["driver"], measured["reason"]) == ("zookeeper", "absent"), err
    assert 0.5 < measured["seconds"] <= measured["at_most"]
    assert code == 0
    assert not plane.services("?binary=drill-canary")


def test_a_drill_under_db_ends_with_silence(control_plane: ControlPlane, tmp_path: Path) -> None:
    code, out, err = run(control_plane, "drill", "-f", "json")
    measured = msgspec.json.decode(out)
    assert (measured["driver"], measured["reason"]) == ("db", "silent"), err
    assert code == 0, measured
    assert run(control_plane, "drill", remote=False)[0] == 2
