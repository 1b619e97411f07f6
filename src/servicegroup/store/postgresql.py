"""PostgreSQL's sessions: their limits, and poolers that give each transaction another one (F-13).

Behind a pooler such as PgBouncer a session is shared: what is set in it, or prepared, is met by
whoever gets it next. So a new connection asks in one statement whether its session is its own, and
sets its limits there if so. Else they are set inside each transaction, in the message that begins
it, and nothing is prepared.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import PoolProxiedConnection

from servicegroup.store.addresses import hosts_of
from servicegroup.store.database import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from servicegroup.store.patience import PatientConnection
from servicegroup.store.servers import Servers

LIMITS = {
    # A paused process must not hold its row locks for ever.
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "lock_timeout": f"{LOCK_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT}s",
}
"""Settings of the server, for each session of ours or each transaction."""

FIRST_ANSWER = 5.0
"""Seconds the first statement may take: a pooler lets in whom it has no session for yet."""

_SHARED = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in LIMITS.items())
_settings = ", ".join(
    f"set_config('{name}', '{value}', pg_backend_pid() <> %(pid)s)"
    for name, value in {**LIMITS, "timezone": "UTC"}.items()
)
_OPENING = f"SELECT pg_backend_pid() <> %(pid)s, pg_postmaster_start_time(), {_settings}"


def prepare(engine: Engine) -> None:
    """Let the engine connect to whichever of its servers is right, and begin its transactions.

    It has isolation level AUTOCOMMIT: psycopg would begin transactions in a message of its own. A
    session that was used just now is not asked once more whether it is there.
    """
    servers = Servers(hosts_of(engine.url))

    def dial(
        _dialect: object, _record: object, _args: object, given: dict[str, Any]
    ) -> PatientConnection:
        # Of a database in SQL_ASCII we would get bytes for texts.
        session = servers.connect({"client_encoding": "utf8", **given})
        try:
            _open(session)
        except BaseException:
            session.close()
            raise
        return session

    event.listen(engine, "do_connect", dial)
    dialect: Any = engine.dialect
    dialect.do_begin = _begin
    ping = dialect.do_ping
    dialect.do_ping = lambda session: session.is_fresh or ping(session)


def is_shared(connection: Connection) -> bool:
    """Tell whether a pooler gives the connection's transactions sessions that others use too."""
    session: Any = connection.connection.dbapi_connection
    return bool(session.is_shared)


def _open(session: PatientConnection) -> None:
    """Ask whose the session is. The id of a server's process is what the server itself says.

    A pooler makes one up, by which its clients cancel their statements.
    """
    session.autocommit = True
    pid = session.info.backend_pid
    with session.patience(FIRST_ANSWER):
        (answer,) = session.execute(_OPENING, {"pid": pid}, prepare=False)
    session.is_shared, server = answer[:2]
    if session.is_shared:
        session.prepare_threshold = None
    else:
        session.server = server


def _begin(checkout: PoolProxiedConnection) -> None:
    """Begin a transaction as whoever has the connection wants it, or nothing.

    On the session itself: a statement by way of SQLAlchemy costs a report as much again, and so do
    its events, once there is one for any transaction.
    """
    session: Any = checkout.dbapi_connection
    wanted: Any = checkout  # which has what its session has, unless it was given its own
    begin = wanted.beginning
    if session.is_shared:
        begin = f"{begin or session.beginning}; {_SHARED}"
    if begin:
        session.execute(begin, prepare=False)
