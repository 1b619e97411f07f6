"""What one connection may take: bytes, seconds and memory; on real sockets, with short times."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar
from weakref import WeakSet

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from servers.process import LOOPBACK, PATIENCE, free_port
from servicegroup.api.call import MAX_BODY, Answer
from servicegroup.api.endpoint import Endpoint, body_of
from servicegroup.api.transport.protocol import MAX_MESSAGE, Protocol
from servicegroup.api.upgrade import Upgrade
from servicegroup.controlplane.clients import MAX_HEAD, MAX_URL, ClientQuota, Clients, Limit
from support.waiting import until

TIME = 0.5
LARGE = 64 * MAX_BODY
GET = b"GET / HTTP/1.1\r\nHost: cp\r\n"


class Session(asyncio.Protocol):
    """What goes on with a connection after HTTP."""

    def take_over(
        self,
        transport: asyncio.Transport,
        client: ClientQuota,
        clients: Clients,
        gone: Callable[[], None],
    ) -> None:
        self.gone = gone
        transport.set_protocol(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone()

    def shutdown(self) -> None:
        """Wait for the client to go."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, and answer with one that is larger than what sockets hold, if asked to."""

    async def stage(request: Request) -> Answer | Upgrade:
        await body_of(request)
        if request.url.path == "/session":
            return Upgrade("key", Session())
        return Answer(body=b"x" * LARGE if request.url.path == "/large" else b"ok")

    await Endpoint(stage)(scope, receive, send)


class Bounded(Protocol):
    clients = Clients()
    request_time = TIME
    read_time = TIME
    all: ClassVar[WeakSet[Protocol]] = WeakSet()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.all.add(self)
        super().connection_made(transport)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of a server with short times, in a thread."""
    port = free_port()
    config = uvicorn.Config(
        application, LOOPBACK, port, http=Bounded, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, PATIENCE)
    yield port
    server.should_exit = True
    thread.join(PATIENCE)


@pytest.fixture
def line(port: int) -> Iterator[socket.socket]:
    """Give a connection; when the test ends, the server has forgotten it."""
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as connection:
        yield connection
    until(lambda: Bounded.clients.connections == 0, PATIENCE)


def refused(limit: Limit) -> int:
    return Bounded.clients.refused[limit]


def rest(line: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := line.recv(65536):
            received += data
    return received


def pour(line: socket.socket, head: bytes, piece: bytes) -> int:
    """Send without an end; return how many bytes went out before the server hung up."""
    sent = len(head)
    line.sendall(head)
    with contextlib.suppress(ConnectionError):
        while sent < LARGE:
            line.sendall(piece)
            sent += len(piece)
    return sent


def test_a_session_keeps_nothing_of_its_request(line: socket.socket) -> None:
    """A fleet holds its sessions for weeks."""
    line.sendall(b"GET /session HTTP/1.1\r\nHost: cp\r\n\r\n")
    assert line.recv(65536).startswith(b"HTTP/1.1 101")

    def is_freed() -> bool:
        gc.collect()
        return not Bounded.all

    until(is_freed, PATIENCE)
    assert Bounded.clients.connections == 1


@pytest.mark.parametrize(
    "piece",
    [b"x" * 4096, b"X-Header: value\r\n" * 256, b"\r\n" * 2048],
    ids=["value", "many", "nl"],
)
def test_endless_headers_are_cut_off(line: socket.socket, piece: bytes) -> None:
    before = refused(Limit.HEAD)
    head = b"" if piece.startswith(b"\r") else GET + b"X: "
    line.sendall(head + piece * (MAX_HEAD // len(piece) + 1))
    assert rest(line).startswith(b"HTTP/1.1 431")
    assert refused(Limit.HEAD) == before + 1


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /%b HTTP/1.1\r\n" % (b"x" * MAX_URL), b"414"),
        (GET + b"X: %b\r\n" % (b"x" * MAX_HEAD), b"431"),
    ],
)
def test_what_is_too_long_is_told(line: socket.socket, request_line: bytes, status: bytes) -> None:
    line.sendall(request_line + b"Connection: close\r\n\r\n")
    answer = rest(line)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"overLimit" in answer


def test_a_large_body_beside_a_small_head_is_no_large_head(line: socket.socket) -> None:
    body = b"x" * MAX_BODY
    head = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    line.sendall(head + body)
    assert rest(line).startswith(b"HTTP/1.1 200")


def test_an_endless_body_is_cut_off(line: socket.socket) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = pour(line, head, b"10000\r\n" + b"x" * 65536 + b"\r\n")
    assert sent < MAX_MESSAGE + 16 * MAX_BODY  # the sockets' buffers hold the rest
    assert rest(line)[:12] in (b"HTTP/1.1 413", b"")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"GET /",
        GET,
        b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n",
        GET + b"\r\n\r\n",
    ],
    ids=["silent", "line", "headers", "body", "after"],
)
def test_who_sends_a_byte_now_and_then_is_cut_off(line: socket.socket, begin: bytes) -> None:
    before = refused(Limit.SLOW_REQUEST)
    line.sendall(begin)
    line.settimeout(TIME / 10)
    answered = begin.endswith(b"\r\n\r\n\r\n")
    drip = itertools.cycle((b"\r", b"\n") if answered else (b"x",))

    def told() -> bool:
        try:
            return b"HTTP/1.1 408" in line.recv(65536)
        except TimeoutError:
            line.sendall(next(drip) if begin else b"")
            return False

    until(told, PATIENCE)
    assert refused(Limit.SLOW_REQUEST) == before + 1


def test_an_idle_connection_is_kept(line: socket.socket) -> None:
    ends = time.monotonic() + 3 * TIME
    for _ in range(2):
        line.sendall(GET + b"\r\n")
        answer = b""
        while not answer.endswith(b"ok"):
            piece = line.recv(4096)
            assert piece, "it was closed"
            answer += piece
        until(lambda: time.monotonic() > ends, PATIENCE)


def test_requests_in_one_piece_are_all_answered(line: socket.socket) -> None:
    line.sendall((GET + b"\r\n") * 2 + GET + b"Connection: close\r\n\r\n")
    assert rest(line).count(b"HTTP/1.1 200") == 3


def test_an_answer_that_nobody_reads_is_thrown_away(line: socket.socket) -> None:
    before = refused(Limit.UNREAD_ANSWER)
    line.sendall(b"GET /large HTTP/1.1\r\n\r\n")
    until(lambda: refused(Limit.UNREAD_ANSWER) == before + 1, PATIENCE)
    assert len(rest(line)) < LARGE


def test_an_answer_that_is_read_slowly_comes_whole(line: socket.socket) -> None:
    line.sendall(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
    begun = time.monotonic()
    received = 0
    while data := line.recv(4 * MAX_BODY):
        received += len(data)
        share = 2 * TIME * received / LARGE  # twice as long as one may not read at all
        until(lambda: time.monotonic() > begun + share, PATIENCE, 0.005)  # noqa: B023
    assert received > LARGE
