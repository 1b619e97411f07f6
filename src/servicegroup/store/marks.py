"""Who listened when: the latest mark of an intake, and the unheard times between marks.

A mark says that an intake could commit reports at that moment of the database's clock. It is
committed with the reports themselves, so a database or an intake that cannot commit reports
leaves no mark, and nobody is accused of the silence that follows (SQL-6, SQL-10).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    ScalarSelect,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from servicegroup.liveness import MARK_INTERVAL, MARK_TOLERANCE, Unheard
from servicegroup.moments import received, stamp_of
from servicegroup.store.clock import utcnow
from servicegroup.store.register_clock import Marker
from servicegroup.store.tables import listening, listening_gaps

KEPT = timedelta(days=30)
"""For how long unheard times are kept."""

DOUBT = timedelta(hours=1)
"""For how long after a leap of the clock nothing is removed for its age."""

PAGE = 100
"""Unheard times that are read at once; seldom do more of them matter."""

_LAST_ID = 2**31 - 1
_START, _END = listening_gaps.c.start_at, listening_gaps.c.end_at
_NEWEST = listening_gaps.c.id.desc()
_UNHEARD = (
    select(listening_gaps.c.id, _START, _END)
    .where(listening_gaps.c.id < bindparam("before"))
    .order_by(_NEWEST)
    .limit(PAGE)
)
_LATEST_END = select(_END).order_by(_NEWEST).limit(1).scalar_subquery()

# Made once, since each intake asks so each second.
_OWN = listening.c.id == 1
_LOCKED = select(listening.c.marked_at, utcnow(), _LATEST_END).where(_OWN).with_for_update()
_MARKED = listening.update().where(_OWN).values(marked_at=bindparam("latest"))


def latest_mark() -> ScalarSelect[Any]:
    """Return the latest mark as a subquery, to be read in the statement that reads the rows."""
    return select(listening.c.marked_at).where(_OWN).scalar_subquery()


def moment_of_report() -> ColumnElement[Any]:
    """Return what a report is stamped with: now, and no earlier than the latest mark.

    A clock that is behind for less than marks are apart leaves no mark, and once it is set right
    nothing would show that what it stamped is not old (F-50).
    """
    mark = latest_mark()
    return case((mark > utcnow(), mark), else_=utcnow())


def until_report(stamp: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a stamp of the row that a report is written to, dated to it where it is later.

    What was found before the report is not later than it, except by a clock that stepped back.
    """
    moment = moment_of_report()
    return case((stamp > moment, moment), else_=stamp)


class newest_page(FunctionElement[Any]):  # noqa: N801 - reads as the SQL function it is
    """The newest PAGE of unheard times as one value, where a database can tell them so; else NULL.

    It saves a statement of its own beside one that reads few rows.
    """

    inherit_cache = True
    name = "newest_page"
    type = LargeBinary()


@compiles(newest_page)
def _nothing(element: newest_page, compiler: Any, **kw: Any) -> str:
    return "NULL"


@compiles(newest_page, "postgresql")
def _as_sent(element: newest_page, compiler: Any, **kw: Any) -> str:
    columns = select(listening_gaps.c.id, _START, _END).order_by(_NEWEST)
    newest = columns.limit(literal_column(str(PAGE))).subquery().c
    times = func.timestamp_send(newest.start_at).concat(func.timestamp_send(newest.end_at))
    sent = func.int8send(cast(newest.id, BigInteger)).concat(times)
    nothing: ColumnElement[bytes] = literal_column("''::bytea")
    page = select(func.coalesce(func.string_agg(sent, nothing), nothing)).scalar_subquery()
    return str(compiler.process(page, **kw))


def newest_unheard(connection: Connection, page: bytes | None = None) -> Iterator[Unheard]:
    """Yield the unheard times of 30 days, the newest first, reading no more than is asked for.

    ``page`` is the ``newest_page`` where that is known already.
    """
    before = _LAST_ID
    while True:
        rows = _received(page) if page is not None else _asked(connection, before)
        page = None
        for before, start, end in rows:  # noqa: B007 - the next page goes on from the last one
            yield Unheard(start, end)
        if len(rows) < PAGE:
            return


def _asked(connection: Connection, before: int) -> Sequence[Any]:
    return connection.execute(_UNHEARD, {"before": before}).all()


def _received(page: bytes) -> Sequence[Any]:
    numbers = iter(received(page))
    return [
        (id_, stamp_of(a), stamp_of(b)) for id_, a, b in zip(numbers, numbers, numbers, strict=True)
    ]


