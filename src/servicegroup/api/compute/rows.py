"""The rows of Nova's list as JSON, each kept as it was shown until something of it moves.

Whoever polls finds most services as they were: their rows are neither made nor encoded again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from servicegroup.api.pieces import Told, cut, joined, lines, moved
from servicegroup.moments import quoted, texts

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
    """Services as they were stated, and their rows in the same order, three pieces each.

    The second one is ``updated_at``, which ``times`` has too; those of who is unlisted are empty.
    There are none where the batch was encoded as a whole, which costs less than rows do.
    """

    stated: Stated
    times: Told
    pieces: list[str] | None = None


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
            batch = self._batch(stated, before[number] if number < len(before) else None)
            if self._keep:
                self._batches.append(batch)
            if batch.pieces is None:
                times = texts(stated.updated_at)
                yield memoryview(_ENCODER.encode(self._shown(stated, times)))[1:-1]
            else:
                yield joined(batch.pieces)

    def _batch(self, stated: Stated, before: _Batch | None) -> _Batch:
        """Return a batch with what is kept of who stands where it stood, and as it was.

        It has no rows where there is nothing before it, or where so many are others that it is
        better encoded as a whole.
        """
        many = len(stated.services)
        if before is None or len(before.stated.services) != many:
            return _Batch(stated, Told(quoted))
        others = _moved(stated[:2], before.stated[:2])
        if len(others) > many / 2:
            return _Batch(stated, Told(quoted))
        if before.pieces is None:
            rows = [piece for row in self._made(stated) for piece in _cut(row)]
            return _Batch(stated, before.times, rows)
        pieces = before.pieces.copy()
        if stated.updated_at != before.stated.updated_at:
            begins, times = pieces[::3], before.times.of(stated.updated_at)
            if "" in begins:  # somebody is unlisted
                times = [at if begin else "" for begin, at in zip(begins, times, strict=True)]
            pieces[1::3] = times
        for place, row in zip(others, self._made(stated.at(others)), strict=True):
            pieces[3 * place : 3 * place + 3] = _cut(row)
        return _Batch(stated, before.times, pieces)

    def _made(self, stated: Stated) -> list[str]:
        rows = iter(lines(self._shown(stated, texts(stated.updated_at))))
        return ["" if one.binary in UNLISTED else next(rows) for one in stated.services]

    def _shown(self, stated: Stated, times: Iterable[str | None]) -> list[msgspec.Struct]:
        view = self._view
        return [
            view(service, state, at)
            for service, state, at in zip(stated.services, stated.states, times, strict=True)
            if service.binary not in UNLISTED
        ]


def _cut(row: str) -> list[str]:
    if not row:
        return ["", "", ""]
    begin, updated_at, end = cut(row, ["updated_at"])
    return [begin, updated_at, sys.intern(end)]  # most have no reason, and the same end


def _moved(columns: Iterable[Sequence[Any]], before: Iterable[Sequence[Any]]) -> list[int]:
    """Return the places at which any of the columns is not as it was before."""
    pairs = zip(columns, before, strict=True)
    return sorted({place for column, former in pairs for place in moved(column, former)})
