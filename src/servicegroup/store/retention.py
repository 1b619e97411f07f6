"""Which events are kept: those that services make by one count and age, operators' by another.

A service makes events as fast as it registers and leaves, and must not wash away what operators
did minutes ago (F-59). So there are two shares. ``event_log.purged`` is how far the events of
services are purged; what is kept below it is what operators did, and readers are told a gap for
the rest. Everything works in batches, along the ids, so that nobody waits long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection, Engine, or_, select

from servicegroup.events import KEEP, KEEP_OF_OPERATORS, OF_OPERATORS
from servicegroup.store.database import write
from servicegroup.store.events import standing_of
from servicegroup.store.marks import undoubted_now
from servicegroup.store.tables import event_log, events

MAX_EVENTS = 1_000_000
"""The newest events, of any kind, among which those of services are kept, however young."""

MAX_OF_OPERATORS = 100_000
"""Events of operators that are kept beyond these, however young they are."""

_PURGE_BATCH = 1_000

_OF_OPERATORS = sorted(kind.value for kind in OF_OPERATORS)


def purge(
    engine: Engine, keep: timedelta = KEEP, keep_of_operators: timedelta = KEEP_OF_OPERATORS
) -> int:
    """Remove events older than ``keep``, and those above MAX_EVENTS; return how many.

    Those of operators go later: from ``keep_of_operators`` on, if that is longer, and above
    MAX_OF_OPERATORS. Raises StoreUnavailable.
    """
    others = partial(_purge_others, keep)
    of_operators = partial(_purge_of_operators, max(keep, keep_of_operators))
    return _in_batches(engine, others) + _in_batches(engine, of_operators)


def _in_batches(engine: Engine, batch: Callable[[Connection], int | None]) -> int:
    """Run batches until one finds nothing that is due, and return how many events are removed."""
    total = 0
    while (removed := write(engine, batch)) is not None:
        total += removed
    return total


def _purge_others(keep: timedelta, connection: Connection) -> int | None:
    """Go on along the ids, past what operators did."""
    log = standing_of(connection)
    later = events.c.id > log.purged
    moment, first_kept = undoubted_now(connection), log.last - MAX_EVENTS
    since = moment - keep
    # An event that is later than now, of a clock that was ahead, hides no older ones (F-50).
    dated = or_(events.c.at <= moment, events.c.id <= first_kept)
    oldest = select(events.c.id, events.c.at).where(later, dated).order_by(events.c.id)
    rows = connection.execute(oldest.limit(_PURGE_BATCH))
    gone = [id_ for id_, at in rows if at < since or id_ <= first_kept]
    if not gone:
        return None
    theirs = events.c.kind.not_in(_OF_OPERATORS)
    removed = connection.execute(events.delete().where(later, events.c.id <= gone[-1], theirs))
    newer = event_log.update().where(event_log.c.id == 1, event_log.c.purged < gone[-1])
    connection.execute(newer.values(purged=gone[-1]))
    return removed.rowcount


def _purge_of_operators(keep: timedelta, connection: Connection) -> int | None:
    """Look only below what is purged of the others, where nothing else is left to pass over."""
    below = events.c.id <= standing_of(connection).purged
    surplus = select(events.c.id).where(below).order_by(events.c.id.desc())
    last_surplus = connection.scalar(surplus.offset(MAX_OF_OPERATORS).limit(1)) or 0
    moment = undoubted_now(connection)
    since = moment - keep
    dated = or_(events.c.at <= moment, events.c.id <= last_surplus)
    oldest = select(events.c.id, events.c.at).where(below, dated).order_by(events.c.id)
    rows = connection.execute(oldest.limit(_PURGE_BATCH))
    gone = [id_ for id_, at in rows if at < since or id_ <= last_surplus]
    if not gone:
        return None
    return connection.execute(events.delete().where(events.c.id <= gone[-1])).rowcount
