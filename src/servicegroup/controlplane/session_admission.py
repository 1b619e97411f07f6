"""Admission to open a session: a fleet that comes at once is let in one after the other (LC-8).

If all were let in at once, each would be answered as late as the last one, and most of them would
have given up and come again by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from servicegroup.errors import Unavailable

AT_ONCE = 500
"""Sessions that are being opened at a time."""

STOPPING = "The control plane is stopping; open a session elsewhere."

LONGEST = 1.0
"""Seconds after which a turn ends by itself, as of whoever opens nothing."""


class Turn:
    """The turn of one connection; it ends once, by ``end`` or by itself."""

    __slots__ = ("_ended", "_timer")

    def __init__(self, ended: Callable[[], None]) -> None:
        """Have ``ended`` called at its end."""
        self._ended = ended
        self._timer = asyncio.get_running_loop().call_later(LONGEST, self.end)

    def end(self) -> None:
        """End it, unless it has ended."""
        ended, self._ended = self._ended, _nothing
        self._timer.cancel()
        ended()


class Admission:
    """Who may open a session now, and who waits: first come, first served; for one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """Let in ``at_once`` at a time."""
        self._free = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_closed = False

    async def take(self) -> Turn:
        """Return a turn, once there is one. Raises Unavailable of a control plane that stops."""
        if self._is_closed:
            raise Unavailable(STOPPING)
        if self._free:
            self._free -= 1
            return Turn(self._give)
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._give()  # it came at the moment in which nobody wanted it any more
            raise
        if self._is_closed:
            raise Unavailable(STOPPING)
        return Turn(self._give)

    def close(self) -> None:
        """Let in nobody any more, and tell those who wait."""
        self._is_closed = True
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(Unavailable(STOPPING))

    def _give(self) -> None:
        """Give a turn that has ended to the first one who still waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


def _nothing() -> None:
    """Stand for the end of a turn that has ended."""
