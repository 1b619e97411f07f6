"""Lists of a growing register: time that grows with it, and memory that does not."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import register
from benchmarks.listing import HEADERS, ROUTES, check
from benchmarks.measure import Asked, ask, memory, peak
from benchmarks.results import Claim, Section, ms, us

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SIZES = (1_000, 10_000, 30_000, 100_000)
LINEAR = 1.5
"""How many times a service's share of the time at 10,000 services it may be at the most."""

WARM = 2
"""Lists after which a control plane has the rows in memory, and their JSON."""

FLAT = 64.0
"""MiB that a list may take beyond what is kept between two: a body in memory, and its copy."""


def run(bench: Bench) -> Iterator[Section]:
    """Ask for everybody, on a control plane of its own for each size and route."""
    sizes = SIZES[:3] if bench.quick else SIZES
    rows, claims = [], []
    for route in ROUTES:
        found = {size: _asked(bench, route, size) for size in sizes}
        rows += [_row(size, route, *one) for size, one in found.items()]
        least, most = sizes[1], sizes[-1]
        each = {size: found[size][0].seconds / size for size in (least, most)}
        grown = found[most][2] - found[most][1]
        which = f"`{route}`, {least:,} to {most:,} services"
        claims += [
            Claim(f"{which}, time of each", f"{us(each[least])} to {us(each[most])}",
                  "linear", each[most] <= LINEAR * each[least]),
            Claim(f"`{route}`, {most:,} services, memory beyond what is kept", f"{grown:.0f} MiB",
                  f"≤ {FLAT:.0f} MiB", grown <= FLAT),
        ]  # fmt: skip
    yield Section(
        "Lists of a large register",
        f"{bench.runs} requests in a row, each on a new connection: median time. The memory is the"
        f" resident one of the control plane, between two lists, after {WARM} of them, and at its"
        " peak.",
        claims,
        ("services", "route", "time", "size", "memory before", "at its peak"),
        rows,
    )


def _asked(bench: Bench, route: str, size: int) -> tuple[Asked, float, float]:
    """Return what was asked, and the MiB the control plane had before and at its peak."""
    bench.say(f"{route} of {size:,} services ...")
    url = bench.postgresql.database()
    register.seed(url, size)
    with register.control_plane(url, bench.directory) as plane:
        right = partial(check, expected=size)
        pid = plane.process.pid
        ask(plane.url + route, {}, WARM, right, HEADERS)  # then it keeps what it keeps
        begun = memory(pid)
        with peak(pid) as most:
            asked = ask(plane.url + route, {"serve": pid}, bench.runs, right, HEADERS)
            return asked, begun, most()


def _row(size: int, route: str, asked: Asked, begun: float, most: float) -> tuple[str, ...]:
    shown = (ms(asked.seconds), f"{asked.bytes / 1e6:,.1f} MB")
    return (f"{size:,}", route, *shown, f"{begun:.0f} MiB", f"{most:.0f} MiB")
