"""The change of a request's connection to a WebSocket, after all that a request has to pass."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec
from starlette.requests import Request

from servicegroup.agent.websocket import accepted
from servicegroup.api.access.certificates import CERTIFICATE_ENDS, CERTIFIED
from servicegroup.api.connection import Connection, Successor
from servicegroup.api.faults import fault

_VERSION = "13"


class Upgrade(msgspec.Struct, frozen=True):
    """An answer that is the end of HTTP on its connection, which ``successor`` goes on with."""

    key: str
    successor: Successor

    def run(self, connection: Connection) -> None:
        """Send the answer and hand the connection over. Raises ClientDisconnect if it ended."""
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted(self.key.encode()) + b"\r\n\r\n"
        )
        connection.switch(head, self.successor)


def key_of(headers: Mapping[str, str]) -> str | None:
    """Return the key of a request for a WebSocket, None for a request that asks for none."""
    wanted = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    key = headers.get("sec-websocket-key", "")
    if (
        "upgrade" not in wanted
        or headers.get("upgrade", "").lower() != "websocket"
        or headers.get("sec-websocket-version") != _VERSION
    ):
        return None
    try:
        return key if len(base64.b64decode(key, validate=True)) == 16 else None
    except (binascii.Error, ValueError):
        return None


def without_connection(request: Request) -> Request:
    """Return what of a request says who sent it; a session remembers it for as long as it lasts."""
    return Request({name: value for name, value in request.scope.items() if name in _OF_SENDER})


_OF_SENDER = frozenset(
    {
        "type",
        "method",
        "scheme",
        "server",
        "path",
        "query_string",
        "headers",
        "client",
        CERTIFIED,
        CERTIFICATE_ENDS,
    }
)

NO_UPGRADE = msgspec.structs.replace(
    fault(
        426,
        "A session is a WebSocket, version 13: send Upgrade, or POST /v1/reports where a proxy"
        " does not let one through.",
    ),
    headers=(("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION)),
)
"""What a plain request gets, and so whoever asks through a proxy that allows no tunnel."""
