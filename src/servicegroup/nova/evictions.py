"""What a delete owes a backend: that it forgets the member, also when it does not answer now.

What is lost with the process that owes it ends by itself: a service that still runs finds its
record gone with its next report and leaves, and one that does not run has no heartbeats.
"""

from __future__ import annotations

import logging
import threading

from servicegroup.agent.heart import Heart
from servicegroup.driver import Driver
from servicegroup.freeing import Freeing
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
        self._owed: dict[Member, object] = {}  # each delete is one of its own, also of one member
        self._heart: Heart | None = None
        self._lock = threading.Lock()

    def leave(self, member: Member) -> None:
        """Have all lives of the member forgotten, soon; returns at once."""
        with self._lock:
            if len(self._owed) >= MOST:
                del self._owed[next(iter(self._owed))]
            self._owed[member] = object()
            if self._heart is not None:
                return
            path = f"driver {self._driver.name}"
            self._heart = Heart("Leaving of deleted services", path, self._run, self._interval)
            run = self._heart.run
        threading.Thread(target=run, name="servicegroup-evictions", daemon=True).start()

    def _run(self) -> None:
        """Do what is owed, and end the loop; raises DriverUnavailable, to be called again.

        A server that is away keeps only its own members waiting (F-60), and what failed goes behind
        the others.
        """
        freeing = Freeing(self._driver)
        while owed := {m: one for m, one in self._waiting().items() if not freeing.is_over(m)}:
            for member, delete in owed.items():
                if freeing.is_over(member):
                    continue
                is_free = freeing.free(member)
                with self._lock:
                    # Whoever joined again and was deleted once more meanwhile has another turn.
                    if is_free and self._owed.get(member) is delete:
                        del self._owed[member]
                    elif member in self._owed:
                        self._owed[member] = self._owed.pop(member)
                if is_free:
                    name = self._driver.name
                    log.info("%s on %s has left driver %s.", member.group, member.host, name)
        for failure in freeing.failures.values():
            raise failure

    def _waiting(self) -> dict[Member, object]:
        """Return what is owed, longest first; where nothing is, the loop ends with this beat."""
        with self._lock:
            if not self._owed and self._heart is not None:
                self._heart.stop()
                self._heart = None
            return dict(self._owed)
