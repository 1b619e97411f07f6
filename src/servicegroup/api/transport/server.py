"""The HTTP server that carries the application: uvicorn, with our connections, limits and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn

from servicegroup.api.app import Application
from servicegroup.api.transport.protocol import Protocol
from servicegroup.config import Settings
from servicegroup.controlplane.clients import Clients

_MANY_FILES = 65_536
_OWN_FILES = 256
"""Files that are kept free of clients: for the database, the backend and the log."""


BACKLOG = 4096
"""Connections that wait to be accepted; the kernel has a limit of its own, often the same."""

ACCEPTED = 4
"""Connections that are accepted in one turn of the loop; uvloop takes one of each socket."""

SEND_BUFFER = 256 * 1024
"""Bytes of an answer that the kernel takes for a client; else megabytes for each slow reader."""

TICK = 1.0
"""Seconds between two rounds of what the server does by itself: the date, a certificate."""

GRACE = 4
"""Seconds that pending requests have when the control plane stops; what is left gets 503."""


def clients_of(settings: Settings) -> Clients:
    """Return the limits of clients, and none beyond what files this process may open."""
    most = max(_OWN_FILES, allow_many_connections() - _OWN_FILES)
    return Clients(settings.rate_limit, settings.connection_limit, most)


def allow_many_connections() -> int:
    """Raise the limit of open files as far as it goes, and return it: each client holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)


def sockets_of(listener: socket.socket) -> list[socket.socket]:
    """Return what to serve on: a fleet that comes at once is accepted many at a time (LC-8)."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # of each accepted
    return [listener, *(listener.dup() for _ in range(1, ACCEPTED))]


def server_of(app: Application, clients: Clients, settings: Settings) -> Server:
    """Return the server. Raises ConfigError for a certificate that cannot be used."""
    required = settings.tls is not None and settings.tls.required

    class Connection(Protocol):
        certificate_required = required

    Connection.clients = clients

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        # An idle connection must outlive the pause between two reports of an agent.
        timeout_keep_alive=int(3 * settings.limits.report_interval) + 60,
        timeout_graceful_shutdown=GRACE,
        timeout_notify=1,
    )
    if settings.tls is not None:
        from servicegroup.api.transport.tls import ServerTls

        tls = ServerTls(settings.tls)
        config.callback_notify = tls.renew
        config.load()
        config.ssl = tls.context
    return Server(config, app)


class Server(uvicorn.Server):
    """A server that closes streams before it waits for answers, and sleeps while nobody asks."""

    def __init__(self, config: uvicorn.Config, app: Application) -> None:
        """Serve ``app``, which ``config`` is about."""
        super().__init__(config)
        self._app = app
        self._wake: Callable[[], object] | None = None

    async def main_loop(self) -> None:
        """Do what is due once a second until a signal comes; uvicorn looks ten times as often."""
        stopping = asyncio.Event()
        self._wake = partial(asyncio.get_running_loop().call_soon_threadsafe, stopping.set)
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TICK)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note that a signal came; called between two steps of the event loop's thread."""
        super().handle_exit(sig, frame)
        if self._wake is not None:
            self._wake()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse who comes now, end what goes on for ever, and wait for what is being answered."""
        for listening in (*(sockets or ()), *self.servers):
            listening.close()  # first: who is refused at once goes elsewhere, as a proxy does
        # It waits for every answer, and these have no end of their own.
        await self._app.close_streams()
        await super().shutdown(sockets)
