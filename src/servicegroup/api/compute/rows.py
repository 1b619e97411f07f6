"""The rows of Nova's list as JSON, each kept as it was shown until something of it moves.

Whoever polls finds most services as they were: their rows are neither made nor encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from servicegroup.moments import texts

if TYPE_CHECKING:
    from servicegroup.batches import Stated
    from servicegroup.group import ServiceGroup
    from servicegroup.model import Service

View = Callable[["Service", str, str | None], msgspec.Struct]
"""Shows a service, its state, and its ``updated_at`` in ISO 8601 with six digits."""

UNLISTED = frozenset({"nova-osapi_compute", "nova-metadata"})
"""Binaries that never report in Nova and are left out of its lists, even when asked for."""

KEPT_LISTS = 2
"""Lists whose rows are kept, the latest ones: those of so many views, or filters."""

_ENCODER = msgspec.json.Encoder()

_kept: WeakKeyDictionary[ServiceGroup, dict[object, Rows]] = WeakKeyDictionary()


def rows_of(group: ServiceGroup, question: object, view: View) -> Rows:
    """Return what shows the answers to a question, with what is kept of the one before.

    Whole lists are made one at a time (``api.listing``), so no two are shown by the same rows.
    """
    if not group.keeps_rows:
        return Rows(view)
    lists = _kept.setdefault(group, {})
    rows = lists.pop(question, None) or Rows(view, keep=True)
    while len(lists) >= KEPT_LISTS:
        lists.pop(next(iter(lists)), None)
    lists[question] = rows
    return rows


class _Batch(NamedTuple):
    """Services as they were stated, and their rows in the same order, empty of who is unlisted.

    There are none where the batch was encoded as a whole, which costs less than rows do.
    """

    stated: Stated
    rows: list[bytes] | None


class Rows:
    """The rows of one list, as one view shows them."""

    def __init__(self, view: View, *, keep: bool = False) -> None:
        """Show by ``view``, and ``keep`` what is shown for the next time or not."""
        self._view = view
        self._keep = keep
        self._batches: list[_Batch] = []

    def encoded(self, batches: Iterable[Stated]) -> Iterator[bytes | memoryview]:
        """Yield the JSON of each batch, its rows with commas between them."""
        before, self._batches = self._batches, []
        for number, stated in enumerate(batches):
            rows = self._rows(stated, before[number]) if number < len(before) else None
            if self._keep:
                self._batches.append(_Batch(stated, rows))
            if rows is None:
                yield memoryview(_ENCODER.encode(self._shown(stated)))[1:-1]
            else:
                yield b",".join(filter(None, rows))

    def _rows(self, stated: Stated, before: _Batch) -> list[bytes] | None:
        """Return the rows of a batch, with those kept of who stands where it stood, and as it was.

        Return None where so many moved that it is better encoded as a whole.
        """
        many = len(stated.services)
        if len(before.stated.services) != many:
            return None
        moved = _moved(stated, before.stated)
        if len(moved) > many / 2:
            return None
        if before.rows is None:
            return self._made(stated)
        rows = before.rows.copy()
        for place, row in zip(moved, self._made(stated.at(moved)), strict=True):
            rows[place] = row
        return rows

    def _made(self, stated: Stated) -> list[bytes]:
        # JSON has no line's end of its own.
        lines = iter(_ENCODER.encode_lines(self._shown(stated)).splitlines())
        return [b"" if one.binary in UNLISTED else next(lines) for one in stated.services]

    def _shown(self, stated: Stated) -> list[msgspec.Struct]:
        view, times = self._view, texts(stated.updated_at)
        return [
            view(service, state, at)
            for service, state, at in zip(stated.services, stated.states, times, strict=True)
            if service.binary not in UNLISTED
        ]


def _moved(stated: Stated, before: Stated) -> list[int]:
    """Return the places of a batch at which anything is not as it was before."""
    moved: set[int] = set()
    for column, former in zip(stated, before, strict=True):
        if column is not former and column != former:  # most columns are as they were
            pairs = enumerate(zip(column, former, strict=True))
            moved.update(place for place, (one, other) in pairs if one != other)
    return sorted(moved)
