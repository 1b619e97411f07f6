"""The observer's lease: one row that says which process turns verdicts into events.

It has a fencing token that every taking draws anew, and whatever the observer writes is fenced by
it: a process that was paused, and meanwhile replaced, finds another one and writes nothing. A
counter would not do: a copy that is promoted without the last takings counts to their tokens again
(F-27).
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, Engine, ScalarSelect, bindparam, select
from sqlalchemy.exc import IntegrityError

from servicegroup.errors import ServiceGroupError
from servicegroup.events import Cursor, mark_of
from servicegroup.liveness import OBSERVER_TOLERANCE
from servicegroup.store.database import reading, write
from servicegroup.store.direct import directly, in_parts
from servicegroup.store.marks import moment_of_report, register_now
from servicegroup.store.tables import event_log, events, observer

_ROW = observer.c.id == 1

# Made once: with these lists begin, and looks end.
_STATUS = directly(
    select(observer.c.holder, observer.c.observed_at, moment_of_report(), event_log.c.last)
    .add_columns(events.c.at, events.c.kind, events.c.uuid)
    .outerjoin_from(observer, event_log, event_log.c.id == 1)
    .outerjoin(events, events.c.id == event_log.c.last)
    .where(_ROW)
)
_LOOKED = (
    observer.update()
    .where(_ROW, observer.c.number == bindparam("fencing_token"))
    .values(observed_at=moment_of_report(), renewed_at=moment_of_report())
)

_DRIVER_LENGTH = 12
"""Characters of a driver's name in the name of a holder; drivers that share them pass for one."""

_HOLDER_LENGTH = 36

_TOKENS = 2**31 - 2**20
"""How many fencing tokens there are: what the column holds, less what older releases count on."""


class LeaseLost(ServiceGroupError):
    """Another process observes now; nothing was written."""


def holder_for(driver: str) -> str:
    """Return a new name for an observer, which says whose answers it obeys (F-52)."""
    return f"{driver[:_DRIVER_LENGTH]}/{uuid4().hex}"[:_HOLDER_LENGTH]


def driver_of(holder: str | None) -> str | None:
    """Return whose answers a holder obeys, None where its release did not say so."""
    name, slash, _ = (holder or "").partition("/")
    return name if slash else None


def obeys(holder: str | None, driver: str) -> bool:
    """Tell whether what a holder recorded is, as far as is known, about answers of this driver."""
    return driver_of(holder) in (None, driver[:_DRIVER_LENGTH])


class Lease(msgspec.Struct, frozen=True):
    """Who observes, under which fencing token, and how many seconds ago it said so.

    ``blind`` says that its driver cannot tell of anybody whether they are present.
    """

    holder: str
    fencing_token: int
    age: float
    blind: bool

    @property
    def is_free(self) -> bool:
        """Whether its holder has been quiet for so long that anybody may take it.

        So it has been when the clock stepped back behind its word: else nobody could take the lease
        before that time has come again (SQL-5).
        """
        return abs(self.age) > OBSERVER_TOLERANCE


class ObserverStatus(msgspec.Struct, frozen=True):
    """Who looked at every service last, how many seconds ago, and the newest event: id and mark."""

    holder: str
    age: float
    last_event: int
    mark: str = ""

    @property
    def revision(self) -> str:
        """A text that changes whenever a state, an edit or who exists does (F-27)."""
        return f"{self.holder}.{Cursor(self.last_event, self.mark)}"

    @property
    def is_current(self) -> bool:
        """Whether an observer is at work, so that no state changes without an event."""
        return abs(self.age) <= OBSERVER_TOLERANCE


def latest_observation() -> ScalarSelect[Any]:
    """Return when the observer looked last, to be read in the statement that reads the rows."""
    return select(observer.c.observed_at).where(_ROW).scalar_subquery()


def latest_holder() -> ScalarSelect[Any]:
    """Return who that was, likewise: absences and holds of the record are its word."""
    return select(observer.c.holder).where(_ROW).scalar_subquery()


