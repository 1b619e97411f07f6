"""A request with its answer, as recorded, and what a later release owes to it."""

from __future__ import annotations

from typing import Any

import msgspec


class Exchange(msgspec.Struct, frozen=True):
    """What an agent asked and a control plane answered; bodies are decoded JSON."""

    method: str
    path: str
    body: Any
    status: int
    answer: Any


def covers(new: Any, old: Any) -> bool:
    """Tell whether an answer has all that an older one has: every field, of the same type.

    Lists hold who was refused, and must be equal. A number may have become any other number.
    """
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and covers(new[key], value) for key, value in old.items()
        )
    if isinstance(old, list):
        return bool(new == old)
    numbers = (int, float)
    return type(new) is type(old) or (isinstance(new, numbers) and isinstance(old, numbers))
