"""No gap lies in the future: what a clock that was ahead left there hid the dead (F-50)."""

from __future__ import annotations

from alembic import op
from sqlalchemy import select

from servicegroup.store.clock import utcnow
from servicegroup.store.marks import forget_the_future

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Throw away gaps that begin later than now, and let none end later."""
    connection = op.get_bind()
    forget_the_future(connection, connection.execute(select(utcnow())).scalar_one())


def downgrade() -> None:
    """Do nothing: an older release reads what is left."""
