"""Observation: who observes, what is suspect, what happened, and what the observer keeps."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

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
    """Add what an observer keeps of services, and its tables."""
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("services")}
    for column in (
        sa.Column("held_since", STAMP),
        sa.Column("observed_state", sa.String(4)),
        sa.Column("observed_since", STAMP),
        sa.Column("flapping_until", STAMP),
    ):
        if column.name not in present:
            op.add_column("services", column)
    op.create_table(
        "observer",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("renewed_at", STAMP, nullable=False),
        sa.Column("observed_at", STAMP),
        sa.Column("blind", sa.Boolean, nullable=False, server_default=sa.false()),
        **REPEATABLE,
    )
    op.create_table(
        "protections",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("topic", NAME, nullable=False),
        sa.Column("zone", NAME, nullable=False),
        sa.Column("signal", sa.String(16), nullable=False),
        sa.Column("since", STAMP, nullable=False),
        sa.Column("members", sa.Integer, nullable=False),
        sa.Column("peak", sa.Integer, nullable=False),
        **REPEATABLE,
    )
    _create_events()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", STAMP, nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("uuid", sa.String(36)),
        sa.Column("host", NAME),
        sa.Column("binary", NAME),
        sa.Column("topic", NAME),
        sa.Column("zone", NAME),
        sa.Column("incarnation", sa.Integer),
        sa.Column("before", sa.String(4)),
        sa.Column("after", sa.String(4)),
        sa.Column("reason", sa.String(24)),
        sa.Column("seconds", sa.Double),
        sa.Column("actor", NAME),
        sa.Column("detail", NAME),
        sa.Column("evidence", sa.Text),
        **REPEATABLE,
    )
    op.create_index("events_uuid_idx", "events", ["uuid", "id"], if_not_exists=True)
    log = op.create_table(
        "event_log",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("purged", sa.BigInteger, nullable=False),
        **REPEATABLE,
    )
    beginning = sa.select(sa.literal(1), sa.literal(0), sa.literal(0))
    unless_begun = beginning.where(~sa.exists(sa.select(log.c.id)))
    op.execute(log.insert().from_select(["id", "last", "purged"], unless_begun))
