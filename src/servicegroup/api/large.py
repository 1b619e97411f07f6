"""Bodies that are made piece by piece and may be too large for memory.

A large one is written to a temporary file as it is made, and sent when it is whole. So whoever
reads slowly holds a file and neither memory nor a transaction, and what fails on the way is an
error with its status, never a list that only looks complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool
from starlette.types import Send

from servicegroup.errors import Unavailable

IN_MEMORY = 16 * 1024 * 1024
"""Bytes of a body that are held in memory: a list of 14,000 services with their evidence."""

AT_ONCE = 16
"""Large bodies there may be at a time: they are of one register, but each has its file."""

PATIENCE = 60.0
"""Seconds a reader may take for each piece before the connection ends."""

PIECE = 256 * 1024
"""Bytes read and sent at once."""

LOG = logging.getLogger(__name__)

_free = threading.BoundedSemaphore(AT_ONCE)


class Large:
    """A body spooled to an anonymous temporary file, which goes when nobody holds it any more."""

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        """Write it. Raises what ``parts`` raises, and Unavailable where there is no room for it."""
        if not _free.acquire(blocking=False):
            raise Unavailable(
                f"{AT_ONCE} lists as large are being sent; ask again later, or for pages (limit)."
            )
        weakref.finalize(self, _free.release)
        try:
            with contextlib.ExitStack() as stack:
                self._file = stack.enter_context(tempfile.TemporaryFile())
                self._file.writelines(parts)
                self._size = self._file.tell()
                self._file.flush()
                weakref.finalize(self, self._file.close)
                stack.pop_all()
        except OSError as error:
            # None where no directory can be written to at all, as on a read-only root (F-11).
            place = tempfile.tempdir or "a temporary file"
            raise Unavailable(
                f"The list does not fit into {place} ({error.strerror}): make room"
                " there, or ask for pages (limit)."
            ) from error

    def __len__(self) -> int:
        """Return how many bytes it has."""
        return self._size

    async def send(self, send: Send) -> None:
        """Send it all, or end early for who reads too slowly; several may read it at once."""
        place = 0
        try:
            while data := await run_in_threadpool(os.pread, self._file.fileno(), PIECE, place):
                place += len(data)
                async with asyncio.timeout(PATIENCE):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body"})
        except TimeoutError:
            # The announced length is not reached, and the server breaks the connection.
            LOG.warning(
                "%g KiB of a large list were not read within %g s; its answer ends early.",
                PIECE / 1024,
                PATIENCE,
            )


def gathered(parts: Iterable[bytes | memoryview]) -> bytes | Large:
    """Return the parts as one body: in memory up to IN_MEMORY bytes, else in a file.

    Raises what ``parts`` raises, and Unavailable where there is no room for the file.
    """
    held: list[bytes | memoryview] = []
    size, rest = 0, iter(parts)
    for part in rest:
        held.append(part)
        size += len(part)
        if size > IN_MEMORY:
            return Large(itertools.chain(held, rest))
    return b"".join(held)
