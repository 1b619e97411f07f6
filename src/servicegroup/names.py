"""What a service may be called, and what follows from its name; as in Nova."""

from __future__ import annotations

from typing import Annotated

import msgspec

from servicegroup.errors import InvalidInput

NAME_LENGTH = 255
"""Characters a host, a binary, a group or a zone may have, as in Nova."""

_PRINTABLE = {"format": "printable"}
Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH, extra_json_schema=_PRINTABLE)
]
"""A name as a body holds it; ``check_name`` says what printable is."""

Given = Annotated[str, msgspec.Meta(max_length=NAME_LENGTH, extra_json_schema=_PRINTABLE)]
"""A name that may be left to the register to choose, by an empty one."""


def check_name(field: str, value: str) -> None:
    """Raise InvalidInput, naming the field, unless the value can be a name."""
    if not value or len(value) > NAME_LENGTH:
        raise InvalidInput(f"{field} must have 1 to {NAME_LENGTH} characters, not {len(value)}.")
    if not value.isprintable():
        raise InvalidInput(f"{field} {value!r} holds a character that cannot be printed.")


def topic_of(binary: str) -> str:
    """Return the group of a binary that names none: the binary without ``nova-``."""
    return binary.removeprefix("nova-")


def zone_of(topic: str) -> str:
    """Return the zone of a service that names none: ``nova`` for computes, else ``internal``."""
    return "nova" if topic == "compute" else "internal"


def check_text(field: str, value: str) -> None:
    """Raise InvalidInput for what no database stores, and so no service can be named."""
    if "\0" in value or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise InvalidInput(f"{field} {value!r} holds a character that no name can have.")


def check_state(state: str | None) -> None:
    """Raise InvalidInput unless the state is one that services have, or None for any."""
    if state not in (None, "up", "down"):
        raise InvalidInput(f"state {state!r} is not known; use up or down.")
