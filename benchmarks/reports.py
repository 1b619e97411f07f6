"""Reports over HTTP into PostgreSQL, each answered after its commit, as fast as they are taken.

The load comes from another process on the same machine, so the rate is what is left beside it;
CPU per report is of the control plane and PostgreSQL alone. After each run the database must
have counted exactly as many reports as were acknowledged.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from benchmarks import register
from benchmarks.generator import generator, go
from benchmarks.measure import measured
from benchmarks.results import Claim, Section, factor, ms, us
from servicegroup.store import database

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Heartbeats


class Load(Struct, frozen=True):
    """Who reports how: services in the register, reports in a request, connections, targets."""

    services: int
    batch: int
    connections: int
    rate: int = 0
    ratio: int = 0
    way: str = "post"


SINGLE = Load(services=10_000, batch=1, connections=500, rate=10_000, ratio=50)
BATCHES = Load(services=100_000, batch=100, connections=50, rate=50_000, ratio=300)


class Taken(Struct, frozen=True):
    """Medians of some runs; CPU seconds per report by process tree, waits in seconds."""

    rate: float
    cpu: dict[str, float]
    wait: float
    slowest: float

    @property
    def charged(self) -> float:
        """CPU seconds per report of the control plane and its database."""
        return self.cpu["serve"] + self.cpu["postgresql"]


def run(bench: Bench) -> Iterator[Section]:
    """Measure single reports and batches of 100, against Nova's heartbeats by conductor."""
    taken = {load: measure(bench, load) for load in (SINGLE, BATCHES)}
    nova = bench.peer.heartbeats
    rows = [row(load, result) for load, result in taken.items()]
    if nova:
        rows.append(_nova_row(nova))
    yield Section(
        "Reports",
        "One request in flight per connection, from a load generator on the same cores; medians of"
        f" {bench.runs} runs of {bench.seconds:g} s. CPU is per report. Acknowledged and committed"
        " reports are equal in every run.",
        [claim for load, result in taken.items() for claim in _claims(bench, load, result)],
        ("", "services/s", "server CPU", "PostgreSQL CPU", "together", "client CPU", "wait"),
        rows,
    )


def _claims(bench: Bench, load: Load, taken: Taken) -> Iterator[Claim]:
    what = "single reports" if load.batch == 1 else f"reports in batches of {load.batch}"
    yield Claim(
        f"{what}, services per second on {bench.cores} cores",
        f"{taken.rate:,.0f}/s",
        f"{load.rate:,}/s",
        taken.rate >= load.rate,
    )
    what += ", CPU each, against Nova's conductor path"
    nova = bench.peer.heartbeats
    if nova is None:
        yield Claim(what, bench.peer.missing, f"{load.ratio}x", None)
        return
    peer = nova.control_plane_cpu_ms / 1000
    met = peer / taken.charged >= load.ratio
    yield Claim(what, factor(peer, taken.charged), f"{load.ratio}x", met)


def _nova_row(nova: Heartbeats) -> tuple[str, ...]:
    cpu = {name: each / 1000 for name, each in nova.cpu_ms.items()}
    return (
        f"Nova, {nova.reporters} hosts by conductor and RabbitMQ",
        f"{nova.per_second:,.0f}/s",
        us(cpu["conductor"] + cpu["rabbitmq"]),
        us(cpu["postgresql"]),
        us(nova.control_plane_cpu_ms / 1000),
        us(cpu["reporter"]),
        "",
    )


def row(load: Load, taken: Taken) -> tuple[str, ...]:
    """Return the row of a load, as both tables of reports have it."""
    what = "request" if load.way == "post" else "frame"
    return (
        f"{load.batch} a {what}, {load.connections} connections, {load.services:,} services",
        f"{taken.rate:,.0f}/s",
        us(taken.cpu["serve"]),
        us(taken.cpu["postgresql"]),
        us(taken.charged),
        us(taken.cpu["client"]),
        f"{ms(taken.wait)}, 99 % under {ms(taken.slowest)}",
    )


def measure(bench: Bench, load: Load) -> Taken:
    """Measure one load on a register of its own."""
    bench.say(f"Reports, {load.batch} a request, by {load.way} ...")
    url = bench.postgresql.database()
    register.seed(url, load.services)
    engine = database.connect(url)
    with (
        register.control_plane(url, bench.directory) as plane,
        generator(
            bench.directory,
            plane.port,
            register.uuids(engine),
            batch=load.batch,
            connections=load.connections,
            seconds=bench.seconds,
            way=load.way,
        ) as crowd,
    ):
        pids = {
            "serve": plane.process.pid,
            "postgresql": bench.postgresql.pid,
            "client": crowd.pid,
        }
        go(crowd)  # learns ids, prepares statements
        runs = [_one(engine, load, crowd, pids) for _ in range(bench.runs)]
    engine.dispose()
    return Taken(
        median(run.rate for run in runs),
        {name: median(run.cpu[name] for run in runs) for name in pids},
        median(run.wait for run in runs),
        max(run.slowest for run in runs),
    )


def _one(engine: Engine, load: Load, crowd: subprocess.Popen[str], pids: dict[str, int]) -> Taken:
    committed = register.reports(engine)
    with measured(pids) as result:
        done = go(crowd)
    committed = register.reports(engine) - committed
    acknowledged = done["requests"] * load.batch
    if acknowledged != committed:
        raise AssertionError(f"{acknowledged} reports acknowledged, {committed} committed")
    return Taken(
        committed / done["seconds"],
        {name: seconds / committed for name, seconds in result.cpu.items()},
        done["median"],
        done["slowest"],
    )
