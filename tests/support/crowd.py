"""Many services in one process, joined as a library user joins: ``crowd.py URL COUNT NAME``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import servicegroup

BINARY = "crowd-worker"


class Crowd:
    """A process with ``count`` services on hosts NAME0, NAME1, …; ``own`` is its environment's."""

    def __init__(self, url: str, count: int, name: str = "c", **own: str) -> None:
        self.hosts = {f"{name}{number}" for number in range(count)}
        command = [sys.executable, __file__, url, str(count), name]
        self._process = subprocess.Popen(command, env=os.environ | own)

    def kill(self) -> None:
        """End all of them as a crash does."""
        self._process.kill()
        self._process.wait(10)


@contextmanager
def crowd(url: str, count: int, name: str = "c", **own: str) -> Iterator[Crowd]:
    """Give a crowd, and kill it in the end."""
    started = Crowd(url, count, name, **own)
    try:
        yield started
    finally:
        started.kill()


def main() -> None:
    """Join, and stay until killed."""
    url, count, name = sys.argv[1:]
    _members = [servicegroup.join(BINARY, host=f"{name}{n}", url=url) for n in range(int(count))]
    signal.pause()


if __name__ == "__main__":
    main()
