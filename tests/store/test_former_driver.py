"""A real driver is given up for another one, on every database (F-52)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from servers.memcached import Memcached
from servers.process import PATIENCE
from servers.redis import Redis
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import Driver, load
from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Registration, Report
from servicegroup.model import Limits
from servicegroup.store.store import Store
from support.waiting import until

pytestmark = pytest.mark.long

TTL = 3.0

LIMITS = Limits(report_interval=60, service_down_time=600, membership_ttl=TTL)


def layer(store: Store, driver: Driver) -> tuple[ServiceGroup, Observer]:
    group = ServiceGroup(store, driver, LIMITS)
    return group, Observer(group)


def look(observer: Observer) -> list[EventKind]:
    """Look as the one that observes; return what was recorded of no service."""
    assert observer.keep_lease()
    return [event.kind for event in observer.look() if event.uuid is None]


@pytest.mark.parametrize("new", ["db", "memcached"])
def test_what_redis_said_ends_with_it(
    store: Store, own_redis: Callable[..., Redis], own_memcached: Callable[..., Memcached], new: str
) -> None:
    redis, memcached = own_redis(), own_memcached()
    old = load("redis", {"url": redis.url})
    group, observer = layer(store, old)
    lives = {f"h{n}": group.join(f"h{n}", "nova-compute") for n in range(10)}
    group.report([Report(life.uuid, life.incarnation) for life in lives.values()])
    members = {s.uuid: s.member for s in group.services()}

    def beat(driver: Driver, joined: Iterable[Registration]) -> None:
        for life in joined:
            driver.heartbeat(members[life.uuid], life.incarnation, TTL)

    beat(old, lives.values())
    look(observer)
    for life in list(lives.values())[:5]:
        old.leave(members[life.uuid], life.incarnation)

    def is_held() -> bool:  # once the server, which was just started, can tell who is absent
        beat(old, list(lives.values())[5:])
        return look(observer) == [EventKind.PROTECTION_ON]

    until(is_held, PATIENCE, what="the protection")
    assert sum(s.held_since is not None for s in group.services()) == 5
    last = group.event_log().last

    driver = load(new, {"servers": memcached.address} if new == "memcached" else {})
    if new == "memcached":
        beat(driver, lives.values())
    group, next_observer = layer(store, driver)
    observer.release()
    assert look(next_observer) == [EventKind.PROTECTION_OFF]
    assert group.protections() == []
    found = group.services()
    assert {(s.held_since, s.absent_since) for s in found} == {(None, None)}
    assert {s.judged.state for s in found} == {"up"}
    assert look(next_observer) == []
    (off,) = group.events(EventFilter(after=last), 9).events
    assert off.kind is EventKind.PROTECTION_OFF
    driver.close()
    old.close()
