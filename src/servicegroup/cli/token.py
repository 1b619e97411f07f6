"""``servicegroup token``: who may call; in process, on the database of the configuration."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from servicegroup.cli.db import open_database
from servicegroup.cli.local import operator
from servicegroup.cli.output import Column, output_options, pick, print_data, print_items
from servicegroup.names import check_name

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servicegroup.store.tokens import IssuedToken

COLUMNS: list[Column[IssuedToken]] = [
    Column("Name", lambda token: token.name),
    Column("Role", lambda token: token.role),
    Column("Host", lambda token: token.host),
    Column("Created at", lambda token: token.created_at),
    Column("Expires at", lambda token: token.expires_at),
    Column("Id", lambda token: token.public_id),
]


@click.group()
def token() -> None:
    """Make, list and end tokens, in the database of the configuration.

    With auth_strategy = token, or keystone, control planes accept them within seconds.
    """


@token.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(["admin", "reader", "reporter"]),
              help="What it may do: everything, read, or report.")  # fmt: skip
@click.option("--host", help="The one host whose services a reporter may report for.")
@click.option("--expires", "days", type=click.IntRange(1, 36500), metavar="DAYS",
              help="Days it is valid.  [default: until it is revoked]")  # fmt: skip
@click.option("-f", "--format", "form", type=click.Choice(["value", "json"]), default="value",
              show_default=True, help="value is the token and nothing else.")  # fmt: skip
@click.pass_context
def create(
    ctx: click.Context, name: str, role: str, host: str | None, days: int | None, form: str
) -> None:
    """Make the token NAME and print it, this once: only a hash of it is kept."""
    from servicegroup.store import tokens

    if host is not None and role != "reporter":
        raise click.BadParameter("goes with --role reporter.", param_hint="--host")
    check_name("name", name)
    if host is not None:
        check_name("host", host)
    lifetime = timedelta(days=days) if days else None
    text = tokens.create(_database(ctx), name, role, host, lifetime, by=operator())
    _show(form, name, text)


@token.command()
@click.argument("name")
@click.option("--grace", type=click.IntRange(0), default=0, metavar="SECONDS", show_default=True,
              help="How much longer the old secret is valid.")  # fmt: skip
@click.option("-f", "--format", "form", type=click.Choice(["value", "json"]), default="value",
              show_default=True, help="value is the token and nothing else.")  # fmt: skip
@click.pass_context
def rotate(ctx: click.Context, name: str, grace: int, form: str) -> None:
    """Give the token NAME a new secret and print it, this once.

    It is valid for as long again as it was made for.
    """
    from servicegroup.store import tokens

    text = tokens.rotate(_database(ctx), name, timedelta(seconds=grace), operator())
    _show(form, name, text)


@token.command()
@click.argument("name")
@click.pass_context
def revoke(ctx: click.Context, name: str) -> None:
    """End the token NAME with all its secrets, within seconds."""
    from servicegroup.store import tokens

    tokens.revoke(_database(ctx), name, operator())
    click.echo(f"Token {name} is revoked.")


@token.command("list")
@output_options()
@click.pass_context
def list_(ctx: click.Context, names: tuple[str, ...], form: str) -> None:
    """List the tokens that are valid, without their secrets."""
    from servicegroup.store import tokens

    columns = pick(COLUMNS, names, form)
    print_items(form, columns, tokens.issued(_database(ctx)))


def _database(ctx: click.Context) -> Engine:
    from servicegroup.store import migrate

    engine = open_database(ctx)
    migrate.require_current(engine)
    return engine


def _show(form: str, name: str, text: str) -> None:
    if form == "json":
        data: dict[str, Any] = {"name": name, "token": text}
        print_data(form, data)
    else:
        click.echo(text)
