"""Services that are mirrored from another control plane's API, and those APIs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"

STAMP = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
NAME = sa.String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)


def upgrade() -> None:
    """Add the table, and the column where it is not there yet."""
    op.create_table(
        "mirrors",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("endpoint", NAME, nullable=False),
        sa.Column("answered_at", STAMP, nullable=False),
        sa.Column("answered_before", STAMP, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("services")}
    if "mirror" not in present:
        op.add_column("services", sa.Column("mirror", NAME))


def downgrade() -> None:
    """Do nothing: an older release does not see them."""
