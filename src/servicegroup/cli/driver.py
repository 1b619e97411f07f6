"""``servicegroup driver``: which drivers are in use, and whether a fleet may change them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from servicegroup.cli.output import Column, output_options, pick, print_items
from servicegroup.cli.register import open_register
from servicegroup.comparison import Compared, Disagreement
from servicegroup.driver_state import DriverState
from servicegroup.explanation import duration

NOT_READY = 1
"""Exit code of ``driver ready`` while a change of drivers would change a verdict."""

_STATES: list[Column[DriverState]] = [
    Column("Driver", lambda d: d.name),
    Column("Obeyed", lambda d: not d.shadow, lambda d: "shadow" if d.shadow else "obeyed"),
    Column("Own Signal", lambda d: d.separate_signal),
    Column("Pushes", lambda d: d.pushes),
    Column(
        "Crash To Absent",
        lambda d: d.detection_seconds,
        lambda d: "never" if d.detection_seconds is None else f"{duration(d.detection_seconds)}",
    ),
    Column("Crash To Silent", lambda d: d.silence_seconds, lambda d: duration(d.silence_seconds)),
]

DISAGREEMENTS: list[Column[Disagreement]] = [
    Column("ID", lambda d: d.service.uuid, usual=False),
    Column("Binary", lambda d: d.service.binary),
    Column("Host", lambda d: d.service.host),
    Column("Now", lambda d: d.service.judged.state),
    Column("Because", lambda d: d.service.judged.reason.value),
    Column("Would Be", lambda d: d.shadow.state),
    Column("For", lambda d: d.shadow.reason.value),
    Column("Since", lambda d: d.seconds, lambda d: duration(d.seconds)),
]


@click.group()
def driver() -> None:
    """List the drivers in use, and change them on a running fleet.

    \b
    1. Set servicegroup_shadow_driver to the new driver and restart the control planes. Agents
       join it by themselves within a report interval.
    2. Wait until `servicegroup driver ready` exits 0.
    3. Swap servicegroup_driver and servicegroup_shadow_driver; restart the control planes.
       Swapping them again rolls back.
    4. Empty servicegroup_shadow_driver when you are content.
    """  # noqa: D301 - click wants the character


@driver.command("list")
@output_options()
@click.pass_context
def list_drivers(ctx: click.Context, names: Sequence[str], form: str) -> None:
    """List the drivers in use, and for how long at most a crash stays unseen."""
    print_items(form, pick(_STATES, names, form), open_register(ctx).driver_states())


@driver.command("compare")
@output_options()
@click.pass_context
def compare(ctx: click.Context, names: Sequence[str], form: str) -> None:
    """List the services whose verdict the shadow driver would change, and since when.

    "Since" is known to a running control plane (--url); in process it begins now.
    """
    compared = open_register(ctx).compare()
    print_items(form, pick(DISAGREEMENTS, names, form), compared.disagreements)
    if form == "table":
        click.echo(summary(compared), err=True)


@driver.command("ready")
@click.pass_context
def ready(ctx: click.Context) -> None:
    """Exit 0 if obeying the shadow driver would change no verdict, else 1, and say so."""
    compared = open_register(ctx).compare()
    click.echo(summary(compared))
    if not compared.is_ready:
        ctx.exit(NOT_READY)


def summary(compared: Compared) -> str:
    """Return the comparison in one sentence."""
    change = f"obeying {compared.shadow} instead of {compared.driver}"
    if compared.is_ready:
        return f"Ready: {change} would change no verdict of {compared.services} services."
    return (
        f"Not ready: {change} would change {len(compared.disagreements)} of {compared.services}"
        f" services; {compared.shadow} cannot tell yet for {compared.undetermined}."
    )
