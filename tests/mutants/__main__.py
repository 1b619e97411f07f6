"""Tries every known bug, or those named: ``python -m mutants [NAME …]``, in ``tests``.

The exit status is 1 when one is not caught, or when a test fails without any. With ``TESTED=1`` in
the environment the tests are not tried without a mutant: they have just passed, as in CI.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from mutants import catalogue, trial
from mutants.catalogue import Mutant

WORKERS = int(os.environ.get("WORKERS", "3"))
TESTED = os.environ.get("TESTED") == "1"


def main(names: Sequence[str]) -> int:
    """Try the named mutants, or all; print how each ended, and at last a table."""
    known = {mutant.name: mutant for mutant in catalogue.read().mutant}
    if unknown := set(names) - set(known):
        print(f"There is no mutant named {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names or known]
    killers = [killer for mutant in chosen for killer in mutant.killers]
    lines: dict[str, str] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(WORKERS) as workers:
        trials: dict[Future[trial.Trial], Mutant | None] = {}
        if not TESTED:
            trials[workers.submit(trial.without_mutant, killers)] = None  # it takes longest
        trials.update((workers.submit(trial.of, mutant), mutant) for mutant in chosen)
        for ended in as_completed(trials):
            mutant, found = trials[ended], ended.result()
            problems += found.problems
            line = _line(mutant, found)
            if mutant is not None:
                lines[mutant.name] = line
            print(f"[{len(lines)}/{len(chosen)}] {line}", flush=True)
    print("", *(lines[mutant.name] for mutant in chosen), "", sep="\n")
    print(f"{len(chosen)} mutants, {len(problems)} problems", *problems, sep="\n")
    return 1 if problems else 0


def _line(mutant: Mutant | None, found: trial.Trial) -> str:
    """Say how a trial ended: the mutant, its traps, the seconds it took, and who caught it."""
    name, traps, by = ("no mutant", "", "passes what it should")
    if mutant is not None:
        name, traps, by = mutant.name, ", ".join(mutant.traps), "; ".join(mutant.killers)
    return f"{name:38} {traps:19} {found.seconds:5.1f} s  {'NOT: ' if found.problems else ''}{by}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
