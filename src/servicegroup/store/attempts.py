"""When a transaction that failed is tried again, and how soon (F-26).

The nodes of a cluster do not wait for one another's locks: of those that change a row at the same
time one commits, and the others hear of a conflict. So it is time that decides, not a count, and
pauses are random, or the same ones would meet again.
"""

from __future__ import annotations

import math
import random
import time

from sqlalchemy.exc import DBAPIError

from servicegroup.store.refusals import is_refusal, was_undone

LONGEST = 10.0
"""Seconds for which a transaction is tried again, unless whoever wants it has less."""

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.16
"""Seconds at the most until the next attempt: each pause may last twice as long as the last one."""


class Attempts:
    """The attempts at one transaction, from now on."""

    def __init__(self, deadline: float = math.inf) -> None:
        """Allow them until ``deadline``, seconds of ``time.monotonic``, or for LONGEST."""
        self._end = min(deadline, time.monotonic() + LONGEST)
        self._pause = FIRST_PAUSE
        self._was_refused = False

    def go_on(self, error: DBAPIError) -> bool:
        """Tell whether to try again after this failure; waits until it makes sense.

        A server that may not write is left, and its successor is asked at once, but only once: as
        long as there is none, nobody is to wait for it. What a COMMIT heard may have happened, and
        is for whoever wants it to repeat.
        """
        if is_refusal(error):
            is_first, self._was_refused = not self._was_refused, True
            return is_first and error.statement is not None
        return was_undone(error) and self.pause()

    def pause(self) -> bool:
        """Wait until it makes sense to try again; False, at once, if there is no time left."""
        if time.monotonic() >= self._end:
            return False
        time.sleep(random.uniform(0.0, self._pause))  # noqa: S311 - spreads attempts
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return True
