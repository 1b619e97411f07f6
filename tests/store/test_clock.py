"""The database's clock is that of the statement, on all three databases."""

from __future__ import annotations

from sqlalchemy import Engine, select

from servicegroup.store.clock import utcnow
from support.waiting import until


def test_the_clock_goes_on_within_a_transaction(engine: Engine) -> None:
    """SQL-3: whoever waits for a lock is stamped when it has it, not when it began."""
    with engine.connect() as connection, connection.begin():
        first = connection.scalar(select(utcnow()))
        until(lambda: connection.scalar(select(utcnow())) > first, interval=0.001)
