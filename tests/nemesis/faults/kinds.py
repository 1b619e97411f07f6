"""What is done to the world: each kind of fault breaks something, and mends it when it is over.

A fault is a generator: what is before the yield breaks, what is after it mends, and what it yields
is the target's name. The dice it gets are its own, so it does the same whenever it is replayed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NamedTuple

from nemesis.world import World

Lane = Literal["servers", "ways", "fleet", "backends"]
"""Faults of one lane follow one another, those of different ones fall together.

Those of ``servers`` and ``backends`` that touch the backend take turns.
"""

Path = Literal["record", "backend", "clock"]
"""What promises rely on; see ``promises.history.Fault``."""

Doing = Callable[[World, random.Random], Iterator[str]]


class Kind(NamedTuple):
    """A kind of fault: which paths it touches, and for how many seconds it lasts at the most.

    ``holds`` and ``touches`` are those of ``promises.history.Fault``. Nothing is touched by what
    happens to the processes of services: their proofs tell.
    """

    name: str
    lane: Lane
    doing: Callable[[World, random.Random], AbstractContextManager[str]]
    longest: float
    touches: frozenset[Path]
    holds: bool
    fits: Callable[[World], bool]


KINDS: dict[str, Kind] = {}
"""Every kind of fault, by name."""


def fault(
    lane: Lane,
    *touches: Path,
    longest: float = 4.0,
    holds: bool = False,
    fits: Callable[[World], bool] = lambda _: True,
) -> Callable[[Doing], Doing]:
    """Make a generator function a kind of fault; its name is the function's."""

    def add(doing: Doing) -> Doing:
        name = doing.__name__.replace("_", "-")
        KINDS[name] = Kind(
            name=name,
            lane=lane,
            doing=contextmanager(doing),
            longest=longest,
            touches=frozenset(touches),
            holds=holds,
            fits=fits,
        )
        return doing

    return add
