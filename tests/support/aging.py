"""Lets time pass in a register without waiting for it: stamps move into the past."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, select, update

from servicegroup.store.clock import utcnow
from servicegroup.store.tables import listening, outbox, planes, services


def backdate(engine: Engine, seconds: float, **where: str) -> None:
    """Move the stamps of services into the past, or into the future for negative seconds."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        then = now - timedelta(seconds=seconds)
        matching = [services.c[name] == value for name, value in where.items()]
        change = update(services).where(*matching, services.c.last_seen_up.is_not(None))
        connection.execute(change.values(last_seen_up=then))
        old = update(services).where(*matching)
        connection.execute(old.values(created_at=then, registered_at=then))


def backdate_mark(engine: Engine, seconds: float) -> None:
    """Make the latest mark that many seconds old, as if no intake had committed since."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        connection.execute(listening.update().values(marked_at=now - timedelta(seconds=seconds)))


def backdate_plane(engine: Engine, seconds: float) -> None:
    """Make the latest mark of every control plane that many seconds old."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        now = connection.scalar(select(utcnow()))
        connection.execute(planes.update().values(marked_at=now - timedelta(seconds=seconds)))


def age_everything(engine: Engine, seconds: float) -> None:
    """Let time pass for registrations and evictions, not for reports."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        then = connection.scalar(select(utcnow())) - timedelta(seconds=seconds)
        connection.execute(services.update().values(registered_at=then, created_at=then))
        connection.execute(outbox.update().values(created_at=then))
