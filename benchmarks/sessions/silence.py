"""From a cut cable, and from SIGSTOP, to "down": what no end of a connection tells of."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.detection import APART, BINARY, present
from benchmarks.results import Claim, Section
from benchmarks.sessions import SESSION
from benchmarks.sessions.cable import HERE, Cable
from servers.process import freeze, reaper
from servicegroup.model import Limits
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

CUT = 5.5
"""Seconds until a dead host is shown."""

HUNG = Limits().membership_ttl + 2.0
"""Seconds until a process that hangs is shown, with the defaults."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure both."""
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    times = 2 if bench.quick else 10
    for name, measure, most in (
        ("the link is cut", _cut, CUT),
        ("SIGSTOP", _hung, HUNG),
    ):
        bench.say(f"Sessions, {name}, {times} times ...")
        directory = bench.directory / f"silence-{len(rows)}"
        directory.mkdir()
        seconds = measure(directory, times)
        if not seconds:
            claims.append(
                Claim(f"{name} → down, worst of {times}", "needs root", f"≤ {most} s", None)
            )
            continue
        rows.append((name, f"{median(seconds):.2f} s", f"{max(seconds):.2f} s"))
        claims.append(
            Claim(f"{name} → down, default configuration, worst of {times}",
                  f"{max(seconds):.2f} s", f"≤ {most} s", max(seconds) <= most)
        )  # fmt: skip
    yield Section(
        "Dead hosts and processes that hang, with sessions",
        "No option is set but where to listen, and a list is asked for every 20 ms. The link is"
        " that of a network namespace with one agent in it, cut behind a bridge so that neither end"
        " learns of it, and mended each time. The agents that hang are in groups of their own.",
        claims,
        ("", "median", "worst"),
        rows,
    )


@contextmanager
def _running(plane: ControlPlane) -> Iterator[None]:
    plane.start()
    try:
        yield
    finally:
        plane.stop()


def _seconds_until_down(plane: ControlPlane, host: str, since: float) -> float:
    until(lambda: (host, BINARY) in plane.services("?state=down"), 60, 0.02, f"{host} is down")
    return time.monotonic() - since


def _cut(directory: Path, times: int) -> list[float]:
    """Return the seconds that each cut took to be seen, none where no link can be cut."""
    if not Cable.possible():
        return []
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory, **SESSION)
    plane.configure("[api]\ninsecure = true\n", bind=f"{HERE}:{plane.port}", **SESSION)
    plane.url = f"http://{HERE}:{plane.port}"
    seconds = []
    with Cable() as cable, _running(plane), _behind(cable, plane.url, "far", directory):
        for _ in range(times):
            until(lambda: present(plane) == {"far"}, timeout=60, what="its session")
            cable.cut()
            seconds.append(_seconds_until_down(plane, "far", time.monotonic()))
            cable.mend()
    return seconds


@contextmanager
def _behind(cable: Cable, url: str, host: str, directory: Path) -> Iterator[None]:
    """Run an agent on the other host."""
    command = [*cable.enter, sys.executable, "-m", "servicegroup", "agent", "--url", url]
    command += ["--host", host, "--binary", BINARY]
    with (directory / "agent.log").open("ab") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
    reaper().remember(agent.pid)
    try:
        yield
    finally:
        agent.kill()
        agent.wait(10)


def _hung(directory: Path, times: int) -> list[float]:
    """Return the seconds that each process that hangs took to be seen."""
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory, **SESSION)
    hosts = [f"h{number}" for number in range(times)]
    with _running(plane), fleet(plane.url, hosts, directory, binary=BINARY, apart=True) as agents:
        until(lambda: present(plane) == set(hosts), timeout=120, what="all present")
        stopped = {}
        for agent in agents:
            _stop(agent)
            stopped[agent.host] = time.monotonic()
            time.sleep(APART)
        return [_seconds_until_down(plane, host, since) for host, since in stopped.items()]


def _stop(agent: Agent) -> None:
    freeze(agent.process.pid)
