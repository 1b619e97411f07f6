"""The feed: one look at the log of events for everybody who follows it in this process.

However many follow, the log is asked for its new events once, some times a second, and at once
when this process observes. Each follower has a place in the log of its own; who is far behind, or
comes back after a day, reads from the database until it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from starlette.concurrency import run_in_threadpool

from servicegroup.controlplane.background import Recurring
from servicegroup.errors import Unavailable
from servicegroup.events import Cursor, Event, EventFilter, EventKind, Log, Page, RawPage
from servicegroup.group import ServiceGroup

POLL = 0.1
"""Seconds between two looks at the log while somebody follows."""

PAGE = 1_000
"""Events that are read at once."""

RECENT = 10_000
"""Events that are kept for followers; who is further behind asks the database."""

MAX_FOLLOWERS = 10_000
"""Followers one process may have."""


class Follower:
    """Somebody who waits for events; ``wait`` and what wakes it are the event loop's."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """End the wait: something happened, or nobody waits any more."""
        self._wake.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until woken, so many seconds at the most; return whether it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True


class Recent(msgspec.Struct):
    """An event that is kept, with its JSON once anybody was sent it."""

    event: Event
    encoded: bytes = b""


class Feed:
    """Recent events of one register, and those who follow them; for one event loop."""

    def __init__(self, group: ServiceGroup) -> None:
        """Read the log of ``group``; ``run`` has to run."""
        self._group = group
        self._recent: deque[Recent] = deque(maxlen=RECENT)
        self._before = Cursor(0)  # the place before all that is recent
        self._last: Cursor | None = None
        self._followers: set[Follower] = set()
        self._clients = 0
        self._nudge = asyncio.Event()
        self.stopped = False

    @property
    def followers(self) -> int:
        """How many follow now: clients, and this control plane itself while it has sessions."""
        return len(self._followers)

    @contextmanager
    def follow(self) -> Iterator[Follower]:
        """Give a client's follower, woken by every news. Raises Unavailable for one too many."""
        self.check_room()
        self._clients += 1
        try:
            with self.watch() as follower:
                yield follower
        finally:
            self._clients -= 1

    @contextmanager
    def watch(self) -> Iterator[Follower]:
        """Give a follower of this control plane's own, which takes no client's room."""
        follower = Follower()
        self._followers.add(follower)
        self._nudge.set()
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def check_room(self) -> None:
        """Raise Unavailable where no more can follow."""
        if self._clients >= MAX_FOLLOWERS or self.stopped:
            raise Unavailable("No more can follow the events here; try again elsewhere or later.")

    async def end(self) -> Cursor:
        """Return the place after the newest event in the database. Raises StoreUnavailable."""
        return _end_of(await run_in_threadpool(self._group.event_log))

    def nudge(self) -> None:
        """Look at the log at once: this process has recorded something."""
        self._nudge.set()

    def stop(self) -> None:
        """Send everybody away: the process ends."""
        self.stopped = True
        self._wake_all()

    async def read(self, wanted: EventFilter, limit: int = PAGE) -> Page:
        """Return events that match and are after ``wanted.after``; see ``store.events.read``."""
        place = wanted.place
        if place is None or self._last is None or not self._knows(place):
            return await run_in_threadpool(self._group.events, wanted, limit)
        found: list[Event] = []
        event: Event | None = None
        for number in range(place.id - self._before.id, len(self._recent)):
            event = self._recent[number].event
            if wanted.matches(event):
                found.append(event)
                if len(found) == limit:
                    break
        place = self._place_at(place.id) if event is None else event.cursor
        return Page(found, place.id, self._last.id, str(place))

    def encoded(self, event: Event) -> bytes:
        """Return an event as JSON; a recent one is encoded once, however many are sent it."""
        place = event.id - self._recent[0].event.id if self._recent else -1
        if not 0 <= place < len(self._recent):
            return encode(event)
        recent = self._recent[place]
        if recent.event is not event:
            return encode(event)  # read from the database, or of another register
        if not recent.encoded:
            recent.encoded = encode(event)
        return recent.encoded

    def frame(self, event: Event) -> bytes:
        """Return an event as it goes out in the stream of server-sent events."""
        return b"id: %b\ndata: %b\n\n" % (str(event.cursor).encode(), self.encoded(event))

    def page(self, page: Page) -> RawPage:
        """Return a page that is encoded to the same bytes, its events being JSON already."""
        events = [msgspec.Raw(self.encoded(event)) for event in page.events]
        return RawPage(events, page.next, page.last, page.cursor)

    def _knows(self, place: Cursor) -> bool:
        """Tell whether all that is after this place is among the recent, and of the same log."""
        if not self._before.id <= place.id <= self._before.id + len(self._recent):
            return False
        known = self._place_at(place.id).mark
        return not place.mark or not known or place.mark == known

    def _place_at(self, number: int) -> Cursor:
        """Return the place after a recent event, or before all of them."""
        if number == self._before.id:
            return self._before
        return self._recent[number - self._before.id - 1].event.cursor

    async def run(self) -> None:
        """Look at the log while somebody follows, until cancelled; no failure ends it (LC-9)."""
        recurring = Recurring("Reading events")
        while True:
            with recurring:
                await self._look()
            await self._rest()

    async def _rest(self) -> None:
        self._nudge.clear()
        try:
            # Unlike wait_for, this does not swallow a cancellation that comes with the nudge.
            async with asyncio.timeout(POLL if self._followers else None):
                await self._nudge.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        end = await self.end()
        place = self._last
        if place is None or _is_elsewhere(place, end):
            place = end
            self._begin(end)
            self._wake_all()
        while place.id < end.id:
            wanted = EventFilter().at(place)
            page = await run_in_threadpool(self._group.events, wanted, PAGE)
            for event in page.events:
                if event.kind is EventKind.GAP:
                    self._begin(event.cursor)  # what is recent has no holes
                else:
                    self._keep(event)
            self._last = place = page.place
            if self._before.id == place.id:
                self._before = place  # with its mark
            self._wake_all()

    def _begin(self, place: Cursor) -> None:
        """Forget what is recent, and go on after a place."""
        self._recent.clear()
        self._before = self._last = place

    def _keep(self, event: Event) -> None:
        if len(self._recent) == RECENT:
            self._before = self._recent[0].event.cursor
        self._recent.append(Recent(event))

    def _wake_all(self) -> None:
        for follower in self._followers:
            follower.wake()


def _end_of(log: Log) -> Cursor:
    return Cursor(log.last, log.mark)


def _is_elsewhere(last: Cursor, end: Cursor) -> bool:
    """Tell whether this is another log, or so much further that the database tells it better."""
    if end.id == last.id:
        return bool(end.mark and last.mark) and end.mark != last.mark
    return not 0 <= end.id - last.id <= RECENT


def encode(event: Event) -> bytes:
    """Return an event as JSON."""
    return msgspec.json.encode(event)
