"""``servicegroup db``: the schema's way up, and the way out for old tombstones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from servicegroup.cli.local import connect, sqlite_file
from servicegroup.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.config import Settings


@click.group()
def db() -> None:
    """Create, upgrade and clean the database of the configuration."""


@db.command()
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Create the schema, or bring it to the version this release needs."""
    from servicegroup.store import addresses, database, migrate

    engine = database.connect(_settings(ctx).connection)
    ctx.call_on_close(engine.dispose)
    make_directory(engine)
    migrate.upgrade(engine, lambda sentence: click.echo(sentence, err=True))
    click.echo(
        f"The schema of {addresses.redacted(engine.url)} is at version {migrate.current(engine)}."
    )


@db.command()
@click.argument("to_version", metavar="VERSION")
@click.pass_context
def downgrade(ctx: click.Context, to_version: str) -> None:
    """Let an older release use the database: one that needs VERSION of the schema.

    Nothing is removed. What the older release does not know stays as it is, and "db upgrade" leads
    back.
    """
    from servicegroup.store import addresses, migrate

    engine = open_database(ctx)
    migrate.downgrade(engine, to_version)
    click.echo(
        f"The schema of {addresses.redacted(engine.url)} is at version {migrate.current(engine)}."
    )


@db.command()
@click.pass_context
def version(ctx: click.Context) -> None:
    """Print the schema's version, and the one this release needs.

    The exit code is 1 when they differ.
    """
    from servicegroup.store import migrate

    engine = open_database(ctx)
    current, head = migrate.current(engine), migrate.head()
    click.echo(f"database: {current or 'none'}\nrelease: {head}")
    ctx.exit(0 if current == head else 1)


@db.command()
@click.option("--older-than", "days", type=int, metavar="DAYS", default=30, show_default=True,
              help="Days since the deletion, at least 30.")  # fmt: skip
@click.pass_context
def purge(ctx: click.Context, days: int) -> None:
    """Remove the tombstones of services that were deleted long ago.

    A process that still runs for one of them is then unknown and registers again.
    """
    from servicegroup.store import migrate
    from servicegroup.store.store import Store

    engine = open_database(ctx)
    migrate.require_current(engine)
    count = Store(engine).purge(days)
    click.echo(f"{count} services deleted more than {days} days ago are purged.")


def make_directory(engine: Engine) -> None:
    """Make the directory an SQLite database is to live in. Raises ConfigError."""
    path = sqlite_file(engine)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The directory {path.parent} of the database cannot be made ({error.strerror}); set"
            " STATE_DIRECTORY, or [database] connection."
        ) from error


def open_database(ctx: click.Context) -> Engine:
    """Return the configured database, closed with the command's context. Raises ConfigError."""
    engine = connect(_settings(ctx))
    ctx.call_on_close(engine.dispose)
    return engine


def _settings(ctx: click.Context) -> Settings:
    from servicegroup import config

    return config.load(ctx.find_root().params["config_file"])
