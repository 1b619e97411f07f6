"""What the observer records: states with their events, absences and holds, suspect signals.

Every write is one transaction within the observer's fence, and touches only services that are
still as they were judged: an edit that came in between is judged by the next look, and so is a
report that contradicts what was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, bindparam, case, or_, select

from servicegroup.events import Event, EventKind, Protection, Signal
from servicegroup.history import is_failure
from servicegroup.liveness import judge
from servicegroup.model import Service
from servicegroup.store.database import reading, write
from servicegroup.store.events import append, failures
from servicegroup.store.lease import fence, keep_by_look
from servicegroup.store.marks import (
    deciding,
    heard_for,
    moment_of_report,
    newest_unheard,
    register_now,
)
from servicegroup.store.tables import mirrors, outbox, protections, services, sessions
from servicegroup.store.tokens import clamp_future_tokens

BATCH = 500
"""Services recorded in one transaction; reports of the others do not wait for it."""

FLAPS = 3
"""Failures within FLAP_WINDOW from which on a service counts as flapping."""

FLAP_WINDOW = timedelta(hours=1)

_JUDGED_BY = ("incarnation", "forced_down", "departure", "observed_state")


class Finding(msgspec.Struct, frozen=True):
    """What a look found of one service: its stamps from now on, and the transition, if any."""

    service: Service
    absent_since: datetime | None
    held_since: datetime | None
    transition: Event | None = None


def record(engine: Engine, fencing_token: int, findings: Sequence[Finding]) -> list[Event]:
    """Record findings under the lease of that fencing_token; return the transitions, as recorded.

    Raises LeaseLost, and then nothing of the batch under way is recorded; StoreUnavailable.
    """
    happened: list[Event] = []
    for start in range(0, len(findings), BATCH):
        happened += write(engine, partial(_record, fencing_token, findings[start : start + BATCH]))
    return happened


def _record(fencing_token: int, findings: Sequence[Finding], connection: Connection) -> list[Event]:
    # Recording much takes longer than readers wait for the observer.
    keep_by_look(connection, fencing_token)
    current = _unchanged(connection, findings)
    transitions = [f.transition for f in current if f.transition is not None]
    failed = [event.uuid for event in transitions if is_failure(event) and event.uuid]
    earlier = failures(connection, failed, FLAP_WINDOW) if failed else {}
    if current:
        connection.execute(_KEEPING, [_row(finding, earlier) for finding in current])
    return append(connection, transitions)


def _unchanged(connection: Connection, findings: Sequence[Finding]) -> list[Finding]:
    """Lock the services by id (SQL-11) and return the findings that still hold."""
    query = (
        select(services.c.id, services.c.last_seen_up, *(services.c[name] for name in _JUDGED_BY))
        .where(services.c.id.in_([f.service.id for f in findings]), services.c.deleted == 0)
        .order_by(services.c.id)
        .with_for_update()
    )
    now = {id_: (stamp, tuple(rest)) for id_, stamp, *rest in connection.execute(query)}
    return [f for f in findings if f.service.id in now and _holds(f, *now[f.service.id])]


def _holds(finding: Finding, stamp: datetime | None, judged_by: tuple[Any, ...]) -> bool:
    """Tell whether a finding still holds of a row with that last report and those facts.

    A service may report faster than it is looked at, so a newer report alone takes nothing back:
    an absence from the backend, a hold and a force-down go on beside it. It does take back a
    transition that would be another one right after a report, as silence is.
    """
    service, transition = finding.service, finding.transition
    if judged_by != tuple(getattr(service, name) for name in _JUDGED_BY):
        return False
    if stamp == service.last_seen_up or transition is None:
        return True
    if transition.evidence is None:
        return False
    heard = msgspec.structs.replace(transition.evidence, report_age=0.0, unheard=0.0)
    return judge(heard).state == transition.after


def _row(finding: Finding, earlier: dict[str, list[Any]]) -> dict[str, Any]:
    """Return what is kept of a service; ``earlier`` failures are those of who failed now."""
    service, transition = finding.service, finding.transition
    state, since, until = service.observed_state, service.observed_since, service.flapping_until
    if transition is not None:
        state, since = transition.after, transition.at
        failed = [*earlier.get(service.uuid, ()), transition.at][-FLAPS:]
        if len(failed) == FLAPS:
            until = failed[0] + FLAP_WINDOW
    return {
        "of_id": service.id,
        "absent_since": finding.absent_since,
        "held_since": finding.held_since,
        "observed_state": state,
        "observed_since": since,
        "flapping_until": until,
    }


_KEEPING = (
    services.update()
    .where(services.c.id == bindparam("of_id"))
    .values({
        name: bindparam(name)
        for name in (
            "absent_since", "held_since", "observed_state", "observed_since", "flapping_until",
        )
    })
)  # fmt: skip


# -- the clock -----------------------------------------------------------------------------------


_AGED = (
    "created_at", "registered_at", "last_seen_up", "absent_since", "held_since", "observed_since",
)  # fmt: skip
"""The stamps that something is measured from."""


def clamp_future_stamps(engine: Engine, fencing_token: int) -> int:
    """Date what is stamped later than now, as the clock stepped back, to now (F-50).

    Now is no earlier than the latest mark: before an intake has marked by the clock that is back,
    nothing would show, once that is set right, that what was dated to it is not old. So while the
    mark lies ahead, this dates back to it, and has to be done again.
    Returns how many services there were. Raises LeaseLost, StoreUnavailable; what was done by then
    stays done.
    """
    with reading(engine) as connection:
        ahead = is_later(select(moment_of_report()).scalar_subquery())
        query = select(services.c.id).where(ahead, services.c.deleted == 0)
        ids = list(connection.scalars(query.order_by(services.c.id)))
    for start in range(0, len(ids), BATCH):
        write(engine, partial(_clamp_services, fencing_token, ids[start : start + BATCH]))
    write(engine, partial(_clamp_others, fencing_token))
    return len(ids)


def is_later(than: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a service has a stamp that is later than a moment."""
    return or_(*(services.c[name] > than for name in _AGED))


