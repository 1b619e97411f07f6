"""Writes what came of questions in sessions: what changed, and each deafness with its event (F-40).

What is known belongs to a life of a service, and not to one session of it: who is deaf stays deaf
in the next session, and a newer life begins without. So a row names the life that was asked, and
what an older release writes in it says nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, update

from servicegroup.events import Event, EventKind
from servicegroup.store.reports import looked_up
from servicegroup.store.session_rows import locked
from servicegroup.store.tables import services, sessions

_READ = (
    sessions.c.session,
    sessions.c.incarnation,
    sessions.c.asked_incarnation,
    sessions.c.deaf_since,
    sessions.c.deaf_together,
)

TOGETHER = "with so many others that what they have in common is suspect"


class Heard(msgspec.Struct, frozen=True):
    """What came of the questions to a life, in the session that it was asked in.

    ``deaf_for`` is how many seconds ago the first of those was asked that it left unanswered, None
    for one that answers. ``together`` says that many are deaf with it.
    """

    uuid: str
    session: str
    deaf_for: float | None = None
    together: bool = False


class _Known(msgspec.Struct, frozen=True):
    """What the record says of a life."""

    deaf_since: datetime | None = None
    together: bool = False


def note(connection: Connection, heard: Sequence[Heard], now: datetime) -> list[Event]:
    """Write what changed where these sessions are still the latest; return the events of it.

    The events are the caller's to append: last in its transaction.
    """
    if not heard:
        return []
    c = services.c
    named = (c.deleted, c.id, c.incarnation, c.host, c.binary, c.topic, c.zone)
    found = looked_up(connection, [one.uuid for one in heard], *named)
    facts = {uuid: rest for uuid, deleted, *rest in found if not deleted}
    rows = locked(connection, (id_ for id_, *_ in facts.values()), *_READ)
    changes: list[dict[str, Any]] = []
    happened: list[Event] = []
    for one in heard:
        if one.uuid not in facts:
            continue
        id_, incarnation, *names = facts[one.uuid]
        row = rows.get(id_)
        if row is None or (row.session, row.incarnation) != (one.session, incarnation):
            continue
        was = _known(row)
        known = _next(was, one, now)
        if known == was:
            continue
        values = {"life": incarnation, "since": known.deaf_since, "many": known.together}
        changes.append({"id": id_, "own": one.session, **values})
        happened += _events(one.uuid, names, incarnation, was, known, now)
    if changes:
        connection.execute(_CHANGE, sorted(changes, key=lambda change: change["id"]))
    return happened


def _known(row: Any) -> _Known | None:
    """Return what the record says of the life that a row is of, None if nothing."""
    if row.asked_incarnation != row.incarnation:
        return None
    return _Known(row.deaf_since, bool(row.deaf_together))


def _next(was: _Known | None, heard: Heard, now: datetime) -> _Known:
    """Return what is known from now on; who was deaf already has been deaf since then."""
    if heard.deaf_for is None:
        return _Known()
    since = was and was.deaf_since
    return _Known(since or now - timedelta(seconds=heard.deaf_for), heard.together)


def _events(
    uuid: str,
    names: Sequence[str],
    incarnation: int,
    was: _Known | None,
    known: _Known,
    now: datetime,
) -> Iterable[Event]:
    """Yield the event of a life that turned deaf, or answers again."""
    since = None if was is None else was.deaf_since
    if (since is None) == (known.deaf_since is None):
        return
    host, binary, group, zone = names
    yield Event(
        at=now,
        kind=EventKind.ANSWERS if known.deaf_since is None else EventKind.DEAF,
        uuid=uuid,
        host=host,
        binary=binary,
        group=group,
        zone=zone,
        incarnation=incarnation,
        seconds=None if since is None else max(0.0, (now - since).total_seconds()),
        detail=TOGETHER if known.together else None,
    )


_CHANGE = (
    update(sessions)
    .where(sessions.c.service_id == bindparam("id"), sessions.c.session == bindparam("own"))
    .values(
        asked_incarnation=bindparam("life"),
        deaf_since=bindparam("since"),
        deaf_together=bindparam("many"),
    )
)
