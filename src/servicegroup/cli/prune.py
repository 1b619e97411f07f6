"""``servicegroup service prune``: ends the records of services that will not come back (F-14)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

import click

from servicegroup.bodies import PrunableReason, Prune, Pruned, PrunedService
from servicegroup.cli.output import Column, output_options, pick, print_items
from servicegroup.cli.params import Span, Text
from servicegroup.cli.register import open_register
from servicegroup.explanation import duration

COLUMNS: list[Column[PrunedService]] = [
    Column("ID", lambda s: s.uuid),
    Column("Binary", lambda s: s.binary),
    Column("Host", lambda s: s.host),
    Column("Group", lambda s: s.group),
    Column("Zone", lambda s: s.zone),
    Column("Reason", lambda s: s.reason),
    Column("Unseen", lambda s: s.unseen, lambda s: duration(s.unseen)),
]


@click.command()
@click.option("--reason", "reasons", multiple=True, required=True,
              type=click.Choice(get_args(PrunableReason)),
              help="Why they are down; repeatable.")  # fmt: skip
@click.option("--unseen", type=Span(), default="0s", metavar="TIME",
              help="For how long at least they have not reported, such as 2h or 7d.")  # fmt: skip
@click.option("--host", type=Text(), help="Only on this host.")
@click.option("--binary", type=Text(), help="Only this binary.")
@click.option("--group", type=Text(), help="Only in this group.")
@click.option("--zone", type=Text(), help="Only in this zone.")
@click.option("--dry-run", is_flag=True, help="Print which they are, and delete none.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@output_options()
@click.pass_context
def prune(
    ctx: click.Context,
    /,
    *,
    reasons: Sequence[PrunableReason],
    unseen: float,
    dry_run: bool,
    yes: bool,
    names: Sequence[str],
    form: str,
    **filters: str | None,
) -> None:
    """Delete all services that are down for a reason and not heard of for some time.

    Prints those that are deleted. What registers or reports meanwhile is left alone. A service that
    still reports is deleted by its name only: servicegroup service delete.

    \b
      servicegroup service prune --reason left --group worker --dry-run
      servicegroup service prune --reason exited --reason silent --unseen 7d --yes -f json
    """  # noqa: D301 - click wants the character
    columns = pick(COLUMNS, names, form)
    if not (dry_run or yes) and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on; add --yes, or --dry-run.")
    register = open_register(ctx)

    def ask(*, dry_run: bool) -> Pruned:
        return register.prune(Prune([*reasons], unseen=unseen, dry_run=dry_run, **filters))

    if not (dry_run or yes):
        count = len(ask(dry_run=True).services)
        click.confirm(f"Delete {count} services?", abort=True, err=True)
    print_items(form, columns, ask(dry_run=dry_run).services)
