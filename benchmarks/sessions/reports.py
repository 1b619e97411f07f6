"""Reports over sessions, beside the same reports by POST: each committed before its answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from benchmarks import reports
from benchmarks.results import Claim, Section, factor, us

if TYPE_CHECKING:
    from benchmarks.bench import Bench

SESSION = msgspec.structs.replace(reports.SINGLE, way="session")

MANY = msgspec.structs.replace(SESSION, connections=2_000)
"""With so many in flight the rate is not the wait's."""

COST = 30e-6
"""CPU seconds of the control plane for a report."""

RATIO = 2.5
"""How many times less that is than by POST."""

RATE = 15_000
"""Reports a second on two cores, with the load beside them."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure single reports by both ways."""
    taken = {load: reports.measure(bench, load) for load in (reports.SINGLE, SESSION, MANY)}
    own, post = taken[SESSION], taken[reports.SINGLE]
    rate = taken[MANY].rate
    cost, of_post = own.cpu["serve"], post.cpu["serve"]
    yield Section(
        "Reports over sessions",
        "One report in flight per connection, by POST and over a session, from the same load"
        f" generator on the same cores; medians of {bench.runs} runs of {bench.seconds:g} s, on"
        " PostgreSQL. CPU is per report. Acknowledged and committed reports are equal in each run.",
        [
            Claim("a report over a session, CPU of the control plane", us(cost), f"≤ {us(COST)}",
                  cost <= COST),
            Claim("the same, against `POST /v1/reports`", factor(of_post, cost), f"≥ {RATIO:g}x",
                  of_post >= RATIO * cost),
            Claim(f"reports over sessions a second on {bench.cores} cores", f"{rate:,.0f}/s",
                  f"≥ {RATE:,}/s", rate >= RATE),
        ],
        ("", "services/s", "server CPU", "PostgreSQL CPU", "together", "client CPU", "wait"),
        [reports.row(load, one) for load, one in taken.items()],
    )  # fmt: skip
