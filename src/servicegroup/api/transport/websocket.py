"""One session's connection after its upgrade: frames in, frames out, each within bounds (RFC 6455).

A message has so many bytes, however many pieces it comes in. Messages are answered one after the
other, and while too many wait nothing is read. Who does not read is cut off, and so is who sends
faster than a client may.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from servicegroup.agent.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameError,
    Frames,
    TooLarge,
    plain_frame,
)
from servicegroup.api.call import MAX_BODY
from servicegroup.controlplane.clients import ClientQuota, Clients, Limit
from servicegroup.keepalive import Keepalive
from servicegroup.sessions import SessionEnd

MAX_QUEUED = 64
"""Messages of a connection that wait for their turn, before nothing more is read."""

_GOODBYE = 0.5
_DEAD = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


class CloseCode(IntEnum):
    """Why a connection is closed (RFC 6455, section 7.4.1)."""

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    TOO_LARGE = 1009


class Talk(Protocol):
    """What a session says; ``WebSocket`` carries it."""

    def begin(self, line: WebSocket) -> None:
        """Begin to talk over a connection."""
        ...

    def heard(self) -> None:
        """Note that a frame came."""
        ...

    def answer(self, message: bytes, done: Callable[[bytes], None]) -> None:
        """Have ``done`` called with the answer to a message, later and once; never raises."""
        ...

    async def may_go_on(self) -> bool:
        """Return whether its credential is still accepted; never raises."""
        ...

    def lost(self, end: SessionEnd) -> None:
        """Note that the connection is gone; called once."""
        ...


class WebSocket(asyncio.Protocol):
    """A connection that carries a session, counted for its client until it is gone."""

    __slots__ = (
        "_checking", "_client", "_clients", "_end", "_frames", "_gone", "_is_answering",
        "_keepalive", "_loop", "_paused", "_queue", "_talk", "_transport", "_unread",
    )  # fmt: skip

    read_time = 30.0
    """Seconds within which what was sent has to be read."""

    drain_time = 3.0
    """Seconds that a session has to go by itself once a control plane that stops asks it to."""

    def __init__(self, talk: Talk, keepalive: Keepalive) -> None:
        """Carry ``talk``; ``take_over`` says on which connection."""
        self._talk = talk
        self._keepalive = keepalive
        self._frames = Frames(MAX_BODY, of_client=True)
        self._queue: list[bytes] = []  # short, and an empty one is a tenth of a deque
        self._is_answering = False
        self._checking: asyncio.Task[None] | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._end: SessionEnd | None = None
        self._paused = False

    def take_over(
        self,
        transport: asyncio.Transport,
        client: ClientQuota,
        clients: Clients,
        gone: Callable[[], None],
    ) -> None:
        """Go on with a client's connection; ``gone`` is called when it has ended."""
        self._transport = transport
        self._client = client
        self._clients = clients
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        if (sock := transport.get_extra_info("socket")) is not None:
            self._keepalive.apply(sock)
        transport.set_protocol(self)
        self._talk.begin(self)

    # -- what comes in -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what came, unless the connection is about to end."""
        if self._end is not None or self._transport.is_closing():
            return
        try:
            for opcode, payload in self._frames.feed(data):
                if self._end is None:
                    self._take(opcode, payload)
        except TooLarge as error:
            self._bye(SessionEnd.REFUSED, CloseCode.TOO_LARGE, str(error))
        except FrameError as error:
            self._bye(SessionEnd.REFUSED, CloseCode.PROTOCOL_ERROR, str(error))
        if self._end is None:  # a goodbye is no sign of life
            self._talk.heard()

    def _take(self, opcode: int, payload: bytes) -> None:
        """Take one message, or a frame between them."""
        if opcode in (TEXT, BINARY):
            if not self._is_too_fast():
                self._queue.append(payload)
                self._go_on()
        elif opcode == PING:
            if not self._is_too_fast():
                self._write(PONG, payload)
        elif opcode == PONG:
            self._is_too_fast()
        elif opcode == CLOSE:
            self._write(CLOSE, payload[:2])
            self._leave(SessionEnd.CLOSED)

    def _go_on(self) -> None:
        """Answer what waits; while too much does, read no more."""
        if len(self._queue) >= MAX_QUEUED and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if not self._is_answering:
            self._answer_next()

    def _is_too_fast(self) -> bool:
        if not self._client.wait(self._loop.time()):
            return False
        self._clients.refuse(self._client, Limit.RATE)
        self._bye(SessionEnd.REFUSED, CloseCode.POLICY_VIOLATION, "this client sends too often")
        return True

    def _answer_next(self) -> None:
        """Answer what waits, one message after the other."""
        self._is_answering = bool(self._queue) and self._end is None
        if self._is_answering:
            self._talk.answer(self._queue.pop(0), self._answered)

    def _answered(self, answer: bytes) -> None:
        if self._paused and len(self._queue) < MAX_QUEUED:
            self._paused = False
            self._transport.resume_reading()
        self.send(answer)
        self._answer_next()

    # -- what goes out -----------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message, if anybody is there to read it."""
        if self._end is None:
            self._write(TEXT, message)

    def _write(self, opcode: int, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(plain_frame(opcode, payload))

    def pause_writing(self) -> None:
        """Begin to wait for the client to read; what it sends meanwhile waits too."""
        self._transport.pause_reading()
        self._unread = self._loop.call_later(self.read_time, self._was_not_read)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if not self._paused:
            self._transport.resume_reading()

    def _was_not_read(self) -> None:
        self._clients.refuse(self._client, Limit.UNREAD_ANSWER)
        if self._end is None:
            self._end = SessionEnd.REFUSED
        self._transport.abort()

    # -- its ends ----------------------------------------------------------------------------

    def recheck(self) -> None:
        """Ask anew whether the session may go on, and end it if not."""
        if self._checking is None:
            self._checking = self._loop.create_task(self._check())

    async def _check(self) -> None:
        if not await self._talk.may_go_on():
            why = "the credential is not accepted any more"
            self._bye(SessionEnd.REFUSED, CloseCode.POLICY_VIOLATION, why)
        self._checking = None

    def close(self, end: SessionEnd) -> None:
        """End the session because the client does not keep it up."""
        self._bye(end, CloseCode.POLICY_VIOLATION, end.words)

    def shutdown(self) -> None:
        """Let the client go by itself, and close if it does not; uvicorn calls it, too."""
        why = "the control plane is stopping"
        self._loop.call_later(
            self.drain_time, self._bye, SessionEnd.CLOSED, CloseCode.GOING_AWAY, why
        )

    def _bye(self, end: SessionEnd, code: CloseCode, why: str) -> None:
        """Say why it ends, and end it."""
        if self._end is None and not self._transport.is_closing():
            self._write(CLOSE, struct.pack("!H", code) + why.encode())
            self._leave(end)

    def _leave(self, end: SessionEnd) -> None:
        """Note how it ends, and close without waiting for anybody."""
        self._end = end
        self._transport.close()
        self._loop.call_later(_GOODBYE, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection, and how it came."""
        if self._unread is not None:
            self._unread.cancel()
        if self._end is None:
            is_dead = isinstance(exc, OSError) and exc.errno in _DEAD
            self._end = SessionEnd.UNANSWERED if is_dead else SessionEnd.BROKEN
        self._gone()
        self._talk.lost(self._end)
