"""For how long no report is committed although a server takes writes, after the one in use failed.

One service reports without a pause to one control plane, which is restarted for none of it (F-3).
The time begins when another server takes writes: a standby that was promoted, or what is left of a
cluster once it has a quorum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from benchmarks.results import Claim, Section, ms
from servers.galera import GaleraCluster, GaleraNode
from servers.galera_proxy import CHECKER, GaleraProxy
from servers.haproxy import HAProxy
from servers.postgresql import PostgreSQL, Standby, several
from servers.proxy import Proxy
from support.control_plane import ControlPlane
from support.reporter import seconds_until_committed

if TYPE_CHECKING:
    from benchmarks.bench import Bench

RUNS = 3
WITHIN = 2.0
"""Seconds."""

HOWS = ("kill", "freeze")
"""What happens to the server in use."""


def run(bench: Bench) -> Iterator[Section]:
    """Measure each way to more than one server."""
    runs = 1 if bench.quick else RUNS
    took: dict[str, dict[str, list[float]]] = {}
    for name, way in (("several hosts in the URL", _several), ("an address that moves", _moved)):
        bench.say(f"Failover of PostgreSQL, {name} ...")
        took[f"PostgreSQL, {name}"] = {how: [way(how) for _ in range(runs)] for how in HOWS}
    if GaleraNode.installed() and HAProxy.installed():
        bench.say("Failover of a Galera cluster ...")
        took["Galera, three nodes behind HAProxy"] = _cluster(runs)
    worst = {name: max(map(max, by_how.values())) for name, by_how in took.items()}
    yield Section(
        "Failover",
        "One service that reports every 50 ms, to one control plane: the time from when another"
        " server takes writes until a report that was sent after that is committed. The server in"
        f" use is killed with `kill -9`, or frozen with SIGSTOP, {runs} times each; median and"
        " worst. A cluster takes writes again when it has noticed that a node is gone, here after a"
        " second. Nothing that was acknowledged is lost.",
        [
            Claim(f"reports are committed again, {name}", ms(seconds), f"≤ {ms(WITHIN)}",
                  seconds <= WITHIN)
            for name, seconds in worst.items()
        ],
        ("", "killed", "at worst", "frozen", "at worst"),
        [
            (name, *(ms(take(by_how[how])) for how in HOWS for take in (median, max)))
            for name, by_how in took.items()
        ],
    )  # fmt: skip


@contextmanager
def _running(url: str) -> Iterator[ControlPlane]:
    with tempfile.TemporaryDirectory() as directory:
        plane = ControlPlane(url, Path(directory), report_interval=1, service_down_time=10)
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()


# -- PostgreSQL ----------------------------------------------------------------------------------


@contextmanager
def _pair() -> Iterator[tuple[PostgreSQL, Standby]]:
    with PostgreSQL() as primary, Standby(primary) as standby:
        standby.keep_up()
        yield primary, standby


def _several(how: str) -> float:
    with _pair() as (primary, standby):
        url = several(primary.database(), primary.port, standby.port)
        with _running(url) as plane:
            return seconds_until_committed(plane, partial(_promote, how, primary, standby))


def _moved(how: str) -> float:
    with _pair() as (primary, standby), Proxy(primary.port) as address:

        def fail() -> None:
            _promote(how, primary, standby)
            address.target = standby.port

        url = make_url(primary.database()).set(port=address.port)
        with _running(url.render_as_string()) as plane:
            return seconds_until_committed(plane, fail)


def _promote(how: str, primary: PostgreSQL, standby: Standby) -> None:
    getattr(primary, how)()
    standby.promote()


# -- Galera --------------------------------------------------------------------------------------


def _cluster(runs: int) -> dict[str, list[float]]:
    """Fail the node in use again and again; it comes back each time."""
    with GaleraCluster() as cluster:
        cluster.servers[0].ask(f"CREATE USER {CHECKER}@'127.0.0.1'")
        name = str(make_url(cluster.database()[0]).database)
        with GaleraProxy(cluster.servers) as proxy:
            url = cluster.url_at(proxy.address, name)
            return {how: [_node(how, cluster, name, url) for _ in range(runs)] for how in HOWS}


def _node(how: str, cluster: GaleraCluster, name: str, url: str) -> float:
    failed: list[GaleraNode] = []

    def fail() -> None:
        failed.append(max(cluster.servers, key=_connections(name)))
        getattr(failed[0], how)()
        others = [node for node in cluster.servers if node is not failed[0]]
        cluster.wait_until_is(len(others), *others)

    with _running(url) as plane:
        try:
            return seconds_until_committed(plane, fail)
        finally:
            for node in failed:
                if node.running:
                    node.thaw()
            cluster.start()


def _connections(database: str) -> Callable[[GaleraNode], int]:
    """Return what tells how many connections to a database a node has."""
    count = f"SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'"
    return lambda node: int(node.ask(count)[0][0])
