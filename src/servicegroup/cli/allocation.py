"""How a control plane's process keeps memory between two lists, so that the next one finds it.

A list of thousands is made of megabytes that are free again once it is sent. The C library would
give them back to the system and ask for them anew with each list, which costs a fifth of its time
in faults of pages; and each thread would do so for itself.
"""

from __future__ import annotations

import ctypes
import gc

KEPT = 32 * 1024 * 1024
"""Bytes that stay at the process although they are free, and a piece that is kept at the most."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt``, as <malloc.h> of the GNU C library numbers them."""


def keep_memory() -> None:
    """Keep what lists need; call it once all that lasts is made, and before there are threads."""
    # Lists are built of many small objects at once, which the collector need not look at early.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # only the GNU C library has it
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_MMAP_THRESHOLD, KEPT)
        mallopt(_ARENA_MAX, 1)
