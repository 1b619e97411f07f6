"""What reports change of many services, read as columns: a row for each would cost ten times that.

PostgreSQL puts each column together as the bytes that it would send, eight for a value, so that
thousands of services come as one row. It counts as ``moments`` does.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    not_,
    select,
)

from servicegroup.moments import received
from servicegroup.store.direct import directly, one_row
from servicegroup.store.snapshots import matching
from servicegroup.store.tables import planes, services, sessions

NO_SESSION = 2**63 - 1
"""Stands for the mark of a control plane where a life never held a session."""

_DRAWS: ColumnElement[bool] = literal_column(
    "EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'services'::regclass"
    " AND tgname = 'servicegroup_edition' AND tgenabled IN ('O', 'A'))"
)


def edition_or(
    otherwise: int, edition: ColumnElement[int] = services.c.edition
) -> ColumnElement[int]:
    """Return a row's token, or ``otherwise`` where nothing draws them, as in a copy of the tables.

    A list and what is kept have different ones then, so that nothing that is kept is believed.
    """
    return case((_DRAWS, edition), else_=cast(otherwise, BigInteger))


class Fingerprint(NamedTuple):
    """What shows whether services are those that are kept: their number, and a sum.

    It is of a hash of the id and the token of each: rows that no release since those tokens has
    changed share one. Whoever comes, goes or changes makes another sum, but once in 2^53 changes.
    ``tokens`` is None where nothing draws them, and then nothing that is kept is believed.
    """

    number: int
    tokens: str | None

    def shows(self, kept: Fingerprint) -> bool:
        """Tell whether the services are those that are kept."""
        return self.tokens is not None and self == kept


class Moves(NamedTuple):
    """What else moves of a row that is shown whole, in columns ordered by id.

    ``seen_at`` is the last report, or the record's making for who never reported. ``session``
    stands for all that is said of a life's session but its mark, 0 for none. ``special`` are the
    ids of those who have more to tell: a failure, a backend's error, or that they never reported.
    """

    report_count: Sequence[int]
    seen_at: Sequence[int]
    session: Sequence[int]
    special: Sequence[int]


NO_MOVES = Moves((), (), (), ())


class Stamps(NamedTuple):
    """What reports change of services, in columns ordered by id, and whose record it is.

    ``late`` are the ids of those whose last report, or the record's making for who never reported,
    did not come within the time that was asked about. ``marked_at`` is the latest mark of the
    control plane that holds the session of a life; NEVER where it may be lost, or deaf; NO_SESSION
    of a life that never held one, and of all where none are read.
    """

    fingerprint: Fingerprint
    updated_at: Sequence[int]
    late: Sequence[int]
    marked_at: Sequence[int]
    moves: Moves = NO_MOVES
    """Empty unless it was asked for."""


def read_stamps(
    connection: Connection,
    values: Mapping[str, Any],
    after: datetime,
    until: datetime,
    *,
    with_sessions: bool,
    with_moves: bool = False,
) -> Stamps:
    """Return the columns of the services that match the values of filters.

    Who reported later than ``after``, and not later than ``until``, is not late.
    """
    query = _stamps(frozenset(values), with_sessions=with_sessions, with_moves=with_moves)
    moments = {"after": after, "until": until}
    number, tokens, *sent = one_row(connection, query, {**values, **moments})
    names = list(query.selected_columns.keys())[-len(sent) :]
    # Of no services there is no column.
    columns = {name: received(one or b"") for name, one in zip(names, sent, strict=True)}
    for name, none in (("marked_at", NO_SESSION), ("session", 0)):
        if name not in columns:
            columns[name] = array("q", [none]) * number
    return Stamps(
        Fingerprint(number, tokens),
        columns["updated_at"],
        columns["late"],
        columns["marked_at"],
        Moves(*(columns[name] for name in Moves._fields)) if with_moves else NO_MOVES,
    )


def read_fingerprint(connection: Connection, values: Mapping[str, Any]) -> Fingerprint:
    """Return that of the services that match the values of filters."""
    return Fingerprint(*one_row(connection, _fingerprint(frozenset(values)), values))


def read_tokens(
    connection: Connection, values: Mapping[str, Any]
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the ids of these services, in order, and their tokens."""
    sent = one_row(connection, _tokens(frozenset(values)), values)
    ids, editions = (received(column or b"") for column in sent)
    return ids, editions


