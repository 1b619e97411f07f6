"""A real Nova with our drivers, beside the same with its own: lists, and the time to detect."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from benchmarks.nova_peer import measure, seed
from benchmarks.results import Claim, Section, factor, ms
from servers.cloud import Cloud
from servers.memcached import Memcached
from servers.nova import Databases, NovaAPI, cached_in, with_layer
from servers.openstack import Settings, merged
from servers.rabbitmq import RabbitMQ
from servers.zookeeper import ZooKeeper
from servicegroup.driver import load
from servicegroup.model import Member
from support.waiting import until

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.nova_peer.measure import Listing

SESSION, TICK = 2.0, 0.5
HEARTBEATS: Settings = {"servicegroup": {"heartbeat_interval": 1, "membership_ttl": 4}}

LASTING: Settings = {"DEFAULT": {"service_down_time": 3600}}
TTL = 3600.0
"""Seconds that reports and presence last while lists are timed."""

PHASE = 3.3
"""Seconds more between a report and a kill each time: Nova's own drivers count from the report."""

SLACK = 0.3
"""Seconds granted beyond session and tick: the look at the API and a busy machine."""

COST = 1.25
"""How many times the CPU of a list with Nova's `db` one with our drivers may take."""

PEER = "db"

REMEMBER = Path(__file__).with_name("nova_peer") / "remember.py"

Lists = dict[tuple[str, int], "Listing"]
"""By driver and the number of services."""

Present = Callable[[NovaAPI, list[str]], AbstractContextManager[None]]


class Case(Struct, frozen=True):
    """A driver, what nova.conf says of it, and a way to have computes of these hosts present."""

    name: str
    settings: Settings
    present: Present

    @property
    def ours(self) -> bool:
        """Whether the layer is in."""
        return "servicegroup" in self.settings


def run(bench: Bench) -> Iterator[Section]:
    """Measure Nova's drivers and ours; nothing where a server they need is missing."""
    if not all(server.installed() for server in (RabbitMQ, ZooKeeper, Memcached)):
        bench.say("Nova with drivers is left out: it needs RabbitMQ, ZooKeeper and memcached.")
        return
    with ZooKeeper(int(TICK * 1000)) as zookeeper, Memcached(512) as memcached:
        cases = list(_cases(zookeeper, memcached))
        yield _detection(bench, cases)
        yield _lists(bench, cases, memcached)


def _cases(zookeeper: ZooKeeper, memcached: Memcached) -> Iterator[Case]:
    cache = cached_in(memcached.address)  # of availability zones, as in production
    yield Case(PEER, cache, _reported)
    yield Case("mc", merged(cache, {"DEFAULT": {"servicegroup_driver": "mc"}}), _remembered)
    for name, options in (
        ("zookeeper", {"address": zookeeper.address, "session_timeout": SESSION}),
        ("memcached", {"servers": memcached.address}),
    ):
        settings = merged(cache, HEARTBEATS, with_layer(name, **options))
        yield Case(name, settings, joined)


# -- lists ---------------------------------------------------------------------------------------


@contextmanager
def _reported(nova: NovaAPI, hosts: list[str]) -> Iterator[None]:
    yield  # the seed has stamped their records


@contextmanager
def _remembered(nova: NovaAPI, hosts: list[str]) -> Iterator[None]:
    subprocess.run([nova.program("python"), REMEMBER, nova.configuration, *hosts], check=True)
    yield


@contextmanager
def joined(nova: NovaAPI, hosts: list[str]) -> Iterator[None]:
    """Have computes of these hosts present by the layer's driver that `nova.conf` names."""
    name = str(nova.settings["DEFAULT"]["servicegroup_driver"])
    driver = load(name, dict(nova.settings[name]))
    for host in hosts:
        driver.heartbeat(Member("compute", host), 1, TTL)
    said = nova.servicegroup("list", "-f", "json")
    reasons = [service["reason"] for service in json.loads(said)]
    if reasons != ["present"] * len(hosts):
        raise measure.MeasurementError(f"{reasons.count('present')} of {len(hosts)} are present")
    yield
    driver.close()


