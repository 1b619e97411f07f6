"""Uuids of services are compared exactly on MariaDB too, where capital letters were small ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"

COLLATION = "utf8mb4_nopad_bin"
UUID = mysql.VARCHAR(36, charset="utf8mb4", collation=COLLATION)


def upgrade() -> None:
    """Change how the uuid of services compares; what is in it stays."""
    connection = op.get_bind()
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    (found,) = [c for c in sa.inspect(connection).get_columns("services") if c["name"] == "uuid"]
    if getattr(found["type"], "collation", None) != COLLATION:
        op.alter_column("services", "uuid", existing_type=UUID, type_=UUID, existing_nullable=False)
