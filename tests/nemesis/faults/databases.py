"""The database is killed, frozen, locked, full and replaced."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis import database
from nemesis.faults.kinds import fault
from nemesis.world import World
from servers.postgresql import PostgreSQL

YEAR = 365 * 86_400
"""Seconds."""


@fault("servers", "record")
def database_killed(world: World, dice: random.Random) -> Iterator[str]:
    world.database.kill()
    yield world.database.name
    world.database.start()
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True)
def database_frozen(world: World, dice: random.Random) -> Iterator[str]:
    world.database.freeze()
    yield world.database.name
    world.database.thaw()
    wait_for_planes(world)


@fault("servers", "record", longest=0)
def database_restarted(world: World, dice: random.Random) -> Iterator[str]:
    world.database.restart()
    wait_for_planes(world)
    yield world.database.name


@fault("servers", "record", longest=0, fits=lambda world: isinstance(world.database, PostgreSQL))
def database_failed_over(world: World, dice: random.Random) -> Iterator[str]:
    world.fail_over()
    wait_for_planes(world)
    yield "postgresql"


@fault("servers", "record", longest=0)
def sessions_ended(world: World, dice: random.Random) -> Iterator[str]:
    """As at a fail-over, whatever is under way is undone."""
    database.end_sessions(world.url)
    yield world.database.name


@fault("servers", "record", longest=8, holds=True)
def services_locked(world: World, dice: random.Random) -> Iterator[str]:
    """Hold a lock on the table, as a migration or a dump may."""
    with database.locked(world.url, "services"):
        yield world.database.name
    wait_for_planes(world)


@fault("servers", "record", longest=6, fits=lambda world: world.disk.mounted)
def disk_full(world: World, dice: random.Random) -> Iterator[str]:
    with world.disk.full():
        yield world.database.name
    if not world.database.running:
        world.database.start()
    wait_for_planes(world)


@fault("servers", "record", "clock", longest=8, fits=lambda world: bool(world.database.before))
def database_clock_stepped(world: World, dice: random.Random) -> Iterator[str]:
    """SQL-4, SQL-5, F-50: in either direction, by seconds or by a year, and back again."""
    world.clock.step(dice.choice([-3600, -20, -4, 4, 20, 600, YEAR]))
    yield world.database.name
    world.clock.step(0)


def wait_for_planes(world: World) -> None:
    """Return when all control planes commit reports again."""
    for plane in world.planes:
        plane.wait()
