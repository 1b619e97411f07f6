"""From ``kill -9`` of an agent to "down" in the REST API, thirty times a driver (spec S6)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from benchmarks.results import Claim, Section
from servers.etcd import Etcd
from servers.memcached import Memcached
from servers.process import Server
from servers.redis import Redis
from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

BINARY = "nova-compute"
APART = 0.37
"""Seconds between two kills, so that they fall on every phase of a tick and an interval."""

SLACK = 0.3
"""Seconds granted beyond the formula: the look at the API and a busy machine."""

LIMITS: dict[str, Any] = {
    "report_interval": 10,
    "service_down_time": 60,
    "heartbeat_interval": 1,
    "membership_ttl": 4,
}


class Case(Struct, frozen=True):
    """A driver on a server, with the section that configures it."""

    name: str
    driver: str
    server: Callable[[], Server]
    section: Callable[[Any], str]
    target: float | None = None
    """Seconds; the driver's own formula where none is set."""


CASES = (
    Case(
        "ZooKeeper, session 4 s, tick 2000 ms", "zookeeper", lambda: ZooKeeper(2000),
        lambda server: f"[zookeeper]\naddress = {server.address}\nsession_timeout = 4\n",
        target=4.0 + 2.0,
    ),
    Case(
        "ZooKeeper, session 2 s, tick 500 ms", "zookeeper", lambda: ZooKeeper(500),
        lambda server: f"[zookeeper]\naddress = {server.address}\nsession_timeout = 2\n",
        target=2.0 + 0.5,
    ),
    Case(
        "memcached, time to live 4 s", "memcached", Memcached,
        lambda server: f"[memcached]\nservers = {server.address}\n",
    ),
    Case(
        "Redis, time to live 4 s", "redis", Redis,
        lambda server: f"[redis]\nurl = {server.url}\n",
    ),
    Case(
        "etcd, time to live 4 s", "etcd", Etcd,
        lambda server: f"[etcd]\nendpoints = {server.url}\n",
    ),
)  # fmt: skip


def run(bench: Bench) -> Iterator[Section]:
    """Measure every driver whose server is installed."""
    rows: list[tuple[str, ...]] = []
    claims: list[Claim] = []
    kills = 5 if bench.quick else 30
    for case in CASES:
        server = case.server()
        if not server.installed():
            continue
        bench.say(f"Detection, {case.name}, {kills} kills ...")
        with server:
            directory = bench.directory / f"detection-{len(rows)}"
            directory.mkdir()
            seconds, formula = detect(case, server, directory, kills)
        worst, bound = max(seconds), case.target or formula
        rows.append((case.name, f"{median(seconds):.2f} s", f"{worst:.2f} s", f"{formula:.2f} s"))
        claims.append(
            Claim(f"`kill -9` → down, {case.name}, worst of {kills}", f"{worst:.2f} s",
                  f"≤ {bound:.2f} + {SLACK} s", worst <= bound + SLACK)
        )  # fmt: skip
    yield Section(
        "Detection",
        f"{kills} agents, each a process of its own in a group of its own, so that no crowd accuses"
        f" the backend, killed one after another {APART} s apart while `GET /v1/services` is asked"
        " every 20 ms. The formula is the driver's own, from the"
        " timeout that was negotiated; for ZooKeeper the target is the session and one tick.",
        claims,
        ("driver", "median", "worst", "formula"),
        rows,
    )


def detect(case: Case, server: Server, directory: Path, kills: int) -> tuple[list[float], float]:
    """Return the seconds each kill took to be seen, and the most that the driver states."""
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.configure(case.section(server), servicegroup_driver=case.driver, **LIMITS)
    plane.start()
    try:
        hosts = [f"h{n}" for n in range(kills)]
        with fleet(plane.url, hosts, directory, binary=BINARY, apart=True) as agents:
            until(lambda: present(plane) == set(hosts), timeout=120, what="all present")
            (driver,) = plane.request("GET", "/v1/drivers")[2]["drivers"]
            return _kill_all(plane, agents), float(driver["detection_seconds"])
    finally:
        plane.stop()


def present(plane: ControlPlane) -> set[str]:
    """Return the hosts that are up and present."""
    found = plane.services(f"?binary={BINARY}&state=up").values()
    return {s["host"] for s in found if s["verdict"]["reason"] == "present"}


def _kill_all(plane: ControlPlane, agents: list[Agent]) -> list[float]:
    waiting = list(agents)
    killed: dict[str, float] = {}
    seen: dict[str, float] = {}
    next_kill = time.monotonic()
    deadline = next_kill + 120
    while len(seen) < len(agents) and time.monotonic() < deadline:
        if waiting and time.monotonic() >= next_kill:
            agent = waiting.pop()
            agent.process.kill()
            killed[agent.host] = time.monotonic()
            next_kill += APART
        down = plane.services(f"?binary={BINARY}&state=down")
        for host, _ in down:
            if host in killed:
                seen.setdefault(host, time.monotonic() - killed[host])
        time.sleep(0.02)
    return [seen.get(agent.host, float("inf")) for agent in agents]
