"""Lists too large for memory: the same bytes, whole or an error, and no reader holds them up."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.types import Message

from servicegroup.api import large
from servicegroup.api.access.strategies import EVERYBODY
from servicegroup.api.call import Answer, Call
from servicegroup.api.compute.routes import respond
from servicegroup.api.endpoint import Endpoint
from servicegroup.api.listing import encoded, listed
from servicegroup.api.v1 import routes as v1
from servicegroup.errors import StoreUnavailable, Unavailable
from servicegroup.group import ServiceGroup
from servicegroup.messages import Report
from servicegroup.model import Service
from servicegroup.store import snapshots

from .nova import Nova, made


@pytest.fixture(autouse=True)
def many(group: ServiceGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register some services, and make a batch of two of them."""
    monkeypatch.setattr(snapshots, "BATCH", 2)
    for number in range(5):
        life = group.join(f"h{number}", "nova-compute")
        group.report([Report(life.uuid, life.incarnation)])


@pytest.fixture
def to_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing fit into memory."""
    monkeypatch.setattr(large, "IN_MEMORY", 100)


def listing(group: ServiceGroup, query: str = "") -> Answer:
    call = Call(group, EVERYBODY, "GET", "/v1/services", query=query)
    return made(v1.list_services(call))


class Line:
    """What a client is sent; it stops reading after some messages."""

    def __init__(self, reads: int = 1_000) -> None:
        self.head: Message = {}
        self.body = b""
        self.is_whole = False
        self._reads = reads

    async def send(self, message: Message) -> None:
        if self._reads == 0:
            await asyncio.Event().wait()
        self._reads -= 1
        if message["type"] == "http.response.start":
            self.head = message
        self.body += message.get("body", b"")
        self.is_whole = message["type"] == "http.response.body" and not message.get("more_body")

    def answered(self, answer: Answer) -> Line:
        async def stage(_: Request) -> Answer:
            return answer

        async def receive() -> Message:
            return {"type": "http.request"}

        asyncio.run(Endpoint(stage)({"type": "http", "headers": []}, receive, self.send))
        return self

    @property
    def announced(self) -> int:
        return int(dict(self.head["headers"])[b"content-length"])


@pytest.mark.parametrize("query", ["", "binary=nova-compute", "state=up", "state=down", "zone=x"])
def test_a_list_is_the_same_in_batches(group: ServiceGroup, query: str) -> None:
    """Nobody can tell from the form of a list how it was made."""
    batches, page = (
        msgspec.json.decode(listing(group, given).body) for given in (query, query + "&limit=9")
    )
    assert batches.keys() == page.keys()
    assert batches["next"] is None
    uuids = [[one["uuid"] for one in listed["services"]] for listed in (batches, page)]
    assert uuids[0] == uuids[1]
    assert len(uuids[0]) == (5 if query in ("", "binary=nova-compute", "state=up") else 0)


def test_a_large_list_has_its_length_and_the_same_content(
    group: ServiceGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Nova(group).get("/os-services")
    monkeypatch.setattr(large, "IN_MEMORY", 100)
    monkeypatch.setattr(large, "PIECE", 64)
    path = "/v2.1/os-services"
    line = Line().answered(made(respond(Call(group, EVERYBODY, "GET", path))))
    assert line.is_whole
    assert line.body == small.body
    assert line.announced == len(small.body)
    ours = Line().answered(listing(group))
    assert len(msgspec.json.decode(ours.body)["services"]) == 5
    assert (b"Cache-Control", b"no-cache") in ours.head["headers"]


def test_without_any_directory_a_large_list_is_refused(
    group: ServiceGroup, to_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a read-only root (F-11)."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", no_directory)
    with pytest.raises(Unavailable, match=r"does not fit into a temporary file \(No usable"):
        listing(group)


def no_directory() -> str:
    raise FileNotFoundError(2, "No usable temporary directory found")


def test_who_reads_too_slowly_is_left_with_less_than_was_announced(
    group: ServiceGroup, to_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds neither a connection to the database nor the file any longer."""
    monkeypatch.setattr(large, "PIECE", 64)
    monkeypatch.setattr(large, "PATIENCE", 0.1)
    answer = listing(group)
    line = Line(reads=3).answered(answer)
    assert not line.is_whole
    assert len(line.body) < line.announced
    assert group._store.engine.pool.status().endswith("Current Checked out connections: 0")


def test_a_database_that_goes_meanwhile_is_an_error_and_no_list(
    group: ServiceGroup, to_disk: None
) -> None:
    """What was made so far is not sent."""

    def broken() -> Iterator[list[Service]]:
        yield group.services()
        raise StoreUnavailable("The database does not answer.")

    with pytest.raises(StoreUnavailable):
        listed(encoded(broken()))


@pytest.mark.parametrize("place", ["full", "missing"])
def test_a_disk_without_room_is_said(
    group: ServiceGroup, to_disk: None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "full":
        monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "w+b"))
    else:
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(Unavailable, match="does not fit into"):
        listing(group)


def test_there_are_so_many_at_a_time(group: ServiceGroup, to_disk: None) -> None:
    """Files that nobody reads do not fill the disk; small lists are answered meanwhile."""
    held = [listing(group) for _ in range(large.AT_ONCE)]
    with pytest.raises(Unavailable, match="ask again later"):
        listing(group)
    assert listing(group, "limit=1").large is None
    for answer in held:
        Line().answered(answer)
    held.clear()
    del answer
    assert Line().answered(listing(group)).is_whole


def test_readers_that_share_a_large_list_each_get_it_whole(
    group: ServiceGroup, to_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "PIECE", 100)
    shared = listing(group).large
    assert shared is not None
    lines = [Line(), Line()]

    async def read() -> None:
        await asyncio.gather(*(shared.send(line.send) for line in lines))

    asyncio.run(read())
    for line in lines:
        assert line.is_whole
        assert len(line.body) == len(shared)
        assert len(msgspec.json.decode(line.body)["services"]) == 5
