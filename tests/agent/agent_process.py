"""``servicegroup agent`` as operators run it: the real command in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from servers.process import family, signal_all
from support.waiting import until


class AgentProcess:
    """One agent; its output is in ``said``. Leaving the context kills it and its children."""

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        self._log = directory / f"agent-{len(list(directory.iterdir()))}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SERVICEGROUP_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "servicegroup", "agent", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=clean | environment,
            )
        self._child: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            signal_all(signal.SIGKILL, family(self.process.pid))
            self.process.wait(10)
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._child, signal.SIGKILL)
            os.close(self._child)

    @property
    def said(self) -> str:
        """Everything on stdout and stderr so far."""
        return self._log.read_text()

    def child(self) -> int:
        """Return the process id of the command, once it runs."""
        pid = until(lambda: family(self.process.pid)[1:])[0]
        self._child = self._child or os.pidfd_open(pid)
        return pid

    def send(self, number: signal.Signals) -> None:
        """Send the agent a signal."""
        self.process.send_signal(number)

    def exit_code(self, timeout: float = 10) -> int:
        """Wait for the agent's end and return its exit code."""
        return self.process.wait(timeout)
