"""A health check that is a command: status 0 is healthy, its first line of output says why not.

No shell is involved. A check that takes too long is killed with everything it started.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import tempfile
import threading
from typing import TYPE_CHECKING

from servicegroup.agent.supervisor import spawn, status_words
from servicegroup.errors import InvalidInput

if TYPE_CHECKING:
    from typing import BinaryIO

_OUTPUT = 4096


class Check:
    """Called, runs the command once: True, or a sentence on why the service does not work."""

    def __init__(self, command: str, timeout: float) -> None:
        """Split the command as a shell would, without its expansions. Raises InvalidInput."""
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise InvalidInput(f"--check {command!r} cannot be split ({error}).") from error
        if not self._command:
            raise InvalidInput("--check is empty; give a command, or leave the option out.")
        self._timeout = timeout
        self._lock = threading.Lock()
        self._pid: int | None = None

    def __call__(self) -> bool | str:
        """Run the command, for ``timeout`` seconds at most."""
        with tempfile.TemporaryFile() as output:
            try:
                pid = self._start(output)
            except OSError as error:
                return f"The check {self._command[0]} cannot be started ({error.strerror})."
            status = self._wait(pid)
            if status is None:
                return f"The check gave no answer within {self._timeout:g} s."
            if status == 0:
                return True
            output.seek(0)
            said = output.read(_OUTPUT).decode(errors="replace").strip()
            return said or f"The check ended with {status_words(status)}."

    def cancel(self) -> None:
        """Kill the check if it runs."""
        with self._lock:
            self._kill()

    def _start(self, output: BinaryIO) -> int:
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
        ]
        self._pid = pid = spawn(self._command, files, own_group=True)
        return pid

    def _wait(self, pid: int) -> int | None:
        """Return the status, or None for a check that had to be killed."""
        handle = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            in_time = bool(poll.poll(self._timeout * 1000))
        finally:
            os.close(handle)
        with self._lock:
            if not in_time:
                self._kill()
            _, status = os.waitpid(pid, 0)
            self._pid = None
        return os.waitstatus_to_exitcode(status) if in_time else None

    def _kill(self) -> None:
        if self._pid is not None:
            os.killpg(self._pid, signal.SIGKILL)
