"""Lists on PostgreSQL with driver db: all services, and those of one host.

Beside them, in the same run, those of Nova and of the first release.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import register
from benchmarks.measure import ROUNDS, Asked, ask, get, in_turn, memory
from benchmarks.peer import CACHES
from benchmarks.results import Claim, Section, factor, ms
from support.control_plane import ControlPlane
from upgrades import release

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Listing

FASTER = {"memory": 60, "memcached": 120}
FASTER_FILTERED = 500
"""Times Nova's, by where its cache is."""

THAN_FIRST = 3
"""Times the first release's list."""

SIZE, LARGE = 10_000, 100_000
ROUTES = ("/v2.1/os-services", "/v1/services")
HEADERS = {"OpenStack-API-Version": "compute 2.69"}
COLD, COLD_RUNS = 61.0, 3
"""Seconds without a request after which a list is cold, and how often that is measured."""

FLAT = 1.5
"""How many times the smallest table's time the largest may take for one host."""


class Case(NamedTuple):
    """What is asked: the table's size, the route, and whether all services or one host's."""

    size: int
    route: str
    everything: bool

    @property
    def target(self) -> float | None:
        """The seconds it may take, None for any."""
        return TARGETS.get(self)

    @property
    def answered(self) -> int:
        """How many services the answer has."""
        return self.size if self.everything else 1


TARGETS = {
    Case(SIZE, ROUTES[0], True): 0.025,
    Case(SIZE, ROUTES[0], False): 0.0015,
    Case(SIZE, ROUTES[1], True): 0.045,
    Case(LARGE, ROUTES[0], True): 0.220,
}
LIST_CPU = 0.016
"""Seconds of the control plane's CPU for the first of them."""

AT_REST = {SIZE: 90.0, LARGE: 200.0}
"""MiB of a control plane that has looked at everybody and is asked nothing, by services."""


class Found(NamedTuple):
    """What was measured."""

    asked: dict[Case, Asked]
    at_rest: dict[int, float]
    """MiB by size."""
    cold: float
    first: dict[bool, Asked] | None
    """Lists of the first release: of everybody, and of one host; None where it is not there."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure every size, route and filter."""
    found = Found({}, {}, 0.0, None)
    for size in bench.sizes:
        found = _of_size(bench, size, found)
    yield Section(
        "Lists",
        f"{bench.requests} requests (for one host {10 * bench.requests}, to Nova {bench.runs}),"
        f" each on a new connection, in {ROUNDS} rounds in which all lines of a size take turns,"
        " those of the first release too: median time, mean CPU. The last column is the"
        " time and CPU of Nova, with its cache in memory, over ours. A list is cold when nobody"
        f" asked for anything for {COLD:g} s, and everybody reported since: median of {COLD_RUNS}."
        " The memory at rest is the resident one of a control plane that observes and was asked"
        " nothing yet.",
        [*_claims_all(bench, found), *_claims_one(bench, found), *_claims_memory(found)],
        ("services", "route", "of", "time", "server CPU", "PostgreSQL CPU", "size", "Nova's"),
        [
            *(_row(bench, *each) for each in found.asked.items()),
            *map(_nova_row, bench.peer.lists),
            *(
                (f"{SIZE:,}", "the first release", _which(everything), *_shown_of(asked), "")
                for everything, asked in (found.first or {}).items()
            ),
        ],
    )


