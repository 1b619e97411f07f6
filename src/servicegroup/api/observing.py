"""Runs the observer in a control plane: keeps its lease, looks at intervals and after a push.

What a look records is logged here, one line an event, and told to the feed at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from servicegroup.errors import ServiceGroupError
from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.liveness import LOOK_INTERVAL
from servicegroup.model import Member
from servicegroup.observer import Observer
from servicegroup.store.events import purge

T = TypeVar("T")

LEASE_INTERVAL = 1.0
"""Seconds between two renewals of the lease."""

COALESCE = 0.1
"""Seconds at least between two looks that pushes ask for (ZK-9)."""

SHARE = 0.2
"""Part of one processor that looks may take at the most, however large the fleet is."""

PURGE_INTERVAL = 60.0
"""Seconds between two purges of old events."""

_LOGGED = 20
"""Events of one look that are logged one by one."""

_ALARMING = frozenset({EventKind.DOWN, EventKind.PROTECTION_ON})

LOG = logging.getLogger(__name__)


class Observing:
    """The loops of one observer, on the event loop that they are started on."""

    def __init__(
        self,
        group: ServiceGroup,
        observer: Observer,
        happened: Callable[[], None],
        keep: timedelta,
    ) -> None:
        """Run ``observer``; the driver of ``group`` wakes it, and it calls ``happened``.

        Events are purged when they are older than ``keep``.
        """
        self._observer = observer
        self._group = group
        self._happened = happened
        self._keep = keep
        self._wake = asyncio.Event()
        self.looks = 0
        self.look_seconds = 0.0

    async def run(self) -> None:
        """Keep the lease, look and purge, until cancelled; no failure ends it (LC-9)."""
        loop = asyncio.get_running_loop()

        def changed(_members: Collection[Member] | None) -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self._group.driver.watch(changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_lease())
            tasks.create_task(self._look())
            tasks.create_task(self._purge())

    async def stop(self) -> None:
        """Let another control plane observe at once; call it after ``run`` has ended."""
        await _Attempts("The lease").of(self._observer.release)

    async def _keep_lease(self) -> None:
        attempts = _Attempts("The observer's lease")
        while True:
            await attempts.of(self._observer.keep_lease)
            await asyncio.sleep(LEASE_INTERVAL)

    async def _look(self) -> None:
        attempts = _Attempts("Observing")
        while True:
            self._wake.clear()
            started = time.monotonic()
            events = await attempts.of(self._observer.look)
            taken = time.monotonic() - started
            if self._observer.observes:
                self.looks += 1
                self.look_seconds += taken
            if events:
                _log(events)
                self._happened()
            await asyncio.sleep(max(COALESCE, taken))
            rest = max(LOOK_INTERVAL, taken / SHARE) - (time.monotonic() - started)
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.0, rest))
            except TimeoutError:
                continue

    async def _purge(self) -> None:
        attempts = _Attempts("Purging events")
        while True:
            if self._observer.observes:
                await attempts.of(lambda: purge(self._group.store.engine, self._keep))
            await asyncio.sleep(PURGE_INTERVAL)


class _Attempts:
    """Attempts at one piece of work: says once that it fails, and once that it works again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._fails = False

    async def of(self, work: Callable[[], T]) -> T | None:
        """Do the work in a thread and return what it returns, None when it failed."""
        try:
            found = await run_in_threadpool(work)
        except ServiceGroupError as error:
            if not self._fails:
                LOG.warning("%s fails: %s", self._what, error)
            self._fails = True
        except Exception:
            LOG.exception("%s failed", self._what)
        else:
            if self._fails:
                LOG.warning("%s works again.", self._what)
            self._fails = False
            return found
        return None


def _log(events: Sequence[Event]) -> None:
    for event in events[:_LOGGED]:
        level = logging.WARNING if event.kind in _ALARMING else logging.INFO
        LOG.log(level, "event=%d kind=%s%s", event.id, event.kind.value, _facts(event))
    if len(events) > _LOGGED:
        LOG.warning("events=%d more, see servicegroup events", len(events) - _LOGGED)


def _facts(event: Event) -> str:
    """Return what a line of the log says of an event: names with their values, quoted."""
    facts = {
        "host": event.host,
        "binary": event.binary,
        "group": event.group,
        "zone": event.zone,
        "reason": event.reason and event.reason.value,
        "detail": event.detail,
    }
    return "".join(f" {name}={value!r}" for name, value in facts.items() if value is not None)
