"""Spec S4: a deleted service's place in the backend is freed, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from servers.memcached import Memcached
from servicegroup.driver import Driver
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, PresenceState
from servicegroup.store.outbox import pending, waiting
from servicegroup.store.store import Store
from support.aging import age_everything

from .conftest import LIMITS, believed

MEMBER = Member("compute", "h1")


def joined(group: ServiceGroup, agent: Driver) -> tuple[str, int]:
    """Register a service that reports and is present."""
    life = group.join("h1", "nova-compute")
    group.report([Report(life.uuid, life.incarnation)])
    agent.heartbeat(MEMBER, life.incarnation, LIMITS.membership_ttl)
    assert group.driver.presence([MEMBER])[MEMBER].state is PresenceState.PRESENT
    return life.uuid, life.incarnation


def living(group: ServiceGroup) -> frozenset[int]:
    return group.driver.presence([MEMBER])[MEMBER].incarnations


def test_a_delete_frees_the_backend(group: ServiceGroup, agent: Driver, engine: Engine) -> None:
    uuid, _ = joined(group, agent)
    group.delete(uuid)
    group.free_deleted()
    assert not living(group)
    believed(group, agent)
    age_everything(engine, 60)
    assert group.free_deleted() == 0
    assert waiting(engine) == {}


def test_a_delete_while_the_backend_is_down_is_caught_up_by_any_control_plane(
    group: ServiceGroup, agent: Driver, engine: Engine, server: Memcached,
    handle: Callable[[], Driver],
) -> None:  # fmt: skip
    """LC-2: the eviction outlives the backend's outage and the control plane that wrote it."""
    uuid, incarnation = joined(group, agent)
    server.freeze()
    group.delete(uuid)
    assert group.free_deleted() == 1
    assert group.services() == []
    assert [eviction.member for eviction in pending(engine, group.driver.name)] == [MEMBER]
    server.thaw()
    successor = ServiceGroup(Store(engine), handle(), LIMITS)
    assert successor.free_deleted() == 1
    assert incarnation not in living(successor)


def test_a_process_that_joins_once_more_is_freed_once_more(
    group: ServiceGroup, agent: Driver, engine: Engine
) -> None:
    """LC-1, ZK-18: it has not learnt yet that it was deleted."""
    uuid, incarnation = joined(group, agent)
    believed(group, agent)
    group.delete(uuid)
    group.free_deleted()
    agent.heartbeat(MEMBER, incarnation, LIMITS.membership_ttl)
    assert living(group) == {incarnation}
    assert group.free_deleted() == 1, "the eviction waits for the process to be told"
    assert not living(group)
    assert group.report([Report(uuid, incarnation)]).deleted == {uuid}


def test_a_successor_is_never_evicted(group: ServiceGroup, agent: Driver, engine: Engine) -> None:
    uuid, old = joined(group, agent)
    group.delete(uuid)
    _, new = joined(group, agent)
    assert new > old
    for _ in range(3):
        group.free_deleted()
    assert living(group) == {new}
    age_everything(engine, 60)
    assert group.free_deleted() == 0
    assert group.service_is_up(MEMBER)


def test_an_administrator_evicts_every_life(group: ServiceGroup, agent: Driver) -> None:
    joined(group, agent)
    group.leave("compute", "h1")
    assert not living(group)
