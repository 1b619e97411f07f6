"""The log of events: appended within the transaction that makes each one true, read by id.

One row counts the ids. Its lock makes transactions that append follow one another from the
append to their commit, so ids have no holes and nobody ever sees an event before an earlier one.
Append last in a transaction: everybody waits for that lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, select, union_all

from servicegroup.decoding import converted, decoder
from servicegroup.errors import InvalidInput
from servicegroup.events import Cursor, Event, EventFilter, EventKind, Log, Page, mark_of
from servicegroup.history import INTENDED
from servicegroup.model import Evidence
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading
from servicegroup.store.tables import event_log, events, services

_COLUMNS = [column.name.replace("topic", "group") for column in events.c]

_FACT_NAMES = ("uuid", "host", "binary", "group", "zone", "incarnation")
_FACTS = [services.c[name.replace("group", "topic")] for name in _FACT_NAMES]

NEWEST = 200
"""Events of a service, from the newest backwards, among which its failures are looked for."""

_TOGETHER = 50
"""Services whose events are read by one statement."""

_ROW = event_log.c.id == 1
_LOG = (
    select(event_log.c.last, event_log.c.purged, events.c.at, events.c.kind, events.c.uuid)
    .outerjoin_from(event_log, events, events.c.id == event_log.c.last)
    .where(_ROW)
)

_decode_evidence = decoder(Evidence).decode


def append(connection: Connection, happened: Sequence[Event]) -> list[Event]:
    """Append events, in order, and return them with their ids."""
    if not happened:
        return []
    counted = event_log.update().where(_ROW).values(last=event_log.c.last + len(happened))
    connection.execute(counted)
    last: int = connection.execute(select(event_log.c.last).where(_ROW)).scalar_one()
    first = last - len(happened) + 1
    recorded = [
        msgspec.structs.replace(event, id=number) for number, event in enumerate(happened, first)
    ]
    connection.execute(events.insert(), [_row(event) for event in recorded])
    return recorded


def about(
    connection: Connection,
    uuid: str,
    kind: EventKind,
    actor: str | None = None,
    detail: str | None = None,
) -> Event:
    """Return an event, as of now, of a service as the transaction has it."""
    row = connection.execute(select(*_FACTS, utcnow()).where(services.c.uuid == uuid)).one()
    *facts, now = row
    known = dict(zip(_FACT_NAMES, facts, strict=True))
    return Event(at=now, kind=kind, actor=actor, detail=detail, **known)


def of_row(
    row: Mapping[str, Any], kind: EventKind, at: datetime, actor: str, detail: str | None = None
) -> Event:
    """Return an event of a service whose row is at hand; ``row`` has the names of the columns."""
    return Event(
        at=at,
        kind=kind,
        uuid=row["uuid"],
        host=row["host"],
        binary=row["binary"],
        group=row["topic"],
        zone=row["zone"],
        incarnation=row["incarnation"],
        actor=actor,
        detail=detail,
    )


def log(engine: Engine) -> Log:
    """Return where the log stands. Raises StoreUnavailable."""
    with reading(engine) as connection:
        last, purged, *marked = connection.execute(_LOG).one()
    return Log(last, purged, mark_of(*marked) if marked[0] else "")


def read(engine: Engine, wanted: EventFilter, limit: int) -> Page:
    """Return the first ``limit`` events that match, oldest first.

    Without ``after`` and ``since`` these are the newest ones. What was purged after the event that
    was asked for is told as a gap, and so is everything where that event is another one here
    (F-27). Raises InvalidInput for an ``after`` that was never given, StoreUnavailable.
    """
    newest = wanted.after is None and wanted.since is None
    order = events.c.id.desc() if newest else events.c.id.asc()
    query = select(events).where(*_matching(wanted)).order_by(order).limit(limit)
    with reading(engine) as connection:
        # The log is read first: what is appended in between is then told the next time.
        standing = standing_of(connection)
        if wanted.after is not None and wanted.after > standing.last:
            raise InvalidInput(
                f"Event {wanted.after} was never given, the newest is {standing.last}: this is"
                " another register, or an older copy of it; list its services again."
            )
        if wanted.mark and _mark_at(connection, wanted.after) not in ("", wanted.mark):
            return _of_another_log(connection, wanted, standing)
        rows = connection.execute(query.where(events.c.id <= standing.last)).all()
        found = [_event(row) for row in rows]
        is_all = newest or len(rows) < limit
        reached = standing.last if is_all else found[-1].id
        # And once more after: what was purged in between is part of the gap.
        purged = standing_of(connection).purged if wanted.after is not None else 0
        if wanted.after is not None and wanted.after < purged:
            now = connection.execute(select(utcnow())).scalar_one()
            found = _with_gaps(found, wanted, min(purged, reached), now)
        place = Cursor(reached, _mark_at(connection, reached))
    if newest:
        found.reverse()
    return Page(found, reached, standing.last, str(place))


def _mark_at(connection: Connection, number: int | None) -> str:
    """Return the mark of an event; empty if there is none of this id, or it is not kept."""
    query = select(events.c.at, events.c.kind, events.c.uuid).where(events.c.id == number)
    row = connection.execute(query).one_or_none()
    return mark_of(*row) if row else ""


def _of_another_log(connection: Connection, wanted: EventFilter, standing: Log) -> Page:
    """Tell a gap in the place of everything: the events before are not those that were seen."""
    now = connection.execute(select(utcnow())).scalar_one()
    detail = (
        f"event {wanted.after} is another one here: this register is a copy that took another's"
        f" place; its newest is {standing.last}"
    )
    told = Event(id=standing.last, at=now, kind=EventKind.GAP, detail=detail)
    place = Cursor(standing.last, _mark_at(connection, standing.last))
    return Page([told], standing.last, standing.last, str(place))


def _with_gaps(
    found: Sequence[Event], wanted: EventFilter, purged: int, now: datetime
) -> list[Event]:
    """Return events with a gap wherever some before ``purged`` are missing.

    What is kept below ``purged`` is what operators did. Where a filter leaves out others anyway,
    the first gap stands for all.
    """
    told: list[Event] = []
    place = wanted.after or 0
    for event in found:
        hole = min(event.id - 1, purged)
        if hole > place and not (told and wanted.is_filtered and _has_gap(told)):
            told.append(gap(place, hole, now))
        told.append(event)
        place = event.id
    if purged > place and not (wanted.is_filtered and _has_gap(told)):
        told.append(gap(place, purged, now))
    return told


def _has_gap(told: Iterable[Event]) -> bool:
    return any(event.kind is EventKind.GAP for event in told)


def kept_since(engine: Engine) -> datetime | None:
    """Return from when on every event is kept; None where none was ever purged."""
    with reading(engine) as connection:
        purged = standing_of(connection).purged
        if not purged:
            return None
        oldest = select(events.c.at).where(events.c.id > purged).order_by(events.c.id).limit(1)
        kept: datetime | None = connection.scalar(oldest)
        return kept or connection.execute(select(utcnow())).scalar_one()


def gap(after: int, purged: int, now: datetime) -> Event:
    """Return what tells that the events after one id up to another are not kept."""
    detail = f"events {after + 1} to {purged} are not kept"
    return Event(id=purged, at=now, kind=EventKind.GAP, detail=detail)


def latest(
    engine: Engine, uuid: str, kinds: Collection[EventKind], before: datetime
) -> list[Event]:
    """Return the latest event of any of these kinds of a service before a moment, if any."""
    named = [kind.value for kind in kinds]
    query = (
        select(events)
        .where(events.c.uuid == uuid, events.c.kind.in_(named), events.c.at < before)
        .order_by(events.c.id.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        return [_event(row) for row in connection.execute(query)]


def failures(
    connection: Connection, uuids: Sequence[str], window: timedelta
) -> dict[str, list[Any]]:
    """Return when each of these services failed, within the window before now, in order.

    Only the NEWEST events of each are read: who asks holds locks, and one service may have made
    any number of events within the window.
    """
    now = connection.execute(select(utcnow())).scalar_one()
    intended = [reason.value for reason in INTENDED]
    names = ("id", "uuid", "at", "kind", "before", "reason")
    columns = [events.c[name] for name in names]
    found: dict[str, list[Any]] = {}
    for start in range(0, len(uuids), _TOGETHER):
        newest = [
            select(*columns).where(events.c.uuid == uuid).order_by(events.c.id.desc()).limit(NEWEST)
            for uuid in uuids[start : start + _TOGETHER]
        ]
        some = union_all(*(select(each.subquery()) for each in newest)).subquery()
        query = (
            select(some.c.uuid, some.c.at)
            .where(some.c.kind == EventKind.DOWN.value, some.c.before == "up")
            .where(some.c.reason.not_in(intended), some.c.at.between(now - window, now))
            .order_by(some.c.id)
        )
        for uuid, at in connection.execute(query):
            found.setdefault(uuid, []).append(at)
    return found


def standing_of(connection: Connection) -> Log:
    """Return where the log stands, as the transaction has it."""
    return Log(*connection.execute(select(event_log.c.last, event_log.c.purged).where(_ROW)).one())


def _matching(wanted: EventFilter) -> Iterable[ColumnElement[bool]]:
    column = events.c
    if wanted.after is not None:
        yield column.id > wanted.after
    if wanted.uuid is not None:
        yield column.uuid == wanted.uuid
    if wanted.group is not None:
        yield column.topic == wanted.group
    if wanted.kind is not None:
        yield column.kind == wanted.kind.value
    if wanted.since is not None:
        yield column.at >= wanted.since
    if wanted.until is not None:
        yield column.at < wanted.until


def _row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in Event.__struct_fields__}
    row["topic"] = row.pop("group")
    row["kind"] = event.kind.value
    row["reason"] = event.reason and event.reason.value
    row["detail"] = event.detail and event.detail[:255]
    row["actor"] = event.actor and event.actor[:255]
    row["evidence"] = event.evidence and msgspec.json.encode(event.evidence).decode()
    return row


def _event(row: Iterable[Any]) -> Event:
    stored = dict(zip(_COLUMNS, row, strict=True))
    evidence = stored.pop("evidence")
    found = converted(stored, Event)
    return msgspec.structs.replace(found, evidence=_evidence(evidence) if evidence else None)


def _evidence(stored: str) -> Evidence | None:
    """Return an event's evidence, None for what a newer release made of other parts (F-53)."""
    try:
        return _decode_evidence(stored)
    except msgspec.MsgspecError:
        return None
