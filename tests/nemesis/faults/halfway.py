"""The backend half works: it refuses, all of it hangs, or another of its servers leads."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.backends import OnRedis
from nemesis.faults.backends import bring_back, has_leader
from nemesis.faults.kinds import fault
from nemesis.faults.ways import break_in_a_mode
from nemesis.world import World


def can_refuse(world: World) -> bool:
    return world.backend.can("refusing")


def can_hand_over(world: World) -> bool:
    return world.backend.can("hand_over")


def on_redis(world: World) -> bool:
    return isinstance(world.backend, OnRedis)


@fault("backends", "backend", longest=8, fits=can_refuse)
def writes_refused(world: World, dice: random.Random) -> Iterator[str]:
    """F-1: whoever is new cannot be present, and questions are answered."""
    with world.backend.refusing(dice) as how:
        yield how


@fault("backends", "backend", longest=6, holds=True, fits=has_leader)
def backend_hung(world: World, dice: random.Random) -> Iterator[str]:
    """F-18: all of its servers hang."""
    for server in world.servers:
        server.freeze()
    yield world.driver
    for server in world.servers:
        server.thaw()
    world.backend.settle()


@fault("backends", "backend", holds=True, fits=has_leader)
def leader_replaced(world: World, dice: random.Random) -> Iterator[str]:
    """F-16, F-19: another leads, and the former one comes back to that."""
    former = world.backend.leader()
    how = dice.choice(["kill", "freeze"])
    getattr(former, how)()
    world.backend.successor(former)
    yield f"{former.name} {former.port}, by {how}"
    bring_back(former)
    world.backend.settle()


@fault("backends", "backend", longest=0, fits=can_hand_over)
def leader_moved(world: World, dice: random.Random) -> Iterator[str]:
    """In good order."""
    world.backend.hand_over()
    yield world.driver


@fault("backends", "backend", longest=8, holds=True, fits=on_redis)
def leader_cut_off(world: World, dice: random.Random) -> Iterator[str]:
    """From all others; it believes that it leads until it hears of another."""
    assert isinstance(world.backend, OnRedis)
    leader = world.backend.leader()
    way = world.backend.way_to(leader)
    yield f"{leader.name} {leader.port}, {break_in_a_mode([way], dice)}"
    way.heal()
    world.backend.settle()
