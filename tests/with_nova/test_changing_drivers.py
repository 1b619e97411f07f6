"""From Nova's own drivers to ours: the shadow is written and compared, and nobody obeys it."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from servers.cloud import Cloud
from servers.memcached import Memcached
from servers.nova import cached_in, with_layer
from servers.openstack import Settings, merged
from servers.zookeeper import ZooKeeper
from support.waiting import until

from .conftest import QUICK, SESSION, all_are_back

PATIENCE = 60

AGREED: tuple[int, set[tuple[str, str, str]]] = (0, set())
"""How the comparison ends when obeying the shadow would change no verdict."""


@pytest.fixture
def shadow(zookeeper: ZooKeeper) -> Settings:
    """Return the settings of a Nova with ZooKeeper as its shadow."""
    if not zookeeper.running:
        zookeeper.start()
    layer = with_layer("zookeeper", address=zookeeper.address, session_timeout=SESSION)
    return merged(layer, QUICK, {"servicegroup": {"shadow_driver": "zookeeper"}})


def obeying(driver: str) -> Settings:
    """Return the settings that make Nova obey one of its own drivers."""
    # Long enough that it finds nothing out while the two are compared.
    return {"DEFAULT": {"servicegroup_driver": driver, "service_down_time": 60}}


def compared(cloud: Cloud) -> tuple[int, set[tuple[str, str, str]]]:
    """Return the exit code of `nova compare`, and who would change to what for which reason."""
    where = ("nova", "--nova-config-file", cloud.api.configuration)
    program = (cloud.api.program("servicegroup"), *where, "compare", "-f", "json")
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
    rows = msgspec.json.decode(done.stdout)
    return done.returncode, {(row["host"], row["would_be"], row["for"]) for row in rows}


def test_the_dead_are_known_to_the_shadow_before_db_knows(
    a_cloud: Cloud, shadow: Settings, zookeeper: ZooKeeper
) -> None:
    a_cloud.run(merged(shadow, obeying("db")))
    until(lambda: compared(a_cloud) == AGREED, PATIENCE, what="the shadow agrees")
    a_cloud.computes["two"].kill()
    until(lambda: compared(a_cloud) == (1, {("two", "down", "absent")}), PATIENCE)
    assert a_cloud.state("two") == "up"
    a_cloud.run(merged(shadow, {"servicegroup": {"shadow_driver": ""}}))
    all_are_back(a_cloud, PATIENCE)


def test_without_memcached_mc_downs_everybody_and_the_shadow_nobody(
    a_cloud: Cloud, shadow: Settings, memcached: Memcached
) -> None:
    if not memcached.running:
        memcached.start()
    a_cloud.run(merged(shadow, obeying("mc"), cached_in(memcached.address)))
    until(lambda: compared(a_cloud) == AGREED, PATIENCE, what="the shadow agrees")
    memcached.kill()
    everybody = {(host, "up", "present") for _, host in a_cloud.everybody}
    until(lambda: compared(a_cloud) == (1, everybody), PATIENCE, what="mc alone is in trouble")
    assert a_cloud.down() == a_cloud.everybody
