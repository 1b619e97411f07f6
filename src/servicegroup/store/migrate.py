"""The schema's version: which one a database has, which one is needed, and the way up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from servicegroup.errors import ConfigError
from servicegroup.store.addresses import redacted
from servicegroup.store.database import reading, translated
from servicegroup.store.suitability import require_suitable
from servicegroup.store.upgrading import EXPIRY, alone

LOG = logging.getLogger(__name__)

VERSION_TABLE = "servicegroup_version"
"""Named after the project, so that the tables can share a database with others."""


def config(engine: Engine | None = None) -> Config:
    """Return alembic's configuration of our migrations, for the engine's database if given."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["engine"] = engine
    return found


def upgrade(engine: Engine, say: Callable[[str], object] = LOG.warning) -> None:
    """Bring the schema to the version this release needs; does nothing if it is there.

    Interrupted at any moment, it can be run again. Control planes of the release before go on
    meanwhile and afterwards. Of several processes that upgrade at once, one does and the others
    wait for it, and ``say`` so in a sentence (F-30, F-61). Raises ConfigError for a schema of a
    newer release or a database that does not suit (F-12), and StoreUnavailable, also where a lock
    is not to be had in time: then run it again.
    """
    require_suitable(engine)
    sentence = (
        f"Another process upgrades the schema of {redacted(engine.url)}; waiting until it is done,"
        f" or has been silent for {EXPIRY:g} s."
    )

    def is_needed() -> bool:
        found = current(engine)
        _refuse_newer(engine, found)
        return found != head()

    with alone(engine, is_needed, lambda: say(sentence)) as needed:
        if needed:
            with translated(engine):
                command.upgrade(config(engine), "head")


def downgrade(engine: Engine, version: str) -> None:
    """Let a release use the database that needs an older version of the schema.

    Nothing is removed: what that release does not know stays as it is, and ``upgrade`` leads back.
    Raises ConfigError for a version that is not below the database's.
    """
    found = current(engine)
    _refuse_newer(engine, found)
    older = [known for known in versions() if found is not None and known < found]
    if version not in older:
        raise ConfigError(
            f"The schema of {redacted(engine.url)} is at version {found or 'none'} and cannot step"
            f" back to {version!r}; older versions are: {', '.join(older) or 'none'}."
        )
    with translated(engine):
        command.stamp(config(engine), version)


def current(engine: Engine) -> str | None:
    """Return the schema's version, or None for a database without our tables."""
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return context.get_current_revision()


def head() -> str:
    """Return the version this release needs."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def versions() -> list[str]:
    """Return the versions this release knows, oldest first."""
    return sorted(s.revision for s in ScriptDirectory.from_config(config()).walk_revisions())


def require_current(engine: Engine) -> None:
    """Raise ConfigError, naming the remedy, unless the database suits, and its schema does."""
    require_suitable(engine)
    found = current(engine)
    _refuse_newer(engine, found)
    if found != head():
        raise ConfigError(
            f"The schema of {redacted(engine.url)} is at version {found or 'none'} and this release"
            f" needs {head()}; run servicegroup db upgrade."
        )


def _refuse_newer(engine: Engine, found: str | None) -> None:
    if found is not None and found not in versions():
        raise ConfigError(
            f"The schema of {redacted(engine.url)} is at version {found}, and this release knows"
            f" none above {head()}; use the release that made it, or let that one step back with"
            f" servicegroup db downgrade {head()}."
        )
