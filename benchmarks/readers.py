"""Clients that ask at the same moment, all of them in one thread and into one buffer.

They share the machine with the server that is measured. A thread and a body in memory for each, as
ordinary clients have them, would take longer than the server.
"""

from __future__ import annotations

import selectors
import socket
import time
from urllib.parse import urlsplit

from benchmarks.measure import TIMEOUT

_BUFFER = 1024 * 1024


def seconds_of_all(url: str, readers: int, size: int) -> float:
    """Return the seconds until each of them has the whole answer, of ``size`` bytes at least.

    Raises AssertionError where one gets less, or anything but 200.
    """
    parts = urlsplit(url)
    question = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(_BUFFER)
    begun = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        received: dict[socket.socket, int] = {}
        for _ in range(readers):
            line = socket.create_connection((parts.hostname, parts.port), TIMEOUT)
            line.sendall(question.encode())
            line.setblocking(False)
            selector.register(line, selectors.EVENT_READ)
            received[line] = 0
        while selector.get_map():
            ready = selector.select(TIMEOUT)
            assert ready, f"{url} was silent for {TIMEOUT:g} s"
            for key, _ in ready:
                line = key.fileobj  # type: ignore[assignment]
                count = line.recv_into(buffer)
                assert received[line] or buffer.startswith(b"HTTP/1.1 200 "), bytes(buffer[:200])
                received[line] += count
                if not count:
                    selector.unregister(line)
                    line.close()
    took = time.perf_counter() - begun
    assert min(received.values()) >= size, f"{url}: {min(received.values())} bytes, not {size}"
    return took
