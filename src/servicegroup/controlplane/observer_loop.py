"""Runs the observer in a control plane: keeps its lease, looks at intervals and after a push.

What a look records is logged here, one line an event, and told to the feed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from servicegroup.controlplane.background import Recurring
from servicegroup.controlplane.detection_times import Detections
from servicegroup.controlplane.observer import Observer
from servicegroup.events import KEEP, KEEP_OF_OPERATORS, Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.liveness import LOOK_INTERVAL, OBSERVER_TOLERANCE
from servicegroup.measuring import LATENCIES, Distribution
from servicegroup.model import Member

LEASE_INTERVAL = 1.0
"""Seconds between two renewals of the lease where no look keeps it."""

COALESCE = 0.1
"""Seconds at least between two looks that pushes ask for (ZK-9)."""

MEMBERS = 1_000
"""Pushed members up to which a look is at them alone: a statement has room for so many names."""

SHARE = 0.2
"""Part of one processor that looks may take, unless they would be too far apart."""

REST = 0.25
"""Part of the time that a look took, waits included, for which the database rests after it."""

LONGEST_PAUSE = OBSERVER_TOLERANCE / 2
"""Seconds at most between two looks: longer, and readers take the observer for gone."""

PURGE_INTERVAL = 60.0
"""Seconds between two purges of old events."""

_LOGGED = 20
"""Events of one look that are logged one by one."""

OBSERVED = (EventKind.UP, EventKind.DOWN, EventKind.PROTECTION_ON, EventKind.PROTECTION_OFF)
"""What an observer records; all else is recorded by who does it."""

_ALARMING = frozenset({EventKind.DOWN, EventKind.PROTECTION_ON})

LOG = logging.getLogger(__name__)


class ObserverLoop:
    """The loops of one observer, on the event loop that they are started on."""

    def __init__(
        self,
        group: ServiceGroup,
        observer: Observer,
        happened: Callable[[], None],
        keep: timedelta = KEEP,
        keep_of_operators: timedelta = KEEP_OF_OPERATORS,
    ) -> None:
        """Run ``observer``; the driver of ``group`` wakes it, and it calls ``happened``.

        Events are purged when they are older than ``keep``, those of operators by their own age.
        """
        self._observer = observer
        self._group = group
        self._happened = happened
        self._purging = partial(group.purge_events, keep, keep_of_operators)
        self._changed: set[Member] | None = set()
        self._wake = asyncio.Event()
        self.look_seconds = Distribution(LATENCIES)
        self.recorded = dict.fromkeys(OBSERVED, 0)
        self.detections = Detections(group)
        self.recurring = {
            "lease": Recurring("The observer's lease"),
            "look": Recurring("Observing"),
            "purge": Recurring("Purging events"),
        }

    @property
    def observes(self) -> bool:
        """Whether this process is the one that observes, as far as it knows."""
        return self._observer.observes

    async def run(self) -> None:
        """Keep the lease, look and purge, until cancelled; no failure ends it (LC-9)."""
        loop = asyncio.get_running_loop()

        def changed(members: Collection[Member] | None) -> None:
            loop.call_soon_threadsafe(self._note, members)

        self._group.driver.watch(changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_lease())
            tasks.create_task(self._look())
            tasks.create_task(self._purge())

    async def stop(self) -> None:
        """Let another control plane observe at once; call it after ``run`` has ended."""
        await self.recurring["lease"].attempt(self._observer.release)

    async def _keep_lease(self) -> None:
        while True:
            with self.recurring["lease"] as attempt:
                # While a look keeps it there is nothing to do, and no thread to wake for that.
                if not self.observes or time.monotonic() >= self._observer.kept_until:
                    await attempt.run(self._observer.keep_lease)
            kept = self._observer.kept_until - time.monotonic()
            await asyncio.sleep(kept if 0.0 < kept < LEASE_INTERVAL else LEASE_INTERVAL)

    def _note(self, members: Collection[Member] | None) -> None:
        """Keep who changed, None for anybody or for many, until the next look."""
        if members is None or self._changed is None:
            self._changed = None
        else:
            self._changed.update(members)
            if len(self._changed) > MEMBERS:
                self._changed = None
        self._wake.set()

    async def _look(self) -> None:
        """Look at everybody at intervals, and in between at whoever was pushed."""
        next_whole = time.monotonic()
        while True:
            started, worked = time.monotonic(), 0.0
            is_whole = started >= next_whole or self._changed is None
            members, self._changed = None if is_whole else self._changed, set()
            self._wake.clear()
            with self.recurring["look"] as attempt:
                events, worked = await attempt.run(partial(self._worked_look, members))
                self._looked(events, time.monotonic() - started)
            taken = time.monotonic() - started
            if is_whole:
                pause = min(max(LOOK_INTERVAL, worked / SHARE), taken + LONGEST_PAUSE)
                next_whole = started + pause
            rested = started + taken + min(max(COALESCE, worked, taken * REST), LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(rested, next_whole) - time.monotonic()):
                    await self._wake.wait()
            await asyncio.sleep(rested - time.monotonic())

    def _worked_look(self, members: Collection[Member] | None) -> tuple[list[Event], float]:
        """Look, and return also the seconds of a processor that it took: waits are not its work."""
        begun = time.thread_time()
        events = self._observer.look(members)
        return events, time.thread_time() - begun

    def _looked(self, events: Sequence[Event], taken: float) -> None:
        """Count, log and tell what a look of so many seconds recorded."""
        if self.observes:
            self.look_seconds.add(taken)
        if not events:
            return
        self._happened()
        _log(events)
        for event in events:
            self.recorded[event.kind] += 1
        self.detections.saw(events, taken)

    async def _purge(self) -> None:
        while True:
            if self.observes:
                await self.recurring["purge"].attempt(self._purging)
            await asyncio.sleep(PURGE_INTERVAL)


def _log(events: Sequence[Event]) -> None:
    for event in events[:_LOGGED]:
        level = logging.WARNING if event.kind in _ALARMING else logging.INFO
        LOG.log(level, "event=%d kind=%s%s", event.id, event.kind.value, _facts(event))
    if len(events) > _LOGGED:
        LOG.warning("events=%d more, see servicegroup events", len(events) - _LOGGED)


def _facts(event: Event) -> str:
    """Return what a line of the log says of an event: names with their values, as in JSON."""
    facts = {
        "host": event.host,
        "binary": event.binary,
        "group": event.group,
        "zone": event.zone,
        "reason": event.reason and event.reason.value,
        "detail": event.detail,
    }
    return "".join(
        f" {name}={msgspec.json.encode(value).decode()}"
        for name, value in facts.items()
        if value is not None
    )
