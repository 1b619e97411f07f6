"""Each mode of the fault proxy, before a real memcached, is the fault that its name says."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from servers.memcached import Memcached
from servers.process import LOOPBACK, PATIENCE, ask
from servers.proxy import Mode, Proxy

SILENT = 0.3
"""Seconds without an answer that stand for never; an answer takes less than a hundredth of them."""


@pytest.fixture
def way(memcached_server: Memcached) -> Iterator[Proxy]:
    with Proxy(memcached_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(way: Proxy) -> Iterator[socket.socket]:
    """Give a connection that was used once, when the way was whole."""
    with socket.create_connection((LOOPBACK, way.port), timeout=PATIENCE) as connection:
        assert answers(connection)
        yield connection


def answers(connection: socket.socket) -> bool:
    """Tell whether the server answers, or the way loses question or answer."""
    connection.sendall(b"version\r\n")
    return connection.recv(100).startswith(b"VERSION ")


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENT)
    try:
        return not connection.recv(100)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE)


def is_reset(connection: socket.socket) -> bool:
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        return True
    return False


def test_pass_also_passes_on_that_an_end_closed(way: Proxy, client: socket.socket) -> None:
    assert answers(client)
    client.sendall(b"quit\r\n")
    assert client.recv(100) == b""
    assert ask(way.port, b"version\r\n", b"\r\n").startswith(b"VERSION ")


def test_delay(way: Proxy, client: socket.socket) -> None:
    way.be(Mode.DELAY, 0.2)
    begun = time.monotonic()
    assert answers(client)
    assert time.monotonic() - begun >= 0.4


def test_a_black_hole_accepts_and_tells_nobody(way: Proxy, client: socket.socket) -> None:
    way.be(Mode.BLACK_HOLE)
    with socket.create_connection((LOOPBACK, way.port), timeout=PATIENCE) as other:
        for connection in (client, other):
            connection.sendall(b"version\r\n")
            assert is_silent(connection)
        way.be(Mode.PASS)
        assert is_reset(client)
        assert is_reset(other)


def test_who_was_quiet_in_a_partition_goes_on(way: Proxy, client: socket.socket) -> None:
    way.cut()
    way.heal()
    assert answers(client)


def test_half_open_loses_answers_only(
    way: Proxy, client: socket.socket, memcached_server: Memcached
) -> None:
    way.be(Mode.HALF_OPEN)
    client.sendall(b"set half-open 0 0 4\r\nkept\r\n")
    assert is_silent(client)
    assert b"kept" in ask(memcached_server.port, b"get half-open\r\n", b"END\r\n")
    way.be(Mode.PASS)
    assert is_reset(client)


def test_reset_ends_connections_there_are_and_to_come(way: Proxy, client: socket.socket) -> None:
    way.be(Mode.RESET)
    assert is_reset(client)
    with pytest.raises(ConnectionResetError):
        ask(way.port, b"version\r\n", b"\r\n")


def test_slow_close(way: Proxy, client: socket.socket) -> None:
    way.be(Mode.SLOW_CLOSE, 0.4)
    begun = time.monotonic()
    client.sendall(b"quit\r\n")
    assert client.recv(100) == b""
    assert time.monotonic() - begun >= 0.4


def test_cut_after_so_many_bytes(way: Proxy, client: socket.socket) -> None:
    question = b"version\r\n"
    way.be(Mode.CUT_AFTER, len(question) + 4)
    client.sendall(question)
    assert client.recv(100) == b"VERS"
    assert is_reset(client)


def test_a_server_that_is_away_is_refused(way: Proxy, client: socket.socket) -> None:
    way.target = 1
    with pytest.raises(ConnectionResetError):
        ask(way.port, b"version\r\n", b"\r\n")
