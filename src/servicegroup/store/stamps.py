"""What reports change of many services, read as columns: a row for each would cost ten times that.

PostgreSQL puts each column together as the bytes that it would send, eight for a value, so that
thousands of services come as one row. It counts as ``moments`` does.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
)

from servicegroup.moments import received
from servicegroup.store.snapshots import matching
from servicegroup.store.tables import planes, services, sessions

NO_SESSION = 2**63 - 1
"""Stands for the mark of a control plane where a life never held a session."""

_DRAWS: ColumnElement[bool] = literal_column(
    "EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'services'::regclass"
    " AND tgname = 'servicegroup_edition' AND tgenabled IN ('O', 'A'))"
)


def edition_or(otherwise: int) -> ColumnElement[int]:
    """Return a row's token, or ``otherwise`` where nothing draws them, as in a copy of the tables.

    A list and what is kept have different ones then, so that nothing that is kept is believed.
    """
    return case((_DRAWS, services.c.edition), else_=cast(otherwise, BigInteger))


class Stamps(NamedTuple):
    """Columns of services, ordered by id.

    ``seen_at`` is the last report, or the record's making for who never reported. ``marked_at`` is
    the latest mark of the control plane that holds the session of a life; NEVER where it may be
    lost, or deaf; NO_SESSION of a life that never held one, and of all where none are read.
    """

    ids: Sequence[int]
    editions: Sequence[int]
    updated_at: Sequence[int]
    seen_at: Sequence[int]
    marked_at: Sequence[int]


def read_stamps(
    connection: Connection, values: Mapping[str, Any], *, with_sessions: bool
) -> Stamps:
    """Return the columns of the services that match the values of filters."""
    query = _query(frozenset(values), with_sessions=with_sessions)
    sent = connection.execute(query, values).one()
    columns = [received(column or b"") for column in sent]  # of no services there is no column
    if not with_sessions:
        columns.append(array("q", [NO_SESSION]) * len(columns[0]))
    return Stamps(*columns)


@cache
def _query(names: frozenset[str], *, with_sessions: bool) -> Select[Any]:
    never: ColumnElement[Any] = cast(literal_column("'-infinity'"), services.c.updated_at.type)
    columns = [
        func.int8send(cast(services.c.id, BigInteger)).label("id"),
        func.int8send(edition_or(-1)).label("edition"),
        func.timestamp_send(func.coalesce(services.c.updated_at, never)).label("updated_at"),
        func.timestamp_send(func.coalesce(services.c.last_seen_up, services.c.created_at)).label(
            "seen_at"
        ),
    ]
    if with_sessions:
        columns.append(func.timestamp_send(_marked_at(never)).label("marked_at"))
    query = matching(names, with_sessions=with_sessions, with_moment=False)
    batch = query.with_only_columns(*columns, maintain_column_froms=True).subquery()
    nothing: ColumnElement[bytes] = literal_column("''::bytea")
    together: list[ColumnElement[Any]] = [
        func.string_agg(column, nothing, type_=LargeBinary) for column in batch.c
    ]
    return select(*together)


def _marked_at(never: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the latest mark of who holds a life's session; see ``Stamps``."""
    is_fine = and_(sessions.c.ended_at.is_(None), sessions.c.deaf_since.is_(None))
    none: ColumnElement[Any] = cast(literal_column("'infinity'"), planes.c.marked_at.type)
    return case(
        (sessions.c.opened_at.is_(None), none),
        (is_fine, func.coalesce(planes.c.marked_at, never)),
        else_=never,
    )
