"""A mutant's trial: its tests run on a changed copy of the source, in a process of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mutants.catalogue import ROOT, SOURCE, CodeMoved, Mutant
from mutants.outcomes import ASSERTION, Outcome

LIMIT = 180.0
"""Seconds a test may take, on a busy machine; one that has not ended by then is no kill."""


class Trial(msgspec.Struct, frozen=True):
    """What came of it: ``problems`` are sentences, none for a mutant that was caught."""

    problems: list[str]
    seconds: float


def of(mutant: Mutant) -> Trial:
    """Put a known bug back and see each of its killers fail by an assertion."""
    begun = time.monotonic()
    try:
        with _copied() as source:
            mutant.apply(source)
            outcomes = _run(mutant.killers, source)
        unharmed = (_unharmed(killer, outcomes) for killer in mutant.killers)
        problems = [f"{mutant.name} {how}" for how in unharmed if how]
    except CodeMoved as error:
        problems = [str(error)]
    except _NoTest as error:
        problems = [f"{mutant.name}: {error}"]
    return Trial(problems, time.monotonic() - begun)


def without_mutant(tests: Iterable[str]) -> Trial:
    """See the tests pass on the source as it is; else their failing proves nothing."""
    begun, tests = time.monotonic(), sorted(set(tests))
    try:
        with _copied() as source:
            outcomes = _run(tests, source)
        problems = [f"{o.test} fails without any mutant: {o.raised}" for o in outcomes if o.raised]
    except _NoTest as error:
        problems = [str(error)]
    return Trial(problems, time.monotonic() - begun)


class _NoTest(Exception):
    """The tests did not run, or not to their end."""


def _unharmed(killer: str, outcomes: Sequence[Outcome]) -> str:
    """Say that a test did not catch the mutant, or nothing."""
    raised = [o.raised for o in outcomes if o.killer == f"tests/{killer}"]
    if ASSERTION in raised:
        return ""
    if not raised:
        return f"is not met by {killer}, which did not run"
    if not any(raised):
        return f"survives {killer}"
    return f"fails {killer} by no assertion, but by {next(filter(None, raised))}"


@contextmanager
def _copied() -> Iterator[Path]:
    """Give a copy of the source; others may work on the original meanwhile."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        yield Path(shutil.copytree(SOURCE, Path(directory) / "src"))


def _run(tests: Sequence[str], source: Path) -> list[Outcome]:
    """Run tests on a copy of the source and return how they ended. Raises _NoTest."""
    scratch = source.parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (source, ROOT / "tests"))),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # some of them take longer to load than a test
        "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch / "hypothesis"),
        "MUTANT_OUTCOMES": str(scratch / "outcomes"),
    }
    plugins = ("-p", "pytest_timeout", "-p", "mutants.outcomes", "-p", "no:cacheprovider")
    options = ("-q", "--timeout", "0", "--basetemp", str(scratch / "tmp"))
    command = [sys.executable, "-m", "pytest", *plugins, *options]
    try:
        ended = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT * len(tests),
        )
    except subprocess.TimeoutExpired:
        raise _NoTest(f"the tests have not ended within {LIMIT:g} s each") from None
    if ended.returncode not in (0, 1):
        raise _NoTest(f"pytest ended with {ended.returncode}: {ended.stdout[-2000:]}")
    return [msgspec.json.decode(line, type=Outcome) for line in _lines(scratch / "outcomes")]


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines() if file.exists() else []
