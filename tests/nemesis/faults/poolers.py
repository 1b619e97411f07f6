"""The pooler before the database is killed, frozen and told; the database behind it runs on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nemesis import mishaps
from nemesis.databases import OnPgBouncer
from nemesis.faults.databases import wait_for_planes
from nemesis.faults.kinds import fault
from nemesis.world import World
from servers.pgbouncer import PgBouncer


def has_pooler(world: World) -> bool:
    return isinstance(world.database, OnPgBouncer)


def pooler_of(world: World) -> PgBouncer:
    assert isinstance(world.database, OnPgBouncer)
    return world.database.pooler


@fault("servers", "record", fits=has_pooler)
def pooler_killed(world: World, dice: random.Random) -> Iterator[str]:
    pooler_of(world).kill()
    yield "pgbouncer"
    pooler_of(world).start()
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True, fits=has_pooler)
def pooler_frozen(world: World, dice: random.Random) -> Iterator[str]:
    pooler_of(world).freeze()
    yield "pgbouncer"
    pooler_of(world).thaw()
    wait_for_planes(world)


@fault("servers", "record", longest=0, fits=has_pooler)
def pooler_reloaded(world: World, dice: random.Random) -> Iterator[str]:
    """With a smaller pool, or a larger one, and other sessions."""
    size = dice.choice([2, OnPgBouncer.SESSIONS, 4 * OnPgBouncer.SESSIONS])
    pooler_of(world).reload(default_pool_size=str(size))
    yield f"pgbouncer, {size} sessions"
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True, fits=has_pooler)
def pool_exhausted(world: World, dice: random.Random) -> Iterator[str]:
    """F-31: others hold all sessions there are."""
    pooler = pooler_of(world)
    size = int(pooler.settings["default_pool_size"])
    with mishaps.sessions_held(pooler.pooled(world.database.url), size):
        yield f"pgbouncer, {size} sessions"
    wait_for_planes(world)


@fault("servers", "record", longest=8, holds=True, fits=has_pooler)
def pooler_paused(world: World, dice: random.Random) -> Iterator[str]:
    """As before the database is moved: whoever has a question waits."""
    pooler_of(world).tell("PAUSE")
    yield "pgbouncer"
    pooler_of(world).tell("RESUME")
    wait_for_planes(world)
