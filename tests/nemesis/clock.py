"""A wall clock that one process has for itself, and that steps while it runs (``clock.c``).

libfaketime is not used: with several threads it reads its file under a lock for every question,
monotonic ones included, and a fleet at rest took all of two cores.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from servers.process import reaper

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = shutil.which("cc")
"""Debian's gcc; None where there is no compiler for C."""


class Clock:
    """The wall clock of what is started with ``words`` before its command; monotonic time is real.

    Without a compiler there are no words, and the clock never steps.
    """

    def __init__(self, file: Path) -> None:
        """Keep the clock in a file, which whoever is started with ``words`` has to be let read."""
        self._file = file
        self._file.touch(0o644)
        self.step(0)

    @property
    def words(self) -> list[str]:
        """The words to put before a command."""
        if COMPILER is None:
            return []
        library = self._file.with_name("clock.so")
        if not library.exists():
            command = [COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
            subprocess.run([*command, "-o", library, SOURCE], check=True)
        return ["env", f"LD_PRELOAD={library}", f"WALL_CLOCK={self._file}"]

    @classmethod
    def of_servers(cls) -> Clock:
        """Return one for servers, which may run as somebody who sees no directory of a test."""
        directory = Path(tempfile.mkdtemp(prefix="clocks-", dir=reaper().directory))
        directory.chmod(0o755)
        return cls(directory / "servers.clock")

    def another(self, name: str) -> Clock:
        """Return a clock of its own beside this one, which steps by itself."""
        return Clock(self._file.with_name(f"{name}.clock"))

    def step(self, seconds: float) -> None:
        """Be so many seconds ahead of the real time, less than none behind it, at once."""
        descriptor = os.open(self._file, os.O_WRONLY)
        os.write(descriptor, struct.pack("=q", round(seconds * 1e9)))
        os.close(descriptor)
