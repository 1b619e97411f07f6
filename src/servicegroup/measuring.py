"""What is counted for metrics: distributions, cheap enough for a fast path, and questions asked."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Edges for the seconds that a piece of work takes."""

AGES = (0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 600.0)
"""Edges for seconds since a sign of life: around the intervals and limits that are sensible."""


class Distribution:
    """How many values were at most each edge, and their sum.

    There is no lock: one thread adds, and whoever reads meanwhile may miss its latest value.
    """

    __slots__ = ("_counts", "edges", "sum")

    def __init__(self, edges: Sequence[float]) -> None:
        """Count by these edges, which ascend; what is above the last one counts too."""
        self.edges = edges
        self.sum = 0.0
        self._counts = [0] * (len(edges) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def merge(self, other: Distribution) -> None:
        """Count the values of another one by the same edges, too."""
        self._counts = [own + more for own, more in zip(self._counts, other._counts, strict=True)]
        self.sum += other.sum

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def cumulated(self) -> list[tuple[float, int]]:
        """Return each edge, infinity at the end, with how many values were at most that."""
        reached, found = 0, []
        for edge, count in zip((*self.edges, float("inf")), self._counts, strict=True):
            reached += count
            found.append((edge, reached))
        return found


class Questions:
    """What asking one backend came to since the start, for metrics; safe to share.

    ``unknown`` counts members of whom nothing could be told, ``unanswered`` the questions that
    told of nobody.
    """

    def __init__(self) -> None:
        """Nothing was asked."""
        self.seconds = Distribution(LATENCIES)
        self.unknown = 0
        self.unanswered = 0
        self._lock = threading.Lock()

    def asked(self, members: int, unknown: int, seconds: float) -> None:
        """Count a question about so many members, and what was not told."""
        with self._lock:
            self.seconds.add(seconds)
            self.unknown += unknown
            self.unanswered += unknown == members
