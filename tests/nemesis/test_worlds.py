"""The parts of a world do what their faults say: a backend refuses, another server leads."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import get_args

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nemesis.backends import BACKENDS, Backend
from nemesis.clock import COMPILER, Clock
from nemesis.databases import Database, Loss, OnMariaDB, OnPgBouncer, OnPostgreSQL, OnStandby
from nemesis.mishaps import connected, sessions_held
from nemesis.ways import MakeWay
from servers.plugin import require
from servers.process import PATIENCE
from servicegroup.driver import Driver, load
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member
from support.waiting import until

pytestmark = pytest.mark.long

REFUSING = [name for name, one in BACKENDS.items() if one.can("refusing")]
LED = [name for name, one in BACKENDS.items() if one.has_leader]


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    kind = BACKENDS[request.param]
    for program in kind.programs:
        require(program)
    with kind() as started:
        yield started


@pytest.fixture
def joins(backend: Backend, way: MakeWay) -> Iterator[Callable[[str], bool]]:
    """Join as a host from a process of its own; tell whether that was possible."""
    with ExitStack() as stack:

        def loaded() -> Driver:
            driver = load(backend.name, {backend.option: backend.reach(way)})
            return stack.enter_context(closing(driver))

        def join(host: str) -> bool:
            with contextlib.suppress(DriverUnavailable):
                loaded().heartbeat(Member("compute", host), 1, 60)
                return True
            return False

        yield join


@pytest.mark.parametrize("backend", REFUSING, indirect=True)
def test_it_refuses_who_is_new_and_takes_them_again(
    backend: Backend, joins: Callable[[str], bool]
) -> None:
    assert joins("first")
    told = set()
    for seed in range(4):
        with backend.refusing(random.Random(seed)) as how:
            assert not joins(f"new{seed}")
            told.add(how)
        until(lambda: joins("late"), what="it takes writes again")
    assert len(told) == (2 if backend.name == "redis" else 1)


@pytest.mark.parametrize("backend", LED, indirect=True)
def test_another_leads_and_the_former_one_returns(
    backend: Backend, joins: Callable[[str], bool]
) -> None:
    for lose in ("kill", "freeze"):
        former = backend.leader()
        getattr(former, lose)()
        assert backend.successor(former) is not former
        if former.running:
            former.thaw()
        else:
            former.start()
        backend.settle()
    if backend.can("hand_over"):
        former = backend.leader()
        backend.hand_over()
        assert backend.successor(former) is not former  # which may not know of it at once
    until(lambda: joins("host"), 30, what="it takes writes")


def test_a_lost_primary_is_replaced_again_and_again(way: MakeWay) -> None:
    require(OnStandby.program)
    with OnStandby(Clock.of_servers()) as database:
        url = database.reach(way)
        with connected(url) as connection:
            connection.execute(text("CREATE TABLE note (loss text)"))
        for loss in get_args(Loss):
            with connected(url) as connection:
                connection.execute(text(f"INSERT INTO note VALUES ('{loss}')"))
            database.promote(loss)
            with connected(url) as connection:
                connection.execute(text("INSERT INTO note VALUES ('meanwhile')"))
            database.replace()
        with connected(url) as connection:
            notes = connection.execute(text("SELECT count(*) FROM note")).scalar()
        assert notes == 6
        assert connection.engine.url.query["target_session_attrs"] == "read-write"


def test_who_is_behind_a_pooler_is_replaced(way: MakeWay) -> None:
    for server in (OnPgBouncer.program, *OnPgBouncer.beside):
        require(server)
    with OnPgBouncer(Clock.of_servers()) as database:
        url = database.reach(way)
        with connected(url) as connection:
            connection.execute(text("CREATE TABLE note (note text)"))
        database.fail_over()
        until(lambda: writes(url), PATIENCE, what="its successor takes writes")
        database.pooler.reload(default_pool_size="2")
        with sessions_held(url, 2):
            assert not writes(url)
        database.pooler.tell("PAUSE")
        database.pooler.tell("RESUME")
        until(lambda: writes(url), PATIENCE, what="it goes on")


def writes(url: str) -> bool:
    with contextlib.suppress(OperationalError), connected(url) as connection:
        connection.execute(text("INSERT INTO note VALUES ('new')"))
        return True
    return False


@pytest.mark.parametrize(
    ("kind", "now", "pause"),
    [
        (OnPostgreSQL, "SELECT extract(epoch FROM clock_timestamp())", "SELECT pg_sleep(0.1)"),
        (OnMariaDB, "SELECT UNIX_TIMESTAMP(SYSDATE(6))", "SELECT SLEEP(0.1)"),
    ],
)
def test_a_databases_clock_steps_and_its_waits_last_as_long(
    kind: type[Database], now: str, pause: str
) -> None:
    require(kind.program)
    if COMPILER is None:
        pytest.skip("SKIPPED: there is no compiler; apt-get install gcc libc6-dev")
    clock = Clock.of_servers()
    with kind(clock) as database, connected(database.url) as connection:
        for ahead in (0, -3600, 365 * 86_400, 0):
            clock.step(ahead)
            told = float(connection.execute(text(now)).scalar_one())
            assert abs(told - ahead - time.time()) < PATIENCE
            begun = time.monotonic()
            connection.execute(text(pause))
            assert 0.1 <= time.monotonic() - begun < PATIENCE
