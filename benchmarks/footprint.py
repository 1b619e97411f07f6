"""What the agent library costs its host: time to import it, and memory once joined."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.results import Claim, Section, ms

if TYPE_CHECKING:
    from benchmarks.bench import Bench

IMPORT = 0.060
"""CPU seconds over a bare interpreter."""

MEMORY = 15.0
"""MiB over a bare interpreter."""

TIMES = 15

BASE = """
import sys
sys.modules["typing_extensions"] = None
"""
"""As in the base install, which lacks what msgspec imports where somebody else brought it."""

JOIN = f"""{BASE}
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
before = resident()
import servicegroup
import time
with servicegroup.join("worker", host="weighed", url=sys.argv[1]) as membership:
    while membership.last_report is None:
        time.sleep(0.01)
    time.sleep(1)
    print((resident() - before) / 1024)
"""


def run(bench: Bench) -> Iterator[Section]:
    """Measure both."""
    bench.say("The agent library ...")
    times = 5 if bench.quick else TIMES
    bare, imported = [], []
    for _ in range(times):
        bare.append(_cpu(BASE))
        imported.append(_cpu(f"{BASE}from servicegroup import join"))
    url = bench.postgresql.database()
    with register.control_plane(url, bench.directory, "session") as plane:
        weights = [float(_run(JOIN, plane.url)) for _ in range(times)]
    cost, weight = median(imported) - median(bare), median(weights)
    yield Section(
        "Agent library",
        f"Medians of {times} processes; joined with driver session, a second after the first"
        " report.",
        [
            Claim("import of the agent library, CPU", ms(cost), ms(IMPORT), cost <= IMPORT),
            Claim(
                "memory of a joined service",
                f"{weight:.1f} MiB",
                f"{MEMORY:.0f} MiB",
                weight <= MEMORY,
            ),
        ],
        ("", "over a bare interpreter", "the bare interpreter"),
        [
            ("`from servicegroup import join`, CPU", ms(cost), ms(median(bare))),
            ("resident memory, joined and reporting", f"{weight:.1f} MiB", ""),
        ],
    )


def _cpu(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
