"""A Nova service's presence in one backend, from its join until its record is gone.

Nova tells nobody that a service stops, so a stopped one is absent when its time to live has ended;
and a restart within it is no outage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from servicegroup.agent.heart import Heart
from servicegroup.driver import Driver
from servicegroup.model import Limits, Member

STARTED = int(time.time())
"""Which life of its services this process is, in seconds since 1970: the incarnation they join by.

It is taken before Nova forks its workers, so they share one, and none of them hides or ends another
(ZK-15); a restart is a newer one.
"""


class Membership:
    """One member's heartbeats to some drivers, each in a daemon thread that survives everything."""

    def __init__(self, member: Member, drivers: Iterable[Driver], limits: Limits) -> None:
        """Begin at once; does not wait for a backend."""
        self._signals = [_Signal(member, driver, limits) for driver in drivers]

    def end(self) -> None:
        """Leave, and stay away until the process is restarted; does not wait for a backend."""
        for signal in self._signals:
            signal.gone = True


class _Signal:
    """The heartbeats to one driver; a backend that hangs delays no other (AND-3)."""

    def __init__(self, member: Member, driver: Driver, limits: Limits) -> None:
        self.gone = False
        self._member = member
        self._driver = driver
        self._ttl = limits.membership_ttl
        who, path = f"{member.group} on {member.host}", f"driver {driver.name}"
        self._heart = Heart(who, path, self._beat, limits.heartbeat_interval)
        thread = f"servicegroup-{driver.name}"
        threading.Thread(target=self._heart.run, name=thread, daemon=True).start()

    def _beat(self) -> None:
        """Heartbeat; once the record is gone, leave until that has succeeded."""
        if self.gone:
            self._driver.leave(self._member, STARTED)
            self._heart.stop()
        else:
            self._driver.heartbeat(self._member, STARTED, self._ttl)
