"""The outbox: what backends still have to forget, read driver by driver (F-60)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from servicegroup.group import ServiceGroup
from servicegroup.model import Member
from servicegroup.store import outbox
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.store import Store
from servicegroup.store.tables import outbox as table


def test_each_driver_has_its_own(
    store: Store, group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAGE", 2)
    hosts = [f"h{number}" for number in range(5)]
    for host in hosts:
        life = group.join(host, "nova-compute")
        store.delete(life.uuid, ["etcd", "redis"] if host == "h4" else ["etcd"])
    engine = store.engine
    assert outbox.waiting(engine) == {"etcd": 5, "redis": 1}
    assert [e.member for e in outbox.pending(engine, "redis")] == [Member("compute", "h4")]
    found: list[outbox.Eviction] = []
    while page := outbox.pending(engine, "etcd", found[-1].id if found else 0):
        assert len(page) <= 2
        found += page
    assert [eviction.member.host for eviction in found] == hosts
    outbox.done(engine, found[:2])
    assert outbox.waiting(engine) == {"etcd": 3, "redis": 1}


def test_a_driver_s_old_ones_are_forgotten(store: Store, group: ServiceGroup) -> None:
    for host in ("h1", "h2"):
        store.delete(group.join(host, "nova-compute").uuid, ["etcd", "redis"])
    engine = store.engine
    hour = timedelta(hours=1)
    now = write(engine, lambda c: c.execute(select(utcnow())).scalar_one())
    first = table.update().where(table.c.host == "h1").values(created_at=now - 2 * hour)
    write(engine, lambda c: c.execute(first))
    assert outbox.forget(engine, "etcd", hour) == 1
    assert outbox.waiting(engine) == {"etcd": 1, "redis": 2}
    assert [e.member.host for e in outbox.pending(engine, "etcd")] == ["h2"]
    assert outbox.forget(engine, "etcd", hour) == 0
