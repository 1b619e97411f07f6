"""A real backend that does not answer costs the register nothing (F-18)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from servers.process import PATIENCE, Server
from servicegroup import breaker
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import Driver, load
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Limits, Member, Presence, PresenceState, ServiceFilter
from servicegroup.store import migrate, snapshots
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

pytestmark = pytest.mark.long

LIMITS = Limits(report_interval=2, service_down_time=60, membership_ttl=60, heartbeat_interval=1)
COUNT = 9
GROUPS = 3
OPTIONS = {"redis": "url", "memcached": "servers", "zookeeper": "address", "etcd": "endpoints"}


class Fleet:
    """Services of several groups in one register, and notes on how their backend is asked."""

    def __init__(
        self, engine: Engine, driver: Driver, server: Server, patch: pytest.MonkeyPatch
    ) -> None:
        self.engine = engine
        self.server = server
        self.driver = driver
        self.group = ServiceGroup(Store(engine), driver, LIMITS)
        self.questions: list[tuple[int, int]] = []
        self.held: list[Any] = []
        self._thread = threading.get_ident()
        self._lives = []
        for number in range(COUNT):
            topic = f"group{number % GROUPS}"
            life = self.group.join(f"h{number}", f"b{number}", group=topic)
            self._lives.append((Member(topic, f"h{number}"), life))
        self.beat()
        presence = driver.presence

        def asked(members: Collection[Member]) -> dict[Member, Presence]:
            self.questions.append((threading.get_ident(), len(members)))
            if threading.get_ident() != self._thread:
                return presence(members)  # whose time is not this thread's: that may be reading
            self._note()
            answers = presence(members)
            self._note()
            return answers

        patch.setattr(driver, "presence", asked)

    def beat(self) -> None:
        """Have everybody report and be present."""
        for member, life in self._lives:
            self.driver.heartbeat(member, life.incarnation, LIMITS.membership_ttl)
        self.group.report([Report(life.uuid, life.incarnation) for _, life in self._lives])

    def mine(self) -> list[int]:
        """Return about how many members this thread asked, question by question."""
        return [size for thread, size in self.questions if thread == threading.get_ident()]

    def states(self) -> set[PresenceState]:
        """Return what a list says of the members' presence."""
        presences = [service.judged.evidence.presence for service in self.group.services()]
        assert len(presences) == COUNT
        return {presence.state for presence in presences if presence is not None}

    def _note(self) -> None:
        """Note what the register holds of its database now."""
        if held := self.engine.pool.checkedout():  # type: ignore[attr-defined]
            self.held.append(f"{held} connections")
        if self.engine.dialect.name != "postgresql":
            return
        with self.engine.connect() as connection:
            query = text(
                "SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
                " AND pid <> pg_backend_pid() AND datname = current_database()"
            )
            self.held += connection.scalars(query)


