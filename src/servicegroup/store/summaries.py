"""Summaries of living services, in the few columns that show which need a closer look.

A service that was up at the last look and still reports cannot have changed its state by its
record alone. So the observer reads these columns of everybody whom it has to ask a backend about,
else of those only whose record may have made another state of it, or whose session is in doubt.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    and_,
    bindparam,
    false,
    func,
    not_,
    or_,
    select,
    true,
)

from servicegroup.liveness import MARK_INTERVAL, MARK_TOLERANCE, PATIENCE, Listening
from servicegroup.model import Limits
from servicegroup.sessions import Session
from servicegroup.store.database import reading
from servicegroup.store.direct import directly, in_parts
from servicegroup.store.findings import is_later
from servicegroup.store.marks import KEPT
from servicegroup.store.snapshots import AT_ONCE, SESSION_COLUMNS, beside_sessions
from servicegroup.store.tables import planes, services, sessions

_WIDTH = 9
"""Columns of a summary without its session."""


class Summary(NamedTuple):
    """One service; ``may_have_changed`` says that its record may make another state of it.

    ``is_ahead`` says that a stamp of it is later than now, and ``is_mirrored`` that it is no member
    of a backend. ``session`` is the latest of its life, where sessions are read.
    """

    id: int
    group: str
    zone: str
    host: str
    incarnation: int
    was_up: bool
    may_have_changed: bool
    is_ahead: bool
    is_mirrored: bool
    session: Session | None = None


def summaries(
    connection: Connection,
    listening: Listening,
    limits: Limits,
    *,
    changed_only: bool,
    with_sessions: bool = False,
) -> list[Summary]:
    """Return the living services by id, all or those that may have changed.

    ``with_sessions`` says that sessions are obeyed. Who holds one without a doubt has not changed
    by it. Where there is a second signal, a report matters as soon as it is late.
    """
    now = listening.now
    alone = changed_only and not with_sessions
    unheard = timedelta(seconds=listening.unheard_since(now - KEPT))
    silent = now - timedelta(seconds=limits.service_down_time)
    late = now - timedelta(seconds=PATIENCE * limits.report_interval)
    # Reports may arrive while this is asked, on a node whose clock the latest mark was by.
    soon = now + timedelta(seconds=1 + MARK_INTERVAL)
    moments = {"soon": soon, "late": silent if alone else late, "silent": silent - unheard}
    if changed_only and with_sessions:
        moments |= _marking(now)
    if with_sessions:
        rows = _rows(connection, _query(changed_only, with_sessions=True), moments)
        return [Summary(*(*row[:_WIDTH], _session(row[_WIDTH:]))) for row in rows]
    return [Summary(*row) for row in _rows(connection, _query(changed_only), moments)]


def open_sessions(
    engine: Engine, now: datetime
) -> tuple[set[int], dict[tuple[str, str], set[int]]]:
    """Return who lives, and of those whose session is open who is where, by group and zone.

    All are ids. Raises StoreUnavailable.
    """
    living: set[int] = set()
    holders: dict[tuple[str, str], set[int]] = {}
    with reading(engine) as connection:
        for one, group, zone, holds in _rows(connection, _holders(), _marking(now)):
            living.add(one)
            if holds:
                holders.setdefault((group, zone), set()).add(one)
    return living, holders


def _rows(
    connection: Connection, query: Select[Any], values: Mapping[str, Any]
) -> Iterator[Sequence[Any]]:
    """Yield what a query finds; to fetch each row by itself takes half as long again."""
    return itertools.chain.from_iterable(in_parts(connection, query, values, AT_ONCE))


def _marking(now: datetime) -> dict[str, datetime]:
    """Return between which marks a control plane marks at that moment; see ``sessions.marks``."""
    tolerance = timedelta(seconds=MARK_TOLERANCE)
    return {"oldest": now - tolerance, "newest": now + tolerance}


def _is_open() -> ColumnElement[bool]:
    marks = planes.c.marked_at.between(bindparam("oldest"), bindparam("newest"))
    is_open = and_(sessions.c.opened_at.is_not(None), sessions.c.ended_at.is_(None), marks)
    return func.coalesce(is_open, false())


@cache
def _holders() -> Select[Any]:
    c = services.c
    query = select(c.id, c.topic, c.zone, _is_open())
    return query.select_from(beside_sessions()).where(c.deleted == 0)


def _session(columns: Sequence[Any]) -> Session | None:
    return None if columns[0] is None else Session(*columns)


@cache
def _query(changed_only: bool, *, with_sessions: bool = False) -> Select[Any]:
    c = services.c
    stamp = func.coalesce(c.last_seen_up, c.created_at)
    intended = or_(c.forced_down == true(), c.departure.is_not(None))
    was_up = func.coalesce(c.observed_state, "") == "up"
    ahead = is_later(bindparam("soon"))
    may_have_changed = or_(
        c.observed_state.is_(None),
        c.absent_since.is_not(None),
        c.held_since.is_not(None),
        ahead,
        and_(was_up, or_(intended, stamp <= bindparam("late"))),
        and_(not_(was_up), not_(intended), stamp > bindparam("silent")),
    )
    named = (c.id, c.topic, c.zone, c.host, c.incarnation)
    query = select(*named, was_up, may_have_changed, ahead, c.mirror.is_not(None))
    if with_sessions:
        query = query.add_columns(*SESSION_COLUMNS).select_from(beside_sessions())
    query = directly(query.where(c.deleted == 0).order_by(c.id))
    if not changed_only:
        return query
    if not with_sessions:
        return query.where(may_have_changed)
    is_fine = and_(_is_open(), sessions.c.deaf_since.is_(None))
    return query.where(or_(may_have_changed, and_(sessions.c.opened_at.is_not(None), ~is_fine)))
