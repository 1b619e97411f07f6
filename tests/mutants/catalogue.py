"""The catalogue of known bugs: which one, whom it hurt, and how it would look in our source.

A mutant is the bug put back by replacing one text of one file, and the tests that must then fail.
What of the field's bugs cannot be put back, or not be caught, is listed with the reason. The
entries are in ``known/``, a file for each kind of trap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
KNOWN = Path(__file__).parent / "known"

TRAPS = {"SQL": 18, "ZK": 19, "MC": 11, "ET": 10, "RD": 6, "AND": 7, "LC": 10}
"""How many traps of each kind are numbered; docstrings quote them as SQL-1, ZK-2 and so on."""

FIELD = "F"
"""Faults of our own that the field showed, numbered as F-2; not each of them has a mutant."""


class CodeMoved(Exception):
    """The source no longer has the text that a mutant replaces."""


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bug put back: in ``file``, below the package, ``new`` stands where ``old`` stood.

    ``story`` says in a sentence what the bug did to whom. Each of the ``killers``, tests named by
    their path below ``tests``, must fail; of a test that is parametrized, one case must.
    """

    name: str
    traps: tuple[str, ...]
    story: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]

    def apply(self, source: Path) -> None:
        """Change the file in a copy of the source. Raises CodeMoved."""
        path = source / "servicegroup" / self.file
        text = path.read_text() if path.exists() else ""
        if text.count(self.old) != 1:
            raise CodeMoved(
                f"{self.name}: {self.file} has its text {text.count(self.old)} times instead of"
                " once; the code has moved, adjust the catalogue."
            )
        path.write_text(text.replace(self.old, self.new))


class Uncovered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traps without a mutant, and why."""

    traps: tuple[str, ...]
    why: str


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All entries, in the order of their files."""

    mutant: list[Mutant] = []
    uncovered: list[Uncovered] = []


def read() -> Catalogue:
    """Return what is in ``known/``, in the order of ``TRAPS``, the field's last."""
    files = [msgspec.toml.decode((KNOWN / f"{kind}.toml").read_bytes(), type=Catalogue)
             for kind in (*TRAPS, FIELD)]  # fmt: skip
    return Catalogue([m for f in files for m in f.mutant], [u for f in files for u in f.uncovered])


def rows(found: Catalogue) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of the documentation's two tables: the mutants, and what has none."""
    mutants: list[Any] = [[", ".join(m.traps), f"`{m.name}`", m.story] for m in found.mutant]
    return mutants, [[", ".join(u.traps), u.why] for u in found.uncovered]
