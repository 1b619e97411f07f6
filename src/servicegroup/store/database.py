"""A connection to the database that behaves alike on PostgreSQL, MariaDB and SQLite.

Transactions are short and bounded, run at READ COMMITTED where it matters (SQL-16), try again what
a deadlock or a serialization failure undid (SQL-11), and translate whatever the database
raises into one error of ours.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from servicegroup.errors import ConfigError, StandbyMissing, StoreUnavailable, Unavailable
from servicegroup.store import galera, refusals
from servicegroup.store.addresses import parse, redacted
from servicegroup.store.attempts import Attempts

STATEMENT_TIMEOUT = 10
"""Seconds after which the database gives up on one of our statements, or on an idle transaction."""

LOCK_TIMEOUT = 5
"""Seconds after which it gives up waiting for a lock."""

CONNECTIONS = 20
"""Connections of a process for questions and changes; half of them are kept open."""

RESERVED = 10
"""Those of a control plane for reports, the observer and tokens, which lists never take (F-18)."""

T = TypeVar("T")

# MariaDB's words for a text that a column's character set has not: when it is compared (1267,
# 1271), converted (1977) and stored (1366).
_UNSUITABLE = {1267, 1271, 1366, 1977}

_TIMEOUTS: dict[str, dict[str, Any]] = {
    "postgresql": {
        # With TCP's own defaults a vanished server would hold a statement for many minutes.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": STATEMENT_TIMEOUT * 1000,
    },
    "mysql": {
        "connect_timeout": 5,
        "read_timeout": STATEMENT_TIMEOUT,
        "write_timeout": STATEMENT_TIMEOUT,
        # The comment is read by MariaDB alone; MySQL has no such limit.
        "init_command": f"SET SESSION innodb_lock_wait_timeout={LOCK_TIMEOUT},"
        f" lock_wait_timeout={LOCK_TIMEOUT}"
        f" /*M! , idle_transaction_timeout={STATEMENT_TIMEOUT} */",
    },
    "sqlite": {"timeout": 5},
}


_OURS = {"init_command", "sql_mode"}
"""What a URL for MariaDB may not have: our own limits are set by it, or would behave otherwise."""


def connect(url: str, connections: int = CONNECTIONS) -> Engine:
    """Return an engine for a SQLAlchemy database URL; opens no connection yet.

    It has so many ``connections`` at most; who finds none free for 5 s gets StoreUnavailable.
    Raises ConfigError for a URL that cannot be used.
    """
    try:
        parsed = parse(url)
        dialect = parsed.get_backend_name()
        if dialect not in _TIMEOUTS:
            raise ConfigError(
                f"[database] connection names {dialect}, which is not supported; use"
                " postgresql+psycopg://, mysql+pymysql:// or sqlite:///."
            )
        # Or a part of the password would pass for the name of the host or the database.
        if dialect != "sqlite" and url.count("@") > (parsed.username is not None):
            raise ConfigError(
                "[database] connection has an @ too many; write one in a password as %40."
            )
        if dialect == "mysql" and (named := _OURS & parsed.query.keys()):
            raise ConfigError(
                f"[database] connection may not have {', '.join(sorted(named))}, which would"
                " replace what every session of ours begins with; leave it out."
            )
        kept = connections // 2
        ours = {k: v for k, v in _TIMEOUTS[dialect].items() if k not in parsed.query}
        options: dict[str, Any] = {"connect_args": ours, "pool_timeout": 5}
        options |= {"pool_size": kept, "max_overflow": connections - kept}
        if dialect != "sqlite":
            options |= {"pool_pre_ping": True, "pool_recycle": 3600}
            own = dialect == "postgresql"  # begins its transactions itself
            options |= {"pool_use_lifo": own}  # so that the next one was used just now
            options |= {"isolation_level": "AUTOCOMMIT" if own else "READ COMMITTED"}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        # What the others say may quote a part of the password.
        known = isinstance(error, NoSuchModuleError | ImportError)
        raise ConfigError(
            f"[database] connection cannot be used ({error if known else 'it is no such URL'});"
            " write for example postgresql+psycopg://user:password@host/servicegroup."
        ) from None
    if dialect == "sqlite":
        _prepare_sqlite(engine)
    else:
        refusals.watch(engine)
    if dialect == "mysql":
        galera.prepare(engine)
    elif dialect == "postgresql":
        from servicegroup.store import postgresql  # with its client library

        postgresql.prepare(engine)
    return engine


def _prepare_sqlite(engine: Engine) -> None:
    """WAL so that readers and the writer do not wait for each other (SQL-18), durable commits."""

    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where on_begin says, not later
        _use_wal(connection, engine.dialect.loaded_dbapi.OperationalError)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


def _use_wal(connection: Any, refusal: type[Exception]) -> None:
    """Put a database into WAL mode, whoever else does at this moment.

    Of several that find a new file, SQLite refuses all but one: here it knows no timeout (F-61).
    """
    attempts = Attempts()
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except refusal as error:
            if not (refusals.is_locked(error) and attempts.pause()):
                raise
        else:
            return


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection for reading; raises StoreUnavailable when the database does not answer."""
    with translated(engine), engine.connect() as connection:
        # Each question is its own transaction: no round trips for BEGIN and ROLLBACK.
        _begin_with(connection, "")
        yield connection.execution_options(reads=True)


