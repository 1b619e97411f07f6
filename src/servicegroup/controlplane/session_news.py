"""What a session is told unasked because of what happened in the register, by whichever way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from servicegroup.controlplane.background import Recurring
from servicegroup.controlplane.feed import Feed
from servicegroup.controlplane.sessions import Sessions
from servicegroup.events import Event, EventFilter, EventKind

PAUSE = 1.0
"""Seconds between two looks whether anybody holds a session."""

_BEGINS = frozenset({EventKind.JOIN, EventKind.RESTART})


async def tell_sessions(feed: Feed, sessions: Sessions) -> None:
    """Tell sessions of deletions and of newer lives, until cancelled; no failure ends it (LC-9).

    Whoever misses it learns it with the next report.
    """
    recurring = Recurring("Following events for sessions")
    while True:
        with recurring:
            if not (sessions.is_empty or sessions.stopping):
                await _follow(feed, sessions)
        await asyncio.sleep(PAUSE)


async def _follow(feed: Feed, sessions: Sessions) -> None:
    with feed.watch() as follower:
        place = await feed.end()
        while not (sessions.is_empty or sessions.stopping):
            page = await feed.read(EventFilter().at(place))
            place = page.place
            _tell(sessions, page.events)
            if not page.events:
                await follower.wait(PAUSE)


def _tell(sessions: Sessions, events: Iterable[Event]) -> None:
    for event in events:
        if event.uuid is None:
            continue
        if event.kind is EventKind.DELETE:
            sessions.tell_deleted(event.uuid)
        elif event.kind in _BEGINS and event.incarnation is not None:
            sessions.tell_superseded(event.uuid, event.incarnation)
