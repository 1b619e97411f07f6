"""The tables: Nova's ``services`` with our own columns, who listened when, and the outbox.

A report changes ``last_seen_up``, ``updated_at``, ``report_count`` and ``detail``; no index may
name any of them, or PostgreSQL loses its HOT updates (SQL-13).
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

Stamp = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
"""A naive UTC stamp; MariaDB would otherwise keep whole seconds."""

Name = String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)
"""A name compared exactly on every database: case and trailing blanks included."""

services = Table(
    "services",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uuid", String(36), nullable=False),
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
    Column("absent_since", Stamp),
    Column("deleted", Integer, nullable=False, server_default=text("0")),
    Column("deleted_at", Stamp),
    UniqueConstraint("host", "topic", "deleted", name="uniq_services0host0topic0deleted"),
    UniqueConstraint("host", "binary", "deleted", name="uniq_services0host0binary0deleted"),
    Index("services_uuid_idx", "uuid", unique=True),
    # The range of versions a binary runs is read off both ends of this index (spec S8).
    Index("services_version_idx", "deleted", "binary", "forced_down", "version"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

listening = Table(
    "listening",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("marked_at", Stamp, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)

listening_gaps = Table(
    "listening_gaps",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("start_at", Stamp, nullable=False),
    Column("end_at", Stamp, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
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
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
