"""As the first process of a container: passes signals on, and waits for whoever is left to it.

The kernel makes process 1 the parent of every orphan, which stays a zombie until it is waited for
(F-11). What a program starts itself it waits for itself, so the program goes on in a child, and
process 1 does nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

PASSED_ON = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT}
)

# si_code of a signal from the kernel itself, which a terminal's whole foreground group gets.
_SI_KERNEL = 128


def stand_before() -> None:
    """Return at once, but as process 1 in a child only; before any thread starts."""
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    child = os.fork()
    if child:
        _wait(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(child: int) -> NoReturn:
    """End as the child ends; with process 1 the kernel ends all others."""
    while True:
        # Some may have ended before this process was what it is now: a shell's, which became it.
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
                os._exit(status if status >= 0 else 128 - status)
        info = signal.sigwaitinfo(PASSED_ON | {signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD and info.si_code != _SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(child, info.si_signo)