@contextmanager
def snapshot_read(engine: Engine) -> Iterator[Connection]:
    """Give a connection on which every question is answered as of the first one's moment.

    It holds a transaction, so ask without a pause. Raises StoreUnavailable.
    """
    with translated(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            _begin_with(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.begin()  # now: the first question may go past SQLAlchemy
        elif engine.dialect.name != "sqlite":  # where every transaction is so
            level = {"isolation_level": "REPEATABLE READ"}
            connection = connection.execution_options(reads=True, **level)
        yield connection


def _begin_with(connection: Connection, statement: str) -> None:
    """Let transactions of PostgreSQL begin so until the connection is given back."""
    checkout: Any = connection.connection
    checkout.beginning = statement


def write(
    engine: Engine,
    work: Callable[[Connection], T],
    deadline: float = math.inf,
    *,
    is_single: bool = False,
) -> T:
    """Run ``work`` in one transaction and commit it; one statement alone (``is_single``) is one.

    What a deadlock, a serialization failure or a lock wait undid is run again, see ``Attempts``, so
    ``work`` must not keep state. Work that ends after ``deadline``, seconds of
    ``time.monotonic``, is undone: whoever asked for it may have died since (SQL-7). Raises
    Unavailable then, and StoreUnavailable.
    """
    attempts = Attempts(deadline)
    with translated(engine):
        while True:
            try:
                with engine.connect().execution_options(writes=True) as connection:
                    if is_single:
                        _begin_with(connection, "")
                    with connection.begin():
                        done = work(connection)
                        if time.monotonic() > deadline:
                            raise Unavailable("It took too long to be true still; send it again.")
                    refusals.wrote(connection)
                    return done
            except DBAPIError as error:
                if not attempts.go_on(error):
                    raise


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Raise StoreUnavailable for whatever the database raises that is not our own fault."""
    try:
        yield
    except (DBAPIError, PoolTimeout, engine.dialect.loaded_dbapi.Error) as error:
        # The driver's own are of the pool, which tidies up a connection that is lost, or of
        # questions that are asked of the driver itself.
        if _is_our_fault(error, engine.dialect.loaded_dbapi):
            raise
        _free_frames(error)
        where = redacted(engine.url)
        original = getattr(error, "orig", None) or error
        cause = str(original).strip().splitlines()[0]
        if getattr(original, "awaits_standby", False):
            raise StandbyMissing(f"The database {where} cannot commit: {cause}.") from error
        refuses = isinstance(error, DBAPIError) and refusals.is_refusal(error)
        state = "takes no writes" if refuses else "does not answer"
        raise StoreUnavailable(f"The database {where} {state}: {cause}") from error


def _free_frames(error: BaseException | None) -> None:
    """Clear the frames an error came through: they and it hold each other, and what was lost.

    Only the collector ends such rings, and a control plane lets it run seldom. Where a database is
    away each attempt would leave a connection behind, with PyMySQL a TLS context of a megabyte.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def is_of_values(error: Exception) -> bool:
    """Return whether the database works, and cannot store or compare what it was given (F-2).

    Drivers find some of it themselves, before they ask: what no encoding has, and what is too
    large for any integer.
    """
    cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
    if isinstance(cause, UnicodeError | OverflowError):
        return True
    if not isinstance(cause, DBAPIError) or cause.connection_invalidated:
        return False
    code = next(iter(getattr(cause.orig, "args", ())), None)
    return isinstance(cause, DataError | IntegrityError) or code in _UNSUITABLE


def _is_our_fault(error: Exception, driver: Any) -> bool:
    """Tell a wrong statement from a database in trouble; a broken constraint is the caller's."""
    if getattr(error, "connection_invalidated", False):
        return False
    original = getattr(error, "orig", error)
    return isinstance(original, driver.IntegrityError | driver.DataError | driver.ProgrammingError)
