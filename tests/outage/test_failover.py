"""A standby takes the primary's place: several hosts in the URL, or an address that moves."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from servers.postgresql import PostgreSQL, Standby, several
from servers.process import LOOPBACK, PATIENCE, free_port
from servers.proxy import Proxy
from servicegroup.cli.database_checks import database_checks
from servicegroup.controlplane.observer import Observer
from servicegroup.driver import load
from servicegroup.errors import StandbyMissing, StoreUnavailable
from servicegroup.events import EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.messages import Refusals, Report
from servicegroup.model import Limits
from servicegroup.store import lease, migrate
from servicegroup.store.database import connect, reading
from servicegroup.store.store import Store
from support.control_plane import ControlPlane
from support.reporter import seconds_until_committed
from support.waiting import until

pytestmark = pytest.mark.long

AT_MOST = 2.0
"""Seconds until reports are committed again, once a server takes writes."""

SLACK = 4.0
"""What a busy machine may add."""


@pytest.fixture
def primary(own_postgresql: Callable[..., PostgreSQL]) -> PostgreSQL:
    return own_postgresql()


@pytest.fixture
def standby(primary: PostgreSQL) -> Iterator[Standby]:
    with Standby(primary) as standby:
        standby.keep_up()
        yield standby


@contextmanager
def running(connection: str, directory: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(connection, directory, report_interval=1, service_down_time=10)
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


@pytest.mark.parametrize("how", ["kill", "freeze", "stop"])
def test_a_url_of_several_hosts(
    primary: PostgreSQL, standby: Standby, tmp_path: Path, how: str
) -> None:
    url = several(primary.database(), primary.port, standby.port)

    def fail() -> None:
        getattr(primary, how)()
        standby.promote()

    with running(url, tmp_path) as plane:
        assert seconds_until_committed(plane, fail) < AT_MOST + SLACK


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_an_address_that_moves(
    primary: PostgreSQL, standby: Standby, tmp_path: Path, how: str
) -> None:
    with Proxy(primary.port) as address:
        url = make_url(primary.database()).set(port=address.port)

        def fail() -> None:
            getattr(primary, how)()
            standby.promote()
            address.target = standby.port

        with running(url.render_as_string(), tmp_path) as plane:
            assert seconds_until_committed(plane, fail) < AT_MOST + SLACK


def test_a_frozen_host_costs_a_moment_once(primary: PostgreSQL, standby: Standby) -> None:
    engine = connect(several(primary.database(), standby.port, primary.port, free_port()))
    with reading(engine) as connection:  # the first one is a standby
        assert connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one() is False
    standby.freeze()
    primary.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
    primary.ask("SELECT pg_reload_conf()")
    engine.dispose()
    began = time.monotonic()
    for _ in range(20):
        with reading(engine) as connection:
            connection.exec_driver_sql("SELECT 1")
        engine.dispose()
    assert time.monotonic() - began < 20, "a connection a second at the least"
    standby.thaw()


def test_nobody_takes_writes(primary: PostgreSQL, standby: Standby) -> None:
    database = primary.database()
    url = several(database, primary.port, standby.port)
    there = f"SELECT count(*) FROM pg_database WHERE datname = '{make_url(database).database}'"
    until(lambda: standby.ask(there) == 1, what="the standby has the new database, too")
    primary.kill()
    engine = connect(url)
    with pytest.raises(StoreUnavailable) as caught, reading(engine):
        pass
    said = str(caught.value)
    assert f"{LOOPBACK}:{primary.port},{LOOPBACK}:{standby.port}" in said
    assert "read-only" in said
    assert "refused" in said


def test_an_asynchronous_copy_that_lost_events_is_told_as_a_gap(
    own_postgresql: Callable[..., PostgreSQL],
) -> None:
    """Ids of lost events were given again, and taken for the same events (F-27)."""
    primary = own_postgresql()
    url = primary.database()
    with Standby(primary) as copy:
        engine = connect(several(url, primary.port, copy.port))
        migrate.upgrade(engine)
        group = ServiceGroup(Store(engine), load("db"), Limits())
        group.join("node1", "worker")
        name = make_url(url).database
        here = connect(make_url(url).set(port=copy.port).render_as_string())
        behind = ServiceGroup(Store(here), load("db"), Limits())
        until(lambda: behind.event_log().last == 1, PATIENCE, what=f"{name} is copied")
        here.dispose()
        copy.stop()
        group.join("lost", "worker")
        place = group.events(EventFilter(after=0), 10).place
        assert place.id == 2
        primary.kill()
        copy.start()
        copy.promote()
        group.join("node2", "worker")
        group.join("node3", "worker")
        page = group.events(EventFilter().at(place), 10)
        assert [event.kind for event in page.events] == [EventKind.GAP]
        assert page.place.id == 3
        group.close()


def test_a_lease_that_was_taken_where_nobody_saw_it_is_not_held(
    own_postgresql: Callable[..., PostgreSQL],
) -> None:
    """Its token was given again by the copy, and two observers wrote beside each other (F-27)."""
    primary = own_postgresql()
    url = primary.database()
    with Standby(primary) as copy:
        several_hosts = several(url, primary.port, copy.port)
        engines = [connect(several_hosts) for _ in range(3)]
        migrate.upgrade(engines[0])
        groups = [ServiceGroup(Store(engine), load("db"), Limits()) for engine in engines]
        first, lost, next_ = (Observer(group) for group in groups)
        assert first.keep_lease()
        kept = lease.current(engines[0])
        here = connect(make_url(url).set(port=copy.port).render_as_string())
        until(lambda: lease.current(here) is not None, PATIENCE, what="the lease is copied")
        here.dispose()
        copy.stop()
        first.release()
        assert lost.keep_lease()
        primary.kill()
        copy.start()
        copy.promote()
        held = lease.current(engines[2])
        assert kept is not None
        assert held is not None
        assert held.fencing_token == kept.fencing_token, "nothing of the last taking is left"
        until(next_.keep_lease, PATIENCE, what="the lease is taken again")
        assert groups[0].join("node1", "worker").incarnation == 1
        assert lost.look() == []
        assert not lost.keep_lease()
        assert next_.keep_lease()
        assert [event.kind for event in next_.look()] == [EventKind.UP]
        for group in groups:
            group.close()


def doctor(plane: ControlPlane) -> str:
    done = subprocess.run(plane.command("doctor"), capture_output=True, timeout=60, check=False)
    return next(line for line in done.stdout.decode().splitlines() if "  writes " in line)


def test_doctor_knows_a_standby(primary: PostgreSQL, standby: Standby) -> None:
    url = make_url(primary.database()).set(port=standby.port)
    engine = connect(url.render_as_string())
    until(lambda: "test1" in str(standby.ask("SELECT max(datname) FROM pg_database")), PATIENCE)
    (check,) = (one for one in database_checks(engine) if one.check == "writes")
    engine.dispose()
    assert (check.result, check.finding) == (
        "FAIL",
        "This server is a standby: it takes no writes.",
    )


def test_a_stuck_standby_is_said(primary: PostgreSQL, standby: Standby, tmp_path: Path) -> None:
    """COMMIT waits for ever, and no limit of the server's ends it (F-31)."""
    with running(primary.database(), tmp_path) as plane:
        standby.freeze()

        def said() -> str:
            status, _, body = plane.request("GET", "/readyz")
            return "" if status == 200 else str(body["serviceUnavailable"]["message"])

        until(lambda: "standby" in said(), PATIENCE, what="/readyz names the cause")
        log = plane.log()
        assert log.count("Reports cannot be committed") <= 2  # first a lock, perhaps
        assert "COMMIT waits for a synchronous standby" in log
        assert "synchronous_standby_names" in log
        until(lambda: "commits wait for" in doctor(plane), PATIENCE, what="doctor says so")
        standby.thaw()
        until(plane.is_ready, PATIENCE, what="reports are committed again")
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        until(lambda: primary.ask(waiting) == 0, PATIENCE, what="no session is left behind")


def test_a_commit_that_waits_for_a_standby_is_not_acknowledged(
    primary: PostgreSQL, standby: Standby
) -> None:
    engine = connect(primary.database())
    migrate.upgrade(engine)
    group = ServiceGroup(Store(engine), load("db"), Limits())
    life = group.join("node1", "worker")
    standby.freeze()
    with pytest.raises(StandbyMissing, match="start one"):
        group.report([Report(life.uuid, life.incarnation)])
    standby.thaw()
    assert group.report([Report(life.uuid, life.incarnation)]) == Refusals()
    group.close()
