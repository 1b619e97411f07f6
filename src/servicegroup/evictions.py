"""Evictions: a backend forgets the services that were deleted, and does not remember them again."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import Engine

from servicegroup.driver import Driver
from servicegroup.freeing import Freeing
from servicegroup.model import Presence, PresenceState
from servicegroup.store import outbox
from servicegroup.store.outbox import PAGE, Eviction, done, pending

TOLD_AFTER = 3
"""Report intervals after which a deleted service's process has been told, or is gone."""

FORGOTTEN_DRIVER = timedelta(hours=1)
"""How long an eviction waits for a driver that is not in use; its members have expired by then."""

BUDGET = 2.0
"""Seconds from which on a round of one driver reads no more; the next one goes on from there."""


class PendingEvictions:
    """One driver's evictions, round after round: none waits for another one's server (F-60)."""

    def __init__(self, engine: Engine, driver: Driver, report_interval: float) -> None:
        """Run those of ``driver``, whose members report once in so many seconds."""
        self.driver = driver
        self._engine = engine
        self._told_after = TOLD_AFTER * report_interval
        self._place = 0
        self._failed: set[int] = set()

    def run(self) -> None:
        """Have the backend forget, and remove what is finished. Raises StoreUnavailable.

        A process that still runs may join once more before it learns that it was deleted (LC-1,
        ZK-18), so an eviction ends only when it is old enough and the backend no longer has the
        incarnation. While its server is away it stays. What failed before is tried after the rest,
        so a member that cannot be freed keeps nobody waiting either.
        """
        freeing = Freeing(self.driver)
        began = time.monotonic()
        later: list[Eviction] = []
        while True:
            page = pending(self._engine, self.driver.name, self._place)
            later += [eviction for eviction in page if eviction.id in self._failed]
            self._try(freeing, [eviction for eviction in page if eviction.id not in self._failed])
            is_last = len(page) < PAGE
            self._place = 0 if is_last else page[-1].id
            if is_last or time.monotonic() - began > BUDGET:
                break
        self._try(freeing, later)

    def _try(self, freeing: Freeing, evictions: Sequence[Eviction]) -> None:
        freed = []
        for eviction in evictions:
            if freeing.is_over(eviction.member):
                continue
            if freeing.free(eviction.member, eviction.incarnation):
                self._failed.discard(eviction.id)
                freed.append(eviction)
            else:
                self._failed.add(eviction.id)
        old = [eviction for eviction in freed if eviction.age > self._told_after]
        there = self.driver.presence({eviction.member for eviction in old}) if old else {}
        done(
            self._engine,
            [eviction for eviction in old if _is_gone(eviction, there[eviction.member])],
        )


def run_all(engine: Engine, own: Collection[PendingEvictions]) -> int:
    """Run the evictions of all drivers in use; return how many are left. Raises StoreUnavailable.

    Those of other drivers, which nobody can run here, are removed when they are old.
    """
    waiting = outbox.waiting(engine)
    for evictions in own:
        if evictions.driver.name in waiting:
            evictions.run()
    for former in waiting.keys() - {evictions.driver.name for evictions in own}:
        outbox.forget(engine, former, FORGOTTEN_DRIVER)
    return sum(outbox.waiting(engine).values()) if waiting else 0


def _is_gone(eviction: Eviction, presence: Presence) -> bool:
    known = presence.state is not PresenceState.UNKNOWN
    return known and eviction.incarnation not in presence.incarnations
