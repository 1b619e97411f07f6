"""A server that does nothing but send: what bytes alone cost, beside what making them does."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from servers.process import LOOPBACK

_SEND_BUFFER = 256 * 1024
"""Bytes the kernel holds for each client, as it does for a control plane."""


@contextmanager
def bare_server(size: int) -> Iterator[str]:
    """Answer any GET with so many bytes, from a process of its own; give its URL."""
    listener = socket.create_server((LOOPBACK, 0), backlog=1_000)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    # By spawning, since threads of this process may hold locks.
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(listener, size), daemon=True
    )
    process.start()
    try:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
    finally:
        process.kill()
        process.join()
        listener.close()


def _serve(listener: socket.socket, size: int) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
    body = b"x" * size

    class Sending(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)

        def data_received(self, data: bytes) -> None:
            self.transport.writelines([head, body])
            self.transport.close()

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Sending, sock=listener)
        await server.serve_forever()

    uvloop.run(serve())
