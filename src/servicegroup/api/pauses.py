"""Notices that this process stood still: stopped, swapped out, or on a host that slept.

What lay in its sockets meanwhile reads as if it came now, so a report from before the pause would
stamp a service that died since (SQL-7). After a pause a report counts only if its sender still
waits for the answer: who died, or gave up, has closed the connection.
"""

from __future__ import annotations

import asyncio
import time

TICK = 0.5
"""Seconds between two looks at the clock."""

TOLERANCE = 2.0
"""Seconds a look may be late before it counts as a pause."""

SUSPICION = 1.0
"""Seconds after a pause in which what arrives may be from before it."""


class Pauses:
    """Watches the event loop it runs on."""

    def __init__(self) -> None:
        """Nothing was noticed yet."""
        self._until = float("-inf")

    @property
    def just_ended(self) -> bool:
        """Whether what arrives now may have been sent before a pause."""
        return time.monotonic() < self._until

    async def watch(self) -> None:
        """Look at the clock again and again, until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            now = time.monotonic()
            if now - before > TICK + TOLERANCE:
                self._until = now + SUSPICION
