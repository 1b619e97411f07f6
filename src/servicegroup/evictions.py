"""Errands: a backend forgets the services that were deleted, and does not remember them again."""

from __future__ import annotations

from collections.abc import Sequence

from servicegroup.driver import Driver
from servicegroup.errors import DriverUnavailable
from servicegroup.model import Presence, PresenceState
from servicegroup.store.outbox import Errand


def run(driver: Driver, errands: Sequence[Errand], told_after: float) -> list[Errand]:
    """Have one driver's backend forget, and return the errands that are finished.

    A process that still runs may join once more before it learns that it was deleted (LC-1,
    ZK-18), so an errand ends only when it is older than ``told_after`` seconds and the backend no
    longer has the incarnation. While the backend is away none is finished.
    """
    try:
        for errand in errands:
            driver.leave(errand.member, errand.incarnation)
    except DriverUnavailable:
        return []  # the errands stay, and are tried again
    old = [errand for errand in errands if errand.age > told_after]
    there = driver.presence({errand.member for errand in old}) if old else {}
    return [errand for errand in old if _is_gone(errand, there[errand.member])]


def _is_gone(errand: Errand, presence: Presence) -> bool:
    known = presence.state is not PresenceState.UNKNOWN
    return known and errand.incarnation not in presence.incarnations
