"""Runs one command as a child: passes signals on, and tells how it ended and whether it was asked.

The signals are blocked and waited for, not handled: none is lost between start and wait, and the
kernel's word of where each came from is kept. Children are spawned with the mask and dispositions
that this process was started with.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from servicegroup.model import Departure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORWARDED = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
)
STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
_WITHOUT_CHILD = STOPPING | {signal.SIGHUP}

# si_code of a signal from the kernel itself, such as a terminal's interrupt key.
_SI_KERNEL = 128
# What Python ignores and a program expects at its default.
_IGNORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
_OWN_ENVIRONMENT = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


class StartError(Exception):
    """The command cannot be started; ``exit_code`` is what a shell would answer with."""

    def __init__(self, program: str, error: OSError) -> None:
        """Say which program, and why."""
        missing = isinstance(error, FileNotFoundError)
        why = "was not found" if missing else f"cannot be started ({error.strerror})"
        super().__init__(f"Command {program} {why}; check its path.")
        self.exit_code = 127 if missing else 126


class Ending(msgspec.Struct, frozen=True):
    """How a child ended: its exit status, or minus the signal that killed it; and if asked to."""

    status: int
    asked: bool

    @property
    def is_orderly(self) -> bool:
        """Whether this was a stop and not a death."""
        return self.asked or self.status == 0

    @property
    def departure(self) -> Departure:
        """What the register is told."""
        return Departure.STOPPED if self.is_orderly else Departure.EXITED

    @property
    def detail(self) -> str:
        """The status in words, empty for an orderly end."""
        return "" if self.is_orderly else status_words(self.status)

    @property
    def exit_code(self) -> int:
        """The status as a shell passes it on."""
        return self.status if self.status >= 0 else 128 - self.status


def status_words(status: int) -> str:
    """Say a status as ``waitstatus_to_exitcode`` gives it: exit status 3, killed by SIGKILL."""
    if status >= 0:
        return f"exit status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}"


def spawn(
    command: Sequence[str], file_actions: Sequence[tuple[Any, ...]] = (), *, own_group: bool = False
) -> int:
    """Start a program found on PATH and return its process id. Raises OSError."""
    environment = {k: v for k, v in os.environ.items() if k not in _OWN_ENVIRONMENT}
    options: dict[str, Any] = {"setpgroup": 0} if own_group else {}
    return os.posix_spawnp(
        command[0],
        list(command),
        environment,
        file_actions=file_actions,
        setsigmask=(),
        setsigdef=_IGNORED,
        **options,
    )


class Supervisor:
    """Waits for a child to end, or, without one, for a signal to stop."""

    def __init__(self) -> None:
        """Take over the signals; before any thread starts, for threads inherit the mask."""
        # Ignored, the signal of a child's end would throw its status away.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._signals = FORWARDED | {signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        self._child: int | None = None
        self.stopping = False

    def start(self, command: Sequence[str]) -> None:
        """Start the child. Raises StartError."""
        sys.stdout.flush()
        try:
            self._child = spawn(command)
        except OSError as error:
            raise StartError(command[0], error) from error

    def run(self, tick: Callable[[], None], interval: float) -> Ending:
        """Return how the child ended; call ``tick`` every ``interval`` seconds and per signal."""
        while True:
            tick()
            info = signal.sigtimedwait(self._signals, interval)
            if info is None:
                continue
            number = signal.Signals(info.si_signo)
            if self._child is None:
                if number in _WITHOUT_CHILD:
                    return Ending(0, asked=True)
            elif number == signal.SIGCHLD:
                if (status := _reap(self._child)) is not None:
                    return Ending(status, asked=self.stopping)
            else:
                self.stopping = self.stopping or number in STOPPING
                # A terminal's signal went to the child too: both are of its foreground group.
                if info.si_code != _SI_KERNEL:
                    # A child that changed its user may be beyond reach.
                    with contextlib.suppress(PermissionError):
                        os.kill(self._child, number)


def _reap(pid: int) -> int | None:
    """Return the status of a child that ended, None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None