@pytest.fixture(params=OPTIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Give a real backend of the test's own."""
    made: Server = request.getfixturevalue(f"own_{request.param}")()
    return made


def handle(server: Server) -> Driver:
    """Return a new handle on the backend."""
    where = server.url if server.name in ("redis", "etcd") else server.address
    return load(server.name, {OPTIONS[server.name]: where})


@pytest.fixture
def fleet(engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Give a fleet whose lists are read in several batches."""
    monkeypatch.setattr(snapshots, "BATCH", 2)
    driver = handle(server)
    made = Fleet(engine, driver, server, monkeypatch)
    yield made
    server.thaw()
    made.group.close()


ASKING: dict[str, Callable[[ServiceGroup], object]] = {
    "a list": lambda group: group.services(),
    "a page": lambda group: group.services(ServiceFilter(limit=3)),
    "a page by state": lambda group: group.services(ServiceFilter(limit=3), state="down"),
    "a group": lambda group: group.services(ServiceFilter(group="group1")),
    "one service": lambda group: group.find("h1", "b1"),
    "is it up": lambda group: group.service_is_up(Member("group1", "h1")),
    "an edit": lambda group: group.update(group.find("h1", "b1").uuid, disabled=True),
    "an observer": lambda group: _observe(group),
}


def _observe(group: ServiceGroup) -> None:
    observer = Observer(group)
    assert observer.keep_lease()
    observer.look()
    observer.look([Member("group1", "h1")])
    observer.release()


def test_no_connection_is_held_while_a_backend_is_asked(fleet: Fleet) -> None:
    for frozen in (False, True):
        if frozen:
            fleet.server.freeze()
        for name, ask in ASKING.items():
            before = len(fleet.questions)
            ask(fleet.group)
            assert frozen or len(fleet.questions) > before, f"{name} asks the backend"
            assert fleet.held == [], f"{name}, frozen: {frozen}"
    assert fleet.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_list_of_many_groups_is_one_question(fleet: Fleet) -> None:
    until(lambda: fleet.states() == {PresenceState.PRESENT}, PATIENCE)
    fleet.questions.clear()
    fleet.states()
    assert fleet.mine() == [COUNT]


@pytest.fixture(params=["redis", "memcached", "etcd"])
def silent(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Fleet]:
    """Give a fleet on SQLite whose backend has stopped answering, and was asked once since.

    What ZooKeeper's handle knows of a connection that went silent it knows without asking.
    """
    server: Server = request.getfixturevalue(f"own_{request.param}")()
    engine = connect(f"sqlite:///{tmp_path / 'register.sqlite'}")
    migrate.upgrade(engine)
    made = Fleet(engine, handle(server), server, monkeypatch)
    until(lambda: made.states() == {PresenceState.PRESENT}, PATIENCE)
    server.freeze()
    made.questions.clear()
    assert made.states() == {PresenceState.UNKNOWN}
    yield made
    server.thaw()
    made.group.close()


def test_while_a_backend_is_silent_one_asks_and_nobody_waits(silent: Fleet) -> None:
    assert silent.mine() == [COUNT]
    for _ in range(50):
        assert silent.states() == {PresenceState.UNKNOWN}
    assert silent.mine() == [COUNT], "the others are answered without a question"
    until(lambda: len(silent.questions) >= 3, PATIENCE, what="somebody goes on asking")
    assert len({thread for thread, _ in silent.questions}) == 2
    service = silent.group.find("h1", "b1")
    presence = service.judged.evidence.presence
    assert service.is_up
    assert presence is not None
    assert "; no answer for " in presence.detail
    assert silent.mine() == [COUNT]


def test_a_backend_that_is_back_is_believed_at_once(silent: Fleet) -> None:
    silent.server.thaw()
    silent.beat()
    thawed = time.monotonic()
    until(lambda: silent.states() == {PresenceState.PRESENT}, PATIENCE)
    # Beside the pause, a probe that was sent before may still be on its way to its own end.
    assert time.monotonic() - thawed < breaker.PAUSE + 5


@pytest.mark.parametrize("name", ["redis", "memcached"])
def test_a_control_plane_goes_on_and_stops_in_order(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue(f"own_{name}")()
    where = server.url if name == "redis" else server.address
    plane = ControlPlane(f"sqlite:///{tmp_path / 'register.sqlite'}", tmp_path)
    section = f"[{name}]\n{OPTIONS[name]} = {where}\n"
    plane.configure(section, servicegroup_driver=name, report_interval=1, service_down_time=30)
    plane.start()
    try:
        assert plane.request("POST", "/v1/services", {"host": "h", "binary": "b"})[0] == 200
        server.freeze()
        until(lambda: "no answer for" in _said(plane), PATIENCE)
        for path in ("/v2.1/os-services", "/v1/services", "/v1/groups", "/readyz") * 5:
            assert plane.request("GET", path)[0] == 200
        looks = Scrape.of(plane).total("observer_look_seconds_count")
        until(lambda: Scrape.of(plane).total("observer_look_seconds_count") > looks + 3, PATIENCE)
    finally:
        plane.stop()
    assert "Traceback" not in plane.log()


def _said(plane: ControlPlane) -> str:
    (service,) = plane.services("?host=h").values()
    return str(service["verdict"]["evidence"]["presence"]["detail"])
