"""What doctor says of the database itself: what it takes, what it keeps, and what is between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from servicegroup.cli.checks import Check
from servicegroup.explanation import duration

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_PRIMARY = "Name the server that takes writes in [database] connection, or all of them."

_WAITING = (
    "SELECT count(*), coalesce(extract(epoch FROM max(clock_timestamp() - state_change)), 0)"
    " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = current_user"
)


def database_checks(engine: Engine) -> Iterator[Check]:
    """Check a server of PostgreSQL or MariaDB. Raises ConfigError for one that does not suit."""
    from servicegroup.store.database import reading
    from servicegroup.store.suitability import require_suitable

    require_suitable(engine)
    if engine.dialect.name == "sqlite":
        return
    with reading(engine) as connection:
        postgresql = engine.dialect.name == "postgresql"
        yield from (_postgresql if postgresql else _mariadb)(connection)


def _postgresql(connection: Connection) -> Iterator[Check]:
    from servicegroup.store.postgresql import is_shared
    from servicegroup.store.suitability import encoding

    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        yield Check("FAIL", "writes", "This server is a standby: it takes no writes.", _PRIMARY)
    else:
        yield _commits(connection)
    yield Check("OK", "encoding", f"Texts are kept in {encoding(connection)}.")
    if is_shared(connection):
        finding = (
            "A pooler is between: limits are set in each transaction, and nothing is prepared."
        )
    else:
        finding = "None is between: limits are set once for each connection."
    yield Check("OK", "pooler", finding)


def _commits(connection: Connection) -> Check:
    """Check that no commit waits for a synchronous standby (F-31)."""
    waiting, longest = connection.exec_driver_sql(_WAITING).one()
    if waiting:
        finding = (
            f"{waiting} commits wait for a synchronous standby, the longest for"
            f" {duration(float(longest))}."
        )
        remedy = "Start a standby, or take it out of synchronous_standby_names."
        return Check("FAIL", "writes", finding, remedy)
    return Check("OK", "writes", "This server takes writes, and no commit waits for a standby.")


def _mariadb(connection: Connection) -> Iterator[Check]:
    from servicegroup.store.suitability import binlog_format

    if connection.exec_driver_sql("SELECT @@read_only").scalar_one():
        yield Check("FAIL", "writes", "This server is read-only: it takes no writes.", _PRIMARY)
    else:
        yield Check("OK", "writes", "This server takes writes.")
    form = binlog_format(connection)
    kept = f"The binary log is kept in format {form}." if form else "No binary log is kept."
    yield Check("OK", "binary log", kept)
