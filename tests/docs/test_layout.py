"""What the contributors' pages say of the files and folders themselves."""

from __future__ import annotations

import pytest

from docs.pages import ROOT, page

PACKAGE = ROOT / "src" / "servicegroup"
CORE = ("model", "liveness", "driver", "judging", "group", "agent/heart")


def lines(path: str) -> int:
    return len((PACKAGE / path).read_text().splitlines())


def test_the_core_is_read_in_an_hour() -> None:
    assert sum(lines(f"{name}.py") for name in CORE) <= 1_400


@pytest.mark.parametrize(
    "path",
    sorted(
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".js", ".css", ".html")
    ),
)
def test_a_file_is_one_idea(path: str) -> None:
    assert lines(path) <= 350


def test_every_folder_of_tests_is_told_apart() -> None:
    text = page("CONTRIBUTING.md").text
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert {name for name in folders if f"| `tests/{name}` |" not in text} == set()
