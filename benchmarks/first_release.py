"""What this build takes beside the first release, in turns, and beside Nova, on PostgreSQL.

The first release's source is taken out of git and runs with the libraries of this environment. Each
build has a database, a control plane and servers of its own, and its members join by its own code.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import joined, register
from benchmarks.detection import CASES
from benchmarks.detection import Case as Backend
from benchmarks.listing import HEADERS, LARGE, ROUTES, SIZE, TARGETS, Case, check, question
from benchmarks.measure import Asked, get, in_turn, measured, memory
from benchmarks.members import GROUP, TTL, all_present
from benchmarks.peer import CACHES
from benchmarks.questions import READERS
from benchmarks.readers import seconds_of_all
from benchmarks.results import Claim, Section, factor, ms
from support.control_plane import ControlPlane
from support.waiting import until
from upgrades import release

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Listing

COLD, COLD_RUNS = 61.0, 3
"""Seconds without a request after which a list is cold, and how often that is measured."""

THAN_FIRST = 3.0
"""Times the first release's list of everybody."""


class Build(NamedTuple):
    """A control plane of one build, and whose members it knows."""

    plane: ControlPlane
    hosts: list[str]
    incarnation: int
    source: Path | None
    """What goes on PYTHONPATH; None for this build."""

    @property
    def pid(self) -> int:
        """The process id of the control plane."""
        return self.plane.process.pid

    def asked(self, bench: Bench, route: str, *, everything: bool) -> Asked:
        """Ask for everybody or for one host, a round of all requests for it."""
        count = len(self.hosts)
        return question(bench, self.plane, Case(count, route, everything), self.hosts[count // 2])()


class Both(NamedTuple):
    """A control plane of each build."""

    now: Build
    first: Build

    def each(self, measure: Callable[[Build], float]) -> tuple[float, float]:
        """Measure one after the other."""
        return measure(self.now), measure(self.first)

    def in_turn(self, bench: Bench, route: str, *, everything: bool = True) -> list[Asked]:
        """Ask both in turn for everybody or for one host."""
        questions = {
            build.source: partial(build.asked, bench, route, everything=everything)
            for build in self
        }
        return list(in_turn(questions).values())


class Row(NamedTuple):
    """What was measured of both builds, and of Nova with each of its caches where it has it."""

    what: str
    now: float
    first: float
    shown: Callable[[float], str] = ms
    nova: Mapping[str, float] = {}
    least: float | None = 1.0
    """How many times less than the first release's ours has to be; None for anything."""

    def cells(self) -> tuple[str, ...]:
        """Return the row's cells."""
        nova = (self.nova.get(cache) for cache in CACHES)
        return (self.what, self.shown(self.now), self.shown(self.first),
                factor(self.first, self.now),
                *("" if it is None else f"{self.shown(it)}, {factor(it, self.now)}" for it in nova),
                )  # fmt: skip

    def claim(self) -> Claim | None:
        """Return what is promised of it, None for nothing."""
        if self.least is None:
            return None
        met = self.first >= self.least * self.now
        return Claim(f"{self.what}, against the first release", factor(self.first, self.now),
                     f"{self.least:g}x", met)  # fmt: skip


def run(bench: Bench) -> Iterator[Section]:
    """Measure lists, looks and memory of both builds."""
    path = release.extract(bench.directory)
    if path is None:
        missing = Claim("lists against the first release", release.MISSING, "1x", None)
        yield _section(bench, [missing], [])
        return
    size = min(SIZE, max(bench.sizes))
    rows = list(_lists(bench, path, size))
    rows += [_members(bench, path, backend, size) for backend in _backends()]
    if LARGE in bench.sizes:
        rows += _large(bench, path)
    cold = next(row for row in rows if row.what.endswith("cold"))
    target = TARGETS[Case(SIZE, ROUTES[0], everything=True)]
    claims = [Claim(cold.what, ms(cold.now), f"≤ {ms(target)}", cold.now <= target)]
    claims += [claim for row in rows if (claim := row.claim())]
    yield _section(bench, claims, [row.cells() for row in rows])


def _section(bench: Bench, claims: list[Claim], rows: list[tuple[str, ...]]) -> Section:
    return Section(
        "Beside the first release",
        "This build and the first release, with a database, a control plane and servers of its own"
        f" each, asked in turns: {bench.requests} requests (for one host {10 * bench.requests}) on"
        " a new connection each, medians. A list is cold when nobody asked for anything for"
        f" {COLD:g} s, and everybody reported since: median of {COLD_RUNS}. At rest nobody asks;"
        " this build looks at everybody each second then, and the first release has no observer."
        " Nova's figures are of the same run, and the factors are theirs over ours.",
        claims,
        ("what", "now", "first release", "times", *(f"Nova, cache in {one}" for one in CACHES)),
        rows,
    )


def _lists(bench: Bench, path: Path, size: int) -> Iterator[Row]:
    bench.say(f"This build and the first release, {size:,} services ...")
    with _builds(bench, path, size) as both:
        yield from _at_rest(bench, both)
        what = f"`GET /os-services`, {size:,} services"
        nova = _nova(bench, size, size)
        seconds = {cache: one.seconds for cache, one in nova.items()}
        now, first = both.in_turn(bench, ROUTES[0])
        yield Row(what, now.seconds, first.seconds, nova=seconds, least=THAN_FIRST)
        spent = {cache: one.server_cpu for cache, one in nova.items()}
        cpu = (now.cpu["serve"], first.cpu["serve"])
        yield Row(f"{what}, server CPU", *cpu, nova=spent)
        yield Row(f"{what}, cold", *_cold(bench, both))
        now, first = both.in_turn(bench, ROUTES[0], everything=False)
        seconds = {cache: one.seconds for cache, one in _nova(bench, size, 1).items()}
        yield Row(f"one host of {size:,}", now.seconds, first.seconds, nova=seconds)
        now, first = both.in_turn(bench, ROUTES[1])
        yield Row(f"`GET /v1/services`, {size:,} services", now.seconds, first.seconds)
        what = f"{READERS} readers of `{ROUTES[0]}`, {size:,} services"
        yield Row(what, *_medians(both.each(_readers) for _ in range(bench.runs)))


def _large(bench: Bench, path: Path) -> Iterator[Row]:
    bench.say(f"This build and the first release, {LARGE:,} services ...")
    with _builds(bench, path, LARGE) as both:
        yield from _at_rest(bench, both)
        now, first = both.in_turn(bench, ROUTES[0])
        yield Row(f"`GET /os-services`, {LARGE:,} services", now.seconds, first.seconds)


def _at_rest(bench: Bench, both: Both) -> Iterator[Row]:
    time.sleep(bench.seconds)  # so that both have looked at everybody more than once
    size = len(both.now.hosts)
    at_rest = both.each(lambda build: memory(build.pid))
    # Nothing is promised of these two against what does less.
    yield Row(f"memory at rest, {size:,} services", *at_rest, _mib, least=None)
    with measured({"now": both.now.pid, "first": both.first.pid}) as idle:
        time.sleep(bench.seconds)
    now, first = (idle.cpu[name] / idle.seconds for name in Both._fields)
    yield Row(f"a core at rest, {size:,} services", now, first, _share, least=None)


def _cold(bench: Bench, both: Both) -> tuple[float, float]:
    """Return the medians of single requests for everybody after a pause in which all reported."""

    def after_the_pause() -> tuple[float, float]:
        time.sleep(1.0 if bench.quick else COLD)
        return both.each(_first_list)

    return _medians(after_the_pause() for _ in range(COLD_RUNS))


def _first_list(build: Build) -> float:
    register.report_all(build.plane.connection)
    begun = time.perf_counter()
    body = get(build.plane.url + ROUTES[0], HEADERS)
    took = time.perf_counter() - begun
    check(body, len(build.hosts))
    return took


def _medians(found: Iterable[tuple[float, float]]) -> tuple[float, float]:
    now, first = zip(*found, strict=True)
    return median(now), median(first)


def _readers(build: Build) -> float:
    url = build.plane.url + ROUTES[0]
    return seconds_of_all(url, READERS, len(get(url)))


def _members(bench: Bench, path: Path, backend: Backend, size: int) -> Row:
    """Time the list of services that are all present in the backend's server."""
    bench.say(f"This build and the first release, {size:,} members, {backend.driver} ...")
    with ExitStack() as running:
        servers = [running.enter_context(backend.server()) for _ in Both._fields]
        both = running.enter_context(_builds(bench, path, size, start=False))
        for build, server in zip(both, servers, strict=True):
            build.plane.configure(
                backend.section(server),
                servicegroup_driver=backend.driver,
                membership_ttl=TTL,
                service_down_time=3600,
            )
            running.enter_context(_joined(build))
            build.plane.start()
            until(partial(all_present, build.plane, size), timeout=60, interval=0.5,
                  what="all present")  # fmt: skip
        now, first = both.in_turn(bench, ROUTES[0])
    what = f"`GET /os-services`, {size:,} services, driver {backend.driver}"
    return Row(what, now.seconds, first.seconds)


def _backends() -> Iterator[Backend]:
    return (case for case in CASES[1:] if case.server().installed())


@contextmanager
def _joined(build: Build) -> Iterator[None]:
    """Have a build's services present, by its own code."""
    arguments = (build.plane.config, GROUP, build.incarnation, TTL)
    command = [sys.executable, "-P", joined.__file__, *map(str, arguments)]
    if build.source:
        command = ["env", f"PYTHONPATH={build.source}", *command]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        print(*build.hosts, file=process.stdin, flush=True)
        assert process.stdout.readline().strip() == joined.JOINED, command
        yield  # then its input ends, and it does


@contextmanager
def _builds(bench: Bench, path: Path, size: int, *, start: bool = True) -> Iterator[Both]:
    """Give a control plane of each build with a register of ``size`` services that are all up."""
    url, first_url = bench.postgresql.database(), bench.postgresql.database()
    register.seed(url, size)
    engine = release.create(first_url)
    release.fill(engine, size)
    register.analyse(engine)
    engine.dispose()
    directory = bench.directory
    now = ControlPlane(url, directory, service_down_time=3600, servicegroup_driver="db")
    first = release.FirstControlPlane(path, first_url, directory, service_down_time=3600)
    hosts = [register.host(number) for number in range(1, size + 1)]
    try:
        both = Both(
            Build(now, hosts, 1, None),
            Build(first, [f"h{n}" for n in range(size)], release.INCARNATION, path),
        )
        if start:
            for build in both:
                build.plane.start()
        yield both
    finally:
        now.stop()
        first.stop()


def _nova(bench: Bench, size: int, answered: int) -> dict[str, Listing]:
    """Return Nova's list, by where its cache is."""
    found = {cache: bench.peer.listing(size, answered, cache) for cache in CACHES}
    return {cache: one for cache, one in found.items() if one}


def _share(value: float) -> str:
    return f"{value:.1%}"


def _mib(value: float) -> str:
    return f"{value:.0f} MiB"
