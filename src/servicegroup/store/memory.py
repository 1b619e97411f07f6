"""The record in memory: what no report changes is read again only of those where it has changed.

Between two lists little but stamps moves. So a process keeps the rows that it has read, and each
list reads what reports change, and what shows that the rows are as they are kept: their tokens
(``edition``), or a fingerprint of them. PostgreSQL itself draws a row's token anew, in the same
transaction, with any other change of it, whoever makes it: another control plane, an older release,
an operator by hand. Of whoever has another token than here the whole row is read in the transaction
that read the token, so no answer is older than its question. A restored backup has other tokens
than what it lost, since they are drawn and not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

from msgspec.structs import force_setattr
from sqlalchemy import ARRAY, Connection, Engine, Select, bindparam, func, select

from servicegroup.liveness import Listening
from servicegroup.model import Member, Service
from servicegroup.moments import NEVER, stamp_of
from servicegroup.remembered import Remembered
from servicegroup.sessions import Session, marks
from servicegroup.store import snapshots
from servicegroup.store.database import translated
from servicegroup.store.kept import Kept, Row
from servicegroup.store.snapshots import (
    COLUMNS,
    SESSION_COLUMNS,
    Snapshot,
    beside_mirrors_of,
    living,
    matching,
    read_beside,
    service_of,
)
from servicegroup.store.stamps import (
    NO_SESSION,
    Fingerprint,
    Stamps,
    edition_or,
    read_fingerprint,
    read_stamps,
    read_tokens,
)
from servicegroup.store.tables import services

HOT = ("report_count", "updated_at", "last_seen_up", "detail", "backend_error")
"""What reports change, and what is therefore read each time."""

_HOT_WIDTH = 2 + len(HOT)

KEPT_BATCHES = 16
"""Batches that are kept as lists: everybody, of a fleet of 100,000, and a few of its binaries."""

FORGOTTEN = 5_000
"""Services that may be kept though they are gone, or as many as live."""

_LIVING = select(services.c.id).where(services.c.deleted == 0)

_SHARED = ("binary", "topic", "zone", "departure", "observed_state", "mirror")
"""Texts that many services have, if any: they are held once."""


class Known(NamedTuple):
    """A batch of which nothing is read but who is in it."""

    listening: Listening
    services: list[Service]
    lives: Mapping[Member, int]


class Stamped(NamedTuple):
    """Services of a batch as they are kept, beside what reports change of them, in columns.

    ``whole`` reads the services of some ids whole, as of the same moment: ask it while the list is
    read, for no more than a batch at a time.
    """

    listening: Listening
    kept: Kept
    stamps: Stamps
    whole: Callable[[Collection[int]], Snapshot]

    @property
    def services(self) -> list[Service]:
        """The services, without what reports change."""
        return self.kept.services

    @property
    def ids(self) -> list[int]:
        """The ids of the services."""
        return self.kept.ids

    @property
    def members(self) -> list[Member]:
        """The services as a backend knows them."""
        return self.kept.members

    @property
    def incarnations(self) -> list[int | None]:
        """What ``glance.incarnations_of`` says of the services."""
        return self.kept.incarnations

    @property
    def unmarked(self) -> list[bool]:
        """What ``glance.unmarked`` says of the services."""
        return self.kept.unmarked

    @property
    def updated_at(self) -> Sequence[int]:
        """When each was changed or reported last, as a moment."""
        return self.stamps.updated_at

    @property
    def fresh(self) -> list[bool]:
        """Whether the last report of each, or its making, came within the time asked about."""
        late = set(self.stamps.late)
        if not late:
            return [True] * len(self.kept.ids)
        return [one not in late for one in self.kept.ids]

    def held(self, now: datetime) -> list[bool | None]:
        """Tell of each whether its session is held without a doubt, None of who never had one."""
        told: dict[int, bool | None] = {NO_SESSION: None, NEVER: False}
        for mark in set(self.stamps.marked_at) - told.keys():  # one of each control plane
            told[mark] = marks(stamp_of(mark), now)
        return [told[mark] for mark in self.stamps.marked_at]


class Memory:
    """The rows that one process knows of one database; safe to share between threads."""

    def __init__(self, *, with_sessions: bool) -> None:
        """Know nothing yet; ``with_sessions`` finds the sessions too."""
        self.with_sessions = with_sessions
        self.known: dict[int, Row] = {}
        self._batches: Remembered[Hashable, Kept] = Remembered(KEPT_BATCHES)
        self._lived = 0

    def kept(self, values: Mapping[str, Any]) -> Kept | None:
        """Return the batch of these values as it was read last, None if it is not kept."""
        key = frozenset(values.items())
        return self._batches.found([key]).get(key)

    def keep_batch(self, values: Mapping[str, Any], kept: Kept) -> None:
        """Keep the batch of these values."""
        self._batches.add({frozenset(values.items()): kept})

    def keep(self, living: Collection[int]) -> None:
        """Keep no others than these; who registers meanwhile is read once more."""
        self._lived = len(living)
        if len(self.known) > len(living):
            for gone in set(self.known) - set(living):  # other threads write to it
                self.known.pop(gone, None)

    def is_full(self) -> bool:
        """Tell whether many may be gone since it was told who lives; lists of some do not tell."""
        return len(self.known) > 2 * max(self._lived, FORGOTTEN)


class MemoryList:
    """One list that is read, batch by batch; it forgets whoever a list of everybody lacks."""

    def __init__(self, memory: Memory) -> None:
        """Read by what ``memory`` keeps."""
        self._memory = memory
        self._ids: list[int] | None = None

    def snapshot(
        self, connection: Connection, listening: Listening, values: Mapping[str, Any]
    ) -> Snapshot:
        """Read the services of the next batch; whoever changed is read whole."""
        with_sessions = self._memory.with_sessions
        query = _hot(frozenset(values), with_sessions=with_sessions)
        read = connection.execute(query, values).all()
        rows = self._rows(connection, values, [one[0] for one in read], [one[1] for one in read])
        found = [_whole(one, row.service) for one, row in zip(read, rows, strict=True)]
        held: dict[int, Session] = {}
        if with_sessions:  # a life that never held one has none that was ever opened
            held = {one[0]: Session(*one[_HOT_WIDTH:]) for one in read if one[_HOT_WIDTH]}
        return Snapshot(beside_mirrors_of(connection, listening, found), found, held)

    def stamped(
        self,
        silence: float,
        with_moves: bool,
        connection: Connection,
        listening: Listening,
        values: Mapping[str, Any],
    ) -> Stamped:
        """Read the same as columns, with who reported in the last ``silence`` seconds."""
        with_sessions = self._memory.with_sessions
        now = listening.now
        oldest = now - timedelta(seconds=silence)
        stamps = read_stamps(
            connection, values, oldest, now, with_sessions=with_sessions, with_moves=with_moves
        )
        kept = self._kept(connection, values, stamps.fingerprint)
        listening = beside_mirrors_of(connection, listening, kept.mirrored)
        whole = partial(_read_some, connection, listening, with_sessions)
        return Stamped(listening, kept, stamps, whole)

    def known(
        self, connection: Connection, listening: Listening, values: Mapping[str, Any]
    ) -> Known:
        """Read only who is in the next batch."""
        fingerprint = read_fingerprint(connection, values)
        kept = self._kept(connection, values, fingerprint)
        return Known(listening, kept.services, kept.lives)

    def _kept(
        self, connection: Connection, values: Mapping[str, Any], fingerprint: Fingerprint
    ) -> Kept:
        """Return the services of these values, as of the moment of their fingerprint."""
        kept = self._memory.kept(values)
        if kept is not None and fingerprint.shows(kept.fingerprint):
            self._note(values, kept.ids)
            return kept
        ids, editions = read_tokens(connection, values)
        kept = Kept(fingerprint, self._rows(connection, values, ids, editions))
        self._memory.keep_batch(values, kept)
        return kept

    def _rows(
        self,
        connection: Connection,
        values: Mapping[str, Any],
        ids: Sequence[int],
        editions: Sequence[int],
    ) -> list[Row]:
        """Return the rows of these services as of the moment at which their tokens were read."""
        kept = self._memory.known
        known = [kept.get(one) for one in ids]
        changed = [
            one
            for one, row, edition in zip(ids, known, editions, strict=True)
            if row is None or row.edition != edition
        ]
        if changed:
            learnt = _learnt(connection, changed)
            kept.update(learnt)
            if self._memory.is_full():
                self._memory.keep(connection.scalars(_LIVING).all())
            known = [learnt.get(one, row) for one, row in zip(ids, known, strict=True)]
        self._note(values, ids)
        return [row for row in known if row is not None]

    def _note(self, values: Mapping[str, Any], ids: Sequence[int]) -> None:
        """Take note of who exists, if the list is of everybody; say so at its end."""
        if self._ids is None:
            if values.keys() != {"limit"}:
                return
            self._ids = []
        self._ids += ids
        if len(ids) < values["limit"]:
            self._memory.keep(self._ids)


def has_editions(engine: Engine) -> bool:
    """Tell whether the database itself draws the tokens: PostgreSQL does."""
    return engine.dialect.name == "postgresql"


def _whole(read: Sequence[Any], kept: Any) -> Service:
    """Return a kept service with what reports change, as it was read just now."""
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


def _read_some(
    connection: Connection, listening: Listening, with_sessions: bool, ids: Collection[int]
) -> Snapshot:
    query = _of_ids(with_sessions=with_sessions)
    with translated(connection.engine):  # whoever asks is not where the list is read
        return read_beside(connection, listening, query, {"ids": list(ids)})


def _learnt(connection: Connection, ids: Sequence[int]) -> dict[int, Row]:
    """Read rows whole, as of the moment at which their tokens were read."""
    query = _of_ids(with_sessions=False).with_only_columns(edition_or(-2), *COLUMNS)
    learnt: dict[int, Row] = {}
    for start in range(0, len(ids), snapshots.BATCH):
        rows = connection.execute(query, {"ids": list(ids[start : start + snapshots.BATCH])})
        learnt |= {row[1]: _kept(row[0], row[1:]) for row in rows}
    return learnt


def _kept(edition: int, columns: Sequence[Any]) -> Row:
    """Return a row for the memory: without what is read each time, and shared texts once."""
    service = service_of(columns)
    for name in HOT:
        force_setattr(service, name, None)
    for name in _SHARED:
        if (text := getattr(service, name)) is not None:
            force_setattr(service, name, sys.intern(text))
    return Row(edition, service, service.member)


@cache
def _hot(names: frozenset[str], *, with_sessions: bool) -> Select[Any]:
    """Return the query for tokens, what reports change, and the sessions."""
    hot = (services.c.id, edition_or(-1), *(services.c[name] for name in HOT))
    query = matching(names, with_sessions=with_sessions, with_moment=False)
    return query.with_only_columns(
        *hot, *(SESSION_COLUMNS if with_sessions else ()), maintain_column_froms=True
    )


@cache
def _of_ids(*, with_sessions: bool) -> Select[Any]:
    """Return the query for services by their ``ids``: one array, so one statement for any count."""
    ids = bindparam("ids", type_=ARRAY(services.c.id.type))
    query = living(with_sessions=with_sessions, with_moment=False)
    return query.where(services.c.id == func.any(ids)).order_by(services.c.id)
