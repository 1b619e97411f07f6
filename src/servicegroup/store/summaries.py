"""Summaries of all living services, in the few columns that show which need a closer look.

A service that was up at the last look and still reports cannot have changed its state by its
record alone. So the observer reads these columns of everybody, and whole records only of those
whose record may have made another state of it, or whose presence is missing.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, and_, bindparam, func, not_, or_, select, true

from servicegroup.liveness import MARK_INTERVAL, PATIENCE, Listening
from servicegroup.model import Limits
from servicegroup.store.database import reading
from servicegroup.store.findings import is_later
from servicegroup.store.marks import KEPT
from servicegroup.store.tables import services


class Summary(NamedTuple):
    """One service; ``may_have_changed`` says that its record may make another state of it.

    ``is_ahead`` says that a stamp of it is later than now.
    """

    id: int
    group: str
    zone: str
    host: str
    incarnation: int
    was_up: bool
    may_have_changed: bool
    is_ahead: bool


def summaries(
    engine: Engine, listening: Listening, limits: Limits, *, changed_only: bool
) -> list[Summary]:
    """Return the living services by id, all or those that may have changed.

    Raises StoreUnavailable.

    Where all are wanted there is a second signal, and a report matters as soon as it is late.
    """
    now = listening.now
    unheard = timedelta(seconds=listening.unheard_since(now - KEPT))
    silent = now - timedelta(seconds=limits.service_down_time)
    late = now - timedelta(seconds=PATIENCE * limits.report_interval)
    # Reports may arrive while this is asked, on a node whose clock the latest mark was by.
    soon = now + timedelta(seconds=1 + MARK_INTERVAL)
    moments = {"soon": soon, "late": silent if changed_only else late, "silent": silent - unheard}
    with reading(engine) as connection:
        return [Summary(*row) for row in connection.execute(_query(changed_only), moments)]


@cache
def _query(changed_only: bool) -> Select[Any]:
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
    query = select(*named, was_up, may_have_changed, ahead).where(c.deleted == 0).order_by(c.id)
    return query.where(may_have_changed) if changed_only else query
