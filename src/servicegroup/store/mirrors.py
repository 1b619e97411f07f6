"""What mirrors saw, as records: one transaction a look, with its events.

A mirrored service is a row like any other. It is down by the word of its own API for as long as it
has ``told_down`` for a departure; ``left_at`` is since when, by the register's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy.exc import IntegrityError

from servicegroup.decoding import converted
from servicegroup.errors import Conflict
from servicegroup.events import Event, EventKind
from servicegroup.liveness import Listening
from servicegroup.mirrors import MOST_GONE, Kept, Look, Looked, Mirrored
from servicegroup.model import Reason
from servicegroup.store.clock import utcnow
from servicegroup.store.database import write
from servicegroup.store.events import about, append, of_row
from servicegroup.store.marks import register_now
from servicegroup.store.tables import mirrors, services

_c = services.c
_INTENT = ("zone", "topic", "disabled", "disabled_reason", "forced_down")
_SAID = ("departure", "detail")
_KNOWN = [_c[name] for name in ("id", "uuid", "host", "binary", "incarnation", "mirror")]
_ROW = [*_KNOWN, *(_c[name] for name in (*_INTENT, *_SAID))]
_NAMED = 3
"""Services that a refusal names."""


def keep(engine: Engine, look: Look) -> Looked:
    """Store a look, all of it or nothing, and return what is kept of what it names.

    Raises Conflict where the mirror is of another endpoint, or a service is mirrored from another
    API already; StoreUnavailable.
    """
    if look.ending:
        return _end(engine, look.mirror)
    try:
        return write(engine, lambda connection: _keep(connection, look))
    except IntegrityError:
        raise Conflict(
            f"Services of {look.mirror} are being registered by another process at the same time;"
            " the next look shows whose they are."
        ) from None


def beside_mirrors(connection: Connection, listening: Listening) -> Listening:
    """Return the same with who listened to each API that is mirrored.

    Nobody did after its latest answer: an API, or a mirror, that is away accuses nobody. One that
    came after the services were read says nothing of what had been reported by then.
    """
    heard = {}
    for name, at, before in connection.execute(
        select(mirrors.c.name, mirrors.c.answered_at, mirrors.c.answered_before)
    ):
        answered = at if at <= listening.now else before
        heard[name] = listening.unmarked_for((listening.now - answered).total_seconds())
    return msgspec.structs.replace(listening, mirrors=heard)


def _keep(connection: Connection, look: Look) -> Looked:
    _claim(connection, look)
    kept, refused, happened = _stored(connection, look)
    gone = _c.uuid.in_(look.gone)
    happened += _delete(connection, look.mirror, gone) if look.gone else []
    if look.answered:
        answered = update(mirrors).where(mirrors.c.name == look.mirror)
        moment = register_now(connection)
        connection.execute(
            answered.values(answered_before=mirrors.c.answered_at, answered_at=moment)
        )
    if look.opening:
        own = select(*_KNOWN).where(_c.mirror == look.mirror, _c.deleted == 0)
        kept = [_kept(row) for row in connection.execute(own.order_by(_c.id))]
    append(connection, happened)
    return Looked(kept, refused)


def _claim(connection: Connection, look: Look) -> None:
    """Lock the mirror's row, or make it. Raises Conflict for another endpoint."""
    own = select(mirrors.c.endpoint).where(mirrors.c.name == look.mirror).with_for_update()
    endpoint = connection.scalar(own)
    if endpoint is None:
        moment = register_now(connection)
        row = {"name": look.mirror, "endpoint": look.endpoint}
        connection.execute(
            mirrors.insert().values(**row, answered_at=moment, answered_before=moment)
        )
    elif look.endpoint and endpoint != look.endpoint:
        cloud = look.mirror.rpartition("/")[0]
        raise Conflict(
            f"This register mirrors {endpoint} as {look.mirror}, and not {look.endpoint}; give the"
            " other cloud another name, or a register of its own, or end the former mirror with"
            f" 'servicegroup mirror --os-cloud {cloud} --forget'."
        )


def _stored(connection: Connection, look: Look) -> tuple[list[Kept], list[str], list[Event]]:
    if not look.services:
        return [], [], []
    hosts = {service.host for service in look.services}
    query = select(*_ROW).where(_c.host.in_(hosts), _c.deleted == 0).order_by(_c.id)
    rows = connection.execute(query.with_for_update()).all()
    by_name = {(row.host, row.binary): row for row in rows}
    by_topic = {(row.host, row.topic): row for row in rows}
    taken: dict[tuple[str, str], str] = {}
    known: list[tuple[Row[Any], Mirrored]] = []
    new: list[Mirrored] = []
    distinct, refused = _distinct(look.services)
    others = []
    for service in distinct:
        row = by_name.get((service.host, service.binary))
        holder = row or by_topic.get((service.host, service.group))
        if holder is None:
            first = taken.setdefault((service.host, service.group), service.binary)
            if first == service.binary:
                new.append(service)
            else:
                refused.append(_refusal(service, first, look.mirror))
        elif row is not None and row.mirror == look.mirror:
            known.append((row, service))
        elif holder.mirror is not None and holder.mirror != look.mirror:
            others.append((service, holder))
        else:
            refused.append(_refusal(service, holder.binary, look.mirror))
    if others:
        raise Conflict(_two_clouds(look.mirror, others))
    happened = [
        event for row, one in known for event in _changed(connection, row, one, look.mirror)
    ]
    made, joined = _made(connection, new, look.mirror)
    return [_kept(row) for row, _ in known] + made, refused, happened + joined


def _kept(row: Row[Any]) -> Kept:
    return Kept(row.host, row.binary, row.uuid, row.incarnation)


