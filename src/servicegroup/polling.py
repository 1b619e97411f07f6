"""Waiting for input, or for room: poll, or select in a process whose green threads took poll away.

eventlet removes poll from a process that it patches, for only its select lets other threads go on.
Elsewhere poll is taken, which knows no limit of file numbers.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    class _File(Protocol):
        def fileno(self) -> int: ...


class Poller(Protocol):
    """What both can; see ``select.poll``."""

    def register(self, fd: _File | int, eventmask: int, /) -> None:
        """Wait for this of a file, too."""

    def unregister(self, fd: int, /) -> None:
        """Wait for a file no longer."""

    def poll(self, timeout: float, /) -> Sequence[tuple[int, int]]:
        """Wait so many milliseconds, and return the files that are ready, each with why."""
        ...


class _Select:
    def __init__(self) -> None:
        self._files: dict[int, int] = {}

    def register(self, fd: _File | int, eventmask: int, /) -> None:
        self._files[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def unregister(self, fd: int, /) -> None:
        del self._files[fd]

    def poll(self, timeout: float, /) -> list[tuple[int, int]]:
        to_read = [fd for fd, mask in self._files.items() if mask & select.POLLIN]
        to_write = [fd for fd, mask in self._files.items() if mask & select.POLLOUT]
        readable, writable, _ = select.select(to_read, to_write, [], timeout / 1000)
        return [
            *((fd, select.POLLIN) for fd in readable),
            *((fd, select.POLLOUT) for fd in writable),
        ]


def poller() -> Poller:
    """Return what to wait with now: a process may be patched at any time."""
    return select.poll() if hasattr(select, "poll") else _Select()
