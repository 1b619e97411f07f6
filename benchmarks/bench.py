"""What every benchmark gets: one PostgreSQL for all, the peer on it, and how long to measure."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path

from benchmarks.peer import Nova, nova
from servers.postgresql import PostgreSQL


class Bench:
    """One run. ``quick`` measures little, to see that everything works.

    A whole fleet is watched for ``fleet_seconds``, ten minutes where none are given.
    """

    def __init__(
        self, postgresql: PostgreSQL, directory: Path, *, quick: bool, fleet_seconds: int | None
    ) -> None:
        self.postgresql = postgresql
        self.directory = directory
        self.quick = quick
        self.runs = 2 if quick else 5
        self.requests = 3 if quick else 15
        self.seconds = 2.0 if quick else 8.0
        self.fleet_seconds = fleet_seconds or (20 if quick else 600)
        self.cores = os.cpu_count()
        self.sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
        self.peer_sizes = (1_000,) if quick else (1_000, 10_000)

    @cached_property
    def peer(self) -> Nova:
        """Nova's figures, measured when they are first asked for."""
        return nova(self.postgresql, self.peer_sizes, self.runs, self.say)

    def say(self, line: str) -> None:
        """Tell whoever waits what is going on."""
        print(line, file=sys.stderr, flush=True)
