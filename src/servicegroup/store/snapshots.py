"""Services as one statement finds them, with the clock and with who listened when.

Each query is made once and asked with values: making one costs more than running it for a service.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    and_,
    bindparam,
    or_,
    select,
)

from servicegroup.errors import NotFound
from servicegroup.glance import incarnations_of, unmarked
from servicegroup.liveness import Listening
from servicegroup.model import Member, Service, ServiceFilter
from servicegroup.moments import moment_of
from servicegroup.sessions import Session, is_open
from servicegroup.store.clock import utcnow
from servicegroup.store.database import snapshot_read
from servicegroup.store.direct import directly, in_parts
from servicegroup.store.mirrors import beside_mirrors
from servicegroup.store.moment import OF_MOMENT, columns_of_moment, listening_of, read_listening
from servicegroup.store.tables import planes, services, sessions

_OF_THE_LIVING: tuple[Any, ...] = (0, None)
"""The last two columns of a record, ``deleted`` and ``deleted_at``: not asked, because known."""

COLUMNS = [services.c[name] for name in Service.__struct_fields__[: -1 - len(_OF_THE_LIVING)]]

_WIDTH = len(COLUMNS)

_COLUMN_OF = {name: services.c[name] for name in ("host", "binary", "zone", "disabled")}
_COLUMN_OF["group"] = services.c.topic

AT_ONCE = 500
"""Rows that are held twice, as the database's and as ours; few enough for a processor's cache."""


BATCH = 2_000
"""Services of a batch: what a large listing holds at once."""

BATCH_OF_STAMPS = 6 * BATCH
"""The same of columns, which are smaller than rows; of whole rows no more than BATCH are read."""


SESSION_COLUMNS = [
    sessions.c.opened_at,
    sessions.c.ended_at,
    sessions.c.cause,
    planes.c.name,
    planes.c.marked_at,
    sessions.c.asked_incarnation,
    sessions.c.deaf_since,
    sessions.c.deaf_together,
]


class Snapshot(msgspec.Struct, frozen=True):
    """Services as the database had them at ``listening.now``, not judged yet, ordered by id.

    ``sessions`` has the latest session of each life that ever held one, by the service's id, where
    sessions are read.
    """

    listening: Listening
    services: list[Service]
    sessions: dict[int, Session] = {}

    @property
    def ids(self) -> list[int]:
        """The ids of the services."""
        return [service.id for service in self.services]

    @property
    def incarnations(self) -> list[int | None]:
        """What ``glance.incarnations_of`` says of the services."""
        return incarnations_of(self.services)

    @property
    def unmarked(self) -> list[bool]:
        """What ``glance.unmarked`` says of the services."""
        return unmarked(self.services)

    @property
    def members(self) -> list[Member]:
        """The services as a backend knows them."""
        return [service.member for service in self.services]

    @property
    def updated_at(self) -> list[int]:
        """When each was changed or reported last, as a moment."""
        return [moment_of(service.updated_at) for service in self.services]

    def seen_within(self, after: datetime, until: datetime) -> list[bool]:
        """Tell of each whether its last report, or its making, came within these moments."""
        return [after < (s.last_seen_up or s.created_at) <= until for s in self.services]

    def held(self, now: datetime) -> list[bool | None]:
        """Tell of each whether its session is held without a doubt, None of who never had one."""
        found = (self.sessions.get(service.id) for service in self.services)
        return [None if s is None else s.deaf_since is None and is_open(s, now) for s in found]

    def whole(self, ids: Collection[int]) -> Snapshot:
        """Return the services of these ids."""
        wanted = set(ids)
        some = [service for service in self.services if service.id in wanted]
        return msgspec.structs.replace(self, services=some)


def living(
    *, with_sessions: bool = False, with_moment: bool = True, few: bool = False
) -> Select[Any]:
    """Return the query for every service that is not deleted, to be read by ``read``.

    ``few`` says that few can match, so that each row may bring along the unheard times.
    """
    moment = columns_of_moment(few=few) if with_moment else ()
    if with_sessions:
        query = select(*COLUMNS, *SESSION_COLUMNS, *moment).select_from(beside_sessions())
    else:
        query = select(*COLUMNS, *moment)
    return query.where(services.c.deleted == 0)


def beside_sessions() -> FromClause:
    """Return services, each with the latest session of the life that it is in, if it has one."""
    own = and_(
        sessions.c.service_id == services.c.id, sessions.c.incarnation == services.c.incarnation
    )
    return services.outerjoin(sessions, own).outerjoin(planes, planes.c.id == sessions.c.plane)


@cache
def matching(
    filters: frozenset[str], *, with_sessions: bool = False, with_moment: bool = True
) -> Select[Any]:
    """Return the query for a set of filters, whose values are its parameters."""
    few = "host" in filters
    query = living(with_sessions=with_sessions, with_moment=with_moment, few=few)
    query = query.order_by(services.c.id)
    query = query.where(*(c == bindparam(n) for n, c in _COLUMN_OF.items() if n in filters))
    if "marker" in filters:
        query = query.where(services.c.id > bindparam("marker"))
    if "limit" in filters:
        query = query.limit(bindparam("limit"))
    return directly(query) if few else query


def set_values(filters: ServiceFilter) -> dict[str, Any]:
    """Return the filters that are set."""
    return {n: v for n, v in msgspec.structs.asdict(filters).items() if v is not None}


def values_of(connection: Connection, filters: ServiceFilter) -> dict[str, Any]:
    """Return the values of the filters that are set; the marker's is its id. Raises NotFound."""
    values = set_values(filters)
    if filters.marker is not None:
        values["marker"] = connection.scalar(_id_of(filters.marker))
        if values["marker"] is None:
            raise NotFound(f"marker {filters.marker} names no service; start again without it.")
    return values


