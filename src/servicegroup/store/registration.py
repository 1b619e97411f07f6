"""Registration: how every incarnation begins, and the only thing that undoes a departure.

Many may begin in one transaction. The log's counter is then raised once for all of them, which
counts most where several nodes of a cluster write: of those that raise it at once one commits, and
all others have to begin again (F-26).
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, and_, func, select, update

from servicegroup.errors import Conflict
from servicegroup.events import Event, EventKind
from servicegroup.messages import Registration
from servicegroup.store.clock import utcnow
from servicegroup.store.events import about, append
from servicegroup.store.marks import moment_of_report
from servicegroup.store.tables import services


class Beginning(msgspec.Struct, frozen=True):
    """Who registers. A new record is not to be more than the ``most`` of its host, if given."""

    host: str
    binary: str
    topic: str
    zone: str
    version: int
    most: int | None = None


def begin_lives(connection: Connection, wanted: Sequence[Beginning]) -> list[Registration]:
    """Raise the incarnation of each service's record, or make the record, and say so in an event.

    Raises Conflict where a host would have more than its ``most``, and IntegrityError where another
    registration was faster or a topic is taken.
    """
    begun: dict[int, Event] = {}
    for place in _in_order_of_ids(connection, wanted):
        begun[place] = _begin(connection, wanted[place])
    append(connection, [*begun.values()])
    for place, event in begun.items():
        one = wanted[place]
        if one.most is not None and event.kind is EventKind.JOIN:
            _check_number(connection, one.host, one.most)
    events = [begun[place] for place in range(len(wanted))]
    return [Registration(str(event.uuid), int(event.incarnation or 0)) for event in events]


def _in_order_of_ids(connection: Connection, wanted: Sequence[Beginning]) -> Sequence[int]:
    """Return the places in the order in which reports lock rows too (SQL-11), new ones last."""
    if len(wanted) == 1:
        return [0]
    query = select(services.c.host, services.c.binary, services.c.id).where(
        services.c.host.in_({one.host for one in wanted}), services.c.deleted == 0
    )
    ids = {(host, binary): id_ for host, binary, id_ in connection.execute(query)}
    last = 1 + max(ids.values(), default=0)
    return sorted(
        range(len(wanted)), key=lambda n: ids.get((wanted[n].host, wanted[n].binary), last)
    )


def _begin(connection: Connection, one: Beginning) -> Event:
    """Begin one life and return its event, which is not appended yet."""
    alive = and_(
        services.c.host == one.host, services.c.binary == one.binary, services.c.deleted == 0
    )
    life = {
        "topic": one.topic,
        "zone": one.zone,
        "version": one.version,
        "registered_at": moment_of_report(),
    }
    renewed = (
        update(services)
        .where(alive, services.c.mirror.is_(None))
        .values(
            **life,
            incarnation=services.c.incarnation + 1,
            left_at=None,
            departure=None,
            detail=None,
            backend_error=None,
            updated_at=utcnow(),
        )
    )
    kind = EventKind.RESTART
    if not connection.execute(renewed).rowcount:
        kind = EventKind.JOIN
        new = {"uuid": str(uuid4()), "host": one.host, "binary": one.binary}
        newer = _latest_incarnation(connection, one.host, one.topic) + 1
        made = {**life, **new, "created_at": moment_of_report(), "incarnation": newer}
        connection.execute(services.insert().values(made))
    uuid = connection.execute(select(services.c.uuid).where(alive)).scalar_one()
    return about(connection, uuid, kind)


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
