"""The rows of ``/v1/services`` as JSON, each kept but for what moves: reports, marks and ages.

Evidence of ten thousand services takes several times as long to make and to encode as all the rest
of a list. Whoever is up at a glance has the same as in the list before, but for some numbers. So
rows are kept in pieces, and what moves is written as columns and put between them. Everybody else
is judged and encoded whole.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from servicegroup.api.pieces import Told, cut, joined, lines, values
from servicegroup.batches import MOST_GLIMPSED
from servicegroup.model import ServiceFilter
from servicegroup.moments import NEVER, SECOND, moment_of, quoted
from servicegroup.remembered import Remembered

if TYPE_CHECKING:
    from servicegroup.batches import Glimpse
    from servicegroup.group import ServiceGroup
    from servicegroup.liveness import Listening
    from servicegroup.model import Reason

KEPT_SHEETS = 16
"""Batches whose pieces stay in order: those of everybody, and of a few of their binaries."""

_AGE = "age"
"""What moves in the presence of whoever holds a session; others have none."""

_VALUES = (
    "report_count",
    "created_at",
    "updated_at",
    "last_seen_up",
    "registered_at",
    "report_age",
    "unheard",
    "registered_age",
    _AGE,
)
"""Values that move, or are each row's own, in the order of the fields; what stands between them is
held once for all rows that share it."""

_OWN = {"created_at", "registered_at"}
"""Those of them that do not move."""

_STRIDE = 2 * len(_VALUES) + 1
"""Pieces of a row: each value after what stands before it, and the rest."""

_NOTHING = [""] * _STRIDE
"""The pieces of a row of which none are kept."""

_ENCODER = msgspec.json.Encoder()

_kept: WeakKeyDictionary[ServiceGroup, Frames] = WeakKeyDictionary()


class Frame(NamedTuple):
    """A row with gaps, and what it was made of: it is good for as long as that is the same."""

    row: object
    reason: Reason
    session: int
    observed: bool
    pieces: list[str]


class _MadeOf(NamedTuple):
    """What the frames of a batch were made of, in columns."""

    rows: Sequence[object]
    reasons: list[Reason | None]
    sessions: Sequence[int]
    observed: bool

    def is_of(self, place: int, frame: Frame) -> bool:
        """Tell whether a frame is one of the service that stands at a place now."""
        return (
            frame.row is self.rows[place]
            and frame.reason is self.reasons[place]
            and frame.session == self.sessions[place]
            and frame.observed == self.observed
        )


class _Sheet(NamedTuple):
    """The rows of a batch one after another, in pieces, and at which places none is kept."""

    made_of: _MadeOf
    pieces: list[str]
    whole: list[int]
    registered_at: list[int]
    told: dict[str, Told]


class Frames:
    """The frames of one register, by the ids of its services."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._frames: dict[int, Frame] = {}
        self._sheets: Remembered[tuple[ServiceFilter, int], _Sheet] = Remembered(KEPT_SHEETS)

    def encoded(self, glimpses: Iterable[Glimpse], filters: ServiceFilter) -> Iterator[memoryview]:
        """Yield the JSON of the services of each batch, with commas between them.

        Those of a list of everybody replace all that are kept; none are where it is too long.
        """
        listed: set[int] = set()
        for number, glimpse in enumerate(glimpses):
            ids = glimpse.batch.kept.ids
            listed.update(ids)
            if len(listed) > MOST_GLIMPSED:
                self._frames.clear()
                self._sheets = Remembered(KEPT_SHEETS)
                for judged in glimpse.judged(ids):
                    yield memoryview(_ENCODER.encode(judged))[1:-1]
            elif ids:
                yield self._encoded(self._sheet((filters, number), glimpse), glimpse)
        if filters == ServiceFilter():
            for gone in self._frames.keys() - listed:
                del self._frames[gone]

    def _sheet(self, key: tuple[ServiceFilter, int], glimpse: Glimpse) -> _Sheet:
        rows = glimpse.batch.kept.rows
        made_of = _MadeOf(rows, glimpse.reasons, glimpse.sessions, glimpse.observed)
        sheet = self._sheets.found([key]).get(key)
        if sheet is None or sheet.made_of != made_of:
            sheet = self._made(made_of, glimpse)
            self._sheets.add({key: sheet})
        return sheet

    def _made(self, made_of: _MadeOf, glimpse: Glimpse) -> _Sheet:
        """Put the frames of a batch in order, with new ones for those that lack one."""
        ids = glimpse.batch.kept.ids
        found = [self._good(made_of, place, one) for place, one in enumerate(ids)]
        lacking = (place for place, reason in enumerate(made_of.reasons) if reason)
        wanted = [place for place in lacking if found[place] is None]
        if len(self._frames) + len(wanted) > MOST_GLIMPSED:
            self._frames.clear()  # many of them may be of who is gone
        for place, row in _rows(glimpse, wanted):
            found[place] = self._frames[ids[place]] = _frame(made_of, place, row)
        return _Sheet(
            made_of,
            [piece for frame in found for piece in (frame.pieces if frame else _NOTHING)],
            [place for place, frame in enumerate(found) if frame is None],
            [moment_of(service.registered_at) for service in glimpse.batch.services],
            {name: Told(write) for name, write in _WRITTEN.items()},
        )

    def _good(self, made_of: _MadeOf, place: int, id_: int) -> Frame | None:
        """Return the frame of who stands at a place, and forget one that is good no more."""
        frame = self._frames.get(id_)
        if frame is None or made_of.is_of(place, frame):
            return frame
        del self._frames[id_]
        return None

    def _encoded(self, sheet: _Sheet, glimpse: Glimpse) -> memoryview:
        """Return the rows of a sheet with what moves put between what is kept."""
        pieces = sheet.pieces.copy()
        for name, column in _columns(glimpse, sheet):
            pieces[2 * _VALUES.index(name) + 1 :: _STRIDE] = column
        for place in sheet.whole:
            pieces[place * _STRIDE : (place + 1) * _STRIDE] = _NOTHING
        for place, row in _rows(glimpse, sheet.whole):
            pieces[place * _STRIDE] = row + ","
        return joined(pieces)


