"""A process whose work stands still, while its agent's threads live: up and deaf (F-40)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import servicegroup
from support.control_plane import ControlPlane
from support.waiting import until

PATIENCE = 30.0

WORKER = """
import sys, time
from pathlib import Path
import servicegroup

url, hangs = sys.argv[1], Path(sys.argv[2])
with servicegroup.join("worker", host="h1", url=url, answers=True) as membership:
    while True:
        while hangs.exists():  # as on a lock, or a call that never returns
            time.sleep(0.02)
        membership.answer()
        time.sleep(0.02)
"""


@pytest.fixture(params=["warn", "down"])
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlPlane]:
    """Give a control plane that asks often, and for which deaf is what the parameter says."""
    plane = ControlPlane(
        f"sqlite:///{tmp_path / 'register.sqlite'}",
        tmp_path,
        f"[rpc]\ninterval = 2\ntimeout = 1\ndeaf = {request.param}\n",
        report_interval=1,
        service_down_time=20,
        heartbeat_interval=0.3,
    )
    plane.start()
    yield plane
    plane.stop()


def verdict(plane: ControlPlane) -> dict[str, Any]:
    found = plane.services("?host=h1").get(("h1", "worker"))
    judged: dict[str, Any] = found["verdict"] if found else {"reason": "", "state": ""}
    return judged


def recorded(plane: ControlPlane) -> list[str]:
    """Return why services went down, as the observer recorded it."""
    _, _, page = plane.request("GET", "/v1/events?kind=service-down")
    return [event["reason"] for event in page["events"]]


def test_a_work_loop_that_hangs_is_deaf_and_answers_when_it_goes_on(
    plane: ControlPlane, tmp_path: Path
) -> None:
    hangs = tmp_path / "hangs"
    is_down = "deaf = down" in plane.config.read_text()
    deaf = {"reason": "deaf", "state": "down" if is_down else "up"}

    def is_judged(**wanted: str) -> bool:
        found = verdict(plane)
        return all(found[name] == value for name, value in wanted.items())

    def answers() -> bool:
        rpc = verdict(plane).get("evidence", {}).get("rpc")
        return rpc is not None and rpc["state"] == "answers"

    worker = subprocess.Popen([sys.executable, "-c", WORKER, plane.url, str(hangs)])
    try:
        until(answers, PATIENCE)
        assert is_judged(reason="present", state="up")
        hangs.touch()
        until(lambda: is_judged(**deaf), PATIENCE)
        evidence = verdict(plane)["evidence"]
        assert evidence["presence"]["state"] == "present", "its session goes on"
        assert evidence["report_age"] < 5, "and so do its reports"
        until(lambda: recorded(plane) == (["deaf"] if is_down else []), PATIENCE)
        hangs.unlink()
        until(lambda: is_judged(reason="present", state="up"), PATIENCE)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait(10)


def test_without_a_session_there_is_nothing_to_answer(tmp_path: Path) -> None:
    """The work loop calls it all the same: before the first session, and after the end."""
    membership = servicegroup.join("worker", host="h1", url="http://127.0.0.1:1", answers=True)
    membership.answer()
    membership.leave()
    membership.answer()
