"""Reads of the log what one service's history is made of; ``servicegroup.history`` adds it up."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, select

from servicegroup.errors import InvalidInput
from servicegroup.events import EventFilter
from servicegroup.history import EDITS, TRANSITIONS, History, StateAt, history, state_before
from servicegroup.model import Service
from servicegroup.store.clock import utcnow
from servicegroup.store.database import reading
from servicegroup.store.events import kept_since, latest, read

MAX_EVENTS = 10_000
"""Events one history tells at most."""

USUAL_PERIOD = timedelta(days=1)


def read_history(
    engine: Engine, service: Service, since: datetime | None, until: datetime | None
) -> History:
    """Return a living service's history; of the last day if no times are given.

    It ends now at the latest, and begins when the service was created at the earliest. Raises
    InvalidInput for a time that ends before it begins, StoreUnavailable.
    """
    with reading(engine) as connection:
        now: datetime = connection.execute(select(utcnow())).scalar_one()
    end = min(until or now, now)
    if since is not None and since > end:
        raise InvalidInput(f"since {since} is later than until {end}; give an earlier time.")
    end = max(end, service.created_at)
    begin = max(since or end - USUAL_PERIOD, service.created_at)
    # What came later tells how the service stood when nothing else does.
    told = read(engine, EventFilter(uuid=service.uuid, since=begin), MAX_EVENTS).events
    earlier = [
        e for kinds in (TRANSITIONS, EDITS) for e in latest(engine, service.uuid, kinds, begin)
    ]
    began = state_before(told, earlier, StateAt(service.observed_state, service.disabled))
    kept = kept_since(engine)
    complete = kept is None or kept <= begin
    if len(told) == MAX_EVENTS and told[-1].at < end:
        end, complete = told[-1].at, False
    within = [event for event in told if event.at < end]
    return history(service.uuid, within, began, begin, end, complete=complete)
