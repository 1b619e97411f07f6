"""A short storm over a world, as the long tests have one of several worlds; seldom the same."""

from __future__ import annotations

import random
from pathlib import Path

from nemesis.backends import BACKENDS
from nemesis.databases import DATABASES
from nemesis.play import play
from servers.plugin import require

SECONDS = 20.0


def short_storm(directory: Path, database: str, backend: str) -> None:
    """Let one rage, and assert that the promises were kept; skip it where a server is lacking."""
    chosen = DATABASES[database]
    for server in (chosen.program, *chosen.beside, *BACKENDS[backend].programs):
        require(server)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    outcome = play(directory, seed, SECONDS, database=database, backend=backend)
    assert outcome.violations == []
    assert outcome.observations > 50
    assert outcome.faults.total() > 2, "in so short a time some last for most of it"