@cache
def _stamps(names: frozenset[str], *, with_sessions: bool, with_moves: bool) -> Select[Any]:
    c = services.c
    never: ColumnElement[Any] = cast(literal_column("'-infinity'"), c.updated_at.type)
    seen_at = func.coalesce(c.last_seen_up, c.created_at)
    after, until = (bindparam(name, type_=seen_at.type) for name in ("after", "until"))
    in_time = and_(seen_at > after, seen_at <= until)
    own = func.int8send(cast(c.id, BigInteger))
    columns = {
        "updated_at": func.timestamp_send(func.coalesce(c.updated_at, never)),
        "late": case((not_(in_time), own)),
    }
    if with_sessions:
        columns["marked_at"] = func.timestamp_send(_marked_at(never))
    if with_moves:
        plain = and_(c.detail.is_(None), c.backend_error.is_(None), c.last_seen_up.is_not(None))
        columns["report_count"] = func.int8send(cast(c.report_count, BigInteger))
        columns["seen_at"] = func.timestamp_send(seen_at)
        columns["special"] = case((not_(plain), own))
    if with_moves and with_sessions:
        columns["session"] = func.int8send(_said_of_session())
    batch = _batch(
        names,
        *(column.label(name) for name, column in columns.items()),
        with_sessions=with_sessions,
    )
    together = (_together(batch.c[name]).label(name) for name in columns)
    return directly(select(*_sums(batch), *together), binary=True)


def _said_of_session() -> ColumnElement[int]:
    """Return a number for what evidence says of a session beside its mark, 0 where there is none.

    A uuid is drawn for each session, and it is asked by one control plane in one way. When it was
    opened may be dated back.
    """
    said = (
        sessions.c.session,
        planes.c.name,
        cast(sessions.c.asked_incarnation, String),
        cast(sessions.c.opened_at, String),
    )
    text_ = func.concat_ws(literal_column("' '"), *said)
    return case((sessions.c.opened_at.is_(None), 0), else_=func.hashtextextended(text_, 0))


@cache
def _fingerprint(names: frozenset[str]) -> Select[Any]:
    return directly(select(*_sums(_batch(names))), binary=True)


@cache
def _tokens(names: frozenset[str]) -> Select[Any]:
    batch = _batch(names)
    tokens = cast(batch.c.id, BigInteger), edition_or(-1, batch.c.edition)
    together = (_together(func.int8send(token)) for token in tokens)
    return directly(select(*together), binary=True)


def _batch(
    names: frozenset[str], *columns: ColumnElement[Any], with_sessions: bool = False
) -> Subquery:
    """Return the services that match, in order: their ids and tokens, and further columns."""
    query = matching(names, with_sessions=with_sessions, with_moment=False)
    known = (services.c.id, services.c.edition)
    return query.with_only_columns(*known, *columns, maintain_column_froms=True).subquery()


def _sums(batch: Subquery) -> list[ColumnElement[Any]]:
    """Return the columns of a ``Fingerprint``."""
    hashed = func.hashint8extended(batch.c.edition, cast(batch.c.id, BigInteger))
    return [func.count(), case((_DRAWS, cast(func.sum(hashed), String)))]


def _together(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the bytes of a column as one value; NULL adds none."""
    nothing: ColumnElement[bytes] = literal_column("''::bytea")
    return func.string_agg(column, nothing, type_=LargeBinary)


def _marked_at(never: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the latest mark of who holds a life's session; see ``Stamps``."""
    is_fine = and_(sessions.c.ended_at.is_(None), sessions.c.deaf_since.is_(None))
    none: ColumnElement[Any] = cast(literal_column("'infinity'"), planes.c.marked_at.type)
    return case(
        (sessions.c.opened_at.is_(None), none),
        (is_fine, func.coalesce(planes.c.marked_at, never)),
        else_=never,
    )
