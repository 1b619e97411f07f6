"""One command brings up a stock Nova, measures it and tears it down.

Figures go to standard output as JSON with `--json`; progress and a summary go to standard error.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from benchmarks.nova_peer import measure, seed
from servers.environments import InstallError
from servers.memcached import Memcached
from servers.nova import NOBODY, Conductor, Databases, NovaAPI, cached_in
from servers.nova_environment import NOVA
from servers.postgresql import PostgreSQL
from servers.process import ServerError
from servers.rabbitmq import RabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.nova_peer.measure import Heartbeats, Listing


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run has measured."""

    nova: str
    python: str
    runs: int
    listings: list[Listing]
    heartbeats: list[Heartbeats]


def main() -> int:
    """Measure; return the exit code: 2 when something that is needed is missing or wrong."""
    arguments = _parse()
    if not PostgreSQL.installed():
        return _refuse("PostgreSQL is not installed; install the package postgresql.")
    if not RabbitMQ.installed():
        _say("RabbitMQ is not installed (package rabbitmq-server): no heartbeats by conductor.")
    if not Memcached.installed():
        _say("memcached is not installed (package memcached): no lists with it as Nova's cache.")
    try:
        figures = _run(arguments)
    except (InstallError, ServerError, measure.MeasurementError) as error:
        return _refuse(str(error))
    for line in _summary(figures):
        _say(line)
    if arguments.json:
        print(json.dumps(msgspec.to_builtins(figures), indent=2))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nova_peer", description="Measure a stock Nova 34."
    )
    add = parser.add_argument
    add("--services", type=_positive, nargs="+", default=[10_000], help="services in the table")
    add("--runs", type=_positive, default=7, help="runs behind each median")
    add("--reporters", type=_positive, default=4, help="hosts that send heartbeats at once")
    add("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    if arguments.reporters > (most := max(arguments.services)):
        parser.error(f"--reporters {arguments.reporters}: give {most} at most, or more --services")
    return arguments


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _run(arguments: argparse.Namespace) -> Figures:
    with PostgreSQL() as postgresql, ExitStack() as optional:
        rabbitmq = optional.enter_context(RabbitMQ()) if RabbitMQ.installed() else None
        databases = Databases(*(postgresql.database() for _ in Databases._fields))
        with NovaAPI(databases, rabbitmq.url if rabbitmq else NOBODY) as peer:
            heartbeats = list(_heartbeats(peer, postgresql, rabbitmq, arguments))
            listings = list(_listings(peer, {"postgresql": postgresql.pid}, arguments))
    return Figures(
        nova=NOVA,
        python=platform.python_version(),
        runs=arguments.runs,
        listings=listings,
        heartbeats=heartbeats,
    )


def _listings(
    peer: NovaAPI, servers: Mapping[str, int], arguments: argparse.Namespace
) -> Iterator[Listing]:
    """List with the quickest cache there is, then with the one of production."""
    yield from _tables(peer, servers, arguments)
    if Memcached.installed():
        with Memcached() as memcached:
            peer.settings = cached_in(memcached.address)
            peer.restart()
            yield from _tables(peer, {**servers, "memcached": memcached.pid}, arguments)


def _tables(
    peer: NovaAPI, servers: Mapping[str, int], arguments: argparse.Namespace
) -> Iterator[Listing]:
    charged = {"api": peer.pid, **servers}
    for services in arguments.services:
        seed.seed(peer.databases, services)
        for host in (None, seed.host(services // 2 + 1)):
            _say(f"Listing {host or 'all'} of {services} services ...")
            yield measure.listing(peer, charged, services, arguments.runs, host)


def _heartbeats(
    peer: NovaAPI,
    postgresql: PostgreSQL,
    rabbitmq: RabbitMQ | None,
    arguments: argparse.Namespace,
) -> Iterator[Heartbeats]:
    seed.seed(peer.databases, max(arguments.services))
    how_many = arguments.reporters, arguments.runs
    charged = {"postgresql": postgresql.pid}
    _say("Heartbeats straight into the database ...")
    yield measure.heartbeats(peer, charged, "database", *how_many)
    if rabbitmq:
        with Conductor(peer) as conductor:
            _say("Heartbeats through the conductor ...")
            charged.update(conductor=conductor.pid, rabbitmq=rabbitmq.pid)
            yield measure.heartbeats(peer, charged, "conductor", *how_many)


def _summary(figures: Figures) -> Iterator[str]:
    yield f"Nova {figures.nova} on Python {figures.python}, medians of {figures.runs} runs:"
    for listing in figures.listings:
        yield (
            f"  list, {listing.answered} of {listing.services} services, cache in {listing.cache}:"
            f" {listing.seconds:.3f} s (least {min(listing.runs):.3f}), CPU {_by(listing.cpu_ms)}"
        )
    for beats in figures.heartbeats:
        yield (
            f"  heartbeats by {beats.way}: {beats.per_second:.0f}/s,"
            f" control plane {beats.control_plane_cpu_ms:.2f} ms CPU each ({_by(beats.cpu_ms)})"
        )


def _by(cpu_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{server} {milliseconds:.4g} ms" for server, milliseconds in cpu_ms.items())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _refuse(sentence: str) -> int:
    _say(sentence)
    return 2


if __name__ == "__main__":
    sys.exit(main())