def _clamp_services(fencing_token: int, ids: Sequence[int], connection: Connection) -> None:
    fence(connection, fencing_token)
    chosen = services.c.id.in_(ids)
    found = (services.c.id, services.c.observed_state, *(services.c[name] for name in _AGED))
    rows = connection.execute(
        select(*found).where(chosen).order_by(services.c.id).with_for_update()
    ).all()
    now = register_now(connection)
    _keep_silence(connection, rows, now)
    dated = {name: case((services.c[name] > now, now), else_=services.c[name]) for name in _AGED}
    latest = case(
        (services.c.flapping_until > now + FLAP_WINDOW, now + FLAP_WINDOW),
        else_=services.c.flapping_until,
    )
    connection.execute(services.update().where(chosen).values(**dated, flapping_until=latest))


def _keep_silence(connection: Connection, rows: Sequence[Row[Any]], now: datetime) -> None:
    """Keep services silent that are recorded as down, for as long as they were by that record.

    Dated to now, their last report would raise the dead for service_down_time (F-50).
    """
    silent: dict[str, dict[int, float]] = {"last_seen_up": {}, "created_at": {}}
    for row in rows:
        name = "created_at" if row.last_seen_up is None else "last_seen_up"
        stamp = getattr(row, name)
        if row.observed_state == "down" and row.observed_since > max(now, stamp):
            silent[name][row.id] = (row.observed_since - stamp).total_seconds()
    longest = max((age for ages in silent.values() for age in ages.values()), default=None)
    if longest is None:
        return
    unheard = deciding(newest_unheard(connection), now, now, longest, at_least=0)
    one = services.update().where(services.c.id == bindparam("of_id"))
    for name, ages in silent.items():
        dated = [
            {"of_id": id_, "at": heard_for(iter(unheard), now, age)} for id_, age in ages.items()
        ]
        if dated:
            connection.execute(one.values({name: bindparam("at")}), dated)


def _clamp_others(fencing_token: int, connection: Connection) -> None:
    fence(connection, fencing_token)
    now = register_now(connection)
    stamps = (protections.c.since, outbox.c.created_at, services.c.deleted_at)
    of_sessions = (sessions.c.opened_at, sessions.c.ended_at, sessions.c.deaf_since)
    for stamp in (*stamps, *of_sessions, mirrors.c.answered_at, mirrors.c.answered_before):
        connection.execute(stamp.table.update().where(stamp > now).values({stamp.name: now}))
    clamp_future_tokens(connection, now)


