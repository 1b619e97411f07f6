"""CPU time of a server is that of its whole family: the process, its children, and those it buried.

PostgreSQL answers from a process per connection and RabbitMQ from a child of its start script, so
one process says little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from servers.process import family

TICK = 1 / os.sysconf("SC_CLK_TCK")

Usage = Mapping[str, float]
"""CPU seconds of each server, by its name."""


def usage(servers: Mapping[str, int]) -> Usage:
    """Return the CPU seconds each server, given by its pid, and its descendants have used so far.

    Children that ended count from the moment their parent has waited for them.
    """
    return {name: sum(map(_used, family(pid))) for name, pid in servers.items()}


def spent(before: Usage, after: Usage, times: int = 1) -> Usage:
    """Return the CPU seconds each server spent on one of so many equal pieces of work."""
    return {name: (after[name] - before[name]) / times for name in before}


def medians(spendings: list[Usage]) -> dict[str, float]:
    """Return each server's median, in milliseconds."""
    names = spendings[0]
    return {name: round(median(each[name] for each in spendings) * 1000, 3) for name in names}


def _used(pid: int) -> float:
    # What clock_getcpuclockid(3) returns: nanoseconds, where /proc knows hundredths of a second.
    clock = ~pid << 3 | 2
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own = time.clock_gettime(clock)
    except OSError:  # it has just ended
        return 0.0
    buried = sum(map(int, fields[13:15])) * TICK  # cutime and cstime of proc(5)
    return own + buried
