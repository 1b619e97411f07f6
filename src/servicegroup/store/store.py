"""The services table as a few questions and a few changes, each one transaction.

Nothing here judges: what is read comes with the database's ``now`` and with who listened when,
so that whoever judges needs no other clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, cast
from uuid import uuid4

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from servicegroup.errors import Conflict, InvalidInput, NotFound
from servicegroup.liveness import Listening
from servicegroup.model import Registration, Service, VersionRange
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading, write
from servicegroup.store.marks import gaps_of, latest_mark
from servicegroup.store.outbox import enqueue
from servicegroup.store.tables import services

TOMBSTONE_DAYS = 30
"""Days a deleted service is remembered, so that its process is told and stays away (LC-1)."""

_PURGE_BATCH = 1_000
_REGISTRATION_ATTEMPTS = 20

_OF_THE_LIVING: tuple[Any, ...] = (0, None)
"""The last two columns of a record, ``deleted`` and ``deleted_at``: not asked, because known."""

COLUMNS = [services.c[name] for name in Service.__struct_fields__[: -1 - len(_OF_THE_LIVING)]]

_COLUMN_OF = {name: services.c[name] for name in ("host", "binary", "zone", "disabled")}
_COLUMN_OF["group"] = services.c.topic

_AT_ONCE = 500
"""Rows that are held twice, as the database's and as ours; few enough for a processor's cache."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which services: each field that is not None must match exactly, case included."""

    host: str | None = None
    binary: str | None = None
    group: str | None = None
    zone: str | None = None
    disabled: bool | None = None
    marker: str | None = None
    limit: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """Services as the database had them at ``listening.now``, not judged yet, ordered by id."""

    listening: Listening
    services: list[Service]


