"""Recurring work of a control plane: a failure is logged once and counted, and ends nothing (LC-9).

Beside what has a loop of its own, that is: free deleted services, compare with the shadow driver.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from anyio import CapacityLimiter, to_thread

from servicegroup.errors import ServiceGroupError
from servicegroup.group import ServiceGroup

T = TypeVar("T")

PAUSE = 1.0
"""Seconds between two rounds."""

LONG_PAUSE = 60.0
"""The same where no driver has a backend, so that there is nothing but what others left."""

SHARE = 0.2
"""Part of one processor that comparing may take."""

LOG = logging.getLogger(__name__)


class Recurring:
    """One recurring piece of work, each attempt a context: a failure ends the attempt and no more.

    The log says once that it fails, and once that it works again (LC-9). The work has a thread of
    its own: those that serve requests may all be busy (F-18).
    """

    def __init__(self, what: str) -> None:
        """Name the work, as a sentence begins."""
        self._what = what
        self._fails = False
        self._thread = CapacityLimiter(1)
        self.failures = 0

    async def attempt(self, work: Callable[[], T]) -> T | None:
        """Do the work in the thread and return what it returns, None when it failed."""
        with self:
            return await self.run(work)
        return None

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in the thread, as a part of an attempt; raises what it raises."""
        return await to_thread.run_sync(work, limiter=self._thread)

    def __enter__(self) -> Self:
        """Begin an attempt."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Take note of how it ended; only what is no failure, as being cancelled, goes on."""
        if error is None:
            if self._fails:
                LOG.warning("%s works again.", self._what)
            self._fails = False
            return False
        if not isinstance(error, Exception):
            return False
        self.failures += 1
        if not self._fails:
            unexpected = None if isinstance(error, ServiceGroupError) else error
            LOG.warning("%s fails: %s", self._what, error, exc_info=unexpected)
        self._fails = True
        return True


async def run_evictions(group: ServiceGroup) -> None:
    """Free deleted services, round after round, until cancelled; no failure ends it (LC-9)."""
    recurring = Recurring("Freeing deleted services")
    is_asked = any(driver.capabilities.is_asked for driver, _ in group.drivers())
    while True:
        left = await recurring.attempt(group.free_deleted)
        await asyncio.sleep(PAUSE if is_asked or left is None else LONG_PAUSE)


async def run_comparison(group: ServiceGroup, observes: Callable[[], bool]) -> None:
    """Compare with the shadow driver, if there is one, while this process observes.

    So a disagreement's age is known when it is asked for. It reads the whole register, therefore
    only one process does it, and it takes a bounded share of that one's time; until cancelled.
    """
    if group.shadow is None:
        return
    recurring = Recurring("Comparing with the shadow driver")
    while True:
        started = time.monotonic()
        if observes():
            await recurring.attempt(group.compare)
        await asyncio.sleep(max(PAUSE, (time.monotonic() - started) / SHARE))
