"""What a run came to, and the table in RESULTS.md of those that were to be kept."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec

RESULTS = Path(__file__).with_name("RESULTS.md")


class Outcome(msgspec.Struct, frozen=True):
    """A run: its seed, its world, the seconds of its storm, and how the promises fared.

    ``faults`` says how often each was done, ``observations`` how many answers were looked at.
    """

    seed: int
    world: str
    seconds: float
    faults: Counter[str]
    observations: int
    violations: list[str]

    @property
    def row(self) -> str:
        """The run as a line of the table."""
        cells = [
            f"{datetime.now(UTC):%Y-%m-%d}",
            str(self.seed),
            self.world,
            f"{self.seconds:.0f} s",
            f"{self.faults.total()} of {len(self.faults)} kinds",
            f"{self.observations:,}",
            str(len(self.violations)),
        ]
        return f"| {' | '.join(cells)} |"

    def add(self) -> None:
        """Add the run to the table."""
        with RESULTS.open("a") as table:
            table.write(f"{self.row}\n")
