"""What happens to a backend takes no living service down, and a dead one is found afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from servers.etcd import EtcdCluster
from servers.memcached import Memcached
from servers.process import PATIENCE, ask
from servers.redis import Redis
from servers.redis_cluster import RedisCluster
from servers.zookeeper import ZooKeeper, ZooKeeperEnsemble
from servicegroup.drivers.redis.keys import IN_ONE_SLOT, SLOT
from support.control_plane import ControlPlane
from support.fleet import Agent, fleet, openstack
from support.waiting import until
from support.watcher import Watcher

pytestmark = pytest.mark.long

LIMITS: dict[str, Any] = {
    "report_interval": 2,
    "service_down_time": 14,
    "heartbeat_interval": 1,
    "membership_ttl": 4,
}
HOSTS = ["h1", "h2", "h3"]
BINARY = "nova-compute"


@contextmanager
def present_fleet(
    driver: str, section: str, directory: Path
) -> Iterator[tuple[ControlPlane, list[Agent]]]:
    """Give a control plane with this driver, and three agents that are present in it."""
    plane = ControlPlane(f"sqlite:///{directory / 'r.sqlite'}", directory)
    plane.configure(section, servicegroup_driver=driver, **LIMITS)
    plane.start()
    try:
        with fleet(plane.url, HOSTS, directory) as agents:
            until(lambda: reasons(plane) == {"present"}, PATIENCE, what="all present")
            yield plane, agents
    finally:
        plane.stop()


def reasons(plane: ControlPlane) -> set[str]:
    found = plane.services(f"?binary={BINARY}").values()
    return {s["verdict"]["reason"] for s in found} if len(found) == len(HOSTS) else set()


def survives(
    plane: ControlPlane, agents: list[Agent], *events: Callable[[], object], calm: float = 8
) -> None:
    """Nobody is down during the events nor in the calm after; then a crash is found."""
    with Watcher(plane, BINARY, len(HOSTS)) as watcher:
        for event in events:
            event()
        time.sleep(calm)  # a wrong "down" may come late: two membership_ttl is the subject
        until(lambda: reasons(plane) == {"present"}, PATIENCE, what="all present again")
    assert watcher.flips == []
    assert watcher.answers > 20
    agents[0].kill()
    key = agents[0].key
    until(lambda: plane.services()[key]["verdict"]["state"] == "down", PATIENCE, what="down")
    assert plane.services()[key]["verdict"]["reason"] in ("absent", "silent")
    (bound,) = (d["detection_seconds"] for d in plane.request("GET", "/v1/drivers")[2]["drivers"])
    assert bound < LIMITS["service_down_time"], "so it was the driver's signal that found it"
    assert plane.services()[key]["verdict"]["reason"] == "absent"


def test_memcached_flushed_and_restarted(
    own_memcached: Callable[[], Memcached], tmp_path: Path
) -> None:
    """MC-5: Nova's own driver takes everybody down, for minutes."""
    server = own_memcached()

    def flush() -> None:
        assert ask(server.port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"

    section = f"[memcached]\nservers = {server.address}\n"
    with present_fleet("memcached", section, tmp_path) as (plane, agents):
        survives(plane, agents, flush, lambda: time.sleep(3), server.restart)


def test_redis_flushed_and_restarted(own_redis: Callable[[], Redis], tmp_path: Path) -> None:
    server = own_redis()

    def flush() -> None:
        assert ask(server.port, b"FLUSHALL\r\n", b"\r\n") == b"+OK\r\n"

    with present_fleet("redis", f"[redis]\nurl = {server.url}\n", tmp_path) as (plane, agents):
        survives(plane, agents, flush, lambda: time.sleep(3), server.restart)


@pytest.mark.timeout(180)
def test_a_redis_cluster_loses_a_master(
    own_redis_cluster: Callable[[], RedisCluster], tmp_path: Path
) -> None:
    """F-16: it is the one that holds all members; whoever is deleted or stops is freed after it."""
    cluster = own_redis_cluster()

    def entries() -> bytes:
        holder = until(lambda: cluster.owner(SLOT))
        return holder.tell(f"ZRANGE {IN_ONE_SLOT.group('compute')} 0 -1")

    def fail_over() -> None:
        holder = until(lambda: cluster.owner(SLOT))
        holder.kill()
        until(lambda: cluster.owner(SLOT), 30, what="its replica is elected")

    with present_fleet("redis", f"[redis]\nurl = {cluster.url}\n", tmp_path) as (plane, agents):
        survives(plane, agents, fail_over)
        _, deleted, stopped = agents
        assert b"h2@1" in entries()
        deleted.kill()
        plane.request("DELETE", f"/v1/services/{plane.services()[deleted.key]['uuid']}")
        until(lambda: b"h2@1" not in entries(), LIMITS["membership_ttl"], what="it is freed")
        assert b"h3@1" in entries()
        assert stopped.stop() == 0
        assert b"h3@1" not in entries()


@pytest.mark.timeout(240)
def test_zookeeper_away_for_a_minute(
    own_zookeeper: Callable[[], ZooKeeper], tmp_path: Path
) -> None:
    """ZK-4: every session ends meanwhile, and recovery needs no restart."""
    server = own_zookeeper()
    section = f"[zookeeper]\naddress = {server.address}\nsession_timeout = 4\n"

    def outage() -> None:
        server.kill()
        time.sleep(60)  # fifteen sessions: the outage is the subject
        server.start()

    with present_fleet("zookeeper", section, tmp_path) as (plane, agents):
        survives(plane, agents, outage)


def test_zookeeper_loses_its_leader(
    own_zookeeper_ensemble: Callable[[], ZooKeeperEnsemble], tmp_path: Path
) -> None:
    ensemble = own_zookeeper_ensemble()
    section = f"[zookeeper]\naddress = {ensemble.address}\nsession_timeout = 4\n"
    with present_fleet("zookeeper", section, tmp_path) as (plane, agents):
        survives(plane, agents, lambda: ensemble.leader().kill())


@pytest.mark.timeout(180)
def test_etcd_loses_its_leader(own_etcd_cluster: Callable[[], EtcdCluster], tmp_path: Path) -> None:
    """ET-3, ET-4."""
    cluster = own_etcd_cluster()
    endpoints = ",".join(server.url for server in cluster.servers)
    section = f"[etcd]\nendpoints = {endpoints}\n"
    with present_fleet("etcd", section, tmp_path) as (plane, agents):
        survives(plane, agents, lambda: cluster.leader().kill())


def test_a_crash_is_absent_wherever_one_looks(zookeeper_server: ZooKeeper, tmp_path: Path) -> None:
    """S3, S6: REST, the command line and OpenStack's client ask one layer."""
    section = (
        f"[zookeeper]\naddress = {zookeeper_server.address}\nsession_timeout = 2\n"
        f"tick_time = 0.5\nprefix = /crash-{tmp_path.name}\n"
    )
    with present_fleet("zookeeper", section, tmp_path) as (plane, agents):
        crashed = agents[0]
        crashed.kill()
        killed = time.monotonic()
        path = f"?binary={BINARY}&host={crashed.host}&state=down"
        until(lambda: plane.services(path), PATIENCE, interval=0.02, what="down")
        assert time.monotonic() - killed <= 2 + 0.5 + 0.3 + 0.5  # and the machine is busy
        assert plane.services(path)[crashed.key]["verdict"]["reason"] == "absent"
        arguments = ("--url", plane.url, "service", "list", "--down", "-f", "json")
        listed = subprocess.run(
            [sys.executable, "-m", "servicegroup", *arguments],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        (row,) = msgspec.json.decode(listed.stdout)
        assert (row["host"], row["state"], row["reason"]) == (crashed.host, "down", "absent")
        states = {host: row["State"] for host, row in openstack(plane.url).items()}
        assert {host: states[host] for host in HOSTS} == {"h1": "down", "h2": "up", "h3": "up"}
