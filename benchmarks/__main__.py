"""One command measures everything, says which targets are met, and writes it to RESULTS.md.

A run of some benchmarks replaces their figures, and keeps those of the others with their date.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec
from sqlalchemy import create_engine, text

from benchmarks import (
    crowds,
    detection,
    failover,
    first_release,
    following,
    footprint,
    galera,
    large_lists,
    listing,
    measure,
    members,
    mirror,
    nova_command,
    nova_layer,
    questions,
    reports,
    rpc_probe,
    scale,
    silence,
    versions,
)
from benchmarks.bench import Bench
from benchmarks.nova_peer.measure import MeasurementError
from benchmarks.results import Run, rendered
from benchmarks.sessions import crashes, restarts
from benchmarks.sessions import fleet as session_fleet
from benchmarks.sessions import reports as session_reports
from benchmarks.sessions import silence as session_silence
from servers.environments import InstallError
from servers.nova_environment import NOVA
from servers.postgresql import PostgreSQL
from servers.process import ServerError

BENCHMARKS = {
    "listing": listing.run,
    "first_release": first_release.run,
    "questions": questions.run,
    "reports": reports.run,
    "versions": versions.run,
    "footprint": footprint.run,
    "detection": detection.run,
    "members": members.run,
    "following": following.run,
    "crowds": crowds.run,
    "silence": silence.run,
    "failover": failover.run,
    "galera": galera.run,
    "scale": scale.run,
    "large_lists": large_lists.run,
    "mirror": mirror.run,
    "nova_layer": nova_layer.run,
    "nova_command": nova_command.run,
    "session_crashes": crashes.run,
    "session_silence": session_silence.run,
    "session_reports": session_reports.run,
    "session_fleet": session_fleet.run,
    "session_restarts": restarts.run,
    "rpc_probe": rpc_probe.run,
}

RESULTS = Path(__file__).with_name("RESULTS.md")
DATA = Path(__file__).with_name("results.json")


def main() -> int:
    """Measure; return the exit code: 2 when something that is needed is missing."""
    arguments = _parse()
    if not PostgreSQL.installed():
        return _refuse("PostgreSQL is not installed; install the package postgresql.")
    machine = measure.machine()
    try:
        with PostgreSQL() as postgresql, tempfile.TemporaryDirectory() as directory:
            bench = Bench(
                postgresql, Path(directory), quick=arguments.quick, fleet_seconds=arguments.seconds
            )
            versions = f"{measure.versions()}, PostgreSQL {_server(postgresql)}"
            for name in arguments.names:
                run = Run(measure.today(), machine, versions, list(BENCHMARKS[name](bench)))
                print("\n".join(_page({name: run})), flush=True)
                if not arguments.quick:
                    _keep({name: run})  # whatever becomes of the others
    except (InstallError, ServerError, MeasurementError) as error:
        return _refuse(str(error))
    return 0


def _keep(runs: dict[str, Run]) -> None:
    """Replace the figures of these benchmarks, in the data and on the page that is made of it."""
    known = msgspec.json.decode(DATA.read_bytes(), type=dict[str, Run]) if DATA.exists() else {}
    every = known | runs
    every = {name: every[name] for name in BENCHMARKS if name in every}
    DATA.write_bytes(msgspec.json.format(msgspec.json.encode(every)) + b"\n")
    RESULTS.write_text("\n".join(_page(every)) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; none: all"
    )
    parser.add_argument("--quick", action="store_true", help="measure little, write nothing")
    parser.add_argument(
        "--seconds", type=int, help="how long a whole fleet is watched; default: ten minutes"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: give {', '.join(BENCHMARKS)}, or nothing")
    arguments.names = arguments.names or list(BENCHMARKS)
    return arguments


def _page(runs: dict[str, Run]) -> list[str]:
    return [
        "# What servicegroup reaches",
        "",
        (
            "Measured by `python -m benchmarks`. Where a figure is compared with Nova's, a stock"
            f" Nova {NOVA} was measured in the same run. Client, servers and load share one"
            " machine, over loopback; its own noise is 30 to 50 %."
        ),
        "",
        *rendered(runs.values()),
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
