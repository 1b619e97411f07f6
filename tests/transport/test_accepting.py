"""A crowd of connections is accepted many at a time (LC-8)."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import ExitStack

import uvloop

from servicegroup.api.transport.server import ACCEPTED, sockets_of

CLIENTS = 4 * ACCEPTED


def test_a_turn_of_the_loop_accepts_many() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = uvloop.run(accept(sockets_of(listener)))
    assert max(accepted.values()) == ACCEPTED


async def accept(sockets: list[socket.socket]) -> Counter[int]:
    """Return how many were accepted in each turn, until all were."""
    loop, turn = asyncio.get_running_loop(), 0
    accepted: Counter[int] = Counter()

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted[turn] += 1
            transport.close()

    servers = [await loop.create_server(Client, sock=sock) for sock in sockets]
    while accepted.total() < CLIENTS:
        turn += 1
        await asyncio.sleep(0)
    for server in servers:
        server.close()
    return accepted
