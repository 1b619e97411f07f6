"""Every id that source, tests and pages quote is explained in ``docs/contributors/traps.md``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.pages import DOCS, ROOT, page

TRAPS = "docs/contributors/traps.md"

_ID = re.compile(r"\b(?:SQL|ZK|MC|ET|RD|AND|LC|F)-[1-9]\d?\b")
_SHORT = re.compile(r"\((?:[^()\n]*[\s,])?(?P<id>[SP][1-9]\d?)(?:,[^()\n]*)?\)")
"""Ids without a dash are quoted in parentheses; elsewhere they are a key or a rule of a linter."""


def quoted(text: str) -> set[str]:
    """Return the ids that a text quotes."""
    return {*_ID.findall(text), *_SHORT.findall(text)}


def explained() -> dict[str, str]:
    """Return the last cell of every row by its id."""
    rows = page(TRAPS).rows
    return {row[0]: row[-1] for row in rows if quoted(f"({row[0]})") == {row[0]}}


def sources() -> list[Path]:
    """Return the files of the program and of its tests, and the other pages."""
    code = [path for top in ("src", "tests") for path in sorted((ROOT / top).rglob("*.py"))]
    return code + [path for path in sorted(DOCS.rglob("*.md")) if path != ROOT / TRAPS]


def test_every_quoted_id_has_its_row() -> None:
    found = {
        name: str(path.relative_to(ROOT))
        for path in sources()
        for name in quoted(path.read_text(encoding="utf-8"))
    }
    assert len(found) > 60, "the ids are no longer found in the source"
    missing = {name: where for name, where in found.items() if name not in explained()}
    assert missing == {}, f"{TRAPS} lacks a row"


def test_every_row_names_a_test_that_exists_or_none() -> None:
    for name, cell in explained().items():
        tests = re.findall(r"`([^`]+)`", cell)
        assert tests or cell == "none", f"{TRAPS}, {name}: {cell}"
        for test in tests:
            assert (ROOT / "tests" / test).is_file(), f"{TRAPS}, {name}: no {test}"


def test_what_has_no_test_is_said_to_be_not_covered() -> None:
    uncovered = page("docs/contributors/mutants.md").section("Not covered")
    for name, cell in explained().items():
        if cell == "none":
            assert re.search(rf"\b{name}\b", uncovered), f"mutants.md does not say why of {name}"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("either wins (S2); see ZK-1, MC-9", {"S2", "ZK-1", "MC-9"}),
        ("(spec S4)", {"S4"}),
        ("S3cret, noqa: S104, (SHA-256), S3, UTF-8", set()),
    ],
)
def test_what_is_an_id(text: str, ids: set[str]) -> None:
    assert quoted(text) == ids
