"""``servicegroup events``: what happened to services, and what happens as it happens."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime

import click
import msgspec

from servicegroup.cli.logs import on_stderr
from servicegroup.cli.output import (
    Column,
    output_options,
    pick,
    print_items,
    print_lines,
)
from servicegroup.cli.params import Moment, Place, Text, named, parsed
from servicegroup.cli.register import Register, open_register
from servicegroup.events import Cursor, Event, EventFilter, EventKind
from servicegroup.explanation import duration

NEWEST = 100
"""Events that are listed where nothing says from when on."""

AT_ONCE = 1000
"""Events asked for at once."""


_KINDS = {kind.value: kind for kind in EventKind}


def _before(event: Event) -> str:
    """Return what it ended, and how long that had lasted."""
    lasted = "" if event.seconds is None else f"for {duration(event.seconds)}"
    return f"{event.before or ''} {lasted}".strip()


COLUMNS: list[Column[Event]] = [
    Column("ID", lambda e: e.id),
    Column("At", lambda e: e.at, lambda e: e.at.isoformat(" ", "seconds")),
    Column("Kind", lambda e: e.kind.value),
    Column("Binary", lambda e: e.binary),
    Column("Host", lambda e: e.host),
    Column("Group", lambda e: e.group),
    Column("Zone", lambda e: e.zone),
    Column("Reason", lambda e: e.reason and e.reason.value),
    Column("Before", lambda e: e.before, _before),
    Column("Actor", lambda e: e.actor),
    Column("Detail", lambda e: e.detail),
    Column("After", lambda e: e.after, usual=False),
    Column("Seconds", lambda e: e.seconds, usual=False),
    Column("UUID", lambda e: e.uuid, usual=False),
    Column("Incarnation", lambda e: e.incarnation, usual=False),
    Column("Cursor", lambda e: str(e.cursor), usual=False),
    Column("Evidence", lambda e: msgspec.to_builtins(e.evidence), usual=False),
]

_COLUMNS_HELP = f"Columns for -c: {', '.join(column.heading for column in COLUMNS)}."


@click.command(epilog=_COLUMNS_HELP)
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--since", type=Moment(), help="Only since then: 2h, 30min, 7d, or a time in UTC.")
@click.option("--after", type=Place(), metavar="N", help="Only after the event N, or a cursor.")
@click.option("--service", type=Text(), metavar="ID | HOST BINARY", help="Only of this service.")
@click.option("--group", type=Text(), help="Only of this group, say compute.")
@click.option("--kind", type=click.Choice(list(_KINDS)),
              help="Only of this kind.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help=f"At most N: the newest, or the first since or after what is given. Else the"
              f" newest {NEWEST}; with --follow, those to come.")  # fmt: skip
@click.argument("binary", required=False, type=Text(), metavar="")
@output_options()
@click.pass_context
def events(
    ctx: click.Context,
    /,
    *,
    follow: bool,
    service: str | None,
    binary: str | None,
    kind: str | None,
    limit: int | None,
    since: datetime | None,
    after: Cursor | None,
    group: str | None,
    names: Sequence[str],
    form: str,
) -> None:
    """List what happened to services, oldest first, and follow what happens.

    With --follow an event is a line as it comes, with -f json an object a line.
    """
    if binary is not None and service is None:
        raise click.UsageError(f"{binary!r} is not expected here; write --service HOST BINARY.")
    if follow and limit is not None and (since or after is not None):
        raise click.UsageError("--follow shows everything from there on; leave out --limit.")
    columns = pick(COLUMNS, names, form)
    register = open_register(ctx)
    wanted = EventFilter(
        uuid=None if service is None else _uuid(register, service, binary),
        group=group,
        kind=None if kind is None else _KINDS[kind],
        since=since,
    ).at(after)
    if follow:
        _warn_on_stderr()
        print_lines(form, columns, _from_now_on(register, wanted, limit))
    else:
        print_items(form, columns, _until_now(register, wanted, limit))


def _uuid(register: Register, word: str, binary: str | None) -> str:
    """Return the uuid of a service, which may be deleted where the uuid itself is given."""
    name = parsed([word] if binary is None else [word, binary])
    return name if isinstance(name, str) else named(register, name).uuid


def _until_now(register: Register, wanted: EventFilter, limit: int | None) -> Iterator[Event]:
    """Give what there is, asked for page by page."""
    if limit is None and wanted.after is None and wanted.since is None:
        limit = NEWEST
    left = limit
    while left is None or left > 0:
        page = register.events(wanted, AT_ONCE if left is None else min(AT_ONCE, left))
        yield from page.events
        if page.next >= page.last:
            return
        wanted = wanted.at(page.place)
        left = None if left is None else left - len(page.events)


def _from_now_on(register: Register, wanted: EventFilter, limit: int | None) -> Iterator[Event]:
    """Give the newest ``limit`` events, or those there are since a time or an id, and go on."""
    from servicegroup.agent.watch import follow

    # A mistake in this first question ends the command; later ones are asked until answered.
    begins_now = limit is None and wanted.after is None and wanted.since is None
    page = register.events(wanted, limit or AT_ONCE)
    if not begins_now:
        yield from page.events
    wanted = wanted.at(page.place)  # the newest there are end with the last one
    yield from follow(lambda later, wait: register.events(later, AT_ONCE, wait), wanted)


def _warn_on_stderr() -> None:
    """Say on standard error when an outage begins and ends."""
    logging.getLogger("servicegroup.agent").addHandler(on_stderr("%(message)s"))