def _id_of(marker: str) -> Select[Any]:
    return select(services.c.id).where(services.c.uuid == marker)


def is_bounded(filters: ServiceFilter) -> bool:
    """Tell whether so few services match that they are read at once."""
    return filters.limit is not None or filters.host is not None


def read_lives(connection: Connection, filters: ServiceFilter) -> dict[Member, int]:
    """Return the members of the living services that match, each with its incarnation.

    There are none after an unknown marker, and none that are mirrored: no backend knows those.
    """
    values = values_of(connection, msgspec.structs.replace(filters, marker=None))
    columns = (services.c.topic, services.c.host, services.c.incarnation)
    query = matching(frozenset(values), with_moment=False).with_only_columns(*columns)
    if filters.marker is not None:
        query = query.where(services.c.id > _id_of(filters.marker).scalar_subquery())
    rows = connection.execute(query.where(services.c.mirror.is_(None)), values).all()
    return {Member(group, host): incarnation for group, host, incarnation in rows}


@cache
def of_ids(*, with_sessions: bool = False) -> Select[Any]:
    """Return the query for services by their ``ids``."""
    ids = bindparam("ids", expanding=True, type_=services.c.id.type)
    query = living(with_sessions=with_sessions)
    return query.where(services.c.id.in_(ids)).order_by(services.c.id)


@cache
def of_members(*, with_sessions: bool = False) -> Select[Any]:
    """Return the query for the services of members; its values are ``names``."""
    return living(with_sessions=with_sessions).where(_named()).order_by(services.c.id)


@cache
def of_members_or_lacking(*, with_sessions: bool = False) -> Select[Any]:
    """Return the same with whoever is held, or absent at ``since`` the earliest."""
    lacking = or_(services.c.held_since.is_not(None), services.c.absent_since >= bindparam("since"))
    query = living(with_sessions=with_sessions)
    return query.where(or_(_named(), lacking)).order_by(services.c.id)


