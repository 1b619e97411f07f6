"""The register: services, who listened when, what backends still have to forget."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

STAMP = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
NAME = sa.String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)
# What MariaDB was interrupted in is half done: a migration can be run again.
REPEATABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "if_not_exists": True,
}


def upgrade() -> None:
    """Create the tables of the first release."""
    op.create_table(
        "services",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("binary", NAME, nullable=False),
        sa.Column("topic", NAME, nullable=False),
        sa.Column("zone", NAME, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("incarnation", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("report_count", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("disabled_reason", NAME),
        sa.Column("forced_down", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", STAMP, nullable=False),
        sa.Column("updated_at", STAMP),
        sa.Column("last_seen_up", STAMP),
        sa.Column("registered_at", STAMP, nullable=False),
        sa.Column("left_at", STAMP),
        sa.Column("departure", sa.String(16)),
        sa.Column("detail", NAME),
        sa.Column("absent_since", STAMP),
        sa.Column("deleted", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("deleted_at", STAMP),
        sa.UniqueConstraint("host", "topic", "deleted", name="uniq_services0host0topic0deleted"),
        sa.UniqueConstraint("host", "binary", "deleted", name="uniq_services0host0binary0deleted"),
        **REPEATABLE,
    )
    op.create_index("services_uuid_idx", "services", ["uuid"], unique=True, if_not_exists=True)
    op.create_index(
        "services_version_idx",
        "services",
        ["deleted", "binary", "forced_down", "version"],
        if_not_exists=True,
    )
    op.create_table(
        "listening",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("marked_at", STAMP, nullable=False),
        **REPEATABLE,
    )
    op.create_table(
        "listening_gaps",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("start_at", STAMP, nullable=False),
        sa.Column("end_at", STAMP, nullable=False),
        **REPEATABLE,
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("driver", NAME, nullable=False),
        sa.Column("topic", NAME, nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
        sa.Column("created_at", STAMP, nullable=False),
        **REPEATABLE,
    )
    if op.get_context().dialect.name == "postgresql":
        # Room on each page keeps reports HOT, and early vacuums keep the table small (SQL-13).
        op.execute(
            "ALTER TABLE services SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05,"
            " autovacuum_vacuum_cost_delay = 1)"
        )
