"""The layer of one process: who is up, joining, leaving; Nova's drivers all ask this one.

Nova makes hundreds of servicegroup APIs, some of them before it forks. They share what ``current``
returns, made when it is first needed, in the process that needs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from servicegroup.config import DriverChoice
from servicegroup.driver import Driver
from servicegroup.future_stamps import FutureStamps
from servicegroup.liveness import judge
from servicegroup.model import Evidence, Limits, Member, Presence, PresenceState, Verdict
from servicegroup.nova import drivers
from servicegroup.nova.apart import Evictions, apart
from servicegroup.nova.crowds import Crowds
from servicegroup.nova.lives import life_of, newest_start
from servicegroup.nova.membership import Membership
from servicegroup.nova.rpc.results import Told
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
        self._snapshot = snapshot = Snapshot(driver, limits) if driver else None
        self._crowds = None
        if driver and snapshot and not drivers.holds_crowds(driver):
            self._crowds = Crowds(driver.name, limits, snapshot.presences, monotonic)
        self._monotonic = monotonic
        self._absent_at: dict[Member, float] = {}

    def presence(self, record: Record) -> tuple[Presence | None, float | None, float | None]:
        """Return the driver's answer, and for how long the member was known absent, or is held."""
        topic = record["topic"]
        if self._snapshot is None or not topic:  # services of the API have no topic
            return None, None, None
        member = Member(topic, record["host"])
        presence = self._snapshot.presence(member)
        held_age = self._crowds.held_age(member, presence) if self._crowds else None
        if held_age is not None:
            self._absent_at.pop(member, None)
        elif presence.state is PresenceState.ABSENT:
            self._absent_at[member] = self._monotonic()
        elif presence.state is PresenceState.PRESENT:
            if self._absent_at:
                self._absent_at.pop(member, None)
        elif (absent_at := self._absent_at.get(member)) is not None:
            return presence, self._monotonic() - absent_at, None
        return presence, None, held_age

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
        *,
        rpc: Told,
    ) -> None:
        """Obey ``driver``; None for one of Nova's own. ``rpc`` tells who answers questions.

        ``now`` is the clock that stamps are aged by, naive and UTC: Nova's own. ``monotonic``, in
        seconds, measures how long ago something was seen here, whatever becomes of that clock.
        """
        self.limits = limits
        self.driver, self.shadow = driver, shadow
        self.now = now
        self.rpc = rpc
        self._obeyed, self._not_obeyed = (
            _Side(each, limits, monotonic) for each in (driver, shadow)
        )
        self._future_stamps = FutureStamps(monotonic)
        self._evictions = [Evictions(each, limits) for each in self.drivers]

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

    def meet(self, records: Iterable[Record]) -> None:
        """Ask about all of these before any is judged, so that a crowd is seen as one."""
        for side in (self._obeyed, self._not_obeyed):
            for record in records:
                side.presence(record)

    def verdict(self, record: Record) -> Verdict:
        """Judge a record by its report and the driver that is obeyed."""
        return self._judged(record, self._obeyed)

    def shadow_verdict(self, record: Record) -> Verdict:
        """Judge a record by its report and the shadow driver, which nobody obeys."""
        return self._judged(record, self._not_obeyed)

    def join(
        self, group_id: str, member: str, record: str, idle: Callable[[], str] = why_idle
    ) -> Membership:
        """Begin to heartbeat a member, for the record with this uuid, to every driver.

        Returns at once. ``idle`` says why the service takes no work any more, "" while it does
        (F-40, F-48).
        """
        joining = Member(group_id, member)
        return Membership(joining, life_of(record), self.drivers, self.limits, idle)

    def leave(self, group_id: str, member: str, record: str) -> None:
        """Free what the backends hold of a deleted record, by its uuid (spec S4).

        Other lives of the member belong to a record in another cell, and stay (F-44). Returns at
        once; it is done in a thread, as soon as each backend answers.
        """
        for evictions in self._evictions:
            evictions.leave(Member(group_id, member), record)

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
        presence, absent_age, held_age = side.presence(record)
        return judge(
            Evidence(
                side.limits,
                age,
                never_reported=seen is None,
                forced_down=record["forced_down"],
                presence=presence,
                absent_age=absent_age,
                stamped_ahead=ahead,
                held_age=held_age,
                rpc=self.rpc(record["uuid"], _began(record["uuid"], presence)),
            )
        )


def _began(record: str, presence: Presence | None) -> float | None:
    """Return when the newest life of a record began, in seconds since 1970, where that is told."""
    return newest_start(record, presence.incarnations) if presence is not None else None


def current() -> Layer:
    """Return the layer of this process, as nova.conf has it. Raises ConfigError."""
    return _layers.get()


def _made() -> Layer:
    from oslo_config import cfg
    from oslo_utils import timeutils

    settings = load_settings(cfg.CONF)
    return Layer(
        settings.limits,
        _driver(settings.driver),
        _driver(settings.shadow),
        timeutils.utcnow,
        rpc=Told(settings.rpc),
    )


_layers = PerProcess(_made)


def _driver(choice: DriverChoice | None) -> Driver | None:
    return apart(drivers.load(choice)) if choice else None