# -- suspect signals -----------------------------------------------------------------------------


def current_protections(engine: Engine) -> list[Protection]:
    """Return which signals are suspect now, and where. Raises StoreUnavailable."""
    with reading(engine) as connection:
        return protections_of(connection)


def protections_of(connection: Connection) -> list[Protection]:
    """Return the same by a connection that is there."""
    return [
        Protection(row.topic, row.zone, Signal(row.signal), row.since, row.members, row.peak)
        for row in connection.execute(_PROTECTIONS)
    ]


ANY_PROTECTION = select(protections.c.id).exists()
"""Whether any signal is suspect."""

_PROTECTIONS = select(protections).order_by(protections.c.topic, protections.c.zone)


def conclude(
    engine: Engine,
    fencing_token: int,
    before: Sequence[Protection],
    after: Sequence[Protection],
    at: datetime,
    *,
    blind: bool = False,
    by: str | None = None,
) -> list[Event]:
    """End a look at every service: say that it was made, and keep what is suspect from now on.

    It keeps the lease too, with word of whether the observer is ``blind``. ``by`` names a holder
    whose driver is another one than that of the looks before: with it, all that was recorded before
    this look is forgotten, and every suspicion of theirs ends (F-52).
    Returns the events of it, as recorded. Raises LeaseLost, StoreUnavailable.
    """
    old = {(p.group, p.zone, p.signal): p for p in before}
    new = {(p.group, p.zone, p.signal): p for p in after}
    # One that begins anew in the same place is another one.
    kept = set() if by else old.keys() & new.keys()

    def work(connection: Connection) -> list[Event]:
        keep_by_look(connection, fencing_token, blind=blind, holder=by)
        if by:
            _forget(connection, at)
        for key in old.keys() - kept:
            connection.execute(protections.delete().where(_is(old[key])))
        for key, protection in new.items():
            if key not in kept:
                connection.execute(protections.insert().values(_columns(protection)))
            elif protection != old[key]:
                change = protections.update().where(_is(protection))
                now = {"members": protection.members, "peak": protection.peak}
                connection.execute(change.values(now))
        ended = [_event(old[k], EventKind.PROTECTION_OFF, at) for k in old.keys() - kept]
        begun = [_event(new[k], EventKind.PROTECTION_ON, at) for k in new.keys() - kept]
        return append(connection, ended + begun)

    # Most looks find nothing to keep, and then their word is all there is to write.
    return write(engine, work, is_single=not by and old == new)


def _forget(connection: Connection, before: datetime) -> None:
    """Forget every absence and hold that was noted before a moment."""
    stamps = [services.c[name] for name in ("absent_since", "held_since")]
    chosen = select(services.c.id).where(or_(*(stamp < before for stamp in stamps)))
    ids = list(connection.scalars(chosen.order_by(services.c.id).with_for_update()))
    cleared = {stamp.name: case((stamp < before, None), else_=stamp) for stamp in stamps}
    for start in range(0, len(ids), BATCH):
        some = services.c.id.in_(ids[start : start + BATCH])
        connection.execute(services.update().where(some).values(cleared))


def _is(protection: Protection) -> Any:
    columns = _columns(protection)
    return and_(*(protections.c[name] == columns[name] for name in ("topic", "zone", "signal")))


def _columns(protection: Protection) -> dict[str, Any]:
    return {
        "topic": protection.group,
        "zone": protection.zone,
        "signal": protection.signal.value,
        "since": protection.since,
        "members": protection.members,
        "peak": protection.peak,
    }


def _event(protection: Protection, kind: EventKind, at: datetime) -> Event:
    lasted = (at - protection.since).total_seconds() if kind is EventKind.PROTECTION_OFF else None
    return Event(
        at=at,
        kind=kind,
        group=protection.group,
        zone=protection.zone,
        seconds=lasted,
        detail=f"{protection.signal.value} of {protection.peak} members",
    )
