"""The schema's version: which one a database has, which one is needed, and the way up."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from servicegroup.errors import ConfigError
from servicegroup.store.database import reading

VERSION_TABLE = "servicegroup_version"
"""Named after the project, so that the tables can share a database with others."""


def config(engine: Engine | None = None) -> Config:
    """Return alembic's configuration of our migrations, for the engine's database if given."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["engine"] = engine
    return found


def upgrade(engine: Engine) -> None:
    """Bring the schema to the version this release needs; does nothing if it is there."""
    with reading(engine):  # says in one sentence when the database does not answer
        pass
    command.upgrade(config(engine), "head")


def current(engine: Engine) -> str | None:
    """Return the schema's version, or None for a database without our tables."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return context.get_current_revision()


def head() -> str:
    """Return the version this release needs."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def require_current(engine: Engine) -> None:
    """Raise ConfigError, naming the remedy, unless the schema is the one this release needs."""
    found = current(engine)
    if found != head():
        where = engine.url.render_as_string(hide_password=True)
        raise ConfigError(
            f"The schema of {where} is at version {found or 'none'} and this release needs"
            f" {head()}; run servicegroup db upgrade."
        )
