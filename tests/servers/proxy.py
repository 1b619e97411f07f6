"""A TCP proxy before a server, with which the way to it fails as networks do.

A mode is of the way, so of all connections, those there are and those to come. No connection loses
something and goes on, as none of TCP's does: whatever lost a byte ends when the mode does.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

from servers.process import LOOPBACK, PATIENCE, Started, free_port

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST and throws away what is unsent


class Mode(enum.StrEnum):
    """What the way does to those who use it; ``amount`` is the second argument of `Proxy.be`."""

    PASS = "pass"
    """Pass on what is sent, and that an end closed."""
    DELAY = "delay"
    """Hold each piece for ``amount`` seconds."""
    BLACK_HOLE = "black-hole"
    """Accept, lose what either end sends, and tell nobody, as where packets are dropped."""
    HALF_OPEN = "half-open"
    """Pass on what clients send, and lose what is answered."""
    RESET = "reset"
    """End every connection with RST."""
    SLOW_CLOSE = "slow-close"
    """Pass on; that one end closed, the other learns ``amount`` seconds later."""
    CUT_AFTER = "cut-after"
    """End each connection with RST when ``amount`` bytes have passed since the mode began."""


class Proxy(Started):
    """Passes on what is sent, to and from a server on a loopback port, until told otherwise.

    ``target``, the server's port, may be changed for the connections to come.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.mode = Mode.PASS
        self._amount = 0.0
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self.port}"

    def start(self) -> None:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, LOOPBACK, self.port))

    def be(self, mode: Mode, amount: float = 0.0) -> None:
        """Change the mode; on return it is in force."""
        self._do(self._change(mode, amount))

    def cut(self) -> None:
        """Begin a partition: be a black hole."""
        self.be(Mode.BLACK_HOLE)

    def heal(self) -> None:
        """Pass on again."""
        self.be(Mode.PASS)

    def close(self) -> None:
        if self._thread.is_alive():
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _change(self, mode: Mode, amount: float) -> None:
        self.mode, self._amount = mode, amount
        for link in list(self._links):
            link.passed = 0
            if link.lost or mode is Mode.RESET:
                link.reset()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [link.task for link in self._links]
        for link in list(self._links):
            link.reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link([writer])
        link.task = self._loop.create_task(self._join(link, reader))
        self._links.add(link)

    async def _join(self, link: _Link, reader: asyncio.StreamReader) -> None:
        # One end or the other went away, or the link was reset.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._bring(link, reader)
        self._links.discard(link)
        link.close()

    async def _bring(self, link: _Link, reader: asyncio.StreamReader) -> None:
        """Bring a client to the server, and return when one of them has closed."""
        if self.mode is Mode.RESET:
            link.reset()
        if self.mode is Mode.BLACK_HOLE:
            link.lost = True
            while await reader.read(65536):
                pass
            return
        try:
            answers, server = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            link.reset()
            raise
        link.ends.append(server)
        ways = [
            asyncio.create_task(self._pass_on(link, reader, server)),
            asyncio.create_task(self._pass_on(link, answers, link.ends[0], answering=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answering: bool = False,
    ) -> None:
        """Pass on what one end sends, as the mode has it, until that end has closed."""
        while data := await reader.read(65536):
            if self.mode is Mode.DELAY:
                await asyncio.sleep(self._amount)
            if self._loses(answering=answering):
                link.lost = True
                continue
            if self.mode is Mode.CUT_AFTER:
                data = data[: int(self._amount) - link.passed]
            link.passed += len(data)
            writer.write(data)
            await writer.drain()
            if self.mode is Mode.CUT_AFTER and link.passed >= self._amount:
                link.reset()
        if self._loses(answering=answering):
            link.lost = True
            await asyncio.Event().wait()  # nobody is told, until the mode ends and with it the link
        if self.mode is Mode.SLOW_CLOSE:
            await asyncio.sleep(self._amount)

    def _loses(self, *, answering: bool) -> bool:
        return self.mode is Mode.BLACK_HOLE or (self.mode is Mode.HALF_OPEN and answering)


class _Link:
    """A client's connection and the server's, once there is one, and the task that joins them."""

    task: asyncio.Task[None]

    def __init__(self, ends: list[asyncio.StreamWriter]) -> None:
        self.ends = ends
        self.lost = False
        self.passed = 0

    def reset(self) -> None:
        """End it with RST at both ends."""
        for end in self.ends:
            with contextlib.suppress(OSError):  # it is closed already
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            end.transport.abort()
        self.task.cancel()

    def close(self) -> None:
        """End it in order."""
        for end in self.ends:
            end.close()
