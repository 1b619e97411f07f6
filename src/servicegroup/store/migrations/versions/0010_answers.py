"""Whether services answer what they are asked in their sessions (F-40)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"

STAMP = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Add the columns, where they are not there yet."""
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("sessions")}
    for name, kind in (
        ("asked_incarnation", sa.Integer()),
        ("deaf_since", STAMP),
        ("deaf_together", sa.Boolean()),
    ):
        if name not in present:
            op.add_column("sessions", sa.Column(name, kind))


def downgrade() -> None:
    """Do nothing: an older release does not see the columns."""
