"""A whole fleet in sessions at its own pace: what it costs, and whether anybody is accused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from benchmarks import ROOT, register
from benchmarks.following import resident
from benchmarks.measure import measured
from benchmarks.results import Claim, Section, ms
from benchmarks.scale import accused, check, planes_of, watched
from benchmarks.sessions import SESSION
from benchmarks.sessions.holders import Held
from servers.process import reaper
from servicegroup.store import database
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SHARE = 0.10
"""Of a core, for the control plane without the watcher's part."""

BYTES = 15_000
"""Of the control plane's memory, for a session."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure one control plane with everybody's sessions."""
    count, seconds = 1_000 if bench.quick else 10_000, bench.fleet_seconds
    bench.say(f"A fleet of {count:,} in sessions for {seconds} s ...")
    with planes_of(bench, count, 1, **SESSION) as [plane]:
        plane.services(f"?binary={register.BINARY}")  # or its memory would count for sessions
        empty = resident(plane.process.pid)
        pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
        with holders_of(bench, plane, [plane.port]) as agents:
            size = (resident(plane.process.pid) - empty) / count
            pids["agents"] = agents.pid
            with measured(pids) as alone:
                _, down = watched(plane, seconds / 2, every=seconds)
            with measured(pids) as beside:
                lists, seen = watched(plane, seconds / 2)
            went = ended(agents)
            check(plane, went.acknowledged)
            down |= seen | accused([plane])
    waits = sorted(went.waits)
    share = {name: used / alone.seconds for name, used in alone.cpu.items()}
    both = {name: used / beside.seconds for name, used in beside.cpu.items()}
    slowest = waits[len(waits) * 99 // 100]
    yield Section(
        "A fleet in sessions",
        f"{count:,} agents that hold a session each, with the default intervals, for {seconds} s on"
        f" {bench.cores} cores and PostgreSQL. In the second half a watcher lists who is down every"
        f" second. {sum(went.acknowledged.values()):,} reports were acknowledged and committed;"
        f" {went.ended} sessions ended, {went.failed} could not be opened. Memory is what the"
        " control plane grew by while they opened.",
        [
            Claim(f"{count:,} agents in sessions for {seconds} s, services ever down",
                  str(len(down)), "none", not down),
            Claim(f"{count:,} sessions, share of a core", f"{share['serve']:.1%}",
                  f"≤ {SHARE:.0%}", share["serve"] <= SHARE),
            Claim(f"{count:,} sessions, memory of each", f"{size / 1000:.1f} kB",
                  f"≤ {BYTES / 1000:g} kB", size <= BYTES),
        ],
        ("", "of a core", "beside the watcher"),
        [
            *((name, f"{share[name]:.1%}", f"{both[name]:.1%}") for name in pids),
            ("a report waits", f"median {ms(waits[len(waits) // 2])}", f"99 % in {ms(slowest)}"),
            ("who is down", "", f"median {ms(lists[len(lists) // 2])}, worst {ms(lists[-1])}"),
        ],
    )  # fmt: skip


@contextmanager
def holders_of(
    bench: Bench, plane: ControlPlane, ports: Sequence[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent with a session for every seeded service; on entry all are present."""
    engine = database.connect(plane.connection)
    uuids = register.uuids(engine)
    engine.dispose()
    file = bench.directory / f"held-{plane.port}"
    file.write_text("\n".join(uuids))
    command = [sys.executable, "-m", "benchmarks.sessions.holders", str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, ",".join(map(str, ports))], stdin=pipe, stdout=pipe, cwd=ROOT
    ) as process:
        reaper().remember(process.pid)
        try:
            until(partial(_all_present, plane, len(uuids)), 120, 1.0, "a session of everybody")
            yield process
        finally:
            process.kill()


def _all_present(plane: ControlPlane, count: int) -> bool:
    found = plane.services(f"?binary={register.BINARY}").values()
    return [s["verdict"]["reason"] for s in found] == ["present"] * count


def ended(agents: subprocess.Popen[bytes]) -> Held:
    """End them, and return what they went through."""
    output, _ = agents.communicate(b"\n", timeout=120)
    assert agents.returncode == 0, f"the agents' process ended with {agents.returncode}"
    return msgspec.json.decode(output, type=Held)


def held(plane: ControlPlane) -> int:
    """Return how many services hold a session with a control plane."""
    return int(Scrape.of(plane).total("sessions"))
