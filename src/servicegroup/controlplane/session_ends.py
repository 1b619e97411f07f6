"""Ends that other control planes wrote, for the observer; of its own ends it is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from servicegroup.controlplane.background import Recurring
from servicegroup.drivers.session import SessionDriver
from servicegroup.group import ServiceGroup

PAUSE = 0.25
"""Seconds between two questions."""

OVERLAP = timedelta(seconds=1)
"""What two questions have in common: an end is dated before it is committed."""

MOST = 1_001
"""Members that are named; one more than an observer looks at by name."""


async def follow_ends(
    group: ServiceGroup, driver: SessionDriver, observes: Callable[[], bool]
) -> None:
    """Tell the observer of sessions that ended, while it is this process and obeys sessions.

    Until cancelled; no failure ends it (LC-9).
    """
    if group.driver is not driver:
        return
    recurring = Recurring("Looking for sessions that ended")
    recorder = group.recorder()
    since: datetime | None = None
    while True:
        await asyncio.sleep(PAUSE)
        if not observes():
            since = None  # its first look is at everybody
            continue
        found = await recurring.attempt(partial(recorder.ended_since, since, MOST))
        if found is not None:
            now, members = found
            since = now - OVERLAP
            if members:
                driver.changed(members)
