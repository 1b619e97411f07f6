"""What a delete owes a backend: that it forgets the member, also when it does not answer now.

What is lost with the process that owes it ends by itself: a service that still runs finds its
record gone with its next report and leaves, and one that does not run has no heartbeats.
"""

from __future__ import annotations

import logging
import threading

from servicegroup.agent.heart import Heart
from servicegroup.driver import Driver
from servicegroup.model import Member

MOST = 10_000
"""Members that may be owed at a time; beyond it the oldest is left to its time to live."""

log = logging.getLogger("servicegroup.nova")


class PendingEvictions:
    """Leaves of deleted services from one driver, tried again until each succeeded."""

    def __init__(self, driver: Driver, interval: float) -> None:
        """Try at most ``interval`` seconds apart; a thread runs only while something is owed."""
        self._driver = driver
        self._interval = interval
        self._owed: dict[Member, None] = {}
        self._heart: Heart | None = None
        self._lock = threading.Lock()

    def leave(self, member: Member) -> None:
        """Have all lives of the member forgotten, soon; returns at once."""
        with self._lock:
            if len(self._owed) >= MOST:
                del self._owed[next(iter(self._owed))]
            self._owed[member] = None
            if self._heart is not None:
                return
            path = f"driver {self._driver.name}"
            self._heart = Heart("Leaving of deleted services", path, self._run, self._interval)
            run = self._heart.run
        threading.Thread(target=run, name="servicegroup-evictions", daemon=True).start()

    def _run(self) -> None:
        """Do what is owed, and end the loop; raises DriverUnavailable, to be called again."""
        while (member := self._next()) is not None:
            self._driver.leave(member)
            log.info("%s on %s has left driver %s.", member.group, member.host, self._driver.name)
            with self._lock:
                self._owed.pop(member, None)

    def _next(self) -> Member | None:
        """Return who is owed longest; where nobody is, the loop ends with this beat."""
        with self._lock:
            member = next(iter(self._owed), None)
            if member is None and self._heart is not None:
                self._heart.stop()
                self._heart = None
            return member
