"""From a seed to what is done when, to the second: the same seed is the same schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nemesis.faults import Kind

STORM, CALM = 30.0, 15.0
"""Seconds in which all lanes are busy, and then only the fleet's, so that all promises bind."""

PAUSES = {
    "servers": (1.0, 6.0),
    "ways": (1.0, 8.0),
    "fleet": (0.5, 5.0),
    "backends": (2.0, 10.0),
}
"""Seconds between two faults of a lane: at least, and at the most.

The schedule of a lane depends on those before it here: a new one comes last.
"""


class Step(NamedTuple):
    """A fault that begins ``at`` seconds after the start and lasts so many ``seconds``."""

    at: float
    kind: str
    seconds: float
    seed: int

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind}, for {self.seconds:.1f} s"


def schedule(seed: int, seconds: float, kinds: Sequence[Kind]) -> dict[str, list[Step]]:
    """Return the steps of each lane; every kind comes before any comes again."""
    dice = random.Random(seed)
    return {lane: list(_steps(dice, lane, seconds, kinds)) for lane in PAUSES}


def _steps(dice: random.Random, lane: str, seconds: float, kinds: Sequence[Kind]) -> Iterator[Step]:
    own = [kind for kind in kinds if kind.lane == lane]
    waiting: list[Kind] = []
    at = 0.0
    while own:
        at += dice.uniform(*PAUSES[lane])
        if lane != "fleet" and at % (STORM + CALM) > STORM:
            at += STORM + CALM - at % (STORM + CALM)
        waiting = waiting or dice.sample(own, len(own))
        kind = waiting.pop()
        step = Step(at, kind.name, dice.uniform(0, kind.longest), dice.randrange(2**32))
        if step.at + step.seconds > seconds:
            return
        yield step
        at += step.seconds
