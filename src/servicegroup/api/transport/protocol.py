"""One client's connection: uvicorn's, with bounds on what it takes and how long it may take.

Whatever a client does, it costs a bounded amount of memory for a bounded time: a request has so
many bytes and seconds to arrive, and an answer has to be read. Nothing of it costs a timer where a
request arrives at once, as honest ones do.
"""

from __future__ import annotations

import asyncio
import enum
import math
from functools import partial
from typing import Any, ClassVar

from starlette.requests import ClientDisconnect, Request
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from servicegroup.api import faults
from servicegroup.api.access.certificates import certify, end_of, host_of
from servicegroup.api.call import MAX_BODY, Answer
from servicegroup.api.connection import Connection, Successor, connect
from servicegroup.api.endpoint import Endpoint, headers_of
from servicegroup.controlplane.clients import MAX_HEAD, MAX_URL, ClientQuota, Clients, Limit

OPEN = frozenset({b"/healthz", b"/readyz"})
"""What is answered without a certificate where one is required: load balancers have none."""

MAX_MESSAGE = 16 * MAX_BODY
"""Bytes of a request on the wire: framing, too, and what is ignored until its sender reads 413."""

_READ_AT_LEAST = 64 * 1024
_GOODBYE = 0.5


class Phase(enum.Enum):
    """Which part of a request arrives next."""

    IDLE = "idle"
    """None has begun: the first byte is awaited."""
    HEAD = "head"
    BODY = "body"
    """The body, and what may follow it."""


# Python looks a member up by a function each time; a connection does so several times a request.
_IDLE, _HEAD, _BODY = Phase


