"""Ends records by themselves, by the rules of ``[records] end``; without a rule, none (F-14)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from servicegroup.bodies import Prune
from servicegroup.config import Ending
from servicegroup.controlplane.background import Recurring
from servicegroup.group import ServiceGroup
from servicegroup.model import Service
from servicegroup.pruning import prune

PAUSE = 60.0
"""Seconds between two rounds."""

LOG = logging.getLogger(__name__)


async def run_endings(
    group: ServiceGroup,
    endings: Sequence[Ending],
    observes: Callable[[], bool],
    happened: Callable[[], None],
) -> None:
    """End what is due, round after round, while this process observes; until cancelled.

    Calls ``happened`` where there are events. No failure ends it (LC-9).
    """
    recurring = Recurring("Ending records")
    while endings:
        ended = await recurring.attempt(partial(end, group, endings)) if observes() else None
        if ended:
            happened()
        await asyncio.sleep(PAUSE)


def end(group: ServiceGroup, endings: Sequence[Ending]) -> list[Service]:
    """End what is due by each rule and return it. Raises StoreUnavailable."""
    ended = []
    for one in endings:
        wanted = Prune([one.reason], group=one.group, unseen=one.unseen)
        by = f"servicegroup, by [records] end = {one}"
        found = prune(group, wanted, by=by, only_first=True)
        if found:
            LOG.info("%d records ended by [records] end = %s.", len(found), one)
        ended += found
    return ended
