"""Rows of JSON in pieces: a list puts new values between what it keeps of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress, count
from operator import ne
from typing import Any

import msgspec

_SAMPLE = 300
"""Values that tell whether most of a column moved."""

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


def moved(column: Sequence[Any], before: Sequence[Any]) -> list[int]:
    """Return the places at which a column is not as it was before."""
    if column is before or column == before:  # as most are
        return []
    return list(compress(count(), map(ne, column, before)))


def _most_moved(column: Sequence[Any], before: Sequence[Any]) -> bool:
    """Tell of two columns, equally long, whether most values moved, going by a sample."""
    step = 1 + len(column) // _SAMPLE
    differs = list(map(ne, column[::step], before[::step]))
    return differs.count(True) > len(differs) / 2


class Told:
    """A column as JSON, of which only those values are written anew that moved since it was.

    Where most of them seem to have moved all are written: to find out which would cost more.
    """

    def __init__(self, write: Callable[[Sequence[int]], list[str]]) -> None:
        """Let ``write`` return the JSON of each."""
        self._write = write
        self._numbers: Sequence[int] = ()
        self._texts: list[str] = []

    def of(self, numbers: Sequence[int]) -> list[str]:
        """Return the JSON of each of them; the next call changes what is returned."""
        before = self._numbers
        if len(before) != len(numbers) or _most_moved(numbers, before):
            self._texts = self._write(numbers)
        elif places := moved(numbers, before):
            anew = self._write([numbers[place] for place in places])
            for place, text in zip(places, anew, strict=True):
                self._texts[place] = text
        self._numbers = numbers  # last: what could not be written is to be written the next time
        return self._texts