def observer_status(engine: Engine) -> ObserverStatus | None:
    """Return what the observer last said, or None where nobody ever observed."""
    with reading(engine) as connection:
        row = next((one for part in in_parts(connection, _STATUS, None, 2) for one in part), None)
    if row is None or row[1] is None:
        return None
    holder, observed_at, now, last, *marked = row
    mark = mark_of(*marked) if marked[0] else ""
    return ObserverStatus(holder, (now - observed_at).total_seconds(), last, mark)


def current(engine: Engine) -> Lease | None:
    """Return the lease, or None where nobody ever observed. Raises StoreUnavailable."""
    query = select(observer.c.holder, observer.c.number, observer.c.blind, observer.c.renewed_at)
    with reading(engine) as connection:
        row = connection.execute(query.add_columns(moment_of_report()).where(_ROW)).one_or_none()
    if row is None:
        return None
    holder, fencing_token, blind, renewed_at, now = row
    return Lease(holder, fencing_token, (now - renewed_at).total_seconds(), blind)


def take(engine: Engine, holder: str, seen: Lease | None) -> int:
    """Take the lease as it was seen, and return the new fencing token.

    A holder that obeys another driver is named only once it has concluded a look (``observed``):
    until then the record is about the former driver's answers. Raises LeaseLost where another
    process was faster, StoreUnavailable.
    """
    mine: dict[str, Any] = {"renewed_at": moment_of_report(), "blind": False}
    if seen is None or obeys(seen.holder, driver_of(holder) or ""):
        mine["holder"] = holder

    mine["number"] = fencing_token = _another_than(seen.fencing_token if seen else 0)

    def work(connection: Connection) -> int:
        if seen is None:
            connection.execute(observer.insert().values(id=1, **mine))
            return fencing_token
        unchanged = observer.update().where(_ROW, observer.c.number == seen.fencing_token)
        if not connection.execute(unchanged.values(mine)).rowcount:
            raise LeaseLost("Another process has begun to observe.")
        return fencing_token

    try:
        return write(engine, work)
    except IntegrityError:
        raise LeaseLost("Another process has begun to observe.") from None


def _another_than(token: int) -> int:
    """Draw a token that is not this one, and that no taking that was lost had either (F-27)."""
    drawn = 1 + secrets.randbelow(_TOKENS)
    return drawn if drawn != token else drawn + 1


def renew(engine: Engine, fencing_token: int, *, blind: bool) -> None:
    """Keep the lease. Raises LeaseLost, StoreUnavailable."""
    mine = observer.update().where(_ROW, observer.c.number == fencing_token)

    def work(connection: Connection) -> int:
        return connection.execute(mine.values(renewed_at=moment_of_report(), blind=blind)).rowcount

    if not write(engine, work, is_single=True):
        raise LeaseLost("Another process has begun to observe.")


def release(engine: Engine, fencing_token: int) -> None:
    """Let the next process take the lease at once; nothing happens if it is another's.

    Nobody holds it then, so that a look that is not over yet does not keep it.
    """
    free = observer.update().where(_ROW, observer.c.number == fencing_token)

    def work(connection: Connection) -> None:
        now = register_now(connection)
        gone = now - timedelta(seconds=2 * OBSERVER_TOLERANCE)
        nobody = _another_than(fencing_token)
        connection.execute(free.values(renewed_at=gone, observed_at=None, number=nobody))

    write(engine, work)


def fence(connection: Connection, fencing_token: int) -> None:
    """Raise LeaseLost unless this token holds the lease, now and until the transaction ends."""
    query = select(observer.c.number).where(_ROW).with_for_update()
    if connection.scalar(query) != fencing_token:
        raise LeaseLost("Another process observes now.")


def keep_by_look(
    connection: Connection,
    fencing_token: int,
    *,
    blind: bool | None = None,
    holder: str | None = None,
) -> None:
    """Say that the observer looks at every service, now, which keeps its lease and is its fence.

    With ``blind`` also whether it sees anybody, and with its name, as ``holder``, that the record
    is about answers of its driver alone. Raises LeaseLost unless this token holds the lease, now
    and until the transaction ends.
    """
    values: dict[str, Any] = {"fencing_token": fencing_token}
    if blind is not None:
        values["blind"] = blind
    if holder is not None:
        values["holder"] = holder
    if not connection.execute(_LOOKED, values).rowcount:
        raise LeaseLost("Another process observes now.")