def _named() -> ColumnElement[bool]:
    groups = bindparam("groups", expanding=True, type_=services.c.topic.type)
    hosts = bindparam("hosts", expanding=True, type_=services.c.host.type)
    return and_(services.c.topic.in_(groups), services.c.host.in_(hosts))


def names(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values for (group, host) pairs; what they find holds some other few too."""
    known = set(pairs)
    return {"groups": sorted({g for g, _ in known}), "hosts": sorted({h for _, h in known})}


def read(
    connection: Connection,
    silence: float,
    query: Select[Any],
    values: Mapping[str, Any] | None = None,
) -> Snapshot:
    """Return what a query finds, with the clock of its statement.

    ``silence`` is ``service_down_time`` in seconds: it bounds the unheard times that are read.
    """
    found, held, moment = _found(connection, query, values, of_moment=OF_MOMENT)
    if moment is None:
        return Snapshot(Listening(connection.scalar(select(utcnow()))), [])
    listening = beside_mirrors_of(connection, listening_of(connection, silence, moment), found)
    return Snapshot(listening, found, held)


def beside_mirrors_of(
    connection: Connection, listening: Listening, found: Iterable[Service]
) -> Listening:
    """Return the same with who listened to the APIs that these services are mirrored from."""
    if listening.mirrors or not any(service.mirror for service in found):
        return listening
    return beside_mirrors(connection, listening)


def service_of(columns: Sequence[Any]) -> Service:
    """Return a living service whose ``COLUMNS`` these are."""
    return Service(*columns, *_OF_THE_LIVING)


def _found(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None, of_moment: int
) -> tuple[list[Service], dict[int, Session], Sequence[Any] | None]:
    """Return services, the sessions beside them, and the first row's last columns, if any."""
    found: list[Service] = []
    held: dict[int, Session] = {}
    moment: Sequence[Any] | None = None
    for rows in in_parts(connection, query, values, AT_ONCE):
        found += [service_of(row[:_WIDTH]) for row in rows]
        end = len(rows[0]) - of_moment
        if end > _WIDTH:
            # A life that never held a session has none that was ever opened.
            held |= {row[0]: Session(*row[_WIDTH:end]) for row in rows if row[_WIDTH]}
        moment = moment or rows[0][end:]
    return found, held, moment


class Batch(Protocol):
    """What a reading in batches yields: services, ordered by id, and who listened when."""

    @property
    def listening(self) -> Listening:
        """When somebody listened."""

    @property
    def services(self) -> Sequence[Service]:
        """The services."""


B = TypeVar("B", bound=Batch)

ReadBatch = Callable[[Connection, Listening, Mapping[str, Any]], B]
"""Reads the services that match the values of filters, all as of one transaction's moment."""


def read_in_batches(
    engine: Engine, silence: float, filters: ServiceFilter, read_batch: ReadBatch[B], most: int
) -> Generator[B]:
    """Yield the services that match, at ``most`` so many at a time, all as of one moment."""
    with snapshot_read(engine) as connection:
        values = values_of(connection, filters) | {"limit": most}
        # What is the same in each row is asked once: many rows would each bring it along.
        listening = read_listening(connection, silence)
        while True:
            batch = read_batch(connection, listening, values)
            yield batch
            if len(batch.services) < most:
                return
            listening = batch.listening
            values["marker"] = batch.services[-1].id


def read_whole(
    connection: Connection,
    listening: Listening,
    values: Mapping[str, Any],
    *,
    with_sessions: bool,
) -> Snapshot:
    """Read a batch by reading each row whole."""
    query = matching(frozenset(values), with_sessions=with_sessions, with_moment=False)
    return read_beside(connection, listening, query, values)


def read_beside(
    connection: Connection, listening: Listening, query: Select[Any], values: Mapping[str, Any]
) -> Snapshot:
    """Return what a query without a moment finds, as of when ``listening`` was read."""
    found, held, _ = _found(connection, query, values, of_moment=0)
    return Snapshot(beside_mirrors_of(connection, listening, found), found, held)
