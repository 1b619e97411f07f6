"""The outbox: what a backend still has to forget after a delete was committed (LC-1, LC-2).

A row is written in the transaction that deletes the record, so neither a crash nor a backend
that is away can lose it, and it names the incarnation, so it never evicts a successor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import Connection, Engine, func, literal, select

from servicegroup.model import Member
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.marks import undoubted_now
from servicegroup.store.tables import outbox, services

PAGE = 1_000
"""PendingEvictions that are read at once."""


class Eviction(msgspec.Struct, frozen=True):
    """One incarnation of a member that a driver's backend has to forget; ``age`` in seconds."""

    id: int
    driver: str
    member: Member
    incarnation: int
    age: float


def enqueue(connection: Connection, uuid: str, drivers: Sequence[str]) -> None:
    """Write an eviction for each driver, for the service that the same transaction deletes."""
    columns = ["driver", "topic", "host", "incarnation", "created_at"]
    for name in drivers:
        row = select(
            literal(name), services.c.topic, services.c.host, services.c.incarnation, utcnow()
        ).where(services.c.uuid == uuid)
        connection.execute(outbox.insert().from_select(columns, row))


def pending(engine: Engine, driver: str, after: int = 0) -> list[Eviction]:
    """Return a driver's oldest PAGE evictions, after one by its id. Raises StoreUnavailable."""
    query = select(outbox, utcnow()).where(outbox.c.driver == driver, outbox.c.id > after)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(outbox.c.id).limit(PAGE))
        return [
            Eviction(id_, driver, Member(topic, host), incarnation, (now - created).total_seconds())
            for id_, driver, topic, host, incarnation, created, now in rows
        ]


def waiting(engine: Engine) -> dict[str, int]:
    """Return how many evictions each driver has, where any. Raises StoreUnavailable."""
    query = select(outbox.c.driver, func.count()).group_by(outbox.c.driver)
    with reading(engine) as connection:
        return dict(map(tuple, connection.execute(query)))


def forget(engine: Engine, driver: str, age: timedelta) -> int:
    """Remove a driver's evictions that are older than ``age``; return how many were.

    A clock that was ahead for a moment makes none of them old (F-50). Raises StoreUnavailable.
    """

    def work(connection: Connection) -> int:
        old = outbox.c.created_at < undoubted_now(connection) - age
        return connection.execute(outbox.delete().where(outbox.c.driver == driver, old)).rowcount

    return write(engine, work)


def done(engine: Engine, evictions: Iterable[Eviction]) -> None:
    """Remove evictions that are done. Raises StoreUnavailable."""
    ids = [eviction.id for eviction in evictions]
    if ids:
        removal = outbox.delete().where(outbox.c.id.in_(ids))
        write(engine, lambda connection: connection.execute(removal))
