"""The tables: Nova's ``services`` with our own columns, and what surrounds it, a table an idea.

A report changes ``last_seen_up``, ``updated_at``, ``report_count`` and ``detail``; no index may
name any of them, or PostgreSQL loses its HOT updates (SQL-13).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

_INNODB: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

Stamp = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
"""A naive UTC stamp; MariaDB would otherwise keep whole seconds."""

Name = String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)
"""A name compared exactly on every database: case and trailing blanks included."""

Uuid = String(36).with_variant(
    mysql.VARCHAR(36, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)
"""A uuid that is compared exactly: what speaks for a service names it as the record does (F-54)."""

services = Table(
    "services",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", Uuid, nullable=False),
    Column("host", Name, nullable=False),
    Column("binary", Name, nullable=False),
    Column("topic", Name, nullable=False),
    Column("zone", Name, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("incarnation", Integer, nullable=False, server_default=text("1")),
    Column("report_count", Integer, nullable=False, server_default=text("0")),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("disabled_reason", Name),
    Column("forced_down", Boolean, nullable=False, server_default=false()),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp),
    Column("last_seen_up", Stamp),
    Column("registered_at", Stamp, nullable=False),
    Column("left_at", Stamp),
    Column("departure", String(16)),
    Column("detail", Name),
    Column("backend_error", Name),
    Column("absent_since", Stamp),
    Column("held_since", Stamp),
    Column("observed_state", String(4)),
    Column("observed_since", Stamp),
    Column("flapping_until", Stamp),
    Column("mirror", Name),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
    Column("deleted_at", Stamp),
    # PostgreSQL draws it anew with every change of what no report changes; see ``memory``.
    Column("edition", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("host", "topic", "deleted", name="uniq_services0host0topic0deleted"),
    UniqueConstraint("host", "binary", "deleted", name="uniq_services0host0binary0deleted"),
    Index("services_uuid_idx", "uuid", unique=True),
    # The range of versions a binary runs is read off both ends of this index (spec S8).
    Index("services_version_idx", "deleted", "binary", "forced_down", "version"),
    **_INNODB,
)

listening = Table(
    "listening",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("marked_at", Stamp, nullable=False),
    **_INNODB,
)

# Unheard times: nobody listened then.
listening_gaps = Table(
    "listening_gaps",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("start_at", Stamp, nullable=False),
    Column("end_at", Stamp, nullable=False),
    **_INNODB,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("driver", Name, nullable=False),
    Column("topic", Name, nullable=False),
    Column("host", Name, nullable=False),
    Column("incarnation", Integer, nullable=False),
    Column("created_at", Stamp, nullable=False),
    **_INNODB,
)

observer = Table(
    "observer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(36), nullable=False),
    Column("number", Integer, nullable=False),
    Column("renewed_at", Stamp, nullable=False),
    Column("observed_at", Stamp),
    Column("blind", Boolean, nullable=False, server_default=false()),
    **_INNODB,
)

protections = Table(
    "protections",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("topic", Name, nullable=False),
    Column("zone", Name, nullable=False),
    Column("signal", String(16), nullable=False),
    Column("since", Stamp, nullable=False),
    Column("members", Integer, nullable=False),
    Column("peak", Integer, nullable=False),
    **_INNODB,
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Stamp, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("uuid", String(36)),
    Column("host", Name),
    Column("binary", Name),
    Column("topic", Name),
    Column("zone", Name),
    Column("incarnation", Integer),
    Column("before", String(4)),
    Column("after", String(4)),
    Column("reason", String(24)),
    Column("seconds", Double),
    Column("actor", Name),
    Column("detail", Name),
    Column("evidence", Text),
    # One service's history, without the rest of the fleet's.
    Index("events_uuid_idx", "uuid", "id"),
    **_INNODB,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", Name, nullable=False),
    Column("number", Integer, nullable=False),
    Column("public_id", String(16), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("host", Name),
    Column("created_at", Stamp, nullable=False),
    Column("expires_at", Stamp),
    UniqueConstraint("name", "number", name="uniq_tokens0name0number"),
    **_INNODB,
)

# The latest session of each service: it and its order within the life are what a write names.
sessions = Table(
    "sessions",
    metadata,
    Column("service_id", Integer, primary_key=True, autoincrement=False),
    Column("incarnation", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("session", String(36), nullable=False),
    Column("plane", String(36), nullable=False),
    Column("opened_at", Stamp, nullable=False),
    Column("ended_at", Stamp),
    Column("cause", String(16)),
    # Of which life it is known whether it answers, since when it does not, and with many others.
    Column("asked_incarnation", Integer),
    Column("deaf_since", Stamp),
    Column("deaf_together", Boolean),
    # Whoever observes asks for what ended since it last asked.
    Index("sessions_ended_idx", "ended_at"),
    **_INNODB,
)

planes = Table(
    "planes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Name, nullable=False),
    Column("started_at", Stamp, nullable=False),
    Column("marked_at", Stamp, nullable=False),
    **_INNODB,
)

# The APIs that services are mirrored from, and when each answered last.
mirrors = Table(
    "mirrors",
    metadata,
    Column("name", Name, primary_key=True),
    Column("endpoint", Name, nullable=False),
    Column("answered_at", Stamp, nullable=False),
    Column("answered_before", Stamp, nullable=False),
    **_INNODB,
)

event_log = Table(
    "event_log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("purged", BigInteger, nullable=False),
    **_INNODB,
)
