"""One command measures everything, says which targets are met, and writes it to RESULTS.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text

from benchmarks import (
    detection,
    following,
    footprint,
    listing,
    measure,
    members,
    nova_layer,
    reports,
    versions,
)
from benchmarks.bench import Bench
from benchmarks.nova_peer.measure import MeasurementError
from benchmarks.results import Section, rendered
from servers.nova_environment import NOVA, InstallError
from servers.postgresql import PostgreSQL
from servers.process import ServerError

BENCHMARKS = {
    "listing": listing.run,
    "reports": reports.run,
    "versions": versions.run,
    "footprint": footprint.run,
    "detection": detection.run,
    "members": members.run,
    "following": following.run,
    "nova_layer": nova_layer.run,
}

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Measure; return the exit code: 2 when something that is needed is missing."""
    arguments = _parse()
    if not PostgreSQL.installed():
        return _refuse("PostgreSQL is not installed; install the package postgresql.")
    machine = measure.machine()
    try:
        with PostgreSQL() as postgresql, tempfile.TemporaryDirectory() as directory:
            bench = Bench(postgresql, Path(directory), quick=arguments.quick)
            sections = [s for name in arguments.names for s in BENCHMARKS[name](bench)]
            server = _server(postgresql)
    except (InstallError, ServerError, MeasurementError) as error:
        return _refuse(str(error))
    lines = "\n".join(_page(sections, machine, server)) + "\n"
    print(lines)
    if arguments.names == list(BENCHMARKS) and not arguments.quick:
        RESULTS.write_text(lines)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; none: all"
    )
    parser.add_argument("--quick", action="store_true", help="measure little, write nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: give {', '.join(BENCHMARKS)}, or nothing")
    arguments.names = arguments.names or list(BENCHMARKS)
    return arguments


def _page(sections: list[Section], machine: str, server: str) -> list[str]:
    return [
        "# What servicegroup reaches",
        "",
        (
            f"Measured on {measure.today()} by `python -m benchmarks`, beside a stock Nova {NOVA}"
            " on the same PostgreSQL in the same run."
        ),
        "",
        f"* Machine: {machine}. Client, servers and load share it, over loopback.",
        f"* Versions: {measure.versions()}, PostgreSQL {server}.",
        "",
        *rendered(sections),
    ]


def _server(postgresql: PostgreSQL) -> str:
    engine = create_engine(postgresql.url)
    with engine.connect() as connection:
        version = str(connection.execute(text("SHOW server_version")).scalar_one())
    engine.dispose()
    return version.split()[0]


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