def unheard_that_matters(
    connection: Connection,
    now: datetime,
    marked_at: datetime | None,
    silence: float,
    page: bytes | None = None,
) -> list[Unheard]:
    """Return the unheard times that can decide whether a service is silent; see ``deciding``."""
    return deciding(newest_unheard(connection, page), now, marked_at, silence)


def deciding(
    newest_first: Iterator[Unheard],
    now: datetime,
    marked_at: datetime | None,
    silence: float,
    at_least: int = PAGE,
) -> list[Unheard]:
    """Take ``at_least`` of them, and all that can decide whether a service is silent (F-57).

    ``silence`` is ``service_down_time`` in seconds. Going back from the latest mark, what lies
    before more than that much time in which somebody listened cannot decide it: a service whose
    stamp is older is silent in any case, and only its evidence would tell of them.
    """
    found: list[Unheard] = []
    heard, since = 0.0, min(now, marked_at or now)
    for one in newest_first:
        heard += max(0.0, (since - one.end).total_seconds())
        found.append(one)
        since = min(since, one.start)
        if heard > silence and len(found) >= at_least:
            break
    return found


def heard_for(newest_first: Iterator[Unheard], now: datetime, seconds: float) -> datetime:
    """Return the moment since which somebody listened for so many seconds."""
    left, moment = timedelta(seconds=seconds), now
    for unheard in newest_first:
        heard = max(timedelta(), moment - unheard.end)
        if heard >= left:
            break
        left -= heard
        moment = min(moment, unheard.start)
    return moment - left


def undoubted_now(connection: Connection) -> datetime:
    """Return the moment by which old rows may be removed: now, unless the clock leapt lately.

    A leap ahead and an outage look alike, a time without marks. Until an hour after one, what
    the clock said before it counts, also where a shorter one followed: a clock that is set right
    by then removed nothing (F-50).
    """
    now = select(utcnow(), latest_mark())
    moment: datetime
    moment, marked_at = connection.execute(now).one()
    lately = takewhile(lambda one: one.end > moment - DOUBT, newest_unheard(connection))
    return min([moment, marked_at or moment, *(one.start for one in lately)])


def register_now(connection: Connection) -> datetime:
    """Return what is stamped now (F-25, F-50); see ``moment_of_report``."""
    now: datetime = connection.execute(_REGISTER_NOW).scalar_one()
    return now


_REGISTER_NOW = select(moment_of_report())


def mark(connection: Connection, marker: Marker) -> None:
    """Say that this intake commits reports now, and store the unheard time that ends with it.

    The row lock makes marks of several intakes follow one another, so each time is stored once. One
    that begins within a mark's interval of the end of another is one with it: so few of them fit
    into the time that decides a verdict (F-57). ``marker`` knows whether a mark that is ahead is of
    another node's clock (F-25).
    """
    row = connection.execute(_LOCKED).one_or_none()
    if row is None:
        # The first mark there is: another intake's may be committed meanwhile, which will do.
        with suppress(IntegrityError), connection.begin_nested():
            connection.execute(listening.insert().values(id=1, marked_at=utcnow()))
        return
    marked_at, now, latest_end = row
    future = marked_at if marker.goes_by(marked_at, now) else now
    if marked_at > future or (latest_end is not None and latest_end > future):
        forget_the_future(connection, future)
        marked_at = future
    elif now - marked_at > timedelta(seconds=MARK_TOLERANCE):
        if latest_end is not None and marked_at - latest_end <= timedelta(seconds=MARK_INTERVAL):
            connection.execute(listening_gaps.update().where(latest_end == _END).values(end_at=now))
        else:
            connection.execute(listening_gaps.insert().values(start_at=marked_at, end_at=now))
        oldest = undoubted_now(connection) - KEPT
        connection.execute(listening_gaps.delete().where(oldest > _END))
    latest = max(marked_at, now)
    if latest != row.marked_at:
        connection.execute(_MARKED, {"latest": latest})
    marker.read(now, latest)


def forget_the_future(connection: Connection, now: datetime) -> None:
    """Let no unheard time end later than now: the clock was ahead then, and stepped back.

    Else nobody would count as silent until that time has come again (F-50).
    """
    connection.execute(listening_gaps.delete().where(now <= _START))
    connection.execute(listening_gaps.update().where(now < _END).values(end_at=now))
