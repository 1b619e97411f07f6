"""A server that answers and may not write is a lost one (F-3, F-28).

A demoted primary, a server made read-only, and a Galera node without a quorum keep their
connections, and pings of them succeed. So the answer to a write is what tells: a connection that
heard such a refusal is thrown away without a word more, and with it every connection of this
process to that address, whichever engine holds it. They are thrown away once more when a write
succeeds again: what was opened in between may lead to the server that is lost.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import PoolProxiedConnection

REFUSED: dict[str, frozenset[str | int]] = {
    # read_only_sql_transaction
    "postgresql": frozenset({"25006"}),
    # No quorum, or a node that is not ready (1047), and what ends a COMMIT then (1180); shutting
    # down (1053); started or set read-only (1290, 1836), and a session that is (1792).
    "mysql": frozenset({1047, 1053, 1180, 1290, 1792, 1836}),
}
"""What servers say that answer and take no writes, by dialect."""

UNDONE = frozenset({"40001", "40P01", 1020, 1205, 1213, 1412})
"""What the database says of a transaction that it undid, and that may well succeed the next time.

PostgreSQL: serialization failure, deadlock. MariaDB: a row that changed since it was read (1020), a
lock that was waited for too long (1205), a deadlock, or a conflict with another node of a cluster
(1213), a table that was altered meanwhile (1412).
"""

_GENERATION, _IS_NEW = "servicegroup_generation", "servicegroup_is_new"


class _Address:
    """What is known of one address of a database: its connections have a generation each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refuses = False
        self.generation = 0

    def refused(self, generation: int) -> None:
        """Throw away all connections, unless the one that was refused is of an older generation."""
        with self._lock:
            if generation == self.generation:
                self.generation += 1
                self._refuses = True

    def wrote(self, info: dict[str, Any]) -> None:
        """Throw away all others if this is the first write since a refusal."""
        if not self._refuses:
            return
        with self._lock:
            if self._refuses and info.get(_GENERATION) == self.generation:
                self._refuses = False
                self.generation += 1
                info[_GENERATION] = self.generation


_lock = threading.Lock()
_addresses: WeakValueDictionary[str, _Address] = WeakValueDictionary()
_of_engine: WeakKeyDictionary[Engine, _Address] = WeakKeyDictionary()


def code_of(error: BaseException | None) -> str | int | None:
    """Return the code of an error: MariaDB's number, which tells more than a state, or a state."""
    number = next(iter(getattr(error, "args", ())), None)
    return number if isinstance(number, int) else getattr(error, "sqlstate", None)


def is_refusal(error: DBAPIError) -> bool:
    """Tell whether a server answered, and may not write."""
    code = code_of(error.orig)
    return any(code in codes for codes in REFUSED.values())


def was_undone(error: DBAPIError) -> bool:
    """Tell whether the database undid a transaction that may well succeed the next time."""
    return code_of(error.orig) in UNDONE or is_locked(error.orig)


def is_locked(error: BaseException | None) -> bool:
    """Tell whether SQLite gave up waiting for whoever else writes, in the words that it has."""
    return "database is locked" in str(error)


def watch(engine: Engine) -> None:
    """Let the engine, for PostgreSQL or MariaDB, keep no connection to a server that is lost."""
    with _lock:
        key = engine.url.render_as_string(hide_password=False)
        address = _addresses.setdefault(key, _Address())
        _of_engine[engine] = address
    codes = REFUSED[engine.dialect.name]

    def connecting(_dialect: object, record: Any, *_: object) -> None:
        record.info[_GENERATION] = address.generation
        record.info[_IS_NEW] = True

    def taken(_dbapi: object, record: Any, _proxy: object) -> None:
        is_new = record.info.pop(_IS_NEW, False)  # or two losses in a row would end in an error
        if not is_new and record.info.get(_GENERATION) != address.generation:
            raise DisconnectionError

    def failed(context: ExceptionContext) -> None:
        code = code_of(context.original_exception)
        if context.is_pre_ping and code in codes | UNDONE:
            context.is_disconnect = True
        elif code in codes and context.connection is not None:
            address.refused(context.connection.info.get(_GENERATION, -1))
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False  # by its generation, with all others

    event.listen(engine, "do_connect", connecting)
    event.listen(engine, "checkout", taken)
    event.listen(engine, "handle_error", failed)
    _forgive_rollbacks(engine)


def wrote(connection: Connection) -> None:
    """Take note that a transaction was committed on this connection."""
    address = _of_engine.get(connection.engine)
    if address is not None:
        address.wrote(connection.info)


def _forgive_rollbacks(engine: Engine) -> None:
    """Let no ROLLBACK fail, or what it hears would take the place of what happened before (F-28).

    A node of Galera answers it as it does any statement, without a quorum and after a conflict. The
    server undoes whatever belongs to a connection that ends.
    """
    dialect: Any = engine.dialect
    plain, errors = dialect.do_rollback, dialect.loaded_dbapi.Error

    def do_rollback(connection: PoolProxiedConnection) -> None:
        try:
            plain(connection)
        except errors as error:
            connection.invalidate(error)

    dialect.do_rollback = do_rollback
