"""From ``kill -9`` of an agent to "down" with sessions, beside Serf and ZooKeeper."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.detection import APART, BINARY, CASES, detect, present
from benchmarks.following import Following, read_downs
from benchmarks.results import Claim, Section
from benchmarks.sessions import SESSION
from benchmarks.sessions.serf import NODES, Serf, cluster, kill_all
from servers.zookeeper import ZooKeeper
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SHOWN, TOLD = 1.6, 1.9
"""Seconds until a list says so, and until a follower of events knows."""

ZOOKEEPER = CASES[1]
TIMES = {"Serf": 4.0, "ZooKeeper": 1.4}
"""How many times sooner than the peer, in the median."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure sessions, and the peers that are installed."""
    kills = 5 if bench.quick else 30
    bench.say(f"Crashes with sessions, {kills} kills ...")
    directory = bench.directory / "crashes"
    directory.mkdir()
    shown, told = _sessions(directory, kills)
    rows = [_row("session, until a list says so", shown), _row("session, until told", told)]
    claims = [
        Claim(f"`kill -9` → down, default configuration, worst of {kills}", f"{max(shown):.2f} s",
              f"≤ {SHOWN} s", max(shown) <= SHOWN),
        Claim(f"`kill -9` → event at a follower, the same, worst of {kills}",
              f"{max(told):.2f} s", f"≤ {TOLD} s", max(told) <= TOLD),
    ]  # fmt: skip
    for peer, seconds in _peers(bench, directory, kills):
        rows.append(_row(peer, seconds))
        ratio, target = median(seconds) / median(shown), TIMES[peer.partition(",")[0]]
        claims.append(
            Claim(f"the same in the median, against {peer}", f"{ratio:.1f}x", f"≥ {target:g}x",
                  ratio >= target)
        )  # fmt: skip
    yield Section(
        "Crashes, with sessions",
        f"{kills} agents, each a process of its own in a group of its own, killed one after another"
        f" {APART} s apart, with no option set and SQLite; a list is asked for every 20 ms, and a"
        f" follower reads `/v1/events/stream`. Of Serf's {NODES} agents one is killed at a time and"
        " comes back; the time is until the first agent says that it failed.",
        claims,
        ("", "median", "worst"),
        rows,
    )


def _row(name: str, seconds: list[float]) -> tuple[str, ...]:
    return (name, f"{median(seconds):.2f} s", f"{max(seconds):.2f} s")


def _peers(bench: Bench, directory: Path, kills: int) -> Iterator[tuple[str, list[float]]]:
    """Give the seconds that each peer took to see each kill."""
    if Serf.installed():
        bench.say("Crashes with Serf ...")
        with cluster() as nodes:
            yield f"Serf, {NODES} nodes, LAN profile", list(kill_all(nodes, kills))
    if ZooKeeper.installed():
        bench.say("Crashes with ZooKeeper ...")
        own = directory / "zookeeper"
        own.mkdir()
        with ZOOKEEPER.server() as server:
            seconds, _ = detect(ZOOKEEPER, server, own, kills)
        yield ZOOKEEPER.name, seconds


def _sessions(directory: Path, kills: int) -> tuple[list[float], list[float]]:
    """Return the seconds until each kill was shown, and until it was told."""
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory, **SESSION)
    plane.start()
    try:
        hosts = [f"h{n}" for n in range(kills)]
        with fleet(plane.url, hosts, directory, binary=BINARY, apart=True) as agents:
            until(lambda: present(plane) == set(hosts), timeout=120, what="all present")
            return asyncio.run(_kill_all(plane, agents))
    finally:
        plane.stop()


async def _kill_all(plane: ControlPlane, agents: list[Agent]) -> tuple[list[float], list[float]]:
    killed: dict[str, float] = {}
    shown: dict[str, float] = {}
    told: dict[str, float] = {}
    async with (
        Following(plane.url) as following,
        asyncio.timeout(120),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(read_downs(following, told, len(agents)))
        tasks.create_task(_look(plane, shown, len(agents)))
        for agent in agents:
            agent.process.kill()
            killed[agent.host] = time.monotonic()
            await asyncio.sleep(APART)
    first, second = (
        [seen[agent.host] - killed[agent.host] for agent in agents] for seen in (shown, told)
    )
    return first, second


async def _look(plane: ControlPlane, shown: dict[str, float], count: int) -> None:
    """Note when a list first says of each that it is down."""
    while len(shown) < count:
        down = await asyncio.to_thread(plane.services, f"?binary={BINARY}&state=down")
        for host, _ in down:
            shown.setdefault(host, time.monotonic())
        await asyncio.sleep(0.02)
