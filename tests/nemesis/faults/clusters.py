"""A node of the database's cluster is cut off from the others, or blocked; the quorum is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.databases import OnGalera
from nemesis.faults.databases import wait_for_planes
from nemesis.faults.kinds import fault
from nemesis.world import World
from servers.process import PATIENCE
from support.waiting import until


def is_cluster(world: World) -> bool:
    return isinstance(world.database, OnGalera)


def has_clocks(world: World) -> bool:
    """Whether each of its nodes has one that can step."""
    return is_cluster(world) and bool(world.clock.words)


def cluster_of(world: World) -> OnGalera:
    assert isinstance(world.database, OnGalera)
    return world.database


@fault("servers", "record", longest=8, holds=True, fits=is_cluster)
def node_cut_off(world: World, dice: random.Random) -> Iterator[str]:
    """From the other nodes: it answers its clients, and may not write (F-3)."""
    node = dice.choice(cluster_of(world).servers)
    node.cut_off()
    yield f"galera {node.port}"
    node.heal()
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True, fits=is_cluster)
def node_blocked(world: World, dice: random.Random) -> Iterator[str]:
    """F-24: by a backup, while the others go on."""
    node = dice.choice(cluster_of(world).servers)
    with node.blocked():
        yield f"galera {node.port}"
    wait_for_planes(world)


@fault("servers", "record", longest=6, fits=is_cluster)
def nodes_killed(world: World, dice: random.Random) -> Iterator[str]:
    """F-28: without a quorum, until an operator makes the last node one."""
    cluster = cluster_of(world).cluster
    *lost, left = dice.sample(cluster.servers, len(cluster.servers))
    for node in lost:
        node.kill()
    yield f"galera, all but {left.port}"
    until(lambda: not left.is_primary, PATIENCE, what="the last node knows that it is alone")
    left.bootstrap()
    cluster.start()
    wait_for_planes(world)


@fault("servers", "record", "clock", longest=8, fits=has_clocks)
def node_clock_apart(world: World, dice: random.Random) -> Iterator[str]:
    """F-25: by no more than is borne."""
    number = dice.randrange(len(cluster_of(world).clocks))
    clock, by = cluster_of(world).clocks[number], dice.choice([-2, -1, 1, 2])
    clock.step(by)
    yield f"galera {cluster_of(world).servers[number].port}, by {by} s"
    clock.step(0)
