"""The services table as a few questions and a few changes, each one transaction with its events.

Nothing here judges: what is read comes with the database's ``now`` and with who listened when,
so that whoever judges needs no other clock.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial, reduce
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    func,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from servicegroup.errors import Conflict, InvalidInput, NotFound
from servicegroup.events import EventKind
from servicegroup.messages import Registration
from servicegroup.model import Member, ServiceFilter
from servicegroup.store import snapshots
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.events import about, append
from servicegroup.store.marks import undoubted_now
from servicegroup.store.memory import Memory, MemoryList, Stamped, has_editions
from servicegroup.store.outbox import enqueue
from servicegroup.store.registrar import Registrar
from servicegroup.store.registration import Beginning
from servicegroup.store.sessions import forget
from servicegroup.store.snapshots import (
    Batch,
    ReadBatch,
    Snapshot,
    is_bounded,
    living,
    matching,
    names,
    of_ids,
    of_members,
    of_members_or_lacking,
    read,
    read_in_batches,
    read_lives,
    read_whole,
    set_values,
    values_of,
)
from servicegroup.store.tables import services

B = TypeVar("B", bound=Batch)

TOMBSTONE_DAYS = 30
"""Days a deleted service is remembered, so that its process is told and stays away (LC-1)."""

_NAMED_AT_MOST = 1_000
"""Services a question names one by one."""

_PURGE_BATCH = 1_000
_REGISTRATION_ATTEMPTS = 20


class Store:
    """The register's records in one database."""

    def __init__(
        self,
        engine: Engine,
        silence: float = 86_400.0,
        *,
        with_sessions: bool = False,
        keep_rows: bool = True,
    ) -> None:
        """Use the engine's database; its schema is in place (``servicegroup db upgrade``).

        ``silence`` is the longest ``service_down_time``, in seconds, that anybody judges by.
        ``with_sessions`` reads sessions in the statement that reads the records, and ``keep_rows``
        is for whoever lists: rows are kept in memory where the database says which changed.
        """
        self.engine = engine
        self.silence = silence
        self.with_sessions = with_sessions
        self._registrar = Registrar(engine)
        keeps = keep_rows and has_editions(engine)
        self._memory = Memory(with_sessions=with_sessions) if keeps else None

    # -- questions -------------------------------------------------------------------------

    def snapshot(self, filters: ServiceFilter | None = None) -> Snapshot:
        """Return the services that match, with two questions at the most, however many there are.

        ``filters.marker`` is the uuid of the last service of the page before. Raises NotFound
        for a marker that does not exist.
        """
        filters = filters or ServiceFilter()
        with reading(self.engine) as connection:
            given = values_of(connection, filters)
            query = matching(frozenset(given), with_sessions=self.with_sessions)
            return read(connection, self.silence, query, given)

    def batches(self, filters: ServiceFilter) -> Generator[Snapshot]:
        """Yield the same in batches, all as of one moment, so that memory holds some at a time.

        What is bounded comes as one batch. Raises as ``snapshot`` does, at any time.
        """
        if is_bounded(filters):
            yield self.snapshot(filters)
        elif self._memory is not None:
            yield from self._whole(filters, MemoryList(self._memory).snapshot)
        else:
            yield from self._whole(filters, partial(read_whole, with_sessions=self.with_sessions))

    def _whole(
        self, filters: ServiceFilter, read_batch: ReadBatch[Snapshot]
    ) -> Generator[Snapshot]:
        return read_in_batches(self.engine, self.silence, filters, read_batch, snapshots.BATCH)

    @property
    def keeps_rows(self) -> bool:
        """Whether rows are kept in memory, so that lists are ``stamped``."""
        return self._memory is not None

    @property
    def kept(self) -> int:
        """How many rows are kept in memory."""
        return 0 if self._memory is None else len(self._memory.known)

    def stamped(
        self, filters: ServiceFilter, silence: float, *, with_moves: bool = False
    ) -> Generator[Stamped]:
        """Yield the same as kept rows beside columns of stamps; ask where it ``keeps_rows``.

        With it comes who reported in the last ``silence`` seconds, and ``with_moves`` all that
        moves of a row that is shown whole.
        """
        assert self._memory is not None, "no rows are kept"  # noqa: S101
        read_batch = partial(MemoryList(self._memory).stamped, silence, with_moves)
        return self._in_large_batches(filters, read_batch)

    def _in_large_batches(self, filters: ServiceFilter, read_batch: ReadBatch[B]) -> Generator[B]:
        most = snapshots.BATCH_OF_STAMPS
        return read_in_batches(self.engine, self.silence, filters, read_batch, most)

    def lives(self, filters: ServiceFilter) -> Mapping[Member, int]:
        """Return the members of the services that match, each with its incarnation.

        There are none that are mirrored: no backend knows those. May raise NotFound for a marker
        that does not exist.
        """
        if self._memory is None:
            with reading(self.engine) as connection:
                return read_lives(connection, filters)
        batches = self._in_large_batches(filters, MemoryList(self._memory).known)
        return reduce(operator.or_, (batch.lives for batch in batches))

    def known_lives(self, filters: ServiceFilter) -> Mapping[Member, int]:
        """Return what ``lives`` returned when these services were read last, empty if that is gone.

        As long as nobody came, went or changed, ``stamped`` yields one batch that has the same
        object as its ``lives``. There is none of a fleet that is read in several batches.
        """
        if self._memory is None or filters.marker is not None:
            return {}
        most = snapshots.BATCH_OF_STAMPS
        kept = self._memory.kept(set_values(filters) | {"limit": most})
        return {} if kept is None or len(kept.ids) >= most else kept.lives

    def by_id(self, service_id: int | str) -> Snapshot:
        """Return the snapshot of one living service by integer id or uuid, empty if none."""
        column = services.c.id if isinstance(service_id, int) else services.c.uuid
        with reading(self.engine) as connection:
            query = living(with_sessions=self.with_sessions, few=True).where(column == service_id)
            return read(connection, self.silence, query)

    def by_ids(self, ids: Sequence[int]) -> Snapshot:
        """Return the living services of these ids, ordered by id."""
        if len(ids) > _NAMED_AT_MOST:  # all at once is less work than so many by name
            found, wanted = self.snapshot(), set(ids)
            some = [s for s in found.services if s.id in wanted]
            return Snapshot(found.listening, some, found.sessions)
        with reading(self.engine) as connection:
            query = of_ids(with_sessions=self.with_sessions)
            return read(connection, self.silence, query, {"ids": list(ids)})

    def by_members_or_lacking(self, members: Collection[Member], window: float) -> Snapshot:
        """Return the living services of these members, and whoever lacks its presence.

        That is who is held now, and who became absent within the ``window``, in seconds.
        """
        with reading(self.engine) as connection:
            since = connection.execute(select(utcnow())).scalar_one() - timedelta(seconds=window)
            values = {"since": since, **names((m.group, m.host) for m in members)}
            query = of_members_or_lacking(with_sessions=self.with_sessions)
            return read(connection, self.silence, query, values)

    def by_members(self, pairs: Iterable[tuple[str, str]]) -> Snapshot:
        """Return the living services of the given (group, host) pairs, ordered by id."""
        wanted = set(pairs)
        with reading(self.engine) as connection:
            query = of_members(with_sessions=self.with_sessions)
            found = read(connection, self.silence, query, names(wanted))
        some = [s for s in found.services if (s.topic, s.host) in wanted]
        return Snapshot(found.listening, some, found.sessions)

    def hosts(self, uuids: Collection[str]) -> dict[str, str]:
        """Return the host of each of these services that has a record, deleted ones included."""
        query = select(services.c.uuid, services.c.host).where(services.c.uuid.in_(uuids))
        with reading(self.engine) as connection:
            return dict(map(tuple, connection.execute(query)))

    def zones(self) -> list[tuple[str, bool]]:
        """Return each zone with whether an enabled service exists in it, sorted by name."""
        enabled = func.max(services.c.disabled.is_(False).cast(services.c.deleted.type))
        query = (
            select(services.c.zone, enabled)
            .where(services.c.deleted == 0)
            .group_by(services.c.zone)
            .order_by(services.c.zone)
        )
        with reading(self.engine) as connection:
            return [(zone, bool(available)) for zone, available in connection.execute(query)]

    # -- changes ---------------------------------------------------------------------------

    def register(
        self,
        host: str,
        binary: str,
        topic: str,
        zone: str,
        version: int,
        deadline: float,
        most: int | None = None,
    ) -> Registration:
        """Begin a new incarnation of the service, creating its record if there is none.

        Only a registration undoes a departure; it does not count as a report. Raises Conflict
        when another binary already holds this host in the group, or the host has the ``most``
        services already, and Unavailable after ``deadline``.
        """
        wanted = Beginning(host, binary, topic, zone, version, most)
        for _ in range(_REGISTRATION_ATTEMPTS):
            try:
                return self._registrar.register(wanted, deadline)
            except IntegrityError:
                # Another registration of the same service won the race, or the topic is taken.
                for holder, mirror in self._holders(host, topic):
                    if mirror is not None:
                        raise Conflict(
                            f"Service {holder} on host {host} is mirrored from {mirror}; end the"
                            " mirror there before it joins here itself."
                        ) from None
                    if holder != binary:
                        raise Conflict(
                            f"Service with host {host} topic {topic} exists: it belongs to"
                            f" {holder}; register with another group."
                        ) from None
        raise Conflict(f"Service {binary} on host {host} is being registered by too many at once.")

    def _holders(self, host: str, topic: str) -> list[tuple[str, str | None]]:
        own = (services.c.host == host, services.c.topic == topic, services.c.deleted == 0)
        with reading(self.engine) as connection:
            rows = connection.execute(select(services.c.binary, services.c.mirror).where(*own))
            return [(binary, mirror) for binary, mirror in rows]

    def update(self, uuid: str, changes: Mapping[str, Any], actor: str | None = None) -> None:
        """Apply an administrator's edit; the stamp of liveness is never touched (SQL-1).

        ``updated_at`` moves, and there is an event of ``actor``, only when a value changes, as in
        Nova. Raises NotFound.
        """
        alive = and_(services.c.uuid == uuid, services.c.deleted == 0)
        change = update(services).where(alive).values(**changes, updated_at=utcnow())

        def work(connection: Connection) -> None:
            query = select(*(services.c[name] for name in changes)).where(alive)
            row = connection.execute(query.with_for_update()).mappings().one_or_none()
            if row is None:
                raise NotFound(f"Service {uuid} could not be found.")
            old = dict(row)
            if old != dict(changes):
                connection.execute(change)
                reason = changes.get("disabled_reason")
                for kind in _edits(old, changes):
                    detail = reason if kind is EventKind.DISABLE else None
                    append(connection, [about(connection, uuid, kind, actor, detail)])

        write(self.engine, work)

    def delete(self, uuid: str, drivers: Sequence[str], actor: str | None = None) -> None:
        """Soft-delete the record: ``deleted`` becomes its id, as in Nova. Raises NotFound.

        In the same transaction each of the drivers gets an eviction in the outbox, and there is an
        event of ``actor``.
        """
        tombstone = (
            update(services)
            .where(services.c.uuid == uuid, services.c.deleted == 0)
            .values(deleted=services.c.id, deleted_at=utcnow())
        )

        def work(connection: Connection) -> None:
            if not connection.execute(tombstone).rowcount:
                raise NotFound(f"Service {uuid} not found.")
            enqueue(connection, uuid, drivers)
            append(connection, [about(connection, uuid, EventKind.DELETE, actor)])

        write(self.engine, work)

    def purge(self, days: int) -> int:
        """Remove tombstones older than ``days`` days, at least 30, and return how many.

        Their processes, should they still run, are then unknown and register again. Works in
        batches, so that reports never wait long. Raises InvalidInput.
        """
        if days < TOMBSTONE_DAYS:
            raise InvalidInput(f"Tombstones are kept {TOMBSTONE_DAYS} days at least, not {days}.")
        total = 0
        while purged := write(self.engine, lambda c: _purge_batch(c, timedelta(days=days))):
            total += purged
        return total


def _purge_batch(connection: Connection, age: timedelta) -> int:
    oldest = undoubted_now(connection) - age
    old = select(services.c.id).where(services.c.deleted != 0, services.c.deleted_at < oldest)
    ids = connection.scalars(old.order_by(services.c.id).limit(_PURGE_BATCH)).all()
    forget(connection, ids)
    return connection.execute(services.delete().where(services.c.id.in_(ids))).rowcount


def _edits(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[EventKind]:
    """Return what an edit did; another reason for being disabled is to be disabled once more."""
    changed = {name for name, value in new.items() if old[name] != value}
    if changed & {"disabled", "disabled_reason"}:
        yield EventKind.DISABLE if new["disabled"] else EventKind.ENABLE
    if "forced_down" in changed:
        yield EventKind.FORCE_DOWN if new["forced_down"] else EventKind.UNFORCE
