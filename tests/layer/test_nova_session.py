"""Driver session of the layer for Nova: real control planes beside it, and processes that die."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from servers.postgresql import PostgreSQL
from servicegroup.agent.client import HttpClient
from servicegroup.errors import ConfigError, DriverUnavailable
from servicegroup.model import Member, Presence, PresenceState
from servicegroup.nova.holding import Holding
from servicegroup.nova.session import SessionDriver, SessionOptions
from servicegroup.nova.workers import WorkersLock
from support.control_plane import ControlPlane
from support.fleet import fleet
from support.nova_workers import GROUP, NovaWorkers
from support.waiting import until

pytestmark = pytest.mark.long

SHORT: dict[str, Any] = {
    "servicegroup_driver": "session",
    "report_interval": 2,
    "service_down_time": 20,
    "heartbeat_interval": 0.5,
    "membership_ttl": 3,
}
CONTROL = Member(GROUP, "control")
COMPUTE = Member("compute", "h1")

Drivers = Callable[..., SessionDriver]


@pytest.fixture
def plane(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[ControlPlane]:
    plane = ControlPlane(postgresql.database(), tmp_path, **SHORT)
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture
def drivers(plane: ControlPlane) -> Iterator[Drivers]:
    """Make drivers of processes of Nova, each with a view of its own."""
    with ExitStack() as stack:

        def made(url: str = plane.url) -> SessionDriver:
            driver = SessionDriver(SessionOptions(url=url))
            stack.callback(driver.close)
            return driver

        yield made


def told(driver: SessionDriver, member: Member) -> Presence:
    return driver.presence([member])[member]


def says(driver: SessionDriver, member: Member, state: PresenceState) -> bool:
    return told(driver, member).state is state


def becomes(driver: SessionDriver, member: Member, state: PresenceState, seconds: float) -> None:
    def said() -> Presence | None:
        answer = told(driver, member)
        last.append(answer.detail)
        return answer if answer.state is state else None

    last: list[str] = []
    try:
        until(said, seconds, what=f"{member} is {state}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it said: {last[-1]}") from None


def test_a_crash_is_told_to_whoever_asks_in_memory(
    plane: ControlPlane, drivers: Drivers, tmp_path: Path
) -> None:
    reader = drivers()
    assert says(reader, COMPUTE, PresenceState.UNKNOWN)  # it never joined
    with fleet(plane.url, ["h1"], tmp_path) as (agent,):
        becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
        assert reader.list_group("compute").present.keys() == {"h1"}
        until(lambda: plane.services()["h1", agent.binary]["verdict"]["reason"] == "present", 20)
        agent.kill()
        becomes(reader, COMPUTE, PresenceState.ABSENT, 5)
        assert "its connection broke" in told(reader, COMPUTE).detail
        # A process that starts now has it from the list.
        assert told(drivers(), COMPUTE).detail == told(reader, COMPUTE).detail
        assert reader.list_group("compute").present == {}


def test_while_the_register_is_away_nothing_is_known_and_then_all_is(
    plane: ControlPlane, drivers: Drivers, tmp_path: Path
) -> None:
    reader = drivers()
    with fleet(plane.url, ["h1", "h2"], tmp_path) as (first, _):
        for member in (COMPUTE, Member("compute", "h2")):
            becomes(reader, member, PresenceState.PRESENT, 20)
        plane.kill()
        becomes(reader, COMPUTE, PresenceState.UNKNOWN, 10)
        assert "the register cannot tell: " in told(reader, COMPUTE).detail
        late = drivers()
        assert says(late, COMPUTE, PresenceState.UNKNOWN)
        first.kill()
        plane.start()
        for driver in (reader, late):
            becomes(driver, Member("compute", "h2"), PresenceState.PRESENT, 30)
            becomes(driver, COMPUTE, PresenceState.ABSENT, 30)


def test_a_register_that_hangs_is_no_answer(
    plane: ControlPlane, drivers: Drivers, tmp_path: Path
) -> None:
    reader = drivers()
    with fleet(plane.url, ["h1"], tmp_path):
        becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
        plane.freeze()
        try:
            becomes(reader, COMPUTE, PresenceState.UNKNOWN, 20)
        finally:
            plane.thaw()
        becomes(reader, COMPUTE, PresenceState.PRESENT, 30)


def test_a_register_without_its_database_is_no_answer(
    tmp_path: Path, own_postgresql: Callable[[], PostgreSQL]
) -> None:
    server = own_postgresql()
    plane = ControlPlane(server.database(), tmp_path, **SHORT)
    plane.start()
    reader = SessionDriver(SessionOptions(url=plane.url))
    try:
        with fleet(plane.url, ["h1"], tmp_path):
            becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
            server.kill()
            becomes(reader, COMPUTE, PresenceState.UNKNOWN, 30)
            server.start()
            becomes(reader, COMPUTE, PresenceState.PRESENT, 60)
    finally:
        reader.close()
        plane.stop()


def test_workers_share_a_member_that_lives_while_one_of_them_does(
    plane: ControlPlane, drivers: Drivers
) -> None:
    reader = drivers()
    with NovaWorkers(plane.url, CONTROL.host, 3) as service:
        becomes(reader, CONTROL, PresenceState.PRESENT, 20)
        stays_present(reader, 2.0)
        assert incarnation(plane) == 1  # one of them alone has joined
        for worker in service.workers[:-1]:
            service.kill(worker)
            stays_present(reader, 3.0)
        service.kill(service.workers[0])
        becomes(reader, CONTROL, PresenceState.ABSENT, 5)


def stays_present(driver: SessionDriver, seconds: float) -> None:
    """Look again and again for so long, which is what no change takes."""
    begun = time.monotonic()

    def over() -> bool:
        assert says(driver, CONTROL, PresenceState.PRESENT)
        return time.monotonic() > begun + seconds

    until(over, seconds + 20)


def incarnation(plane: ControlPlane) -> int:
    (service,) = plane.services(f"?host={CONTROL.host}").values()
    return int(service["incarnation"])


def held(plane: ControlPlane) -> int:
    """Return the incarnation that holds a session, 0 while the newest one does not."""
    (service,) = plane.services(f"?host={CONTROL.host}").values()
    return int(service["incarnation"]) if service["verdict"]["reason"] == "present" else 0


def test_leaving_ends_the_own_life_and_a_delete_ends_the_record(
    plane: ControlPlane, drivers: Drivers
) -> None:
    driver, reader = drivers(), drivers()
    driver.heartbeat(COMPUTE, 1, 10.0)
    becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
    record = plane.services()["h1", "nova-compute"]
    assert (record["topic"], record["incarnation"]) == ("compute", 1)
    driver.leave(COMPUTE, 1)
    becomes(reader, COMPUTE, PresenceState.ABSENT, 5)
    assert told(reader, COMPUTE).detail.startswith("left in the register")
    driver.heartbeat(COMPUTE, 1, 10.0)
    becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
    driver.leave(COMPUTE)
    becomes(reader, COMPUTE, PresenceState.UNKNOWN, 5)
    assert plane.services("?host=h1") == {}
    driver.leave(COMPUTE, 1)
    driver.leave(COMPUTE)  # nothing is left to delete
    # Whoever is absent has a record as well, and its life is what may be deleted.
    driver.heartbeat(COMPUTE, 1, 10.0)
    becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
    driver.leave(COMPUTE, 1)
    becomes(reader, COMPUTE, PresenceState.ABSENT, 5)
    reader.leave(COMPUTE, 4711)
    assert plane.services("?host=h1")
    (life,) = told(reader, COMPUTE).incarnations
    reader.leave(COMPUTE, life)
    becomes(reader, COMPUTE, PresenceState.UNKNOWN, 5)
    assert plane.services("?host=h1") == {}


def test_who_was_deleted_in_the_register_alone_comes_back(
    plane: ControlPlane, drivers: Drivers
) -> None:
    reader = drivers()
    lock, client = WorkersLock(), HttpClient(plane.url)
    holding = Holding(COMPUTE, lock, drivers()._join, lambda uuid: False, rejoin=2.0)
    try:
        becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
        former = plane.services()["h1", "nova-compute"]["uuid"]
        reader.leave(COMPUTE)
        becomes(reader, COMPUTE, PresenceState.UNKNOWN, 20)
        becomes(reader, COMPUTE, PresenceState.PRESENT, 20)
        assert plane.services()["h1", "nova-compute"]["uuid"] != former
    finally:
        holding.end()
        client.close()


def test_whoever_was_taken_over_goes_on_when_the_other_has_died(
    plane: ControlPlane, drivers: Drivers
) -> None:
    """Two conductors of one host name, as in two cells: each has a lock of its own."""
    reader = drivers()
    with NovaWorkers(plane.url, CONTROL.host, 1):
        becomes(reader, CONTROL, PresenceState.PRESENT, 20)
        with NovaWorkers(plane.url, CONTROL.host, 1):
            until(lambda: held(plane) == 2, 20, what="the second holds a session")
        until(lambda: held(plane) == 3, 20, what="the first has joined again")
        becomes(reader, CONTROL, PresenceState.PRESENT, 20)


def test_without_rights_or_a_register_an_operator_is_told(
    tmp_path: Path, plane: ControlPlane, drivers: Drivers
) -> None:
    assert drivers().warnings() == []
    assert 0 < drivers().detection_time(10.0) < 10
    other = ControlPlane(f"sqlite:///{tmp_path / 'other.sqlite'}", tmp_path)
    with pytest.raises(DriverUnavailable, match="gave no answer"):
        drivers(other.url).warnings()
    assert drivers(other.url).detection_time(10.0) > 10.0
    other.configure(servicegroup_driver="db")
    other.start()
    try:
        (warning,) = drivers(other.url).warnings()
        assert warning.startswith("The register obeys db")
    finally:
        other.stop()


def test_a_compute_needs_a_reporters_token_and_whoever_asks_an_admins(tmp_path: Path) -> None:
    files, known = {}, []
    for role in ("reporter", "admin"):
        files[role] = tmp_path / role
        files[role].write_text(f"the {role} of the test\n")
        digest = sha256(files[role].read_text().strip().encode()).hexdigest()
        known.append(f"token = {role}:{digest}")
    api = "\n".join(["auth_strategy = token", *known])
    plane = ControlPlane(f"sqlite:///{tmp_path / 'r.sqlite'}", tmp_path, api=api, **SHORT)
    plane.start()
    with ExitStack() as stack:
        stack.callback(plane.stop)
        made = {}
        for role, file in files.items():
            options = SessionOptions(url=plane.url, token_file=str(file))
            made[role] = SessionDriver(options)
            stack.callback(made[role].close)
        made["reporter"].heartbeat(COMPUTE, 1, 10.0)
        becomes(made["admin"], COMPUTE, PresenceState.PRESENT, 20)
        assert says(made["reporter"], COMPUTE, PresenceState.UNKNOWN)
        assert "answered 403" in told(made["reporter"], COMPUTE).detail
        with pytest.raises(DriverUnavailable, match="answered 403"):
            made["reporter"].leave(COMPUTE)
        made["admin"].leave(COMPUTE)
        becomes(made["admin"], COMPUTE, PresenceState.UNKNOWN, 5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, r"set \[session\] url in nova.conf"),
        ({"url": "register:8774"}, "is not http://HOST:PORT"),
        ({"url": "http://register:8774", "token_file": "/nowhere"}, "/nowhere cannot be read"),
        ({"url": "http://register:8774", "linger": "3"}, "linger"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SessionDriver.from_options(options)