class Protocol(HttpToolsProtocol):
    """A connection that is counted and bounded; ``clients`` is set by who serves."""

    clients: ClassVar[Clients]
    certificate_required: ClassVar[bool] = False

    request_time: ClassVar[float] = 20.0
    """Seconds a request may take to arrive, and a new connection to send one."""

    read_time: ClassVar[float] = 30.0
    """Seconds within which 64 KiB of an answer have to be read, or the rest of it."""

    _admitted: ClientQuota | None = None
    _connection = Connection()
    _answered: RequestResponseCycle | None = None
    _host: str | None = None
    _certificate_ends: float | None = None
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _taken = 0
    _arriving = 0
    _phase = _IDLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let the client in, or tell it why not."""
        super().connection_made(transport)
        self._serve = self.app
        if certificate := transport.get_extra_info("peercert"):
            self._host = host_of(certificate)
            self._certificate_ends = end_of(certificate)
        address = self.client[0] if self.client else ""
        found = self.clients.connect(self._host, address, self.loop.time())
        if isinstance(found, ClientQuota):
            self._admitted = found
            self._connection = Connection(found, self.clients, self._switch)
            self._start_deadline()
        else:
            self._close_with(_TOO_MANY[found])

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client's connection."""
        super().connection_lost(exc)
        if self._answered is not None:  # uvicorn knows of the latest request only
            self._answered.disconnected = True
            self._answered.message_event.set()
        self._connection.end()
        self._cancel()
        if self._admitted is not None:
            self.clients.disconnect(self._admitted)
            self._admitted = None

    # -- what comes in -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, unless it is too much or too late."""
        if self._admitted is None or self.transport.is_closing():
            return
        self._arriving = len(data)
        self._taken += self._arriving
        super().data_received(data)
        if self._phase is _BODY:
            self.headers = []  # trailers: nothing reads them, and they could be sent without end
        if self._phase is not _BODY and self._taken > MAX_HEAD:
            self._reject(Limit.HEAD, _LONG_HEAD)
        elif self._taken > MAX_MESSAGE:
            self._reject(Limit.HEAD, None)
        elif self._phase is not _IDLE or self.cycle is None or self.cycle.response_complete:
            self._start_deadline()
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._phase = _HEAD
        self._taken = self._arriving
        connect(self.scope, self._connection)
        if self._certificate_ends is not None:
            certify(self.scope, self._host, self._certificate_ends)

    def on_headers_complete(self) -> None:
        """Answer the request, or say why it is refused."""
        self._phase = _BODY
        if self._admitted is not None:
            self.app = self._refusing(self._admitted) or self._serve
        super().on_headers_complete()
        if self.pipeline:
            self._connection.follow()

    def on_message_complete(self) -> None:
        """Wait for the next request, whose head comes first."""
        super().on_message_complete()
        self._phase = _IDLE
        self._taken = 0
        if not self.pipeline:
            self.flow.resume_reading()  # the end of the connection is to be seen

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        self._connection.go_on(is_followed=bool(self.pipeline))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: what asks for another protocol is answered like any other request."""

    def _switch(self, head: bytes, successor: Successor) -> None:
        """Hand the connection over, and what is counted for its client with it."""
        client = self._admitted
        if client is None or self.transport.is_closing():
            raise ClientDisconnect
        self._admitted = None
        self._cancel()
        self._unset_keepalive_if_required()
        self.cycle.disconnected = True  # nothing more is answered in HTTP
        # uvicorn stops what is among its connections, whatever it speaks.
        connections: set[Any] = self.connections
        clients = self.clients
        connections.discard(self)
        connections.add(successor)

        def gone() -> None:  # by itself, or the request would be kept as long as the session
            connections.discard(successor)
            clients.disconnect(client)

        self.transport.write(head)
        successor.take_over(self.transport, client, clients, gone)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _refusing(self, client: ClientQuota) -> Endpoint | None:
        """Return what answers instead of the application, None for a request that is in order."""
        wait = client.wait(self.loop.time())
        if wait:
            limit, answer = Limit.RATE, faults.over_limit(math.ceil(wait))
        elif len(self.url) > MAX_URL:
            limit, answer = Limit.URL, _LONG_URL
        elif self._taken > MAX_HEAD and _size(self.headers) + len(self.url) > MAX_HEAD:
            limit, answer = Limit.HEAD, _LONG_HEAD
        elif self.certificate_required and self._host is None and self.url not in OPEN:
            limit, answer = Limit.CERTIFICATE, _NO_CERTIFICATE
        else:
            return None
        self.clients.refuse(client, limit)
        return Endpoint(partial(_answer, answer))

    # -- time --------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _start_deadline(self) -> None:
        """Give the request that arrives a time to be whole; what came of it does not extend it."""
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(
                self.request_time, self._reject, Limit.SLOW_REQUEST, _SLOW
            )

    def _watch_reading(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self.read_time, self._look_at_reading, size)

    def _look_at_reading(self, size: int) -> None:
        if self.transport.get_write_buffer_size() > size - _READ_AT_LEAST:
            self._reject(Limit.UNREAD_ANSWER, None)
        else:
            self._watch_reading()

    def _cancel(self) -> None:
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()

    # -- ends --------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """End the connection, when the answer under way is out."""
        super().shutdown()
        if self.transport.is_closing():
            self._close()

    def _reject(self, limit: Limit, answer: Answer | None) -> None:
        """Count a refusal and end the connection; with an answer where none has begun."""
        if self._admitted is not None:
            self.clients.refuse(self._admitted, limit)
        cycle = self.cycle
        if answer is None or (cycle and cycle.response_started and not cycle.response_complete):
            self.transport.abort()
        else:
            self._close_with(answer)

    def _close_with(self, answer: Answer) -> None:
        self._cancel()
        self.transport.write(_raw(answer))
        self._close()

    def _close(self) -> None:
        """Close, and do not wait for a client that does not say goodbye, as TLS would have it."""
        self.transport.close()
        self.loop.call_later(_GOODBYE, self.transport.abort)


async def _answer(answer: Answer, request: Request) -> Answer:
    return answer


def _raw(answer: Answer) -> bytes:
    """Return an answer as it goes over the wire, with the end of the connection."""
    lines = [name + b": " + value + b"\r\n" for name, value in headers_of(answer)]
    head = (STATUS_LINE[answer.status], *lines, b"connection: close\r\n\r\n")
    return b"".join(head) + answer.body


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)


_LONG_URL = faults.fault(414, f"The URL is longer than {MAX_URL} bytes; ask for less at once.")
_LONG_HEAD = faults.fault(431, f"The headers are larger than {MAX_HEAD} bytes; send fewer.")
_NO_CERTIFICATE = faults.fault(
    403, "This control plane asks for a client certificate that names a host; send one (--cert)."
)
_SLOW = faults.fault(408, "The request did not arrive in time; send it at once.")
_TOO_MANY = {
    Limit.CONNECTIONS: faults.fault(503, "Too many connections; try again, or elsewhere."),
    Limit.CLIENT_CONNECTIONS: faults.over_limit(
        faults.RETRY_AFTER, "Too many connections of one client; keep and share them."
    ),
}