def _of_size(bench: Bench, size: int, found: Found) -> Found:
    url = bench.postgresql.database()
    bench.say(f"Lists of {size:,} services ...")
    register.seed(url, size)
    asked, at_rest, cold, first = dict(found.asked), dict(found.at_rest), found.cold, found.first
    with register.control_plane(url, bench.directory) as plane:
        time.sleep(bench.seconds)  # so that it has looked at everybody more than once
        at_rest[size] = memory(plane.process.pid)
        cases = [Case(size, route, all_) for route in ROUTES for all_ in (True, False)]
        ours = {case: _question(bench, plane, case, register.host(size // 2)) for case in cases}
        if size != min(SIZE, max(bench.sizes)):
            asked |= in_turn(ours)
        else:
            with _first_release(bench, size) as theirs:
                answered = in_turn({**ours, **theirs})
            asked |= {case: answered[case] for case in ours}
            first = {everything: answered[everything] for everything in theirs} or None
            cold = _cold(bench, plane, url, size)
    return Found(asked, at_rest, cold, first)


def _question(bench: Bench, plane: ControlPlane, case: Case, host: str) -> Callable[[], Asked]:
    """Return what asks for everybody or for a host, a round of all requests for it."""
    pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
    runs = bench.requests if case.everything else 10 * bench.requests
    query = "" if case.everything else f"?host={host}"
    right = partial(check, expected=case.answered)
    url = plane.url + case.route + query
    return partial(ask, url, pids, -(-runs // ROUNDS), right, HEADERS)


@contextmanager
def _first_release(bench: Bench, size: int) -> Iterator[dict[bool, Callable[[], Asked]]]:
    """Give what asks the first release for everybody (True) and for a host; empty without it."""
    path = release.extract(bench.directory)
    if path is None:
        yield {}
        return
    url = bench.postgresql.database()
    engine = release.create(url)
    release.fill(engine, size)
    engine.dispose()
    plane = release.FirstControlPlane(path, url, bench.directory, service_down_time=3600)
    try:
        plane.start()
        yield {
            everything: _question(bench, plane, Case(size, ROUTES[0], everything), f"h{size // 2}")
            for everything in (True, False)
        }
    finally:
        plane.stop()


def _cold(bench: Bench, plane: ControlPlane, url: str, size: int) -> float:
    """Return the median of single requests for everybody after a pause in which all reported."""
    took = []
    for _ in range(COLD_RUNS):
        time.sleep(1.0 if bench.quick else COLD)
        register.report_all(url)
        begun = time.perf_counter()
        body = get(plane.url + ROUTES[0], HEADERS)
        took.append(time.perf_counter() - begun)
        check(body, size)
    return median(took)


def check(body: bytes, expected: int) -> None:
    """Raise AssertionError unless all the seeded services are listed, and as up."""
    listed = [s for s in json.loads(body)["services"] if s["binary"] == register.BINARY]
    up = sum(s.get("state", s.get("verdict", {}).get("state")) == "up" for s in listed)
    if not len(listed) == up == expected:
        raise AssertionError(f"{len(listed)} services listed, {up} of them up; not {expected}")


def _row(bench: Bench, case: Case, asked: Asked) -> tuple[str, ...]:
    peer = bench.peer.listing(case.size, case.answered, CACHES[0])
    compared = ""
    if peer:
        nova_cpu = sum(peer.cpu_ms.values()) / 1000
        compared = f"{factor(peer.seconds, asked.seconds)}, {factor(nova_cpu, asked.all_cpu)}"
    return (f"{case.size:,}", case.route, _which(case.everything), *_shown_of(asked), compared)


def _nova_row(peer: Listing) -> tuple[str, ...]:
    cpu = {name: each / 1000 for name, each in peer.cpu_ms.items()}
    server = cpu["nova"] + cpu.get("memcached", 0.0)
    route = f"Nova, cache in {peer.cache}"
    shown = _shown(peer.seconds, server, cpu["postgresql"], peer.bytes)
    return (f"{peer.services:,}", route, _which(peer.answered > 1), *shown, "")


def _which(everything: bool) -> str:
    return "all" if everything else "one host"


def _shown_of(asked: Asked) -> tuple[str, ...]:
    cpu = asked.cpu
    return _shown(asked.seconds, cpu["serve"], cpu["postgresql"], asked.bytes)


def _shown(seconds: float, server: float, database: float, size: int) -> tuple[str, ...]:
    return (ms(seconds), ms(server), ms(database), f"{size / 1000:,.1f} kB")


def _claims_all(bench: Bench, found: Found) -> Iterator[Claim]:
    for case, asked in found.asked.items():
        if case.target is not None:
            yield Claim(_what(case), ms(asked.seconds), f"≤ {ms(case.target)}",
                        asked.seconds <= case.target)  # fmt: skip
    case = Case(min(SIZE, max(bench.sizes)), ROUTES[0], everything=True)
    asked, what = found.asked[case], _what(case)
    target = TARGETS[Case(SIZE, ROUTES[0], everything=True)]
    yield Claim(f"{what}, cold", ms(found.cold), f"≤ {ms(target)}", found.cold <= target)
    cpu = asked.cpu["serve"]
    yield Claim(f"{what}, server CPU", ms(cpu), f"≤ {ms(LIST_CPU)}", cpu <= LIST_CPU)
    yield from _against_nova(bench, case, asked.seconds, FASTER)
    yield _against_first(found.first, case, asked.seconds, THAN_FIRST)


def _claims_one(bench: Bench, found: Found) -> Iterator[Claim]:
    case = Case(min(SIZE, max(bench.sizes)), ROUTES[0], everything=False)
    seconds = found.asked[case].seconds
    yield from _against_nova(bench, case, seconds, dict.fromkeys(CACHES, FASTER_FILTERED))
    yield _against_first(found.first, case, seconds, 1)
    least, most = (
        found.asked[Case(n, ROUTES[0], False)] for n in (bench.sizes[0], bench.sizes[-1])
    )
    yield Claim(
        f"one host, table of {bench.sizes[0]:,} to {bench.sizes[-1]:,}",
        f"{ms(least.seconds)} to {ms(most.seconds)}",
        "flat",
        most.seconds <= FLAT * least.seconds,
    )


def _claims_memory(found: Found) -> Iterator[Claim]:
    for size, most in AT_REST.items():
        if size in found.at_rest:
            rest = found.at_rest[size]
            yield Claim(f"memory of a control plane at rest, {size:,} services",
                        f"{rest:.0f} MiB", f"≤ {most:.0f} MiB", rest <= most)  # fmt: skip


def _what(case: Case) -> str:
    if not case.everything:
        return f"one host of {case.size:,}"
    route = "os-services" if case.route == ROUTES[0] else case.route.lstrip("/")
    return f"`GET /{route}`, {case.size:,} services"


def _against_nova(
    bench: Bench, case: Case, seconds: float, targets: Mapping[str, int]
) -> Iterator[Claim]:
    for cache, target in targets.items():
        peer = bench.peer.listing(case.size, case.answered, cache)
        said = f"{_what(case)}, against Nova with its cache in {cache}"
        if peer is None:
            yield Claim(said, bench.peer.missing or "not measured", f"{target}x", None)
        else:
            met = peer.seconds / seconds >= target
            yield Claim(said, factor(peer.seconds, seconds), f"{target}x", met)


def _against_first(
    first: Mapping[bool, Asked] | None, case: Case, seconds: float, target: int
) -> Claim:
    said = f"{_what(case)}, against the first release"
    if first is None:
        return Claim(said, release.MISSING, f"{target}x", None)
    before = first[case.everything].seconds
    return Claim(said, factor(before, seconds), f"{target}x", before / seconds >= target)
