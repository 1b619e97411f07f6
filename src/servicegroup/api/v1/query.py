"""What stands beside a body: the query's values, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from servicegroup.errors import InvalidInput
from servicegroup.events import Cursor, EventFilter, EventKind, moment
from servicegroup.uuids import uuid_of


def values(query: Sequence[tuple[str, str]], allowed: Sequence[str]) -> dict[str, str]:
    """Return the query's values, the last one winning, an empty one meaning none.

    Raises InvalidInput for a parameter that is not allowed.
    """
    if unknown := {name for name, _ in query} - set(allowed):
        names = ", ".join(sorted(unknown))
        raise InvalidInput(f"Query parameter {names} is not known; use {', '.join(allowed)}.")
    return {name: value for name, value in query if value}


def whole_number(name: str, text: str, least: int, most: int) -> int:
    """Return a number of the query. Raises InvalidInput for one that is none or out of range."""
    # int() refuses thousands of digits, be they zeros.
    is_number = text.isascii() and text.isdigit() and len(text) <= 20
    if not is_number or not least <= int(text) <= most:
        raise InvalidInput(f"{name} {text!r} is not a number from {least} to {most}.")
    return int(text)


def event_filter(given: Mapping[str, str], last_event_id: str | None) -> EventFilter:
    """Return which events a query asks for. Raises InvalidInput.

    A browser whose stream broke says Last-Event-ID, newer than the ``after`` that it began with.
    """
    kind = given.get("kind")
    if kind is not None and kind not in {known.value for known in EventKind}:
        raise InvalidInput(f"kind {kind!r} is not known; use {', '.join(EventKind)}.")
    after = last_event_id or given.get("after")
    return EventFilter(
        uuid=uuid_of(given["uuid"]) if "uuid" in given else None,
        group=given.get("group"),
        kind=next((known for known in EventKind if known.value == kind), None),
        since=moment("since", given["since"]) if "since" in given else None,
        until=moment("until", given["until"]) if "until" in given else None,
    ).at(None if after is None else Cursor.parse(after))
