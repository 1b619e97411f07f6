"""Ten thousand members: joining them all, listing them, and watching a few of them change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.detection import CASES, Case
from benchmarks.measure import ask, measured
from benchmarks.results import Claim, Section, ms
from servers.process import Server
from servicegroup import config
from servicegroup.driver import Driver, load
from servicegroup.model import Member
from support.control_plane import ControlPlane
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

GROUP = "compute"
TTL = 600.0
"""Seconds; long, so that nobody has to heartbeat while lists are timed."""

LIST_TARGETS = {"zookeeper": 0.035, "memcached": 0.050, "redis": 0.050, "etcd": 0.080}
"""Seconds for 10,000 services through os-services, by driver."""

WATCH_TARGET = 0.05
CHANGES = 100
"""Changes a second while the cost of watching is measured."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure every driver whose server is installed."""
    count = 1_000 if bench.quick else 10_000
    rows, claims = [], []
    for case in CASES[1:]:
        server = case.server()
        if not server.installed():
            continue
        bench.say(f"Members, {case.driver}, {count:,} ...")
        directory = bench.directory / f"members-{case.driver}"
        directory.mkdir()
        with server:
            joining, listing, watching, observing = _measured(case, server, bench, directory, count)
        shares = (f"{watching:.1%}", f"{observing:.1%}")
        rows.append((case.driver, f"{joining:.1f} s", ms(listing), *shares))
        claims.append(
            Claim(f"`GET /os-services`, {count:,} services, driver {case.driver}", ms(listing),
                  f"≤ {ms(LIST_TARGETS[case.driver])}", listing <= LIST_TARGETS[case.driver])
        )  # fmt: skip
        if case.driver == "zookeeper":
            claims.append(
                Claim(f"watching {count:,} members, {CHANGES} changes/s, of a core",
                      f"{watching:.1%}", f"≤ {WATCH_TARGET:.0%}", watching <= WATCH_TARGET)
            )  # fmt: skip
    yield Section(
        "Members",
        "All members join from one process, one heartbeat after another. The list is Nova's, wall"
        " time, median. Watching is a control plane's CPU while members leave and join again at"
        f" {CHANGES} changes a second and nobody asks; only drivers that push have such a cost."
        " Observing is that of another one, which also records every change of state as an event.",
        claims,
        ("driver", "joining", "list", "watching", "observing"),
        rows,
    )


def _measured(
    case: Case, server: Server, bench: Bench, directory: Path, count: int
) -> tuple[float, float, float, float]:
    url = bench.postgresql.database()
    register.seed(url, count)
    observer, plane = (ControlPlane(url, directory) for _ in range(2))
    for each in (observer, plane):
        each.configure(
            case.section(server),
            servicegroup_driver=case.driver,
            membership_ttl=TTL,
            service_down_time=3600,
        )
    settings = config.load(str(plane.config))
    driver = load(settings.driver.name, settings.driver.options)
    members = [Member(GROUP, register.host(n)) for n in range(1, count + 1)]
    begun = time.perf_counter()
    for member in members:
        driver.heartbeat(member, 1, TTL)
    joining = time.perf_counter() - begun
    try:
        observer.start()
        until(lambda: "ETag" in observer.request("GET", "/v1/services?limit=1")[1], timeout=60)
        plane.start()
        until(lambda: all_present(plane, count), timeout=60, interval=0.5, what="all present")
        asked = ask(
            f"{plane.url}/v2.1/os-services",
            {"control plane": plane.process.pid},
            bench.requests,
            lambda body: None,
        )
        pids = {"watching": plane.process.pid, "observing": observer.process.pid}
        shares = _shares(pids, driver, members, bench.seconds)
        return joining, asked.seconds, shares["watching"], shares["observing"]
    finally:
        plane.stop()
        observer.stop()
        driver.close()


def all_present(plane: ControlPlane, count: int) -> bool:
    """Tell whether all seeded services are up because they are present."""
    found = plane.services("?binary=nova-compute").values()
    return [s["verdict"]["reason"] for s in found] == ["present"] * count


def _shares(
    pids: dict[str, int], driver: Driver, members: list[Member], seconds: float
) -> dict[str, float]:
    """Return the share of a core each process spends on members that change."""
    with measured(pids) as idle:
        time.sleep(seconds)
    changes = 0
    with measured(pids) as busy:
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            if changes > passed * CHANGES:
                time.sleep(0.001)
                continue
            member = members[changes // 2 % len(members)]
            if changes % 2:
                driver.heartbeat(member, 1, TTL)
            else:
                driver.leave(member, 1)
            changes += 1
    return {
        name: max(0.0, busy.cpu[name] / busy.seconds - idle.cpu[name] / idle.seconds)
        for name in pids
    }
