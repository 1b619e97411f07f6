"""Runs the migrations on the engine that ``servicegroup.store.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from servicegroup.store.migrate import VERSION_TABLE
from servicegroup.store.tables import metadata
from servicegroup.store.upgrading import claims

engine = context.config.attributes["engine"]

with engine.connect().execution_options(writes=True) as connection:
    context.configure(
        connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_object=lambda _object, name, *_: name != claims.name,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()
