"""Services as one statement finds them, with the clock and with who listened when.

Each query is made once and asked with values: making one costs more than running it for a service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, bindparam, or_, select

from servicegroup.errors import NotFound
from servicegroup.liveness import Listening
from servicegroup.model import Member, Service, ServiceFilter
from servicegroup.store.clock import utcnow
from servicegroup.store.database import snapshot_read
from servicegroup.store.lease import driver_of, latest_holder, latest_observation
from servicegroup.store.marks import latest_mark, unheard_that_matters
from servicegroup.store.register_clock import by_register
from servicegroup.store.tables import services

_OF_THE_LIVING: tuple[Any, ...] = (0, None)
"""The last two columns of a record, ``deleted`` and ``deleted_at``: not asked, because known."""

COLUMNS = [services.c[name] for name in Service.__struct_fields__[: -1 - len(_OF_THE_LIVING)]]

_COLUMN_OF = {name: services.c[name] for name in ("host", "binary", "zone", "disabled")}
_COLUMN_OF["group"] = services.c.topic

_AT_ONCE = 500
"""Rows that are held twice, as the database's and as ours; few enough for a processor's cache."""


BATCH = 2_000
"""Services of a batch: what a large listing holds at once."""


class Snapshot(msgspec.Struct, frozen=True):
    """Services as the database had them at ``listening.now``, not judged yet, ordered by id."""

    listening: Listening
    services: list[Service]


def living() -> Select[Any]:
    """Return the query for every service that is not deleted, to be read by ``read``."""
    query = select(*COLUMNS, utcnow(), latest_mark(), latest_observation(), latest_holder())
    return query.where(services.c.deleted == 0)


@cache
def matching(filters: frozenset[str]) -> Select[Any]:
    """Return the query for a set of filters, whose values are its parameters."""
    query = living().order_by(services.c.id)
    query = query.where(*(c == bindparam(n) for n, c in _COLUMN_OF.items() if n in filters))
    if "marker" in filters:
        query = query.where(services.c.id > bindparam("marker"))
    return query.limit(bindparam("limit")) if "limit" in filters else query


def values_of(connection: Connection, filters: ServiceFilter) -> dict[str, Any]:
    """Return the values of the filters that are set; the marker's is its id. Raises NotFound."""
    values = {n: v for n, v in msgspec.structs.asdict(filters).items() if v is not None}
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

    There are none after an unknown marker.
    """
    values = values_of(connection, msgspec.structs.replace(filters, marker=None))
    columns = (services.c.topic, services.c.host, services.c.incarnation)
    query = matching(frozenset(values)).with_only_columns(*columns)
    if filters.marker is not None:
        query = query.where(services.c.id > _id_of(filters.marker).scalar_subquery())
    rows = connection.execute(query, values)
    return {Member(group, host): incarnation for group, host, incarnation in rows}


@cache
def of_ids() -> Select[Any]:
    """Return the query for services by their ``ids``."""
    ids = bindparam("ids", expanding=True, type_=services.c.id.type)
    return living().where(services.c.id.in_(ids)).order_by(services.c.id)


@cache
def of_members() -> Select[Any]:
    """Return the query for the services of members; its values are ``names``."""
    return living().where(_named()).order_by(services.c.id)


@cache
def of_members_or_lacking() -> Select[Any]:
    """Return the same with whoever is held, or absent at ``since`` the earliest."""
    lacking = or_(services.c.held_since.is_not(None), services.c.absent_since >= bindparam("since"))
    return living().where(or_(_named(), lacking)).order_by(services.c.id)


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
    found: list[Service] = []
    first = None
    for rows in connection.execute(query, values).partitions(_AT_ONCE):
        found += [Service(*(row[:-4] + _OF_THE_LIVING)) for row in rows]
        first = first or rows[0]
    if first is None:
        now = connection.scalar(select(utcnow()))
        return Snapshot(Listening(now), [])
    # These are read after the mark: one that is stored in between is then seen twice, never missed.
    now, marked_at, observed_at, holder = first[-4:]
    now = by_register(now, marked_at)
    unheard = unheard_that_matters(connection, now, marked_at, silence)
    return Snapshot(Listening.of(now, marked_at, unheard, observed_at, driver_of(holder)), found)


def read_in_batches(engine: Engine, silence: float, filters: ServiceFilter) -> Iterator[Snapshot]:
    """Yield the services that match, BATCH at a time, all as of the first batch's moment."""
    listening = None
    with snapshot_read(engine) as connection:
        values = values_of(connection, filters) | {"limit": BATCH}
        while True:
            batch = read(connection, silence, matching(frozenset(values)), values)
            listening = listening or batch.listening
            yield Snapshot(listening, batch.services)
            if len(batch.services) < BATCH:
                return
            values["marker"] = batch.services[-1].id
