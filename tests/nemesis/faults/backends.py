"""The backend is killed, frozen, restarted and emptied, and its leader lost."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis.faults.kinds import fault
from nemesis.world import World
from servers.process import ask
from servers.zookeeper import ZooKeeperEnsemble


def on_zookeeper(world: World) -> bool:
    return world.driver == "zookeeper"


def on_memcached(world: World) -> bool:
    return world.driver == "memcached"


@fault("servers", "backend")
def backend_killed(world: World, dice: random.Random) -> Iterator[str]:
    server = dice.choice(world.servers)
    server.kill()
    yield f"{server.name} {server.port}"
    server.start()


@fault("servers", "backend", longest=6, holds=True)
def backend_frozen(world: World, dice: random.Random) -> Iterator[str]:
    server = dice.choice(world.servers)
    server.freeze()
    yield f"{server.name} {server.port}"
    server.thaw()


@fault("servers", "backend", longest=0)
def backend_restarted(world: World, dice: random.Random) -> Iterator[str]:
    """All of its servers, one after another."""
    for server in world.servers:
        server.restart()
    yield world.driver


@fault("servers", "backend", fits=on_zookeeper)
def leader_lost(world: World, dice: random.Random) -> Iterator[str]:
    """ZK-4: the others elect one."""
    assert isinstance(world.backend, ZooKeeperEnsemble)
    leader = world.backend.leader()
    dice.choice([leader.kill, leader.freeze])()
    yield f"zookeeper {leader.port}"
    if leader.running:
        leader.thaw()
    else:
        leader.start()


@fault("servers", "backend", fits=on_zookeeper)
def quorum_lost(world: World, dice: random.Random) -> Iterator[str]:
    """ET-5: a backend that cannot tell."""
    lost = dice.sample(list(world.servers), 2)
    for server in lost:
        server.kill()
    yield "zookeeper"
    world.backend.start()


@fault("servers", "backend", longest=0, fits=on_memcached)
def backend_emptied(world: World, dice: random.Random) -> Iterator[str]:
    """MC-5."""
    assert ask(world.servers[0].port, b"flush_all\r\n", b"\r\n") == b"OK\r\n"
    yield "memcached"
