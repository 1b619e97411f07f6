"""PendingEvictions do not wait in one row: each server and each driver has its own turn (F-60)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, select

from servers.memcached import Memcached
from servers.process import PATIENCE
from servers.redis import Redis
from servicegroup import evictions
from servicegroup.driver import Driver, load
from servicegroup.errors import DriverUnavailable
from servicegroup.freeing import Freeing
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits, Member, PresenceState
from servicegroup.nova.evictions import PendingEvictions as NovaEvictions
from servicegroup.store import outbox
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.store import Store
from servicegroup.store.tables import outbox as table
from support.waiting import until

TTL = 1.0
"""Seconds a member lives, and for which a server that was just started cannot tell of anybody."""

RECORD = "35b740bb-2a9f-4229-a7d5-b6bd5746af19"
"""The uuid of a record of Nova's."""

AT_ONCE = Limits(report_interval=0.0001)
"""With which a deleted process has been told as soon as it is deleted."""


@pytest.fixture
def two(own_memcached: Callable[[], Memcached]) -> list[Memcached]:
    """Give two memcached servers."""
    return [own_memcached(), own_memcached()]


@pytest.fixture
def driver(two: list[Memcached]) -> Iterator[Driver]:
    """Give a driver on them that soon gives up."""
    servers = ",".join(server.address for server in two)
    driver = load("memcached", {"servers": servers, "connect_timeout": 0.3, "answer_timeout": 0.3})
    yield driver
    driver.close()


def owed(engine: Engine, driver: str, members: list[Member]) -> None:
    """Write evictions, as deletes do."""

    rows = [{"driver": driver, "topic": m.group, "host": m.host, "incarnation": 1} for m in members]
    now = select(utcnow()).scalar_subquery()
    write(engine, lambda c: c.execute(table.insert().values(created_at=now), rows))


def members_of(driver: Driver, server: Memcached, count: int) -> list[Member]:
    """Return members that this server would hold."""
    every = (Member("compute", f"h{n}") for n in range(100_000))
    own = (member for member in every if driver.server_of(member) == server.address)
    return [next(own) for _ in range(count)]


def test_a_frozen_server_keeps_only_its_own_members_waiting(
    store: Store, two: list[Memcached], driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is owed to it first, and however much."""
    monkeypatch.setattr(evictions, "PAGE", 3)
    monkeypatch.setattr(outbox, "PAGE", 3)
    group = ServiceGroup(store, driver, AT_ONCE)
    stuck, free = members_of(driver, two[0], 10), members_of(driver, two[1], 6)
    for member in free:
        driver.heartbeat(member, 1, TTL)
    there = driver.presence(free).values()
    assert {presence.state for presence in there} == {PresenceState.PRESENT}
    owed(store.engine, "memcached", [*stuck, *free])
    two[0].freeze()
    try:
        group.free_deleted()
        freed = driver.presence(free).values()
        assert not any(presence.incarnations for presence in freed), "in the first round"
        until(lambda: group.free_deleted() == len(stuck), PATIENCE)
    finally:
        two[0].thaw()
    for member in stuck:
        driver.heartbeat(member, 1, TTL)
    until(lambda: group.free_deleted() == 0, PATIENCE)


def test_evictions_of_other_drivers_delay_nobody_and_are_forgotten_in_time(
    store: Store, own_redis: Callable[[], Redis], two: list[Memcached], driver: Driver
) -> None:
    """A thousand of a former one, and as many of one that is away."""
    redis = own_redis()
    away = load("redis", {"url": redis.url})
    group = ServiceGroup(store, away, AT_ONCE, driver)
    many = [Member("compute", f"former{n}") for n in range(1_001)]
    owed(store.engine, "zookeeper", many)
    owed(store.engine, "redis", many)
    mine = members_of(driver, two[1], 2)
    for member in mine:
        driver.heartbeat(member, 1, TTL)
    owed(store.engine, "memcached", mine)
    redis.freeze()
    try:
        until(lambda: "memcached" not in _after_a_round(group), PATIENCE)
    finally:
        redis.thaw()
    assert outbox.waiting(store.engine)["zookeeper"] == len(many)
    two_hours = evictions.FORGOTTEN_DRIVER * 2
    row = select(table.c.created_at).limit(1)
    then = write(store.engine, lambda c: c.execute(row).scalar_one()) - two_hours
    former = table.update().where(table.c.driver == "zookeeper").values(created_at=then)
    write(store.engine, lambda c: c.execute(former))
    assert "zookeeper" not in _after_a_round(group)
    away.close()


def _after_a_round(group: ServiceGroup) -> dict[str, int]:
    group.free_deleted()
    return outbox.waiting(group._store.engine)


def test_a_member_that_cannot_be_freed_keeps_nobody_waiting(
    store: Store, two: list[Memcached], driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same server: say, since others keep changing it."""
    first, second, *rest = members_of(driver, two[0], 5)
    leave = driver.leave

    def refuse(member: Member, incarnation: int | None = None) -> None:
        if member in (first, second):
            raise DriverUnavailable("Others keep changing the same member.")
        leave(member, incarnation)

    monkeypatch.setattr(driver, "leave", refuse)
    for member in rest:
        driver.heartbeat(member, 1, TTL)
    owed(store.engine, "memcached", [first, second, *rest])
    group = ServiceGroup(store, driver, AT_ONCE)
    until(lambda: group.free_deleted() == 2, PATIENCE)
    monkeypatch.undo()
    until(lambda: group.free_deleted() == 0, PATIENCE)


def test_neither_does_one_wait_for_another_server_beside_nova(
    two: list[Memcached], driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stuck, free = members_of(driver, two[0], 4), members_of(driver, two[1], 6)
    for member in free:
        driver.heartbeat(member, 1, TTL)
    two[0].freeze()
    try:
        nova = NovaEvictions(driver, Limits(heartbeat_interval=0.2, membership_ttl=TTL))
        for member in [*stuck, *free]:
            nova.leave(member, RECORD)
        until(lambda: {one.member for one in nova._owed} <= set(stuck), PATIENCE)
        assert not any(p.incarnations for p in driver.presence(free).values())
    finally:
        two[0].thaw()
    until(lambda: not nova._owed and nova._heart is None, PATIENCE)


def test_a_backend_that_is_one_has_one_turn(own_redis: Callable[[], Redis]) -> None:
    redis = own_redis()
    driver = load("redis", {"url": redis.url})
    freeing = Freeing(driver)
    assert freeing.free(Member("compute", "h1"))
    redis.stop()
    assert not freeing.free(Member("compute", "h1"))
    assert freeing.is_over(Member("other", "h2"))
    driver.close()
