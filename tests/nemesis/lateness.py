"""By how much this machine is late, as somebody finds who only waits."""

from __future__ import annotations

import threading
import time
from typing import Self

TICK = 0.05

LEAST, TIMES = 2.0, 5
"""Seconds of slack on an idle machine, and how many waits lie between a cause and its witness."""


class Lateness:
    """As a context manager: measures meanwhile."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    @property
    def slack(self) -> float:
        """Seconds by which everything may be later than it should."""
        return LEAST + TIMES * self._worst

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _measure(self) -> None:
        due = time.monotonic() + TICK
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            self._worst = max(self._worst, now - due)
            due = now + TICK