def _lists(bench: Bench, cases: list[Case], memcached: Memcached) -> Section:
    found: Lists = {}
    databases = Databases(*(bench.postgresql.database() for _ in Databases._fields))
    with NovaAPI(databases) as nova:
        for case in cases:
            nova.settings = merged(case.settings, LASTING)
            nova.restart()
            charged = {"nova": nova.pid, "memcached": memcached.pid}
            for size in bench.peer_sizes:
                bench.say(f"Nova with {case.name}: {size:,} services ...")
                seed.seed(databases, size)
                with case.present(nova, [seed.host(n + 1) for n in range(size)]):
                    listing = measure.listing(nova, charged, size, bench.runs)
                found[case.name, size] = listing
    return Section(
        "Lists of a real Nova",
        f"`GET /os-services` of one nova-api, {bench.runs} requests: median. All computes are up,"
        " and by our drivers present. Availability zones are cached in memcached for all drivers.",
        [
            _list_claim(found, case.name, size)
            for case in cases if case.ours
            for size in bench.peer_sizes
        ],
        ("driver", "services", "time", "nova-api CPU", "memcached CPU", f"{PEER}'s time over it"),
        [_list_row(found, name, size) for name, size in found],
    )  # fmt: skip


def _list_claim(found: Lists, name: str, size: int) -> Claim:
    """Compare what a list costs nova-api; the clock says more of how busy the machine was."""
    ours, peer = (found[driver, size].cpu_ms["nova"] for driver in (name, PEER))
    what = f"CPU of Nova's list of {size:,} services with {name}, against its {PEER}"
    return Claim(what, f"{ours / peer:.2f}", f"≤ {COST}", ours <= COST * peer)


def _list_row(found: Lists, name: str, size: int) -> tuple[str, ...]:
    listing = found[name, size]
    cpu = (ms(listing.cpu_ms[server] / 1000) for server in ("nova", "memcached"))
    compared = factor(found[PEER, size].seconds, listing.seconds)
    return (name, f"{size:,}", ms(listing.seconds), *cpu, compared)


# -- detection -----------------------------------------------------------------------------------


def _detection(bench: Bench, cases: list[Case]) -> Section:
    kills = 1 if bench.quick else 3
    found: dict[str, list[float]] = {}
    with Cloud(["one"]) as cloud:
        for case in cases:
            found[case.name] = []
            for number in range(kills):
                cloud.run(case.settings)  # returns when the compute has just reported
                time.sleep(number * PHASE)
                bench.say(f"Nova with {case.name}: kill {number + 1} of {kills} ...")
                found[case.name].append(_kill(cloud))
    bound = SESSION + TICK
    worst = max(found["zookeeper"])
    return Section(
        "Detection in a real Nova",
        f"`kill -9` of nova-compute, {kills} times, each {PHASE} s later after a report, until"
        " `GET /os-services` says down; asked every 20 ms. report_interval is 10 s and"
        " service_down_time 60 s, as by default. ZooKeeper has a session of"
        f" {SESSION:g} s and a tick of {TICK} s; our memcached driver a time to live of 4 s and"
        " heartbeats 1 s apart.",
        [
            Claim(f"`kill -9` → down in a real Nova, ZooKeeper, worst of {kills}",
                  f"{worst:.2f} s", f"≤ {bound:.2f} + {SLACK} s", worst <= bound + SLACK),
        ],
        ("driver", "median", "worst", f"{PEER}'s median over it"),
        [
            (name, f"{median(took):.2f} s", f"{max(took):.2f} s",
             factor(median(found[PEER]), median(took)))
            for name, took in found.items()
        ],
    )  # fmt: skip


def _kill(cloud: Cloud) -> float:
    """Return the seconds from the death of the compute to the verdict."""
    cloud.computes["one"].kill()
    killed = time.monotonic()
    until(lambda: cloud.state("one") == "down", 90, 0.02, "the killed compute is down")
    return time.monotonic() - killed
