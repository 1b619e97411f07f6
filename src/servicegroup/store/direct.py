"""Queries for a few rows, asked on PostgreSQL's session itself.

What SQLAlchemy does around an execution costs more than PostgreSQL's whole answer about one host,
or to a look each second that finds nothing. So it makes the text of such a query, once, and psycopg
alone asks it. Nothing is lost by it: no column of ours is of a type that SQLAlchemy would convert
for psycopg, and ``database.reading`` translates what psycopg raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

_OPTION, _BINARY = "direct", "direct_binary"


def directly(query: Select[Any], *, binary: bool = False) -> Select[Any]:
    """Return the query marked as one to be asked so; it has to be made once and kept.

    ``binary`` has PostgreSQL send what it finds as it is: bytes would else be twice as many digits.
    """
    return query.execution_options(**{_OPTION: True, _BINARY: binary})


def in_parts(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None, most: int
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield what a query finds, ``most`` rows at a time, none of them empty."""
    options = query.get_execution_options()
    if _OPTION not in options or not _is_at_once(connection):
        yield from connection.execute(query, values).partitions(most)
        return
    session: Any = connection.connection.dbapi_connection
    text, own = _compiled(query)
    cursor = session.execute(text, {**own, **(values or {})}, binary=options[_BINARY])
    while rows := cursor.fetchmany(most):
        yield rows


def one_row(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> Sequence[Any]:
    """Return the one row that a query finds."""
    ((row,),) = in_parts(connection, query, values, 2)
    return row


def _is_at_once(connection: Connection) -> bool:
    """Tell whether PostgreSQL may be asked at once, and nothing has to be said before.

    SQLAlchemy's first statement is what begins a transaction, and in a session that others use too
    it sets our limits (F-13).
    """
    if connection.dialect.name != "postgresql":
        return False
    checkout: Any = connection.connection
    has_begun = connection.in_transaction() or not checkout.beginning
    return has_begun and not checkout.dbapi_connection.is_shared


@cache
def _compiled(query: Select[Any]) -> tuple[str, dict[str, Any]]:
    """Return a query's text, and the values that are part of it, by name."""
    compiled = query.compile(dialect=PGDialect_psycopg())  # type: ignore[no-untyped-call]
    return str(compiled), dict(compiled.params)
