"""A list in batches on real backends: everybody as in one batch, by one question (F-18)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from servicegroup.driver import Driver, load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Member, OnUnknown, Presence, PresenceState
from servicegroup.store import snapshots
from servicegroup.store.store import Store

from .conftest import LIMITS

COUNT = 6
OPTIONS = {"redis": "url", "memcached": "servers", "zookeeper": "address", "etcd": "endpoints"}


@pytest.fixture(params=OPTIONS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Give a handle on a real backend."""
    server = request.getfixturevalue(f"{request.param}_server")
    where = server.url if request.param in ("redis", "etcd") else server.address
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
    assert asked.members == [COUNT, COUNT], "one question a list, whatever groups and batches"
    for number in range(4):
        driver.leave(Member(f"{driver.name}-batches-{number % 2}", f"h{number}"))


def test_who_registers_while_the_backend_is_asked_is_in_the_next_list(
    engine: Engine, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = msgspec.structs.replace(LIMITS, on_unknown=OnUnknown.DOWN)
    group = ServiceGroup(Store(engine), driver, limits)
    topic = f"{driver.name}-meanwhile"
    group.join("first", "first", group=topic)
    presence = driver.presence

    def meanwhile(members: Collection[Member]) -> dict[Member, Presence]:
        answers = presence(members)
        group.join("second", "second", group=topic)
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(driver, "presence", meanwhile)
        assert [service.host for service in group.services()] == ["first"]
    assert [service.host for service in group.services()] == ["first", "second"]


class Asked:
    """Notes about how many members a driver is asked, question by question."""

    def __init__(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        self.members: list[int] = []
        presence = driver.presence

        def note(members: Collection[Member]) -> dict[Member, Presence]:
            self.members.append(len(members))
            return presence(members)

        monkeypatch.setattr(driver, "presence", note)


def _states(group: ServiceGroup) -> dict[str, Any]:
    found = {}
    for batch in group.batches():
        for service in batch:
            presence = service.judged.evidence.presence
            found[service.host] = presence and presence.state
    return found
