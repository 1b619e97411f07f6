"""`servicegroup nova list`: its start beside `nova-manage`, and a whole list beside Nova's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.nova_layer import LASTING, SESSION, TICK, joined
from benchmarks.nova_peer import measure, seed
from benchmarks.results import Claim, Section, ms
from servers.nova import Databases, NovaAPI, with_layer
from servers.openstack import merged
from servers.zookeeper import ZooKeeper

if TYPE_CHECKING:
    from benchmarks.bench import Bench

START = 2.0
"""Seconds more than `nova-manage` that the command may take to say something of one host."""

TIMES = 1.1
"""How many times Nova's own list the command may take for all services, its start not counted."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure with ZooKeeper; nothing where there is none."""
    if not ZooKeeper.installed():
        bench.say("The command for Nova is left out: it needs ZooKeeper.")
        return
    size, runs = bench.peer_sizes[-1], bench.runs
    databases = Databases(*(bench.postgresql.database() for _ in Databases._fields))
    with ZooKeeper(int(TICK * 1000)) as zookeeper, NovaAPI(databases) as nova:
        bench.say(f"The command for a Nova of {size:,} services ...")
        nova.settings = LASTING
        nova.restart()
        seed.seed(databases, size)
        own = measure.listing(nova, {"nova": nova.pid}, size, runs).seconds
        manage = _median(runs, partial(nova.manage, "cell_v2", "list_cells"))
        layer = with_layer("zookeeper", address=zookeeper.address, session_timeout=SESSION)
        nova.settings = merged(layer, LASTING)
        nova.restart()
        hosts = [seed.host(number + 1) for number in range(size)]
        with joined(nova, hosts):
            one = _median(runs, partial(_listed, nova, 1, "--host", hosts[0]))
            all_ = _median(runs, partial(_listed, nova, size))
    yield Section(
        "The command for Nova",
        f"Commands on the host of a Nova with {size:,} computes that are up, and present in"
        f" ZooKeeper; median of {runs}, each from its start to its end. Nova's own list is that of"
        " nova-api with the driver `db`, which has started already.",
        [
            Claim("start of `servicegroup nova list`, more than `nova-manage`",
                  f"{one - manage:.2f} s", f"≤ {START:g} s", one - manage <= START),
            Claim(f"`servicegroup nova list` of {size:,} services without its start, against"
                  " Nova's own list", f"{(all_ - one) / own:.2f} times", f"≤ {TIMES:g} times",
                  all_ - one <= TIMES * own),
        ],
        ("command", "time"),
        [
            ("`nova-manage cell_v2 list_cells`", ms(manage)),
            ("`servicegroup nova list --host HOST`", ms(one)),
            (f"`servicegroup nova list`, {size:,} services", ms(all_)),
            (f"`GET /os-services`, {size:,} services", ms(own)),
        ],
    )  # fmt: skip


def _median(runs: int, command: Callable[[], object]) -> float:
    """Return the seconds that a command takes; the first time, which fills caches, is left out."""
    taken = []
    for _ in range(runs + 1):
        begun = time.monotonic()
        command()
        taken.append(time.monotonic() - begun)
    return median(taken[1:])


def _listed(nova: NovaAPI, count: int, *options: str) -> None:
    found = len(json.loads(nova.servicegroup("list", "-f", "json", *options)))
    if found != count:
        raise measure.MeasurementError(f"{found} of {count} services are listed")
