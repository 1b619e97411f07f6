"""Networks fail, in all the ways the proxy knows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from nemesis.faults.backends import has_servers
from nemesis.faults.kinds import fault
from nemesis.world import SITES, World
from servers.proxy import Mode, Proxy


def break_in_a_mode(way: Sequence[Proxy], dice: random.Random) -> str:
    """Break a way in one of the proxy's modes; return which."""
    mode, amount = dice.choice(
        [
            (Mode.DELAY, dice.uniform(0.05, 1.5)),
            (Mode.BLACK_HOLE, 0.0),
            (Mode.HALF_OPEN, 0.0),
            (Mode.RESET, 0.0),
            (Mode.SLOW_CLOSE, dice.uniform(0.5, 3)),
            (Mode.CUT_AFTER, dice.randrange(1, 5000)),
        ]
    )
    for proxy in way:
        proxy.be(mode, amount)
    return f"{mode} {amount:g}"


def way_broken(world: World, dice: random.Random, target: str) -> Iterator[str]:
    """Break the ways from somebody to a target."""
    way = dice.choice([way for way in world.ways if way[1].startswith(target)])
    how = break_in_a_mode(world.ways[way], dice)
    yield f"{way[0]} to {way[1]}, {how}"
    for proxy in world.ways[way]:
        proxy.heal()


@fault("ways", "record", longest=8, holds=True)
def way_to_planes_broken(world: World, dice: random.Random) -> Iterator[str]:
    return way_broken(world, dice, "plane")


@fault("ways", "record", longest=8, holds=True)
def way_to_database_broken(world: World, dice: random.Random) -> Iterator[str]:
    return way_broken(world, dice, "database")


@fault("ways", "backend", longest=8, holds=True, fits=has_servers)
def way_to_backend_broken(world: World, dice: random.Random) -> Iterator[str]:
    yield from way_broken(world, dice, "backend")
    world.backend.settle()


@fault("ways", "record", longest=8)
def site_cut_off(world: World, dice: random.Random) -> Iterator[str]:
    """A site reaches no control plane, and is present in the backend."""
    site = dice.choice(SITES)
    proxies = [proxy for plane in world.planes for proxy in world.ways[site, plane.name]]
    for proxy in proxies:
        proxy.cut()
    yield site
    for proxy in proxies:
        proxy.heal()
