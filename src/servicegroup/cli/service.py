"""``servicegroup service``: which services exist, which are up and why; an operator's edits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import msgspec

from servicegroup.cli.history import history
from servicegroup.cli.output import (
    Column,
    output_options,
    pick,
    print_item,
    print_items,
    printable,
    show,
    table,
)
from servicegroup.cli.params import Name, Text, named, one_service
from servicegroup.cli.prune import prune
from servicegroup.cli.register import open_register
from servicegroup.decoding import converted
from servicegroup.errors import Unavailable
from servicegroup.events import Protection
from servicegroup.explanation import duration, explain, suspicion
from servicegroup.model import BinaryVersions, Service, ServiceFilter

WATCH_INTERVAL = 2.0
"""Seconds between two looks of ``--watch``."""


# -- columns -------------------------------------------------------------------------------------


def _last_report(service: Service) -> str:
    evidence = service.judged.evidence
    return "never" if evidence.never_reported else f"{duration(evidence.report_age)} ago"


def _state(service: Service) -> str:
    mark = " flapping" if service.flapping_until else ""
    return f"{service.judged.state}{mark}"


def _report_age(service: Service) -> float | None:
    evidence = service.judged.evidence
    return None if evidence.never_reported else round(evidence.report_age, 3)


COLUMNS: list[Column[Service]] = [
    Column("ID", lambda s: s.uuid),
    Column("Binary", lambda s: s.binary),
    Column("Host", lambda s: s.host),
    Column("Group", lambda s: s.topic),
    Column("Zone", lambda s: s.zone),
    Column("Status", lambda s: s.status),
    Column("State", lambda s: s.judged.state, _state),
    Column("Reason", lambda s: s.judged.reason.value),
    Column("Last Report", _report_age, _last_report),
    Column("Why", lambda s: s.judged.sentence, usual=False),
    Column("Detail", lambda s: s.detail, usual=False),
    Column("Disabled Reason", lambda s: s.disabled_reason, usual=False),
    Column("Forced Down", lambda s: s.forced_down, usual=False),
    Column("Mirror", lambda s: s.mirror, usual=False),
    Column("Version", lambda s: s.version, usual=False),
    Column("Incarnation", lambda s: s.incarnation, usual=False),
    Column("Report Count", lambda s: s.report_count, usual=False),
    Column("Number", lambda s: s.id, usual=False),
    Column("Created At", lambda s: s.created_at, usual=False),
    Column("Updated At", lambda s: s.updated_at, usual=False),
    Column("Last Seen Up", lambda s: s.last_seen_up, usual=False),
    Column("Flapping Until", lambda s: s.flapping_until, usual=False),
]

_COLUMNS_HELP = (
    f"Columns for -c: {', '.join(column.heading for column in COLUMNS)}. For people, Last Report"
    " says how long ago; json, csv and value have the seconds."
)

SHOWN: list[Column[Service]] = [
    *COLUMNS,
    Column("Evidence", lambda s: msgspec.to_builtins(s.judged.evidence), usual=False),
    Column("Otherwise", lambda s: explain(s.judged).otherwise, usual=False),
]
"""What ``show`` knows beside the columns of a list."""

VERSIONS: list[Column[BinaryVersions]] = [
    Column("Binary", lambda v: v.binary),
    Column("Minimum", lambda v: v.minimum),
    Column("Maximum", lambda v: v.maximum),
    Column(
        "Services",
        lambda v: v.histogram,
        lambda v: ", ".join(f"{count} at {version}" for version, count in v.histogram.items()),
    ),
]


# -- commands ------------------------------------------------------------------------------------


@click.group()
def service() -> None:
    """List, explain and edit services.

    A service is named by its ID (the uuid, or in process the number) or by HOST and BINARY.
    """


service.add_command(history)
service.add_command(prune)


@service.command("list", epilog=_COLUMNS_HELP)
@click.option("--host", type=Text(), help="Only on this host.")
@click.option("--binary", type=Text(), help="Only this binary, say nova-compute.")
@click.option("--group", type=Text(), help="Only in this group, say compute.")
@click.option("--zone", type=Text(), help="Only in this zone.")
@click.option("--down", "state", flag_value="down", help="Only those that are down.")
@click.option("--up", "state", flag_value="up", help="Only those that are up.")
@click.option("--why", is_flag=True, help="Say in a sentence why each is up or down.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N services.")
@click.option("--watch", is_flag=True, help="Look again every 2 seconds, until Ctrl-C.")
@output_options("nova-manage")
@click.pass_context
def list_services(
    ctx: click.Context,
    /,
    *,
    state: str | None,
    why: bool,
    limit: int | None,
    watch: bool,
    names: Sequence[str],
    form: str,
    **filters: str | None,
) -> None:
    """List services with their verdicts."""
    if form == "nova-manage" and (names or why):
        raise click.UsageError("-f nova-manage has columns of its own; leave out -c and --why.")
    if watch and form != "table":
        raise click.UsageError(f"--watch draws a table; leave out -f {form}.")
    columns = pick(COLUMNS, names, form)
    if why:
        columns += [c for c in COLUMNS if c.key in ("why", "detail") and c not in columns]
    wanted = converted({**filters, "limit": limit}, ServiceFilter)
    register = open_register(ctx)

    def ask() -> list[Service]:
        return register.services(wanted, state=state)

    if watch:
        _watch(columns, ask, register.protections)
    elif form == "nova-manage":
        click.echo("\n".join(nova_manage(ask())))
    else:
        print_items(form, columns, ask())
    if form == "table":
        _warn(register.protections())


@service.command("show")
@one_service
@output_options()
@click.pass_context
def show_service(ctx: click.Context, name: Name, names: Sequence[str], form: str) -> None:
    """Show one service, why it is up or down, and what would change that."""
    columns = pick(SHOWN, names, form)
    register = open_register(ctx)
    found = named(register, name)
    if form == "table" and not names:
        columns += explained(found)
    print_item(form, columns, found)
    if form == "table":
        place = (found.topic, found.zone)
        _warn([p for p in register.protections() if (p.group, p.zone) == place])


@service.command()
@one_service
@click.pass_context
def enable(ctx: click.Context, name: Name) -> None:
    """Let new work go to a service again; clears the reason."""
    _edit(ctx, name, "is enabled", disabled=False)


@service.command()
@one_service
@click.option("--reason", type=Text(), help="Why, for others to read later.")
@click.pass_context
def disable(ctx: click.Context, name: Name, reason: str | None) -> None:
    """Keep new work away from a service; it stays up."""
    _edit(ctx, name, "is disabled", disabled=True, disabled_reason=reason)


@service.command("force-down")
@one_service
@click.option("--unset", is_flag=True, help="Let its signals decide again.")
@click.pass_context
def force_down(ctx: click.Context, name: Name, unset: bool) -> None:
    """Declare a service down whatever its signals say, for example once its host is fenced."""
    done = "is no longer forced down" if unset else "is forced down"
    _edit(ctx, name, done, forced_down=not unset)


@service.command()
@one_service
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@click.pass_context
def delete(ctx: click.Context, name: Name, yes: bool) -> None:
    """Delete a service; its process, if it runs, stays away until it is restarted."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on; add --yes to delete.")
    register = open_register(ctx)
    found = named(register, name)
    if not yes:
        question = f"Delete {_title(found)} ({found.uuid}), which is {found.judged.state}?"
        click.confirm(question, abort=True)
    register.delete(found.uuid)
    click.echo(f"{_title(found)} is deleted.")


