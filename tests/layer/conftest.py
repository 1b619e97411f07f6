"""A layer on SQLite whose driver is a real memcached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servers.memcached import Memcached
from servicegroup.driver import Driver, load
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits, Member, PresenceState
from servicegroup.store import migrate
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.waiting import until

LIMITS = Limits(report_interval=2, service_down_time=10, membership_ttl=2, heartbeat_interval=1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give a register's database."""
    engine = connect(f"sqlite:///{tmp_path / 'r.sqlite'}")
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def server(own_memcached: Callable[[], Memcached]) -> Memcached:
    """Give a memcached of the test's own."""
    return own_memcached()


@pytest.fixture
def handle(server: Memcached) -> Iterator[Callable[[], Driver]]:
    """Give handles on it: the agent's, the control plane's."""
    made: list[Driver] = []

    def make() -> Driver:
        made.append(load("memcached", {"servers": server.address}))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture
def agent(handle: Callable[[], Driver]) -> Driver:
    """Give the agents' handle."""
    return handle()


@pytest.fixture
def group(engine: Engine, handle: Callable[[], Driver]) -> ServiceGroup:
    """Give the control plane's layer."""
    return ServiceGroup(Store(engine), handle(), LIMITS)


def believed(group: ServiceGroup, agent: Driver) -> None:
    """Wait until the young backend has been there long enough for its "absent" to count."""
    driver = group.shadow or group.driver
    nobody, somebody = Member("compute", "nobody"), Member("compute", "somebody")

    def is_believed() -> bool:
        agent.heartbeat(somebody, 1, LIMITS.membership_ttl)
        return driver.presence([nobody])[nobody].state is PresenceState.ABSENT

    until(is_believed, timeout=20, what="a backend that is believed")
