"""What is remembered of an outside that is larger than memory: so many entries, the oldest go.

Each new entry costs the oldest one at most, so nothing is ever forgotten as a whole, and nobody can
make others pay for what it adds (F-55).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Entries by key, ``most`` of them; beyond that each new one replaces the oldest."""

    def __init__(self, most: int) -> None:
        """Remember nothing yet."""
        self._most = most
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._entries)

    def found(self, keys: Iterable[K]) -> dict[K, V]:
        """Return the entries of those keys that are remembered; it is the caller's to keep."""
        return {key: self._entries[key] for key in keys if key in self._entries}

    def add(self, entries: Mapping[K, V]) -> None:
        """Remember these, too; the oldest entries are forgotten for them."""
        for key, value in entries.items():
            self._entries[key] = value
            if len(self._entries) > self._most:
                self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Forget an entry, if there is one."""
        self._entries.pop(key, None)