@service.command("versions")
@click.option("--binary", "binaries", multiple=True, type=Text(), help="Only it; repeatable.")
@output_options()
@click.pass_context
def list_versions(
    ctx: click.Context, binaries: Sequence[str], names: Sequence[str], form: str
) -> None:
    """Show the range of versions of each binary; deleted and forced-down ones are left out."""
    columns = pick(VERSIONS, names, form)
    print_items(form, columns, open_register(ctx).version_counts(binaries))


# -- steps ---------------------------------------------------------------------------------------


def _title(found: Service) -> str:
    return printable(f"{found.binary} on host {found.host}")


def _edit(ctx: click.Context, name: Name, done: str, **changes: Any) -> None:
    register = open_register(ctx)
    found = register.update(named(register, name).uuid, **changes)
    verdict = found.judged
    click.echo(f"{_title(found)} {done}. It is {verdict.state}: {verdict.sentence}")


def explained(found: Service) -> list[Column[Service]]:
    """Return the lines that ``show`` prints for people below the columns."""
    explanation = explain(found.judged)
    lines = [("Why", explanation.sentence)]
    lines += [(fact.name.capitalize(), fact.value) for fact in explanation.facts]
    lines += [("Otherwise", explanation.otherwise)]
    if found.disabled_reason:
        lines.insert(0, ("Disabled Reason", found.disabled_reason))
    return [_line(name, value) for name, value in lines]


def _line(name: str, value: str) -> Column[Service]:
    return Column(name, lambda _: value)


def _warn(protections: Sequence[Protection]) -> None:
    """Say on standard error which signals are suspect, for the reader of the table."""
    for one in protections:
        click.secho(printable(suspicion(one)), fg="yellow", err=True)


def nova_manage(services: Sequence[Service]) -> Iterator[str]:
    """Return the lines of ``nova-manage service list``, which scripts cut by position."""
    row = "{:16} {:36} {:16} {:10} {:5} {:10}".format
    yield row("Binary", "Host", "Zone", "Status", "State", "Updated_At")
    for one in services:
        face = ":-)" if one.is_up else "XXX"
        updated = one.updated_at.isoformat(" ", "seconds") if one.updated_at else "None"
        names = (printable(text) for text in (one.binary, one.host, one.zone))
        yield row(*names, one.status, face, updated)


def _watch(
    columns: Sequence[Column[Service]],
    ask: Callable[[], list[Service]],
    protections: Callable[[], list[Protection]],
) -> None:
    """Draw what is asked again and again, through outages, until interrupted."""
    headings = [column.heading for column in columns]
    drawing = _draw_in_place if sys.stdout.isatty() else _draw_below

    def look() -> tuple[list[Service], str]:
        return ask(), " ".join(map(suspicion, protections()))

    first = look()  # a mistake in the question ends here, not in a loop

    def tables() -> Iterator[tuple[Any, str]]:
        services, trouble = first
        while True:
            rows = [[c.text(s) for c in columns] for s in services]
            yield table(headings, rows), printable(trouble)
            time.sleep(WATCH_INTERVAL)
            try:
                services, trouble = look()
            except Unavailable as error:
                trouble = f"Not current: {error}"

    try:
        drawing(tables())
    except KeyboardInterrupt:
        click.echo()


def _draw_below(tables: Iterator[tuple[Any, str]]) -> None:
    for drawn, trouble in tables:
        show(drawn)
        click.echo(trouble)
        sys.stdout.flush()


def _draw_in_place(tables: Iterator[tuple[Any, str]]) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text as Line

    with Live(auto_refresh=False) as live:
        for drawn, trouble in tables:
            live.update(Group(drawn, Line(trouble, "yellow")), refresh=True)
