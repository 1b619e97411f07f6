"""A member's session with a register, held by one process of its service for as long as it runs.

Nova's own record says who exists. So whoever is deleted from the register alone joins it again,
after the time in which a service that was deleted in Nova finds that out and leaves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from servicegroup.agent.join import Membership, State
from servicegroup.model import Member
from servicegroup.nova.workers import WorkersLock

REJOIN = 60.0
"""Seconds that a member stays away once it was deleted from the register."""

_LOOK = 0.25
"""Seconds between two looks at whether it is this process's turn, well within ``linger``."""

log = logging.getLogger("servicegroup.nova")


class Holding:
    """Joins once the other workers of the service are gone, and then stays joined until it ends."""

    def __init__(
        self,
        member: Member,
        lock: WorkersLock,
        join: Callable[[Member], Membership],
        is_down: Callable[[str], bool],
        rejoin: float = REJOIN,
    ) -> None:
        """Begin at once, in a daemon thread.

        ``join`` begins a life of the member; ``is_down`` tells of a uuid whether the register says
        so, False where it does not answer. ``rejoin`` is for ``REJOIN``.
        """
        self._member = member
        self._lock = lock
        self._join = join
        self._is_down = is_down
        self._rejoin = rejoin
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="servicegroup-hold", daemon=True)
        self._thread.start()

    def end(self, timeout: float = 10.0) -> None:
        """Leave in order, and let another worker go on; waits so many seconds at the most."""
        self._ended.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._lock.take(self._member):
            if self._ended.wait(_LOOK):
                return
        try:
            while not self._ended.is_set():
                self._live()
        finally:
            self._lock.give_up(self._member)

    def _live(self) -> None:
        """Live one life, until it may be followed by another one or all is over."""
        life = self._join(self._member)
        over_at: float | None = None
        while not self._ended.wait(_LOOK):
            if life.state is State.SUPERSEDED:
                if self._has_survived(life):
                    return
            elif life.state is State.DELETED:
                over_at = over_at or time.monotonic() + self._rejoin
                if time.monotonic() >= over_at:
                    return
        life.leave()

    def _has_survived(self, life: Membership) -> bool:
        """Tell whether the process that took the member over is gone, a look a second."""
        if self._ended.wait(1.0) or life.uuid is None or not self._is_down(life.uuid):
            return False
        log.warning(
            "%s on %s was taken over by another process, which is down; it joins again.",
            self._member.group, self._member.host,
        )  # fmt: skip
        return True
