"""The parts of a world do what their faults say: a backend refuses, and another server leads."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import text

from nemesis.backends import BACKENDS, Backend
from nemesis.clock import Clock
from nemesis.databases import Loss, OnStandby
from nemesis.mishaps import connected
from nemesis.ways import MakeWay
from servers.plugin import require
from servers.proxy import Proxy
from servicegroup.driver import Driver, load
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Member
from support.waiting import until

pytestmark = pytest.mark.long

REFUSING = [name for name, one in BACKENDS.items() if one.can("refusing")]
LED = [name for name, one in BACKENDS.items() if one.has_leader]


@pytest.fixture
def way() -> Iterator[MakeWay]:
    with ExitStack() as stack:

        def made(ports: Sequence[int]) -> Sequence[Proxy]:
            return [stack.enter_context(Proxy(port)) for port in ports]

        yield made


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    kind = BACKENDS[request.param]
    require(kind.program)
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
        assert backend.leader() is not former
    until(lambda: joins("host"), 30, what="it takes writes")


def test_a_lost_primary_is_replaced_again_and_again(tmp_path: Path, way: MakeWay) -> None:
    require(OnStandby.program)
    with OnStandby(Clock(tmp_path / "clock")) as database:
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
