"""Processes that have services are killed, frozen, stopped, started again; alone, or in crowds."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

from nemesis.faults.kinds import fault
from nemesis.fleet import Process
from nemesis.world import SITES, World
from servers.process import PATIENCE, signal_all
from support.waiting import until


def some(world: World, dice: random.Random) -> Process:
    return dice.choice(world.fleet)


@fault("fleet", longest=10)
def process_killed(world: World, dice: random.Random) -> Iterator[str]:
    process = some(world, dice)
    process.kill()
    yield process.name
    process.start()


@fault("fleet", longest=0)
def process_restarted_fast(world: World, dice: random.Random) -> Iterator[str]:
    """ZK-1, LC-4: the former life is still present when the next one begins."""
    process = some(world, dice)
    process.kill()
    process.start()
    yield process.name


@fault("fleet", longest=10)
def process_frozen(world: World, dice: random.Random) -> Iterator[str]:
    process = some(world, dice)
    process.freeze()
    yield process.name
    process.thaw()


@fault("fleet", longest=8)
def process_stopped(world: World, dice: random.Random) -> Iterator[str]:
    process = some(world, dice)
    process.stop()
    yield process.name
    process.start()


@fault("fleet", longest=8)
def child_killed(world: World, dice: random.Random) -> Iterator[str]:
    """The agent sees its command exit."""
    # All of them may be starting: an agent joins before its command runs.
    agents = until(lambda: [one for one in world.fleet if one.children()], PATIENCE, what="a child")
    process = dice.choice(agents)
    signal_all(signal.SIGKILL, process.children())
    yield process.name
    process.kill()  # which may still be saying so
    process.start()


@fault("fleet", longest=10)
def site_lost(world: World, dice: random.Random) -> Iterator[str]:
    """A rack without power: a crowd that really died."""
    site = dice.choice(SITES)
    lost = [process for process in world.fleet if process.name.startswith(site)]
    for process in lost:
        process.kill()
    yield site
    for process in lost:
        process.start()


@fault("fleet", longest=0)
def fleet_restarted(world: World, dice: random.Random) -> Iterator[str]:
    """LC-8: everybody at once."""
    for process in world.fleet:
        process.kill()
    for process in world.fleet:
        process.start()
    yield "the fleet"


@fault("fleet", longest=6)
def process_clock_stepped(world: World, dice: random.Random) -> Iterator[str]:
    """SQL-2: an agent's clock does not matter."""
    process = some(world, dice)
    process.clock.step(dice.choice([-3600, 3600]))
    yield process.name
    process.clock.step(0)
