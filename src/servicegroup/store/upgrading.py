"""One upgrade of the schema at a time: a row that its process claims, and keeps claimed (F-61).

Not a lock of the database's own: MariaDB commits with every change of a schema, and what it locks
by name or by row is not known to the other nodes of a Galera cluster. The claim is a committed row
with one key, which is written once wherever it is tried. Who claims it says so every second; a
process that was killed loses it after EXPIRY.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from servicegroup.errors import StoreUnavailable
from servicegroup.store.clock import utcnow
from servicegroup.store.database import translated, write
from servicegroup.store.tables import Stamp

EXPIRY = 5.0
"""Seconds without a word of it after which an upgrade is taken for killed."""

_RENEWAL = 1.0
_PAUSE = 0.2
_TRIES = 20

claims = Table(
    "servicegroup_upgrade",
    MetaData(),  # it is no part of the schema: it is there before the first version
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(36), nullable=False),
    Column("renewed_at", Stamp, nullable=False),
    mysql_engine="InnoDB",
)


@contextmanager
def alone(
    engine: Engine, is_needed: Callable[[], bool], waiting: Callable[[], object]
) -> Iterator[bool]:
    """Give whether to upgrade: True, and nobody else does until the block ends.

    While another process upgrades, calls ``waiting`` once and waits until it is done, or was
    killed; False once ``is_needed`` says that there is nothing left to do. Raises StoreUnavailable.
    """
    holder = str(uuid4())
    has_waited = False
    while is_needed():
        if _claim(engine, holder):
            try:
                with _kept(engine, holder):
                    yield is_needed()
            finally:
                write(engine, lambda c: c.execute(claims.delete().where(claims.c.holder == holder)))
            return
        if not has_waited:
            has_waited = True
            waiting()
        time.sleep(_PAUSE)
    yield False


def _claim(engine: Engine, holder: str) -> bool:
    """Claim the row if it is nobody's, or of somebody who fell silent; tell whether it is ours."""
    _make_table(engine)

    def work(connection: Connection) -> None:
        now = connection.execute(select(utcnow())).scalar_one()
        expiry = timedelta(seconds=EXPIRY)
        heard = claims.c.renewed_at.between(now - expiry, now + expiry)
        connection.execute(claims.delete().where(~heard))
        connection.execute(claims.insert().values(id=1, holder=holder, renewed_at=now))

    try:
        write(engine, work)
    except IntegrityError:
        return False
    return True


def _make_table(engine: Engine) -> None:
    """Make the table of claims where it is missing, whoever else does at this moment.

    PostgreSQL refuses all but one of those that create the same table at once, whatever they
    create "if not exists"; the next attempt finds it.
    """
    with translated(engine):
        for attempt in range(_TRIES):
            try:
                with engine.connect().execution_options(writes=True) as c, c.begin():
                    claims.create(c, checkfirst=True)
            except DBAPIError:
                if attempt + 1 == _TRIES:
                    raise
                time.sleep(_PAUSE)
            else:
                return


@contextmanager
def _kept(engine: Engine, holder: str) -> Iterator[None]:
    """Renew the claim again and again until the block ends, and let no statement run without it.

    A process that stood still may have been replaced, and what it would go on with is done by now.
    """
    ended = threading.Event()
    kept_at = time.monotonic()
    own = claims.update().where(claims.c.holder == holder).values(renewed_at=utcnow())

    def renew() -> None:
        nonlocal kept_at
        while not ended.wait(_RENEWAL):
            asked_at = time.monotonic()
            with suppress(StoreUnavailable):  # SQLite has one writer: the upgrade itself
                if write(engine, lambda connection: connection.execute(own)).rowcount:
                    kept_at = asked_at

    def check(*_: object) -> None:
        if threading.current_thread() is not thread and time.monotonic() - kept_at > EXPIRY:
            raise StoreUnavailable(
                f"The upgrade stood still for more than {EXPIRY:g} s, and another process may have"
                " taken it over; run servicegroup db upgrade again."
            )

    thread = threading.Thread(target=renew, name="servicegroup-upgrade", daemon=True)
    thread.start()
    if engine.dialect.name != "sqlite":
        event.listen(engine, "before_cursor_execute", check)
    try:
        yield
    finally:
        if engine.dialect.name != "sqlite":
            event.remove(engine, "before_cursor_execute", check)
        ended.set()
        thread.join()
