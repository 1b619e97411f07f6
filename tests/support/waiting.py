"""A test waits for a condition with a deadline, never for an amount of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    timeout: float = 10,
    interval: float = 0.05,
    what: str = "",
) -> T:
    """Ask until the answer is true, and return it.

    `timeout` and `interval` are seconds. The condition is asked at least once, and once more after
    the deadline, so a slow machine cannot turn a condition that holds into a failure. What the
    condition raises is not caught. Raises AssertionError, with `what` and the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() >= deadline
        answer = condition()
        if answer:
            return answer
        if late:
            expected = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"{expected}: not within {timeout:g} s; last answer: {answer!r}")
        time.sleep(interval)


def lasting(condition: Callable[[], object], seconds: float) -> Callable[[], bool]:
    """Return what tells whether a condition has held for so long, to those that look again."""
    since: list[float] = []

    def has_lasted() -> bool:
        now = time.monotonic()
        if condition():
            since.append(now)
        else:
            since.clear()
        return bool(since) and now - since[0] > seconds

    return has_lasted
