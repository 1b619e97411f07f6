"""Deletes many records in one transaction, of those that are still as they were judged (F-14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, literal, select, update

from servicegroup.events import EventKind
from servicegroup.model import Service
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.events import append, of_row
from servicegroup.store.marks import undoubted_now
from servicegroup.store.tables import outbox, services

_SAME = ("incarnation", "last_seen_up", "left_at", "forced_down", "disabled")
"""What a registration, a report, a departure or an edit changes."""

_FACTS = ("id", "uuid", "host", "binary", "topic", "zone", "created_at", *_SAME)


def prune(
    engine: Engine,
    judged: Sequence[Service],
    whys: Mapping[int, str],
    drivers: Sequence[str],
    actor: str,
    unseen: float,
) -> set[int]:
    """Soft-delete these services and return the ids of those that were as they had been judged.

    All in one transaction, with some statements however many there are: the records, an eviction
    for each driver, and an event of ``actor`` for each, with its ``whys`` by id. Where ``unseen``
    seconds are asked for, a clock that leapt lately makes nobody old (F-50).
    """
    known = {service.id: service for service in judged}

    def work(connection: Connection) -> set[int]:
        named = services.c.id.in_(sorted(known))
        query = select(*(services.c[name] for name in _FACTS), utcnow().label("now"))
        alive = query.where(named, services.c.deleted == 0).order_by(services.c.id)
        rows = connection.execute(alive.with_for_update()).mappings()
        before = undoubted_now(connection) - timedelta(seconds=unseen) if unseen else None
        gone = [
            dict(row)
            for row in rows
            if all(row[name] == getattr(known[row["id"]], name) for name in _SAME)
            and (before is None or (row["last_seen_up"] or row["created_at"]) <= before)
        ]
        if not gone:
            return set()
        ids = [row["id"] for row in gone]
        those = services.c.id.in_(ids)
        deletion = update(services).where(those)
        connection.execute(deletion.values(deleted=services.c.id, deleted_at=utcnow()))
        for name in drivers:
            connection.execute(_evictions(name, those))
        deleted = (
            of_row(row, EventKind.DELETE, row["now"], actor, whys[row["id"]]) for row in gone
        )
        append(connection, list(deleted))
        return set(ids)

    return write(engine, work)


def _evictions(driver: str, those: Any) -> Any:
    columns = ["driver", "topic", "host", "incarnation", "created_at"]
    facts = (services.c[name] for name in columns[1:4])
    rows = select(literal(driver), *facts, utcnow()).where(those)
    return outbox.insert().from_select(columns, rows)