def frames_of(group: ServiceGroup) -> Frames:
    """Return those that are kept of a register; whole lists of it are made one at a time."""
    return _kept.setdefault(group, Frames())


def forget_frames(group: ServiceGroup) -> None:
    """Keep none of a register any more."""
    _kept.pop(group, None)


def _rows(glimpse: Glimpse, places: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Judge who stands at these places of a batch, and yield each row with its place."""
    place_of = {glimpse.batch.kept.ids[place]: place for place in places}
    for judged in glimpse.judged(list(place_of)):
        for service, row in zip(judged, lines(judged), strict=True):
            yield place_of[service.id], row


def _frame(made_of: _MadeOf, place: int, row: str) -> Frame:
    """Return the frame of a row, without the values that move."""
    reason, session = made_of.reasons[place], made_of.sessions[place]
    assert reason is not None  # noqa: S101 - of others there are no frames
    names = _VALUES if session else _VALUES[: _VALUES.index(_AGE)]
    pieces = cut(row, names)
    pieces[::2] = map(sys.intern, pieces[::2])
    pieces[1::2] = [v if n in _OWN else "" for n, v in zip(names, pieces[1::2], strict=True)]
    pieces += [""] * (_STRIDE - len(pieces))
    return Frame(made_of.rows[place], reason, session, made_of.observed, pieces)


def _columns(glimpse: Glimpse, sheet: _Sheet) -> Iterator[tuple[str, list[str]]]:
    """Yield the values that move of the rows of a batch, by their names."""
    stamps, moves = glimpse.batch.stamps, glimpse.batch.stamps.moves
    now = moment_of(glimpse.batch.listening.now)
    yield "report_count", sheet.told["report_count"].of(moves.report_count)
    yield "last_seen_up", sheet.told["last_seen_up"].of(moves.seen_at)
    own = "last_seen_up" if stamps.updated_at == moves.seen_at else "updated_at"
    yield "updated_at", sheet.told[own].of(stamps.updated_at)
    yield "report_age", values([(now - at) / 1e6 for at in moves.seen_at])
    yield "unheard", values(_unheard(glimpse.aged, moves.seen_at))
    yield "registered_age", values([(now - at) / 1e6 for at in sheet.registered_at])
    if any(glimpse.sessions):
        yield _AGE, _ages(now, stamps.marked_at, glimpse.sessions)


def _ages(now: int, marked_at: Sequence[int], sessions: Sequence[int]) -> list[str]:
    """Return how old the mark of each session's control plane is, nothing for who holds none."""
    marks = list(set(marked_at))
    ages = dict(zip(marks, values([max(0.0, (now - one) / 1e6) for one in marks]), strict=True))
    pairs = zip(marked_at, sessions, strict=True)
    return [ages[mark] if session else "" for mark, session in pairs]


def _unheard(listening: Listening, moments: Sequence[int]) -> list[float]:
    """Return for how many seconds nobody listened since each of these; see ``Listening``."""
    spans = []
    later = 0.0
    for one in reversed(listening.unheard):
        start, end = moment_of(one.start), moment_of(min(one.end, listening.now))
        if start < end:
            spans.append((end, start, later))
            later += (end - start) / 1e6
    if not spans:
        return [0.0] * len(moments)
    spans.reverse()
    (end, start, _), former = spans[-1], spans[-2][0] if len(spans) > 1 else NEVER
    return [
        0.0
        if at >= end
        else (end - (start if start > at else at)) / 1e6  # noqa: FURB136 - a call takes longer
        if at >= former
        else _unheard_since(spans, at)
        for at in moments
    ]


def _unheard_since(spans: list[tuple[int, int, float]], moment: int) -> float:
    """Return the same for one; a span is its end, its start, and how long the later ones are."""
    end, start, later = spans[bisect_right(spans, moment, key=itemgetter(0))]
    return later + max(0.0, (end - max(start, moment)) / 1e6)


def _times(moments: Sequence[int]) -> list[str]:
    """Return each as msgspec writes it: without a fraction of a second that is none."""
    told = quoted(moments)
    for place, at in enumerate(moments):
        if not at % SECOND:
            told[place] = told[place].replace('.000000"', '"')
    return told


_WRITTEN: dict[str, Callable[[Sequence[int]], list[str]]] = {
    "report_count": lambda counts: values(list(counts)),
    "last_seen_up": _times,
    "updated_at": _times,
}
"""How the values are written that do not move between two lists where nobody reported."""
