"""Notices that this process stood still: stopped, swapped out, starved, or not yet started.

What lay in its sockets meanwhile reads as if it came now, so a report from before the pause would
stamp a service that died since (SQL-7). After a pause a report counts only if its sender still
waits for the answer: who died, or gave up, has closed the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TICK = 0.5
"""Seconds between two looks at the clock."""

TOLERANCE = 2.0
"""Seconds a look may be late before it counts as a pause."""

SUSPICION = 5.0
"""Seconds after a pause in which what arrives may be from before it: a large fleet's backlog takes
its time, and the suspicion costs a report no more than a wait."""

READING = 0.1
"""Seconds in which the loop reads what lies in a socket, and the connection's end behind it."""


class Pauses:
    """Watches the event loop it runs on; for that loop's thread only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the start for the end of a pause; ``clock`` gives seconds and never goes back."""
        self._clock = clock
        self._looked = float("-inf")  # the socket listened before there was anybody to read it
        self._until = float("-inf")

    @property
    def just_ended(self) -> bool:
        """Whether what arrives now may have been sent before a pause.

        The loop may serve what lay in its sockets before the watch has its turn, so whoever asks
        first notices the pause.
        """
        now = self._clock()
        self._notice(now)
        return now < self._until

    def ended_since(self, moment: float) -> bool:
        """Whether what arrives now on a connection may have been sent before a pause.

        The connection was made at that moment, in seconds of the clock; all that came over one
        that was made after the pause is of after it.
        """
        return self.just_ended and self._until - SUSPICION > moment

    async def watch(self) -> None:
        """Look at the clock again and again, until cancelled."""
        while True:
            now = self._clock()
            self._notice(now)
            self._looked = now
            await asyncio.sleep(TICK)

    def _notice(self, now: float) -> None:
        if now - self._looked > TICK + TOLERANCE:
            self._until = now + SUSPICION
