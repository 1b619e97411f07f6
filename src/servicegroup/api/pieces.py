"""Rows of JSON in pieces: a list puts new values between what it keeps of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder()


def lines(shown: Sequence[msgspec.Struct]) -> list[str]:
    """Return the JSON of each; it has no line feed of its own."""
    return _ENCODER.encode_lines(shown).decode().split("\n")[:-1]


def values(column: Sequence[Any]) -> list[str]:
    """Return the JSON of each value; none of them has a comma."""
    return _ENCODER.encode(column).decode()[1:-1].split(",") if column else []


def cut(row: str, names: Iterable[str]) -> list[str]:
    """Return what stands before each of these values, and the value, and the rest with a comma.

    The names come in the order of the row, and no value has a comma. A text has none of the keys
    in it: its own quotes are escaped.
    """
    pieces, begin = [], 0
    for name in names:
        key = f'"{name}":'
        end = row.index(key, begin) + len(key)
        piece, begin = row[begin:end], row.index(",", end)
        pieces += [piece, row[end:begin]]
    return [*pieces, row[begin:] + ","]


def joined(pieces: Iterable[str]) -> memoryview:
    """Return the rows that these are the pieces of, with commas between them.

    They are text, since bytes are joined through a description of each, at three times the cost.
    """
    return memoryview("".join(pieces).encode())[:-1]
