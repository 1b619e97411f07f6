"""Who listened when: the latest mark of an intake, and the gaps between marks.

A mark says that an intake could commit reports at that moment of the database's clock. It is
committed with the reports themselves, so a database or an intake that cannot commit reports
leaves no mark, and nobody is accused of the silence that follows (SQL-6, SQL-10).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, ScalarSelect, select

from servicegroup.liveness import MARK_TOLERANCE, Gap
from servicegroup.store.clock import utcnow
from servicegroup.store.tables import listening, listening_gaps

KEPT = timedelta(days=30)
"""For how long gaps are kept."""

_GAPS = select(listening_gaps.c.start_at, listening_gaps.c.end_at)


def latest_mark() -> ScalarSelect[Any]:
    """Return the latest mark as a subquery, to be read in the statement that reads the rows."""
    return select(listening.c.marked_at).where(listening.c.id == 1).scalar_subquery()


def gaps_of(connection: Connection) -> list[Gap]:
    """Return the gaps of the last 30 days; older stamps are down whatever lies between."""
    return [Gap(start, end) for start, end in connection.execute(_GAPS)]


def mark(connection: Connection) -> None:
    """Say that this intake commits reports now, and store the gap that ends with it, if any.

    The row lock makes marks of several intakes follow one another, so each gap is stored once.
    """
    query = select(listening.c.marked_at, utcnow()).where(listening.c.id == 1).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        connection.execute(listening.insert().values(id=1, marked_at=utcnow()))
        return
    marked_at, now = row
    if now - marked_at > timedelta(seconds=MARK_TOLERANCE):
        connection.execute(listening_gaps.insert().values(start_at=marked_at, end_at=now))
        connection.execute(listening_gaps.delete().where(listening_gaps.c.end_at < now - KEPT))
    connection.execute(listening.update().where(listening.c.id == 1).values(marked_at=now))
