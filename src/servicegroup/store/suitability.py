"""Databases that cannot hold a register are refused in one sentence, before they do harm (F-12).

What is wrong with them would show late: with the first name or detail that has other letters, or
with the first commit.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from servicegroup.errors import ConfigError
from servicegroup.store.addresses import redacted
from servicegroup.store.database import reading


def require_suitable(engine: Engine) -> None:
    """Raise ConfigError, which names the remedy, unless the database suits; StoreUnavailable."""
    look = _WRONG.get(engine.dialect.name)
    if look is None:
        return
    with reading(engine) as connection:
        wrong = look(connection)
    if wrong:
        raise ConfigError(f"The database {redacted(engine.url)} {wrong}.")


def encoding(connection: Connection) -> str:
    """Return in which encoding PostgreSQL keeps a database's texts."""
    return str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())


def binlog_format(connection: Connection) -> str:
    """Return the format of MariaDB's binary log; empty where it keeps none."""
    is_kept, form = connection.exec_driver_sql("SELECT @@log_bin, @@binlog_format").one()
    return str(form) if is_kept else ""


def _wrong_with_postgresql(connection: Connection) -> str:
    kept = encoding(connection)
    if kept == "UTF8":
        return ""
    return (
        f"keeps its texts in {kept}, which lacks letters that names may have; make one with"
        " createdb --encoding UTF8 --template template0"
    )


def _wrong_with_mariadb(connection: Connection) -> str:
    if not getattr(connection.dialect, "is_mariadb", False):
        return "is MySQL, which lacks collations that names are compared by; use MariaDB"
    used = str(connection.exec_driver_sql("SELECT @@character_set_client").scalar_one())
    if used != "utf8mb4":
        return (
            f"is spoken to in {used}, which lacks letters that names may have; leave charset out of"
            " [database] connection"
        )
    if binlog_format(connection) == "STATEMENT":
        return (
            "keeps its binary log in statements, and refuses whatever is written at READ COMMITTED;"
            " set binlog_format to ROW or MIXED there"
        )
    return ""


_WRONG = {
    "postgresql": _wrong_with_postgresql,
    "mysql": _wrong_with_mariadb,
}
