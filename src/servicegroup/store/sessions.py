"""Writes sessions: opened once, ended once, many in one transaction, each naming its own session.

A record has the latest session of a service, by incarnation and by its number within the life. So
an opening that is written late hides no later one, and a late end meets another session than its
own and changes nothing, on whichever control plane. What a control plane ends it writes together
with its mark: while its ends do not reach the record, its mark grows old, and nothing that it
holds counts as present. A mark that is old is never made anew: it would raise whoever died
meanwhile, until that end is written too. Its process goes on as another control plane, which
claims what it still holds. All stamps are no earlier than the latest mark, as those of reports are,
so that a mark made on one node of a cluster is not old on another (F-25).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    case,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from servicegroup.errors import ServiceGroupError
from servicegroup.liveness import MARK_TOLERANCE
from servicegroup.messages import Refusals
from servicegroup.model import Member
from servicegroup.sessions import SessionEnd
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.events import append
from servicegroup.store.marks import KEPT, register_now, undoubted_now
from servicegroup.store.questions import Heard, note
from servicegroup.store.register_clock import by_register
from servicegroup.store.reports import Life, classified, looked_up
from servicegroup.store.session_rows import locked
from servicegroup.store.tables import planes, services, sessions


class Opening(msgspec.Struct, frozen=True):
    """A session to be opened for a life: the ``number``-th of that life.

    ``answers`` says that the life answers questions; the record has no use for it.
    """

    uuid: str
    incarnation: int
    number: int
    session: str
    answers: bool = False


class Ending(msgspec.Struct, frozen=True):
    """A session to be ended, of the service with that uuid, and how it ended."""

    uuid: str
    session: str
    cause: SessionEnd


class Opened(msgspec.Struct, frozen=True):
    """What became of openings: who was refused, who holds a later session, and who is who.

    ``outdated`` has the number of the session that counts, ``known`` the member of every service
    that was not refused; all by uuid.
    """

    refused: Refusals
    outdated: dict[str, int]
    known: dict[str, Member]


class Lapsed(ServiceGroupError):
    """A control plane has not marked for so long that its sessions count no more.

    Nothing was written; ``SessionWriter.begin_anew`` comes first.
    """


class SessionWriter:
    """Writes the sessions of one control plane; a process is another one at each start."""

    def __init__(self, engine: Engine, name: str) -> None:
        """Write to the engine's database, under ``name`` for people."""
        self._engine = engine
        self._name = name
        self.id = str(uuid4())

    def open(self, openings: Sequence[Opening]) -> Opened:
        """Open these sessions, one for a service, mark, and return what became of each.

        Raises Lapsed, StoreUnavailable; then none of them is known to be open.
        """
        wanted = {one.uuid: one for one in openings}

        def work(connection: Connection) -> Opened:
            refused, ids, known = _lives(connection, {(o.uuid, o.incarnation) for o in openings})
            rows = [(id_, wanted[uuid]) for id_, uuid in sorted(ids.items())]
            if not rows:
                return Opened(refused, {}, known)
            now = register_now(connection)
            self._mark(connection, now)
            _open(connection, rows, self.id, now)
            return Opened(refused, _outdated(connection, rows), known)

        return write(self._engine, work)

    def end(
        self, endings: Sequence[Ending], heard: Sequence[Heard] = (), *, marking: bool = True
    ) -> None:
        """End those of these sessions that are still the latest, and mark if ``marking``.

        A session that was ended already stays as it ended. What was ``heard`` of questions is
        noted. Raises Lapsed, StoreUnavailable.
        """

        def work(connection: Connection) -> None:
            now = register_now(connection)
            ids = dict(looked_up(connection, list({e.uuid for e in endings}), services.c.id))
            rows = sorted((ids[e.uuid], e.session, e.cause.value) for e in endings if e.uuid in ids)
            if rows:
                named = [{"id": i, "own": own, "how": how, "now": now} for i, own, how in rows]
                connection.execute(_ENDING, named)
            happened = note(connection, heard, now)
            if marking:
                self._mark(connection, now)
            append(connection, happened)

        write(self._engine, work)

    def begin_anew(self, held: Sequence[Opening]) -> None:
        """Go on as another control plane, which holds these sessions, and mark.

        A database that is older than one of them, as after a fail-over, has it again. It also
        forgets control planes of long ago. Raises StoreUnavailable.
        """
        own = str(uuid4())
        wanted = {one.uuid: one for one in held}

        def work(connection: Connection) -> None:
            now = register_now(connection)
            _, ids, _ = _lives(connection, {(o.uuid, o.incarnation) for o in wanted.values()})
            rows = [(id_, wanted[uuid]) for id_, uuid in sorted(ids.items())]
            if rows:
                named = [{"id": id_, "own": one.session, "new": own} for id_, one in rows]
                connection.execute(_CLAIMING, named)
                _open(connection, rows, own, now)
            now = register_now(connection)  # that may have taken a while
            row = {"id": own, "name": self._name, "started_at": now, "marked_at": now}
            connection.execute(planes.insert().values(row))
            old = planes.c.marked_at < undoubted_now(connection) - KEPT
            named_still = select(sessions.c.service_id).where(sessions.c.plane == self.id).exists()
            former = and_(planes.c.id == self.id, ~named_still)
            connection.execute(planes.delete().where(or_(old, former)))

        write(self._engine, work)
        self.id = own

    def _mark(self, connection: Connection, now: datetime) -> None:
        """Say that this control plane works, unless its last mark is too old. Raises Lapsed."""
        if not self._is_marked(connection, now, by=now):
            # By a clock that leapt, the latest mark lies ahead: by the right one ours is not old.
            clock = connection.execute(select(utcnow())).scalar_one()
            if not self._is_marked(connection, now, by=by_register(clock, now)):
                raise Lapsed(f"Control plane {self._name} has not marked for too long.")

    def _is_marked(self, connection: Connection, now: datetime, *, by: datetime) -> bool:
        """Mark unless the last mark is too old by a clock; tell whether it was not."""
        oldest = by - timedelta(seconds=MARK_TOLERANCE)
        own = {"own": self.id, "oldest": oldest, "now": now}
        return bool(connection.execute(_MARKING, own).rowcount)


