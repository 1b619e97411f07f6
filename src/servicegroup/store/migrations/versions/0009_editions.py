"""A token for each service, which PostgreSQL draws anew with whatever reports do not change."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# What a report changes is read each time, and has no part in it.
COLUMNS = (
    "id", "uuid", "host", "binary", "topic", "zone", "version", "incarnation", "disabled",
    "disabled_reason", "forced_down", "created_at", "registered_at", "left_at", "departure",
    "absent_since", "held_since", "observed_state", "observed_since", "flapping_until",
    "mirror", "deleted", "deleted_at",
)  # fmt: skip

_DRAWN = "floor(random() * 9007199254740992)::bigint"
_OLD, _NEW = (", ".join(f'{row}."{name}"' for name in COLUMNS) for row in ("OLD", "NEW"))
_FUNCTION = "CREATE OR REPLACE FUNCTION servicegroup_edition()"
_BODY = f"$$ BEGIN NEW.edition := {_DRAWN}; RETURN NEW; END $$"
_TRIGGER = "CREATE TRIGGER servicegroup_edition BEFORE UPDATE ON services FOR EACH ROW"

# Drawn and not counted: rows of a restored backup would count to the same tokens again (F-27).
POSTGRESQL = (
    f"ALTER TABLE services ALTER COLUMN edition SET DEFAULT {_DRAWN}",
    f"{_FUNCTION} RETURNS trigger LANGUAGE plpgsql AS {_BODY}",
    "DROP TRIGGER IF EXISTS servicegroup_edition ON services",
    f"{_TRIGGER} WHEN (({_OLD}) IS DISTINCT FROM ({_NEW})) EXECUTE FUNCTION servicegroup_edition()",
)


def upgrade() -> None:
    """Add the column, where it is not there yet, and on PostgreSQL what draws it."""
    bind = op.get_bind()
    present = {column["name"] for column in sa.inspect(bind).get_columns("services")}
    if "edition" not in present:
        # One for all that are there: no table is written anew for it.
        drawn = sa.text(str(secrets.randbelow(2**53)))
        op.add_column(
            "services", sa.Column("edition", sa.BigInteger, nullable=False, server_default=drawn)
        )
    if bind.dialect.name == "postgresql":
        for statement in POSTGRESQL:
            op.execute(statement)


def downgrade() -> None:
    """Do nothing: an older release does not see the column, and it is drawn for it too."""
