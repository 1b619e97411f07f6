"""Lists on PostgreSQL with driver db: all services, and those of one host, beside Nova's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import register
from benchmarks.measure import Asked, ask
from benchmarks.peer import CACHES
from benchmarks.results import Claim, Section, factor, ms

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Listing

FASTER = 60
FASTER_FILTERED = 500
ABOUT = 0.040
"""Seconds that the list of `SIZE` services should take."""

SIZE = 10_000
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
    def answered(self) -> int:
        """How many services the answer has."""
        return self.size if self.everything else 1


def run(bench: Bench) -> Iterator[Section]:
    """Measure every size, route and filter."""
    found: dict[Case, Asked] = {}
    for size in bench.sizes:
        found |= _of_size(bench, size)
    yield Section(
        "Lists",
        f"{bench.requests} requests in a row (for one host {10 * bench.requests}, to Nova"
        f" {bench.runs}), each on a new connection: median time, mean CPU. The last column is the"
        " time and CPU of Nova, with its cache in memory, over ours.",
        [*_claims_all(bench, found), *_claims_one(bench, found)],
        ("services", "route", "of", "time", "server CPU", "PostgreSQL CPU", "size", "Nova's"),
        [*(_row(bench, *each) for each in found.items()), *map(_nova_row, bench.peer.lists)],
    )


def _of_size(bench: Bench, size: int) -> dict[Case, Asked]:
    url = bench.postgresql.database()
    bench.say(f"Lists of {size:,} services ...")
    register.seed(url, size)
    found = {}
    with register.control_plane(url, bench.directory) as plane:
        pids = {"serve": plane.process.pid, "postgresql": bench.postgresql.pid}
        for route in ROUTES:
            for everything in (True, False):
                case = Case(size, route, everything)
                query = "" if everything else f"?host={register.host(size // 2)}"
                right = partial(check, expected=case.answered)
                found[case] = ask(plane.url + route + query, pids, bench.requests, right, HEADERS)
    return found


def check(body: bytes, expected: int) -> None:
    """Raise AssertionError unless all the seeded services are listed, and as up."""
    listed = [s for s in json.loads(body)["services"] if s["binary"] == register.BINARY]
    up = sum(s.get("state", s.get("verdict", {}).get("state")) == "up" for s in listed)
    if not len(listed) == up == expected:
        raise AssertionError(f"{len(listed)} services listed, {up} of them up; not {expected}")


def _row(bench: Bench, case: Case, asked: Asked) -> tuple[str, ...]:
    cpu = asked.cpu
    shown = _shown(asked.seconds, cpu["serve"], cpu["postgresql"], asked.bytes)
    peer = bench.peer.listing(case.size, case.answered, CACHES[0])
    compared = ""
    if peer:
        nova_cpu = sum(peer.cpu_ms.values()) / 1000
        compared = f"{factor(peer.seconds, asked.seconds)}, {factor(nova_cpu, asked.all_cpu)}"
    return (f"{case.size:,}", case.route, _which(case.everything), *shown, compared)


def _nova_row(peer: Listing) -> tuple[str, ...]:
    cpu = {name: each / 1000 for name, each in peer.cpu_ms.items()}
    server = cpu["nova"] + cpu.get("memcached", 0.0)
    route = f"Nova, cache in {peer.cache}"
    shown = _shown(peer.seconds, server, cpu["postgresql"], peer.bytes)
    return (f"{peer.services:,}", route, _which(peer.answered > 1), *shown, "")


def _which(everything: bool) -> str:
    return "all" if everything else "one host"


def _shown(seconds: float, server: float, database: float, size: int) -> tuple[str, ...]:
    return (ms(seconds), ms(server), ms(database), f"{size / 1000:,.1f} kB")


def _claims_all(bench: Bench, found: dict[Case, Asked]) -> Iterator[Claim]:
    case = Case(min(SIZE, max(bench.sizes)), ROUTES[0], everything=True)
    seconds, what = found[case].seconds, f"`GET /os-services`, {case.size:,} services"
    yield Claim(what, ms(seconds), f"about {ms(ABOUT)}", seconds <= 1.1 * ABOUT)
    yield from _against_nova(bench, what, seconds, case, FASTER)


def _claims_one(bench: Bench, found: dict[Case, Asked]) -> Iterator[Claim]:
    case = Case(min(SIZE, max(bench.sizes)), ROUTES[0], everything=False)
    what = f"one host of {case.size:,}"
    yield from _against_nova(bench, what, found[case].seconds, case, FASTER_FILTERED)
    least, most = (found[Case(n, ROUTES[0], False)] for n in (bench.sizes[0], bench.sizes[-1]))
    yield Claim(
        f"one host, table of {bench.sizes[0]:,} to {bench.sizes[-1]:,}",
        f"{ms(least.seconds)} to {ms(most.seconds)}",
        "flat",
        most.seconds <= FLAT * least.seconds,
    )


def _against_nova(
    bench: Bench, what: str, seconds: float, case: Case, target: int
) -> Iterator[Claim]:
    for cache in CACHES:
        peer = bench.peer.listing(case.size, case.answered, cache)
        said = f"{what}, against Nova with its cache in {cache}"
        if peer is None:
            yield Claim(said, bench.peer.missing or "not measured", f"{target}x", None)
        else:
            met = peer.seconds / seconds >= target
            yield Claim(said, factor(peer.seconds, seconds), f"{target}x", met)