def ended_since(engine: Engine, since: datetime | None, most: int) -> tuple[datetime, list[Member]]:
    """Return now, and the members whose session ended at ``since`` or later; none for None.

    There are ``most`` of them at the most. Raises StoreUnavailable.
    """
    with reading(engine) as connection:
        now = register_now(connection)
        if since is None:
            return now, []
        query = (
            select(services.c.topic, services.c.host)
            .join_from(sessions, services, services.c.id == sessions.c.service_id)
            .where(sessions.c.ended_at >= since, services.c.deleted == 0)
            .limit(most)
        )
        return now, [Member(group, host) for group, host in connection.execute(query)]


def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Remove the sessions of services whose records are removed."""
    connection.execute(sessions.delete().where(sessions.c.service_id.in_(ids)))


def _lives(
    connection: Connection, lives: set[Life]
) -> tuple[Refusals, dict[int, str], dict[str, Member]]:
    """Return which lives are not the record's; of all others the uuid by id, the member by uuid."""
    c = services.c
    columns = (c.incarnation, c.deleted, c.left_at, c.id, c.topic, c.host)
    found = {u: rest for u, *rest in looked_up(connection, [u for u, _ in lives], *columns)}
    refused = classified(lives, {uuid: rest[:3] for uuid, rest in found.items()})
    gone = frozenset[str]().union(*msgspec.structs.astuple(refused))
    fine = {uuid: rest[3:] for uuid, rest in found.items() if uuid not in gone}
    ids = {id_: uuid for uuid, (id_, _, _) in fine.items()}
    return refused, ids, {uuid: Member(topic, host) for uuid, (_, topic, host) in fine.items()}


def _open(
    connection: Connection, rows: Sequence[tuple[int, Opening]], plane: str, now: datetime
) -> None:
    """Write these sessions where no later one is, in the order of ids."""
    values = [
        {**msgspec.structs.asdict(one), "service_id": id_, "plane": plane, "now": now}
        for id_, one in rows
    ]
    connection.execute(_OPENING[connection.dialect.name], values)


def _outdated(connection: Connection, rows: Sequence[tuple[int, Opening]]) -> dict[str, int]:
    """Return the number of the session that counts where it is not the one that was opened."""
    counts = locked(connection, (id_ for id_, _ in rows), sessions.c.session, sessions.c.number)
    return {
        one.uuid: counts[id_].number
        for id_, one in rows
        if id_ in counts and counts[id_].session != one.session
    }


_MARKING = (
    update(planes)
    .where(planes.c.id == bindparam("own"), planes.c.marked_at >= bindparam("oldest"))
    .values(marked_at=bindparam("now"))
)

_ENDING = (
    update(sessions)
    .where(
        sessions.c.service_id == bindparam("id"),
        sessions.c.session == bindparam("own"),
        sessions.c.ended_at.is_(None),
    )
    .values(ended_at=bindparam("now"), cause=bindparam("how"))
)

_CLAIMING = (
    update(sessions)
    .where(
        sessions.c.service_id == bindparam("id"),
        sessions.c.session == bindparam("own"),
        sessions.c.ended_at.is_(None),
    )
    .values(plane=bindparam("new"))
)

_VALUES: dict[str, Any] = {
    "service_id": bindparam("service_id"),
    "session": bindparam("session"),
    "plane": bindparam("plane"),
    "opened_at": bindparam("now"),
    "ended_at": None,
    "cause": None,
    "number": bindparam("number"),
    "incarnation": bindparam("incarnation"),
}


def _is_later(new: Any) -> Any:
    own = sessions.c
    same = and_(new.incarnation == own.incarnation, new.number > own.number)
    return or_(new.incarnation > own.incarnation, same)


def _on_conflict(dialect: Any) -> Any:
    """Return the statement that opens a session, where none that is later is there already."""
    insert = dialect.insert(sessions).values(_VALUES)
    new = insert.excluded
    replaced = {name: new[name] for name in _VALUES if name != "service_id"}
    key = [sessions.c.service_id]
    return insert.on_conflict_do_update(index_elements=key, set_=replaced, where=_is_later(new))


def _on_duplicate() -> Any:
    """Return the same for MariaDB, which has no condition, and assigns one column after another.

    So what the condition compares is assigned last, and of that the number first.
    """
    insert = mysql.insert(sessions).values(_VALUES)
    new = insert.inserted
    later = _is_later(new)
    replaced: list[tuple[str, Any]] = [
        (name, case((later, new[name]), else_=sessions.c[name]))
        for name in _VALUES
        if name not in ("service_id", "incarnation")
    ]
    newest = case(
        (new.incarnation > sessions.c.incarnation, new.incarnation), else_=sessions.c.incarnation
    )
    return insert.on_duplicate_key_update([*replaced, ("incarnation", newest)])


_OPENING = {
    "postgresql": _on_conflict(postgresql),
    "sqlite": _on_conflict(sqlite),
    "mysql": _on_duplicate(),
    "mariadb": _on_duplicate(),
}
