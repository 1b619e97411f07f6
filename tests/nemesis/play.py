"""One run of the nemesis: a world, a storm, witnesses meanwhile, and then the promises, checked."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nemesis.faults import KINDS
from nemesis.lateness import Lateness
from nemesis.results import Outcome
from nemesis.schedule import schedule
from nemesis.storm import Storm
from nemesis.watching import watching
from nemesis.world import World
from promises.checks import violations
from promises.history import History, Seen
from promises.witness import quiet_moment
from servers.process import PATIENCE
from support.waiting import until

HISTORY = "history.jsonl"
"""The name of the whole history, once the run is over."""


def play(
    directory: Path,
    seed: int,
    seconds: float,
    faults: Sequence[str] = (),
    *,
    database: str | None = None,
    backend: str | None = None,
) -> Outcome:
    """Let a storm rage for so many seconds; leave its history in the directory.

    ``faults`` are names of ``KINDS``, all of them if empty; ``database`` and ``backend`` are names
    of ``DATABASES`` and ``BACKENDS``, by the seed if None. Raises what goes wrong with the world
    itself, such as a control plane that ends or a fleet that is not up again in the end.
    """
    begun = time.monotonic()
    world = World(directory, seed, database, backend)
    name = f"{world.database.name}, {world.driver}"
    again = f"--database {world.database.name} --backend {world.driver} --seconds {seconds:g}"
    say(f"python -m nemesis --seed {seed} {again}; in {directory}")
    with world:
        say(f"everybody is up after {time.monotonic() - begun:.0f} s")
        kinds = [kind for name in faults or KINDS if (kind := KINDS[name]).fits(world)]
        storm = Storm(world, schedule(seed, seconds, kinds))
        with Lateness() as late, watching(world):
            storm.rage()
            world.wait()
        say(f"this machine may be late by {late.slack:.1f} s")
        world.record(world.settings(late.slack))
        for told in until(lambda: quiet_moment("end", world.planes), 4 * PATIENCE, what="quiet"):
            world.record(told)
    files = world.files()
    whole = directory / HISTORY
    whole.write_bytes(b"".join(file.read_bytes() for file in files))
    history = History.read(whole)
    seen = len(history.of(Seen))
    return Outcome(seed, name, seconds, storm.done, seen, violations(history))


def say(text: str) -> None:
    """Tell how it goes, on standard error."""
    print(text, file=sys.stderr, flush=True)
