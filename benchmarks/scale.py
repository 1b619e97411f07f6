"""A whole fleet at its own pace: what it costs, how long it waits, and whether anybody is accused.

Every agent reports as real ones do, on a connection of its own, every 10 s. After each run every
service has as many reports committed as were acknowledged to it, or more.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select

from benchmarks import ROOT, register
from benchmarks.measure import measured, memory
from benchmarks.pace import Paced
from benchmarks.results import Claim, Section, ms
from servers.haproxy import HAProxy
from servers.process import reaper
from servicegroup.model import Limits
from servicegroup.store import database
from servicegroup.store.tables import services
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

LIMITS = Limits()
"""The defaults: 10 s between two reports, down after 60 s."""

SLOW = 1.0
"""Seconds a report may wait, 99 times of 100."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure one control plane, and several."""
    yield _one_plane(bench)
    yield _three_planes(bench)


# -- one control plane ---------------------------------------------------------------------------


def _one_plane(bench: Bench) -> Section:
    count, seconds = 2_000 if bench.quick else 10_000, bench.fleet_seconds
    bench.say(f"A fleet of {count:,} for {seconds} s ...")
    with planes_of(bench, count, 1) as [plane], agents_of(bench, plane, [plane.port]) as agents:
        pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
        pids["agents"] = agents.pid
        before = {name: memory(pid) for name, pid in pids.items()}
        with measured(pids) as spent:
            lists, down = watched(plane, seconds)
        after = {name: memory(pid) for name, pid in pids.items()}
        paced = ended(agents)
        check(plane, paced.acknowledged)
        down |= accused([plane])
    waits = sorted(paced.waits)
    share = {name: used / spent.seconds for name, used in spent.cpu.items()}
    slowest = waits[len(waits) * 99 // 100]
    return Section(
        "A fleet",
        f"{count:,} agents with the default intervals for {seconds} s on {bench.cores} cores, with"
        " driver db on PostgreSQL; a watcher lists who is down every second, which is part of the"
        f" CPU. {sum(paced.acknowledged.values()):,} reports were acknowledged and committed,"
        f" {paced.failed} attempts failed.",
        [
            Claim(f"{count:,} agents for {seconds} s, services ever shown or recorded as down",
                  str(len(down)), "none", not down),
            Claim(f"{count:,} agents, a report is acknowledged, 99 % of them within",
                  ms(slowest), f"≤ {ms(SLOW)}", slowest <= SLOW),
        ],
        ("", "of a core", "memory at the start", "at the end"),
        [
            *(
                (name, f"{share[name]:.1%}", f"{before[name]:.0f} MiB", f"{after[name]:.0f} MiB")
                for name in pids
            ),
            ("a report waits", f"median {ms(waits[len(waits) // 2])}",
             f"99 % within {ms(slowest)}", f"worst {ms(waits[-1])}"),
            ("who is down", f"median {ms(lists[len(lists) // 2])}", "", f"worst {ms(lists[-1])}"),
            ("between two reports of an agent", "", "", f"worst {paced.longest_pause:.2f} s"),
        ],
    )  # fmt: skip


def watched(
    plane: ControlPlane, seconds: float, every: float = 1.0
) -> tuple[list[float], set[str]]:
    """Ask ``every`` so often who is down; return the sorted times of that, and who ever was."""
    took, down = [], set[str]()
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        down |= {host for host, _ in plane.services("?group=compute&state=down")}
        took.append(time.monotonic() - begun)
        time.sleep(max(0.0, min(every, end - time.monotonic()) - took[-1]))
    return sorted(took), down


# -- several -------------------------------------------------------------------------------------


def _three_planes(bench: Bench) -> Section:
    count, seconds = (1_000, 20) if bench.quick else (5_000, 60)
    rows, claims = [], []
    for way in ("HAProxy", "the agents' lists"):
        if way == "HAProxy" and not HAProxy.installed():
            continue
        bench.say(f"Three control planes, by {way} ...")
        with ExitStack() as stack:
            planes = stack.enter_context(planes_of(bench, count, 3))
            ports = [plane.port for plane in planes]
            if way == "HAProxy":
                ports = [stack.enter_context(HAProxy(ports, count + 100)).port]
            agents = stack.enter_context(agents_of(bench, planes[0], ports))
            pids = {plane.url: plane.process.pid for plane in planes}
            begun = [_taken(plane) for plane in planes]
            with measured(pids) as spent:
                time.sleep(seconds)
            taken = [_taken(p) - first for p, first in zip(planes, begun, strict=True)]
            planes[0].kill()
            time.sleep(seconds)
            paced = ended(agents)
            check(planes[1], paced.acknowledged)
            down = accused(planes[1:])
        shares = " / ".join(f"{each / sum(taken):.0%}" for each in taken)
        cpu = " / ".join(f"{used / spent.seconds:.1%}" for used in spent.cpu.values())
        pause = f"{paced.longest_pause:.2f} s"
        rows.append((way, shares, cpu, str(paced.failed), pause))
        claims += [
            Claim(f"one of three killed, by {way}, services ever down", str(len(down)), "none",
                  not down),
            Claim(f"the same, by {way}, most time between reports of an agent", pause,
                  f"≤ {2 * LIMITS.report_interval:g} s",
                  paced.longest_pause <= 2 * LIMITS.report_interval),
        ]  # fmt: skip
    return Section(
        "Three control planes",
        f"{count:,} agents with the default intervals, {seconds} s with three control planes and"
        f" {seconds} s more after a `kill -9` of one. Shares and CPU are of the first {seconds} s;"
        " every acknowledged report is committed.",
        claims,
        ("behind", "reports", "of a core", "failed attempts", "longest between two reports"),
        rows,
    )


def _taken(plane: ControlPlane) -> float:
    return Scrape.of(plane).total("intake_reports_total")


# -- for both ------------------------------------------------------------------------------------


@contextmanager
def planes_of(
    bench: Bench, services: int, count: int, **options: str
) -> Iterator[list[ControlPlane]]:
    """Run control planes with driver db and the defaults, but for these, on a seeded register."""
    url = bench.postgresql.database()
    register.seed(url, services)
    options = {"servicegroup_driver": "db", **options}
    planes = [ControlPlane(url, bench.directory, **options) for _ in range(count)]
    try:
        for plane in planes:
            plane.start()
        yield planes
    finally:
        for plane in planes:
            plane.stop()


@contextmanager
def agents_of(
    bench: Bench,
    plane: ControlPlane,
    ports: Sequence[int],
    interval: float = LIMITS.report_interval,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent for every seeded service; on entry each has reported once.

    Each reports every ``interval`` seconds.
    """
    engine = database.connect(plane.connection)
    file = bench.directory / f"paced-{plane.port}"
    file.write_text("\n".join(register.uuids(engine)))
    command = [sys.executable, "-m", "benchmarks.pace", str(file)]
    command += [",".join(map(str, ports)), str(interval)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        reaper().remember(process.pid)
        try:
            until(lambda: min(_committed(plane).values()) > 0, 60, 1.0, "a report of everybody")
            yield process
        finally:
            process.kill()
            engine.dispose()


def ended(agents: subprocess.Popen[bytes]) -> Paced:
    """End them, and return what they went through."""
    output, _ = agents.communicate(b"\n", timeout=120)
    return msgspec.json.decode(output, type=Paced)


def _committed(plane: ControlPlane) -> dict[str, int]:
    """Return how many reports of each service are committed."""
    engine = database.connect(plane.connection)
    query = select(services.c.uuid, services.c.report_count)
    with database.reading(engine) as connection:
        found = dict(map(tuple, connection.execute(query.where(services.c.topic == "compute"))))
    engine.dispose()
    return found


def check(plane: ControlPlane, acknowledged: Mapping[str, int]) -> None:
    """Raise AssertionError for an acknowledged report that is not in the table."""
    committed = _committed(plane)
    lost = {uuid for uuid, n in acknowledged.items() if committed[uuid] < n}
    if lost:
        raise AssertionError(f"{len(lost)} services lack reports that were acknowledged to them")


def accused(planes: Sequence[ControlPlane]) -> set[str]:
    """Return who was recorded as down."""
    _, _, page = planes[0].request("GET", "/v1/events?kind=service-down&group=compute&limit=1000")
    return {event["host"] for event in page["events"]}
