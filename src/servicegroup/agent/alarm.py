"""What a loop waits on that can be stopped, and also be had to go on at once."""

from __future__ import annotations

import threading


class Alarm:
    """A ``Stop`` for the heart whose wait anybody can end early."""

    def __init__(self) -> None:
        """Let the loop wait."""
        self._event = threading.Event()
        self._stopped = False

    def wait(self, timeout: float, /) -> bool:
        """Wait up to ``timeout`` seconds, or until it rings, and tell whether to stop."""
        self._event.wait(timeout)
        if not self._stopped:
            self._event.clear()
        return self._stopped

    def ring(self) -> None:
        """End this wait, or the next one."""
        self._event.set()

    def set(self) -> None:
        """Stop the loop."""
        self._stopped = True
        self._event.set()

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self._stopped
