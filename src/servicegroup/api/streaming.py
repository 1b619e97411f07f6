"""Following events over HTTP: ``/v1/events`` that may wait, and the same as server-sent events.

A stream begins after ``Last-Event-ID`` or ``after``, else with what happens next. It says something
every KEEP_ALIVE seconds, with the id reached, so that a follower knows that nothing was missed and
that the line is not dead. What is not kept any more is told as an event of kind ``gap``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from starlette.types import Send

from servicegroup.api.connection import Connection
from servicegroup.controlplane.feed import Feed, Follower
from servicegroup.errors import ServiceGroupError
from servicegroup.events import Cursor, EventFilter, Page

KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream says that it lives."""

PATIENCE = 60.0
"""Seconds a follower may take to read what was sent before its stream ends."""

MAX_WAIT = 60
"""Seconds ``/v1/events`` waits at the most."""

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
"""What a stream's answer says; nginx passes it on as it comes."""

LOG = logging.getLogger(__name__)

RETRY = b"retry: 1000\n\n"
"""What browsers do when a stream breaks: come back after a second."""


async def wait_for(
    feed: Feed, wanted: EventFilter, limit: int, seconds: float, connection: Connection
) -> Page:
    """Return events that match, waiting up to ``seconds`` for the first one.

    A further request on the connection ends the wait. Raises ClientDisconnect when it ends.
    """
    deadline = time.monotonic() + seconds
    with feed.follow() as follower:
        with connection.wait():
            page = await feed.read(wanted, limit)
        with connection.wait(until_next=True):
            while not page.events and not feed.stopped:
                wanted = wanted.at(page.place)
                if not await follower.wait(deadline - time.monotonic()):
                    break
                page = await feed.read(wanted, limit)
    return page


class Stream:
    """An answer that goes on until the follower goes or the control plane stops."""

    def __init__(self, feed: Feed, wanted: EventFilter, *, only_head: bool = False) -> None:
        """Send what ``feed`` has after ``wanted.after``; nothing of it for a HEAD (F-7)."""
        self._feed = feed
        self._wanted = wanted
        self._only_head = only_head

    async def run(self, connection: Connection, send: Send) -> None:
        """Send it all, start and end included; a further request on the connection ends it.

        Raises ClientDisconnect when the connection ends.
        """
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        if self._only_head:
            await _send(send, b"", more=False)
            return
        with self._feed.follow() as follower:
            try:
                with connection.wait(until_next=True):
                    async for chunk in _chunks(self._feed, self._wanted, follower):
                        async with asyncio.timeout(PATIENCE):
                            await _send(send, chunk)
                await _send(send, b"", more=False)
            except TimeoutError:
                LOG.warning("A follower of events reads nothing; its stream ends.")


async def open_stream(feed: Feed, wanted: EventFilter, *, only_head: bool = False) -> Stream:
    """Return the stream of events that match; without ``after``, of those to come.

    Raises InvalidInput for an ``after`` that was never given, Unavailable.
    """
    feed.check_room()
    if wanted.after is None:
        wanted = wanted.at(await feed.end())
    await feed.read(wanted, 1)
    return Stream(feed, wanted, only_head=only_head)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _chunks(feed: Feed, wanted: EventFilter, follower: Follower) -> AsyncIterator[bytes]:
    place = wanted.place or Cursor(0)
    yield RETRY + _bookmark(place)
    while not feed.stopped:
        try:
            page = await feed.read(wanted.at(place))
        except ServiceGroupError:
            return  # the follower comes back, and is told what is wrong
        place = page.place
        if page.events:
            yield b"".join(map(feed.frame, page.events))
        elif not await follower.wait(KEEP_ALIVE):
            yield _bookmark(place)


def _bookmark(reached: Cursor) -> bytes:
    """Return a sign of life that moves the follower's Last-Event-ID and is no event."""
    return b": alive\nid: %b\n\n" % str(reached).encode()
