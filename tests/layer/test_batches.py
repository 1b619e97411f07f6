"""A list in batches on real backends: everybody as in one batch, and no group read twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from servicegroup.driver import Driver, GroupPresence, load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.store import snapshots
from servicegroup.store.store import Store

from .conftest import LIMITS

COUNT = 6
OPTIONS = {"redis": "url", "memcached": "servers", "zookeeper": "address"}


@pytest.fixture(params=OPTIONS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Give a handle on a real backend."""
    server = request.getfixturevalue(f"{request.param}_server")
    where = server.url if request.param == "redis" else server.address
    driver = load(request.param, {OPTIONS[request.param]: where})
    yield driver
    driver.close()


def test_batches_say_what_one_batch_says(
    engine: Engine, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = ServiceGroup(Store(engine), driver, LIMITS)
    present = set()
    for number in range(COUNT):
        topic = f"{driver.name}-batches-{number % 2}"
        life = group.join(f"h{number}", f"b{number}", group=topic)
        group.report([Report(life.uuid, life.incarnation)])
        if number < 4:
            present.add(f"h{number}")
            driver.heartbeat(Member(topic, f"h{number}"), life.incarnation, 10)
    asked = Asked(driver, monkeypatch)
    states = [_states(group)]
    assert {h for h, s in states[0].items() if s is PresenceState.PRESENT} == present
    monkeypatch.setattr(snapshots, "BATCH", 2)
    states.append(_states(group))
    assert states[0] == states[1]
    if driver.name == "redis":  # which reads a whole group for any question
        assert asked.groups == Counter({f"redis-batches-{n}": 2 for n in range(2)})
        assert asked.named == 0
    else:
        assert asked.named == 2 * COUNT
    for number in range(4):
        driver.leave(Member(f"{driver.name}-batches-{number % 2}", f"h{number}"))


class Asked:
    """Counts what a driver is asked: listings of groups, and members by name."""

    def __init__(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: Counter[str] = Counter()
        self.named = 0
        presence, listed = driver.presence, driver.list_group

        def count_named(members: Collection[Member]) -> dict[Member, Presence]:
            self.named += len(members)
            return presence(members)

        def count_group(group: str) -> GroupPresence | None:
            self.groups[group] += 1
            return listed(group)

        monkeypatch.setattr(driver, "presence", count_named)
        monkeypatch.setattr(driver, "list_group", count_group)


def _states(group: ServiceGroup) -> dict[str, Any]:
    found = {}
    for batch in group.batches():
        for service in batch:
            presence = service.judged.evidence.presence
            found[service.host] = presence and presence.state
    return found
