"""A session as a client in another language holds one: frames, and nothing of our agent's logic."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from servicegroup.agent.websocket import WebSocket
from servicegroup.keepalive import Keepalive

PATIENCE = 20.0
UNASKED = frozenset({"terms", "deleted", "superseded", "drain", "questions"})


class Talker:
    """One open session."""

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None = None,
        patience: float = PATIENCE,
        **headers: str,
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), patience)
        Keepalive().apply(self.socket)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=parts.hostname)
        self.line = WebSocket(self.socket, parts.netloc, "/v1/session")
        self.unasked: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self.line.shake_hands(named, time.monotonic() + patience)
        except BaseException:
            self.line.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.line.close()

    def send(self, frame: object) -> None:
        self.line.send(msgspec.json.encode(frame))

    def say(self, frame: object) -> dict[str, Any]:
        """Send a frame and return its answer."""
        self.send(frame)
        return self.hear()

    def hear(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return the next answer."""
        deadline = time.monotonic() + seconds
        while not self._answers:
            self.read(deadline)
        return self._answers.pop(0)

    def told(self, kind: str, seconds: float = PATIENCE) -> Any:
        """Return what is said unasked of this kind, once it was."""
        deadline = time.monotonic() + seconds
        while True:
            for said in self.unasked:
                if kind in said:
                    return said[kind]
            self.read(deadline)

    def asked(self, seconds: float = PATIENCE) -> list[dict[str, Any]]:
        """Return the lives that the next question is to, once it came."""
        self.unasked = [said for said in self.unasked if "questions" not in said]
        lives: list[dict[str, Any]] = self.told("questions", seconds)
        return lives

    def ended(self, seconds: float = PATIENCE) -> str:
        """Return how the control plane ended it, once it did."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.read(deadline)
        except TimeoutError:
            raise
        except OSError as error:
            return str(error)

    def read(self, deadline: float) -> None:
        """Take what comes. Raises TimeoutError at the deadline, OSError at the end."""
        if not self.line.wait(deadline - time.monotonic()):
            raise TimeoutError("nothing came")
        for message in self.line.receive():
            said = msgspec.json.decode(message)
            (self.unasked if UNASKED & said.keys() else self._answers).append(said)

    def hold(
        self, uuid: str, incarnation: int = 1, number: int = 1, **more: object
    ) -> dict[str, Any]:
        """Hold one life, show that the answer came, and return it."""
        life = {"uuid": uuid, "incarnation": incarnation, "number": number, **more}
        answer = self.say({"hold": [life]})
        self.line.ping()
        assert "held" in answer, answer
        held: dict[str, Any] = answer["held"]
        return held

    def ping_on(self, seconds: float) -> None:
        """Keep it up for so long, and read what comes. Raises OSError when it ends."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self.line.ping()
            with suppress(TimeoutError):
                while True:
                    self.read(now + 0.5)

    def break_off(self) -> None:
        """End as the kernel ends the connection of a process that died."""
        self.socket.close()


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return one frame of a client whose mask changes nothing."""
    size = len(payload)
    first = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        head = bytes([0x80 | size])
    elif size < 65536:
        head = b"\xfe" + struct.pack("!H", size)
    else:
        head = b"\xff" + struct.pack("!Q", size)
    return first + head + b"\0\0\0\0" + payload
