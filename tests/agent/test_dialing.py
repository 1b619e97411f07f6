"""F-4: a name's addresses, the handshake and the answer share one budget."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from servicegroup.agent import dialing
from servicegroup.agent.client import HttpClient
from servicegroup.agent.connection import Connection, NotSent
from servicegroup.agent.dialing import Address
from servicegroup.cli.remote import RemoteRegister
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.model import ServiceFilter
from support.control_plane import ControlPlane

NAME = "register.example"
BLACK_HOLE, NOBODY, PLANE = "127.0.0.2", "127.0.0.3", "127.0.0.1"


class Resolver:
    """Stands where the system's resolver is asked: one name with addresses of our choice."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._system = socket.getaddrinfo

    def __call__(self, host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        if host != NAME:
            return self._system(host, port, *arguments, **options)
        assert self.may_answer.wait(30)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in self.hosts]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.may_answer.set()


@pytest.fixture
def black_hole(control_plane: ControlPlane) -> Iterator[None]:
    """Let nobody answer at an address: what listens there accepts nobody, and its queue is full."""
    with contextlib.ExitStack() as stack:
        address = (BLACK_HOLE, control_plane.port)
        stack.enter_context(socket.create_server(address, backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield


@pytest.fixture
def url(control_plane: ControlPlane) -> str:
    return f"http://{NAME}:{control_plane.port}"


@pytest.mark.usefixtures("black_hole")
def test_an_address_that_nobody_answers_at_delays_by_a_moment(resolver: Resolver, url: str) -> None:
    resolver.hosts = [BLACK_HOLE, NOBODY, PLANE]
    with closing(HttpClient(url)) as client:
        assert client.register("h1", "nova-compute", "", "", 1).incarnation == 1
        assert client.unanswered == 0
    with closing(RemoteRegister(url)) as register:
        assert [service.incarnation for service in register.services(ServiceFilter(host="h1"))] == [
            1
        ]


@pytest.mark.usefixtures("black_hole")
def test_the_address_that_answered_last_is_tried_first(
    resolver: Resolver, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.hosts = [BLACK_HOLE, PLANE]
    with closing(Connection(url)) as connection:
        connection.request("GET", "/healthz", None, {}, 5)
        connection.close()
        monkeypatch.setattr(dialing, "STAGGER", 60)  # the second address would come too late
        assert connection.request("GET", "/healthz", None, {}, 5).status == 200


@pytest.mark.usefixtures("black_hole")
def test_addresses_that_nobody_answers_at_take_no_longer_than_the_attempt(
    resolver: Resolver, url: str
) -> None:
    resolver.hosts = [BLACK_HOLE] * 2
    with closing(Connection(url)) as connection:
        begun = time.monotonic()
        with pytest.raises(NotSent, match="timed out"):
            connection.request("GET", "/healthz", None, {}, 0.5)
        assert time.monotonic() - begun < 5


def test_looking_the_name_up_is_part_of_the_attempt(resolver: Resolver, url: str) -> None:
    resolver.may_answer.clear()
    with closing(Connection(url)) as connection, pytest.raises(NotSent, match="timed out"):
        connection.request("GET", "/healthz", None, {}, 0.2)


def test_the_last_refusal_is_the_cause(resolver: Resolver, url: str) -> None:
    resolver.hosts = [NOBODY]
    with closing(Connection(url)) as connection, pytest.raises(NotSent, match="refused"):
        connection.request("GET", "/healthz", None, {}, 5)


@pytest.mark.usefixtures("black_hole")
def test_no_registration_whose_answer_nobody_could_hear(
    control_plane: ControlPlane, resolver: Resolver, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would begin another incarnation, and the agent would never join."""
    monkeypatch.setattr(dialing, "STAGGER", 0.9)
    resolver.hosts = [BLACK_HOLE, PLANE]
    with closing(HttpClient(url)) as client:
        client.timeout = 1.0
        for _ in range(2):
            with pytest.raises(ControlPlaneUnavailable, match="timed out"):
                client.register("h1", "nova-compute", "", "", 1)
        assert client.unanswered == 0
    services = control_plane.request("GET", "/v1/services?host=h1")[2]["services"]
    assert services == []


def test_a_handshake_that_never_ends_takes_no_longer_than_the_attempt() -> None:
    """One that sends a byte now and then included."""
    with socket.create_server((PLANE, 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            accepted, _ = server.accept()
            with accepted, contextlib.suppress(OSError):
                # The head of a TLS record that is long, and never there as a whole.
                for byte in itertools.chain(b"\x16\x03\x03\x40\x00", itertools.repeat(2)):
                    accepted.sendall(bytes([byte]))
                    if stop.wait(0.05):
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"https://{PLANE}:{server.getsockname()[1]}"
        begun = time.monotonic()
        with closing(Connection(url)) as connection, pytest.raises(NotSent, match="timed out"):
            connection.request("GET", "/healthz", None, {}, 0.5)
        assert time.monotonic() - begun < 5
        stop.set()
        thread.join()


def test_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    given = [Address(six, 1), Address(six, 2), Address(four, 3), Address(six, 4), Address(four, 3)]
    assert [address.where for address in dialing._in_turn(given)] == [1, 3, 2, 4]
