"""Which host a service is on is remembered, and nobody makes it be forgotten for others (F-55)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from uuid import uuid4

import pytest

from servicegroup.api.access import host_binding
from servicegroup.api.access.host_binding import Hosts
from servicegroup.errors import Forbidden
from servicegroup.group import ServiceGroup
from servicegroup.store.store import Store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give how many services each question to the database was about, as they are asked."""
    counts: list[int] = []
    hosts = Store.hosts

    def counted(store: Store, uuids: Collection[str]) -> dict[str, str]:
        counts.append(len(uuids))
        return hosts(store, uuids)

    monkeypatch.setattr(Store, "hosts", counted)
    return counts


def test_a_large_request_makes_others_wait_for_no_database(
    group: ServiceGroup, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of made-up uuids adds nothing, and one of services replaces as many as it has."""
    monkeypatch.setattr(host_binding, "REMEMBERED", 10)
    own = {group.join("h1", f"b{n}").uuid for n in range(5)}
    many = {group.join("h2", f"b{n}").uuid for n in range(5)}

    async def check() -> None:
        hosts = Hosts(group)
        await hosts.check("h1", own)
        await hosts.check("h1", {str(uuid4()) for _ in range(100)})
        await hosts.check("h2", many)
        await hosts.check("h1", own)
        await hosts.check("h2", many)
        assert asked == [5, 100, 5]
        one_more = group.join("h3", "b").uuid
        await hosts.check("h3", {one_more})
        await hosts.check("h2", many)
        await hosts.check("h1", own)
        assert asked == [5, 100, 5, 1, 1], "only the oldest was forgotten"
        with pytest.raises(Forbidden):
            await hosts.check("h2", own)

    asyncio.run(check())


def test_more_than_is_remembered_is_checked_all_the_same(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_binding, "REMEMBERED", 2)
    own = {group.join("h1", f"b{n}").uuid for n in range(5)}
    other = group.join("h2", "b").uuid

    async def check() -> None:
        hosts = Hosts(group)
        for _ in range(3):
            await hosts.check("h1", own)
            with pytest.raises(Forbidden):
                await hosts.check("h1", {*own, other})

    asyncio.run(check())
