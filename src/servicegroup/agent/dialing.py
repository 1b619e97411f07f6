"""Connecting to a name within a budget: every address of it gets its turn, and none delays another.

A name may have addresses that nobody answers at. As in RFC 8305, the next address is tried a
moment after the one before, while that one is still waited for, and the first to answer is taken.
Looking the name up, connecting and the TLS handshake share one deadline (F-4).
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import threading
import time
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from servicegroup.polling import poller

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext, SSLSocket

STAGGER = 0.25
"""Seconds until the next address is tried beside those before it (RFC 8305, section 5)."""


class Address(NamedTuple):
    """Where to connect to: the socket's family, and what its ``connect`` takes."""

    family: int
    where: Any


def look_up(host: str, port: int, deadline: float) -> list[Address]:
    """Return the addresses of a host, families in turn, before ``deadline`` (monotonic seconds).

    Raises OSError, and TimeoutError when the resolver takes longer: it goes on in a thread of its
    own, since nothing can interrupt it.
    """
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it was asked
            answers.put(error)

    threading.Thread(target=ask, name="servicegroup-lookup", daemon=True).start()
    try:
        found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return _in_turn(Address(family, where) for family, _, _, _, where in found)


def _in_turn(addresses: Iterable[Address]) -> list[Address]:
    """Alternate between families, beginning with the first one's: one of them may lead nowhere."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


def connect(addresses: list[Address], deadline: float) -> tuple[socket.socket, Address]:
    """Return a socket to the first address that answers, and that address.

    Raises the OSError of the last one that refused, and TimeoutError at the ``deadline``.
    """
    waiting: dict[int, tuple[socket.socket, Address]] = {}
    poll = poller()
    left = list(addresses)
    failure: OSError = TimeoutError()
    try:
        while left or waiting:
            if left:
                address = left.pop(0)
                try:
                    begun = _begin(address)
                except OSError as error:
                    failure = error
                    continue
                waiting[begun.fileno()] = (begun, address)
                poll.register(begun, select.POLLOUT)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            for number, _ in poll.poll(1000 * (min(STAGGER, remaining) if left else remaining)):
                poll.unregister(number)
                tried, address = waiting.pop(number)
                code = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    return tried, address
                tried.close()
                failure = OSError(code, os.strerror(code))
    finally:
        for other, _ in waiting.values():
            other.close()
    raise failure


def _begin(address: Address) -> socket.socket:
    """Begin to connect, without waiting for it."""
    begun = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        begun.setblocking(False)
        begun.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            begun.connect(address.where)
    except BaseException:
        begun.close()
        raise
    return begun


def secure(plain: socket.socket, context: SSLContext, host: str, deadline: float) -> SSLSocket:
    """Return the socket after its TLS handshake. Raises OSError, TimeoutError at the deadline."""
    from ssl import SSLWantReadError, SSLWantWriteError

    sock = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                sock.do_handshake()
            except SSLWantReadError:
                _wait(sock, select.POLLIN, deadline)
            except SSLWantWriteError:
                _wait(sock, select.POLLOUT, deadline)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _wait(sock: socket.socket, event: int, deadline: float) -> None:
    poll = poller()
    poll.register(sock, event)
    if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
        raise TimeoutError
