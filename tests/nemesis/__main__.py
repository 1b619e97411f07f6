"""``python -m nemesis``: faults from a seed, and whether the promises were kept meanwhile."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from nemesis.backends import BACKENDS
from nemesis.databases import DATABASES
from nemesis.faults import KINDS
from nemesis.play import HISTORY, play
from promises.checks import violations
from promises.history import History


def main() -> int:
    """Run, or check what was run before; return the exit code: 1 when a promise was broken."""
    arguments = _parse()
    if arguments.check:
        found = violations(History.read(arguments.check))
    else:
        directory = Path(tempfile.mkdtemp(prefix=f"nemesis-{arguments.seed}-"))
        outcome = play(
            directory,
            arguments.seed,
            arguments.seconds,
            arguments.faults,
            database=arguments.database,
            backend=arguments.backend,
        )
        found = outcome.violations
        for name, times in sorted(outcome.faults.items()):
            print(f"{times:4} {name}")
        print(outcome.row)
        print(f"The history is in {directory / HISTORY}.")
        if arguments.record:
            outcome.add()
    print(*found, f"{len(found)} violations", sep="\n")
    return 1 if found else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nemesis", description=__doc__)
    add = parser.add_argument
    # fmt: off
    add("--seed", type=int, default=random.randrange(2**32), help="chosen if not given")
    add("--seconds", type=float, default=60, help="for how long faults begin")
    add("--database", choices=list(DATABASES),
        help="standby: two servers of PostgreSQL, of which the one that takes writes is lost again"
        " and again, and the other promoted; pgbouncer: PostgreSQL behind it; galera: a cluster of"
        " three nodes; chosen by the seed if not given")
    add("--backend", choices=list(BACKENDS),
        help="zookeeper and etcd: three servers; memcached: one; redis: a primary and two replicas,"
        " with three sentinels; chosen by the seed if not given")
    add("--faults", nargs="+", default=[], choices=list(KINDS), metavar="FAULT",
        help=f"these alone, of: {', '.join(KINDS)}")
    add("--record", action="store_true", help="add the run to nemesis/RESULTS.md")
    add("--check", type=Path, metavar="HISTORY", help="check an old history instead")
    # fmt: on
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
