"""Lists on PostgreSQL with driver db: all services, and those of one host.

Beside them, in the same run, those of Nova.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import register
from benchmarks.measure import ROUNDS, Asked, ask, in_turn, memory
from benchmarks.peer import CACHES
from benchmarks.results import Claim, Section, factor, ms
from support.control_plane import ControlPlane

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Listing

FASTER = {"memory": 60, "memcached": 120}
FASTER_FILTERED = 500
"""Times Nova's, by where its cache is."""

SIZE, LARGE = 10_000, 100_000
ROUTES = ("/v2.1/os-services", "/v1/services")
HEADERS = {"OpenStack-API-Version": "compute 2.69"}
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


def run(bench: Bench) -> Iterator[Section]:
    """Measure every size, route and filter."""
    found = Found({}, {})
    for size in bench.sizes:
        found = _of_size(bench, size, found)
    yield Section(
        "Lists",
        f"{bench.requests} requests (for one host {10 * bench.requests}, to Nova {bench.runs}),"
        f" each on a new connection, in {ROUNDS} rounds in which all lines of a size take turns,"
        " median time, mean CPU. The last column is the time and CPU of Nova, with its cache in"
        " memory, over ours. The memory at rest is the resident one of a control plane that"
        " observes and was asked nothing yet.",
        [*_claims_all(bench, found), *_claims_one(bench, found), *_claims_memory(found)],
        ("services", "route", "of", "time", "server CPU", "PostgreSQL CPU", "size", "Nova's"),
        [
            *(_row(bench, *each) for each in found.asked.items()),
            *map(_nova_row, bench.peer.lists),
        ],
    )


def _of_size(bench: Bench, size: int, found: Found) -> Found:
    url = bench.postgresql.database()
    bench.say(f"Lists of {size:,} services ...")
    register.seed(url, size)
    asked, at_rest = dict(found.asked), dict(found.at_rest)
    with register.control_plane(url, bench.directory) as plane:
        time.sleep(bench.seconds)  # so that it has looked at everybody more than once
        at_rest[size] = memory(plane.process.pid)
        cases = [Case(size, route, all_) for route in ROUTES for all_ in (True, False)]
        asked |= in_turn(
            {case: question(bench, plane, case, register.host(size // 2)) for case in cases}
        )
    return Found(asked, at_rest)


def question(bench: Bench, plane: ControlPlane, case: Case, host: str) -> Callable[[], Asked]:
    """Return what asks for everybody or for a host, a round of all requests for it."""
    pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
    runs = bench.requests if case.everything else 10 * bench.requests
    query = "" if case.everything else f"?host={host}"
    right = partial(check, expected=case.answered)
    url = plane.url + case.route + query
    return partial(ask, url, pids, -(-runs // ROUNDS), right, HEADERS)


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
    route = f"Nova, cache in {peer.cache}"
    database = peer.cpu_ms["postgresql"] / 1000
    shown = _shown(peer.seconds, peer.server_cpu, database, peer.bytes)
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
    cpu = asked.cpu["serve"]
    yield Claim(f"{what}, server CPU", ms(cpu), f"≤ {ms(LIST_CPU)}", cpu <= LIST_CPU)
    yield from _against_nova(bench, case, asked.seconds, FASTER)


def _claims_one(bench: Bench, found: Found) -> Iterator[Claim]:
    case = Case(min(SIZE, max(bench.sizes)), ROUTES[0], everything=False)
    seconds = found.asked[case].seconds
    yield from _against_nova(bench, case, seconds, dict.fromkeys(CACHES, FASTER_FILTERED))
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
