"""Lists of services as JSON, made piece by piece: memory holds some of them at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from servicegroup.api.call import Answer
from servicegroup.api.large import Large, gathered


def listed(pieces: Iterable[Sequence[msgspec.Struct]], end: bytes = b"]}") -> Answer:
    """Return an answer whose ``services`` are those of all pieces; ``end`` closes the list."""
    body = gathered(itertools.chain([b'{"services":['], _separated(pieces), [end]))
    if isinstance(body, Large):
        return Answer(large=body)
    return Answer(body=body)


def _separated(pieces: Iterable[Sequence[msgspec.Struct]]) -> Iterator[bytes]:
    comma = b""
    for piece in pieces:
        if piece:
            yield comma
            yield msgspec.json.encode(piece)[1:-1]
            comma = b","
