"""Whoever waits for an answer and goes holds nothing: its place is free at once (F-56)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.control_plane import ControlPlane
from support.scrape import Scrape
from support.waiting import until

from .following import Follower

pytestmark = pytest.mark.long

MANY = 200
"""Clients that wait, and go."""

SOON = 10.0
"""Seconds within which all of them are forgotten: they would wait for a minute."""

POLL, STREAM = "/v1/events?after={last}&wait=60", "/v1/events/stream?after={last}"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Give a control plane that is up itself, so that nothing more happens by itself."""
    directory = tmp_path_factory.mktemp("leaving")
    plane = ControlPlane(f"sqlite:///{directory / 'register.sqlite'}", directory)
    plane.start()
    until(lambda: plane.request("GET", "/v1/events?kind=service-up")[2]["events"], what="calm")
    yield plane
    plane.stop()
    assert "Traceback" not in plane.log()


def followers(plane: ControlPlane) -> float:
    return Scrape.of(plane).total("followers")


def asked(plane: ControlPlane, path: str, body: bytes = b"") -> bytes:
    """Return a question as it goes over the wire."""
    last = plane.request("GET", "/v1/events")[2]["last"]
    head = (
        f"GET {path.format(last=last)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def fin(line: socket.socket) -> None:
    line.close()


def reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def half(line: socket.socket) -> None:
    line.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("path", [POLL, STREAM])
@pytest.mark.parametrize("leave", [fin, reset, half])
def test_who_goes_is_followed_by_another(
    plane: ControlPlane, path: str, leave: Callable[[socket.socket], None]
) -> None:
    question = asked(plane, path)
    with ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", plane.port)))
            for _ in range(MANY)
        ]
        for line in lines:
            line.sendall(question)
        until(lambda: followers(plane) == MANY, what="all of them wait")
        for line in lines:
            leave(line)
        until(lambda: followers(plane) == 0, SOON, what="nobody waits")
    with Follower(plane) as follower:
        assert follower.response.status == 200
        until(lambda: followers(plane) == 1, what="another follows")
    until(lambda: followers(plane) == 0, SOON, what="it is gone as well")


@pytest.mark.parametrize("path", [POLL, STREAM])
@pytest.mark.parametrize("leave", [fin, reset])
@pytest.mark.parametrize("at_once", [True, False])
def test_no_request_behind_the_waiting_one_hides_that_its_client_goes(
    plane: ControlPlane, path: str, leave: Callable[[socket.socket], None], *, at_once: bool
) -> None:
    """Three requests on one connection, in one piece or one after another."""
    first, behind = asked(plane, path), asked(plane, "/healthz") + asked(plane, "/healthz")
    with ExitStack() as stack:
        for _ in range(MANY // 10):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", plane.port)))
            if at_once:
                line.sendall(first + behind)
            else:
                line.sendall(first)
                until(lambda: followers(plane) == 1, what="it waits")
                line.sendall(behind)
            leave(line)
            until(lambda: followers(plane) == 0, SOON, what="nobody waits")


def test_no_body_behind_the_question_hides_that_its_client_goes(plane: ControlPlane) -> None:
    """One that is larger than what the server reads ahead."""
    with socket.create_connection(("127.0.0.1", plane.port)) as line:
        line.sendall(asked(plane, POLL, b" " * 500_000))
        until(lambda: followers(plane) == 1, what="it waits")
        reset(line)
        until(lambda: followers(plane) == 0, SOON, what="nobody waits")


def test_the_next_request_ends_the_wait_and_is_answered_in_order(plane: ControlPlane) -> None:
    with socket.create_connection(("127.0.0.1", plane.port), timeout=SOON) as line:
        line.sendall(asked(plane, POLL) + asked(plane, POLL) + asked(plane, "/healthz"))
        answers = b""
        while b'{"status":"ok"}' not in answers:
            piece = line.recv(65_536)
            assert piece, answers
            answers += piece
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b'{"events":[],') == 2
    assert answers.endswith(b'{"status":"ok"}')
