"""Streams on an event loop of their own: signs of life, whoever goes, and whoever reads nothing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from servicegroup.api import streaming
from servicegroup.api.connection import Connection
from servicegroup.api.streaming import Stream, open_stream, wait_for
from servicegroup.controlplane import feed as feeding
from servicegroup.controlplane.feed import Feed
from servicegroup.errors import InvalidInput, Unavailable
from servicegroup.events import Event, EventFilter, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.store.database import write
from servicegroup.store.tables import event_log
from support.control_plane import ControlPlane
from support.waiting import until

from .following import Follower


class Line:
    """The line to a follower, as the server has it: what was sent, and when the follower goes."""

    def __init__(self) -> None:
        self.sent = b""
        self.connection = Connection()
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent += message.get("body", b"")


async def soon(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def follow(
    group: ServiceGroup, test: Callable[[Feed, Line, asyncio.Task[None]], Coroutine[Any, Any, None]]
) -> None:
    """Run a test beside a stream of joins."""

    async def run() -> None:
        feed, line = Feed(group), Line()
        running = asyncio.create_task(feed.run())
        stream = await open_stream(feed, EventFilter(kind=EventKind.JOIN))
        task = asyncio.create_task(stream.run(line.connection, line.send))
        await soon(lambda: feed.followers)
        await test(feed, line, task)
        with suppress(ClientDisconnect):
            await asyncio.wait_for(task, 10)
        assert feed.followers == 0, "it is forgotten"
        running.cancel()

    asyncio.run(run())


def test_a_sign_of_life_says_how_far_the_follower_is(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that do not match are behind it too: it has not to look at them again."""
    monkeypatch.setattr(streaming, "KEEP_ALIVE", 0.05)

    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        group.join("h", "web")
        await soon(lambda: b"service-join" in line.sent)
        group.join("h", "web")
        await soon(lambda: re.search(rb": alive\nid: 2-[0-9a-f]{8}\n\n$", line.sent))
        assert line.sent.count(b"data: ") == 1
        line.connection.end()

    follow(group, test)


def test_who_goes_is_forgotten_at_once(group: ServiceGroup) -> None:
    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        line.connection.end()

    follow(group, test)


def test_who_reads_nothing_is_sent_away(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE", 0.1)

    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        await soon(lambda: line.sent)
        line.reads.clear()
        group.join("h", "web")
        await soon(task.done)

    follow(group, test)
    assert "A follower of events reads nothing; its stream ends." in caplog.messages


def test_a_stream_ends_with_the_control_plane(group: ServiceGroup) -> None:
    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        feed.stop()
        await soon(task.done)
        with pytest.raises(Unavailable):
            await open_stream(feed, EventFilter())

    follow(group, test)


def test_one_too_many_is_refused(group: ServiceGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MAX_FOLLOWERS", 1)

    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        with pytest.raises(Unavailable):
            await open_stream(feed, EventFilter())
        line.connection.end()

    follow(group, test)


def test_a_stream_ends_when_the_register_is_an_older_copy(group: ServiceGroup) -> None:
    """The follower comes back with an id that was never given, and is told so."""

    async def test(feed: Feed, line: Line, task: asyncio.Task[None]) -> None:
        group.join("h", "web")
        await soon(lambda: b"service-join" in line.sent)
        write(group._store.engine, lambda c: c.execute(event_log.update().values(last=0)))
        await soon(task.done)
        with pytest.raises(InvalidInput):
            await open_stream(feed, EventFilter(after=1))

    follow(group, test)


def test_an_event_is_encoded_once_for_all_who_follow(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In streams and in answers that were waited for, and as each of them would be alone."""
    encodings: Counter[int] = Counter()
    encode = feeding.encode

    def counted(event: Event) -> bytes:
        encodings[event.id] += 1
        return encode(event)

    monkeypatch.setattr(feeding, "encode", counted)

    async def run() -> None:
        feed = Feed(group)
        running = asyncio.create_task(feed.run())
        await soon(lambda: feed._last is not None)
        lines = [Line() for _ in range(50)]
        streams = [Stream(feed, EventFilter(after=0)) for _ in lines]
        tasks = [
            asyncio.create_task(stream.run(line.connection, line.send))
            for stream, line in zip(streams, lines, strict=True)
        ]
        await soon(lambda: feed.followers == 50)
        for number in range(3):
            group.join(f"h{number}", "web")
        await soon(lambda: all(line.sent.count(b"data: ") == 3 for line in lines))
        pages = [await wait_for(feed, EventFilter(after=0), 9, 1.0, Connection()) for _ in lines]
        assert encodings == {1: 1, 2: 1, 3: 1}
        (page,) = {msgspec.json.encode(feed.page(page)) for page in pages}
        assert page == msgspec.json.encode(pages[0])
        events = group.events(EventFilter(after=0), 9).events
        told = b"".join(
            b"id: %b\ndata: %b\n\n" % (str(event.cursor).encode(), msgspec.json.encode(event))
            for event in events
        )
        assert all(told in line.sent for line in lines)
        assert feed.frame(events[0]) in told, "one that was read from the database"
        feed.stop()
        await asyncio.gather(*tasks)
        running.cancel()

    asyncio.run(run())


def test_a_feed_that_is_cancelled_with_its_news_ends(group: ServiceGroup) -> None:
    async def run() -> None:
        feed = Feed(group)
        running = asyncio.create_task(feed.run())
        await soon(lambda: feed._last is not None)
        with feed.follow():
            await soon(lambda: not feed._nudge.is_set())
        feed.nudge()
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running], timeout=10)
        assert running.cancelled()

    asyncio.run(run())


FOLLOWERS = 300


def test_many_followers_have_each_event_once_and_do_not_hold_up_an_orderly_stop(
    control_plane: ControlPlane,
) -> None:
    plane = control_plane
    until(lambda: plane.request("GET", "/v1/events?kind=service-up")[2]["events"], what="calm")
    (uuid,) = (one["uuid"] for one in plane.services().values())
    followers = [Follower(plane) for _ in range(FOLLOWERS)]
    try:
        assert all(follower.response.status == 200 for follower in followers)
        before = plane.request("GET", "/v1/events")[2]["last"]
        for number in range(5):
            plane.request("PATCH", f"/v1/services/{uuid}", {"disabled": number % 2 == 0})
        ids = [one["id"] for one in plane.request("GET", f"/v1/events?after={before}")[2]["events"]]
        assert len(ids) >= 5
        for follower in followers:
            assert [follower.event()["id"] for _ in ids] == ids
        plane.process.terminate()
        plane.process.wait(timeout=20)
        for follower in followers:
            while follower.frame():
                continue
    finally:
        for follower in followers:
            follower.close()
    assert "Traceback" not in plane.log()
    assert "graceful shutdown exceeded" not in plane.log(), "it waited until it lost patience"
