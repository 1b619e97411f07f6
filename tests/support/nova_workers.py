"""Processes that hold a session as Nova's do: one forks workers, each with a driver of its own.

Run as a script with a URL, a host and a number of workers; it prints their process ids.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

from servicegroup.model import Member
from servicegroup.nova.session import SessionDriver, SessionOptions

GROUP = "conductor"


class NovaWorkers:
    """A service of so many workers; leaving the context kills what is left of it."""

    def __init__(self, url: str, host: str, workers: int) -> None:
        command = [sys.executable, "-P", __file__, url, host, str(workers)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout is not None
        self.workers = [int(self._process.stdout.readline()) for _ in range(workers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self, worker: int) -> None:
        """Crash one worker, by its process id."""
        os.kill(worker, signal.SIGKILL)
        self.workers.remove(worker)


def main(url: str, host: str, workers: str) -> None:
    for _ in range(int(workers)):
        if os.fork() == 0:
            driver = SessionDriver(SessionOptions(url=url))
            driver.heartbeat(Member(GROUP, host), 1, 10.0)
            os.write(1, b"%d\n" % os.getpid())  # in one piece, for the others write there, too
            signal.pause()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
