"""The range of service versions per binary (spec S8), read off both ends of an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from benchmarks import register
from benchmarks.results import Claim, Section, ms
from servers.mariadb import MariaDB
from servicegroup.store import database, versions

if TYPE_CHECKING:
    from benchmarks.bench import Bench

BINARIES = ("nova-compute", "nova-conductor", "nova-scheduler", "nova-consoleauth")
TARGET = 0.002
"""Seconds per binary."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure each of the databases."""
    services = max(bench.sizes)
    rows, claims = [], []
    for name, opened in _databases(bench).items():
        bench.say(f"Versions, {name} ...")
        with opened() as url:
            each, everything = _timed(url, services, 20 if bench.quick else 200)
        rows.append((name, ms(each), ms(everything)))
        claims.append(
            Claim(f"`versions`, one binary, {name}", ms(each), ms(TARGET), each <= TARGET)
        )
    yield Section(
        "Versions",
        f"`Store.versions` over {services:,} services of {len(BINARIES)} binaries, in process, on"
        " a held pool; medians.",
        claims,
        ("database", "one binary", f"all {len(BINARIES)}"),
        rows,
    )


def _databases(bench: Bench) -> dict[str, Callable[[], AbstractContextManager[str]]]:
    found: dict[str, Callable[[], AbstractContextManager[str]]] = {
        "PostgreSQL": lambda: nullcontext(bench.postgresql.database()),
        "SQLite": lambda: nullcontext(f"sqlite:///{bench.directory / 'versions.sqlite'}"),
    }
    if MariaDB.installed():
        found["MariaDB"] = _MariaDBDatabase
    return found


class _MariaDBDatabase(MariaDB):
    """A server that gives the URL of a database on the way in."""

    def __enter__(self) -> str:  # type: ignore[override]
        super().__enter__()
        return self.database()


def _timed(url: str, services: int, times: int) -> tuple[float, float]:
    """Return the median seconds of one binary's range, and of all of them in one call."""
    register.seed(url, services, BINARIES)
    engine = database.connect(url)
    one = median(_seconds(engine, (BINARIES[n % len(BINARIES)],)) for n in range(times))
    everything = median(_seconds(engine, BINARIES) for _ in range(times))
    engine.dispose()
    return one, everything


def _seconds(engine: Engine, binaries: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    found = versions.ranges(engine, binaries)
    elapsed = time.perf_counter() - begun
    if [(r.binary, r.minimum, r.maximum) for r in found] != [(b, 60, 74) for b in binaries]:
        raise AssertionError(f"the ranges of {binaries} came out as {found}")
    return elapsed
