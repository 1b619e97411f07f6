"""Sessions: the latest one of each service, and the control planes that hold them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"

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
    """Add both tables, empty."""
    op.create_table(
        "sessions",
        sa.Column("service_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("incarnation", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("session", sa.String(36), nullable=False),
        sa.Column("plane", sa.String(36), nullable=False),
        sa.Column("opened_at", STAMP, nullable=False),
        sa.Column("ended_at", STAMP),
        sa.Column("cause", sa.String(16)),
        **REPEATABLE,
    )
    op.create_index("sessions_ended_idx", "sessions", ["ended_at"], if_not_exists=True)
    op.create_table(
        "planes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("started_at", STAMP, nullable=False),
        sa.Column("marked_at", STAMP, nullable=False),
        **REPEATABLE,
    )
