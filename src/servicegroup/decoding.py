"""Decoding into types, from any thread: whatever decodes into one does it through here.

msgspec learns what a Struct is made of when something is first decoded into it, and a thread that
comes while another one is about that crashes the process. So one thread at a time may be.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import msgspec

from servicegroup.green import native_threading

T = TypeVar("T")

_learning = native_threading().Lock()
# Nobody may be about it in another thread, which a child would not have. uWSGI tells only the child
# of a fork, and not before it, so that one does not release what may not be held.
os.register_at_fork(
    before=lambda: _learning.acquire(),
    after_in_parent=lambda: _learning.release(),
    after_in_child=lambda: _begin_anew(),
)
_decoders: dict[tuple[Any, bool], msgspec.json.Decoder[Any]] = {}


def _begin_anew() -> None:
    global _learning
    _learning = native_threading().Lock()


def decoder(kind: type[T], *, strict: bool = True) -> msgspec.json.Decoder[T]:
    """Return the decoder of JSON for a type; without ``strict`` numbers may be text, too."""
    found = _decoders.get((kind, strict))
    if found is None:
        with _learning:
            found = _decoders.get((kind, strict)) or msgspec.json.Decoder(kind, strict=strict)
            _decoders[kind, strict] = found
    return found


def converted(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Return a value of simple types as one of this type. Raises msgspec.ValidationError."""
    decoder(kind)  # so that the type is known
    return msgspec.convert(value, kind, strict=strict)
