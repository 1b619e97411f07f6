"""The backend is killed, frozen, restarted and emptied, and its leader lost."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.faults.kinds import fault
from nemesis.world import World
from servers.process import Server


def has_servers(world: World) -> bool:
    return bool(world.servers)


def has_leader(world: World) -> bool:
    return world.backend.has_leader


def can_be_emptied(world: World) -> bool:
    return world.backend.can("empty")


def bring_back(server: Server) -> None:
    """Let a server go on that was frozen, and start one that was killed."""
    if server.running:
        server.thaw()
    else:
        server.start()


@fault("servers", "backend", fits=has_servers)
def backend_killed(world: World, dice: random.Random) -> Iterator[str]:
    server = dice.choice(world.servers)
    server.kill()
    yield f"{server.name} {server.port}"
    server.start()
    world.backend.settle()


@fault("servers", "backend", longest=6, holds=True, fits=has_servers)
def backend_frozen(world: World, dice: random.Random) -> Iterator[str]:
    server = dice.choice(world.servers)
    server.freeze()
    yield f"{server.name} {server.port}"
    server.thaw()
    world.backend.settle()


@fault("servers", "backend", longest=0, fits=has_servers)
def backend_restarted(world: World, dice: random.Random) -> Iterator[str]:
    """All of its servers, one after another."""
    for server in world.servers:
        server.restart()
    world.backend.settle()
    yield world.driver


@fault("servers", "backend", fits=has_leader)
def leader_lost(world: World, dice: random.Random) -> Iterator[str]:
    """ZK-4: the others elect one."""
    leader = world.backend.leader()
    dice.choice([leader.kill, leader.freeze])()
    yield f"{leader.name} {leader.port}"
    bring_back(leader)
    world.backend.settle()


@fault("servers", "backend", fits=has_leader)
def quorum_lost(world: World, dice: random.Random) -> Iterator[str]:
    """ET-5: a backend that cannot tell."""
    lost = dice.sample(list(world.backend.voters), 2)
    for server in lost:
        server.kill()
    yield world.driver
    world.backend.revive()
    world.backend.settle()


@fault("servers", "backend", longest=0, fits=can_be_emptied)
def backend_emptied(world: World, dice: random.Random) -> Iterator[str]:
    """MC-5."""
    world.backend.empty()
    yield world.driver
