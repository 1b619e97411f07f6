"""The observer's lease: one holder at a time, and whoever was replaced writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select, text

from servicegroup.store import lease
from servicegroup.store.clock import utcnow
from servicegroup.store.database import STATEMENT_TIMEOUT, reading, write
from servicegroup.store.lease import LeaseLost
from servicegroup.store.tables import observer


def seen(engine: Engine) -> lease.Lease:
    found = lease.current(engine)
    assert found is not None
    return found


def fall_silent(engine: Engine, seconds: float) -> None:
    """Make the last renewal and the last look that many seconds old."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        then = connection.scalar(select(utcnow())) - timedelta(seconds=seconds)
        connection.execute(observer.update().values(renewed_at=then, observed_at=then))


def fenced(engine: Engine, number: int) -> None:
    """Write as an observer does."""

    def work(connection: Connection) -> None:
        lease.fence(connection, number)
        lease.mark_observed(connection)

    write(engine, work)


def winners(engine: Engine, seen: lease.Lease | None) -> list[int]:
    """Have six processes take the lease at once; return the numbers that were given."""
    together = threading.Barrier(6)

    def take(holder: int) -> int | None:
        together.wait(10)
        try:
            return lease.take(engine, str(holder), seen)
        except LeaseLost:
            return None

    with ThreadPoolExecutor(6) as threads:
        return [number for number in threads.map(take, range(6)) if number is not None]


def test_one_of_many_takes_it_and_is_the_holder(engine: Engine) -> None:
    assert lease.current(engine) is None
    assert lease.observer_status(engine) is None
    assert winners(engine, None) == [1]
    held = seen(engine)
    assert not held.is_free
    assert not held.blind
    lease.renew(engine, 1, blind=True)
    assert seen(engine).blind
    assert lease.observer_status(engine) is None, "nobody has looked yet"
    fenced(engine, 1)
    looked = lease.observer_status(engine)
    assert looked is not None
    assert looked.is_current
    assert looked.holder == held.holder
    with pytest.raises(LeaseLost):
        lease.take(engine, "late", None)


def test_who_falls_silent_is_replaced_by_one_and_writes_nothing_more(engine: Engine) -> None:
    assert lease.take(engine, "first", None) == 1
    fall_silent(engine, 2.5)
    assert not seen(engine).is_free
    fall_silent(engine, 3.5)
    free = seen(engine)
    assert free.is_free
    assert winners(engine, free) == [2]
    taken = seen(engine)
    assert (taken.is_free, taken.fencing_token) == (False, 2)
    fall_silent(engine, 1)  # so that a write of the one that was replaced would show
    before = _row(engine)
    for attempt in _attempts(engine, 1):
        with pytest.raises(LeaseLost):
            attempt()
    lease.release(engine, 1)
    assert _row(engine) == before
    for attempt in _attempts(engine, 2):
        attempt()
    assert _row(engine) != before


def _attempts(engine: Engine, number: int) -> list[Callable[[], None]]:
    return [lambda: fenced(engine, number), lambda: lease.renew(engine, number, blind=True)]


def _row(engine: Engine) -> tuple[object, ...]:
    with reading(engine) as connection:
        return tuple(connection.execute(select(observer)).one())


def test_a_blind_holder_can_be_replaced_at_once(engine: Engine) -> None:
    lease.take(engine, "first", None)
    lease.renew(engine, 1, blind=True)
    assert lease.take(engine, "second", seen(engine)) == 2
    assert (seen(engine).holder, seen(engine).blind) == ("second", False)


def test_what_is_released_is_free_at_once_and_nobody_is_waited_for(engine: Engine) -> None:
    lease.take(engine, "first", None)
    fenced(engine, 1)
    lease.release(engine, 1)
    assert seen(engine).is_free
    assert lease.observer_status(engine) is None
    assert lease.take(engine, "second", seen(engine)) == 2


def test_within_its_fence_the_holder_cannot_be_replaced(engine: Engine) -> None:
    """Else a write could follow one of its successor's."""
    lease.take(engine, "first", None)
    fall_silent(engine, 3.5)
    free = seen(engine)
    inside, finish = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        lease.fence(connection, 1)
        inside.set()
        assert finish.wait(10)
        lease.mark_observed(connection)

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(write, engine, work)
        assert inside.wait(10)
        taking = threads.submit(lease.take, engine, "second", free)
        assert wait([taking], 0.3).not_done, "it was replaced within its fence"
        finish.set()
        writing.result(10)
        assert taking.result(10) == 2


def test_a_process_that_hangs_in_a_transaction_does_not_keep_its_locks(engine: Engine) -> None:
    """The servers end such a transaction; SQLite has one host, and nobody else there to do so."""
    setting = {
        "postgresql": "SHOW idle_in_transaction_session_timeout",
        "mysql": "SELECT @@idle_transaction_timeout",
    }.get(engine.dialect.name)
    if setting is None:
        pytest.skip("SQLite has no server that could")
    with reading(engine) as connection:
        assert str(connection.scalar(text(setting))).removesuffix("s") == str(STATEMENT_TIMEOUT)
