"""Registration: how every incarnation begins, and the only thing that undoes a departure."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, and_, func, select, update

from servicegroup.errors import Conflict
from servicegroup.events import EventKind
from servicegroup.messages import Registration
from servicegroup.store.clock import utcnow
from servicegroup.store.events import about, append
from servicegroup.store.tables import services


def begin_life(
    connection: Connection,
    host: str,
    binary: str,
    topic: str,
    zone: str,
    version: int,
    most: int | None = None,
) -> Registration:
    """Raise the incarnation of the service's record, or make the record, and say so in an event.

    A new record is not to be more than the ``most`` of its host. Raises Conflict then, and
    IntegrityError where another registration was faster or the topic is taken.
    """
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
    kind = EventKind.RESTART
    if not connection.execute(renewed).rowcount:
        kind = EventKind.JOIN
        new = {"uuid": str(uuid4()), "host": host, "binary": binary, "created_at": utcnow()}
        newer = _latest_incarnation(connection, host, topic) + 1
        connection.execute(services.insert().values(**life, **new, incarnation=newer))
    uuid, incarnation = connection.execute(
        select(services.c.uuid, services.c.incarnation).where(alive)
    ).one()
    append(connection, [about(connection, uuid, kind)])
    if most is not None and kind is EventKind.JOIN:
        _check_number(connection, host, most)
    return Registration(uuid, incarnation)


def _check_number(connection: Connection, host: str, most: int) -> None:
    """Raise Conflict where a host has more than ``most`` services.

    It comes after the append, which lets one registration after the other pass, so that many at
    once do not all find room for themselves.
    """
    living = select(func.count()).where(services.c.host == host, services.c.deleted == 0)
    if connection.execute(living).scalar_one() > most:
        raise Conflict(
            f"Host {host} has {most} services, the most that a credential for one host may"
            " register; delete those that are gone, or register with a token without a host."
        )


def _latest_incarnation(connection: Connection, host: str, topic: str) -> int:
    """Return the newest life the member ever had, under records since deleted too.

    A backend knows a member by group and host, so a successor of a deleted service must not
    begin with the number that the outbox is about to evict.
    """
    query = select(func.max(services.c.incarnation)).where(
        services.c.host == host, services.c.topic == topic
    )
    return connection.scalar(query) or 0
