"""One real Nova for all scenarios, restarted only where one wants other settings than the last.

A scenario gets it whole, every service up, and need not put back what it broke.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mirror.conftest import mirroring, plane
from servers.cloud import Cloud
from servers.memcached import Memcached
from servers.nova import with_layer
from servers.openstack import Settings, merged
from servers.plugin import require
from servers.postgresql import PostgreSQL
from servers.rabbitmq import RabbitMQ
from servers.zookeeper import ZooKeeper
from support.waiting import until

__all__ = ("mirroring", "plane")

TICK = 0.5
SESSION = 2
DETECTED = SESSION + TICK + 1.0
"""Seconds after which ZooKeeper's dead are down; one of them is for a busy machine."""

HOSTS = ("one", "two")

QUICK: Settings = {
    "DEFAULT": {"report_interval": 1, "service_down_time": 10, "rpc_response_timeout": 5},
    "servicegroup": {"heartbeat_interval": 1, "membership_ttl": 4},
    "conductor": {"workers": 2},
}
"""Intervals that a test can wait for, and workers that were forked."""


@pytest.fixture(scope="session")
def zookeeper() -> Iterator[ZooKeeper]:
    require(ZooKeeper)
    with ZooKeeper(int(TICK * 1000)) as server:
        yield server


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    require(Memcached)
    with Memcached() as server:
        yield server


@pytest.fixture(scope="session")
def a_cloud() -> Iterator[Cloud]:
    require(PostgreSQL)
    require(RabbitMQ)
    with Cloud(HOSTS) as cloud:
        yield cloud


def on_zookeeper(server: ZooKeeper) -> Settings:
    """Return Nova's settings with ZooKeeper behind and everything else at its default."""
    return with_layer("zookeeper", address=server.address, session_timeout=SESSION)


def _with_secrets(cloud: Cloud, server: ZooKeeper | Memcached, settings: Settings) -> Cloud:
    """Run Nova with these settings, its backend and its broker, every service up."""
    if not server.running:
        server.start()
    if not cloud.rabbitmq.running:
        cloud.rabbitmq.start()
    cloud.run(settings)
    return cloud


@pytest.fixture
def default_cloud(a_cloud: Cloud, zookeeper: ZooKeeper) -> Cloud:
    """Give a Nova with the intervals it has by default, and ZooKeeper."""
    return _with_secrets(a_cloud, zookeeper, on_zookeeper(zookeeper))


@pytest.fixture
def zookeeper_cloud(a_cloud: Cloud, zookeeper: ZooKeeper) -> Cloud:
    """Give a Nova with quick intervals and ZooKeeper."""
    return _with_secrets(a_cloud, zookeeper, merged(on_zookeeper(zookeeper), QUICK))


@pytest.fixture
def memcached_cloud(a_cloud: Cloud, memcached: Memcached) -> Cloud:
    """Give a Nova with quick intervals and memcached."""
    return _with_secrets(
        a_cloud, memcached, merged(with_layer("memcached", servers=memcached.address), QUICK)
    )


def nobody_goes_down(cloud: Cloud, seconds: float) -> None:
    """Look again and again for so long; fail when a service is down."""
    begun = time.monotonic()

    def over() -> bool:
        assert cloud.down() == set()
        return time.monotonic() > begun + seconds

    until(over, seconds + 60, 0.2, "the look is over")


def all_are_back(cloud: Cloud, seconds: float) -> None:
    """Wait until two is present again; fail when a service is down meanwhile."""

    def back() -> bool:
        assert cloud.down() == set()
        return cloud.reason("two") == "present"

    until(back, seconds, what="two is present again, and was not restarted")
