"""A wall clock that one process has for itself, and that steps while it runs (libfaketime)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Where Debian has libfaketime, on any processor; None where it is not installed."""


class Clock:
    """The wall clock of what is started with ``words`` before its command; monotonic time is real.

    Without libfaketime there are no words, and the clock never steps.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)

    @property
    def words(self) -> list[str]:
        """The words to put before a command."""
        if LIBRARY is None:
            return []
        return [
            "env",
            f"LD_PRELOAD={LIBRARY}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",  # or processes of one server disagree for two seconds
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ]

    def python(self, module: str) -> list[str]:
        """Return the command that runs a module by this clock."""
        if LIBRARY is None:
            return [sys.executable, "-m", module]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        return [*self.words, f"PYTHONPATH={path}", sys.executable, "-m", "nemesis.stepped", module]

    def step(self, seconds: float) -> None:
        """Be so many seconds ahead of the real time, less than none behind it, at once."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+f}\n")
        new.chmod(0o644)
        new.rename(self._file)
