"""Operators disable, force down and delete, and take it back."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.acts import insist
from nemesis.faults.fleet import some
from nemesis.faults.kinds import fault
from nemesis.world import World


@fault("fleet", longest=6)
def service_disabled(world: World, dice: random.Random) -> Iterator[str]:
    process = some(world, dice)
    key = dice.choice(process.keys)
    insist(world, dice, "disable", process, key)
    yield key[0]
    insist(world, dice, "enable", process, key)


@fault("fleet", longest=6)
def service_forced_down(world: World, dice: random.Random) -> Iterator[str]:
    process = some(world, dice)
    key = dice.choice(process.keys)
    insist(world, dice, "force_down", process, key)
    yield key[0]
    insist(world, dice, "unforce", process, key)


@fault("fleet", longest=6)
def service_deleted(world: World, dice: random.Random) -> Iterator[str]:
    """LC-1, ZK-18: its process runs on, and only a restart registers anew."""
    process = some(world, dice)
    key = dice.choice(process.keys)
    insist(world, dice, "delete", process, key)
    yield key[0]
    process.kill()
    process.start()
