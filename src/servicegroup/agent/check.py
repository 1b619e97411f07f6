"""A health check that is a command: status 0 is healthy, its first line of output says why not.

No shell is involved. What a check left running in the background is killed with its end, and a
check that takes too long with everything it started: else it piles up (F-11). What keeps
a check from being run is the agent's trouble and no answer about the service, so the agent logs it
and goes by the last answer (F-6). It needs neither a directory nor a recent kernel.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import threading

from servicegroup.agent.supervisor import spawn, status_words
from servicegroup.errors import InvalidInput

log = logging.getLogger("servicegroup.agent")

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
        if shutil.which(self._command[0]) is None:
            raise InvalidInput(
                f"--check {self._command[0]} is no program that can be run; check its path and that"
                " it is executable."
            )
        self._timeout = timeout
        self._answer: bool | str = True
        self._is_run = True
        self._lock = threading.Lock()
        self._pid: int | None = None

    def __call__(self) -> bool | str:
        """Run the command, for ``timeout`` seconds at most; the last answer if it cannot be run."""
        try:
            output = os.memfd_create("check")
            try:
                pid = self._start(output)
                self._answer = self._judged(self._wait(pid), output)
            finally:
                os.close(output)
        except OSError as error:
            if self._is_run:
                self._is_run = False
                log.warning(
                    "The check %s cannot be started (%s), which says nothing about the service: its"
                    " last answer stands.",
                    self._command[0],
                    error.strerror,
                )
            return self._answer
        if not self._is_run:
            self._is_run = True
            log.warning("The check %s is run again.", self._command[0])
        return self._answer

    def cancel(self) -> None:
        """Kill the check if it runs."""
        with self._lock:
            self._kill()

    def _start(self, output: int) -> int:
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        self._pid = pid = spawn(self._command, files, own_group=True)
        return pid

    def _wait(self, pid: int) -> int | None:
        """Return the status, or None for a check that had to be killed."""
        late = threading.Event()

        def expire() -> None:
            late.set()
            self.cancel()

        timer = threading.Timer(self._timeout, expire)
        timer.daemon = True
        timer.start()
        # It stays a zombie until nobody can kill it any more, so its number is nobody else's.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        timer.cancel()
        with self._lock:
            self._kill()
            _, status = os.waitpid(pid, 0)
            self._pid = None
        return None if late.is_set() else os.waitstatus_to_exitcode(status)

    def _judged(self, status: int | None, output: int) -> bool | str:
        if status is None:
            return f"The check gave no answer within {self._timeout:g} s."
        if status == 0:
            return True
        said = os.pread(output, _OUTPUT, 0).decode(errors="replace").strip()
        return said or f"The check ended with {status_words(status)}."

    def _kill(self) -> None:
        if self._pid is not None:
            os.killpg(self._pid, signal.SIGKILL)
