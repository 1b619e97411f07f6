"""Three nodes of a Galera cluster that all take writes, against one: registrations and reports.

Three control planes each have a node of their own, three others share one of the nodes, and at last
those three have it for themselves, without a cluster: commits on several nodes conflict where they
change the same rows, and begin again (F-26).
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from benchmarks import register
from benchmarks.generator import generator, go
from benchmarks.results import Claim, Section, ms
from servers.galera import NODES, GaleraCluster, GaleraNode
from servers.process import PATIENCE
from servicegroup.store import database
from support.control_plane import ControlPlane
from support.waiting import until

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from benchmarks.bench import Bench

RUNS = 3
JOINS = 160
TIMES = 3.0
"""How many times as long registrations over three nodes may take as on one."""

SHARE = 0.7
"""The share of one node's reports that three have to take at least."""

SERVICES = 3_000
CONNECTIONS = 60
"""To each control plane."""


class Fleet(Struct, frozen=True):
    """Control planes, and a load generator for each."""

    planes: Sequence[ControlPlane]
    generators: Sequence[subprocess.Popen[str]]


class Taken(Struct):
    """What some control planes took, run by run."""

    seconds: list[float] = []
    """Until the last of the registrations was answered."""
    refused: int = 0
    rates: list[float] = []
    """Reports a second."""

    @property
    def time(self) -> float:
        """The median of the seconds."""
        return median(self.seconds)

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)


def run(bench: Bench) -> Iterator[Section]:
    """Measure three nodes, one of three, and one alone."""
    if not GaleraNode.installed():
        return
    bench.say("A Galera cluster ...")
    spread, shared, alone = _measured(bench)
    taken = {
        "three nodes": spread,
        "one of three nodes": shared,
        "one node alone": alone,
    }
    ratio, share = spread.time / alone.time, spread.rate / alone.rate
    what = f"{JOINS} registrations at once over three Galera nodes"
    refused = sum(one.refused for one in taken.values())
    yield Section(
        "Galera",
        "Three control planes on three nodes of one cluster, on one of its nodes, and on a node"
        f" without others. {JOINS} new services register at once, a third at each control plane;"
        f" then {CONNECTIONS} connections to each send single reports for {bench.seconds / 2:g} s,"
        f" one in flight on each. Medians of {len(spread.rates)} runs. Acknowledged and committed"
        " reports are equal in every run.",
        [
            Claim(f"{what}, refused", str(refused), "none", not refused),
            Claim(f"{what}, against one alone", f"{ratio:.1f} times the time", f"≤ {TIMES:g} times",
                  ratio <= TIMES),
            Claim("reports a second over three Galera nodes, against one alone",
                  f"{share:.2f} times", f"≥ {SHARE:g} times", share >= SHARE),
        ],
        ("", f"{JOINS} registrations", "at worst", "refused", "reports"),
        [
            (name, ms(one.time), ms(max(one.seconds)), str(one.refused), f"{one.rate:,.0f}/s")
            for name, one in taken.items()
        ],
    )  # fmt: skip


def _measured(bench: Bench) -> tuple[Taken, Taken, Taken]:
    runs = 1 if bench.quick else RUNS
    numbers = count(1)
    spread, shared, alone = Taken(), Taken(), Taken()
    with ExitStack() as stack:
        cluster = stack.enter_context(GaleraCluster())
        urls = cluster.database()
        register.seed(urls[0], SERVICES)
        engine = database.connect(urls[0])
        stack.callback(engine.dispose)
        uuids = register.uuids(engine)
        planes = _planes(bench, stack, [*urls, urls[0], urls[0]])
        generators = [
            stack.enter_context(
                generator(
                    bench.directory,
                    plane.port,
                    uuids[number % NODES :: NODES],
                    batch=1,
                    connections=CONNECTIONS,
                    seconds=bench.seconds / 2,
                )
            )
            for number, plane in enumerate(planes)
        ]
        each = Fleet(planes[:NODES], generators[:NODES])
        same = Fleet([planes[0], *planes[NODES:]], [generators[0], *generators[NODES:]])
        for fleet in (each, same):
            _report(engine, fleet, Taken())  # learns ids
        for _ in range(runs):
            for fleet, taken in ((each, spread), (same, shared)):
                _register(fleet.planes, taken, numbers)
                _report(engine, fleet, taken)
        for plane in each.planes[1:]:
            plane.stop()
        for node in cluster.servers[1:]:
            node.stop()
        cluster.wait_until_whole(1)
        for _ in range(runs):
            _register(same.planes, alone, numbers)
            _report(engine, same, alone)
    return spread, shared, alone


def _planes(bench: Bench, stack: ExitStack, urls: Sequence[str]) -> list[ControlPlane]:
    planes = [ControlPlane(url, bench.directory, service_down_time=3600) for url in urls]
    for plane in planes:
        stack.callback(plane.stop)
        plane.start_only()
    for plane in planes:
        until(plane.is_ready, PATIENCE, what="a control plane")
    return planes


def _register(planes: Sequence[ControlPlane], taken: Taken, numbers: Iterator[int]) -> None:
    """Have new services register, all at once."""
    together = threading.Barrier(JOINS + 1)

    def join(number: int) -> int:
        body = {"host": f"new-{number}", "binary": "worker"}
        together.wait(PATIENCE)
        status, _, _ = planes[number % len(planes)].request("POST", "/v1/services", body)
        return status

    with ThreadPoolExecutor(JOINS) as threads:
        asked = [threads.submit(join, next(numbers)) for _ in range(JOINS)]
        together.wait(PATIENCE)
        begun = time.monotonic()
        taken.refused += sum(one.result() != 200 for one in asked)
        taken.seconds.append(time.monotonic() - begun)


def _report(engine: Engine, fleet: Fleet, taken: Taken) -> None:
    """Have everybody report for a while to their own control plane."""
    committed = register.reports(engine)
    with ThreadPoolExecutor(len(fleet.generators)) as threads:
        done = list(threads.map(go, fleet.generators))
    acknowledged = sum(one["requests"] for one in done)
    if (found := register.reports(engine) - committed) != acknowledged:
        raise AssertionError(f"{acknowledged:.0f} reports acknowledged, {found} committed")
    taken.rates.append(sum(one["requests"] / one["seconds"] for one in done))
