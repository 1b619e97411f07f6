"""The faults that last now, and waiting for what they prevent: until they have let it be."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.process import PATIENCE

FREE = 2 * PATIENCE
"""Seconds of a processor that something may take in which nothing prevents it."""


class Lasting:
    """Which faults last, by the threads that do them."""

    def __init__(self) -> None:
        self._faults: dict[int, str] = {}

    @contextmanager
    def fault(self, name: str) -> Iterator[Callable[[], None]]:
        """Let a fault last in the block, or until what is given is called: then it is mended."""
        thread = threading.get_ident()
        self._faults[thread] = name

        def over() -> None:
            self._faults.pop(thread, None)

        try:
            yield over
        finally:
            over()

    def others(self) -> set[str]:
        """Return the faults that other threads do: one's own prevents what one has mended not."""
        return {name for thread, name in [*self._faults.items()] if thread != threading.get_ident()}

    def until(
        self,
        condition: Callable[[], object],
        what: Callable[[], str],
        interval: float = 0.05,
        free: float = FREE,
    ) -> None:
        """Return when the condition holds, though it take ``free`` seconds beside faults of others.

        They are those of a processor: where many processes want one, they last longer.
        Raises AssertionError with ``what`` then: it should say how far it came.
        """
        begun = time.monotonic()
        last, passed, beside = begun, 0.0, set[str]()
        while not condition():
            if passed > free:
                others = ", ".join(sorted(beside)) or "none"
                raise AssertionError(
                    f"{what()}; not within {last - begun:.0f} s, of which a processor had"
                    f" {passed:.0f} beside no fault; the faults meanwhile: {others}"
                )
            time.sleep(interval)
            now, lasting = time.monotonic(), self.others()
            passed += 0.0 if lasting else (now - last) * share()
            last, beside = now, beside | lasting


def share() -> float:
    """Return the part of a processor that a process gets at this moment, as many as want one."""
    running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return min(1.0, (os.cpu_count() or 1) / max(1, running))
