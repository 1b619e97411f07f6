"""A Nova on ZooKeeper: what dies is down, what hangs is down, and a backend that is away is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from kazoo.client import KazooClient

from servers.cloud import Cloud
from servers.zookeeper import ZooKeeper
from servicegroup.driver import load
from servicegroup.model import Member
from servicegroup.nova.lives import life_of
from support.waiting import until

from .conftest import DETECTED, HOSTS, QUICK, SESSION, all_are_back, nobody_goes_down

SEVERAL = 5
"""Seconds in which a compute reports, and heartbeats, several times."""

RECORD_GONE = "on host two is gone"
"""What a compute logs when its report finds that its record was deleted."""

TWO = ("nova-compute", "two")

DOWN_TIME = float(str(QUICK["DEFAULT"]["service_down_time"]))


class Register:
    """What ZooKeeper holds of Nova's services."""

    def __init__(self, client: KazooClient) -> None:
        self._client = client

    def nodes(self, host: str, group: str = "compute") -> set[str]:
        """Return the nodes of a host's service."""
        nodes = self._client.get_children(f"/servicegroups/{group}")
        return {node for node in nodes if node.startswith(f"{host}@")}

    def has_all(self) -> bool:
        """Say whether every service of the cloud has a node."""
        controllers = ("conductor", "scheduler")
        computes = all(self.nodes(host) for host in HOSTS)
        return computes and all(self.nodes("control", group) for group in controllers)


@pytest.fixture
def register(zookeeper_cloud: Cloud, zookeeper: ZooKeeper) -> Iterator[Register]:
    client = KazooClient(zookeeper.address, connection_retry=-1, command_retry=-1)
    client.start(60)
    found = Register(client)
    until(found.has_all, 30, what="every service has a node")
    yield found
    client.stop()
    client.close()


def test_every_service_is_up_and_present(zookeeper_cloud: Cloud, register: Register) -> None:
    assert zookeeper_cloud.down() == set()
    # One node of every worker that the conductor forked.
    assert len(register.nodes("control", "conductor")) == QUICK["conductor"]["workers"]


def test_a_dead_compute_is_refused_and_rejoins_when_restarted(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    cloud = zookeeper_cloud
    until(lambda: cloud.destinations() == {"one", "two"}, 60, what="both hosts take instances")
    cloud.computes["two"].kill()
    until(lambda: cloud.state("two") == "down", DETECTED, what="two is down")
    assert cloud.destinations() == {"one"}

    cloud.computes["two"].start()
    until(lambda: cloud.state("two") == "up", 60, what="two is up again")
    assert register.nodes("two")
    until(lambda: cloud.destinations() == {"one", "two"}, 60, what="both take instances again")


def test_a_compute_that_hangs_is_down_until_it_goes_on(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    compute = zookeeper_cloud.computes["two"]
    compute.freeze()
    try:
        until(lambda: zookeeper_cloud.state("two") == "down", DETECTED, what="two is down")
    finally:
        compute.thaw()
    until(lambda: zookeeper_cloud.state("two") == "up", 30, what="two is up again")


def test_without_rabbitmq_computes_are_present_and_silent(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    cloud = zookeeper_cloud
    cloud.rabbitmq.kill()
    until(lambda: cloud.state("two") == "down", 3 * DOWN_TIME, what="two is down")
    assert register.nodes("two")
    why = cloud.why("two")
    assert why["reason"] == "silent"
    assert why["evidence"]["presence"]["state"] == "present"
    # The conductor saves its report itself.
    assert cloud.states()["nova-conductor", "control"] == "up"

    cloud.rabbitmq.start()
    until(lambda: not cloud.down(), 90, what="all report again, none was restarted")


def test_without_zookeeper_nobody_goes_down_and_all_come_back(
    zookeeper_cloud: Cloud, zookeeper: ZooKeeper, register: Register
) -> None:
    cloud = zookeeper_cloud
    zookeeper.kill()
    nobody_goes_down(cloud, DOWN_TIME + DETECTED)
    assert cloud.reason("two") == "unconfirmed"

    zookeeper.start()
    all_are_back(cloud, 60)


def stays_away(cloud: Cloud, register: Register) -> None:
    """Wait until the compute of two, which runs, has left; fail when it comes back."""
    compute = cloud.computes["two"]
    until(lambda: RECORD_GONE in compute.said(), 30, what="its report found the record gone")
    until(lambda: not register.nodes("two"), 10, what="its node is gone")
    begun = time.monotonic()
    while time.monotonic() < begun + SEVERAL:
        assert ("nova-compute", "two") not in cloud.states()
        assert not register.nodes("two")
    assert compute.running


def test_a_deleted_compute_leaves_and_stays_away_until_restarted(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    zookeeper_cloud.delete("two")
    stays_away(zookeeper_cloud, register)
    zookeeper_cloud.computes["two"].kill()
    zookeeper_cloud.computes["two"].start()
    until(lambda: zookeeper_cloud.states().get(TWO) == "up", 60, what="it has a new record")
    until(lambda: register.nodes("two"), 10, what="it joined anew")


def test_a_dead_compute_that_is_deleted_leaves_at_once(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    zookeeper_cloud.computes["two"].kill()
    zookeeper_cloud.delete("two")
    until(lambda: not register.nodes("two"), SESSION / 2, what="its node, before its session")


def test_a_delete_while_zookeeper_is_down_frees_the_node_later(
    zookeeper_cloud: Cloud, zookeeper: ZooKeeper, register: Register
) -> None:
    zookeeper.kill()
    zookeeper_cloud.delete("two")
    assert TWO not in zookeeper_cloud.states()
    zookeeper.start()
    stays_away(zookeeper_cloud, register)


def test_a_delete_ends_nobody_of_the_same_name_in_another_cell(
    zookeeper_cloud: Cloud, zookeeper: ZooKeeper, register: Register
) -> None:
    """F-44: conductors of one host name in two cells are one member, and each has a record."""
    driver = load("zookeeper", {"address": zookeeper.address})
    before = register.nodes("control", "conductor")
    try:
        other = life_of("e81d66a4-ddd3-4aba-8a84-171d1cb4d339")
        driver.heartbeat(Member("conductor", "control"), other, 60.0)
        (node,) = register.nodes("control", "conductor") - before
        zookeeper_cloud.conductor.kill()
        zookeeper_cloud.delete("control", "nova-conductor")
        until(
            lambda: register.nodes("control", "conductor") == {node},
            SESSION / 2,
            what="the nodes of the record that was deleted, and no other, before their session",
        )
    finally:
        driver.close()


def test_a_reload_of_nova_says_that_the_layer_needs_a_restart(
    zookeeper_cloud: Cloud, register: Register
) -> None:
    """F-47: whoever gets a SIGHUP reads nova.conf again, and the layer in it does not."""
    conductor = zookeeper_cloud.conductor
    before = conductor.configuration.read_text()
    try:
        conductor.configuration.write_text(before + "[servicegroup]\nmembership_ttl = 9\n")
        os.kill(conductor.pid, signal.SIGHUP)
        until(lambda: "restart needed" in conductor.said(), 30, what="it says so in its log")
    finally:
        conductor.configuration.write_text(before)
        conductor.kill()
