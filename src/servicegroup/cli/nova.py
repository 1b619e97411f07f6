"""``servicegroup nova``: the same questions about a real Nova, read from its nova.conf.

It runs in the environment that Nova is installed in, and only reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from servicegroup.cli.doctor import COLUMNS as CHECKS
from servicegroup.cli.doctor import print_checks
from servicegroup.cli.driver import DISAGREEMENTS, NOT_READY, summary
from servicegroup.cli.main import EXIT_CODES
from servicegroup.cli.nova_cells import Row, names_of, said, unjudged, with_unjudged
from servicegroup.cli.nova_open import open_deployment as _open
from servicegroup.cli.nova_probe import RPC, probe
from servicegroup.cli.output import Column, output_options, pick, print_item, print_items, printable
from servicegroup.cli.params import Text
from servicegroup.cli.service import SHOWN, explained, nova_manage
from servicegroup.errors import NotFound, StoreUnavailable, Unavailable
from servicegroup.model import Service

if TYPE_CHECKING:
    from servicegroup.nova.deployment import Listing

_OURS = ("group", "detail", "incarnation", "flapping_until")
"""Columns of the register that Nova's records have nothing for."""

COLUMNS: list[Column[Row]] = [
    *(with_unjudged(column) for column in SHOWN if column.key not in _OURS),
    with_unjudged(RPC),
]


@click.group()
@click.option("--nova-config-file", "path", metavar="FILE", default="/etc/nova/nova.conf",
              show_default=True,
              help="Nova's configuration, as its own services read it.")  # fmt: skip
@click.pass_context
def nova(ctx: click.Context, path: str) -> None:
    """Ask a Nova that runs the layer which services are up, and why.

    Run it where nova-api runs: it reads Nova's configuration and databases, and asks the driver's
    backend. It changes nothing. Exit code 4 says that a cell did not answer.
    """
    ctx.obj = path


nova.add_command(probe)


@nova.command("list")
@click.option("--host", type=Text(), help="Only on this host.")
@click.option("--binary", type=Text(), help="Only this binary, say nova-compute.")
@click.option("--down", is_flag=True, help="Only those that are down.")
@output_options("nova-manage")
@click.pass_context
def list_services(
    ctx: click.Context,
    host: str | None,
    binary: str | None,
    down: bool,
    names: Sequence[str],
    form: str,
) -> None:
    """List Nova's services with their verdicts; -f nova-manage prints them as nova-manage did."""
    if form == "nova-manage" and names:
        raise click.UsageError("-f nova-manage has columns of its own; leave out -c.")
    columns = pick(COLUMNS, names, form)
    listing = _open(ctx).services()
    found = [
        one
        for one in listing.services
        if host in (None, one.host) and binary in (None, one.binary) and not (down and one.is_up)
    ]
    unknown = [] if down else [
        one
        for one in unjudged(listing.missing)
        if host in (None, one.host) and binary in (None, one.binary)
    ]  # fmt: skip
    if form == "nova-manage":  # which knows two faces only
        click.echo("\n".join(nova_manage(found)))
    else:
        rows: list[Row] = [*found, *unknown]
        print_items(form, columns, rows)
    _end(ctx, listing)


@nova.command("why")
@click.argument("host", type=Text())
@click.argument("binary", type=Text(), required=False)
@output_options()
@click.pass_context
def why(ctx: click.Context, host: str, binary: str | None, names: Sequence[str], form: str) -> None:
    """Explain why the services of HOST, or one BINARY there, are up or down."""
    columns = pick(COLUMNS, names, form)
    listing = _open(ctx).services()
    everybody: list[Row] = [*listing.services, *unjudged(listing.missing)]
    found = [one for one in everybody if one.host == host and binary in (None, one.binary)]
    if not found:
        what = f"{binary} on host {host}" if binary else f"service on host {host}"
        if listing.missing:
            raise StoreUnavailable(
                f"No cell that answers has a record of a {what}, and {names_of(listing.missing)}"
                " does not answer."
            )
        raise NotFound(f"Nova has no record of a {what}; see servicegroup nova list.")
    if form != "table":
        print_items(form, columns, found)
    for one in found if form == "table" else ():
        print_item(form, columns if names else [*columns, *_explained(one)], one)
    _end(ctx, listing)


@nova.command("compare")
@output_options()
@click.pass_context
def compare(ctx: click.Context, names: Sequence[str], form: str) -> None:
    """List the services whose verdict the shadow driver would change; exit 0 if there are none.

    Exit code 1 says that obeying it now would change a verdict, or that it does not know yet.
    """
    columns = [column for column in DISAGREEMENTS if column.key != "since"]
    deployment = _open(ctx)
    listing = deployment.services()
    compared = deployment.compare(listing.services)
    print_items(form, pick(columns, names, form), compared.disagreements)
    if listing.missing:
        missing = printable(names_of(listing.missing))
        click.echo(f"Not ready: nobody knows of the services of {missing}.", err=True)
    if not listing.missing or not compared.is_ready:
        click.echo(summary(compared), err=True)
    _end(ctx, listing)
    if not compared.is_ready:
        ctx.exit(NOT_READY)


@nova.command("doctor")
@output_options()
@click.pass_context
def doctor(ctx: click.Context, names: Sequence[str], form: str) -> None:
    """Check what nova.conf says, the backend, the clocks and what was left behind.

    The exit code is 1 if a check says FAIL; WARN is 0.
    """
    from servicegroup.cli.nova_checks import examine

    columns = pick(CHECKS, names, form)
    checks = examine(_open(ctx))
    if form == "table" and not names:
        found = list(print_checks(checks))
    else:
        found = list(checks)
        print_items(form, columns, found)
    ctx.exit(1 if any(check.result == "FAIL" for check in found) else 0)


def _explained(one: Row) -> list[Column[Row]]:
    """Return the lines below the columns; where nothing was judged, the cell is the explanation."""
    if isinstance(one, Service):
        return [with_unjudged(line) for line in explained(one)]
    why = f"{one.why} The host belongs to it, and its services cannot be judged."
    return [Column("Why", lambda _: why)]


def _end(ctx: click.Context, listing: Listing) -> None:
    """Say which cells did not answer, if any, and end accordingly."""
    for cell in listing.missing:
        click.secho(printable(f"{said(cell)} Its services are UNKNOWN."), fg="yellow", err=True)
    if listing.missing:
        ctx.exit(EXIT_CODES[Unavailable])
