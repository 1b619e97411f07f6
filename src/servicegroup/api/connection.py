"""The connection that an answer goes to: whoever waits for one is not waited for in vain (F-56).

A client that has gone holds nothing: what waits on its behalf ends with its connection. An EOF is
its end, too, for a client that still reads does not close. While another request lies behind
the one that is answered nothing is read, so the end of the connection would not be seen; what
could wait for long ends with that request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from anyio import CancelScope
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from servicegroup.controlplane.clients import ClientQuota, Clients, Limit

_KEY = "servicegroup.connection"
_UNLIMITED = Clients()
_ANYBODY = ClientQuota("anybody", math.inf, 0.0, math.inf)


class Successor(Protocol):
    """What speaks another protocol on a connection once a request has asked for that."""

    def take_over(
        self,
        transport: asyncio.Transport,
        client: ClientQuota,
        clients: Clients,
        gone: Callable[[], None],
    ) -> None:
        """Go on with a client's connection; ``gone`` is called when it has ended."""
        ...

    def shutdown(self) -> None:
        """End in order: the server stops."""
        ...


Switch = Callable[[bytes, Successor], None]
"""Sends bytes as the last of HTTP and hands the connection over."""


class Connection:
    """One connection, on which one request is answered at a time; for one event loop."""

    __slots__ = (
        "_client",
        "_clients",
        "_switch",
        "_until_next",
        "_waiting",
        "has_ended",
        "is_followed",
    )

    def __init__(
        self,
        client: ClientQuota = _ANYBODY,
        clients: Clients = _UNLIMITED,
        switch: Switch | None = None,
    ) -> None:
        """Begin the connection of ``client``, one of ``clients``; ``switch`` hands it over."""
        self._client = client
        self._clients = clients
        self._switch = switch
        self.has_ended = False
        self.is_followed = False
        self._waiting: CancelScope | None = None
        self._until_next = False

    def end(self) -> None:
        """Note that the client has gone, and end what waits for it."""
        self.has_ended = True
        if self._waiting is not None:
            self._waiting.cancel()

    def follow(self) -> None:
        """Note that another request lies behind the one that is answered."""
        self.is_followed = True
        if self._waiting is not None and self._until_next:
            self._waiting.cancel()

    def go_on(self, *, is_followed: bool) -> None:
        """Note that a request was answered, and whether another lies behind the next one."""
        self.is_followed = is_followed

    def switch(self, head: bytes, successor: Successor) -> None:
        """Send the end of HTTP, and let ``successor`` go on with the connection.

        Raises ClientDisconnect once it has ended.
        """
        if self.has_ended or self._switch is None:
            raise ClientDisconnect
        self._switch(head, successor)

    @contextmanager
    def wait(self, *, until_next: bool = False) -> Iterator[None]:
        """Run the block while the client waits for it.

        Ends it with ClientDisconnect when the connection ends; what runs in a thread is waited
        for. With ``until_next``, ends it without an error when another request arrives.
        """
        with CancelScope() as scope:
            self._waiting, self._until_next = scope, until_next
            if self.has_ended or (until_next and self.is_followed):
                scope.cancel()
            try:
                yield
            finally:
                self._waiting = None
        if self.has_ended:
            raise ClientDisconnect

    @contextmanager
    def sending_large(self) -> Iterator[bool]:
        """Count a large answer for the block; give whether the client may have it."""
        client = self._client
        allowed = client.large < client.most_large
        if not allowed:
            self._clients.refuse(client, Limit.LARGE_ANSWERS)
        client.large += allowed
        try:
            yield allowed
        finally:
            client.large -= allowed


def connect(scope: Any, connection: Connection) -> None:
    """Note which connection a request came by."""
    scope[_KEY] = connection


def connection_of(scope: Scope) -> Connection:
    """Return the connection of a request; one that never ends where the server said none."""
    found: Connection = scope.get(_KEY) or Connection()
    return found
