"""Many computes that vanish from a backend at once are held in a real Nova, while they report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from servers.cloud import Cloud
from servers.nova import Compute
from servers.openstack import merged
from servers.proxy import Mode, Proxy
from servers.zookeeper import ZooKeeper
from support.waiting import until

from .conftest import DETECTED, HOSTS, QUICK, nobody_goes_down, on_zookeeper

COMPUTES = {*HOSTS, "three"}
THREE = ("nova-compute", "three")


@pytest.fixture
def way(zookeeper: ZooKeeper) -> Iterator[Proxy]:
    """Give the way of the computes to ZooKeeper; all others have one of their own."""
    if not zookeeper.running:
        zookeeper.start()
    with Proxy(zookeeper.port) as proxy:
        yield proxy


@pytest.fixture
def cloud(a_cloud: Cloud, zookeeper: ZooKeeper, way: Proxy) -> Iterator[Cloud]:
    """Give a Nova with three computes, the fewest that are a crowd."""
    third = Compute(a_cloud.api, "three")
    computes = [*a_cloud.computes.values(), third]
    with ExitStack() as stack:
        stack.callback(third.close)
        for compute in computes:
            compute.kill()
            compute.own = {"zookeeper": {"address": way.address}}
            stack.callback(setattr, compute, "own", {})
            stack.callback(compute.kill)
        a_cloud.run(merged(on_zookeeper(zookeeper), QUICK))
        third.start()
        until(lambda: reasons(a_cloud) == dict.fromkeys(COMPUTES, "present"), 60, 0.5, "three are")
        until(lambda: a_cloud.destinations() == COMPUTES, 60, 0.5, "all are mapped")
        until(lambda: THREE in a_cloud.states(), 30, what="the API has met all of them")
        yield a_cloud
        third.kill()
        a_cloud.delete("three")


def reasons(cloud: Cloud) -> dict[str, str]:
    """Return the reasons of the verdicts on computes, by host."""
    said = cloud.api.servicegroup("list", "--binary", "nova-compute", "-f", "json")
    return {one["host"]: one["reason"] for one in msgspec.json.decode(said)}


def test_computes_that_vanish_together_are_held_while_they_report(cloud: Cloud, way: Proxy) -> None:
    way.be(Mode.BLACK_HOLE)
    held = dict.fromkeys(COMPUTES, "held")
    until(lambda: reasons(cloud) == held, 60, 0.5, "all three are held")
    nobody_goes_down(cloud, 3 * DETECTED)
    assert reasons(cloud) == held
    assert (
        "3 of 3 members of group compute vanished from driver zookeeper"
        in cloud.api.log.read_text()
    )
    way.heal()
    until(lambda: set(reasons(cloud).values()) == {"present"}, 60, 0.5, "all are present again")
