"""What agents hear from the backend when it takes no heartbeats of theirs (F-1)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"

NAME = sa.String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)


def upgrade() -> None:
    """Add the column, where it is not there yet."""
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("services")}
    if "backend_error" not in present:
        op.add_column("services", sa.Column("backend_error", NAME))


def downgrade() -> None:
    """Do nothing: an older release does not see the column."""
