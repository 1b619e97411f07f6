"""The catalogue of known bugs is in order, and a trial tells the truth; all: ``make mutants``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from docs.pages import page
from mutants import catalogue, trial
from mutants.catalogue import TRAPS, CodeMoved, Mutant

TESTS = Path(__file__).parent.parent
KNOWN = catalogue.read()
LC_8 = next(mutant for mutant in KNOWN.mutant if mutant.name == "beats-in-step")


@pytest.mark.parametrize("mutant", KNOWN.mutant, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_a_change_of_the_source_as_it_is(mutant: Mutant) -> None:
    text = (catalogue.SOURCE / "servicegroup" / mutant.file).read_text()
    assert text.count(mutant.old) == 1, "the code has moved; adjust the catalogue"
    if mutant.file.endswith(".py"):
        compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


@pytest.mark.parametrize("mutant", KNOWN.mutant, ids=lambda mutant: str(mutant.name))
def test_a_killer_is_a_test_that_there_is(mutant: Mutant) -> None:
    """Those of a class may be the contract's, whose names are not in the file."""
    for killer in mutant.killers:
        path, *names = killer.split("::")
        text = (TESTS / path).read_text()
        assert f" {names[0].split('[')[0]}(" in text, killer


def test_every_trap_has_a_mutant_or_a_reason() -> None:
    traps = {f"{kind}-{number}" for kind, most in TRAPS.items() for number in range(1, most + 1)}
    named = {trap for mutant in KNOWN.mutant for trap in mutant.traps}
    caught = {trap for trap in named if not trap.startswith(f"{catalogue.FIELD}-")}
    excused = Counter(trap for entry in KNOWN.uncovered for trap in entry.traps)
    assert caught | set(excused) == traps
    assert not caught & set(excused)
    assert set(excused.values()) == {1}


def test_names_are_unique() -> None:
    names = Counter(mutant.name for mutant in KNOWN.mutant)
    assert set(names.values()) == {1}


def test_the_documentation_lists_them_all() -> None:
    """What lacks is printed as it should stand there."""
    found = page("docs/contributors/mutants.md")
    for heading, rows in zip(("The catalogue", "Not covered"), catalogue.rows(KNOWN), strict=True):
        lines = found.section(heading).splitlines()
        table = [line for line in lines if line.startswith("|")][2:]
        assert table == [f"| {' | '.join(row)} |" for row in rows]


# -- the trial itself ------------------------------------------------------------------------------


def changed(**fields: object) -> Mutant:
    return msgspec.structs.replace(LC_8, **fields)


def test_a_known_bug_is_caught() -> None:
    assert trial.of(LC_8).problems == []


def test_a_mutant_that_changes_nothing_survives() -> None:
    (problem,) = trial.of(changed(new=LC_8.old)).problems
    assert problem == f"beats-in-step survives {LC_8.killers[0]}"


def test_a_mutant_that_is_no_program_is_not_caught() -> None:
    (problem,) = trial.of(changed(new="return nonsense")).problems
    assert "by no assertion, but by NameError" in problem
    (problem,) = trial.of(changed(new="return (")).problems
    assert "pytest ended with" in problem
    assert "SyntaxError" in problem


def test_a_killer_that_is_not_there_is_named() -> None:
    (problem,) = trial.of(changed(killers=("agent/test_heart.py::test_nobody",))).problems
    assert "test_nobody" in problem


def test_code_that_moved_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodeMoved, match=r"beats-in-step: gone\.py .* adjust the catalogue"):
        changed(file="gone.py").apply(tmp_path)
