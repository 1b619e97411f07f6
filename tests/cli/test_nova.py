"""``servicegroup nova`` where there is no Nova; with one, tests/with_nova has it."""

from __future__ import annotations

import pytest

from .conftest import Desk


@pytest.mark.parametrize(
    "words", [("list",), ("why", "node1"), ("compare",), ("doctor",), ("probe",)]
)
def test_without_a_nova_it_says_so(desk: Desk, words: tuple[str, ...]) -> None:
    result = desk.run("nova", *words)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: Nova is not installed beside ")
    assert result.stdout == ""
