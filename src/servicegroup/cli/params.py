"""What is typed on the command line, checked: which service, and which time.

A service is named by its uuid, by HOST and BINARY, in process by number too. A time is how long
ago, such as 2h, or a moment, such as 2026-01-31T12:00.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from servicegroup.cli.output import printable
from servicegroup.cli.register import Register
from servicegroup.errors import InvalidInput, NotFound
from servicegroup.events import Cursor, moment
from servicegroup.model import Service
from servicegroup.uuids import uuid_of

F = TypeVar("F", bound=Callable[..., Any])

Name = int | str | tuple[str, str]
"""How a service is named: the record's number, its uuid, or host and binary."""

_MAX_ID = 2**31 - 1

_AGO = re.compile(r"(\d{1,9})\s*(s|min|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


class Text(click.ParamType[str]):
    """A text that can be looked for: not empty, and UTF-8."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text as it is; fails for one that cannot be a name."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!r} is not UTF-8.", param, ctx)
        return value or self.fail("it is empty.", param, ctx)


class Place(click.ParamType[Cursor]):
    """A place in the log of events: an id, or a cursor."""

    name = "place"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Cursor:
        """Return the place; fails for what is none."""
        try:
            return Cursor.parse(value)
        except InvalidInput as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[datetime]):
    """A time as naive UTC; how long ago is counted back by this host's clock."""

    name = "time"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment; fails for what is none."""
        try:
            if (ago := _length(value)) is None:
                return moment("the time", value)
            return datetime.now(UTC).replace(tzinfo=None) - ago
        except (InvalidInput, OverflowError):
            self.fail(
                f"{value!r} is neither a time such as 2026-01-31T12:00 (UTC) nor how long ago,"
                " such as 90s, 30min, 2h or 7d.",
                param,
                ctx,
            )


class Span(click.ParamType[float]):
    """A length of time in seconds, such as 90s, 30min, 2h or 7d."""

    name = "span"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds; fails for what is none."""
        try:
            found = _length(value)
        except OverflowError:
            return self.fail(f"{value!r} is longer than time itself.", param, ctx)
        if found is None:
            return self.fail(f"{value!r} is no time such as 90s, 30min, 2h or 7d.", param, ctx)
        return found.total_seconds()


def _length(text: str) -> timedelta | None:
    """Return how long 90s, 30min, 2h or 7d are, None for another text. Raises OverflowError."""
    found = _AGO.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def one_service(command: F) -> F:
    """Decorate a command with the argument that names one service."""
    return click.argument(
        "name",
        nargs=-1,
        required=True,
        type=Text(),
        callback=lambda ctx, param, words: parsed(words),
        metavar="ID | HOST BINARY",
    )(command)


def parsed(words: Sequence[str]) -> Name:
    """Return the name that the words are. Raises click.UsageError."""
    if len(words) == 2:
        return (words[0], words[1])
    try:
        (word,) = words
        return int(word[:11]) if word.isascii() and word.isdigit() else uuid_of(word)
    except (ValueError, InvalidInput):
        given = printable(" ".join(words))
        raise click.UsageError(f"{given!r} is neither an ID nor HOST BINARY.") from None


def named(register: Register, name: Name) -> Service:
    """Return the service of that name. Raises NotFound."""
    if isinstance(name, tuple):
        return register.find(*name)
    if isinstance(name, int) and name > _MAX_ID:
        raise NotFound(f"Service {name} could not be found.")
    return register.get(name)
