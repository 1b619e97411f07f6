"""Answers that nobody waits for any more: lists, reports and large bodies (F-56)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Scope

from servicegroup.api import large
from servicegroup.api.access.strategies import TrustEveryone
from servicegroup.api.app import create_app
from servicegroup.api.call import Answer
from servicegroup.api.connection import Connection, connect
from servicegroup.api.endpoint import Endpoint
from servicegroup.api.large import Large
from servicegroup.batches import Batches
from servicegroup.controlplane.clients import MAX_LARGE, ClientQuota, Clients, Limit
from servicegroup.controlplane.intake import NOBODY, Intake
from servicegroup.controlplane.plane import Plane
from servicegroup.group import ServiceGroup
from servicegroup.messages import Refusals, Report

SOON = 10.0


class Asked:
    """A request to an application, on a connection of its own; run by ``ask``."""

    def __init__(self, connection: Connection | None = None, *, reads: bool = True) -> None:
        self.connection = connection or Connection()
        self.sent: list[Message] = []
        self._reads = reads

    def ask(self, app: Any, path: str = "/", body: bytes = b"") -> asyncio.Task[None]:
        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        scope: Scope = {
            "type": "http", "method": "POST" if body else "GET", "path": path, "query_string": b"",
            "raw_path": path.encode(), "headers": [], "root_path": "", "scheme": "http",
        }  # fmt: skip
        connect(scope, self.connection)
        return asyncio.create_task(app(scope, receive, self.send))

    async def send(self, message: Message) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def soon(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.005)


def accept(reports: Sequence[Report], marking: bool, deadline: float) -> Refusals:
    return NOBODY


@pytest.mark.parametrize(
    ("path", "door"), [("/v1/services", "services"), ("/v2.1/os-services", "states")]
)
def test_a_list_is_not_made_for_a_client_that_left_while_it_waited(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch, path: str, door: str
) -> None:
    """The one that is being made is made; its turn is free when it is done, and not before."""
    begun, go_on, batches = [], threading.Event(), getattr(Batches, door)

    def slow(*given: Any, **named: Any) -> Any:
        begun.append(given)
        assert go_on.wait(SOON)
        return batches(*given, **named)

    async def test() -> None:
        app = create_app(Plane(group, Intake(accept, 1)), TrustEveryone())
        made, left, last = Asked(), Asked(), Asked()
        making = made.ask(app, path)
        await soon(lambda: begun)
        leaving, staying = left.ask(app, path), last.ask(app, path)
        await asyncio.sleep(0)
        left.connection.end()
        await asyncio.wait_for(leaving, SOON)
        made.connection.end()
        assert not making.done(), "a list that is being made has a thread"
        assert len(begun) == 1
        go_on.set()
        await asyncio.wait_for(asyncio.gather(making, staying), SOON)
        assert len(begun) == 2
        assert last.status == 200

    monkeypatch.setattr(Batches, door, slow)
    asyncio.run(test())


def test_a_report_is_not_waited_for_by_a_client_that_left(group: ServiceGroup) -> None:
    """It may be committed all the same, and those that share its commit are answered."""
    committed: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    def commit(reports: Sequence[Report], marking: bool, deadline: float) -> Refusals:
        if reports:
            entered.set()
            assert go_on.wait(SOON)
        committed.extend(report.uuid for report in reports)
        return NOBODY

    async def test() -> None:
        intake = Intake(commit, 60)
        app = create_app(Plane(group, intake), TrustEveryone())
        intake.start()
        try:
            left, stayed = Asked(), Asked()
            uuids = [group.join(host, "web").uuid for host in ("h1", "h2")]
            tasks = [
                one.ask(app, "/v1/reports", b'{"reports":[{"uuid":"%b","incarnation":1}]}' % name)
                for one, name in zip((left, stayed), map(str.encode, uuids), strict=True)
            ]
            await soon(entered.is_set)
            left.connection.end()
            await asyncio.wait_for(tasks[0], SOON)
            assert not tasks[1].done()
            go_on.set()
            await asyncio.wait_for(tasks[1], SOON)
            assert stayed.status == 200
            assert sorted(committed) == sorted(uuids)
        finally:
            go_on.set()
            await intake.stop()

    asyncio.run(test())


async def body(request: Request) -> Answer:
    return Answer(large=Large([b"x" * 100]))


def test_one_client_is_sent_few_large_bodies_at_a_time() -> None:
    """Another has its own, and the end of a connection frees the file it was sent."""

    async def test() -> None:
        clients, app = Clients(), Endpoint(body)
        client, other = (ClientQuota(name, 1.0, 0.0) for name in ("client", "other"))
        held = [Asked(Connection(client, clients), reads=False) for _ in range(MAX_LARGE)]
        tasks = [one.ask(app) for one in held]
        await soon(lambda: client.large == MAX_LARGE)
        refused, served = Asked(Connection(client, clients)), Asked(Connection(other, clients))
        await refused.ask(app)
        await served.ask(app)
        assert (refused.status, served.status) == (429, 200)
        assert b"for pages (limit)" in refused.sent[1]["body"]
        assert clients.refused[Limit.LARGE_ANSWERS] == 1
        for one in held:
            one.connection.end()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)
        assert client.large == 0
        again = Asked(Connection(client, clients))
        await again.ask(app)
        assert again.status == 200

    before = large._free._value
    asyncio.run(test())
    assert large._free._value == before


def test_a_proxy_on_this_host_is_sent_what_it_asks_for() -> None:
    async def test() -> None:
        clients, app = Clients(), Endpoint(body)
        proxy = clients.connect(None, "127.0.0.1", 0.0)
        assert isinstance(proxy, ClientQuota)
        held = [Asked(Connection(proxy, clients), reads=False) for _ in range(MAX_LARGE + 1)]
        tasks = [one.ask(app) for one in held]
        await soon(lambda: proxy.large == MAX_LARGE + 1)
        for one in held:
            one.connection.end()
        await asyncio.wait_for(asyncio.gather(*tasks), SOON)

    asyncio.run(test())


def test_a_reader_has_its_time_for_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it takes longer than a piece may; the clock is the event loop's own."""
    monkeypatch.setattr(large, "PIECE", 10)
    monkeypatch.setattr(large, "PATIENCE", 1.0)
    now, taken = 0.0, []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: now)

        async def send(message: Message) -> None:
            nonlocal now
            taken.append(message.get("body", b""))
            now += 0.5
            await asyncio.sleep(0)

        await Large([b"x" * 100]).send(send)

    asyncio.run(test())
    assert b"".join(taken) == b"x" * 100
