"""The kernel's keepalive on a connection: how soon a host that is dead, or cut off, is noticed."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Socket(Protocol):
    """What has socket options; a transport's socket is one."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """Set an option."""
        ...


class Keepalive(msgspec.Struct, frozen=True):
    """After ``idle`` seconds without a byte the other end is asked, every ``interval`` seconds.

    After ``probes`` questions without an answer the connection is broken. Whole seconds.
    """

    idle: int = 1
    interval: int = 1
    probes: int = 3

    @property
    def seconds(self) -> float:
        """Seconds from the last sign of life to the end of the connection, at the most."""
        return float(self.idle + self.interval * self.probes)

    def apply(self, sock: Socket) -> None:
        """Have the kernel watch this connection, also while something sent is not acknowledged.

        Does nothing for what is no TCP, or where the kernel has no such option.
        """
        import socket  # a guest that holds no session does without

        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, self.idle)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, self.interval)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, self.probes)
            # Half an interval less, so that the last probe's end is the end of both.
            limit = 1000 * self.seconds - 500 * self.interval
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limit))
        except OSError:
            return
