"""The record in memory: what no report changes is read again only of those where it has changed.

Between two lists little but stamps moves. So a process keeps the rows that it has read, and each
list reads their tokens (``edition``) and what reports change. PostgreSQL itself draws a row's token
anew, in the same transaction, with any other change of it, whoever makes it: another control plane,
an older release, an operator by hand. Of whoever has another token than here the whole row is read
in the transaction that read the token, so no answer is older than its question. A restored backup
has other tokens than what it lost, since they are drawn and not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from msgspec.structs import force_setattr
from sqlalchemy import Connection, Engine, Select, bindparam, text

from servicegroup.model import Service
from servicegroup.sessions import Session
from servicegroup.store.snapshots import (
    COLUMNS,
    SESSION_COLUMNS,
    Find,
    Found,
    found_whole,
    living,
    matching,
    service_of,
)
from servicegroup.store.tables import services

HOT = ("report_count", "updated_at", "last_seen_up", "detail", "backend_error")
"""What reports change, and what is therefore read each time."""

_HOT_WIDTH = 2 + len(HOT)

_NAMED_AT_MOST = 200
"""Services of a batch whose rows are read by name; where more changed, the batch is read whole."""

_DRAWS = text(
    "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'services'::regclass"
    " AND tgname = 'servicegroup_edition' AND tgenabled IN ('O', 'A')"
)
"""Whether the database draws tokens; asked as of the moment of each list."""

_SHARED = ("binary", "topic", "zone")
"""Names that many services have: they are held once."""


class Row(NamedTuple):
    """A row as it was read: its token, and the service without what reports change."""

    edition: int
    service: Service


class Memory:
    """The rows that one process knows of one database; safe to share between threads."""

    def __init__(self, *, with_sessions: bool) -> None:
        """Know nothing yet; ``with_sessions`` finds the sessions too."""
        self.with_sessions = with_sessions
        self.known: dict[int, Row] = {}

    def finder(self) -> Find:
        """Return what finds the batches of one list, and forgets whoever a whole one lacks."""
        return _List(self).find

    def keep(self, living: Collection[int]) -> None:
        """Keep no others than these; who registers meanwhile is read once more."""
        if len(self.known) > len(living):
            for gone in set(self.known) - set(living):  # other threads write to it
                self.known.pop(gone, None)


class _List:
    """One list that is read, batch by batch."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._ids: list[int] | None = None
        self._draws: bool | None = None

    def find(self, connection: Connection, values: Mapping[str, Any]) -> Found:
        """Find the services of the next batch; whoever changed is read whole."""
        memory = self._memory
        if self._draws is None:
            self._draws = bool(connection.scalar(_DRAWS))
        if not self._draws:  # as in a copy without its triggers: tokens say nothing
            return found_whole(connection, values, with_sessions=memory.with_sessions)
        query = _hot(frozenset(values), with_sessions=memory.with_sessions)
        read = connection.execute(query, values).all()
        known: list[Row | None] = [memory.known.get(one[0]) for one in read]
        changed = [
            one[0]
            for one, row in zip(read, known, strict=True)
            if row is None or row.edition != one[1]
        ]
        if changed:
            learnt = _learnt(connection, values, changed)
            memory.known.update(learnt)
            known = [learnt.get(one[0], row) for one, row in zip(read, known, strict=True)]
        self._note(values, read)
        found = [_whole(one, row) for one, row in zip(read, known, strict=True) if row is not None]
        held: dict[int, Session] = {}
        if memory.with_sessions:  # a life that never held one has none that was ever opened
            held = {one[0]: Session(*one[_HOT_WIDTH:]) for one in read if one[_HOT_WIDTH]}
        return found, held

    def _note(self, values: Mapping[str, Any], read: Sequence[Any]) -> None:
        """Take note of who exists, if the list is of everybody; say so at its end."""
        if self._ids is None:
            if values.keys() != {"limit"}:
                return
            self._ids = []
        self._ids += [one[0] for one in read]
        if len(read) < values["limit"]:
            self._memory.keep(self._ids)


def has_editions(engine: Engine) -> bool:
    """Tell whether the database itself draws the tokens: PostgreSQL does."""
    return engine.dialect.name == "postgresql"


def _whole(read: Sequence[Any], row: Row) -> Service:
    """Return the service of a row with what reports change, as it was read just now."""
    kept: Any = row.service
    service: Service = kept.__copy__()  # what copy.copy does, once it has found it by its name
    _, _, count, updated_at, last_seen_up, detail, backend_error, *_ = read
    force_setattr(service, "report_count", count)
    force_setattr(service, "updated_at", updated_at)
    force_setattr(service, "last_seen_up", last_seen_up)
    if detail is not None:
        force_setattr(service, "detail", detail)
    if backend_error is not None:
        force_setattr(service, "backend_error", backend_error)
    return service


def _learnt(
    connection: Connection, values: Mapping[str, Any], ids: Sequence[int]
) -> dict[int, Row]:
    """Read rows whole, as of the moment at which their tokens were read."""
    if len(ids) > _NAMED_AT_MOST:
        query = _with_edition(matching(frozenset(values), with_moment=False))
        rows = connection.execute(query, values)
    else:
        rows = connection.execute(_of_ids(), {"ids": list(ids)})
    return {row[1]: Row(row[0], _kept(row[1:])) for row in rows}


def _kept(columns: Sequence[Any]) -> Service:
    """Return a service for the memory: without what is read each time, and shared names once."""
    service = service_of(columns)
    for name in HOT:
        force_setattr(service, name, None)
    for name in _SHARED:
        force_setattr(service, name, sys.intern(getattr(service, name)))
    return service


def _with_edition(query: Select[Any]) -> Select[Any]:
    return query.with_only_columns(services.c.edition, *COLUMNS)


@cache
def _hot(names: frozenset[str], *, with_sessions: bool) -> Select[Any]:
    """Return the query for tokens, what reports change, and the sessions."""
    hot = (services.c.id, services.c.edition, *(services.c[name] for name in HOT))
    query = matching(names, with_sessions=with_sessions, with_moment=False)
    return query.with_only_columns(
        *hot, *(SESSION_COLUMNS if with_sessions else ()), maintain_column_froms=True
    )


@cache
def _of_ids() -> Select[Any]:
    ids = bindparam("ids", expanding=True, type_=services.c.id.type)
    query = living(with_moment=False).where(services.c.id.in_(ids))
    return _with_edition(query)
