"""A connection to a control plane that has become a WebSocket: messages out, what came in.

A forked child closes its copy of every one at once: else the end of the parent would not be seen.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import select
import struct
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from servicegroup.agent.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, Frames, frame
from servicegroup.errors import ControlPlaneUnavailable
from servicegroup.polling import poller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes a message may have; as for any answer of a control plane."""

_MAX_HEAD = 64 * 1024
_CHUNK = 64 * 1024
_NORMAL, _UNACCEPTABLE = 1000, 1002
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Rejected(ControlPlaneUnavailable):
    """A request for a WebSocket was answered in HTTP, with ``status`` and (some of) ``body``."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep the answer."""
        super().__init__(f"it answered {status}")
        self.status = status
        self.body = body


class WebSocket:
    """One upgraded connection: any thread may send, one reads."""

    def __init__(self, sock: socket, authority: str, target: str) -> None:
        """Use a connected socket, which is this object's from now on."""
        self._sock = sock
        self._authority = authority
        self._target = target
        self._frames = Frames(MAX_MESSAGE)
        self._sending = threading.Lock()
        self._ready: list[bytes] = []
        _OPEN.add(self)

    def shake_hands(self, headers: Mapping[str, str], deadline: float) -> None:
        """Ask for the upgrade, before the ``deadline`` in seconds of ``time.monotonic``.

        Raises Rejected for an answer in HTTP, OSError, and TimeoutError at the deadline.
        """
        key = binascii.b2a_base64(os.urandom(16), newline=False)
        asked = {
            "Host": self._authority,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key.decode(),
            **headers,
        }
        lines = [f"GET {self._target} HTTP/1.1", *(f"{n}: {v}" for n, v in asked.items()), "", ""]
        self._sock.sendall("\r\n".join(lines).encode("latin-1"))
        head, rest = self._read_head(deadline)
        status, answered = _understood(head)
        if status != 101:
            raise Rejected(status, self._read_body(rest, answered, deadline))
        if answered.get("sec-websocket-accept", "").encode() != accepted(key):
            raise FrameError("it accepted another connection than this one")
        self._take(rest)

    def _read_head(self, deadline: float) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read(deadline)
            if len(data) > _MAX_HEAD:
                raise FrameError("its answer does not end")
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _read_body(self, body: bytes, headers: Mapping[str, str], deadline: float) -> bytes:
        """Return what there is of a refusal's body; that it ends early does not matter."""
        length = headers.get("content-length", "")
        wanted = min(int(length), _MAX_HEAD) if length.isascii() and length.isdigit() else 0
        with contextlib.suppress(OSError):
            while len(body) < wanted:
                body += self._read(deadline)
        return body

    def _read(self, deadline: float) -> bytes:
        if not self.wait(deadline - time.monotonic()):
            raise TimeoutError
        data = self._sock.recv(_CHUNK)
        if not data:
            raise OSError("it closed the connection")
        return data

    def fileno(self) -> int:
        """Return what can be polled for input."""
        return self._sock.fileno()

    def wait(self, seconds: float) -> bool:
        """Wait so long for input, and return whether there is any."""
        poll = poller()
        poll.register(self._sock, select.POLLIN)
        return self._has_pending or bool(poll.poll(max(0.0, 1000 * seconds)))

    @property
    def _has_pending(self) -> bool:
        """Whether TLS has read more than it gave."""
        pending = getattr(self._sock, "pending", None)
        return pending is not None and bool(pending())

    def send(self, message: bytes) -> None:
        """Send a message. Raises OSError."""
        self._write(TEXT, message)

    def ping(self) -> None:
        """Send a sign of life that is answered with one. Raises OSError."""
        self._write(PING, b"")

    def receive(self) -> list[bytes]:
        """Return the messages that are whole, once there is input. Raises OSError for the end."""
        while not self._ready:
            data = self._sock.recv(_CHUNK)
            if not data:
                raise OSError("it closed the connection")
            self._take(data)
            if not self._has_pending:
                break
        messages, self._ready = self._ready, []
        return messages

    @property
    def has_messages(self) -> bool:
        """Whether messages came that were not received yet."""
        return bool(self._ready)

    def close(self) -> None:
        """Say goodbye, and close without waiting for an answer."""
        _OPEN.discard(self)
        with contextlib.suppress(OSError):
            self._sock.settimeout(0.1)
            self._write(CLOSE, struct.pack("!H", _NORMAL))
        with contextlib.suppress(OSError):
            self._sock.close()

    def forget(self) -> None:
        """Close this process's copy alone."""
        with contextlib.suppress(OSError):
            os.close(self._sock.detach())

    def _write(self, opcode: int, payload: bytes) -> None:
        with self._sending:
            self._sock.sendall(frame(opcode, payload))

    def _take(self, data: bytes) -> None:
        for opcode, payload in self._frames.feed(data):
            if opcode in (TEXT, BINARY):
                self._ready.append(payload)
            elif opcode == PING:
                self._write(PONG, payload)
            elif opcode == CLOSE:
                raise OSError(_goodbye(payload))


def _understood(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of an answer. Raises FrameError for what is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise FrameError("it does not speak HTTP; is it https://?")
    pairs = (line.partition(":") for line in lines)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def accepted(key: bytes) -> bytes:
    """Return what accepts the key of a request for a WebSocket."""
    try:
        # hashlib has the same, and loads 4 MiB of OpenSSL for it.
        from _sha1 import sha1  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha1
    return binascii.b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def _goodbye(payload: bytes) -> str:
    """Return why the other side ended it, in words."""
    code = struct.unpack("!H", payload[:2])[0] if len(payload) > 1 else _UNACCEPTABLE
    why = payload[2:].decode(errors="replace")
    return f"it ended the session: {why} ({code})" if why else f"it ended the session ({code})"


_OPEN: WeakSet[WebSocket] = WeakSet()


def _forget_all() -> None:
    for one in list(_OPEN):
        one.forget()
    _OPEN.clear()


os.register_at_fork(after_in_child=_forget_all)
