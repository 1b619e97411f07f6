"""Evictions: a backend forgets the services that were deleted, and does not remember them again."""

from __future__ import annotations

from collections.abc import Sequence

from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Presence, PresenceState
from servicegroup.store.outbox import Eviction


def run(driver: Driver, evictions: Sequence[Eviction], told_after: float) -> list[Eviction]:
    """Have one driver's backend forget, and return the evictions that are finished.

    A process that still runs may join once more before it learns that it was deleted (LC-1,
    ZK-18), so an eviction ends only when it is older than ``told_after`` seconds and the backend no
    longer has the incarnation. While the backend is away none is finished.
    """
    try:
        for eviction in evictions:
            driver.leave(eviction.member, eviction.incarnation)
    except DriverUnavailable:
        return []  # the evictions stay, and are tried again
    old = [eviction for eviction in evictions if eviction.age > told_after]
    there = driver.presence({eviction.member for eviction in old}) if old else {}
    return [eviction for eviction in old if _is_gone(eviction, there[eviction.member])]


def _is_gone(eviction: Eviction, presence: Presence) -> bool:
    known = presence.state is not PresenceState.UNKNOWN
    return known and eviction.incarnation not in presence.incarnations
