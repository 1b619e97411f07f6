"""What a control plane does beside answering: free deleted services, watch the shadow driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from servicegroup.errors import ServiceGroupError
from servicegroup.group import ServiceGroup

PAUSE = 1.0
"""Seconds between two rounds."""

LOG = logging.getLogger(__name__)


async def run_chores(group: ServiceGroup) -> None:
    """Do every chore, round after round, until cancelled; no failure ends it (LC-9)."""
    chores: list[Callable[[], object]] = [group.free_deleted]
    if group.shadow is not None:
        chores.append(group.compare)  # so that a disagreement's age is known when it is asked
    failing: set[Callable[[], object]] = set()
    while True:
        for chore in chores:
            await _do(chore, failing)
        await asyncio.sleep(PAUSE)


async def _do(chore: Callable[[], object], failing: set[Callable[[], object]]) -> None:
    """Do one chore; say once that it fails, and once that it works again."""
    try:
        await run_in_threadpool(chore)
    except ServiceGroupError as error:
        if chore not in failing:
            LOG.warning("%s cannot be done: %s", chore.__name__, error)
        failing.add(chore)
    except Exception:
        LOG.exception("%s failed", chore.__name__)
    else:
        if chore in failing:
            LOG.warning("%s is done again.", chore.__name__)
        failing.discard(chore)
