"""``servicegroup service history``: one service's availability over a time, and its events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click
import msgspec

from servicegroup.cli.events import COLUMNS as EVENT_COLUMNS
from servicegroup.cli.output import Column, output_options, pick, print_item, print_items
from servicegroup.cli.params import Moment, Name, named, one_service
from servicegroup.cli.register import open_register
from servicegroup.explanation import duration
from servicegroup.history import History


def _share(found: History) -> str:
    """Return the availability in per cent, rounded down: what failed is never 100."""
    if found.availability is None:
        return "unknown"
    return f"{int(found.availability * 100_000) / 1000:.3f} %"


COLUMNS: list[Column[History]] = [
    Column("UUID", lambda h: h.uuid),
    Column("Since", lambda h: h.since, lambda h: h.since.isoformat(" ", "seconds")),
    Column("Until", lambda h: h.until, lambda h: h.until.isoformat(" ", "seconds")),
    Column("Availability", lambda h: h.availability, _share),
    Column("Up Seconds", lambda h: h.up_seconds, lambda h: duration(h.up_seconds)),
    Column("Down Seconds", lambda h: h.down_seconds, lambda h: duration(h.down_seconds)),
    Column("Maintenance Seconds", lambda h: h.maintenance_seconds,
           lambda h: duration(h.maintenance_seconds)),
    Column("Flaps", lambda h: h.flaps),
    Column("Complete", lambda h: h.complete,
           lambda h: "yes" if h.complete else "no: events of this time are missing"),
    Column("Events", lambda h: msgspec.to_builtins(h.events), usual=False),
]  # fmt: skip

_TIMELINE = [
    c for c in EVENT_COLUMNS if c.key in ("id", "at", "kind", "reason", "before", "actor", "detail")
]


@click.command()
@one_service
@click.option("--since", type=Moment(), help="From then on: 2h, 30min, 7d, or a time in UTC."
              "  [default: a day before the end]")  # fmt: skip
@click.option("--until", type=Moment(), help="Until then.  [default: now]")
@output_options()
@click.pass_context
def history(
    ctx: click.Context,
    name: Name,
    since: datetime | None,
    until: datetime | None,
    names: Sequence[str],
    form: str,
) -> None:
    """Show what happened to a service and how available it was.

    Time in which it was disabled is maintenance and not counted; time of which nothing is known,
    neither.
    """
    columns = pick(COLUMNS, names, form)
    register = open_register(ctx)
    found = register.history(named(register, name).uuid, since, until)
    print_item(form, columns, found)
    if form == "table" and not names and found.events:
        click.echo()
        print_items(form, _TIMELINE, found.events)