class Store:
    """The register's records in one database."""

    def __init__(self, engine: Engine) -> None:
        """Use the engine's database; its schema is in place (``servicegroup db upgrade``)."""
        self.engine = engine

    # -- questions -------------------------------------------------------------------------

    def snapshot(self, filters: Filters | None = None) -> Snapshot:
        """Return the services that match, with two questions however many there are.

        ``filters.marker`` is the uuid of the last service of the page before. Raises NotFound
        for a marker that does not exist.
        """
        filters = filters or Filters()
        with reading(self.engine) as connection:
            given = {n: v for n, v in msgspec.structs.asdict(filters).items() if v is not None}
            if filters.marker is not None:
                given["marker"] = _marker_id(connection, filters.marker)
            return _read(connection, _matching(frozenset(given)), given)

    def by_id(self, service_id: int | str) -> Snapshot:
        """Return the snapshot of one living service by integer id or uuid, empty if none."""
        column = services.c.id if isinstance(service_id, int) else services.c.uuid
        with reading(self.engine) as connection:
            return _read(connection, _living().where(column == service_id))

    def by_members(self, pairs: Iterable[tuple[str, str]]) -> Snapshot:
        """Return the living services of the given (group, host) pairs."""
        clauses = [
            and_(services.c.topic == group, services.c.host == host) for group, host in pairs
        ]
        with reading(self.engine) as connection:
            return _read(connection, _living().where(_any(clauses)))

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

    def binaries(self) -> list[str]:
        """Return the binaries that exist, sorted."""
        query = select(services.c.binary).where(services.c.deleted == 0).distinct()
        with reading(self.engine) as connection:
            return sorted(connection.scalars(query))

    def versions(self, binaries: Sequence[str]) -> list[VersionRange]:
        """Return the version range of each binary that runs anywhere (spec S8, LC-10).

        Deleted and forced-down services are left out, disabled ones count, as in Nova. Each end
        is one step on the index, however many services there are.
        """
        found = []
        with reading(self.engine) as connection:
            for binary in binaries:
                counted = _counted_versions().where(services.c.binary == binary)
                ends = [
                    counted.order_by(order).limit(1).scalar_subquery()
                    for order in (services.c.version.asc(), services.c.version.desc())
                ]
                lowest, highest = connection.execute(select(*ends)).one()
                if lowest is not None:
                    found.append(VersionRange(binary, lowest, highest))
        return found

    def version_histogram(self, binary: str) -> dict[int, int]:
        """Return how many services of a binary run each version, counted as in ``versions``."""
        query = (
            _counted_versions()
            .add_columns(func.count())
            .where(services.c.binary == binary)
            .group_by(services.c.version)
            .order_by(services.c.version)
        )
        with reading(self.engine) as connection:
            return dict(map(tuple, connection.execute(query)))

    # -- changes ---------------------------------------------------------------------------

    def register(self, host: str, binary: str, topic: str, zone: str, version: int) -> Registration:
        """Begin a new incarnation of the service, creating its record if there is none.

        Only a registration undoes a departure; it does not count as a report. Raises Conflict
        when another binary already holds this host in the group.
        """
        for _ in range(_REGISTRATION_ATTEMPTS):
            try:
                return write(
                    self.engine, lambda c: _register(c, host, binary, topic, zone, version)
                )
            except IntegrityError:
                # Another registration of the same service won the race, or the topic is taken.
                holder = self._holder(host, topic)
                if holder not in (None, binary):
                    raise Conflict(
                        f"Service with host {host} topic {topic} exists: it belongs to {holder};"
                        " register with another group."
                    ) from None
        raise Conflict(f"Service {binary} on host {host} is being registered by too many at once.")

    def _holder(self, host: str, topic: str) -> str | None:
        query = select(services.c.binary).where(
            services.c.host == host, services.c.topic == topic, services.c.deleted == 0
        )
        with reading(self.engine) as connection:
            return connection.scalar(query)

    def update(self, uuid: str, changes: Mapping[str, Any]) -> None:
        """Apply an administrator's edit; the stamp of liveness is never touched (SQL-1).

        ``updated_at`` moves only when a value changes, as in Nova. Raises NotFound.
        """
        differs = _any([services.c[name].is_distinct_from(new) for name, new in changes.items()])
        alive = and_(services.c.uuid == uuid, services.c.deleted == 0)
        change = update(services).where(alive, differs).values(**changes, updated_at=utcnow())

        def work(connection: Connection) -> None:
            if not connection.execute(change).rowcount and not connection.scalar(
                select(services.c.id).where(alive)
            ):
                raise NotFound(f"Service {uuid} could not be found.")

        write(self.engine, work)

    def delete(self, uuid: str, drivers: Sequence[str]) -> None:
        """Soft-delete the record: ``deleted`` becomes its id, as in Nova. Raises NotFound.

        In the same transaction each of the drivers gets an errand in the outbox.
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
    now = connection.scalar(select(utcnow()))
    old = select(services.c.id).where(services.c.deleted != 0, services.c.deleted_at < now - age)
    ids = connection.scalars(old.order_by(services.c.id).limit(_PURGE_BATCH)).all()
    return connection.execute(services.delete().where(services.c.id.in_(ids))).rowcount


def _living() -> Select[Any]:
    return select(*COLUMNS, utcnow(), latest_mark()).where(services.c.deleted == 0)


@cache
def _matching(filters: frozenset[str]) -> Select[Any]:
    """Return the query for a set of filters, whose values are its parameters.

    Making a query costs more than running it for one service, so each is made once.
    """
    query = _living().order_by(services.c.id)
    query = query.where(*(c == bindparam(n) for n, c in _COLUMN_OF.items() if n in filters))
    if "marker" in filters:
        query = query.where(services.c.id > bindparam("marker"))
    return query.limit(bindparam("limit")) if "limit" in filters else query


def _read(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> Snapshot:
    found: list[Service] = []
    row = None
    for rows in connection.execute(query, values).partitions(_AT_ONCE):
        found += [Service(*(row[:-2] + _OF_THE_LIVING)) for row in rows]
        row = rows[0]
    if row is None:
        now = connection.scalar(select(utcnow()))
        return Snapshot(Listening(now), [])
    # The gaps are read after the mark: a gap stored in between is then seen twice, never missed.
    return Snapshot(Listening.of(row[-2], row[-1], gaps_of(connection)), found)


def _marker_id(connection: Connection, uuid: str) -> int:
    found = connection.scalar(select(services.c.id).where(services.c.uuid == uuid))
    if found is None:
        raise NotFound(f"marker {uuid} names no service; start again without it.")
    return cast("int", found)


def _counted_versions() -> Select[Any]:
    return select(services.c.version).where(
        # "= false", not "IS false": MariaDB walks the index for the first only.
        services.c.deleted == 0,
        services.c.forced_down == false(),
    )


def _any(clauses: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    return or_(false(), *clauses)


def _register(
    connection: Connection, host: str, binary: str, topic: str, zone: str, version: int
) -> Registration:
    alive = and_(services.c.host == host, services.c.binary == binary, services.c.deleted == 0)
    life = {"topic": topic, "zone": zone, "version": version, "registered_at": utcnow()}
    renewed = (
        update(services)
        .where(alive)
        .values(
            **life,
            incarnation=services.c.incarnation + 1,
            left_at=None,
            departure=None,
            detail=None,
            updated_at=utcnow(),
        )
    )
    if not connection.execute(renewed).rowcount:
        new = {"uuid": str(uuid4()), "host": host, "binary": binary, "created_at": utcnow()}
        newer = _latest_incarnation(connection, host, topic) + 1
        connection.execute(services.insert().values(**life, **new, incarnation=newer))
    uuid, incarnation = connection.execute(
        select(services.c.uuid, services.c.incarnation).where(alive)
    ).one()
    return Registration(uuid, incarnation)


def _latest_incarnation(connection: Connection, host: str, topic: str) -> int:
    """Return the newest life the member ever had, under records since deleted too.

    A backend knows a member by group and host, so a successor of a deleted service must not
    begin with the number that the outbox is about to evict.
    """
    query = select(func.max(services.c.incarnation)).where(
        services.c.host == host, services.c.topic == topic
    )
    return connection.scalar(query) or 0
