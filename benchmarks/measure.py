"""How things are measured: CPU seconds of process trees, medians of requests, and on what machine.

CPU is counted for a server's whole family of processes, because PostgreSQL answers from a process
per connection; it says more than the clock on a machine that does other work too.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from benchmarks.nova_peer.cpu import spent, usage
from servers.process import family

TIMEOUT = 120.0
"""Seconds one request may take."""

ROUNDS = 5
"""In so many the requests of what is compared are made."""

K = TypeVar("K")

PACKAGES = ("servicegroup", "uvicorn", "uvloop", "starlette", "msgspec", "SQLAlchemy", "psycopg")


class Asked(Struct, frozen=True):
    """A request asked several times, on a new connection each, in seconds."""

    seconds: float
    """Median."""
    cpu: Mapping[str, float]
    """Mean, by server."""
    bytes: int

    @property
    def all_cpu(self) -> float:
        """CPU seconds of all servers together."""
        return sum(self.cpu.values())


class Spent(Struct):
    """What a piece of work took: wall seconds, and CPU seconds by process tree."""

    seconds: float = 0.0
    cpu: Mapping[str, float] = {}


@contextmanager
def measured(pids: Mapping[str, int]) -> Iterator[Spent]:
    """Fill in what the work in the block took; ``pids`` are the heads of the trees, by name."""
    result = Spent()
    before, begun = usage(pids), time.perf_counter()
    yield result
    result.seconds = time.perf_counter() - begun
    result.cpu = spent(before, usage(pids))


def ask(
    url: str,
    pids: Mapping[str, int],
    runs: int,
    check: Callable[[bytes], None],
    headers: Mapping[str, str] | None = None,
    status: int = HTTPStatus.OK,
) -> Asked:
    """Time a GET, one after another, charging the trees of ``pids``.

    ``check`` raises if an answer is wrong; it sees the first and the last.
    """
    check(get(url, headers, status))  # the first one opens connections and fills caches
    seconds = []
    with measured(pids) as result:
        for _ in range(runs):
            begun = time.perf_counter()
            body = get(url, headers, status)
            seconds.append(time.perf_counter() - begun)
    check(body)
    cpu = {name: used / runs for name, used in result.cpu.items()}
    return Asked(median(seconds), cpu, len(body))


def in_turn(questions: Mapping[K, Callable[[], Asked]]) -> dict[K, Asked]:
    """Ask each of them in turn, ROUNDS times, so that a slow minute meets all of them alike.

    Of each the median of the times is returned, and the mean of the CPU.
    """
    rounds = [{key: question() for key, question in questions.items()} for _ in range(ROUNDS)]
    return {key: _together([each[key] for each in rounds]) for key in questions}


def _together(found: Sequence[Asked]) -> Asked:
    cpu = {name: fmean(asked.cpu[name] for asked in found) for name in found[0].cpu}
    return Asked(median(asked.seconds for asked in found), cpu, found[-1].bytes)


def get(url: str, headers: Mapping[str, str] | None = None, status: int = HTTPStatus.OK) -> bytes:
    """Return the body of a GET over a new connection. Raises AssertionError for another status."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=TIMEOUT)
    try:
        target = parts._replace(scheme="", netloc="").geturl()
        connection.request("GET", target, headers=dict(headers or {}))
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != status:
        raise AssertionError(f"{url} answered {answer.status}: {body[:200]!r}")
    return body


def memory(pid: int) -> float:
    """Return the MiB of a process and its descendants, what they share counted once."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@contextmanager
def peak(pid: int) -> Iterator[Callable[[], float]]:
    """Give what tells the most MiB that a process had resident since the block began."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    status = Path(f"/proc/{pid}/status")
    yield lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def machine() -> str:
    """Describe the machine, and how busy it is without us, in one sentence."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [
        line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return (
        f"{os.cpu_count()} x {models[0] if models else platform.machine()}, {memory:.0f} GiB,"
        f" {name}, Linux {platform.release()}; load before the run {os.getloadavg()[0]:.2f}"
    )


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def versions() -> str:
    """Name the versions of everything that took part, but the servers."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {packages}"
