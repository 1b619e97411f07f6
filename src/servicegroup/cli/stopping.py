"""A process that goes on until it is told to stop, and hears it whatever its threads do."""

from __future__ import annotations

import signal
import socket

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT, which end nothing by themselves any more, and wake whoever waits.

    Python runs a handler of its own in the main thread, after that one's next step. Where it is
    about to wait for a lock, as of an Event, there is no next step, and on a busy machine one
    signal in thirty was heard by nobody. The interpreter's own handler, which writes to a file,
    runs in whatever thread the kernel chose, at once.
    """

    def __init__(self) -> None:
        """Take over the signals; in the main thread."""
        self._hearing, self._telling = socket.socketpair()
        self._telling.setblocking(False)
        signal.set_wakeup_fd(self._telling.fileno())
        for number in STOPPING:
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Return when the process was told to stop, at once where that was before."""
        self._hearing.recv(1)
