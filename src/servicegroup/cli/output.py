"""What commands print: one set of columns, as a table for people or in a format for programs.

Programs get a column's value under its key, people its text under its heading. No text reaches a
terminal with a character that could steer it, and none is read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "value", "yaml")

_STYLES = {
    "up": "green",
    "down": "bold red",
    "up flapping": "yellow",
    "down flapping": "bold red",
    "disabled": "yellow",
    "OK": "green",
    "WARN": "yellow",
    "FAIL": "bold red",
}


class Column(Generic[T]):
    """One fact of a thing: a value for programs, a text for people.

    ``usual`` columns are printed unless others are asked for; json and yaml have all of them.
    """

    def __init__(
        self,
        heading: str,
        value: Callable[[T], Any],
        text: Callable[[T], str] | None = None,
        *,
        usual: bool = True,
    ) -> None:
        """Name the column; ``text`` defaults to the value as it is written in csv."""
        self.heading = heading
        self.key = heading.lower().replace(" ", "_")
        self.value = value
        self.text = text or (lambda item: _plain(value(item)))
        self.usual = usual


def output_options(*more: str) -> Callable[[F], F]:
    """Return a decorator that adds ``-f`` with the usual formats, and more, and ``-c``."""

    def decorate(command: F) -> F:
        column = click.option(
            "-c", "--column", "names", multiple=True, metavar="COLUMN",
            help="Print this column only; repeatable, by heading or by key.")  # fmt: skip
        form = click.option(
            "-f", "--format", "form", type=click.Choice([*FORMATS, *more]), default="table",
            show_default=True,
            help="table is for people. json and yaml hold every column that -c can name, keyed"
            " like last_report; csv and value hold the table's.")  # fmt: skip
        return form(column(command))

    return decorate


def pick(columns: Sequence[Column[T]], names: Sequence[str], form: str) -> list[Column[T]]:
    """Return the columns to print, in the order asked for. Raises click.BadParameter."""
    if not names:
        everything = form in ("json", "yaml")
        return [column for column in columns if column.usual or everything]
    known = {column.key: column for column in columns}
    keys = [name.lower().replace(" ", "_") for name in names]
    if unknown := [name for name, key in zip(names, keys, strict=True) if key not in known]:
        headings = ", ".join(column.heading for column in columns)
        raise click.BadParameter(f"{unknown[0]!r} is no column; choose from {headings}.")
    return [known[key] for key in keys]


def print_items(form: str, columns: Sequence[Column[T]], items: Iterable[T]) -> None:
    """Print things, one a row."""
    if form == "table":
        rows_of_text = [[column.text(item) for column in columns] for item in items]
        show(table([column.heading for column in columns], rows_of_text))
        return
    keys = [column.key for column in columns]
    rows = [[column.value(item) for column in columns] for item in items]
    if form == "value":
        for row in rows:
            click.echo(" ".join(_plain(value) for value in row))
    elif form == "csv":
        click.echo(_csv([keys, *([_plain(value) for value in row] for row in rows)]), nl=False)
    else:
        print_data(form, [dict(zip(keys, row, strict=True)) for row in rows])


def print_lines(form: str, columns: Sequence[Column[T]], items: Iterable[T]) -> None:
    """Print things as they come, each at once and on a line of its own; yaml takes several."""
    import json

    keys = [column.key for column in columns]
    if form == "csv":
        click.echo(_csv([keys]), nl=False)
    for item in items:
        if form == "table":
            cells = (printable(column.text(item)) for column in columns)
            click.echo("  ".join(cell for cell in cells if cell))
        elif form == "json":
            row = [column.value(item) for column in columns]
            click.echo(json.dumps(dict(zip(keys, row, strict=True)), default=_plain))
        elif form == "csv":
            click.echo(_csv([[_plain(column.value(item)) for column in columns]]), nl=False)
        else:
            print_items(form, columns, [item])


def print_item(form: str, columns: Sequence[Column[T]], item: T) -> None:
    """Print one thing: for people and ``value`` a column a line, json and yaml as one object."""
    if form == "table":
        rows = [[column.heading, column.text(item)] for column in columns]
        show(table(["Field", "Value"], rows))
    elif form == "value":
        for column in columns:
            click.echo(_plain(column.value(item)))
    elif form == "csv":
        print_items(form, columns, [item])
    else:
        print_data(form, {column.key: column.value(item) for column in columns})


def print_data(form: str, data: Any) -> None:
    """Print plain data as ``json`` or ``yaml``."""
    import json

    # ASCII only: escapes are the same to a program, and harmless to a terminal.
    text = json.dumps(data, indent=2, default=_plain)
    click.echo(text if form == "json" else _yaml(json.loads(text)), nl=form == "json")


# -- tables --------------------------------------------------------------------------------------


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """Return a table to ``show``: with lines and colours on a terminal, plain text elsewhere."""
    safe = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return _plain_table([list(headings), *safe])
    from rich.table import Table
    from rich.text import Text

    found = Table(*headings, header_style="bold")
    for row in safe:
        found.add_row(*(Text(cell, _STYLES.get(cell, ""), overflow="fold") for cell in row))
    return found


def show(renderable: RenderableType) -> None:
    """Print a table, or text that is a table already."""
    if isinstance(renderable, str):
        click.echo(renderable)
        return
    from rich.console import Console

    Console().print(renderable)


def _plain_table(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


# -- text ----------------------------------------------------------------------------------------


def printable(text: str) -> str:
    r"""Return the text with what a terminal would obey or hide written out, as in ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: Any) -> str:
    """Return a value as csv, ``value`` and tables write it: nothing for None, true and false."""
    import json

    if value is None:
        return ""
    if isinstance(value, str):
        return printable(value)
    return value.isoformat() if isinstance(value, datetime) else json.dumps(value, default=_plain)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    import csv
    import io

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _yaml(data: Any) -> str:
    try:
        import yaml
    except ImportError:
        raise click.UsageError(
            "-f yaml needs PyYAML; pip install 'servicegroup[server]', or use -f json."
        ) from None
    return yaml.safe_dump(data, sort_keys=False, width=1_000)
