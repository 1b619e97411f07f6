"""Handles that do not survive a fork: each process makes its own (ZK-14)."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One value in each process; what a fork inherited is neither used nor closed."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Call ``make`` when a process first asks for its value."""
        self._make = make
        self._made: dict[int, T] = {}
        # One for each process: one that was held during a fork is never released in the child.
        self._making: dict[int, threading.Lock] = {}

    def get(self) -> T:
        """Return this process's value, the same one at every call until it is popped.

        Of several threads that are the first to ask, one makes it: a value may own a thread or a
        connection.
        """
        pid = os.getpid()
        if pid not in self._made:
            with self._making.setdefault(pid, threading.Lock()):
                if pid not in self._made:
                    self._made[pid] = self._make()
        return self._made[pid]

    def pop(self) -> T | None:
        """Forget this process's value and return it, None where there is none."""
        return self._made.pop(os.getpid(), None)