def _distinct(given: Iterable[Mirrored]) -> tuple[list[Mirrored], list[str]]:
    """Return the first service of each host and binary, and a sentence for each other one."""
    distinct: dict[tuple[str, str], Mirrored] = {}
    refused = [
        f"{service.binary} on host {service.host} is given twice; the first counts."
        for service in given
        if distinct.setdefault((service.host, service.binary), service) is not service
    ]
    return list(distinct.values()), refused


def _refusal(service: Mirrored, holder: str, mirror: str) -> str:
    if holder == service.binary:
        return (
            f"{service.binary} on host {service.host} is not mirrored from {mirror}: a service of"
            " that name has joined this register itself; to mirror it, stop that and delete it."
        )
    return (
        f"{service.binary} on host {service.host} is not mirrored from {mirror}: {holder}"
        f" holds the group {service.group} on that host; delete it if it is gone."
    )


def _two_clouds(mirror: str, others: Sequence[tuple[Mirrored, Row[Any]]]) -> str:
    names = ", ".join(f"{one.binary} on host {one.host}" for one, _ in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return (
        f"{mirror} lists services that this register mirrors from {others[0][1].mirror}: {names}"
        f"{more}; a register has one service of a name, so give each cloud a register of its own."
    )


def _changed(
    connection: Connection, row: Row[Any], service: Mirrored, mirror: str
) -> Iterable[Event]:
    """Bring a row to what was seen, and yield what that did, as edits do."""
    intent = {
        "zone": service.zone,
        "topic": service.group,
        "disabled": service.disabled,
        "disabled_reason": service.disabled_reason if service.disabled else None,
        "forced_down": service.forced_down,
    }
    changes: dict[str, Any] = {n: v for n, v in intent.items() if getattr(row, n) != v}
    was_down = row.departure is not None
    if service.down != was_down:
        changes |= _said(service, utcnow())
    elif service.down and row.detail != service.words:
        changes |= {"detail": service.words}
    if not changes:
        return
    connection.execute(
        update(services).where(_c.id == row.id).values(**changes, updated_at=utcnow())
    )
    by = f"mirror of {mirror}"
    if changes.keys() & {"disabled", "disabled_reason"}:
        kind = EventKind.DISABLE if service.disabled else EventKind.ENABLE
        yield about(connection, row.uuid, kind, by, service.disabled_reason)
    if said := _news(service, changes):
        yield about(connection, row.uuid, EventKind.MIRROR, by, said)
    if "forced_down" in changes:
        kind = EventKind.FORCE_DOWN if service.forced_down else EventKind.UNFORCE
        yield about(connection, row.uuid, kind, by)


def _news(service: Mirrored, changes: Mapping[str, Any]) -> str:
    """Return in words what an API says anew of a service, beside what are edits."""
    words = {"zone": "zone", "topic": "group"}
    said = [f"its {words[name]} is {value}" for name, value in changes.items() if name in words]
    if "detail" in changes or "departure" in changes:
        said.append(service.words or "its own API says up")
    return "; ".join(said)


def _said(service: Mirrored, since: Any) -> dict[str, Any]:
    """Return what a row says of a service's own API."""
    down = service.down
    return {
        "departure": Reason.TOLD_DOWN.value if down else None,
        "left_at": since if down else None,
        "detail": service.words,
    }


def _made(
    connection: Connection, new: Sequence[Mirrored], mirror: str
) -> tuple[list[Kept], list[Event]]:
    """Make the rows of new services, in one statement, with the events that tell of them."""
    if not new:
        return [], []
    now = register_now(connection)
    latest = func.max(_c.incarnation)
    query = select(_c.host, _c.topic, latest).group_by(_c.host, _c.topic)
    lives = {
        (host, topic): number
        for host, topic, number in connection.execute(
            query.where(_c.host.in_({service.host for service in new}))
        )
    }
    rows = [
        {
            "uuid": str(uuid4()),
            "host": one.host,
            "binary": one.binary,
            "topic": one.group,
            "zone": one.zone,
            "mirror": mirror,
            "incarnation": lives.get((one.host, one.group), 0) + 1,
            "disabled": one.disabled,
            "disabled_reason": one.disabled_reason if one.disabled else None,
            "forced_down": one.forced_down,
            "created_at": now,
            "registered_at": now,
            "last_seen_up": one.stamp(now),
            **_said(one, now),
        }
        for one in new
    ]
    connection.execute(services.insert(), rows)
    joined = [of_row(row, EventKind.JOIN, now, f"mirror of {mirror}") for row in rows]
    names = ("host", "binary", "uuid", "incarnation")
    return [converted({n: row[n] for n in names}, Kept) for row in rows], joined


def _delete(connection: Connection, mirror: str, those: Any) -> list[Event]:
    """Soft-delete services of a mirror, and return the events that tell of it."""
    query = select(*_ROW, utcnow().label("now")).where(_c.mirror == mirror, _c.deleted == 0, those)
    rows = connection.execute(query.order_by(_c.id).limit(MOST_GONE).with_for_update()).mappings()
    found = [dict(row) for row in rows]
    if found:
        named = _c.id.in_([row["id"] for row in found])
        connection.execute(update(services).where(named).values(deleted=_c.id, deleted_at=utcnow()))
    return [of_row(row, EventKind.DELETE, row["now"], f"mirror of {mirror}") for row in found]


def _end(engine: Engine, mirror: str) -> Looked:
    """Delete all services of a mirror, and its row once there are none."""

    def work(connection: Connection) -> bool:
        happened = _delete(connection, mirror, _c.id > 0)
        if not happened:
            connection.execute(mirrors.delete().where(mirrors.c.name == mirror))
        append(connection, happened)
        return bool(happened)

    while write(engine, work):
        pass
    return Looked([])
