"""A Nova service's presence in one backend, from its join until its record is gone.

Nova tells nobody that a service stops, so a stopped one is absent when its time to live has ended;
and a restart within it is no outage. A process that runs but takes no work any more is no more
present than one that stopped: its heartbeats end, and it leaves once that time is over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from servicegroup.agent.heart import Heart
from servicegroup.driver import Driver
from servicegroup.model import Limits, Member
from servicegroup.nova.working import why_idle

_STARTED_IN = os.getpid()
"""The process that workers were forked from; they share its life, so none hides another (ZK-15)."""

log = logging.getLogger("servicegroup.nova")


class Membership:
    """One member's heartbeats to some drivers, each in a daemon thread that survives everything."""

    def __init__(
        self,
        member: Member,
        incarnation: int,
        drivers: Iterable[Driver],
        limits: Limits,
        idle: Callable[[], str] = why_idle,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at once, as this life of the member; does not wait for a backend.

        ``idle`` says why the process takes no work any more, "" while it does; that is for good.
        ``monotonic``, in seconds, measures how long ago that began.
        """
        self._signals = [
            _Signal(member, incarnation, driver, limits, idle, monotonic) for driver in drivers
        ]

    def end(self) -> None:
        """Leave, and stay away until the process is restarted; does not wait for a backend."""
        for signal in self._signals:
            signal.gone = True


class _Signal:
    """The heartbeats to one driver; a backend that hangs delays no other (AND-3)."""

    def __init__(
        self,
        member: Member,
        incarnation: int,
        driver: Driver,
        limits: Limits,
        idle: Callable[[], str],
        monotonic: Callable[[], float],
    ) -> None:
        self.gone = False
        self._member = member
        self._incarnation = incarnation
        self._driver = driver
        self._ttl = limits.membership_ttl
        self._idle = idle
        self._monotonic = monotonic
        self._idle_since: float | None = None
        self._who, path = f"{member.group} on {member.host}", f"driver {driver.name}"
        self._heart = Heart(self._who, path, self._beat, limits.heartbeat_interval)
        thread = f"servicegroup-{driver.name}"
        threading.Thread(target=self._heart.run, name=thread, daemon=True).start()

    def _beat(self) -> None:
        """Heartbeat; once the record or the service is gone, leave until that has succeeded."""
        if self._leave_if_gone():
            return
        if self._has_stopped():
            if self._may_leave():
                self._driver.leave(self._member, self._incarnation)
            self._heart.stop()
        elif self._idle_since is None:
            self._driver.heartbeat(self._member, self._incarnation, self._ttl)
            self._leave_if_gone()  # meanwhile: what was just written is not to stay for a beat

    def _leave_if_gone(self) -> bool:
        if self.gone:
            self._driver.leave(self._member, self._incarnation)
            self._heart.stop()
        return self.gone

    def _has_stopped(self) -> bool:
        """Tell whether the process has taken no work for a time to live, and say when it begins."""
        if self._idle_since is None and (why := self._idle()):
            self._idle_since = self._monotonic()
            log.warning(
                "%s sends no heartbeats to driver %s any more, and has left it in %g s: the process"
                " runs, but %s.",
                self._who, self._driver.name, self._ttl, why,
            )  # fmt: skip
        since = self._idle_since
        return since is not None and self._monotonic() - since >= self._ttl

    def _may_leave(self) -> bool:
        """Tell whether leaving ends nobody else: forked workers share one life.

        There heartbeats that stay away are enough, unless a connection keeps the member: then each
        process holds an entry of its own, and frees that one alone (ZK-15).
        """
        return os.getpid() == _STARTED_IN or self._driver.capabilities.pushes
