"""A Nova on memcached: what dies is down after its time to live, a cache that is away is not."""

from __future__ import annotations

from servers.cloud import Cloud
from servers.memcached import Memcached
from servicegroup.driver import load
from servicegroup.model import Member, PresenceState
from support.waiting import until

from .conftest import QUICK, all_are_back, nobody_goes_down

TTL = float(str(QUICK["servicegroup"]["membership_ttl"]))
INTERVAL = float(str(QUICK["servicegroup"]["heartbeat_interval"]))
DOWN_TIME = float(str(QUICK["DEFAULT"]["service_down_time"]))

DETECTED = TTL + 2.0 + INTERVAL
"""Seconds after which the dead are down: memcached counts whole seconds and may skip one, Nova asks
once a second, and one more is for a busy machine."""


def present(memcached: Memcached, host: str) -> bool:
    member = Member("compute", host)
    driver = load("memcached", {"servers": memcached.address})
    try:
        return driver.presence([member])[member].state is PresenceState.PRESENT
    finally:
        driver.close()


def test_a_killed_compute_is_down_after_its_time_to_live(memcached_cloud: Cloud) -> None:
    cloud = memcached_cloud
    until(lambda: cloud.reason("two") == "present", 30, what="two is present")
    cloud.computes["two"].kill()
    until(lambda: cloud.state("two") == "down", DETECTED, what="two is down before it is silent")


def test_without_memcached_nobody_goes_down_and_all_come_back(
    memcached_cloud: Cloud, memcached: Memcached
) -> None:
    cloud = memcached_cloud
    until(lambda: cloud.reason("two") == "present", 30, what="two is present")
    memcached.kill()
    nobody_goes_down(cloud, DOWN_TIME + DETECTED)
    assert cloud.reason("two") == "unconfirmed"

    memcached.start()
    all_are_back(cloud, 30)


def test_a_delete_frees_the_key(memcached_cloud: Cloud, memcached: Memcached) -> None:
    cloud = memcached_cloud
    until(lambda: present(memcached, "two"), 30, what="two is present")
    cloud.computes["two"].kill()
    cloud.delete("two")
    until(lambda: not present(memcached, "two"), TTL / 2, what="its key, before its time to live")
