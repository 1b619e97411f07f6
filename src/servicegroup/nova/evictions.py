"""What a delete owes a backend: that it forgets the member, also when it does not answer now.

What is lost with the process that owes it ends by itself: a service that still runs finds its
record gone with its next report and leaves, and one that does not run has no heartbeats.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from servicegroup.agent.heart import Heart
from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.freeing import Freeing
from servicegroup.model import Limits, Member, PresenceState
from servicegroup.nova.lives import is_life_of

MOST = 10_000
"""Members that may be owed at a time; beyond it the oldest is left to its time to live."""

LONGEST = 10
"""Times to live after which nothing is left of a deleted service but what runs, which leaves."""

log = logging.getLogger("servicegroup.nova")


class Deleted(NamedTuple):
    """A record that was deleted, by its uuid, and the member that it was."""

    member: Member
    record: str


class PendingEvictions:
    """Leaves of deleted services from one driver, tried again until each succeeded."""

    def __init__(
        self, driver: Driver, limits: Limits, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Try at most a heartbeat's interval apart; a thread runs only while something is owed.

        ``monotonic``, in seconds, measures how long something has been owed.
        """
        self._driver = driver
        self._limits = limits
        self._monotonic = monotonic
        self._owed: dict[Deleted, float] = {}  # and since when
        self._heart: Heart | None = None
        self._lock = threading.Lock()

    def leave(self, member: Member, record: str) -> None:
        """Have the lives of a deleted record forgotten, soon; returns at once."""
        with self._lock:
            if len(self._owed) >= MOST:
                del self._owed[next(iter(self._owed))]
            self._owed[Deleted(member, record)] = self._monotonic()
            if self._heart is not None:
                return
            path = f"driver {self._driver.name}"
            interval = self._limits.heartbeat_interval
            self._heart = Heart("Leaving of deleted services", path, self._run, interval)
            run = self._heart.run
        threading.Thread(target=run, name="servicegroup-evictions", daemon=True).start()

    def _run(self) -> None:
        """Do what is owed, and end the loop; raises DriverUnavailable, to be called again."""
        while owed := self._waiting():
            self._free(owed)

    def _free(self, owed: Collection[Deleted]) -> None:
        """Free what each of the records had; raises DriverUnavailable where that is not known.

        Whose lives they are is asked once for all. A server that is away keeps only its own members
        waiting (F-60), and so does a backend that cannot tell of somebody.
        """
        found = self._driver.presence({member for member, _ in owed})
        freeing, doubts = Freeing(self._driver), []
        for deleted in owed:
            presence = found[deleted.member]
            if presence.state is PresenceState.UNKNOWN:
                doubts.append(DriverUnavailable(presence.detail))
                self._keep(deleted)
            elif all(self._leave(freeing, deleted, life) for life in presence.incarnations):
                self._settle(deleted)
            else:
                self._keep(deleted)
        for failure in (*freeing.failures.values(), *doubts):
            raise failure

    def _leave(self, freeing: Freeing, deleted: Deleted, life: int) -> bool:
        """Free this life if it is one of the record; tell whether nothing of it is left."""
        if not is_life_of(deleted.record, life):
            return True
        return not freeing.is_over(deleted.member) and freeing.free(deleted.member, life)

    def _settle(self, deleted: Deleted) -> None:
        with self._lock:
            self._owed.pop(deleted, None)
        member, name = deleted.member, self._driver.name
        log.info("%s on %s has left driver %s.", member.group, member.host, name)

    def _keep(self, deleted: Deleted) -> None:
        """Go on owing it, behind the others, unless it has ended by itself long ago."""
        with self._lock:
            since = self._owed.pop(deleted, None)
            longest = LONGEST * self._limits.membership_ttl
            if since is not None and self._monotonic() - since <= longest:
                self._owed[deleted] = since

    def _waiting(self) -> list[Deleted]:
        """Return what is owed, longest first; where nothing is, the loop ends with this beat."""
        with self._lock:
            if not self._owed and self._heart is not None:
                self._heart.stop()
                self._heart = None
            return list(self._owed)
