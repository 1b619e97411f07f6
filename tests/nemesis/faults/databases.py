"""The database is killed, frozen, locked, full and replaced."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis import mishaps
from nemesis.databases import Loss, OnPostgreSQL, OnStandby
from nemesis.faults.kinds import fault
from nemesis.world import World

YEAR = 365 * 86_400
"""Seconds."""


def is_alone(world: World) -> bool:
    return isinstance(world.database, OnPostgreSQL) and not world.database.copies


def is_followed(world: World) -> bool:
    return world.database.copies > 0


def has_one_clock(world: World) -> bool:
    return len(world.database.servers) == 1 and bool(world.clock.words)


def has_disk(world: World) -> bool:
    return world.database.disk is not None and world.database.disk.mounted


@fault("servers", "record")
def database_killed(world: World, dice: random.Random) -> Iterator[str]:
    """Any of those that take writes."""
    server = dice.choice(world.database.servers)
    server.kill()
    yield f"{world.database.name} {server.port}"
    server.start()
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True)
def database_frozen(world: World, dice: random.Random) -> Iterator[str]:
    """Any of those that take writes."""
    server = dice.choice(world.database.servers)
    server.freeze()
    yield f"{world.database.name} {server.port}"
    server.thaw()
    wait_for_planes(world)


@fault("servers", "record", longest=0)
def database_restarted(world: World, dice: random.Random) -> Iterator[str]:
    """All of those that take writes, one after another."""
    for server in world.database.servers:
        server.restart()
        world.database.settle()
    wait_for_planes(world)
    yield world.database.name


@fault("servers", "record", longest=0, fits=is_alone)
def database_failed_over(world: World, dice: random.Random) -> Iterator[str]:
    assert isinstance(world.database, OnPostgreSQL)
    world.database.fail_over()
    wait_for_planes(world)
    yield "postgresql"


@fault("servers", "record", longest=0)
def sessions_ended(world: World, dice: random.Random) -> Iterator[str]:
    """As at a fail-over, whatever is under way is undone."""
    mishaps.end_sessions(world.database.url)
    yield world.database.name


@fault("servers", "record", longest=8, holds=True)
def services_locked(world: World, dice: random.Random) -> Iterator[str]:
    """Hold a lock on the table, as a migration or a dump may."""
    with mishaps.locked(world.database.url, "services"):
        yield world.database.name
    wait_for_planes(world)


@fault("servers", "record", longest=6, fits=has_disk)
def disk_full(world: World, dice: random.Random) -> Iterator[str]:
    assert world.database.disk is not None
    with world.database.disk.full():
        yield world.database.name
    if not world.database.server.running:
        world.database.server.start()
    wait_for_planes(world)


@fault("servers", "record", "clock", longest=8, fits=has_one_clock)
def database_clock_stepped(world: World, dice: random.Random) -> Iterator[str]:
    """SQL-4, SQL-5, F-50: in either direction, by seconds or by a year, and back again."""
    world.clock.step(dice.choice([-3600, -20, -4, 4, 20, 600, YEAR]))
    yield world.database.name
    world.clock.step(0)


def replaced(world: World, loss: Loss) -> Iterator[str]:
    """Lose the primary, and go on with its standby (F-3)."""
    assert isinstance(world.database, OnStandby)
    world.database.promote(loss)
    yield f"postgresql, by {loss}"
    world.database.replace()
    wait_for_planes(world)


@fault("servers", "record", fits=is_followed)
def primary_killed(world: World, dice: random.Random) -> Iterator[str]:
    return replaced(world, "kill")


@fault("servers", "record", fits=is_followed)
def primary_frozen(world: World, dice: random.Random) -> Iterator[str]:
    """It hangs, and is not believed when it goes on: it is killed before that."""
    return replaced(world, "freeze")


@fault("servers", "record", fits=is_followed)
def primary_stopped(world: World, dice: random.Random) -> Iterator[str]:
    """In good order, as when its host is to be upgraded."""
    return replaced(world, "stop")


@fault("servers", "record", longest=6, holds=True, fits=is_followed)
def standby_frozen(world: World, dice: random.Random) -> Iterator[str]:
    """F-31: commits wait for it, and are acknowledged to nobody."""
    assert isinstance(world.database, OnStandby)
    world.database.standby.freeze()
    yield "postgresql"
    world.database.standby.thaw()
    wait_for_planes(world)


def wait_for_planes(world: World) -> None:
    """Return when the database is whole, and all control planes commit reports again."""
    world.database.settle()
    for plane in world.planes:
        plane.wait()
