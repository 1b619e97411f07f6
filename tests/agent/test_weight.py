"""A guest is light: what joining and watching load into a process, and how much of its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.control_plane import ControlPlane

MIB = 1024

WEIGH = """
import sys
def rss():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
before = rss()
from servicegroup.agent.join import join
membership = join("worker", host="weighed", url=sys.argv[1])
while membership.last_report is None:
    pass
weight = rss() - before
from servicegroup.agent.watch import watch
next(watch(sys.argv[1], after=0))
print(weight, *sys.modules)
membership.leave()
"""

HEAVY = {
    "alembic",
    "click",
    "importlib.metadata",
    "kazoo",
    "oslo_config",
    "rich",
    "sqlalchemy",
    "starlette",
    "urllib3",
    "uvicorn",
}


@pytest.fixture(scope="module")
def weighed(plane: ControlPlane) -> list[str]:
    command = [sys.executable, "-c", WEIGH, plane.url]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()


def test_joining_and_watching_load_no_server_and_no_framework(weighed: list[str]) -> None:
    assert not HEAVY & set(weighed[1:])


def test_joining_takes_at_most_15_mib(weighed: list[str]) -> None:
    assert int(weighed[0]) <= 15 * MIB
