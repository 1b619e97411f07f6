"""The observer's lease: one holder at a time, and whoever was replaced writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, select, text

from servicegroup.controlplane.observer import KEPT_BY_LOOK, Observer
from servicegroup.group import ServiceGroup
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
        lease.keep_by_look(connection, number)

    write(engine, work)


def winners(engine: Engine, seen: lease.Lease | None) -> list[int]:
    """Have six processes take the lease at once; return the tokens that were given."""
    together = threading.Barrier(6)

    def take(holder: int) -> int | None:
        together.wait(10)
        try:
            return lease.take(engine, str(holder), seen)
        except LeaseLost:
            return None

    with ThreadPoolExecutor(6) as threads:
        return [token for token in threads.map(take, range(6)) if token is not None]


def test_one_of_many_takes_it_and_is_the_holder(engine: Engine) -> None:
    assert lease.current(engine) is None
    assert lease.observer_status(engine) is None
    (token,) = winners(engine, None)
    held = seen(engine)
    assert held.fencing_token == token
    assert not held.is_free
    assert not held.blind
    lease.renew(engine, token, blind=True)
    assert seen(engine).blind
    assert lease.observer_status(engine) is None, "nobody has looked yet"
    fenced(engine, token)
    looked = lease.observer_status(engine)
    assert looked is not None
    assert looked.is_current
    assert looked.holder == held.holder
    with pytest.raises(LeaseLost):
        lease.take(engine, "late", None)


def test_who_falls_silent_is_replaced_by_one_and_writes_nothing_more(engine: Engine) -> None:
    replaced = lease.take(engine, "first", None)
    fall_silent(engine, 2.5)
    assert not seen(engine).is_free
    fall_silent(engine, 3.5)
    free = seen(engine)
    assert free.is_free
    (token,) = winners(engine, free)
    assert token != replaced
    taken = seen(engine)
    assert (taken.is_free, taken.fencing_token) == (False, token)
    fall_silent(engine, 1)  # so that a write of the one that was replaced would show
    before = _row(engine)
    for attempt in _attempts(engine, replaced):
        with pytest.raises(LeaseLost):
            attempt()
    lease.release(engine, replaced)
    assert _row(engine) == before
    for attempt in _attempts(engine, token):
        attempt()
    assert _row(engine) != before


def _attempts(engine: Engine, number: int) -> list[Callable[[], None]]:
    return [
        lambda: fenced(engine, number),
        lambda: write(engine, partial(lease.keep_by_look, fencing_token=number)),
        lambda: lease.renew(engine, number, blind=True),
    ]


def _row(engine: Engine) -> dict[str, object]:
    with reading(engine) as connection:
        return dict(connection.execute(select(observer)).one()._mapping)


def test_a_blind_holder_can_be_replaced_at_once(engine: Engine) -> None:
    first = lease.take(engine, "first", None)
    lease.renew(engine, first, blind=True)
    assert lease.take(engine, "second", seen(engine)) != first
    assert (seen(engine).holder, seen(engine).blind) == ("second", False)


def test_what_is_released_is_free_at_once_and_nobody_is_waited_for(engine: Engine) -> None:
    first = lease.take(engine, "first", None)
    fenced(engine, first)
    lease.release(engine, first)
    assert seen(engine).is_free
    assert lease.observer_status(engine) is None
    with pytest.raises(LeaseLost):  # of a look that is not over yet
        fenced(engine, first)
    assert seen(engine).is_free
    assert lease.take(engine, "second", seen(engine)) != first


def test_a_look_keeps_it_and_says_whether_it_saw_anybody(engine: Engine) -> None:
    token = lease.take(engine, "first", None)
    for blind in (True, False):
        fall_silent(engine, 3.5)
        write(engine, partial(lease.keep_by_look, fencing_token=token, blind=blind))
        held = seen(engine)
        assert (held.is_free, held.blind) == (False, blind)
    lease.renew(engine, token, blind=True)
    write(engine, partial(lease.keep_by_look, fencing_token=token))
    assert seen(engine).blind, "a part of a look does not know yet"


def test_what_a_look_has_kept_is_renewed_only_when_no_other_look_came(
    engine: Engine, group: ServiceGroup
) -> None:
    now = 100.0
    observer = Observer(group, monotonic=lambda: now)
    assert observer.keep_lease()
    observer.look()
    fall_silent(engine, 2)
    kept = _row(engine)
    assert observer.keep_lease()
    assert _row(engine) == kept
    now += KEPT_BY_LOOK
    assert observer.keep_lease()
    assert seen(engine).age < 1, "there was no other look"
    observer.look()
    observer.release()
    assert observer.keep_lease(), "it is taken anew"
    assert not seen(engine).is_free


def test_a_taking_that_a_failover_lost_has_a_token_of_its_own(engine: Engine) -> None:
    """Its holder would else write again, beside the one who took the lease of the copy (F-27)."""
    lease.take(engine, "first", None)
    lease.release(engine, seen(engine).fencing_token)
    known = _row(engine)
    lost = lease.take(engine, "second", seen(engine))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(observer.update().values(known))  # as the copy that is promoted has it
    token = lease.take(engine, "third", seen(engine))
    for attempt in _attempts(engine, lost):
        with pytest.raises(LeaseLost):
            attempt()
    assert (seen(engine).holder, seen(engine).fencing_token) == ("third", token)


def test_a_token_is_never_the_one_before(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who is replaced would hold it too; and it fits into the column."""
    lease.take(engine, "first", None)
    for drawn in (0, 0, lease._TOKENS - 1, lease._TOKENS - 1):
        monkeypatch.setattr("secrets.randbelow", lambda _, drawn=drawn: drawn)
        before = seen(engine).fencing_token
        assert lease.take(engine, "next", seen(engine)) != before


def test_within_its_fence_the_holder_cannot_be_replaced(engine: Engine) -> None:
    """Else a write could follow one of its successor's."""
    first = lease.take(engine, "first", None)
    fall_silent(engine, 3.5)
    free = seen(engine)
    inside, finish = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        lease.fence(connection, first)
        inside.set()
        assert finish.wait(10)
        lease.keep_by_look(connection, first)

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(write, engine, work)
        assert inside.wait(10)
        taking = threads.submit(lease.take, engine, "second", free)
        assert wait([taking], 0.3).not_done, "it was replaced within its fence"
        finish.set()
        writing.result(10)
        assert taking.result(10) != first


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
