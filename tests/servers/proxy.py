"""A TCP proxy before a server: cut, it is a partition between the server and who comes this way."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from servers.process import LOOPBACK, PATIENCE, Started, free_port


class Proxy(Started):
    """Passes on what is sent, to and from a server on a loopback port.

    While it is cut, what is sent is lost and nobody is told, as where packets are dropped. Healed,
    it ends the connections that have lost something, so nothing arrives late.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        listener = socket.create_server((LOOPBACK, self.port))
        self._begin(self._accept, listener)

    def cut(self) -> None:
        """Begin the partition."""
        self._whole.clear()

    def heal(self) -> None:
        """End the partition."""
        self._whole.set()

    def close(self) -> None:
        self.heal()
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _begin(self, work: Callable[[socket.socket], None], end: socket.socket) -> None:
        """Let a thread work on a socket until both end."""

        def run() -> None:
            with end, contextlib.suppress(OSError):  # one side or the other went away
                work(end)
            self._ends.discard(end)

        self._ends.add(end)
        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            self._begin(self._pass_on, listener.accept()[0])

    def _pass_on(self, client: socket.socket) -> None:
        if not self._whole.is_set():
            self._whole.wait()
            return
        with socket.create_connection((LOOPBACK, self._target)) as server:
            other = {client: server, server: client}
            while True:
                for end in select.select(list(other), [], [])[0]:
                    data = end.recv(65536)
                    if not self._whole.is_set():
                        self._whole.wait()
                        return
                    if not data:
                        return
                    other[end].sendall(data)
