"""The edge of a request: what comes in is bounded, what goes out has an id and is no traceback.

Starlette carries the bytes; its own wrapping of functions, responses and errors would cost a
report a third more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import getrandbits
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from servicegroup.api import faults
from servicegroup.api.call import MAX_BODY, Answer
from servicegroup.api.connection import Connection, connection_of
from servicegroup.api.large import Large
from servicegroup.api.streaming import Stream
from servicegroup.api.upgrade import Upgrade
from servicegroup.controlplane.clients import MAX_LARGE
from servicegroup.errors import ServiceGroupError

Stage = Callable[[Request], Awaitable[Answer | Stream | Upgrade]]


_WITHOUT_CONTENT = frozenset({204, 304})
"""The length in a 304 would have to be that of the content that the client has (RFC 9110, 8.6)."""


class TooLarge(ServiceGroupError):
    """The request's body is larger than a request may be (HTTP 413)."""


class Endpoint:
    """A stage as an ASGI application: maps errors to answers, gives each its request id."""

    def __init__(self, stage: Stage) -> None:
        """Answer with what ``stage`` answers."""
        self._stage = stage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        try:
            answer = await self._stage(Request(scope, receive))
        except TooLarge as error:
            answer = faults.fault(413, str(error))
        except ClientDisconnect:
            answer = Answer(400)  # nobody is there to read it
        except asyncio.CancelledError:
            answer = _STOPPING
        except Exception as error:  # noqa: BLE001 - errors become answers here
            answer = faults.answer_for(error)
        with suppress(ClientDisconnect):
            if isinstance(answer, Stream):
                await answer.run(connection_of(scope), send)
            elif isinstance(answer, Upgrade):
                answer.run(connection_of(scope))
            elif answer.large is not None:
                await _send_large(answer, answer.large, connection_of(scope), send)
            else:
                await _send(answer, send)


async def _send(answer: Answer, send: Send) -> None:
    start = {"type": "http.response.start", "status": answer.status}
    await send({**start, "headers": headers_of(answer)})
    if answer.large is None:
        await send({"type": "http.response.body", "body": answer.body})


async def _send_large(answer: Answer, large: Large, connection: Connection, send: Send) -> None:
    """Send an answer while its client waits for it, or refuse it to one that is sent enough."""
    with connection.sending_large() as allowed:
        if not allowed:
            await _send(_MANY_LARGE, send)
            return
        with connection.wait():
            await _send(answer, send)
            await large.send(send)


async def body_of(request: Request) -> bytes:
    """Return the whole body. Raises TooLarge, early, for more than a request may have."""
    body = b""
    declared = request.headers.get("content-length", "0")
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY or (declared.isdigit() and int(declared[:12]) > MAX_BODY):
            raise TooLarge(f"The request body is larger than {MAX_BODY} bytes; send less at once.")
    return body


def headers_of(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers as they go out, with a request id of its own."""
    request_id = f"req-{UUID(int=getrandbits(128), version=4)}"
    headers = [
        *answer.headers,
        ("x-openstack-request-id", request_id),
        ("x-compute-request-id", request_id),
    ]
    if answer.status not in _WITHOUT_CONTENT:
        headers.append(("content-type", answer.media_type))
        length = len(answer.body) if answer.large is None else len(answer.large)
        headers.append(("content-length", str(length)))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


# The server waits for answers no longer, as when the database hangs (F-29).
_STOPPING = faults.fault(503, "The control plane stops; ask another one, or later.")

_MANY_LARGE = faults.over_limit(
    faults.RETRY_AFTER,
    f"{MAX_LARGE} lists as large are on the way to this client; read them first, or ask for pages"
    " (limit).",
)
