"""``servicegroup nova probe``: who is up and answers no RPC; and what the others say of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from servicegroup.cli.checks import Check, abbreviated
from servicegroup.cli.nova_cells import said
from servicegroup.cli.nova_open import open_deployment
from servicegroup.cli.output import (
    Column,
    output_options,
    pick,
    print_items,
    print_lines,
    printable,
)
from servicegroup.cli.params import Text
from servicegroup.errors import ConfigError, StoreUnavailable, Unavailable
from servicegroup.explanation import duration
from servicegroup.model import Reason, Service

if TYPE_CHECKING:
    from servicegroup.nova.deployment import Deployment, Listing
    from servicegroup.nova.rpc.probe import Result
    from servicegroup.nova.rpc.results import Told

ANSWERS, DEAF, NOT_ASKED = "answers", "deaf", "not asked"

FOUND_DEAF = 1
"""Exit code of a probe that found somebody deaf."""


# -- columns -------------------------------------------------------------------------------------


def _rpc(service: Service) -> str:
    rpc = service.judged.evidence.rpc
    return NOT_ASKED if rpc is None else rpc.state.value


def _rpc_text(service: Service) -> str:
    rpc = service.judged.evidence.rpc
    if rpc is None or rpc.deaf_for is None:
        return _rpc(service)
    return f"{rpc.state} for {duration(rpc.deaf_for)}"


RPC: Column[Service] = Column("RPC", _rpc, _rpc_text)
"""What ``list`` and ``why`` say of a service's answers to RPC."""


def _state(result: Result) -> str:
    if result.answer is None:
        return NOT_ASKED
    return ANSWERS if result.answer.deaf_since is None else DEAF


def _since(result: Result) -> datetime | None:
    since = None if result.answer is None else result.answer.deaf_since
    return None if since is None else datetime.fromtimestamp(int(since), UTC).replace(tzinfo=None)


COLUMNS: list[Column[Result]] = [
    Column("Binary", lambda r: r.service.binary),
    Column("Host", lambda r: r.service.host),
    Column("RPC", _state),
    Column("Took", lambda r: r.answer and r.answer.took,
           lambda r: f"{r.answer.took * 1000:.0f} ms" if r.answer and r.answer.took else ""),
    Column("Deaf Since", _since),
    Column("Detail", lambda r: r.answer.detail if r.answer else r.why),
]  # fmt: skip


# -- command -------------------------------------------------------------------------------------


@click.command("probe")
@click.option("--host", type=Text(), help="Only this host.")
@click.option("--binary", type=Text(), help="Only this binary, say nova-compute.")
@click.option("--every", type=click.FloatRange(min=5), metavar="SECONDS",
              help="A round in so many seconds, until stopped; prints changes.")  # fmt: skip
@output_options()
@click.pass_context
def probe(
    ctx: click.Context,
    host: str | None,
    binary: str | None,
    every: float | None,
    names: Sequence[str],
    form: str,
) -> None:
    """Ask every service that is up whether it answers over RPC, and keep what is found.

    All processes of this host judge by that: a service that does not answer twice is deaf. Exit
    code 1 if one is, 4 if a broker or a cell did not answer.
    """
    columns = pick(COLUMNS, names, form)
    deployment = open_deployment(ctx)
    keep = deployment.layer.rpc.settings.keep
    if every is not None and 2 * every > keep:
        raise ConfigError(
            f"--every {every:g} is too rare for [rpc] keep = {keep:g}: what was found would be"
            f" forgotten before the next round; set keep to {2 * every:g} or more."
        )

    def wanted(listing: Listing) -> list[Service]:
        return [
            one
            for one in listing.services
            if host in (None, one.host) and binary in (None, one.binary)
        ]

    if every is not None:
        print_lines(form, columns, _changes(deployment, wanted, every))
        return
    ctx.exit(_once(deployment, wanted, columns, form))


def _once(
    deployment: Deployment,
    wanted: Callable[[Listing], list[Service]],
    columns: Sequence[Column[Result]],
    form: str,
) -> int:
    """Probe once, print everything, and return the exit code."""
    from servicegroup.nova.rpc.probe import Prober

    listing = deployment.services()
    found = sorted(
        Prober(deployment).probe(listing, wanted(listing)),
        key=lambda one: (one.service.binary, one.service.host),
    )
    print_items(form, columns, found)
    count = Counter(map(_state, found))
    summary = f"{count[ANSWERS]} answer, {count[DEAF]} are deaf, {count[NOT_ASKED]} were not asked."
    click.echo(summary, err=True)
    for cell in listing.missing:
        not_asked = printable(f"{said(cell)} Its services were not asked.")
        click.secho(not_asked, fg="yellow", err=True)
    if count[DEAF]:
        return FOUND_DEAF
    from servicegroup.cli.main import EXIT_CODES

    is_whole = not listing.missing and not any(_is_missing(one) for one in found)
    return 0 if is_whole else EXIT_CODES[Unavailable]


def _is_missing(result: Result) -> bool:
    """Tell whether a service was to be asked, and something stood in the way."""
    from servicegroup.nova.rpc.probe import is_asked

    return result.answer is None and is_asked(result.service)


def _changes(
    deployment: Deployment, wanted: Callable[[Listing], list[Service]], every: float
) -> Iterator[Result]:
    """Probe for ever, and return who becomes deaf and who answers again."""
    from servicegroup.nova.rpc.probe import Prober

    prober = Prober(deployment)
    trouble = ""
    while True:
        begun = time.monotonic()
        heard = ""
        try:
            listing = deployment.services()
            for one in prober.probe(listing, wanted(listing), every):
                if _is_missing(one):
                    heard = one.why
                elif one.answer is not None and _turned(one):
                    yield one
        except StoreUnavailable as error:
            heard = str(error)
        if heard != trouble:  # once when it begins, and once when it is over
            click.secho(printable(heard or "All can be asked again."), fg="yellow", err=True)
            trouble = heard
        time.sleep(max(0.0, every - (time.monotonic() - begun)))


def _turned(result: Result) -> bool:
    """Tell whether a service is deaf that was not, or answers that was deaf."""
    was_deaf = result.before is not None and result.before.deaf_since is not None
    return was_deaf is not (result.answer is not None and result.answer.deaf_since is not None)


# -- doctor --------------------------------------------------------------------------------------


def rpc_check(told: Told, services: Sequence[Service]) -> Check:
    """Find services that are up and deaf, and a probe that is relied upon and does not run."""
    told.results.read()
    if told.results.problem:
        remedy = "Remove it; the next servicegroup nova probe writes it anew."
        return Check("WARN", "rpc", f"{told.results.problem}.", remedy)
    asked = [one.judged for one in services if one.judged.evidence.rpc is not None]
    if deaf := [one for one in services if one.judged.reason is Reason.DEAF]:
        names = abbreviated([f"{one.binary} on {one.host}" for one in deaf])
        finding = f"Up by their other signals, and answer no RPC: {names}."
        return Check("WARN", "rpc", finding, "See servicegroup nova why HOST, and restart them.")
    if asked:
        return Check("OK", "rpc", f"{len(asked)} services were asked, and who is up answers RPC.")
    finding = "Nobody has asked lately whether services answer RPC."
    if told.settings.deaf_is_down:
        remedy = (
            "Run servicegroup nova probe --every SECONDS on this host, or set [rpc] deaf = warn."
        )
        return Check("WARN", "rpc", finding, remedy)
    return Check("OK", "rpc", f"{finding} servicegroup nova probe does.")
