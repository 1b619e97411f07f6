"""The layer of one process: who is up, joining, leaving; Nova's drivers all ask this one.

Nova makes hundreds of servicegroup APIs, some of them before it forks. They share what ``current``
returns, made when it is first needed, in the process that needs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from servicegroup.config import DriverChoice
from servicegroup.driver import Driver, load
from servicegroup.future_stamps import FutureStamps
from servicegroup.liveness import judge
from servicegroup.model import Evidence, Limits, Member, Presence, PresenceState, Verdict
from servicegroup.nova.evictions import PendingEvictions
from servicegroup.nova.membership import Membership
from servicegroup.nova.settings import load as load_settings
from servicegroup.nova.snapshot import Snapshot
from servicegroup.nova.working import why_idle
from servicegroup.per_process import PerProcess

log = logging.getLogger("servicegroup.nova")

Record = Any
"""Nova's service object, or a dict with its fields."""


class _Side:
    """A driver's answers, and the limits it is judged by; Nova's own drivers have no answers.

    It remembers who was last known absent, since not knowing does not raise the dead.
    """

    def __init__(
        self, driver: Driver | None, limits: Limits, monotonic: Callable[[], float]
    ) -> None:
        self.limits = msgspec.structs.replace(limits, driver=driver.name) if driver else limits
        self._snapshot = Snapshot(driver, limits) if driver else None
        self._monotonic = monotonic
        self._absent_at: dict[Member, float] = {}

    def presence(self, record: Record) -> tuple[Presence | None, float | None]:
        """Return the driver's answer, and how many seconds ago the member was known absent."""
        topic = record["topic"]
        if self._snapshot is None or not topic:  # services of the API have no topic
            return None, None
        member = Member(topic, record["host"])
        presence = self._snapshot.presence(member)
        if presence.state is PresenceState.ABSENT:
            self._absent_at[member] = self._monotonic()
        elif presence.state is PresenceState.PRESENT:
            if self._absent_at:
                self._absent_at.pop(member, None)
        elif (absent_at := self._absent_at.get(member)) is not None:
            return presence, self._monotonic() - absent_at
        return presence, None

    def close(self) -> None:
        """Ask no more in place of others."""
        if self._snapshot is not None:
            self._snapshot.close()


class Layer:
    """Verdicts about Nova's records, by their stamps and a driver's presence; threads share it."""

    def __init__(
        self,
        limits: Limits,
        driver: Driver | None,
        shadow: Driver | None,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Obey ``driver``; None for one of Nova's own.

        ``now`` is the clock that stamps are aged by, naive and UTC: Nova's own. ``monotonic``, in
        seconds, measures how long ago something was seen here, whatever becomes of that clock.
        """
        self.limits = limits
        self.driver, self.shadow = driver, shadow
        self.now = now
        self._obeyed, self._not_obeyed = (
            _Side(each, limits, monotonic) for each in (driver, shadow)
        )
        self._future_stamps = FutureStamps(monotonic)
        self._evictions = [
            PendingEvictions(each, limits.heartbeat_interval) for each in self.drivers
        ]

    @property
    def drivers(self) -> list[Driver]:
        """The drivers that are written: the one that is obeyed, and the shadow."""
        return [driver for driver in (self.driver, self.shadow) if driver is not None]

    def is_up(self, record: Record) -> bool:
        """Tell whether the service is up; never raises, and a record without stamps is down."""
        try:
            return self.verdict(record).is_up
        except Exception:
            log.exception("A service that cannot be judged counts as down.")
            return False

    def verdict(self, record: Record) -> Verdict:
        """Judge a record by its report and the driver that is obeyed."""
        return self._judged(record, self._obeyed)

    def shadow_verdict(self, record: Record) -> Verdict:
        """Judge a record by its report and the shadow driver, which nobody obeys."""
        return self._judged(record, self._not_obeyed)

    def join(self, group_id: str, member: str, idle: Callable[[], str] = why_idle) -> Membership:
        """Begin to heartbeat a member to every driver; returns at once.

        ``idle`` says why the service takes no work any more, "" while it does (F-40, F-48).
        """
        return Membership(Member(group_id, member), self.drivers, self.limits, idle)

    def leave(self, group_id: str, member: str) -> None:
        """Free what the backends hold of a deleted service (spec S4).

        Returns at once; it is done in a thread, as soon as each backend answers.
        """
        for evictions in self._evictions:
            evictions.leave(Member(group_id, member))

    def close(self) -> None:
        """Ask no more, and close the connections to the backends."""
        for side in (self._obeyed, self._not_obeyed):
            side.close()
        for driver in self.drivers:
            driver.close()

    def _judged(self, record: Record, side: _Side) -> Verdict:
        now = self.now()
        seen = record.get("last_seen_up", None)
        stamp = (seen or record["created_at"]).replace(tzinfo=None)
        age, ahead = (now - stamp).total_seconds(), 0.0
        if age < 0.0 or self._future_stamps.first_seen:
            ahead = max(0.0, -age)
            age = self._future_stamps.age(UUID(record["uuid"]).int, stamp, age)
        presence, absent_age = side.presence(record)
        return judge(
            Evidence(
                side.limits,
                age,
                never_reported=seen is None,
                forced_down=record["forced_down"],
                presence=presence,
                absent_age=absent_age,
                stamped_ahead=ahead,
            )
        )


def current() -> Layer:
    """Return the layer of this process, as nova.conf has it. Raises ConfigError."""
    return _layers.get()


def _made() -> Layer:
    from oslo_config import cfg
    from oslo_utils import timeutils

    settings = load_settings(cfg.CONF)
    return Layer(
        settings.limits, _driver(settings.driver), _driver(settings.shadow), timeutils.utcnow
    )


_layers = PerProcess(_made)


def _driver(choice: DriverChoice | None) -> Driver | None:
    return load(choice.name, choice.options) if choice else None
