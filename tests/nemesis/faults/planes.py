"""Control planes are killed, frozen and rolled."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.faults.kinds import fault
from nemesis.world import World


@fault("servers", "record")
def plane_killed(world: World, dice: random.Random) -> Iterator[str]:
    plane = dice.choice(world.planes)
    plane.kill()
    yield plane.name
    plane.start_again()


@fault("servers", "record", longest=8, holds=True)
def plane_frozen(world: World, dice: random.Random) -> Iterator[str]:
    plane = dice.choice(world.planes)
    plane.freeze()
    yield plane.name
    plane.thaw()
    plane.wait()


@fault("servers", "record", longest=0)
def planes_rolled(world: World, dice: random.Random) -> Iterator[str]:
    """Restart them one after another, as an upgrade does."""
    for plane in world.planes:
        plane.stop()
        plane.start_again()
    yield "all planes"


@fault("servers", "record", longest=5)
def planes_killed(world: World, dice: random.Random) -> Iterator[str]:
    """Nobody listens meanwhile."""
    for plane in world.planes:
        plane.kill()
    yield "all planes"
    for plane in world.planes:
        plane.start_only()
    for plane in world.planes:
        plane.wait()


@fault("servers", longest=6)
def plane_clock_stepped(world: World, dice: random.Random) -> Iterator[str]:
    """Its clock does not matter (SQL-2)."""
    plane = dice.choice(world.planes)
    plane.clock.step(dice.choice([-3600, -30, 30, 3600]))
    yield plane.name
    plane.clock.step(0)
