"""What is printed says what is so, in every format, and can steer no terminal."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from servicegroup.cli.output import Column, pick, print_data, print_item, print_items, printable

Thing = dict[str, Any]

COLUMNS: list[Column[Thing]] = [
    Column("Name", lambda thing: thing["name"]),
    Column("Last Look", lambda thing: thing["look"], lambda thing: f"{thing['look']} s ago"),
    Column("More", lambda thing: thing["more"], usual=False),
]

THINGS: list[Thing] = [
    {"name": 'a,"b"\x1b[1m', "look": 1.5, "more": {"up": True}},
    {"name": "é 😀", "look": 20, "more": None},
]

texts = st.text(st.characters(exclude_categories=["Cs"]))
plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)  # fmt: skip


def _captured(work: Callable[[], None]) -> str:
    from click.testing import CliRunner

    @click.command()
    def command() -> None:
        work()

    result = CliRunner().invoke(command, catch_exceptions=False)
    return result.stdout


@given(st.text())
def test_printable_text_is_printable_and_good_text_stays(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("\udcff", "\\udcff"),
        ("[bold]höst 😀", "[bold]höst 😀"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(plain_data)
@example({"True": 1e-05, "no": "no", "a b": [], "nested": [[1, {"x": {}}], {}]})
def test_yaml_reads_back_as_what_was_printed(data: Any) -> None:
    printed = _captured(lambda: print_data("yaml", data))
    assert yaml.safe_load(printed) == data
    assert all(line.isprintable() for line in printed.splitlines())


def test_yaml_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(click.UsageError, match="pip install 'servicegroup"):
        print_data("yaml", [])


@given(plain_data)
def test_json_reads_back_as_what_was_printed(data: Any) -> None:
    printed = _captured(lambda: print_data("json", data))
    assert json.loads(printed) == data
    assert all(line.isprintable() and line.isascii() for line in printed.splitlines())


def test_csv_has_a_heading_of_keys_and_quotes_what_needs_it() -> None:
    printed = _captured(lambda: print_items("csv", COLUMNS, THINGS))
    rows = list(csv.reader(io.StringIO(printed)))
    assert rows[0] == ["name", "last_look", "more"]
    assert rows[1] == ['a,"b"\\x1b[1m', "1.5", '{"up": true}']
    assert rows[2] == ["é 😀", "20", ""]


def test_value_has_a_line_a_thing_and_a_space_between_columns() -> None:
    printed = _captured(lambda: print_items("value", COLUMNS[:2], THINGS))
    assert printed == 'a,"b"\\x1b[1m 1.5\né 😀 20\n'


def test_a_plain_table_is_aligned_and_has_no_trailing_space() -> None:
    printed = _captured(lambda: print_items("table", COLUMNS[:2], THINGS[1:]))
    assert printed == "Name  Last Look\né 😀   20 s ago\n"


def test_one_thing_is_a_column_a_line_or_one_object() -> None:
    table = _captured(lambda: print_item("table", COLUMNS, THINGS[1]))
    assert table == "Field      Value\nName       é 😀\nLast Look  20 s ago\nMore\n"
    assert _captured(lambda: print_item("value", COLUMNS[:2], THINGS[1])) == "é 😀\n20\n"
    shown = json.loads(_captured(lambda: print_item("json", COLUMNS, THINGS[0])))
    assert shown == {"name": 'a,"b"\x1b[1m', "last_look": 1.5, "more": {"up": True}}


def test_a_stamp_is_iso_8601_everywhere() -> None:
    column: list[Column[datetime]] = [Column("At", lambda stamp: stamp)]
    stamp = datetime(2030, 1, 2, 3, 4, 5)
    for form in ("table", "value", "csv", "json", "yaml"):
        assert "2030-01-02T03:04:05" in _captured(lambda f=form: print_items(f, column, [stamp]))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("names", "form", "keys"),
    [
        ([], "table", ["name", "last_look"]),
        ([], "csv", ["name", "last_look"]),
        ([], "json", ["name", "last_look", "more"]),
        ([], "yaml", ["name", "last_look", "more"]),
        (["Last Look", "Name"], "json", ["last_look", "name"]),
        (["last_look", "MORE"], "table", ["last_look", "more"]),
    ],
)
def test_columns_are_picked_by_heading_or_key(names: list[str], form: str, keys: list[str]) -> None:
    assert [column.key for column in pick(COLUMNS, names, form)] == keys


def test_an_unknown_column_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        click.BadParameter, match=r"'Colour' is no column; .* Name, Last Look, More"
    ):
        pick(COLUMNS, ["Colour"], "table")
